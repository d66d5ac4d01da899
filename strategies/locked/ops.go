package locked

import (
	"syscall"
	"time"

	"vlsbench/core"
	"vlsbench/vls"
)

func (t *thread) Create(p vls.Proto, nonblocking bool) (vls.Handle, error) {
	single, err := t.begin()
	if err != nil {
		return 0, err
	}
	defer t.release()
	t.take(t.p.d.Takes.Create, single)
	s, err := t.c.Create(p, nonblocking)
	if err != nil {
		return 0, err
	}
	return t.made(s, single)
}

// made enters a new session in the table, letting go of SP and S first, as the
// order of locks has it; one that cannot be entered is closed again.
func (t *thread) made(s *core.Session, single bool) (vls.Handle, error) {
	t.unlock()
	if err := t.enter(s, single); err != nil {
		t.take(t.p.d.Takes.Close, single)
		t.c.Close(s)
		return 0, err
	}
	return vls.Handle(s.Handle()), nil
}

func (t *thread) Bind(h vls.Handle, ep vls.Endpoint) error {
	s, err := t.acquire(h, t.p.d.Takes.Bind)
	if err != nil {
		return err
	}
	err = t.c.Bind(s, ep)
	t.release()
	return err
}

func (t *thread) Listen(h vls.Handle, backlog int) error {
	s, err := t.acquire(h, t.p.d.Takes.Listen)
	if err != nil {
		return err
	}
	err = t.c.Listen(s, backlog)
	t.release()
	return err
}

func (t *thread) Connect(h vls.Handle, ep vls.Endpoint) error {
	s, err := t.acquire(h, t.p.d.Takes.Connect)
	if err != nil {
		return err
	}
	err = t.c.Connect(s, ep)
	t.release()
	return err
}

func (t *thread) Accept(h vls.Handle, flags int) (vls.Handle, vls.Endpoint, error) {
	l, err := t.acquire(h, t.p.d.Takes.Accept)
	if err != nil {
		return 0, vls.Endpoint{}, err
	}
	defer t.release()
	s, err := t.c.Accept(l, flags)
	if err != nil {
		return 0, vls.Endpoint{}, err
	}
	peer := s.Remote()
	// A wait may have ended in another mode than it began in.
	ah, err := t.made(s, t.mark != 0)
	return ah, peer, err
}

func (t *thread) Read(h vls.Handle, p []byte) (int, error) {
	setMark(&t.mark, 1)
	s, live := t.sessions.Find(core.Handle(h))
	if !live {
		return t.readLocked(h, p)
	}
	n, err := t.core.Read(s, p)
	setMark(&t.mark, 0)
	return n, err
}

func (t *thread) readLocked(h vls.Handle, p []byte) (int, error) {
	s, err := t.acquire(h, t.p.d.Takes.Read)
	if err != nil {
		return 0, err
	}
	n, err := t.c.Read(s, p)
	t.release()
	return n, err
}

func (t *thread) Write(h vls.Handle, p []byte) (int, error) {
	setMark(&t.mark, 1)
	s, live := t.sessions.Find(core.Handle(h))
	if !live {
		return t.writeLocked(h, p)
	}
	n, err := t.core.Write(s, p)
	setMark(&t.mark, 0)
	return n, err
}

func (t *thread) writeLocked(h vls.Handle, p []byte) (int, error) {
	s, err := t.acquire(h, t.p.d.Takes.Write)
	if err != nil {
		return 0, err
	}
	n, err := t.c.Write(s, p)
	t.release()
	return n, err
}

func (t *thread) Recvfrom(h vls.Handle, p []byte, flags int) (int, vls.Endpoint, error) {
	s, err := t.acquire(h, t.p.d.Takes.Read)
	if err != nil {
		return 0, vls.Endpoint{}, err
	}
	n, ep, err := t.c.Recvfrom(s, p, flags)
	t.release()
	return n, ep, err
}

func (t *thread) Sendto(h vls.Handle, p []byte, flags int, ep vls.Endpoint) (int, error) {
	s, err := t.acquire(h, t.p.d.Takes.Write)
	if err != nil {
		return 0, err
	}
	n, err := t.c.Sendto(s, p, flags, ep)
	t.release()
	return n, err
}

// WriteMsg is Write: a cut-through session tells its reader at once anyway.
func (t *thread) WriteMsg(h vls.Handle, p []byte) (int, error) { return t.Write(h, p) }

func (t *thread) Shutdown(h vls.Handle, how int) error {
	s, err := t.acquire(h, t.p.d.Takes.Shutdown)
	if err != nil {
		return err
	}
	err = t.c.Shutdown(s, how)
	t.release()
	return err
}

func (t *thread) Close(h vls.Handle) error {
	single, err := t.begin()
	if err != nil {
		return err
	}
	defer t.release()
	if t.p.d.Takes.Close&Pr != 0 && (!single || t.p.d.Always) {
		return t.closeInTwo(h, single)
	}
	return t.closeInOne(h, single)
}

// closeInOne has P.w from the look-up on.
func (t *thread) closeInOne(h vls.Handle, single bool) error {
	if single && !t.p.d.Always {
		v := t.lookup(h)
		if v == nil {
			return syscall.EBADFD
		}
		if v.shared {
			t.lockS(v) // no P is held, so it may be waited for
		}
		return t.close(v, single)
	}
	for b := (pause{}); ; b.wait() {
		t.lockP()
		v := t.lookup(h)
		if v == nil {
			t.unlockP()
			return syscall.EBADFD
		}
		if t.lockSUnderP(v) {
			err := t.close(v, single)
			t.unlockP()
			return err
		}
		t.unlockP()
	}
}

