package fifo_test

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vlsbench/fifo"
	"vlsbench/hw"
)

// stocked is a segment whose creator has free blocks of a few sizes, and the
// view of one who is about to die.
func stocked(t *testing.T) (s, dying *fifo.Segment) {
	s = heap(t, 1<<20)
	dying = join(t, s)
	var all []fifo.Ref
	for class := range uint32(4) {
		for range 4 {
			all = append(all, s.AllocCold(class))
		}
	}
	for _, r := range all {
		s.Release(r)
	}
	return s, dying
}

// Wherever an owner dies, a sweep finds what it had under way, and everything
// can be handed out once.
func TestSweepSteps(t *testing.T) {
	for _, step := range fifo.Steps {
		for _, class := range []uint32{0, 1, 2} {
			t.Run(fmt.Sprintf("%s/class=%d", step.Name, class), func(t *testing.T) {
				s, dying := stocked(t)
				step.Do(dying, class)
				res, err := s.Sweep(dying.Owner())
				if err != nil {
					t.Fatal(err)
				}
				if res.Left != 0 || res.Linked != 0 {
					t.Errorf("%+v", res)
				}
				if step.Name != "pushed" && step.Name != "run in reserve, not settled" && res.Blocks == 0 {
					t.Errorf("nothing was found: %+v", res)
				}
				allOnce(t, s)
				if v := join(t, s); v.Owner() != dying.Owner() {
					t.Errorf("owner %d, want %d, which was swept", v.Owner(), dying.Owner())
				}
				allOnce(t, s)
			})
		}
	}
}

// What is linked stays with what it is linked in, unless that says it is not.
func TestSweepLinked(t *testing.T) {
	s, dying := stocked(t)
	root := dying.Alloc(0)
	dying.Linked(root, root)
	in, out := dying.Alloc(1), dying.Alloc(2)
	dying.Linked(in, root)
	dying.Linked(out, root)
	theirs := s.Alloc(1)
	s.Linked(theirs, root)
	loose := dying.Alloc(3)
	var asked []fifo.Ref
	res, err := s.Sweep1(dying.Owner(), func(owner int, of, chunk fifo.Ref) bool {
		if owner != dying.Owner() || of != root {
			t.Errorf("asked whether %d holds %d for owner %d", of, chunk, owner)
		}
		asked = append(asked, chunk)
		return chunk != out
	})
	if err != nil {
		t.Fatal(err)
	}
	if res.Blocks != 2 || res.Bytes != blockBytes(2)+blockBytes(3) || res.Linked != 2 || res.Left != 0 {
		t.Errorf("%+v, want blocks %d and %d, and two linked", res, out, loose)
	}
	if len(asked) < 4 {
		t.Errorf("asked for %v", asked)
	}
	allOnce(t, s, root, in, theirs)
	// It is given back as any other, and Sweep leaves everything linked.
	next := join(t, s)
	r := next.Alloc(1)
	next.Linked(r, root)
	if res, err := s.Sweep(next.Owner()); err != nil || res.Blocks != 0 || res.Linked != 3 {
		t.Errorf("%+v, %v", res, err)
	}
	for _, r := range []fifo.Ref{in, theirs, r, root} {
		s.Release(r)
	}
	allOnce(t, s)
}

// What the dead had given back but for the last step is not taken for that of
// who has its number next.
func TestSweepSettles(t *testing.T) {
	fifo.SetSweepPause(0)
	defer fifo.SetSweepPause(time.Millisecond)
	s, dying := stocked(t)
	r := dying.Alloc(3)
	dying.HalfRelease(r)
	if _, err := s.Sweep(dying.Owner()); err != nil {
		t.Fatal(err)
	}
	next, third := join(t, s), join(t, s)
	if next.Owner() != dying.Owner() {
		t.Fatalf("owner %d, want %d", next.Owner(), dying.Owner())
	}
	third.UnhookOf(next.Owner(), 3)
	if res, err := s.Sweep(third.Owner()); err != nil || res.Left != 0 || res.Blocks != 1 {
		t.Errorf("%+v, %v: want block %d", res, err, r)
	}
}

// A block that a living owner is just giving back may be the dead one's, too.
// It is left alone until that owner has done.
func TestSweepLeavesDoubtful(t *testing.T) {
	fifo.SetSweepPause(0)
	defer fifo.SetSweepPause(time.Millisecond)
	s, dying := stocked(t)
	r := s.Alloc(3)
	settle := s.HalfRelease(r)
	dying.Unhook(3)
	third := join(t, s)
	res, err := third.Sweep(dying.Owner())
	if err != nil || res.Left != 1 {
		t.Errorf("%+v, %v: want one left", res, err)
	}
	settle()
	res, err = third.Sweep(-1)
	if err != nil || res.Left != 0 || res.Blocks != 1 {
		t.Errorf("%+v, %v: want the one that was left", res, err)
	}
	allOnce(t, s)
}

