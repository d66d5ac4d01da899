package fifo

import "vlsbench/sched"

// Out-of-order data: bytes beyond the tail that were written before those in
// front of them. What there is, is a sorted list of segments that neither touch
// nor overlap, in a block of the segment's memory that the producer owns. As
// long as there is one, every Enqueue takes the slow path.

// span is an out-of-order segment, in positions.
type span struct{ start, end uint32 }

// EnqueueAt writes p at offset bytes beyond the tail, all or nothing. The tail
// does not move: an Enqueue that reaches the data includes it. It may overlap
// what was written so before. ErrFull: it does not fit. ErrGrow: the segment
// has no memory for it. Producer.
func (f *Fifo) EnqueueAt(offset int, p []byte) error {
	if len(p) == 0 {
		return nil
	}
	free := uint64(f.free())
	if uint64(offset) > free || uint64(len(p)) > free-uint64(offset) { // or offset below 0
		f.Flush()
		return ErrFull
	}
	start := f.written() + uint32(offset)
	if !f.cover(uint32(offset+len(p))) || !f.note(start, start+uint32(len(p))) {
		f.Flush()
		return ErrGrow
	}
	c := f.tailCursor()
	f.forward(&c, uint32(offset))
	f.writeOver(&c, p)
	f.limit()
	return nil
}

// writeOver writes p from c on, over chunks that are there. Producer.
func (f *Fifo) writeOver(c *cursor, p []byte) {
	for {
		n := min(len(p), int(c.stop-c.at))
		f.copyIn(c.at, addressOf(p), uint64(n))
		c.at += uint64(n)
		if p = p[n:]; len(p) == 0 {
			return
		}
		f.stepCursor(c)
	}
}

// OutOfOrder is the number of out-of-order segments. Producer.
func (f *Fifo) OutOfOrder() int { return int(f.h.prod.nooo) }

// OutOfOrderSegment is the i-th of them in the order of positions, by its
// distance from the tail and its length, in bytes. Producer.
func (f *Fifo) OutOfOrderSegment(i int) (offset, length int) {
	s := f.spans()[i]
	return int(s.start - f.written()), int(s.end - s.start)
}

// Newest is the out-of-order segment that was written to last, as
// OutOfOrderSegment returns it; false: there is none any more. Producer.
func (f *Fifo) Newest() (offset, length int, ok bool) {
	i := f.h.prod.newest
	if i == 0 {
		return 0, 0, false
	}
	offset, length = f.OutOfOrderSegment(int(i - 1))
	return offset, length, true
}

// spans are the out-of-order segments. Producer.
func (f *Fifo) spans() []span {
	e := &f.h.prod
	if e.nooo == 0 {
		return nil
	}
	return f.seg.spansAt(e.ooo)[:e.nooo]
}

// oooEnd is how far beyond the tail the out-of-order data reaches, in bytes.
func (f *Fifo) oooEnd() uint32 {
	s := f.spans()
	if len(s) == 0 {
		return 0
	}
	return s[len(s)-1].end - f.written()
}

// note adds [start, end) to the list. False: there is no memory for it.
func (f *Fifo) note(start, end uint32) bool {
	e := &f.h.prod
	tail := f.written()
	s := f.spans()
	// Those from i up to j touch the new one.
	i := 0
	for i < len(s) && s[i].end-tail < start-tail {
		i++
	}
	j := i
	for j < len(s) && s[j].start-tail <= end-tail {
		j++
	}
	if i == j {
		if !f.roomForSpan() {
			return false
		}
		s = f.seg.spansAt(e.ooo)[:e.nooo+1]
		copy(s[i+1:], s[i:])
		s[i] = span{start, end}
		e.nooo++
	} else {
		if s[i].start-tail < start-tail {
			start = s[i].start
		}
		if s[j-1].end-tail > end-tail {
			end = s[j-1].end
		}
		s[i] = span{start, end}
		copy(s[i+1:], s[j:])
		e.nooo -= uint32(j - i - 1)
	}
	e.newest = uint32(i + 1)
	return true
}

// roomForSpan makes room for one more segment in the list.
func (f *Fifo) roomForSpan() bool {
	e := &f.h.prod
	class := uint32(0)
	if e.ooo != 0 {
		if int(e.nooo) < len(f.seg.spansAt(e.ooo)) {
			return true
		}
		class = f.seg.block(e.ooo).class + 1
	}
	if class >= nClasses {
		return false
	}
	r := f.seg.allocNear(class, false)
	if r == 0 || len(f.seg.spansAt(r)) <= int(e.nooo) {
		if r != 0 {
			f.seg.release(r)
		}
		return false
	}
	copy(f.seg.spansAt(r), f.spans())
	e.pending = r
	f.seg.linked(r, f.ref)
	f.setList(r)
	return true
}

// setList makes r the block of the list, which is there already, and gives the
// one before back. Who frees the fifo after this end died in between finds
// each of them once.
func (f *Fifo) setList(r Ref) {
	e := &f.h.prod
	old := e.ooo
	e.ooo = r
	e.pending = old
	if old != 0 {
		f.seg.release(old)
		sched.Point("fifo: list given back, and still pending")
	}
	e.pending = 0
}

// collect moves the tail over out-of-order data that it has reached, and drops
// what it has passed. It does not publish.
func (f *Fifo) collect() {
	e := &f.h.prod
	if e.nooo == 0 {
		return
	}
	// Positions may be on both sides of the tail now; fifos are at most
	// MaxSize long, so that the difference has a sign.
	s := f.spans()
	i := 0
	for i < len(s) && int32(s[i].start-f.written()) <= 0 {
		if n := int32(s[i].end - f.written()); n > 0 {
			f.advance(uint32(n))
		}
		i++
	}
	copy(s, s[i:])
	e.nooo -= uint32(i)
	e.newest = max(e.newest, uint32(i)) - uint32(i)
	if e.nooo == 0 {
		f.setList(0)
	}
}
