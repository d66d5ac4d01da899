package locked

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"vlsbench/core"
	"vlsbench/vls"
)

// processes makes two processes of a strategy, each with a thread.
func processes(t *testing.T, name string) (p, q *process, th, peer *thread) {
	t.Helper()
	s, err := vls.Lookup(name)
	ok(t, err)
	a, err := s.New(vls.Options{Config: core.Config{Wait: core.Park, RxFifoSize: 16 << 10, TxFifoSize: 16 << 10, SegmentSize: 64 << 20}})
	ok(t, err)
	t.Cleanup(func() {
		if !t.Failed() { // or somebody may still be in a call
			ok(t, a.Close())
		}
	})
	for _, at := range []**process{&p, &q} {
		n, err := a.NewProcess()
		ok(t, err)
		*at = n.(*process)
	}
	return p, q, p.newThread(), q.newThread()
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var port atomic.Uint32

func listen(t *testing.T, th *thread) (vls.Handle, vls.Endpoint) {
	t.Helper()
	ep := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(1000+port.Add(1)))
	l, err := th.Create(vls.TCP, false)
	ok(t, err)
	ok(t, th.Bind(l, ep))
	ok(t, th.Listen(l, 4))
	return l, ep
}

// pair connects b to a.
func pair(t *testing.T, a, b *thread) (x, y vls.Handle) {
	t.Helper()
	l, ep := listen(t, a)
	y, err := b.Create(vls.TCP, false)
	ok(t, err)
	ok(t, b.Connect(y, ep))
	x, _, err = a.Accept(l, 0)
	ok(t, err)
	return x, y
}

// start runs f, and join waits for its end.
func start(t *testing.T, what string, f func()) (join func()) {
	done := make(chan bool)
	go func() { f(); close(done) }()
	return func() {
		t.Helper()
		select {
		case <-done:
		case <-time.After(30 * time.Second):
			t.Fatalf("%s hangs", what)
		}
	}
}

// settle lets what was started get to where it waits. If it does not the test
// proves less, and is no less right.
func settle() { time.Sleep(20 * time.Millisecond) }

// holders are settings whose waits keep S, beside a preset whose waits do not.
var holders = []string{
	"spoolrw", "spoolrw,hold=session", "spoolrw,hold=session,retake=yes,table=rwspin",
	"shared,hold=session,close=two-phase", "perworker,hold=session,close=two-phase",
}

// Who is about to wait on a session that it shares with a child which has died
// closes what the child held, and then waits: also if the wait keeps S.
func TestWaitBuriesSharer(t *testing.T) {
	for _, name := range holders {
		t.Run(name, func(t *testing.T) {
			p, _, th, peer := processes(t, name)
			x, y := pair(t, th, peer)
			c, err := p.Fork()
			ok(t, err)
			ok(t, c.NewThread().Register())
			ok(t, c.(vls.Mortal).Kill())
			join := start(t, "a read after the child's death", func() {
				if n, err := th.Read(x, make([]byte, 10)); n != 5 || err != nil {
					t.Errorf("read %d, %v; want 5", n, err)
				}
			})
			settle()
			_, err = peer.Write(y, []byte("hello"))
			ok(t, err)
			join()
		})
	}
}

// A child that dies in a wait has S no more, whatever its waits keep: its parent
// buries it, and has what they shared for itself.
func TestDeadHolderLeaves(t *testing.T) {
	for _, name := range holders {
		t.Run(name, func(t *testing.T) {
			p, _, th, peer := processes(t, name)
			x, y := pair(t, th, peer)
			u, v := pair(t, th, peer)
			c, err := p.Fork()
			ok(t, err)
			left := start(t, "the wait of a dead thread", func() {
				if n, err := c.NewThread().Read(x, make([]byte, 10)); n != 0 || err != syscall.ENOTCONN && err != syscall.EBADFD {
					t.Errorf("a thread of a dead process reads %d, %v", n, err)
				}
			})
			settle()
			ok(t, c.(vls.Mortal).Kill())
			join := start(t, "a read of another session", func() {
				if n, err := th.Read(u, make([]byte, 10)); n != 5 || err != nil {
					t.Errorf("read %d, %v; want 5", n, err)
				}
			})
			settle()
			_, err = peer.Write(v, []byte("hello"))
			ok(t, err)
			join()
			left()
			_, err = peer.Write(y, []byte("to who lives"))
			ok(t, err)
			if n, err := th.Read(x, make([]byte, 20)); n != 12 || err != nil {
				t.Errorf("read %d, %v; want 12", n, err)
			}
		})
	}
}

