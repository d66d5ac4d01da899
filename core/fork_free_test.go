package core

import (
	"net/netip"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// freeWorld is two threads of a worker whose sessions are claimed, and a connection of
// theirs.
func freeWorld(t *testing.T) (a *App, w *Worker, one, two *Thread, x, y Handle) {
	t.Helper()
	a, err := New(Config{SegmentSize: 4 << 20}, Hooks{Free: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	if w, err = a.NewWorker(); err != nil {
		t.Fatal(err)
	}
	for _, th := range []**Thread{&one, &two} {
		if *th, err = w.NewThread(nil); err != nil {
			t.Fatal(err)
		}
	}
	xs, ys := connectedPair(t, one, one, 80)
	x, y = xs.Handle(), ys.Handle()
	for _, s := range []*Session{xs, ys} {
		s.flags.Or(fNonblock)
		one.Release(s, BothEnds)
	}
	return a, w, one, two, x, y
}

// Who is inside of an end while the process forks is inside of what is shared from
// then on: a child gets the other end and not that one, until it is left.
func TestForkWhileInside(t *testing.T) {
	for _, c := range []struct {
		name        string
		inside, not Ends
	}{{"reader", RxEnd, TxEnd}, {"writer", TxEnd, RxEnd}} {
		t.Run(c.name, func(t *testing.T) {
			a, w, one, two, x, _ := freeWorld(t)
			s, err := one.Claim(x, c.inside, false)
			if err != nil {
				t.Fatal(err)
			}
			cw, err := two.Fork(nil)
			if err != nil {
				t.Fatal(err)
			}
			th, err := cw.NewThread(nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range []Ends{c.inside, BothEnds} {
				if _, err := th.Claim(x, e, false); err != syscall.EWOULDBLOCK {
					t.Errorf("claim of ends %x in the child: %v, want EWOULDBLOCK", e, err)
				}
			}
			if o, err := th.Claim(x, c.not, false); err != nil {
				t.Errorf("claim of the other end in the child: %v", err)
			} else {
				th.Release(o, c.not)
			}
			one.Release(s, c.inside)
			o, err := th.Claim(x, BothEnds, false)
			if err != nil {
				t.Fatalf("claim in the child after the parent has left: %v", err)
			}
			if _, err := one.Claim(x, c.inside, false); err != syscall.EWOULDBLOCK {
				t.Errorf("claim of what the child has: %v, want EWOULDBLOCK", err)
			}
			th.Release(o, BothEnds)
			cw.Close(th)
			th.Exit()
			w.Close(one)
			if n := a.Usage(); n.Sessions != 0 || n.Shared != 0 {
				t.Errorf("%+v is not free", n)
			}
		})
	}
}

// A session that a child leaves stays open to who is inside of an end of it, and is
// left while he is.
func TestExitWhileInside(t *testing.T) {
	a, w, one, two, x, _ := freeWorld(t)
	cw, err := two.Fork(nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := one.Claim(x, RxEnd, false)
	if err != nil {
		t.Fatal(err)
	}
	th, err := cw.NewThread(nil)
	if err != nil {
		t.Fatal(err)
	}
	cw.Close(th)
	th.Exit()
	if n := len(s.sh.Load().audience.Load().who); n != 1 {
		t.Errorf("%d share the session that the child has left, want 1", n)
	}
	if o, err := two.Claim(x, TxEnd, false); err != nil {
		t.Errorf("claim of the other end: %v", err)
	} else {
		two.Release(o, TxEnd)
	}
	one.Release(s, RxEnd)
	w.Close(one)
	if n := a.Usage(); n.Sessions != 0 || n.Shared != 0 {
		t.Errorf("%+v is not free", n)
	}
}

// A listener that is closed while a fork is about to make its image is not the
// child's: another may listen there by then.
func TestForkOfWhatCloses(t *testing.T) {
	a, w, one, two, _, _ := freeWorld(t)
	listen := func() Handle {
		s, err := one.Create(TCP, true)
		if err == nil {
			err = one.Bind(s, netip.MustParseAddrPort("127.0.0.1:99"))
		}
		if err == nil {
			err = one.Listen(s, 1)
		}
		if err != nil {
			t.Fatal(err)
		}
		one.Release(s, BothEnds)
		return s.Handle()
	}
	h := listen()
	s := w.Lookup(h)
	s.flags.Or(fDialing) // for which a fork waits
	type forked struct {
		w   *Worker
		err error
	}
	done := make(chan forked)
	go func() {
		cw, err := two.Fork(nil)
		done <- forked{cw, err}
	}()
	for begin := time.Now(); s.sh.Load() == nil; runtime.Gosched() {
		if time.Since(begin) > time.Minute {
			t.Fatal("the fork does not come to the listener")
		}
	}
	if err := one.CloseHandle(h); err != nil {
		t.Fatal(err)
	}
	other := listen()
	s.flags.And(^uint32(fDialing))
	f := <-done
	if f.err != nil {
		t.Fatal(f.err)
	}
	if f.w.Lookup(h) != nil {
		t.Error("the child has a listener that was closed, at the endpoint of another")
	}
	var c Thread
	if err := f.w.InitThread(&c, nil); err != nil {
		t.Fatal(err)
	}
	// The slot is free, once.
	for range 3 {
		s, err := c.Create(TCP, true)
		if err != nil {
			t.Fatal(err)
		}
		c.Release(s, BothEnds)
	}
	f.w.Close(&c)
	c.Exit()
	if w.Lookup(other) == nil {
		t.Error("the other listener is gone")
	}
	w.Close(one)
	if n := a.Usage(); n.Sessions != 0 || n.Shared != 0 {
		t.Errorf("%+v is not free", n)
	}
}

// A set that a child has by fork is biased to a thread of the child as any session
// is: another thread finds that it is inside.
func TestForkedSetBias(t *testing.T) {
	_, _, one, two, _, _ := freeWorld(t)
	s, err := one.EpollCreate()
	if err != nil {
		t.Fatal(err)
	}
	h := s.Handle()
	one.Release(s, BothEnds)
	cw, err := two.Fork(nil)
	if err != nil {
		t.Fatal(err)
	}
	var a, b Thread
	for _, th := range []*Thread{&a, &b} {
		if err := cw.InitThread(th, nil); err != nil {
			t.Fatal(err)
		}
	}
	if s, err = a.Claim(h, RxEnd, false); err != nil {
		t.Fatal(err)
	}
	a.Release(s, RxEnd)
	if _, err := a.Claim(h, BothEnds, true); err != nil || !a.Entered() {
		t.Fatalf("claim by a bias: %v, inside by it: %v", err, a.Entered())
	}
	if o, err := b.reclaimed(h, BothEnds); err != syscall.EWOULDBLOCK {
		t.Fatalf("claim of what another is inside of: %v, want EWOULDBLOCK", err)
	} else if o.life.Load()&lifeBiased == 0 {
		t.Fatal("the bias of who is inside was ended")
	}
	a.Release(s, BothEnds)
	if o, err := b.Claim(h, BothEnds, true); err != nil {
		t.Fatal(err)
	} else {
		b.Release(o, BothEnds)
	}
}

// reclaimed claims ends, if they can be had at once.
func (t *Thread) reclaimed(h Handle, e Ends) (*Session, error) {
	sl := t.w.sessions.find(uint64(h))
	return &sl.v, t.reclaim(&sl.v, e, goesOn)
}
