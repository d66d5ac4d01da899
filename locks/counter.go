package locks

import (
	"sync/atomic"

	"vlsbench/hw"
)

// Counter counts what happens to one class of locks, of which there may be
// many. It costs an atomic add per acquisition on a line that all threads share,
// so it has no place in a timed run: what is not counted is not wrapped, and
// pays nothing. [NewCounter] makes one.
type Counter struct {
	class        string
	_            [hw.FalseSharing - 16]byte
	acquisitions atomic.Uint64
	_            [hw.FalseSharing - 8]byte
	contended    atomic.Uint64
	_            [hw.FalseSharing - 8]byte
}

// NewCounter makes the counter of a class.
func NewCounter(class string) *Counter { return &Counter{class: class} }

// Stat is what was counted so far: exact once all threads that use the locks
// are quiet. Reading and writing are counted alike.
func (c *Counter) Stat() Stat {
	return Stat{
		Class:        c.class,
		Acquisitions: c.acquisitions.Load(),
		Contended:    c.contended.Load(),
	}
}

// Counted is l with every acquisition counted on c: as contended if a first
// TryLock failed. A TryLock that failed acquires nothing and is not counted.
func Counted(l Lock, c *Counter) Lock { return &counted{l, c} }

// CountedRW is [Counted] for a readers-writer lock. A reader is contended if it
// met a writer, be it that the writer was only waiting; readers do not contend
// with each other.
func CountedRW(l RW, c *Counter) RW { return &countedRW{counted{l, c}, l} }

type counted struct {
	l Lock
	c *Counter
}

func (l *counted) Lock() {
	if !l.l.TryLock() {
		l.c.contended.Add(1)
		l.l.Lock()
	}
	l.c.acquisitions.Add(1)
}

func (l *counted) TryLock() bool {
	if !l.l.TryLock() {
		return false
	}
	l.c.acquisitions.Add(1)
	return true
}

func (l *counted) Unlock() { l.l.Unlock() }

type countedRW struct {
	counted
	rw RW
}

func (l *countedRW) RLock(slot int) {
	if !l.rw.TryRLock(slot) {
		l.c.contended.Add(1)
		l.rw.RLock(slot)
	}
	l.c.acquisitions.Add(1)
}

func (l *countedRW) TryRLock(slot int) bool {
	if !l.rw.TryRLock(slot) {
		return false
	}
	l.c.acquisitions.Add(1)
	return true
}

func (l *countedRW) RUnlock(slot int) { l.rw.RUnlock(slot) }
