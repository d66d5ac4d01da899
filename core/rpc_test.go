package core

import (
	"net/netip"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// guard ends a test that hangs.
func guard(t *testing.T, what string) {
	t.Helper()
	w := time.AfterFunc(60*time.Second, func() { panic("hangs: " + what) })
	t.Cleanup(func() { w.Stop() })
}

// attachFor makes an application in each wait mode, with workers of one thread
// each, that answer calls with rpc.
func eachWait(t *testing.T, workers int, cfg Config, rpc func(t *Thread, c *Call), f func(t *testing.T, ths []*Thread)) {
	for _, wait := range []Wait{Park, Adaptive, Spin} {
		t.Run(wait.String(), func(t *testing.T) {
			guard(t, t.Name())
			cfg := cfg
			cfg.Wait, cfg.SegmentSize, cfg.RxFifoSize, cfg.TxFifoSize = wait, 16<<20, 16<<10, 16<<10
			a, err := New(cfg, Hooks{RPC: rpc})
			if err != nil {
				t.Fatal(err)
			}
			defer a.Close()
			var ths []*Thread
			for range workers {
				w, err := a.NewWorker()
				if err != nil {
					t.Fatal(err)
				}
				th, err := w.NewThread(nil)
				if err != nil {
					t.Fatal(err)
				}
				ths = append(ths, th)
			}
			f(t, ths)
		})
	}
}

func double(_ *Thread, c *Call) {
	if c.Kind != 7 {
		c.Err = syscall.EBADFD
		return
	}
	c.Out = 2 * c.Arg
}

// Workers that all ask each other at once are all answered, rightly.
func TestCallEachOther(t *testing.T) {
	const n, each = 4, 300
	eachWait(t, n, Config{}, double, func(t *testing.T, ths []*Thread) {
		rounds := each
		if ths[0].w.app.cfg.Wait == Spin {
			ths, rounds = ths[:2], 30
		}
		var left atomic.Int32
		left.Store(int32(len(ths)))
		done := make(chan error, n)
		for i, th := range ths {
			go func() {
				for k := range rounds {
					c := Call{Kind: 7, Arg: uint64(k)}
					if err := th.Call(uint32((i+1+k%(len(ths)-1))%len(ths)), &c, -1); err != nil || c.Out != 2*uint64(k) {
						t.Errorf("call %d of %d: %v, %v; want %d", k, i, c.Out, err, 2*k)
						break
					}
				}
				for left.Add(-1); left.Load() > 0; time.Sleep(50 * time.Microsecond) {
					th.Serve()
				}
				done <- th.Call(ths[0].w.index, &Call{}, 0)
			}()
		}
		for range ths {
			<-done
		}
	})
}

func TestCallErrors(t *testing.T) {
	eachWait(t, 2, Config{}, nil, func(t *testing.T, ths []*Thread) {
		a, b := ths[0], ths[1]
		for to, want := range map[uint32]error{0: syscall.EINVAL, 9: syscall.ESRCH, 255: syscall.ESRCH, 1 << 20: syscall.ESRCH, 1: syscall.ETIMEDOUT} {
			if err := a.Call(to, &Call{}, time.Millisecond); err != want {
				t.Errorf("call to %d: %v, want %v", to, err, want)
			}
		}
		over := make(chan error)
		go func() { over <- a.Call(1, &Call{}, -1) }()
		for answered := false; !answered; {
			b.Serve()
			select {
			case err := <-over:
				if err != syscall.ENOTSUP {
					t.Errorf("call without a hook: %v, want ENOTSUP", err)
				}
				answered = true
			default:
			}
		}
	})
}

// A call that has timed out is never answered, though its event is still there
// and its slot is used again.
func TestCallLate(t *testing.T) {
	var served []uint64
	eachWait(t, 2, Config{}, func(_ *Thread, c *Call) { served = append(served, c.Arg); c.Out = c.Arg }, func(t *testing.T, ths []*Thread) {
		a, b := ths[0], ths[1]
		served = nil
		for i := range uint64(5) {
			if err := a.Call(1, &Call{Arg: i}, time.Millisecond); err != syscall.ETIMEDOUT {
				t.Fatalf("call of a worker that sleeps: %v, want ETIMEDOUT", err)
			}
		}
		over := make(chan error)
		c := Call{Arg: 77}
		go func() { over <- a.Call(1, &c, -1) }()
		for served == nil {
			b.Serve()
		}
		if err := <-over; err != nil || c.Out != uint64(77) || len(served) != 1 || served[0] != 77 {
			t.Fatalf("%v, answer %v; answered was %v, want 77 alone", err, c.Out, served)
		}
	})
}

// A call whose answer is not wanted any more is withdrawn, unless it is being
// answered.
func TestCallWhile(t *testing.T) {
	var served atomic.Uint32
	eachWait(t, 2, Config{}, func(*Thread, *Call) { served.Add(1) }, func(t *testing.T, ths []*Thread) {
		a, b := ths[0], ths[1]
		served.Store(0)
		for range 20 {
			var moved atomic.Bool
			over := make(chan error)
			go func() { over <- a.Call(1, &Call{While: func() bool { return !moved.Load() }}, -1) }()
			for !b.w.mq.Pending() {
				time.Sleep(10 * time.Microsecond)
			}
			moved.Store(true)
			b.Nudge(a.w.index)
			if err := <-over; err != syscall.ECANCELED {
				t.Fatalf("%v, want ECANCELED", err)
			}
			b.Serve()
		}
		if n := served.Load(); n != 0 {
			t.Errorf("%d calls were answered that were withdrawn", n)
		}
		over := make(chan error)
		go func() { over <- a.Call(1, &Call{While: func() bool { return served.Load() == 0 }}, -1) }()
		for served.Load() == 0 {
			b.Serve()
		}
		if err := <-over; err != nil {
			t.Errorf("%v, and it was answered", err)
		}
	})
}

// A worker that goes ends the calls to it; so does one that is gone.
func TestCallGone(t *testing.T) {
	eachWait(t, 2, Config{}, double, func(t *testing.T, ths []*Thread) {
		a, b := ths[0], ths[1]
		over := make(chan error)
		go func() { over <- a.Call(1, &Call{Kind: 7}, -1) }()
		time.Sleep(time.Millisecond)
		b.w.Close(b)
		if err := <-over; err != syscall.ESRCH {
			t.Errorf("call to a worker that went: %v, want ESRCH", err)
		}
		if err := a.Call(1, &Call{Kind: 7}, -1); err != syscall.ESRCH {
			t.Errorf("call to a worker that is gone: %v, want ESRCH", err)
		}
		w, err := a.w.app.NewWorker()
		if err != nil || w.index != 1 {
			t.Fatalf("worker %v, %v; want the one that was given back", w, err)
		}
		if err := a.Call(1, &Call{Kind: 7}, time.Millisecond); err != syscall.ETIMEDOUT {
			t.Errorf("call to a new worker that does not look: %v, want ETIMEDOUT", err)
		}
	})
}

// A call whose event finds no room is found all the same.
func TestCallOverrun(t *testing.T) {
	eachWait(t, 2, Config{EventQueueSize: 16}, double, func(t *testing.T, ths []*Thread) {
		a, b := ths[0], ths[1]
		s, err := b.Create(TCP, false)
		if err != nil {
			t.Fatal(err)
		}
		for range 40 {
			a.post(s.handle, EventRx)
		}
		over := make(chan error)
		c := Call{Kind: 7, Arg: 4}
		go func() { over <- a.Call(1, &c, -1) }()
		for {
			b.Serve()
			select {
			case err := <-over:
				if err != nil || c.Out != uint64(8) {
					t.Errorf("%v, %v; want 8", c.Out, err)
				}
				return
			default:
			}
		}
	})
}

func local(port uint16) Endpoint {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)
}

