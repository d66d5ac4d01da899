package locks

import (
	"sync/atomic"

	"vlsbench/hw"
	"vlsbench/sched"
)

// CLH is the queue lock of Craig and of Landin and Hagersten (1993): first come,
// first served, and each waits for the word of who came before. After some
// microseconds it sleeps, and is woken when it is its turn. To take a place is
// one exchange, and there is nothing to link: a thread that is stopped anywhere
// in it stops only those behind.
//
// Unlike the original's, a free lock has no node: who unlocks and finds nobody
// behind takes it along, and who finds the lock free uses the word in the lock
// itself. So what meets nobody is two locked instructions; idle locks, of which
// there are many, keep none of the nodes that all share; and anybody may unlock,
// since the lock remembers the holder's. A 1025th thread that waits has no place
// in the order until there is a node, as in [MCS]. The zero value is unlocked.
type CLH struct {
	tail   uint32 // 0: free; own, or a node: of who came last
	holder uint32 // the holder's word, 0 if there is none; the holder's
	_      [hw.CacheLine - 8]byte
	word   uint32 // named own; granted by its holder and reset by who was waiting
	_      [hw.FalseSharing - hw.CacheLine - 4]byte
}

const own = 1

// state is where a holder grants what waits behind it.
func (l *CLH) state(id uint32) *uint32 {
	if id == own {
		return &l.word
	}
	return &nodeOf(id).state
}

// Lock implements [Lock].
func (l *CLH) Lock() {
	if !l.TryLock() {
		l.lockSlow()
	}
}

func (l *CLH) lockSlow() {
	id := takeNode()
	for b := (backoff{what: "clh: no node"}); id == 0; id = takeNode() {
		b.wait(b.longer())
		if l.TryLock() {
			return
		}
	}
	if before := atomic.SwapUint32(&l.tail, id); before != 0 {
		sched.Point("clh: place taken")
		awaitGrant("clh: turn of another", l.state(before))
		sched.Point("clh: granted, and the word not yet free")
		// Nobody else can wait for it: it is free for use again.
		if before == own {
			hw.StoreRel32(&l.word, waiting)
		} else {
			giveNode(before)
		}
	}
	l.holder = id
}

// Unlock implements [Lock].
func (l *CLH) Unlock() {
	id := l.holder
	if id == 0 {
		panic("locks: Unlock of a CLH that is not locked")
	}
	l.holder = 0
	sched.Point("clh: before the release")
	switch {
	case !atomic.CompareAndSwapUint32(&l.tail, id, 0):
		grant("clh: grant", l.state(id))
	case id != own:
		giveNode(id)
	}
}

// TryLock implements [Lock].
func (l *CLH) TryLock() bool {
	if atomic.LoadUint32(&l.tail) != 0 {
		return false
	}
	sched.Point("clh: between the look and the swap")
	if !atomic.CompareAndSwapUint32(&l.tail, 0, own) {
		return false
	}
	l.holder = own
	return true
}
