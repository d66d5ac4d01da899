// Package vlstest is the suite that judges a strategy: what every
// implementation of the VLS API must do, whatever its locks. Whoever writes a
// strategy calls [Run] from one test.
//
// A case proves one sentence of the documented behaviour, on an application of
// its own, in the wait modes adaptive and park, some in spin too. A case with
// two ends runs with both ends in one process, on two threads, and with a
// process for each. It never looks at a clock, and a case that hangs ends by a
// watchdog, which shows where everybody stands.
package vlstest

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"vlsbench/audit"
	"vlsbench/vls"
)

// Limit is when the watchdog ends a case: hundreds of times what any takes. Who
// runs what is known to hang may lower it before.
var Limit = 30 * time.Second

// layout says where a second thread of a case lives.
type layout string

const (
	alone     layout = ""
	threads   layout = "threads"   // in the process of the first
	processes layout = "processes" // in a process of its own
)

// testCase is one documented behaviour.
type testCase struct {
	name string
	doc  string // the behaviour, one sentence
	run  func(*env)
	// far: the case calls env.far for a thread and runs in both layouts.
	far bool
	// spin: it runs in wait mode spin too. Its threads are at most two.
	spin bool
	// opts changes the options it runs with; nil leaves the suite's.
	opts func(*vls.Options)
}

// skip is a reason to leave cases out.
type skip struct {
	reason string
	when   func(vls.Strategy) bool
	cases  []string // names, or name/layout, or */layout
}

// skips is all that a strategy may leave out.
var skips = []skip{{
	reason: "the strategy has one thread per process (MaxThreads is 1)",
	when:   func(s vls.Strategy) bool { return s.MaxThreads == 1 },
	cases: []string{
		"*/threads",
		"close-wakes-reader", "close-wakes-writer", "close-wakes-acceptor",
		"close-wakes-epoll-wait", "close-member-of-waited-set",
		"epoll-wait-sees-add", "epoll-wait-two-threads", "epoll-one-set", "select-close-wakes", "max-threads",
		"shutdown-wakes-own", "read-many-readers", "write-many-writers", "accept-many-acceptors",
		"write-beside-epoll-out",
		"threads-streams", "threads-storm", "threads-share-session",
		"thread-registers-while-first-reads",
		"thread-registers-while-first-works", "pool-grows-while-thread-reads",
		"stale-handle-among-threads", "allocs-two-threads", "epoll-handoff",
		"dgram-close-wakes", "dgram-shutdown-wakes", "dgram-many-receivers",
		"poll-close-wakes", "poll-two-threads", "poll-sees-connect",
		"connect-at-once", "listen-at-once", "close-wakes-connector",
	},
}, {
	reason: "the strategy has no fork (NoFork is set)",
	when:   func(s vls.Strategy) bool { return s.NoFork },
	cases:  forkNames(),
}, {
	reason: "a session that connects or listens moves to another thread's worker when that is over (ThreadWorkers is set)",
	when:   func(s vls.Strategy) bool { return s.ThreadWorkers },
	cases:  []string{"connect-at-once", "listen-at-once", "close-wakes-connector"},
}, {
	reason: "the strategy has fork",
	when:   func(s vls.Strategy) bool { return !s.NoFork },
	cases:  []string{"fork-refused"},
}, {
	reason: "the strategy has more than one thread per process",
	when:   func(s vls.Strategy) bool { return s.MaxThreads != 1 },
	cases:  []string{"second-thread-refused"},
}}

// forkNames are all cases that fork.
func forkNames() []string {
	var names []string
	for _, c := range forkCases {
		if c.name != "fork-refused" {
			names = append(names, c.name)
		}
	}
	return names
}

// skipped is why a strategy leaves a case out, or "".
func skipped(s vls.Strategy, name string, l layout) string {
	for _, k := range skips {
		if !k.when(s) {
			continue
		}
		for _, n := range []string{name, name + "/" + string(l), "*/" + string(l)} {
			if slices.Contains(k.cases, n) {
				return k.reason
			}
		}
	}
	return ""
}

// cases is the suite.
func cases() []testCase {
	return slices.Concat(sessionCases, streamCases, closeCases, handleCases, epollCases, threadCases, limitCases,
		datagramCases, attrCases, selectCases, forkCases, processCases, layerCases)
}

// Run judges a strategy.
func Run(t *testing.T, s vls.Strategy) {
	for _, wait := range []vls.Wait{vls.Park, vls.Adaptive, vls.Spin} {
		t.Run(wait.String(), func(t *testing.T) {
			for _, c := range cases() {
				if wait == vls.Spin && !c.spin {
					continue
				}
				if !c.far {
					t.Run(c.name, func(t *testing.T) { c.exec(t, s, wait, alone) })
					continue
				}
				t.Run(c.name, func(t *testing.T) {
					for _, l := range []layout{processes, threads} {
						t.Run(string(l), func(t *testing.T) { c.exec(t, s, wait, l) })
					}
				})
			}
		})
	}
	inOrder(t, s)
}

