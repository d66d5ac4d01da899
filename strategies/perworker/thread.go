package perworker

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
	t.lockSP(single)
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
		t.lockMQ(single)
		t.lockSP(single)
		t.c.Close(s)
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
	t.release()
	return err
}

func (t *thread) Listen(h vls.Handle, backlog int) error {
	s, err := t.acquire(h)
	if err != nil {
		return err
	}
	err = t.c.Listen(s, backlog)
	t.release()
	return err
}

func (t *thread) Connect(h vls.Handle, ep vls.Endpoint) error {
	s, err := t.acquire(h)
	if err != nil {
		return err
	}
	err = t.c.Connect(s, ep)
	t.release()
	return err
}

func (t *thread) Accept(h vls.Handle, flags int) (vls.Handle, vls.Endpoint, error) {
	l, err := t.acquire(h)
	if err != nil {
		return 0, vls.Endpoint{}, err
	}
	defer t.release()
	t.lockSP(t.mark != 0)
	t.want = hS | hSP
	s, err := t.c.Accept(l, flags)
	t.want = hS
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
	if t.mode.Load() != alone {
		return t.readLocked(h, p)
	}
	s := t.w.Lookup(core.Handle(h))
	if s == nil {
		setMark(&t.mark, 0)
		return 0, syscall.EBADFD
	}
	n, err := t.core.Read(s, p)
	setMark(&t.mark, 0)
	return n, err
}

func (t *thread) readLocked(h vls.Handle, p []byte) (int, error) {
	s, err := t.acquire(h)
	if err != nil {
		return 0, err
	}
	n, err := t.c.Read(s, p)
	t.release()
	return n, err
}

func (t *thread) Write(h vls.Handle, p []byte) (int, error) {
	setMark(&t.mark, 1)
	if t.mode.Load() != alone {
		return t.writeLocked(h, p)
	}
	s := t.w.Lookup(core.Handle(h))
	if s == nil {
		setMark(&t.mark, 0)
		return 0, syscall.EBADFD
	}
	n, err := t.core.Write(s, p)
	setMark(&t.mark, 0)
	return n, err
}

func (t *thread) writeLocked(h vls.Handle, p []byte) (int, error) {
	s, err := t.acquire(h)
	if err != nil {
		return 0, err
	}
	n, err := t.c.Write(s, p)
	t.release()
	return n, err
}

func (t *thread) Recvfrom(h vls.Handle, p []byte, flags int) (int, vls.Endpoint, error) {
	s, err := t.acquire(h)
	if err != nil {
		return 0, vls.Endpoint{}, err
	}
	n, ep, err := t.c.Recvfrom(s, p, flags)
	t.release()
	return n, ep, err
}

func (t *thread) Sendto(h vls.Handle, p []byte, flags int, ep vls.Endpoint) (int, error) {
	s, err := t.acquire(h)
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
	s, err := t.acquire(h)
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
	if !single {
		t.p.table.Lock()
		defer t.p.table.Unlock()
	}
	v := t.lookup(h)
	if v == nil {
		return syscall.EBADFD
	}
	if !single || v.shared {
		t.lockS(v)
	}
	t.lockMQ(single)
	t.lockSP(single)
	s := v.s
	v.s = nil
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
	t.release()
	return n, err
}

func (t *thread) EpollCreate() (vls.Handle, error) {
	single, err := t.begin()
	if err != nil {
		return 0, err
	}
	defer t.release()
	t.lockSP(single)
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
	if !single {
		t.p.table.RLock(t.slot)
		defer t.p.table.RUnlock(t.slot)
	}
	set, v := t.lookup(ep), t.lookup(h)
	if set == nil || v == nil {
		return syscall.EBADFD
	}
	// Sets come before sessions in the order of locks: what is not a set and a
	// session is refused before either is locked.
	if !set.s.IsEpoll() || v.s.IsEpoll() {
		return syscall.EINVAL
	}
	if !single {
		set.lock.Lock()
		defer set.lock.Unlock()
	}
	if !single || v.shared {
		v.lock.Lock()
		defer v.lock.Unlock()
	}
	return t.c.EpollCtl(set.s, op, v.s, ev)
}

func (t *thread) EpollWait(ep vls.Handle, evs []vls.EpollEvent, timeout time.Duration) (int, error) {
	s, err := t.acquire(ep)
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
	if _, err := t.begin(); err != nil {
		return 0, err
	}
	if t.w.Forked() {
		setMark(&t.mark, 0)
		t.attend(fds)
		if _, err := t.begin(); err != nil {
			return 0, err
		}
	}
	n, err := t.c.Poll(fds, timeout)
	t.release()
	return n, err
}

// attend makes inherited listeners that are to be polled serve.
func (t *thread) attend(fds []core.PollFD) {
	for i := range fds {
		if s, err := t.acquire(vls.Handle(fds[i].Handle)); err == nil {
			if s.Passive() {
				t.c.Attend(s)
			}
			t.release()
		}
	}
}

func (t *thread) SessionHandle(h vls.Handle) (vls.SessionHandle, error) {
	s, err := t.acquire(h)
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
	if !single {
		t.p.table.RLock(t.slot)
		defer t.p.table.RUnlock(t.slot)
	}
	h := vls.Handle(t.w.Live(index))
	if t.lookup(h) == nil {
		return 0, syscall.EBADFD
	}
	return h, nil
}
