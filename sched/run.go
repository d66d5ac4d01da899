//go:build sched

package sched

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Run is one schedule of one set of threads. The body of [Explore] or [Search]
// fills it in: it makes what the threads share, anew for each run, names the
// threads, and says what must hold when they are done.
type Run struct {
	plan  plan
	stall []Stall
	bound int // of steps
	looks int // of spins in a row by each thread, 0: none

	checks []func()

	// Of the thread that runs, which hands all of it on to the next: mu is for
	// others that fail the run, or look why it stands still.
	mu      sync.Mutex
	threads []*thread
	cur     *thread // the one that runs
	rng     *rand.Rand
	changes []change
	lowest  float64 // the least priority given so far
	now     time.Duration
	spins   int
	idle    int // spins since somebody did something else
	vain    int // spins since time passed
	trace   []Step
	stalled int // threads that a Stall has stopped
	failure string
	stood   []string      // where each thread did when the run was over
	over    chan struct{} // closed when no thread is to go on
	isOver  bool

	started bool
	steps   atomic.Int64 // for the watchdog
}

// Step is one point that a thread came to.
type Step struct{ Thread, Point string }

type state uint8

const (
	runnable state = iota
	spinning       // can run, and has nothing to do until others have
	waiting        // until ready
	asleep         // until woken
	stalled        // for ever
	ended
)

// thread is one thread of a run. It is changed by the run's current thread.
type thread struct {
	run      *Run
	name     string
	resume   chan struct{} // one that is not current waits here
	done     chan struct{} // closed when its goroutine has ended
	state    state
	at       string // the point it stands at
	visits   map[string]int
	order    []string // of visits, by the first
	priority float64  // PCT: the highest runs

	ready     func() bool   // of one that is waiting
	addr      *uint32       // of one that is asleep
	timed     bool          // waiting or asleep no longer than
	deadline  time.Duration // in virtual time
	patience  int           // or than until so many spins were made
	late      bool          // the wait ended by time
	choosing  bool          // it is in the scheduler, which calls conditions
	abandoned bool          // it is to end when it goes on
}

// spinsPerWait is how many spins pass, whoever makes them, before the time of a
// wait may be over. Spinning takes time: else a thread that spins for what
// another does after a timeout spins for ever.
const spinsPerWait = 64

// change is one of PCT's priority change points.
type change struct {
	step     int
	priority float64
}

func newRun(p plan, o *Options) *Run {
	r := &Run{
		plan: p, stall: o.Stall, bound: o.Steps, looks: o.Spins, over: make(chan struct{}),
		rng: rand.New(rand.NewPCG(p.seed, p.seed*0x9e3779b97f4a7c15)),
	}
	for i := 1; i < p.strategy.depth; i++ {
		r.changes = append(r.changes, change{1 + r.rng.IntN(max(p.steps, 1)), float64(i) / float64(p.strategy.depth)})
	}
	return r
}

// Go adds a thread. Its name, one of its own, stands in reports and stalls. A
// thread may call it too.
func (r *Run) Go(name string, f func()) {
	if caller := self(); r.started && (caller == nil || caller.run != r) {
		r.Fatalf("Go(%q) was called by a goroutine that is not a thread of the run", name)
	}
	t := &thread{
		run: r, name: name, visits: map[string]int{},
		resume: make(chan struct{}, 1), done: make(chan struct{}),
		priority: 1 + r.rng.Float64(), // changes are below 1, spinners below 0
	}
	r.mu.Lock()
	for _, o := range r.threads {
		if o.name == name {
			r.fail("two threads are called %q", name)
		}
	}
	r.threads = append(r.threads, t)
	r.mu.Unlock()
	go t.main(f)
	if r.started {
		Point("started " + name)
	}
}

// Check adds what is to be looked at when all threads have ended, or stand
// where a [Stall] has stopped them. It is called outside of the scheduler's
// control.
func (r *Run) Check(f func()) { r.checks = append(r.checks, f) }

