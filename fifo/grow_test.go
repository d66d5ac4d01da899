package fifo_test

import (
	"bytes"
	"fmt"
	"testing"

	"vlsbench/fifo"
)

var sizes = []int{1, 2, 100, 4095, 4096, 4097, 10_000, 64 << 10, 1 << 20}

// What a fifo may own: its capacity again (the last chunk may be of any class up
// to a quarter of it, and the oldest may be all but read), a chunk for several
// messages, and headers.
func mayOwn(size int) int { return 2*size + size/8 + 64<<10 + 4*(fifo.MinChunk+fifo.Line) }

// taken is what fifos and queues have of a segment, in bytes.
func taken(s *fifo.Segment) int { return s.Usage().Taken }

// A stream that goes on takes no more from the segment than its first half did.
func TestReclaim(t *testing.T) {
	watchdog(t, endless)
	for _, size := range sizes {
		for _, msg := range []int{1, size/3 + 1, size} {
			s := heap(t, 4<<20)
			before := taken(s)
			f := create(t, s, size, fifo.Release)
			f.StartAt(1<<32 - 100_000)
			pos := uint64(0)
			var used int
			total := min(50*max(size, fifo.MinChunk), 200_000*msg)
			for pos < uint64(total) {
				put(t, &f, pos, msg)
				take(t, &f, pos, msg)
				pos += uint64(msg)
				if pos/uint64(msg)%16 != 0 { // to count the blocks takes its time
					continue
				}
				if pos <= uint64(total/2) {
					used = taken(s)
				} else if taken(s) != used {
					t.Errorf("fifo of %d, messages of %d: %d bytes used after %d of stream, and %d before", size, msg, taken(s), pos, used)
					break
				}
			}
			if used -= before; used > mayOwn(size) {
				t.Errorf("fifo of %d, messages of %d: %d bytes used", size, msg, used)
			}
		}
	}
}

// However the ends move, a fifo owns little more than its capacity.
func TestReclaimRandom(t *testing.T) {
	watchdog(t, endless)
	seed := seedOf(t)
	r := random(seed)
	for _, size := range sizes {
		s := heap(t, 8<<20)
		before := taken(s)
		f := create(t, s, size, fifo.Release)
		f.StartAt(r.Uint32())
		wr, rd := uint64(0), uint64(0)
		for range scaled(2000) {
			n := min(r.IntN(size+1), f.MaxEnqueue())
			put(t, &f, wr, n)
			wr += uint64(n)
			n = min(r.IntN(size+1), f.MaxDequeue())
			take(t, &f, rd, n)
			rd += uint64(n)
		}
		if used := taken(s) - before; used > mayOwn(size) {
			t.Errorf("fifo of %d: %d bytes used after %d of stream", size, used, wr)
		}
	}
}

// A fifo owns what it holds, not what it could hold.
func TestGrowth(t *testing.T) {
	watchdog(t, endless)
	s := heap(t, 16<<20)
	before := taken(s)
	const size = 4 << 20
	f := create(t, s, size, fifo.Release)
	if got := taken(s) - before; got > fifo.SmallSize+fifo.Line {
		t.Errorf("an empty fifo owns %d bytes", got)
	}
	put(t, &f, 0, 1<<10)
	if got := taken(s) - before; got > 2*fifo.MinChunk {
		t.Errorf("a fifo that holds 1 KB owns %d bytes", got)
	}
	for f.MaxEnqueue() > 0 {
		put(t, &f, uint64(f.MaxDequeue()), min(f.MaxEnqueue(), 10_000))
		if held, owned := f.MaxDequeue(), taken(s)-before; owned > mayOwn(held) {
			t.Fatalf("a fifo that holds %d bytes owns %d", held, owned)
		}
	}
	if n, err := f.Enqueue([]byte{1}); n != 0 || err != fifo.ErrFull {
		t.Errorf("Enqueue to a full fifo: %d, %v", n, err)
	}
	take(t, &f, 0, 1<<20)
	put(t, &f, size, 1<<20)
	for pos := uint64(1 << 20); pos < 1<<20+size; pos += 1 << 20 {
		take(t, &f, pos, 1<<20)
	}
	if n, err := f.Dequeue(make([]byte, 1)); n != 0 || err != fifo.ErrEmpty {
		t.Errorf("Dequeue from an empty fifo: %d, %v", n, err)
	}
}

// Free gives everything back: fifos that come and go take nothing more.
func TestFreeReleasesAll(t *testing.T) {
	seed := seedOf(t)
	r := random(seed)
	for _, size := range sizes {
		s := heap(t, 4<<20)
		before := taken(s)
		for i := range 40 {
			f := create(t, s, size, fifo.Release)
			f.StartAt(r.Uint32())
			switch i % 4 {
			case 0: // never written, after the first
				if i == 0 {
					put(t, &f, 0, size)
				}
			case 1:
				put(t, &f, 0, size)
			case 2: // emptied
				put(t, &f, 0, size)
				take(t, &f, 0, size)
			case 3: // used several times over
				for pos := uint64(0); pos < uint64(5*size); pos += uint64(size) {
					put(t, &f, pos, size/2)
					put(t, &f, pos+uint64(size/2), size-size/2)
					take(t, &f, pos, size)
				}
			}
			f.Free()
			if f.Valid() {
				t.Fatal("valid after Free")
			}
			if now := taken(s); now != before {
				t.Fatalf("fifos of %d: %d bytes taken after %d of them, %d before", size, now, i+1, before)
			}
		}
	}
}

