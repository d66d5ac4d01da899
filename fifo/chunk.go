package fifo

import (
	"sync/atomic"

	"vlsbench/hw"
	"vlsbench/sched"
)

// The chain of chunks. The producer links chunks at its end, the consumer gives
// back those that it has left. It steps to the next chunk only when it reads a
// byte there, so the one at the tail always stays, and a chunk may be linked
// long before its first byte is published.

const (
	// streamChunk is the length of chunks of a stream between cores.
	streamChunk = 64 << 10
	// manyMessages, or some where they are long, are to share the price of a
	// step to the next chunk; but hotChunk bytes still leave half of a
	// first-level cache. A round trip of 64 B over two fifos took 1.1 line round
	// trips where 4 KB were used over and over, and 1.9 where it was 64 KB.
	manyMessages = 32
	someMessages = 4
	hotChunk     = 16 << 10
	maxGrow      = 256 << 10
)

// classOf is the class of the next chunk, for messages of so many bytes.
// Producer.
func (f *Fifo) classOf(message int, stream bool) uint32 {
	if f.h.prod.chunk == 0 {
		return classFor(min(uint32(message), f.h.size.Load()))
	}
	n := max(min(message*manyMessages, hotChunk), min(message*someMessages, maxGrow))
	if stream {
		n = max(n, streamChunk)
	}
	return classFor(min(uint32(n), f.h.size.Load()/someMessages))
}

// streams reports whether the fifo carries a stream between cores: by what the
// consumer has found out, or because the consumer, on another core, has not
// read everything when a chunk ends, as one that answers has. Then the fifo
// goes on into the memory that was touched longest ago. Lines that both cores'
// second-level caches still hold are dear to write again, a third of a line
// round trip each; from elsewhere they cost less than a tenth (see the package's
// figures). Where the consumer keeps up, or runs on the same core, one chunk
// that stays in the first level is best.
func (f *Fifo) streams() bool {
	if f.h.stream.Load() != 0 {
		return true
	}
	if atomic.LoadUint32(&f.h.tail) == f.h.prod.head {
		return false
	}
	if sched.Controlled() {
		return true // where threads happen to run must not change a schedule
	}
	cpu := hw.CurrentCPU()
	return cpu < 0 || f.h.cpu.Load() != uint32(cpu)
}

// following is the chunk behind r, or the first; 0: there is none. Either end:
// a peer may have written it, so what can be no chunk is none.
func (f *Fifo) following(r Ref) Ref {
	n := Ref(f.nextOf(r).Load())
	if _, ok := f.chunkAt(n); !ok {
		return 0
	}
	return n
}

// nextOf is the word that says which chunk is behind r, or the first.
func (f *Fifo) nextOf(r Ref) *atomic.Uint32 {
	if r == 0 {
		return &f.h.first
	}
	return &f.seg.block(r).next
}

// chunkAt is the payload of the chunk at r, of which shared memory tells, and
// whether there can be one: it lies in the segment and clear of the fifo's own
// header, which what is written to it would change.
func (f *Fifo) chunkAt(r Ref) (uint32, bool) {
	size, ok := f.seg.checked(r)
	if !ok || size < MinChunk || r < f.ref+1+smallSize/Line && f.ref < r+1+Ref(size/Line) {
		return 0, false
	}
	return size, true
}

// stepTail makes the chunk that follows the tail's the one to write in: one
// that is linked already, the same again, or a new one. Producer, at the end of
// its chunk.
func (f *Fifo) stepTail(message int) bool {
	e := &f.h.prod
	if r := f.following(e.chunk); r != 0 {
		f.enterTail(r)
		return true
	}
	pos := f.written()
	f.free()
	again := e.chunk != 0 && e.head == pos // all of it was read
	stream := e.chunk != 0 && f.streams()
	class := f.classOf(message, stream)
	if again && !stream && f.seg.block(e.chunk).class == class {
		f.rewind(pos)
		return true
	}
	r := f.seg.allocNear(class, stream)
	if r == 0 {
		if again {
			f.rewind(pos)
		}
		return again
	}
	f.link(e.chunk, r, pos)
	f.enterTail(r)
	return true
}

