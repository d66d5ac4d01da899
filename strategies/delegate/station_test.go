package delegate

import (
	"net/netip"
	"reflect"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"vlsbench/core"
	"vlsbench/hw"
	"vlsbench/vls"
)

// limit is when a watchdog ends a test, hundreds of times what any takes.
const limit = 30 * time.Second

// watched runs f, which may hang.
func watched(t *testing.T, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(limit):
		buf := make([]byte, 1<<20)
		t.Fatalf("it hangs:\n%s", buf[:runtime.Stack(buf, true)])
	}
}

// world is a process with some threads, of which the first owns the two ends of a
// connection.
type world struct {
	*testing.T
	p    *process
	ths  []*thread
	x, y vls.Handle
}

func newWorld(t *testing.T, threads int, nonblocking bool) *world {
	t.Helper()
	w := &world{T: t}
	a, err := New(vls.Options{Config: core.Config{Wait: core.Park, SegmentSize: 16 << 20, RxFifoSize: 16 << 10, TxFifoSize: 16 << 10}})
	w.no(err)
	p, err := a.NewProcess()
	w.no(err)
	w.p = p.(*process)
	for range threads {
		w.ths = append(w.ths, w.thread())
	}
	w.x, w.y = w.pair(w.ths[0], 80, nonblocking)
	t.Cleanup(func() {
		if t.Failed() {
			return // somebody may be in a call
		}
		w.no(p.Exit())
		if u := a.(*app).Usage(); u.Sessions != 0 {
			t.Errorf("%d sessions are left", u.Sessions)
		}
		w.no(a.Close())
	})
	return w
}

func (w *world) no(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) thread() *thread {
	t := w.p.newThread()
	w.no(t.Register())
	return t
}

func (w *world) pair(t *thread, port uint16, nonblocking bool) (x, y vls.Handle) {
	w.Helper()
	ep := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)
	l, err := t.Create(vls.TCP, false)
	w.no(err)
	w.no(t.Bind(l, ep))
	w.no(t.Listen(l, 1))
	x, err = t.Create(vls.TCP, nonblocking)
	w.no(err)
	if err := t.Connect(x, ep); err != syscall.EINPROGRESS {
		w.no(err)
	}
	flags := 0
	if nonblocking {
		flags = syscall.O_NONBLOCK
	}
	y, _, err = t.Accept(l, flags)
	w.no(err)
	w.no(t.Close(l))
	return x, y
}

// untilPosted waits until somebody has posted to a station.
func (st *station) untilPosted() {
	for head := st.word.Load(); head == nil || head == held || head == biased; head = st.word.Load() {
		runtime.Gosched()
	}
}

// Who is in a station does what was posted there before it leaves, in order.
func TestHolderServes(t *testing.T) {
	w := newWorld(t, 3, true)
	watched(t, func() {
		owner := w.ths[0]
		st := &owner.st
		// By the word: nothing is posted to an owner that is in by its mark.
		if !st.enter(w.ths[1], &w.ths[1].outer) {
			t.Error("nobody is in, and one is not let in")
		}
		var joined sync.WaitGroup
		for i, th := range []*thread{owner, w.ths[2]} {
			joined.Go(func() {
				if n, err := th.Write(w.x, []byte{byte('a' + i)}); n != 1 || err != nil {
					t.Errorf("write: %d, %v", n, err)
				}
			})
			before := st.word.Load()
			for st.word.Load() == before {
				runtime.Gosched()
			}
		}
		st.leave(w.ths[1])
		// Nobody has to have run since but this thread.
		buf := make([]byte, 4)
		if n, err := w.ths[1].Read(w.y, buf); err != nil || string(buf[:n]) != "ab" {
			t.Errorf("read %q, %v: want what was posted", buf[:n], err)
		}
		joined.Wait()
	})
}

// One holder does no more than its share, and the rest is done all the same.
func TestHolderLeaves(t *testing.T) {
	defer func(m int) { most = m }(most)
	most = 2
	w := newWorld(t, 6, true)
	watched(t, func() {
		st := &w.ths[0].st
		st.enter(w.ths[0], &w.ths[0].outer) // by its mark
		st.leave(w.ths[0])
		st.enter(w.ths[1], &w.ths[1].outer)
		var joined sync.WaitGroup
		for _, th := range w.ths[1:] {
			joined.Go(func() {
				if _, err := th.Write(w.x, []byte{1}); err != nil {
					t.Error(err)
				}
			})
			before := st.word.Load()
			for st.word.Load() == before {
				runtime.Gosched()
			}
		}
		served := 0
		var rest list
		st.take(&rest)
		st.serve(&rest, &served)
		// As leave goes on.
		st.word.Store(nil)
		left := 0
		for x := rest.pop(); x != nil; x = rest.pop() {
			left++
			x.tell(again)
		}
		if served != 2 || left != 3 {
			t.Errorf("did %d of 5, and %d are to come", served, left)
		}
		joined.Wait()
		buf := make([]byte, 8)
		if n, _ := w.ths[0].Read(w.y, buf); n != 5 {
			t.Errorf("%d of 5 were done", n)
		}
	})
}

