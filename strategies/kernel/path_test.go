package kernel_test

import (
	"syscall"
	"testing"
	"time"

	"vlsbench/core"
	"vlsbench/vls"

	"golang.org/x/sys/unix"
)

// A wait on a set allocates nothing, whether it finds something or times out, in
// whichever way.
func TestEpollWaitAllocs(t *testing.T) {
	if underRace {
		t.Skip("the race detector allocates")
	}
	both(t, func(t *testing.T, app vls.App) {
		_, th := process(t, app)
		x, y := pair(t, th, th)
		set := must(th.EpollCreate())(t)
		check(t, th.EpollCtl(set, core.EPOLL_CTL_ADD, x, &vls.EpollEvent{Events: core.EPOLLIN, Data: 1<<63 | 5}))
		evs, buf := make([]vls.EpollEvent, 8), []byte("x")
		if n := testing.AllocsPerRun(200, func() {
			if n, err := th.Write(y, buf); n != 1 || err != nil {
				t.Errorf("write: %d, %v", n, err)
			}
			for _, timeout := range []time.Duration{-1, 0, time.Hour} {
				if n, err := th.EpollWait(set, evs, timeout); n != 1 || err != nil || evs[0].Data != 1<<63|5 {
					t.Errorf("epoll_wait: %d, %v, %+v", n, err, evs[0])
				}
			}
			if n, err := th.Read(x, buf); n != 1 || err != nil {
				t.Errorf("read: %d, %v", n, err)
			}
			for _, timeout := range []time.Duration{0, 1, 20 * time.Microsecond, 1001 * time.Microsecond} {
				if n, err := th.EpollWait(set, evs, timeout); n != 0 || err != nil {
					t.Errorf("epoll_wait: %d, %v", n, err)
				}
			}
		}); n != 0 {
			t.Errorf("%v allocations, want 0", n)
		}
	})
}

// A timeout is not cut short, however short or odd it is.
func TestTimeoutsKept(t *testing.T) {
	both(t, func(t *testing.T, app vls.App) {
		_, th := process(t, app)
		set := must(th.EpollCreate())(t)
		for _, timeout := range []time.Duration{50 * time.Microsecond, 999 * time.Microsecond, 2300 * time.Microsecond} {
			for _, wait := range []func(){
				func() { must(th.EpollWait(set, make([]vls.EpollEvent, 1), timeout))(t) },
				func() { must(th.Poll(nil, timeout))(t) },
			} {
				begun := time.Now()
				wait()
				if took := time.Since(begun); took < timeout {
					t.Errorf("a wait for %v ended after %v", timeout, took)
				}
			}
		}
	})
}

// BenchmarkPair prices what the strategy adds to the two system calls of a write
// and a read of 64 B.
func BenchmarkPair(b *testing.B) {
	p, q := make([]byte, 64), make([]byte, 64)
	b.Run("strategy=none", func(b *testing.B) {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			if n, err := unix.Write(fds[0], p); n != 64 || err != nil {
				b.Fatal(n, err)
			}
			if n, err := unix.Read(fds[1], q); n != 64 || err != nil {
				b.Fatal(n, err)
			}
		}
		_ = syscall.Close(fds[0])
		_ = syscall.Close(fds[1])
	})
	for _, name := range []string{"kernel-unix", "kernel-tcp"} {
		b.Run("strategy="+name, func(b *testing.B) {
			s, err := vls.Lookup(name)
			if err != nil {
				b.Fatal(err)
			}
			app, err := s.New(vls.Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer app.Close()
			proc, err := app.NewProcess()
			if err != nil {
				b.Fatal(err)
			}
			th := proc.NewThread()
			l, err := th.Create(vls.TCP, false)
			if err != nil || th.Bind(l, endpoint) != nil || th.Listen(l, 1) != nil {
				b.Fatal("no listener")
			}
			x, err := th.Create(vls.TCP, false)
			if err != nil || th.Connect(x, endpoint) != nil {
				b.Fatal("no connection")
			}
			y, _, err := th.Accept(l, 0)
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if n, err := th.Write(x, p); n != 64 || err != nil {
					b.Fatal(n, err)
				}
				if n, err := th.Read(y, q); n != 64 || err != nil {
					b.Fatal(n, err)
				}
			}
		})
	}
}
