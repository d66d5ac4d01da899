// Package busted has strategies with one fault each, so that the checks can be
// seen to find it. They lock as global does, one mutex around every call that a
// wait lets go, but for the fault. None is registered: who wants one takes it
// from [Twins].
//
// What depends on who is faster is helped along by a pause in the middle of the
// fault, so that it shows in seconds.
package busted

import (
	"sync"
	"syscall"
	"time"

	"vlsbench/core"
	"vlsbench/locks"
	"vlsbench/sched"
	"vlsbench/vls"
)

// Twin is a strategy with a fault.
type Twin struct {
	Name  string // of the strategy, after "busted-"
	No    int    // in the catalogue of faults, 0: not there
	Fault string // what is wrong
	// Found is the checks that find it: handles, streams, churn, stall, edge, the
	// name of a case of the suite, or audit and one of these that a build with the
	// auditor does not get through.
	Found []string

	fault fault
}

type fault int

const (
	none fault = iota
	readUnlocked
	readTorn
	writeTorn
	noGeneration
	looksOnce
	closeTwice
	ctlStale
	firstUnlocked
	unlockDecides
	firstIsAll
	selectShared
	poolUnlocked
	queueUnlocked
	eventsDropped
	lastSkipped
	waitHolds
	shutdownLeaks
	busySilent
)

// Twins are all of them.
var Twins = []Twin{
	{"read-unlocked", 0, "a read takes no lock, and two are at one end of a fifo", []string{"audit streams"}, readUnlocked},
	{"read-torn", 0, "a read lets go of the lock between the copy of the bytes and their release", []string{"streams", "threads-share-session"}, readTorn},
	{"write-torn", 0, "a write lets go of the lock between two parts of its bytes", []string{"streams", "threads-share-session"}, writeTorn},
	{"no-generation", 0, "handles have no generation, and that of a closed session is the next one's", []string{"handles", "churn", "handle-stale"}, noGeneration},
	{"looks-once", 2, "an operation looks its session up, and it is closed and freed before the operation has the lock", []string{"handles"}, looksOnce},
	{"closes-twice", 44, "two threads close one session, and the second frees what is gone", []string{"handles"}, closeTwice},
	{"ctl-stale", 14, "epoll_ctl adds a session that was closed since it was looked up", []string{"handles"}, ctlStale},
	{"first-unlocked", 5, "the count of threads begins at 0, and the second runs without locks", []string{"audit thread-registers-while-first-works"}, firstUnlocked},
	{"unlock-decides", 43, "the end of an operation decides anew whether there was a lock", []string{"thread-registers-while-first-works"}, unlockDecides},
	{"first-is-all", 12, "the thread that registered first takes the sessions of the process with it", []string{"exit-register"}, firstIsAll},
	{"select-shared", 15, "the memory of poll and select is one for all threads", []string{"handles"}, selectShared},
	{"pool-unlocked", 49, "create and epoll_create take a slot of the pool without its lock", []string{"audit handles"}, poolUnlocked},
	{"queue-unlocked", 50, "the queue of a worker is emptied without its lock", []string{"audit epoll-wait-two-threads"}, queueUnlocked},
	{"events-dropped", 33, "of more events than were asked for, edge triggered, the rest is lost", []string{"edge"}, eventsDropped},
	{"last-skipped", 36, "the last of several members that are ready is not reported", []string{"epoll-fair"}, lastSkipped},
	{"wait-holds", 3, "a read that waits keeps the lock, and who closes the session waits for it", []string{"stall"}, waitHolds},
	{"shutdown-leaks", 13, "a shutdown that is refused keeps the lock, and the next who makes a session waits for ever", []string{"stall"}, shutdownLeaks},
	{"busy-silent", 0, "a read that meets a busy end says EWOULDBLOCK, and nobody is told when the end is free", []string{"edge"}, busySilent},
}

// Sound is like the twins, and has no fault.
var Sound = Twin{Name: "sound", Fault: "none"}

// Strategy is the twin, ready to be judged.
func (w Twin) Strategy() vls.Strategy {
	return vls.Strategy{
		Name:   "busted-" + w.Name,
		Doc:    w.Fault,
		Kind:   vls.Busted,
		NoFork: true,
		New:    func(o vls.Options) (vls.App, error) { return newApp(w.fault, o) },
	}
}

