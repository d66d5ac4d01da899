// Package history records what several threads do to a strategy at once, and
// checks that each call seems to happen at one moment between its begin and its
// end. It finds what a test of one thread cannot see and a test of totals does
// not: a handle that names another session for a moment, a byte that is read
// twice where another is lost.
//
// [Handles] is about the life of handles, [Streams] about the bytes of a
// connection. Whoever writes a strategy calls [Run] from one test.
//
// # What is recorded
//
// Each thread keeps a log of its own. The stamps of a call's begin and end come
// from one counter that all threads raise, which is a full barrier on each side
// of the call: what ended before another began has happened before it for every
// thread, and a strategy that publishes by a plain store is not blamed for what
// the store buffer still holds. So nothing is found here that depends on a weaker
// order; litmus tests are for that.
//
// # What is checked
//
// Histories are checked by porcupine against a sequential model, in parts: a
// slot of the handle table is one, a direction of a connection another. A part
// that is not decided in time counts as a failure.
package history

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"vlsbench/vls"
)

// Options say how much is recorded, and how. The zero value is ready.
type Options struct {
	// Rounds is how many histories are recorded, each by threads and sessions of
	// its own. 0: 20.
	Rounds int
	// Wait is how threads wait.
	Wait vls.Wait
	// Seed makes the threads do the same again, not at the same time.
	Seed uint64
}

func (o Options) rounds() int { return cmp.Or(o.Rounds, 20) }

// decide is how long porcupine may take for one part of a history: thousands of
// times what any takes.
const decide = 20 * time.Second

// ErrUndecided: porcupine did not come to an end.
var ErrUndecided = errors.New("undecided")

// Run judges a strategy by histories of handles and streams, in the wait modes
// park and adaptive, so many rounds of each.
func Run(t *testing.T, s vls.Strategy, rounds int) {
	seed := uint64(time.Now().UnixNano())
	for _, wait := range []vls.Wait{vls.Park, vls.Adaptive} {
		for _, c := range []struct {
			name string
			f    func(vls.Strategy, Options) error
		}{{"handles", Handles}, {"streams", Streams}} {
			t.Run(c.name+"/"+wait.String(), func(t *testing.T) {
				if err := c.f(s, Options{Rounds: rounds, Wait: wait, Seed: seed}); err != nil {
					t.Errorf("seed %d: %v", seed, err)
				}
			})
		}
	}
}

// clock gives out the stamps of one history.
type clock struct {
	_ [128]byte
	n atomic.Int64
	_ [120]byte
}

// log is what one thread did. One goroutine uses it.
type log[T any] struct {
	clock *clock
	mate  *mate
	done  []timed[T]
}

// timed is a call, with its answer, and when it was.
type timed[T any] struct {
	begin, end int64
	thread     int
	op         T
}

// begin is the stamp to be taken before a call.
func (l *log[T]) begin() int64 {
	l.mate.begin()
	return l.clock.n.Add(1)
}

// end notes a call that has just returned.
func (l *log[T]) end(begin int64, op T) {
	end := l.clock.n.Add(1)
	l.done = append(l.done, timed[T]{begin: begin, end: end, op: op})
}

// newLogs makes a log for each thread.
func newLogs[T any](mates []*mate) []*log[T] {
	c := new(clock)
	logs := make([]*log[T], len(mates))
	for i := range logs {
		logs[i] = &log[T]{clock: c, mate: mates[i], done: make([]timed[T], 0, 512)}
	}
	return logs
}

// parts takes the logs apart by what the calls are about, each in the order of
// their begin.
func parts[T any](logs []*log[T], about func(T) uint64) map[uint64][]timed[T] {
	all := make(map[uint64][]timed[T])
	for i, l := range logs {
		for _, c := range l.done {
			c.thread = i
			k := about(c.op)
			all[k] = append(all[k], c)
		}
	}
	for _, p := range all {
		slices.SortFunc(p, func(a, b timed[T]) int { return cmp.Compare(a.begin, b.begin) })
	}
	return all
}

// model is how one part of a history may go, one call after another.
type model[S comparable, T any] struct {
	start S
	// step is the state after a call, false if it cannot have been answered so.
	step func(S, T) (S, bool)
}

// check says why the calls, of one part, cannot have happened one after another.
func check[S comparable, T any](m model[S, T], calls []timed[T]) error {
	history := make([]porcupine.Operation, len(calls))
	for i, c := range calls {
		history[i] = porcupine.Operation{ClientId: c.thread, Input: i, Call: c.begin, Return: c.end}
	}
	result, info := porcupine.CheckOperationsVerbose(porcupine.Model{
		Init: func() any { return m.start },
		Step: func(state, input, _ any) (bool, any) {
			next, ok := m.step(state.(S), calls[input.(int)].op)
			return ok, next
		},
	}, history, decide)
	switch result {
	case porcupine.Ok:
		return nil
	case porcupine.Unknown:
		var all strings.Builder
		for _, c := range calls {
			fmt.Fprintf(&all, "\n  %6d-%-6d thread %d: %v", c.begin, c.end, c.thread, c.op)
		}
		return fmt.Errorf("%w after %v: %d calls%s", ErrUndecided, decide, len(calls), &all)
	}
	var longest []porcupine.Operation
	for _, l := range info.PartialLinearizationsOperations()[0] {
		if len(l) > len(longest) {
			longest = l
		}
	}
	return errors.New(tell(m, calls, longest))
}

// shown is how many calls a failure shows before those that do not fit.
const shown = 12

// tell shows how far calls can be put into an order, and what then fits nowhere.
func tell[S comparable, T any](m model[S, T], calls []timed[T], order []porcupine.Operation) string {
	var b strings.Builder
	line := func(c timed[T]) { fmt.Fprintf(&b, "  %6d-%-6d thread %d: %v\n", c.begin, c.end, c.thread, c.op) }
	fmt.Fprintf(&b, "%d calls have no order in which each could be answered as it was. So many can be put in order: %d, the last of them\n", len(calls), len(order))
	state, placed := m.start, make(map[int]bool)
	for i, o := range order {
		n := o.Input.(int)
		placed[n] = true
		state, _ = m.step(state, calls[n].op)
		if i >= len(order)-shown {
			line(calls[n])
		}
	}
	fmt.Fprintf(&b, "after which it is %v, and of these none can be next:\n", state)
	// Whatever began before the first of the rest has ended may be next.
	first := int64(-1)
	for i, c := range calls {
		if !placed[i] && (first < 0 || c.end < first) {
			first = c.end
		}
	}
	for i, c := range calls {
		if !placed[i] && c.begin <= first {
			line(c)
		}
	}
	return strings.TrimRight(b.String(), "\n")
}
