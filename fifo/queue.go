package fifo

import (
	"fmt"
	"sync/atomic"
	"time"

	"vlsbench/hw"
)

const (
	// MinEvents and MaxEvents bound a lane's length, a power of two.
	MinEvents = 16
	MaxEvents = 64 << 10
	// MaxProducers is how many producers a queue can have.
	MaxProducers = 256
)

// Event is what a queue carries: two words that mean what its users agree on.
type Event struct {
	Kind uint32
	Arg  uint64
}

// slot is an event in a lane. word is the lap-unique sequence in the upper half
// and the kind in the lower, and is published last: that is all the consumer
// needs to see that the event is there, so index and data come with one line.
type slot struct {
	word, arg uint64
}

// lane is the ring of one producer.
type lane struct {
	prod struct {
		tail, head uint32 // next to write; the consumer's as seen last
		_          [Line - 8]byte
	}
	head uint32 // published by the consumer, once a drained batch
	_    [Line - 4]byte
	cons struct {
		head uint32
		_    [Line - 4]byte
	}
	// slots follow
}

// queueHeader is a queue's shared state.
type queueHeader struct {
	lanes   [MaxProducers]atomic.Uint32 // Ref; 0: that producer never posted
	n       atomic.Uint32               // no lane at or beyond n
	overrun atomic.Uint32               // 1: an event was not posted for want of room
	_       [Line - 8]byte
	// asleep is 1 while the consumer sleeps or is about to; also its futex.
	asleep atomic.Uint32
	_      [Line - 4]byte
	next   uint32 // lane that Drain looks at next; the consumer's
	_      [Line - 4]byte
}

// Queue is a message queue of many producers and one consumer. Each producer
// has a lane of its own, so that one that is stopped or killed at any point
// holds up neither the others nor the consumer, and producers share no line.
//
// One thread at a time may post under one producer number, one at a time may
// use the consumer's methods. Order is kept per producer.
type Queue struct {
	seg   *Segment
	h     *queueHeader
	len   uint32 // events per lane
	class uint32 // of a lane's block
	seq   bool   // publish sequentially consistent
}

// NewQueue makes a queue with lanes of events events, which are allocated when
// a producer first posts.
func NewQueue(s *Segment, events int, ord Order) (*Queue, error) {
	if events < MinEvents || events > MaxEvents || events&(events-1) != 0 {
		return nil, fmt.Errorf("fifo: queue of %d events: want a power of two from %d to %d", events, MinEvents, MaxEvents)
	}
	r := s.alloc(firstClass)
	if r == 0 {
		return nil, ErrGrow
	}
	s.linked(r, r)
	q := &Queue{
		seg: s, h: s.queueHeader(r), len: uint32(events), seq: ord == SeqCst,
		class: classFor(uint32(events)*uint32(slotSize) + uint32(laneHeaderSize)),
	}
	*q.h = queueHeader{}
	return q, nil
}

// lane finds or makes the lane of a producer.
func (q *Queue) lane(producer int) *lane {
	if r := q.h.lanes[producer].Load(); r != 0 {
		return q.seg.lane(Ref(r))
	}
	r := q.seg.alloc(q.class)
	if r == 0 {
		return nil
	}
	q.seg.linked(r, r)
	l := q.seg.lane(r)
	*l = lane{}
	for i := range q.len {
		l.slot(i).word = 0
	}
	q.h.lanes[producer].Store(uint32(r))
	for {
		n := q.h.n.Load()
		if n > uint32(producer) || q.h.n.CompareAndSwap(n, uint32(producer)+1) {
			return l
		}
	}
}

// Post appends an event and wakes the consumer if it sleeps. It returns false,
// and has posted nothing, if the producer's lane is full or the segment has no
// memory for one. producer is from 0 to MaxProducers-1.
func (q *Queue) Post(producer int, ev Event) bool {
	l := q.lane(producer)
	if l == nil {
		return false
	}
	tail := l.prod.tail
	if tail-l.prod.head == q.len {
		l.prod.head = atomic.LoadUint32(&l.head)
		if tail-l.prod.head == q.len {
			return false
		}
	}
	s := l.slot(tail & (q.len - 1))
	s.arg = ev.Arg
	word := uint64(tail+1)<<32 | uint64(ev.Kind)
	l.prod.tail = tail + 1
	if q.seq {
		atomic.StoreUint64(&s.word, word)
	} else {
		hw.StoreRel64(&s.word, word)
	}
	if q.h.asleep.Load() != 0 {
		q.Wake()
	}
	return true
}

// Overrun tells the consumer that an event could not be posted: it must look at
// everything. Any thread.
func (q *Queue) Overrun() {
	q.h.overrun.Store(1)
	q.Wake()
}

// TakeOverrun reports whether Overrun was called since it was asked last.
// Consumer.
func (q *Queue) TakeOverrun() bool {
	return q.h.overrun.Load() != 0 && q.h.overrun.Swap(0) != 0
}

// Wake wakes the consumer if it sleeps or is about to. Any thread.
func (q *Queue) Wake() {
	if q.h.asleep.Load() != 0 && q.h.asleep.CompareAndSwap(1, 0) {
		hw.FutexWake(q.futex(), 1)
	}
}

// Pending reports whether there is something to drain. Any thread; for others
// than the consumer it is a moment's truth.
func (q *Queue) Pending() bool {
	if q.h.overrun.Load() != 0 {
		return true
	}
	for i := range q.h.n.Load() {
		if r := q.h.lanes[i].Load(); r != 0 {
			l := q.seg.lane(Ref(r))
			if q.there(l, atomic.LoadUint32(&l.head)) != nil {
				return true
			}
		}
	}
	return false
}

// there is the slot at position pos of a lane if its event was published.
func (q *Queue) there(l *lane, pos uint32) *slot {
	s := l.slot(pos & (q.len - 1))
	if uint32(atomic.LoadUint64(&s.word)>>32) != pos+1 {
		return nil
	}
	return s
}

// Drain takes up to len(evs) events, from the lanes in turn, and returns the
// count. Consumer.
func (q *Queue) Drain(evs []Event) int {
	lanes := q.h.n.Load()
	got := 0
	for range lanes {
		if q.h.next++; q.h.next >= lanes {
			q.h.next = 0
		}
		r := q.h.lanes[q.h.next].Load()
		if r == 0 {
			continue
		}
		l := q.seg.lane(Ref(r))
		pos := l.cons.head
		for got < len(evs) {
			s := q.there(l, pos)
			if s == nil {
				break
			}
			evs[got] = Event{Kind: uint32(atomic.LoadUint64(&s.word)), Arg: s.arg}
			got++
			pos++
		}
		if pos != l.cons.head {
			l.cons.head = pos
			hw.StoreRel32(&l.head, pos)
		}
		if got == len(evs) {
			break
		}
	}
	return got
}

// Arm is the first half of going to sleep: it makes producers wake the
// consumer. Whoever arms must order that against what it looks at next
// ([hw.HeavyFence]), look at everything it waits for, the queue among it, and
// then Sleep or Disarm. Consumer.
func (q *Queue) Arm() { q.h.asleep.Store(1) }

// Disarm takes Arm back.
func (q *Queue) Disarm() { q.h.asleep.Store(0) }

// Sleep sleeps until woken, or for timeout if that is not negative. It may
// return early, without a reason. Consumer, after Arm.
func (q *Queue) Sleep(timeout time.Duration) {
	if q.h.asleep.Load() != 0 {
		hw.FutexWait(q.futex(), 1, timeout)
	}
	q.h.asleep.Store(0)
}
