//go:build sched

package sched

import (
	"flag"
	"fmt"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var (
	replayFlag = flag.String("sched.replay", "", "the one schedule to run, as a failure tells it")
	seedFlag   = flag.Uint64("sched.seed", 1, "seed of the first schedule; the next has the next")
	timesFlag  = flag.Int("sched.times", 1, "explore so many times as many schedules")
)

// Strategy is a way to choose threads.
type Strategy struct{ depth int } // 0: at random

// Random chooses at random.
var Random = Strategy{}

// PCT chooses by priorities that change depth-1 times: it is meant for faults
// that take so many ordered steps to show, from 1 to [MaxDepth]. Another depth is
// an error of the options.
func PCT(depth int) Strategy {
	if depth == 0 {
		depth = -1 // which is no other strategy
	}
	return Strategy{depth}
}

// MaxDepth is the greatest depth of PCT. Few faults need more than 3.
const MaxDepth = 16

func (s Strategy) String() string {
	if s.depth == 0 {
		return "random"
	}
	return "pct" + strconv.Itoa(s.depth)
}

// Options say what Explore and Search do. The zero value is ready.
type Options struct {
	// Schedules is how many are run. 0: 1000.
	Schedules int
	// Strategies are taken in turn. None: Random, PCT(2), PCT(3).
	Strategies []Strategy
	// Steps is how many points the threads of one run pass together before it
	// is taken to have no end. 0: 20000.
	Steps int
	// Spins is how often each thread may look again, with nothing done by any in
	// between, or 16 times as often with whatever else, before it is taken that
	// nothing new will be until time passes: waits are then over in the order of
	// their deadlines, and if there are none, the run has no end. 0: a wait may be
	// over, whatever its deadline, after some spins.
	Spins int
	// Stall stops threads for ever.
	Stall []Stall
}

// Stall stops a thread for ever when it comes to a point for the Visit-th time,
// counted from 1, as if it were never given a core again, or were killed there.
// The others go on.
type Stall struct {
	Thread, Point string
	Visit         int
}

func (s Stall) String() string { return fmt.Sprintf("%s at %q, visit %d", s.Thread, s.Point, s.Visit) }

// Report says what was explored.
type Report struct {
	Schedules int
	Longest   int // steps of the longest run
	// Visited lists every point that a thread came to, with the most visits of
	// any run: each of them is a [Stall] to be tried, and so are lesser visits.
	Visited []Stall
	// Stalled is how many schedules had a thread stopped by Options.Stall.
	Stalled int
}

// Failure is a schedule that failed.
type Failure struct {
	Reason   string
	Replay   string // the schedule, for the flag -sched.replay
	Schedule int    // which one it was, from 1
	Trace    []Step // all of it
	standing string // where each thread stood
}

// plan determines a schedule.
type plan struct {
	strategy Strategy
	steps    int // how many are expected: PCT's changes are among them
	seed     uint64
}

func (p plan) String() string {
	if p.strategy.depth == 0 {
		return fmt.Sprintf("random/%d", p.seed)
	}
	return fmt.Sprintf("%v/%d/%d", p.strategy, p.steps, p.seed)
}

// parsePlan is the inverse of String.
func parsePlan(s string) (plan, error) {
	bad := fmt.Errorf("sched: schedule %q: want random/SEED or pctDEPTH/STEPS/SEED, as a failure tells it", s)
	var p plan
	part := strings.Split(s, "/")
	seed, err := strconv.ParseUint(part[len(part)-1], 10, 64)
	if err != nil {
		return p, bad
	}
	p.seed = seed
	if len(part) == 2 && part[0] == "random" {
		return p, nil
	}
	depth, isPCT := strings.CutPrefix(part[0], "pct")
	if len(part) != 3 || !isPCT {
		return p, bad
	}
	if p.strategy.depth, err = strconv.Atoi(depth); err != nil || p.strategy.depth < 1 || p.strategy.depth > MaxDepth {
		return p, bad
	}
	if p.steps, err = strconv.Atoi(part[1]); err != nil || p.steps < 1 {
		return p, bad
	}
	return p, nil
}

// Explore runs the threads that body names under many schedules, and fails t
// with the first that fails and how to run it again. Beside what the run itself
// finds, a schedule has failed when t has.
func Explore(t testing.TB, o Options, body func(*Run)) Report {
	t.Helper()
	before := t.Failed()
	x := explorer{o: o, body: body, failed: func() bool { return !before && t.Failed() }}
	if err := x.defaults(); err != nil {
		t.Fatal(err)
	}
	x.o.Schedules *= max(*timesFlag, 1)
	var f *Failure
	if *replayFlag != "" {
		p, err := parsePlan(*replayFlag)
		if err != nil {
			t.Fatalf("-sched.replay: %v", err)
		}
		f = x.one(p)
	} else {
		f = x.search(*seedFlag)
	}
	if f != nil {
		t.Fatalf("%v\n\nrun it again with:\n  %s", f, command(t.Name(), f.Replay))
	}
	if *replayFlag == "" && len(o.Stall) > 0 && x.report.Stalled == 0 {
		t.Fatalf("sched: nothing was tried: in %d schedules no thread came to %v", x.report.Schedules, o.Stall)
	}
	return x.report
}

// Search is Explore without a test: it returns the first schedule that failed,
// nil if none did. Seeds begin with 1. The error is one in the options.
func Search(o Options, body func(*Run)) (Report, *Failure, error) {
	x := explorer{o: o, body: body, failed: func() bool { return false }}
	if err := x.defaults(); err != nil {
		return Report{}, nil, err
	}
	f := x.search(1)
	return x.report, f, nil
}

// Replay runs one schedule, as a [Failure] tells it, and returns how it failed,
// nil if it did not. The error is one in the options or the schedule.
func Replay(schedule string, o Options, body func(*Run)) (*Failure, error) {
	x := explorer{o: o, body: body, failed: func() bool { return false }}
	if err := x.defaults(); err != nil {
		return nil, err
	}
	p, err := parsePlan(schedule)
	if err != nil {
		return nil, err
	}
	return x.one(p), nil
}

// command runs a schedule of a test again.
func command(test, schedule string) string {
	pkg := "."
	if b, ok := debug.ReadBuildInfo(); ok && strings.HasSuffix(b.Path, ".test") {
		pkg = strings.TrimSuffix(b.Path, ".test")
	}
	run := "^" + strings.ReplaceAll(test, "/", "$/^") + "$"
	return fmt.Sprintf("go test -tags sched -run '%s' %s -sched.replay %s", run, pkg, schedule)
}

// explorer runs schedules and keeps what they show.
type explorer struct {
	o      Options
	body   func(*Run)
	failed func() bool // the test has, outside of the run's sight
	report Report
	total  int // steps of all schedules
}

// defaults fills the options in, or says what is wrong with them.
func (x *explorer) defaults() error {
	o := &x.o
	if o.Schedules < 0 || o.Steps < 0 || o.Spins < 0 {
		return fmt.Errorf("sched: %d schedules of %d steps and %d looks in a row: want none that is negative", o.Schedules, o.Steps, o.Spins)
	}
	if o.Schedules == 0 {
		o.Schedules = 1000
	}
	if o.Steps == 0 {
		o.Steps = 20_000
	}
	if len(o.Strategies) == 0 {
		o.Strategies = []Strategy{Random, PCT(2), PCT(3)}
	}
	for _, s := range o.Strategies {
		if s.depth < 0 || s.depth > MaxDepth {
			return fmt.Errorf("sched: PCT of depth %d: want 1 to %d", s.depth, MaxDepth)
		}
	}
	for _, s := range o.Stall {
		if s.Visit < 1 {
			return fmt.Errorf("sched: stall of %v: want a visit from 1 on", s)
		}
	}
	return nil
}

// search runs schedules until one fails.
func (x *explorer) search(seed uint64) *Failure {
	for i := range x.o.Schedules {
		p := plan{strategy: x.o.Strategies[i%len(x.o.Strategies)], seed: seed + uint64(i)}
		if p.strategy.depth > 0 {
			p.steps = x.expected()
		}
		if f := x.one(p); f != nil {
			return f
		}
	}
	return nil
}

// expected is how long the next run should be: as long as the longest, but for
// one that only spun.
func (x *explorer) expected() int {
	if x.report.Schedules == 0 {
		return 100
	}
	return max(min(x.report.Longest, 2*x.total/x.report.Schedules), 1)
}

// one runs one schedule.
func (x *explorer) one(p plan) *Failure {
	r := newRun(p, &x.o)
	reason := r.run(x.body)
	if reason == "" && x.failed() {
		reason = "the test has failed"
	}
	x.report.add(r)
	x.total += len(r.trace)
	if reason == "" {
		return nil
	}
	return &Failure{Reason: reason, Replay: p.String(), Schedule: x.report.Schedules, Trace: r.trace, standing: r.standing()}
}

// add takes a run into the report.
func (rep *Report) add(r *Run) {
	rep.Schedules++
	rep.Longest = max(rep.Longest, len(r.trace))
	if r.stalled > 0 {
		rep.Stalled++
	}
	for _, t := range r.threads {
		for _, point := range t.order {
			n := t.visits[point]
			i := slices.IndexFunc(rep.Visited, func(v Stall) bool { return v.Thread == t.name && v.Point == point })
			if i < 0 {
				rep.Visited = append(rep.Visited, Stall{t.name, point, n})
			} else {
				rep.Visited[i].Visit = max(rep.Visited[i].Visit, n)
			}
		}
	}
}
