package workloads

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"vlsbench/hw"
	"vlsbench/vls"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// ErrAborted is what a worker gets from [Worker.Meet] and [Worker.Start] when
// another one failed.
var ErrAborted = errors.New("another thread failed")

// Latency bounds of a recorder, in nanoseconds, and its precision.
const (
	lowestLatency  = 1
	highestLatency = int64(10 * time.Second)
	latencyDigits  = 3
)

// Worker is one measured thread of a slot: what it is to run, and what it
// measures with. Its methods are for the thread that runs it. The life of one:
//
//	clients, servers, err := w.Connect() // set up
//	err = w.Start()                      // all begin together
//	for w.Tick(ops, bytes) { … }         // until the clock says stop
//	drain and verify what is still under way, uncounted
//
// What a worker opened with Connect is closed for it.
type Worker struct {
	_ [hw.FalseSharing]byte // Tick writes; neighbours are other threads' workers

	Params
	ID     int        // from 0 to Threads-1
	Thread vls.Thread // its calling context
	// Mark, if set, is called on the thread when the measured part begins and
	// when it ends.
	Mark func()

	team    *Team
	next    uint64 // cycles: when Tick has something to do
	begin   uint64 // cycles: end of the warm-up
	end     uint64 // cycles: deadline
	ops     uint64
	bytes   uint64
	warm    Tally // the counts at the end of the warm-up
	started bool
	tally   Tally
	latency *hdrhistogram.Histogram
	phase   atomic.Pointer[string]
	handles []vls.Handle
	ends    []Conn

	_ [hw.FalseSharing]byte
}

// Tally is what a worker measured.
type Tally struct {
	Ops   uint64 // in units of the workload, at the consumer
	Bytes uint64 // verified payload
	// Start and End are the cycle clock at the thread's first look after the
	// warm-up and its first after the deadline.
	Start, End uint64
	// Latency is in nanoseconds, nil if nothing was recorded.
	Latency *hdrhistogram.Histogram
}

// Tally is what was measured; zero if the measured part was never reached. It
// may be read once the worker's Run has returned.
func (w *Worker) Tally() Tally { return w.tally }

// Phase says what the thread does from now on, for the report about one that
// hangs.
func (w *Worker) Phase(what string) { w.phase.Store(&what) }

// Where is the phase that the thread is in. Any goroutine may ask.
func (w *Worker) Where() string {
	if p := w.phase.Load(); p != nil {
		return *p
	}
	return "not begun"
}

// Meet waits for all threads of the slot.
func (w *Worker) Meet(what string) error {
	w.Phase("waits for all at " + what)
	return w.team.meet(nil)
}

// Start waits for all threads and begins the slot: the time from here to the
// end of the warm-up is dropped.
func (w *Worker) Start() error {
	w.Phase("waits for all at the start")
	t := w.team
	if err := t.meet(func() { t.zero.Store(hw.Cycles() + hw.NanosToCycles(startDelay)) }); err != nil {
		return err
	}
	zero := t.zero.Load()
	w.begin = zero + hw.NanosToCycles(t.warmup)
	w.end = w.begin + hw.NanosToCycles(t.length)
	w.next = w.begin
	w.Phase("measures")
	for hw.Cycles() < zero {
		hw.Pause()
	}
	return nil
}

// startDelay is from the last thread's arrival to the common start: longer than
// it takes the others to see it.
const startDelay = 20 * time.Microsecond

// Tick books ops and payload bytes since the last call and is false once the
// slot is over. It reads the clock (9 ns), so a loop of short operations calls
// it every [Worker.Stride] of them.
func (w *Worker) Tick(ops, bytes uint64) bool {
	w.ops += ops
	w.bytes += bytes
	now := hw.Cycles()
	return now < w.next || w.edge(now)
}

// Stride is how many messages to count between two calls of Tick: about 16 KB,
// at most 64.
func (w *Worker) Stride() int { return min(64, max(1, 16<<10/w.Size)) }

// edge is the end of the warm-up or of the slot.
func (w *Worker) edge(now uint64) bool {
	if !w.started {
		w.started = true
		w.next = w.end
		w.warm = Tally{Ops: w.ops, Bytes: w.bytes}
		if w.Mark != nil {
			w.Mark()
		}
		w.tally.Start = hw.Cycles()
		if now < w.end {
			return true
		}
	}
	w.finish(now)
	return false
}

// Stop ends the measured part for a thread that has nothing more to do: its
// peer came to the end first.
func (w *Worker) Stop() { w.finish(hw.Cycles()) }

