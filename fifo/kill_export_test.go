package fifo

// Deaths leave a fifo as an end leaves it that is killed between two stores. The
// fifo holds data in several chunks, and out-of-order segments.
var Deaths = []struct {
	Name string
	Die  func(f *Fifo) (other Fifo)
}{
	{"consumer about to leave a chunk", func(f *Fifo) (_ Fifo) {
		f.h.cons.leaving = f.h.cons.chunk
		return
	}},
	{"consumer left a chunk", func(f *Fifo) (_ Fifo) { f.leave(); return }},
	{"consumer gave a chunk back", func(f *Fifo) (_ Fifo) {
		f.seg.release(f.leave())
		return
	}},
	{"consumer gave a chunk back, which the producer took again", func(f *Fifo) (_ Fifo) {
		f.seg.release(f.leave())
		r := f.seg.alloc(1)
		if r != f.h.cons.leaving {
			panic("it took another")
		}
		have, last := f.covered(1 << 31)
		f.link(last, r, f.written()+uint32(have))
		return
	}},
	{"consumer gave a chunk back, which another fifo took", func(f *Fifo) (g Fifo) {
		f.seg.release(f.leave())
		g, _ = New(f.seg, MinChunk, Release)
		g.Enqueue(make([]byte, MinChunk))
		if g.h.prod.chunk != f.h.cons.leaving {
			panic("it took another")
		}
		return g
	}},
	{"producer about to link a chunk", func(f *Fifo) (_ Fifo) { f.take(); return }},
	{"producer linked a chunk", func(f *Fifo) (_ Fifo) {
		r := f.take()
		_, last := f.covered(1 << 31)
		f.seg.block(r).next.Store(0)
		f.nextOf(last).Store(uint32(r))
		return
	}},
	{"producer about to cut a chunk off", func(f *Fifo) (_ Fifo) {
		f.h.prod.pending = f.following(f.h.prod.chunk)
		return
	}},
	{"producer cut a chunk off", func(f *Fifo) (_ Fifo) { f.cutOff(); return }},
	{"producer gave a chunk back", func(f *Fifo) (_ Fifo) {
		f.seg.release(f.cutOff())
		return
	}},
	{"producer about to change lists", func(f *Fifo) (_ Fifo) { f.take(); return }},
	{"producer changed lists", func(f *Fifo) (_ Fifo) { f.changeLists(); return }},
	{"producer changed lists and gave one back", func(f *Fifo) (_ Fifo) {
		f.seg.release(f.changeLists())
		return
	}},
	{"producer dropped the list", func(f *Fifo) (_ Fifo) {
		f.h.prod.pending, f.h.prod.ooo = f.h.prod.ooo, 0
		return
	}},
}

// leave is stepHead up to where it gives the chunk back.
func (f *Fifo) leave() Ref {
	e := &f.h.cons
	old := e.chunk
	e.leaving = old
	e.chunk = f.following(old)
	return old
}

// take is what comes before a new block is part of the fifo.
func (f *Fifo) take() Ref {
	r := f.seg.allocNear(1, false)
	f.h.prod.pending = r
	f.seg.linked(r, f.ref)
	return r
}

// cutOff is cut up to where it gives the first chunk back.
func (f *Fifo) cutOff() Ref {
	e := &f.h.prod
	r := f.following(e.chunk)
	e.pending = r
	f.nextOf(e.chunk).Store(uint32(f.following(r)))
	return r
}

// changeLists is roomForSpan up to where it gives the old list back.
func (f *Fifo) changeLists() Ref {
	e := &f.h.prod
	r, old := f.take(), e.ooo
	e.ooo, e.pending = r, old
	return old
}

// Hog takes all chunks of the segment but a few small ones, if it is to, and
// returns what gives them back.
func (s *Segment) Hog(on bool) (back func()) {
	var got []Ref
	for on {
		r := s.allocNear(1, false)
		if r == 0 {
			break
		}
		got = append(got, r)
	}
	for range min(3, len(got)) {
		s.release(got[0])
		got = got[1:]
	}
	return func() {
		for _, r := range got {
			s.release(r)
		}
	}
}
