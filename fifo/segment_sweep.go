package fifo

import (
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"vlsbench/sched"
)

// Swept is what a sweep found.
type Swept struct {
	Blocks int // given back to the segment, in number
	Bytes  int // and in size, headers included
	Linked int // blocks that the dead owner took and that stay in fifos and queues
	// Left is the number of blocks that are either free, or lost with the dead
	// owner: a living one was stopped in the middle of giving them back, or their
	// list could not be followed for all the traffic on it. A later sweep will tell.
	Left int
}

// sweepPause is for those who were stopped in the middle of a release.
var sweepPause = time.Millisecond

// note is a block as a pass over all found it.
type note struct {
	r      Ref
	class  uint32
	st     uint64
	listed bool
}

// Sweep gives back what an owner took and linked nowhere, what it was about to
// link in a fifo, and what it had under way, and frees its number. The owner must be dead, all of its threads; the
// others may go on allocating. owner -1 is nobody, to collect what was Left.
// ErrSweeping: another owner sweeps; if it is dead, it is to be swept first.
func (s *Segment) Sweep(owner int) (Swept, error) { return s.sweep(owner, s.held) }

// sweep is Sweep with a judge of what the dead owner took and linked: holds
// reports whether chunk is still in the chain of what lies at of, or may be
// released by a living end of it. Without one, everything that is linked stays.
//
// Why it takes nothing that is in use, though others go on: a state never comes
// back, and a block moves from list to list only by being taken, which changes
// its state. So a block that was loose when it was noted, was in no list when
// all lists were looked through after that, and is in the same state still, was
// popped by somebody who has not claimed it. Whoever swaps its state first has
// it: a living popper that is late drops it. What bears the dead owner's mark,
// taken or giving, and is in no list can change by nobody's hand but a popper's.
// Only what a living owner is giving back is doubtful: it may be about to be
// pushed. It is looked at again.
func (s *Segment) sweep(owner int, holds func(owner int, of, chunk Ref) bool) (Swept, error) {
	var res Swept
	h := s.h
	switch {
	case owner < -1 || owner >= int(s.owners):
		return res, fmt.Errorf("fifo: sweep owner %d: want 0 to %d, or -1 for nobody", owner, s.owners-1)
	case owner == int(s.me):
		return res, fmt.Errorf("fifo: sweep owner %d: that is who asks", owner)
	case owner >= 0 && h.owner[owner].Load() == 0:
		return res, fmt.Errorf("fifo: sweep owner %d: there is none of that number", owner)
	}
	if !h.sweeper.CompareAndSwap(0, s.me+1) && !h.sweeper.CompareAndSwap(uint32(owner)+1, s.me+1) {
		return res, fmt.Errorf("%w: by owner %d", ErrSweeping, int(h.sweeper.Load())-1)
	}
	defer h.sweeper.CompareAndSwap(s.me+1, 0)
	sched.Point("segment: sweep, its word claimed")
	const passes = 10
	for i := range passes {
		got, err := s.pass(uint32(owner), holds, &res)
		if err != nil {
			s.corruptions.Add(1)
			return res, err
		}
		if !got && res.Left == 0 {
			break
		}
		if !got && i < passes-1 && !sched.Spin("segment: sweep, before another pass") {
			time.Sleep(sweepPause)
		}
	}
	if owner >= 0 {
		sched.Point("segment: sweep, before the number is free")
		h.owner[owner].Store(0)
	}
	return res, nil
}