// An owner that is doing nothing delays nobody, and neither does one that is gone:
// its sessions are whose who uses them.
func TestOwnerIdle(t *testing.T) {
	w := newWorld(t, 2, true)
	watched(t, func() {
		owner, other := w.ths[0], w.ths[1]
		buf := make([]byte, 4)
		write := func(th *thread) {
			t.Helper()
			if n, err := th.Write(w.x, []byte{1}); n != 1 || err != nil {
				t.Errorf("write: %d, %v", n, err)
			}
			if n, err := th.Read(w.y, buf); n != 1 || err != nil {
				t.Errorf("read: %d, %v", n, err)
			}
		}
		at := func() *station { return w.p.find(core.Handle(w.x).Index()).at.Load() }
		write(owner)
		write(other)
		if at() != &owner.st {
			t.Error("a session has changed its owner, who is there")
		}
		if hw.MembarrierAvailable() {
			if owner.st.word.Load() == biased {
				t.Error("a station is biased that another has just been in")
			}
			for range calm {
				write(owner)
			}
			if owner.st.word.Load() != biased {
				t.Error("a station is not biased whose owner has been alone for long")
			}
		}
		write(other)
		w.no(owner.Exit())
		write(other)
		if at() != &other.st {
			t.Error("what has no owner any more is not whose who uses it")
		}
		// The owner comes again, and is another's guest.
		write(owner)
		if at() != &other.st {
			t.Error("a session has changed its owner, who is there")
		}
		w.no(owner.Exit())
	})
}

// A session belongs to the thread that uses it often and alone, in between to
// whom it belonged.
func TestGuestStays(t *testing.T) {
	w := newWorld(t, 3, true)
	watched(t, func() {
		at := func() *station { return w.p.find(core.Handle(w.x).Index()).at.Load() }
		use := func(th *thread, times int) {
			for range times {
				if _, err := th.Attr(w.x, core.GetNwrite, make([]byte, 4)); err != nil {
					t.Fatal(err)
				}
			}
		}
		owner, guest := w.ths[0], w.ths[1]
		for _, between := range []func(){
			func() { use(w.ths[2], 1) },
			func() { use(owner, 1) },
			func() {
				for range calm {
					owner.Write(w.y, nil)
				}
				owner.Write(w.x, nil) // by its mark
			},
			func() {
				for range calm {
					owner.Write(w.y, nil)
				}
				owner.Read(w.x, nil)
			},
		} {
			use(guest, stays-1)
			between()
			use(guest, stays-1)
			if at() != &owner.st {
				t.Fatal("a session has a new owner, who was not alone with it")
			}
			between()
		}
		use(guest, stays)
		if at() != &guest.st {
			t.Error("a session does not belong to the only one who uses it")
		}
		use(guest, stays)
		use(owner, stays)
		if at() != &owner.st {
			t.Error("a session does not go back to who uses it")
		}
	})
}

// A read that has to wait does not keep who makes it for another.
func TestPostedWait(t *testing.T) {
	w := newWorld(t, 3, false)
	watched(t, func() {
		owner, other := w.ths[0], w.ths[1]
		st := &owner.st
		st.enter(w.ths[2], &w.ths[2].outer)
		var joined sync.WaitGroup
		joined.Go(func() {
			buf := make([]byte, 4)
			if n, err := other.Read(w.y, buf); n != 1 || err != nil {
				t.Errorf("read: %d, %v", n, err)
			}
		})
		st.untilPosted()
		st.leave(w.ths[2]) // it comes back
		if n, err := owner.Write(w.x, []byte{1}); n != 1 || err != nil {
			t.Errorf("write: %d, %v", n, err)
		}
		joined.Wait()

		// A write in parts, each posted, or not, as it comes.
		p := make([]byte, 100<<10)
		for i := range p {
			p[i] = byte(i * 7)
		}
		joined.Go(func() {
			if n, err := other.Write(w.x, p); n != len(p) || err != nil {
				t.Errorf("write: %d, %v", n, err)
			}
		})
		buf := make([]byte, 3000)
		for i := 0; i < len(p); {
			n, err := owner.Read(w.y, buf)
			if err != nil {
				t.Error(err)
				break
			}
			for _, b := range buf[:n] {
				if b != byte(i*7) {
					t.Fatalf("byte %d is wrong", i)
				}
				i++
			}
		}
		joined.Wait()
	})
}

// A thread that dies inside its station takes its own sessions with it, and keeps
// nobody from anything else.
func TestOwnerDiesInside(t *testing.T) {
	w := newWorld(t, 2, true)
	watched(t, func() {
		dead, other := w.ths[0], w.ths[1]
		dead.st.enter(dead, &dead.outer)
		x, y := w.pair(other, 81, true)
		if n, err := other.Write(x, []byte{1}); n != 1 || err != nil {
			t.Errorf("write: %d, %v", n, err)
		}
		set, err := other.EpollCreate()
		w.no(err)
		w.no(other.EpollCtl(set, core.EPOLL_CTL_ADD, y, &vls.EpollEvent{Events: core.EPOLLIN}))
		if n, err := other.EpollWait(set, make([]vls.EpollEvent, 1), -1); n != 1 || err != nil {
			t.Errorf("wait: %d, %v", n, err)
		}
		if n, err := other.Poll([]vls.PollFD{{Handle: y, Events: core.EPOLLIN}, {Handle: w.x, Events: core.EPOLLOUT}}, 0); n != 2 || err != nil {
			t.Errorf("poll: %d, %v", n, err)
		}
		w.no(other.Close(x))
		if err := other.Close(x); err != syscall.EBADFD {
			t.Errorf("close of what was closed: %v", err)
		}
		dead.st.leave(dead) // so that the test can end
	})
}

