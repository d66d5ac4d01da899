package locks

import (
	"sync/atomic"

	"vlsbench/hw"
	"vlsbench/sched"
)

// MCS is a lock with the queue of Mellor-Crummey and Scott (1991): first come,
// first served, and each waits on a line of its own, which only who comes before
// it writes, once; but for the first who waits, for whom there is the lock's own
// word. After some microseconds they sleep, and are woken when it is their turn.
//
// As in Linux's qspinlock, only who has to wait has a node, from those that all
// locks share, and keeps it until it unlocks. So idle locks have none, anybody may
// unlock, and what meets nobody is a compare-and-swap and an exchange of one word.
// In the lock of the paper, and in K42's, who unlocks has to find out whether
// somebody waits, in the same step, by a compare-and-swap or a subtraction, which
// made it 2.3 and 2.1 compare-and-swaps, where this is 1.9. A 1025th thread that
// waits looks again and again until there is a node, and has no place in the order
// till then.
//
// Between taking its place and linking itself to the one before, a thread must
// not be stopped for long: who unlocks waits for the link. The zero value is
// unlocked.
type MCS struct {
	word   uint32 // see takeFirst
	tail   uint32 // the node of who came last, 0: nobody waits or has waited
	holder uint32 // its node, if the word has passed
	_      [hw.FalseSharing - 12]byte
}

// Lock implements [Lock]. Who saw no queue has come before those who came to wait
// since, and may go first.
func (l *MCS) Lock() {
	sched.Point("mcs: before the swap")
	if atomic.LoadUint32(&l.tail) != 0 || !atomic.CompareAndSwapUint32(&l.word, 0, held) {
		l.lockSlow()
	}
}

func (l *MCS) lockSlow() {
	id := takeNode()
	for b := (backoff{what: "mcs: no node"}); id == 0; id = takeNode() {
		if l.TryLock() {
			return
		}
		b.wait(b.longer())
	}
	sched.Point("mcs: before it takes its place")
	if before := atomic.SwapUint32(&l.tail, id); before == 0 {
		takeFirst("mcs: taken", &l.word)
	} else {
		sched.Point("mcs: between place and link")
		hw.StoreRel32(&nodeOf(before).next, id)
		awaitGrant("mcs: turn of another", &nodeOf(id).state)
	}
	l.holder = id
}

// Unlock implements [Lock].
func (l *MCS) Unlock() {
	sched.Point("mcs: before the release")
	if atomic.LoadUint32(&l.word)&passed != 0 {
		l.pass()
	} else if was := atomic.SwapUint32(&l.word, 0); was != held {
		freed("an MCS", was, &l.word)
	}
}

// pass hands the lock on to who comes behind, or to nobody.
func (l *MCS) pass() {
	id := l.holder
	n := nodeOf(id)
	next := atomic.LoadUint32(&n.next)
	sched.Point("mcs: unlock, after the look at next")
	if next == 0 {
		if atomic.CompareAndSwapUint32(&l.tail, id, 0) {
			giveNode(id)
			free("mcs: nobody behind", &l.word)
			return
		}
		next = link(&n.next)
	}
	giveNode(id)
	grant("mcs: grant", &nodeOf(next).state)
}

// link waits for who has taken its place and is about to say where.
func link(next *uint32) uint32 {
	for b := (backoff{what: "mcs: no link yet"}); ; {
		if id := atomic.LoadUint32(next); id != 0 {
			return id
		}
		b.wait(b.longer())
	}
}

// TryLock implements [Lock].
func (l *MCS) TryLock() bool {
	if atomic.LoadUint32(&l.tail) != 0 || atomic.LoadUint32(&l.word) != 0 {
		return false
	}
	sched.Point("mcs: between the look and the swap")
	return atomic.CompareAndSwapUint32(&l.word, 0, held)
}
