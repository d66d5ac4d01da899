package fifo

import (
	"fmt"
	"sync/atomic"

	"vlsbench/hw"
	"vlsbench/sched"
)

const (
	// MinSize and MaxSize bound a fifo's capacity, in bytes.
	MinSize = 1
	MaxSize = 1 << 30
)

// Order is how an end publishes its index. From 2 on it is a number of
// operations: one release store for so many, see [Batched].
type Order uint32

const (
	// Release is a release store: a plain store on amd64. The default.
	Release Order = iota
	// SeqCst is a sequentially consistent store, which on amd64 drains the
	// store buffer on every publication. It is what makes the flags sound
	// where membarrier is refused, and stands in the benchmarks for its price.
	SeqCst
)

// Batched publishes once in n operations of an end, n at least 2, and whenever
// the end finds nothing more to do. What is not published yet the other end
// does not see: whoever stops before that calls [Fifo.Flush].
func Batched(n int) Order { return Order(max(n, 2)) }

func (o Order) String() string {
	switch o {
	case Release:
		return "release"
	case SeqCst:
		return "seqcst"
	}
	return fmt.Sprintf("batched=%d", uint32(o))
}

// header is a fifo in shared memory. Line by line: what both ends read and
// seldom write; then per end what it publishes and what it keeps to itself.
type header struct {
	magic  uint32        // fifoMagic
	size   atomic.Uint32 // capacity in bytes; the producer's to change
	event  atomic.Uint32 // 1: the consumer knows, or need not be told
	status atomic.Uint32 // of the user of the fifo, not the fifo's
	first  atomic.Uint32 // Ref of the first chunk there was; the producer's
	stream atomic.Uint32 // 1: the consumer finds that pauses pay
	cpu    atomic.Uint32 // processor that the consumer was on at its last step
	_      uint32
	want   atomic.Uint64 // what the producer wants to be told of, see WantNotify
	subs   atomic.Uint64 // subscribers, a byte each, its number plus one
	_      [Line - 48]byte

	tail uint32 // published by the producer: first position not yet written
	_    [Line - 4]byte
	prod producer
	_    [Line - 64]byte

	head uint32 // published by the consumer: first position not yet read
	_    [Line - 4]byte
	cons consumer
	_    [Line - 80]byte
}

// producer is what the producer keeps for itself. Places are offsets in the
// segment, in bytes; a place less delta is a position, so that a message
// costs one store here and not one for each.
type producer struct {
	at     uint64 // place of the next byte
	end    uint64 // up to where it may write without a closer look
	stop   uint64 // end of the chunk at the tail
	delta  uint64
	chunk  Ref    // at the tail; 0 before the first
	head   uint32 // the consumer's, as seen last
	ahead  uint32 // operations not published yet, of a batch
	ooo    Ref    // block of the out-of-order segments, 0: none
	nooo   uint32 // how many there are
	newest uint32 // which of them was written last, plus one
	// pending is a block that is being linked or given back.
	pending Ref
	_       [4]byte
}

// consumer is what the consumer keeps for itself, as the producer does.
type consumer struct {
	at      uint64
	end     uint64
	stop    uint64
	delta   uint64
	chunk   Ref    // at the head; 0 before the first
	tail    uint32 // the producer's, as seen last
	ahead   uint32
	leaving Ref // a chunk that is being given back
	pat     patience
	_       [4]byte
}

const fifoMagic = 0x6f666966 // "fifo"

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
	f := Open(s, r, ord)
	*f.h = header{magic: fifoMagic}
	f.h.size.Store(uint32(size))
	f.h.event.Store(1)
	f.h.cons.pat.rest(minRest, 0)
	s.linked(r, r)
	return f, nil
}

// Open is another view of the fifo at r, which this process knows to be one. See
// [OpenProducer] and [OpenConsumer] for one that it was told of.
func Open(s *Segment, r Ref, ord Order) Fifo {
	return Fifo{base: s.at(0), h: s.header(r), seg: s, ref: r, ord: ord}
}

// Ref is where the fifo lies in its segment.
func (f *Fifo) Ref() Ref { return f.ref }

// Valid reports whether f is a fifo and not the zero value.
func (f *Fifo) Valid() bool { return f.h != nil }

// Free gives the fifo and its chunks back, those too that an end which died was
// about to give back. Neither end may be in use.
func (f *Fifo) Free() {
	f.freeChunks()
	f.h.magic = 0
	f.seg.release(f.ref)
	*f = Fifo{}
}

// Enqueue writes what fits of p and returns how many bytes became readable,
// which are more than len(p) if they close a gap before out-of-order data.
// ErrFull: nothing fits. ErrGrow: nothing could be written for want of a chunk.
// Producer.
func (f *Fifo) Enqueue(p []byte) (int, error) { return f.enqueue(addressOf(p), uint64(len(p))) }

