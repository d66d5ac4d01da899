// Package original is the lock discipline of VLS at three times of its history,
// step by step, with what it holds while it waits. They are exhibits, to be run
// and measured under a watchdog: a figure about the originals must come from
// them, and so must the proof that the checks find what was wrong with them.
// What they exclude is less than the core asks for.
//
// # Locks
//
//	P   rwlock on the table of sessions, whose readers pass writers that wait
//	S   one session
//	MQ  the worker's message queue
//	SP  the worker's session pool
//	SD  rwlock on the pool of data that is shared by fork
//	sd  one element of that pool
//
// An operation takes P as a reader, finds its session, takes S and what its row
// says, and lets P go; when the core is done it takes P again, to find the
// session whose S it lets go. A wait keeps what the operation has. So two
// circles are built in: who closes has P.w and wants S, whose holder wants P.r;
// and who sleeps has MQ, without which nobody else comes to sleep, or to poll.
//
// What the core asks for and the originals did not have, it does not get: the
// queue where an operation has not taken MQ, and the pool in epoll_create. What
// differs from the originals: a session that is closed is found to be so, where
// theirs was read after it was freed; and locks are let go by a mask of what was
// taken, where theirs asked again whether there are several threads.
package original

import (
	"sync"
	"sync/atomic"
	"syscall"

	"vlsbench/audit"
	"vlsbench/core"
	"vlsbench/locks"
	"vlsbench/vls"
)

// set is what an operation takes beside P and S.
type set uint8

const (
	mq      set = 1 << iota // MQ
	mqWaits                 // MQ, if it will have to wait
	sp                      // SP, alone
	spr                     // SP as a reader
)

// design is one of the originals.
type design struct {
	name, doc string

	appTable bool // one P for the application, and P and S are taken always
	noShared bool // there is no SD: fork and the last close make do with P

	create, accept, close, shutdown set
	listenConnect                   set
	readWrite                       set
	epollWait, poll                 set

	// pool is the kind of SP.
	pool string
	// laterWaits: a wait in read, write and accept lets MQ go, and comes by it
	// again without SP; who needs MQ to wait tries, and looks again.
	laterWaits bool
	// marks: close marks the session and wakes who waits on it, and takes P.w
	// when it is done, trying for S.
	marks bool
}

var designs = []design{{
	name:     "shared-orig",
	doc:      "one table for the application; waits hold the session's and the queue's lock: an exhibit",
	appTable: true, noShared: true,
	create: sp, accept: sp, close: sp, shutdown: sp, listenConnect: mq, readWrite: mqWaits, epollWait: mq, poll: mq,
	pool: "futex",
}, {
	name:   "perworker-orig",
	doc:    "a table per worker; waits hold the session's and the queue's lock: an exhibit",
	create: sp, accept: sp, close: sp, shutdown: sp, listenConnect: mq, readWrite: mqWaits, epollWait: mq, poll: mq,
	pool: "futex",
}, {
	name:   "spoolrw-orig",
	doc:    "as perworker-orig, with a pool that is shared by readers, who hold it through their waits: an exhibit",
	create: sp, accept: sp, close: sp, shutdown: sp, listenConnect: mq | spr, readWrite: mqWaits | spr,
	epollWait: mq | spr, poll: mq | spr,
	pool: "rwpending", laterWaits: true, marks: true,
}}

func init() {
	for _, d := range designs {
		vls.Register(vls.Strategy{Name: d.name, Doc: d.doc, Kind: vls.Original, New: d.New})
	}
}

var classes = [...]string{"P", "S", "MQ", "SP", "SD", "sd"}

// New makes an application.
func (d design) New(o vls.Options) (vls.App, error) {
	a := &app{d: d}
	if o.CountLocks {
		a.counters = make(map[string]*locks.Counter)
		for _, c := range classes {
			a.counters[c] = locks.NewCounter(c)
		}
	}
	a.shared = a.rw("SD", new(locks.RWSpin))
	a.table = a.rw("P", new(locks.RWSpin))
	var err error
	a.core, err = core.New(o.Config, core.Hooks{
		Sleep:       func(t *core.Thread, s *core.Session) { t.Owner.(*thread).sleep(s) },
		Woke:        func(t *core.Thread, s *core.Session) bool { return t.Owner.(*thread).woke(s) },
		EnterMQ:     func(t *core.Thread) { t.Owner.(*thread).enterMQ() },
		TryMQ:       func(t *core.Thread) bool { return t.Owner.(*thread).tryMQ() },
		LeaveMQ:     func(t *core.Thread) { t.Owner.(*thread).leaveMQ() },
		EnterShared: func(t *core.Thread) { t.Owner.(*thread).enterShared() },
		LeaveShared: func(t *core.Thread) { t.Owner.(*thread).leaveShared() },
	})
	if err != nil {
		return nil, err
	}
	return a, nil
}

