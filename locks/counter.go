package locks

import (
	"sync/atomic"

	"vlsbench/hw"
)

// Stat is what was counted of one class of locks. Times are in [hw.Cycles], of
// all threads together.
type Stat struct {
	Class        string `json:"class"` // P, S, MQ, SP, …
	Acquisitions uint64 `json:"acquisitions"`
	Shared       uint64 `json:"shared,omitempty"` // of them, by readers
	Contended    uint64 `json:"contended"`        // of them, not got at the first try
	// Wait is from the first try that failed until it was got, which those not
	// contended have nothing of. Hold is from there until it was given back.
	// Both are 0 unless asked for by NewTimer.
	Wait uint64 `json:"wait_cycles,omitempty"`
	Hold uint64 `json:"hold_cycles,omitempty"`
	// Held is how many are held now, HeldShared how many of them by readers.
	Held       int64 `json:"held,omitempty"`
	HeldShared int64 `json:"held_shared,omitempty"`
	RW         bool  `json:"rw,omitempty"` // some are readers-writer locks
}

// Counter counts what happens to one class of locks, of which there may be
// many. It costs some atomic adds per acquisition on lines that all threads
// share, so it has no place in a timed run: what is not counted is not wrapped,
// and pays nothing. [NewCounter] and [NewTimer] make one.
type Counter struct {
	class        string
	timed        bool
	rw           atomic.Bool
	_            [hw.FalseSharing - 24]byte
	acquisitions count
	shared       count
	contended    count
	wait         count
	hold         count // sum of the times given back, less those of the times got
	given        count
	givenShared  count
}

type count struct {
	atomic.Uint64
	_ [hw.FalseSharing - 8]byte
}

// NewCounter makes the counter of a class.
func NewCounter(class string) *Counter { return &Counter{class: class} }

// NewTimer makes one that takes times, too, at the price of two more atomic adds
// and readings of the clock per acquisition. They are part of the times: a hold
// that does nothing takes some tens of cycles.
func NewTimer(class string) *Counter { return &Counter{class: class, timed: true} }

// Stat is what was counted so far: exact once all threads that use the locks
// are quiet and hold none. While one is held, Hold may be anything.
func (c *Counter) Stat() Stat {
	// First, so that at no time more was given back than taken.
	givenShared, given := c.givenShared.Load(), c.given.Load()
	shared, acquisitions := c.shared.Load(), c.acquisitions.Load()
	return Stat{
		Class:        c.class,
		Acquisitions: acquisitions,
		Shared:       shared,
		Contended:    c.contended.Load(),
		Wait:         c.wait.Load(),
		// Clocks of two CPUs may differ by some cycles, the wrong way round.
		Hold:       uint64(max(int64(c.hold.Load()), 0)),
		Held:       int64(acquisitions - given),
		HeldShared: int64(shared - givenShared),
		RW:         c.rw.Load(),
	}
}

// contend and waited are the ends of a wait.
func (c *Counter) contend() (start uint64) {
	c.contended.Add(1)
	if c.timed {
		start = hw.Cycles()
	}
	return start
}

func (c *Counter) waited(start uint64) {
	if c.timed {
		c.wait.Add(hw.Cycles() - start)
	}
}

// got and gives are the ends of a hold. Readers' holds overlap, which the sum
// does not mind.
func (c *Counter) got() {
	c.acquisitions.Add(1)
	if c.timed {
		c.hold.Add(-hw.Cycles())
	}
}

func (c *Counter) gives() {
	c.given.Add(1)
	if c.timed {
		c.hold.Add(hw.Cycles())
	}
}

// Counted is l with every acquisition counted on c: as contended if a first
// TryLock failed. A TryLock that failed acquires nothing and is not counted.
func Counted(l Lock, c *Counter) Lock { return &counted{l, c} }

// CountedRW is [Counted] for a readers-writer lock. A reader is contended if it
// met a writer, be it that the writer was only waiting; readers do not contend
// with each other.
func CountedRW(l RW, c *Counter) RW {
	c.rw.Store(true)
	return &countedRW{counted{l, c}, l}
}

type counted struct {
	l Lock
	c *Counter
}

func (l *counted) Lock() {
	if !l.l.TryLock() {
		start := l.c.contend()
		l.l.Lock()
		l.c.waited(start)
	}
	l.c.got()
}

func (l *counted) TryLock() bool {
	if !l.l.TryLock() {
		return false
	}
	l.c.got()
	return true
}

func (l *counted) Unlock() {
	l.c.gives()
	l.l.Unlock()
}

type countedRW struct {
	counted
	rw RW
}

func (l *countedRW) RLock(slot int) {
	if !l.rw.TryRLock(slot) {
		start := l.c.contend()
		l.rw.RLock(slot)
		l.c.waited(start)
	}
	l.c.shared.Add(1)
	l.c.got()
}

func (l *countedRW) TryRLock(slot int) bool {
	if !l.rw.TryRLock(slot) {
		return false
	}
	l.c.shared.Add(1)
	l.c.got()
	return true
}

func (l *countedRW) RUnlock(slot int) {
	l.c.givenShared.Add(1)
	l.c.gives()
	l.rw.RUnlock(slot)
}
