package locks

import (
	"sync"

	"vlsbench/hw"
	"vlsbench/sched"
)

// Lock excludes. The package's comment says what all of them promise.
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

// RW admits many readers or one writer. Which of them goes before which depends
// on the kind: [Kind] says so. Where it does not say that readers may lock
// again what they hold, they must not: a writer in between would wait for the
// first, and the second for the writer.
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
// goroutine. Who comes may be faster than who waits, until one has waited for a
// millisecond: then it is handed on in the order of coming. Unlock of one that
// is not locked ends the program. The zero value is unlocked.
type Mutex struct {
	mu sync.Mutex
	_  [hw.FalseSharing - 8]byte
}

// Lock implements [Lock].
func (l *Mutex) Lock() {
	if sched.Enabled && sched.Controlled() {
		sched.Wait("mutex: taken", l.mu.TryLock, -1)
		return
	}
	l.mu.Lock()
}

// Unlock implements [Lock].
func (l *Mutex) Unlock() { l.mu.Unlock() }

// TryLock implements [Lock].
func (l *Mutex) TryLock() bool { return l.mu.TryLock() }

// RWMutex is Go's sync.RWMutex: readers count themselves on one line, which
// they share, and park the goroutine at once. A writer that waits stops readers
// that come later, and lets those in when it leaves, before the next writer.
// Unlock of one that is not locked ends the program. The zero value is unlocked.
type RWMutex struct {
	mu sync.RWMutex
	_  [hw.FalseSharing - 24]byte
}

// lock and rlock wait in a way that the scheduler sees. To it a writer that waits
// stops no reader.
func lock(what string, mu *sync.RWMutex) {
	if sched.Enabled && sched.Controlled() {
		sched.Wait(what, mu.TryLock, -1)
		return
	}
	mu.Lock()
}

func rlock(what string, mu *sync.RWMutex) {
	if sched.Enabled && sched.Controlled() {
		sched.Wait(what, mu.TryRLock, -1)
		return
	}
	mu.RLock()
}

// Lock implements [Lock].
func (l *RWMutex) Lock() { lock("rwmutex: somebody inside", &l.mu) }

// Unlock implements [Lock].
func (l *RWMutex) Unlock() { l.mu.Unlock() }

// TryLock implements [Lock].
func (l *RWMutex) TryLock() bool { return l.mu.TryLock() }

// RLock implements [RW].
func (l *RWMutex) RLock(int) { rlock("rwmutex: writer inside", &l.mu) }

// RUnlock implements [RW].
func (l *RWMutex) RUnlock(int) { l.mu.RUnlock() }

// TryRLock implements [RW].
func (l *RWMutex) TryRLock(int) bool { return l.mu.TryRLock() }
