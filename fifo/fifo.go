package fifo

import (
	"fmt"
	"sync/atomic"

	"vlsbench/hw"
)

const (
	// MinSize and MaxSize bound a fifo's capacity, in bytes.
	MinSize = 1
	MaxSize = 1 << 30
)

// Order is how an end publishes its index.
type Order uint8

const (
	// Release is a release store: a plain store on amd64. The default.
	Release Order = iota
	// SeqCst is a sequentially consistent store, which on amd64 drains the
	// store buffer on every publication. It is what makes the flags sound
	// where membarrier is refused, and stands in the benchmarks for its price.
	SeqCst
)

// header is a fifo in shared memory. Line by line: what both ends read and
// seldom write; then per end what it publishes and what it keeps to itself.
type header struct {
	size   uint32        // capacity in bytes, immutable
	event  atomic.Uint32 // 1: the consumer knows, or need not be told
	wanted atomic.Uint32 // bytes of space that the producer wants to be told of; 0: none
	status atomic.Uint32 // of the user of the fifo, not the fifo's
	first  atomic.Uint32 // Ref of the first chunk, written once by the producer
	stream atomic.Uint32 // 1: the consumer finds that pauses pay
	_      [Line - 24]byte

	tail uint32 // published by the producer: first position not yet written
	_    [Line - 4]byte

	prod struct {
		tail   uint32 // as published
		head   uint32 // the consumer's, as seen last
		size   uint32 // as header.size
		chunk  Ref    // that tail lies in; 0 before the first
		start  uint32 // its first position
		len    uint32 // its payload
		oldest Ref    // of the chain: next to be taken again
		owned  uint32 // payload of the whole chain
		_      [Line - 32]byte
	}

	head uint32 // published by the consumer: first position not yet read
	_    [Line - 4]byte

	cons struct {
		head  uint32 // as published
		tail  uint32 // the producer's, as seen last
		chunk Ref
		start uint32
		len   uint32
		pat   patience
		_     [Line - 20 - 24]byte
	}
}

// Fifo is one end's, or an onlooker's, view of a byte fifo in a segment. One
// thread at a time may use the producer's methods, one at a time the
// consumer's; both at once is what it is for. Methods that say "anyone" need no
// end at all. The zero Fifo is not usable.
//
// Positions are 32 bits and wrap; the whole capacity is usable. Modelled on
// VPP's svm_fifo_t.
type Fifo struct {
	base address
	h    *header
	seg  *Segment
	ref  Ref
	ord  Order
}

// New makes a fifo of size bytes. It owns no chunk before the first byte is
// written. ErrGrow: the segment is exhausted.
func New(s *Segment, size int, ord Order) (Fifo, error) {
	if size < MinSize || size > MaxSize {
		return Fifo{}, fmt.Errorf("fifo: size %d: want %d to %d", size, MinSize, MaxSize)
	}
	r := s.allocNear(0, false)
	if r == 0 {
		return Fifo{}, ErrGrow
	}
	s.linked(r, r)
	f := Open(s, r, ord)
	*f.h = header{size: uint32(size)}
	f.h.prod.size = uint32(size)
	f.h.event.Store(1)
	f.h.cons.pat.rest(minRest)
	return f, nil
}

// Open is another view of the fifo at r.
func Open(s *Segment, r Ref, ord Order) Fifo {
	return Fifo{base: s.at(0), h: s.header(r), seg: s, ref: r, ord: ord}
}

// Ref is where the fifo lies in its segment.
func (f *Fifo) Ref() Ref { return f.ref }

// Valid reports whether f is a fifo and not the zero value.
func (f *Fifo) Valid() bool { return f.h != nil }

// Free gives the fifo and its chunks back. Neither end may be in use.
func (f *Fifo) Free() {
	for r := f.h.prod.oldest; r != 0; {
		next := Ref(0)
		if r != f.h.prod.chunk {
			next = Ref(f.seg.block(r).next.Load())
		}
		f.seg.release(r)
		r = next
	}
	f.seg.release(f.ref)
	*f = Fifo{}
}

// publish is the release of an index.
func (f *Fifo) publish(p *uint32, v uint32) {
	if f.ord == Release {
		hw.StoreRel32(p, v)
	} else {
		atomic.StoreUint32(p, v)
	}
}

