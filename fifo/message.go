package fifo

import "sync/atomic"

// Peek copies what is there from offset on into p without freeing it and
// returns the count. ErrEmpty: nothing is. Consumer.
func (f *Fifo) Peek(offset int, p []byte) (int, error) {
	e := &f.h.cons
	if uint(e.tail-e.head) < uint(offset+len(p)) {
		f.reload()
	}
	avail := int(e.tail-e.head) - offset
	if avail <= 0 {
		return 0, ErrEmpty
	}
	p = p[:min(len(p), avail)]
	chunk, start, size := e.chunk, e.start, e.len
	pos := e.head
	for done, skip := 0, uint32(offset); done < len(p); {
		off := pos - start
		if off == size {
			r := chunk
			if r == 0 {
				r = Ref(f.h.first.Load())
			} else if old := f.seg.block(r); old.start == start {
				r = Ref(old.next.Load())
			}
			b := f.seg.block(r)
			chunk, start, size = r, b.start, classSize(b.class)
			off = pos - start
		}
		if skip > 0 {
			n := min(size-off, skip)
			skip -= n
			pos += n
			continue
		}
		n := min(size-off, uint32(len(p)-done))
		copy(p[done:], data(f.base, chunk, off, n))
		pos += n
		done += int(n)
	}
	return len(p), nil
}

// Drop frees up to n bytes unread and returns the count. Consumer.
func (f *Fifo) Drop(n int) int {
	var sink [512]byte
	done := 0
	for done < n {
		k, err := f.Dequeue(sink[:min(n-done, len(sink))])
		if err != nil {
			break
		}
		done += k
	}
	return done
}

// EnqueueSegments writes several pieces as one publication; partial: what fits
// of them, else all or nothing. ErrFull, ErrGrow. Producer.
func (f *Fifo) EnqueueSegments(pieces [][]byte, partial bool) (int, error) {
	e := &f.h.prod
	total := 0
	for _, p := range pieces {
		total += len(p)
	}
	free := int(e.size - (e.tail - e.head))
	if total > free {
		e.head = atomic.LoadUint32(&f.h.head)
		free = int(e.size - (e.tail - e.head))
	}
	if total > free && (!partial || free == 0) {
		return 0, ErrFull
	}
	was := *e
	done := 0
	for _, p := range pieces {
		for len(p) > 0 && done < free {
			off := e.tail - e.start
			if off == e.len {
				// A chunk that follows itself can be undone by staying there.
				self := e.chunk
				if !f.grow() {
					if partial && done > 0 {
						f.publish(&f.h.tail, e.tail)
						return done, nil
					}
					f.undo(was.chunk, was.tail, was.start, was.len)
					return 0, ErrGrow
				}
				if e.chunk == self {
					was = *e
				}
				off = 0
			}
			n := min(int(e.len-off), len(p), free-done)
			copy(data(f.base, e.chunk, off, uint32(n)), p)
			e.tail += uint32(n)
			done += n
			p = p[n:]
		}
	}
	f.publish(&f.h.tail, e.tail)
	return done, nil
}

// undo gives back the chunks that were linked after chunk and makes the tail,
// which was not published since, what it was.
func (f *Fifo) undo(chunk Ref, tail, start, size uint32) {
	e := &f.h.prod
	if e.chunk != chunk {
		r := e.oldest
		if chunk != 0 {
			r = Ref(f.seg.block(chunk).next.Load())
		}
		for r != 0 {
			next := Ref(f.seg.block(r).next.Load())
			if r == e.chunk {
				next = 0
			}
			e.owned -= classSize(f.seg.block(r).class)
			f.seg.release(r)
			r = next
		}
		if chunk == 0 {
			e.oldest, e.owned = 0, 0
			f.h.first.Store(0)
		} else {
			f.seg.block(chunk).next.Store(0)
		}
	}
	e.chunk, e.tail, e.start, e.len = chunk, tail, start, size
}
