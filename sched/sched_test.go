//go:build sched

package sched

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// search is Search with options that are right.
func search(t *testing.T, o Options, body func(*Run)) (Report, *Failure) {
	t.Helper()
	rep, f, err := Search(o, body)
	if err != nil {
		t.Fatal(err)
	}
	return rep, f
}

// finds expects a failure that says want, within the schedules of o, and that
// it can be had again.
func finds(t *testing.T, o Options, want string, body func(*Run)) *Failure {
	t.Helper()
	rep, f := search(t, o, body)
	if f == nil {
		t.Fatalf("%d schedules found nothing", rep.Schedules)
	}
	if !strings.Contains(f.Reason, want) {
		t.Fatalf("want %q in:\n%v", want, f)
	}
	again, err := Replay(f.Replay, o, body)
	if err != nil {
		t.Fatal(err)
	}
	if again == nil || again.Reason != f.Reason && !strings.Contains(f.Reason, "\n") || !slices.Equal(again.Trace, f.Trace) {
		t.Fatalf("found:\n%v\n\nreplayed:\n%v", f, again)
	}
	t.Logf("found by schedule %d, %s, in %d steps", f.Schedule, f.Replay, len(f.Trace))
	return f
}

// passes expects no failure.
func passes(t *testing.T, o Options, body func(*Run)) Report {
	t.Helper()
	rep, f := search(t, o, body)
	if f != nil {
		t.Fatal(f)
	}
	return rep
}

// hangs ends the process, with all stacks, if the test does not end. What runs
// under control has a watchdog of its own, which names the thread.
func hangs(t *testing.T) {
	timer := time.AfterFunc(50*time.Second, func() {
		stacks := make([]byte, 1<<20)
		panic(t.Name() + ": no end\n\n" + string(stacks[:runtime.Stack(stacks, true)]))
	})
	t.Cleanup(func() { timer.Stop() })
}

// traced runs one schedule and returns its trace.
func traced(t *testing.T, p plan, body func(*Run)) []Step {
	t.Helper()
	r := newRun(p, &Options{Steps: 1000})
	if reason := r.run(body); reason != "" {
		t.Fatal(reason)
	}
	return r.trace
}

// busy is three threads that do everything there is.
func busy(r *Run) {
	var word, turns uint32
	var held atomic.Bool
	for i := range 3 {
		r.Go(fmt.Sprint("t", i), func() {
			for range 3 {
				Wait("lock", func() bool { return held.CompareAndSwap(false, true) }, -1)
				Point("inside")
				turns++
				held.Store(false)
				FutexWait("nap", &word, 0, time.Millisecond)
				FutexWake("wake", &word, 1)
				Spin("spin")
			}
			if i == 0 {
				r.Go("child", func() { Point("born") })
			}
		})
	}
	r.Check(func() {
		if turns != 9 {
			r.Errorf("%d turns", turns)
		}
	})
}

func TestSameSeedSameTrace(t *testing.T) {
	hangs(t)
	for _, s := range []Strategy{Random, PCT(1), PCT(4)} {
		distinct := map[string]bool{}
		for seed := range uint64(50) {
			p := plan{s, 60, seed}
			first := traced(t, p, busy)
			for range 3 {
				if again := traced(t, p, busy); !slices.Equal(first, again) {
					t.Fatalf("%v:\n%v\n%v", p, first, again)
				}
			}
			distinct[fmt.Sprint(first)] = true
		}
		if len(distinct) < 25 {
			t.Errorf("%v: %d traces from 50 seeds", s, len(distinct))
		}
	}
}

// Among few interleavings each is found.
func TestRandomReachesAll(t *testing.T) {
	hangs(t)
	seen := map[string]int{}
	for seed := range uint64(1000) {
		var order []string
		traced(t, plan{seed: seed}, func(r *Run) {
			for _, name := range []string{"a", "b"} {
				r.Go(name, func() {
					for range 3 {
						order = append(order, name)
						Point("p")
					}
				})
			}
		})
		seen[fmt.Sprint(order)]++
	}
	if len(seen) != 20 { // 6 over 3
		t.Errorf("%d of 20 interleavings: %v", len(seen), seen)
	}
}

