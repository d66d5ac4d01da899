//go:build sched

package strategies_test

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"vlsbench/vls/vlstest/stall"
)

// nonBlocking are the strategies that promise that a thread which is stopped
// anywhere stops nobody else. null has no process of two threads, and shows that
// what all processes share keeps the promise.
var nonBlocking = []string{"lockfree", "null"}

// claim is what one thread takes before others can see what it makes of it, and
// the points in between, at each of which a thread is stopped by TestStalls.
type claim struct {
	what   string
	points []string
}

var claims = []claim{
	{"a slot of the session pool, until its handle is known", []string{"core: slot taken, before its handle is known"}},
	{"a session that is closed, until its handle is stale", []string{"core: marked as closed, before its handle is stale"}},
	{"a session that is marked, until who waits on it is woken", []string{"core: marked as closing, before who waits is woken"}},
	{"a closed session, until it is left to be freed", []string{"core: between the sessions to be freed and their swap"}},
	{"a session's ends and its control, until they are left", []string{"claim: claimed", "claim: shared, claimed", "claim: before its end", "claim: between life and its end", "claim: between the shared word and its end"}},
	{"ends of a session that the thread has a pin on, until they are left", []string{"claim: claimed again"}},
	{"a session that another is alone with, until that has left it, or is not there", []string{"bias: before the look at the mark", "bias: before its end"}},
	{"a session that becomes shared by fork, until who is inside of it is inside of that", []string{"fork: between who is inside of a session and the word that it is shared"}},
	{"the image of a session that a fork makes, until it is found", []string{"pool: a slot taken, before it has a generation", "fork: an image is whole, before anybody finds it"}},
	{"sessions that leave what they share, until they have", []string{"close: before it is among those that are to end", "close: between the shared word and the word that some are to end", "close: control of what is shared is claimed, before the end"}},
	{"the index of a worker, until there is one, or it can be given out", []string{"core: a worker's index taken, before there is a worker", "core: a worker is gone, before its index is", "core: the index of one that is gone taken, before the look who is inside"}},
	{"the number of a thread, until its process knows, or it is given back", []string{"core: a thread has its number, before its process knows", "core: before a thread's number is given back"}},
	{"a process that has died, until its parent can know", []string{"core: dead, before its parent can know"}},
	{"children that have died, until those are given back that are not closed yet", []string{"core: the dead are taken, before the rest is given back", "core: between the look at the dead and their swap"}},
	{"the table of listeners, until the new one stands", []string{"core: between the listeners and their swap", "core: listener known, before its session listens"}},
	{"an endpoint of datagrams, until its session is bound", []string{"datagram: between who is bound and the swap", "datagram: bound, before its session is"}},
	{"flows of datagrams, until they are their receiver's, or the sender's again", []string{"datagram: flows taken, before the receiver has them", "datagram: a flow let go, before the look whether more came"}},
	{"a connection, until it is queued", []string{"core: connection counted, before it is queued"}},
	{"a connection that is accepted, until both sides know", []string{"core: connections taken, before they wait in their order", "core: connection taken, before it is counted off", "core: accepted, before the other side knows"}},
	{"a connection that is made, until its session is ready", []string{"core: connection made, before the session is ready"}},
	{"a thread's place among those that wait", []string{"core: in the queue, about to wait", "queue: before arming", "queue: armed"}},
	{"the space of a fifo, until what was written is published", []string{"fifo: between bytes and tail"}},
	{"the bytes of a fifo, until their space is free", []string{"fifo: between bytes and head"}},
	{"the next chunk of a fifo, until it is linked", []string{"fifo: between a chunk's start and its link", "fifo: link made, and the chunk still pending"}},
	{"a chunk that was read, until it is given back", []string{"fifo: before leaving a chunk", "fifo: leaving a chunk, before the step", "fifo: stepped, before the chunk that was left is released", "fifo: chunk released, and still said to be left"}},
	{"a request for space, until it stands", []string{"fifo: between want and its swap"}},
	{"the event flag, until the queue has the event", []string{"queue: post, between slot and word", "queue: post, between word and tail", "queue: post, between tail and the look who sleeps"}},
	{"a lane of a queue, until it is known", []string{"queue: between the look at the count of lanes and its swap", "queue: a lane taken, before it is prepared", "queue: between the count of lanes and a lane's place"}},
	{"the events of a lane, until their slots are free", []string{"queue: drain, between events and head", "queue: drain, between head and the look who waits"}},
	{"a block of a segment, until it is its user's", []string{"segment: pop, between the link and the swap", "segment: popped, before the claim", "segment: claimed", "segment: taken, before it is linked", "segment: linked, before the link is made"}},
	{"a run of fresh memory, until it is in use", []string{"segment: between the look at fresh memory and its claim", "segment: run claimed, before it is described", "segment: run described, before it is ready", "segment: run in reserve, before it is settled"}},
	{"a lock, until it is given back", []string{"futex: before the release", "ttas: before the release", "bravo: before a reader leaves", "bravo: writer, between the flag and the end", "phasefair: before a reader leaves", "phasefair: writer's turn", "rwspin: before a reader leaves", "rwspin: before the release"}},
}

