package core

import (
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"vlsbench/hw"
)

// aside is a configuration with the session layer on a thread of its own.
func aside(t *testing.T) Config {
	t.Helper()
	allowed, err := hw.Allowed()
	if err != nil {
		t.Fatal(err)
	}
	cpus := allowed.List()
	return Config{SessionThread: true, SessionCPU: cpus[len(cpus)-1]}
}

func TestServiceRefusesCPU(t *testing.T) {
	_, err := New(Config{SegmentSize: 1 << 20, SessionThread: true, SessionCPU: 100_000}, Hooks{})
	if err == nil || !strings.Contains(err.Error(), "100000") {
		t.Fatalf("error %v, want one that names cpu 100000", err)
	}
}

// What the session layer answers is the same on a thread of its own, and comes
// by an event.
func TestServiceConnects(t *testing.T) {
	eachWait(t, 2, aside(t), nil, func(t *testing.T, ths []*Thread) {
		a, b := ths[0], ths[1]
		for i := range 20 {
			x, y := connectedPair(t, a, b, uint16(1000+i))
			if n, err := a.Write(x, []byte("hello")); n != 5 || err != nil {
				t.Fatal(n, err)
			}
			if n, err := b.Read(y, make([]byte, 9)); n != 5 || err != nil {
				t.Fatal(n, err)
			}
			if x.Local() != y.Remote() || x.Remote() != y.Local() || !x.Local().IsValid() {
				t.Fatalf("%v to %v, and %v to %v", x.Local(), x.Remote(), y.Local(), y.Remote())
			}
			a.Close(x)
			b.Close(y)
		}
		l, _ := b.Create(TCP, true)
		b.Bind(l, local(1100))
		if err := b.Listen(l, 1); err != nil {
			t.Fatal(err)
		}
		dup, _ := a.Create(TCP, true)
		a.Bind(dup, local(1100))
		if err := a.Listen(dup, 1); err != syscall.EADDRINUSE {
			t.Fatalf("listen at a taken endpoint: %v, want EADDRINUSE", err)
		}
		c, _ := a.Create(TCP, false)
		if err := a.Connect(c, local(1101)); err != syscall.ECONNREFUSED {
			t.Fatalf("connect to nobody: %v, want ECONNREFUSED", err)
		}
		if err := a.Connect(c, local(1100)); err != nil {
			t.Fatal(err)
		}

		set, _ := a.EpollCreate()
		for _, ok := range []bool{true, false} {
			n, _ := a.Create(TCP, true)
			if err := a.EpollCtl(set, EPOLL_CTL_ADD, n, &EpollEvent{Events: EPOLLOUT}); err != nil {
				t.Fatal(err)
			}
			if ok {
				if _, err := b.Accept(l, 0); err != nil {
					t.Fatal(err)
				}
			}
			if err := a.Connect(n, local(1100)); err != syscall.EINPROGRESS {
				t.Fatalf("connect: %v, want EINPROGRESS", err)
			}
			want := uint32(EPOLLOUT)
			if !ok {
				want = EPOLLOUT | EPOLLERR | EPOLLHUP
			}
			evs := make([]EpollEvent, 2)
			if k, err := a.EpollWait(set, evs, -1); k != 1 || err != nil || evs[0].Events != want {
				t.Fatalf("%d, %v, events %#x; want %#x", k, err, evs[0].Events, want)
			}
			a.Close(n)
		}
	})
}

// stalled is an application whose session layer does not answer before it is
// let.
func stalled(t *testing.T, timeout time.Duration) (th *Thread, resume func()) {
	t.Helper()
	guard(t, t.Name())
	a, err := New(Config{SegmentSize: 1 << 20, SessionTimeout: timeout, Wait: Park}, Hooks{})
	if err != nil {
		t.Fatal(err)
	}
	w, err := a.NewWorker()
	if err != nil {
		t.Fatal(err)
	}
	if th, err = w.NewThread(nil); err != nil {
		t.Fatal(err)
	}
	y := &service{stopped: make(chan struct{})}
	if err := w.InitThread(&y.t, nil); err != nil {
		t.Fatal(err)
	}
	a.layer.service = y
	started := false
	resume = func() {
		if !started {
			started = true
			go func() { y.run(Park, nil); close(y.stopped) }()
		}
	}
	t.Cleanup(func() { resume(); a.Close() })
	return th, resume
}