func TestSweepRefuses(t *testing.T) {
	s := heap(t, 1<<20)
	v, w := join(t, s), join(t, s)
	for _, k := range []int{-2, s.MaxOwners(), 1 << 40} {
		_, err := s.Sweep(k)
		refused(t, "Sweep", k, err)
	}
	_, err := s.Sweep(s.Owner())
	refused(t, "Sweep of oneself", s.Owner(), err)
	_, err = s.Sweep(9)
	refused(t, "Sweep of nobody", 9, err)
	// v dies in its own sweep: it is to be swept first.
	s.Scribble("sweeper", uint64(v.Owner())+1)
	_, err = s.Sweep(w.Owner())
	refused(t, "Sweep beside a sweep", v.Owner(), err)
	if !errors.Is(err, fifo.ErrSweeping) {
		t.Errorf("%v is not ErrSweeping", err)
	}
	for _, k := range []int{v.Owner(), w.Owner()} {
		if _, err := s.Sweep(k); err != nil {
			t.Errorf("Sweep(%d): %v", k, err)
		}
	}
	// Killed in the middle of Join.
	k := s.HalfJoin()
	if _, err := s.Sweep(k); err != nil {
		t.Error(err)
	}
	if got := join(t, s).Owner(); got != k {
		t.Errorf("owner %d, want %d", got, k)
	}
	allOnce(t, s)
}

// Owners die and are swept while others allocate and give back, and nobody gets
// what is another's.
func TestSweepWhileOthersGoOn(t *testing.T) {
	const workers = 3
	threads(t, workers+1)
	s := heap(t, 4<<20)
	marks := make([]atomic.Int32, s.Size()/fifo.Line)
	var rounds atomic.Int64
	var stop atomic.Bool
	watchdog(t, func() string { return fmt.Sprintf("%d rounds", rounds.Load()) })
	seed := seedOf(t)
	var wg sync.WaitGroup
	for id := range int32(workers) {
		id++
		v := join(t, s)
		r := random(seed + uint64(id))
		wg.Go(func() {
			var held []fifo.Ref
			for !stop.Load() || len(held) > 0 {
				rounds.Add(1)
				if len(held) < 6 && r.IntN(2) == 0 && !stop.Load() {
					class := uint32(r.IntN(4))
					var b fifo.Ref
					if r.IntN(2) == 0 {
						b = v.Alloc(class)
					} else {
						b = v.AllocCold(class)
					}
					// The sweeper has lists out for a moment, but never the whole segment.
					if b == 0 {
						t.Error("exhausted")
						stop.Store(true)
						continue
					}
					if !marks[b].CompareAndSwap(0, id) {
						t.Errorf("block %d is %d's", b, marks[b].Load())
						stop.Store(true)
						return
					}
					held = append(held, b)
				} else if len(held) > 0 {
					j := r.IntN(len(held))
					b := held[j]
					held[j] = held[len(held)-1]
					held = held[:len(held)-1]
					if !marks[b].CompareAndSwap(id, 0) {
						t.Errorf("block %d is %d's", b, marks[b].Load())
						stop.Store(true)
						return
					}
					v.Release(b)
				}
			}
		})
	}
	r := random(seed)
	sweeper := join(t, s)
	got := 0
	for i := 0; i < scaled(400) && !stop.Load(); i++ {
		dying := join(t, s)
		for range r.IntN(4) {
			dying.Release(dying.AllocCold(1))
		}
		for range r.IntN(4) {
			dying.Alloc(uint32(r.IntN(4)))
		}
		if b := dying.Alloc(1); r.IntN(2) == 0 {
			dying.HalfRelease(b)
		}
		res, err := sweeper.Sweep(dying.Owner())
		if err != nil {
			t.Error(err)
			break
		}
		got += res.Blocks
	}
	stop.Store(true)
	wg.Wait()
	if t.Failed() {
		return
	}
	if got == 0 {
		t.Error("nothing was ever found")
	}
	if res, err := sweeper.Sweep(-1); err != nil || res.Left != 0 {
		t.Errorf("all is quiet, and %+v, %v", res, err)
	}
	allOnce(t, s)
}

// Blocks that move from list to list, from the oldest to the youngest, are not
// taken for lost while the sweeper looks.
func TestSweepWhileBlocksMove(t *testing.T) {
	threads(t, 3)
	s := heap(t, 1<<20)
	var stop atomic.Bool
	var rounds atomic.Int64
	watchdog(t, func() string { return fmt.Sprintf("%d rounds", rounds.Load()) })
	var stock []fifo.Ref
	for range 200 {
		stock = append(stock, s.AllocCold(0))
	}
	for _, r := range stock {
		s.Release(r)
	}
	marks := make([]atomic.Int32, s.Size()/fifo.Line)
	var wg sync.WaitGroup
	for id := range int32(2) {
		id++
		wg.Go(func() {
			for !stop.Load() {
				rounds.Add(1)
				r := s.AllocCold(0)
				if r == 0 || !marks[r].CompareAndSwap(0, id) {
					t.Errorf("thread %d was handed block %d, which is %d's", id, r, marks[r].Load())
					stop.Store(true)
					return
				}
				marks[r].Store(0)
				s.Release(r)
				for range 20 { // a chunk's worth of stream
					hw.Pause()
				}
			}
		})
	}
	sweeper := join(t, s)
	for range scaled(3000) {
		if _, err := sweeper.Sweep(-1); err != nil || stop.Load() {
			t.Error(err)
			break
		}
	}
	stop.Store(true)
	wg.Wait()
	if !t.Failed() {
		allOnce(t, s)
	}
}