func (w *Worker) finish(now uint64) {
	if !w.started || w.tally.End != 0 {
		return
	}
	w.tally.End = max(now, w.tally.Start)
	w.tally.Ops = w.ops - w.warm.Ops
	w.tally.Bytes = w.bytes - w.warm.Bytes
	if w.latency != nil && w.latency.TotalCount() > 0 {
		w.tally.Latency = w.latency
	}
	w.Phase("drains")
	if w.Mark != nil {
		w.Mark()
	}
}

// Measuring reports whether the warm-up is over.
func (w *Worker) Measuring() bool { return w.started }

// RecordLatency makes the recorder; call it before Start.
func (w *Worker) RecordLatency() {
	w.latency = hdrhistogram.New(lowestLatency, highestLatency, latencyDigits)
}

// Observe records an operation from begin to end, in cycles, unless the warm-up
// is still on. It does not allocate.
func (w *Worker) Observe(begin, end uint64) {
	if !w.started {
		return
	}
	ns := int64(hw.CyclesToNanos(end - begin))
	_ = w.latency.RecordValue(min(max(ns, lowestLatency), highestLatency))
}

// Team is the workers of one slot.
type Team struct {
	Workers []*Worker

	work           Workload
	warmup, length time.Duration
	arrived        atomic.Int64
	generation     uint32 // a futex: counts meetings, and failures
	zero           atomic.Uint64
	failure        atomic.Pointer[error]
}

// NewTeam makes the workers for one slot of a workload, warm-up and measured
// length being those of each thread. Each worker is given its Thread by the
// caller, then run with [Team.Run].
func NewTeam(work Workload, p Params, warmup, length time.Duration) (*Team, error) {
	if err := work.Accepts(p); err != nil {
		return nil, err
	}
	tape() // not in the slot
	t := &Team{work: work, warmup: warmup, length: length}
	for i := range p.Threads {
		t.Workers = append(t.Workers, &Worker{Params: p, ID: i, team: t})
	}
	return t, nil
}

// Run runs worker i on the calling goroutine; [Team.Failure] says how it went.
// When one fails, what it had opened is closed, so that its peers see the end of
// their streams.
func (t *Team) Run(i int) {
	w := t.Workers[i]
	if err := t.work.Run(w); err != nil {
		t.Fail(fmt.Errorf("thread %d: %w", i, err))
	} else {
		_ = w.Meet("the end") // nobody closes while another one still reads
	}
	w.Phase("closes")
	if err := w.closeAll(); err != nil {
		t.Fail(fmt.Errorf("thread %d: %w", i, err))
	}
	w.Phase("exits")
	if err := w.Thread.Exit(); err != nil {
		t.Fail(fmt.Errorf("thread %d: exit: %w", i, err))
	}
	w.Phase("done")
}

// Fail makes the slot fail with err, unless it has failed already, and ends all
// waits of the workers for each other.
func (t *Team) Fail(err error) {
	if t.failure.CompareAndSwap(nil, &err) {
		t.release()
	}
}

// Failure is what went wrong first, nil if nothing did.
func (t *Team) Failure() error {
	if p := t.failure.Load(); p != nil {
		return *p
	}
	return nil
}

// Verify reports, once all workers have returned and none has failed, a stream
// whose end was lost.
func (t *Team) Verify() error { return balance(t.Workers) }

// meetSpin is how long a worker spins for the others before it sleeps.
const meetSpin = 100 * time.Microsecond

// meet waits until all workers are there; the last one runs last before the
// others go on.
//
// Note: yielding in a loop instead of sleeping starves the yielder. Linux 6.18
// makes sched_yield forfeit a thread's claim to the CPU, and where anything else
// ran there it came back after up to a second.
func (t *Team) meet(last func()) error {
	g := atomic.LoadUint32(&t.generation)
	if t.arrived.Add(1) == int64(len(t.Workers)) {
		t.arrived.Store(0)
		if last != nil {
			last()
		}
		t.release()
		return t.aborted()
	}
	patience := hw.Cycles() + hw.NanosToCycles(meetSpin)
	for atomic.LoadUint32(&t.generation) == g && t.failure.Load() == nil {
		if hw.Cycles() < patience {
			hw.Pause()
		} else if err := hw.FutexWait(&t.generation, g, -1); err != nil {
			return fmt.Errorf("wait for the other threads: %w", err)
		}
	}
	return t.aborted()
}

// release wakes all who wait in meet, to look again.
func (t *Team) release() {
	atomic.AddUint32(&t.generation, 1)
	hw.FutexWake(&t.generation, len(t.Workers))
}

func (t *Team) aborted() error {
	if t.failure.Load() != nil {
		return ErrAborted
	}
	return nil
}