// pause is time for others to come in between.
func pause() {
	sched.Point("busted: in the middle of the fault")
	if !sched.Controlled() {
		time.Sleep(20 * time.Microsecond)
	}
}

type app struct {
	fault fault
	core  *core.App
}

func newApp(f fault, o vls.Options) (vls.App, error) {
	a := &app{fault: f}
	var err error
	a.core, err = core.New(o.Config, core.Hooks{
		Sleep: func(t *core.Thread, s *core.Session) {
			if o := t.Owner.(*thread); o.held && (f != waitHolds || s == nil || s.IsEpoll()) {
				o.unlock()
			}
		},
		Woke: func(t *core.Thread, _ *core.Session) bool {
			if o := t.Owner.(*thread); !o.held {
				o.lock()
			}
			return true
		},
		EnterMQ: func(t *core.Thread) {
			if o := t.Owner.(*thread); !o.held && f != queueUnlocked {
				o.lock()
				o.forMQ = true
			}
		},
		TryMQ: func(t *core.Thread) bool {
			o := t.Owner.(*thread)
			if o.held || f == queueUnlocked {
				return true
			}
			o.forMQ = o.tryLock()
			return o.forMQ
		},
		LeaveMQ: func(t *core.Thread) {
			if o := t.Owner.(*thread); o.forMQ {
				o.forMQ = false
				o.unlock()
			}
		},
	})
	if err != nil {
		return nil, err
	}
	return a, nil
}

func (a *app) NewProcess() (vls.Process, error) {
	w, err := a.core.NewWorker()
	if err != nil {
		return nil, err
	}
	return &process{a: a, w: w}, nil
}

func (a *app) Locks() []locks.Stat { return nil }
func (a *app) Close() error        { return a.core.Close() }
func (a *app) Usage() core.Usage   { return a.core.Usage() }

type process struct {
	a   *app
	w   *core.Worker
	big locks.Futex

	mu      sync.Mutex // of registration
	threads int
	first   *thread

	fds []core.PollFD // select-shared
}

func (p *process) NewThread() vls.Thread      { return &thread{p: p, fault: p.a.fault} }
func (p *process) Fork() (vls.Process, error) { return nil, syscall.ENOTSUP }

func (p *process) Exit() error {
	t := &thread{p: p}
	if err := t.Register(); err != nil {
		return err
	}
	t.lock()
	p.w.Close(t.c)
	t.unlock()
	return t.Exit()
}

type thread struct {
	vls.Unimplemented
	p     *process
	fault fault
	c     *core.Thread // nil until registered
	held  bool
	took  bool // held, and not only said to be
	forMQ bool

	fds []core.PollFD
}

// needless reports whether a thread has to take the lock.
func (t *thread) needless() bool {
	switch t.fault {
	case firstUnlocked:
		return t.p.count() <= 2
	case unlockDecides:
		return t.p.count() <= 1
	}
	return false
}

func (p *process) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.threads
}

func (t *thread) lock() {
	t.took = !t.needless()
	if t.took {
		t.p.big.Lock()
	}
	t.held = true
}

func (t *thread) tryLock() bool {
	t.took = !t.needless()
	t.held = !t.took || t.p.big.TryLock()
	return t.held
}

func (t *thread) unlock() {
	t.held = false
	took := t.took
	if t.fault == unlockDecides {
		took = !t.needless()
	}
	if took {
		t.p.big.Unlock()
	}
}

// between is a moment in which the lock is let go, and should not be.
func (t *thread) between() {
	t.unlock()
	pause()
	t.lock()
}

func (t *thread) Register() error {
	if t.c != nil {
		return nil
	}
	c, err := t.p.w.NewThread(t)
	if err != nil {
		return err
	}
	t.p.mu.Lock()
	t.p.threads++
	if t.p.first == nil {
		t.p.first = t
	}
	t.p.mu.Unlock()
	t.c = c
	return nil
}

func (t *thread) Exit() error {
	if t.c == nil {
		return nil
	}
	if t.fault == firstIsAll && t.p.first == t {
		t.lock()
		t.p.w.Each(func(s *core.Session) { t.c.Close(s) })
		t.unlock()
	}
	if t.fault != unlockDecides { // which never switches its locks off again
		t.p.mu.Lock()
		t.p.threads--
		t.p.mu.Unlock()
	}
	t.c.Exit()
	t.c = nil
	return nil
}

