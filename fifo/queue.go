package fifo

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"

	"vlsbench/hw"
	"vlsbench/sched"
)

const (
	// MinEvents and MaxEvents bound a lane's length, a power of two.
	MinEvents = 16
	MaxEvents = 64 << 10
	// MaxProducers is how many producers a queue can have.
	MaxProducers = 256

	queueMagic   = 0x716d7356 // "Vsmq"
	queueVersion = 2
	laneTag      = 0x6c6d0000 // xor the producer's number
)

// Errors of queues. What OpenQueue and PostWait return holds one of them and
// says what was found and what would do.
var (
	// ErrProducer: a producer number that no queue has.
	ErrProducer = errors.New("fifo: no such producer")
	// ErrNotQueue: the reference leads out of the segment, or to something else.
	ErrNotQueue = errors.New("fifo: no queue there")
	// ErrQueueVersion: a queue of another layout.
	ErrQueueVersion = errors.New("fifo: queue of another version")
	// ErrQueueCorrupt: a queue with a field that no queue can have.
	ErrQueueCorrupt = errors.New("fifo: corrupt queue")
	// ErrQueueOrder: the queue was made for the threads of one other process.
	ErrQueueOrder = errors.New("fifo: queue of another process has order Release")
	// ErrQueueEventfd: the queue has an eventfd and the caller none, or the other
	// way round.
	ErrQueueEventfd = errors.New("fifo: queue and caller disagree about an eventfd")
)

// Event is what a queue carries: two words that mean what its users agree on;
// the queue looks at neither.
//
// What an event is about may be gone when it is drained, and something else in
// its place. So an Arg that names an object holds the object's generation too,
// as a session handle of the core does (place in the lower half, generation in
// the upper), and the consumer drops an event whose generation is not that of
// what it finds. The queue does the same with its own slots: each holds the
// position of its event, so that one of the lap before is never taken for new.
type Event struct {
	Kind uint32
	Arg  uint64
}

// slot is an event in a lane. word is the position + 1 in the upper half, which
// no other lap has, and the kind in the lower. It is published last: that is all
// the consumer needs to see that the event is there, so index and data come with
// one line.
type slot struct {
	word, arg uint64
}

// lane is the ring of one producer.
type lane struct {
	prod struct { // the producer's, but for tag
		tail uint32 // next to write
		head uint32 // the consumer's, as seen last
		tag  uint32 // laneTag ^ the producer's number, immutable
		_    [Line - 12]byte
	}
	head uint32 // published by the consumer, once a drained batch
	// waiting is 1 while the producer sleeps for room or is about to; also its
	// futex. The consumer looks at it whenever it has stored the head, hence on
	// that line; who sets it goes on to look at the head.
	waiting atomic.Uint32
	_       [Line - 8]byte
	// slots follow
}

// queueFacts is what does not change once a second thread knows the queue.
type queueFacts struct {
	magic, version uint32
	events         uint32 // per lane
	order          uint32 // an Order
	process        uint64 // that made the queue
	eventfd        uint32 // 1: the consumer may sleep on an eventfd
	_              uint32
}

// queueHeader is a queue's shared state.
type queueHeader struct {
	queueFacts
	_ [Line - 32]byte

	lanes [MaxProducers]atomic.Uint32 // Ref; 0: that producer never posted
	n     atomic.Uint32               // no lane at or beyond n
	_     [Line - 4]byte

	overrun atomic.Uint32 // 1: an event was not posted for want of room
	_       [Line - 4]byte

	// asleep is what the consumer sleeps on, or is about to: onFutex, onEventfd
	// or neither, and a number above it that each arming changes. It is the
	// futex, too.
	asleep atomic.Uint32
	_      [Line - 4]byte

	cons struct { // the consumer's
		next uint32 // lane that Drain looked at last
		arms uint32 // number of the last arming
		_    [Line - 8]byte
	}
}

