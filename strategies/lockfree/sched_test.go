//go:build sched

package lockfree_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"vlsbench/core"
	"vlsbench/sched"
	"vlsbench/strategies/lockfree"
	"vlsbench/vls"
)

// The tests here run threads through the points of core and fifo, one at a time,
// in schedules of the scheduler's choice: a thread that sleeps though there is
// what it waits for shows as a deadlock.

// lab is an application for one schedule.
type lab struct {
	t    *testing.T
	app  vls.App
	proc vls.Process
}

func newLab(t *testing.T) *lab {
	app, err := lockfree.New(vls.Options{Config: core.Config{Wait: core.Park, SegmentSize: 1 << 20, RxFifoSize: 4096, TxFifoSize: 4096}})
	if err != nil {
		t.Fatal(err)
	}
	p, err := app.NewProcess()
	if err != nil {
		t.Fatal(err)
	}
	return &lab{t, app, p}
}

func (l *lab) thread() vls.Thread {
	th := l.proc.NewThread()
	must(l.t, th.Register())
	return th
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func endpoint(port int) vls.Endpoint {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(port))
}

// pair is a connection from x to y, which does not block.
func (l *lab) pair(th vls.Thread, port int) (x, y vls.Handle) {
	lsn, err := th.Create(vls.TCP, false)
	must(l.t, err)
	must(l.t, th.Bind(lsn, endpoint(port)))
	must(l.t, th.Listen(lsn, 4))
	x, err = th.Create(vls.TCP, false)
	must(l.t, err)
	must(l.t, th.Connect(x, endpoint(port)))
	y, _, err = th.Accept(lsn, syscall.O_NONBLOCK)
	must(l.t, err)
	must(l.t, th.Close(lsn))
	return x, y
}

func (l *lab) end() { l.app.Close() }

// TestSchedulesEdge has edge-triggered readers of a session, who meet the claims
// of each other and of a thread that asks what there is to read, and a writer:
// none sleeps on data that is there.
func TestSchedulesEdge(t *testing.T) {
	schedules := 500
	if *soak {
		schedules = 50_000
	}
	for readers := 1; readers <= 2; readers++ {
		vain := 0
		rep := sched.Explore(t, sched.Options{Schedules: schedules, Steps: 60000}, edgeBody(t, readers, &vain))
		t.Logf("%d readers: %d schedules, the longest of %d steps, %d reads in vain", readers, rep.Schedules, rep.Longest, vain)
	}
}

func edgeBody(t *testing.T, readers int, vain *int) func(*sched.Run) {
	return func(r *sched.Run) {
		l := newLab(t)
		main := l.thread()
		x, y := l.pair(main, 80)
		set, err := main.EpollCreate()
		must(t, err)
		must(t, main.EpollCtl(set, core.EPOLL_CTL_ADD, y, &vls.EpollEvent{Events: core.EPOLLIN | core.EPOLLET, Data: 1}))
		const total = 4
		var got atomic.Int32
		writer, asker := l.thread(), l.thread()
		r.Go("writer", func() {
			for range total {
				if _, err := writer.Write(x, []byte("x")); err != nil {
					r.Fatalf("write: %v", err)
				}
			}
		})
		r.Go("asker", func() {
			var buf [4]byte
			for range 3 {
				if _, err := asker.Attr(y, core.GetNread, buf[:]); err != nil {
					r.Fatalf("attr: %v", err)
				}
			}
		})
		for i := range readers {
			th := l.thread()
			r.Go(fmt.Sprint("reader", i), func() {
				var buf [1]byte
				evs := make([]vls.EpollEvent, 4)
				for {
					switch n, err := th.Read(y, buf[:]); {
					case err == nil && n == 1:
						if got.Add(1) == total {
							th.Close(set)
						}
						continue
					case err != syscall.EWOULDBLOCK:
						r.Fatalf("read: %d, %v", n, err)
					}
					*vain++
					if _, err := th.EpollWait(set, evs, -1); err == syscall.EBADFD {
						return
					} else if err != nil {
						r.Fatalf("wait: %v", err)
					}
				}
			})
		}
		r.Check(func() {
			if got.Load() != total {
				r.Errorf("%d of %d were read", got.Load(), total)
			}
			l.end()
		})
	}
}

