package migrate

import (
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"vlsbench/audit"
	"vlsbench/core"
	"vlsbench/hw"
	"vlsbench/sched"
	"vlsbench/vls"
)

// thread is a calling context.
type thread struct {
	order audit.Order
	vls.Unimplemented

	core  core.Thread
	table *core.Pool[session]
	// here is the worker if the data path may look for its sessions by itself, and
	// S of these is a TTAS and all it takes: nowhere before the thread registers,
	// and where odd is set.
	here *worker
	held bool // S of the session that the operation is about
	owes bool // there are debts or losses
	kind kind // of the operation
	odd  bool // registered, and S is of another kind or counted, or looking up takes P

	mark uint32 // 1 while in the queue or pool of its worker; others look at it
	// works is 1 while it goes about what others may be at as well, outside of
	// waits; who declares the process dead looks at it.
	works uint32
	slow  bool // in an operation that does
	// fetches is 1 while it brings a session to its worker, waits included; who
	// closes what a dead process held waits for the end of that.
	fetches uint32
	// deep is how often it is inside these; lock says that it holds the
	// process's lock there, in place of the mark.
	deep  int
	lock  bool
	again bool // to be entered again after a wait: the operation allocates

	w    *worker
	c    *core.Thread // &core, nil until registered
	p    *process
	slot int // reader number for P and H

	waitsFor *session   // in a wait of the core
	polled   []*session // of a poll
	polling  bool       // inside the core's
	asking   bool       // in a call: somebody's R is held
	losses   []*waiter  // what it lost while it waited
	debts    []*session // its own that others have lost
	pinned   *session   // not to be given away
	frozen   bool       // it is a fork's, which has stopped everybody

	call core.Call
	fds  []core.PollFD // memory for Poll
	hs   []vls.Handle
	_    [hw.FalseSharing]byte
}

// MultiThreadWorkers is true: that is what the strategy is about.
func (*thread) MultiThreadWorkers() bool { return true }

// Register gives the thread a worker of its own, the first one the process's.
func (t *thread) Register() error {
	if t.c != nil {
		return nil
	}
	p := t.p
	p.enlist()
	defer p.mu.Unlock()
	var w *worker
	for _, k := range p.workers {
		if !k.used {
			w = k
			break
		}
	}
	if w == nil {
		n, err := p.a.core.NewWorker()
		if err != nil {
			return err
		}
		if w, err = p.worker(n); err != nil {
			return err
		}
	}
	if err := w.core.InitThread(&t.core, t); err != nil {
		return err // the worker is for the next who comes
	}
	w.idle.Store(false)
	w.used = true
	t.c, t.w, t.slot = &t.core, w, p.lock.slot()
	t.core.Bare = !p.forked.Load()
	if t.odd = p.a.d.kinds.session != plain || p.a.counters != nil || p.a.d.lookup; !t.odd {
		t.here = w
	}
	p.threads = append(p.threads, t)
	return nil
}

// enlist takes mu, in a way that the scheduler sees.
func (p *process) enlist() {
	if !sched.Wait("migrate: somebody registers", p.mu.TryLock, -1) {
		p.mu.Lock()
	}
}

// Exit unregisters the thread, and leaves its sessions to whoever wants them.
func (t *thread) Exit() error {
	if t.c == nil {
		return nil
	}
	// Who asks is answered first, and nobody does later: who says that he asks
	// looks at idle then.
	t.w.idle.Store(true)
	for i := 1; t.w.asked.Load() != 0; i++ {
		t.c.Serve()
		pause(i)
	}
	p := t.p
	p.enlist()
	defer p.mu.Unlock()
	t.leaveAll()
	for i, o := range p.threads {
		if o == t {
			p.threads = append(p.threads[:i], p.threads[i+1:]...)
			break
		}
	}
	p.lock.giveBack(t.slot)
	t.w.used = false
	if t.w != p.main {
		p.retire(t.w, t.c)
	}
	t.c.Exit()
	t.c, t.here, t.w, t.odd = nil, nowhere, nil, false
	return nil
}

// retire gives a worker that has nothing back. Under mu.
func (p *process) retire(w *worker, c *core.Thread) {
	w.core.Close(c)
	for i, o := range p.workers {
		if o == w {
			p.workers = append(p.workers[:i], p.workers[i+1:]...)
			break
		}
	}
}

