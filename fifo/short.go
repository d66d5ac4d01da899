package fifo

import (
	"sync/atomic"

	"vlsbench/hw"
	"vlsbench/sched"
)

// Messages of 33 to 64 bytes, in steps that the compiler puts in the place of
// their calls; Enqueue and Dequeue are too long for that. A write and a read by
// one thread through the session core, which takes these steps, cost 1.34 times
// those of a bare fifo, and 1.55 times with the calls.
//
// A producer that finds Short and Room may Put and then AdvanceTail; a consumer
// that finds Short, and There or Look, may Take and then AdvanceHead. Where a
// step answers false, Enqueue or Dequeue it is.

// Short reports whether messages of n bytes, of this fifo's order, may go by
// steps.
func (f *Fifo) Short(n int) bool { return uint64(n)-33 < 32 && f.ord == Release }

// Room reports whether n bytes go where the tail is without a closer look.
// Producer.
func (f *Fifo) Room(n int) bool {
	e := &f.h.prod
	return uint64(n) <= e.end-e.at
}

// Put copies a short message, for which there is room, to the tail. Producer.
func (f *Fifo) Put(p []byte) { f.shortIn(f.h.prod.at, addressOf(p), uint64(len(p))) }

// AdvanceTail publishes the n bytes that were put. Producer.
func (f *Fifo) AdvanceTail(n int) {
	e := &f.h.prod
	e.at += uint64(n)
	if sched.Enabled {
		sched.Point("fifo: between bytes and tail")
	}
	hw.StoreRel32(&f.h.tail, uint32(e.at-e.delta))
}

// There reports whether n bytes can be read, as far as the consumer knows.
// Consumer.
func (f *Fifo) There(n int) bool {
	e := &f.h.cons
	return uint64(n) <= e.end-e.at
}

// Look looks at the tail again, unless it is time for a closer look, and reports
// as There does. Consumer.
func (f *Fifo) Look(n int) bool {
	e := &f.h.cons
	// Whoever keeps up comes here every time. A tail that no producer can have
	// written leads no further than the chunk's end.
	tail := atomic.LoadUint32(&f.h.tail)
	if sched.Enabled {
		sched.Point("fifo: after the look at the tail")
	}
	if tail == e.tail || e.end == e.stop || e.pat.left <= 1 {
		return false
	}
	e.pat.left--
	e.tail = tail
	e.end = min(e.stop, e.at+uint64(tail-uint32(e.at-e.delta)))
	return uint64(n) <= e.end-e.at
}

// Take copies a short message that is there from the head. Consumer.
func (f *Fifo) Take(p []byte) { f.shortOut(addressOf(p), f.h.cons.at, uint64(len(p))) }

// AdvanceHead frees the n bytes that were taken. Consumer.
func (f *Fifo) AdvanceHead(n int) {
	e := &f.h.cons
	e.at += uint64(n)
	if sched.Enabled {
		sched.Point("fifo: between bytes and head")
	}
	hw.StoreRel32(&f.h.head, uint32(e.at-e.delta))
}