// Nobody stands still where nobody is stopped: no operation keeps a lock, and none
// that waits.
func TestNothingHeld(t *testing.T) {
	for _, s := range built() {
		held, err := stall.Held(s)
		if err != nil {
			t.Error(err)
		}
		for _, x := range held {
			t.Errorf("%s: after %s, or while it waits, stand still: near it %v, in another process %v", s.Name, x.Operation, x.Near, x.Far)
		}
	}
}

// TestStalls stops a thread at each point of each operation, and compares what
// stands still with what the documentation says. Of strategies that promise to
// block nobody nothing does: with -soak, at whatever visit of a point.
func TestStalls(t *testing.T) {
	if *soak {
		for _, s := range built() {
			if slices.Contains(nonBlocking, s.Name) {
				stops, err := stall.Find(s, true)
				if err != nil {
					t.Error(err)
				}
				stall.Check(t, s, stops)
				t.Logf("%s: stopped %d times", s.Name, len(stops))
			}
		}
		return
	}
	const file = "../docs/stalls.md"
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	doc := string(b)
	block := func(name, now string) {
		if mark := "<!-- stall: " + name + " -->\n"; *rewrite && !strings.Contains(doc, mark) {
			const last = "## Where a thread is stopped\n"
			doc = strings.Replace(doc, last, "## "+name+"\n\n"+mark+"<!-- end -->\n\n"+last, 1)
		}
		m := regexp.MustCompile(`(?s)(<!-- stall: ` + name + ` -->\n)(.*?)(<!-- end -->)`).FindStringSubmatchIndex(doc)
		switch {
		case m == nil:
			t.Errorf("%s has no place for what stands still with %s", file, name)
		case *rewrite:
			doc = doc[:m[4]] + now + doc[m[5]:]
		case doc[m[4]:m[5]] != now:
			t.Errorf("%s says of %s:\n%s\nit is (write it anew with -rewrite if it is meant):\n%s", file, name, doc[m[4]:m[5]], now)
		}
	}
	met := make(map[string]bool)
	for _, s := range built() {
		stops, err := stall.Find(s, false)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, x := range stops {
			met[x.Point] = true
		}
		block(s.Name, stall.Table(stops))
		if slices.Contains(nonBlocking, s.Name) {
			stall.Check(t, s, stops)
		}
	}
	var table strings.Builder
	table.WriteString("| claimed | points before it is published |\n| --- | --- |\n")
	for _, c := range claims {
		fmt.Fprintf(&table, "| %s | %s |\n", c.what, strings.Join(c.points, "; "))
		for _, p := range c.points {
			if !met[p] {
				t.Errorf("nobody was stopped at %q, which is said to lie in: %s", p, c.what)
			}
		}
	}
	block("claims", table.String())
	if *rewrite {
		if err := os.WriteFile(file, []byte(doc), 0o666); err != nil {
			t.Fatal(err)
		}
	}
}