// Errorf fails the run, which ends where its threads stand next. Of several
// failures the first counts. Any goroutine.
func (r *Run) Errorf(format string, args ...any) {
	where := ""
	if t := self(); t != nil && t.run == r {
		where = t.name + ": "
	}
	r.mu.Lock()
	r.fail("%s"+format, append([]any{where}, args...)...)
	r.mu.Unlock()
}

// Fatalf is Errorf, and ends the goroutine.
func (r *Run) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

// fail notes the first failure. With mu.
func (r *Run) fail(format string, args ...any) {
	if r.failure == "" {
		r.failure = fmt.Sprintf(format, args...)
	}
}

// main is the goroutine of a thread.
func (t *thread) main(f func()) {
	// A wild access is a failure of this schedule, not the end of the program.
	debug.SetPanicOnFault(true)
	me := goroutine()
	registered.Store(me, t)
	live.Add(1)
	returned := false
	defer func() {
		p := recover()
		var stack []byte
		if p != nil {
			stack = debug.Stack()
		}
		live.Add(-1)
		registered.Delete(me)
		t.end(p, stack, returned)
		close(t.done)
	}()
	t.park()
	f()
	returned = true
}

// park waits to be chosen.
func (t *thread) park() {
	<-t.resume
	t.run.mu.Lock()
	abandoned := t.abandoned
	t.run.mu.Unlock()
	if abandoned {
		runtime.Goexit()
	}
}

// until sets the time of the wait that begins.
func (t *thread) until(timeout time.Duration) {
	t.late = false
	t.timed = timeout >= 0
	t.deadline = t.run.now + timeout
	t.patience = t.run.spins + spinsPerWait
}

// step is what every point is: the caller stands there in a state, and goes on
// when it is chosen.
func (t *thread) step(name string, s state) {
	r := t.run
	r.mu.Lock()
	if t.abandoned {
		r.mu.Unlock()
		runtime.Goexit() // deferred calls too end at their first point
	}
	n := int(r.steps.Add(1))
	r.trace = append(r.trace, Step{t.name, name})
	t.state, t.at = s, name
	if s == spinning {
		r.spins++
		r.lower(t)
		r.idle++
		r.vain++
		if n := r.looks * len(r.threads); n > 0 && (r.idle > n || r.vain > 16*n) {
			r.idle, r.vain = 0, 0
			if !r.elapse() {
				r.fail("no end: all that can go on look again and again, and nothing is done: %s", r.whoWaits())
			}
			for r.due() {
				r.elapse()
			}
		}
	} else {
		r.idle = 0
		for _, o := range r.threads {
			if o != t && o.state == spinning {
				o.state = runnable
			}
		}
	}
	if s != asleep { // that is in the middle of FutexWait, which was the point
		if t.visits[name]++; t.visits[name] == 1 {
			t.order = append(t.order, name)
		}
		for _, st := range r.stall {
			if st.Thread == t.name && st.Point == name && st.Visit == t.visits[name] {
				t.state = stalled
				r.stalled++
			}
		}
	}
	for _, c := range r.changes {
		if c.step == n {
			t.priority = c.priority
		}
	}
	if n >= r.bound {
		r.fail("no end after %d steps, Options.Steps: threads look again and again for what never comes? %s", n, r.whoWaits())
	}
	next := r.choose(t)
	if next == t {
		r.mu.Unlock()
		return
	}
	r.handOver(next)
	r.mu.Unlock()
	t.park()
}

// lower puts a thread below all others.
func (r *Run) lower(t *thread) {
	r.lowest--
	t.priority = r.lowest
}

// end is the last that a thread does.
func (t *thread) end(p any, stack []byte, returned bool) {
	r := t.run
	r.mu.Lock()
	defer r.mu.Unlock()
	t.state = ended
	if t.abandoned {
		return
	}
	switch {
	case p != nil:
		r.fail("%s: panic: %v\n%s", t.name, p, stack)
	case !returned:
		r.fail("%s: ended by FailNow or Goexit", t.name)
	}
	r.handOver(r.choose(t))
}

