package locks

import (
	"sync/atomic"

	"vlsbench/hw"
	"vlsbench/sched"
)

// CLH is a lock with the queue of Craig and of Landin and Hagersten (1993): first
// come, first served, and each waits for the word of who came before, which is the
// lock's own if that one did not have to wait. After some microseconds they sleep,
// and are woken when it is their turn. To take a place is one step, with nothing
// to link after it: a thread that is stopped anywhere in that stops only those
// behind.
//
// Unlike the original's, a lock that nobody has waited for has no node: idle locks,
// of which there are many, keep none of those that all share, anybody may unlock,
// and what meets nobody is a compare-and-swap and an exchange of one word. A 1025th
// thread that waits has no place in the order until there is a node, as in [MCS];
// and one that is held for ever may keep a node for ever. The zero value is
// unlocked.
type CLH struct {
	word   uint32 // see takeFirst
	tail   uint32 // the node of who came last, 0: nobody waits or has waited
	holder uint32 // its node, if the word has passed
	_      [hw.FalseSharing - 12]byte
}

// Lock implements [Lock]. Who saw no queue has come before those who came to wait
// since, and may go first.
func (l *CLH) Lock() {
	sched.Point("clh: before the swap")
	if atomic.LoadUint32(&l.tail) != 0 || !atomic.CompareAndSwapUint32(&l.word, 0, held) {
		l.lockSlow()
	}
}

func (l *CLH) lockSlow() {
	id := takeNode()
	for b := (backoff{what: "clh: no node"}); id == 0; id = takeNode() {
		if l.TryLock() {
			return
		}
		b.wait(b.longer())
	}
	sched.Point("clh: before it takes its place")
	if before := atomic.SwapUint32(&l.tail, id); before == 0 {
		takeFirst("clh: taken", &l.word)
	} else {
		sched.Point("clh: place taken")
		awaitGrant("clh: turn of another", &nodeOf(before).state)
		giveNode(before) // nobody else can wait for it
	}
	l.holder = id
}

// Unlock implements [Lock].
func (l *CLH) Unlock() {
	sched.Point("clh: before the release")
	if atomic.LoadUint32(&l.word)&passed != 0 {
		l.pass()
	} else if was := atomic.SwapUint32(&l.word, 0); was != held {
		freed("a CLH", was, &l.word)
	}
}

// pass hands the lock on to who comes behind, or to nobody.
func (l *CLH) pass() {
	id := l.holder
	if atomic.CompareAndSwapUint32(&l.tail, id, 0) {
		giveNode(id)
		free("clh: nobody behind", &l.word)
		return
	}
	grant("clh: grant", &nodeOf(id).state)
}

// TryLock implements [Lock].
func (l *CLH) TryLock() bool {
	if atomic.LoadUint32(&l.tail) != 0 || atomic.LoadUint32(&l.word) != 0 {
		return false
	}
	sched.Point("clh: between the look and the swap")
	return atomic.CompareAndSwapUint32(&l.word, 0, held)
}
