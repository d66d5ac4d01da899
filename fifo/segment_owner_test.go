package fifo_test

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"vlsbench/fifo"
)

// blockBytes is a block of a class with its header.
func blockBytes(class uint32) int { return int(fifo.ClassSize(class)) + fifo.Line }

// exhaust takes everything that is free, the largest blocks first, so that none
// is parted. No line may come twice, nor be one of those that lines marks
// already.
func exhaust(t testing.TB, s *fifo.Segment, lines []bool) []fifo.Ref {
	t.Helper()
	var all []fifo.Ref
	for class := fifo.NClasses - 1; class >= 0; class-- {
		for {
			r := s.Alloc(uint32(class))
			if r == 0 {
				break
			}
			if got := s.ClassOf(r); got != uint32(class) {
				t.Fatalf("block %d is of class %d, want %d", r, got, class)
			}
			mark(t, lines, r, uint32(class))
			all = append(all, r)
		}
	}
	return all
}

func mark(t testing.TB, lines []bool, r fifo.Ref, class uint32) {
	t.Helper()
	for i := int(r); i < int(r)+blockBytes(class)/fifo.Line; i++ {
		if lines[i] {
			t.Fatalf("line %d, of block %d, is in use twice", i, r)
		}
		lines[i] = true
	}
}

// allOnce checks that everything in a quiet segment but held can be handed out,
// and that once; then it gives that back.
func allOnce(t testing.TB, s *fifo.Segment, held ...fifo.Ref) {
	t.Helper()
	lines := make([]bool, s.Size()/fifo.Line+1)
	for _, r := range held {
		mark(t, lines, r, s.ClassOf(r))
	}
	all := exhaust(t, s, lines)
	u := s.Usage()
	if u.Free != 0 || u.Pending != 0 || u.Fresh >= blockBytes(0)+fifo.Line {
		t.Errorf("all is handed out, and %d bytes are free, %d pending, %d fresh", u.Free, u.Pending, u.Fresh)
	}
	n := 0
	for _, c := range u.Classes {
		n += c.Taken
	}
	if n != len(all)+len(held) {
		t.Errorf("%d blocks are taken; %d could be handed out, %d were held", n, len(all), len(held))
	}
	if u.Corruptions != 0 {
		t.Errorf("%d corruptions", u.Corruptions)
	}
	for _, r := range all {
		s.Release(r)
	}
}

// What an owner took comes back to it, whoever gives it back.
func TestBlocksComeHome(t *testing.T) {
	a := heap(t, 1<<20)
	b := join(t, a)
	for _, class := range []uint32{0, 1, 5} {
		theirs := b.Alloc(class)
		b.Release(theirs)
		r := a.Alloc(class)
		if r == theirs {
			t.Fatalf("class %d: a block of another owner's was taken while there is fresh memory", class)
		}
		b.Release(r)
		if got := b.Alloc(class); got != theirs {
			t.Errorf("class %d: who gave a block back got %d, and had %d", class, got, theirs)
		}
		if got := a.Alloc(class); got != r {
			t.Errorf("class %d: who took block %d got %d when it came back", class, r, got)
		}
	}
}

