package fifo

import (
	"fmt"
	"slices"
	"sync/atomic"
)

// OpenProducer is a view of the fifo at r, of which another process has told,
// for its producer. Unlike [Open] it follows nothing in shared memory that was
// not checked; an error wraps ErrCorrupt and says what was found and what would
// be valid.
//
// The producer's end must be at rest. The other end may be in use, or have died
// anywhere: of what that writes, its index and the chain of chunks, each is
// checked as it is read. The lines on which an end keeps its own state are that
// end's alone; a peer that writes to them later is out of this contract.
func OpenProducer(s *Segment, r Ref, ord Order) (Fifo, error) {
	return openEnd(s, r, ord, (*Fifo).checkProducer)
}

// OpenConsumer is OpenProducer for the consumer, whose end must be at rest
// instead.
func OpenConsumer(s *Segment, r Ref, ord Order) (Fifo, error) {
	return openEnd(s, r, ord, (*Fifo).checkConsumer)
}

func openEnd(s *Segment, r Ref, ord Order, check func(f *Fifo, head, tail, size uint32) error) (Fifo, error) {
	if size, ok := s.checked(r); !ok || size != smallSize {
		return Fifo{}, fmt.Errorf("%w: fifo at %d: no block of a fifo's size (%d bytes)", ErrCorrupt, r, smallSize)
	}
	f := Open(s, r, ord)
	if err := f.check(check); err != nil {
		return Fifo{}, fmt.Errorf("%w: fifo at %d: %w", ErrCorrupt, r, err)
	}
	return f, nil
}

// check checks what both ends read, and then one end.
func (f *Fifo) check(end func(f *Fifo, head, tail, size uint32) error) error {
	h := f.h
	if h.magic != fifoMagic {
		return fmt.Errorf("magic %#x: want %#x", h.magic, fifoMagic)
	}
	// The size last: whoever shrinks it has seen that it holds what there is.
	head := atomic.LoadUint32(&h.head)
	tail := atomic.LoadUint32(&h.tail)
	size := h.size.Load()
	if size < MinSize || size > MaxSize {
		return fmt.Errorf("size %d: want %d to %d", size, MinSize, MaxSize)
	}
	return end(f, head, tail, size)
}

// checkProducer checks what the producer keeps, and the chunks that it will
// write to.
func (f *Fifo) checkProducer(head, tail, size uint32) error {
	e := &f.h.prod
	if err := f.checkPlace(e.chunk, e.at, e.end, e.stop); err != nil {
		return fmt.Errorf("producer %w", err)
	}
	w := f.written()
	if w-e.head > size || head-e.head > w-e.head || w-tail > w-head {
		return fmt.Errorf("producer at %d that knows of head %d, tail %d, head %d: want them in order, and at most %d between them", w, e.head, tail, head, size)
	}
	if e.end-e.at > uint64(size-(w-e.head)) || e.nooo != 0 && e.end != e.at {
		return fmt.Errorf("producer sees %d bytes of room: want at most %d, and 0 before out-of-order data", e.end-e.at, size-(w-e.head))
	}
	have, taken, err := f.checkChain()
	if err != nil {
		return err
	}
	return f.checkSpans(size-(w-head), have, taken)
}

// checkConsumer checks what the consumer keeps. The chunks that it will come to
// are checked as it does.
func (f *Fifo) checkConsumer(head, tail, size uint32) error {
	e := &f.h.cons
	if err := f.checkPlace(e.chunk, e.at, e.end, e.stop); err != nil {
		return fmt.Errorf("consumer %w", err)
	}
	r := f.read()
	if tail-head > size || tail-r > tail-head || e.tail-r > tail-r {
		return fmt.Errorf("consumer at %d that knows of tail %d, head %d, tail %d: want them in order, and at most %d between them", r, e.tail, head, tail, size)
	}
	if e.end-e.at > uint64(e.tail-r) {
		return fmt.Errorf("consumer sees %d bytes: want at most %d", e.end-e.at, e.tail-r)
	}
	if p := &e.pat; p.phase > keeping || p.over() || p.paused > keepLen {
		return fmt.Errorf("patience in phase %d with %d and %d looks left: want a phase up to %d, and some looks, at most %d with pauses", p.phase, p.left, p.paused, keeping, keepLen)
	}
	return nil
}