// closeInTwo looks up under P.r, and marks, so that who waits on the session
// leaves; P is let go while the session is waited for and closed. The slot is
// kept until P.w says that all have gone who have looked it up before.
func (t *thread) closeInTwo(h vls.Handle, single bool) error {
	t.rlockP()
	v := t.lookup(h)
	if v == nil {
		t.runlockP()
		return syscall.EBADFD
	}
	s := t.w.Lookup(core.Handle(h)) // v.s is not to be read without S
	if s == nil {
		t.runlockP()
		return syscall.EBADFD
	}
	if !t.c.BeginClose(s) {
		// Who marked it closes it: from then on it is closed for all others. The
		// slot stays theirs, who cannot have P.w meanwhile.
		t.c.EndClose(s)
		t.runlockP()
		return syscall.EBADFD
	}
	t.runlockP()
	t.lockS(v)
	err := error(syscall.EBADFD) // another was faster
	if v.s != nil {
		err = t.close(v, single)
	} else {
		t.dropS()
	}
	t.lockP()
	t.c.EndClose(s)
	t.unlockP()
	return err
}

// close closes the session whose S is held, if it has to be, and lets go of all
// but P.
func (t *thread) close(v *session, single bool) error {
	t.take(t.p.d.Takes.Close, single)
	s := v.s
	v.s = nil
	err := t.c.Close(s)
	t.unlockInner()
	if t.held&S != 0 {
		t.dropS()
	}
	return err
}

func (t *thread) Attr(h vls.Handle, a vls.Attr, buf []byte) (int, error) {
	s, err := t.acquire(h, t.p.d.Takes.Attr)
	if err != nil {
		return 0, err
	}
	n, err := t.c.Attr(s, a, buf)
	t.release()
	return n, err
}

func (t *thread) EpollCreate() (vls.Handle, error) {
	single, err := t.begin()
	if err != nil {
		return 0, err
	}
	defer t.release()
	t.take(t.p.d.Takes.EpollCreate, single)
	s, err := t.c.EpollCreate()
	if err != nil {
		return 0, err
	}
	return t.made(s, single)
}

func (t *thread) EpollCtl(ep vls.Handle, op int, h vls.Handle, ev *vls.EpollEvent) error {
	single, err := t.begin()
	if err != nil {
		return err
	}
	defer t.release()
	table := !single || t.p.d.Always
	if table {
		t.rlockP()
	}
	set, v := t.lookup(ep), t.lookup(h)
	switch {
	case !table:
	case t.p.d.HoldSession: // as in acquire
		t.runlockP()
	default:
		defer t.runlockP()
	}
	if set == nil || v == nil {
		return syscall.EBADFD
	}
	// Sets come before sessions in the order of locks: what is not a set and a
	// session is refused before either is locked.
	if !set.set || v.set {
		return syscall.EINVAL
	}
	if table {
		t.order.Take(t.p.d.Name, "S(set)")
		set.lock.Lock()
		defer func() { set.lock.Unlock(); t.order.Give("S(set)") }()
	}
	if table || v.shared {
		t.order.Take(t.p.d.Name, "S")
		v.lock.Lock()
		defer func() { v.lock.Unlock(); t.order.Give("S") }()
	}
	if set.s == nil || v.s == nil || set.s.Closing() || v.s.Closing() {
		return syscall.EBADFD
	}
	return t.c.EpollCtl(set.s, op, v.s, ev)
}

func (t *thread) EpollWait(ep vls.Handle, evs []vls.EpollEvent, timeout time.Duration) (int, error) {
	s, err := t.acquire(ep, t.p.d.Takes.EpollWait)
	if err != nil {
		return 0, err
	}
	n, err := t.c.EpollWait(s, evs, timeout)
	t.release()
	return n, err
}

func (t *thread) Select(read, write, except *vls.HandleSet, timeout time.Duration) (int, error) {
	return vls.SelectBy(t.poll, read, write, except, timeout)
}

func (t *thread) Poll(fds []vls.PollFD, timeout time.Duration) (int, error) {
	return vls.PollBy(t.poll, &t.fds, fds, timeout)
}

func (t *thread) poll(fds []core.PollFD, timeout time.Duration) (int, error) {
	if t.w.Forked() {
		t.attend(fds)
	}
	single, err := t.begin()
	if err != nil {
		return 0, err
	}
	t.take(t.p.d.Takes.Poll, single)
	n, err := t.c.Poll(fds, timeout)
	t.release()
	return n, err
}

// attend makes inherited listeners that are to be polled serve.
func (t *thread) attend(fds []core.PollFD) {
	for i := range fds {
		if s, err := t.acquire(vls.Handle(fds[i].Handle), t.p.d.Takes.Bind); err == nil {
			if s.Passive() {
				t.c.Attend(s)
			}
			t.release()
		}
	}
}

func (t *thread) SessionHandle(h vls.Handle) (vls.SessionHandle, error) {
	s, err := t.acquire(h, t.p.d.Takes.Lookup)
	if err != nil {
		return 0, err
	}
	defer t.release()
	return s.Handle(), nil
}

func (t *thread) SessionIndex(h vls.Handle) (index, worker uint32, err error) {
	sh, err := t.SessionHandle(h)
	return sh.Index(), sh.Worker(), err
}

func (t *thread) HandleOf(index uint32) (vls.Handle, error) {
	single, err := t.begin()
	if err != nil {
		return 0, err
	}
	defer t.release()
	if !single || t.p.d.Always {
		t.rlockP()
		defer t.runlockP()
	}
	h := vls.Handle(t.w.Live(index))
	if t.lookup(h) == nil {
		return 0, syscall.EBADFD
	}
	if s := t.w.Lookup(core.Handle(h)); s == nil || s.Closing() {
		return 0, syscall.EBADFD
	}
	return h, nil
}
