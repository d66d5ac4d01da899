package fifo

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

func (s *Segment) Alloc(class uint32) Ref { return s.alloc(class) }
func (s *Segment) Release(r Ref)          { s.release(r) }
func (s *Segment) ClassOf(r Ref) uint32   { return s.block(r).class }

// SegmentAt is the segment that already lies in mem, at another address.
func SegmentAt(mem []byte) *Segment { return &Segment{mem: mem, h: segHeaderAt(mem)} }

// StartAt lets a fresh fifo begin at position pos, as if so much had passed.
func (f *Fifo) StartAt(pos uint32) {
	h := f.h
	if h.prod.chunk != 0 || h.tail != 0 {
		panic("StartAt: the fifo was written")
	}
	h.tail, h.prod.tail, h.cons.tail = pos, pos, pos
	h.head, h.prod.head, h.cons.head = pos, pos, pos
	h.prod.start, h.cons.start = pos, pos
}
