package kernel_test

import (
	"encoding/binary"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"vlsbench/core"
	"vlsbench/vls"
)

// both runs a test over both strategies, in each way of waiting, on a fresh
// application and under a watchdog.
func both(t *testing.T, f func(t *testing.T, app vls.App)) {
	for _, name := range []string{"kernel-tcp", "kernel-unix"} {
		for _, wait := range []vls.Wait{vls.Spin, vls.Adaptive, vls.Park} {
			t.Run(name+"/"+wait.String(), func(t *testing.T) {
				s, err := vls.Lookup(name)
				check(t, err)
				app, err := s.New(vls.Options{Config: core.Config{Wait: wait}})
				check(t, err)
				done := make(chan struct{})
				go func() {
					defer close(done)
					f(t, app)
				}()
				select {
				case <-done:
				case <-time.After(30 * time.Second):
					panic(t.Name() + " hangs")
				}
				check(t, app.Close())
			})
		}
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
		panic(err)
	}
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		check(t, err)
		return v
	}
}

// process makes a process and a thread of it.
func process(t *testing.T, app vls.App) (vls.Process, vls.Thread) {
	t.Helper()
	p := must(app.NewProcess())(t)
	return p, p.NewThread()
}

var endpoint = netip.MustParseAddrPort("127.0.0.1:5000")

func listen(t *testing.T, th vls.Thread, ep vls.Endpoint) vls.Handle {
	t.Helper()
	l := must(th.Create(vls.TCP, false))(t)
	check(t, th.Bind(l, ep))
	check(t, th.Listen(l, 8))
	return l
}

// pair is a connection within a thread.
func pair(t *testing.T, a, b vls.Thread) (x, y vls.Handle) {
	t.Helper()
	l := listen(t, b, endpoint)
	x = must(a.Create(vls.TCP, false))(t)
	check(t, a.Connect(x, endpoint))
	y, _, err := b.Accept(l, 0)
	check(t, err)
	check(t, b.Close(l))
	return x, y
}

func write(t *testing.T, th vls.Thread, h vls.Handle, s string) {
	t.Helper()
	if n, err := th.Write(h, []byte(s)); n != len(s) || err != nil {
		t.Errorf("write: %d, %v", n, err)
	}
}

func read(t *testing.T, th vls.Thread, h vls.Handle, want string) {
	t.Helper()
	buf := make([]byte, 100)
	n, err := th.Read(h, buf)
	if err != nil || string(buf[:n]) != want {
		t.Errorf("read %q, %v; want %q", buf[:n], err, want)
	}
}

func is(t *testing.T, got error, want syscall.Errno) {
	t.Helper()
	if got != want {
		t.Errorf("error %v, want %v", got, want)
	}
}

