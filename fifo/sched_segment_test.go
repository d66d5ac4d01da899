//go:build sched

package fifo_test

import (
	"slices"
	"testing"
	"time"

	"vlsbench/fifo"
	"vlsbench/sched"
)

// hands keeps whose each line of a segment is.
type hands struct {
	r      *sched.Run
	who    []string // of a line
	first  []bool   // the line is the first of a block
	blocks int      // that are somebody's
}

func newHands(r *sched.Run, s *fifo.Segment) *hands {
	n := s.Size()/fifo.Line + 1
	return &hands{r: r, who: make([]string, n), first: make([]bool, n)}
}

func (h *hands) pass(s *fifo.Segment, b fifo.Ref, from, to string) {
	for i := range fifo.Ref(blockBytes(s.ClassOf(b)) / fifo.Line) {
		if by := h.who[b+i]; by != from {
			h.r.Fatalf("block %d was handed out twice: line %d is %q's on its way from %q to %q", b, b+i, by, from, to)
		}
		h.who[b+i] = to
		h.first[b+i] = i == 0
	}
	if from == "" {
		h.blocks++
	}
	if to == "" {
		h.blocks--
	}
}

// forget takes what these hold as nobody's: they are dead and swept.
func (h *hands) forget(names ...string) {
	for i, by := range h.who {
		if slices.Contains(names, by) {
			h.who[i] = ""
		}
	}
	h.blocks = 0
	for i, by := range h.who {
		if by != "" && h.first[i] {
			h.blocks++
		}
	}
}

// worker is one thread of an owner that takes and gives back.
type worker struct {
	name    string
	s       *fifo.Segment
	hands   *hands
	held    []fifo.Ref
	alloc   func(s *fifo.Segment, class uint32) fifo.Ref // nil: Alloc
	release func(s *fifo.Segment, r fifo.Ref)            // nil: Release
}

func (w *worker) took(r fifo.Ref) {
	if r != 0 {
		w.hands.pass(w.s, r, "", w.name)
		w.held = append(w.held, r)
	}
}

func (w *worker) take(class uint32) {
	if w.alloc == nil {
		w.took(w.s.Alloc(class))
	} else {
		w.took(w.alloc(w.s, class))
	}
}

// takeCold takes a block as a stream across cores does.
func (w *worker) takeCold(class uint32) { w.took(w.s.AllocCold(class)) }

// takeNear takes a block, or a smaller one.
func (w *worker) takeNear(class uint32) { w.took(w.s.AllocNear(class, true)) }

// give gives the block back that was taken first, or last.
func (w *worker) give(last bool) {
	if len(w.held) == 0 {
		return // the segment was exhausted
	}
	i := 0
	if last {
		i = len(w.held) - 1
	}
	r := w.held[i]
	w.held = slices.Delete(w.held, i, i+1)
	w.giveUp(r, w.name)
}

func (w *worker) giveUp(r fifo.Ref, from string) {
	w.hands.pass(w.s, r, from, "")
	if w.release == nil {
		w.s.Release(r)
	} else {
		w.release(w.s, r)
	}
}

// tight makes a segment in mem of which few blocks are free: of class 0 and 1 in
// the creator's slice, one of class 1 in reserve, one of class 3, which is to be
// parted, and fresh memory for one more of class 1. The rest is held.
func tight(t *testing.T, r *sched.Run, mem []byte, owners int) (*hands, []*fifo.Segment) {
	clear(mem)
	s, err := fifo.NewSegment(mem)
	if err != nil {
		t.Fatal(err)
	}
	views := []*fifo.Segment{s}
	for len(views) < owners {
		views = append(views, join(t, s))
	}
	h := newHands(r, s)
	var free []fifo.Ref
	for _, class := range []uint32{0, 0, 0, 1, 1, 3} {
		free = append(free, s.Alloc(class))
	}
	fresh := 2 * blockBytes(1)
	for class := uint32(fifo.NClasses - 1); class > 0; class-- {
		for s.Size()-s.Mark() >= fresh+blockBytes(class) {
			h.pass(s, s.Alloc(class), "", "nobody")
		}
	}
	for _, b := range free {
		s.Release(b)
	}
	return h, views
}