// While the answer is awaited the session is UPDATED; it can be closed, and is
// not connected twice; what comes too late comes to nothing.
func TestServiceUnderWay(t *testing.T) {
	th, resume := stalled(t, minTimeout)
	l, _ := th.Create(TCP, true)
	th.Bind(l, local(1200))
	if err := th.Listen(l, 1); err != syscall.ETIMEDOUT {
		t.Fatalf("listen: %v, want ETIMEDOUT", err)
	}
	c, _ := th.Create(TCP, false)
	if err := th.Connect(c, local(1200)); err != syscall.ETIMEDOUT || c.State() != StateClosed {
		t.Fatalf("connect: %v, %v; want ETIMEDOUT, CLOSED", err, c.State())
	}
	var cs [4]*Session
	for i := range cs {
		cs[i], _ = th.Create(TCP, true)
		if err := th.Connect(cs[i], local(1200)); err != syscall.EINPROGRESS || cs[i].State() != StateUpdated {
			t.Fatalf("connect: %v, %v; want EINPROGRESS, UPDATED", err, cs[i].State())
		}
		for _, err := range []error{
			th.Connect(cs[i], local(1200)), th.Listen(cs[i], 1), th.Bind(cs[i], local(1201)), th.Shutdown(cs[i], syscall.SHUT_WR),
		} {
			if err == nil {
				t.Error("an operation on a session that is connecting succeeds")
			}
		}
		if err := th.Connect(cs[i], local(1200)); err != syscall.EALREADY {
			t.Errorf("connect again: %v, want EALREADY", err)
		}
	}
	th.Close(cs[0]) // before the answer
	// From here on it answers, as soon as it gets to run.
	th.w.app.cfg.SessionTimeout = maxTimeout
	resume()
	for !cs[1].dial.is(reqDone) {
		time.Sleep(time.Millisecond)
	}
	th.Close(cs[1]) // after it, but nobody has looked
	th.Serve()
	for _, c := range cs[2:] {
		for c.State() == StateUpdated {
			th.Serve()
			time.Sleep(time.Millisecond)
		}
		if e := syscall.Errno(c.err.Load()); e != syscall.ECONNREFUSED {
			t.Errorf("the connect ended with %v, want ECONNREFUSED", e)
		}
	}
	// From here on it answers, however busy the machine is.
	th.w.app.cfg.SessionTimeout = time.Hour
	// The listen that timed out did not take the endpoint.
	if err := th.Listen(l, 8); err != nil {
		t.Fatalf("listen again: %v", err)
	}
	used := th.w.app.seg.Used()
	for range 100 {
		n, _ := th.Create(TCP, true)
		th.Connect(n, local(1200))
		th.Close(n)
		if s, err := th.Accept(l, 0); err == nil {
			th.Close(s)
		}
	}
	for { // those that are on their way
		if s, err := th.Accept(l, 0); err == nil {
			th.Close(s)
		} else if th.w.app.layer.service.asked.Load() == nil {
			break
		}
	}
	if now := th.w.app.seg.Used(); now > used+100*fifoBlocks {
		t.Errorf("%d bytes are used, %d were before", now, used)
	}
}

// fifoBlocks is more than two fifos without data take.
const fifoBlocks = 4096

// A thread that waits for the session layer holds nothing, and a close ends its
// operation.
func TestServiceWaitHoldsNothing(t *testing.T) {
	var inside atomic.Int32
	th, resume := stalled(t, time.Minute)
	hooks := &th.w.app.hooks
	slept := make(chan struct{}, 2)
	hooks.Sleep = func(*Thread, *Session) { inside.Add(-1); slept <- struct{}{} }
	hooks.Woke = func(*Thread, *Session) bool { inside.Add(1); return true }
	for _, op := range []string{"connect", "listen"} {
		s, _ := th.Create(TCP, false)
		th.Bind(s, local(1300))
		inside.Store(1)
		over := make(chan error)
		go func() {
			if op == "listen" {
				over <- th.Listen(s, 1)
			} else {
				over <- th.Connect(s, local(1300))
			}
		}()
		<-slept
		if n := inside.Load(); n != 0 {
			t.Fatalf("%s: the hook Sleep was called %d times too few", op, n)
		}
		o, err := th.w.NewThread(nil)
		if err != nil {
			t.Fatal(err)
		}
		o.Close(s)
		if op == "listen" {
			resume()
		}
		if err := <-over; err != syscall.ENOTCONN {
			t.Fatalf("%s: %v, want ENOTCONN", op, err)
		}
		o.Exit()
	}
	if l := th.w.app.layer.lookup(local(1300)); l != nil {
		t.Error("a listener that was closed before the answer came listens")
	}
}
