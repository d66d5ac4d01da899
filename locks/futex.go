package locks

import (
	"sync/atomic"

	"vlsbench/hw"
	"vlsbench/sched"
)

// Futex is a mutex that spins for some microseconds and then sleeps in the
// kernel, as a pthread mutex does that was told to spin first. Unlike [Mutex]
// it puts the thread to sleep and not the goroutine, which a goroutine that is
// locked to a pinned thread pays for with a hand-over through other threads. It
// promises no order among those who wait. The zero value is unlocked. Modelled
// on the second mutex of Drepper's "Futexes Are Tricky".
type Futex struct {
	word uint32 // 0: free, 1: taken, 2: taken, and somebody may sleep
	_    [hw.FalseSharing - 4]byte
}

// Lock implements [Lock].
func (l *Futex) Lock() {
	sched.Point("futex: before the swap")
	if !atomic.CompareAndSwapUint32(&l.word, 0, 1) {
		l.lockSlow()
	}
}

func (l *Futex) lockSlow() {
	for b := (backoff{what: "futex: taken"}); b.spin(b.longer()); {
		if l.TryLock() {
			return
		}
	}
	// Who takes it from here on says that others may sleep, since that cannot
	// be known: at worst one wake-up finds nobody.
	for atomic.SwapUint32(&l.word, 2) != 0 {
		sleep("futex: sleep", &l.word, 2)
	}
}

// Unlock implements [Lock].
func (l *Futex) Unlock() {
	sched.Point("futex: before the release")
	switch atomic.SwapUint32(&l.word, 0) {
	case 0:
		panic("locks: Unlock of a Futex that is not locked")
	case 2:
		wake("futex: wake", &l.word)
	}
}

// TryLock implements [Lock].
func (l *Futex) TryLock() bool {
	if atomic.LoadUint32(&l.word) != 0 {
		return false
	}
	sched.Point("futex: between the look and the swap")
	return atomic.CompareAndSwapUint32(&l.word, 0, 1)
}
