package fifo

import "time"

// What the tests in package fifo_test need from inside.

const (
	RaceEnabled = raceEnabled
	SmallSize   = smallSize
	NClasses    = nClasses
)

var (
	AlignedBytes = alignedBytes
	ClassSize    = classSize
	ClassFor     = classFor
)

func (s *Segment) Alloc(class uint32) Ref                { return s.alloc(class) }
func (s *Segment) AllocCold(class uint32) Ref            { return s.allocCold(class) }
func (s *Segment) AllocNear(class uint32, cold bool) Ref { return s.allocNear(class, cold) }
func (s *Segment) Linked(r, of Ref)                      { s.linked(r, of) }
func (s *Segment) Checked(r Ref) (uint32, bool)          { return s.checked(r) }
func (s *Segment) Corruptions() uint64                   { return s.corruptions.Load() }
func (s *Segment) Release(r Ref)                         { s.release(r) }
func (s *Segment) ClassOf(r Ref) uint32                  { return s.block(r).class }

const ColdBytes = coldBytes

func SetSweepPause(d time.Duration) { sweepPause = d }

func (s *Segment) Sweep1(owner int, holds func(owner int, of, chunk Ref) bool) (Swept, error) {
	return s.sweep(owner, holds)
}

// Mark is how far fresh memory was used up, in bytes.
func (s *Segment) Mark() int { return int(s.mark()) * Line }

// Head is the word of the youngest list of a class.
func (s *Segment) Head(class uint32) uint64 {
	h := &s.own.class[class]
	return h.list(h.youngest()).Load()
}

// First is where blocks begin.
func (s *Segment) First() Ref { return s.first }

// Steps leave an operation half done, as one that is killed there. Each begins
// with a segment in which the class and the one above have free blocks.
var Steps = []struct {
	Name string
	Do   func(s *Segment, class uint32)
}{
	{"popped", func(s *Segment, class uint32) { s.unhook(class) }},
	{"claimed", func(s *Segment, class uint32) { s.alloc(class) }},
	{"offered", func(s *Segment, class uint32) { s.offer(s.alloc(class)) }},
	{"pushed", func(s *Segment, class uint32) {
		r := s.alloc(class)
		list, _ := s.offer(r)
		push(list, r, s.block(r))
	}},
	{"popped again before settled", func(s *Segment, class uint32) {
		r := s.alloc(class)
		list, _ := s.offer(r)
		push(list, r, s.block(r))
		s.unhook(class)
	}},
	{"run claimed", func(s *Segment, class uint32) { s.claimRun(class, 3) }},
	{"run half described", func(s *Segment, class uint32) {
		i, _ := s.claimRun(class, 3)
		raw := s.runWord(i).Load()
		d := s.describe(i)
		s.runWord(i).Store(raw)
		clear(s.mem[int(d.block(1))*Line : int(d.end())*Line])
	}},
	{"run described", func(s *Segment, class uint32) {
		i, _ := s.claimRun(class, 3)
		s.describe(i)
	}},
	{"run in reserve, not settled", func(s *Segment, class uint32) {
		i, _ := s.claimRun(class, 3)
		d := s.describe(i)
		push(&s.own.class[class].fresh, d.block(1), s.block(d.block(d.count-1)))
	}},
	{"carved", func(s *Segment, class uint32) { s.carve(s.alloc(class+1), class+1) }},
	{"divided", func(s *Segment, class uint32) {
		r := s.alloc(class + 1)
		s.carve(r, class+1)
		s.divide(r)
	}},
	{"parts given back in part", func(s *Segment, class uint32) {
		r := s.alloc(class + 1)
		s.carve(r, class+1)
		s.divide(r)
		n := 0
		s.pieces(r, class+1, func(p Ref, _ uint32) {
			if n++; n%2 == 0 {
				s.release(p)
			}
		})
	}},
	{"run adopted", func(s *Segment, class uint32) {
		s.h.sweeper.Store(s.me + 1)
		s.claimRun(class, 2)
	}},
}

