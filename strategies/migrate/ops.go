package migrate

import (
	"syscall"
	"time"

	"vlsbench/core"
	"vlsbench/vls"
)

// do runs an operation on a session, again if the session was lost in a wait.
func (t *thread) do(h vls.Handle, k kind, f func(v *session) error) error {
	if err := t.begin(); err != nil {
		return err
	}
	defer t.finish()
	for {
		v, err := t.take(h, k)
		if err != nil {
			return err
		}
		err = f(v)
		t.end(v)
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
	defer t.finish()
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
	t.writeP()
	if p.dead.Load() {
		t.unwriteP()
		return 0, syscall.ENOTCONN // and the session is closed by who closes all
	}
	h, v := p.table.Alloc()
	if v == nil {
		t.unwriteP()
		t.in()
		t.c.Close(s)
		t.out()
		return 0, syscall.ENOMEM
	}
	v.h, v.s = vls.Handle(h), s
	v.isSet.Store(s.IsEpoll())
	// One that was shared by fork may still be others'.
	if l := p.a.slock(v.isSet.Load()); v.shared.Swap(false) || v.lock.Load() == nil || v.lock.Load().class != l.class {
		v.lock.Store(l)
	}
	v.sh.Store(uint64(s.Handle()))
	s.Owner = v
	t.writeH()
	p.byHandle[s.Handle()] = v.h
	t.unwriteH()
	v.at.Store(t.w)
	p.table.Publish(h)
	t.unwriteP()
	return v.h, nil
}

func (t *thread) Bind(h vls.Handle, ep vls.Endpoint) error {
	return t.do(h, others, func(v *session) error { return t.c.Bind(v.s, ep) })
}

func (t *thread) Listen(h vls.Handle, backlog int) error {
	return t.do(h, others, func(v *session) error { return t.c.Listen(v.s, backlog) })
}

func (t *thread) Connect(h vls.Handle, ep vls.Endpoint) error {
	return t.do(h, others, func(v *session) error { return t.c.Connect(v.s, ep) })
}

func (t *thread) Accept(h vls.Handle, flags int) (ah vls.Handle, peer vls.Endpoint, err error) {
	err = t.do(h, accepts, func(v *session) error {
		t.in() // it allocates; a wait is outside
		s, err := t.c.Accept(v.s, flags)
		if err != nil {
			return err
		}
		peer = s.Remote()
		t.out()
		t.release(v)
		ah, err = t.enter(s)
		return err
	})
	if err != nil {
		return 0, vls.Endpoint{}, err
	}
	return ah, peer, nil
}

func (t *thread) Read(h vls.Handle, p []byte) (int, error) {
	// What is at the caller's worker stays: nobody else can close it.
	v := t.table.Get(uint64(h))
	if v == nil || v.at.Load() != t.here || t.here.asked.Load() != 0 {
		return t.readOdd(h, p, v)
	}
	l := v.lock.Load()
	if noted {
		t.order.Take(t.p.a.d.name, l.class)
	}
	l.TTAS.Lock()
	t.held, t.kind = true, reads
	n, err := t.core.Read(v.s, p)
	if t.held {
		t.held = false
		l.TTAS.Unlock()
		if noted {
			t.order.Give(l.class)
		}
	}
	if t.owes {
		t.end(v)
		if err == core.ErrMoved {
			return t.readMore(h, p)
		}
	}
	return n, err
}

// readOdd is Read by a design whose S is of another kind or counted, or that looks
// up under P, and of a session v that is not at hand.
func (t *thread) readOdd(h vls.Handle, p []byte, v *session) (int, error) {
	if !t.odd || v == nil || v.at.Load() != t.w || t.w.asked.Load() != 0 {
		return t.readMore(h, p)
	}
	l := v.lock.Load()
	t.lockOwn(l)
	t.held, t.kind = true, reads
	n, err := t.core.Read(v.s, p)
	if t.held {
		t.held = false
		t.unlockS(l)
	}
	if t.owes {
		t.end(v)
		if err == core.ErrMoved {
			return t.readMore(h, p)
		}
	}
	return n, err
}

// readMore reads from a session that is not at hand, or was lost.
func (t *thread) readMore(h vls.Handle, p []byte) (n int, err error) {
	if err := t.resume(); err != nil {
		return 0, err
	}
	defer t.finish()
	if _, err := t.regain(h, time.Time{}); err != nil {
		return 0, closed(err)
	}
	err = t.do(h, reads, func(v *session) (err error) {
		n, err = t.c.Read(v.s, p)
		return err
	})
	return n, err
}

func (t *thread) Write(h vls.Handle, p []byte) (int, error) {
	v := t.table.Get(uint64(h))
	if v == nil || v.at.Load() != t.here || t.here.asked.Load() != 0 {
		return t.writeOdd(h, p, v)
	}
	l := v.lock.Load()
	if noted {
		t.order.Take(t.p.a.d.name, l.class)
	}
	l.TTAS.Lock()
	t.held, t.kind = true, writes
	n, err := t.core.Write(v.s, p)
	if t.held {
		t.held = false
		l.TTAS.Unlock()
		if noted {
			t.order.Give(l.class)
		}
	}
	if t.owes {
		t.end(v)
		if len(t.losses) > 0 {
			return t.writeMore(h, p, n)
		}
	}
	return n, err
}

// writeOdd is to Write as readOdd is to Read.
func (t *thread) writeOdd(h vls.Handle, p []byte, v *session) (int, error) {
	if !t.odd || v == nil || v.at.Load() != t.w || t.w.asked.Load() != 0 {
		return t.writeMore(h, p, 0)
	}
	l := v.lock.Load()
	t.lockOwn(l)
	t.held, t.kind = true, writes
	n, err := t.core.Write(v.s, p)
	if t.held {
		t.held = false
		t.unlockS(l)
	}
	if t.owes {
		t.end(v)
		if len(t.losses) > 0 {
			return t.writeMore(h, p, n)
		}
	}
	return n, err
}

// writeMore writes what comes after n to a session that is not at hand, or was
// lost.
func (t *thread) writeMore(h vls.Handle, p []byte, n int) (int, error) {
	err := t.resume()
	if err == nil {
		defer t.finish()
		_, err = t.regain(h, time.Time{})
	}
	if err = closed(err); err == nil {
		err = t.do(h, writes, func(v *session) error {
			m, err := t.c.Write(v.s, p[n:])
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
	err = t.do(h, reads, func(v *session) (err error) {
		n, ep, err = t.c.Recvfrom(v.s, p, flags)
		return err
	})
	return n, ep, err
}

func (t *thread) Sendto(h vls.Handle, p []byte, flags int, ep vls.Endpoint) (int, error) {
	if flags == 0 && ep == (vls.Endpoint{}) {
		return t.Write(h, p)
	}
	n := 0
	err := t.do(h, writes, func(v *session) (err error) {
		n, err = t.c.Sendto(v.s, p, flags, ep)
		return err
	})
	return n, err
}

func (t *thread) Shutdown(h vls.Handle, how int) error {
	return t.do(h, others, func(v *session) error { return t.c.Shutdown(v.s, how) })
}

func (t *thread) Close(h vls.Handle) error {
	if err := t.begin(); err != nil {
		return err
	}
	defer t.finish()
	for {
		p := t.p
		if v := p.table.Get(uint64(h)); v == nil || v.at.Load() != t.w {
			if err := t.fetch(h, true); err != nil {
				return err
			}
		}
		t.writeP()
		v := p.table.Get(uint64(h))
		if v == nil || v.at.Load() != t.w {
			t.unwriteP()
			continue
		}
		t.hold(v)
		p.table.Invalidate(uint64(h))
		t.in()
		if v.isSet.Load() {
			v.s.EachMember(func(m *core.Session) { m.Owner.(*session).set.Store(nil) })
		}
		sh := v.s.Handle()
		err := t.c.Close(v.s)
		t.out()
		t.writeH()
		delete(p.byHandle, sh)
		t.unwriteH()
		line := v.line
		v.clear()
		t.release(v)
		p.table.Free(uint64(h))
		t.unwriteP()
		t.recall()
		t.tell(line)
		t.end(nil)
		return err
	}
}

func (t *thread) Attr(h vls.Handle, a vls.Attr, buf []byte) (n int, err error) {
	err = t.do(h, others, func(v *session) (err error) {
		n, err = t.c.Attr(v.s, a, buf)
		return err
	})
	return n, err
}

func (t *thread) EpollCreate() (vls.Handle, error) {
	if err := t.begin(); err != nil {
		return 0, err
	}
	defer t.finish()
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
	defer t.finish()
	t.kind = others
	defer t.end(nil)
	for {
		set, err := t.ctl(ep, op, h, ev)
		if err != errElsewhere {
			return err
		}
		// Both have to be here at once. The session is in no set but this, so
		// nobody else keeps it who wants this one.
		if err := t.fetch(ep, false); err != nil {
			return err
		}
		t.pinned = set
		err = t.fetch(h, false)
		if err == nil {
			_, err = t.ctl(ep, op, h, ev)
		}
		t.pinned = nil
		if err != errElsewhere {
			return err
		}
	}
}

// ctl is EpollCtl if set and session are the thread's, or if it can be seen from
// here what is wrong with it: a session that is in another set does not move for
// that. errElsewhere: they have to be fetched.
func (t *thread) ctl(ep vls.Handle, op int, h vls.Handle, ev *vls.EpollEvent) (set *session, err error) {
	t.readP()
	defer t.unreadP()
	set, v := t.table.Get(uint64(ep)), t.table.Get(uint64(h))
	switch {
	case set == nil || v == nil:
		return nil, syscall.EBADFD
	case !set.isSet.Load() || v.isSet.Load() || ev == nil && op != core.EPOLL_CTL_DEL:
		return nil, syscall.EINVAL
	}
	if set.at.Load() != t.w || v.at.Load() != t.w {
		in := v.set.Load()
		switch {
		case op == core.EPOLL_CTL_ADD && in != nil:
			return nil, syscall.EEXIST
		case op == core.EPOLL_CTL_ADD:
		case op != core.EPOLL_CTL_MOD && op != core.EPOLL_CTL_DEL:
			return nil, syscall.EINVAL
		case in == nil:
			return nil, syscall.ENOENT
		case in != set:
			return nil, syscall.EINVAL
		}
		return set, errElsewhere
	}
	sl, vl := set.lock.Load(), v.lock.Load()
	t.lockS(sl)
	defer t.unlockS(sl)
	t.lockS(vl)
	defer t.unlockS(vl)
	err = t.c.EpollCtl(set.s, op, v.s, ev)
	if err == nil {
		switch op {
		case core.EPOLL_CTL_ADD:
			v.set.Store(set)
		case core.EPOLL_CTL_DEL:
			v.set.Store(nil)
		}
	}
	return nil, err
}

func (t *thread) EpollWait(ep vls.Handle, evs []vls.EpollEvent, timeout time.Duration) (int, error) {
	if err := t.begin(); err != nil {
		return 0, err
	}
	defer t.finish()
	deadline := until(timeout)
	for waited := false; ; {
		v, err := t.take(ep, waits)
		if err != nil {
			return 0, closedSet(err)
		}
		if !v.isSet.Load() {
			t.end(v)
			return 0, syscall.EINVAL
		}
		// It is the thread's, and looked at inside its queue: that is enough, and
		// who asks for it there is answered.
		s := v.s
		t.release(v)
		left := timeout
		if waited {
			left = remaining(deadline)
		}
		n, err := t.c.EpollWait(s, evs, left)
		t.end(nil)
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
	defer t.finish()
	t.hs = t.hs[:0]
	for _, fd := range fds {
		t.hs = append(t.hs, vls.Handle(fd.Handle))
	}
	t.kind = polls
	deadline := until(timeout)
	for left := timeout; ; left = remaining(deadline) {
		err := t.gather(fds, deadline)
		n := 0
		if err == nil {
			t.polling = true
			n, err = t.c.Poll(fds, left)
			t.polling = false
		}
		clear(t.polled)
		t.polled = t.polled[:0]
		t.end(nil)
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
			if v == nil || v.isSet.Load() {
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
			fds[i].Handle = t.w.core.Live(core.Handle(v.sh.Load()).Index())
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
		t.hold(v)
		if v.at.Load() == t.w && v.s.Passive() {
			t.c.Attend(v.s)
		}
		t.release(v)
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
		if v := t.table.Get(uint64(h)); v != nil && !v.isSet.Load() {
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
	defer t.finish()
	p := t.p
	for {
		t.readP()
		v := p.table.Get(uint64(h))
		if v == nil {
			t.unreadP()
			return 0, syscall.EBADFD
		}
		l := v.lock.Load()
		t.lockS(l)
		sh, lies := v.sh.Load(), v.at.Load() == nil
		t.unlockS(l)
		t.unreadP()
		if !lies {
			return vls.SessionHandle(sh), nil
		}
		// It has no slot. Who asks gives it one.
		if err := t.fetch(h, false); err != nil {
			return 0, err
		}
		t.end(nil)
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
	defer t.finish()
	p := t.p
	t.readP()
	defer t.unreadP()
	t.order.Take(t.p.a.d.name, "H")
	p.handles.RLock(t.slot)
	defer func() { p.handles.RUnlock(t.slot); t.order.Give("H") }()
	// What was inherited is found by the handle that the parent's has.
	if s := t.w.core.Lookup(t.w.core.Live(index)); s != nil {
		if h, ok := p.byHandle[s.Handle()]; ok {
			return h, nil
		}
	}
	return 0, syscall.EBADFD
}
