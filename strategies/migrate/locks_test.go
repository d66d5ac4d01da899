package migrate

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"vlsbench/core"
	"vlsbench/vls"
)

// What each operation takes on a session of the caller's own is what the package
// documentation says; what another's costs more is the request.
func TestLocksTaken(t *testing.T) {
	guard(t, 60e9)
	a := attach(t, vls.Options{CountLocks: true, Config: core.Config{Wait: core.Park}})
	p := newProcess(t, a)
	th, mate := newThread(t, p), newThread(t, p)
	counts := func() map[string]uint64 {
		m := make(map[string]uint64)
		for _, s := range a.Locks() {
			m[s.Class+".r"], m[s.Class] = s.Shared, s.Acquisitions-s.Shared
		}
		return m
	}
	takes := func(want, what string, do func() error) {
		t.Helper()
		before := counts()
		if err := do(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		var got []string
		for _, c := range []string{"P.r", "P", "S", "H.r", "H", "R", "SD"} {
			if n := counts()[c] - before[c]; n > 0 {
				got = append(got, fmt.Sprintf("%d %s", n, c))
			}
		}
		if g := strings.Join(got, ", "); g != want {
			t.Errorf("%s takes %q, want %q", what, g, want)
		}
	}
	var l, x, y, set vls.Handle
	var err error
	ep := address()
	buf := make([]byte, 8)
	takes("1 P, 1 H", "create", func() error { l, err = th.Create(vls.TCP, false); return err })
	takes("1 P, 1 H", "epoll_create", func() error { set, err = th.EpollCreate(); return err })
	takes("1 S", "bind", func() error { return th.Bind(l, ep) })
	takes("1 S", "listen", func() error { return th.Listen(l, 4) })
	x = mustCreate(t, th)
	takes("1 S", "connect", func() error { return th.Connect(x, ep) })
	takes("1 P, 1 S, 1 H", "accept", func() error { y, _, err = th.Accept(l, 0); return err })
	takes("1 S", "write", func() error { _, err := th.Write(x, buf); return err })
	takes("1 S", "recvfrom, peeking", func() error { _, _, err := th.Recvfrom(y, buf, core.MSG_PEEK); return err })
	takes("1 S", "read", func() error { _, err := th.Read(y, buf); return err })
	takes("1 S", "attr", func() error { _, err := th.Attr(y, core.GetNread, buf[:4]); return err })
	takes("1 P.r, 2 S", "epoll_ctl", func() error {
		return th.EpollCtl(set, core.EPOLL_CTL_ADD, x, &vls.EpollEvent{Events: core.EPOLLOUT})
	})
	takes("1 S", "epoll_wait", func() error { _, err := th.EpollWait(set, make([]vls.EpollEvent, 1), -1); return err })
	takes("", "poll", func() error { _, err := th.Poll([]vls.PollFD{{Handle: x, Events: core.EPOLLOUT}}, -1); return err })
	takes("1 P.r, 1 S", "session_handle", func() error { _, err := th.SessionHandle(x); return err })
	index, _, err := th.SessionIndex(x)
	ok(t, err)
	takes("1 P.r, 1 H.r", "handle_of", func() error { _, err := th.HandleOf(index); return err })
	takes("1 S", "shutdown", func() error { return th.Shutdown(x, syscall.SHUT_WR) })
	takes("1 P, 1 S, 1 H", "close", func() error { return th.Close(y) })

	stop := serving(mate)
	h := mustCreate(t, th)
	stop()
	stop = serving(th)
	// Two looks, the second with room for it, the taking, and the operation.
	takes("2 P.r, 4 S, 1 H, 1 R", "attr of another's", func() error { _, err := mate.Attr(h, core.GetFlags, buf[:4]); return err })
	takes("1 S", "attr of what has come", func() error { _, err := mate.Attr(h, core.GetFlags, buf[:4]); return err })
	stop()
	ok(t, mate.Exit())
	takes("2 P.r, 4 S, 1 H", "attr of nobody's", func() error { _, err := th.Attr(h, core.GetFlags, buf[:4]); return err })
	_ = l
}
