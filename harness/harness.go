// Package harness is how a run is made: pinned threads, short slots in random
// order, fresh objects in each, and a record of everything that it takes to
// repeat it. It does not know which strategies and workloads there are.
//
// A run goes in rounds. A round measures every cell, and in each cell every
// strategy once ([Order]), in a slot of fixed length on fresh threads, over a
// fresh application, in fresh memory. What the machine does in the meantime,
// and how the objects happened to lie, is so spread over all strategies alike.
// Which slots count, and what they say, is for those who read them.
package harness

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"time"

	"vlsbench/core"
	"vlsbench/hw"
	"vlsbench/results"
	"vlsbench/vls"
	"vlsbench/workloads"
)

// Options is a run to be made.
type Options struct {
	ID      string
	Command []string
	Plan    results.Plan
	// Sink is given each record as it comes: the run, its slots, the end.
	// Schema and Kind are for it to set. An error of its ends the run.
	Sink func(results.Record) error
	// Progress, if set, is called before the first slot and after each.
	Progress func(Progress)
}

// Progress is how far a run has come.
type Progress struct {
	Round, Rounds int // complete, of
	Slots, Total  int // done, of
	Elapsed, Left time.Duration
	Cell          results.Cell  // of the last slot
	Slot          *results.Slot // the last, nil before the first
}

// experiment is a plan whose names are resolved.
type experiment struct {
	plan  results.Plan
	cells []cell
	left  []results.Warning // who is left out of which cells
}

type cell struct {
	work       workloads.Workload
	params     workloads.Params
	strategies []vls.Strategy
}

// Check reports what in a plan is unknown or out of bounds.
func Check(p results.Plan) error {
	_, err := resolve(p)
	return err
}