// fill writes until nothing more can be written and returns the count.
func fill(t *testing.T, f *fifo.Fifo, pos uint64, msg int) (int, error) {
	t.Helper()
	total := 0
	for {
		n, err := f.Enqueue(expected(pos+uint64(total), msg))
		total += n
		if err != nil {
			if n != 0 {
				t.Errorf("Enqueue: %d beside %v", n, err)
			}
			return total, err
		}
		if n == 0 {
			t.Fatal("Enqueue wrote nothing, without an error")
		}
	}
}

// The segment runs out in the middle of a write: what was written is there,
// and no more of it.
func TestPartialWrite(t *testing.T) {
	watchdog(t, endless)
	s := heap(t, 256<<10)
	f := create(t, s, 1<<20, fifo.Release)
	f.StartAt(1<<32 - 5)
	n, err := f.Enqueue(expected(0, 1<<20))
	if err != nil || n == 0 || n >= s.Size() {
		t.Fatalf("Enqueue of more than the segment holds: %d, %v", n, err)
	}
	if left := s.Size() - s.Used(); left >= fifo.MinChunk+fifo.Line {
		t.Errorf("it wrote %d bytes and left %d unused", n, left)
	}
	if f.MaxDequeue() != n || f.MaxEnqueue() != 1<<20-n {
		t.Errorf("MaxDequeue %d, MaxEnqueue %d, written %d", f.MaxDequeue(), f.MaxEnqueue(), n)
	}
	if n, err := f.Enqueue([]byte{1}); n != 0 || err != fifo.ErrGrow {
		t.Errorf("Enqueue without a chunk to be had: %d, %v", n, err)
	}
	if n, err := f.Enqueue(nil); n != 0 || err != nil {
		t.Errorf("Enqueue of nothing: %d, %v", n, err)
	}
	// What is read can be written again, in the fifo's own chunks.
	take(t, &f, 0, n)
	m, err := f.Enqueue(expected(uint64(n), 1<<20))
	if err != nil || m == 0 {
		t.Fatalf("Enqueue to an emptied fifo: %d, %v", m, err)
	}
	take(t, &f, uint64(n), m)
}

