package original

import (
	"syscall"
	"time"

	"vlsbench/core"
	"vlsbench/locks"
	"vlsbench/vls"
)

// made enters a new session in the tables, under P.w.
func (t *mtThread) made(s *core.Session) (vls.Handle, error) {
	p := t.p
	t.lockP()
	defer t.unlockP()
	h, v := p.table.Alloc()
	if v == nil {
		t.c.Close(s)
		return 0, syscall.ENOMEM
	}
	at := slot{t.w.Index(), s.Handle().Index()}
	*v = mtSession{
		lock: p.a.lock("S", new(locks.TTAS)), h: vls.Handle(h), set: s.IsEpoll(),
		at: at, owner: at.worker, slots: map[uint32]core.Handle{at.worker: s.Handle()},
	}
	s.Owner = v
	t.enter(v)
	p.table.Publish(h)
	return v.h, nil
}

func (t *mtThread) Create(p vls.Proto, nonblocking bool) (vls.Handle, error) {
	if err := t.Register(); err != nil {
		return 0, err
	}
	s, err := t.c.Create(p, nonblocking)
	if err != nil {
		return 0, err
	}
	return t.made(s)
}

func (t *mtThread) EpollCreate() (vls.Handle, error) {
	if err := t.Register(); err != nil {
		return 0, err
	}
	s, err := t.c.EpollCreate()
	if err != nil {
		return 0, err
	}
	return t.made(s)
}

// do runs an operation, which comes to the caller's worker or not.
func (t *mtThread) do(h vls.Handle, migrates bool, f func(s *core.Session) error) error {
	v, s, err := t.acquire(h, migrates)
	if err != nil {
		return err
	}
	err = f(s)
	t.release(v)
	return err
}

func (t *mtThread) Bind(h vls.Handle, ep vls.Endpoint) error {
	return t.do(h, false, func(s *core.Session) error { return t.c.Bind(s, ep) })
}

func (t *mtThread) Listen(h vls.Handle, backlog int) error {
	return t.do(h, true, func(s *core.Session) error { return t.c.Listen(s, backlog) })
}

func (t *mtThread) Connect(h vls.Handle, ep vls.Endpoint) error {
	return t.do(h, true, func(s *core.Session) error { return t.c.Connect(s, ep) })
}

func (t *mtThread) Accept(h vls.Handle, flags int) (ah vls.Handle, peer vls.Endpoint, err error) {
	var s *core.Session
	err = t.do(h, true, func(l *core.Session) (err error) {
		s, err = t.c.Accept(l, flags)
		return err
	})
	if err != nil {
		return 0, vls.Endpoint{}, err
	}
	peer = s.Remote()
	ah, err = t.made(s)
	return ah, peer, err
}

func (t *mtThread) Read(h vls.Handle, p []byte) (n int, err error) {
	err = t.do(h, true, func(s *core.Session) (err error) {
		n, err = t.c.Read(s, p)
		return err
	})
	return n, err
}

func (t *mtThread) Write(h vls.Handle, p []byte) (n int, err error) {
	err = t.do(h, true, func(s *core.Session) (err error) {
		n, err = t.c.Write(s, p)
		return err
	})
	return n, err
}

// WriteMsg is Write.
func (t *mtThread) WriteMsg(h vls.Handle, p []byte) (int, error) { return t.Write(h, p) }

func (t *mtThread) Recvfrom(h vls.Handle, p []byte, flags int) (n int, ep vls.Endpoint, err error) {
	err = t.do(h, true, func(s *core.Session) (err error) {
		n, ep, err = t.c.Recvfrom(s, p, flags)
		return err
	})
	return n, ep, err
}

func (t *mtThread) Sendto(h vls.Handle, p []byte, flags int, ep vls.Endpoint) (n int, err error) {
	err = t.do(h, true, func(s *core.Session) (err error) {
		n, err = t.c.Sendto(s, p, flags, ep)
		return err
	})
	return n, err
}

func (t *mtThread) Shutdown(h vls.Handle, how int) error {
	return t.do(h, true, func(s *core.Session) error { return t.c.Shutdown(s, how) })
}

func (t *mtThread) Attr(h vls.Handle, a vls.Attr, buf []byte) (n int, err error) {
	err = t.do(h, true, func(s *core.Session) (err error) {
		n, err = t.c.Attr(s, a, buf)
		return err
	})
	return n, err
}

