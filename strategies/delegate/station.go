package delegate

import (
	"runtime"
	"sync/atomic"
	"time"

	"vlsbench/hw"
	"vlsbench/locks"
	"vlsbench/sched"
)

// station is what one thread at a time is in.
type station struct {
	// word is free, biased, held, or what was posted last.
	word atomic.Pointer[slot]
	mark uint32 // 1: the owner is in, where the word was biased; others look at it
	// streak is how often the owner came in and nobody else.
	streak uint32
	owner  *thread // whose it is; of a process's, whoever was its first thread
	shared bool    // some of its sessions are, by fork: never biased again

	gone  atomic.Bool // the owner has exited
	id    uint64      // the order in which one is in several
	class string
	// What counts it, got at once or waited for; nil: nothing does.
	free, taken locks.Lock
	_           [hw.FalseSharing]byte
}

// What the word of a station says when it names no slot; free is nil.
var (
	biased = new(slot)
	held   = new(slot)
)

// slot is how a thread posts to a station that another is in, one thing at a
// time. From posted on it is the station's holder's, until it is told.
type slot struct {
	state uint32 // a futex
	alone bool   // what is wanted is to be in, not that something is done
	next  *slot  // posted before it, or held; in a list, what comes after it
	t     *thread
	_     [hw.FalseSharing - 32]byte
}

// States of a slot.
const (
	posted = iota
	asleep // posted, and the thread sleeps, or is about to
	done   // what it wanted was done
	again  // nobody does it: it is to come, or to post again
)

// list is slots, the first that came first.
type list struct{ first, last *slot }

func (l *list) push(x *slot) {
	x.next = nil
	if l.last == nil {
		l.first = x
	} else {
		l.last.next = x
	}
	l.last = x
}

func (l *list) pop() *slot {
	x := l.first
	if x == nil {
		return nil
	}
	if l.first = x.next; l.first == nil {
		l.last = nil
	}
	return x
}

// Tests lower these.
var (
	// patience is how many pauses a thread looks for what it waits for before it
	// sleeps: 2 to 20 us.
	patience = 512
	// most is how many operations of others one holder does.
	most = 64
	// calm is how often the owner must have been in, and nobody else, before its
	// station is biased again: to take it from the owner costs 10 us when that
	// runs, which so many operations have made up for.
	calm uint32 = 4096
	// stays is how often a guest must have used a session, and nobody else, to be
	// its owner.
	stays = 64
)

// enter makes t be in the station: true; or, unless the slot says that it wants to
// be in alone, has what t wants done by who is: false. x is a slot of t's.
func (st *station) enter(t *thread, x *slot) bool {
	if st.owner == t && st.word.Load() == biased && st.mark1() {
		st.got(true)
		return true
	}
	at := true
	for i := 0; ; {
		switch head := st.word.Load(); head {
		case nil, biased:
			sched.Point("station: between the look and the swap")
			if st.word.CompareAndSwap(head, held) {
				if head == biased {
					st.revoke()
				}
				st.came(t)
				st.got(at)
				return true
			}
		default:
			at = false
			// Who has to be in comes sooner by looking than by being told.
			if x.alone && i < patience && !(sched.Enabled && sched.Controlled()) {
				hw.Pause()
				i++
				continue
			}
			atomic.StoreUint32(&x.state, posted)
			x.next = head
			sched.Point("station: slot written, before it is posted")
			if !st.word.CompareAndSwap(head, x) {
				continue
			}
			sched.Point("station: posted")
			if x.await() == done {
				return false
			}
			i = 0
		}
	}
}

// tryEnter is enter if nobody is in, but for the owner of a biased one, which does
// not stay.
func (st *station) tryEnter(t *thread) bool {
	if st.owner == t && st.word.Load() == biased && st.mark1() {
		st.got(true)
		return true
	}
	head := st.word.Load()
	if head != nil && head != biased {
		return false
	}
	sched.Point("station: between the look and the swap")
	if !st.word.CompareAndSwap(head, held) {
		return false
	}
	if head == biased {
		st.revoke()
	}
	st.came(t)
	st.got(true)
	return true
}

// mark1 makes the owner be in if the station is biased.
func (st *station) mark1() bool {
	hw.StoreRel32(&st.mark, 1)
	sched.Point("station: marked, before the look at the word")
	if st.word.Load() == biased {
		return true
	}
	hw.StoreRel32(&st.mark, 0)
	return false
}