// handOver lets next go on, or, if that is nil, whoever waits for the end. With
// mu.
func (r *Run) handOver(next *thread) {
	switch {
	case next != nil:
		r.cur = next
		next.resume <- struct{}{}
	case !r.isOver:
		r.isOver = true
		close(r.over)
	}
}

// choose says who goes on, nil if nobody is to. It is called with mu, and lets
// go of it while it calls conditions; caller, nil before the first step, is the
// thread that runs, or it would not be here.
func (r *Run) choose(caller *thread) *thread {
	for r.failure == "" {
		if t := r.pick(caller); t != nil {
			t.state = runnable
			t.ready, t.addr = nil, nil
			return t
		}
		if r.failure != "" || !r.elapse() {
			break
		}
	}
	if r.failure == "" && slices.ContainsFunc(r.threads, func(t *thread) bool { return t.state < stalled }) {
		r.fail("deadlock: %s", r.whoWaits())
	}
	return nil
}

// pick chooses among those who can run.
func (r *Run) pick(caller *thread) *thread {
	var able, spin []*thread
	for _, t := range r.threads {
		switch t.state {
		case runnable, waiting:
			able = append(able, t)
		case asleep:
			if t.timed && r.looks == 0 && r.spins >= t.patience {
				able = append(able, t)
			}
		case spinning:
			spin = append(spin, t)
		}
	}
	// One that spins goes on when another has, or there is no other.
	for _, set := range [][]*thread{able, spin} {
		for len(set) > 0 {
			i := r.first(set)
			if t := set[i]; r.passes(t, caller) {
				return t
			}
			set = slices.Delete(set, i, i+1)
		}
	}
	return nil
}

// first is the index of the thread that the strategy prefers.
func (r *Run) first(set []*thread) int {
	if r.plan.strategy.depth == 0 || int(r.steps.Load()) > 100+4*r.plan.steps {
		return r.rng.IntN(len(set))
	}
	best := 0
	for i, t := range set {
		if t.priority > set[best].priority {
			best = i
		}
	}
	return best
}

// passes reports whether the wait of a thread is over, if it is in one.
func (r *Run) passes(t, caller *thread) bool {
	switch t.state {
	case asleep:
		t.late = true
		return true
	case waiting:
		if r.holds(t, caller) {
			return true
		}
		if t.timed && r.looks == 0 && r.spins >= t.patience {
			t.late = true
			return true
		}
		return false
	}
	return true
}

// holds calls the condition of a thread that waits. The condition is a
// stranger's: it may panic, and it may come to points.
func (r *Run) holds(t, caller *thread) bool {
	if caller != nil {
		caller.choosing = true
	}
	r.mu.Unlock()
	defer func() {
		p := recover()
		r.mu.Lock()
		if caller != nil {
			caller.choosing = false
		}
		if p != nil {
			r.fail("%s: panic in the condition of %q: %v\n%s", t.name, t.at, p, debug.Stack())
		}
	}()
	return t.ready()
}

// elapse lets time pass until the first wait is over by it. It reports whether
// there is one.
func (r *Run) elapse() bool {
	var first *thread
	for _, t := range r.threads {
		if (t.state == waiting || t.state == asleep) && t.timed && (first == nil || t.deadline < first.deadline) {
			first = t
		}
	}
	if first == nil {
		return false
	}
	r.now = max(r.now, first.deadline)
	first.late, first.state = true, runnable
	return true
}

// due reports whether a wait is over by the time that it is.
func (r *Run) due() bool {
	return slices.ContainsFunc(r.threads, func(t *thread) bool {
		return (t.state == waiting || t.state == asleep) && t.timed && t.deadline <= r.now
	})
}

// wake is FutexWake.
func (r *Run) wake(addr *uint32, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var sleepers []*thread
	for _, t := range r.threads {
		if t.state == asleep && t.addr == addr {
			sleepers = append(sleepers, t)
		}
	}
	for ; n > 0 && len(sleepers) > 0; n-- {
		i := r.rng.IntN(len(sleepers))
		sleepers[i].state = runnable
		sleepers = slices.Delete(sleepers, i, i+1)
	}
}

