package original

import (
	"maps"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"vlsbench/audit"
	"vlsbench/core"
	"vlsbench/locks"
	"vlsbench/vls"
)

// migrate-orig is VLS with multi-thread workers. Each thread has a worker. A VLS
// session has a slot at each worker whose thread has used it; the first use asks
// the worker that made it, by RPC, for a copy. So only a session that is CLOSED
// comes over, or a set that is empty, and what one thread does to its slot after
// that the slots of the others do not know. Others are EBADFD.
//
// What differs from the original: who waits for an answer serves its queue, where
// theirs looked at a word; a request that has timed out is withdrawn, where a late
// answer was written into whatever had the slot by then; and a session that is
// gone is found to be so. The handler of the request had a second branch, which
// shared the session with who asked, for processes without multi-thread workers:
// nothing sends the request there, so it is not here.

const mtName = "migrate-orig"

// mtPatience is how long who asks waits for the answer.
const mtPatience = 3 * time.Second

var mtClasses = [...]string{"P", "S", "H", "R", "SD", "sd"}

func init() {
	vls.Register(vls.Strategy{
		Name: mtName, Kind: vls.Original, New: newMT, ThreadWorkers: true,
		Doc: "a worker per thread, with copies of closed sessions; waits hold the session's lock: an exhibit",
	})
}

func newMT(o vls.Options) (vls.App, error) {
	a := &mtApp{}
	if o.CountLocks {
		a.counters = make(map[string]*locks.Counter)
		for _, c := range mtClasses {
			a.counters[c] = locks.NewCounter(c)
		}
	}
	a.table = a.rw("P", new(locks.RWSpin))
	a.ask = a.lock("R", new(locks.TTAS))
	a.shared = a.rw("SD", new(locks.RWSpin))
	var err error
	a.core, err = core.New(o.Config, core.Hooks{
		Sleep:       func(t *core.Thread, _ *core.Session) { t.Owner.(*mtThread).p.reap() },
		LeaveMQ:     func(t *core.Thread) { t.Owner.(*mtThread).sweep() },
		RPC:         func(t *core.Thread, c *core.Call) { t.Owner.(*mtThread).handle(c) },
		EnterShared: func(t *core.Thread) { t.Owner.(*mtThread).enterShared() },
		LeaveShared: func(t *core.Thread) { t.Owner.(*mtThread).leaveShared() },
	})
	if err != nil {
		return nil, err
	}
	return a, nil
}

type mtApp struct {
	core     *core.App
	table    locks.RW   // P
	ask      locks.Lock // R, of which there is one
	shared   locks.RW   // SD
	counters map[string]*locks.Counter
	tables   [256]atomic.Pointer[core.Pool[mtSession]] // by a process's main worker
}

func (a *mtApp) lock(class string, l locks.Lock) locks.Lock {
	if a.counters != nil {
		return locks.Counted(l, a.counters[class])
	}
	return l
}

func (a *mtApp) rw(class string, l locks.RW) locks.RW {
	if a.counters != nil {
		return locks.CountedRW(l, a.counters[class])
	}
	return l
}

func (a *mtApp) Locks() []locks.Stat {
	if a.counters == nil {
		return nil
	}
	var stats []locks.Stat
	for _, c := range mtClasses {
		stats = append(stats, a.counters[c].Stat())
	}
	return stats
}

func (a *mtApp) Close() error { return a.core.Close() }

func (a *mtApp) NewProcess() (vls.Process, error) {
	w, err := a.core.NewWorker()
	if err != nil {
		return nil, err
	}
	return a.process(w), nil
}

func (a *mtApp) process(w *core.Worker) *mtProcess {
	// The generations of a table outlive its process, so that a handle that was
	// stale in one which had this worker is stale for ever.
	at := &a.tables[w.Index()]
	if at.Load() == nil {
		at.Store(core.NewPool[mtSession](w.Index()))
	}
	p := &mtProcess{
		a: a, main: w, table: at.Load(),
		handles: a.rw("H", new(locks.RWSpin)), byHandle: make(map[slot]vls.Handle),
	}
	w.Owner = p
	p.workers = []*core.Worker{w}
	return p
}

