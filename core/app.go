package core

import (
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"

	"vlsbench/fifo"
	"vlsbench/hw"
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

	mu        sync.Mutex // of what follows
	inUse     [256]bool  // worker indices
	producers [fifo.MaxProducers]bool
}

// withDefaults checks a configuration and fills in what was left zero.
func (c Config) withDefaults() (Config, error) {
	for _, f := range []struct {
		name          string
		v             *int
		def, min, max int
	}{
		{"rx-fifo-size", &c.RxFifoSize, 4 << 20, minFifo, maxFifo},
		{"tx-fifo-size", &c.TxFifoSize, 4 << 20, minFifo, maxFifo},
		{"event-queue-size", &c.EventQueueSize, 1024, fifo.MinEvents, fifo.MaxEvents},
		{"segment-size", &c.SegmentSize, 256 << 20, 1 << 20, fifo.MaxSegment},
		{"max-workers", &c.MaxWorkers, 16, 1, 255},
	} {
		if *f.v == 0 {
			*f.v = f.def
		}
		if *f.v < f.min || *f.v > f.max {
			return c, fmt.Errorf("%s %d: want %d to %d", f.name, *f.v, f.min, f.max)
		}
	}
	if n := c.EventQueueSize; n&(n-1) != 0 {
		return c, fmt.Errorf("event-queue-size %d: want a power of two", n)
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
	a.layer.init()
	return a, nil
}

// Config is the configuration in force, defaults filled in.
func (a *App) Config() Config { return a.cfg }

// Close gives the application's memory back. No thread may be in a call.
func (a *App) Close() error {
	if a.cfg.Segment != nil {
		return nil
	}
	return a.seg.Close()
}

// NewWorker registers a worker. ENOMEM: max-workers are registered, or the
// segment has no room for the queue.
func (a *App) NewWorker() (*Worker, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range a.cfg.MaxWorkers {
		if a.inUse[i] {
			continue
		}
		// A worker's queue and the generations of its slots outlive it, so
		// that what others still send to it goes nowhere.
		w := a.workers[i].Load()
		if w == nil {
			mq, err := fifo.NewQueue(a.seg, a.cfg.EventQueueSize, a.order)
			if err != nil {
				return nil, syscall.ENOMEM
			}
			w = &Worker{app: a, index: uint32(i), mq: mq}
			w.sessions.init(uint32(i))
			a.workers[i].Store(w)
		}
		a.inUse[i] = true
		return w, nil
	}
	return nil, syscall.ENOMEM
}

// post sends an event to the session named by to. If it does not fit, the
// worker is told to look at all of its sessions: events are hints, and what
// they hint at stands in the fifos, so nothing is lost.
func (t *Thread) post(to Handle, kind Event) {
	if to == 0 {
		return
	}
	w := t.w.app.workers[to.Worker()].Load()
	if !w.mq.Post(t.producer, fifo.Event{Kind: uint32(kind), Arg: uint64(to)}) {
		w.mq.Overrun()
	}
}

// Worker is the worker index in a handle.
func (h Handle) Worker() uint32 { return uint32(h) >> indexBits }

// Index is the session index in a handle.
func (h Handle) Index() uint32 { return uint32(h) & indexMask }