func TestOwnerNumbers(t *testing.T) {
	s := heap(t, 1<<20)
	if n := s.MaxOwners(); n < 2 || n > fifo.MaxOwners {
		t.Fatalf("MaxOwners %d", n)
	}
	views := []*fifo.Segment{s}
	for len(views) < s.MaxOwners() {
		v := join(t, s)
		if v.Owner() != len(views) {
			t.Errorf("owner %d, want %d", v.Owner(), len(views))
		}
		views = append(views, v)
	}
	_, err := s.Join()
	refused(t, "Join", s.MaxOwners(), err)
	if !errors.Is(err, fifo.ErrOwners) {
		t.Errorf("Join: %v is not ErrOwners", err)
	}
	for k, pid := range s.Owners() {
		if pid == 0 {
			t.Errorf("owner %d has no process", k)
		}
	}
	// One leaves: its number, and what it has free, are there for others, before
	// fresh memory is.
	left := views[3]
	r := left.Alloc(2)
	left.Release(r)
	if err := errors.Join(left.Close(), left.Close()); err != nil {
		t.Error(err)
	}
	before := s.Mark()
	if got := s.Alloc(2); got != r || s.Mark() != before {
		t.Errorf("block %d of one who left is free, and %d was handed out, %d fresh bytes taken", r, got, s.Mark()-before)
	}
	if v := join(t, s); v.Owner() != 3 {
		t.Errorf("owner %d, want 3, which is free again", v.Owner())
	}
	// What one who left has free is not lost when another gets its number.
	views[5].Release(views[5].Alloc(3))
	views[5].Close()
	if v := join(t, s); v.Owner() != 5 {
		t.Errorf("owner %d, want 5, which is free again", v.Owner())
	}
	allOnce(t, s, r)
	if got := fifo.MinSegment; heap(t, got).MaxOwners() != 1 || heap(t, 64<<20).MaxOwners() != fifo.MaxOwners {
		t.Errorf("a segment of %d bytes has %d owners, one of 64 MB %d", got, heap(t, got).MaxOwners(), heap(t, 64<<20).MaxOwners())
	}
}

