package harness_test

import (
	"context"
	"errors"
	"reflect"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"vlsbench/harness"
	"vlsbench/hw"
	"vlsbench/results"
	"vlsbench/vls"
	"vlsbench/workloads"
	"vlsbench/workloads/workloadtest"
)

func init() {
	vls.Register(workloadtest.Strategy("pipe-a", 0, workloadtest.None, 0))
	vls.Register(workloadtest.Strategy("pipe-b", 0, workloadtest.None, 0))
	vls.Register(workloadtest.Strategy("pipe-single", 1, workloadtest.None, 0))
	vls.Register(workloadtest.Strategy("pipe-corrupt", 0, workloadtest.Corrupt, 500))
}

// A round runs everything once, and the order hangs on seed and round alone.
func TestOrder(t *testing.T) {
	per := []int{3, 0, 2, 3}
	seen := make(map[string]bool)
	for round := range 40 {
		steps := harness.Order(9, round, per)
		if again := harness.Order(9, round, per); !reflect.DeepEqual(steps, again) {
			t.Fatalf("round %d: %v, then %v", round, steps, again)
		}
		count := make(map[harness.Step]int)
		cells := 1
		for i, s := range steps {
			count[s]++
			if i > 0 && s.Cell != steps[i-1].Cell {
				cells++
			}
		}
		for c, n := range per {
			for s := range n {
				if count[harness.Step{Cell: c, Strategy: s}] != 1 {
					t.Fatalf("round %d: %v runs cell %d, strategy %d not once", round, steps, c, s)
				}
			}
		}
		if len(steps) != 8 || cells != 3 {
			t.Fatalf("round %d: %v: want 8 steps, cells in one piece", round, steps)
		}
		key := ""
		for _, s := range steps {
			key += string(rune('0'+s.Cell)) + string(rune('0'+s.Strategy))
		}
		seen[key] = true
	}
	if len(seen) < 30 {
		t.Errorf("40 rounds have only %d orders", len(seen))
	}
	if reflect.DeepEqual(harness.Order(9, 0, per), harness.Order(10, 0, per)) {
		t.Error("two seeds, one order")
	}
	// What a recorded seed means must not change with a release.
	want := []harness.Step{{Cell: 0, Strategy: 1}, {Cell: 0, Strategy: 2}, {Cell: 0, Strategy: 0}, {Cell: 1, Strategy: 1}, {Cell: 1, Strategy: 0}}
	if got := harness.Order(1, 0, []int{3, 2}); !reflect.DeepEqual(got, want) {
		t.Errorf("seed 1: %#v, want %#v", got, want)
	}
}

func plan(strategies ...string) results.Plan {
	topology, err := hw.SystemTopology()
	if err != nil {
		panic(err)
	}
	return results.Plan{
		Profile: "test", Seed: 3, Strategies: strategies, Baseline: strategies[0],
		Cells: []results.Cell{
			{Workload: "uni", Procs: 1, Threads: 2, Sessions: 1, Size: 64, Wait: "park"},
			{Workload: "pingpong", Procs: 2, Threads: 2, Sessions: 1, Size: 64, Wait: "park"},
		},
		Rounds: 3, Slot: 5 * time.Millisecond, Warmup: time.Millisecond, Pin: "core",
		CPUs: topology.Order(hw.PinCore), MinOverlap: harness.MinOverlap, MaxStall: harness.MaxStall,
	}
}

// run makes a run and returns its records; stop, if set, is asked after each.
func run(t *testing.T, p results.Plan, stop func(results.Record) bool) ([]results.Record, results.End, error) {
	t.Helper()
	dog := time.AfterFunc(3*time.Minute, func() { panic("the run hangs") })
	defer dog.Stop()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var got []results.Record
	end, err := harness.Run(ctx, harness.Options{ID: "x", Plan: p, Sink: func(r results.Record) error {
		got = append(got, r)
		if stop != nil && stop(r) {
			cancel()
		}
		return nil
	}})
	var hang *harness.Hang
	if errors.As(err, &hang) {
		t.Log(hang.Stacks)
	}
	return got, end, err
}