// Queue is one process's view of a message queue of many producers and one
// consumer. Each producer has a lane of its own, so that one that is stopped or
// killed at any point holds up neither the others nor the consumer, and
// producers share no line.
//
// One thread at a time may post under one producer number, one at a time may
// use the consumer's methods. Order is kept per producer; among producers there
// is none. Threads of one process share one Queue or have several, each process
// has its own ([OpenQueue]).
//
// # Which order
//
// Post publishes and then looks whether the consumer sleeps, Drain frees and
// then looks whether a producer does. With [Release] neither has a fence: who
// goes to sleep calls [hw.HeavyFence], which reaches the threads of its own
// process only. Between processes, and where the kernel refuses membarrier,
// both publications are sequentially consistent: a queue between processes must
// be made with [SeqCst], OpenQueue refuses another process's queue of order
// Release, and NewQueue makes a SeqCst queue where Release would not be sound.
//
// # Figures
//
// Two cores of a virtual machine (AMD EPYC, Zen 4), lanes of 1024 events, in
// cache line round trips (L) per event, each the median over 25 fresh layouts,
// of three runs of BenchmarkQueue the middle one; L was 99 to 108 ns. Two
// producers are one thread that posts under two numbers in turn: this machine
// has no third core.
//
//	                                release   seqcst
//	one producer                    0.096     0.23
//	two producers                   0.11      0.32
//	one event there and one back    1.2       1.2
//
// Where the host moved the cores apart (L 524 ns) the first two lines were 0.06
// and 0.05, and 0.09 and 0.27.
type Queue struct {
	seg   *Segment
	h     *queueHeader
	ref   Ref
	len   uint32 // events per lane
	class uint32 // of a lane's block
	seq   bool   // publish sequentially consistent
	fd    int    // the consumer's eventfd in this process, or -1
	// lanes holds what h.lanes refers to, once that was looked at and found
	// good. It is never looked at again: another process may change it.
	lanes [MaxProducers]atomic.Pointer[lane]
}

// process tells this process's queues from those of others. A process number
// would not do: it comes again, and differs between namespaces.
var process = rand.Uint64()

// NewQueue makes a queue with lanes of events events, which are allocated when
// a producer first posts.
func NewQueue(s *Segment, events int, ord Order) (*Queue, error) {
	if !validEvents(events) {
		return nil, fmt.Errorf("fifo: queue of %d events: want a power of two from %d to %d", events, MinEvents, MaxEvents)
	}
	if ord != Release && ord != SeqCst {
		return nil, fmt.Errorf("fifo: queue of order %d: want Release or SeqCst", ord)
	}
	if !hw.MembarrierAvailable() {
		ord = SeqCst
	}
	r := s.alloc(firstClass)
	if r == 0 {
		return nil, ErrGrow
	}
	s.linked(r, r)
	h := s.queueHeader(r)
	*h = queueHeader{queueFacts: queueFacts{
		magic: queueMagic, version: queueVersion,
		events: uint32(events), order: uint32(ord), process: process,
	}}
	return queueView(s, r, h.queueFacts), nil
}

func validEvents(n int) bool { return n >= MinEvents && n <= MaxEvents && n&(n-1) == 0 }

func queueView(s *Segment, r Ref, is queueFacts) *Queue {
	return &Queue{
		seg: s, h: s.queueHeader(r), ref: r, len: is.events, class: laneClass(is.events),
		seq: is.order == uint32(SeqCst), fd: -1,
	}
}

// OpenQueue is another view of the queue at r, in this process or another.
// eventfd is this process's descriptor of the eventfd that the queue's maker
// gave it (SetEventfd), -1 for a queue without one.
//
// All that the queue says of itself is checked first, and references that it
// holds are checked before they are followed, now and later: a queue that
// another process damaged can give wrong events, and no access outside the
// segment. The errors are ErrNotQueue, ErrQueueVersion, ErrQueueCorrupt,
// ErrQueueOrder and ErrQueueEventfd.
func OpenQueue(s *Segment, r Ref, eventfd int) (*Queue, error) {
	if !s.holds(r, queueHeaderSize) {
		return nil, fmt.Errorf("%w: reference %d, a segment of %d lines", ErrNotQueue, r, s.Size()/Line)
	}
	h := s.queueHeader(r)
	// Looked at once: what is used below is what was checked.
	head := h.queueFacts
	switch {
	case head.magic != queueMagic:
		return nil, fmt.Errorf("%w: magic %#x, want %#x", ErrNotQueue, head.magic, uint32(queueMagic))
	case head.version != queueVersion:
		return nil, fmt.Errorf("%w: %d, want %d", ErrQueueVersion, head.version, queueVersion)
	case !validEvents(int(head.events)):
		return nil, fmt.Errorf("%w: lanes of %d events: want a power of two from %d to %d", ErrQueueCorrupt, head.events, MinEvents, MaxEvents)
	case head.order > uint32(SeqCst):
		return nil, fmt.Errorf("%w: order %d: want %d or %d", ErrQueueCorrupt, head.order, Release, SeqCst)
	case head.eventfd > 1:
		return nil, fmt.Errorf("%w: eventfd flag %d: want 0 or 1", ErrQueueCorrupt, head.eventfd)
	case head.order != uint32(SeqCst) && head.process != process:
		return nil, fmt.Errorf("%w: want one made with SeqCst", ErrQueueOrder)
	case head.eventfd == 0 && eventfd >= 0:
		return nil, fmt.Errorf("%w: descriptor %d for a queue that has none: want -1", ErrQueueEventfd, eventfd)
	case head.eventfd == 1 && eventfd < 0:
		return nil, fmt.Errorf("%w: the queue has one: want a descriptor of it", ErrQueueEventfd)
	}
	if n := h.n.Load(); n > MaxProducers {
		return nil, fmt.Errorf("%w: %d lanes: want at most %d", ErrQueueCorrupt, n, MaxProducers)
	}
	q := queueView(s, r, head)
	if eventfd >= 0 {
		if err := checkEventfd(eventfd); err != nil {
			return nil, err
		}
		q.fd = eventfd
	}
	for i := range h.lanes {
		if _, err := q.known(i); err != nil {
			return nil, err
		}
	}
	return q, nil
}

