package migrate

import (
	"syscall"
	"time"

	"vlsbench/core"
	"vlsbench/vls"
)

// do runs an operation on a session, again if the session was lost in a wait.
func (t *thread) do(h vls.Handle, k kind, f func(s *core.Session) error) error {
	if err := t.begin(); err != nil {
		return err
	}
	for {
		v, err := t.take(h, k)
		if err != nil {
			return err
		}
		err = f(v.s)
		t.end()
		if err != core.ErrMoved {
			return err
		}
		if _, err := t.regain(h, time.Time{}); err != nil {
			return closed(err)
		}
	}
}

// closed is the error of an operation that has waited on a session.
func closed(err error) error {
	if err == syscall.EBADFD {
		return syscall.ENOTCONN
	}
	return err
}

func (t *thread) Create(p vls.Proto, nonblocking bool) (vls.Handle, error) {
	if err := t.begin(); err != nil {
		return 0, err
	}
	t.in()
	s, err := t.c.Create(p, nonblocking)
	t.out()
	if err != nil {
		return 0, err
	}
	return t.enter(s)
}

// enter gives a new session of the core its VLS session; one that cannot have any
// is closed again. Nothing is held.
func (t *thread) enter(s *core.Session) (vls.Handle, error) {
	p := t.p
	p.lock.Lock()
	h, v := p.table.Alloc()
	if v == nil {
		p.lock.Unlock()
		t.in()
		t.c.Close(s)
		t.out()
		return 0, syscall.ENOMEM
	}
	if v.lock.Load() == nil || v.shared.Load() {
		v.lock.Store(p.a.slock()) // the other one may still be others'
		v.shared.Store(false)
	}
	v.h, v.s, v.isSet = vls.Handle(h), s, s.IsEpoll()
	v.sh.Store(uint64(s.Handle()))
	s.Owner = v
	p.handles.Lock()
	p.byHandle[s.Handle()] = v.h
	p.handles.Unlock()
	v.at.Store(t.w)
	p.table.Publish(h)
	p.lock.Unlock()
	return v.h, nil
}

func (t *thread) Bind(h vls.Handle, ep vls.Endpoint) error {
	return t.do(h, others, func(s *core.Session) error { return t.c.Bind(s, ep) })
}

func (t *thread) Listen(h vls.Handle, backlog int) error {
	return t.do(h, others, func(s *core.Session) error { return t.c.Listen(s, backlog) })
}

func (t *thread) Connect(h vls.Handle, ep vls.Endpoint) error {
	return t.do(h, others, func(s *core.Session) error { return t.c.Connect(s, ep) })
}

func (t *thread) Accept(h vls.Handle, flags int) (ah vls.Handle, peer vls.Endpoint, err error) {
	err = t.do(h, accepts, func(l *core.Session) error {
		t.in() // it allocates; a wait is outside
		s, err := t.c.Accept(l, flags)
		if err != nil {
			return err
		}
		peer = s.Remote()
		t.out()
		t.unlockS()
		ah, err = t.enter(s)
		return err
	})
	if err != nil {
		return 0, vls.Endpoint{}, err
	}
	return ah, peer, nil
}

func (t *thread) Read(h vls.Handle, p []byte) (int, error) {
	if v := t.own(h, reads); v != nil {
		n, err := t.core.Read(v.s, p)
		t.leave()
		if err != core.ErrMoved {
			return n, err
		}
	}
	return t.readMore(h, p)
}

// readMore reads from a session that is not at hand, or was lost.
func (t *thread) readMore(h vls.Handle, p []byte) (n int, err error) {
	if _, err := t.regain(h, time.Time{}); err != nil {
		return 0, closed(err)
	}
	err = t.do(h, reads, func(s *core.Session) (err error) {
		n, err = t.c.Read(s, p)
		return err
	})
	return n, err
}

func (t *thread) Write(h vls.Handle, p []byte) (int, error) {
	n := 0
	if v := t.own(h, writes); v != nil {
		var err error
		n, err = t.core.Write(v.s, p)
		t.leave()
		if err != core.ErrMoved && len(t.losses) == 0 {
			return n, err
		}
	}
	return t.writeMore(h, p, n)
}

