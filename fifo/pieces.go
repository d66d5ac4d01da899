package fifo

import (
	"sync/atomic"

	"vlsbench/hw"
)

// Zero-copy access, and messages of several pieces.

// Provision fills pieces with the memory behind the tail, so far as it is free:
// up to want bytes in up to len(pieces) slices. It returns how many slices and
// bytes there are; what is written there becomes readable by Advance. Pieces
// are valid until the producer's next operation. ErrFull: nothing is free.
// ErrGrow: the segment has no chunk for that many. Producer.
func (f *Fifo) Provision(want int, pieces [][]byte) (n, bytes int, err error) {
	left := uint32(min(uint64(max(want, 0)), uint64(f.free())))
	if left == 0 {
		f.Flush()
		if want > 0 {
			err = ErrFull
		}
		return 0, 0, err
	}
	if !f.cover(left) {
		have, _ := f.covered(left)
		if left = uint32(min(have, uint64(left))); left == 0 {
			f.Flush()
			return 0, 0, ErrGrow
		}
	}
	c := f.tailCursor()
	for n < len(pieces) && left > 0 {
		if c.at == c.stop {
			f.stepCursor(&c)
		}
		k := uint32(min(uint64(left), c.stop-c.at))
		pieces[n] = data(f.base, c.at, k)
		c.at += uint64(k)
		left -= k
		bytes += int(k)
		n++
	}
	return n, bytes, nil
}

// Advance publishes the next n bytes, which were provisioned and written, and
// returns how many became readable: more, if they close a gap before
// out-of-order data. ErrFull: so many are not free. ErrGrow: so many were not
// provisioned. Producer.
func (f *Fifo) Advance(n int) (int, error) {
	if uint64(n) > uint64(f.free()) { // or below 0
		return 0, ErrFull
	}
	if have, _ := f.covered(uint32(n)); have < uint64(n) {
		return 0, ErrGrow
	}
	before := f.written()
	if n > 0 {
		f.advance(uint32(n))
	}
	f.collect()
	f.limit()
	f.publishTail()
	return int(f.written() - before), nil
}

// EnqueueSegments writes pieces one behind the other as one publication, and
// returns how many bytes became readable. If they do not fit as a whole it
// writes what fits where partial is set, and nothing where it is not. ErrFull
// and ErrGrow as of Enqueue. Producer.
func (f *Fifo) EnqueueSegments(pieces [][]byte, partial bool) (int, error) {
	total := 0
	for _, p := range pieces {
		total += len(p)
	}
	free := int(f.free())
	if total > free && !partial || free == 0 && total > 0 {
		f.Flush()
		return 0, ErrFull
	}
	if !partial && !f.cover(uint32(total)) {
		f.Flush()
		return 0, ErrGrow
	}
	before := f.written()
	left := min(total, free)
	for _, p := range pieces {
		p = p[:min(len(p), left)]
		done := f.fill(p, total)
		left -= done
		if done < len(p) || left == 0 {
			break
		}
	}
	if f.written() == before && total > 0 {
		f.Flush()
		return 0, ErrGrow
	}
	f.collect()
	f.limit()
	f.publishTail()
	return int(f.written() - before), nil
}

// MaxWriteChunk is the number of bytes that can be written in one piece without
// a new chunk. Producer.
func (f *Fifo) MaxWriteChunk() int {
	free := uint64(f.free())
	e := &f.h.prod
	if e.at < e.stop {
		return int(min(free, e.stop-e.at))
	}
	if r := f.following(e.chunk); r != 0 {
		return int(min(free, uint64(f.seg.sizeOf(r))))
	}
	return 0
}

// there is the number of bytes that can be read, from a fresh look at the tail
// if those seen last are fewer than want. Consumer.
func (f *Fifo) there(want int) int {
	e := &f.h.cons
	if uint64(want) > uint64(e.tail-f.read()) {
		f.look()
	}
	return int(e.tail - f.read())
}

// MaxReadChunk is the number of bytes that can be read in one piece. Consumer.
func (f *Fifo) MaxReadChunk() int {
	c := f.headCursor()
	if f.there(1) == 0 || c.at == c.stop && !f.next(&c, f.read()) {
		return 0
	}
	chunk := int(c.stop - c.at)
	return min(f.there(chunk), chunk)
}

// Peek reads from offset bytes beyond the head, at most len(p), and frees
// nothing. ErrEmpty: there is nothing that far. Consumer.
func (f *Fifo) Peek(offset int, p []byte) (int, error) {
	if offset < 0 {
		return 0, ErrEmpty
	}
	n := min(f.there(offset+len(p))-offset, len(p))
	if n <= 0 {
		if n == 0 && len(p) == 0 {
			return 0, nil
		}
		return 0, ErrEmpty
	}
	done := 0
	var b []byte
	for c, pos := f.headCursor(), f.read(); done < n; done += len(b) {
		if b = f.readable(&c, &pos, &offset, n-done); b == nil {
			return done, ErrCorrupt
		}
		copy(p[done:], b)
	}
	return n, nil
}