// A segment that is exhausted is so for all, and is there again for all when
// one fifo is freed.
func TestExhaustionAndRecovery(t *testing.T) {
	watchdog(t, endless)
	s := heap(t, 128<<10)
	a := create(t, s, 64<<10, fifo.Release)
	b := create(t, s, 64<<10, fifo.Release)
	c := create(t, s, 64<<10, fifo.Release)
	put(t, &b, 0, 100)
	put(t, &c, 0, 100)
	inA, err := fill(t, &a, 0, 1000)
	if err != fifo.ErrFull {
		t.Fatalf("the first: %v", err)
	}
	inB, err := fill(t, &b, 100, 1000)
	if err != fifo.ErrGrow {
		t.Fatalf("the second, after %d bytes: %v", inB, err)
	}
	inB += 100
	inC, err := fill(t, &c, 100, 1000)
	if err != fifo.ErrGrow {
		t.Fatalf("the third, after %d bytes: %v", inC, err)
	}
	inC += 100
	var more []fifo.Fifo
	for {
		f, err := fifo.New(s, 1, fifo.Release)
		if err == fifo.ErrGrow {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if more = append(more, f); len(more) > s.Size()/fifo.SmallSize {
			t.Fatal("New does not end")
		}
	}
	a.Free()
	n, err := fill(t, &b, uint64(inB), 1000)
	if n < inA/4 {
		t.Errorf("%d bytes were freed, and only %d more written before %v", inA, n, err)
	}
	if _, err := fifo.New(s, 1, fifo.Release); err != nil {
		t.Errorf("New after a fifo was freed: %v", err)
	}
	take(t, &b, 0, inB+n)
	take(t, &c, 0, inC)
	b.Free()
	put(t, &c, uint64(inC), 32<<10)
	take(t, &c, uint64(inC), 32<<10)
}

// An exhausted segment holds up no fifo that is read: in what it owns already a
// stream goes on.
func TestExhaustedStreamGoesOn(t *testing.T) {
	watchdog(t, endless)
	for _, chunks := range []int{1, 2, 3} {
		s := heap(t, 128<<10)
		f := create(t, s, 64<<10, fifo.Release)
		put(t, &f, 0, (chunks-1)*fifo.MinChunk+1)
		take(t, &f, 0, (chunks-1)*fifo.MinChunk+1)
		hog := create(t, s, 1<<20, fifo.Release)
		if _, err := fill(t, &hog, 0, 1<<20); err != fifo.ErrGrow {
			t.Fatal(err)
		}
		pos := uint64(f.Tail())
		for end := pos + 100_000; pos < end; {
			n, err := f.Enqueue(expected(pos, 1000))
			if n == 0 {
				t.Errorf("written for %d bytes before: an empty fifo cannot be written after %d: %v", (chunks-1)*fifo.MinChunk+1, pos, err)
				break
			}
			take(t, &f, pos, n)
			pos += uint64(n)
		}
	}
}

// The same for a long fifo whose reader lags: as much can be written as was read,
// but for the chunk at the head.
func TestExhaustedLaggingStreamGoesOn(t *testing.T) {
	watchdog(t, endless)
	s := heap(t, 8<<20)
	f := create(t, s, 2<<20, fifo.Release)
	put(t, &f, 0, 300<<10)
	hog := create(t, s, 32<<20, fifo.Release)
	if _, err := fill(t, &hog, 0, 1<<20); err != fifo.ErrGrow {
		t.Fatal(err)
	}
	const freed = 200 << 10
	take(t, &f, 0, freed)
	n, err := fill(t, &f, 300<<10, 1000)
	if err != fifo.ErrGrow || n < freed-64<<10 {
		t.Errorf("%d bytes read, and then %d written before %v", freed, n, err)
	}
	take(t, &f, freed, 300<<10-freed+n)
}

// Chunks of every size that come back help whoever is short, whatever size it
// would take.
func TestRecoveryFromLargerChunks(t *testing.T) {
	watchdog(t, endless)
	s := heap(t, 1<<20)
	large := create(t, s, 4<<20, fifo.Release)
	if _, err := fill(t, &large, 0, 1<<20); err != fifo.ErrGrow {
		t.Fatal(err)
	}
	large.Free()
	var live []fifo.Fifo
	for i := range 4 {
		f, err := fifo.New(s, fifo.MinChunk, fifo.Release)
		if err != nil {
			t.Fatalf("fifo %d in a segment with all chunks free: %v", i, err)
		}
		put(t, &f, uint64(i), fifo.MinChunk)
		live = append(live, f)
	}
	for i := range live {
		take(t, &live[i], uint64(i), fifo.MinChunk)
		live[i].Free()
	}
}

// A view by reference is the same fifo for both ends, and no more than a look.
func TestOpen(t *testing.T) {
	s := heap(t, 1<<20)
	f := create(t, s, 10_000, fifo.Release)
	g := fifo.Open(s, f.Ref(), fifo.SeqCst)
	p := make([]byte, 3000)
	for pos := uint64(0); pos < 300_000; pos += 3000 {
		w, r := &f, &g
		if pos%2 == 0 {
			w, r = r, w
		}
		put(t, w, pos, 3000)
		if n, err := r.Dequeue(p); n != 3000 || err != nil || !bytes.Equal(p, expected(pos, 3000)) {
			t.Fatalf("at %d: %d, %v, %s", pos, n, err, firstWrong(p, pos))
		}
	}
	if !g.SetEvent() && !f.HasEvent() {
		t.Error("the event flag is not shared")
	}
	g.OrStatus(5)
	if f.Status() != 5 {
		t.Error("the status is not shared")
	}
	if got, want := fmt.Sprint(g.Size(), g.Head(), g.Tail(), g.Ref()), fmt.Sprint(f.Size(), f.Head(), f.Tail(), f.Ref()); got != want {
		t.Errorf("the view says %s, the fifo %s", got, want)
	}
}

// No operation on the data path allocates, nor does a step to another chunk.
func TestFifoAllocates0(t *testing.T) {
	watchdog(t, endless)
	if fifo.RaceEnabled {
		t.Skip("the race detector allocates")
	}
	s := heap(t, 1<<20)
	for _, o := range orders {
		f := create(t, s, 20_000, o.ord)
		in, out := make([]byte, 9000), make([]byte, 9000)
		n := testing.AllocsPerRun(200, func() {
			f.Enqueue(in)
			f.Enqueue(in)
			f.Enqueue(in) // partial, then full
			f.Enqueue(in)
			if !f.HasEvent() {
				f.SetEvent()
			}
			f.WantNotify(100)
			for f.MaxDequeue() > 0 {
				f.Dequeue(out)
			}
			f.Dequeue(out)
			f.Notify(0)
			f.UnsetEvent()
		})
		if n != 0 {
			t.Errorf("%s: %v allocations", o.name, n)
		}
		f.Free()
	}
	if n := testing.AllocsPerRun(100, func() {
		f, err := fifo.New(s, 100, fifo.Release)
		if err != nil {
			t.Error(err)
			return
		}
		f.Enqueue([]byte{1})
		f.Free()
	}); n != 0 {
		t.Errorf("New and Free: %v allocations", n)
	}
}