// TestSchedulesEdgeWrite has edge-triggered writers of a session, who meet the
// claims of each other and of a thread that asks what room there is, and a reader:
// none sleeps where there is room.
func TestSchedulesEdgeWrite(t *testing.T) {
	schedules := 500
	if *soak {
		schedules = 50_000
	}
	for writers := 1; writers <= 2; writers++ {
		vain := 0
		rep := sched.Explore(t, sched.Options{Schedules: schedules, Steps: 60000}, edgeWriteBody(t, writers, &vain))
		t.Logf("%d writers: %d schedules, the longest of %d steps, %d writes in vain", writers, rep.Schedules, rep.Longest, vain)
	}
}

func edgeWriteBody(t *testing.T, writers int, vain *int) func(*sched.Run) {
	return func(r *sched.Run) {
		l := newLab(t)
		main := l.thread()
		y, x := l.pair(main, 80)
		set, err := main.EpollCreate()
		must(t, err)
		must(t, main.EpollCtl(set, core.EPOLL_CTL_ADD, x, &vls.EpollEvent{Events: core.EPOLLOUT | core.EPOLLET, Data: 1}))
		if n, err := main.EpollWait(set, make([]vls.EpollEvent, 1), 0); n != 1 || err != nil {
			t.Fatalf("a new connection: %d events, %v", n, err)
		}
		// A third of what there is room for, so that some find none. Who is awake
		// goes on until all is written.
		const each, total = 1400, 5 * 1400
		var wrote atomic.Int32
		for i := range writers {
			th := l.thread()
			r.Go(fmt.Sprint("writer", i), func() {
				p, evs := make([]byte, each), make([]vls.EpollEvent, 1)
				for {
					switch n, err := th.Write(x, p); {
					case err == nil:
						if wrote.Add(int32(n)) >= total {
							th.Close(set)
							return
						}
						continue
					case err != syscall.EWOULDBLOCK:
						r.Fatalf("write: %d, %v", n, err)
					}
					*vain++
					if _, err := th.EpollWait(set, evs, -1); err == syscall.EBADFD {
						return
					} else if err != nil {
						r.Fatalf("wait: %v", err)
					}
				}
			})
		}
		reader, asker := l.thread(), l.thread()
		r.Go("reader", func() {
			for got, buf := 0, make([]byte, 4096); got < total; {
				n, err := reader.Read(y, buf)
				if err != nil {
					r.Fatalf("read: %v", err)
				}
				got += n
			}
		})
		r.Go("asker", func() {
			var buf [4]byte
			for range 3 {
				if _, err := asker.Attr(x, core.GetNwrite, buf[:]); err != nil {
					r.Fatalf("attr: %v", err)
				}
			}
		})
		r.Check(func() { l.end() })
	}
}

// TestSchedulesBlocking has threads that read, write, ask and close one
// blocking session: each claim's end wakes who waits for it, whoever closes.
func TestSchedulesBlocking(t *testing.T) {
	rep := sched.Explore(t, sched.Options{Schedules: 1500, Steps: 60000}, func(r *sched.Run) {
		l := newLab(t)
		main := l.thread()
		y, x := l.pair(main, 80)
		peer, closer, asker, other := l.thread(), l.thread(), l.thread(), l.thread()
		r.Go("peer", func() {
			buf := make([]byte, 4)
			for range 2 {
				peer.Write(x, []byte("data"))
				peer.Read(x, buf)
			}
		})
		for i, th := range []vls.Thread{asker, other} {
			r.Go(fmt.Sprint("user", i), func() {
				buf := make([]byte, 4)
				for range 2 {
					if _, err := th.Read(y, buf[:2]); err != nil && err != syscall.EBADFD && err != syscall.ENOTCONN {
						r.Fatalf("read: %v", err)
					}
					if _, err := th.Attr(y, core.GetNread, buf); err != nil && err != syscall.EBADFD {
						r.Fatalf("attr: %v", err)
					}
					if _, err := th.Write(y, buf[:1]); err != nil && err != syscall.EBADFD {
						r.Fatalf("write: %v", err)
					}
				}
			})
		}
		var first error
		r.Go("closer", func() {
			fds := []vls.PollFD{{Handle: y, Events: core.EPOLLIN}}
			closer.Poll(fds, 0)
			first = closer.Close(y)
		})
		r.Check(func() {
			if first != nil {
				r.Errorf("close: %v", first)
			}
			if _, err := main.SessionHandle(y); err != syscall.EBADFD {
				r.Errorf("the closed session is found: %v", err)
			}
			main.Close(x)
			if n := l.app.(interface{ Usage() core.Usage }).Usage().Sessions; n != 0 {
				r.Errorf("%d slots are not free", n)
			}
			l.end()
		})
	})
	t.Logf("%d schedules, the longest of %d steps", rep.Schedules, rep.Longest)
}