// whoWaits says for each thread that has not ended what holds it.
func (r *Run) whoWaits() string {
	var parts []string
	for _, t := range r.threads {
		if t.state != ended {
			parts = append(parts, t.name+" "+t.stands())
		}
	}
	return strings.Join(parts, ", ")
}

// stands says where the thread is.
func (t *thread) stands() string {
	switch t.state {
	case ended:
		return "has ended"
	case waiting:
		return fmt.Sprintf("waits for %q", t.at)
	case asleep:
		return fmt.Sprintf("sleeps in %q", t.at)
	case stalled:
		return fmt.Sprintf("was stopped at %q", t.at)
	}
	if t.at == "" {
		return "has not begun"
	}
	return fmt.Sprintf("stands at %q", t.at)
}

// stuckTicks is after how many looks, tickTime apart, at a run that makes no step
// it is given up. Ticks, not time: a process that was stopped had none.
var (
	stuckTicks = 30
	tickTime   = time.Second
)

// waitFor waits for what the threads do, false if they do nothing for long.
func (r *Run) waitFor(done <-chan struct{}) bool {
	tick := time.NewTicker(tickTime)
	defer tick.Stop()
	last, quiet := int64(-1), 0
	for {
		select {
		case <-done:
			return true
		case <-tick.C:
			if n := r.steps.Load(); n != last {
				last, quiet = n, 0
			} else if quiet++; quiet >= stuckTicks {
				return false
			}
		}
	}
}

// apart calls f in a goroutine of its own, which FailNow may end.
func (r *Run) apart(what string, f func()) {
	done := make(chan struct{})
	go func() {
		returned := false
		defer func() {
			p := recover()
			r.mu.Lock()
			if p != nil {
				r.fail("%s: panic: %v\n%s", what, p, debug.Stack())
			} else if !returned {
				r.fail("%s: ended by FailNow or Goexit", what)
			}
			r.mu.Unlock()
			close(done)
		}()
		f()
		returned = true
	}()
	if !r.waitFor(done) {
		r.stuck(what)
	}
}

// stuck fails the run because somebody waits for what the scheduler cannot see.
func (r *Run) stuck(who string) {
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	r.mu.Lock()
	r.fail("%s does not come to another point: it waits for something that is no sched.Wait, or loops without a point\n%s", who, stacks)
	r.mu.Unlock()
}

// run runs body's threads to the end and returns what failed, or "". No
// goroutine of theirs is left, unless one is stuck.
func (r *Run) run(body func(*Run)) string {
	r.apart("body", func() { body(r) })
	r.mu.Lock()
	r.started = true
	if len(r.threads) == 0 {
		r.fail("no thread: the body calls Go for each")
	}
	r.handOver(r.choose(nil))
	r.mu.Unlock()
	var stuck *thread
	if !r.waitFor(r.over) {
		r.mu.Lock()
		stuck = r.cur
		who := fmt.Sprintf("%s, after %q,", stuck.name, stuck.at)
		r.mu.Unlock()
		r.stuck(who)
	}
	r.mu.Lock()
	for _, t := range r.threads {
		r.stood = append(r.stood, t.stands())
	}
	r.mu.Unlock()
	for _, f := range r.checks {
		if r.failed() == "" {
			r.apart("check", f)
		}
	}
	// Whoever is still there ends now, one by one: deferred calls may touch what
	// they share.
	for _, t := range r.threads {
		r.mu.Lock()
		if t.state != ended {
			t.abandoned = true
			t.resume <- struct{}{}
		}
		who := fmt.Sprintf("%s, which is to end after %q,", t.name, t.at)
		r.mu.Unlock()
		if t != stuck && !r.waitFor(t.done) {
			r.stuck(who)
		}
	}
	return r.failed()
}

func (r *Run) failed() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failure
}