// pass looks at all blocks once, and reports whether it got any.
func (s *Segment) pass(owner uint32, holds func(owner int, of, chunk Ref) bool, res *Swept) (bool, error) {
	got := s.adopt(owner, res)
	var notes []note
	err := s.walk(func(r Ref, class uint32, st uint64) {
		notes = append(notes, note{r: r, class: class, st: st})
	})
	if err != nil {
		return got, err
	}
	sched.Point("segment: sweep, between the notes and the lists")
	seen := s.look(notes)
	res.Linked, res.Left = 0, 0
	for i := range notes {
		n := &notes[i]
		b := s.block(n.r)
		if n.listed {
			if kindOf(n.st) == giving && ownerOf(n.st) == owner {
				s.settle(b, n.st) // or it would bear the mark of who has the number next
			}
			continue
		}
		switch k, by := kindOf(n.st), ownerOf(n.st); {
		case k == loose && seen[n.class], k == giving && by == owner && seen[n.class]:
		case k == loose, k == giving:
			if atomic.LoadUint64(&b.state) == n.st {
				res.Left++
			}
			continue
		case k == taken && by != owner:
			continue
		case k == linked:
			if by != owner || holds == nil || holds(int(owner), Ref(atomic.LoadUint32(&b.of)), n.r) {
				if by == owner {
					res.Linked++
				}
				continue
			}
		}
		sched.Point("segment: sweep, before a block is taken")
		if !atomic.CompareAndSwapUint64(&b.state, n.st, stateOf(taken, s.me, genOf(n.st)+1)) {
			continue
		}
		sched.Point("segment: sweep, a block taken")
		s.release(n.r)
		res.Blocks++
		res.Bytes += int(classLines(n.class)) * Line
		got = true
	}
	return got, nil
}

// adopt finishes runs that the owner claimed and did not describe.
func (s *Segment) adopt(owner uint32, res *Swept) (got bool) {
	at := s.first
	for i := range s.maxRuns {
		d, ok := s.runAt(i)
		if !ok || d.start != at {
			break
		}
		at = d.end()
		if d.ready || d.owner != owner {
			continue
		}
		old := d.word()
		d.owner = s.me
		sched.Point("segment: sweep, before a run is adopted")
		if !s.runWord(i).CompareAndSwap(old, d.word()) {
			continue
		}
		sched.Point("segment: sweep, a run adopted")
		d = s.describe(i)
		s.reserve(d, 1)
		s.release(d.start)
		res.Blocks += int(d.count)
		res.Bytes += int(d.end()-d.start) * Line
		got = true
	}
	return got
}

// look marks the notes of blocks that are in lists, and reports per class
// whether it saw all lists to their end.
func (s *Segment) look(notes []note) (seen [nClasses]bool) {
	used := s.h.used.Load()
	for c := range uint32(nClasses) {
		seen[c] = true
		for k := range s.owners {
			if used>>k&1 == 0 {
				continue
			}
			h := &s.slice(k).class[c]
			ok := s.lookAt(&h.fresh, c, notes)
			for g := range uint32(generations) {
				ok = s.lookAt(h.list(g), c, notes) && ok
			}
			seen[c] = seen[c] && ok
		}
	}
	return seen
}

// lookAt goes through a list while others push and pop. A list changes only at
// its head, and the head's tag counts pops: as long as there were no more than n,
// the n-th block of the list as it was at first is in it, and its link leads to
// the next. Otherwise it begins again. False: it was never let through to the
// end, or the list has none.
func (s *Segment) lookAt(list *atomic.Uint64, class uint32, notes []note) bool {
	const tries = 1000
again:
	for range tries {
		head := list.Load()
		r := Ref(head)
		for n := uint32(0); r != 0; n++ {
			if !s.isBlock(r, class) || n == uint32(s.end) {
				s.corruptions.Add(1)
				return false
			}
			next := Ref(atomic.LoadUint32(&s.block(r).link))
			sched.Point("segment: sweep, along a list")
			if uint32(list.Load()>>32)-uint32(head>>32) > n {
				continue again
			}
			// A block that is younger than the notes has none.
			if i, ok := slices.BinarySearchFunc(notes, r, func(n note, r Ref) int { return int(n.r) - int(r) }); ok {
				notes[i].listed = true
			}
			r = next
		}
		return true
	}
	return false
}
