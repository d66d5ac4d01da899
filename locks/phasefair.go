package locks

import (
	"sync/atomic"

	"vlsbench/hw"
	"vlsbench/sched"
)

// PhaseFair is a readers-writer lock in which phases of reading and of writing
// take turns while both are wanted, after the ticket lock PF-T of Brandenburg
// and Anderson (2010). Writers are served in the order of coming. A reader waits
// for one writer at most, the one that was there when it came; a writer waits
// for those before it and, with each, for the readers that were there when its
// turn came. Nobody waits for ever.
//
// A reader must not take again what it holds: a writer whose turn came in
// between would wait for the first, and the second for the writer.
//
// The zero value is unlocked. At most 2²⁹ readers can be inside.
type PhaseFair struct {
	in    uint32 // readers that have come, times 4, and the writer's bits
	out   uint32 // readers that have left, times 4
	next  uint32 // the writer's number to be drawn next
	turn  uint32 // the number of the writer whose turn it is; written by that one
	phase uint32 // bits of the last writer that wrote; of the one whose turn it is
	_     [hw.FalseSharing - 20]byte
}

const (
	aReader    = 4 // in in and out
	aWriter    = 2 // in in: is inside, or waits for the readers before it
	otherPhase = 1 // in in, beside aWriter: differs from one writer to the next
	writerBits = aWriter | otherPhase
)

// RLock implements [RW].
func (l *PhaseFair) RLock(int) {
	w := atomic.AddUint32(&l.in, aReader) & writerBits
	sched.Point("phasefair: reader counted")
	if w != 0 {
		l.rlockSlow(w)
	}
}

// rlockSlow waits until the writer that was there is not. That another one has
// followed is as good: it has counted this reader among those before it.
func (l *PhaseFair) rlockSlow(w uint32) {
	for b := (backoff{what: "phasefair: writer inside"}); atomic.LoadUint32(&l.in)&writerBits == w; {
		b.wait(b.longer())
	}
}

// TryRLock implements [RW]. It goes on as long as only readers are in its way.
func (l *PhaseFair) TryRLock(int) bool {
	for {
		in := atomic.LoadUint32(&l.in)
		if in&writerBits != 0 {
			return false
		}
		sched.Point("phasefair: reader, between the look and the swap")
		if atomic.CompareAndSwapUint32(&l.in, in, in+aReader) {
			return true
		}
	}
}

// RUnlock implements [RW].
func (l *PhaseFair) RUnlock(int) {
	sched.Point("phasefair: before a reader leaves")
	if out := atomic.AddUint32(&l.out, aReader); int32(atomic.LoadUint32(&l.in)&^writerBits-out) < 0 {
		panic("locks: RUnlock of a PhaseFair that is not read-locked")
	}
}

// Lock implements [Lock].
func (l *PhaseFair) Lock() {
	mine := atomic.AddUint32(&l.next, 1) - 1
	sched.Point("phasefair: number drawn")
	if mine != atomic.LoadUint32(&l.turn) {
		await("phasefair: another's turn", &l.turn, mine)
	}
	// Readers that come from here on wait.
	sched.Point("phasefair: writer's turn")
	l.phase = l.nextPhase()
	before := atomic.AddUint32(&l.in, l.phase) - l.phase
	for b := (backoff{what: "phasefair: readers inside"}); atomic.LoadUint32(&l.out) != before; {
		b.wait(b.longer())
	}
}

// nextPhase is what the writer whose turn it is puts into in: not what the last
// one to do so put there. A reader that still waits for that one would take the
// two for one, and wait for a writer that waits for it. That is why the phase is
// not the number's parity: TryLock may draw a number and write nothing.
func (l *PhaseFair) nextPhase() uint32 { return aWriter | ^l.phase&otherPhase }

// Unlock implements [Lock].
func (l *PhaseFair) Unlock() {
	if atomic.AndUint32(&l.in, ^uint32(writerBits))&aWriter == 0 {
		panic("locks: Unlock of a PhaseFair that is not locked")
	}
	sched.Point("phasefair: between the end of a phase and of a turn")
	hw.StoreRel32(&l.turn, atomic.LoadUint32(&l.turn)+1)
}

// TryLock implements [Lock]. It draws a number if that is the one whose turn it
// is, and passes its turn if readers are inside.
func (l *PhaseFair) TryLock() bool {
	mine := atomic.LoadUint32(&l.turn)
	if atomic.LoadUint32(&l.next) != mine || !atomic.CompareAndSwapUint32(&l.next, mine, mine+1) {
		return false
	}
	in := atomic.LoadUint32(&l.in)
	sched.Point("phasefair: between the look at in and at out")
	// Only readers can change in now. out is never ahead of it: if it is there,
	// and in is still the same, nobody is inside.
	w := l.nextPhase()
	if atomic.LoadUint32(&l.out) == in && atomic.CompareAndSwapUint32(&l.in, in, in+w) {
		l.phase = w
		return true
	}
	sched.Point("phasefair: before a turn is passed")
	hw.StoreRel32(&l.turn, mine+1)
	return false
}