// enqueue takes the message by its address: a slice has its pointer stored on
// the stack, and the store buffer's entries are what bounds a stream.
func (f *Fifo) enqueue(p address, n uint64) (int, error) {
	e := &f.h.prod
	at := e.at
	if n > e.end-at {
		return f.enqueueSlow(bytesAt(p, n))
	}
	f.copyIn(at, p, n)
	e = &f.h.prod
	at = e.at + n
	e.at = at
	if f.ord == Release {
		if sched.Enabled {
			sched.Point("fifo: between bytes and tail")
		}
		hw.StoreRel32(&f.h.tail, uint32(at-e.delta))
	} else {
		f.publishTail()
	}
	return int(n), nil
}

// Dequeue reads and frees what is there, at most len(p). ErrEmpty: nothing is.
// Consumer.
func (f *Fifo) Dequeue(p []byte) (int, error) { return f.dequeue(addressOf(p), uint64(len(p))) }

func (f *Fifo) dequeue(p address, n uint64) (int, error) {
	e := &f.h.cons
	at := e.at
	if n > e.end-at {
		// Whoever keeps up comes here every time. A tail that no producer can
		// have written leads no further than the chunk's end.
		tail := atomic.LoadUint32(&f.h.tail)
		if sched.Enabled {
			sched.Point("fifo: after the look at the tail")
		}
		if tail == e.tail || e.end == e.stop || e.pat.left <= 1 {
			return f.dequeueSlow(bytesAt(p, n))
		}
		e.pat.left--
		e.tail = tail
		e.end = min(e.stop, at+uint64(tail-uint32(at-e.delta)))
		if n > e.end-at {
			return f.dequeueSlow(bytesAt(p, n))
		}
	}
	f.copyOut(p, at, n)
	e = &f.h.cons
	at = e.at + n
	e.at = at
	if f.ord == Release {
		if sched.Enabled {
			sched.Point("fifo: between bytes and head")
		}
		hw.StoreRel32(&f.h.head, uint32(at-e.delta))
	} else {
		f.publishHead()
	}
	return int(n), nil
}

// written is the position of the tail, published or not. Producer.
func (f *Fifo) written() uint32 { return uint32(f.h.prod.at - f.h.prod.delta) }

// read is the position of the head, published or not. Consumer.
func (f *Fifo) read() uint32 { return uint32(f.h.cons.at - f.h.cons.delta) }

// publishTail publishes the tail in the fifo's order. Producer.
func (f *Fifo) publishTail() {
	if sched.Enabled {
		sched.Point("fifo: between bytes and tail")
	}
	e := &f.h.prod
	switch f.ord {
	case Release:
	case SeqCst:
		atomic.StoreUint32(&f.h.tail, f.written())
		return
	default:
		if e.ahead++; e.ahead < uint32(f.ord) {
			return
		}
		e.ahead = 0
	}
	hw.StoreRel32(&f.h.tail, f.written())
}

// publishHead publishes the head in the fifo's order. Consumer.
func (f *Fifo) publishHead() {
	if sched.Enabled {
		sched.Point("fifo: between bytes and head")
	}
	e := &f.h.cons
	switch f.ord {
	case Release:
	case SeqCst:
		atomic.StoreUint32(&f.h.head, f.read())
		return
	default:
		if e.ahead++; e.ahead < uint32(f.ord) {
			return
		}
		e.ahead = 0
	}
	hw.StoreRel32(&f.h.head, f.read())
}

// Flush publishes what was written and not published yet, of a batch. Producer.
func (f *Fifo) Flush() {
	if e := &f.h.prod; e.ahead != 0 {
		e.ahead = 0
		if sched.Enabled {
			sched.Point("fifo: before the tail is flushed")
		}
		hw.StoreRel32(&f.h.tail, f.written())
	}
}

// flushHead is Flush of the consumer, which needs none from outside: it
// publishes when it finds nothing more to read.
func (f *Fifo) flushHead() {
	if e := &f.h.cons; e.ahead != 0 {
		e.ahead = 0
		if sched.Enabled {
			sched.Point("fifo: before the head is flushed")
		}
		hw.StoreRel32(&f.h.head, f.read())
	}
}

// free is the room there is, from a fresh look at the head. A head that no
// consumer can have published leaves no room. Producer.
func (f *Fifo) free() uint32 {
	e := &f.h.prod
	size := f.h.size.Load()
	head := atomic.LoadUint32(&f.h.head)
	if sched.Enabled {
		sched.Point("fifo: after the look at the head")
	}
	used := f.written() - head
	if used > size {
		return 0
	}
	e.head = head
	return size - used
}

// limit sets the end up to which Enqueue writes without a closer look. Producer.
func (f *Fifo) limit() {
	e := &f.h.prod
	e.end = e.at
	if e.nooo == 0 {
		e.end = min(e.stop, e.at+uint64(f.h.size.Load()-(f.written()-e.head)))
	}
}

// enqueueSlow writes p where it may not fit, spans chunks, or meets
// out-of-order data.
func (f *Fifo) enqueueSlow(p []byte) (int, error) {
	n := min(uint64(len(p)), uint64(f.free()))
	if n == 0 && len(p) > 0 {
		f.Flush()
		return 0, ErrFull
	}
	before := f.written()
	done := f.fill(p[:n], len(p))
	if done == 0 && len(p) > 0 {
		f.Flush()
		return 0, ErrGrow
	}
	f.collect()
	f.limit()
	f.publishTail()
	return int(f.written() - before), nil
}

