package kernel

import (
	"slices"
	"syscall"
	"time"

	"vlsbench/vls"

	"golang.org/x/sys/unix"
)

// maxEvents is the most that one wait reports; the rest comes with the next.
const maxEvents = 1024

func (t *thread) EpollCreate() (vls.Handle, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return 0, errno(err)
	}
	s := t.p.a.socket(fd)
	s.set = true
	return t.open(s)
}

func (t *thread) EpollCtl(ep vls.Handle, op int, h vls.Handle, ev *vls.EpollEvent) error {
	set := t.p.acquire(ep)
	if set == nil {
		return syscall.EBADFD
	}
	defer t.p.release(set)
	s := t.p.acquire(h)
	if s == nil {
		return syscall.EBADFD
	}
	defer t.p.release(s)
	if !set.sock.set || ev == nil && op != unix.EPOLL_CTL_DEL {
		return syscall.EINVAL
	}
	var e unix.EpollEvent
	if ev != nil {
		e = unix.EpollEvent{Events: ev.Events, Fd: int32(ev.Data), Pad: int32(ev.Data >> 32)}
	}
	return errno(unix.EpollCtl(set.fd, op, s.fd, &e))
}

func (t *thread) EpollWait(ep vls.Handle, evs []vls.EpollEvent, timeout time.Duration) (int, error) {
	s := t.p.acquire(ep)
	if s == nil {
		return 0, syscall.EBADFD
	}
	n, err := t.epollWait(s, ep, evs, timeout)
	t.p.release(s)
	return n, err
}

func (t *thread) epollWait(s *slot, h vls.Handle, evs []vls.EpollEvent, timeout time.Duration) (int, error) {
	want := min(len(evs), maxEvents)
	if want == 0 || !s.sock.set {
		return 0, syscall.EINVAL
	}
	if cap(t.events) < want {
		t.events = make([]unix.EpollEvent, want)
	}
	events := t.events[:want]
	var w waiter
	until := deadline(timeout)
	for left := timeout; ; left = until.left(timeout) {
		n, err := t.look(s, h, events, left, &w)
		switch {
		case t.gone(s, h):
			return 0, syscall.EBADFD
		case n > 0:
			for i, e := range events[:n] {
				evs[i] = vls.EpollEvent{Events: e.Events, Data: uint64(uint32(e.Fd)) | uint64(uint32(e.Pad))<<32}
			}
			return n, nil
		case err != nil && err != syscall.EINTR:
			return 0, errno(err)
		case left == 0:
			return 0, nil
		}
	}
}

// look asks a set for its events, and may wait for them, but for less than left:
// the caller asks again.
func (t *thread) look(s *slot, h vls.Handle, events []unix.EpollEvent, left time.Duration, w *waiter) (int, error) {
	switch {
	case left == 0 || !w.tired(t):
	case s.sock.shared.Load():
		if t.arm() {
			t.join(s.sock)
			if !t.gone(s, h) {
				t.fds = append(t.fds[:0], unix.PollFd{Fd: int32(s.fd), Events: unix.POLLIN})
				_, _ = t.sleep(left)
			}
			t.part(s.sock)
			t.calm()
		}
	case left < 0:
		return unix.EpollWait(s.fd, events, -1)
	case left >= time.Millisecond:
		return unix.EpollWait(s.fd, events, int(min(left/time.Millisecond, 1<<30)))
	default:
		// What x/sys has of epoll_wait counts milliseconds.
		ts := unix.NsecToTimespec(int64(left))
		t.fds = append(t.fds[:0], unix.PollFd{Fd: int32(s.fd), Events: unix.POLLIN})
		if _, err := unix.Ppoll(t.fds, &ts, nil); err != nil {
			return 0, err
		}
	}
	return unix.EpollWait(s.fd, events, 0)
}

// end is when a timeout is over; zero if it never is, or is at once.
type end struct{ time.Time }

func deadline(timeout time.Duration) end {
	if timeout <= 0 {
		return end{}
	}
	return end{time.Now().Add(timeout)}
}