// Enqueue writes what fits of p and returns the count. ErrFull: nothing fits.
// ErrGrow: nothing could be written for want of a chunk. Producer.
func (f *Fifo) Enqueue(p []byte) (int, error) {
	e := &f.h.prod
	n := uint(len(p))
	if free := uint(e.size - (e.tail - e.head)); n > free {
		e.head = atomic.LoadUint32(&f.h.head)
		if free = uint(e.size - (e.tail - e.head)); n > free {
			if n = free; n == 0 {
				return 0, ErrFull
			}
		}
	}
	off := e.tail - e.start
	if uint(off)+n > uint(e.len) {
		return f.enqueueChunks(p[:n])
	}
	copy(data(f.base, e.chunk, off, uint32(n)), p)
	e.tail += uint32(n)
	f.publish(&f.h.tail, e.tail)
	return int(n), nil
}

// enqueueChunks writes p, for which there is room, over several chunks.
func (f *Fifo) enqueueChunks(p []byte) (int, error) {
	e := &f.h.prod
	done := 0
	for done < len(p) {
		off := e.tail - e.start
		if off == e.len {
			if !f.grow() {
				break
			}
			off = 0
		}
		n := min(e.len-off, uint32(len(p)-done))
		copy(data(f.base, e.chunk, off, n), p[done:])
		e.tail += n
		done += int(n)
	}
	if done == 0 && len(p) > 0 {
		return 0, ErrGrow
	}
	f.publish(&f.h.tail, e.tail)
	return done, nil
}

// streamSize is the capacity from which a fifo that carries a stream uses all
// of its memory in turn, rather than the same few chunks. Lines that both
// cores' second-level caches still hold are dear to write again, a third of a
// line round trip each; once the memory in use is well beyond such a cache they
// cost less than a tenth (see the package's figures). Where the consumer keeps up, few
// chunks that stay in the first level are best, and are used.
const streamSize = 1 << 20

// grow links a chunk at the tail: the oldest of the fifo's own if the consumer
// has left it, else one from the segment. Producer.
func (f *Fifo) grow() bool {
	e := &f.h.prod
	r := f.spare()
	if r == 0 || e.size >= streamSize && e.owned < e.size && f.streams() {
		// Nothing to take again, or a stream, which goes on into fresh memory,
		// in longer chunks, up to a quarter of the whole.
		class := firstClass
		if e.chunk != 0 {
			class = min(f.seg.block(e.chunk).class+1, max(classFor(e.size/4), firstClass))
		}
		if fresh := f.seg.allocNear(min(class, classFor(e.size)), false); fresh != 0 {
			f.seg.linked(fresh, f.ref)
			f.link(fresh)
			e.owned += e.len
			return true
		}
		if r == 0 {
			return false
		}
	}
	if r != e.chunk {
		e.oldest = Ref(f.seg.block(r).next.Load())
	}
	f.link(r)
	return true
}

// streams reports whether the fifo carries a stream between cores: by what the
// consumer has found out, or because it lags.
func (f *Fifo) streams() bool {
	e := &f.h.prod
	return f.h.stream.Load() != 0 || e.tail-atomic.LoadUint32(&f.h.head) > e.len/2
}

// link makes r the chunk at the tail.
func (f *Fifo) link(r Ref) {
	e := &f.h.prod
	b := f.seg.block(r)
	b.start = e.tail
	switch e.chunk {
	case 0:
		b.next.Store(0)
		e.oldest = r
		f.h.first.Store(uint32(r))
	case r:
		// The consumer, at its end, sees that it has begun anew.
	default:
		b.next.Store(0)
		f.seg.block(e.chunk).next.Store(uint32(r))
	}
	e.chunk, e.start, e.len = r, e.tail, classSize(b.class)
}

// spare is the oldest chunk if the consumer has left it, 0 if not.
func (f *Fifo) spare() Ref {
	e := &f.h.prod
	r := e.oldest
	if r == 0 || f.left(r) {
		return r
	}
	e.head = atomic.LoadUint32(&f.h.head)
	if f.left(r) {
		return r
	}
	return 0
}