// slot names a session of VCL, whichever has that index by then.
type slot struct{ worker, index uint32 }

// mtSession is a VLS session.
type mtSession struct {
	lock  locks.Lock // S
	h     vls.Handle
	set   bool
	data  *data                  // nil: not shared
	at    slot                   // of who used it last
	owner uint32                 // the worker that made it
	slots map[uint32]core.Handle // of each worker that has one
}

func (v *mtSession) class() string {
	if v.set {
		return "S(set)"
	}
	return "S"
}

type mtProcess struct {
	a    *mtApp
	main *core.Worker

	table    *core.Pool[mtSession]
	handles  locks.RW // H
	byHandle map[slot]vls.Handle

	mu      sync.Mutex // of registration
	workers []*core.Worker
	taken   bool        // a thread has the main one
	threads int         // that were ever
	several atomic.Bool // there was a second thread: P and S are taken from then on
}

func (p *mtProcess) NewThread() vls.Thread { return &mtThread{p: p} }

// Fork: the child has the sessions of the main worker, and a table in which all
// still are at the workers of the parent. Nothing is held that would keep the
// parent's threads out.
func (p *mtProcess) Fork() (vls.Process, error) {
	t, err := p.helper(p.main)
	if err != nil {
		return nil, err
	}
	defer t.c.Exit()
	w, err := t.c.Fork(func(s, image *core.Session) {
		v, ok := s.Owner.(*mtSession)
		if !ok || v.set {
			return
		}
		if v.data == nil {
			v.data = &data{lock: p.a.lock("sd", new(locks.TTAS))}
		}
		t.lockData(v.data)
		t.unlockData()
	})
	if err != nil {
		return nil, err
	}
	child := p.a.process(w)
	child.table.Mirror(p.table, func(_ uint64, v, c *mtSession) {
		*c = mtSession{
			lock: p.a.lock("S", new(locks.TTAS)), h: v.h, set: v.set, data: v.data,
			at: v.at, owner: v.owner, slots: maps.Clone(v.slots),
		}
		// Sessions of several workers that have one index are mixed up here.
		for _, sh := range v.slots {
			child.byHandle[slot{w.Index(), sh.Index()}] = v.h
		}
	})
	return child, nil
}

// helper is a thread of a worker that is nobody's.
func (p *mtProcess) helper(w *core.Worker) (*mtThread, error) {
	t := &mtThread{p: p, w: w}
	c, err := w.NewThread(t)
	t.c = c
	return t, err
}

// Exit closes what the workers have, as close does where it is shared, without P.
func (p *mtProcess) Exit() error {
	p.main.Orphan()
	p.reap()
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := len(p.workers) - 1; i >= 0; i-- {
		w := p.workers[i]
		t, err := p.helper(w)
		if err != nil {
			return err
		}
		w.Each(func(s *core.Session) {
			v := p.find(slot{w.Index(), s.Handle().Index()})
			if v == nil || v.data == nil {
				t.c.Close(s)
				return
			}
			t.lock(v)
			t.closeCore(v, s)
			t.unlock(v)
		})
		if w == p.main {
			p.table.Each(func(h uint64, _ *mtSession) {
				p.table.Invalidate(h)
				p.table.Free(h)
			})
		}
		w.Close(t.c)
		t.c.Exit()
	}
	p.workers = nil
	return nil
}

// find is the VLS session with a slot, or nil.
func (p *mtProcess) find(at slot) *mtSession {
	if h, ok := p.byHandle[at]; ok {
		return p.table.Get(uint64(h))
	}
	return nil
}

func (p *mtProcess) Kill() error {
	if p.main.Die() {
		return nil
	}
	return p.Exit()
}

// reap cleans up after children that have died, where the thread is.
func (p *mtProcess) reap() {
	for w := p.main.TakeDead(); w != nil; w = p.main.TakeDead() {
		if err := w.Owner.(*mtProcess).Exit(); err != nil {
			p.main.PutDead(w)
			return
		}
	}
}

