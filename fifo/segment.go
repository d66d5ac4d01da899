package fifo

import (
	"fmt"
	"math/bits"
	"sync/atomic"
)

const (
	// Line is the unit of offsets and of separation, in bytes.
	Line = 128

	// MinChunk and MaxChunk bound the payload of a chunk, in bytes; sizes
	// between are powers of two.
	MinChunk = 4 << 10
	MaxChunk = 4 << 20

	// MinSegment and MaxSegment bound a segment, in bytes.
	MinSegment = 64 << 10
	MaxSegment = 256 << 30

	segMagic   = 0x6d767356 // "Vsvm"
	segVersion = 1

	// smallSize is the payload of the one class below MinChunk: a fifo's header.
	smallSize = 5 * Line
	nClasses  = 1 + 11 // smallSize, then MinChunk << 0..10
)

// Ref is an offset in a segment, in lines. 0 is none.
type Ref uint32

// Segment is a region of memory that holds fifos, chunks and queues by offset.
// Its methods may be called by any thread at any time, but for Close.
type Segment struct {
	mem   []byte
	h     *segHeader
	close func() error
	fresh int
	cold  [nClasses][]Ref
}

// segHeader is the head of the region.
type segHeader struct {
	magic, version uint32
	size           uint64
	_              [Line - 16]byte
	// brk is the first line never handed out.
	brk atomic.Uint64
	_   [Line - 8]byte
	// free holds one list of blocks a class, tag<<32 | Ref. The tag grows with
	// each pop, so that a head that was taken and given back in between does
	// not look unchanged (ABA).
	free [nClasses]struct {
		head atomic.Uint64
		_    [Line - 8]byte
	}
}

// block is the header line of everything that is allocated.
type block struct {
	next  atomic.Uint32 // a Ref: in a free list, or in a fifo's chain
	class uint32        // immutable
	start uint32        // of a chunk in a fifo: position of its first byte
	_     [Line - 12]byte
}

// classSize is the payload of a class in bytes.
func classSize(class uint32) uint32 {
	if class == 0 {
		return smallSize
	}
	return MinChunk << (class - 1)
}

// classFor is the smallest class of chunks that holds n bytes, or the largest.
func classFor(n uint32) uint32 {
	if n <= MinChunk {
		return 1
	}
	return min(uint32(bits.Len32((n-1)/MinChunk))+1, nClasses-1)
}

// NewSegment makes a segment in mem, which must begin on a line (128 bytes) and
// be used for nothing else until the segment is dropped. What mem held before
// does not matter.
func NewSegment(mem []byte) (*Segment, error) {
	if len(mem) < MinSegment || uint64(len(mem)) > MaxSegment {
		return nil, fmt.Errorf("fifo: segment of %d bytes: want %d to %d", len(mem), MinSegment, uint64(MaxSegment))
	}
	if !aligned(mem) {
		return nil, fmt.Errorf("fifo: segment does not begin on a multiple of %d bytes", Line)
	}
	s := &Segment{mem: mem, h: segHeaderAt(mem)}
	h := s.h
	h.magic, h.version, h.size = segMagic, segVersion, uint64(len(mem))
	for i := range h.free {
		h.free[i].head.Store(0)
	}
	h.brk.Store(uint64(segHeaderSize+Line-1) / Line)
	return s, nil
}

// NewHeapSegment makes a segment of size bytes on the Go heap.
func NewHeapSegment(size int) (*Segment, error) {
	if size < MinSegment || size > MaxSegment {
		return nil, fmt.Errorf("fifo: segment of %d bytes: want %d to %d", size, MinSegment, uint64(MaxSegment))
	}
	return NewSegment(alignedBytes(size))
}

// Size is the segment's size in bytes.
func (s *Segment) Size() int { return len(s.mem) }

// Used is the number of bytes that were ever handed out: what is free again
// counts too, since only blocks of the same size can take its place.
func (s *Segment) Used() int { return int(s.h.brk.Load()) * Line }

// Close gives the memory back. Nothing in the segment may be used after.
func (s *Segment) Close() error {
	if s.close == nil {
		return nil
	}
	f := s.close
	s.close = nil
	return f()
}

// alloc takes a block of a class: the one given back last, or fresh memory.
// 0: there is none. Lock-free.
func (s *Segment) alloc(class uint32) Ref {
	list := &s.h.free[class].head
	for {
		old := list.Load()
		r := Ref(old)
		if r == 0 {
			break
		}
		// next may be stale if another thread took r meanwhile; then the tag
		// has moved and the swap fails.
		next := s.block(r).next.Load()
		if list.CompareAndSwap(old, (old>>32+1)<<32|uint64(next)) {
			return r
		}
	}
	return s.carve(class)
}

func (s *Segment) carve(class uint32) Ref {
	lines := 1 + uint64(classSize(class)/Line)
	for {
		old := s.h.brk.Load()
		if (old+lines)*Line > uint64(len(s.mem)) {
			return 0
		}
		if s.h.brk.CompareAndSwap(old, old+lines) {
			s.block(Ref(old)).class = class
			return Ref(old)
		}
	}
}

// allocNear takes a block of a class, or else one that is smaller, though not
// below a chunk for a chunk, or larger. 0: there is none at all.
func (s *Segment) allocNear(class uint32, cold bool) Ref {
	for c := class; ; c-- {
		if cold {
			if r := s.allocCold(c); r != 0 {
				return r
			}
		} else if r := s.alloc(c); r != 0 {
			return r
		}
		if c <= firstClass {
			break
		}
	}
	for c := class + 1; c < nClasses; c++ {
		if r := s.alloc(c); r != 0 {
			return r
		}
	}
	return 0
}

// release gives a block back.
func (s *Segment) release(r Ref) {
	b := s.block(r)
	list := &s.h.free[b.class].head
	for {
		old := list.Load()
		b.next.Store(uint32(old))
		if list.CompareAndSwap(old, old&^0xffffffff|uint64(r)) {
			return
		}
	}
}

func (s *Segment) sizeOf(r Ref) uint32 { return classSize(s.block(r).class) }

func (s *Segment) checked(r Ref) (uint32, bool) {
	if r == 0 || uint64(r)*Line+Line > uint64(len(s.mem)) {
		return 0, false
	}
	c := s.block(r).class
	if c >= nClasses {
		return 0, false
	}
	n := classSize(c)
	return n, s.place(r)+uint64(n) <= uint64(len(s.mem))
}

func (s *Segment) linked(r, f Ref)        {}
func (s *Segment) isLinked(r, f Ref) bool { return false }

// allocCold is alloc for streams.
func (s *Segment) allocCold(class uint32) Ref { return s.alloc(class) }
