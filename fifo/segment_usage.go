package fifo

import "fmt"

// Pressure is how near a segment is to its end, by VPP's names.
type Pressure uint8

const (
	NoPressure   Pressure = iota
	LowPressure           // LowWatermark or more is in use
	HighPressure          // HighWatermark or more is in use
	NoMemory              // there is not a chunk left, however small
)

// LowWatermark and HighWatermark are shares of what a segment has for blocks, in
// percent. Below the low one streams across cores go on into fresh memory.
const (
	LowWatermark  = 50
	HighWatermark = 90
)

func (p Pressure) String() string {
	switch p {
	case NoPressure:
		return "none"
	case LowPressure:
		return "low"
	case HighPressure:
		return "high"
	case NoMemory:
		return "no memory"
	}
	return fmt.Sprintf("pressure %d", uint8(p))
}

// lowMark is the line up to which fresh memory is preferred.
func (s *Segment) lowMark() Ref {
	return s.first + Ref(uint64(s.end-s.first)*LowWatermark/100)
}

// Usage says where a segment's bytes are: Size is the sum of Reserved, Taken,
// Free, Fresh and Pending.
type Usage struct {
	Size     int
	Reserved int // header and slices
	Taken    int // in the hands of owners and of what they made
	Free     int // given back
	Fresh    int // never handed out
	Pending  int // in runs that somebody is just about to describe
	Classes  []ClassUsage
	Pressure Pressure
	// Corruptions is how often this view met something in shared memory that is
	// never written there by who keeps to the rules, and went round it.
	Corruptions uint64
}

// ClassUsage counts the blocks of one size.
type ClassUsage struct {
	Size  int // payload in bytes
	Taken int // blocks
	Free  int // given back
	Fresh int // in a slice's reserve, never handed out
}

// Usage walks over all blocks. While others allocate it is a moment's truth,
// and not of the same moment for all blocks. Any thread.
func (s *Segment) Usage() Usage {
	u := Usage{Size: len(s.mem), Reserved: int(s.first) * Line, Classes: make([]ClassUsage, nClasses)}
	for c := range u.Classes {
		u.Classes[c].Size = int(classSize(uint32(c)))
	}
	mark := s.mark()
	whole := 0
	err := s.walk(func(r Ref, class uint32, st uint64) {
		if r >= mark {
			return
		}
		bytes := int(classLines(class)) * Line
		whole += bytes
		c := &u.Classes[class]
		switch k := kindOf(st); {
		case k == taken || k == linked:
			c.Taken++
			u.Taken += bytes
		case genOf(st) == 0:
			c.Fresh++
			u.Fresh += bytes
		default:
			c.Free++
			u.Free += bytes
		}
	})
	if err != nil {
		s.corruptions.Add(1)
	}
	// What parted blocks lose to headers and ends is taken for good.
	described := 0
	for i := range s.maxRuns {
		d, ok := s.runAt(i)
		if !ok || d.start >= mark {
			break
		}
		if bytes := int(d.end()-d.start) * Line; d.ready {
			described += bytes
		} else {
			u.Pending += bytes
		}
	}
	u.Taken += max(described-whole, 0)
	u.Fresh += len(s.mem) - int(mark)*Line
	u.Corruptions = s.corruptions.Load()
	u.Pressure = s.pressure(&u, mark)
	return u
}

func (s *Segment) pressure(u *Usage, mark Ref) Pressure {
	chunk := int(s.end-mark) >= int(classLines(firstClass))
	for _, c := range u.Classes[firstClass:] {
		chunk = chunk || c.Free+c.Fresh > 0
	}
	share := (u.Taken + u.Pending) * 100 / max(u.Size-u.Reserved, 1)
	switch {
	case !chunk:
		return NoMemory
	case share >= HighWatermark:
		return HighPressure
	case share >= LowWatermark:
		return LowPressure
	}
	return NoPressure
}

// Used is the number of bytes that were ever handed out, with the segment's own:
// what is free again counts too. It walks over all blocks.
func (s *Segment) Used() int {
	mark := s.mark()
	used := int(mark) * Line
	s.walk(func(r Ref, class uint32, st uint64) { //nolint:errcheck // as far as it goes
		if genOf(st) == 0 && r < mark {
			used -= int(classLines(class)) * Line
		}
	})
	return used
}

// Preallocate puts n chunks of at least size bytes, the payload, in reserve for
// the view's owner: it will find that many without touching what owners share.
// ErrGrow: there is not so much fresh memory; what there was is in reserve.
func (s *Segment) Preallocate(size, n int) error {
	if size < 1 || size > MaxChunk {
		return fmt.Errorf("fifo: preallocate chunks of %d bytes: want 1 to %d", size, MaxChunk)
	}
	if n < 0 {
		return fmt.Errorf("fifo: preallocate %d chunks: want 0 or more", n)
	}
	class := classFor(uint32(size))
	for left := n; left > 0; {
		i, ok := s.claimRun(class, uint32(min(left, maxRun)))
		if !ok {
			return fmt.Errorf("%w: %d of %d chunks of %d bytes preallocated", ErrGrow, n-left, n, classSize(class))
		}
		d := s.describe(i)
		s.reserve(d, 1)
		s.release(d.start)
		left -= max(int(d.count), 1)
	}
	return nil
}
