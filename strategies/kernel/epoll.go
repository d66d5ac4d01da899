package kernel

import (
	"slices"
	"syscall"
	"time"

	"vlsbench/core"
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
	s := t.p.a.socket(fd, nil)
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
			t.disarm()
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

func (t *thread) Poll(fds []vls.PollFD, timeout time.Duration) (int, error) {
	return vls.PollBy(t.poll, &t.polled, fds, timeout)
}

func (t *thread) Select(read, write, except *vls.HandleSet, timeout time.Duration) (int, error) {
	return vls.SelectBy(t.poll, read, write, except, timeout)
}

// poll is what both are made of, as in the session core.
func (t *thread) poll(list []core.PollFD, timeout time.Duration) (int, error) {
	t.fds = slices.Grow(t.fds[:0], len(list)+1)
	t.slots = t.slots[:0]
	for i := range list {
		s := t.p.acquire(vls.Handle(list[i].Handle))
		if s != nil && s.sock.set {
			t.p.release(s)
			s = nil
		}
		fd := unix.PollFd{Fd: -1, Events: int16(list[i].Events)}
		if s != nil {
			fd.Fd = int32(s.fd)
		}
		t.fds, t.slots = append(t.fds, fd), append(t.slots, s)
	}
	n, err := t.pollSlots(list, timeout)
	for i, s := range t.slots {
		if s != nil {
			t.p.release(s)
			t.slots[i] = nil
		}
	}
	return n, errno(err)
}

func (t *thread) pollSlots(list []core.PollFD, timeout time.Duration) (n int, err error) {
	var w waiter
	until := deadline(timeout)
	joined := false
	for left := timeout; ; left = until.left(timeout) {
		if joined && left != 0 {
			_, err = t.sleep(left)
			t.calm()
		} else {
			_, err = unix.Ppoll(t.fds, &unix.Timespec{}, nil)
		}
		if err != nil && err != syscall.EINTR {
			break
		}
		n, err = t.found(list), nil
		if n > 0 || left == 0 {
			break
		}
		if !joined && w.tired(t) && t.arm() {
			// What is closed from now on ends the sleep.
			joined = true
			for _, s := range t.slots {
				t.join(s.sock)
			}
			// And what was before?
			if n = t.found(list); n > 0 {
				break
			}
		}
	}
	if joined {
		for _, s := range t.slots {
			t.part(s.sock)
		}
		t.disarm()
	}
	return n, err
}

// found fills in what the last ppoll said, and which sessions are gone.
func (t *thread) found(list []core.PollFD) int {
	n := 0
	for i := range list {
		fd, s := &list[i], t.slots[i]
		if s == nil || t.gone(s, vls.Handle(fd.Handle)) {
			fd.Revents = core.POLLNVAL
		} else if fd.Revents = uint32(uint16(t.fds[i].Revents)); fd.Exact {
			if fd.Revents &= fd.Events; fd.Revents == 0 && t.fds[i].Revents != 0 {
				// A hang-up that nobody asked for would end each sleep at once.
				t.fds[i].Fd = -1
			}
		}
		if fd.Revents != 0 {
			n++
		}
	}
	return n
}