// mtThread is a calling context.
type mtThread struct {
	order audit.Order
	vls.Unimplemented
	c *core.Thread // nil until registered
	w *core.Worker
	p *mtProcess

	reads, writes bool // P
	s1, s2        *mtSession
	data          *data // whose sd is held, with SD as a reader
	call          core.Call
	told          []core.Handle // slots of sessions that others have closed
	fds           []core.PollFD
}

func (*mtThread) MultiThreadWorkers() bool { return true }

// Register gives the thread a worker, the first one the process's.
func (t *mtThread) Register() error {
	if t.c != nil {
		return nil
	}
	p := t.p
	p.mu.Lock()
	defer p.mu.Unlock()
	w := p.main
	if p.taken {
		var err error
		if w, err = p.a.core.NewWorker(); err != nil {
			return err
		}
	}
	c, err := w.NewThread(t)
	if err != nil {
		return err
	}
	if w == p.main {
		p.taken = true
	} else {
		p.workers = append(p.workers, w)
	}
	if p.threads++; p.threads > 1 {
		p.several.Store(true)
	}
	t.c, t.w = c, w
	return nil
}

// Exit ends the worker, and with it all slots that it has. The sessions stay in
// the table. The process's worker goes to the next thread that comes.
func (t *mtThread) Exit() error {
	if t.c == nil {
		return nil
	}
	p := t.p
	p.mu.Lock()
	defer p.mu.Unlock()
	if t.w == p.main {
		p.taken = false
	} else {
		for i, w := range p.workers {
			if w == t.w {
				p.workers = append(p.workers[:i], p.workers[i+1:]...)
				break
			}
		}
		t.w.Close(t.c)
	}
	t.c.Exit()
	t.c = nil
	return nil
}

func (t *mtThread) rlockP() {
	if t.p.several.Load() {
		t.order.Take(mtName, "P")
		t.p.a.table.RLock(0)
		t.reads = true
	}
}

// runlockP lets go of P as a reader. Whoever has it as a writer does not get it
// back by that, nor does anybody else ever: the count of a lock that is written
// was lowered by one more, and neither reader nor writer brings it up again.
func (t *mtThread) runlockP() {
	if t.reads {
		t.p.a.table.RUnlock(0)
		t.order.Give("P")
	}
	t.reads, t.writes = false, false
}

func (t *mtThread) lockP() {
	if t.p.several.Load() {
		t.order.Take(mtName, "P")
		t.p.a.table.Lock()
		t.writes = true
	}
}

func (t *mtThread) unlockP() {
	if t.writes {
		t.p.a.table.Unlock()
		t.order.Give("P")
	}
	t.writes = false
}

func (t *mtThread) lock(v *mtSession) {
	if v.data == nil && !t.p.several.Load() {
		return
	}
	t.order.Take(mtName, v.class())
	v.lock.Lock()
	if t.s1 == nil {
		t.s1 = v
	} else {
		t.s2 = v
	}
}

func (t *mtThread) unlock(v *mtSession) {
	switch v {
	case t.s2:
		t.s2 = nil
	case t.s1:
		t.s1 = nil
	default:
		return
	}
	v.lock.Unlock()
	t.order.Give(v.class())
}

func (t *mtThread) lockH() {
	t.order.Take(mtName, "H")
	t.p.handles.Lock()
}

func (t *mtThread) unlockH() {
	t.p.handles.Unlock()
	t.order.Give("H")
}

// lockData takes SD as a reader, and sd.
func (t *mtThread) lockData(d *data) {
	t.order.Take(mtName, "SD")
	t.p.a.shared.RLock(0)
	t.order.Take(mtName, "sd")
	d.lock.Lock()
	t.data = d
}

func (t *mtThread) unlockData() {
	if d := t.data; d != nil {
		t.data = nil
		d.lock.Unlock()
		t.order.Give("sd")
		t.p.a.shared.RUnlock(0)
		t.order.Give("SD")
	}
}

// enterShared and leaveShared are the core's: alone, after sd was let go.
func (t *mtThread) enterShared() {
	t.unlockData()
	t.order.Take(mtName, "SD")
	t.p.a.shared.Lock()
}

func (t *mtThread) leaveShared() {
	t.p.a.shared.Unlock()
	t.order.Give("SD")
}

