package fifo

import "vlsbench/hw"

// What the tests of queues need from inside.

const QueueHeaderSize = queueHeaderSize

// Through is the same queue in another mapping of its segment.
func (q *Queue) Through(s *Segment) *Queue {
	v, err := OpenQueue(s, q.ref, q.fd)
	if err != nil {
		panic(err)
	}
	return v
}

// StartAt lets a producer that never posted begin at position pos, its slots as
// the lap before would have left them.
func (q *Queue) StartAt(producer int, pos uint32) {
	l, err := q.lane(producer)
	if err != nil {
		panic(err)
	}
	if l.prod.tail != 0 {
		panic("StartAt: the producer has posted")
	}
	l.prod.tail, l.prod.head, l.head = pos, pos, pos
	for p := pos - q.len; p != pos; p++ {
		l.slot(p & (q.len - 1)).word = uint64(p+1) << 32
	}
}

// Point is a place inside a post at which a producer can be killed.
type Point int

const (
	LaneAllocated  Point = iota // and known to nobody
	LaneRaised                  // n covers it, the reference does not stand
	LaneLinked                  // nothing posted
	EventWritten                // and not published
	EventPublished              // the lane's tail is behind
	TailAdvanced                // the consumer is not woken
	ConsumerRung                // the eventfd is written, the word not cleared
	PostDone                    // nothing is left to do
	Points
)

func (p Point) String() string {
	return [...]string{"lane allocated", "lane raised", "lane linked", "event written",
		"event published", "tail advanced", "consumer rung", "post done"}[p]
}

// PostUntil does what Post does up to a point, and stops for ever there. The
// lane must have room.
func (q *Queue) PostUntil(producer int, ev Event, at Point) {
	l, err := q.known(producer)
	if err != nil {
		panic(err)
	}
	if l == nil {
		r := q.seg.alloc(q.class)
		if at == LaneAllocated {
			return
		}
		q.prepare(r, producer)
		q.raise(uint32(producer) + 1)
		if at == LaneRaised {
			return
		}
		q.h.lanes[producer].Store(uint32(r))
		if l, err = q.known(producer); err != nil {
			panic(err)
		}
	}
	if at <= LaneLinked {
		return
	}
	tail := l.prod.tail
	s := l.slot(tail & (q.len - 1))
	s.arg = ev.Arg
	if at == EventWritten {
		return
	}
	hw.StoreRel64(&s.word, uint64(tail+1)<<32|uint64(ev.Kind))
	if at == EventPublished {
		return
	}
	l.prod.tail = tail + 1
	if at == TailAdvanced {
		return
	}
	if w := q.h.asleep.Load(); at == ConsumerRung && w&onEventfd != 0 {
		ringEventfd(q.fd)
		return
	}
	q.Wake()
}

// DieWaiting leaves producer as one that is killed in PostWait, asleep or about
// to be.
func (q *Queue) DieWaiting(producer int) {
	l, err := q.lane(producer)
	if err != nil {
		panic(err)
	}
	l.waiting.Store(onFutex)
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
func (q *Queue) Armed() bool { return q.h.asleep.Load()&(onFutex|onEventfd) != 0 }

// Waiting reports whether Drain would wake the producer.
func (q *Queue) Waiting(producer int) bool {
	l, _ := q.known(producer)
	return l != nil && l.waiting.Load() != 0
}