// round is every operation once, on sessions of the thread's own. It returns
// what went wrong.
func round(th vls.Thread, port int) (err error) {
	try := func(what string, e error) {
		if e != nil && err == nil {
			err = fmt.Errorf("%s: %w", what, e)
		}
	}
	lsn, e := th.Create(vls.TCP, false)
	try("create", e)
	try("bind", th.Bind(lsn, endpoint(port)))
	try("listen", th.Listen(lsn, 4))
	x, e := th.Create(vls.TCP, false)
	try("create", e)
	try("connect", th.Connect(x, endpoint(port)))
	y, _, e := th.Accept(lsn, syscall.O_NONBLOCK)
	try("accept", e)
	set, e := th.EpollCreate()
	try("epoll_create", e)
	try("epoll_ctl", th.EpollCtl(set, core.EPOLL_CTL_ADD, y, &vls.EpollEvent{Events: core.EPOLLIN | core.EPOLLET, Data: 7}))
	buf := make([]byte, 8)
	for range 2 { // the second time by a bias
		_, e = th.Write(x, buf)
		try("write", e)
		evs := make([]vls.EpollEvent, 2)
		n, e := th.EpollWait(set, evs, -1)
		if try("epoll_wait", e); n != 1 || evs[0].Data != 7 {
			try("epoll_wait", fmt.Errorf("%d events", n))
		}
		fds := []vls.PollFD{{Handle: y, Events: core.EPOLLIN}}
		if n, e := th.Poll(fds, -1); n != 1 {
			try("poll", fmt.Errorf("%d, %v", n, e))
		}
		_, e = th.Read(y, buf)
		try("read", e)
	}
	_, e = th.Attr(y, core.GetNread, buf[:4])
	try("attr", e)
	_, e = th.SessionHandle(y)
	try("session_handle", e)
	try("epoll_ctl", th.EpollCtl(set, core.EPOLL_CTL_MOD, y, &vls.EpollEvent{Events: core.EPOLLIN, Data: 8}))
	try("epoll_ctl", th.EpollCtl(set, core.EPOLL_CTL_DEL, y, nil))
	d, e := th.Create(vls.UDP, true)
	try("create", e)
	try("bind", th.Bind(d, endpoint(port+1)))
	_, e = th.Sendto(d, buf[:3], 0, endpoint(port+1))
	try("sendto", e)
	_, _, e = th.Recvfrom(d, buf, 0)
	try("recvfrom", e)
	try("shutdown", th.Shutdown(x, syscall.SHUT_RDWR))
	for _, h := range []vls.Handle{set, x, y, lsn, d} {
		try("close", th.Close(h))
		if _, e := th.Read(h, buf); e != syscall.EBADFD {
			try("read of what was closed", fmt.Errorf("%v", e))
		}
	}
	return err
}

// sharing is what takes sessions from others: a process that is a child uses what it
// shares with its parent, and what another thread was alone with, and forks.
func sharing(l *lab) func() {
	main := l.thread()
	var shared [2][2]vls.Handle
	for i := range shared {
		shared[i][0], shared[i][1] = l.pair(main, 80+i)
	}
	lsn, err := main.Create(vls.TCP, false)
	must(l.t, err)
	must(l.t, main.Bind(lsn, endpoint(90)))
	must(l.t, main.Listen(lsn, 4))
	child, err := l.proc.Fork()
	must(l.t, err)
	in := &lab{l.t, l.app, child}
	th, before := in.thread(), in.thread()
	// Biased to another, which is in no call.
	x, y := in.pair(before, 91)
	for range 2 {
		_, err := before.Write(x, make([]byte, 4))
		must(l.t, err)
		_, err = before.Read(y, make([]byte, 2))
		must(l.t, err)
	}
	return func() {
		buf := make([]byte, 4)
		th.Read(y, buf)
		th.Close(x)
		for _, c := range shared {
			th.Write(c[0], buf)
			th.Read(c[1], buf)
			th.Attr(c[1], core.GetNread, buf)
			th.Close(c[0])
		}
		th.Poll([]vls.PollFD{{Handle: lsn, Events: core.EPOLLIN}}, 0)
		if next, err := child.Fork(); err == nil {
			next.Exit()
		}
	}
}