type app struct {
	d        design
	core     *core.App
	table    locks.RW // P of the application
	shared   locks.RW // SD
	counters map[string]*locks.Counter
}

func (a *app) lock(class string, l locks.Lock) locks.Lock {
	if a.counters != nil {
		return locks.Counted(l, a.counters[class])
	}
	return l
}

func (a *app) rw(class string, l locks.RW) locks.RW {
	if a.counters != nil {
		return locks.CountedRW(l, a.counters[class])
	}
	return l
}

func (a *app) NewProcess() (vls.Process, error) {
	p := a.process()
	var err error
	if p.w, err = a.core.NewWorker(); err != nil {
		return nil, err
	}
	p.w.Owner = p
	return p, nil
}

func (a *app) process() *process {
	p := &process{a: a, table: a.table, mq: a.lock("MQ", new(locks.Futex))}
	if !a.d.appTable {
		p.table = a.rw("P", new(locks.RWSpin))
	}
	if a.d.pool == "rwpending" {
		p.poolRW = a.rw("SP", new(locks.RWPending))
		p.pool = p.poolRW
	} else {
		p.pool = a.lock("SP", new(locks.Futex))
	}
	return p
}

func (a *app) Locks() []locks.Stat {
	if a.counters == nil {
		return nil
	}
	var stats []locks.Stat
	for _, c := range classes {
		stats = append(stats, a.counters[c].Stat())
	}
	return stats
}

func (a *app) Close() error { return a.core.Close() }

// session is a VLS session.
type session struct {
	lock locks.Lock // S
	s    *core.Session
	data *data // nil: not shared
	set  bool
}

// data is an element of the pool of shared data.
type data struct{ lock locks.Lock }

func (a *app) newSession(s *core.Session) *session {
	return &session{lock: a.lock("S", new(locks.TTAS)), s: s, set: s.IsEpoll()}
}

func (v *session) class() string {
	if v.set {
		return "S(set)"
	}
	return "S"
}

type process struct {
	a *app
	w *core.Worker

	table  locks.RW   // P
	mq     locks.Lock // MQ
	pool   locks.Lock // SP
	poolRW locks.RW   // it too, where it is one

	mu      sync.Mutex // of registration
	threads int
	several atomic.Bool // there was a second thread

	polled atomic.Bool // select has looked for shared listeners: it does so once
}

func (p *process) NewThread() vls.Thread { return &thread{p: p, w: p.w} }

// Fork: the child has what the parent has. Nothing is held that would keep the
// parent's other threads out; in shared-orig P and each S in turn.
func (p *process) Fork() (vls.Process, error) {
	child := p.a.process()
	t := &thread{p: p, w: p.w}
	if err := t.enter(); err != nil {
		return nil, err
	}
	defer t.leave()
	if p.a.d.appTable {
		t.rlockP()
		defer t.runlockP()
	}
	w, err := t.c.Fork(func(s, image *core.Session) {
		v, ok := s.Owner.(*session)
		if !ok {
			v = p.a.newSession(s) // it was being made
			s.Owner = v
		}
		switch {
		case s.IsEpoll():
			o := p.a.newSession(image)
			o.set = true // which the core makes it later
			image.Owner = o
		case p.a.d.noShared:
			// One session in memory that all have.
			t.lock(v)
			v.data = &data{}
			image.Owner = &session{lock: v.lock, s: image, data: v.data}
			t.unlock(v)
		default:
			if v.data == nil {
				v.data = &data{lock: p.a.lock("sd", new(locks.TTAS))}
			}
			t.lockData(v.data)
			o := p.a.newSession(image) // its lock is made anew
			o.data = v.data
			image.Owner = o
			t.unlockData()
		}
	})
	if err != nil {
		return nil, err
	}
	child.w = w
	w.Owner = child
	return child, nil
}

// Exit closes as close does; without P, where that is the process's own.
func (p *process) Exit() error {
	p.w.Orphan()
	p.reap()
	t := &thread{p: p, w: p.w}
	if err := t.enter(); err != nil {
		return err
	}
	if p.a.d.appTable {
		t.lockP()
		defer t.unlockP()
	}
	p.w.Each(func(s *core.Session) {
		v, ok := s.Owner.(*session)
		if !ok {
			t.c.Close(s)
			return
		}
		if v.data != nil || t.several() {
			t.lock(v)
		}
		t.guard(p.a.d.close, s, false)
		t.closeCore(v)
		t.unguard()
		if t.holds(v) {
			t.unlock(v)
		}
	})
	p.w.Close(t.c)
	t.leave()
	return nil
}

