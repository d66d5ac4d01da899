package original

import (
	"runtime"
	"syscall"
	"time"

	"vlsbench/core"
	"vlsbench/hw"
	"vlsbench/vls"
)

// made enters a new session in the table, under P.w.
func (t *thread) made(s *core.Session) vls.Handle {
	table := t.locksP()
	if table {
		t.lockP()
	}
	// A fork that came in between has done it.
	if s.Owner == nil {
		s.Owner = t.p.a.newSession(s)
	}
	if table {
		t.unlockP()
	}
	return vls.Handle(s.Handle())
}

func (t *thread) Create(p vls.Proto, nonblocking bool) (vls.Handle, error) {
	if err := t.Register(); err != nil {
		return 0, err
	}
	t.guard(t.p.a.d.create, nil, false)
	s, err := t.c.Create(p, nonblocking)
	t.unguard()
	if err != nil {
		return 0, err
	}
	return t.made(s), nil
}

func (t *thread) EpollCreate() (vls.Handle, error) {
	if err := t.Register(); err != nil {
		return 0, err
	}
	s, err := t.c.EpollCreate()
	if err != nil {
		return 0, err
	}
	return t.made(s), nil
}

func (t *thread) Bind(h vls.Handle, ep vls.Endpoint) error {
	v, s, err := t.acquire(h, 0, false)
	if err != nil {
		return err
	}
	err = t.c.Bind(s, ep)
	t.release(v)
	return err
}

func (t *thread) Listen(h vls.Handle, backlog int) error {
	v, s, err := t.acquire(h, t.p.a.d.listenConnect, false)
	if err != nil {
		return err
	}
	t.keeps = true
	err = t.c.Listen(s, backlog)
	t.keeps = false
	t.release(v)
	return err
}

func (t *thread) Connect(h vls.Handle, ep vls.Endpoint) error {
	v, s, err := t.acquire(h, t.p.a.d.listenConnect, false)
	if err != nil {
		return err
	}
	t.keeps = true
	err = t.c.Connect(s, ep)
	t.keeps = false
	t.release(v)
	return err
}

// checkListener looks, before the core does, whether others serve a listener
// that is shared.
func (t *thread) checkListener(v *session) {
	if v.data != nil && v.s != nil && v.s.State() == core.StateListen {
		t.lockData(v.data)
		t.unlockData()
	}
}

func (t *thread) Accept(h vls.Handle, flags int) (vls.Handle, vls.Endpoint, error) {
	v, l, err := t.acquire(h, t.p.a.d.accept, false)
	if err != nil {
		return 0, vls.Endpoint{}, err
	}
	t.checkListener(v)
	s, err := t.c.Accept(l, flags)
	t.release(v)
	if err != nil {
		return 0, vls.Endpoint{}, err
	}
	peer := s.Remote()
	return t.made(s), peer, nil
}

func (t *thread) Read(h vls.Handle, p []byte) (int, error) {
	v, s, err := t.acquire(h, t.p.a.d.readWrite, false)
	if err != nil {
		return 0, err
	}
	n, err := t.c.Read(s, p)
	t.release(v)
	return n, err
}

func (t *thread) Write(h vls.Handle, p []byte) (int, error) {
	v, s, err := t.acquire(h, t.p.a.d.readWrite, true)
	if err != nil {
		return 0, err
	}
	n, err := t.c.Write(s, p)
	t.release(v)
	return n, err
}

// WriteMsg is Write.
func (t *thread) WriteMsg(h vls.Handle, p []byte) (int, error) { return t.Write(h, p) }

func (t *thread) Recvfrom(h vls.Handle, p []byte, flags int) (int, vls.Endpoint, error) {
	v, s, err := t.acquire(h, t.p.a.d.readWrite, false)
	if err != nil {
		return 0, vls.Endpoint{}, err
	}
	n, ep, err := t.c.Recvfrom(s, p, flags)
	t.release(v)
	return n, ep, err
}

func (t *thread) Sendto(h vls.Handle, p []byte, flags int, ep vls.Endpoint) (int, error) {
	v, s, err := t.acquire(h, t.p.a.d.readWrite, true)
	if err != nil {
		return 0, err
	}
	n, err := t.c.Sendto(s, p, flags, ep)
	t.release(v)
	return n, err
}

// Shutdown came later than the first two; it is as it was then.
func (t *thread) Shutdown(h vls.Handle, how int) error {
	v, s, err := t.acquire(h, t.p.a.d.shutdown, false)
	if err != nil {
		return err
	}
	err = t.c.Shutdown(s, how)
	t.release(v)
	return err
}

func (t *thread) Attr(h vls.Handle, a vls.Attr, buf []byte) (int, error) {
	v, s, err := t.acquire(h, 0, false)
	if err != nil {
		return 0, err
	}
	n, err := t.c.Attr(s, a, buf)
	t.release(v)
	return n, err
}