// checkPlace checks an end's place in its chunk.
func (f *Fifo) checkPlace(chunk Ref, at, end, stop uint64) error {
	if chunk == 0 {
		if at|end|stop != 0 {
			return fmt.Errorf("has no chunk and is at %d, %d, %d: want 0", at, end, stop)
		}
		return nil
	}
	size, ok := f.chunkAt(chunk)
	if !ok {
		return fmt.Errorf("in chunk %d: no chunk", chunk)
	}
	from := f.seg.place(chunk)
	if stop != from+uint64(size) || at < from || end < at || end > stop {
		return fmt.Errorf("at %d, %d, %d: want them in order from %d, and the last %d", at, end, stop, from, from+uint64(size))
	}
	return nil
}

// extent is a block's place in the segment, in lines.
type extent struct{ from, to Ref }

func extentOf(r Ref, size uint32) extent { return extent{r, r + 1 + Ref(size/Line)} }

// checkChain follows the chain from the producer's chunk on, and returns how
// many bytes from the tail on have a place in it, and where it lies.
func (f *Fifo) checkChain() (have uint64, taken []extent, err error) {
	e := &f.h.prod
	r := e.chunk
	have = e.stop - e.at
	if r != 0 {
		if start, at := f.seg.block(r).start, e.at-f.seg.place(r); start+uint32(at) != f.written() {
			return 0, nil, fmt.Errorf("producer at %d, %d bytes behind the beginning of chunk %d: want that to be %d, not %d", f.written(), at, r, f.written()-uint32(at), start)
		}
		taken = append(taken, extentOf(r, f.seg.sizeOf(r)))
	}
	for {
		if r = Ref(f.nextOf(r).Load()); r == 0 {
			return have, taken, disjoint(taken)
		}
		size, ok := f.chunkAt(r)
		if !ok {
			return 0, nil, fmt.Errorf("chunk %d in the chain: no chunk", r)
		}
		if start, want := f.seg.block(r).start, f.written()+uint32(have); start != want {
			return 0, nil, fmt.Errorf("chunk %d in the chain begins at %d: want %d", r, start, want)
		}
		// Positions wrap, so a ring of chunks that overlap can be in order.
		if len(taken) > f.seg.Size()/MinChunk {
			return 0, nil, fmt.Errorf("a chain of more than %d chunks", f.seg.Size()/MinChunk)
		}
		have += uint64(size)
		taken = append(taken, extentOf(r, size))
	}
}

// disjoint checks that extents do not overlap.
func disjoint(taken []extent) error {
	taken = slices.Clone(taken)
	slices.SortFunc(taken, func(a, b extent) int { return int(int64(a.from) - int64(b.from)) })
	for i := range max(len(taken), 1) - 1 {
		if a, b := taken[i], taken[i+1]; a.to > b.from {
			return fmt.Errorf("blocks from line %d to %d and from %d: want them apart", a.from, a.to, b.from)
		}
	}
	return nil
}

// checkSpans checks the list of out-of-order segments, for which there is room
// in bytes, and a place for have.
func (f *Fifo) checkSpans(room uint32, have uint64, taken []extent) error {
	e := &f.h.prod
	if e.nooo|e.newest|uint32(e.ooo) == 0 {
		return nil
	}
	bytes, ok := f.seg.checked(e.ooo)
	if !ok || e.nooo == 0 || e.newest > e.nooo || uint64(e.nooo) > uint64(bytes)/8 {
		return fmt.Errorf("%d out-of-order segments, the newest %d, in block %d: no such list", e.nooo, e.newest, e.ooo)
	}
	if err := disjoint(append(taken, extentOf(f.ref, smallSize), extentOf(e.ooo, bytes))); err != nil {
		return err
	}
	last := uint32(0)
	for i, s := range f.spans() {
		from, to := s.start-f.written(), s.end-f.written()
		if from >= to || to > room || i > 0 && from <= last {
			return fmt.Errorf("out-of-order segment %d from %d to %d beyond the tail: want them in order, apart, and up to %d", i, from, to, room)
		}
		last = to
	}
	if have < uint64(last) {
		return fmt.Errorf("out-of-order data up to %d bytes beyond the tail: chunks for %d", last, have)
	}
	return nil
}
