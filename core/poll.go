package core

import (
	"time"

	"vlsbench/sched"
)

// Poll says of each entry what is true of what it asks for, and returns how many
// have something; it waits for the first one for timeout, for ever if that is
// negative. A handle that names no session, or an epoll set, is POLLNVAL, one
// that is closed meanwhile too. No error comes of it. It needs no exclusion but
// the worker's queue, which it enters by itself, and its hooks Sleep and Woke
// are called without a session.
func (t *Thread) Poll(fds []PollFD, timeout time.Duration) (int, error) {
	w := watch{fds: fds, held: t.polled[:0]}
	if t.w.app.hooks.Free {
		return t.pollFree(&w, timeout)
	}
	t.enterMQ()
	n := t.look(&w)
	if n > 0 || timeout == 0 {
		t.leaveMQ()
		return n, nil
	}
	for i := range fds {
		// There is one of each, or it would have been found.
		s := t.w.Lookup(fds[i].Handle)
		s.refs.Add(1)
		s.flags.Or(fPolled)
		w.held = append(w.held, s)
	}
	t.w.inside.Add(1)
	t.leaveMQ()
	hooks := &t.w.app.hooks
	t.waited = true
	if hooks.Sleep != nil {
		hooks.Sleep(t, nil)
	}
	n = t.watchFor(&w, timeout)
	if hooks.Woke != nil {
		hooks.Woke(t, nil)
	}
	for i, s := range w.held {
		t.w.unref(s)
		w.held[i] = nil
	}
	t.polled = w.held
	t.w.inside.Add(-1)
	t.done()
	return n, nil
}

// lookAtEach fills in what is true of the entries. Worker mq: exclusive, within
// which a session that is found stays what it is.
func (t *Thread) lookAtEach(fds []PollFD) int {
	if sched.Enabled {
		sched.Point("core: before sessions are polled")
	}
	n := 0
	for i := range fds {
		fd := &fds[i]
		if s := t.w.Lookup(fd.Handle); s == nil || s.epoll != nil || s.flags.Load()&fClosing != 0 {
			fd.Revents = POLLNVAL
		} else {
			fd.Revents = fd.found(s)
		}
		if fd.Revents != 0 {
			n++
		}
	}
	return n
}

// found is what there is to report of an entry's session.
func (fd *PollFD) found(s *Session) uint32 {
	if State(s.state.Load()) == StateListen && s.flags.Load()&fServes == 0 && !s.Passive() {
		s.flags.Or(fServes)
	}
	wanted := fd.Events
	if !fd.Exact {
		wanted |= EPOLLERR | EPOLLHUP
	}
	return s.level() & wanted
}

// WouldWait reports whether a read, or a write, of the session would have to
// wait now. Any thread; it may be otherwise a moment later.
func (s *Session) WouldWait(write bool) bool {
	if s.flags.Load()&(fNonblock|fClosing) != 0 || s.open() != nil {
		return false
	}
	want := uint32(EPOLLIN)
	if write {
		want = EPOLLOUT
	}
	return s.level()&(want|EPOLLERR|EPOLLHUP) == 0
}