// whole checks that a quiet segment can hand out everything that nobody holds,
// once.
func (h *hands) whole(s *fifo.Segment) {
	for class := fifo.NClasses - 1; class >= 0; class-- {
		for {
			b := s.Alloc(uint32(class))
			if b == 0 {
				break
			}
			h.pass(s, b, "", "the check")
		}
	}
	u := s.Usage()
	if u.Free != 0 || u.Pending != 0 {
		h.r.Errorf("all is handed out, and %d bytes are free, %d pending", u.Free, u.Pending)
	}
	taken := 0
	for _, c := range u.Classes {
		taken += c.Taken
	}
	if taken != h.blocks {
		h.r.Errorf("%d blocks are taken; %d could be handed out or are held", taken, h.blocks)
	}
	if u.Corruptions != 0 {
		h.r.Errorf("%d corruptions", u.Corruptions)
	}
}

const tightSize = 512 << 10

// Threads of one owner and of two take and give back by turns, out of lists,
// reserve, fresh memory, other slices and larger blocks, and nothing is in two
// hands.
func TestSchedulesOfSegment(t *testing.T) {
	mem := fifo.AlignedBytes(tightSize)
	body := func(change func(w *worker)) func(*sched.Run) {
		return func(r *sched.Run) {
			h, views := tight(t, r, mem, 2)
			handed := make(chan fifo.Ref, 10) // never full, so nobody waits
			work := func(name string, s *fifo.Segment, program func(w *worker)) {
				w := &worker{name: name, s: s, hands: h}
				change(w)
				r.Go(name, func() {
					program(w)
					for len(w.held) > 1 {
						w.give(len(w.held)%2 == 0)
					}
					if len(w.held) == 1 {
						h.pass(s, w.held[0], name, "handed over")
						handed <- w.held[0]
					}
					select {
					case b := <-handed: // another's, most likely
						w.giveUp(b, "handed over")
					default:
					}
				})
			}
			work("a", views[0], func(w *worker) {
				w.take(1)
				w.take(0)
				w.give(false)
				w.take(1)
				w.take(2)
			})
			work("a too", views[0], func(w *worker) {
				w.take(0)
				w.takeCold(0)
				w.give(true)
				w.take(1)
				w.give(false)
				w.takeNear(2)
			})
			work("b", views[1], func(w *worker) {
				w.take(1)
				w.takeCold(1)
				w.give(false)
				w.take(0)
				w.give(true)
				w.takeCold(0)
			})
			r.Check(func() {
				for len(handed) > 0 {
					b := <-handed
					h.pass(views[0], b, "handed over", "")
					views[0].Release(b)
				}
				h.whole(views[0])
			})
		}
	}
	rep := sched.Explore(t, sched.Options{Schedules: 4000}, body(func(*worker) {}))
	t.Logf("%d schedules, the longest of %d steps", rep.Schedules, rep.Longest)
	t.Run("twin: lists without tags", func(t *testing.T) {
		found(t, sched.Options{Schedules: 4000}, "", body(func(w *worker) { w.alloc = (*fifo.Segment).AllocUntagged }))
	})
	t.Run("twin: a run without a swap", func(t *testing.T) {
		found(t, sched.Options{Schedules: 4000}, "handed out twice", func(r *sched.Run) {
			clear(mem)
			s, err := fifo.NewSegment(mem)
			if err != nil {
				t.Fatal(err)
			}
			h := newHands(r, s)
			for _, name := range []string{"a", "b"} {
				w := &worker{name: name, s: s, hands: h}
				r.Go(name, func() { w.took(s.ClaimRunPlain(1, 2)) })
			}
		})
	})
}

