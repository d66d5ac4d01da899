package locks

import (
	"sync/atomic"

	"vlsbench/hw"
	"vlsbench/sched"
)

// CLH is the queue lock of Craig and of Landin and Hagersten (1993): first come,
// first served, and each waits for the word of who came before. After some
// microseconds it sleeps, and is woken when it is its turn. To take a place is
// one step, with nothing to link after it: a thread that is stopped anywhere in
// that stops only those behind.
//
// Unlike the original's, a free lock has no node: who unlocks and finds nobody
// behind takes it along, and who finds the lock free uses the word in the lock
// itself. So what meets nobody is two locked instructions; idle locks, of which
// there are many, keep none of the nodes that all share; and anybody may unlock,
// since the lock remembers the holder's. A 1025th thread that waits has no place
// in the order until there is a node, as in [MCS]; and one that is held for ever
// may keep a node for ever. The zero value is unlocked.
type CLH struct {
	tail   uint32 // 0: free; own if held by that word, and twice the node of who came last
	holder uint32 // which word the holder, whose this is, will grant
	_      [hw.CacheLine - 8]byte
	word   uint32 // named own; granted by its holder and reset by who was waiting
	_      [hw.FalseSharing - hw.CacheLine - 4]byte
}

const own = 1

// Lock implements [Lock].
func (l *CLH) Lock() {
	sched.Point("clh: before the swap")
	if !atomic.CompareAndSwapUint32(&l.tail, 0, own) {
		l.lockSlow()
		return
	}
	l.holder = own
}

func (l *CLH) lockSlow() {
	id := takeNode()
	for b := (backoff{what: "clh: no node"}); id == 0; id = takeNode() {
		b.wait(b.longer())
		if l.TryLock() {
			return
		}
	}
	before := l.place(id)
	sched.Point("clh: place taken")
	switch {
	case before >= firstNode:
		awaitGrant("clh: turn of another", &nodeOf(before).state)
		giveNode(before) // nobody else can wait for it
	case before == own:
		awaitGrant("clh: turn of another", &l.word)
		sched.Point("clh: granted, and the word not yet free")
		hw.StoreRel32(&l.word, waiting)
	}
	l.holder = id
}

// place takes the place behind all others, and returns which word to wait for,
// 0 if none.
func (l *CLH) place(id uint32) (before uint32) {
	for {
		last := atomic.LoadUint32(&l.tail)
		sched.Point("clh: between the look and the swap")
		if atomic.CompareAndSwapUint32(&l.tail, last, 2*id|last&own) {
			if last > own {
				return last / 2
			}
			return last
		}
	}
}

// Unlock implements [Lock]. It subtracts, as in [MCS].
func (l *CLH) Unlock() {
	id := l.holder
	sched.Point("clh: before the release")
	if id != own || atomic.AddUint32(&l.tail, ^uint32(own-1)) != 0 {
		l.unlockSlow(id)
	}
}

// unlockSlow is for who waits behind, and for a holder that has waited.
func (l *CLH) unlockSlow(id uint32) {
	switch last := atomic.LoadUint32(&l.tail); {
	case last == 0, last == ^uint32(0):
		panic("locks: Unlock of a CLH that is not locked")
	case id == own:
		grant("clh: grant", &l.word)
	case atomic.CompareAndSwapUint32(&l.tail, 2*id, 0):
		giveNode(id)
	default:
		grant("clh: grant", &nodeOf(id).state)
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