// session is what the caller's worker has at the session's index, whatever that
// is; nil: nothing.
func (t *mtThread) session(v *mtSession) *core.Session {
	return t.w.Lookup(t.w.Live(v.at.index))
}

// acquire takes P.r and S, brings the session to the caller's worker if the
// operation does that, and lets P go.
func (t *mtThread) acquire(h vls.Handle, migrates bool) (*mtSession, *core.Session, error) {
	if err := t.Register(); err != nil {
		return nil, nil, err
	}
	t.rlockP()
	v := t.p.table.Get(uint64(h))
	if v == nil {
		t.runlockP()
		return nil, nil, syscall.EBADFD
	}
	t.lock(v)
	if migrates {
		if v = t.migrate(v); v == nil {
			return nil, nil, syscall.EBADFD
		}
	}
	s := t.session(v)
	t.runlockP()
	if s == nil {
		t.release(v)
		return nil, nil, syscall.EBADFD
	}
	return v, s, nil
}

// release takes P.r again to let S go.
func (t *mtThread) release(v *mtSession) {
	if t.s1 != v && t.s2 != v {
		return
	}
	t.rlockP()
	t.unlock(v)
	t.runlockP()
}

// migrate makes the session one of the caller's worker. With P, and S, which it
// lets go while it asks, and has again. Nil: it did not come, and nothing is held.
func (t *mtThread) migrate(v *mtSession) *mtSession {
	me := t.w.Index()
	if v.at.worker == me {
		return v
	}
	if sh, ok := v.slots[me]; ok {
		v.at = slot{me, sh.Index()}
		return v
	}
	h, owner, theirs := v.h, v.owner, v.slots[v.owner].Index()
	own, err := t.c.Reserve()
	t.unlock(v)
	t.runlockP()
	if err != nil {
		return nil
	}
	err = t.request(owner, theirs)
	if err == nil {
		t.rlockP()
		if v = t.p.table.Get(uint64(h)); v == nil {
			t.runlockP()
			err = syscall.EBADFD
		}
	}
	if err != nil {
		t.c.Unreserve(own)
		return nil
	}
	t.lock(v)
	own.Owner = v
	t.c.Adopt(own, t.call.Out.(*core.Parcel))
	v.at = slot{me, own.Handle().Index()}
	slots := maps.Clone(v.slots) // a fork may be reading the old one
	slots[me] = own.Handle()
	v.slots = slots
	t.enter(v)
	return v
}

// enter enters the session's slot in the table of handles.
func (t *mtThread) enter(v *mtSession) {
	t.lockH()
	t.p.byHandle[v.at] = v.h
	t.unlockH()
}

// request asks a worker for a copy of what it has at an index. Who asks at the
// same time is served before there is R, and afterwards.
func (t *mtThread) request(owner, index uint32) error {
	for b := (pause{}); !t.p.a.ask.TryLock(); b.wait() {
		t.c.Serve()
	}
	t.order.Took("R")
	t.call = core.Call{Arg: uint64(index)}
	err := t.c.Call(owner, &t.call, mtPatience)
	t.p.a.ask.Unlock()
	t.order.Give("R")
	return err
}

// handle is what a worker does with what it is asked, or told. It touches no VLS
// session: their locks may be held.
func (t *mtThread) handle(c *core.Call) {
	if c.Kind == core.Told {
		t.told = append(t.told, core.Handle(c.Arg))
		return // nothing is closed within the queue
	}
	c.Err = syscall.EBADFD
	if s := t.w.Lookup(t.w.Live(uint32(c.Arg))); s != nil {
		if p := t.c.Clone(s); p != nil {
			c.Out, c.Err = p, nil
		}
	}
}

// sweep closes what others have closed. The thread may be about to wait for it.
func (t *mtThread) sweep() {
	if len(t.told) == 0 {
		return
	}
	told := t.told
	t.told = nil
	for _, sh := range told {
		if s := t.w.Lookup(sh); s != nil {
			t.c.Close(s)
			t.lockH()
			delete(t.p.byHandle, slot{t.w.Index(), sh.Index()})
			t.unlockH()
		}
	}
	t.c.Nudge(t.w.Index())
}
