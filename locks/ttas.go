package locks

import (
	"sync/atomic"
	"time"

	"vlsbench/hw"
)

// TTAS is a test-and-test-and-set spin lock: it looks until the word is free
// and only then tries to take it, so that waiting threads share the line
// instead of tearing at it. It promises no order among those who wait. The zero
// value is unlocked.
type TTAS struct {
	word uint32 // 1: taken
	_    [hw.FalseSharing - 4]byte
}

// Lock implements [Lock].
func (l *TTAS) Lock() {
	if !atomic.CompareAndSwapUint32(&l.word, 0, 1) {
		l.lockSlow()
	}
}

func (l *TTAS) lockSlow() {
	var b backoff
	for {
		if atomic.LoadUint32(&l.word) == 0 && atomic.CompareAndSwapUint32(&l.word, 0, 1) {
			return
		}
		b.wait()
	}
}

// Unlock implements [Lock]. The release store needs no locked instruction: who
// waits looks again and again, so nobody is there to be missed.
func (l *TTAS) Unlock() {
	if atomic.LoadUint32(&l.word) == 0 {
		panic("locks: Unlock of a TTAS that is not locked")
	}
	hw.StoreRel32(&l.word, 0)
}

// TryLock implements [Lock].
func (l *TTAS) TryLock() bool {
	return atomic.LoadUint32(&l.word) == 0 && atomic.CompareAndSwapUint32(&l.word, 0, 1)
}

// backoff spaces the looks of a thread that waits for a short time: 1, 2, 4, …
// 64 pauses, which keeps the line quiet and those who missed each other apart.
// After 447 of them (2 to 20 µs, by the machine) the holder is most likely not
// running, with more threads than cores, and the CPU is given away in a sleep.
// (Giving it away by sched_yield is cheaper, but a thread that does so again
// and again beside one that spins was seen not to run for hundreds of
// milliseconds.)
type backoff struct{ looks uint }

const (
	maxPauses = 1 << 6
	spinLooks = 12
	nap       = 50 * time.Microsecond
)

// nobody is a futex that no one wakes.
var nobody uint32

func (b *backoff) wait() {
	if !b.spin() {
		hw.FutexWait(&nobody, 0, nap)
	}
}

// spin is one pause of the spinning part; false: that is over.
func (b *backoff) spin() bool {
	if b.looks++; b.looks > spinLooks {
		return false
	}
	for range min(uint(1)<<(b.looks-1), maxPauses) {
		hw.Pause()
	}
	return true
}
