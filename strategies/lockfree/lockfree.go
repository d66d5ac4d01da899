// Package lockfree does without locks: an operation claims the ends of the one
// session that it is about, by compare-and-swap, and everything else is done in
// a way that needs nobody to be kept out. A thread that is stopped at any point
// inside any operation stops no other thread's operation on another session, nor
// creation, closing, look-up and polling by others. docs/lockfree.md says how,
// and why.
package lockfree

import (
	"syscall"

	"vlsbench/core"
	"vlsbench/locks"
	"vlsbench/vls"
)

func init() {
	vls.Register(vls.Strategy{
		Name: "lockfree",
		Doc:  "no lock: ends of sessions are claimed by compare-and-swap, and a stopped thread stops nobody elsewhere",
		Kind: vls.Built,
		New:  New,
	})
}

// New makes an application without locks.
func New(o vls.Options) (vls.App, error) {
	c, err := core.New(o.Config, core.Hooks{
		Sleep: func(t *core.Thread, s *core.Session) { t.Owner.(*thread).sleep(s) },
		Woke:  func(t *core.Thread, s *core.Session) bool { return t.Owner.(*thread).woke(s) },
		Free:  true,
	})
	if err != nil {
		return nil, err
	}
	return &app{core: c}, nil
}

type app struct{ core *core.App }

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

// Locks is empty: there are none.
func (a *app) Locks() []locks.Stat { return nil }

func (a *app) Close() error { return a.core.Close() }

// Usage is what the application has in hand, for tests that want it empty.
func (a *app) Usage() core.Usage { return a.core.Usage() }

type process struct {
	a *app
	w *core.Worker
}

func (p *process) NewThread() vls.Thread { return p.newThread() }

func (p *process) newThread() *thread {
	t := &thread{p: p, w: p.w}
	t.sessions.Open(p.w)
	return t
}

func (p *process) Fork() (vls.Process, error) {
	t := p.newThread()
	if err := t.Register(); err != nil {
		return nil, err
	}
	defer t.Exit()
	w, err := t.c.Fork(nil)
	if err != nil {
		return nil, err
	}
	return p.a.process(w), nil
}

func (p *process) Exit() error {
	p.w.Orphan()
	p.reap()
	t := p.newThread()
	if err := t.Register(); err != nil {
		return err
	}
	p.w.Close(t.c)
	return t.Exit()
}

// Kill ends the waits of the process's threads, which get nothing any more.
func (p *process) Kill() error {
	p.w.Doom(nil)
	if p.w.Die() {
		return nil
	}
	return p.Exit()
}

// reap closes what children of the process held that have died. Nothing is
// claimed.
func (p *process) reap() {
	for w := p.w.TakeDead(); w != nil; w = p.w.TakeDead() {
		if err := w.Owner.(*process).Exit(); err != nil {
			// There is no number for a thread that could: at the next wait.
			p.w.PutDead(w)
			return
		}
	}
}

// thread is a calling context. A VLS handle is the VCL session's.
type thread struct {
	vls.Unimplemented
	c        *core.Thread // nil until registered
	sessions core.Directory
	w        *core.Worker
	p        *process

	ends core.Ends // that the operation has claimed, and claims again after a wait

	fds []core.PollFD // memory for Poll
	_   [128]byte
}

// Register makes the thread one of its process's.
func (t *thread) Register() error {
	if t.c != nil {
		return nil
	}
	// A new one each time: who wakes may still look at an old one.
	c, err := t.w.NewThread(t)
	if err == nil {
		t.c = c
	}
	return err
}

// Exit unregisters the thread.
func (t *thread) Exit() error {
	if t.c != nil {
		t.c.Exit()
		t.c = nil
	}
	return nil
}

// claim begins an operation on a session with ends of it. Of a session that is
// non-blocking it does not wait for them, unless told to.
func (t *thread) claim(h vls.Handle, e core.Ends, wait bool) (*core.Session, error) {
	if t.c == nil {
		if err := t.Register(); err != nil {
			return nil, err
		}
	}
	s, err := t.c.Claim(core.Handle(h), e, wait)
	if err != nil {
		return nil, err
	}
	t.ends = e
	return s, nil
}

// release ends an operation on s, with whatever it has claimed by then.
func (t *thread) release(s *core.Session) {
	if e := t.ends; e != 0 {
		t.ends = 0
		t.c.Release(s, e)
	}
}

// late is the error of an operation that has moved nothing: that the session was
// closed meanwhile comes before what has become of it since.
func (t *thread) late(s *core.Session, err error) error {
	if t.ends != 0 && s.Closing() {
		return syscall.ENOTCONN
	}
	return err
}

// sleep is the hook before a wait: nothing is claimed from here on.
func (t *thread) sleep(s *core.Session) {
	if t.ends != 0 {
		t.c.Release(s, t.ends)
	}
	t.p.reap()
}

// woke is the hook after a wait: what the operation needs is claimed again. A
// wait on a set, of select or of poll needs none.
func (t *thread) woke(s *core.Session) bool {
	if t.ends != 0 && !t.c.Reclaim(s, t.ends) {
		t.ends = 0
		return false
	}
	return true
}
