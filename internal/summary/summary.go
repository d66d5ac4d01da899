// Package summary turns a run into what a person is shown of it, as a table or
// in pictures: throughput, latency, and the ratio to the baseline with what may
// be claimed of it. It is the one place that knows both what a run's records
// mean and how they are compared.
package summary

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"vlsbench/compare"
	"vlsbench/results"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/montanaflynn/stats"
)

const (
	// MaxInvalid is the share of invalid rounds beyond which a cell was not
	// measured at all: what is left is a choice that the disturbance made.
	MaxInvalid = 0.25
	// MaxStall is the median stall share beyond which the machine was not quiet.
	MaxStall = 0.05
)

// Summary is a run, computed.
type Summary struct {
	Run      *results.Run
	Baseline string
	Cells    []Cell   // in the order of the plan
	Notes    []string // what is to be known of the run as a whole
}

// Cell is what was found in one cell.
type Cell struct {
	results.Cell
	Unit       string // of the rates
	Rounds     int    // begun
	Used       int
	Invalid    int      // spoiled by a bad slot
	Incomplete int      // a strategy is missing, since the run was stopped
	Stall      float64  // median over the slots of the share that its worst thread lost
	Rows       []Row    // in the order of the plan
	Absent     []string // strategies of the plan that were not run here
	Quiet      bool     // no thread lost much, or they had to take turns
	Notes      []string

	firstBad string // why the first slot that was bad was so
}

// Row is one strategy in one cell, over the rounds used.
type Row struct {
	Strategy string
	Rate     Quartiles               // operations per second
	Bytes    float64                 // of payload per second, the median
	Latency  *hdrhistogram.Histogram // nil if none was recorded
	Baseline bool
	Ratio    *compare.Estimate // to the baseline; nil for itself, and where that cannot be said
}

// Quartiles is a median between the quartiles.
type Quartiles struct{ Lo, Median, Hi float64 }

// Summarize computes what is shown of a run. The comparisons of all cells of a
// workload are one family. The same set and seed give the same summary.
func Summarize(set *results.Set, seed uint64) (Summary, error) {
	plan := set.Run.Plan
	s := Summary{Run: set.Run, Baseline: plan.Baseline, Notes: runNotes(set)}
	slots := make(map[results.Cell][]results.Slot)
	order := slices.Clone(plan.Cells)
	for _, slot := range set.Slots {
		if slots[slot.Cell] == nil && !slices.Contains(order, slot.Cell) {
			order = append(order, slot.Cell)
		}
		slots[slot.Cell] = append(slots[slot.Cell], slot)
	}
	spoiled := set.Spoiled()
	families := make(map[string]*compare.Family)
	var workloads []string
	for _, c := range order {
		if len(slots[c]) == 0 {
			s.Notes = append(s.Notes, "not reached: "+Describe(c))
			continue
		}
		cell, paired, err := summarize(c, slots[c], spoiled[c], set.Run)
		if err != nil {
			return Summary{}, err
		}
		s.Cells = append(s.Cells, cell)
		if families[c.Workload] == nil {
			families[c.Workload] = &compare.Family{Baseline: plan.Baseline}
			workloads = append(workloads, c.Workload)
		}
		families[c.Workload].Cells = append(families[c.Workload].Cells, paired)
	}
	for _, w := range workloads {
		res, err := compare.Analyse(*families[w], seed)
		if err != nil {
			return Summary{}, err
		}
		i := 0
		for j := range s.Cells {
			if s.Cells[j].Workload == w {
				s.Cells[j].compared(res.Cells[i], plan.Baseline)
				for _, warning := range res.Warnings {
					if warning.Cell == res.Cells[i].Label {
						s.Cells[j].note("%s", warning.What)
					}
				}
				i++
			}
		}
	}
	return s, nil
}

// runNotes is what went wrong with the run, or stands against it.
func runNotes(set *results.Set) []string {
	var notes []string
	for _, p := range set.Problems {
		notes = append(notes, "results file, "+p.String())
	}
	if e := set.End; e != nil && e.Interrupted {
		notes = append(notes, fmt.Sprintf("interrupted after %d complete rounds: this is what was measured until then", e.Rounds))
	}
	if e := set.End; e != nil && e.Error != "" {
		notes = append(notes, "failed: "+e.Error)
	}
	for _, w := range set.Run.Warnings {
		notes = append(notes, strings.TrimSuffix(w.What, ".")+": "+w.Do)
	}
	return notes
}