// unhook takes the first block of the creator's youngest list and does not claim
// it, UnhookOf that of another's.
func (s *Segment) unhook(class uint32) { s.UnhookOf(0, class) }

func (s *Segment) UnhookOf(owner int, class uint32) {
	h := &s.slice(uint32(owner)).class[class]
	for age := range uint32(generations) {
		list := h.list(h.youngest() - age)
		if old := list.Load(); Ref(old) != 0 {
			list.Store((old>>32+1)<<32 | uint64(s.block(Ref(old)).link))
			return
		}
	}
	panic("unhook: nothing is free")
}

// Unhook is a pop by one who dies before the claim.
func (s *Segment) Unhook(class uint32) { s.unhook(class) }

// HalfRelease gives r back but for the last step, which is what it returns.
func (s *Segment) HalfRelease(r Ref) (settle func()) {
	list, st := s.offer(r)
	push(list, r, s.block(r))
	return func() { s.settle(s.block(r), st) }
}

// HalfJoin takes an owner number and nothing more.
func (s *Segment) HalfJoin() int {
	for k := range s.owners {
		if s.h.owner[k].CompareAndSwap(0, 1) {
			return int(k)
		}
	}
	return -1
}

// Scribble writes a word where a named part of a segment lies, and returns what
// stood there.
func (s *Segment) Scribble(what string, v uint64) {
	h, own := s.h, s.slice(0)
	switch what {
	case "magic":
		h.magic = uint32(v)
	case "version":
		h.version = uint32(v)
	case "size":
		h.size = v
	case "smallest block":
		h.small = uint32(v)
	case "classes":
		h.classes = uint32(v)
	case "owners in use":
		h.used.Store(v)
	case "sweeper":
		h.sweeper.Store(uint32(v))
	case "number of runs":
		h.runs.Store(uint32(v))
	case "run 0":
		s.runWord(0).Store(v)
	case "run 1":
		s.runWord(1).Store(v)
	case "last run":
		n, _ := s.last()
		s.runWord(n - 1).Store(v)
	case "class":
		s.block(s.first).class = uint32(v)
	case "state":
		s.block(s.first).state = v
	case "link":
		s.block(s.first).link = uint32(v)
	case "head":
		own.class[1].list(own.class[1].youngest()).Store(v)
	case "oldest":
		own.class[1].list(own.class[1].youngest() + 1).Store(v)
	case "reserve":
		own.class[1].fresh.Store(v)
	default:
		panic(what)
	}
}

// Words are the offsets of what a segment's rules rest on, in bytes: header,
// lists, runs, and the headers of blocks.
func (s *Segment) Words() []int {
	var at []int
	for i := 0; i < 32; i += 4 {
		at = append(at, i)
	}
	for i := Line; i < int(segHeaderSize); i += 8 {
		at = append(at, i)
	}
	for k := range s.owners {
		for c := range uintptr(nClasses) {
			sh := int(s.slices + uintptr(k)*sliceSize + c*sliceSize/nClasses)
			for _, off := range []int{0, Line, 2 * Line, 3 * Line, 4 * Line, 5 * Line, 5*Line + 8, 5*Line + 16} {
				at = append(at, sh+off)
			}
		}
	}
	n, _ := s.last()
	for i := range n + 2 {
		at = append(at, int(s.runs)+int(i)*8)
	}
	s.walk(func(r Ref, _ uint32, _ uint64) {
		for _, off := range []int{0, 4, 8, 12, 16, 24} {
			at = append(at, int(r)*Line+off)
		}
	})
	return at
}

// SegmentAt is the segment that already lies in mem, at another address.
// It is the creator's.
func SegmentAt(mem []byte) *Segment {
	s, err := view(mem)
	if err != nil {
		panic(err)
	}
	s.own = s.slice(0)
	return s
}

// StartAt lets a fresh fifo begin at position pos, as if so much had passed.
func (f *Fifo) StartAt(pos uint32) {
	if f.h.prod.chunk != 0 || f.h.tail != 0 {
		panic("StartAt: the fifo was written")
	}
	if err := f.InitPointers(pos, pos); err != nil {
		panic(err)
	}
}
