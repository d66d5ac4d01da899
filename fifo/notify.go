package fifo

import (
	"errors"

	"vlsbench/sched"
)

// The event flag. It is set in a new fifo: nobody waits. A consumer that is
// about to sleep unsets it, orders that against its next load with
// [hw.HeavyFence], and looks again; a producer that finds it unset after it
// published sets it and tells the consumer.

// HasEvent reports whether the flag is set. Anyone.
func (f *Fifo) HasEvent() bool {
	if sched.Enabled {
		sched.Point("fifo: before the look at the event flag")
	}
	return f.h.event.Load() != 0
}

// SetEvent sets the flag and returns true only to the one who changed it.
// Anyone.
func (f *Fifo) SetEvent() bool {
	if sched.Enabled {
		sched.Point("fifo: before the event flag is set")
	}
	return f.h.event.Load() == 0 && f.h.event.CompareAndSwap(0, 1)
}

// UnsetEvent clears the flag. Consumer.
func (f *Fifo) UnsetEvent() {
	if sched.Enabled {
		sched.Point("fifo: before the event flag is unset")
	}
	f.h.event.Store(0)
	if sched.Enabled {
		sched.Point("fifo: event flag unset")
	}
}

// The dequeue notification, the same the other way round: a producer that is
// about to sleep for want of space asks for it, fences, and looks again; a
// consumer that finds it asked for after it freed some takes it, if that is
// enough, and tells. The word want holds the bytes of space that were asked for
// once, and the conditions that stand.

// Condition is what the consumer tells the producer of each time it comes
// about, until it is withdrawn.
type Condition uint64

const (
	// NotFull: the fifo was full, and is not any more.
	NotFull Condition = 1 << (32 + iota)
	// Drained: the fifo was emptied.
	Drained

	wantSpace = 1<<32 - 1
)

// WantNotify asks to be told once when n bytes, at least 1 and at most Size,
// are free; what lies outside is taken for the nearest. Where somebody asked for
// less already, that stands. Any thread of the producer's side.
func (f *Fifo) WantNotify(n int) {
	n = min(max(n, 1), MaxSize)
	for {
		old := f.h.want.Load()
		if sched.Enabled {
			sched.Point("fifo: between want and its swap")
		}
		space := old & wantSpace
		if space != 0 && space <= uint64(n) || f.h.want.CompareAndSwap(old, old&^wantSpace|uint64(n)) {
			return
		}
	}
}

// TakeNotify withdraws what WantNotify asked and returns whether it stood.
// Producer.
func (f *Fifo) TakeNotify() bool {
	if sched.Enabled {
		sched.Point("fifo: before want is withdrawn")
	}
	return f.h.want.And(^uint64(wantSpace))&wantSpace != 0
}

// Want adds conditions to be told of. Any thread of the producer's side.
func (f *Fifo) Want(c Condition) {
	if sched.Enabled {
		sched.Point("fifo: before a condition is added")
	}
	f.h.want.Or(uint64(c &^ wantSpace))
	if sched.Enabled {
		sched.Point("fifo: condition added")
	}
}

// Unwant withdraws conditions. Any thread of the producer's side.
func (f *Fifo) Unwant(c Condition) { f.h.want.And(^uint64(c &^ wantSpace)) }

// Wanted reports whether the producer wants to be told of anything. Anyone.
func (f *Fifo) Wanted() bool {
	if sched.Enabled {
		sched.Point("fifo: before the look at want")
	}
	return f.h.want.Load() != 0
}

// Notify returns whether the producer is to be told, now that the last
// operation has freed so many bytes. What was asked for once is taken if there
// is the space, by one caller only. What a batch freed is published first: the
// producer that is told finds it. Consumer.
func (f *Fifo) Notify(freed int) bool {
	f.flushHead()
	tell := false
	for {
		w := f.h.want.Load()
		sched.Point("fifo: between want and the look at the room")
		if w == 0 {
			return false
		}
		there := f.MaxDequeue()
		size := f.Size()
		if freed > 0 {
			tell = w&uint64(NotFull) != 0 && there+freed >= size && there < size ||
				w&uint64(Drained) != 0 && there == 0
		}
		n := w & wantSpace
		if n == 0 || size-there < min(int(n), size) { // the size may have shrunk since
			return tell
		}
		sched.Point("fifo: between the room and want's swap")
		// It fails if somebody asked for less meanwhile, which there is too.
		if f.h.want.CompareAndSwap(w, w&^wantSpace) {
			return true
		}
	}
}

// Status is a word of the fifo's users, on the line that both ends read anyway.
// Anyone. Bits are added by OrStatus and stay.
func (f *Fifo) Status() uint32 { return f.h.status.Load() }

// OrStatus sets bits of the status and returns what it was. Anyone.
func (f *Fifo) OrStatus(bits uint32) uint32 { return f.h.status.Or(bits) }

// MaxSubscribers is how many subscribers a fifo can have, as in VPP.
const MaxSubscribers = 7

// ErrSubscribers: the fifo has all the subscribers it can have.
var ErrSubscribers = errors.New("fifo: seven subscribers already")

// Subscribe adds a worker, 0 to 254, to those that are to be told of events
// too; one that is there already stays so. ErrSubscribers: there is no room.
// Anyone.
func (f *Fifo) Subscribe(worker uint8) error {
	if worker == 255 {
		return errors.New("fifo: subscriber 255: want 0 to 254")
	}
	for {
		old := f.h.subs.Load()
		free := -1
		for i := range MaxSubscribers {
			switch uint8(old >> (8 * i)) {
			case worker + 1:
				return nil
			case 0:
				if free < 0 {
					free = i
				}
			}
		}
		if free < 0 {
			return ErrSubscribers
		}
		sched.Point("fifo: between the subscribers and their swap")
		if f.h.subs.CompareAndSwap(old, old|uint64(worker+1)<<(8*free)) {
			return nil
		}
	}
}

// Unsubscribe takes a worker away, and reports whether it was there. Anyone.
func (f *Fifo) Unsubscribe(worker uint8) bool {
	if worker == 255 {
		return false
	}
	for {
		old := f.h.subs.Load()
		new := old
		for i := range MaxSubscribers {
			if uint8(old>>(8*i)) == worker+1 {
				new &^= 0xff << (8 * i)
			}
		}
		if new == old {
			return false
		}
		if sched.Enabled {
			sched.Point("fifo: between the subscribers and their swap")
		}
		if f.h.subs.CompareAndSwap(old, new) {
			return true
		}
	}
}

// Subscribers fills to with the subscribers there are and returns how many.
// Anyone.
func (f *Fifo) Subscribers(to *[MaxSubscribers]uint8) int {
	n := 0
	for w := f.h.subs.Load(); w != 0; w >>= 8 {
		if s := uint8(w); s != 0 {
			to[n] = s - 1
			n++
		}
	}
	return n
}
