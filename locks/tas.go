package locks

import (
	"sync/atomic"

	"vlsbench/hw"
	"vlsbench/sched"
)

// TAS is a test-and-set spin lock: each look is an attempt to take it, and
// pulls the line away from the holder and from all others that wait. It is
// there to show what [TTAS] is for. It promises no order among those who wait,
// and one of them may wait for ever. The zero value is unlocked.
type TAS struct {
	word uint32 // 1: taken
	_    [hw.FalseSharing - 4]byte
}

// Lock implements [Lock].
func (l *TAS) Lock() {
	sched.Point("tas: before the swap")
	for b := (backoff{what: "tas: taken"}); atomic.SwapUint32(&l.word, 1) != 0; {
		b.wait(1)
	}
}

// Unlock implements [Lock]. The release store needs no locked instruction: who
// waits looks again and again, so nobody is there to be missed.
func (l *TAS) Unlock() {
	if atomic.LoadUint32(&l.word) == 0 {
		panic("locks: Unlock of a TAS that is not locked")
	}
	sched.Point("tas: before the release")
	hw.StoreRel32(&l.word, 0)
}

// TryLock implements [Lock].
func (l *TAS) TryLock() bool {
	sched.Point("tas: before the swap")
	return atomic.SwapUint32(&l.word, 1) == 0
}
