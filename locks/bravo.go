package locks

import (
	"sync"
	"sync/atomic"

	"vlsbench/hw"
	"vlsbench/sched"
)

const bravoLines = 64

// Bravo is a readers-writer lock whose readers do not write to a common line,
// after BRAVO (Dice and Kogan, 2019): each counts itself on the line of its
// slot, and a writer looks at all lines. Reading costs two locked instructions
// on a line that no other core wants; writing costs 64 loads more than an
// RWMutex. It holds 8 KB. [NewBravo] makes one.
//
// Slots that are equal modulo 64 share a line. Unlike the paper's, it has no
// time in which readers stay away from their lines after a writer: whether that
// pays depends on a guess about the next writer.
//
// A writer is not starved: its flag turns new readers away, to wait on an
// ordinary lock that the writer holds. Nor are readers: they are let in before
// the next writer, as sync.RWMutex has it.
//
// # Order
//
// A reader adds itself to its line and then loads the flag; a writer stores the
// flag and then loads the lines. Each needs its store to be seen before it
// loads, or both could miss the other and be inside at once. Both stores are
// sequentially consistent atomics, so at least one sees the other. A reader that
// sees the flag takes itself off and goes the slow way; a writer that sees a
// reader waits. The add on RUnlock and the writer's load of the zero it leaves
// order what the reader read before what the writer writes.
type Bravo struct {
	// Readers only look at this line; flag is written by writers, under mu.
	flag atomic.Uint32 // 1: a writer is inside, or waits for the lines
	// A slice: to index by way of a pointer to an array, the compiler first reads
	// the array's first word, to see that the pointer is not nil, and so every
	// reader would want the line of slot 0.
	lines []bravoLine
	_     [hw.FalseSharing - 32]byte
	// mu is the writers' lock, held for as long as one is inside. A reader that
	// was turned away holds it for reading only until it is on its line.
	mu sync.RWMutex
	_  [hw.FalseSharing - 24]byte
}

type bravoLine struct {
	readers atomic.Int32
	_       [hw.FalseSharing - 4]byte
}

// NewBravo makes an unlocked Bravo.
func NewBravo() *Bravo { return &Bravo{lines: make([]bravoLine, bravoLines)} }

func (l *Bravo) line(slot int) *bravoLine { return &l.lines[uint(slot)%bravoLines] }

// RLock implements [RW].
func (l *Bravo) RLock(slot int) {
	line := l.line(slot)
	if !l.enter(line) {
		l.rlockSlow(line)
	}
}

// rlockSlow looks again for a while, since writers are short and to be parked is
// not (30 µs on a locked thread), and then waits on mu.
func (l *Bravo) rlockSlow(line *bravoLine) {
	for b := (backoff{what: "bravo: writer inside"}); b.spin(b.longer()); {
		if l.enter(line) {
			return
		}
	}
	rlock("bravo: reader waits for a writer", &l.mu)
	// No writer is inside. One that comes now waits for our RUnlock of mu, and
	// so sees the line.
	line.readers.Add(1)
	l.mu.RUnlock()
}

// enter is the fast way in. It fails if a writer's flag is up.
func (l *Bravo) enter(line *bravoLine) bool {
	if l.flag.Load() != 0 {
		return false // not touching the line spares a writer that waits for it
	}
	sched.Point("bravo: reader, between the look and the count")
	line.readers.Add(1)
	sched.Point("bravo: reader, between the count and the look")
	if l.flag.Load() == 0 {
		return true
	}
	line.readers.Add(-1)
	return false
}

// RUnlock implements [RW].
func (l *Bravo) RUnlock(slot int) {
	sched.Point("bravo: before a reader leaves")
	if l.line(slot).readers.Add(-1) < 0 {
		panic("locks: RUnlock of a Bravo slot that is not read-locked")
	}
}

// TryRLock implements [RW].
func (l *Bravo) TryRLock(slot int) bool {
	line := l.line(slot)
	if l.enter(line) {
		return true
	}
	if !l.mu.TryRLock() {
		return false
	}
	line.readers.Add(1)
	l.mu.RUnlock()
	return true
}

// Lock implements [Lock].
func (l *Bravo) Lock() {
	lock("bravo: another writer inside", &l.mu)
	l.flag.Store(1)
	sched.Point("bravo: writer, between the flag and the lines")
	for i := range l.lines {
		for b := (backoff{what: "bravo: readers inside"}); l.lines[i].readers.Load() != 0; {
			b.wait(b.longer())
		}
	}
}

// Unlock implements [Lock].
func (l *Bravo) Unlock() {
	l.flag.Store(0)
	sched.Point("bravo: writer, between the flag and the end")
	l.mu.Unlock()
}

// TryLock implements [Lock].
func (l *Bravo) TryLock() bool {
	if !l.mu.TryLock() {
		return false
	}
	l.flag.Store(1)
	sched.Point("bravo: writer, between the flag and the lines")
	for i := range l.lines {
		if l.lines[i].readers.Load() != 0 {
			l.Unlock()
			return false
		}
	}
	return true
}
