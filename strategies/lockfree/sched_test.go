//go:build sched

package lockfree_test

import (
	"encoding/binary"
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
					if _, err := th.Attr(y, core.GetNread, buf); err != nil && err != syscall.EBADFD && err != syscall.ENOTCONN {
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
		"datagram: a flow is active, before it is handed over",
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
	points := stopAtEach(t, visits, body)
	for _, name := range claims {
		if !slices.Contains(points, name) {
			t.Errorf("it does not come to the point %q", name)
		}
	}
}

// stopAtEach runs body with the thread "stopped" of it stopped for ever at each point
// that it comes to, in turn, in each of its visits there or without -soak in about so
// many. It returns the points.
func stopAtEach(t *testing.T, visits int, body func(*sched.Run)) (points []string) {
	t.Helper()
	// Priorities that never change: one thread after the other.
	rep := sched.Explore(t, sched.Options{Schedules: 4, Strategies: []sched.Strategy{sched.PCT(1)}}, body)
	stops, stalled := 0, 0
	for _, p := range rep.Visited {
		if p.Thread != "stopped" {
			continue
		}
		points = append(points, p.Point)
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
	return points
}

// TestSchedulesUnreclaimed stops a thread for ever at each point that it comes to in
// calls on sessions that another thread closes, in all the processes that have them:
// what is not free then is two sessions at most, or the entries of its Poll, or those
// that share the session that it is inside of.
func TestSchedulesUnreclaimed(t *testing.T) {
	const entries, children = 3, 3
	for _, c := range []struct {
		name     string
		most     int
		children int
		stopped  func(th vls.Thread, set, x, y, d vls.Handle)
	}{
		{"one session", 2, 0, func(th vls.Thread, set, x, y, d vls.Handle) {
			buf := make([]byte, 8)
			for range 2 { // the second time by a bias
				th.Write(x, buf)
				th.EpollWait(set, make([]vls.EpollEvent, 1), 0)
				th.Read(y, buf)
				th.Sendto(d, buf, 0, endpoint(90))
				th.Recvfrom(d, buf, 0)
			}
			th.Attr(y, core.GetNread, buf[:4])
			th.EpollCtl(set, core.EPOLL_CTL_MOD, y, &vls.EpollEvent{Events: core.EPOLLIN})
			th.EpollCtl(set, core.EPOLL_CTL_DEL, y, nil)
			th.EpollCtl(set, core.EPOLL_CTL_ADD, y, &vls.EpollEvent{Events: core.EPOLLIN | core.EPOLLET})
			th.EpollWait(set, make([]vls.EpollEvent, 1), -1)
			th.Shutdown(x, syscall.SHUT_RDWR)
			th.Close(y)
			th.Close(set)
		}},
		{"poll", entries, 0, func(th vls.Thread, set, x, y, d vls.Handle) {
			fds := make([]vls.PollFD, entries)
			for i, h := range [entries]vls.Handle{x, y, d} {
				fds[i] = vls.PollFD{Handle: h, Events: core.EPOLLIN}
			}
			th.Poll(fds, -1)
		}},
		{"shared", 1 + children, children, func(th vls.Thread, _, x, _, _ vls.Handle) {
			buf := make([]byte, 4)
			th.Write(x, buf)
			th.Attr(x, core.GetNread, buf)
			th.Close(x)
		}},
	} {
		t.Run(c.name, func(t *testing.T) { unreclaimed(t, c.most, c.children, c.stopped) })
	}
}

func unreclaimed(t *testing.T, most, children int, calls func(th vls.Thread, set, x, y, d vls.Handle)) {
	kept := 0
	body := func(r *sched.Run) {
		l := newLab(t)
		main, stopped := l.thread(), l.thread()
		x, y := l.pair(main, 80)
		flags := make([]byte, 4)
		binary.NativeEndian.PutUint32(flags, syscall.O_NONBLOCK)
		_, err := main.Attr(y, core.SetFlags, flags)
		must(t, err)
		d, err := main.Create(vls.UDP, true)
		must(t, err)
		must(t, main.Bind(d, endpoint(90)))
		set, err := main.EpollCreate()
		must(t, err)
		must(t, main.EpollCtl(set, core.EPOLL_CTL_ADD, y, &vls.EpollEvent{Events: core.EPOLLIN}))
		all := []vls.Thread{main}
		for range children {
			c, err := l.proc.Fork()
			must(t, err)
			th := c.NewThread()
			must(t, th.Register())
			all = append(all, th)
		}
		r.Go("stopped", func() { calls(stopped, set, x, y, d) })
		r.Go("closer", func() {
			// When nobody else can go on.
			sched.Wait("closer: the other is stopped, or waits", func() bool { return false }, 1)
			for _, th := range all {
				for _, h := range []vls.Handle{x, y, d, set} {
					if err := th.Close(h); err != nil && err != syscall.EBADFD {
						r.Fatalf("close: %v", err)
					}
				}
			}
		})
		r.Check(func() {
			n := l.app.(interface{ Usage() core.Usage }).Usage().Sessions
			if kept = max(kept, n); n > most {
				r.Errorf("%d sessions are not free, want at most %d", n, most)
			}
		})
	}
	stopAtEach(t, 3, body)
	if kept != most {
		t.Errorf("at most %d sessions were not free: want %d of some", kept, most)
	}
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
				if _, err := th.Attr(x, core.GetNread, buf[:]); err != nil && err != syscall.EBADFD && err != syscall.ENOTCONN {
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
	if n, err := main.Write(x, make([]byte, 2*calls+1)); n != 2*calls+1 || err != nil {
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
	if closing {
		// It has the bias, and the writer comes to be inside beside it.
		if n, err := reader.Read(y, make([]byte, 1)); n != 1 || err != nil {
			t.Fatalf("read: %d, %v", n, err)
		}
	}
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

// TestSchedulesBesideStopped has a thread that is stopped for ever in the middle of
// a connect to a listener, or of a send, and another that connects there or sends:
// who waits in an accept, or to receive, sleeps until then, and gets what the other
// brings, and a backlog of one has room for that. Nothing else is there.
func TestSchedulesBesideStopped(t *testing.T) {
	for _, c := range []struct {
		name, point string
		proto       vls.Proto
		bring       func(th vls.Thread, s vls.Handle, what string) error
		get         func(th vls.Thread, s vls.Handle) (string, error)
	}{
		{"connect", "core: connection counted, before it is queued", vls.TCP,
			func(th vls.Thread, s vls.Handle, _ string) error { return th.Connect(s, endpoint(80)) },
			func(th vls.Thread, s vls.Handle) (string, error) {
				_, peer, err := th.Accept(s, 0)
				return peer.String(), err
			}},
		{"send", "datagram: a flow is active, before it is handed over", vls.UDP,
			func(th vls.Thread, s vls.Handle, what string) error {
				_, err := th.Sendto(s, []byte(what), 0, endpoint(80))
				return err
			},
			func(th vls.Thread, s vls.Handle) (string, error) {
				_, peer, err := th.Recvfrom(s, make([]byte, 8), 0)
				return peer.String(), err
			}},
	} {
		t.Run(c.name, func(t *testing.T) {
			rep := sched.Explore(t, sched.Options{
				Schedules: 100, Steps: 5000,
				Strategies: []sched.Strategy{sched.PCT(1), sched.PCT(2), sched.Random},
				Stall:      []sched.Stall{{Thread: "stopped", Point: c.point, Visit: 1}},
			}, func(r *sched.Run) {
				l := newLab(t)
				main := l.thread()
				make := func(port int) vls.Handle {
					s, err := main.Create(c.proto, false)
					must(t, err)
					must(t, main.Bind(s, endpoint(port)))
					return s
				}
				to, x, y := make(80), make(81), make(82)
				must(t, main.Listen(to, 1))
				got := ""
				a, b, d := l.thread(), l.thread(), l.thread()
				r.Go("stopped", func() { c.bring(a, x, "stopped") })
				r.Go("waiting", func() {
					var err error
					if got, err = c.get(b, to); err != nil {
						r.Fatalf("%v", err)
					}
				})
				r.Go("other", func() {
					if err := c.bring(d, y, "other"); err != nil {
						r.Fatalf("%v", err)
					}
				})
				r.Check(func() {
					if got != endpoint(82).String() {
						r.Errorf("who waited got what %q brought, want %v", got, endpoint(82))
					}
					fds := []vls.PollFD{{Handle: to, Events: core.EPOLLIN}}
					if n, err := main.Poll(fds, 0); n != 0 || err != nil {
						r.Errorf("a poll then: %d, %v: want none ready", n, err)
					}
				})
			})
			t.Logf("%d schedules, %d with a thread stopped, the longest of %d steps", rep.Schedules, rep.Stalled, rep.Longest)
		})
	}
}

// TestSchedulesHandleOf has a thread look a session up by its handle and then by
// its index, while another closes it: what the first look does not find the second
// does not.
func TestSchedulesHandleOf(t *testing.T) {
	between := 0
	rep := sched.Explore(t, sched.Options{Schedules: 300}, func(r *sched.Run) {
		l := newLab(t)
		closer, asker := l.thread(), l.thread()
		s, err := closer.Create(vls.TCP, true)
		must(t, err)
		index, _, err := closer.SessionIndex(s)
		must(t, err)
		closed := false
		r.Go("closer", func() {
			err := closer.Close(s)
			if closed = true; err != nil {
				r.Fatalf("close: %v", err)
			}
		})
		r.Go("asker", func() {
			if _, err := asker.SessionHandle(s); err != syscall.EBADFD {
				return
			}
			if !closed {
				between++
			}
			if h, err := asker.HandleOf(index); err != syscall.EBADFD {
				r.Errorf("handle_of: %#x, %v, of a session that was not found by its handle", uint64(h), err)
			}
		})
		r.Check(func() { l.end() })
	})
	if between == 0 {
		t.Error("no look came in the middle of a close")
	}
	t.Logf("%d schedules, the longest of %d steps, %d with a look in the middle of the close", rep.Schedules, rep.Longest, between)
}

// TestSchedulesForkBesideSets has a process fork while another thread of it closes
// a set, and makes in its slot a session, or another set for a session that has
// none: the child has in each slot what was there once, whole, and its old set says
// nothing of what it was never told of.
func TestSchedulesForkBesideSets(t *testing.T) {
	t.Run("session", func(t *testing.T) {
		forkBesideSets(t, func(th vls.Thread, _ vls.Handle) (vls.Handle, error) { return th.Create(vls.UDP, true) },
			func(th vls.Thread, made vls.Handle) error { return th.Bind(made, endpoint(80)) })
	})
	t.Run("set", func(t *testing.T) {
		forkBesideSets(t, func(th vls.Thread, s vls.Handle) (vls.Handle, error) {
			set, err := th.EpollCreate()
			if err == nil {
				err = th.EpollCtl(set, core.EPOLL_CTL_ADD, s, &vls.EpollEvent{Events: core.EPOLLOUT, Data: 7})
			}
			return set, err
		}, func(th vls.Thread, made vls.Handle) error {
			_, err := th.EpollWait(made, make([]vls.EpollEvent, 1), 0)
			return err
		})
	})
}

func forkBesideSets(t *testing.T, other func(th vls.Thread, s vls.Handle) (vls.Handle, error), use func(vls.Thread, vls.Handle) error) {
	old, anew := 0, 0
	rep := sched.Explore(t, sched.Options{Schedules: 150}, func(r *sched.Run) {
		l := newLab(t)
		main := l.thread()
		set, err := main.EpollCreate()
		must(t, err)
		s, err := main.Create(vls.UDP, true)
		must(t, err)
		var child vls.Process
		var made vls.Handle
		r.Go("forker", func() {
			if child, err = l.proc.Fork(); err != nil {
				r.Fatalf("fork: %v", err)
			}
		})
		r.Go("other", func() {
			if err := main.Close(set); err != nil {
				r.Fatalf("close: %v", err)
			}
			var err error
			if made, err = other(main, s); err != nil {
				r.Fatalf("make: %v", err)
			}
		})
		r.Check(func() {
			th := child.NewThread()
			must(t, th.Register())
			if n, err := th.EpollWait(set, make([]vls.EpollEvent, 1), 0); err == nil {
				old++
				if n != 0 {
					r.Errorf("the child's set reports what it was never told of")
				}
			} else if err != syscall.EBADFD {
				r.Errorf("a wait on the set in the child: %v", err)
			}
			if _, err := th.SessionHandle(made); err == nil {
				anew++
				if err := use(th, made); err != nil {
					r.Errorf("the child has what was made, and finds: %v", err)
				}
			}
			must(t, th.Exit())
			must(t, child.Exit())
			must(t, l.proc.Exit())
			if n := l.app.(interface{ Usage() core.Usage }).Usage(); n.Sessions != 0 || n.Shared != 0 {
				r.Errorf("%+v is not free", n)
			}
			l.end()
		})
	})
	if old == 0 || anew == 0 {
		t.Errorf("%d children have the old one, %d the new one: want some of each", old, anew)
	}
	t.Logf("%d schedules, the longest of %d steps; %d children have the old one, %d the new one", rep.Schedules, rep.Longest, old, anew)
}

// TestSchedulesForkBesideClose has a process fork while another thread of it closes
// a listener, or what is bound, and makes another at that endpoint: either the child
// has the old one, and the other is refused, or it has not.
func TestSchedulesForkBesideClose(t *testing.T) {
	for _, proto := range []vls.Proto{vls.TCP, vls.UDP} {
		t.Run(fmt.Sprint(proto), func(t *testing.T) {
			had, made := 0, 0
			rep := sched.Explore(t, sched.Options{Schedules: 100}, func(r *sched.Run) {
				l := newLab(t)
				main := l.thread()
				listen := func() (s vls.Handle, err error) {
					if s, err = main.Create(proto, true); err == nil {
						err = main.Bind(s, endpoint(80))
					}
					if err == nil {
						err = main.Listen(s, 4)
					}
					return s, err
				}
				old, err := listen()
				must(t, err)
				var child vls.Process
				r.Go("forker", func() {
					if child, err = l.proc.Fork(); err != nil {
						r.Fatalf("fork: %v", err)
					}
				})
				var refused error
				r.Go("other", func() {
					if err := main.Close(old); err != nil {
						r.Fatalf("close: %v", err)
					}
					if _, refused = listen(); refused != nil && refused != syscall.EADDRINUSE {
						r.Fatalf("listen: %v", refused)
					}
				})
				r.Check(func() {
					th := child.NewThread()
					must(t, th.Register())
					_, err := th.SessionHandle(old)
					if err == nil {
						had++
					}
					if refused == nil {
						made++
					}
					if err == nil && refused == nil {
						r.Errorf("the child has what listened at the endpoint of another")
					}
					must(t, th.Exit())
					must(t, child.Exit())
					must(t, l.proc.Exit())
					if n := l.app.(interface{ Usage() core.Usage }).Usage(); n.Sessions != 0 || n.Shared != 0 {
						r.Errorf("%+v is not free", n)
					}
					l.end()
				})
			})
			if had == 0 || made == 0 {
				t.Errorf("%d children have the old one, and %d times there was another: want some of each", had, made)
			}
			t.Logf("%d schedules, the longest of %d steps; %d children have the old one, %d times there was another", rep.Schedules, rep.Longest, had, made)
		})
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