func (p *process) Kill() error {
	if p.w.Die() {
		return nil
	}
	return p.Exit()
}

// reap cleans up after children that have died, where the thread is.
func (p *process) reap() {
	for w := p.w.TakeDead(); w != nil; w = p.w.TakeDead() {
		if err := w.Owner.(*process).Exit(); err != nil {
			p.w.PutDead(w)
			return
		}
	}
}

// thread is a calling context.
type thread struct {
	order audit.Order
	vls.Unimplemented
	c *core.Thread // nil until registered
	w *core.Worker
	p *process

	held   set  // of mq, sp, spr
	inside set  // of mq: taken for the core, by laterWaits
	keeps  bool // the operation keeps MQ while it waits, whatever the design
	s1, s2 *session
	data   *data // whose sd is held, with SD as a reader
	fds    []core.PollFD
}

func (t *thread) Register() error {
	if t.c != nil {
		return nil
	}
	if err := t.enter(); err != nil {
		return err
	}
	p := t.p
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.threads++; p.threads > 1 {
		p.several.Store(true)
	}
	return nil
}

// enter and leave are for a thread that is nobody's.
func (t *thread) enter() error {
	c, err := t.w.NewThread(t)
	t.c = c
	if err != nil {
		t.c = nil
	}
	return err
}

func (t *thread) leave() {
	t.c.Exit()
	t.c = nil
}

// Exit lets go of what the mask says; for an abandoned operation's sake.
func (t *thread) Exit() error {
	if t.c == nil {
		return nil
	}
	t.unguard()
	t.leave()
	t.p.mu.Lock()
	t.p.threads--
	t.p.mu.Unlock()
	return nil
}

func (t *thread) several() bool { return t.p.several.Load() }

// locksP reports whether P is taken.
func (t *thread) locksP() bool { return t.p.a.d.appTable || t.several() }

func (t *thread) rlockP() {
	t.order.Take(t.p.a.d.name, "P")
	t.p.table.RLock(0)
}

func (t *thread) runlockP() {
	t.p.table.RUnlock(0)
	t.order.Give("P")
}

func (t *thread) lockP() {
	t.order.Take(t.p.a.d.name, "P")
	t.p.table.Lock()
}

func (t *thread) unlockP() {
	t.p.table.Unlock()
	t.order.Give("P")
}

func (t *thread) lock(v *session) {
	t.order.Take(t.p.a.d.name, v.class())
	v.lock.Lock()
	t.hold(v)
}

func (t *thread) hold(v *session) {
	if t.s1 == nil {
		t.s1 = v
	} else {
		t.s2 = v
	}
}

func (t *thread) holds(v *session) bool { return t.s1 == v || t.s2 == v }

func (t *thread) unlock(v *session) {
	if t.s2 == v {
		t.s2 = nil
	} else {
		t.s1 = nil
	}
	v.lock.Unlock()
	t.order.Give(v.class())
}

// lockData takes SD as a reader, and sd.
func (t *thread) lockData(d *data) {
	if d.lock == nil {
		return
	}
	t.order.Take(t.p.a.d.name, "SD")
	t.p.a.shared.RLock(0)
	t.order.Take(t.p.a.d.name, "sd")
	d.lock.Lock()
	t.data = d
}

func (t *thread) unlockData() {
	if d := t.data; d != nil {
		t.data = nil
		d.lock.Unlock()
		t.order.Give("sd")
		t.p.a.shared.RUnlock(0)
		t.order.Give("SD")
	}
}

// enterShared and leaveShared are the core's: alone, after sd was let go.
func (t *thread) enterShared() {
	if t.p.a.d.noShared {
		return
	}
	t.unlockData()
	t.order.Take(t.p.a.d.name, "SD")
	t.p.a.shared.Lock()
}

func (t *thread) leaveShared() {
	if t.p.a.d.noShared {
		return
	}
	t.p.a.shared.Unlock()
	t.order.Give("SD")
}

