// Package migrate gives every thread a worker of its own, and moves a session to
// the thread that uses it. It is VLS with multi-thread workers, with the faults
// of the original repaired.
//
// A VLS session is at one worker at a time, where it has a slot, or at none. Only
// the thread of that worker touches it, so a worker's queue and pool need no
// lock, and threads that keep to sessions of their own never meet. A thread that
// wants a session which is elsewhere asks its owner by RPC.
//
// # Locks
//
//	P   rwlock, the table of sessions of a process (bravo)
//	S   one session (ttas)
//	H   rwlock, a process's table from session handles to VLS handles (phasefair)
//	R   the right to ask one worker (ttas)
//	SD  the application's pool of data that is shared by fork (ttas)
//
// Of each the kind is a knob, and so are what separates the locks from those of
// the original: see [design].
//
// In that order each operation takes, on a session that is the caller's own,
//
//	read, write, write_msg         S
//	recvfrom, sendto               S
//	bind, listen, connect, attr    S
//	shutdown                       S
//	accept                         S, then P.w H.w
//	create, epoll_create           P.w H.w
//	close                          P.w S H.w
//	epoll_ctl                      P.r S(set) S(session)
//	epoll_wait                     S, and nothing while it looks and waits
//	select, poll                   none
//	handle to session, to index    P.r S
//	index to handle                P.r H.r
//
// and close of the last that was shared by fork takes SD. The look-up needs no P:
// sessions keep their address, handles carry a generation, and one that is at the
// caller's worker cannot go unless the caller lets it.
//
// # Moving a session
//
// The slow path looks the session up under P.r and S, lets go of both, makes room
// in its own worker, takes the owner's R, and asks. While it waits, for R too, it
// serves its own queue, so that two threads may ask each other. The owner answers
// in each wait, and at the start of each operation. It takes the session out of
// its worker and leaves it in the VLS session; who asked takes P.r and S again,
// and makes it its own (H.w). So everybody finds a session that is on its way,
// whatever becomes of who asked. An owner that uses a session all the time is
// quicker to take it again than who asked is to wake up: a thread to which that
// happens twice asks for the session to be kept for it, and the others then let it
// come first, for some ms.
//
// An owner that makes no call answers nobody. Who needs its sessions gets
// ETIMEDOUT after 3 s, and everything is as it was; nobody else is delayed. The
// call is withdrawn then, so that a late answer finds nothing to answer.
//
// The sessions of a thread that exits are at no worker, and whoever uses one next
// takes it, without asking.
//
// A set and its members go together, since a set can only have members at its own
// worker: who uses one of them gets all. Closing a member takes it alone. What a
// set has reported is not news to it elsewhere. Threads of one process should
// therefore have a set each; a set that one thread waits on, with sessions that
// others read, moves with every read.
//
// A thread that loses a session while it waits for it is noted with it, and does
// not ask: whoever has it leaves it to those who are noted, at the end of its
// operation. It does so before it waits itself, unless they wait for the same;
// then one of them waits, and the others come in turn. Threads that wait for
// different things of one session (one to read it, one to write it, and neither
// can) hand it back and forth for as long as that lasts; so do threads in poll or
// select.
//
// # Fork
//
// A fork copies all workers of the parent, one after another. The child keeps
// one, that of the parent's main worker; what the other workers have is at none,
// until a thread of the child uses it. While that lasts the parent is stopped: a
// fork holds P.w, every S, of sets first, and then keeps the threads out of their
// queues and pools. These have no lock: a thread marks itself with a plain store
// when it enters them, and looks whether it may; who stops the process raises a
// flag, calls membarrier, and waits until no thread is marked. From then on, until
// the flag is lowered, the threads take a lock of the process instead. The same
// keeps the waiting threads of a process that was killed from its queues while its
// parent closes what it held.
//
// Sessions that are shared by fork have one S for all processes. Those that share
// them have them at the same place of the table, so two forks agree on the order.
package migrate

import (
	"sync"
	"sync/atomic"
	"time"

	"vlsbench/core"
	"vlsbench/hw"
	"vlsbench/locks"
	"vlsbench/vls"
)

// classes are the lock classes, in the order in which they are taken.
var classes = [...]string{"P", "S", "H", "R", "SD"}

// patience is how long a thread waits for the owner of a session.
const patience = 3 * time.Second

// new makes an application whose threads have workers of their own.
func (d design) new(o vls.Options) (vls.App, error) {
	a := &app{d: d, patience: patience}
	if o.CountLocks {
		a.counters = make(map[string]*locks.Counter)
		for _, c := range classes {
			a.counters[c] = locks.NewCounter(c)
		}
	}
	var err error
	if a.shared, err = a.lock("SD", d.kinds.shared); err != nil {
		return nil, err
	}
	if d.appTable {
		if a.table, err = a.newTable(); err != nil {
			return nil, err
		}
	}
	if d.oneRPC {
		if a.ask, err = a.lock("R", d.kinds.request); err != nil {
			return nil, err
		}
	}
	a.core, err = core.New(o.Config, core.Hooks{
		Sleep:   func(t *core.Thread, s *core.Session) { t.Owner.(*thread).sleep(s) },
		Woke:    func(t *core.Thread, s *core.Session) bool { return t.Owner.(*thread).woke(s) },
		EnterMQ: func(t *core.Thread) { t.Owner.(*thread).in() },
		TryMQ:   func(t *core.Thread) bool { return t.Owner.(*thread).tryIn() },
		LeaveMQ: func(t *core.Thread) { t.Owner.(*thread).out() },
		RPC:     func(t *core.Thread, c *core.Call) { t.Owner.(*thread).answer(c) },

		EnterShared: func(t *core.Thread) {
			t.Owner.(*thread).order.Take(d.name, "SD")
			a.shared.Lock()
		},
		LeaveShared: func(t *core.Thread) {
			t.Owner.(*thread).order.Give("SD")
			a.shared.Unlock()
		},
	})
	if err != nil {
		return nil, err
	}
	return a, nil
}

