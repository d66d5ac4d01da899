package harness

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"time"

	"vlsbench/audit"
	"vlsbench/fifo"
	"vlsbench/hw"
	"vlsbench/results"
	"vlsbench/vls"
	"vlsbench/workloads"

	"github.com/HdrHistogram/hdrhistogram-go"
)

const (
	// Warmup is dropped at the start of each slot.
	Warmup = 2 * time.Millisecond
	// MinOverlap is the least share of a slot in which all threads ran,
	// MaxStall the most of it that one of them may have lost.
	MinOverlap = 0.90
	MaxStall   = 0.10

	// patience is how long a slot may take beyond its length, set-up and
	// drain included, and grace how long the others may once one has failed.
	patience = 10 * time.Second
	grace    = 2 * time.Second
)

// Spec is one slot to be measured.
type Spec struct {
	Strategy vls.Strategy
	Workload workloads.Workload
	Params   workloads.Params
	// Slot is the whole length, of which Warmup is dropped.
	Slot, Warmup time.Duration
	// CPUs are where thread i is pinned: CPUs[i%len]. Empty: not pinned.
	CPUs []int
	// Segment is the application's memory; nil lets it make its own.
	Segment *fifo.Segment
	// Patience is how long the slot may take beyond its length before it is
	// given up as hung; 0 is 10 s.
	Patience time.Duration
}

// Cell is the cell that the slot belongs to.
func (s Spec) Cell() results.Cell {
	return results.Cell{
		Workload: s.Workload.Name, Procs: s.Params.Procs, Threads: s.Params.Threads,
		Sessions: s.Params.Sessions, Size: s.Params.Size, Wait: s.Params.Wait.String(),
	}
}

// Hang is the error of a slot whose threads did not come back. They still run,
// so nothing can be measured in this process any more.
type Hang struct {
	After  time.Duration
	Where  []string // per thread, what it does
	Cause  error    // what had failed before, if anything
	Stacks string   // of all goroutines
}

func (h *Hang) Error() string {
	s := fmt.Sprintf("hung, no end after %v: %s", h.After, strings.Join(h.Where, "; "))
	if h.Cause != nil {
		s = h.Cause.Error() + "; then " + s
	}
	return s
}

func (h *Hang) Unwrap() error { return h.Cause }

// Quiet prepares the runtime for slots with at most threads threads: GOMAXPROCS
// two above them, for what else there is to run, and no collections but those
// that are asked for. Call the result to undo it.
func Quiet(threads int) (undo func()) {
	procs := runtime.GOMAXPROCS(threads + 2)
	percent := debug.SetGCPercent(-1)
	return func() {
		debug.SetGCPercent(percent)
		runtime.GOMAXPROCS(procs)
	}
}

// Measure runs one slot: a fresh application with fresh threads, each on an OS
// thread of its own that is pinned and dies with the slot. The runtime has been
// made [Quiet]. An error is a failure of the strategy, wrong bytes among them;
// a slot that was measured badly is none, it says so in Bad.
func Measure(s Spec) (results.Slot, error) {
	audit.SetRun(fmt.Sprintf("strategy %s, %s, seed %d", s.Strategy.Name, s.Cell(), s.Params.Seed))
	slot, err := measure(s)
	if err != nil {
		return slot, fmt.Errorf("strategy %s, %s: %w", s.Strategy.Name, s.Cell(), err)
	}
	return slot, nil
}

func measure(s Spec) (results.Slot, error) {
	n := s.Params.Threads
	slot := results.Slot{Strategy: s.Strategy.Name, Cell: s.Cell(), CPUs: make([]int, n), Stall: make([]float64, n)}
	team, err := workloads.NewTeam(s.Workload, s.Params, s.Warmup, s.Slot-s.Warmup)
	if err != nil {
		return slot, err
	}
	config := s.Params.Config()
	config.Segment = s.Segment
	app, err := s.Strategy.New(vls.Options{Config: config})
	if err != nil {
		return slot, err
	}
	procs := make([]vls.Process, s.Params.Procs)
	for i := range procs {
		if procs[i], err = app.NewProcess(); err != nil {
			return slot, fmt.Errorf("process %d: %w", i, err)
		}
	}

	collections := gcCount()
	done := make(chan int, n)
	for i := range n {
		go s.run(team, i, procs[s.Params.Process(i)], &slot, done)
	}
	if err := s.await(team, done); err != nil {
		return slot, err
	}
	slot.GCs = uint32(gcCount() - collections)
	for i, p := range procs {
		if err := p.Exit(); err != nil {
			return slot, fmt.Errorf("exit of process %d: %w", i, err)
		}
	}
	if err := app.Close(); err != nil {
		return slot, fmt.Errorf("close of the application: %w", err)
	}
	if err := team.Verify(); err != nil {
		return slot, err
	}
	s.book(&slot, team)
	return slot, nil
}