// fill writes p, for which there is room, over chunks. It stops where there is
// no chunk to be had, and returns what was written, which is not published.
func (f *Fifo) fill(p []byte, message int) int {
	e := &f.h.prod
	done := 0
	for done < len(p) {
		if e.at == e.stop && !f.stepTail(message) {
			break
		}
		n := min(int(e.stop-e.at), len(p)-done)
		f.copyIn(e.at, addressOf(p[done:]), uint64(n))
		e.at += uint64(n)
		done += n
	}
	return done
}

// look looks at the producer's index and sets the end up to which Dequeue reads
// without a closer look. Consumer.
func (f *Fifo) look() {
	e := &f.h.cons
	if e.pat.paused != 0 {
		e.pat.pause()
	}
	tail := atomic.LoadUint32(&f.h.tail)
	if sched.Enabled {
		sched.Point("fifo: after the look at the tail")
	}
	if tail == e.tail {
		f.lookedInVain()
		return
	}
	there := tail - f.read()
	if there > f.h.size.Load() {
		return // no producer can have written that
	}
	if e.pat.count(); e.pat.over() {
		f.h.turn(tail)
	}
	e.tail = tail
	e.end = min(e.stop, e.at+uint64(there))
}

// turn ends a phase of the consumer's patience.
func (h *header) turn(tail uint32) {
	if h.cons.pat.turn(tail) {
		h.stream.Store(1)
	} else if h.cons.pat.phase == resting && h.stream.Load() != 0 {
		h.stream.Store(0)
	}
}

// lookedInVain is a look that found nothing new. Consumer.
func (f *Fifo) lookedInVain() {
	e := &f.h.cons
	if e.pat.vain++; e.pat.paused != 0 {
		e.pat.rest(minRest, e.tail)
		f.h.stream.Store(0)
	}
	f.flushHead()
}

// dequeueSlow reads what is there, over chunks.
func (f *Fifo) dequeueSlow(p []byte) (int, error) {
	e := &f.h.cons
	n := min(len(p), f.there(len(p)))
	if n == 0 {
		if atomic.LoadUint32(&f.h.tail)-f.read() > f.h.size.Load() {
			return 0, ErrCorrupt
		}
		return 0, ErrEmpty
	}
	done := 0
	for done < n {
		if e.at == e.stop && !f.stepHead() {
			break
		}
		k := min(int(e.stop-e.at), n-done)
		f.copyOut(addressOf(p[done:]), e.at, uint64(k))
		e.at += uint64(k)
		done += k
	}
	if done == 0 {
		return 0, ErrCorrupt
	}
	f.believe()
	f.publishHead()
	return done, nil
}

// believe sets the end up to which Dequeue reads without a closer look, by the
// tail that was seen last. Consumer.
func (f *Fifo) believe() {
	e := &f.h.cons
	e.end = min(e.stop, e.at+uint64(e.tail-f.read()))
}

// Size is the capacity in bytes. Anyone.
func (f *Fifo) Size() int { return int(f.h.size.Load()) }

// SetSize changes the capacity to n bytes, or to what is in use if that is
// more, and returns it. No data is lost. Producer.
func (f *Fifo) SetSize(n int) (int, error) {
	if n < MinSize || n > MaxSize {
		return f.Size(), fmt.Errorf("fifo: size %d: want %d to %d", n, MinSize, MaxSize)
	}
	f.free()
	used := f.written() + f.oooEnd() - f.h.prod.head
	sched.Point("fifo: before the size changes")
	f.h.size.Store(max(uint32(n), used))
	f.limit()
	return f.Size(), nil
}

// MaxDequeue is the number of bytes that can be read now. Anyone; for others
// than the consumer it is a moment's truth. It counts what is published: a
// consumer in the middle of a batch has read some of them already.
func (f *Fifo) MaxDequeue() int {
	// The head may have moved on before the tail is read; not by more than size.
	head := atomic.LoadUint32(&f.h.head)
	if sched.Enabled {
		sched.Point("fifo: between a look at the head and one at the tail")
	}
	return int(min(atomic.LoadUint32(&f.h.tail)-head, f.h.size.Load()))
}

// MaxEnqueue is the number of bytes that can be written now, if the segment has
// chunks. Anyone; for others than the producer it is a moment's truth.
func (f *Fifo) MaxEnqueue() int {
	head := atomic.LoadUint32(&f.h.head)
	if sched.Enabled {
		sched.Point("fifo: between a look at the head and one at the tail")
	}
	used := atomic.LoadUint32(&f.h.tail) - head
	size := f.h.size.Load()
	return int(size) - int(min(used, size))
}

// Tail and Head are the published positions. Anyone.
func (f *Fifo) Tail() uint32 { return atomic.LoadUint32(&f.h.tail) }

// Head is the first position that was not read yet. Anyone.
func (f *Fifo) Head() uint32 { return atomic.LoadUint32(&f.h.head) }
