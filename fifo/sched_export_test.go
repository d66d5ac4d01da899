//go:build sched

package fifo

import (
	"sync/atomic"

	"vlsbench/hw"
	"vlsbench/sched"
)

// Twins of operations with one step left out or in another place, which the
// tests of schedules must find.

// EnqueueEarly is an Enqueue into the chunk at the tail that publishes first.
func (f *Fifo) EnqueueEarly(p []byte) (int, error) {
	e := &f.h.prod
	if uint64(len(p)) > e.end-e.at {
		return f.Enqueue(p)
	}
	at := e.at
	e.at += uint64(len(p))
	f.publishTail()
	sched.Point("twin: published, before the bytes")
	f.copyIn(at, addressOf(p), uint64(len(p)))
	return len(p), nil
}

// EnqueueOver is an Enqueue that begins its chunk anew whenever that is full.
func (f *Fifo) EnqueueOver(p []byte) (int, error) {
	e := &f.h.prod
	n := min(uint32(len(p)), f.free())
	if e.chunk == 0 || e.at < e.stop || n == 0 {
		n, err := f.Enqueue(p[:min(uint64(n), max(e.stop-e.at, 1))])
		return n, err
	}
	f.rewind(f.written())
	f.limit()
	return f.Enqueue(p[:min(uint64(n), e.stop-e.at)])
}

// StepLate leaves a chunk before it says so: the chunk is another's while the
// chain still begins with it. It is a Dequeue of what the last one left.
func (f *Fifo) StepLate() {
	e := &f.h.cons
	if e.at == e.stop && f.there(1) > 0 && f.following(e.chunk) != 0 {
		f.seg.release(e.chunk)
		sched.Point("twin: released, before the step")
	}
}

// SetEventPlain is SetEvent without the swap.
func (f *Fifo) SetEventPlain() bool {
	if f.h.event.Load() != 0 {
		return false
	}
	sched.Point("twin: between the flag's look and its store")
	f.h.event.Store(1)
	return true
}

// NotifyPlain is Notify without the swap.
func (f *Fifo) NotifyPlain() bool {
	w := f.h.want.Load()
	if n := w & wantSpace; n == 0 || uint64(f.Size()-f.MaxDequeue()) < n {
		return false
	}
	sched.Point("twin: between want's look and its store")
	f.h.want.Store(w &^ wantSpace)
	return true
}

// SubscribePlain is Subscribe, of a worker that is not there yet, without the
// swap.
func (f *Fifo) SubscribePlain(worker uint8) {
	old := f.h.subs.Load()
	i := 0
	for uint8(old>>(8*i)) != 0 {
		i++
	}
	sched.Point("twin: between the subscribers and their store")
	f.h.subs.Store(old | uint64(worker+1)<<(8*i))
}

// AllocUntagged takes the youngest block as pop does, but for the tag.
func (s *Segment) AllocUntagged(class uint32) Ref {
	h := &s.own.class[class]
	list := h.list(h.youngest())
	for {
		old := list.Load()
		r := Ref(old)
		if r == 0 {
			return s.alloc(class)
		}
		b := s.block(r)
		next := atomic.LoadUint32(&b.link)
		sched.Point("twin: between the link and the swap")
		if list.CompareAndSwap(old, uint64(next)) {
			hw.StoreRel64(&b.state, stateOf(taken, s.me, genOf(atomic.LoadUint64(&b.state))+1))
			return r
		}
	}
}

// AllocUnclaimed takes the youngest block as pop does, but makes it the view's
// by a store.
func (s *Segment) AllocUnclaimed(class uint32) Ref {
	h := &s.own.class[class]
	list := h.list(h.youngest())
	for {
		old := list.Load()
		r := Ref(old)
		if r == 0 {
			return s.alloc(class)
		}
		b := s.block(r)
		next := atomic.LoadUint32(&b.link)
		sched.Point("twin: between the link and the swap")
		if list.CompareAndSwap(old, (old>>32+1)<<32|uint64(next)) {
			sched.Point("twin: popped, before the claim")
			hw.StoreRel64(&b.state, stateOf(taken, s.me, genOf(atomic.LoadUint64(&b.state))+1))
			return r
		}
	}
}

// ReleaseLoose gives a block back as release does, but says at once that it is
// in its list.
func (s *Segment) ReleaseLoose(r Ref) {
	list, st := s.offer(r)
	b := s.block(r)
	s.settle(b, st)
	sched.Point("twin: settled, before the push")
	push(list, r, b)
}

// ClaimRunPlain makes a run and puts it in the table by a store.
func (s *Segment) ClaimRunPlain(class, want uint32) Ref {
	n, mark := s.last()
	d := run{start: mark, count: want, class: class, owner: s.me}
	sched.Point("twin: between the look at fresh memory and its store")
	s.runWord(n).Store(d.word())
	d = s.describe(n)
	s.reserve(d, 1)
	return d.start
}