// writeMore writes what comes after n to a session that is not at hand, or was
// lost.
func (t *thread) writeMore(h vls.Handle, p []byte, n int) (int, error) {
	_, err := t.regain(h, time.Time{})
	if err = closed(err); err == nil {
		err = t.do(h, writes, func(s *core.Session) error {
			m, err := t.c.Write(s, p[n:])
			n += m
			if err == nil && len(t.losses) > 0 {
				return core.ErrMoved // in the middle
			}
			return err
		})
	}
	if n > 0 {
		return n, nil
	}
	return n, err
}

// WriteMsg is Write: a cut-through session tells its reader at once anyway.
func (t *thread) WriteMsg(h vls.Handle, p []byte) (int, error) { return t.Write(h, p) }

func (t *thread) Recvfrom(h vls.Handle, p []byte, flags int) (n int, ep vls.Endpoint, err error) {
	err = t.do(h, reads, func(s *core.Session) (err error) {
		n, ep, err = t.c.Recvfrom(s, p, flags)
		return err
	})
	return n, ep, err
}

func (t *thread) Sendto(h vls.Handle, p []byte, flags int, ep vls.Endpoint) (int, error) {
	if flags == 0 && ep == (vls.Endpoint{}) {
		return t.Write(h, p)
	}
	n := 0
	err := t.do(h, writes, func(s *core.Session) (err error) {
		n, err = t.c.Sendto(s, p, flags, ep)
		return err
	})
	return n, err
}

func (t *thread) Shutdown(h vls.Handle, how int) error {
	return t.do(h, others, func(s *core.Session) error { return t.c.Shutdown(s, how) })
}

func (t *thread) Close(h vls.Handle) error {
	if err := t.begin(); err != nil {
		return err
	}
	for {
		if err := t.fetch(h, true); err != nil {
			return err
		}
		p := t.p
		p.lock.Lock()
		v := p.table.Get(uint64(h))
		if v == nil || v.at.Load() != t.w {
			p.lock.Unlock()
			continue
		}
		t.lockS(v)
		p.table.Invalidate(uint64(h))
		t.in()
		if v.isSet {
			v.s.EachMember(func(m *core.Session) { m.Owner.(*session).set.Store(nil) })
		}
		sh := v.s.Handle()
		err := t.c.Close(v.s)
		t.out()
		p.handles.Lock()
		delete(p.byHandle, sh)
		p.handles.Unlock()
		line := v.line
		v.clear()
		t.unlockS()
		p.table.Free(uint64(h))
		p.lock.Unlock()
		t.tell(line)
		t.end()
		return err
	}
}

func (t *thread) Attr(h vls.Handle, a vls.Attr, buf []byte) (n int, err error) {
	err = t.do(h, others, func(s *core.Session) (err error) {
		n, err = t.c.Attr(s, a, buf)
		return err
	})
	return n, err
}

func (t *thread) EpollCreate() (vls.Handle, error) {
	if err := t.begin(); err != nil {
		return 0, err
	}
	t.in()
	s, err := t.c.EpollCreate()
	t.out()
	if err != nil {
		return 0, err
	}
	return t.enter(s)
}

func (t *thread) EpollCtl(ep vls.Handle, op int, h vls.Handle, ev *vls.EpollEvent) error {
	if err := t.begin(); err != nil {
		return err
	}
	defer t.end()
	defer func() { t.pinned = nil }()
	for {
		set, err := t.member(ep, op, h, ev)
		if err != nil {
			return err
		}
		// Both have to be here at once. The session is in no other set, so it is
		// not pinned by who wants this set.
		if err := t.fetch(ep, false); err != nil {
			return err
		}
		t.pinned = set
		if err := t.fetch(h, false); err != nil {
			return err
		}
		if done, err := t.ctl(ep, op, h, ev); done {
			return err
		}
		t.pinned = nil
	}
}