// Segments fills pieces with what can be read from offset bytes beyond the head
// on, up to limit bytes in up to len(pieces) slices, and frees nothing. It
// returns how many slices and bytes there are. Pieces are valid until they are
// dropped, and not to be written. ErrEmpty: there is nothing that far.
// Consumer.
func (f *Fifo) Segments(offset, limit int, pieces [][]byte) (n, bytes int, err error) {
	if offset < 0 || limit <= 0 {
		return 0, 0, ErrEmpty
	}
	left := min(f.there(offset+limit)-offset, limit)
	if left <= 0 {
		return 0, 0, ErrEmpty
	}
	for c, pos := f.headCursor(), f.read(); n < len(pieces) && left > 0; n++ {
		b := f.readable(&c, &pos, &offset, left)
		if b == nil {
			return n, bytes, ErrCorrupt
		}
		pieces[n] = b
		left -= len(b)
		bytes += len(b)
	}
	return n, bytes, nil
}

// readable is the next piece of what can be read, of at most n bytes, behind
// the next skip, and moves c and pos behind it. nil: the chain is corrupt.
// Consumer.
func (f *Fifo) readable(c *cursor, pos *uint32, skip *int, n int) []byte {
	for {
		if c.at == c.stop && !f.next(c, *pos) {
			return nil
		}
		over := min(*skip, int(c.stop-c.at))
		c.at += uint64(over)
		*pos += uint32(over)
		if *skip -= over; *skip == 0 && c.at < c.stop {
			break
		}
	}
	k := min(uint64(n), c.stop-c.at)
	b := data(f.base, c.at, uint32(k))
	c.at += k
	*pos += uint32(k)
	return b
}

// Drop frees the next n bytes, or what is there if that is less, unread, and
// returns the count. ErrEmpty: nothing is. Consumer.
func (f *Fifo) Drop(n int) (int, error) {
	there := f.there(n)
	if n < 0 || there == 0 && n > 0 {
		return 0, ErrEmpty
	}
	n = min(n, there)
	e := &f.h.cons
	var err error
	done := 0
	for done < n {
		if e.at == e.stop && !f.stepHead() {
			err = ErrCorrupt
			break
		}
		k := min(uint64(n-done), e.stop-e.at)
		e.at += k
		done += int(k)
	}
	f.believe()
	f.publishHead()
	return done, err
}

// DropAll frees all that can be read and returns how much that was. Consumer.
func (f *Fifo) DropAll() int {
	n, _ := f.Drop(f.there(MaxSize))
	f.flushHead()
	return n
}

// OverwriteHead writes p over the next bytes to be read, of which there must be
// as many; ErrEmpty if not. It is for a header that says how much of a message
// is left. Consumer.
func (f *Fifo) OverwriteHead(p []byte) error {
	if f.there(len(p)) < len(p) {
		return ErrEmpty
	}
	skip := 0
	for c, pos := f.headCursor(), f.read(); len(p) > 0; {
		b := f.readable(&c, &pos, &skip, len(p))
		if b == nil {
			return ErrCorrupt
		}
		p = p[copy(b, p):]
	}
	return nil
}

// InitPointers empties a quiescent fifo and lets it hold the bytes from
// position head up to tail, whatever they are. ErrFull: they are more than
// Size. ErrGrow: the segment has no chunks for them. Both ends.
func (f *Fifo) InitPointers(head, tail uint32) error {
	if tail-head > f.h.size.Load() {
		return ErrFull
	}
	f.freeChunks()
	h := f.h
	h.first.Store(0)
	h.prod = producer{delta: -uint64(head), head: head}
	h.cons = consumer{delta: -uint64(head), tail: head}
	h.cons.pat.rest(minRest, head)
	h.stream.Store(0)
	atomic.StoreUint32(&h.head, head)
	atomic.StoreUint32(&h.tail, head)
	n := tail - head
	if n == 0 {
		return nil
	}
	if !f.cover(n) {
		return ErrGrow
	}
	f.advance(n)
	f.limit()
	hw.StoreRel32(&h.tail, tail)
	return nil
}

// Clone makes a quiescent f hold what src holds, at the same positions, and
// leaves src as it is: for a hand-over. Flags, conditions and subscribers are
// not taken over, nor out-of-order data. ErrFull: f is too small. ErrGrow: the
// segment has no chunks. Both ends of both.
func (f *Fifo) Clone(src *Fifo) error {
	src.Flush()
	head := src.read()
	src.there(MaxSize)
	if err := f.InitPointers(head, src.h.cons.tail); err != nil {
		return err
	}
	var b []byte
	skip := 0
	c, pos := src.headCursor(), head
	to := cursor{stop: 0}
	for n := int(src.h.cons.tail - head); n > 0; n -= len(b) {
		if b = src.readable(&c, &pos, &skip, n); b == nil {
			return ErrCorrupt
		}
		f.writeOver(&to, b)
	}
	return nil
}
