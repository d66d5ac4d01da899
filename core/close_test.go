package core_test

import (
	"syscall"
	"testing"
	"time"

	"vlsbench/core"
)

// A close in two phases: from its begin on who waits leaves, who polls finds
// that the session is gone, and none begins to wait; its slot is no other's
// before the end.
func TestBeginClose(t *testing.T) {
	app, err := core.New(core.Config{Wait: core.Park, SegmentSize: 16 << 20}, core.Hooks{})
	if err != nil {
		t.Fatal(err)
	}
	defer app.Close()
	w, err := app.NewWorker()
	if err != nil {
		t.Fatal(err)
	}
	th, err := w.NewThread(nil)
	if err != nil {
		t.Fatal(err)
	}
	watchdog := time.AfterFunc(20*time.Second, func() { panic("a wait on a session that is being closed does not end") })
	defer watchdog.Stop()
	s, err := th.Create(core.UDP, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := th.Bind(s, core.Endpoint{}); err != syscall.EINVAL {
		t.Fatal(err)
	}
	if err := th.Bind(s, endpoint(t)); err != nil {
		t.Fatal(err)
	}
	h := s.Handle()
	th.BeginClose(s)
	if _, err := th.Read(s, make([]byte, 8)); err != syscall.ENOTCONN {
		t.Errorf("a read: %v, want ENOTCONN", err)
	}
	fds := []core.PollFD{{Handle: h, Events: core.EPOLLIN}}
	if n, err := th.Poll(fds, -1); n != 1 || err != nil || fds[0].Revents != core.POLLNVAL {
		t.Errorf("a poll: %d, %v, %#x, want POLLNVAL", n, err, fds[0].Revents)
	}
	if err := th.Close(s); err != nil {
		t.Fatal(err)
	}
	if w.Lookup(h) != nil {
		t.Error("a session that was closed is found")
	}
	if o, err := th.Create(core.TCP, false); err != nil || o == s {
		t.Errorf("%p, %v: the slot is another's before the end", o, err)
	}
	th.EndClose(s)
	for range 4 {
		if o, err := th.Create(core.TCP, false); err != nil {
			t.Fatal(err)
		} else if o == s {
			return
		}
	}
	t.Error("the slot is not used again")
}

func endpoint(t *testing.T) core.Endpoint {
	t.Helper()
	ep, err := core.Endpoint{}, error(nil)
	if err = ep.UnmarshalText([]byte("127.0.0.1:4000")); err != nil {
		t.Fatal(err)
	}
	return ep
}