// A run is its description, every slot, and its end; each slot is whole.
func TestRun(t *testing.T) {
	p := plan("pipe-a", "pipe-b", "pipe-single")
	procs := runtime.GOMAXPROCS(0)
	got, end, err := run(t, p, nil)
	if err != nil {
		t.Fatal(err)
	}
	if runtime.GOMAXPROCS(0) != procs {
		t.Errorf("GOMAXPROCS is %d after the run, was %d", runtime.GOMAXPROCS(0), procs)
	}
	// pipe-single has no second thread in a process, so none in the first cell.
	const slots = 3 * (2 + 3)
	if len(got) != slots+2 || got[0].Run == nil || got[len(got)-1].End == nil {
		t.Fatalf("%d records, want a run, %d slots and an end", len(got), slots)
	}
	if end.Slots != slots || end.Rounds != 3 || end.Interrupted || end.Error != "" {
		t.Errorf("end: %+v", end)
	}
	r := got[0].Run
	said := 0
	for _, w := range r.Warnings {
		if strings.Contains(w.What, "pipe-single") && strings.Contains(w.What, "1 of 2 cells") {
			said++
		}
	}
	if said != 1 {
		t.Errorf("that pipe-single is left out of a cell is said %d times: %+v", said, r.Warnings)
	}
	if r.Plan.Units["uni"] != "messages" || r.Machine.CycleHz == 0 || len(r.Machine.Allowed) == 0 || r.Build.GOMAXPROCS != 4 {
		t.Errorf("run: %+v", r)
	}
	for _, rec := range got[1 : len(got)-1] {
		s := rec.Slot
		if s.Ops == 0 && s.Bad == "" || len(s.CPUs) != 2 || len(s.Stall) != 2 || len(s.PerOps) != 2 {
			t.Errorf("slot: %+v", s)
		}
		if len(p.CPUs) > 1 && (s.CPUs[0] != p.CPUs[0] || s.CPUs[1] != p.CPUs[1]) {
			t.Errorf("ran on %v, pinned to %v", s.CPUs, p.CPUs)
		}
		if (s.Latency != nil) != (s.Cell.Workload == "pingpong") && s.Ops > 100 {
			t.Errorf("latency of %s: %v", s.Cell, s.Latency)
		}
		if s.GCs != 0 {
			t.Errorf("%d collections in a slot", s.GCs)
		}
	}
}

// A slot must not depend on which slots ran before: two runs of one seed
// measure in one order.
func TestSameSeedSameRun(t *testing.T) {
	p := plan("pipe-a", "pipe-b")
	p.Rounds = 4
	order := func() (names []string) {
		got, _, err := run(t, p, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range got {
			if r.Slot != nil {
				names = append(names, r.Slot.Strategy+" "+r.Slot.Cell.String())
			}
		}
		return names
	}
	if a, b := order(), order(); !reflect.DeepEqual(a, b) {
		t.Errorf("%v\n%v", a, b)
	}
}

func TestInterrupt(t *testing.T) {
	n := 0
	got, end, err := run(t, plan("pipe-a", "pipe-b"), func(r results.Record) bool {
		if r.Slot != nil {
			n++
		}
		return n == 5
	})
	if err != nil {
		t.Fatal(err)
	}
	if !end.Interrupted || end.Slots != 5 || end.Rounds != 1 || len(got) != 7 || got[6].End == nil || !got[6].End.Interrupted {
		t.Errorf("end: %+v after %d records", end, len(got))
	}
}

// A wrong byte fails the run, and the end says where.
func TestWrongByte(t *testing.T) {
	got, _, err := run(t, plan("pipe-a", "pipe-corrupt"), nil)
	if err == nil {
		t.Fatal("not found")
	}
	for _, want := range []string{"strategy pipe-corrupt", "workload=", "size=64", "session 0", "at byte", "expected", "found"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v: no %q in it", err, want)
		}
	}
	if end := got[len(got)-1].End; end == nil || end.Error == "" {
		t.Errorf("the last record is not an end with an error")
	}
}

func TestSinkFails(t *testing.T) {
	full := errors.New("disk full")
	_, err := harness.Run(context.Background(), harness.Options{Plan: plan("pipe-a"), Sink: func(r results.Record) error {
		if r.Slot != nil {
			return full
		}
		return nil
	}})
	if !errors.Is(err, full) {
		t.Errorf("%v", err)
	}
}

func spec(fault workloadtest.Fault) harness.Spec {
	w, err := workloads.Lookup("pingpong")
	if err != nil {
		panic(err)
	}
	return harness.Spec{
		Strategy: workloadtest.Strategy("pipe", 0, fault, 1000), Workload: w,
		Params: workloads.Params{Threads: 2, Procs: 1, Sessions: 1, Size: 64, Wait: vls.Park},
		Slot:   5 * time.Millisecond, Warmup: time.Millisecond, Patience: 300 * time.Millisecond,
	}
}

// A slot that does not end fails, and says who waits for what.
func TestHang(t *testing.T) {
	for fault, name := range map[workloadtest.Fault]string{workloadtest.Hang: "hang", workloadtest.Lose: "loss"} {
		s := spec(fault)
		s.Slot = 500 * time.Millisecond // to come to the fault even if the machine is slow
		_, err := harness.Measure(s)
		var hang *harness.Hang
		if !errors.As(err, &hang) {
			t.Fatalf("%s: %v", name, err)
		}
		for _, want := range []string{"strategy pipe", "thread 0 (process 0): measures", "thread 1 (process 0): measures"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v: no %q in it", name, err, want)
			}
		}
		if !strings.Contains(hang.Stacks, "workloads.(*Conn).Recv") {
			t.Errorf("%s: the stacks do not show who reads", name)
		}
	}
}

