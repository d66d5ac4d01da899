// Package null is the strategy without a lock: the floor that prices the
// session core and the API. A process has one thread, and no fork; both are
// refused.
package null

import (
	"syscall"
	"time"

	"vlsbench/core"
	"vlsbench/locks"
	"vlsbench/vls"
)

func init() {
	vls.Register(vls.Strategy{
		Name:       "null",
		Doc:        "no lock, one thread a process: the floor that prices core and API",
		Kind:       vls.Built,
		MaxThreads: 1,
		NoFork:     true,
		New:        New,
	})
}

// New makes an application without locks.
func New(o vls.Options) (vls.App, error) {
	a, err := core.New(o.Config, core.Hooks{})
	if err != nil {
		return nil, err
	}
	return &app{a}, nil
}

type app struct{ core *core.App }

func (a *app) NewProcess() (vls.Process, error) {
	w, err := a.core.NewWorker()
	if err != nil {
		return nil, err
	}
	return &process{w: w}, nil
}

func (a *app) Locks() []locks.Stat { return nil }
func (a *app) Close() error        { return a.core.Close() }

// Usage is what the application has in hand, for tests that want it empty.
func (a *app) Usage() core.Usage { return a.core.Usage() }

type process struct {
	w          *core.Worker
	registered bool
}

func (p *process) NewThread() vls.Thread      { return &thread{p: p} }
func (p *process) Fork() (vls.Process, error) { return nil, syscall.ENOTSUP }

func (p *process) Exit() error {
	c, err := p.w.NewThread(nil)
	if err != nil {
		return err
	}
	p.w.Close(c)
	c.Exit()
	return nil
}

// thread is the one thread of a process. A VLS handle is the VCL session's.
type thread struct {
	vls.Unimplemented
	c        *core.Thread // nil until registered
	sessions core.Directory
	w        *core.Worker
	p        *process

	fds []core.PollFD // memory for Poll
}

func (t *thread) Register() error {
	if t.c != nil {
		return nil
	}
	if t.p.registered {
		return syscall.ENOTSUP
	}
	c, err := t.p.w.NewThread(t)
	if err != nil {
		return err
	}
	c.Bare = true
	t.c, t.w, t.p.registered = c, t.p.w, true
	t.sessions.Open(t.w)
	return nil
}

func (t *thread) Exit() error {
	if t.c == nil {
		return nil
	}
	t.c.Exit()
	t.c, t.w, t.p.registered = nil, nil, false
	return nil
}

// session is the session of a handle.
func (t *thread) session(h vls.Handle) (*core.Session, error) {
	if t.c == nil {
		if err := t.Register(); err != nil {
			return nil, err
		}
	}
	if s := t.w.Lookup(core.Handle(h)); s != nil {
		return s, nil
	}
	return nil, syscall.EBADFD
}

// handle is what is returned of a session that was made.
func handle(s *core.Session, err error) (vls.Handle, error) {
	if err != nil {
		return 0, err
	}
	return vls.Handle(s.Handle()), nil
}

func (t *thread) Create(p vls.Proto, nonblocking bool) (vls.Handle, error) {
	if err := t.Register(); err != nil {
		return 0, err
	}
	return handle(t.c.Create(p, nonblocking))
}

func (t *thread) Bind(h vls.Handle, ep vls.Endpoint) error {
	s, err := t.session(h)
	if err != nil {
		return err
	}
	return t.c.Bind(s, ep)
}

func (t *thread) Listen(h vls.Handle, backlog int) error {
	s, err := t.session(h)
	if err != nil {
		return err
	}
	return t.c.Listen(s, backlog)
}

func (t *thread) Connect(h vls.Handle, ep vls.Endpoint) error {
	s, err := t.session(h)
	if err != nil {
		return err
	}
	return t.c.Connect(s, ep)
}

func (t *thread) Accept(h vls.Handle, flags int) (vls.Handle, vls.Endpoint, error) {
	l, err := t.session(h)
	if err != nil {
		return 0, vls.Endpoint{}, err
	}
	s, err := t.c.Accept(l, flags)
	if err != nil {
		return 0, vls.Endpoint{}, err
	}
	return vls.Handle(s.Handle()), s.Remote(), nil
}