func (t *thread) Close(h vls.Handle) error {
	if err := t.Register(); err != nil {
		return err
	}
	if t.p.a.d.marks && t.locksP() {
		return t.closeMarked(h)
	}
	table := t.locksP()
	if table {
		t.lockP()
		defer t.unlockP()
	}
	v := t.lookup(h)
	if v == nil {
		return syscall.EBADFD
	}
	if table || v.data != nil {
		t.lock(v)
	}
	t.guard(t.p.a.d.close, v.s, false)
	err := t.closeCore(v)
	t.unguard()
	if t.holds(v) {
		t.unlock(v)
	}
	return err
}

// closeCore closes, or gives up its share.
func (t *thread) closeCore(v *session) error {
	if v.data != nil {
		t.lockData(v.data)
		defer t.unlockData()
	}
	s := v.s
	v.s = nil
	return t.c.Close(s)
}

// closeMarked marks the session under P.r, closes it, and has P.w and S, which
// it tries for, to free it.
func (t *thread) closeMarked(h vls.Handle) error {
	t.rlockP()
	v := t.lookup(h)
	s := t.w.Lookup(core.Handle(h))
	if v == nil || s == nil {
		t.runlockP()
		return syscall.EBADFD
	}
	t.c.BeginClose(s)
	t.lock(v)
	err := error(syscall.EBADFD)
	if v.s != nil {
		t.lockSP(t.p.a.d.close)
		t.runlockP()
		err = t.closeCore(v)
		t.unguard()
	} else {
		t.runlockP()
	}
	t.retake(v)
	for b := (pause{}); ; b.wait() {
		t.lockP()
		if v.lock.TryLock() {
			t.c.EndClose(s)
			v.lock.Unlock()
			t.unlockP()
			return err
		}
		t.unlockP()
	}
}

// EpollCtl lets P go before the core is called, and takes it again.
func (t *thread) EpollCtl(ep vls.Handle, op int, h vls.Handle, ev *vls.EpollEvent) error {
	if err := t.Register(); err != nil {
		return err
	}
	table := t.locksP()
	if table {
		t.rlockP()
	}
	set, v := t.lookup(ep), t.lookup(h)
	if err := couple(set, v); err != nil {
		if table {
			t.runlockP()
		}
		return err
	}
	if table {
		t.lock(set)
	}
	if table || v.data != nil {
		t.lock(v)
	}
	t.checkListener(v)
	a, b := set.s, v.s
	if table {
		t.runlockP()
	}
	err := error(syscall.EBADFD)
	if a != nil && b != nil {
		err = t.c.EpollCtl(a, op, b, ev)
	}
	table = t.locksP()
	if table {
		t.rlockP()
	}
	for _, o := range []*session{v, set} {
		if t.holds(o) {
			t.unlock(o)
		}
	}
	if table {
		t.runlockP()
	}
	return err
}

// couple refuses what is no set and no session.
func couple(set, v *session) error {
	switch {
	case set == nil || v == nil:
		return syscall.EBADFD
	case !set.set || v.set:
		return syscall.EINVAL
	}
	return nil
}

func (t *thread) EpollWait(ep vls.Handle, evs []vls.EpollEvent, timeout time.Duration) (int, error) {
	v, s, err := t.acquire(ep, t.p.a.d.epollWait, false)
	if err != nil {
		return 0, err
	}
	n, err := t.c.EpollWait(s, evs, timeout)
	t.release(v)
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
	t.guard(t.p.a.d.poll, nil, false)
	// Once a process, so that listeners which are shared later are missed.
	if t.w.Forked() && !t.p.polled.Swap(true) {
		for i := range fds {
			if v := t.lookup(vls.Handle(fds[i].Handle)); v != nil && v.s != nil {
				t.checkListener(v)
				if v.s.Passive() {
					t.c.Attend(v.s)
				}
			}
		}
	}
	n, err := t.c.Poll(fds, timeout)
	t.unguard()
	return n, err
}

func (t *thread) SessionHandle(h vls.Handle) (vls.SessionHandle, error) {
	v, s, err := t.acquire(h, 0, false)
	if err != nil {
		return 0, err
	}
	sh := s.Handle()
	t.release(v)
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
	if t.locksP() {
		t.rlockP()
		defer t.runlockP()
	}
	h := vls.Handle(t.w.Live(index))
	if t.lookup(h) == nil {
		return 0, syscall.EBADFD
	}
	return h, nil
}

// pause is between two tries for a lock.
type pause struct{ tries int }

func (b *pause) wait() {
	hw.Pause()
	if b.tries++; b.tries%16 != 0 {
		runtime.Gosched()
		return
	}
	hw.FutexWait(&nobody, 0, 20*time.Microsecond)
}

// nobody is a futex that no one wakes.
var nobody uint32
