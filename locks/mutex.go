package locks

import (
	"sync"

	"vlsbench/hw"
)

// Lock excludes. It is not recursive, and may be unlocked by another thread
// than the one that locked it.
type Lock interface {
	// Lock waits until the lock is the caller's.
	Lock()
	// Unlock gives it back. Unlock of what is not locked is a fault in the
	// program and ends it.
	Unlock()
	// TryLock takes the lock if that needs no wait, and reports whether it did.
	// It may answer false while the holder is on its way out.
	TryLock() bool
}

// RW admits many readers or one writer. A waiting writer is not passed by
// readers that come after it, which is why a reader must not read-lock again
// what it holds: a writer in between would wait for the first, and the second
// for the writer.
type RW interface {
	Lock
	// RLock waits until the caller may read. slot is a small number of the
	// calling thread, from 0 to 255: kinds that keep a line per reader choose
	// it by slot, the others ignore it. Threads may share a slot, at a price in
	// time.
	RLock(slot int)
	// RUnlock undoes an RLock with the same slot.
	RUnlock(slot int)
	// TryRLock is RLock if that needs no wait, and reports whether it was done.
	TryRLock(slot int) bool
}

// Every lock fills its own pair of cache lines, so that a busy one does not
// slow its neighbours. The allocator places objects of such a size at a
// multiple of it, which a test holds; in a struct or on the stack it is the
// caller's to see to.

// Mutex is Go's sync.Mutex: it spins for some microseconds, then parks the
// goroutine. The zero value is unlocked.
type Mutex struct {
	sync.Mutex
	_ [hw.FalseSharing - 8]byte
}

// RWMutex is Go's sync.RWMutex: readers count themselves on one line, which
// they share. The zero value is unlocked.
type RWMutex struct {
	mu sync.RWMutex
	_  [hw.FalseSharing - 24]byte
}

// Lock implements [Lock].
func (l *RWMutex) Lock() { l.mu.Lock() }

// Unlock implements [Lock].
func (l *RWMutex) Unlock() { l.mu.Unlock() }

// TryLock implements [Lock].
func (l *RWMutex) TryLock() bool { return l.mu.TryLock() }

// RLock implements [RW].
func (l *RWMutex) RLock(int) { l.mu.RLock() }

// RUnlock implements [RW].
func (l *RWMutex) RUnlock(int) { l.mu.RUnlock() }

// TryRLock implements [RW].
func (l *RWMutex) TryRLock(int) bool { return l.mu.TryRLock() }
