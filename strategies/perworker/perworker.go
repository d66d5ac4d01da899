// Package perworker gives each process a worker, a table and a pool of its own,
// and takes locks only while the process has more than one thread. It is VLS
// after the change that made its locking minimal, with the faults of the
// original repaired.
//
// # Locks
//
//	P   rwlock, the table of VLS sessions of a process (bravo)
//	S   one VLS session (ttas)
//	MQ  the worker's message queue (mutex)
//	SP  the worker's session pool (mutex)
//
// In that order, each operation of a process with several threads takes
//
//	create, epoll_create           SP, then P.w S
//	bind, listen, connect, attr    P.r S
//	shutdown, read, write          P.r S
//	accept                         P.r S SP, then P.w S
//	close                          P.w S MQ SP
//	epoll_ctl                      P.r S(set) S(session) MQ
//	epoll_wait                     P.r S(set) MQ
//	look-ups                       P.r S
//
// P.r is let go as soon as S is held, since a session keeps its address. A wait
// holds nothing, and looks its session up again afterwards; read, write and
// accept take MQ by themselves while they wait.
//
// # One thread
//
// With one thread no lock is taken. The thread marks itself as being inside an
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
	kindP, kindS, kindMQ, kindSP = "bravo", "ttas", "mutex", "mutex"
)

// classes are the lock classes, in the order in which they are taken.
var classes = [...]string{"P", "S", "MQ", "SP"}

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
	a.core, err = core.New(o.Config, core.Hooks{
		Sleep:   func(t *core.Thread, s *core.Session) { t.Owner.(*thread).sleep(s) },
		Woke:    func(t *core.Thread, s *core.Session) bool { return t.Owner.(*thread).woke(s) },
		EnterMQ: func(t *core.Thread) { t.Owner.(*thread).enterMQ() },
		TryMQ:   func(t *core.Thread) bool { return t.Owner.(*thread).tryMQ() },
		LeaveMQ: func(t *core.Thread) { t.Owner.(*thread).leaveMQ() },
	})
	if err != nil {
		return nil, err
	}
	return a, nil
}