// Ref is where the queue lies in its segment, for OpenQueue.
func (q *Queue) Ref() Ref { return q.ref }

// Free gives the queue and its lanes back to the segment, with what was not
// drained. Nobody may use it then, through any view; OpenQueue finds no queue
// there.
func (q *Queue) Free() {
	if q.h == nil {
		return
	}
	for i := range q.h.lanes {
		if l, _ := q.known(i); l != nil {
			q.seg.release(q.seg.laneRef(l))
			q.lanes[i].Store(nil)
		}
	}
	q.h.magic = 0
	q.seg.release(q.ref)
	q.h = nil
}

// known is the lane of a producer if it has one.
func (q *Queue) known(producer int) (*lane, error) {
	if l := q.lanes[producer].Load(); l != nil {
		return l, nil
	}
	r := Ref(q.h.lanes[producer].Load())
	if r == 0 {
		return nil, nil
	}
	if !q.seg.holds(r, laneSize(q.len)) {
		return nil, fmt.Errorf("%w: lane %d: reference %d, a segment of %d lines", ErrQueueCorrupt, producer, r, q.seg.Size()/Line)
	}
	if class := q.seg.block(r).class; class != q.class {
		return nil, fmt.Errorf("%w: lane %d: a block of class %d, want %d", ErrQueueCorrupt, producer, class, q.class)
	}
	l := q.seg.lane(r)
	if tag := l.prod.tag; tag != laneTag^uint32(producer) {
		return nil, fmt.Errorf("%w: lane %d: tag %#x, want %#x", ErrQueueCorrupt, producer, tag, laneTag^uint32(producer))
	}
	q.lanes[producer].Store(l)
	return l, nil
}

// lane finds or makes the lane of a producer. A producer that is killed in here
// costs at most the block; who takes its number over finds a lane or none.
func (q *Queue) lane(producer int) (*lane, error) {
	if uint(producer) >= MaxProducers {
		return nil, fmt.Errorf("%w: %d: want 0 to %d", ErrProducer, producer, MaxProducers-1)
	}
	if l, err := q.known(producer); l != nil || err != nil {
		return l, err
	}
	r := q.seg.alloc(q.class)
	if r == 0 {
		return nil, ErrGrow
	}
	sched.Point("queue: a lane taken, before it is prepared")
	q.prepare(r, producer)
	q.seg.linked(r, q.ref)
	// n first: a lane beyond n would never be drained.
	q.raise(uint32(producer) + 1)
	sched.Point("queue: between the count of lanes and a lane's place")
	q.h.lanes[producer].Store(uint32(r))
	return q.known(producer)
}

// prepare makes an empty lane of a block.
func (q *Queue) prepare(r Ref, producer int) {
	l := q.seg.lane(r)
	*l = lane{}
	l.prod.tag = laneTag ^ uint32(producer)
	for i := range q.len {
		*l.slot(i) = slot{}
	}
}

func (q *Queue) raise(to uint32) {
	for {
		n := q.h.n.Load()
		if sched.Enabled {
			sched.Point("queue: between the look at the count of lanes and its swap")
		}
		if n >= to || q.h.n.CompareAndSwap(n, to) {
			return
		}
	}
}

