// Package global is the naive baseline: one mutex (of the kind futex) around
// every call of an application, let go while a call waits.
package global

import (
	"syscall"
	"time"

	"vlsbench/core"
	"vlsbench/locks"
	"vlsbench/vls"
)

func init() {
	vls.Register(vls.Strategy{
		Name: "global",
		Doc:  "one mutex around every call; a wait releases it: the naive baseline",
		Kind: vls.Built,
		New:  New,
	})
}

// New makes an application under one mutex.
func New(o vls.Options) (vls.App, error) {
	a := &app{lock: &locks.Futex{}, count: locks.NewCounter("G")}
	if o.CountLocks {
		a.counted = true
		a.lock = locks.Counted(a.lock, a.count)
	}
	var err error
	a.core, err = core.New(o.Config, core.Hooks{
		Sleep: func(t *core.Thread, _ *core.Session) {
			o := t.Owner.(*thread)
			o.unlock()
			o.p.reap()
		},
		Woke: func(t *core.Thread, _ *core.Session) bool {
			t.Owner.(*thread).lock()
			return true
		},
		EnterMQ: func(t *core.Thread) {
			if o := t.Owner.(*thread); !o.held {
				o.lock()
				o.forMQ = true
			}
		},
		TryMQ: func(t *core.Thread) bool {
			// Asked for only while waiting, when nothing is held.
			o := t.Owner.(*thread)
			o.held = a.lock.TryLock()
			o.forMQ = o.held
			return o.held
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

type app struct {
	core    *core.App
	lock    locks.Lock
	count   *locks.Counter
	counted bool
}

func (a *app) NewProcess() (vls.Process, error) {
	w, err := a.core.NewWorker()
	if err != nil {
		return nil, err
	}
	return a.process(w), nil
}

func (a *app) process(w *core.Worker) *process {
	p := &process{a: a, w: w}
	w.Owner = p
	return p
}

func (a *app) Locks() []locks.Stat {
	if !a.counted {
		return nil
	}
	return []locks.Stat{a.count.Stat()}
}

func (a *app) Close() error { return a.core.Close() }

// Usage is what the application has in hand, for tests that want it empty.
func (a *app) Usage() core.Usage { return a.core.Usage() }

type process struct {
	a *app
	w *core.Worker
}

func (p *process) NewThread() vls.Thread { return &thread{p: p, mu: p.a.lock} }

func (p *process) Fork() (vls.Process, error) {
	t := &thread{p: p, mu: p.a.lock}
	if err := t.enter(); err != nil {
		return nil, err
	}
	w, err := t.c.Fork(nil)
	var child *process
	if err == nil {
		child = p.a.process(w)
	}
	t.unlock()
	t.Exit()
	if err != nil {
		return nil, err
	}
	return child, nil
}

func (p *process) Exit() error {
	t := &thread{p: p, mu: p.a.lock}
	if err := t.Register(); err != nil {
		return err
	}
	p.w.Orphan()
	p.reap()
	t.lock()
	p.w.Close(t.c)
	t.unlock()
	return t.Exit()
}

// Kill dooms under the lock: who is in an operation has left it, or waits.
func (p *process) Kill() error {
	t := &thread{p: p, mu: p.a.lock}
	t.lock()
	p.w.Doom(t)
	t.unlock()
	if p.w.Die() {
		return nil
	}
	return p.Exit()
}

// reap closes what children of the process held that have died. Nothing is held.
func (p *process) reap() {
	for w := p.w.TakeDead(); w != nil; w = p.w.TakeDead() {
		if err := w.Owner.(*process).Exit(); err != nil {
			// No number is left for a thread that could: at the next wait.
			p.w.PutDead(w)
			return
		}
	}
}

// thread is a calling context. A VLS handle is the VCL session's.
type thread struct {
	vls.Unimplemented
	mu    locks.Lock
	c     *core.Thread // nil until registered
	p     *process
	held  bool
	forMQ bool // held for the queue alone

	fds []core.PollFD // memory for Poll
}

func (t *thread) lock()   { t.mu.Lock(); t.held = true }
func (t *thread) unlock() { t.held = false; t.mu.Unlock() }

func (t *thread) Register() error {
	if t.c != nil {
		return nil
	}
	c, err := t.p.w.NewThread(t)
	if err != nil {
		return err
	}
	t.c = c
	return nil
}

func (t *thread) Exit() error {
	if t.c != nil {
		t.c.Exit()
		t.c = nil
	}
	return nil
}

// enter registers the thread and takes the lock.
func (t *thread) enter() error {
	if t.c == nil {
		if err := t.Register(); err != nil {
			return err
		}
	}
	t.lock()
	return nil
}

// acquire takes the lock and looks a session up; without one it holds nothing.
func (t *thread) acquire(h vls.Handle) (*core.Session, error) {
	if err := t.enter(); err != nil {
		return nil, err
	}
	s := t.p.w.Lookup(core.Handle(h))
	if s == nil {
		t.unlock()
		return nil, syscall.EBADFD
	}
	return s, nil
}

func (t *thread) Create(p vls.Proto, nonblocking bool) (vls.Handle, error) {
	if err := t.enter(); err != nil {
		return 0, err
	}
	s, err := t.c.Create(p, nonblocking)
	t.unlock()
	if err != nil {
		return 0, err
	}
	return vls.Handle(s.Handle()), nil
}

func (t *thread) Bind(h vls.Handle, ep vls.Endpoint) error {
	s, err := t.acquire(h)
	if err != nil {
		return err
	}
	err = t.c.Bind(s, ep)
	t.unlock()
	return err
}

func (t *thread) Listen(h vls.Handle, backlog int) error {
	s, err := t.acquire(h)
	if err != nil {
		return err
	}
	err = t.c.Listen(s, backlog)
	t.unlock()
	return err
}

func (t *thread) Connect(h vls.Handle, ep vls.Endpoint) error {
	s, err := t.acquire(h)
	if err != nil {
		return err
	}
	err = t.c.Connect(s, ep)
	t.unlock()
	return err
}

func (t *thread) Accept(h vls.Handle, flags int) (vls.Handle, vls.Endpoint, error) {
	l, err := t.acquire(h)
	if err != nil {
		return 0, vls.Endpoint{}, err
	}
	defer t.unlock()
	s, err := t.c.Accept(l, flags)
	if err != nil {
		return 0, vls.Endpoint{}, err
	}
	return vls.Handle(s.Handle()), s.Remote(), nil
}

func (t *thread) Read(h vls.Handle, p []byte) (int, error) {
	s, err := t.acquire(h)
	if err != nil {
		return 0, err
	}
	n, err := t.c.Read(s, p)
	t.unlock()
	return n, err
}

func (t *thread) Write(h vls.Handle, p []byte) (int, error) {
	s, err := t.acquire(h)
	if err != nil {
		return 0, err
	}
	n, err := t.c.Write(s, p)
	t.unlock()
	return n, err
}

func (t *thread) Recvfrom(h vls.Handle, p []byte, flags int) (int, vls.Endpoint, error) {
	s, err := t.acquire(h)
	if err != nil {
		return 0, vls.Endpoint{}, err
	}
	n, ep, err := t.c.Recvfrom(s, p, flags)
	t.unlock()
	return n, ep, err
}

func (t *thread) Sendto(h vls.Handle, p []byte, flags int, ep vls.Endpoint) (int, error) {
	s, err := t.acquire(h)
	if err != nil {
		return 0, err
	}
	n, err := t.c.Sendto(s, p, flags, ep)
	t.unlock()
	return n, err
}

// WriteMsg is Write: a cut-through session tells its reader at once anyway.
func (t *thread) WriteMsg(h vls.Handle, p []byte) (int, error) { return t.Write(h, p) }

func (t *thread) Shutdown(h vls.Handle, how int) error {
	s, err := t.acquire(h)
	if err != nil {
		return err
	}
	err = t.c.Shutdown(s, how)
	t.unlock()
	return err
}

func (t *thread) Close(h vls.Handle) error {
	s, err := t.acquire(h)
	if err != nil {
		return err
	}
	err = t.c.Close(s)
	t.unlock()
	return err
}

func (t *thread) Attr(h vls.Handle, a vls.Attr, buf []byte) (int, error) {
	s, err := t.acquire(h)
	if err != nil {
		return 0, err
	}
	n, err := t.c.Attr(s, a, buf)
	t.unlock()
	return n, err
}

func (t *thread) EpollCreate() (vls.Handle, error) {
	if err := t.enter(); err != nil {
		return 0, err
	}
	s, err := t.c.EpollCreate()
	t.unlock()
	if err != nil {
		return 0, err
	}
	return vls.Handle(s.Handle()), nil
}

func (t *thread) EpollCtl(ep vls.Handle, op int, h vls.Handle, ev *vls.EpollEvent) error {
	set, err := t.acquire(ep)
	if err != nil {
		return err
	}
	defer t.unlock()
	s := t.p.w.Lookup(core.Handle(h))
	if s == nil {
		return syscall.EBADFD
	}
	return t.c.EpollCtl(set, op, s, ev)
}

func (t *thread) EpollWait(ep vls.Handle, evs []vls.EpollEvent, timeout time.Duration) (int, error) {
	set, err := t.acquire(ep)
	if err != nil {
		return 0, err
	}
	n, err := t.c.EpollWait(set, evs, timeout)
	t.unlock()
	return n, err
}

func (t *thread) Select(read, write, except *vls.HandleSet, timeout time.Duration) (int, error) {
	return vls.SelectBy(t.poll, read, write, except, timeout)
}

func (t *thread) Poll(fds []vls.PollFD, timeout time.Duration) (int, error) {
	return vls.PollBy(t.poll, &t.fds, fds, timeout)
}

func (t *thread) poll(fds []core.PollFD, timeout time.Duration) (int, error) {
	if err := t.enter(); err != nil {
		return 0, err
	}
	if t.p.w.Forked() {
		for i := range fds {
			if s := t.p.w.Lookup(fds[i].Handle); s != nil && s.Passive() {
				t.c.Attend(s)
			}
		}
	}
	n, err := t.c.Poll(fds, timeout)
	t.unlock()
	return n, err
}

func (t *thread) SessionHandle(h vls.Handle) (vls.SessionHandle, error) {
	s, err := t.acquire(h)
	if err != nil {
		return 0, err
	}
	defer t.unlock()
	return s.Handle(), nil
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
	if h := t.p.w.Live(index); h != 0 {
		return vls.Handle(h), nil
	}
	return 0, syscall.EBADFD
}