// With depth 1 there is no change: a thread runs until it waits.
func TestPCTKeepsPriorities(t *testing.T) {
	hangs(t)
	for seed := range uint64(100) {
		trace := traced(t, plan{PCT(1), 20, seed}, func(r *Run) {
			for _, name := range []string{"a", "b", "c"} {
				r.Go(name, func() {
					for range 5 {
						Point("p")
					}
				})
			}
		})
		switches := 0
		for i := 1; i < len(trace); i++ {
			if trace[i].Thread != trace[i-1].Thread {
				switches++
			}
		}
		if switches != 2 {
			t.Fatalf("%d switches: %v", switches, trace)
		}
	}
}

// A thread that spins with the highest priority must let the others go on.
func TestSpinnersAreLowered(t *testing.T) {
	hangs(t)
	for seed := range uint64(100) {
		trace := traced(t, plan{PCT(3), 60, seed}, func(r *Run) {
			done := false
			for i := range 2 {
				r.Go(fmt.Sprint("spinner", i), func() {
					for !done {
						Spin("look")
					}
				})
			}
			r.Go("worker", func() {
				for range 50 {
					Point("work")
				}
				done = true
			})
		})
		// A change may lower the worker for a turn; not for long.
		if spins := len(trace) - 50; spins > 8 {
			t.Fatalf("seed %d: %d spins", seed, spins)
		}
	}
}

// Choosing at random, one that spins lets another go first, and is then as
// likely as any.
func TestSpinnersYield(t *testing.T) {
	hangs(t)
	const work = 6
	saw := map[int]bool{}
	for seed := range uint64(200) {
		n := 0
		trace := traced(t, plan{seed: seed}, func(r *Run) {
			r.Go("spinner", func() {
				for n < work {
					Spin("look")
					saw[n] = true
				}
			})
			r.Go("worker", func() {
				for n < work {
					n++
					Point("work")
				}
			})
		})
		for i := 1; i < len(trace); i++ {
			if trace[i].Point == "look" && trace[i-1].Point == "look" {
				t.Fatalf("a spinner goes on before the other: %v", trace)
			}
		}
	}
	if len(saw) != work {
		t.Errorf("the spinner saw %v", saw)
	}
}

func TestForeignGoroutinesPass(t *testing.T) {
	hangs(t)
	passes(t, Options{Schedules: 50}, func(r *Run) {
		r.Go("thread", func() {
			Point("before")
			done := make(chan struct{})
			go func() {
				defer close(done)
				Point("foreign")
				var word uint32
				if Controlled() || Wait("foreign", func() bool { return true }, -1) || FutexWait("foreign", &word, 0, -1) || Spin("foreign") {
					r.Errorf("a goroutine that is no thread is under control")
				}
				FutexWake("foreign", &word, 1)
			}()
			<-done
			if !Controlled() {
				r.Errorf("a thread is not under control")
			}
			Point("after")
		})
		r.Check(func() {
			if Controlled() {
				r.Errorf("a check is under control")
			}
			if n := len(r.trace); n != 2 {
				r.Errorf("%d steps: %v", n, r.trace)
			}
		})
	})
}

// A condition may be what is called by threads too, points and all.
func TestConditionsPassPoints(t *testing.T) {
	hangs(t)
	passes(t, Options{Schedules: 50}, func(r *Run) {
		n := 0
		pending := func() bool {
			Point("look")
			return n == 2
		}
		r.Go("waiter", func() { Wait("pending", pending, -1) })
		for _, name := range []string{"a", "b"} {
			r.Go(name, func() { Point("post"); n++ })
		}
		r.Check(func() {
			if len(r.trace) != 3 {
				r.Errorf("%v", r.trace)
			}
		})
	})
}

