package fifo_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"vlsbench/fifo"
)

// refused checks that err is there and names the culprit.
func refused(t *testing.T, what string, culprit any, err error) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: no error", what)
	} else if s := fmt.Sprint(culprit); !strings.Contains(err.Error(), s) {
		t.Errorf("%s: %q does not name %s", what, err, s)
	}
}

func TestSegmentBounds(t *testing.T) {
	for _, size := range []int{-1, 0, fifo.MinSegment - 1, fifo.MaxSegment + 1} {
		_, err := fifo.NewHeapSegment(size)
		refused(t, "NewHeapSegment", size, err)
		_, err = fifo.NewMappedSegment(size)
		refused(t, "NewMappedSegment", size, err)
		_, fd, err := fifo.NewMemfdSegment("bounds", size)
		refused(t, "NewMemfdSegment", size, err)
		if fd != -1 {
			t.Errorf("NewMemfdSegment(%d): a descriptor, %d, beside an error", size, fd)
		}
	}
	mem := fifo.AlignedBytes(fifo.MinSegment + fifo.Line)
	_, err := fifo.NewSegment(mem[:fifo.MinSegment-1])
	refused(t, "NewSegment", fifo.MinSegment-1, err)
	_, err = fifo.NewSegment(nil)
	refused(t, "NewSegment of nothing", 0, err)
	for _, off := range []int{1, 8, 64, fifo.Line - 1} {
		_, err := fifo.NewSegment(mem[off:])
		refused(t, fmt.Sprintf("NewSegment %d bytes beyond a line", off), fifo.Line, err)
	}
	s, err := fifo.NewSegment(mem[:fifo.MinSegment])
	if err != nil {
		t.Fatalf("the smallest segment: %v", err)
	}
	if s.Size() != fifo.MinSegment {
		t.Errorf("Size %d", s.Size())
	}
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Errorf("Close: %v", err)
	}
}

func TestFifoBounds(t *testing.T) {
	s := heap(t, fifo.MinSegment)
	used := s.Used()
	for _, size := range []int{-1, 0, fifo.MaxSize + 1, 1 << 40} {
		_, err := fifo.New(s, size, fifo.Release)
		refused(t, "New", size, err)
	}
	if s.Used() != used {
		t.Errorf("a refused fifo took %d bytes", s.Used()-used)
	}
	for _, size := range []int{fifo.MinSize, fifo.MaxSize} {
		f := create(t, s, size, fifo.Release)
		if f.Size() != size {
			t.Errorf("Size %d, want %d", f.Size(), size)
		}
		f.Free()
	}
	var zero fifo.Fifo
	if zero.Valid() {
		t.Error("the zero fifo is valid")
	}
}

func TestClassSizes(t *testing.T) {
	if fifo.ClassSize(0) != fifo.SmallSize {
		t.Errorf("class 0 has %d bytes", fifo.ClassSize(0))
	}
	for class := uint32(1); class < fifo.NClasses; class++ {
		size := fifo.ClassSize(class)
		if want := uint32(fifo.MinChunk) << (class - 1); size != want {
			t.Errorf("class %d has %d bytes, want %d", class, size, want)
		}
		if got := fifo.ClassFor(size); got != class {
			t.Errorf("%d bytes: class %d, want %d", size, got, class)
		}
		if got, want := fifo.ClassFor(size+1), min(class+1, fifo.NClasses-1); got != want {
			t.Errorf("%d bytes: class %d, want %d", size+1, got, want)
		}
	}
	for _, n := range []uint32{0, 1} {
		if got := fifo.ClassFor(n); got != 1 {
			t.Errorf("%d bytes: class %d, want 1", n, got)
		}
	}
	for _, n := range []uint32{fifo.MaxSize, 1<<32 - 1} {
		if got := fifo.ClassSize(fifo.ClassFor(n)); got != fifo.MaxChunk {
			t.Errorf("%d bytes: chunks of %d, want %d", n, got, fifo.MaxChunk)
		}
	}
}

// The whole of a segment can be handed out, no line twice and none beyond its
// end, and what comes back is handed out again.
func TestSegmentExhaustion(t *testing.T) {
	watchdog(t, endless)
	for _, size := range []int{fifo.MinSegment, fifo.MinSegment + 1, 100_000, 1 << 20} {
		s := heap(t, size)
		own := make([]bool, size/fifo.Line)
		var blocks []fifo.Ref
		for class := fifo.NClasses - 1; class >= 0; class-- {
			lines := int(fifo.ClassSize(uint32(class)))/fifo.Line + 1
			for {
				r := s.Alloc(uint32(class))
				if r == 0 {
					break
				}
				for i := int(r); i < int(r)+lines; i++ {
					if own[i] {
						t.Fatalf("segment of %d: line %d was handed out twice", size, i)
					}
					own[i] = true
				}
				blocks = append(blocks, r)
			}
		}
		if left := s.Size() - s.Used(); left < 0 || left >= fifo.SmallSize+2*fifo.Line {
			t.Errorf("segment of %d: %d bytes left", size, left)
		}
		for _, r := range blocks {
			class := s.ClassOf(r)
			s.Release(r)
			if got := s.Alloc(class); got != r {
				t.Errorf("segment of %d: block %d came back, and %d was handed out", size, r, got)
			}
		}
	}
}

