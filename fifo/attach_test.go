package fifo_test

import (
	"encoding/binary"
	"errors"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"vlsbench/fifo"
)

// cage is memory for a segment between pages that cannot be touched, as far as
// a Ref reaches: to leave the segment is a fault, which ends the test.
func cage(t testing.TB, size int) []byte {
	if fifo.RaceEnabled {
		return fifo.AlignedBytes(size)
	}
	const margin = 1 << 39
	mem, err := unix.Mmap(-1, 0, 2*margin+size, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Munmap(mem); err != nil {
			t.Error(err)
		}
	})
	seg := mem[margin:][:size:size]
	if err := unix.Mprotect(seg, unix.PROT_READ|unix.PROT_WRITE); err != nil {
		t.Fatal(err)
	}
	return seg
}

// still is a fifo in a segment, at rest in some state that fifos can be in.
type still struct {
	mem []byte
	seg *fifo.Segment
	f   fifo.Fifo
	pad []fifo.Ref // blocks between, so that pages are of one block mostly
}

const (
	stillSize = 256 << 10
	stills    = 8
)

// newStill makes the kind-th in mem.
func newStill(t testing.TB, mem []byte, kind int) *still {
	t.Helper()
	clear(mem)
	seg, err := fifo.NewSegment(mem)
	if err != nil {
		t.Fatal(err)
	}
	ord := fifo.Release
	if kind&4 != 0 {
		ord = fifo.Batched(3)
	}
	f := create(t, seg, 60_000, ord)
	i := &still{mem: mem, seg: seg, f: f}
	for _, class := range []uint32{0, 0, 0, 0, 0, 0, 1} {
		i.pad = append(i.pad, seg.Alloc(class))
	}
	if kind&1 != 0 {
		f.StartAt(1<<32 - 20_000)
	}
	if kind == 0 {
		return i
	}
	put(t, &f, 0, 10_000)
	f.Flush()
	take(t, &f, 0, 3000)
	put(t, &f, 10_000, 10_000)
	if kind&2 != 0 {
		put(t, &f, 20_000, 1)
		f.Flush()
		for _, at := range []int{9000, 100, 25_000} {
			if err := f.EnqueueAt(at, expected(uint64(at), 500)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if kind >= 6 { // the consumer is in the producer's chunk
		take(t, &f, 3000, 17_001)
	}
	return i
}

// attach makes a view for each end, or nil where it is refused, which must say
// why.
func (i *still) attach(t testing.TB, ord fifo.Order) (in, out *fifo.Fifo) {
	t.Helper()
	view := func(a func(*fifo.Segment, fifo.Ref, fifo.Order) (fifo.Fifo, error)) *fifo.Fifo {
		f, err := a(i.seg, i.f.Ref(), ord)
		if err == nil {
			return &f
		}
		if f.Valid() || !errors.Is(err, fifo.ErrCorrupt) || !strings.Contains(err.Error(), "fifo at") {
			t.Fatalf("refused with %v", err)
		}
		return nil
	}
	return view(fifo.OpenProducer), view(fifo.OpenConsumer)
}

func TestOpenEnds(t *testing.T) {
	mem := cage(t, stillSize)
	for kind := range stills {
		i := newStill(t, mem, kind)
		in, out := i.attach(t, fifo.Release)
		if in == nil || out == nil {
			t.Fatalf("still %d is refused", kind)
		}
		in.Flush()
		out.DropAll()
		put(t, in, 77_777, 5000)
		take(t, out, 77_777, 5000)
		out.Free()
	}
}

// Each word that is not as it must be is refused by a name of what is wrong with
// it, by the end whose word it is.
func TestOpenEndRefuses(t *testing.T) {
	const producer, consumer = 1, 2
	plus := func(d uint64) func(uint64) uint64 { return func(old uint64) uint64 { return old + d } }
	be := func(v uint64) func(uint64) uint64 { return func(uint64) uint64 { return v } }
	mem := cage(t, stillSize)
	for _, c := range []struct {
		kind  int
		word  string
		value func(old uint64) uint64
		ends  int
		says  string
	}{
		{2, "class", be(1), producer | consumer, "no block of a fifo's size"},
		{2, "class", be(99), producer | consumer, "no block of a fifo's size"},
		{2, "magic", plus(1), producer | consumer, "magic"},
		{2, "size", be(0), producer | consumer, "size 0"},
		{2, "size", be(fifo.MaxSize + 1), producer | consumer, "size 1073741825"},
		{2, "size", be(100), producer | consumer, "at most 100"},
		{2, "tail", plus(1), producer, "tail"}, // to the consumer that may be so
		{2, "tail", plus(100_000), producer | consumer, "tail"},
		{2, "head", plus(1), consumer, "head"},
		{2, "head", plus(100_000), producer | consumer, "head"},
		{2, "prod.at", plus(1), producer, "producer"},
		{2, "prod.at", be(0), producer, "in order from"},
		{2, "prod.at", be(1 << 40), producer, "in order from"},
		{2, "prod.end", be(1 << 40), producer, "in order from"},
		{2, "prod.end", plus(^uint64(0)), producer, "in order from"},
		{1, "size", be(17_500), producer, "room"}, // to the consumer that may be so
		{2, "prod.end", plus(1), producer, "room"},
		{1, "prod.end", plus(^uint64(0) - 60_000), producer, "in order from"},
		{2, "prod.head", plus(1), producer, "producer at"},
		{1, "prod.head", plus(^uint64(0) - 60_000), producer, "producer at"},
		{1, "prod.head", plus(30_000), producer, "producer at"},
		{2, "prod.stop", plus(128), producer, "the last"},
		{2, "prod.delta", plus(1), producer, "producer"},
		{2, "prod.chunk", be(0), producer, "no chunk"},
		{2, "prod.chunk", be(1 << 30), producer, "no chunk"},
		{2, "first", be(1), 0, ""}, // nobody reads it any more
		{0, "first", be(1 << 30), producer, "no chunk"},
		{2, "chunk.class", be(99), producer, "no chunk"},
		{2, "chunk.class", plus(1), producer, "the last"},
		{2, "chunk.start", plus(1), producer, "behind the beginning"},
		{2, "chunk.next", be(1 << 30), producer, "no chunk"},
		{2, "chunk.next", be(0), producer, "chunks for"},
		{2, "behind.start", plus(1), producer, "begins at"},
		{2, "behind.class", be(0), producer, "no chunk"},
		{2, "prod.ooo", be(0), producer, "no such list"},
		{2, "prod.ooo", be(1 << 30), producer, "no such list"},
		{2, "prod.nooo", be(0), producer, "no such list"},
		{2, "prod.nooo", be(1000), producer, "no such list"},
		{2, "prod.nooo", plus(1), producer, "in order"},
		{2, "prod.newest", be(4), producer, "no such list"},
		{2, "span.start", be(0), producer, "out-of-order segment"},
		{2, "span.start", be(29_050), producer, "out-of-order segment"},
		{2, "span.end", plus(100_000), producer, "out-of-order segment"},
		{2, "cons.at", plus(^uint64(0)), consumer, "consumer"},
		{2, "cons.at", be(1 << 40), consumer, "in order from"},
		{2, "cons.end", be(1 << 40), consumer, "in order from"},
		{2, "cons.stop", plus(128), consumer, "the last"},
		{2, "cons.delta", plus(1), consumer, "consumer at"},
		{2, "cons.chunk", be(0), consumer, "no chunk"},
		{2, "cons.chunk", be(1 << 30), consumer, "no chunk"},
		{2, "cons.tail", plus(20_000), consumer, "consumer at"},
		{2, "cons.tail", be(0), consumer, "consumer at"},
		{2, "cons.tail", be(3001), consumer, "consumer sees"},
		{2, "pat.phase", be(4), consumer, "patience"},
		{2, "pat.left", be(0), consumer, "patience"},
		{2, "pat.paused", be(1 << 20), consumer, "patience"},
	} {
		i := newStill(t, mem, c.kind)
		w := i.f.Words()[c.word]
		w.Set(c.value(w.Get()))
		for end, attach := range map[int]func(*fifo.Segment, fifo.Ref, fifo.Order) (fifo.Fifo, error){
			producer: fifo.OpenProducer,
			consumer: fifo.OpenConsumer,
		} {
			_, err := attach(i.seg, i.f.Ref(), fifo.Release)
			switch {
			case c.ends&end == 0:
				if err != nil {
					t.Errorf("%s %d: refused to end %d: %v", c.word, w.Get(), end, err)
				}
			case !errors.Is(err, fifo.ErrCorrupt):
				t.Errorf("%s %d: %v", c.word, w.Get(), err)
			case !strings.Contains(err.Error(), c.says):
				t.Errorf("%s %d: %q does not say %q", c.word, w.Get(), err, c.says)
			}
		}
	}
	i := newStill(t, mem, 2)
	for _, r := range []fifo.Ref{0, 1, i.f.Ref() + 1, stillSize / fifo.Line, 1 << 31} {
		for _, attach := range []func(*fifo.Segment, fifo.Ref, fifo.Order) (fifo.Fifo, error){fifo.OpenProducer, fifo.OpenConsumer} {
			if f, err := attach(i.seg, r, fifo.Release); !errors.Is(err, fifo.ErrCorrupt) || f.Valid() {
				t.Errorf("fifo at %d: %v", r, err)
			}
		}
	}
}

// A chain that leads over what belongs to the fifo already is refused: what is
// written to it would change that.
func TestOpenEndRefusesOverlap(t *testing.T) {
	mem := cage(t, stillSize)
	word := func(r fifo.Ref, n int) []byte { return mem[int(r)*fifo.Line+4*n:][:4] }
	set := func(b []byte, v uint32) { binary.LittleEndian.PutUint32(b, v) }
	for _, c := range []struct {
		name, says string
		kind       int
		spoil      func(i *still, w map[string]fifo.Word)
	}{
		{"a chunk in the last", "want them apart", 1, func(i *still, w map[string]fifo.Word) {
			r := w["prod.chunk"].Get() + 1
			set(word(fifo.Ref(r), 0), 0)
			set(word(fifo.Ref(r), 1), 1)
			set(word(fifo.Ref(r), 2), uint32(w["chunk.start"].Get()+w["prod.stop"].Get()-r*fifo.Line))
			w["chunk.next"].Set(r)
		}},
		{"a list of nothing", "no such list", 2, func(i *still, w map[string]fifo.Word) {
			w["prod.nooo"].Set(0)
			w["prod.newest"].Set(0)
		}},
		{"a chunk in another", "want them apart", 2, func(i *still, w map[string]fifo.Word) {
			r := fifo.Ref(w["prod.chunk"].Get()) + 1
			set(word(r, 0), 0)
			set(word(r, 1), 1)
			set(word(r, 2), uint32(w["behind.start"].Get()))
			w["chunk.next"].Set(uint64(r))
		}},
		{"a chunk over the header", "no chunk", 2, func(i *still, w map[string]fifo.Word) {
			w["size"].Set(1) // which is where a class is, a line further
			w["prod.chunk"].Set(uint64(i.f.Ref() + 1))
		}},
		{"the list in a chunk", "want them apart", 2, func(i *still, w map[string]fifo.Word) {
			r := fifo.Ref(w["prod.chunk"].Get()) + 1
			copy(mem[int(r)*fifo.Line:], mem[int(w["prod.ooo"].Get())*fifo.Line:][:2*fifo.Line])
			w["prod.ooo"].Set(uint64(r))
		}},
	} {
		i := newStill(t, mem, c.kind)
		c.spoil(i, i.f.Words())
		_, err := fifo.OpenProducer(i.seg, i.f.Ref(), fifo.Release)
		if !errors.Is(err, fifo.ErrCorrupt) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// A ring of chunks whose lengths are 4 GB in all has its positions in order.
func TestOpenEndRefusesRing(t *testing.T) {
	watchdog(t, endless)
	const ring = 1 << 32 / fifo.MaxChunk
	mem := cage(t, 8<<20)
	i := newStill(t, mem, 1)
	w := i.f.Words()
	first := fifo.Ref(len(mem)-fifo.MaxChunk)/fifo.Line - 2*ring
	start := w["chunk.start"].Get() + w["prod.stop"].Get() - (w["prod.chunk"].Get()+1)*fifo.Line
	for k := range fifo.Ref(ring) {
		at := mem[int(first+k)*fifo.Line:]
		binary.LittleEndian.PutUint32(at, uint32(first+(k+1)%ring))
		binary.LittleEndian.PutUint32(at[4:], fifo.NClasses-1)
		binary.LittleEndian.PutUint32(at[8:], uint32(start)+uint32(k)*fifo.MaxChunk)
	}
	w["chunk.next"].Set(uint64(first))
	_, err := fifo.OpenProducer(i.seg, i.f.Ref(), fifo.Release)
	if !errors.Is(err, fifo.ErrCorrupt) || !strings.Contains(err.Error(), "a chain of more than") {
		t.Errorf("a ring: %v", err)
	}
}

// A chain that does not lead to where the next byte is, is not followed.
func TestConsumerFollowsNoBrokenChain(t *testing.T) {
	mem := cage(t, stillSize)
	for _, c := range []struct {
		word  string
		value uint64
	}{
		{"behind.start", 1}, {"behind.class", 0}, {"behind.class", 99},
		{"chunk.next", 0}, {"chunk.next", 1}, {"chunk.next", 1 << 31},
	} {
		i := newStill(t, mem, 0)
		put(t, &i.f, 0, 100)
		take(t, &i.f, 0, 50)
		put(t, &i.f, 100, fifo.MinChunk-100)
		if err := i.f.EnqueueAt(100, expected(0, 100)); err != nil {
			t.Fatal(err)
		}
		w := i.f.Words()[c.word]
		put(t, &i.f, fifo.MinChunk, 50)
		old := w.Get()
		w.Set(c.value)
		out, err := fifo.OpenConsumer(i.seg, i.f.Ref(), fifo.Release)
		if err != nil {
			t.Fatal(err)
		}
		take(t, &out, 50, fifo.MinChunk-50)
		var pieces [2][]byte
		p := make([]byte, 10)
		for name, op := range map[string]func() error{
			"Dequeue":       func() error { _, err := out.Dequeue(p); return err },
			"Peek":          func() error { _, err := out.Peek(0, p); return err },
			"Segments":      func() error { _, _, err := out.Segments(0, 10, pieces[:]); return err },
			"Drop":          func() error { _, err := out.Drop(10); return err },
			"OverwriteHead": func() error { return out.OverwriteHead(p) },
		} {
			if err := op(); err != fifo.ErrCorrupt {
				t.Errorf("%s with %s %d: %v", name, c.word, c.value, err)
			}
		}
		if n := out.MaxReadChunk(); n != 0 {
			t.Errorf("MaxReadChunk with %s %d: %d", c.word, c.value, n)
		}
		w.Set(old)
		take(t, &out, fifo.MinChunk, 50)
	}
}

// An index that the other end cannot have written is not believed.
func TestWildIndices(t *testing.T) {
	mem := cage(t, stillSize)
	var pieces [2][]byte
	p := make([]byte, 10)
	for _, far := range []uint64{60_001, 1 << 31, 1<<32 - 1} {
		i := newStill(t, mem, 1)
		head := i.f.Words()["head"]
		old := head.Get()
		head.Set(uint64(i.f.Tail()) - far)
		in, err := fifo.OpenProducer(i.seg, i.f.Ref(), fifo.Release)
		if err == nil {
			t.Errorf("a head %d bytes behind the tail is attached to", far)
		}
		in = fifo.Open(i.seg, i.f.Ref(), fifo.Release)
		long := make([]byte, 20_000)
		for name, op := range map[string]func() (int, error){
			"Enqueue":         func() (int, error) { return in.Enqueue(long) },
			"EnqueueAt":       func() (int, error) { return 0, in.EnqueueAt(1, p) },
			"EnqueueSegments": func() (int, error) { return in.EnqueueSegments([][]byte{p}, true) },
			"Provision":       func() (int, error) { _, n, err := in.Provision(1, pieces[:]); return n, err },
			"Advance":         func() (int, error) { return in.Advance(1) },
		} {
			if n, err := op(); n != 0 || err != fifo.ErrFull {
				t.Errorf("%s with the head %d bytes behind the tail: %d, %v", name, far, n, err)
			}
		}
		if n := in.MaxWriteChunk(); n != 0 {
			t.Errorf("MaxWriteChunk with the head %d bytes behind the tail: %d", far, n)
		}
		head.Set(old)
		put(t, &in, 20_000, 5000)

		i = newStill(t, mem, 0)
		put(t, &i.f, 0, 100)
		tail := i.f.Words()["tail"]
		tail.Set(uint64(i.f.Head()) + far)
		out := fifo.Open(i.seg, i.f.Ref(), fifo.Release)
		for name, op := range map[string]func() (int, error){
			"Dequeue":       func() (int, error) { return out.Dequeue(p) },
			"Peek":          func() (int, error) { return out.Peek(0, p) },
			"Segments":      func() (int, error) { _, n, err := out.Segments(0, 10, pieces[:]); return n, err },
			"Drop":          func() (int, error) { return out.Drop(10) },
			"OverwriteHead": func() (int, error) { return 0, out.OverwriteHead(p) },
			"DropAll":       func() (int, error) { return out.DropAll(), fifo.ErrEmpty },
			"MaxReadChunk":  func() (int, error) { return out.MaxReadChunk(), fifo.ErrEmpty },
		} {
			if n, err := op(); n != 0 || err != fifo.ErrEmpty && err != fifo.ErrCorrupt {
				t.Errorf("%s with the tail %d bytes from the head: %d, %v", name, far, n, err)
			}
		}
		tail.Set(100)
		take(t, &out, 0, 100)
	}
}

// script is a fuzzer's bytes, and what is decided by them.
type script []byte

func (s *script) n(n int) int {
	var w [2]byte
	*s = (*s)[copy(w[:], *s):]
	return int(binary.LittleEndian.Uint16(w[:])) % n
}

func (s *script) word() uint32 { return uint32(s.n(1<<16)) | uint32(s.n(1<<16))<<16 }

// vandal writes to words of a fifo what a peer might that means harm.
type vandal struct {
	*still
	values []uint32 // what is likely to be believed
	words  []int    // offsets in mem
}

func newVandal(i *still) *vandal {
	v := &vandal{still: i}
	for _, r := range i.f.Blocks() {
		at := int(r) * fifo.Line
		for off := range 8 {
			v.words = append(v.words, at+4*off, at+fifo.Line+4*off)
		}
		v.values = append(v.values, uint32(r), uint32(r)+1, uint32(at), uint32(at)+fifo.Line)
	}
	// Of the header, both ends' lines.
	at := (int(i.f.Ref()) + 1) * fifo.Line
	for off := 0; off < fifo.SmallSize; off += 4 {
		if off%fifo.Line < 96 {
			v.words = append(v.words, at+off)
		}
	}
	v.values = append(v.values, 0, 1, 2, 5, ^uint32(0), 1<<31, stillSize/fifo.Line, stillSize/fifo.Line-33, i.f.Head(), i.f.Tail(), uint32(i.f.Size()))
	return v
}

// spoil changes one word.
func (v *vandal) spoil(s *script, words []int) {
	at := words[s.n(len(words))]
	b := v.mem[at:][:4]
	old := binary.LittleEndian.Uint32(b)
	n := old
	switch s.n(6) {
	case 0:
		n = s.word()
	case 1:
		n += uint32(s.n(9)) - 4
	case 2:
		n ^= 1 << s.n(32)
	case 3: // as it is somewhere else
		n = binary.LittleEndian.Uint32(v.mem[v.words[s.n(len(v.words))]:])
	default:
		n = v.values[s.n(len(v.values))]
	}
	binary.LittleEndian.PutUint32(b, n)
}

// of are the words that one end writes while the other is in use.
func (v *vandal) of(producer bool) []int {
	h := (int(v.f.Ref()) + 1) * fifo.Line
	words := []int{h + 8, h + 12, h + 20, h + 24, h + 32, h + 40} // event, status, stream, cpu, want, subs
	if !producer {
		return append(words, h+3*fifo.Line) // head
	}
	words = append(words, h+4, h+16, h+fifo.Line) // size, first, tail
	for _, r := range v.f.Blocks()[1:] {
		at := int(r) * fifo.Line
		if r != v.f.Ref() && at+fifo.Line <= len(v.mem) { // it may be spoilt already
			words = append(words, at, at+8) // next, start
		}
	}
	return words
}

// operate runs an operation of the producer or consumer, which ends, keeps
// inside, and fails with no error but one by name.
func (i *still) operate(t testing.TB, f *fifo.Fifo, producer, both bool, s *script) {
	n := []int{0, 1, 60, 4000, 30_000, 100_000, s.n(70_000), -1}[s.n(8)]
	p := make([]byte, max(n, 0))
	pieces := make([][]byte, 5)
	k := 0
	var err error
	op := s.n(8)
	if producer {
		switch op {
		case 0, 1:
			_, err = f.Enqueue(p)
		case 2:
			err = f.EnqueueAt(s.n(70_000)-1, p)
		case 3:
			_, err = f.EnqueueSegments([][]byte{p, p[:len(p)/2]}, s.n(2) == 0)
		case 4:
			k, _, err = f.Provision(n, pieces)
		case 5:
			_, err = f.Advance(n)
		case 6:
			if n > 0 {
				_, err = f.SetSize(n)
			}
		case 7:
			f.MaxWriteChunk()
			f.WantNotify(n)
			f.Want(fifo.Drained)
			f.Newest()
			f.Flush()
			for j := range f.OutOfOrder() {
				f.OutOfOrderSegment(j)
			}
		}
		for _, p := range pieces[:k] {
			if !i.seg.Within(p) {
				t.Fatal("Provision: a piece outside of the segment")
			}
			clear(p)
		}
	} else {
		switch op {
		case 0, 1:
			_, err = f.Dequeue(p)
		case 2:
			_, err = f.Peek(s.n(70_000)-1, p)
		case 3:
			k, _, err = f.Segments(s.n(70_000)-1, n, pieces)
		case 4:
			_, err = f.Drop(n)
		case 5:
			if n > 50_000 {
				f.DropAll()
			}
			f.MaxReadChunk()
		case 6:
			if !both { // what it writes over may be the producer's, in one that is spoilt
				err = f.OverwriteHead(p)
			}
		case 7:
			f.Notify(n)
			f.UnsetEvent()
		}
		for _, p := range pieces[:k] {
			if !i.seg.Within(p) {
				t.Fatal("Segments: a piece outside of the segment")
			}
		}
	}
	if d, e := f.MaxDequeue(), f.MaxEnqueue(); d < 0 || e < 0 {
		t.Fatalf("MaxDequeue %d, MaxEnqueue %d", d, e)
	}
	if err != nil && !slices.ContainsFunc([]error{fifo.ErrFull, fifo.ErrEmpty, fifo.ErrGrow, fifo.ErrCorrupt}, func(e error) bool { return errors.Is(err, e) }) {
		t.Fatalf("operation %d of %d bytes, producer %v: %v", op, n, producer, err)
	}
}

// vandalise runs one script on mem: a fifo, what is spoilt of it before an end
// is attached, and the end's operations with what the other end spoils between.
func vandalise(t testing.TB, mem []byte, s script) {
	i := newStill(t, mem, s.n(stills))
	v := newVandal(i)
	for range s.n(5) {
		v.spoil(&s, v.words)
	}
	ord := []fifo.Order{fifo.Release, fifo.SeqCst, fifo.Batched(3)}[s.n(3)]
	in, out := i.attach(t, ord)
	switch s.n(4) {
	case 0:
		in = nil
	case 1:
		out = nil
	}
	both := in != nil && out != nil
	for len(s) > 0 && (in != nil || out != nil) {
		producer := out == nil || in != nil && s.n(2) == 0
		f := out
		if producer {
			f = in
		}
		i.operate(t, f, producer, both, &s)
		if !both && s.n(2) == 0 {
			v.spoil(&s, v.of(!producer))
		}
	}
	if out != nil {
		out.Free()
	} else if in != nil {
		in.Free()
	}
}

// hostileScript is a script at random.
func hostileScript(seed uint64) script {
	r := random(seed)
	s := make(script, 20+r.IntN(600))
	for i := range s {
		s[i] = byte(r.Uint32())
	}
	return s
}

func TestHostilePeer(t *testing.T) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	mem := cage(t, stillSize)
	seed := seedOf(t)
	n := uint64(scaled(20_000))
	if *soak {
		n *= 50
	}
	done, _ := progress(t, n)
	for ; done.Load() < n; done.Add(1) {
		func() {
			script := seed + done.Load()
			defer func() {
				if r := recover(); r != nil {
					t.Fatalf("script %d: %v\n%s", script, r, debug.Stack())
				}
			}()
			vandalise(t, mem, hostileScript(script))
		}()
	}
}

// FuzzHostilePeer lets a fuzzer spoil a fifo in shared memory, before one end is
// attached to it and after.
func FuzzHostilePeer(f *testing.F) {
	for seed := range uint64(16) {
		f.Add([]byte(hostileScript(seed)))
	}
	f.Fuzz(func(t *testing.T, s []byte) {
		defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
		vandalise(t, cage(t, stillSize), s)
	})
}