// member says what is wrong with an EpollCtl, as far as that can be seen from
// here: a session that is in another set does not move for it.
func (t *thread) member(ep vls.Handle, op int, h vls.Handle, ev *vls.EpollEvent) (*session, error) {
	p := t.p
	p.lock.RLock(t.slot)
	defer p.lock.RUnlock(t.slot)
	set, v := p.table.Get(uint64(ep)), p.table.Get(uint64(h))
	if set == nil || v == nil {
		return nil, syscall.EBADFD
	}
	if !set.isSet || v.isSet {
		return nil, syscall.EINVAL
	}
	in := v.set.Load()
	switch op {
	case core.EPOLL_CTL_ADD:
		if ev != nil && in != nil {
			return nil, syscall.EEXIST
		}
	case core.EPOLL_CTL_MOD, core.EPOLL_CTL_DEL:
		switch {
		case ev == nil && op == core.EPOLL_CTL_MOD:
		case in == nil:
			return nil, syscall.ENOENT
		case in != set:
			return nil, syscall.EINVAL
		}
	default:
		return nil, syscall.EINVAL
	}
	if ev == nil && op != core.EPOLL_CTL_DEL {
		return nil, syscall.EINVAL
	}
	return set, nil
}

// ctl is EpollCtl if both are the thread's. False: one of them is not.
func (t *thread) ctl(ep vls.Handle, op int, h vls.Handle, ev *vls.EpollEvent) (bool, error) {
	p := t.p
	p.lock.RLock(t.slot)
	defer p.lock.RUnlock(t.slot)
	set, v := p.table.Get(uint64(ep)), p.table.Get(uint64(h))
	if set == nil || v == nil {
		return true, syscall.EBADFD
	}
	if set.at.Load() != t.w || v.at.Load() != t.w {
		return false, nil
	}
	sl, vl := set.lock.Load(), v.lock.Load()
	sl.lock()
	defer sl.unlock()
	vl.lock()
	defer vl.unlock()
	err := t.c.EpollCtl(set.s, op, v.s, ev)
	if err == nil {
		switch op {
		case core.EPOLL_CTL_ADD:
			v.set.Store(set)
		case core.EPOLL_CTL_DEL:
			v.set.Store(nil)
		}
	}
	return true, err
}

func (t *thread) EpollWait(ep vls.Handle, evs []vls.EpollEvent, timeout time.Duration) (int, error) {
	if err := t.begin(); err != nil {
		return 0, err
	}
	deadline := until(timeout)
	for waited := false; ; {
		v, err := t.take(ep, waits)
		if err != nil {
			return 0, closedSet(err)
		}
		if !v.isSet {
			t.end()
			return 0, syscall.EINVAL
		}
		// It is the thread's, and looked at inside its queue: that is enough, and
		// who asks for it there is answered.
		t.unlockS()
		left := timeout
		if waited {
			left = remaining(deadline)
		}
		n, err := t.c.EpollWait(v.s, evs, left)
		t.end()
		if err != core.ErrMoved {
			return n, err
		}
		waited = true
		if ok, err := t.regain(ep, deadline); !ok || err != nil {
			return 0, closedSet(err)
		}
	}
}

// closedSet is the error of a wait on a set.
func closedSet(err error) error {
	if err == syscall.ENOTCONN {
		return syscall.EBADFD
	}
	return err
}

// until is the deadline of a timeout, zero for none.
func until(timeout time.Duration) time.Time {
	if timeout < 0 {
		return time.Time{}
	}
	return time.Now().Add(timeout)
}

func (t *thread) Select(read, write, except *vls.HandleSet, timeout time.Duration) (int, error) {
	return vls.SelectBy(t.poll, read, write, except, timeout)
}

func (t *thread) Poll(fds []vls.PollFD, timeout time.Duration) (int, error) {
	return vls.PollBy(t.poll, &t.fds, fds, timeout)
}