// left is what is left of a timeout: itself if it is for ever or 0.
func (e end) left(timeout time.Duration) time.Duration {
	if timeout <= 0 {
		return timeout
	}
	return max(time.Until(e.Time), 0)
}

func (t *thread) Poll(list []vls.PollFD, timeout time.Duration) (int, error) {
	t.begin(len(list))
	for i := range list {
		t.ask(list[i].Handle, int16(list[i].Events))
	}
	n, err := t.poll(timeout)
	for i := range list {
		list[i].Revents = uint32(uint16(t.fds[i].Revents))
	}
	t.end()
	return n, err
}

// Select is poll with the events that select(2) documents.
func (t *thread) Select(read, write, except *vls.HandleSet, timeout time.Duration) (int, error) {
	const (
		readable    = unix.POLLIN | unix.POLLRDNORM | unix.POLLRDBAND | unix.POLLHUP | unix.POLLERR
		writable    = unix.POLLOUT | unix.POLLWRNORM | unix.POLLWRBAND | unix.POLLERR
		exceptional = unix.POLLPRI
	)
	sets := []struct {
		set *vls.HandleSet
		is  int16
	}{{read, readable}, {write, writable}, {except, exceptional}}
	var handles []vls.Handle
	t.begin(0)
	for _, s := range sets {
		if s.set != nil {
			for h := range s.set.All() {
				handles = append(handles, h)
				t.ask(h, s.is&^(unix.POLLHUP|unix.POLLERR))
			}
		}
	}
	_, err := t.poll(timeout)
	n, i := 0, 0
	for _, f := range t.fds {
		if f.Revents&unix.POLLNVAL != 0 {
			err = syscall.EBADFD
		}
	}
	for _, s := range sets {
		if s.set == nil || err != nil {
			continue
		}
		for range s.set.Len() {
			if t.fds[i].Revents&s.is == 0 {
				s.set.Remove(handles[i])
			} else {
				n++
			}
			i++
		}
	}
	t.end()
	return n, err
}

// begin, ask and poll are one call of poll, over what was asked for since begin;
// the answers stand in t.fds until end.
func (t *thread) begin(n int) {
	t.fds, t.slots, t.asked = t.fds[:0], t.slots[:0], t.asked[:0]
	t.fds = slices.Grow(t.fds, n+1)
}

func (t *thread) ask(h vls.Handle, events int16) {
	s := t.p.acquire(h)
	fd := unix.PollFd{Fd: -1, Events: events}
	if s != nil {
		fd.Fd = int32(s.fd)
	}
	t.fds, t.slots, t.asked = append(t.fds, fd), append(t.slots, s), append(t.asked, h)
}

func (t *thread) end() {
	for i, s := range t.slots {
		if s != nil {
			t.p.release(s)
			t.slots[i] = nil
		}
	}
}

func (t *thread) poll(timeout time.Duration) (int, error) {
	var w waiter
	until := deadline(timeout)
	joined := false
	n, err := 0, error(nil)
	for left := timeout; ; left = until.left(timeout) {
		sleeps := joined && left != 0 && w.tired(t)
		if !sleeps {
			n, err = unix.Ppoll(t.fds, &unix.Timespec{}, nil)
		} else if n, err = t.sleep(left); t.kicked.Load() {
			t.calm()
		}
		if err == syscall.EINTR {
			n, err = 0, nil
		}
		for i, s := range t.slots {
			if s == nil || t.gone(s, t.asked[i]) {
				if t.fds[i].Revents == 0 {
					n++
				}
				t.fds[i].Revents = unix.POLLNVAL
			}
		}
		if n != 0 || err != nil || left == 0 {
			break
		}
		if !joined && w.tired(t) && t.arm() {
			// What is closed from now on ends the sleep.
			joined = true
			for _, s := range t.slots {
				t.join(s.sock)
			}
		}
	}
	if joined {
		for _, s := range t.slots {
			t.part(s.sock)
		}
		t.calm()
	}
	return n, errno(err)
}