func TestTimeouts(t *testing.T) {
	hangs(t)
	never := func() bool { return false }
	passes(t, Options{Schedules: 100}, func(r *Run) {
		var order []string
		r.Go("long", func() {
			if Wait("long", never, time.Hour) {
				r.Errorf("long: not late")
			}
			order = append(order, "long")
		})
		r.Go("short", func() {
			if Wait("short", never, time.Second) {
				r.Errorf("short: not late")
			}
			order = append(order, "short")
		})
		r.Go("futex", func() {
			var word uint32
			if !FutexWait("futex", &word, 0, time.Minute) {
				r.Errorf("futex: not under control")
			}
			order = append(order, "futex")
		})
		r.Go("none", func() {
			for range 10 {
				Point("work")
			}
			order = append(order, "none")
		})
		r.Check(func() {
			if got := fmt.Sprint(order); got != "[none short futex long]" {
				r.Errorf("order %v", got)
			}
		})
	})
	// What is ready is not late, whatever the time.
	passes(t, Options{Schedules: 100}, func(r *Run) {
		there := false
		r.Go("waiter", func() {
			if !Wait("there", func() bool { return there }, 0) {
				r.Errorf("late")
			}
		})
		r.Go("other", func() {
			Point("a")
			there = true
		})
	})
	// A thread that spins for what another does after its timeout.
	passes(t, Options{Schedules: 100}, func(r *Run) {
		done := false
		r.Go("sleeper", func() {
			if Wait("never", never, time.Second) {
				r.Errorf("not late")
			}
			var word uint32
			FutexWait("never", &word, 0, time.Second)
			done = true
		})
		r.Go("spinner", func() {
			for !done {
				Point("look")
				Spin("spin")
			}
		})
	})
}

// A futex is woken by a wake, not by its word.
func TestFutexNeedsItsWake(t *testing.T) {
	hangs(t)
	body := func(wakes bool) func(*Run) {
		return func(r *Run) {
			var word uint32
			for i := range 2 {
				r.Go(fmt.Sprint("sleeper", i), func() {
					for atomic.LoadUint32(&word) == 0 {
						FutexWait("sleep", &word, 0, -1)
					}
				})
			}
			r.Go("waker", func() {
				atomic.StoreUint32(&word, 1)
				if wakes {
					FutexWake("wake", &word, 2)
				}
			})
		}
	}
	passes(t, Options{Schedules: 300}, body(true))
	finds(t, Options{Schedules: 300}, `sleeps in "sleep"`, body(false))
	// One wake is for one sleeper, and for that word alone.
	for range 20 {
		_, f := search(t, Options{Schedules: 1}, func(r *Run) {
			var word, other uint32
			for i := range 2 {
				r.Go(fmt.Sprint("sleeper", i), func() { FutexWait("sleep", &word, 0, -1) })
			}
			r.Go("waker", func() {
				Wait("both asleep", func() bool { return r.threads[0].state == asleep && r.threads[1].state == asleep }, -1)
				FutexWake("wake", &word, 1)
				FutexWake("wake other", &other, 9)
			})
		})
		if f == nil || strings.Count(f.Reason, `sleeps in "sleep"`) != 1 {
			t.Fatal(f)
		}
	}
}

func TestEndlessRunsAreFound(t *testing.T) {
	hangs(t)
	for _, s := range []Strategy{Random, PCT(2)} {
		f := finds(t, Options{Schedules: 1, Steps: 500, Strategies: []Strategy{s}}, "no end after 500 steps", func(r *Run) {
			for _, name := range []string{"a", "b"} {
				r.Go(name, func() {
					for {
						Spin("after you")
					}
				})
			}
		})
		if text := f.Error(); !strings.Contains(text, "a: after you") {
			t.Error(text)
		}
	}
}

// A loop that polls without telling ends when it is not the highest any more.
func TestPCTIsFairInTheEnd(t *testing.T) {
	hangs(t)
	passes(t, Options{Schedules: 50, Strategies: []Strategy{PCT(1), PCT(2)}}, func(r *Run) {
		var done bool
		r.Go("poller", func() {
			for !done {
				Point("look")
			}
		})
		r.Go("worker", func() {
			Point("work")
			done = true
		})
	})
}