// rewind lets the chunk at the tail, all of which was read, begin anew. The
// consumer, at its end, sees that by start.
func (f *Fifo) rewind(pos uint32) {
	e := &f.h.prod
	sched.Point("fifo: all was read, before the chunk begins anew")
	f.seg.block(e.chunk).start = pos
	f.enterTail(e.chunk)
}

// link puts r, which begins at position start, behind last; 0: r is the first.
func (f *Fifo) link(last, r Ref, start uint32) {
	b := f.seg.block(r)
	b.start = start
	b.next.Store(0)
	// Who frees the fifo after this end died in between finds it.
	f.h.prod.pending = r
	f.seg.linked(r, f.ref)
	f.nextOf(last).Store(uint32(r))
	sched.Point("fifo: link made, and the chunk still pending")
	f.h.prod.pending = 0
}

// enterTail goes on writing at the beginning of r.
func (f *Fifo) enterTail(r Ref) {
	e := &f.h.prod
	pos := f.written()
	e.chunk = r
	e.at = f.seg.place(r)
	e.stop = e.at + uint64(f.seg.sizeOf(r))
	e.delta = e.at - uint64(pos)
}

// covered is how many of the next n bytes from the tail on have a place, and
// the last chunk that was looked at. Producer.
func (f *Fifo) covered(n uint32) (have uint64, last Ref) {
	e := &f.h.prod
	have, last = e.stop-e.at, e.chunk
	for have < uint64(n) {
		r := f.following(last)
		if r == 0 {
			break
		}
		have += uint64(f.seg.sizeOf(r))
		last = r
	}
	return have, last
}

// cover links chunks until the next n bytes from the tail on have a place, or
// changes nothing. Producer.
func (f *Fifo) cover(n uint32) bool {
	e := &f.h.prod
	have, last := f.covered(n)
	if have >= uint64(n) {
		return true
	}
	f.free()
	if have == 0 && last != 0 && e.head == f.written() {
		f.rewind(f.written())
		have = e.stop - e.at
	}
	stream := last != 0 && f.streams()
	for keep := last; have < uint64(n); {
		r := f.seg.allocNear(f.classOf(int(n), stream), stream)
		if r == 0 {
			f.cut(keep)
			return false
		}
		f.link(last, r, f.written()+uint32(have))
		have += uint64(f.seg.sizeOf(r))
		last = r
	}
	return true
}

// cut gives back what is linked behind last, where nothing was written yet.
// The consumer does not step there before there is something to read.
func (f *Fifo) cut(last Ref) {
	for r := f.following(last); r != 0; r = f.following(last) {
		f.h.prod.pending = r
		f.nextOf(last).Store(uint32(f.following(r)))
		f.seg.release(r)
		sched.Point("fifo: cut off, and the chunk still pending")
		f.h.prod.pending = 0
	}
}

// advance moves the tail over n bytes that have a place. It does not publish.
func (f *Fifo) advance(n uint32) {
	e := &f.h.prod
	for {
		k := min(uint64(n), e.stop-e.at)
		e.at += k
		if n -= uint32(k); n == 0 {
			return
		}
		f.enterTail(f.following(e.chunk))
	}
}

// cursor is a place in the chain.
type cursor struct {
	chunk    Ref
	at, stop uint64
}

// tailCursor is the place of the tail. Producer.
func (f *Fifo) tailCursor() cursor {
	return cursor{f.h.prod.chunk, f.h.prod.at, f.h.prod.stop}
}

// forward moves c on by n bytes, which have a place. Producer.
func (f *Fifo) forward(c *cursor, n uint32) {
	for {
		k := min(uint64(n), c.stop-c.at)
		c.at += k
		if n -= uint32(k); n == 0 {
			return
		}
		f.stepCursor(c)
	}
}

// stepCursor moves c to the beginning of the next chunk, which is there.
// Producer.
func (f *Fifo) stepCursor(c *cursor) {
	c.chunk = f.following(c.chunk)
	c.at = f.seg.place(c.chunk)
	c.stop = c.at + uint64(f.seg.sizeOf(c.chunk))
}

// headCursor is the place of the head. Consumer.
func (f *Fifo) headCursor() cursor {
	return cursor{f.h.cons.chunk, f.h.cons.at, f.h.cons.stop}
}