// Blocks for streams across cores go round through the generations of their
// lists, which close and open meanwhile.
func TestSchedulesOfGenerations(t *testing.T) {
	mem := fifo.AlignedBytes(tightSize)
	var turned int
	rep := sched.Explore(t, sched.Options{Schedules: 3000}, func(r *sched.Run) {
		h, views := tight(t, r, mem, 2)
		s := views[0]
		for range 30 { // until a generation is a block or two
			s.Release(s.AllocCold(0))
		}
		for i, name := range []string{"a", "a too", "b"} {
			w := &worker{name: name, s: views[i/2], hands: h}
			r.Go(name, func() {
				for range 3 {
					w.takeCold(0)
					w.takeCold(0)
					w.give(false)
					w.give(true)
				}
			})
		}
		r.Check(func() { h.whole(s) })
	})
	for _, v := range rep.Visited {
		if v.Point == "segment: before the oldest list changes" || v.Point == "segment: before the youngest list is closed" {
			turned++
		}
	}
	if turned < 4 {
		t.Errorf("lists changed for %d threads in either way, want 4 or more: %v", turned, rep.Visited)
	}
}

// Numbers of owners are one owner's each, and one who dies in Join or Close
// leaves one that can be swept.
func TestSchedulesOfOwners(t *testing.T) {
	mem := fifo.AlignedBytes(tightSize)
	body := func(enter func(s *fifo.Segment) *fifo.Segment) func(*sched.Run) {
		return func(r *sched.Run) {
			clear(mem)
			s, err := fifo.NewSegment(mem)
			if err != nil {
				t.Fatal(err)
			}
			free := s.MaxOwners() - 1
			h := newHands(r, s)
			owner := make([]string, s.MaxOwners())
			for _, name := range []string{"a", "b"} {
				r.Go(name, func() {
					for range 2 {
						v := enter(s)
						k := v.Owner()
						if owner[k] != "" {
							r.Fatalf("number %d was handed out twice, before to %s", k, owner[k])
						}
						owner[k] = name
						w := &worker{name: name, s: v, hands: h}
						w.take(0)
						w.take(1)
						w.give(false)
						w.give(false)
						owner[k] = ""
						v.Close()
					}
				})
			}
			r.Check(func() {
				for k, pid := range s.Owners() {
					if pid == 0 || k == s.Owner() {
						continue
					}
					if res, err := s.Sweep(k); err != nil || res.Left != 0 {
						r.Errorf("sweep of %d: %+v, %v", k, res, err)
					}
				}
				h.forget("a", "b") // whoever died was swept
				h.whole(s)
				for range free {
					join(t, s)
				}
			})
		}
	}
	real := func(s *fifo.Segment) *fifo.Segment { return join(t, s) }
	sched.Explore(t, sched.Options{Schedules: 1000}, body(real))
	got := stop(t, sched.Options{Schedules: 20}, []string{"a", "b"}, body(real))
	for _, p := range []string{
		"segment: owner number claimed, before its slice",
		"segment: slice cleared, before it is used",
		"segment: before an owner number is free",
	} {
		if !slices.Contains(got, p) {
			t.Errorf("nobody was stopped at %q", p)
		}
	}
	found(t, sched.Options{Schedules: 300}, "was handed out twice", body((*fifo.Segment).JoinPlain))
}

// sweepTest is an owner who dies, another that takes and gives back before and
// while the dead one is swept, and who sweeps.
type sweepTest struct {
	t      *testing.T
	mem    []byte
	living func(w *worker) // changes the living worker
}

func (c sweepTest) body(r *sched.Run) {
	h, views := tight(c.t, r, c.mem, 3)
	s := views[0]
	dying := &worker{name: "dying", s: views[1], hands: h}
	living := &worker{name: "living", s: views[2], hands: h}
	if c.living != nil {
		c.living(living)
	}
	r.Go("dying", func() {
		dying.take(0)
		dying.take(1)
		dying.takeCold(1)
		dying.give(true)
		dying.give(false)
		dying.takeNear(2)
		dying.take(2)
		dying.give(true)
	})
	begun := false
	r.Go("living", func() {
		living.take(1)
		living.take(0)
		living.give(false)
		sched.Wait("the sweep", func() bool { return begun }, -1)
		living.takeCold(1)
		living.give(false)
		living.take(1)
		living.take(0)
		living.give(false)
		living.give(false)
	})
	r.Go("sweeper", func() {
		// Nothing goes on: the one is done or was stopped, and the other waits.
		sched.Wait("death", func() bool { return false }, time.Hour)
		h.forget("dying")
		begun = true
		if _, err := s.Sweep(dying.s.Owner()); err != nil {
			r.Fatalf("%v", err)
		}
	})
	r.Check(func() {
		if res, err := s.Sweep(-1); err != nil || res.Left != 0 {
			r.Errorf("all is quiet, and a sweep says %+v, %v", res, err)
		}
		if k := join(c.t, s).Owner(); k != dying.s.Owner() {
			r.Errorf("owner %d, want %d, which was swept", k, dying.s.Owner())
		}
		h.whole(s)
	})
}