// left reports whether chunk r, the oldest, can be written again, by the head
// that the producer saw last. Its end alone is not enough: the consumer steps
// on, through the chunk's own link, only when it reads the next byte. The only
// chunk, when it is full and all of it was read, can follow itself.
func (f *Fifo) left(r Ref) bool {
	e := &f.h.prod
	if r == e.chunk {
		return e.head == e.tail
	}
	b := f.seg.block(r)
	return int32(e.head-(b.start+classSize(b.class))) > 0
}

// Dequeue reads and frees what is there, at most len(p). ErrEmpty: nothing is.
// Consumer.
func (f *Fifo) Dequeue(p []byte) (int, error) {
	e := &f.h.cons
	n := uint(len(p))
	if avail := uint(e.tail - e.head); n > avail {
		f.reload()
		if avail = uint(e.tail - e.head); n > avail {
			if n = avail; n == 0 {
				return 0, ErrEmpty
			}
		}
	}
	off := e.head - e.start
	if uint(off)+n > uint(e.len) {
		return f.dequeueChunks(p[:n])
	}
	copy(p, data(f.base, e.chunk, off, uint32(n)))
	e.head += uint32(n)
	f.publish(&f.h.head, e.head)
	return int(n), nil
}

// patience is how a consumer keeps from chasing its producer. To load the
// producer's index takes the line away from it, so that its next store waits
// for half a round trip, and meanwhile the core's store buffer fills up: a
// consumer that looks whenever it has read everything gets a few messages each
// time, and slows the producer down to that. If it pauses before each look
// instead, the producer runs at full speed meanwhile.
//
// Whether that pays is found out by trial: the bytes that some looks bring
// without pauses, then with. Pauses are kept where they bring many times as
// much, for a while, until the next trial. A look that finds nothing ends them
// at once, and a trial that fails makes the next one rarer, down to one in
// 65536 looks, so that a consumer that answers, or waits for a slow producer,
// is not held up.
type patience struct {
	phase   patiencePhase
	pauses  uint32 // before each look
	left    uint32 // looks until the phase ends
	got     uint32 // bytes in this phase
	without uint32 // bytes that a trial's looks without pauses brought
	backoff uint32 // looks between trials that fail
}

type patiencePhase uint32

const (
	resting patiencePhase = iota
	looking               // a trial, without pauses
	trying                // a trial, with pauses
	keeping
)

const (
	pauses    = 32  // about a microsecond, or some line round trips
	trialLen  = 8   // looks in each half of a trial
	keepLen   = 256 // looks until pauses are put to trial again
	minRest   = 64
	maxRest   = 64 << 10
	trialGain = 3              // times the bytes of the same looks without
	trialMin  = trialLen * 512 // bytes; less is no stream
)

func (p *patience) rest(looks uint32) {
	*p = patience{phase: resting, left: looks, backoff: looks}
}

// saw notes that a look brought n bytes.
func (p *patience) saw(n uint32) {
	if n == 0 {
		if p.pauses != 0 {
			p.rest(minRest)
		}
		return
	}
	p.got += n
	if p.left--; p.left > 0 {
		return
	}
	got := p.got
	p.got, p.left = 0, trialLen
	switch p.phase {
	case resting, keeping:
		p.phase, p.pauses = looking, 0
	case looking:
		p.phase, p.pauses, p.without = trying, pauses, got
	case trying:
		if got >= trialMin && got/trialGain >= p.without {
			p.phase, p.left, p.backoff = keeping, keepLen, minRest
		} else {
			p.rest(min(2*p.backoff, maxRest))
		}
	}
}

// reload looks at the producer's index.
func (f *Fifo) reload() {
	e := &f.h.cons
	for range e.pat.pauses {
		hw.Pause()
	}
	tail := atomic.LoadUint32(&f.h.tail)
	before := e.pat.phase
	e.pat.saw(tail - e.tail)
	e.tail = tail
	if after := e.pat.phase; after != before {
		switch after {
		case keeping:
			f.h.stream.Store(1)
		case resting:
			f.h.stream.Store(0)
		}
	}
}

