package fifo

import (
	"fmt"
	"sync/atomic"
)

// OpenFifo is a view of the fifo at r, of which another process has told. Unlike
// [Open] it follows nothing in shared memory that it has not checked; an error
// wraps ErrCorrupt and says what it found and what would be valid.
//
// The end that the caller is going to use must be at rest, since its state is
// checked too. The other end may be in use: what that writes later, its index
// and the chain of chunks, is checked as it is read. The lines on which an end
// keeps its own state are that end's alone; a peer that writes to them is out
// of this contract.
func OpenFifo(s *Segment, r Ref, ord Order) (Fifo, error) {
	if size, ok := s.checked(r); !ok || size != smallSize {
		return Fifo{}, fmt.Errorf("%w: fifo at %d: no block of a fifo's size (%d bytes)", ErrCorrupt, r, smallSize)
	}
	f := Open(s, r, ord)
	if err := f.check(); err != nil {
		return Fifo{}, fmt.Errorf("%w: fifo at %d: %v", ErrCorrupt, r, err)
	}
	return f, nil
}

// check holds everything in shared memory that this end will follow against
// what a fifo can be.
func (f *Fifo) check() error {
	h := f.h
	if h.magic != fifoMagic {
		return fmt.Errorf("magic %#x: want %#x", h.magic, fifoMagic)
	}
	size := h.size.Load()
	if size < MinSize || size > MaxSize {
		return fmt.Errorf("size %d: want %d to %d", size, MinSize, MaxSize)
	}
	head := atomic.LoadUint32(&h.head)
	tail := atomic.LoadUint32(&h.tail)
	if tail-head > size {
		return fmt.Errorf("tail %d and head %d: want at most %d between them", tail, head, size)
	}
	p, c := &h.prod, &h.cons
	if err := f.checkEnd("producer", p.chunk, p.at, p.end, p.stop); err != nil {
		return err
	}
	if err := f.checkEnd("consumer", c.chunk, c.at, c.end, c.stop); err != nil {
		return err
	}
	if used := f.written() - head; used > size {
		return fmt.Errorf("producer at %d, head %d: want at most %d between them", f.written(), head, size)
	}
	if p.end-p.at > uint64(size) {
		return fmt.Errorf("producer sees %d bytes of room: want at most %d", p.end-p.at, size)
	}
	if there := c.tail - f.read(); there > size || c.end-c.at > uint64(there) {
		return fmt.Errorf("consumer at %d sees tail %d and %d bytes: want at most %d", f.read(), c.tail, c.end-c.at, size)
	}
	if c.pat.phase > keeping || c.pat.over() || c.pat.paused > keepLen {
		return fmt.Errorf("patience in phase %d with %d and %d looks left: want a phase up to %d, and some looks, at most %d with pauses", c.pat.phase, c.pat.left, c.pat.paused, keeping, keepLen)
	}
	if err := f.checkChain(); err != nil {
		return err
	}
	return f.checkSpans(size)
}

// checkEnd checks an end's place in its chunk.
func (f *Fifo) checkEnd(end string, chunk Ref, at, limit, stop uint64) error {
	if chunk == 0 {
		if at != 0 || limit != 0 || stop != 0 {
			return fmt.Errorf("%s has no chunk and is at %d, %d, %d: want 0", end, at, limit, stop)
		}
		return nil
	}
	size, ok := f.seg.checked(chunk)
	if !ok || size < MinChunk {
		return fmt.Errorf("%s's chunk %d: no chunk", end, chunk)
	}
	from := f.seg.place(chunk)
	if stop != from+uint64(size) || at < from || limit < at || limit > stop {
		return fmt.Errorf("%s at %d, %d, %d: want them in order from %d, and the last %d", end, at, limit, stop, from, from+uint64(size))
	}
	return nil
}

// checkChain follows the chain from the consumer's chunk to its end, which must
// come by the producer's.
func (f *Fifo) checkChain() error {
	p, c := &f.h.prod, &f.h.cons
	if c.leaving != 0 {
		if _, ok := f.seg.checked(c.leaving); !ok {
			return fmt.Errorf("leaves chunk %d: no chunk", c.leaving)
		}
	}
	r := c.chunk
	if r == 0 {
		r = Ref(f.h.first.Load())
	}
	met := p.chunk == 0
	for n := 0; r != 0; n++ {
		size, ok := f.seg.checked(r)
		if !ok || size < MinChunk {
			return fmt.Errorf("chunk %d in the chain: no chunk", r)
		}
		if n > f.seg.Size()/MinChunk {
			return fmt.Errorf("a chain of more than %d chunks", n-1)
		}
		met = met || r == p.chunk
		r = f.following(r)
	}
	if !met {
		return fmt.Errorf("the producer's chunk %d is not in the chain", p.chunk)
	}
	return nil
}

// checkSpans checks the list of out-of-order segments.
func (f *Fifo) checkSpans(size uint32) error {
	e := &f.h.prod
	if e.nooo == 0 && e.ooo == 0 && e.newest == 0 {
		return nil
	}
	if bytes, ok := f.seg.checked(e.ooo); !ok || e.nooo == 0 || e.newest > e.nooo || uint64(e.nooo) > uint64(bytes)/8 {
		return fmt.Errorf("%d out-of-order segments, the newest %d, in block %d: no such list", e.nooo, e.newest, e.ooo)
	}
	tail, room := f.written(), size-(f.written()-atomic.LoadUint32(&f.h.head))
	last := uint32(0)
	for i, s := range f.spans() {
		from, to := s.start-tail, s.end-tail
		if from >= to || to > room || i > 0 && from <= last {
			return fmt.Errorf("out-of-order segment %d from %d to %d beyond the tail: want them in order, apart, and up to %d", i, from, to, room)
		}
		last = to
	}
	if have, _ := f.covered(last); have < uint64(last) {
		return fmt.Errorf("out-of-order data up to %d bytes beyond the tail: chunks for %d", last, have)
	}
	return nil
}