// Close closes the caller's slot and tells all workers that have another. A
// session that has none at the caller's worker is asked for, for which the
// table's lock, held by a writer, is let go as by a reader.
func (t *mtThread) Close(h vls.Handle) error {
	if err := t.Register(); err != nil {
		return err
	}
	p := t.p
	t.lockP()
	v := p.table.Get(uint64(h))
	if v == nil {
		t.unlockP()
		return syscall.EBADFD
	}
	t.lock(v)
	if v = t.migrate(v); v == nil {
		return syscall.EBADFD
	}
	err := error(syscall.EBADFD)
	if s := t.session(v); s != nil {
		err = t.closeCore(v, s)
	}
	for w, sh := range v.slots {
		if w != v.at.worker {
			t.c.Tell(w, uint64(sh))
		}
	}
	t.lockH()
	delete(p.byHandle, v.at)
	t.unlockH()
	p.table.Invalidate(uint64(h))
	t.unlock(v)
	p.table.Free(uint64(h))
	t.unlockP()
	t.runlockP()
	return err
}

// closeCore closes, or gives up its share.
func (t *mtThread) closeCore(v *mtSession, s *core.Session) error {
	if v.data != nil {
		t.lockData(v.data)
		defer t.unlockData()
	}
	return t.c.Close(s)
}

// EpollCtl brings the set to the caller's worker, and takes of the session what
// that worker has at its index.
func (t *mtThread) EpollCtl(ep vls.Handle, op int, h vls.Handle, ev *vls.EpollEvent) error {
	if err := t.Register(); err != nil {
		return err
	}
	t.rlockP()
	set, v := t.p.table.Get(uint64(ep)), t.p.table.Get(uint64(h))
	err := error(nil)
	switch {
	case set == nil || v == nil:
		err = syscall.EBADFD
	case !set.set || v.set:
		err = syscall.EINVAL
	}
	if err != nil {
		t.runlockP()
		return err
	}
	t.lock(set)
	if set = t.migrate(set); set == nil {
		return syscall.EBADFD
	}
	t.lock(v)
	a, b := t.session(set), t.session(v)
	t.runlockP()
	err = syscall.EBADFD
	if a != nil && b != nil {
		err = t.c.EpollCtl(a, op, b, ev)
	}
	t.rlockP()
	t.unlock(v)
	t.unlock(set)
	t.runlockP()
	return err
}

// EpollWait waits on what the caller's worker has at the set's index.
func (t *mtThread) EpollWait(ep vls.Handle, evs []vls.EpollEvent, timeout time.Duration) (n int, err error) {
	err = t.do(ep, false, func(s *core.Session) (err error) {
		n, err = t.c.EpollWait(s, evs, timeout)
		return err
	})
	return n, err
}

func (t *mtThread) Select(read, write, except *vls.HandleSet, timeout time.Duration) (int, error) {
	return vls.SelectBy(t.poll, read, write, except, timeout)
}

func (t *mtThread) Poll(fds []vls.PollFD, timeout time.Duration) (int, error) {
	return vls.PollBy(t.poll, &t.fds, fds, timeout)
}

// poll takes no lock, and looks at what the caller's worker has at the indices.
func (t *mtThread) poll(fds []core.PollFD, timeout time.Duration) (int, error) {
	if err := t.Register(); err != nil {
		return 0, err
	}
	for i := range fds {
		v := t.p.table.Get(uint64(fds[i].Handle))
		fds[i].Handle = 0 // names nothing
		if v != nil {
			fds[i].Handle = t.w.Live(v.at.index)
		}
	}
	return t.c.Poll(fds, timeout)
}

func (t *mtThread) SessionHandle(h vls.Handle) (sh vls.SessionHandle, err error) {
	err = t.do(h, false, func(s *core.Session) error {
		sh = s.Handle()
		return nil
	})
	return sh, err
}

func (t *mtThread) SessionIndex(h vls.Handle) (index, worker uint32, err error) {
	sh, err := t.SessionHandle(h)
	return sh.Index(), sh.Worker(), err
}

func (t *mtThread) HandleOf(index uint32) (vls.Handle, error) {
	if err := t.Register(); err != nil {
		return 0, err
	}
	t.rlockP()
	defer t.runlockP()
	t.order.Take(mtName, "H")
	t.p.handles.RLock(0)
	h, ok := t.p.byHandle[slot{t.w.Index(), index}]
	t.p.handles.RUnlock(0)
	t.order.Give("H")
	if !ok {
		return 0, syscall.EBADFD
	}
	return h, nil
}