// dequeueChunks reads len(p) bytes, which are there, over several chunks.
func (f *Fifo) dequeueChunks(p []byte) (int, error) {
	e := &f.h.cons
	for done := 0; done < len(p); {
		off := e.head - e.start
		if off == e.len {
			r := e.chunk
			if r == 0 {
				r = Ref(f.h.first.Load())
			} else if old := f.seg.block(r); old.start == e.start {
				r = Ref(old.next.Load())
			}
			b := f.seg.block(r)
			e.chunk, e.start, e.len = r, b.start, classSize(b.class)
			off = e.head - e.start
		}
		n := min(e.len-off, uint32(len(p)-done))
		copy(p[done:], data(f.base, e.chunk, off, n))
		e.head += n
		done += int(n)
	}
	f.publish(&f.h.head, e.head)
	return len(p), nil
}

// Size is the capacity in bytes. Anyone.
func (f *Fifo) Size() int { return int(f.h.size) }

// MaxDequeue is the number of bytes that can be read now. Anyone; for others
// than the consumer it is a moment's truth.
func (f *Fifo) MaxDequeue() int {
	// The head may have moved on before the tail is read; not by more than size.
	head := atomic.LoadUint32(&f.h.head)
	return int(min(atomic.LoadUint32(&f.h.tail)-head, f.h.size))
}

// MaxEnqueue is the number of bytes that can be written now, if the segment has
// chunks. Anyone; for others than the producer it is a moment's truth.
func (f *Fifo) MaxEnqueue() int {
	head := atomic.LoadUint32(&f.h.head)
	used := atomic.LoadUint32(&f.h.tail) - head
	return int(f.h.size) - int(min(used, f.h.size))
}

// Tail and Head are the published positions. Anyone.
func (f *Fifo) Tail() uint32 { return atomic.LoadUint32(&f.h.tail) }

// Head is the first position that was not read yet. Anyone.
func (f *Fifo) Head() uint32 { return atomic.LoadUint32(&f.h.head) }

// The event flag. It is set in a new fifo: nobody waits. A consumer that is
// about to sleep unsets it, orders that against its next load with
// [hw.HeavyFence], and looks again; a producer that finds it unset after it
// published sets it and tells the consumer.

// HasEvent reports whether the flag is set. Anyone.
func (f *Fifo) HasEvent() bool { return f.h.event.Load() != 0 }

// SetEvent sets the flag and returns true only to the one who changed it.
func (f *Fifo) SetEvent() bool {
	return f.h.event.Load() == 0 && f.h.event.CompareAndSwap(0, 1)
}

// UnsetEvent clears the flag. Consumer.
func (f *Fifo) UnsetEvent() { f.h.event.Store(0) }

// The dequeue notification, the same the other way round: a producer that is
// about to sleep for want of space asks for it, fences, and looks again; a
// consumer that finds it asked for after it freed some takes it, if that is
// enough, and tells.

// WantNotify asks to be told when n bytes, at least 1 and at most Size, are
// free. Where somebody asked for less already, that stands. Any thread of the
// producer's side.
func (f *Fifo) WantNotify(n int) {
	for {
		old := f.h.wanted.Load()
		if old != 0 && old <= uint32(n) || f.h.wanted.CompareAndSwap(old, uint32(n)) {
			return
		}
	}
}

// Wanted reports whether the producer asked. Anyone.
func (f *Fifo) Wanted() bool { return f.h.wanted.Load() != 0 }

// Notify takes the request if there is the space that was asked for, and
// returns true only to the one who did: the producer is to be told. Consumer.
func (f *Fifo) Notify() bool {
	for {
		n := f.h.wanted.Load()
		if n == 0 || f.MaxEnqueue() < int(n) {
			return false
		}
		// It fails if somebody asked for less meanwhile, which there is too.
		if f.h.wanted.CompareAndSwap(n, 0) {
			return true
		}
	}
}

// TakeNotify withdraws the request and returns whether it stood. Producer.
func (f *Fifo) TakeNotify() bool { return f.h.wanted.Swap(0) != 0 }

// Status is a word of the fifo's users, on the line that both ends read anyway.
// Anyone. Bits are added by OrStatus and stay.
func (f *Fifo) Status() uint32 { return f.h.status.Load() }

// OrStatus sets bits of the status and returns what it was. Anyone.
func (f *Fifo) OrStatus(bits uint32) uint32 { return f.h.status.Or(bits) }