func TestPanicAndRefusal(t *testing.T) {
	s := spec(workloadtest.Panic)
	s.Slot = time.Second
	if _, err := harness.Measure(s); err == nil || !strings.Contains(err.Error(), "panic: planted") {
		t.Errorf("a panic: %v", err)
	}
	s = spec(workloadtest.None)
	s.CPUs = []int{8000}
	if _, err := harness.Measure(s); err == nil || !strings.Contains(err.Error(), "8000") {
		t.Errorf("a CPU that is not there: %v", err)
	}
}

// wantBad measures slots that have to be bad, the longer the later, until one is
// for the reason that is wanted: where the machine is busy with others it may be
// for another one first.
func wantBad(t *testing.T, s harness.Spec, why string) {
	t.Helper()
	var slot results.Slot
	for range 8 {
		var err error
		if slot, err = harness.Measure(s); err != nil {
			t.Error(err)
			return
		}
		if strings.Contains(slot.Bad, why) {
			return
		}
		s.Slot *= 2
	}
	t.Errorf("bad for %q, with %d collections; want it to be for %q", slot.Bad, slot.GCs, why)
}

// A workload whose threads do not run together makes a bad slot, not an error.
func TestBadSlots(t *testing.T) {
	cpus, err := hw.Allowed()
	if err != nil {
		t.Fatal(err)
	}
	if cpus.Len() < 2 {
		t.Skip("one CPU: threads take turns, and overlap rejects nothing")
	}
	s := spec(workloadtest.None)
	s.Patience = time.Minute // none of these hangs
	s.Workload = workloads.Workload{Name: "lonely", Unit: "messages", Run: func(w *workloads.Worker) error {
		if err := w.Start(); err != nil {
			return err
		}
		for w.Tick(1, 0) {
			if w.ID == 1 && w.Measuring() {
				w.Stop()
				break
			}
		}
		return nil
	}}
	wantBad(t, s, "together")
	// Thread 1 shares its CPU with one that is not measured.
	var stop atomic.Bool
	defer stop.Store(true)
	s.Slot = 60 * time.Millisecond // at first: some time slices of the kernel's
	s.CPUs = cpus.List()[:2]
	go func() {
		runtime.LockOSThread()
		if err := hw.Pin(s.CPUs[1]); err != nil {
			t.Error(err)
		}
		for !stop.Load() {
			hw.Pause()
		}
	}()
	s.Workload.Run = func(w *workloads.Worker) error {
		if err := w.Start(); err != nil {
			return err
		}
		for w.Tick(1, 0) {
		}
		return nil
	}
	wantBad(t, s, "thread 1 lost")
	stop.Store(true)
	s.Workload.Run = func(w *workloads.Worker) error {
		if err := w.Start(); err != nil {
			return err
		}
		for w.Tick(1, 0) {
			if w.ID == 1 {
				runtime.GC()
			}
		}
		return nil
	}
	wantBad(t, s, "garbage collections in the slot")
	s.Workload.Run = func(w *workloads.Worker) error {
		err := w.Start()
		for w.Tick(0, 0) {
		}
		return err
	}
	wantBad(t, s, "nothing was completed")
}

func TestPlansThatCannotBe(t *testing.T) {
	for want, change := range map[string]func(*results.Plan){
		"unknown strategy \"nope\"": func(p *results.Plan) { p.Strategies = []string{"nope"} },
		"unknown workload \"nope\"": func(p *results.Plan) { p.Cells[0].Workload = "nope" },
		"unknown wait \"nap\"":      func(p *results.Plan) { p.Cells[0].Wait = "nap" },
		"size 0: want 1 to":         func(p *results.Plan) { p.Cells[1].Size = 0 },
		"rounds 0":                  func(p *results.Plan) { p.Rounds = 0 },
		"slot 1ms: want at least":   func(p *results.Plan) { p.Slot = time.Millisecond },
		"nothing to measure": func(p *results.Plan) {
			p.Strategies, p.Cells = []string{"pipe-single"}, p.Cells[:1]
		},
	} {
		p := plan("pipe-a")
		change(&p)
		if err := harness.Check(p); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestCalibrate(t *testing.T) {
	for _, cpus := range [][]int{plan("pipe-a").CPUs, plan("pipe-a").CPUs[:1], nil} {
		limits, err := harness.Calibrate(cpus)
		if err != nil {
			t.Fatal(err)
		}
		names := make(map[string]bool)
		for _, l := range limits {
			if names[l.Name] = true; !(l.Value > 0) || l.Unit != "ns" || l.Doc == "" {
				t.Errorf("%+v", l)
			}
		}
		if !names["cas"] || !names["verify-64"] || names["line-roundtrip"] != (len(cpus) > 1) {
			t.Errorf("on %v: %v", cpus, names)
		}
	}
}
