// Package perworker gives each process a worker, a table and a pool of its own,
// and takes locks only while the process has more than one thread. It is VLS
// after the change that made its locking minimal, with the faults of the
// original repaired.
//
// # Locks
//
//	P   rwlock, the table of sessions of a process (bravo)
//	S   one session (ttas)
//	MQ  the worker's message queue (ttas)
//	SP  the worker's session pool (ttas)
//	SD  the application's pool of data that is shared by fork (ttas)
//
// The table is the worker's own pool: a VLS handle is the handle of the VCL
// session, which carries the VLS session along.
//
// In that order, each operation of a process with several threads takes
//
//	create, epoll_create           SP, then P.w
//	bind, listen, connect, attr    P.r S
//	shutdown, read, write          P.r S
//	recvfrom, sendto, write_msg    P.r S
//	accept                         P.r S SP, then P.w
//	close                          P.w S MQ SP
//	epoll_ctl                      P.r S(set) S(session) MQ
//	epoll_wait                     P.r S(set) MQ
//	select, poll                   MQ
//	handle to session, to index    P.r S
//	index to handle                P.r
//
// P.r is let go as soon as S is held, since a session keeps its address; only
// epoll_ctl, which wants two, keeps it to its end. A wait
// holds nothing, and looks its session up again afterwards; who waits takes MQ by
// itself meanwhile.
//
// # Fork
//
// A session that is shared by fork has one S for all processes, and it is taken
// with one thread too: what the core wants excluded of one of those that share
// it is excluded of all. No other lock has to reach across processes but SD,
// which fork takes, and the last close of a session that was shared. A fork
// holds P.w, every S in the order of the table, MQ and SP of the parent, and
// then SD. Those that share sessions have them at the same index, so two forks
// agree on the order; and who holds S never wants P.
//
// What a child held that has died is closed by its parent, one session after
// another as close does it, before the parent's next sleep or in its exit,
// where nothing is held.
//
// # One thread
//
// With one thread no lock is taken, but S of sessions that are shared. The thread marks itself as being inside an
// operation with a plain store. A second thread that registers switches the
// locks on, for good, makes that known with membarrier, and waits until the
// first has left the operation it may be in.
package perworker

import (
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"

	"vlsbench/core"
	"vlsbench/hw"
	"vlsbench/locks"
	"vlsbench/vls"
)

func init() {
	vls.Register(vls.Strategy{
		Name: "perworker",
		Doc:  "a table and pool per worker; locks only if the process has several threads",
		Kind: vls.Built,
		New:  New,
	})
}

// Lock kinds of the preset.
const (
	kindP, kindS, kindMQ, kindSP, kindSD = "bravo", "ttas", "ttas", "ttas", "ttas"
)

// classes are the lock classes, in the order in which they are taken.
var classes = [...]string{"P", "S", "MQ", "SP", "SD"}

// New makes an application with per-worker tables.
func New(o vls.Options) (vls.App, error) {
	a := &app{}
	if o.CountLocks {
		a.counters = make(map[string]*locks.Counter)
		for _, c := range classes {
			a.counters[c] = locks.NewCounter(c)
		}
	}
	var err error
	if a.shared, err = a.lock("SD", kindSD); err != nil {
		return nil, err
	}
	a.core, err = core.New(o.Config, core.Hooks{
		Sleep:   func(t *core.Thread, s *core.Session) { t.Owner.(*thread).sleep(s) },
		Woke:    func(t *core.Thread, s *core.Session) bool { return t.Owner.(*thread).woke(s) },
		Done:    func(t *core.Thread) { t.Owner.(*thread).unlock() },
		EnterMQ: func(t *core.Thread) { t.Owner.(*thread).enterMQ() },
		TryMQ:   func(t *core.Thread) bool { return t.Owner.(*thread).tryMQ() },
		LeaveMQ: func(t *core.Thread) { t.Owner.(*thread).leaveMQ() },

		EnterShared: func(*core.Thread) { a.shared.Lock() },
		LeaveShared: func(*core.Thread) { a.shared.Unlock() },
	})
	if err != nil {
		return nil, err
	}
	return a, nil
}

type app struct {
	core     *core.App
	shared   locks.Lock                // SD
	counters map[string]*locks.Counter // nil: not counted
}

// lock makes a lock of a class.
func (a *app) lock(class, kind string) (locks.Lock, error) {
	l, err := locks.New(kind)
	if err == nil && a.counters != nil {
		l = locks.Counted(l, a.counters[class])
	}
	return l, err
}

func (a *app) NewProcess() (vls.Process, error) {
	p, err := a.process()
	if err != nil {
		return nil, err
	}
	if p.w, err = a.core.NewWorker(); err != nil {
		return nil, err
	}
	p.w.Owner = p
	return p, nil
}

