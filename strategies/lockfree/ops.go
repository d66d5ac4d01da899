package lockfree

import (
	"syscall"
	"time"

	"vlsbench/core"
	"vlsbench/vls"
)

func (t *thread) Create(p vls.Proto, nonblocking bool) (vls.Handle, error) {
	if err := t.Register(); err != nil {
		return 0, err
	}
	s, err := t.c.Create(p, nonblocking)
	return t.made(s, err)
}

// made ends the claim that a session is born with.
func (t *thread) made(s *core.Session, err error) (vls.Handle, error) {
	if err != nil {
		return 0, err
	}
	h := s.Handle() // it may be closed as soon as it can be claimed
	t.c.Release(s, core.BothEnds)
	return vls.Handle(h), nil
}

func (t *thread) Bind(h vls.Handle, ep vls.Endpoint) error {
	s, err := t.claim(h, core.BothEnds, true)
	if err != nil {
		return err
	}
	err = t.c.Bind(s, ep)
	t.release(s)
	return err
}

func (t *thread) Listen(h vls.Handle, backlog int) error {
	s, err := t.claim(h, core.BothEnds, true)
	if err != nil {
		return err
	}
	err = t.c.Listen(s, backlog)
	t.release(s)
	return err
}

func (t *thread) Connect(h vls.Handle, ep vls.Endpoint) error {
	s, err := t.claim(h, core.BothEnds, true)
	if err != nil {
		return err
	}
	err = t.c.Connect(s, ep)
	t.release(s)
	return err
}

func (t *thread) Accept(h vls.Handle, flags int) (vls.Handle, vls.Endpoint, error) {
	l, err := t.claim(h, core.BothEnds, false)
	if err != nil {
		return 0, vls.Endpoint{}, err
	}
	s, err := t.c.Accept(l, flags)
	t.release(l)
	if err != nil {
		return 0, vls.Endpoint{}, err
	}
	peer := s.Remote()
	ah, err := t.made(s, nil)
	return ah, peer, err
}

func (t *thread) Read(h vls.Handle, p []byte) (int, error) {
	if c := t.c; c != nil {
		if s, live := t.sessions.Find(core.Handle(h)); live && c.Enter(s, core.Handle(h), core.RxEnd) {
			t.ends = core.RxEnd
			n, err := c.Read(s, p)
			if n == 0 {
				err = t.late(s, err)
			}
			if c.Entered() {
				t.ends = 0
				c.Leave(s)
			} else {
				t.release(s) // it has waited, and claimed
			}
			return n, err
		}
	}
	return t.read(h, p)
}

func (t *thread) read(h vls.Handle, p []byte) (int, error) {
	s, err := t.claim(h, core.RxEnd, false)
	if err != nil {
		return 0, err
	}
	n, err := t.c.Read(s, p)
	if n == 0 {
		err = t.late(s, err)
	}
	t.release(s)
	return n, err
}

func (t *thread) Write(h vls.Handle, p []byte) (int, error) {
	if c := t.c; c != nil {
		if s, live := t.sessions.Find(core.Handle(h)); live && c.Enter(s, core.Handle(h), core.TxEnd) {
			t.ends = core.TxEnd
			n, err := c.Write(s, p)
			if n == 0 {
				err = t.late(s, err)
			}
			if c.Entered() {
				t.ends = 0
				c.Leave(s)
			} else {
				t.release(s) // it has waited, and claimed
			}
			return n, err
		}
	}
	return t.write(h, p)
}

func (t *thread) write(h vls.Handle, p []byte) (int, error) {
	s, err := t.claim(h, core.TxEnd, false)
	if err != nil {
		return 0, err
	}
	n, err := t.c.Write(s, p)
	if n == 0 {
		err = t.late(s, err)
	}
	t.release(s)
	return n, err
}

func (t *thread) Recvfrom(h vls.Handle, p []byte, flags int) (int, vls.Endpoint, error) {
	s, err := t.claim(h, core.RxEnd, false)
	if err != nil {
		return 0, vls.Endpoint{}, err
	}
	n, ep, err := t.c.Recvfrom(s, p, flags)
	if n == 0 {
		err = t.late(s, err)
	}
	t.release(s)
	return n, ep, err
}

func (t *thread) Sendto(h vls.Handle, p []byte, flags int, ep vls.Endpoint) (int, error) {
	s, err := t.claim(h, core.TxEnd, false)
	if err != nil {
		return 0, err
	}
	if s.Binds() {
		t.release(s)
		if s, err = t.claim(h, core.BothEnds, false); err != nil {
			return 0, err
		}
	}
	n, err := t.c.Sendto(s, p, flags, ep)
	if n == 0 {
		err = t.late(s, err)
	}
	t.release(s)
	return n, err
}

// WriteMsg is Write: a cut-through session tells its reader at once anyway.
func (t *thread) WriteMsg(h vls.Handle, p []byte) (int, error) { return t.Write(h, p) }

func (t *thread) Shutdown(h vls.Handle, how int) error {
	s, err := t.claim(h, core.BothEnds, true)
	if err != nil {
		return err
	}
	err = t.c.Shutdown(s, how)
	t.release(s)
	return err
}

func (t *thread) Close(h vls.Handle) error {
	if err := t.Register(); err != nil {
		return err
	}
	return t.c.CloseHandle(core.Handle(h))
}

func (t *thread) Attr(h vls.Handle, a vls.Attr, buf []byte) (int, error) {
	s, err := t.claim(h, core.BothEnds, true)
	if err != nil {
		return 0, err
	}
	n, err := t.c.Attr(s, a, buf)
	t.release(s)
	return n, err
}

func (t *thread) EpollCreate() (vls.Handle, error) {
	if err := t.Register(); err != nil {
		return 0, err
	}
	s, err := t.c.EpollCreate()
	return t.made(s, err)
}

func (t *thread) EpollCtl(ep vls.Handle, op int, h vls.Handle, ev *vls.EpollEvent) error {
	if err := t.Register(); err != nil {
		return err
	}
	set := t.w.Pin(core.Handle(ep))
	if set == nil {
		return syscall.EBADFD
	}
	defer t.w.Unpin(set)
	s, err := t.claim(h, core.BothEnds, true)
	if err != nil {
		return err
	}
	err = t.c.EpollCtl(set, op, s, ev)
	t.release(s)
	return err
}

func (t *thread) EpollWait(ep vls.Handle, evs []vls.EpollEvent, timeout time.Duration) (int, error) {
	if err := t.Register(); err != nil {
		return 0, err
	}
	set := t.w.Pin(core.Handle(ep))
	if set == nil {
		return 0, syscall.EBADFD
	}
	n, err := t.c.EpollWait(set, evs, timeout)
	t.w.Unpin(set)
	return n, err
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
	if err := t.Register(); err != nil {
		return 0, err
	}
	s := t.w.Pin(core.Handle(h))
	if s == nil {
		return 0, syscall.EBADFD
	}
	sh := s.Handle()
	t.w.Unpin(s)
	return sh, nil
}

func (t *thread) SessionIndex(h vls.Handle) (index, worker uint32, err error) {
	sh, err := t.SessionHandle(h)
	return sh.Index(), sh.Worker(), err
}

func (t *thread) HandleOf(index uint32) (vls.Handle, error) {
	if err := t.Register(); err != nil {
		return 0, err
	}
	h := t.w.Live(index)
	if h == 0 {
		return 0, syscall.EBADFD
	}
	// It may be closing, which others have found.
	s := t.w.Pin(h)
	if s == nil {
		return 0, syscall.EBADFD
	}
	t.w.Unpin(s)
	return vls.Handle(h), nil
}
