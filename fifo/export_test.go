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
	if f.h.prod.chunk != 0 || f.h.tail != 0 {
		panic("StartAt: the fifo was written")
	}
	if err := f.InitPointers(pos, pos); err != nil {
		panic(err)
	}
}

// Through is the same queue in another mapping of its segment.
func (q *Queue) Through(s *Segment) *Queue {
	v := *q
	v.seg, v.h = s, s.queueHeader(q.ref())
	return &v
}

// ref finds the queue's place by the distance of its header from the base.
func (q *Queue) ref() Ref {
	for r := Ref(1); ; r++ {
		if q.seg.queueHeader(r) == q.h {
			return r
		}
	}
}

// StartAt lets a producer that never posted begin at position pos, its slots as
// the lap before would have left them.
func (q *Queue) StartAt(producer int, pos uint32) {
	l := q.lane(producer)
	if l.prod.tail != 0 {
		panic("StartAt: the producer has posted")
	}
	l.prod.tail, l.prod.head, l.head, l.cons.head = pos, pos, pos, pos
	for p := pos - q.len; p != pos; p++ {
		l.slot(p & (q.len - 1)).word = uint64(p+1) << 32
	}
}

// Die leaves producer's lane as one that is killed in the middle of Post, with
// the event written and not published.
func (q *Queue) Die(producer int, ev Event) {
	l := q.lane(producer)
	l.slot(l.prod.tail & (q.len - 1)).arg = ev.Arg
	l.prod.tail++
}

// Lanes is how many lanes were made.
func (q *Queue) Lanes() int {
	n := 0
	for i := range q.h.lanes {
		if q.h.lanes[i].Load() != 0 {
			n++
		}
	}
	return n
}

// Armed reports whether a producer would wake the consumer.
func (q *Queue) Armed() bool { return q.h.asleep.Load() != 0 }