// JoinPlain is Join without the swap.
func (s *Segment) JoinPlain() *Segment {
	for k := range s.owners {
		if s.h.owner[k].Load() == 0 {
			sched.Point("twin: between the owner's look and its store")
			s.h.owner[k].Store(1)
			v := &Segment{mem: s.mem, h: s.h, base: s.base, geometry: s.geometry, me: k, own: s.slice(k)}
			if s.h.used.Or(1<<k)>>k&1 == 0 {
				*v.own = slice{}
			}
			return v
		}
	}
	return nil
}

// LinkLate makes r the first chunk of a fifo that was not written, and says only
// then that it is linked.
func (f *Fifo) LinkLate(s *Segment, r Ref) {
	f.h.first.Store(uint32(r))
	sched.Point("twin: link made, before linked")
	s.linked(r, f.ref)
}

// First is the fifo's first chunk.
func (f *Fifo) First() Ref { return Ref(f.h.first.Load()) }

// PostLookFirst is a Post that looks who sleeps before it publishes.
func (q *Queue) PostLookFirst(producer int, ev Event) bool {
	l, err := q.lane(producer)
	if err != nil || l.prod.tail-atomic.LoadUint32(&l.head) >= q.len {
		return false
	}
	asleep := q.h.asleep.Load()&onFutex != 0
	sched.Point("twin: between the look who sleeps and the event")
	tail := l.prod.tail
	s := l.slot(tail & (q.len - 1))
	s.arg = ev.Arg
	hw.StoreRel64(&s.word, uint64(tail+1)<<32|uint64(ev.Kind))
	l.prod.tail = tail + 1
	if asleep {
		q.Wake()
	}
	return true
}

// PostWordFirst is a Post that publishes before the slot is whole.
func (q *Queue) PostWordFirst(producer int, ev Event) bool {
	l, err := q.lane(producer)
	if err != nil || l.prod.tail-atomic.LoadUint32(&l.head) >= q.len {
		return false
	}
	tail := l.prod.tail
	s := l.slot(tail & (q.len - 1))
	hw.StoreRel64(&s.word, uint64(tail+1)<<32|uint64(ev.Kind))
	sched.Point("twin: between word and slot")
	s.arg = ev.Arg
	l.prod.tail = tail + 1
	if q.h.asleep.Load()&onFutex != 0 {
		q.Wake()
	}
	return true
}

// PostWakeTwice is a Post that clears the word and wakes in two steps.
func (q *Queue) PostWakeTwice(producer int, ev Event) bool {
	if q.h.asleep.Load()&onFutex == 0 {
		return q.Post(producer, ev)
	}
	l, err := q.lane(producer)
	if err != nil {
		return false
	}
	tail := l.prod.tail
	s := l.slot(tail & (q.len - 1))
	s.arg = ev.Arg
	hw.StoreRel64(&s.word, uint64(tail+1)<<32|uint64(ev.Kind))
	l.prod.tail = tail + 1
	if w := q.h.asleep.Load(); w&onFutex != 0 && q.h.asleep.CompareAndSwap(w, w&^onFutex) {
		sched.FutexWake("twin: wake", futex(&q.h.asleep), 1)
	}
	return true
}

// DrainLookFirst is a Drain of one lane that looks who waits for room before it
// frees it.
func (q *Queue) DrainLookFirst(producer int, evs []Event) int {
	l, err := q.known(producer)
	if l == nil || err != nil {
		return 0
	}
	head := l.head
	n := 0
	for n < len(evs) && q.there(l, head) != nil {
		s := q.there(l, head)
		evs[n] = Event{Kind: uint32(s.word), Arg: s.arg}
		n++
		head++
	}
	if n == 0 {
		return 0
	}
	waits := l.waiting.Load() != 0
	sched.Point("twin: between the look who waits and head")
	hw.StoreRel32(&l.head, head)
	if waits {
		wakeProducer(l)
	}
	return n
}

// LaneBackwards makes a producer's lane known before the count of lanes covers
// it.
func (q *Queue) LaneBackwards(producer int) {
	r := q.seg.alloc(q.class)
	q.prepare(r, producer)
	q.seg.linked(r, q.ref)
	q.h.lanes[producer].Store(uint32(r))
	sched.Point("twin: between a lane's place and the count of lanes")
	q.raise(uint32(producer) + 1)
}

// ArmEventfdBlind is ArmEventfd without the look.
func (q *Queue) ArmEventfdBlind() {
	w := waiter{word: &q.h.asleep, arms: &q.h.cons.arms, bits: onEventfd}
	w.arm()
}

// Posted is how many events a producer has posted, one that began at position 0.
func (q *Queue) Posted(producer int) int {
	l, _ := q.known(producer)
	if l == nil {
		return 0
	}
	return int(l.prod.tail)
}

// HasLane reports whether a producer has one.
func (q *Queue) HasLane(producer int) bool { return q.h.lanes[producer].Load() != 0 }

// ClaimRun takes a run of two blocks out of fresh memory and leaves it raw.
func (s *Segment) ClaimRun(class uint32) { s.claimRun(class, 2) }