// stalls are what a thread does that is stopped, with what is made for it, and
// points that it comes to there: those that lie between a claim, or another thing
// that one thread has begun, and what ends or publishes it.
var stalls = []struct {
	name   string
	make   func(l *lab) func()
	visits int // of a point at which it is stopped, about
	claims []string
}{
	{"alone", func(l *lab) func() {
		th := l.thread()
		return func() { round(th, 100) }
	}, 3, []string{
		"claim: claimed",
		"claim: before its end",
		"claim: between life and its end",
		"bias: between mark and life",
		"bias: between the mark that goes and life",
		"pin: before its end",
		"pin: the last one, before the slot is given back",
		"close: closing, before the handle is stale",
		"close: closing, before who waits is woken",
		"close: all is claimed, before the end",
		"close: ended, before that is known",
		"pool: a slot taken, before it has a generation",
		"pool: between a free slot's link and its place",
		"set: a member has its place, before its session has it",
		"set: a member, before the look whether the set is closed",
		"set: the old member is gone, before the new one has its place",
		"set: a member is gone, before its place is empty",
		"set: between a look at a member and its report",
		"set: a member is hot, before who waits is woken",
		"news: before the set is told",
		"news: before who waits is woken",
		"datagram: a flow counted, before it is there",
		"datagram: flows taken, before the receiver has them",
		"datagram: a flow let go, before the look whether more came",
		"datagram: between who is bound and the swap",
		"datagram: bound, before its session is",
		"core: connection counted, before it is queued",
		"core: connections taken, before they wait in their order",
		"core: connection taken, before it is counted off",
		"core: between the listeners and their swap",
		"fifo: between bytes and tail",
		"fifo: between bytes and head",
	}},
	{"sharing", sharing, 2, []string{
		"bias: before the look at the mark",
		"bias: before its end",
		"claim: shared, claimed",
		"claim: claimed again",
		"claim: between the shared word and its end",
		"fork: between who is inside of a session and the word that it is shared",
		"fork: an image is whole, before anybody finds it",
		"fork: between two sessions",
		"close: before it is among those that are to end",
		"close: between the shared word and the word that some are to end",
		"close: control of what is shared is claimed, before the end",
	}},
}

// TestSchedulesStall stops a thread for ever at each point that it comes to in a
// round of all operations, and in operations on what it shares, in turn, in several
// of its visits there, or with -soak in each: another thread makes that round with
// sessions of its own all the same, twice.
func TestSchedulesStall(t *testing.T) {
	for _, c := range stalls {
		t.Run(c.name, func(t *testing.T) { stallAll(t, c.make, c.visits, c.claims) })
	}
}