func TestFailuresOfThreads(t *testing.T) {
	hangs(t)
	o := Options{Schedules: 30}
	hole, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_NONE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(hole)
	idle := func(r *Run) {
		r.Go("idle", func() {
			for range 3 {
				Point("idle")
			}
			Wait("for ever", func() bool { return false }, -1)
		})
	}
	for _, c := range []struct {
		want string
		body func(*Run)
	}{
		{"bad: panic: ouch", func(r *Run) { r.Go("bad", func() { Point("p"); panic("ouch") }) }},
		{"bad: panic: runtime error: invalid memory address", func(r *Run) { r.Go("bad", func() { Point("p"); hole[0]++ }) }},
		{"bad: ended by FailNow or Goexit", func(r *Run) { r.Go("bad", func() { Point("p"); runtime.Goexit() }) }},
		{"bad: wrong: 7", func(r *Run) { r.Go("bad", func() { Point("p"); r.Fatalf("wrong: %d", 7) }) }},
		{"bad: wrong: 8", func(r *Run) {
			r.Go("bad", func() { r.Errorf("wrong: %d", 8); Point("p"); Wait("x", func() bool { return false }, -1) })
		}},
		{`bad: panic in the condition of "cond": ouch`, func(r *Run) { r.Go("bad", func() { Wait("cond", func() bool { panic("ouch") }, -1) }) }},
		{"body: panic: ouch", func(r *Run) { r.Go("bad", func() {}); panic("ouch") }},
		{"body: ended by FailNow", func(r *Run) { r.Go("bad", func() {}); runtime.Goexit() }},
		{`two threads are called "idle"`, func(r *Run) { r.Go("idle", func() {}) }},
		{"is not a thread of the run", func(r *Run) {
			r.Go("bad", func() {
				done := make(chan struct{})
				go func() { defer close(done); r.Go("late", func() {}) }()
				<-done
			})
		}},
	} {
		before := runtime.NumGoroutine()
		finds(t, o, c.want, func(r *Run) { idle(r); c.body(r) })
		sameGoroutines(t, before)
	}
	ends := func(r *Run) { r.Go("a", func() { Point("p") }) }
	finds(t, o, "check: panic: ouch", func(r *Run) { ends(r); r.Check(func() { panic("ouch") }) })
	finds(t, o, "check: ended by FailNow", func(r *Run) { ends(r); r.Check(runtime.Goexit) })
	finds(t, o, "2 is not 1", func(r *Run) { ends(r); r.Check(func() { r.Errorf("%d is not %d", 2, 1) }) })
	finds(t, o, "no thread", func(r *Run) {})
}

// sameGoroutines expects as many goroutines as before, and none of them known as
// a thread. One that has closed its last channel may be counted for a moment.
func sameGoroutines(t *testing.T, before int) {
	t.Helper()
	for range 1000 {
		if runtime.NumGoroutine() <= before {
			registered.Range(func(_, v any) bool {
				t.Errorf("%s is still registered", v.(*thread).name)
				return false
			})
			if n := live.Load(); n != 0 {
				t.Errorf("%d threads are still counted", n)
			}
			return
		}
		time.Sleep(time.Millisecond)
	}
	stacks := make([]byte, 1<<20)
	t.Errorf("%d goroutines, before %d\n%s", runtime.NumGoroutine(), before, stacks[:runtime.Stack(stacks, true)])
}

// Threads that are left when a run is over end, whatever they wait for and
// whatever their deferred calls do, one at a time.
func TestNoGoroutineIsLeft(t *testing.T) {
	hangs(t)
	before := runtime.NumGoroutine()
	var inside, deferred int
	_, f := search(t, Options{Schedules: 1}, func(r *Run) {
		var word uint32
		never := func() bool { return false }
		clean := func() {
			inside++
			runtime.Gosched()
			if inside != 1 {
				t.Error("two threads end at once")
			}
			deferred++
			inside--
		}
		for name, f := range map[string]func(){
			"a": func() { Wait("for ever", never, -1) },
			"b": func() { FutexWait("for ever", &word, 0, -1) },
			"c": func() {
				defer func() {
					for {
						Point("a deferred call that never ends")
					}
				}()
				Wait("for ever", never, -1)
			},
		} {
			r.Go(name, func() {
				defer clean()
				f()
				t.Error("went on for ever")
			})
		}
	})
	if f == nil || !strings.Contains(f.Reason, "deadlock") {
		t.Errorf("%v", f)
	}
	if deferred != 3 {
		t.Errorf("%d deferred calls", deferred)
	}
	sameGoroutines(t, before)
}

// A wait that the scheduler does not see is told, and the other threads end.
func TestUnseenWait(t *testing.T) {
	hangs(t)
	oldTicks, oldTime := stuckTicks, tickTime
	stuckTicks, tickTime = 5, 20*time.Millisecond
	defer func() { stuckTicks, tickTime = oldTicks, oldTime }()
	before := runtime.NumGoroutine()
	hole := make(chan struct{})
	_, f := search(t, Options{Schedules: 1}, func(r *Run) {
		r.Go("a", func() { Point("fine"); <-hole; Point("back") })
		r.Go("b", func() { Wait("for ever", func() bool { return false }, -1) })
	})
	if f == nil || !strings.Contains(f.Reason, `a, after "fine", does not come to another point`) || !strings.Contains(f.Reason, "TestUnseenWait") {
		t.Errorf("%v", f)
	}
	close(hole)
	sameGoroutines(t, before)
}