// acquire takes P.r and S, and what the row says; then it lets P go.
func (t *thread) acquire(h vls.Handle, takes set, write bool) (*session, *core.Session, error) {
	if err := t.Register(); err != nil {
		return nil, nil, err
	}
	table := t.locksP()
	if table {
		t.rlockP()
	}
	v := t.lookup(h)
	if v == nil {
		if table {
			t.runlockP()
		}
		return nil, nil, syscall.EBADFD
	}
	if table || v.data != nil {
		t.lock(v)
	}
	s := v.s
	if s != nil {
		t.guard(takes, s, write)
	}
	if table {
		t.runlockP()
	}
	if s == nil {
		t.release(v)
		return nil, nil, syscall.EBADFD
	}
	return v, s, nil
}

func (t *thread) lookup(h vls.Handle) *session {
	if s := t.w.Lookup(core.Handle(h)); s != nil {
		v, _ := s.Owner.(*session)
		return v
	}
	return nil
}

// release ends an operation: MQ and SP, then P.r again to let S go.
func (t *thread) release(v *session) {
	t.unguard()
	t.retake(v)
}

func (t *thread) retake(v *session) {
	if !t.holds(v) {
		return
	}
	table := t.locksP()
	if table {
		t.rlockP()
	}
	t.unlock(v)
	if table {
		t.runlockP()
	}
}

// guard takes MQ and SP, with several threads.
func (t *thread) guard(takes set, s *core.Session, write bool) {
	if !t.several() {
		return
	}
	switch {
	case takes&mq != 0:
		t.lockMQ()
	case takes&mqWaits == 0 || !s.WouldWait(write):
	case !t.p.a.d.laterWaits:
		t.lockMQ()
	default:
		for b := (pause{}); s.WouldWait(write); b.wait() {
			if t.p.mq.TryLock() {
				t.order.Took("MQ")
				t.held |= mq
				break
			}
		}
	}
	t.lockSP(takes)
}

func (t *thread) lockMQ() {
	t.order.Take(t.p.a.d.name, "MQ")
	t.p.mq.Lock()
	t.held |= mq
}

func (t *thread) unlockMQ() {
	if t.held&mq != 0 {
		t.held &^= mq
		t.p.mq.Unlock()
		t.order.Give("MQ")
	}
}

func (t *thread) lockSP(takes set) {
	if takes&(sp|spr) == 0 {
		return
	}
	t.order.Take(t.p.a.d.name, "SP")
	if takes&sp != 0 {
		t.p.pool.Lock()
		t.held |= sp
	} else {
		t.p.poolRW.RLock(0)
		t.held |= spr
	}
}

func (t *thread) unlockSP() {
	switch {
	case t.held&sp != 0:
		t.p.pool.Unlock()
	case t.held&spr != 0:
		t.p.poolRW.RUnlock(0)
	default:
		return
	}
	t.held &^= sp | spr
	t.order.Give("SP")
}

func (t *thread) unguard() {
	t.unlockMQ()
	t.unlockSP()
}

// sleep is the hook before a wait. What is held stays held; but for the later
// design, which lets MQ go in read, write and accept, and accept has SP as a
// reader from then on.
func (t *thread) sleep(s *core.Session) {
	if t.p.a.d.laterWaits && s != nil && !s.IsEpoll() && t.held != 0 && !t.keeps {
		t.unlockMQ()
		if t.held&sp != 0 {
			t.unlockSP()
			t.lockSP(spr)
		}
	}
	t.p.reap()
}

// woke is the hook after a wait.
func (t *thread) woke(s *core.Session) bool {
	if s == nil {
		return true
	}
	if t.p.a.d.laterWaits && !s.IsEpoll() && t.held&spr != 0 && t.held&mq == 0 && !t.keeps {
		t.mqFirst()
	}
	v, ok := s.Owner.(*session)
	return ok && v.s != nil
}

// mqFirst comes by MQ without SP, which is taken again.
func (t *thread) mqFirst() {
	t.unlockSP()
	t.lockMQ()
	t.lockSP(spr)
}

// enterMQ is the hook before the queue is used: who has it has it, and the later
// design takes it while it waits in read, write and accept. Nobody else gets it.
func (t *thread) enterMQ() {
	if t.held&mq == 0 && t.p.a.d.laterWaits && t.held&spr != 0 {
		t.mqFirst()
		t.inside = mq
	}
}

func (t *thread) tryMQ() bool {
	if t.held&mq != 0 || !t.several() {
		return true
	}
	if !t.p.a.d.laterWaits || !t.p.mq.TryLock() {
		return false
	}
	t.order.Took("MQ")
	t.held |= mq
	t.inside = mq
	return true
}

func (t *thread) leaveMQ() {
	if t.inside != 0 {
		t.inside = 0
		t.unlockMQ()
	}
}