func stallAll(t *testing.T, make func(l *lab) func(), visits int, claims []string) {
	body := func(r *sched.Run) {
		l := newLab(t)
		do, other := make(l), l.thread()
		var err error
		done := 0
		r.Go("stopped", do)
		r.Go("other", func() {
			for i := range 2 {
				if err = round(other, 200+10*i); err != nil {
					return
				}
				done++
			}
		})
		r.Check(func() {
			if err != nil || done != 2 {
				r.Errorf("%d rounds, %v", done, err)
			}
			// The application stays open: a stopped thread may still be inside.
		})
	}
	// Priorities that never change: one thread after the other.
	rep := sched.Explore(t, sched.Options{Schedules: 4, Strategies: []sched.Strategy{sched.PCT(1)}}, body)
	var points []sched.Stall
	for _, v := range rep.Visited {
		if v.Thread == "stopped" {
			points = append(points, v)
		}
	}
	for _, name := range claims {
		if !slices.ContainsFunc(points, func(s sched.Stall) bool { return s.Point == name }) {
			t.Errorf("it does not come to the point %q", name)
		}
	}
	stops, stalled := 0, 0
	for _, p := range points {
		step := 1
		if !*soak {
			step = max(1, p.Visit/visits)
		}
		for visit := 1; visit <= p.Visit; visit += step {
			rep, f, err := sched.Search(sched.Options{
				Schedules: 2, Strategies: []sched.Strategy{sched.PCT(1), sched.Random},
				Stall: []sched.Stall{{Thread: "stopped", Point: p.Point, Visit: visit}},
			}, body)
			must(t, err)
			if f != nil {
				t.Errorf("stopped at %q, visit %d: %s", p.Point, visit, strings.SplitN(f.Error(), "\n", 30))
			}
			stops++
			stalled += rep.Stalled
		}
	}
	if stalled == 0 {
		t.Error("no thread was stopped")
	}
	t.Logf("%d points, %d stops, %d schedules with one", len(points), stops, stalled)
}

// TestSchedulesLate has a thread read a session that another closes, and after it
// its peer: the peer's end, which comes after the close, is not what is read.
func TestSchedulesLate(t *testing.T) {
	rep := sched.Explore(t, sched.Options{Schedules: 4000, Strategies: []sched.Strategy{sched.PCT(3), sched.PCT(4)}}, func(r *sched.Run) {
		l := newLab(t)
		closer, reader := l.thread(), l.thread()
		x, y := l.pair(closer, 80)
		r.Go("closer", func() {
			if err := closer.Close(x); err != nil {
				r.Fatalf("close: %v", err)
			}
			closer.Close(y)
		})
		r.Go("reader", func() {
			if n, err := reader.Read(x, make([]byte, 4)); err != syscall.EBADFD && err != syscall.ENOTCONN {
				r.Fatalf("read: %d, %v: want EBADFD or ENOTCONN", n, err)
			}
		})
		r.Check(func() { l.end() })
	})
	t.Logf("%d schedules, the longest of %d steps", rep.Schedules, rep.Longest)
}

// TestSchedulesShared has threads of two processes write and ask a session that
// both have by fork, and close it while the others are inside: the peer sees one
// end of the stream, after all that was written.
func TestSchedulesShared(t *testing.T) {
	rep := sched.Explore(t, sched.Options{Schedules: 700, Steps: 60000}, func(r *sched.Run) {
		l := newLab(t)
		main := l.thread()
		x, y := l.pair(main, 80)
		child, err := l.proc.Fork()
		must(t, err)
		inChild := func() vls.Thread {
			th := child.NewThread()
			must(t, th.Register())
			return th
		}
		b, c := inChild(), inChild()
		must(t, c.Close(y))
		wrote := 0
		use := func(th vls.Thread) {
			var buf [4]byte
			for range 2 {
				n, err := th.Write(x, []byte("ab"))
				if wrote += n; err != nil && err != syscall.EBADFD {
					r.Fatalf("write: %v", err)
				}
				if _, err := th.Attr(x, core.GetNread, buf[:]); err != nil && err != syscall.EBADFD {
					r.Fatalf("attr: %v", err)
				}
			}
		}
		shut := func(th vls.Thread) {
			if err := th.Close(x); err != nil {
				r.Fatalf("close: %v", err)
			}
		}
		a := l.thread()
		r.Go("child user", func() { use(b) })
		r.Go("child closer", func() { shut(c) })
		r.Go("parent user", func() { use(a) })
		r.Go("parent closer", func() { shut(main) })
		r.Check(func() {
			read := 0
			for buf := make([]byte, 3); ; {
				n, err := a.Read(y, buf)
				if err != nil {
					r.Fatalf("read %d of %d: %v", read, wrote, err)
				}
				if read += n; n == 0 {
					break
				}
			}
			if read != wrote {
				r.Errorf("%d of %d bytes were read", read, wrote)
			}
			a.Close(y)
			if n := l.app.(interface{ Usage() core.Usage }).Usage(); n.Sessions != 0 || n.Shared != 0 {
				r.Errorf("%+v is not free", n)
			}
			l.end()
		})
	})
	t.Logf("%d schedules, the longest of %d steps", rep.Schedules, rep.Longest)
}