// enter registers the thread and takes the lock.
func (t *thread) enter() error {
	if err := t.Register(); err != nil {
		return err
	}
	t.lock()
	return nil
}

// find is the session of a handle.
func (t *thread) find(h vls.Handle) *core.Session {
	if t.fault == noGeneration && h != 0 {
		h = vls.Handle(t.p.w.Live(uint32(h) & core.MaxIndex))
	}
	return t.p.w.Lookup(core.Handle(h))
}

// name is the handle of a session.
func (t *thread) name(s *core.Session) vls.Handle {
	h := vls.Handle(s.Handle())
	if t.fault == noGeneration {
		h = 1<<32 | vls.Handle(uint32(h))
	}
	return h
}

// on runs an operation on a session, under the lock.
func (t *thread) on(h vls.Handle, f func(s *core.Session) error) error {
	if err := t.enter(); err != nil {
		return err
	}
	s := t.find(h)
	if t.fault == looksOnce {
		t.between()
	}
	var err error = syscall.EBADFD
	if s != nil {
		err = f(s)
	}
	if t.held {
		t.unlock()
	}
	return err
}

func (t *thread) Create(p vls.Proto, nonblocking bool) (vls.Handle, error) {
	return t.create(func() (*core.Session, error) { return t.c.Create(p, nonblocking) })
}

func (t *thread) EpollCreate() (vls.Handle, error) {
	return t.create(func() (*core.Session, error) { return t.c.EpollCreate() })
}

func (t *thread) create(make func() (*core.Session, error)) (vls.Handle, error) {
	if err := t.enter(); err != nil {
		return 0, err
	}
	if t.fault == poolUnlocked {
		t.unlock()
		s, err := make()
		if err != nil {
			return 0, err
		}
		return t.name(s), nil
	}
	defer t.unlock()
	s, err := make()
	if err != nil {
		return 0, err
	}
	return t.name(s), nil
}

func (t *thread) Bind(h vls.Handle, ep vls.Endpoint) error {
	return t.on(h, func(s *core.Session) error { return t.c.Bind(s, ep) })
}

func (t *thread) Listen(h vls.Handle, backlog int) error {
	return t.on(h, func(s *core.Session) error { return t.c.Listen(s, backlog) })
}

func (t *thread) Connect(h vls.Handle, ep vls.Endpoint) error {
	return t.on(h, func(s *core.Session) error { return t.c.Connect(s, ep) })
}

func (t *thread) Accept(h vls.Handle, flags int) (ah vls.Handle, peer vls.Endpoint, err error) {
	err = t.on(h, func(l *core.Session) error {
		s, err := t.c.Accept(l, flags)
		if err == nil {
			ah, peer = t.name(s), s.Remote()
		}
		return err
	})
	return ah, peer, err
}

func (t *thread) Read(h vls.Handle, p []byte) (n int, err error) {
	if t.fault == busySilent {
		if err := t.Register(); err != nil {
			return 0, err
		}
		if !t.tryLock() {
			return 0, syscall.EWOULDBLOCK
		}
		t.unlock()
	}
	err = t.on(h, func(s *core.Session) (err error) {
		switch t.fault {
		case readUnlocked:
			t.unlock()
		case readTorn:
			if n, _, err = t.c.Recvfrom(s, p, core.MSG_PEEK); err != nil || n == 0 {
				return err
			}
			t.between()
			_, err = t.c.Read(s, make([]byte, n))
			return err
		}
		n, err = t.c.Read(s, p)
		return err
	})
	return n, err
}

func (t *thread) Write(h vls.Handle, p []byte) (n int, err error) {
	err = t.on(h, func(s *core.Session) (err error) {
		if half := len(p) / 2; t.fault == writeTorn && half > 0 {
			n, err = t.c.Write(s, p[:half])
			if err != nil || n < half {
				return err
			}
			t.between()
			more, err := t.c.Write(s, p[half:])
			n += more
			if err == syscall.EWOULDBLOCK {
				err = nil
			}
			return err
		}
		n, err = t.c.Write(s, p)
		return err
	})
	return n, err
}