// Two tests may explore at once.
func TestRunsAreApart(t *testing.T) {
	hangs(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if _, f, err := Search(Options{Schedules: 50}, busy); f != nil || err != nil {
				t.Error(f, err)
			}
		})
	}
	wg.Wait()
}

func TestReportListsThePoints(t *testing.T) {
	hangs(t)
	rep := passes(t, Options{Schedules: 20}, busy)
	var points []string
	for _, v := range rep.Visited {
		points = append(points, v.String())
	}
	slices.Sort(points)
	want := []string{`child at "born", visit 1`, `t0 at "started child", visit 1`}
	for i := range 3 {
		for _, p := range []string{"lock", "inside", "nap", "wake", "spin"} {
			want = append(want, fmt.Sprintf("t%d at %q, visit 3", i, p))
		}
	}
	slices.Sort(want)
	if !slices.Equal(points, want) {
		t.Errorf("got  %q\nwant %q", points, want)
	}
	if rep.Schedules != 20 || rep.Longest < 45 {
		t.Errorf("%+v", rep)
	}
}

// A thread is stopped at each point that it comes to. Inside the lock it holds
// up the others, and the failure names it; elsewhere nobody needs it.
func TestStall(t *testing.T) {
	hangs(t)
	var turns map[string]int
	body := func(r *Run) {
		var held atomic.Bool
		turns = map[string]int{}
		for _, name := range []string{"a", "b"} {
			r.Go(name, func() {
				for range 3 {
					Wait("lock", func() bool { return held.CompareAndSwap(false, true) }, -1)
					turns[name]++
					Point("inside")
					held.Store(false)
					Point("outside")
				}
			})
		}
	}
	rep := passes(t, Options{Schedules: 20}, body)
	tried := 0
	for _, v := range rep.Visited {
		for n := range v.Visit {
			tried++
			o := Options{Schedules: 20, Stall: []Stall{{v.Thread, v.Point, n + 1}}}
			if v.Point == "inside" {
				finds(t, o, fmt.Sprintf("%s was stopped at %q", v.Thread, "inside"), body)
			} else if rep := passes(t, o, body); rep.Stalled != rep.Schedules {
				t.Errorf("%v: %+v", o.Stall, rep)
			}
			want := n + 1
			if v.Point == "lock" {
				want--
			}
			if turns[v.Thread] != want {
				t.Errorf("%v: %d turns", o.Stall, turns[v.Thread])
			}
		}
	}
	if tried != 2*3*3 {
		t.Errorf("%d stalls", tried)
	}
}

func TestOptionsThatAreWrong(t *testing.T) {
	body := func(r *Run) { r.Go("a", func() {}) }
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{Schedules: -1}, "-1 schedules"},
		{Options{Steps: -2}, "-2 steps"},
		{Options{Strategies: []Strategy{PCT(0)}}, "want 1 to 16"},
		{Options{Strategies: []Strategy{PCT(17)}}, "depth 17: want 1 to 16"},
		{Options{Stall: []Stall{{"a", "p", 0}}}, `stall of a at "p", visit 0: want a visit from 1 on`},
	} {
		if _, _, err := Search(c.o, body); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c.o, err)
		}
	}
	for _, s := range []string{"", "7", "random", "random/x", "random/1/2", "pct/1/2", "pct0/1/2", "pct3/2", "pct3/0/2", "pct99/1/2", "pct3/1/-2"} {
		if _, err := Replay(s, Options{}, body); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q", s)) {
			t.Errorf("%q: %v", s, err)
		}
	}
	for _, s := range []string{"random/0", "pct3/140/18446744073709551615"} {
		if p, err := parsePlan(s); err != nil || p.String() != s {
			t.Errorf("%q: %v, %v", s, p, err)
		}
	}
}