// RunCases judges a strategy by some cases of the suite in one wait mode, for
// settings of its knobs that are many. A name that there is not fails.
func RunCases(t *testing.T, s vls.Strategy, wait vls.Wait, names ...string) {
	for _, name := range names {
		i := slices.IndexFunc(cases(), func(c testCase) bool { return c.name == name })
		if i < 0 {
			t.Errorf("the suite has no case %s", name)
			continue
		}
		c := cases()[i]
		layouts := []layout{alone}
		if c.far {
			layouts = []layout{processes, threads}
		}
		for _, l := range layouts {
			t.Run(strings.TrimSuffix(name+"/"+string(l), "/"), func(t *testing.T) { c.exec(t, s, wait, l) })
		}
	}
	inOrder(t, s)
}

// Cases are the names of the suite, each with the behaviour that it proves.
func Cases() (names, docs []string) {
	for _, c := range cases() {
		names = append(names, c.name)
		docs = append(docs, c.doc)
	}
	return names, docs
}

// inOrder looks, in audit builds, for a deadlock that did not happen to happen.
func inOrder(t *testing.T, s vls.Strategy) {
	if circle := audit.Cycle(s.Name); circle != "" && s.Kind == vls.Built {
		t.Error(circle)
	} else if circle != "" {
		t.Log(circle)
	}
}

// exec runs the case once, under the watchdog.
func (c testCase) exec(t *testing.T, s vls.Strategy, wait vls.Wait, l layout) {
	if why := skipped(s, c.name, l); why != "" {
		t.Skip(why)
	}
	c, why := c.linux(s)
	if why != "" {
		t.Skip(why)
	}
	audit.SetRun(fmt.Sprintf("strategy %s, case %s", s.Name, t.Name()))
	o := vls.Options{}
	o.Config.Wait = wait
	o.Config.RxFifoSize, o.Config.TxFifoSize = fifoSize, fifoSize
	o.Config.SegmentSize = 64 << 20
	o.Config.MaxWorkers = 128
	if c.opts != nil {
		c.opts(&o)
	}
	e := &env{t: t, strategy: s, wait: wait, layout: l}
	o.Config.SessionGate = e.gate.pass
	app, err := s.New(o)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	e.app = app
	defer e.tender.stop.Store(true)
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.run(e)
		e.finish()
	}()
	select {
	case <-done:
	case <-time.After(Limit):
		e.abandon(fmt.Sprintf("%s hangs: %s", c.name, c.doc))
	}
	if t.Failed() {
		t.Logf("the case proves: %s", c.doc)
	}
}

// env is what a case works with. Its methods may be called by any goroutine.
type env struct {
	t        *testing.T
	strategy vls.Strategy
	wait     vls.Wait
	app      vls.App
	layout   layout
	tender   tender
	gate     gate // of the session layer's thread, if there is one

	mu      sync.Mutex
	over    bool // abandoned: t is not to be touched any more
	running int  // goroutines that start has begun
	port    uint16
	procs   []vls.Process
	threads []vls.Thread
	procOf  map[vls.Thread]vls.Process
}

// fatalf fails the case and ends the calling goroutine.
func (e *env) fatalf(format string, args ...any) {
	e.t.Helper()
	e.mu.Lock()
	if !e.over {
		e.t.Errorf(format, args...)
	}
	e.mu.Unlock()
	runtime.Goexit()
}

// abandon fails a case that hangs, with the stacks of all goroutines. Whoever
// hangs keeps its memory.
func (e *env) abandon(why string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	e.t.Errorf("%s\n%s", why, buf)
	e.over = true
}

// finish ends the threads and processes of a case that went well. One that did
// not leaves everything as it is: somebody may still be inside a call.
func (e *env) finish() {
	if e.t.Failed() {
		return
	}
	e.mu.Lock()
	running := e.running
	e.mu.Unlock()
	if running != 0 {
		e.fatalf("%d goroutines of the case were not joined", running)
	}
	for _, th := range e.threads {
		e.ok(th.Exit())
	}
	for _, p := range e.procs {
		e.ok(p.Exit())
	}
	e.ok(e.app.Close())
}

// start runs f on a goroutine of its own. join waits for its end, and ends the
// caller too if it failed.
func (e *env) start(f func()) (join func()) {
	done := make(chan struct{})
	good := false
	e.mu.Lock()
	e.running++
	e.mu.Unlock()
	go func() {
		defer close(done)
		f()
		good = true
	}()
	return func() {
		<-done
		e.mu.Lock()
		e.running--
		e.mu.Unlock()
		if !good {
			runtime.Goexit()
		}
	}
}

// pause lets a goroutine that was started get to where it waits. If it does
// not the case proves less, and is no less right.
func (e *env) pause() { time.Sleep(2 * time.Millisecond) }

// rounds is n, or less where threads spin: on a busy machine each turn there may
// take the kernel a time slice.
func (e *env) rounds(n int) int {
	if e.wait == vls.Spin {
		return max(n/50, 3)
	}
	return n
}