// came notes who came in. Held.
func (st *station) came(t *thread) {
	if st.owner == t {
		st.streak++
	} else {
		st.streak = 0
	}
}

// revoke waits until the owner is not in, after biased was swapped for held.
func (st *station) revoke() {
	// Either the owner sees that, or its mark is seen here.
	hw.HeavyFence()
	for i := 1; atomic.LoadUint32(&st.mark) != 0; i++ {
		if sched.Spin("station: the owner is in") {
			continue
		}
		hw.Pause()
		switch {
		case i%1024 == 0:
			hw.FutexWait(&nobody, 0, 20*time.Microsecond)
		case i%64 == 0:
			runtime.Gosched()
		}
	}
}

// nobody is a futex that no one wakes.
var nobody uint32

// leave makes t be out of the station, once what was posted there is done.
func (st *station) leave(t *thread) {
	if st.free != nil {
		st.free.Unlock()
	}
	if st.owner == t && st.mark != 0 {
		sched.Point("station: before the mark is cleared")
		hw.StoreRel32(&st.mark, 0)
		return
	}
	st.release(t)
}

// open makes a station that nobody has used for long biased, for its owner.
func (st *station) open() {
	if st.word.CompareAndSwap(nil, held) {
		st.streak = calm
		st.release(st.owner)
	}
}

// release is leave of one that came by the word. Whoever has to come by itself is
// told, all at once, and not one who then sees to the others: one that is told and
// does not come, as it is stopped, is in no station, and is to keep nobody.
func (st *station) release(t *thread) {
	var rest list // of what was posted
	for did := 0; ; {
		if st.word.Load() != held {
			sched.Point("station: something is posted, before it is taken")
			st.take(&rest)
		}
		st.serve(&rest, &did)
		next := (*slot)(nil)
		if rest.first == nil && st.owner == t && st.streak >= calm && !st.shared && hw.MembarrierAvailable() {
			st.streak = 0
			next = biased
		}
		sched.Point("station: before it is left")
		if st.word.CompareAndSwap(held, next) {
			break
		}
	}
	for x := rest.pop(); x != nil; x = rest.pop() {
		sched.Point("station: left, before the next is told")
		x.tell(again)
	}
}

// take moves what was posted to the end of a list, in the order in which it was.
// Held.
func (st *station) take(to *list) {
	var old *slot
	for x := st.word.Swap(held); x != held; {
		next := x.next
		x.next = old
		old, x = x, next
	}
	for x := old; x != nil; {
		next := x.next
		to.push(x)
		x = next
	}
}

// serve does what was posted, but for what is to come by itself, which stays on
// the list. Held.
func (st *station) serve(l *list, did *int) {
	if l.first == nil {
		return
	}
	var kept list
	for x := l.pop(); x != nil; x = l.pop() {
		if x.alone || *did == most {
			kept.push(x)
			continue
		}
		*did++
		st.came(x.t)
		x.t.run(st)
		x.tell(done)
	}
	*l = kept
}

// got counts that somebody came in, at once or after others.
func (st *station) got(at bool) {
	switch {
	case st.free == nil:
	case at:
		st.free.Lock()
	default:
		st.taken.Lock()
	}
}

// await waits until the slot is told, and returns what.
func (x *slot) await() uint32 {
	controlled := sched.Enabled && sched.Controlled()
	for i := 0; ; i++ {
		switch state := atomic.LoadUint32(&x.state); {
		case state > asleep:
			return state
		case state == asleep:
			if !sched.FutexWait("station: asleep", &x.state, asleep, -1) {
				hw.FutexWait(&x.state, asleep, -1)
			}
		case i >= patience || controlled && i > 0:
			sched.Point("station: before the slot says that it sleeps")
			atomic.CompareAndSwapUint32(&x.state, posted, asleep)
		default:
			if !sched.Spin("station: posted, and not told") {
				hw.Pause()
			}
		}
	}
}

// tell ends the wait of who posted, and the slot is its own again.
func (x *slot) tell(state uint32) {
	sched.Point("station: before a slot is told")
	if atomic.SwapUint32(&x.state, state) == asleep {
		sched.FutexWake("station: told, before the wake", &x.state, 1)
		hw.FutexWake(&x.state, 1)
	}
}