// summarize is all of a cell but the comparison, for which it returns the
// paired rates.
func summarize(c results.Cell, slots []results.Slot, spoiled map[int]bool, run *results.Run) (Cell, compare.Cell, error) {
	cell := Cell{Cell: c, Unit: run.Unit(c.Workload)}
	var names []string
	for _, n := range run.Plan.Strategies {
		if slices.ContainsFunc(slots, func(s results.Slot) bool { return s.Strategy == n }) {
			names = append(names, n)
		} else {
			cell.Absent = append(cell.Absent, n)
		}
	}
	rounds := make(map[int][]*results.Slot) // by name
	var stalls []float64
	for i := range slots {
		s := &slots[i]
		at := slices.Index(names, s.Strategy)
		if at < 0 {
			at = len(names)
			names = append(names, s.Strategy)
		}
		for len(rounds[s.Round]) <= at {
			rounds[s.Round] = append(rounds[s.Round], nil)
		}
		rounds[s.Round][at] = s
		if s.Bad != "" && cell.firstBad == "" {
			cell.firstBad = fmt.Sprintf(" (first in round %d, %s: %s)", s.Round, s.Strategy, s.Bad)
		}
		stalls = append(stalls, s.WorstStall())
	}

	var used [][]*results.Slot
	paired := compare.Cell{Label: c.String(), Names: names}
	for _, r := range sortedKeys(rounds) {
		row := rounds[r]
		rates := make([]float64, len(names))
		missing, invalid := false, spoiled[r]
		for i := range rates {
			if i >= len(row) || row[i] == nil {
				rates[i], missing = math.NaN(), true
			} else if rates[i] = row[i].Rate(); rates[i] <= 0 {
				invalid = true
			}
		}
		switch {
		case invalid:
			cell.Invalid++
		case missing:
			cell.Incomplete++
		default:
			used = append(used, row)
			paired.Rounds = append(paired.Rounds, rates)
		}
	}
	cell.Rounds, cell.Used = len(rounds), len(used)

	for i, n := range names {
		row := Row{Strategy: n, Baseline: n == run.Plan.Baseline}
		var rates, bytes []float64
		var latencies []*results.Latency
		for _, u := range used {
			rates = append(rates, u[i].Rate())
			bytes = append(bytes, float64(u[i].Bytes)/u[i].Seconds)
			latencies = append(latencies, u[i].Latency)
		}
		row.Rate, row.Bytes = quartiles(rates), quartiles(bytes).Median
		var err error
		if row.Latency, err = results.MergeLatency(latencies...); err != nil {
			return Cell{}, compare.Cell{}, fmt.Errorf("%s, %s: %w", n, c, err)
		}
		cell.Rows = append(cell.Rows, row)
	}
	cell.Stall = quartiles(stalls).Median
	cpus := len(run.Plan.CPUs)
	if cpus == 0 {
		cpus = len(run.Machine.Allowed)
	}
	cell.Quiet = true
	if cpus > 0 && c.Threads > cpus {
		cell.note("%d threads take turns on %s: overlap and stalls spoil no round here", c.Threads, count(cpus, "CPU", "CPUs"))
	} else if cell.Stall > MaxStall {
		cell.Quiet = false
		cell.note("machine not quiet: in half of the slots a thread lost %.0f %% or more; ~ does not mean equal", 100*cell.Stall)
	}
	return cell, paired, nil
}

// Unmeasured reports whether so many rounds are invalid that nothing can be
// claimed.
func (c *Cell) Unmeasured() bool {
	return float64(c.Invalid) > MaxInvalid*float64(c.Rounds-c.Incomplete)
}

// compared takes in the comparison.
func (c *Cell) compared(r compare.CellResult, baseline string) {
	if c.Unmeasured() {
		c.note("%d of %d rounds are invalid%s: this machine cannot measure this here, and no verdict is given", c.Invalid, c.Rounds, c.firstBad)
	}
	for i := range c.Rows {
		row := &c.Rows[i]
		for _, e := range r.Estimates {
			if e.Name != row.Strategy {
				continue
			}
			if c.Unmeasured() {
				e.Verdict = compare.NotShown
			}
			if e.Verdict == compare.Different && e.P > 1-compare.Confidence {
				c.note("%s: the signed-rank test beside the interval does not agree (p = %.2g)", e.Name, e.P)
			}
			row.Ratio = &e
		}
	}
}

func (c *Cell) note(format string, args ...any) {
	c.Notes = append(c.Notes, fmt.Sprintf(format, args...))
}

func sortedKeys[V any](m map[int]V) []int {
	keys := make([]int, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// quartiles is zero for no values at all.
func quartiles(values []float64) Quartiles {
	if len(values) == 0 {
		return Quartiles{}
	}
	at := func(percent float64) float64 {
		v, err := stats.Percentile(values, percent)
		if err != nil { // only for a percentage that is none
			return math.NaN()
		}
		return v
	}
	return Quartiles{at(25), at(50), at(75)}
}