// TestSchedulesEnds has one thread read a session that does not block and one
// write to it, both of them first by a claim and then by a bias: who is alone at
// an end never meets what goes on at the other. Then another closes it meanwhile.
func TestSchedulesEnds(t *testing.T) {
	schedules := 1000
	if *soak {
		schedules = 50_000
	}
	for _, closing := range []bool{false, true} {
		rep := sched.Explore(t, sched.Options{Schedules: schedules, Steps: 60000}, func(r *sched.Run) {
			endsBody(t, r, closing)
		})
		t.Logf("closing %v: %d schedules, the longest of %d steps", closing, rep.Schedules, rep.Longest)
	}
}

func endsBody(t *testing.T, r *sched.Run, closing bool) {
	l := newLab(t)
	main := l.thread()
	x, y := l.pair(main, 80)
	const calls = 4
	if n, err := main.Write(x, make([]byte, 2*calls)); n != 2*calls || err != nil {
		t.Fatalf("write: %d, %v", n, err)
	}
	use := func(name string, f func(vls.Handle, []byte) (int, error)) {
		r.Go(name, func() {
			buf := make([]byte, 2)
			for range calls {
				switch n, err := f(y, buf); {
				case n == len(buf) && err == nil:
				case closing && n == 0 && (err == syscall.EBADFD || err == syscall.ENOTCONN):
					return
				default:
					r.Fatalf("%d, %v", n, err)
				}
			}
		})
	}
	reader, writer, closer := l.thread(), l.thread(), l.thread()
	use("reader", reader.Read)
	use("writer", writer.Write)
	if closing {
		r.Go("closer", func() {
			if err := closer.Close(y); err != nil {
				r.Fatalf("close: %v", err)
			}
		})
	}
	r.Check(func() {
		if !closing {
			must(t, main.Close(y))
		}
		must(t, main.Close(x))
		if n := l.app.(interface{ Usage() core.Usage }).Usage().Sessions; n != 0 {
			r.Errorf("%d slots are not free", n)
		}
		l.end()
	})
}

// TestSchedulesPollInherited has a child poll a listener that it has by fork, and a
// connection of its own, while a thread of the parent is stopped for ever inside
// the listener, or is inside for a while: the poll finds the connection, and then,
// if the listener can be had, what connects to it.
func TestSchedulesPollInherited(t *testing.T) {
	body := func(stopped bool) func(r *sched.Run) {
		return func(r *sched.Run) {
			l := newLab(t)
			main := l.thread()
			x, y := l.pair(main, 80)
			if _, err := main.Write(x, []byte("x")); err != nil {
				t.Fatal(err)
			}
			lsn, err := main.Create(vls.TCP, false)
			must(t, err)
			must(t, main.Bind(lsn, endpoint(81)))
			must(t, main.Listen(lsn, 4))
			child, err := l.proc.Fork()
			must(t, err)
			poller, asker := child.NewThread(), l.thread()
			must(t, poller.Register())
			r.Go("asker", func() {
				var buf [4]byte
				for range 2 {
					if _, err := asker.Attr(lsn, core.GetFlags, buf[:]); err != nil {
						r.Fatalf("attr: %v", err)
					}
				}
			})
			done := false
			r.Go("poller", func() {
				fds := []vls.PollFD{{Handle: lsn, Events: core.EPOLLIN}, {Handle: y, Events: core.EPOLLIN}}
				if n, err := poller.Poll(fds, -1); n == 0 || err != nil || fds[1].Revents != core.EPOLLIN {
					r.Fatalf("poll: %d, %v: %v", n, err, fds)
				}
				if done = stopped; done {
					return
				}
				n, err := poller.Poll(fds[:1], -1)
				if done = n == 1 && err == nil; !done {
					r.Fatalf("poll of the listener: %d, %v", n, err)
				}
			})
			if !stopped {
				// The parent has not shown that it wants connections: those that it
				// is offered go to the child as soon as that has.
				r.Go("connector", func() {
					c, err := main.Create(vls.TCP, true)
					if err == nil {
						err = main.Connect(c, endpoint(81))
					}
					if err != syscall.EINPROGRESS {
						r.Fatalf("connect: %v", err)
					}
				})
			}
			r.Check(func() {
				if !done {
					r.Errorf("the poll has not ended")
				}
				if !stopped {
					l.end()
				}
			})
		}
	}
	rep := sched.Explore(t, sched.Options{Schedules: 500}, body(false))
	t.Logf("%d schedules, the longest of %d steps", rep.Schedules, rep.Longest)
	stalled := 0
	for visit := 1; visit <= 2; visit++ {
		rep, f, err := sched.Search(sched.Options{
			Schedules: 100, Strategies: []sched.Strategy{sched.PCT(2), sched.Random},
			Stall: []sched.Stall{{Thread: "asker", Point: "claim: shared, claimed", Visit: visit}},
		}, body(true))
		must(t, err)
		if f != nil {
			t.Errorf("stopped inside, visit %d: %s", visit, f)
		}
		stalled += rep.Stalled
	}
	if stalled == 0 {
		t.Error("no thread was stopped")
	}
}