// process makes a process without a worker.
func (a *app) process() (*process, error) {
	// Without membarrier who registers second cannot know where the first is.
	p := &process{a: a, several: !hw.MembarrierAvailable()}
	rw, err := locks.NewRW(kindP)
	if err != nil {
		return nil, err
	}
	if p.table = rw; a.counters != nil {
		p.table = locks.CountedRW(rw, a.counters["P"])
	}
	if p.mq, err = a.lock("MQ", kindMQ); err != nil {
		return nil, err
	}
	if p.spool, err = a.lock("SP", kindSP); err != nil {
		return nil, err
	}
	return p, nil
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

// Usage is what the application has in hand, for tests that want it empty.
func (a *app) Usage() core.Usage { return a.core.Usage() }

// session is a VLS session: what S protects, beside the VCL session.
type session struct {
	lock   locks.Lock    // S; those that share a session by fork have one
	s      *core.Session // nil once closed
	shared bool          // by fork, once and for all; S has to be taken
}

type process struct {
	a *app
	w *core.Worker

	table locks.RW   // P
	mq    locks.Lock // MQ
	spool locks.Lock // SP

	mu      sync.Mutex // of registration
	threads []*thread
	slots   [256]bool // reader numbers for P that are taken
	several bool      // locks are on for good: there was a second thread
	forked  bool      // some sessions are shared
}

func (p *process) NewThread() vls.Thread { return &thread{p: p, w: p.w} }

// What a thread holds.
const (
	hS = 1 << iota
	hMQ
	hSP
	hMark // not a lock: the mark is set for the queue alone
)

// Modes of a thread.
const (
	locked = iota
	alone  // it is the only one of its process, and needs no locks
	sharer // it is, and needs S of sessions that are shared by fork
)

// thread is a calling context.
type thread struct {
	vls.Unimplemented

	mark uint32 // 1 while inside an operation without locks; see setMark
	held uint8  // locks, and hMark
	want uint8  // of hS and hSP, what the operation goes on with after a wait
	// mode is which locks the thread needs. Who registers second, or forks,
	// changes it.
	mode atomic.Uint32
	w    *core.Worker
	c    *core.Thread // &core, nil until registered
	core core.Thread
	v    *session // whose S is held

	p    *process
	slot int           // reader number for P
	fds  []core.PollFD // memory for Poll
	_    [128]byte
}

// Register makes the thread one of its process's.
func (t *thread) Register() error {
	if t.c != nil {
		return nil
	}
	p := t.p
	p.mu.Lock()
	defer p.mu.Unlock()
	slot := 0
	for slot < len(p.slots) && p.slots[slot] {
		slot++
	}
	if slot == len(p.slots) {
		return syscall.ENOMEM
	}
	if err := p.w.InitThread(&t.core, t); err != nil {
		return err
	}
	t.c, t.slot = &t.core, slot
	p.slots[slot] = true
	t.want = hS
	if len(p.threads) > 0 && !p.several {
		p.several = true
		p.threads[0].lockOut()
	}
	p.threads = append(p.threads, t)
	if !p.several {
		t.c.Bare = !p.forked
		t.mode.Store(p.mode())
	}
	return nil
}

// mode is that of the only thread of a process. Under mu.
func (p *process) mode() uint32 {
	if p.forked {
		return sharer
	}
	return alone
}

// lockOut makes the only thread of its process take locks, and waits until it
// has left an operation that it may be in without. Under mu.
func (t *thread) lockOut() {
	t.mode.Store(locked)
	// Either it sees that before it goes on, or its mark is seen here.
	hw.HeavyFence()
	for i := 1; atomic.LoadUint32(&t.mark) != 0; i++ {
		hw.Pause()
		if i%64 == 0 {
			runtime.Gosched()
		}
	}
}

// Exit unregisters the thread.
func (t *thread) Exit() error {
	if t.c == nil {
		return nil
	}
	p := t.p
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, o := range p.threads {
		if o == t {
			p.threads = append(p.threads[:i], p.threads[i+1:]...)
			break
		}
	}
	p.slots[t.slot] = false
	t.mode.Store(locked)
	t.c.Exit()
	t.c = nil
	return nil
}

// begin starts an operation that has no session: it registers the thread, and
// marks it if it is alone. True: no locks are needed, but S of what is shared.
func (t *thread) begin() (bool, error) {
	for {
		setMark(&t.mark, 1)
		switch t.mode.Load() {
		case alone:
			return true, nil
		case sharer:
			// It may hold S, with which one does not spin.
			t.c.Bare = false
			return true, nil
		}
		setMark(&t.mark, 0)
		if t.c != nil {
			t.c.Bare = false
			return false, nil
		}
		if err := t.Register(); err != nil {
			return false, err
		}
	}
}

// acquire starts an operation on a session. With locks it takes P.r and S and
// lets P.r go. EBADFD: there is no such session, and nothing is held.
func (t *thread) acquire(h vls.Handle) (*core.Session, error) {
	single, err := t.begin()
	if err != nil {
		return nil, err
	}
	if single {
		s := t.w.Lookup(core.Handle(h))
		if s == nil {
			setMark(&t.mark, 0)
			return nil, syscall.EBADFD
		}
		t.lockShared(s.Owner.(*session))
		return s, nil
	}
	p := t.p
	p.table.RLock(t.slot)
	v := t.lookup(h)
	if v == nil {
		p.table.RUnlock(t.slot)
		return nil, syscall.EBADFD
	}
	s := v.s
	t.lockS(v)
	p.table.RUnlock(t.slot)
	return s, nil
}

// lookup is the VLS session of a handle, nil if there is none. P: read or write.
func (t *thread) lookup(h vls.Handle) *session {
	if s := t.w.Lookup(core.Handle(h)); s != nil {
		// One that was made and is not entered yet has no owner.
		v, _ := s.Owner.(*session)
		return v
	}
	return nil
}

func (t *thread) lockS(v *session) {
	v.lock.Lock()
	t.held |= hS
	t.v = v
}

// lockShared takes S of a session that is shared by fork, for a thread that
// takes no locks else.
func (t *thread) lockShared(v *session) {
	if v.shared {
		t.lockS(v)
	}
}

// release ends an operation, with whatever it holds by then.
func (t *thread) release() {
	setMark(&t.mark, 0)
	if t.held != 0 {
		t.unlock()
	}
}

// unlock lets go of what is held.
func (t *thread) unlock() {
	held := t.held
	t.held = 0
	if held&hSP != 0 {
		t.p.spool.Unlock()
	}
	if held&hMQ != 0 {
		t.p.mq.Unlock()
	}
	if held&hS != 0 {
		v := t.v
		t.v = nil
		v.lock.Unlock()
	}
}

// lockMQ and lockSP take a lock if the operation runs with locks.
func (t *thread) lockMQ(single bool) {
	if !single {
		t.p.mq.Lock()
		t.held |= hMQ
	}
}

func (t *thread) lockSP(single bool) {
	if !single {
		t.p.spool.Lock()
		t.held |= hSP
	}
}

// sleep is the hook before a wait: nothing is held from here on.
func (t *thread) sleep(*core.Session) {
	t.release()
	t.p.reap()
}

// woke is the hook after a wait: what the operation needs is taken again, by
// the mode that is in force now, and its session looked up again.
func (t *thread) woke(s *core.Session) bool {
	if s == nil {
		return true // of select and poll, which need none
	}
	setMark(&t.mark, 1)
	v := s.Owner.(*session)
	if t.mode.Load() != locked {
		t.lockShared(v)
		return v.s != nil
	}
	setMark(&t.mark, 0)
	t.c.Bare = false
	t.lockS(v)
	if v.s == nil {
		return false
	}
	t.lockSP(t.want&hSP == 0)
	return true
}

// enterMQ is the hook before the queue is used. An operation that holds MQ
// already goes on.
func (t *thread) enterMQ() {
	if t.held&hMQ != 0 || t.markForMQ() {
		return
	}
	t.p.mq.Lock()
	t.held |= hMQ
}

func (t *thread) tryMQ() bool {
	if t.markForMQ() {
		return true
	}
	if !t.p.mq.TryLock() {
		return false
	}
	t.held |= hMQ
	return true
}

// markForMQ reports whether the queue needs no lock, and then marks the thread,
// if it is outside because it waits.
func (t *thread) markForMQ() bool {
	if t.mark != 0 {
		return true
	}
	setMark(&t.mark, 1)
	if t.mode.Load() != locked {
		t.held |= hMark
		return true
	}
	setMark(&t.mark, 0)
	return false
}

func (t *thread) leaveMQ() {
	switch {
	case t.held&hMark != 0:
		t.held &^= hMark
		setMark(&t.mark, 0)
	case t.held&hMQ != 0:
		t.held &^= hMQ
		t.p.mq.Unlock()
	}
}

// enter gives a new session of the core its VLS session, under P.w.
func (t *thread) enter(s *core.Session, single bool) error {
	l, err := t.p.a.lock("S", kindS)
	if err != nil {
		return err
	}
	if !single {
		t.p.table.Lock()
		defer t.p.table.Unlock()
	}
	s.Owner = &session{lock: l, s: s}
	return nil
}