// Threads of many owners, two of each, four times as many as there are
// processors, take and give back each other's blocks of few classes, hot and
// cold. Each marks what it holds.
func TestOwnersHandOutOnce(t *testing.T) {
	s := heap(t, 2<<20)
	owners := min(2*runtime.NumCPU(), s.MaxOwners()-1)
	threads(t, 2*owners)
	var marks = make([]atomic.Int32, s.Size()/fifo.Line)
	var rounds, none atomic.Int64
	watchdog(t, func() string { return fmt.Sprintf("%d rounds", rounds.Load()) })
	seed := seedOf(t)
	// What one thread has no use for, another gives back.
	var handed [8]atomic.Uint32
	var wg sync.WaitGroup
	for id := range int32(2 * owners) {
		id++
		v := s
		if id%2 == 1 {
			v = join(t, s)
		}
		r := random(seed + uint64(id))
		wg.Go(func() {
			change := func(b fifo.Ref, from, to int32) bool {
				for i := range fifo.Ref(blockBytes(v.ClassOf(b)) / fifo.Line) {
					if !marks[b+i].CompareAndSwap(from, to) {
						t.Errorf("line %d, thread %d: %d's, on its way from %d to %d", b+i, id, marks[b+i].Load(), from, to)
						return false
					}
				}
				return true
			}
			give := func(b fifo.Ref) bool {
				if !change(b, -1, 0) {
					return false
				}
				v.Release(b)
				return true
			}
			for i := scaled(60_000); i > 0 && !t.Failed(); i-- {
				rounds.Add(1)
				if r.IntN(3) == 0 {
					if b := handed[r.IntN(len(handed))].Swap(0); b != 0 && !give(fifo.Ref(b)) {
						return
					}
					continue
				}
				class := []uint32{0, 0, 1, 1, 1, 2, 3, 6}[r.IntN(8)]
				var b fifo.Ref
				switch r.IntN(3) {
				case 0:
					b = v.Alloc(class)
				case 1:
					b = v.AllocCold(class)
				case 2:
					b = v.AllocNear(class, r.IntN(2) == 0)
				}
				if b == 0 {
					none.Add(1)
					continue
				}
				if !change(b, 0, id) || !change(b, id, -1) {
					return
				}
				if b := handed[r.IntN(len(handed))].Swap(uint32(b)); b != 0 && !give(fifo.Ref(b)) {
					return
				}
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	for i := range handed {
		if b := handed[i].Load(); b != 0 {
			s.Release(fifo.Ref(b))
		}
	}
	if got := rounds.Load(); none.Load() > got/2 {
		t.Errorf("%d of %d found nothing", none.Load(), got)
	}
	allOnce(t, s)
}

// Nothing is exhausted as long as another owner has something free, of any size;
// and what comes back helps everybody.
func TestStealAndPart(t *testing.T) {
	watchdog(t, endless)
	a := heap(t, 1<<20)
	b := join(t, a)
	lines := make([]bool, a.Size()/fifo.Line)
	all := exhaust(t, a, lines)
	for class := range uint32(fifo.NClasses) {
		if r := b.Alloc(class); r != 0 {
			t.Fatalf("class %d: block %d of an exhausted segment", class, r)
		}
	}
	if r := b.AllocNear(3, true); r != 0 {
		t.Fatalf("block %d of an exhausted segment", r)
	}
	largest := all[0]
	class := a.ClassOf(largest)
	a.Release(largest)
	// The whole of it can be had in small blocks, by the one it is not home of.
	clear(lines)
	got := 0
	var smalls []fifo.Ref
	for {
		r := b.Alloc(0)
		if r == 0 {
			break
		}
		if r < largest || int(r)*fifo.Line+blockBytes(0) > int(largest)*fifo.Line+blockBytes(class) {
			t.Fatalf("block %d is not part of %d, the only one that is free", r, largest)
		}
		mark(t, lines, r, 0)
		smalls = append(smalls, r)
		got += blockBytes(0)
	}
	// Less a header for each block that was parted and what is no block's end.
	if want := blockBytes(class) * 9 / 10; got < want {
		t.Errorf("of %d bytes %d can be had in small blocks, want %d", blockBytes(class), got, want)
	}
	for _, r := range all[1:] {
		b.Release(r)
	}
	r := b.AllocNear(fifo.NClasses-1, false)
	if r == 0 {
		t.Error("all came back, and there is nothing to be had")
	}
	b.Release(r)
	allOnce(t, a, smalls...)
}

// allocNear prefers smaller blocks that are free to breaking larger ones.
func TestAllocNear(t *testing.T) {
	s := heap(t, 1<<20)
	all := exhaust(t, s, make([]bool, s.Size()/fifo.Line))
	free := map[uint32]fifo.Ref{}
	for _, r := range all {
		if c := s.ClassOf(r); free[c] == 0 && (c == 2 || c == 4 || c == 6) {
			free[c] = r
			s.Release(r)
		}
	}
	if len(free) < 2 {
		t.Fatalf("blocks of the classes %v", free)
	}
	for _, c := range []struct{ class, want uint32 }{{5, 4}, {3, 2}} {
		if free[c.want] == 0 {
			continue
		}
		if r := s.AllocNear(c.class, false); r != free[c.want] {
			t.Errorf("class %d: %d, want %d, of class %d", c.class, r, free[c.want], c.want)
		}
	}
	if r := s.AllocNear(3, false); r == 0 || s.ClassOf(r) != 3 {
		t.Errorf("class 3: %d, want a part of the larger block", r)
	}
}

// A stream across cores gets what was given back longest ago, after enough was
// put in circulation, and fresh memory before that unless it runs low.
func TestCold(t *testing.T) {
	watchdog(t, endless)
	s := heap(t, 8*fifo.ColdBytes)
	for _, class := range []uint32{1, 5} {
		const held = 4
		window := fifo.ColdBytes / int(fifo.ClassSize(class))
		last := map[fifo.Ref]int{}
		var in []fifo.Ref
		for i := range 10 * window {
			r := s.AllocCold(class)
			// Half of what is in circulation has come back since: two generations.
			if at, again := last[r]; again && i-at < window/2-2*held {
				t.Fatalf("class %d: block %d was given back %d allocations ago, of %d in circulation", class, r, i-at, window)
			}
			in = append(in, r)
			if len(in) > held {
				last[in[0]] = i
				s.Release(in[0])
				in = in[1:]
			}
		}
		got := 0
		for r := range last {
			got += int(fifo.ClassSize(s.ClassOf(r)))
		}
		if got < fifo.ColdBytes*9/10 || got > fifo.ColdBytes {
			t.Errorf("class %d: %d bytes are in circulation, want about %d", class, got, fifo.ColdBytes)
		}
		if r := s.Alloc(class); r != in[0] {
			s.Release(in[0])
			if got := s.Alloc(class); got != in[0] {
				t.Errorf("class %d: %d was given back last, and %d handed out hot", class, in[0], got)
			}
		}
	}
	// Where little of it is free, that is handed out by age too, after some time.
	s = heap(t, 8*fifo.ColdBytes)
	const window, free = fifo.ColdBytes / fifo.MinChunk, 16
	last := map[fifo.Ref]int{}
	var in []fifo.Ref
	for i := range 4 * window {
		r := s.AllocCold(1)
		if at, again := last[r]; again && i > 2*window && i-at < free/4 {
			t.Fatalf("block %d was given back %d allocations ago, of %d that are free", r, i-at, free)
		}
		if in = append(in, r); len(in) > window-free {
			last[in[0]] = i
			s.Release(in[0])
			in = in[1:]
		}
	}
	small := heap(t, 1<<20)
	for range 10_000 {
		small.Release(small.AllocCold(1))
	}
	if used := small.Mark(); used < small.Size()*(fifo.LowWatermark-10)/100 || used > small.Size()*(fifo.LowWatermark+15)/100 {
		t.Errorf("%d of %d bytes in circulation for one block at a time, want what is below the low watermark", used, small.Size())
	}
}

// Usage agrees with what was done.
func TestUsage(t *testing.T) {
	s := heap(t, 4<<20)
	v := join(t, s)
	r := random(seedOf(t))
	held := map[fifo.Ref]uint32{}
	check := func() {
		u := s.Usage()
		if sum := u.Reserved + u.Taken + u.Free + u.Fresh + u.Pending; sum != u.Size || u.Size != s.Size() {
			t.Fatalf("%+v: parts are %d, want %d", u, sum, s.Size())
		}
		var taken [fifo.NClasses]int
		bytes := 0
		for _, class := range held {
			taken[class]++
			bytes += blockBytes(class)
		}
		for class, c := range u.Classes {
			if c.Taken != taken[class] || c.Size != int(fifo.ClassSize(uint32(class))) {
				t.Fatalf("class %d: %+v, want %d taken", class, c, taken[class])
			}
		}
		if u.Taken != bytes {
			t.Fatalf("%d bytes are taken, want %d", u.Taken, bytes)
		}
		if u.Corruptions != 0 {
			t.Fatalf("%d corruptions", u.Corruptions)
		}
	}
	for i := range 3000 {
		w := s
		if r.IntN(2) == 0 {
			w = v
		}
		if len(held) < 40 && r.IntN(2) == 0 {
			class := uint32(r.IntN(5))
			if b := w.AllocCold(class); b != 0 {
				held[b] = class
			}
		} else {
			for b := range held {
				w.Release(b)
				delete(held, b)
				break
			}
		}
		if i%100 == 0 {
			check()
		}
	}
	for b := range held {
		s.Release(b)
		delete(held, b)
	}
	check()
	if u := s.Usage(); u.Free == 0 || u.Taken != 0 {
		t.Errorf("all came back: %+v", u)
	}
}

func TestPressure(t *testing.T) {
	s := heap(t, 1<<20)
	usable := s.Size() - s.Usage().Reserved
	var held []fifo.Ref
	bytes := 0
	for {
		got, share := s.Usage().Pressure, bytes*100/usable
		want := fifo.NoPressure
		switch {
		case share >= fifo.HighWatermark:
			want = fifo.HighPressure
		case share >= fifo.LowWatermark:
			want = fifo.LowPressure
		}
		if got != want && got != fifo.NoMemory {
			t.Errorf("%d of %d bytes taken: pressure %s, want %s", bytes, usable, got, want)
		}
		r := s.Alloc(1)
		if (r == 0) != (got == fifo.NoMemory) {
			t.Errorf("%d of %d bytes taken: block %d, pressure %s", bytes, usable, r, got)
		}
		if r == 0 {
			break
		}
		held = append(held, r)
		bytes += blockBytes(1)
	}
	for _, r := range held {
		s.Release(r)
	}
	if got := s.Usage().Pressure; got != fifo.NoPressure {
		t.Errorf("all came back: pressure %s", got)
	}
	for p, want := range map[fifo.Pressure]string{
		fifo.NoPressure: "none", fifo.LowPressure: "low", fifo.HighPressure: "high", fifo.NoMemory: "no memory",
	} {
		if p.String() != want {
			t.Errorf("pressure %d is %q", p, p)
		}
	}
}

// What is preallocated is there, in the owner's own slice.
func TestPreallocate(t *testing.T) {
	s := heap(t, 1<<20)
	if err := s.Preallocate(9000, 20); err != nil {
		t.Fatal(err)
	}
	class := fifo.ClassFor(9000)
	if c := s.Usage().Classes[class]; c.Fresh != 19 || c.Free != 1 || c.Taken != 0 {
		t.Errorf("20 chunks: %+v", c)
	}
	before := s.Mark()
	for range 20 {
		if s.Alloc(class) == 0 {
			t.Fatal("none")
		}
	}
	if s.Mark() != before {
		t.Errorf("20 chunks of 20 took %d fresh bytes", s.Mark()-before)
	}
	err := s.Preallocate(fifo.MinChunk, 1000)
	refused(t, "Preallocate beyond the end", "of 1000", err)
	if !errors.Is(err, fifo.ErrGrow) {
		t.Errorf("%v is not ErrGrow", err)
	}
	for _, size := range []int{0, -1, fifo.MaxChunk + 1} {
		refused(t, "Preallocate", size, s.Preallocate(size, 1))
	}
	refused(t, "Preallocate", -7, s.Preallocate(1, -7))
	if err := s.Preallocate(1, 0); err != nil {
		t.Error(err)
	}
}

func TestChecked(t *testing.T) {
	s := heap(t, 1<<20)
	for _, class := range []uint32{0, 1, 3} {
		r := s.Alloc(class)
		if size, ok := s.Checked(r); !ok || size != fifo.ClassSize(class) {
			t.Errorf("block %d: %d, %v, want %d", r, size, ok, fifo.ClassSize(class))
		}
	}
	end := fifo.Ref(s.Size() / fifo.Line)
	for _, r := range []fifo.Ref{0, 1, s.First() - 1, end, end + 1, 1<<32 - 1} {
		if size, ok := s.Checked(r); ok {
			t.Errorf("%d is none, and has %d bytes", r, size)
		}
	}
	for _, class := range []uint64{fifo.NClasses, 1<<32 - 1, fifo.NClasses - 1} { // the last does not fit
		s.Scribble("class", class)
		if size, ok := s.Checked(s.First()); ok {
			t.Errorf("a block of class %d has %d bytes", class, size)
		}
	}
}

// Taking and giving back allocates nothing, on any path.
func TestSegmentAllocates0(t *testing.T) {
	if fifo.RaceEnabled {
		t.Skip("the race detector allocates")
	}
	s := heap(t, 1<<20)
	if n := testing.AllocsPerRun(100, func() {
		for class := range uint32(4) {
			a, b := s.Alloc(class), s.AllocCold(class)
			s.Linked(a, a)
			s.Release(a)
			s.Release(b)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	exhaust(t, s, make([]bool, s.Size()/fifo.Line))
	if n := testing.AllocsPerRun(100, func() { s.AllocNear(3, true) }); n != 0 {
		t.Errorf("exhausted: %v allocations", n)
	}
}