// Threads that post to one station, and sleep at once, all are told, four to a
// core.
func TestPostsLoseNoWakeup(t *testing.T) {
	defer func(p, m int) { patience, most = p, m }(patience, most)
	patience, most = 0, 3
	threads := 4 * runtime.NumCPU()
	w := newWorld(t, threads, true)
	const each = 50_000
	watched(t, func() {
		var joined sync.WaitGroup
		var read atomic.Int64
		for i, th := range w.ths {
			joined.Go(func() {
				buf := make([]byte, 256)
				full := false
				for n := 0; n < each; {
					if n%2 == 0 || full {
						if m, err := th.Read(w.y, buf); err == nil {
							read.Add(int64(m))
						} else if err != syscall.EWOULDBLOCK {
							t.Error(err)
							return
						}
					}
					_, err := th.Write(w.x, []byte{1})
					switch full = err == syscall.EWOULDBLOCK; {
					case err == nil:
						n++
					case !full:
						t.Error(err)
						return
					}
					if n%64 == i {
						h, err := th.Create(vls.TCP, true)
						if err != nil {
							t.Error(err)
							return
						}
						w.no(th.Close(h))
					}
				}
			})
		}
		joined.Wait()
		buf := make([]byte, 32<<10)
		for {
			n, err := w.ths[0].Read(w.y, buf)
			if err != nil {
				break
			}
			read.Add(int64(n))
		}
		if n := read.Load(); n != int64(threads*each) {
			t.Errorf("%d bytes of %d came", n, threads*each)
		}
	})
}

// What is shared by fork has one station for all, which is never biased again.
func TestForkSharesStation(t *testing.T) {
	w := newWorld(t, 2, true)
	watched(t, func() {
		vp, err := w.p.Fork()
		w.no(err)
		child := vp.(*process)
		th := child.newThread()
		for i := range 2 * calm {
			who := w.ths[0]
			if i < 10 {
				who = th
			}
			if n, err := who.Write(w.x, []byte{1}); n != 1 || err != nil {
				t.Fatalf("write: %d, %v", n, err)
			}
			if n, err := who.Read(w.y, make([]byte, 1)); n != 1 || err != nil {
				t.Fatalf("read: %d, %v", n, err)
			}
		}
		index := core.Handle(w.x).Index()
		if st := child.find(index).at.Load(); st != &w.ths[0].st || w.p.find(index).at.Load() != st {
			t.Error("the processes do not agree on the station")
		} else if st.word.Load() == biased {
			t.Error("the station of what is shared is biased")
		}
		w.no(th.Exit())
		w.no(child.Exit())
	})
}

// An operation on a session of another costs no memory.
func TestPostsDoNotAllocate(t *testing.T) {
	w := newWorld(t, 2, true)
	buf := make([]byte, 64)
	other := w.ths[1]
	if n := testing.AllocsPerRun(1000, func() {
		other.Write(w.x, buf)
		other.Read(w.y, buf)
	}); n != 0 {
		t.Errorf("a write and a read take memory %v times", n)
	}
}

// What others write is apart from what a thread writes alone, and from what yet
// others write.
func TestLayout(t *testing.T) {
	th := reflect.TypeFor[thread]()
	end := func(name string, last int) uintptr {
		f, _ := th.FieldByName(name)
		x := f.Type.Field(f.Type.NumField() - 1 - last)
		return f.Offset + x.Offset + x.Type.Size()
	}
	start := func(name string) uintptr {
		f, _ := th.FieldByName(name)
		return f.Offset
	}
	fds, _ := th.FieldByName("fds")
	for _, c := range []struct {
		what      string
		ends, has uintptr
	}{
		{"the thread's own and its station", fds.Offset + fds.Type.Size(), start("st")},
		{"the station and the first slot", end("st", 1), start("outer")},
		{"the first slot and the second", end("outer", 1), start("inner")},
		{"the second slot and what follows", end("inner", 1), th.Size()},
	} {
		if c.has < c.ends+hw.FalseSharing-32 {
			t.Errorf("%s are %d bytes apart", c.what, c.has-c.ends)
		}
	}
	pr := reflect.TypeFor[process]()
	last, _ := pr.FieldByName("threads")
	if main, _ := pr.FieldByName("main"); main.Offset < last.Offset+last.Type.Size()+hw.FalseSharing {
		t.Errorf("a process's own and its station are %d bytes apart", main.Offset-last.Offset-last.Type.Size())
	}
}
