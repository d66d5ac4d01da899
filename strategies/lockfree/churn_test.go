package lockfree_test

import (
	"flag"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"vlsbench/core"
	"vlsbench/strategies/lockfree"
	"vlsbench/vls"
)

var soak = flag.Bool("soak", false, "run tests at full length")

// hangs ends the process with all stacks if the test does not end.
func hangs(t *testing.T, after time.Duration) {
	timer := time.AfterFunc(after, func() { panic(t.Name() + ": no end") })
	t.Cleanup(func() { timer.Stop() })
}

// TestStaleHandles has eight threads create and close sessions, and use what
// they and the others have closed: EBADFD each time, never another session, and
// no slot is lost.
func TestStaleHandles(t *testing.T) {
	const threads = 8
	each := 2_500
	if *soak {
		each = 1_000_000 / threads
	}
	hangs(t, 20*time.Minute)
	app, err := lockfree.New(vls.Options{Config: core.Config{Wait: core.Park, SegmentSize: 16 << 20}})
	if err != nil {
		t.Fatal(err)
	}
	defer app.Close()
	p, err := app.NewProcess()
	if err != nil {
		t.Fatal(err)
	}
	// What each has closed last, for all to try.
	var stale [threads]atomic.Uint64
	// The most that are open at once: one of each, and what is not yet let go.
	var wait sync.WaitGroup
	errs := make(chan error, threads)
	for i := range threads {
		wait.Add(1)
		go func() {
			defer wait.Done()
			th := p.NewThread()
			defer th.Exit()
			errs <- func() error {
				buf := make([]byte, 4)
				for n := range each {
					h, err := th.Create(vls.TCP, n%2 == 0)
					if err != nil {
						return err
					}
					// A mark that another session would not have.
					want := uint32(20_000 + i*1000 + n%1000)
					put(buf, want)
					if _, err := th.Attr(h, core.SetTxFifoLen, buf); err != nil {
						return fmt.Errorf("attr of %#x: %w", h, err)
					}
					for k := range stale {
						o := vls.Handle(stale[k].Load())
						if o == 0 {
							continue
						}
						for what, err := range map[string]error{
							"read":           one(th.Read(o, buf[:1])),
							"attr":           one(th.Attr(o, core.GetFlags, buf)),
							"session_handle": one(th.SessionHandle(o)),
							"close":          th.Close(o),
						} {
							if err != syscall.EBADFD {
								return fmt.Errorf("%s of %#x, which was closed: %v", what, o, err)
							}
						}
					}
					if _, err := th.Attr(h, core.GetTxFifoLen, buf); err != nil || get(buf) != want {
						return fmt.Errorf("attr of %#x: %d, %v: want %d", h, get(buf), err, want)
					}
					if err := th.Close(h); err != nil {
						return fmt.Errorf("close of %#x: %w", h, err)
					}
					stale[i].Store(uint64(h))
				}
				return nil
			}()
		}()
	}
	wait.Wait()
	for range threads {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if n := app.(interface{ Usage() core.Usage }).Usage().Sessions; n != 0 {
		t.Errorf("%d slots are not free", n)
	}
	// Slots are used again: no more were made than threads can have had.
	th := p.NewThread()
	h, err := th.Create(vls.TCP, false)
	if err != nil {
		t.Fatal(err)
	}
	if index, _, _ := th.SessionIndex(h); index > 4*threads {
		t.Errorf("a new session has index %d: want at most %d", index, 4*threads)
	}
}

func one[T any](_ T, err error) error { return err }

func put(b []byte, v uint32) { b[0], b[1], b[2], b[3] = byte(v), byte(v>>8), byte(v>>16), byte(v>>24) }

func get(b []byte) uint32 {
	return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
}

// TestBoundOfUnreclaimed: a thread that is inside a session keeps its slot, and
// nothing else, however many others close. Another thread closes the session at
// once; the peer sees the end when the last has left.
func TestBoundOfUnreclaimed(t *testing.T) {
	hangs(t, time.Minute)
	app, err := core.New(core.Config{SegmentSize: 4 << 20}, core.Hooks{Free: true})
	if err != nil {
		t.Fatal(err)
	}
	defer app.Close()
	w, err := app.NewWorker()
	if err != nil {
		t.Fatal(err)
	}
	inside, other := newThread(t, w), newThread(t, w)
	s, err := other.Create(core.TCP, false)
	if err != nil {
		t.Fatal(err)
	}
	h := s.Handle()
	other.Release(s, core.BothEnds)
	if _, err := inside.Claim(h, core.RxEnd, false); err != nil {
		t.Fatal(err)
	}
	pinned := w.Pin(h)
	if err := other.CloseHandle(h); err != nil {
		t.Fatalf("close while another is inside: %v", err)
	}
	if err := other.CloseHandle(h); err != syscall.EBADFD {
		t.Fatalf("a second close: %v, want EBADFD", err)
	}
	for range 10_000 {
		o, err := other.Create(core.TCP, false)
		if err != nil {
			t.Fatal(err)
		}
		oh := o.Handle()
		other.Release(o, core.BothEnds)
		if o == s {
			t.Fatal("the slot of a session that is looked at was used again")
		}
		if err := other.CloseHandle(oh); err != nil {
			t.Fatal(err)
		}
		if n := w.Sessions(); n != 1 {
			t.Fatalf("%d slots are not free, want 1", n)
		}
	}
	inside.Release(s, core.RxEnd)
	if n := w.Sessions(); n != 1 {
		t.Fatalf("%d slots are not free while one is pinned, want 1", n)
	}
	w.Unpin(pinned)
	if n := w.Sessions(); n != 0 {
		t.Fatalf("%d slots are not free, want 0", n)
	}
}

// TestBoundOfPins: so many entries of a Poll that waits may name one session, and
// those beyond are as if it was not there. Others find it again once the Poll is over.
func TestBoundOfPins(t *testing.T) {
	hangs(t, time.Minute)
	app, err := core.New(core.Config{SegmentSize: 4 << 20}, core.Hooks{Free: true})
	if err != nil {
		t.Fatal(err)
	}
	defer app.Close()
	w, err := app.NewWorker()
	if err != nil {
		t.Fatal(err)
	}
	th := newThread(t, w)
	s, err := th.Create(core.UDP, false)
	if err == nil {
		err = th.Bind(s, netip.MustParseAddrPort("127.0.0.1:80"))
	}
	if err != nil {
		t.Fatal(err)
	}
	th.Release(s, core.BothEnds)
	const room, beyond = 64_511, 7
	fds := make([]core.PollFD, room+beyond)
	for i := range fds {
		fds[i] = core.PollFD{Handle: s.Handle(), Events: core.EPOLLIN}
	}
	if n, err := th.Poll(fds[:room], time.Microsecond); n != 0 || err != nil {
		t.Errorf("%d entries: %d, %v; want none to have something", room, n, err)
	}
	if n, err := th.Poll(fds, -1); n != beyond || err != nil || fds[room].Revents != core.POLLNVAL || fds[room-1].Revents != 0 {
		t.Errorf("%d entries: %d, %v; want the last %d to be POLLNVAL", len(fds), n, err, beyond)
	}
	if w.Pin(s.Handle()) == nil {
		t.Fatal("the session is not found any more")
	}
	w.Unpin(s)
}

// TestClosedSetLetsGo: a set that was closed has no members, though the thread
// that is to take them out, being inside of it, is stopped there.
func TestClosedSetLetsGo(t *testing.T) {
	hangs(t, time.Minute)
	app, err := core.New(core.Config{SegmentSize: 4 << 20}, core.Hooks{Free: true})
	if err != nil {
		t.Fatal(err)
	}
	defer app.Close()
	w, err := app.NewWorker()
	if err != nil {
		t.Fatal(err)
	}
	inside, other := newThread(t, w), newThread(t, w)
	s, err := other.Create(core.TCP, false)
	if err != nil {
		t.Fatal(err)
	}
	ev := &core.EpollEvent{Events: core.EPOLLOUT}
	ctl := func(set *core.Session, op int, want error) {
		t.Helper()
		if err := other.EpollCtl(set, op, s, ev); err != want {
			t.Errorf("op %d: %v, want %v", op, err, want)
		}
	}
	var last *core.Session
	for range 3 {
		set, err := other.EpollCreate()
		if err != nil {
			t.Fatal(err)
		}
		h := set.Handle()
		other.Release(set, core.BothEnds)
		pinned := w.Pin(h)
		defer w.Unpin(pinned)
		ctl(set, core.EPOLL_CTL_MOD, syscall.ENOENT)
		ctl(set, core.EPOLL_CTL_DEL, syscall.ENOENT)
		ctl(set, core.EPOLL_CTL_ADD, nil)
		ctl(set, core.EPOLL_CTL_ADD, syscall.EEXIST)
		if last != nil {
			ctl(last, core.EPOLL_CTL_ADD, syscall.EBADFD)
			ctl(last, core.EPOLL_CTL_MOD, syscall.EBADFD)
		}
		if _, err := inside.Claim(h, core.BothEnds, false); err != nil {
			t.Fatal(err)
		}
		if err := other.CloseHandle(h); err != nil {
			t.Fatal(err)
		}
		defer inside.Release(set, core.BothEnds)
		last = set
	}
}

// TestClosedLetsEndpointGo: where a session listened, or was bound, that was closed,
// another may, though the thread that is to end it, being inside of it, is stopped
// there; and who connects finds the other or nobody. If it is shared by fork that is
// so once all have closed it.
func TestClosedLetsEndpointGo(t *testing.T) {
	hangs(t, time.Minute)
	for _, proto := range []vls.Proto{vls.TCP, vls.UDP} {
		for _, forked := range []bool{false, true} {
			t.Run(fmt.Sprintf("%v,forked=%v", proto, forked), func(t *testing.T) {
				app, err := core.New(core.Config{SegmentSize: 4 << 20}, core.Hooks{Free: true})
				if err != nil {
					t.Fatal(err)
				}
				defer app.Close()
				w, err := app.NewWorker()
				if err != nil {
					t.Fatal(err)
				}
				inside, other := newThread(t, w), newThread(t, w)
				at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 80)
				listen := func() (core.Handle, error) {
					s, err := other.Create(proto, true)
					if err != nil {
						t.Fatal(err)
					}
					defer other.Release(s, core.BothEnds)
					if err := other.Bind(s, at); err != nil {
						return s.Handle(), err
					}
					return s.Handle(), other.Listen(s, 4)
				}
				closes := func(th *core.Thread, h core.Handle) {
					t.Helper()
					if err := th.CloseHandle(h); err != nil {
						t.Fatal(err)
					}
				}
				h, err := listen()
				if err != nil {
					t.Fatal(err)
				}
				var child *core.Thread
				if forked {
					c, err := other.Fork(nil)
					if err != nil {
						t.Fatal(err)
					}
					child = newThread(t, c)
				}
				s, err := inside.Claim(h, core.BothEnds, true)
				if err != nil {
					t.Fatal(err)
				}
				closes(other, h)
				if forked {
					if o, err := listen(); err != syscall.EADDRINUSE {
						t.Errorf("listen where a child has it still: %v, want EADDRINUSE", err)
					} else {
						closes(other, o)
					}
					closes(child, h)
				}
				if proto == vls.TCP {
					c, err := other.Create(proto, false)
					if err != nil {
						t.Fatal(err)
					}
					if err := other.Connect(c, at); err != syscall.ECONNREFUSED {
						t.Errorf("connect to a closed listener: %v, want ECONNREFUSED", err)
					}
					ch := c.Handle()
					other.Release(c, core.BothEnds)
					closes(other, ch)
				}
				o, err := listen()
				if err != nil {
					t.Fatalf("listen where a closed one did: %v", err)
				}
				again, err := listen()
				if err != syscall.EADDRINUSE {
					t.Errorf("listen where another does: %v, want EADDRINUSE", err)
				}
				closes(other, again)
				// What ends late takes nothing from the other.
				inside.Release(s, core.BothEnds)
				if again, err = listen(); err != syscall.EADDRINUSE {
					t.Errorf("listen where another does, after the first has ended: %v, want EADDRINUSE", err)
				}
				closes(other, again)
				closes(other, o)
				if n := app.Usage(); n.Sessions != 0 || n.Shared != 0 {
					t.Errorf("%+v is not free", n)
				}
			})
		}
	}
}

func newThread(t *testing.T, w *core.Worker) *core.Thread {
	t.Helper()
	th, err := w.NewThread(nil)
	if err != nil {
		t.Fatal(err)
	}
	return th
}