// Wherever an owner dies, what it had is found while others go on, and nothing
// that they have: in the end every block can be handed out, once.
func TestSchedulesOfSweep(t *testing.T) {
	fifo.SetSweepPause(0)
	defer fifo.SetSweepPause(time.Millisecond)
	c := sweepTest{t: t, mem: fifo.AlignedBytes(tightSize)}
	rep := sched.Explore(t, sched.Options{Schedules: 1500}, c.body)
	t.Logf("%d schedules, the longest of %d steps", rep.Schedules, rep.Longest)
	got := stop(t, sched.Options{Schedules: 60}, []string{"dying"}, c.body)
	points(t, got, allocPoints)
	t.Run("twin: settled before the push", func(t *testing.T) {
		c.t, c.living = t, func(w *worker) { w.release = (*fifo.Segment).ReleaseLoose }
		found(t, sched.Options{Schedules: 10000}, "", c.body)
	})
	t.Run("twin: claimed by a store", func(t *testing.T) {
		c.t, c.living = t, func(w *worker) { w.alloc = (*fifo.Segment).AllocUnclaimed }
		found(t, sched.Options{Schedules: 10000}, "", c.body)
	})
}

// Every point that an owner comes to when it takes and gives back.
const allocPoints = `
	segment: pop, between the link and the swap
	segment: popped, before the claim
	segment: claimed
	segment: before the lists of another owner
	segment: before the number of runs is helped along
	segment: between the look at fresh memory and its claim
	segment: run claimed, before it is described
	segment: run described, before it is ready
	segment: run in reserve, before it is settled
	segment: carved, before it is divided
	segment: divided, before parts are given back
	segment: before it is offered
	segment: offered, before the push
	segment: push, between the link and the swap
	segment: pushed, before it is settled`

// A sweeper that dies is swept in its turn, and what it was about to give back
// is found.
func TestSchedulesOfDeadSweeper(t *testing.T) {
	fifo.SetSweepPause(0)
	defer fifo.SetSweepPause(time.Millisecond)
	mem := fifo.AlignedBytes(tightSize)
	got := stop(t, sched.Options{Schedules: 30}, []string{"sweeper"}, func(r *sched.Run) {
		h, views := tight(t, r, mem, 3)
		s, dead, dying := views[0], views[1], views[2]
		// Killed with all sorts of things under way.
		dead.HalfRelease(dead.Alloc(1))
		dead.ClaimRun(0)
		dead.Alloc(0)
		dead.Unhook(0)
		living := &worker{name: "living", s: s, hands: h}
		begun := false
		r.Go("living", func() {
			living.take(0)
			living.give(false)
			sched.Wait("the second sweep", func() bool { return begun }, -1)
			living.takeCold(0)
			living.take(1)
			living.give(false)
			living.give(false)
		})
		r.Go("sweeper", func() {
			if _, err := dying.Sweep(dead.Owner()); err != nil {
				r.Fatalf("%v", err)
			}
		})
		r.Go("second", func() {
			sched.Wait("death", func() bool { return false }, time.Hour)
			begun = true
			for _, v := range []*fifo.Segment{dying, dead} {
				if s.Owners()[v.Owner()] == 0 {
					continue // swept by the one that died
				}
				if _, err := s.Sweep(v.Owner()); err != nil {
					r.Fatalf("%v", err)
				}
			}
		})
		r.Check(func() {
			if res, err := s.Sweep(-1); err != nil || res.Left != 0 {
				r.Errorf("all is quiet, and a sweep says %+v, %v", res, err)
			}
			h.whole(s)
		})
	})
	points(t, got, `
		segment: sweep, its word claimed
		segment: sweep, before a run is adopted
		segment: sweep, a run adopted
		segment: sweep, between the notes and the lists
		segment: sweep, along a list
		segment: sweep, before a block is taken
		segment: sweep, a block taken
		segment: sweep, before the number is free
		segment: walk, from run to run
		segment: before it is offered
		segment: offered, before the push
		segment: push, between the link and the swap
		segment: pushed, before it is settled
		segment: run claimed, before it is described
		segment: run described, before it is ready
		segment: run in reserve, before it is settled`)
}