// Who waits for a session that a wait keeps lets everybody else go on: who makes
// a session, and who makes what the wait is for.
func TestWaitStopsNoOther(t *testing.T) {
	for _, name := range append(holders, "perworker,where=app,when=always,hold=session,close=two-phase") {
		t.Run(name, func(t *testing.T) {
			p, _, th, peer := processes(t, name)
			ok(t, th.Register())
			other, another, writer := p.newThread(), p.newThread(), p.newThread()
			for _, o := range []*thread{other, another, writer} {
				ok(t, o.Register())
			}
			set, err := th.EpollCreate()
			ok(t, err)
			x, y := pair(t, th, writer)
			u, v := pair(t, th, peer)
			ok(t, th.EpollCtl(set, core.EPOLL_CTL_ADD, x, &vls.EpollEvent{Events: core.EPOLLIN}))
			reads := start(t, "the read", func() { th.Read(u, make([]byte, 10)) })
			settle()
			writes := start(t, "a write of what is read", func() { other.Write(u, []byte("hey")) })
			settle()
			waits := start(t, "the wait on the set", func() { another.EpollWait(set, make([]vls.EpollEvent, 1), -1) })
			settle()
			fifth := p.newThread()
			controls := start(t, "a change of the set", func() {
				fifth.EpollCtl(set, core.EPOLL_CTL_ADD, y, &vls.EpollEvent{Events: core.EPOLLIN})
			})
			settle()
			creates := start(t, "a create beside all that", func() {
				_, err := p.newThread().Create(vls.TCP, false)
				if err != nil {
					t.Error(err)
				}
			})
			creates()
			if n, err := writer.Write(y, []byte("hello")); n != 5 || err != nil {
				t.Errorf("write %d, %v; want 5", n, err)
			}
			waits()
			controls()
			_, err = peer.Write(v, []byte("hello"))
			ok(t, err)
			reads()
			writes()
		})
	}
}

// A fork waits for a session that the wait of another thread keeps, with nothing
// held: what ends the wait may come from any process.
func TestForkBesideWait(t *testing.T) {
	for _, name := range holders {
		t.Run(name, func(t *testing.T) {
			p, _, th, peer := processes(t, name)
			ok(t, p.newThread().Register())
			x, y := pair(t, th, peer)
			reads := start(t, "the read", func() { th.Read(x, make([]byte, 10)) })
			settle()
			forks := start(t, "the fork", func() {
				if _, err := p.Fork(); err != nil {
					t.Error(err)
				}
			})
			settle()
			if n, err := peer.Write(y, []byte("hello")); n != 5 || err != nil {
				t.Errorf("write %d, %v; want 5", n, err)
			}
			reads()
			forks()
		})
	}
}

// A child is killed while its threads accept, and connections come; its parent
// buries it, and none of its threads is in its pool meanwhile.
func TestKillWhileAccepting(t *testing.T) {
	const n = 3
	rounds := 60
	if testing.Short() {
		rounds = 20
	}
	for _, name := range []string{"perworker", "spoolrw", "shared"} {
		t.Run(name, func(t *testing.T) {
			p, q, th, _ := processes(t, name)
			ok(t, th.Register())
			for range rounds {
				c, err := p.Fork()
				ok(t, err)
				var eps []vls.Endpoint
				var dead sync.WaitGroup
				for range n {
					ct := c.NewThread().(*thread)
					l, ep := listen(t, ct)
					eps = append(eps, ep)
					dead.Go(func() { ct.Accept(l, 0) })
				}
				time.Sleep(200 * time.Microsecond)
				come := start(t, "connecting to who dies", func() {
					o := q.newThread()
					for _, ep := range eps {
						if y, err := o.Create(vls.TCP, false); err == nil {
							o.Connect(y, ep)
							o.Close(y)
						}
					}
					o.Exit()
				})
				ok(t, c.(vls.Mortal).Kill())
				set, err := th.EpollCreate()
				ok(t, err)
				th.EpollWait(set, make([]vls.EpollEvent, 1), 1) // buries it
				ok(t, th.Close(set))
				come()
				start(t, "the way out of dead threads", dead.Wait)()
			}
			ok(t, th.Exit())
			ok(t, p.Exit())
			ok(t, q.Exit())
		})
	}
}

// A session that was marked, and is not closed yet, is closed for everybody: what
// looks at its flags has said so already.
func TestMarkedIsClosed(t *testing.T) {
	for _, name := range []string{"perworker", "spoolrw", "shared"} {
		_, _, th, _ := processes(t, name)
		h, err := th.Create(vls.TCP, false)
		ok(t, err)
		set, err := th.EpollCreate()
		ok(t, err)
		s := th.lookup(h).s
		th.c.BeginClose(s)
		_, err = th.SessionHandle(h)
		for what, err := range map[string]error{
			"session_handle": err,
			"bind":           th.Bind(h, netip.MustParseAddrPort("127.0.0.1:900")),
			"epoll_ctl":      th.EpollCtl(set, core.EPOLL_CTL_ADD, h, &vls.EpollEvent{}),
		} {
			if err != syscall.EBADFD {
				t.Errorf("%s: %s of a session that is marked as closing: %v, want EBADFD", name, what, err)
			}
		}
		th.c.EndClose(s)
	}
}

// A close in two phases keeps the slot until nobody is left who may have looked
// the session up before it was marked.
func TestSlotOutlivesLookUp(t *testing.T) {
	p, _, th, _ := processes(t, "spoolrw")
	ok(t, th.Register())
	reader := p.newThread()
	ok(t, reader.Register())
	h, err := th.Create(vls.TCP, false)
	ok(t, err)
	reader.rlockP()
	v := reader.lookup(h)
	closes := make(chan error, 1)
	go func() { closes <- th.Close(h) }()
	select {
	case <-closes:
		t.Error("the session is closed for good, though somebody has just looked it up")
	case <-time.After(20 * time.Millisecond):
	}
	if v == nil {
		t.Error("no session before the close")
	}
	reader.runlockP()
	if !t.Failed() {
		start(t, "close", func() {
			if err := <-closes; err != nil {
				t.Error(err)
			}
		})()
	}
}