// connected is a connection from a thread to another.
func connectedPair(t *testing.T, a, b *Thread, port uint16) (x, y *Session) {
	t.Helper()
	l, err := b.Create(TCP, false)
	if err == nil {
		err = b.Bind(l, local(port))
	}
	if err == nil {
		err = b.Listen(l, 4)
	}
	if err == nil {
		x, err = a.Create(TCP, false)
	}
	if err == nil {
		err = a.Connect(x, local(port))
	}
	if err == nil {
		y, err = b.Accept(l, 0)
	}
	if err == nil {
		err = b.Close(l)
	}
	if err != nil {
		t.Fatal(err)
	}
	return x, y
}

// What a worker is told it has in order, whether it sleeps meanwhile or not, as
// often as it was told; what does not fit it is not told.
func TestTell(t *testing.T) {
	var told []uint64
	hook := func(_ *Thread, c *Call) {
		if c.Kind != Told {
			c.Err = syscall.EBADFD
			return
		}
		told = append(told, c.Arg)
	}
	eachWait(t, 2, Config{EventQueueSize: 64}, hook, func(t *testing.T, ths []*Thread) {
		a, b := ths[0], ths[1]
		told = nil
		n := uint64(0)
		for a.Tell(1, n) {
			n++
		}
		if n == 0 || a.Tell(9, 0) || a.Tell(255, 0) || a.Tell(257, 0) {
			t.Fatalf("%d fit, and workers are told that there are not", n)
		}
		b.Serve()
		done := make(chan struct{})
		go func() {
			b.Await(func() bool { return uint64(len(told)) == n+1 }, -1)
			close(done)
		}()
		time.Sleep(time.Millisecond)
		if !a.Tell(1, n) {
			t.Fatal("a queue that was emptied has no room")
		}
		a.Nudge(1)
		<-done
		for i, v := range told {
			if v != uint64(i) {
				t.Fatalf("told %v, want 0 to %d in order", told, n)
			}
		}
	})
}