// TestSchedulesFork has a process fork, twice at once, while its threads are inside
// of a session or about to be, and has the children use what they share: no byte
// is lost, comes twice or out of order, and the peer sees one end.
func TestSchedulesFork(t *testing.T) {
	schedules := 700
	if *soak {
		schedules = 50_000
	}
	shared := 0
	rep := sched.Explore(t, sched.Options{Schedules: schedules, Steps: 60000}, func(r *sched.Run) {
		l := newLab(t)
		main := l.thread()
		x, y := l.pair(main, 80)
		if _, err := main.Attr(y, core.SetFlags, make([]byte, 4)); err != nil {
			t.Fatal(err)
		}
		writer, reader, asker := l.thread(), l.thread(), l.thread()
		var wrote, read []byte
		write := func(th vls.Thread, from byte, n int) {
			for i := range n {
				p := []byte{from + byte(i)}
				switch n, err := th.Write(x, p); {
				case err == nil && n == 1:
					wrote = append(wrote, p...)
				case err != syscall.EBADFD:
					r.Fatalf("write: %d, %v", n, err)
				}
			}
		}
		r.Go("writer", func() {
			write(writer, 'a', 4)
			if err := writer.Close(x); err != nil {
				r.Fatalf("close: %v", err)
			}
		})
		r.Go("reader", func() {
			for buf := make([]byte, 2); ; {
				n, err := reader.Read(y, buf)
				if err != nil {
					r.Fatalf("read: %v", err)
				}
				if n == 0 {
					return
				}
				read = append(read, buf[:n]...)
			}
		})
		r.Go("asker", func() {
			if _, err := asker.Attr(x, core.GetNread, make([]byte, 4)); err != nil && err != syscall.EBADFD {
				r.Fatalf("attr: %v", err)
			}
		})
		for _, from := range []byte("AM") {
			r.Go(string(from)+" forks", func() {
				child, err := l.proc.Fork()
				if err != nil {
					r.Fatalf("fork: %v", err)
				}
				th := child.NewThread()
				before := len(wrote)
				write(th, from, 2)
				if len(wrote) > before {
					shared++
				}
				th.Close(y)
				if err := th.Exit(); err != nil {
					r.Fatalf("exit of a thread: %v", err)
				}
				if err := child.Exit(); err != nil {
					r.Fatalf("exit: %v", err)
				}
			})
		}
		r.Check(func() {
			var last [256]byte
			for _, c := range read {
				of := c / 'M' // writers: A to L, M to Z, a to z
				if c >= 'a' {
					of = 2
				}
				if c <= last[of] {
					r.Errorf("%q: out of order", read)
				}
				last[of] = c
			}
			if len(read) != len(wrote) {
				r.Errorf("wrote %q, read %q", wrote, read)
			}
			main.Close(y)
			if n := l.app.(interface{ Usage() core.Usage }).Usage(); n.Sessions != 0 || n.Shared != 0 {
				r.Errorf("%+v is not free", n)
			}
			l.end()
		})
	})
	if shared == 0 {
		t.Error("no child wrote")
	}
	t.Logf("%d schedules, the longest of %d steps, %d with a child that wrote", rep.Schedules, rep.Longest, shared)
}