func resolve(p results.Plan) (*experiment, error) {
	e := &experiment{plan: p}
	if p.Rounds < 1 {
		return nil, fmt.Errorf("rounds %d: want at least 1", p.Rounds)
	}
	if p.Slot < p.Warmup+time.Millisecond || p.Warmup < 0 {
		return nil, fmt.Errorf("slot %v: want at least %v, of which %v are warm-up", p.Slot, p.Warmup+time.Millisecond, p.Warmup)
	}
	var all []vls.Strategy
	for _, name := range p.Strategies {
		s, err := vls.Lookup(name)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	var vcl core.Config
	if p.VCL != "" {
		var err error
		if vcl, _, err = core.ReadConfig(strings.NewReader(p.VCL)); err != nil {
			return nil, fmt.Errorf("vcl.conf: %w", err)
		}
	}
	out := make(map[string]int)
	for _, c := range p.Cells {
		work, err := workloads.Lookup(c.Workload)
		if err != nil {
			return nil, err
		}
		wait, err := core.ParseWait(c.Wait)
		if err != nil {
			return nil, err
		}
		params := workloads.Params{Threads: c.Threads, Procs: c.Procs, Sessions: c.Sessions, Size: c.Size, Wait: wait, VCL: vcl}
		if err := work.Accepts(params); err != nil {
			return nil, err
		}
		fit := cell{work: work, params: params}
		for _, s := range all {
			if s.MaxThreads > 0 && params.PerProcess() > s.MaxThreads {
				out[s.Name]++
				continue
			}
			fit.strategies = append(fit.strategies, s)
		}
		e.cells = append(e.cells, fit)
	}
	total := 0
	for _, c := range e.cells {
		total += len(c.strategies)
	}
	if total == 0 {
		return nil, fmt.Errorf("nothing to measure: %d strategies, %d cells, and none of the strategies (%s) has as many threads in a process as the cells ask for",
			len(all), len(e.cells), strings.Join(p.Strategies, ", "))
	}
	if _, slot := e.memory(); leastArena(slot) > memoryLimit() {
		return nil, fmt.Errorf("a slot needs %d MB of memory for its objects, and %d MB may be taken: fewer threads or sessions are needed",
			leastArena(slot)>>20, memoryLimit()>>20)
	}
	for _, s := range all {
		if n := out[s.Name]; n > 0 {
			e.left = append(e.left, results.Warning{
				What: fmt.Sprintf("%s, with at most %d thread(s) per process, is left out of %d of %d cells", s.Name, s.MaxThreads, n, len(e.cells)),
				Do:   "give each thread a process of its own (--procs) to have it beside the others",
			})
		}
	}
	return e, nil
}

// slots is how many a round has, and how many may run in each cell.
func (e *experiment) slots() (total int, perCell []int) {
	for _, c := range e.cells {
		perCell = append(perCell, len(c.strategies))
		total += len(c.strategies)
	}
	return total, perCell
}

// memory is how many bytes a round takes of the arena, and its largest slot.
func (e *experiment) memory() (round, slot int) {
	for _, c := range e.cells {
		round += len(c.strategies) * (c.params.Memory() + maxGap*page)
		slot = max(slot, c.params.Memory())
	}
	return round, slot
}

func (e *experiment) threads() (most int) {
	for _, c := range e.cells {
		most = max(most, c.params.Threads)
	}
	return most
}

// Run makes a run. When ctx is cancelled the slot under way is finished and the
// end is recorded as interrupted, which is no error. An error is a slot that
// failed, or a record that could not be kept; the end is then recorded with it
// if that can still be done.
func Run(ctx context.Context, o Options) (results.End, error) {
	e, err := resolve(o.Plan)
	if err != nil {
		return results.End{}, err
	}
	defer Quiet(e.threads())()
	run, err := e.describe(o)
	if err != nil {
		return results.End{}, err
	}
	if err := o.Sink(results.Record{Run: run}); err != nil {
		return results.End{}, err
	}

	end, err := e.measure(ctx, o)
	end.Ended = time.Now()
	if err != nil {
		end.Error = err.Error()
	}
	return end, errors.Join(err, o.Sink(results.Record{End: &end}))
}

func (e *experiment) describe(o Options) (*results.Run, error) {
	run := &results.Run{
		ID: o.ID, Started: time.Now(), Command: o.Command, Plan: e.plan,
		Build: BuildInfo(),
	}
	run.Plan.Units = make(map[string]string)
	for _, c := range e.cells {
		run.Plan.Units[c.work.Name] = c.work.Unit
	}
	var err error
	if run.Machine, run.Warnings, err = Inspect(e.plan, run.Started); err != nil {
		return nil, err
	}
	run.Warnings = append(run.Warnings, e.left...)
	if run.Limits, err = Calibrate(e.plan.CPUs); err != nil {
		return nil, err
	}
	return run, nil
}

func (e *experiment) measure(ctx context.Context, o Options) (end results.End, err error) {
	perRound, perCell := e.slots()
	perRoundMemory, perSlot := e.memory()
	arena := newArena(e.plan.Seed, arenaSize(perRoundMemory, perSlot, memoryLimit()))

	p := Progress{Rounds: e.plan.Rounds, Total: perRound * e.plan.Rounds}
	begun := time.Now()
	p.Left = time.Duration(p.Total) * (e.plan.Slot + setUp)
	if o.Progress != nil {
		o.Progress(p)
	}
	// Cells are in random order, so a round that was cut short has some whole.
	complete := make([]int, len(e.cells))
	defer func() {
		end.Slots = p.Slots
		end.Rounds = e.plan.Rounds
		for c, n := range complete {
			if perCell[c] > 0 {
				end.Rounds = min(end.Rounds, n/perCell[c])
			}
		}
	}()
	for round := range e.plan.Rounds {
		runtime.GC()
		arena.begin(perRoundMemory)
		for i, step := range Order(e.plan.Seed, round, perCell) {
			if ctx.Err() != nil {
				end.Interrupted = true
				return end, nil
			}
			slot, err := e.slot(step, round, i, arena)
			if err != nil {
				return end, fmt.Errorf("round %d: %w", round, err)
			}
			if err := o.Sink(results.Record{Slot: &slot}); err != nil {
				return end, err
			}
			complete[step.Cell]++
			p.Slots++
			p.Round = p.Slots / perRound
			p.Elapsed = time.Since(begun)
			p.Left = p.Elapsed / time.Duration(p.Slots) * time.Duration(p.Total-p.Slots)
			p.Cell, p.Slot = slot.Cell, &slot
			if o.Progress != nil {
				o.Progress(p)
			}
		}
	}
	return end, nil
}

// setUp is about what a slot takes beyond its length.
const setUp = time.Millisecond

// Estimate is about how long a plan takes to measure, calibration included.
func Estimate(p results.Plan) time.Duration {
	e, err := resolve(p)
	if err != nil {
		return 0
	}
	perRound, _ := e.slots()
	return time.Second + time.Duration(perRound*p.Rounds)*(p.Slot+setUp)
}

func (e *experiment) slot(step Step, round, order int, a *arena) (results.Slot, error) {
	c := e.cells[step.Cell]
	c.params.Seed = e.plan.Seed + uint64(round)<<20 + uint64(order)
	segment, err := a.carve(c.params.Memory())
	if err != nil {
		return results.Slot{}, err
	}
	slot, err := Measure(Spec{
		Strategy: c.strategies[step.Strategy], Workload: c.work, Params: c.params,
		Slot: e.plan.Slot, Warmup: e.plan.Warmup, CPUs: e.plan.CPUs, Segment: segment,
	})
	slot.Round, slot.Order = round, order
	return slot, err
}

// memoryLimit is the most memory that a run takes for its objects: 512 MB, or a
// quarter of the machine's if that is less.
func memoryLimit() int {
	limit := uint64(512 << 20)
	if m := hw.MemTotal(); m > 0 {
		limit = min(limit, m/4)
	}
	return int(limit)
}