func (t *thread) Recvfrom(h vls.Handle, p []byte, flags int) (n int, ep vls.Endpoint, err error) {
	err = t.on(h, func(s *core.Session) (err error) {
		n, ep, err = t.c.Recvfrom(s, p, flags)
		return err
	})
	return n, ep, err
}

func (t *thread) Sendto(h vls.Handle, p []byte, flags int, ep vls.Endpoint) (n int, err error) {
	err = t.on(h, func(s *core.Session) (err error) {
		n, err = t.c.Sendto(s, p, flags, ep)
		return err
	})
	return n, err
}

func (t *thread) WriteMsg(h vls.Handle, p []byte) (int, error) { return t.Write(h, p) }

func (t *thread) Shutdown(h vls.Handle, how int) error {
	if err := t.enter(); err != nil {
		return err
	}
	s := t.find(h)
	if s == nil {
		t.unlock()
		return syscall.EBADFD
	}
	err := t.c.Shutdown(s, how)
	if err == nil || t.fault != shutdownLeaks {
		t.unlock()
	}
	return err
}

func (t *thread) Close(h vls.Handle) error {
	return t.on(h, func(s *core.Session) error {
		if t.fault == closeTwice {
			t.between()
		}
		return t.c.Close(s)
	})
}

func (t *thread) Attr(h vls.Handle, a vls.Attr, buf []byte) (n int, err error) {
	err = t.on(h, func(s *core.Session) (err error) {
		n, err = t.c.Attr(s, a, buf)
		return err
	})
	return n, err
}

func (t *thread) EpollCtl(ep vls.Handle, op int, h vls.Handle, ev *vls.EpollEvent) error {
	return t.on(ep, func(set *core.Session) error {
		s := t.find(h)
		if s == nil {
			return syscall.EBADFD
		}
		if t.fault == ctlStale {
			t.between()
		}
		return t.c.EpollCtl(set, op, s, ev)
	})
}

func (t *thread) EpollWait(ep vls.Handle, evs []vls.EpollEvent, timeout time.Duration) (n int, err error) {
	err = t.on(ep, func(set *core.Session) (err error) {
		if t.fault != eventsDropped || len(evs) == 0 {
			n, err = t.c.EpollWait(set, evs, timeout)
			return err
		}
		all := make([]vls.EpollEvent, 64+len(evs))
		n, err = t.c.EpollWait(set, all, timeout)
		n = min(n, len(evs))
		copy(evs, all[:n])
		return err
	})
	if t.fault == lastSkipped && n > 1 {
		n--
	}
	return n, err
}

func (t *thread) Select(read, write, except *vls.HandleSet, timeout time.Duration) (int, error) {
	return vls.SelectBy(t.poll, read, write, except, timeout)
}

func (t *thread) Poll(fds []vls.PollFD, timeout time.Duration) (int, error) {
	memory := &t.fds
	if t.fault == selectShared {
		memory = &t.p.fds
	}
	return vls.PollBy(t.poll, memory, fds, timeout)
}

func (t *thread) poll(fds []core.PollFD, timeout time.Duration) (int, error) {
	if t.fault == selectShared {
		pause()
	}
	if err := t.enter(); err != nil {
		return 0, err
	}
	if t.fault == noGeneration {
		for i := range fds {
			if s := t.find(vls.Handle(fds[i].Handle)); s != nil {
				fds[i].Handle = s.Handle()
			}
		}
	}
	n, err := t.c.Poll(fds, timeout)
	t.unlock()
	return n, err
}

func (t *thread) SessionHandle(h vls.Handle) (sh vls.SessionHandle, err error) {
	err = t.on(h, func(s *core.Session) error {
		sh = s.Handle()
		return nil
	})
	return sh, err
}

func (t *thread) SessionIndex(h vls.Handle) (index, worker uint32, err error) {
	sh, err := t.SessionHandle(h)
	return sh.Index(), sh.Worker(), err
}

func (t *thread) HandleOf(index uint32) (vls.Handle, error) {
	if err := t.enter(); err != nil {
		return 0, err
	}
	defer t.unlock()
	if s := t.p.w.Lookup(t.p.w.Live(index)); s != nil {
		return t.name(s), nil
	}
	return 0, syscall.EBADFD
}
