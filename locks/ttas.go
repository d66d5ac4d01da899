package locks

import (
	"sync/atomic"

	"vlsbench/hw"
	"vlsbench/sched"
)

// TTAS is a test-and-test-and-set spin lock: it looks until the word is free
// and only then tries to take it, so that waiting threads share the line
// instead of tearing at it, and it looks less often the longer it waits. It
// promises no order among those who wait, and one of them may wait for ever.
// The zero value is unlocked.
type TTAS struct {
	word uint32 // 1: taken
	_    [hw.FalseSharing - 4]byte
}

// Lock implements [Lock].
func (l *TTAS) Lock() {
	sched.Point("ttas: before the swap")
	if !atomic.CompareAndSwapUint32(&l.word, 0, 1) {
		l.lockSlow()
	}
}

func (l *TTAS) lockSlow() {
	for b := (backoff{what: "ttas: taken"}); !l.TryLock(); {
		b.wait(b.longer())
	}
}

// Unlock implements [Lock]. A release store is enough, as in [TAS].
func (l *TTAS) Unlock() {
	if atomic.LoadUint32(&l.word) == 0 {
		panic("locks: Unlock of a TTAS that is not locked")
	}
	sched.Point("ttas: before the release")
	hw.StoreRel32(&l.word, 0)
}

// TryLock implements [Lock].
func (l *TTAS) TryLock() bool {
	if atomic.LoadUint32(&l.word) != 0 {
		return false
	}
	sched.Point("ttas: between the look and the swap")
	return atomic.CompareAndSwapUint32(&l.word, 0, 1)
}
