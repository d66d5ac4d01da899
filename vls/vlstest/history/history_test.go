package history

import (
	"strings"
	"syscall"
	"testing"

	"vlsbench/vls"
)

// calls puts calls into a history, each with its begin and its end.
func calls[T any](all ...timed[T]) []timed[T] {
	for i := range all {
		all[i].thread = i
	}
	return all
}

func at[T any](begin, end int64, op T) timed[T] { return timed[T]{begin: begin, end: end, op: op} }

const a, b = 1<<32 | 5, 2<<32 | 5 // one after the other in a slot

func TestLife(t *testing.T) {
	for _, c := range []struct {
		name  string
		fits  bool
		calls []timed[handleCall]
	}{
		{"a life", true, calls(
			at(1, 2, handleCall{kind: create, h: a}),
			at(3, 4, handleCall{kind: set, h: a, value: 99}),
			at(5, 6, handleCall{kind: get, h: a, value: 99}),
			at(7, 8, handleCall{kind: closes, h: a}),
			at(9, 10, handleCall{kind: get, h: a, err: syscall.EBADFD}),
			at(11, 12, handleCall{kind: createSet, h: b}),
			at(13, 14, handleCall{kind: wait, h: b}))},
		{"a use beside the close", true, calls(
			at(1, 2, handleCall{kind: create, h: a}),
			at(3, 9, handleCall{kind: closes, h: a}),
			at(4, 5, handleCall{kind: poll, h: a}),
			at(6, 7, handleCall{kind: poll, h: a, err: syscall.EBADFD}))},
		{"gone, and there again", false, calls(
			at(1, 2, handleCall{kind: create, h: a}),
			at(3, 9, handleCall{kind: closes, h: a}),
			at(4, 5, handleCall{kind: poll, h: a, err: syscall.EBADFD}),
			at(6, 7, handleCall{kind: get, h: a, value: unset}))},
		{"closed twice", false, calls(
			at(1, 2, handleCall{kind: create, h: a}),
			at(3, 9, handleCall{kind: closes, h: a}),
			at(4, 8, handleCall{kind: closes, h: a}))},
		{"two in a slot", false, calls(
			at(1, 2, handleCall{kind: create, h: a}),
			at(3, 4, handleCall{kind: create, h: b}))},
		{"another session's", false, calls(
			at(1, 2, handleCall{kind: create, h: a}),
			at(3, 4, handleCall{kind: closes, h: a}),
			at(5, 6, handleCall{kind: create, h: b}),
			at(7, 8, handleCall{kind: set, h: b, value: 99}),
			at(9, 10, handleCall{kind: get, h: a, value: 99}))},
		{"a session that waits as a set", false, calls(
			at(1, 2, handleCall{kind: create, h: a}),
			at(3, 4, handleCall{kind: wait, h: a}))},
	} {
		if err := check(life, c.calls); (err == nil) != c.fits {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestFlow(t *testing.T) {
	w := func(begin, end int64, data string) timed[streamCall] {
		return at(begin, end, streamCall{kind: write, data: data, room: len(data)})
	}
	r := func(begin, end int64, room int, data string) timed[streamCall] {
		return at(begin, end, streamCall{kind: read, data: data, room: room})
	}
	none := streamCall{kind: read, room: 4, err: syscall.EWOULDBLOCK}
	busy := none
	busy.busy = true
	for _, c := range []struct {
		name  string
		fits  bool
		calls []timed[streamCall]
	}{
		{"two writers", true, calls(w(1, 9, "aa"), w(2, 8, "bb"), r(3, 10, 3, "bba"), r(11, 12, 3, "a"))},
		{"the end", true, calls(w(1, 2, "aa"), at(3, 4, streamCall{kind: shutdown}), r(5, 6, 4, "aa"), r(7, 8, 4, ""))},
		{"nothing there", true, calls(at(1, 2, none), w(3, 4, "aa"))},
		{"a busy end", true, calls(w(1, 2, "aa"), at(3, 4, busy))},
		{"a write that is torn", false, calls(w(1, 9, "aa"), w(2, 8, "bb"), r(10, 11, 4, "abba"))},
		{"a byte twice", false, calls(w(1, 2, "ab"), r(3, 6, 1, "a"), r(4, 5, 1, "a"))},
		{"a byte lost", false, calls(w(1, 2, "ab"), at(3, 4, streamCall{kind: shutdown}), r(5, 6, 1, "a"), r(7, 8, 1, ""))},
		{"less than there is", false, calls(w(1, 2, "abc"), r(3, 4, 3, "ab"))},
		{"data that is not seen", false, calls(w(1, 2, "abc"), at(3, 4, none))},
		{"an end too soon", false, calls(w(1, 2, "abc"), r(3, 4, 4, ""))},
		{"short, with room", false, calls(at(1, 2, streamCall{kind: write, data: "a", room: 2}))},
	} {
		if err := check(flow, c.calls); (err == nil) != c.fits {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// A failure shows what fits nowhere.
func TestTells(t *testing.T) {
	err := check(life, calls(
		at(1, 2, handleCall{kind: create, h: a}),
		at(3, 4, handleCall{kind: get, h: a, value: 77})))
	if err == nil || !strings.Contains(err.Error(), "get 0x100000005 77") || !strings.Contains(err.Error(), "the session 0x100000005 with 536") {
		t.Errorf("it says: %v", err)
	}
}

// asker is a thread with a worker of its own.
type asker struct{ vls.Unimplemented }

func (asker) MultiThreadWorkers() bool { return true }

// A call that is given up may be made again if the machine stood still. One that
// was given up while all the others ran was starved.
func TestLate(t *testing.T) {
	m := new(team)
	th := &mate{Thread: asker{}, team: m}
	m.beats.Add(1000)
	th.begin()
	m.beats.Add(starved - 1)
	if !th.late(syscall.ETIMEDOUT) {
		t.Error("on a machine that stood still it is an answer")
	}
	if th.late(nil) || th.late(syscall.EBADFD) {
		t.Error("another answer is none")
	}
	m.beats.Add(1)
	if th.late(syscall.ETIMEDOUT) {
		t.Error("a starved call may be made again")
	}
	th.begin()
	if !th.late(syscall.ETIMEDOUT) {
		t.Error("what was before the call counts")
	}
	th.Thread = vls.Unimplemented{}
	if th.late(syscall.ETIMEDOUT) {
		t.Error("without workers of their own there is nobody to ask")
	}
}

// Stamps are those of one counter, so calls that overlap are seen to, and so are
// those that are left out.
func TestOverlap(t *testing.T) {
	large := streamCall{kind: write, room: small + 1, data: "a part"}
	none := streamCall{kind: write, room: small + 1, err: syscall.EWOULDBLOCK}
	again := streamCall{kind: read, err: syscall.EWOULDBLOCK, again: true}
	all := overlap(calls(
		at(1, 4, streamCall{kind: read}), at(2, 3, streamCall{kind: read}),
		at(5, 6, streamCall{kind: read}), at(7, 10, large), at(8, 9, streamCall{kind: read}),
		at(11, 14, none), at(12, 13, streamCall{kind: peek}),
		at(15, 18, again), at(16, 17, streamCall{kind: peek}),
		at(19, 22, streamCall{kind: shutdown}), at(20, 21, streamCall{kind: read})))
	want := []struct{ busy, torn bool }{
		{true, false}, {true, false}, {false, false}, {false, false}, {false, true},
		{false, false}, {false, false}, {true, false}, {false, false}, {false, false},
	}
	if len(all) != len(want) {
		t.Fatalf("%d calls, want %d", len(all), len(want))
	}
	for i, want := range want {
		if c := all[i].op; c.busy != want.busy || c.torn != want.torn {
			t.Errorf("call %d: busy %v, torn %v; want %v", i, c.busy, c.torn, want)
		}
	}
}

// Of many answers that say nothing new the first are noted, and of all that
// follow when they were.
func TestNoteAgain(t *testing.T) {
	l := newLogs[streamCall]([]*mate{{team: new(team)}})[0]
	u := &user{log: l}
	note := func(err error) { u.note(l.begin(), streamCall{kind: read}, err) }
	for range streamBlocks + 2 { // stamps up to 10
		note(syscall.EWOULDBLOCK)
	}
	l.clock.n.Add(1) // another thread's
	note(syscall.EWOULDBLOCK)
	note(syscall.EWOULDBLOCK)
	note(nil)
	note(syscall.EWOULDBLOCK)
	want := []struct {
		begin, end int64
		again      bool
	}{{1, 2, false}, {3, 4, false}, {5, 6, false}, {7, 10, true}, {12, 15, true}, {16, 17, false}, {18, 19, false}}
	if len(l.done) != len(want) {
		t.Fatalf("%d calls are noted, want %d: %v", len(l.done), len(want), l.done)
	}
	for i, c := range l.done {
		if w := want[i]; c.begin != w.begin || c.end != w.end || c.op.again != w.again {
			t.Errorf("call %d: %d to %d, again %v; want %v", i, c.begin, c.end, c.op.again, w)
		}
	}
}