// next moves c, at the end of its chunk, which the consumer reads at position
// pos, to where the byte at pos is, which was published. What the chain says is
// the producer's word, and checked. Consumer.
func (f *Fifo) next(c *cursor, pos uint32) bool {
	r := c.chunk
	if r == 0 || f.seg.block(r).start != pos {
		sched.Point("fifo: between a chunk's start and its link")
		r = f.following(r)
	}
	size, ok := f.chunkAt(r)
	if !ok || f.seg.block(r).start != pos {
		return false
	}
	c.chunk, c.at = r, f.seg.place(r)
	c.stop = c.at + uint64(size)
	return true
}

// stepHead makes the chunk that follows the head's the one to read, and gives
// the other back. There is something to read there. False: the chain is
// corrupt. Consumer.
func (f *Fifo) stepHead() bool {
	e := &f.h.cons
	pos := f.read()
	c := f.headCursor()
	if !f.next(&c, pos) {
		return false
	}
	old := e.chunk
	e.at, e.stop = c.at, c.stop
	e.delta = e.at - uint64(pos)
	if old == c.chunk {
		return true
	}
	if cpu := uint32(hw.CurrentCPU()); f.h.cpu.Load() != cpu {
		f.h.cpu.Store(cpu)
	}
	// Who frees the fifo after this end died in between finds it.
	if sched.Enabled {
		sched.Point("fifo: before leaving a chunk")
	}
	hw.StoreRel32((*uint32)(&e.leaving), uint32(old))
	if sched.Enabled {
		sched.Point("fifo: leaving a chunk, before the step")
	}
	hw.StoreRel32((*uint32)(&e.chunk), uint32(c.chunk))
	if sched.Enabled {
		sched.Point("fifo: stepped, before the chunk that was left is released")
	}
	if old != 0 {
		f.seg.release(old)
	}
	if sched.Enabled {
		sched.Point("fifo: chunk released, and still said to be left")
	}
	hw.StoreRel32((*uint32)(&e.leaving), 0)
	return true
}

// freeChunks gives back all chunks, and the list of out-of-order segments.
// Neither end is in use.
func (f *Fifo) freeChunks() {
	p, c := &f.h.prod, &f.h.cons
	r := c.chunk
	if _, ok := f.chunkAt(r); !ok {
		r = f.following(0)
	}
	// A chain that a peer has spoilt may lead round.
	for n := f.seg.Size() / MinChunk; n > 0 && r != 0; n-- {
		next := f.following(r)
		f.seg.release(r)
		r = next
	}
	if _, ok := f.seg.checked(p.ooo); ok {
		f.seg.release(p.ooo)
	}
	// What an end that died had in its hands comes last: it may be in the chain
	// still, or again.
	for _, r := range [...]Ref{c.leaving, p.pending} {
		if _, ok := f.seg.checked(r); ok && f.seg.isLinked(r, f.ref) {
			f.seg.release(r)
		}
	}
}

// held reports whether a block that a dead owner took for what lies at of is
// still part of that. The dead owner was a fifo's producer then, since producers
// take chunks, and only its consumer can move; what lies there but no fifo keeps
// all it has.
func (s *Segment) held(_ int, of, block Ref) bool {
	if size, ok := s.checked(of); !ok || size != smallSize || of == block {
		return true
	}
	h := s.header(of)
	if atomic.LoadUint32(&h.magic) != fifoMagic || h.prod.ooo == block {
		return true
	}
	// From where the consumer is. A chunk that it has left is somebody else's soon,
	// and leads elsewhere: what was followed counts if it has not left the first of
	// them. What it leaves stands in leaving before that changes, until it is
	// released, which changes the block's state.
	for n := s.Size() / MinChunk; n >= 0; n-- {
		first := atomic.LoadUint32((*uint32)(&h.cons.chunk))
		r := Ref(first)
		if r == 0 {
			r = Ref(h.first.Load())
		}
		for ; r != 0 && n >= 0; n-- {
			sched.Point("segment: sweep, along a chain")
			if r == block {
				return true
			}
			if _, ok := s.checked(r); !ok {
				break
			}
			r = Ref(s.block(r).next.Load())
		}
		sched.Point("segment: sweep, between a chain and what is left")
		if Ref(atomic.LoadUint32((*uint32)(&h.cons.leaving))) == block {
			return true
		}
		if r == 0 && atomic.LoadUint32((*uint32)(&h.cons.chunk)) == first {
			return false
		}
	}
	return true // for all that can be told
}