func (t *thread) Read(h vls.Handle, p []byte) (int, error) {
	if t.c != nil {
		if s, live := t.sessions.Find(core.Handle(h)); live {
			return t.c.Read(s, p)
		}
	}
	return t.firstRead(h, p)
}

// firstRead is a read that may have to register the thread.
func (t *thread) firstRead(h vls.Handle, p []byte) (int, error) {
	s, err := t.session(h)
	if err != nil {
		return 0, err
	}
	return t.c.Read(s, p)
}

func (t *thread) Write(h vls.Handle, p []byte) (int, error) {
	if t.c != nil {
		if s, live := t.sessions.Find(core.Handle(h)); live {
			return t.c.Write(s, p)
		}
	}
	return t.firstWrite(h, p)
}

// firstWrite is a write that may have to register the thread.
func (t *thread) firstWrite(h vls.Handle, p []byte) (int, error) {
	s, err := t.session(h)
	if err != nil {
		return 0, err
	}
	return t.c.Write(s, p)
}

func (t *thread) Recvfrom(h vls.Handle, p []byte, flags int) (int, vls.Endpoint, error) {
	s, err := t.session(h)
	if err != nil {
		return 0, vls.Endpoint{}, err
	}
	return t.c.Recvfrom(s, p, flags)
}

func (t *thread) Sendto(h vls.Handle, p []byte, flags int, ep vls.Endpoint) (int, error) {
	s, err := t.session(h)
	if err != nil {
		return 0, err
	}
	return t.c.Sendto(s, p, flags, ep)
}

// WriteMsg is Write: a cut-through session tells its reader at once anyway.
func (t *thread) WriteMsg(h vls.Handle, p []byte) (int, error) { return t.Write(h, p) }

func (t *thread) Shutdown(h vls.Handle, how int) error {
	s, err := t.session(h)
	if err != nil {
		return err
	}
	return t.c.Shutdown(s, how)
}

func (t *thread) Close(h vls.Handle) error {
	s, err := t.session(h)
	if err != nil {
		return err
	}
	return t.c.Close(s)
}

func (t *thread) Attr(h vls.Handle, a vls.Attr, buf []byte) (int, error) {
	s, err := t.session(h)
	if err != nil {
		return 0, err
	}
	return t.c.Attr(s, a, buf)
}

func (t *thread) EpollCreate() (vls.Handle, error) {
	if err := t.Register(); err != nil {
		return 0, err
	}
	return handle(t.c.EpollCreate())
}

func (t *thread) EpollCtl(ep vls.Handle, op int, h vls.Handle, ev *vls.EpollEvent) error {
	set, err := t.session(ep)
	if err != nil {
		return err
	}
	s, err := t.session(h)
	if err != nil {
		return err
	}
	return t.c.EpollCtl(set, op, s, ev)
}

func (t *thread) EpollWait(ep vls.Handle, evs []vls.EpollEvent, timeout time.Duration) (int, error) {
	set, err := t.session(ep)
	if err != nil {
		return 0, err
	}
	return t.c.EpollWait(set, evs, timeout)
}

func (t *thread) Select(read, write, except *vls.HandleSet, timeout time.Duration) (int, error) {
	return vls.SelectBy(t.poll, read, write, except, timeout)
}

func (t *thread) Poll(fds []vls.PollFD, timeout time.Duration) (int, error) {
	return vls.PollBy(t.poll, &t.fds, fds, timeout)
}

func (t *thread) poll(fds []core.PollFD, timeout time.Duration) (int, error) {
	if err := t.Register(); err != nil {
		return 0, err
	}
	return t.c.Poll(fds, timeout)
}

func (t *thread) SessionHandle(h vls.Handle) (vls.SessionHandle, error) {
	s, err := t.session(h)
	if err != nil {
		return 0, err
	}
	return s.Handle(), nil
}

func (t *thread) SessionIndex(h vls.Handle) (index, worker uint32, err error) {
	s, err := t.session(h)
	if err != nil {
		return 0, 0, err
	}
	return s.Handle().Index(), s.Handle().Worker(), nil
}

func (t *thread) HandleOf(index uint32) (vls.Handle, error) {
	if err := t.Register(); err != nil {
		return 0, err
	}
	if h := t.w.Live(index); h != 0 {
		return vls.Handle(h), nil
	}
	return 0, syscall.EBADFD
}
