package core

import (
	"fmt"
	"sync/atomic"
	"syscall"
	"time"

	"vlsbench/audit"
	"vlsbench/fifo"
	"vlsbench/hw"
	"vlsbench/sched"
)

// Hooks let a strategy act inside the core. They are set when the application
// is made; one that is nil is not called. t is the calling thread; its Owner
// is whatever the strategy gave [Worker.NewThread]. s is the session that the
// operation waits for, a set among them, and nil where it waits for several, as
// Poll does, which holds none.
type Hooks struct {
	// Sleep is called before a thread waits: the strategy lets go of all that
	// it holds, and marks the thread as being outside. The core touches
	// nothing that needs exclusion until Woke, but for the worker's queue
	// between EnterMQ and LeaveMQ.
	Sleep func(t *Thread, s *Session)
	// Woke is called after the wait: the strategy takes back what the
	// operation needs, and looks its session up again. False: the session is
	// gone, and the operation ends without touching it.
	Woke func(t *Thread, s *Session) bool

	// Done is called at the end of an operation that has waited: the strategy
	// lets go of what Woke took. An operation that did not wait, as most do
	// not, need not ask then: that it asked each time cost a write and read of
	// 64 B half a nanosecond.
	Done func(t *Thread)

	// EnterMQ and LeaveMQ bracket what needs the worker's message queue. They
	// are called while the operation holds its own locks, and while it waits
	// and holds none; never nested, and nothing is waited for in between.
	EnterMQ func(t *Thread)
	LeaveMQ func(t *Thread)
	// TryMQ is EnterMQ if that needs no waiting. Nil where EnterMQ is nil.
	TryMQ func(t *Thread) bool
	// TryFirst: a thread that is about to sleep on a session tries for the
	// queue, and between two tries looks whether there is still something to
	// wait for, instead of waiting in EnterMQ.
	TryFirst bool

	// EnterShared and LeaveShared bracket what needs the pool of shared data,
	// of which an application has one: Fork, and the close of a session that
	// was shared. They are called inside operations, as the last to be taken.
	EnterShared func(t *Thread)
	LeaveShared func(t *Thread)

	// RPC answers a call of another worker's thread (see [Thread.Call]). It is
	// called where a thread of the worker empties its queue, with the queue
	// entered and whatever the operation that does so holds; it waits for
	// nothing. Nil: every call is refused with ENOTSUP.
	RPC func(t *Thread, c *Call)

	// Free: the session pool, the queue and the epoll sets are those that need
	// no exclusion, and ends of sessions are claimed ([Thread.Claim]); see the
	// package documentation. EnterMQ, LeaveMQ, TryMQ, EnterShared, LeaveShared
	// and RPC are not called then.
	Free bool
}

// App is an attached application: configuration, shared memory, workers and the
// session layer between them. Its methods may be called by any goroutine.
type App struct {
	cfg   Config
	hooks Hooks
	seg   *fifo.Segment
	order fifo.Order
	layer layer

	workers [256]atomic.Pointer[Worker]
	calls   [fifo.MaxProducers]callSlot // of each thread, by its number

	sharedAudit audit.Resource
	shared      Pool[shared]

	producers [fifo.MaxProducers]atomic.Pointer[Thread]

	indices [256]atomic.Uint32 // of workers: what each is
}

// What an index of a worker is.
const (
	indexFree  = iota
	indexTaken // by the one who makes a worker of it, or looks whether it can be given out
	indexUsed
	indexGone // as soon as nobody is inside there it is free
)

// setting is a number of the configuration, under its name in vcl.conf.
type setting struct {
	name          string
	field         func(*Config) *int
	def, min, max int
}

var settings = []setting{
	{"rx-fifo-size", func(c *Config) *int { return &c.RxFifoSize }, 4 << 20, 4 << 10, fifo.MaxSize},
	{"tx-fifo-size", func(c *Config) *int { return &c.TxFifoSize }, 4 << 20, 4 << 10, fifo.MaxSize},
	{"event-queue-size", func(c *Config) *int { return &c.EventQueueSize }, 1024, fifo.MinEvents, fifo.MaxEvents},
	{"segment-size", func(c *Config) *int { return &c.SegmentSize }, 256 << 20, 1 << 20, fifo.MaxSegment},
	{"max-workers", func(c *Config) *int { return &c.MaxWorkers }, 16, 1, 255},
}

// withDefaults checks a configuration and fills in what was left zero.
func (c Config) withDefaults() (Config, error) {
	for _, f := range settings {
		v := f.field(&c)
		if *v == 0 {
			*v = f.def
		}
		if *v < f.min || *v > f.max {
			return c, fmt.Errorf("%s %d: want %d to %d", f.name, *v, f.min, f.max)
		}
	}
	if n := c.EventQueueSize; n&(n-1) != 0 {
		return c, fmt.Errorf("event-queue-size %d: want a power of two", n)
	}
	if c.SessionTimeout == 0 {
		c.SessionTimeout = 10 * time.Second
	}
	if t := c.SessionTimeout; t < minTimeout || t > maxTimeout {
		return c, fmt.Errorf("session-timeout %v: want %v to %v", t, minTimeout, maxTimeout)
	}
	if c.Wait > Park {
		return c, fmt.Errorf("wait %d: want spin, adaptive or park", c.Wait)
	}
	return c, nil
}

