package fifo

import (
	"fmt"
	"sync/atomic"

	"vlsbench/hw"
	"vlsbench/sched"
)

// A block's state word is kind, owner and generation. The generation grows when
// the block is taken, so that one state never comes back: who noted it and finds
// it unchanged knows that nobody has had the block since.
//
//	loose   in a free list, or just taken out of one and not claimed yet
//	giving  the owner gives it back: about to be in a list, or there already
//	taken   the owner's, and linked nowhere
//	linked  part of a fifo or queue; the owner is whose slice it returns to
//	parted  for good, into the blocks in its payload
//
// Every change is one store or one swap, and a peer that is killed in between
// leaves a state that [Segment.Sweep] can tell:
//
//	killed                                    leaves
//	after popping, before the claim           loose or giving, in no list
//	after the claim, before linked            taken by the dead
//	after linked, before the link is made     linked, not in the fifo's chain
//	after unlinking, before the release       linked, not in the fifo's chain
//	after offer, before the push              giving by the dead, in no list
//	after the push, before settle             giving by the dead, in a list: free
//	after claiming a run                      a raw run of the dead's
//	after describing a run, before the push   giving by the dead, in no list
//	before divide                             the larger block, taken by the dead
//	after divide                              the parts, taken by the dead
//	while sweeping                            taken by the dead, or a raw run
type kind uint64

const (
	loose kind = 1 + iota
	giving
	taken
	linked
	parted

	kindMask = 0xff
)

func stateOf(k kind, owner uint32, gen uint64) uint64 {
	return gen<<16 | uint64(owner)<<8 | uint64(k)
}

func kindOf(st uint64) kind    { return kind(st & kindMask) }
func ownerOf(st uint64) uint32 { return uint32(st >> 8 & 0xff) }
func genOf(st uint64) uint64   { return st >> 16 }

// Fresh memory goes in runs of blocks of one class. The table of runs is what
// the walk over all blocks relies on: a run exists when its word does, which one
// swap decides, begins where the one before ends, and names class and number of
// its blocks. It is raw until the headers of its blocks are written; a raw run
// whose owner died is finished by who sweeps.
//
// Its word: start<<32 | count<<12 | class<<8 | kind<<6 | owner.
type run struct {
	start Ref
	count uint32
	class uint32
	ready bool
	owner uint32
}

const (
	runRaw   = 1
	runReady = 2
	maxRun   = 1<<20 - 1 // blocks
)

func (d run) word() uint64 {
	k := uint64(runRaw)
	if d.ready {
		k = runReady
	}
	return uint64(d.start)<<32 | uint64(d.count)<<12 | uint64(d.class)<<8 | k<<6 | uint64(d.owner)
}

func (d run) block(i uint32) Ref { return d.start + Ref(i*classLines(d.class)) }

func (d run) end() Ref { return d.block(d.count) }

// runAt reads the i-th run. ok if what the table says can be.
func (s *Segment) runAt(i uint32) (d run, ok bool) {
	w := s.runWord(i).Load()
	d = run{
		start: Ref(w >> 32), count: uint32(w>>12) & maxRun, class: uint32(w>>8) & 15,
		ready: w>>6&3 == runReady, owner: uint32(w & 63),
	}
	k := w >> 6 & 3
	if k != runRaw && k != runReady || d.owner >= s.owners || d.class >= nClasses || d.count == 0 || d.start < s.first || d.start > s.end {
		return d, false
	}
	return d, uint64(d.count)*uint64(classLines(d.class)) <= uint64(s.end-d.start)
}

// last is the number of runs and where fresh memory begins.
func (s *Segment) last() (n uint32, mark Ref) {
	hint := s.h.runs.Load()
	n = min(hint, s.maxRuns)
	for n > 0 && s.runWord(n-1).Load() == 0 {
		n-- // a hint that is too large comes from no peer in its right mind
	}
	for n < s.maxRuns && s.runWord(n).Load() != 0 {
		n++
	}
	if n != hint {
		sched.Point("segment: before the number of runs is helped along")
		s.h.runs.CompareAndSwap(hint, n)
	}
	if n == 0 {
		return 0, s.first
	}
	d, ok := s.runAt(n - 1)
	if !ok {
		s.corruptions.Add(1)
		return s.maxRuns, s.end
	}
	return n, d.end()
}

// mark is where fresh memory begins.
func (s *Segment) mark() Ref {
	_, mark := s.last()
	return mark
}

// runLen is how many blocks of a class a run has.
func (s *Segment) runLen(class uint32) uint32 {
	return max(s.target/(classLines(class)*Line), 1)
}

// run takes up to want blocks from fresh memory, keeps one and puts the others
// in reserve.
func (s *Segment) run(class, want uint32) Ref {
	i, ok := s.claimRun(class, want)
	if !ok {
		return 0
	}
	d := s.describe(i)
	s.reserve(d, 1)
	return d.start
}

