package locked

import (
	"sync"
	"sync/atomic"

	"vlsbench/audit"
	"vlsbench/core"
	"vlsbench/hw"
	"vlsbench/locks"
	"vlsbench/vls"
)

// classes are the lock classes, in the order in which they are taken.
var classes = [...]string{"P", "S", "MQ", "SP", "SD"}

// New makes an application of the design.
func (d Design) New(o vls.Options) (vls.App, error) {
	a := &app{d: d}
	if o.CountLocks {
		a.counters = make(map[string]*locks.Counter)
		for _, c := range classes {
			a.counters[c] = locks.NewCounter(c)
		}
	}
	var err error
	if a.shared, err = a.lock("SD", d.Kinds.Shared); err != nil {
		return nil, err
	}
	if d.AppTable {
		if a.table, err = a.newTable(); err != nil {
			return nil, err
		}
	}
	a.core, err = core.New(o.Config, core.Hooks{
		Sleep:   func(t *core.Thread, s *core.Session) { t.Owner.(*thread).sleep(s) },
		Woke:    func(t *core.Thread, s *core.Session) bool { return t.Owner.(*thread).woke(s) },
		Done:    func(t *core.Thread) { t.Owner.(*thread).unlock() },
		EnterMQ: func(t *core.Thread) { t.Owner.(*thread).enterMQ() },
		TryMQ:   func(t *core.Thread) bool { return t.Owner.(*thread).tryMQ() },
		LeaveMQ: func(t *core.Thread) { t.Owner.(*thread).leaveMQ() },

		EnterShared: func(t *core.Thread) {
			t.Owner.(*thread).order.Take(a.d.Name, "SD")
			a.shared.Lock()
		},
		LeaveShared: func(t *core.Thread) {
			a.shared.Unlock()
			t.Owner.(*thread).order.Give("SD")
		},
		TryFirst: d.TryQueue,
	})
	if err != nil {
		return nil, err
	}
	return a, nil
}

type app struct {
	d        Design
	core     *core.App
	table    *table                    // of a design whose table is the application's
	shared   locks.Lock                // SD
	counters map[string]*locks.Counter // nil: not counted
}

// table is P, with the numbers of its readers.
type table struct {
	locks.RW
	mu    sync.Mutex
	slots [256]bool // taken
}

// lock makes a lock of a class.
func (a *app) lock(class, kind string) (locks.Lock, error) {
	l, err := locks.New(kind)
	if err == nil && a.counters != nil {
		l = locks.Counted(l, a.counters[class])
	}
	return l, err
}

func (a *app) rwlock(class, kind string) (locks.RW, error) {
	l, err := locks.NewRW(kind)
	if err == nil && a.counters != nil {
		l = locks.CountedRW(l, a.counters[class])
	}
	return l, err
}

func (a *app) newTable() (*table, error) {
	rw, err := a.rwlock("P", a.d.Kinds.Table)
	return &table{RW: rw}, err
}

// slot is a reader's number; there are as many as the core has threads.
func (p *table) slot() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, taken := range p.slots {
		if !taken {
			p.slots[i] = true
			return i
		}
	}
	return 0 // of a dead process: a number that two have costs time alone
}

func (p *table) giveBack(slot int) {
	p.mu.Lock()
	p.slots[slot] = false
	p.mu.Unlock()
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
	p := &process{a: a, d: &a.d, several: !hw.MembarrierAvailable(), table: a.table}
	var err error
	if p.table == nil {
		if p.table, err = a.newTable(); err != nil {
			return nil, err
		}
	}
	if p.mq, err = a.lock("MQ", a.d.Kinds.Queue); err != nil {
		return nil, err
	}
	if isRW(a.d.Kinds.Pool) {
		p.poolRW, err = a.rwlock("SP", a.d.Kinds.Pool)
		p.pool = p.poolRW
	} else {
		p.pool, err = a.lock("SP", a.d.Kinds.Pool)
	}
	return p, err
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
	set    bool          // it is an epoll set
}

// class is that of the session's lock.
func (v *session) class() string {
	if v.set {
		return "S(set)"
	}
	return "S"
}

type process struct {
	a *app
	d *Design
	w *core.Worker

	table  *table     // P
	mq     locks.Lock // MQ
	pool   locks.Lock // SP
	poolRW locks.RW   // it too, where it is one; else nil

	mu      sync.Mutex // of registration
	threads []*thread
	several bool // locks are on for good: there was a second thread
	forked  bool // some sessions are shared
}

func (p *process) NewThread() vls.Thread { return p.newThread() }

func (p *process) newThread() *thread {
	t := &thread{p: p, w: p.w, want: p.d.Takes.Read}
	t.sessions.Shut()
	return t
}

// Modes of a thread.
const (
	locked = iota
	alone  // it is the only one of its process, and needs no locks
	sharer // it is, and needs S of some sessions or, by the design, P and S of all
)

// thread is a calling context.
type thread struct {
	order audit.Order
	vls.Unimplemented

	mark uint32 // 1 while inside an operation without locks; see setMark
	held Set    // of S, MQ, SP and SPr, and hMark
	want Set    // what the operation goes on with after a wait
	// mode is which locks the thread needs. Who registers second, or forks,
	// changes it. Sessions is open while it needs none, and only then.
	mode     atomic.Uint32
	sessions core.Directory
	w        *core.Worker
	c        *core.Thread // &core, nil until registered
	core     core.Thread
	v        *session // whose S is held

	p    *process
	slot int           // reader number for P
	fds  []core.PollFD // memory for Poll
	_    [128]byte
}

// hMark is not a lock: the mark is set for the queue alone.
const hMark Set = 1 << 15