// New attaches an application.
func New(cfg Config, hooks Hooks) (*App, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	a := &App{cfg: cfg, hooks: hooks, seg: cfg.Segment}
	if !hw.MembarrierAvailable() {
		a.order = fifo.SeqCst
	}
	if a.seg == nil {
		if a.seg, err = fifo.NewMappedSegment(cfg.SegmentSize); err != nil {
			return nil, err
		}
	}
	a.shared.init(sharedIndex)
	a.layer.init(a)
	if cfg.SessionThread {
		if err := a.startService(); err != nil {
			a.Close()
			return nil, err
		}
	}
	return a, nil
}

// Config is the configuration in force, defaults filled in.
func (a *App) Config() Config { return a.cfg }

// Close gives the application's memory back; of a segment that is not its own,
// what it took there. No thread may be in a call.
func (a *App) Close() error {
	a.stopService()
	if a.cfg.Segment == nil {
		return a.seg.Close()
	}
	for i := range a.workers {
		if w := a.workers[i].Swap(nil); w != nil {
			w.mq.Free()
		}
	}
	return nil
}

// Usage counts what an application has in hand beside memory.
type Usage struct {
	Sessions int // slots that are not free, of all workers
	Shared   int // shared data of sessions
	Pending  int // workers with an event on their queue
}

// Usage counts what is in use. No thread may be in a call.
func (a *App) Usage() Usage {
	u := Usage{Shared: a.shared.Used()}
	for i := range a.workers {
		if w := a.workers[i].Load(); w != nil {
			u.Sessions += w.sessions.Used()
			if w.mq.Pending() {
				u.Pending++
			}
		}
	}
	return u
}

// NewWorker registers a worker. ENOMEM: max-workers are registered, or the
// segment has no room for the queue.
func (a *App) NewWorker() (*Worker, error) { return a.newWorker(nil) }

func (a *App) newWorker(parent *Worker) (*Worker, error) {
	for i := range a.cfg.MaxWorkers {
		if !a.indices[i].CompareAndSwap(indexFree, indexTaken) && !a.vacate(i) {
			continue
		}
		if sched.Enabled {
			sched.Point("core: a worker's index taken, before there is a worker")
		}
		// A worker's queue and the generations of its slots outlive it, so
		// that what others still send to it goes nowhere.
		w := a.workers[i].Load()
		if w == nil {
			mq, err := fifo.NewQueue(a.seg, a.cfg.EventQueueSize, a.order)
			if err != nil {
				a.indices[i].Store(indexFree)
				return nil, syscall.ENOMEM
			}
			w = &Worker{app: a, index: uint32(i), mq: mq}
			w.sessions.init(uint32(i))
			a.workers[i].Store(w)
		}
		w.Owner, w.sibling = nil, nil
		w.family.Store(new(family))
		w.parent.Store(nil)
		if parent != nil {
			w.parent.Store(parent.family.Load())
		}
		w.forked.Store(false)
		w.gone.Store(false)
		a.indices[i].Store(indexUsed)
		return w, nil
	}
	return nil, syscall.ENOMEM
}

// retire gives a worker's index back, as soon as nobody is inside a wait there.
func (t *Thread) retire(w *Worker) {
	a := w.app
	w.gone.Store(true)
	t.failCalls(w)
	w.Orphan()
	if sched.Enabled {
		sched.Point("core: a worker is gone, before its index is")
	}
	at := &a.indices[w.index]
	at.Store(indexGone)
	if a.vacate(int(w.index)) {
		at.Store(indexFree)
	}
}

// vacate takes the index of a worker that is gone, and the numbers of the threads
// that it had, if none is inside it any more: true. Those of a dead process leave
// their waits in their own time, and may find the queue and the waiters of their
// worker as they were until then.
func (a *App) vacate(i int) bool {
	at := &a.indices[i]
	if at.Load() != indexGone || !at.CompareAndSwap(indexGone, indexTaken) {
		return false
	}
	if sched.Enabled {
		sched.Point("core: the index of one that is gone taken, before the look who is inside")
	}
	w := a.workers[i].Load()
	if w.inside.Load() != 0 || a.hooks.Free && w.sessions.Used() != 0 {
		at.Store(indexGone)
		return false
	}
	for i := range a.producers {
		if t := a.producers[i].Load(); t != nil && t.w == w {
			a.producers[i].CompareAndSwap(t, nil)
		}
	}
	w.reap()
	return true
}

// post sends an event to the session named by to. If it does not fit, the
// worker is told to look at all of its sessions: events are hints, and what
// they hint at stands in the fifos, so nothing is lost.
func (t *Thread) post(to Handle, kind Event) {
	if to == 0 {
		return
	}
	if to.Worker() == sharedIndex {
		t.postAll(to, kind)
		return
	}
	w := t.w.app.workers[to.Worker()].Load()
	if w.app.hooks.Free {
		w.news(to)
		return
	}
	if !w.mq.Post(t.producer, fifo.Event{Kind: uint32(kind), Arg: uint64(to)}) {
		w.mq.Overrun()
	}
}

// Worker is the worker index in a handle.
func (h Handle) Worker() uint32 { return uint32(h) >> indexBits }

// Index is the session index in a handle.
func (h Handle) Index() uint32 { return uint32(h) & indexMask }