// Post appends an event and wakes the consumer if it sleeps. It returns false,
// and has posted nothing, if the producer's lane is full, if the segment has no
// memory for one, or if producer is not from 0 to MaxProducers-1; PostWait says
// which.
func (q *Queue) Post(producer int, ev Event) bool {
	if uint(producer) >= MaxProducers {
		return false
	}
	l := q.lanes[producer].Load()
	if l == nil {
		var err error
		if l, err = q.lane(producer); err != nil {
			return false
		}
	}
	tail := l.prod.tail
	if tail-l.prod.head >= q.len {
		l.prod.head = atomic.LoadUint32(&l.head)
		if tail-l.prod.head >= q.len {
			return false
		}
	}
	s := l.slot(tail & (q.len - 1))
	s.arg = ev.Arg
	if sched.Enabled {
		sched.Point("queue: post, between slot and word")
	}
	word := uint64(tail+1)<<32 | uint64(ev.Kind)
	if q.seq {
		atomic.StoreUint64(&s.word, word)
	} else {
		hw.StoreRel64(&s.word, word)
	}
	if sched.Enabled {
		sched.Point("queue: post, between word and tail")
	}
	// After the event: a lane whose tail is behind can be set right (Resume).
	l.prod.tail = tail + 1
	if sched.Enabled {
		sched.Point("queue: post, between tail and the look who sleeps")
	}
	if q.h.asleep.Load()&(onFutex|onEventfd) != 0 {
		q.Wake()
	}
	return true
}

// Resume makes a producer number usable for a thread that takes it over from
// one that was killed, maybe in the middle of a post. What was published stays
// and is drained, by a consumer that is woken if it sleeps; of a post that was
// not finished nothing is seen.
func (q *Queue) Resume(producer int) error {
	if uint(producer) >= MaxProducers {
		return fmt.Errorf("%w: %d: want 0 to %d", ErrProducer, producer, MaxProducers-1)
	}
	l, err := q.known(producer)
	if l == nil {
		return err
	}
	if q.there(l, l.prod.tail) != nil {
		l.prod.tail++
	}
	sched.Point("queue: resume, before the mark of who waits goes")
	l.waiting.Store(0)
	if q.there(l, atomic.LoadUint32(&l.head)) != nil {
		q.Wake() // whoever posted that was maybe stopped before the look who sleeps
	}
	return nil
}

// Overrun tells the consumer that an event could not be posted: it must look at
// everything. Any thread.
func (q *Queue) Overrun() {
	q.h.overrun.Store(1)
	if sched.Enabled {
		sched.Point("queue: between overrun and wake")
	}
	q.Wake()
}

// TakeOverrun reports whether Overrun was called since it was asked last.
// Consumer.
func (q *Queue) TakeOverrun() bool {
	if sched.Enabled {
		sched.Point("queue: before an overrun is taken")
	}
	return q.h.overrun.Load() != 0 && q.h.overrun.Swap(0) != 0
}

// Pending reports whether there is something to drain, or an overrun to take.
// Any thread; for others than the consumer it is a moment's truth.
func (q *Queue) Pending() bool {
	if q.h.overrun.Load() != 0 {
		return true
	}
	for i := range min(q.h.n.Load(), MaxProducers) {
		if sched.Enabled {
			sched.Point("queue: before the look at a lane")
		}
		l := q.lanes[i].Load()
		if l == nil {
			l, _ = q.known(int(i))
		}
		if l != nil && q.there(l, atomic.LoadUint32(&l.head)) != nil {
			return true
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
// count. A producer that waits for room is woken by the first slot that is
// free. Consumer.
func (q *Queue) Drain(evs []Event) int {
	h := q.h
	lanes := min(h.n.Load(), MaxProducers)
	got := 0
	next := h.cons.next
	for range lanes {
		if next++; next >= lanes {
			next = 0
		}
		l := q.lanes[next].Load()
		if l == nil {
			// A lane that was not made yet has no event, and one that is none
			// is left alone.
			if l, _ = q.known(int(next)); l == nil {
				continue
			}
		}
		head := atomic.LoadUint32(&l.head)
		pos := head
		for got < len(evs) {
			s := q.there(l, pos)
			if s == nil {
				break
			}
			evs[got] = Event{Kind: uint32(atomic.LoadUint64(&s.word)), Arg: s.arg}
			got++
			pos++
		}
		if pos != head {
			if sched.Enabled {
				sched.Point("queue: drain, between events and head")
			}
			// Not in a function of its own: where that was called, a round
			// trip took 60 ns more and a stream twice the time.
			if q.seq {
				atomic.StoreUint32(&l.head, pos)
			} else {
				hw.StoreRel32(&l.head, pos)
			}
			if sched.Enabled {
				sched.Point("queue: drain, between head and the look who waits")
			}
			if l.waiting.Load() != 0 {
				wakeProducer(l)
			}
		}
		if got == len(evs) {
			break
		}
	}
	h.cons.next = next
	return got
}

// wakeProducer wakes a producer that waits for room.
func wakeProducer(l *lane) {
	if sched.Enabled {
		sched.FutexWake("queue: wake a producer", futex(&l.waiting), 1)
	}
	hw.FutexClearWake(futex(&l.waiting), onFutex)
}