func TestGoroutinesAreToldApart(t *testing.T) {
	for _, f := range []func() uintptr{goroutine, goroutineGeneric} {
		mine := f()
		if f() != mine || mine == 0 {
			t.Error("not the same twice")
		}
		other := make(chan uintptr)
		go func() { other <- f() }()
		if <-other == mine {
			t.Error("two are the same")
		}
		// The stack moves when it grows; the goroutine does not.
		var grow func(n int) uintptr
		grow = func(n int) uintptr {
			var pad [1 << 10]byte
			if n == 0 {
				return f() + uintptr(pad[0])
			}
			return grow(n-1) + uintptr(pad[n])
		}
		if grow(500) != mine {
			t.Error("another after its stack grew")
		}
	}
}

// What a failing test prints runs the same schedule again. The test runs itself
// for it: the failure is one that Explore makes of a test of its own.
func TestExploreTellsHowToReplay(t *testing.T) {
	if os.Getenv("SCHED_TEST_FAILS") != "" {
		return
	}
	self := func(args ...string) string {
		cmd := exec.Command(os.Args[0], append([]string{"-test.run", "^TestThatFails$/^lost_update$"}, args...)...)
		cmd.Env = append(os.Environ(), "SCHED_TEST_FAILS=1")
		out, err := cmd.CombinedOutput()
		if err == nil {
			t.Fatalf("it did not fail:\n%s", out)
		}
		return string(out)
	}
	first := self()
	_, command, _ := strings.Cut(first, "run it again with:\n")
	command, _, _ = strings.Cut(strings.TrimSpace(command), "\n")
	want := "go test -tags sched -run '^TestThatFails$/^lost_update$' vlsbench/sched -sched.replay "
	schedule, found := strings.CutPrefix(command, want)
	if !found {
		t.Fatalf("want %q in:\n%s", want, first)
	}
	report := func(out string) string {
		_, s, _ := strings.Cut(out, schedule)
		s, _, _ = strings.Cut(s, "run it again")
		return s
	}
	again := self("-sched.replay", schedule)
	if report(again) == "" || report(again) != report(first) {
		t.Errorf("replayed:\n%s\nfirst:\n%s", again, first)
	}
	for _, want := range []string{"n is 1, want 2", "a: loaded", "b has ended", "last steps"} {
		if !strings.Contains(first, want) {
			t.Errorf("want %q in:\n%s", want, first)
		}
	}
	if out := self("-sched.replay", "pct3"); !strings.Contains(out, `-sched.replay: sched: schedule "pct3": want random/SEED`) {
		t.Error(out)
	}
}

// It is for TestExploreTellsHowToReplay, and passes when it is not run by it.
func TestThatFails(t *testing.T) {
	if os.Getenv("SCHED_TEST_FAILS") == "" {
		t.Skip("fails on purpose, when another test runs it")
	}
	t.Run("lost update", func(t *testing.T) {
		Explore(t, Options{}, func(r *Run) {
			n := 0
			for _, name := range []string{"a", "b"} {
				r.Go(name, func() {
					v := n
					Point("loaded")
					n = v + 1
				})
			}
			r.Check(func() {
				if n != 2 {
					t.Errorf("n is %d, want 2", n)
				}
			})
		})
	})
}

func TestExploreWantsItsStall(t *testing.T) {
	var f fake
	done := make(chan struct{})
	go func() {
		defer close(done)
		Explore(&f, Options{Schedules: 5, Stall: []Stall{{"a", "nowhere", 1}}}, func(r *Run) { r.Go("a", func() { Point("p") }) })
	}()
	<-done
	if want := `no thread came to [a at "nowhere", visit 1]`; !strings.Contains(f.text, want) {
		t.Errorf("want %q in %q", want, f.text)
	}
}

// fake is a test that may fail.
type fake struct {
	testing.TB
	text string
}

func (f *fake) Helper()      {}
func (f *fake) Failed() bool { return f.text != "" }
func (f *fake) Name() string { return "Fake" }
func (f *fake) Fatalf(format string, args ...any) {
	f.text += fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func BenchmarkStep(b *testing.B) {
	for _, threads := range []int{1, 2, 4} {
		b.Run(fmt.Sprint("threads=", threads), func(b *testing.B) {
			n := b.N
			r := newRun(plan{}, &Options{Steps: 1 << 60})
			if reason := r.run(func(r *Run) {
				for i := range threads {
					r.Go(fmt.Sprint(i), func() {
						for range n / threads {
							Point("p")
						}
					})
				}
			}); reason != "" {
				b.Fatal(reason)
			}
		})
	}
}