// A fork shares connections, listeners and sets under the same handles, and what
// either opens or closes later is its own.
func TestFork(t *testing.T) {
	both(t, func(t *testing.T, app vls.App) {
		p, th := process(t, app)
		_, far := process(t, app)
		x, y := pair(t, th, far)
		l := listen(t, th, netip.AddrPortFrom(endpoint.Addr(), 6000))
		set := must(th.EpollCreate())(t)
		gone := must(th.Create(vls.TCP, false))(t)
		check(t, th.Close(gone))

		child := must(p.Fork())(t)
		c := child.NewThread()
		write(t, far, y, "for the parent")
		read(t, th, x, "for the parent")
		write(t, far, y, "for the child")
		read(t, c, x, "for the child")
		write(t, th, x, "one ")
		write(t, c, x, "two")
		read(t, far, y, "one two")
		is(t, c.Close(gone), syscall.EBADFD)

		ph, cw := must(th.SessionHandle(x))(t), must(c.SessionHandle(x))(t)
		if ph.Index() != cw.Index() || ph.Worker() == cw.Worker() {
			t.Errorf("session handles %#x and %#x: want one index and two workers", ph, cw)
		}
		// Each has its own table from here on.
		own, other := must(c.Create(vls.TCP, false))(t), must(th.Create(vls.TCP, false))(t)
		if own == other {
			t.Errorf("a handle of both is %#x", own)
		}
		is(t, th.Close(own), syscall.EBADFD)

		// The set is one; so is O_NONBLOCK.
		check(t, c.EpollCtl(set, core.EPOLL_CTL_ADD, x, &vls.EpollEvent{Events: core.EPOLLIN, Data: 7}))
		write(t, far, y, "!")
		evs := make([]vls.EpollEvent, 2)
		if n, err := th.EpollWait(set, evs, -1); n != 1 || err != nil || evs[0].Data != 7 {
			t.Errorf("the parent's wait: %d, %v, %v", n, err, evs[0])
		}
		read(t, th, x, "!")
		nonblock := binary.NativeEndian.AppendUint32(nil, syscall.O_NONBLOCK)
		must(th.Attr(x, core.SetFlags, nonblock))(t)
		_, err := c.Read(x, make([]byte, 1))
		is(t, err, syscall.EWOULDBLOCK)

		// Both accept, and the listener lives while one has it.
		check(t, th.Close(l))
		z := must(far.Create(vls.TCP, false))(t)
		check(t, far.Connect(z, netip.AddrPortFrom(endpoint.Addr(), 6000)))
		a, _, err := c.Accept(l, 0)
		check(t, err)
		write(t, c, a, "from the child")
		read(t, far, z, "from the child")

		// The connection ends with who leaves last.
		check(t, th.Close(x))
		write(t, c, x, "still there")
		read(t, far, y, "still there")
		check(t, child.Exit())
		read(t, far, y, "")
		read(t, far, z, "")
		v := must(far.Create(vls.TCP, false))(t)
		is(t, far.Connect(v, netip.AddrPortFrom(endpoint.Addr(), 6000)), syscall.ECONNREFUSED)
	})
}

// A close in one process ends the waits of its own threads, and nothing of the
// other process's.
func TestForkCloseWakes(t *testing.T) {
	both(t, func(t *testing.T, app vls.App) {
		p, th := process(t, app)
		_, far := process(t, app)
		x, y := pair(t, th, far)
		l := listen(t, th, netip.AddrPortFrom(endpoint.Addr(), 6000))
		set := must(th.EpollCreate())(t)
		child := must(p.Fork())(t)
		c := child.NewThread()

		type end struct {
			who string
			err error
		}
		ends := make(chan end, 10)
		wait := func(who string, f func() error) { go func() { ends <- end{who, f()} }() }
		buf := make([]byte, 10)
		wait("read", func() error { _, err := p.NewThread().Read(x, buf); return err })
		wait("accept", func() error { _, _, err := p.NewThread().Accept(l, 0); return err })
		wait("epoll_wait", func() error {
			_, err := p.NewThread().EpollWait(set, make([]vls.EpollEvent, 1), -1)
			return err
		})
		wait("poll", func() error {
			fds := []vls.PollFD{{Handle: x, Events: core.EPOLLIN}}
			_, err := p.NewThread().Poll(fds, -1)
			if err == nil && fds[0].Revents == core.POLLNVAL {
				return syscall.EBADFD
			}
			return err
		})
		wait("read in the child", func() error {
			read(t, child.NewThread(), x, "for the child")
			return nil
		})
		time.Sleep(20 * time.Millisecond)
		for _, h := range []vls.Handle{x, l, set} {
			check(t, th.Close(h))
		}
		for range 4 {
			e := <-ends
			// Who had not begun finds the handle stale.
			if e.err != syscall.EBADFD && (e.err != syscall.ENOTCONN || e.who == "epoll_wait") {
				t.Errorf("%s ends with %v", e.who, e.err)
			}
		}
		write(t, far, y, "for the child")
		if e := <-ends; e.err != nil || e.who != "read in the child" {
			t.Errorf("%s: %v", e.who, e.err)
		}
		write(t, c, x, "unharmed")
		read(t, far, y, "unharmed")
	})
}
