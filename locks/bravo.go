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
// slot, and a writer looks at all lines up to the highest that was ever used.
// Reading costs two locked instructions on a line that no other core wants;
// writing costs a load for each of those lines more than an RWMutex. So slots
// should be the lowest that are free. It holds 8 KB. [NewBravo] makes one.
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
// reader waits. How many lines are used a reader raises before it adds itself, and
// a writer loads after it stored the flag: one that does not see the line in use
// is seen by its reader. The add on RUnlock and the writer's load of the zero it leaves
// order what the reader read before what the writer writes.
type Bravo struct {
	// Readers only look at this line; flag is written by writers, under mu.
	flag atomic.Uint32 // 1: a writer is inside, or waits for the lines
	used atomic.Uint32 // lines, from the first on, that readers have used; it only grows
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

// enlist is the line of a slot, at which writers look from now on.
func (l *Bravo) enlist(slot int) *bravoLine {
	i := uint(slot) % bravoLines
	if uint(l.used.Load()) <= i {
		l.use(uint32(i) + 1)
	}
	return &l.lines[i]
}

// use raises the number of lines that are used to n.
func (l *Bravo) use(n uint32) {
	for {
		used := l.used.Load()
		if used >= n {
			return
		}
		sched.Point("bravo: reader, before its line is used")
		if l.used.CompareAndSwap(used, n) {
			return
		}
	}
}

// RLock implements [RW].
func (l *Bravo) RLock(slot int) {
	line := l.enlist(slot)
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
	line := l.enlist(slot)
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
	for i := range l.inUse() {
		for b := (backoff{what: "bravo: readers inside"}); l.lines[i].readers.Load() != 0; {
			b.wait(b.longer())
		}
	}
}

// inUse is the lines where there may be readers.
func (l *Bravo) inUse() []bravoLine { return l.lines[:l.used.Load()] }

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
	for i := range l.inUse() {
		if l.lines[i].readers.Load() != 0 {
			l.Unlock()
			return false
		}
	}
	return true
}