// Blocks that move from list to list, and so take a sweeper along to another
// list, are not taken for lost, nor are those that it misses.
func TestSchedulesOfMovingBlocks(t *testing.T) {
	fifo.SetSweepPause(0)
	defer fifo.SetSweepPause(time.Millisecond)
	mem := fifo.AlignedBytes(tightSize)
	rep := sched.Explore(t, sched.Options{Schedules: 2000}, func(r *sched.Run) {
		h, views := tight(t, r, mem, 2)
		s := views[0]
		// A list in one slice, and nothing else, so that the other owner steals.
		var list []fifo.Ref
		for class := fifo.NClasses - 1; class >= 0; class-- {
			for b := s.Alloc(uint32(class)); b != 0; b = s.Alloc(uint32(class)) {
				if class == 0 && len(list) < 4 {
					list = append(list, b)
				} else {
					h.pass(s, b, "", "nobody")
				}
			}
		}
		for _, b := range list {
			s.Release(b)
		}
		w := &worker{name: "living", s: views[1], hands: h}
		r.Go("living", func() {
			w.take(0)
			w.give(false)
			w.take(0)
			w.take(0)
			w.give(false)
			w.give(false)
		})
		r.Go("sweeper", func() {
			if _, err := s.Sweep(-1); err != nil {
				r.Fatalf("%v", err)
			}
		})
		r.Check(func() { h.whole(s) })
	})
	t.Logf("%d schedules, the longest of %d steps", rep.Schedules, rep.Longest)
}

// deadEnd is a stream of which one end's owner dies and is swept, while the
// other end goes on and a third owner takes what comes back for a fifo of its
// own.
type deadEnd struct {
	t    *testing.T
	mem  []byte
	name string
	feed feed
	dies string // "producer" or "consumer"
	late bool   // it is swept when all is over and the fifo was freed
	// points are those that it comes to.
	points string
}

