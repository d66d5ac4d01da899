package fifo

import "unsafe"

// Word is a word of shared memory that a fifo rests on.
type Word struct {
	narrow *uint32
	wide   *uint64
}

func (w Word) Get() uint64 {
	if w.wide != nil {
		return *w.wide
	}
	return uint64(*w.narrow)
}

func (w Word) Set(v uint64) {
	if w.wide != nil {
		*w.wide = v
	} else {
		*w.narrow = uint32(v)
	}
}

// Words are the words that the fifo rests on, by name; "chunk" is the producer's,
// "behind" the one behind it, "span" the last out-of-order segment.
func (f *Fifo) Words() map[string]Word {
	h := f.h
	p, c := &h.prod, &h.cons
	words := make(map[string]Word)
	for name, w := range map[string]*uint64{
		"prod.at": &p.at, "prod.end": &p.end, "prod.stop": &p.stop, "prod.delta": &p.delta,
		"cons.at": &c.at, "cons.end": &c.end, "cons.stop": &c.stop, "cons.delta": &c.delta,
	} {
		words[name] = Word{wide: w}
	}
	narrow := map[string]*uint32{
		"magic": &h.magic, "tail": &h.tail, "head": &h.head,
		"prod.head": &p.head, "prod.nooo": &p.nooo, "prod.newest": &p.newest, "cons.tail": &c.tail,
		"pat.left": &c.pat.left, "pat.paused": &c.pat.paused,
		"class": &f.seg.block(f.ref).class,
	}
	for name, w := range map[string]unsafe.Pointer{
		"size": unsafe.Pointer(&h.size), "first": unsafe.Pointer(&h.first),
		"prod.chunk": unsafe.Pointer(&p.chunk), "prod.ooo": unsafe.Pointer(&p.ooo), "cons.chunk": unsafe.Pointer(&c.chunk),
		"pat.phase": unsafe.Pointer(&c.pat.phase),
	} {
		narrow[name] = (*uint32)(w)
	}
	for name, r := range map[string]Ref{"chunk": p.chunk, "behind": f.following(p.chunk)} {
		if r != 0 {
			b := f.seg.block(r)
			narrow[name+".class"], narrow[name+".start"], narrow[name+".next"] = &b.class, &b.start, (*uint32)(unsafe.Pointer(&b.next))
		}
	}
	for i := range f.spans() {
		s := &f.spans()[i]
		narrow["span.start"], narrow["span.end"] = &s.start, &s.end
	}
	for name, w := range narrow {
		words[name] = Word{narrow: w}
	}
	return words
}

// Blocks are all that belong to the fifo: its own, the chunks from the
// consumer's on, and the list of out-of-order segments.
func (f *Fifo) Blocks() []Ref {
	blocks := []Ref{f.ref}
	r := f.h.cons.chunk
	if r == 0 {
		r = f.following(0)
	}
	for ; r != 0 && len(blocks) < f.seg.Size()/MinChunk; r = f.following(r) {
		blocks = append(blocks, r)
	}
	if r := f.h.prod.ooo; r != 0 {
		blocks = append(blocks, r)
	}
	return blocks
}

// Within reports whether b lies in the segment.
func (s *Segment) Within(b []byte) bool {
	from := uintptr(unsafe.Pointer(unsafe.SliceData(s.mem)))
	at := uintptr(unsafe.Pointer(unsafe.SliceData(b)))
	return at >= from && at+uintptr(len(b)) <= from+uintptr(len(s.mem))
}