// pause is the i-th look of a thread that waits for what comes soon.
func pause(i int) {
	if sched.Spin("migrate: not to be had yet") {
		return
	}
	if i < 64 {
		for range min(i, 16) {
			hw.Pause()
		}
		return
	}
	hw.FutexWait(&nobody, 0, 50*time.Microsecond)
}

// nobody is a futex that no one wakes.
var nobody uint32

// begin starts an operation: it registers the thread, and answers who asks.
// ENOTCONN: the process was killed. finish ends it, unless there is an error.
func (t *thread) begin() error {
	if t.c == nil {
		if err := t.Register(); err != nil {
			return err
		}
	}
	if err := t.resume(); err != nil {
		return err
	}
	t.c.Serve()
	t.forsake()
	return nil
}

// resume is begin for what a short operation goes on with, and leaves undone.
func (t *thread) resume() error {
	t.slow = true
	t.work()
	if t.p.dead.Load() {
		t.finish()
		return syscall.ENOTCONN
	}
	return nil
}

// finish ends what begin or resume began.
func (t *thread) finish() {
	t.rest()
	t.slow = false
}

// work says that the thread goes about things in an operation, or again after a
// wait. Kill waits for it if it has not yet seen by then that the process is
// dead, so whoever does must look at that next.
func (t *thread) work() {
	if hw.MembarrierAvailable() {
		hw.StoreRel32(&t.works, 1) // Kill has the fence
		return
	}
	atomic.StoreUint32(&t.works, 1)
}

func (t *thread) rest() { hw.StoreRel32(&t.works, 0) }

// in enters the queue and the pool of the thread's worker. It is the last that is
// taken: nothing is waited for inside.
func (t *thread) in() {
	if t.deep++; t.deep > 1 || t.frozen {
		return
	}
	hw.StoreRel32(&t.mark, 1)
	if t.p.mode.Load() != halted {
		return
	}
	hw.StoreRel32(&t.mark, 0)
	t.p.halt.Lock()
	t.lock = true
}

func (t *thread) tryIn() bool {
	t.in()
	return true
}

func (t *thread) out() {
	if t.deep--; t.deep > 0 || t.frozen {
		return
	}
	if t.lock {
		t.lock = false
		t.p.halt.Unlock()
		return
	}
	hw.StoreRel32(&t.mark, 0)
}

// stop keeps all threads of the process out of their queues and pools, but for
// those who hold halt. Under mu.
func (p *process) stop() {
	p.mode.Store(halted)
	// Either they see that before they go on, or their marks are seen here.
	hw.HeavyFence()
	for _, t := range p.threads {
		for i := 1; atomic.LoadUint32(&t.mark) != 0; i++ {
			if sched.Spin("migrate: a thread is in its queue") {
				continue
			}
			hw.Pause()
			if i%64 == 0 {
				runtime.Gosched()
			}
		}
	}
}

// nowhere has no sessions.
var nowhere = new(worker)

// end ends an operation about a session, with whatever it holds by then, and
// leaves what others have lost to them. What it lost itself it still may want.
func (t *thread) end(v *session) {
	t.release(v)
	if t.deep > 0 {
		t.out()
	}
	t.settle(false)
}

// sleep is the hook before a wait: nothing is held from here on, and others have
// what they lost, unless they would only wait for the same.
func (t *thread) sleep(s *core.Session) {
	if t.deep > 0 {
		t.out()
		t.again = true
	}
	if s != nil {
		t.waitsFor = s.Owner.(*session)
		t.release(t.waitsFor)
	}
	if t.core.Bare && t.p.forked.Load() {
		t.core.Bare = false // it may hold S of others, with which one does not spin
	}
	if s != nil || t.polling {
		t.settle(true) // and not while it asks for more
	}
	if !t.asking {
		t.p.reap()
	}
	t.rest()
}

// woke is the hook after a wait: what the operation needs is taken again, if the
// session is still the thread's.
func (t *thread) woke(s *core.Session) bool {
	if t.slow {
		t.work()
	}
	if t.p.dead.Load() {
		t.waitsFor, t.again = nil, false
		return false // all that it had is closed, or about to be
	}
	v := t.waitsFor
	t.waitsFor = nil
	again := t.again
	t.again = false
	if s == nil {
		return true
	}
	if s.IsEpoll() {
		return v.at.Load() == t.w
	}
	t.hold(v)
	// Only then are its fields the thread's to look at.
	if v.at.Load() != t.w || v.s != s {
		t.release(v)
		return false
	}
	if again {
		t.in()
	}
	return true
}
