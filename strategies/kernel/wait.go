package kernel

import (
	"slices"
	"sync"
	"time"

	"vlsbench/core"
	"vlsbench/hw"
	"vlsbench/vls"

	"golang.org/x/sys/unix"
)

// spinTime is how long an adaptive wait makes its call again before it sleeps,
// as in the session core.
const spinTime = 10 * time.Microsecond

// gone reports whether the handle by which a slot was found has been closed.
func (t *thread) gone(s *slot, h vls.Handle) bool { return s.handle.Load() != uint64(h) }

// waiter is one call's patience.
type waiter struct{ until uint64 }

// tired reports whether the call has spun for long enough.
func (w *waiter) tired(t *thread) bool {
	switch t.wait {
	case core.Spin:
		return false
	case core.Park:
		return true
	}
	now := hw.Cycles()
	if w.until == 0 {
		w.until = now + hw.NanosToCycles(spinTime)
	}
	return now >= w.until
}

// wait follows a call that found nothing on a non-blocking descriptor. The
// caller looks again, whether the session is gone first.
func (w *waiter) wait(t *thread, s *slot, h vls.Handle, events int16) {
	if !w.tired(t) {
		return
	}
	w.until = 0
	if !t.arm() {
		return // without a descriptor to spare the call spins on
	}
	t.join(s.sock)
	if !t.gone(s, h) {
		t.fds = append(t.fds[:0], unix.PollFd{Fd: int32(s.fd), Events: events})
		_, _ = t.sleep(-1)
	}
	t.part(s.sock)
	t.disarm()
}

// bell is the eventfd that ends a thread's sleeps. It stays open while the thread
// may sleep: a process may die meanwhile.
type bell struct {
	fd int // set while the bell is armed

	mu     sync.Mutex
	armed  bool
	doomed bool // to be closed
}

// arm readies the thread's bell. False: there is no descriptor to spare.
func (t *thread) arm() bool {
	b := &t.bell
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fd < 0 {
		fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
		if err != nil {
			return false
		}
		b.fd, b.doomed = fd, false
		t.p.keep(b, true)
	}
	b.armed = true
	return true
}

// disarm ends what arm began. The thread waits for no socket any more.
func (t *thread) disarm() {
	t.calm()
	b := &t.bell
	b.mu.Lock()
	b.armed = false
	b.tidy()
	b.mu.Unlock()
}

// close closes the bell, once it is not armed.
func (b *bell) close() {
	b.mu.Lock()
	b.doomed = true
	b.tidy()
	b.mu.Unlock()
}

func (b *bell) tidy() {
	if b.doomed && !b.armed && b.fd >= 0 {
		_ = unix.Close(b.fd)
		b.fd = -1
	}
}

// keep notes a thread's bell, which is closed with the process at the latest.
func (p *process) keep(b *bell, on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !on {
		delete(p.bells, b)
		return
	}
	if p.bells == nil {
		p.bells = make(map[*bell]struct{})
	}
	p.bells[b] = struct{}{}
}

// join makes the thread one that a kick of the socket reaches; part ends that.
func (t *thread) join(s *socket) {
	s.mu.Lock()
	s.waiters = append(s.waiters, t)
	s.mu.Unlock()
}

func (t *thread) part(s *socket) {
	s.mu.Lock()
	i := slices.Index(s.waiters, t)
	last := len(s.waiters) - 1
	s.waiters[i] = s.waiters[last]
	s.waiters[last] = nil
	s.waiters = s.waiters[:last]
	s.mu.Unlock()
}

// calm takes back a kick.
func (t *thread) calm() {
	if t.kicked.Load() {
		t.kicked.Store(false)
		var word [8]byte
		_, _ = unix.Read(t.bell.fd, word[:])
	}
}

// sleep waits in ppoll for t.fds, for a kick or for the timeout, and returns how
// many of t.fds have something. A signal ends it early.
func (t *thread) sleep(timeout time.Duration) (int, error) {
	var ts *unix.Timespec
	if timeout >= 0 {
		v := unix.NsecToTimespec(int64(timeout))
		ts = &v
	}
	n := len(t.fds)
	t.fds = append(t.fds, unix.PollFd{Fd: int32(t.bell.fd), Events: unix.POLLIN})
	got, err := unix.Ppoll(t.fds, ts, nil)
	if got > 0 && t.fds[n].Revents != 0 {
		got--
	}
	t.fds = t.fds[:n]
	if err == unix.EINTR {
		return 0, nil
	}
	return got, err
}
