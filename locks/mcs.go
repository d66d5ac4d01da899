package locks

import (
	"sync/atomic"

	"vlsbench/hw"
	"vlsbench/sched"
)

// MCS is the queue lock of Mellor-Crummey and Scott (1991): first come, first
// served, and each waits on a line of its own, which only who unlocks writes,
// once. After some microseconds it sleeps, and is woken when it is its turn.
//
// Its node is not the caller's to bring, as in K42: only who waits has one, from
// those that all locks share, and gives it back on getting in. The holder has
// none, and so anybody may unlock, and what meets nobody is two locked
// instructions. A 1025th thread that waits looks again and again until there is
// a node, and has no place in the order till then.
//
// Between taking its place and linking itself to the one before, a thread must
// not be stopped for long: who unlocks waits for the link. The zero value is
// unlocked.
type MCS struct {
	tail uint32 // 0: free; held, and beside it twice the node of who came last
	next uint32 // the node of who is next, written by the holder and by that one
	_    [hw.FalseSharing - 8]byte
}

const held = 1

// Lock implements [Lock].
func (l *MCS) Lock() {
	sched.Point("mcs: before the swap")
	if !atomic.CompareAndSwapUint32(&l.tail, 0, held) {
		l.lockSlow()
	}
}

func (l *MCS) lockSlow() {
	var id uint32
	for b := (backoff{what: "mcs: no node"}); ; {
		last := atomic.LoadUint32(&l.tail)
		sched.Point("mcs: between the look and the swap")
		switch {
		case last == 0:
			if atomic.CompareAndSwapUint32(&l.tail, 0, held) {
				if id != 0 {
					giveNode(id)
				}
				return
			}
		case id == 0:
			if id = takeNode(); id == 0 {
				b.wait(b.longer())
			}
		case atomic.CompareAndSwapUint32(&l.tail, last, 2*id|last&held):
			l.queue(last/2, id)
			return
		}
	}
}

// queue waits behind last, 0 for the holder, and moves on from the node to the
// lock itself.
func (l *MCS) queue(last, id uint32) {
	n := nodeOf(id)
	sched.Point("mcs: between place and link")
	if last == 0 {
		hw.StoreRel32(&l.next, id)
	} else {
		hw.StoreRel32(&nodeOf(last).next, id)
	}
	awaitGrant("mcs: turn of another", &n.state)
	next := atomic.LoadUint32(&n.next)
	sched.Point("mcs: granted, and not yet off the node")
	if next == 0 {
		// It must be 0 before anybody can link to the lock.
		hw.StoreRel32(&l.next, 0)
		sched.Point("mcs: nobody behind, before the swap")
		if atomic.CompareAndSwapUint32(&l.tail, 2*id|held, held) {
			giveNode(id)
			return
		}
		next = link(&n.next)
	}
	hw.StoreRel32(&l.next, next)
	giveNode(id)
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

// Unlock implements [Lock]. To subtract is cheaper than to compare and swap: by a
// quarter of what the rest costs.
func (l *MCS) Unlock() {
	next := atomic.LoadUint32(&l.next)
	sched.Point("mcs: unlock, after the look at next")
	if next != 0 || atomic.AddUint32(&l.tail, ^uint32(held-1)) != 0 {
		l.unlockSlow(next)
	}
}

// unlockSlow hands the lock to next, or to one that is about to say that it is.
func (l *MCS) unlockSlow(next uint32) {
	if next == 0 {
		if atomic.LoadUint32(&l.tail) == ^uint32(0) {
			panic("locks: Unlock of an MCS that is not locked")
		}
		// There are waiters in the tail, and so nobody takes it for free.
		next = link(&l.next)
		atomic.AddUint32(&l.tail, held)
	}
	grant("mcs: grant", &nodeOf(next).state)
}

// TryLock implements [Lock].
func (l *MCS) TryLock() bool {
	if atomic.LoadUint32(&l.tail) != 0 {
		return false
	}
	sched.Point("mcs: between the look and the swap")
	return atomic.CompareAndSwapUint32(&l.tail, 0, held)
}
