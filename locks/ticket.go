package locks

import (
	"sync/atomic"

	"vlsbench/hw"
	"vlsbench/sched"
)

// Ticket is a spin lock that serves in the order of coming: who comes draws a
// number and waits until it is called. All wait on one word, so that each call
// takes the line away from all of them; they look the less often the further
// they are from their turn. The turn of a thread that does not run is nobody
// else's: with more threads than cores each hand-over waits until one that naps
// looks again, and [MCS] is the better choice. Numbers may wrap round; no more
// than 2³² threads can wait at once. The zero value is unlocked.
type Ticket struct {
	next    uint32 // the number to be drawn next
	serving uint32 // the number that may enter; written by the holder
	_       [hw.FalseSharing - 8]byte
}

// Lock implements [Lock].
func (l *Ticket) Lock() {
	mine := atomic.AddUint32(&l.next, 1) - 1
	sched.Point("ticket: number drawn")
	if mine != atomic.LoadUint32(&l.serving) {
		await("ticket: another's turn", &l.serving, mine)
	}
}

// await waits until the word that is called has come up to mine. One pause for
// each who comes before would be the least a hand-over takes; it takes some.
func await(what string, called *uint32, mine uint32) {
	for b := (backoff{what: what}); ; {
		ahead := mine - atomic.LoadUint32(called)
		if ahead == 0 {
			return
		}
		b.wait(min(8*uint(ahead)-7, maxPauses))
	}
}

// Unlock implements [Lock]. A release store is enough, as in [TAS].
func (l *Ticket) Unlock() {
	now := atomic.LoadUint32(&l.serving)
	if now == atomic.LoadUint32(&l.next) {
		panic("locks: Unlock of a Ticket that is not locked")
	}
	sched.Point("ticket: before the call")
	hw.StoreRel32(&l.serving, now+1)
}

// TryLock implements [Lock]. It draws a number only if that is the one being
// called.
func (l *Ticket) TryLock() bool {
	now := atomic.LoadUint32(&l.serving)
	if atomic.LoadUint32(&l.next) != now {
		return false
	}
	sched.Point("ticket: between the look and the draw")
	return atomic.CompareAndSwapUint32(&l.next, now, now+1)
}