// claimRun makes a run of up to want blocks the view's.
func (s *Segment) claimRun(class, want uint32) (i uint32, ok bool) {
	for {
		n, mark := s.last()
		room := uint32(s.end-mark) / classLines(class)
		if n == s.maxRuns || room == 0 {
			return 0, false
		}
		d := run{start: mark, count: min(want, room, maxRun), class: class, owner: s.me}
		sched.Point("segment: between the look at fresh memory and its claim")
		if s.runWord(n).CompareAndSwap(0, d.word()) {
			return n, true
		}
	}
}

// describe writes the headers of a run that is the view's: the first block's as
// taken, the others' as being given back, each linked to the one behind it.
func (s *Segment) describe(i uint32) run {
	d, ok := s.runAt(i)
	if !ok {
		s.corruptions.Add(1)
		return run{}
	}
	for k := range d.count {
		sched.Point("segment: run claimed, before it is described")
		b := s.block(d.block(k))
		b.next.Store(0)
		b.class, b.start = d.class, 0
		atomic.StoreUint32(&b.of, 0)
		atomic.StoreUint32(&b.link, uint32(d.block(k+1)))
		st := stateOf(giving, s.me, 0)
		if k == 0 {
			st = stateOf(taken, s.me, 1)
		}
		hw.StoreRel64(&b.state, st)
	}
	sched.Point("segment: run described, before it is ready")
	d.ready = true
	s.runWord(i).Store(d.word())
	return d
}

// reserve puts the blocks of a run, from the i-th on, in the view's slice.
func (s *Segment) reserve(d run, i uint32) {
	if i >= d.count {
		return
	}
	push(&s.own.class[d.class].fresh, d.block(i), s.block(d.block(d.count-1)))
	for ; i < d.count; i++ {
		sched.Point("segment: run in reserve, before it is settled")
		s.settle(s.block(d.block(i)), stateOf(giving, s.me, 0))
	}
}

// pieces calls f for the blocks that a block of a class is parted into: one of
// each class of chunks below, the largest first, and as many small ones as fit.
func (s *Segment) pieces(r Ref, class uint32, f func(r Ref, class uint32)) {
	at, end := r+1, r+Ref(classLines(class))
	for c := class - 1; c > 0; c-- {
		f(at, c)
		at += Ref(classLines(c))
	}
	for lines := Ref(classLines(0)); at+lines <= end; at += lines {
		f(at, 0)
	}
}

// carve writes the headers of the parts of a block that the view has taken.
func (s *Segment) carve(r Ref, class uint32) {
	s.pieces(r, class, func(p Ref, pc uint32) {
		b := s.block(p)
		b.next.Store(0)
		b.class, b.start = pc, 0
		atomic.StoreUint32(&b.of, 0)
		atomic.StoreUint32(&b.link, 0)
		hw.StoreRel64(&b.state, stateOf(taken, s.me, 1))
	})
}

// divide makes the parts that were carved blocks, and the whole none.
func (s *Segment) divide(r Ref) {
	b := s.block(r)
	hw.StoreRel64(&b.state, stateOf(parted, s.me, genOf(atomic.LoadUint64(&b.state))))
}

// walk calls f for every block that there is, in order of address, whatever
// others do meanwhile. raw runs are left out. ErrCorrupt: it went as far as what
// it found makes sense.
func (s *Segment) walk(f func(r Ref, class uint32, st uint64)) error {
	at := s.first
	for i := range s.maxRuns {
		if s.runWord(i).Load() == 0 {
			break
		}
		d, ok := s.runAt(i)
		if !ok || d.start != at {
			return fmt.Errorf("%w: run %d is %#x: want one that begins at line %d and ends by line %d, of a class below %d and an owner below %d",
				ErrCorrupt, i, s.runWord(i).Load(), at, s.end, nClasses, s.owners)
		}
		sched.Point("segment: walk, from run to run")
		at = d.end()
		if !d.ready {
			continue
		}
		for k := range d.count {
			if err := s.walkBlock(d.block(k), d.class, f); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Segment) walkBlock(r Ref, class uint32, f func(r Ref, class uint32, st uint64)) error {
	b := s.block(r)
	if got := b.class; got != class {
		return fmt.Errorf("%w: class of block %d is %d, want %d", ErrCorrupt, r, got, class)
	}
	st := atomic.LoadUint64(&b.state)
	k := kindOf(st)
	if k < loose || k > parted || k == parted && class == 0 {
		return fmt.Errorf("%w: kind of block %d is %d, want %d to %d, and less for the smallest", ErrCorrupt, r, k, loose, parted)
	}
	if o := ownerOf(st); o >= s.owners {
		return fmt.Errorf("%w: owner of block %d is %d, want less than %d", ErrCorrupt, r, o, s.owners)
	}
	if k != parted {
		f(r, class, st)
		return nil
	}
	var err error
	s.pieces(r, class, func(p Ref, pc uint32) {
		if err == nil {
			err = s.walkBlock(p, pc, f)
		}
	})
	return err
}