// run is thread i of a slot.
func (s Spec) run(team *workloads.Team, i int, proc vls.Process, slot *results.Slot, done chan<- int) {
	// Never unlocked: the OS thread dies with this goroutine, and its mask.
	runtime.LockOSThread()
	defer func() {
		if r := recover(); r != nil {
			team.Fail(fmt.Errorf("thread %d: panic: %v\n%s", i, r, debug.Stack()))
		}
		done <- i
	}()
	if len(s.CPUs) > 0 {
		if err := hw.Pin(s.CPUs[i%len(s.CPUs)]); err != nil {
			team.Fail(fmt.Errorf("thread %d: %w", i, err))
			return
		}
	}
	slot.CPUs[i] = hw.CurrentCPU()
	w := team.Workers[i]
	th := newThread()
	defer th.close()
	marks := make([]usage, 0, 2)
	w.Mark = func() { marks = append(marks, th.usage()) }
	w.Thread = proc.NewThread()
	w.Phase("registers")
	if err := w.Thread.Register(); err != nil {
		team.Fail(fmt.Errorf("thread %d: register: %w", i, err))
		return
	}
	team.Run(i)
	if len(marks) == 2 {
		slot.Stall[i] = stall(marks[0], marks[1])
	}
}

// await waits for the threads, but not for ever.
func (s Spec) await(team *workloads.Team, done <-chan int) error {
	limit := s.Patience
	if limit == 0 {
		limit = patience
	}
	begun := time.Now()
	timer := time.NewTimer(limit + s.Slot)
	defer timer.Stop()
	failed := false
	for range team.Workers {
		select {
		case <-done:
			if !failed && team.Failure() != nil {
				failed = true
				timer.Reset(min(limit, grace))
			}
		case <-timer.C:
			h := &Hang{After: time.Since(begun).Round(time.Millisecond), Cause: team.Failure()}
			team.Fail(errors.New("hung"))
			for i, w := range team.Workers {
				h.Where = append(h.Where, fmt.Sprintf("thread %d (process %d): %s", i, s.Params.Process(i), w.Where()))
			}
			buf := make([]byte, 1<<20)
			h.Stacks = string(buf[:runtime.Stack(buf, true)])
			return h
		}
	}
	return team.Failure()
}

// book adds up what the threads measured, and judges it.
func (s Spec) book(slot *results.Slot, team *workloads.Team) {
	var (
		firstStart, lastStart, firstEnd, lastEnd uint64
		rate                                     float64
		latency                                  *hdrhistogram.Histogram
	)
	for i, w := range team.Workers {
		t := w.Tally()
		if i == 0 {
			firstStart, lastStart, firstEnd, lastEnd = t.Start, t.Start, t.End, t.End
		}
		firstStart, lastStart = min(firstStart, t.Start), max(lastStart, t.Start)
		firstEnd, lastEnd = min(firstEnd, t.End), max(lastEnd, t.End)
		slot.Ops += t.Ops
		slot.Bytes += t.Bytes
		slot.PerOps = append(slot.PerOps, t.Ops)
		if t.End > t.Start {
			rate += float64(t.Ops) / hw.CyclesToNanos(t.End-t.Start)
		}
		switch {
		case latency == nil:
			latency = t.Latency
		case t.Latency != nil:
			latency.Merge(t.Latency) // all have the same range
		}
	}
	if firstStart == 0 {
		slot.Bad = "a thread never came to the measured part"
		return
	}
	// Ops / Seconds is the sum of the threads' own rates.
	if rate > 0 {
		slot.Seconds = float64(slot.Ops) / rate / 1e9
	} else {
		slot.Seconds = hw.CyclesToNanos(lastEnd-firstStart) / 1e9
	}
	if lastEnd > firstStart && firstEnd > lastStart {
		slot.Overlap = float64(firstEnd-lastStart) / float64(lastEnd-firstStart)
	}
	slot.Latency = results.NewLatency(latency)
	var bad []string
	if slot.GCs > 0 {
		bad = append(bad, fmt.Sprintf("%d garbage collections in the slot", slot.GCs))
	}
	if slot.Ops == 0 {
		bad = append(bad, "nothing was completed")
	}
	if !s.crowded() {
		if slot.Overlap < MinOverlap {
			bad = append(bad, fmt.Sprintf("all threads ran together for %.0f%% of it", 100*slot.Overlap))
		}
		for i, share := range slot.Stall {
			if share > MaxStall {
				bad = append(bad, fmt.Sprintf("thread %d lost %.0f%% of it", i, 100*share))
			}
		}
	}
	slot.Bad = strings.Join(bad, "; ")
}

// crowded reports whether threads share CPUs, when overlap and stall say
// nothing about the machine.
func (s Spec) crowded() bool {
	cpus := len(s.CPUs)
	if cpus == 0 {
		allowed, err := hw.Allowed()
		if err != nil {
			return false
		}
		cpus = allowed.Len()
	}
	return s.Params.Threads > cpus
}

// gcCount is how many collections there have been.
func gcCount() uint64 {
	s := []metrics.Sample{{Name: "/gc/cycles/total:gc-cycles"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}