func (t *thread) poll(fds []core.PollFD, timeout time.Duration) (int, error) {
	if err := t.begin(); err != nil {
		return 0, err
	}
	t.hs = t.hs[:0]
	for _, fd := range fds {
		t.hs = append(t.hs, vls.Handle(fd.Handle))
	}
	deadline := until(timeout)
	for left := timeout; ; left = remaining(deadline) {
		err := t.gather(fds, deadline)
		n := 0
		if err == nil {
			t.kind = polls
			n, err = t.c.Poll(fds, left)
		}
		clear(t.polled)
		t.polled = t.polled[:0]
		t.end()
		n -= t.unfound(fds)
		if err != nil || n > 0 || remaining(deadline) == 0 || t.p.dead.Load() {
			t.forsake()
			return n, err
		}
	}
}

// gather makes all entries' sessions the thread's own, and enters their handles.
// What it has lost it waits for, until the deadline unless that is zero.
func (t *thread) gather(fds []core.PollFD, deadline time.Time) error {
	for again := true; again; {
		again = false
		t.polled = t.polled[:0]
		for i := range fds {
			fds[i].Handle = 0 // names nothing
		}
		for i, h := range t.hs {
			v := t.table.Get(uint64(h))
			if v == nil || v.isSet {
				continue
			}
			if v.at.Load() != t.w {
				again = true // others may go meanwhile
				ok, err := t.regain(h, deadline)
				if ok && err == nil {
					err = t.fetch(h, false)
				}
				if !ok || err != nil && err != syscall.EBADFD {
					return err
				}
				continue
			}
			fds[i].Handle = t.w.core.Live(v.s.Handle().Index())
			t.polled = append(t.polled, v)
		}
	}
	if t.p.forked.Load() {
		t.attend()
	}
	return nil
}

// attend makes inherited listeners that are to be polled serve.
func (t *thread) attend() {
	for _, v := range t.polled {
		t.lockS(v)
		if v.s.Passive() {
			t.c.Attend(v.s)
		}
		t.unlockS()
	}
}

// unfound is how many entries a poll did not find because their sessions went to
// other threads: they have nothing.
func (t *thread) unfound(fds []core.PollFD) int {
	n := 0
	for i, h := range t.hs {
		if fds[i].Revents&core.POLLNVAL == 0 || t.p.dead.Load() {
			continue
		}
		if v := t.table.Get(uint64(h)); v != nil && !v.isSet {
			fds[i].Revents = 0
			n++
		}
	}
	return n
}

func (t *thread) SessionHandle(h vls.Handle) (vls.SessionHandle, error) {
	if err := t.begin(); err != nil {
		return 0, err
	}
	p := t.p
	for {
		p.lock.RLock(t.slot)
		v := p.table.Get(uint64(h))
		if v == nil {
			p.lock.RUnlock(t.slot)
			return 0, syscall.EBADFD
		}
		l := v.lock.Load()
		l.lock()
		sh, lies := v.sh.Load(), v.at.Load() == nil
		l.unlock()
		p.lock.RUnlock(t.slot)
		if !lies {
			return vls.SessionHandle(sh), nil
		}
		// It has no slot. Who asks gives it one.
		if err := t.fetch(h, false); err != nil {
			return 0, err
		}
		t.end()
	}
}

func (t *thread) SessionIndex(h vls.Handle) (index, worker uint32, err error) {
	sh, err := t.SessionHandle(h)
	return sh.Index(), sh.Worker(), err
}

func (t *thread) HandleOf(index uint32) (vls.Handle, error) {
	if err := t.begin(); err != nil {
		return 0, err
	}
	p := t.p
	p.lock.RLock(t.slot)
	defer p.lock.RUnlock(t.slot)
	p.handles.RLock(t.slot)
	defer p.handles.RUnlock(t.slot)
	// What was inherited is found by the handle that the parent's has.
	if s := t.w.core.Lookup(t.w.core.Live(index)); s != nil {
		if h, ok := p.byHandle[s.Handle()]; ok {
			return h, nil
		}
	}
	return 0, syscall.EBADFD
}