type app struct {
	d        design
	core     *core.App
	patience time.Duration
	table    *table                    // P, if it is the application's
	ask      locks.Lock                // R, if it is
	shared   locks.Lock                // SD
	counters map[string]*locks.Counter // nil: not counted
	workers  [256]atomic.Pointer[worker]
	tables   [256]atomic.Pointer[core.Pool[session]] // by a process's main worker
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

func (a *app) NewProcess() (vls.Process, error) {
	p, err := a.process()
	if err != nil {
		return nil, err
	}
	w, err := a.core.NewWorker()
	if err != nil {
		return nil, err
	}
	if err := p.start(w); err != nil {
		return nil, err
	}
	return p, nil
}

// process makes a process without a worker.
func (a *app) process() (*process, error) {
	p := &process{a: a, lock: a.table, byHandle: make(map[core.Handle]vls.Handle)}
	var err error
	if p.lock == nil {
		if p.lock, err = a.newTable(); err != nil {
			return nil, err
		}
	}
	if p.handles, err = a.rwlock("H", a.d.kinds.handles); err != nil {
		return nil, err
	}
	if !hw.MembarrierAvailable() {
		// Who stops the process cannot know who is marked.
		p.mode.Store(halted)
	}
	return p, nil
}

// start gives a process its main worker.
func (p *process) start(w *core.Worker) error {
	w.Owner = p
	// As the core's: the generations of a table outlive its process, so that
	// what was stale in one that had this worker is stale for ever.
	at := &p.a.tables[w.Index()]
	if at.Load() == nil {
		at.Store(core.NewPool[session](w.Index()))
	}
	p.table = at.Load()
	var err error
	p.main, err = p.worker(w)
	return err
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

// worker is a VCL worker of a process.
type worker struct {
	core *core.Worker
	p    *process
	ask  locks.Lock  // R
	idle atomic.Bool // no thread answers there
	used bool        // under the process's mu: a thread has it

	_ [hw.FalseSharing]byte
	// asked is 1 + the index of the worker that asks, 0 if nobody does. The owner
	// looks at each operation.
	asked atomic.Uint32
	_     [hw.FalseSharing]byte
}

// worker makes w one of the process's. Under mu, or while nobody knows the
// process.
func (p *process) worker(w *core.Worker) (*worker, error) {
	k := &worker{core: w, p: p, ask: p.a.ask}
	k.idle.Store(true)
	if k.ask == nil {
		var err error
		if k.ask, err = p.a.lock("R", p.a.d.kinds.request); err != nil {
			return nil, err
		}
	}
	p.a.workers[w.Index()].Store(k)
	p.workers = append(p.workers, k)
	return k, nil
}

// session is a VLS session. Whose it is, or who takes it from where it lies,
// changes it, and nobody else; S is between those that share it by fork, and
// keeps a fork away.
type session struct {
	lock atomic.Pointer[slock] // S; those that share a session by fork have one
	// at is the worker that has it, nil while it is on its way or left for
	// whoever wants it: then it lies in unit.
	at   atomic.Pointer[worker]
	unit atomic.Pointer[unit]
	s    *core.Session // at's

	h      vls.Handle
	isSet  atomic.Bool             // a poll may still look when the slot is used again
	shared atomic.Bool             // by fork, once and for all
	sh     atomic.Uint64           // of s
	set    atomic.Pointer[session] // that it is a member of
	line   []*waiter               // who lost it in a wait, and wants it back
}

// unit is what moves at once: a session, or a set and its members.
type unit struct {
	parcels []*core.Parcel // the set's first
	of      []*session     // the set first, the others in the order of the table
	first   *worker        // who may take it first, nil: anybody
	whole   atomic.Bool    // all of it lies there
	taken   bool           // under S of all of them
}

// kind is what a thread does with a session, and may wait for.
type kind uint8

const (
	others kind = iota
	reads
	writes
	accepts
	waits // on a set
	polls
)

// waiter is a thread that lost what it waits for.
type waiter struct {
	t      *thread
	h      vls.Handle
	worker uint32 // the thread's
	kind   kind
	told   atomic.Uint32 // 1: look whether it is to be had
	gone   atomic.Bool   // it does not want it any more
}

type process struct {
	a    *app
	main *worker

	table    *core.Pool[session]
	lock     *table                     // P
	handles  locks.RW                   // H
	byHandle map[core.Handle]vls.Handle // of every slot

	mode atomic.Uint32 // how threads enter their queues and pools
	halt locks.TTAS    // that they take while it is halted
	dead atomic.Bool   // killed

	mu      sync.Mutex // of registration, and of what follows
	threads []*thread
	workers []*worker
	forked  atomic.Bool // some sessions are shared
}

// halted is the mode of a process that is stopped, or was killed.
const halted = 1

func (p *process) NewThread() vls.Thread { return &thread{p: p, table: p.table, here: nowhere} }