func (c deadEnd) body(r *sched.Run) {
	const size, total = 20_000, 14_000 // so the producer waits for nothing
	clear(c.mem)
	s, err := fifo.NewSegment(c.mem)
	if err != nil {
		c.t.Fatal(err)
	}
	producer, consumer, third := join(c.t, s), join(c.t, s), join(c.t, s)
	h := newHands(r, s)
	f := create(c.t, s, size, fifo.Release)
	h.pass(s, f.Ref(), "", "fifo")
	own := create(c.t, third, size, fifo.Release)
	h.pass(s, own.Ref(), "", "fifo")
	for class := uint32(fifo.NClasses - 1); class > 0; class-- {
		for s.Size()-s.Mark() >= 6*blockBytes(1)+blockBytes(class) {
			h.pass(s, s.Alloc(class), "", "nobody")
		}
	}
	one, two := producer.Alloc(1), producer.Alloc(1)
	producer.Release(one)
	producer.Release(two)
	begun := false
	sweep := func() { sched.Wait("the sweep", func() bool { return begun }, -1) }
	sweepDead := func() {
		dead := producer
		if c.dies == "consumer" {
			dead = consumer
		}
		if _, err := s.Sweep(dead.Owner()); err != nil {
			r.Errorf("%v", err)
		}
	}
	in, out := fifo.Open(producer, f.Ref(), fifo.Release), fifo.Open(consumer, f.Ref(), fifo.Release)
	r.Go("producer", func() {
		for pos := 0; pos < total; {
			n := c.feed(r, &in, pos, total)
			if n == 0 {
				return // the segment is exhausted
			}
			if pos += n; c.dies == "consumer" && pos > total/2 {
				sweep()
			}
		}
	})
	read := 0
	drain := dequeue(2500)
	r.Go("consumer", func() {
		for range 3 {
			read += drain(r, &out, read)
		}
		if c.dies == "consumer" {
			return
		}
		sweep()
		for out.MaxDequeue() > 0 {
			read += drain(r, &out, read)
		}
	})
	r.Go("third", func() {
		from := uint64(100_000)
		write := func(n int) int {
			n, err := own.Enqueue(expected(from, n))
			if err != nil && err != fifo.ErrGrow {
				r.Fatalf("%v", err)
			}
			return n
		}
		take(c.t, &own, from, write(3000))
		from += 3000
		sweep()
		for range 2 {
			// All it can get, so that it takes what others gave back.
			n := write(size)
			sched.Point("written")
			take(c.t, &own, from, n)
			from += uint64(n)
		}
	})
	r.Go("sweeper", func() {
		// Nothing goes on: one is done or was stopped, and others wait.
		sched.Wait("death", func() bool { return false }, time.Hour)
		begun = true
		if !c.late {
			sweepDead()
		}
	})
	r.Check(func() {
		for n := 1; c.dies == "producer" && n > 0; read += n {
			n = drain(r, &out, read)
		}
		f.Free()
		own.Free()
		h.forget("fifo")
		if c.late {
			sweepDead()
		}
		if res, err := s.Sweep(-1); err != nil || res.Left != 0 {
			r.Errorf("all is quiet, and a sweep says %+v, %v", res, err)
		}
		h.whole(s)
	})
}

// Every point that a producer comes to when it steps to another chunk.
const linkPoints = `
	fifo: after the look at the head
	segment: pop, between the link and the swap
	segment: popped, before the claim
	segment: claimed
	segment: before the lists of another owner
	segment: before the number of runs is helped along
	segment: between the look at fresh memory and its claim
	segment: run claimed, before it is described
	segment: run described, before it is ready
	segment: taken, before it is linked
	segment: linked, before the link is made
	fifo: link made, and the chunk still pending`

// One end of a fifo dies anywhere, and is swept. What it published is read; what
// is in use is in nobody else's hands; in the end everything comes back.
func TestSchedulesOfDeadEnd(t *testing.T) {
	fifo.SetSweepPause(0)
	defer fifo.SetSweepPause(time.Millisecond)
	for _, c := range []deadEnd{
		{name: "producer", feed: enqueue(2500), dies: "producer", points: linkPoints + `
			fifo: between bytes and tail`},
		{name: "producer in place", feed: provide(5000), dies: "producer", points: linkPoints + `
			written in place
			fifo: between bytes and tail`},
		{name: "producer behind a gap", feed: enqueueBehind(1500), dies: "producer", points: linkPoints + `
			fifo: between bytes and tail
			fifo: list given back, and still pending
			written behind a gap
			segment: run in reserve, before it is settled
			segment: before it is offered
			segment: offered, before the push
			segment: push, between the link and the swap
			segment: pushed, before it is settled`},
		{name: "producer, swept late", feed: enqueue(2500), dies: "producer", late: true, points: linkPoints + `
			fifo: between bytes and tail`},
		{name: "consumer", feed: enqueue(2500), dies: "consumer", points: `
			fifo: after the look at the tail
			fifo: between a chunk's start and its link
			fifo: before leaving a chunk
			fifo: leaving a chunk, before the step
			fifo: stepped, before the chunk that was left is released
			segment: before it is offered
			segment: offered, before the push
			segment: push, between the link and the swap
			segment: pushed, before it is settled
			fifo: chunk released, and still said to be left
			fifo: between bytes and head`},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.t, c.mem = t, fifo.AlignedBytes(600<<10)
			got := stop(t, sched.Options{Schedules: 30}, []string{c.dies}, c.body)
			points(t, got, c.points)
		})
	}
}