// Many threads take and give back blocks of few classes. Each marks every line
// of what it holds.
func TestSegmentHandsOutOnce(t *testing.T) {
	const workers = 6
	threads(t, workers)
	s := heap(t, 256<<10)
	owner := make([]atomic.Int32, s.Size()/fifo.Line)
	var rounds atomic.Int64
	watchdog(t, func() string { return fmt.Sprintf("%d rounds", rounds.Load()) })
	seed := seedOf(t)
	mark := func(b fifo.Ref, class uint32, from, to int32) bool {
		for i := range 1 + fifo.Ref(fifo.ClassSize(class)/fifo.Line) {
			if !owner[b+i].CompareAndSwap(from, to) {
				t.Errorf("line %d belongs to worker %d, on its way from %d to %d", b+i, owner[b+i].Load(), from, to)
				return false
			}
		}
		return true
	}
	var wg sync.WaitGroup
	for id := range int32(workers) {
		id++ // 0 is the segment
		r := random(seed + uint64(id))
		wg.Go(func() {
			var held []fifo.Ref
			// Few blocks, and few of them held: the lists are short, and their heads
			// the same again and again.
			for i := scaled(400_000); i > 0 || len(held) > 0; i-- {
				rounds.Add(1)
				if i > 0 && len(held) < 3 && r.IntN(2) == 0 {
					class := uint32(r.IntN(3) & 1)
					b := s.Alloc(class)
					if b == 0 {
						t.Errorf("exhausted with at most %d blocks held", 3*workers)
						return
					}
					if got := s.ClassOf(b); got != class {
						t.Errorf("a block of class %d, want %d", got, class)
						return
					}
					if !mark(b, class, 0, id) {
						return
					}
					held = append(held, b)
				} else if len(held) > 0 {
					last := len(held) - 1
					j := r.IntN(len(held))
					b := held[j]
					held[j] = held[last]
					held = held[:last]
					if !mark(b, s.ClassOf(b), id, 0) {
						return
					}
					s.Release(b)
				}
			}
		})
	}
	wg.Wait()
	if most := 3 * workers * (fifo.MinChunk + fifo.SmallSize + 2*fifo.Line); s.Used() > most+fifo.MinChunk {
		t.Errorf("%d bytes were handed out, and never more than %d were held", s.Used(), most)
	}
}

// Threads make fifos in one segment, use and free them; each finds its own
// bytes in its own, and the segment grows no further.
func TestFifosComeAndGo(t *testing.T) {
	const workers = 4
	threads(t, workers)
	s := heap(t, 8<<20)
	watchdog(t, func() string { return fmt.Sprintf("%d bytes used", s.Used()) })
	seed := seedOf(t)
	life := func(r uint64, size int) error {
		f, err := fifo.New(s, size, fifo.Release)
		if err != nil {
			return err
		}
		defer f.Free()
		p := make([]byte, size)
		for pos := r % period; pos < r%period+3*uint64(size); pos += uint64(size) {
			if n, err := f.Enqueue(expected(pos, size)); n != size || err != nil {
				return fmt.Errorf("Enqueue %d: %d, %v", size, n, err)
			}
			if n, err := f.Dequeue(p); n != size || err != nil {
				return fmt.Errorf("Dequeue %d: %d, %v", size, n, err)
			}
			if string(p) != string(expected(pos, size)) {
				return errors.New(firstWrong(p, pos))
			}
		}
		return nil
	}
	var wg sync.WaitGroup
	for id := range uint64(workers) {
		r := random(seed + id)
		wg.Go(func() {
			for range scaled(4000) {
				if err := life(r.Uint64(), 1+r.IntN(64<<10)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// A head that was taken and given back in between does not look unchanged.
func TestSegmentHeadIsTagged(t *testing.T) {
	s := heap(t, 1<<20)
	a, b := s.Alloc(1), s.Alloc(1)
	s.Release(b)
	s.Release(a)
	before := s.Head(1)
	if got := s.Alloc(1); got != a {
		t.Fatalf("block %d, want %d", got, a)
	}
	if got := s.Alloc(1); got != b {
		t.Fatalf("block %d, want %d", got, b)
	}
	s.Release(a)
	if after := s.Head(1); after == before || uint32(after) != uint32(before) {
		t.Errorf("the head was %#x, and is %#x", before, after)
	}
}

// The case that tags on the list's head are there for (ABA): a thread has read
// head and next; another takes both blocks and gives the first back. Two threads
// do nothing else.
func TestSegmentABA(t *testing.T) {
	threads(t, 2)
	s := heap(t, fifo.MinSegment)
	owner := make([]atomic.Int32, s.Size()/fifo.Line)
	var rounds atomic.Int64
	watchdog(t, func() string { return fmt.Sprintf("%d rounds", rounds.Load()) })
	var stop atomic.Bool
	take := func(id int32) fifo.Ref {
		r := s.Alloc(0)
		if r == 0 || !owner[r].CompareAndSwap(0, id) {
			t.Errorf("worker %d was handed block %d, which is worker %d's", id, r, owner[r].Load())
			stop.Store(true)
		}
		return r
	}
	give := func(r fifo.Ref) {
		owner[r].Store(0)
		s.Release(r)
	}
	var wg sync.WaitGroup
	for id := range int32(2) {
		id++
		wg.Go(func() {
			for i := 0; i < scaled(1_000_000) && !stop.Load(); i++ {
				a := take(id)
				b := take(id)
				give(a)
				if i&1 == 0 {
					c := take(id)
					give(b)
					give(c)
				} else {
					give(b)
				}
			}
			rounds.Add(1)
		})
	}
	wg.Wait()
	if blocks := (s.Used() - heap(t, fifo.MinSegment).Used()) / (fifo.SmallSize + fifo.Line); blocks > 4 {
		t.Errorf("%d blocks were made, and never more than 4 were held", blocks)
	}
}