type app struct {
	core     *core.App
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
	p := &process{a: a}
	rw, err := locks.NewRW(kindP)
	if err != nil {
		return nil, err
	}
	if p.table.lock = rw; a.counters != nil {
		p.table.lock = locks.CountedRW(rw, a.counters["P"])
	}
	if p.mq, err = a.lock("MQ", kindMQ); err != nil {
		return nil, err
	}
	if p.spool, err = a.lock("SP", kindSP); err != nil {
		return nil, err
	}
	if p.w, err = a.core.NewWorker(); err != nil {
		return nil, err
	}
	p.table.pool = core.NewPool[session](p.w.Index())
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

// session is a VLS session: what S protects. A slot of the table keeps its lock
// through all of its uses.
type session struct {
	lock locks.Lock
	h    vls.Handle
	s    *core.Session
	_    [128 - 48]byte // with the slot's own 16 bytes
}

type process struct {
	a *app
	w *core.Worker

	table struct {
		lock locks.RW // P
		pool *core.Pool[session]
	}
	mq    locks.Lock // MQ
	spool locks.Lock // SP

	mu      sync.Mutex // of registration
	threads []*thread
	slots   [256]bool // reader numbers for P that are taken
	several bool      // there was a second thread: locks are on for good
}

func (p *process) NewThread() vls.Thread {
	t := &thread{p: p, pool: p.table.pool}
	t.mode.Store(unregistered)
	return t
}

func (p *process) Fork() (vls.Process, error) { return nil, syscall.ENOTSUP }

func (p *process) Exit() error {
	t := &thread{p: p, pool: p.table.pool}
	t.mode.Store(alone)
	c, err := p.w.NewThread(t)
	if err != nil {
		return err
	}
	p.w.Close(c)
	c.Exit()
	p.table.pool.Each(func(h uint64, _ *session) {
		p.table.pool.Invalidate(h)
		p.table.pool.Free(h)
	})
	return nil
}

// Modes of a thread.
const (
	alone = iota // the only one of its process: no locks
	locked
	unregistered
)

// What a thread holds.
const (
	hS = 1 << iota
	hMQ
	hSP
	hMark // not a lock: the mark is set for the queue alone
)

// thread is a calling context.
type thread struct {
	vls.Unimplemented

	mark uint32        // 1 while inside an operation without locks; see setMark
	mode atomic.Uint32 // set by whoever registers second
	pool *core.Pool[session]
	c    *core.Thread
	held uint8 // locks, and hMark
	want uint8 // of hS and hSP, what the operation goes on with after a wait
	v    *session

	p    *process
	slot int // reader number for P
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
	c, err := p.w.NewThread(t)
	if err != nil {
		return err
	}
	t.c, t.slot = c, slot
	p.slots[slot] = true
	t.want = hS
	if len(p.threads) > 0 && !p.several {
		p.several = true
		first := p.threads[0]
		first.mode.Store(locked)
		// Either it sees the mode before it goes on, or its mark is seen here.
		hw.HeavyFence()
		for i := 1; atomic.LoadUint32(&first.mark) != 0; i++ {
			hw.Pause()
			if i%64 == 0 {
				runtime.Gosched()
			}
		}
	}
	p.threads = append(p.threads, t)
	if p.several {
		t.mode.Store(locked)
	} else {
		t.mode.Store(alone)
		c.Bare = true
	}
	return nil
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
	t.mode.Store(unregistered)
	t.c.Exit()
	t.c = nil
	return nil
}

// begin starts an operation that has no session: it registers the thread, and
// marks it if it is alone. True: no locks are needed.
func (t *thread) begin() (bool, error) {
	for {
		setMark(&t.mark, 1)
		switch t.mode.Load() {
		case alone:
			return true, nil
		case locked:
			setMark(&t.mark, 0)
			t.c.Bare = false
			return false, nil
		}
		setMark(&t.mark, 0)
		if err := t.Register(); err != nil {
			return false, err
		}
	}
}

// acquire starts an operation on a session. With locks it takes P.r and S and
// lets P.r go. EBADFD: there is no such session, and nothing is held.
func (t *thread) acquire(h vls.Handle) (*session, error) {
	single, err := t.begin()
	if err != nil {
		return nil, err
	}
	if single {
		v := t.pool.Get(uint64(h))
		if v == nil {
			setMark(&t.mark, 0)
			return nil, syscall.EBADFD
		}
		return v, nil
	}
	p := t.p
	p.table.lock.RLock(t.slot)
	v := t.pool.Get(uint64(h))
	if v == nil {
		p.table.lock.RUnlock(t.slot)
		return nil, syscall.EBADFD
	}
	v.lock.Lock()
	p.table.lock.RUnlock(t.slot)
	t.held |= hS
	t.v = v
	return v, nil
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
func (t *thread) sleep(*core.Session) { t.release() }

// woke is the hook after a wait: what the operation needs is taken again, by
// the mode that is in force now, and its session looked up again.
func (t *thread) woke(s *core.Session) bool {
	setMark(&t.mark, 1)
	v := s.Owner.(*session)
	if t.mode.Load() == alone {
		return v.s == s
	}
	setMark(&t.mark, 0)
	t.c.Bare = false
	v.lock.Lock()
	t.held |= hS
	t.v = v
	if v.s != s {
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
	if t.mode.Load() == alone {
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

// enter gives a new session of the core a VLS session, under P.w.
func (t *thread) enter(s *core.Session, single bool) (vls.Handle, error) {
	if !single {
		t.p.table.lock.Lock()
		defer t.p.table.lock.Unlock()
	}
	h, v := t.pool.Alloc()
	if v == nil {
		return 0, syscall.ENOMEM
	}
	if v.lock == nil {
		l, err := t.p.a.lock("S", kindS)
		if err != nil {
			return 0, err
		}
		v.lock = l
	}
	if !single {
		// Who waited for the slot's last session may be looking at it.
		v.lock.Lock()
		defer v.lock.Unlock()
	}
	v.h, v.s = vls.Handle(h), s
	s.Owner = v
	t.pool.Publish(h)
	return vls.Handle(h), nil
}
