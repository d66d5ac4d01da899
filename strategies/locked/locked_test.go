package locked_test

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"vlsbench/core"
	_ "vlsbench/strategies/locked"
	"vlsbench/vls"
	"vlsbench/vls/vlstest"
)

// presets are the built designs of the family.
var presets = []string{"perworker", "shared", "spoolrw"}

func TestConformance(t *testing.T) {
	for _, name := range presets {
		t.Run(name, func(t *testing.T) { vlstest.Run(t, lookup(t, name)) })
	}
}

func lookup(t *testing.T, name string) vls.Strategy {
	t.Helper()
	s, err := vls.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// With every value of every knob a preset is as good: the cases where threads and
// processes meet, one wait mode.
func TestKnobs(t *testing.T) {
	settings := []string{
		"shared,close=two-phase,io=pool,pool=phasefair,enter=try",
		"shared,where=process,session=futex",
		"spoolrw,when=always,close=one-phase",
		"spoolrw,table=rwspin,retake=yes",
		"perworker,where=app,when=always",
		"perworker,table=rwspin,retake=yes",
		"perworker,table=rwspin,retake=yes,when=always,close=two-phase",
		"perworker,io=pool",
	}
	for _, k := range lookup(t, "spoolrw").Knobs {
		for _, v := range k.Values {
			if name := "spoolrw," + k.Name + "=" + v; v != k.Default && refused[name] == "" && k.Name != "hold" {
				settings = append(settings, name)
				if testing.Short() {
					break // the kinds of locks have tests of their own
				}
			}
		}
	}
	for _, name := range settings {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			vlstest.RunCases(t, lookup(t, name), vls.Adaptive,
				"threads-streams", "threads-storm", "threads-share-session", "stale-handle-among-threads",
				"thread-registers-while-first-works", "close-wakes-reader", "close-wakes-epoll-wait",
				"epoll-wait-two-threads", "accept-many-acceptors", "poll-close-wakes",
				"fork-among-threads", "fork-storm", "fork-child-dies", "session-layer-thread")
		})
	}
}

// A wait that keeps S: who closes wakes it, and all that does not need the
// session goes on.
func TestHoldSession(t *testing.T) {
	vlstest.RunCases(t, lookup(t, "spoolrw,hold=session"), vls.Park,
		"close-wakes-reader", "close-wakes-writer", "close-wakes-acceptor", "close-wakes-epoll-wait",
		"processes-streams", "threads-storm", "read-waits", "pool-grows-while-thread-reads")
}

// refused are settings that cannot work, and what the error has to say.
var refused = map[string]string{
	"spoolrw,where=app":                  "when=always",
	"spoolrw,retake=yes":                 "there are: rwspin",
	"spoolrw,table=rwspin":               "with retake=yes it can be one",
	"spoolrw,pool=rwspin":                "futex, rwmutex, rwpending, phasefair",
	"perworker,hold=session":             "close=two-phase",
	"perworker,retake=yes,table=rwmutex": "rwspin",
	"shared,when=several":                "where=process",
}

func TestRefused(t *testing.T) {
	for name, want := range refused {
		if _, err := vls.Lookup(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v: no %q in it", name, err, want)
		}
	}
}

// A process with one thread takes no lock, whatever it does; with a second
// thread it takes those of every class.
func TestLocks(t *testing.T) {
	for _, wait := range []vls.Wait{vls.Adaptive, vls.Park} {
		for _, two := range []bool{false, true} {
			s, err := vls.Lookup("perworker")
			if err != nil {
				t.Fatal(err)
			}
			app, err := s.New(vls.Options{
				CountLocks: true,
				Config:     core.Config{Wait: wait, RxFifoSize: 16 << 10, TxFifoSize: 16 << 10, SegmentSize: 64 << 20},
			})
			if err != nil {
				t.Fatal(err)
			}
			p, err := app.NewProcess()
			if err != nil {
				t.Fatal(err)
			}
			q, err := app.NewProcess()
			if err != nil {
				t.Fatal(err)
			}
			th, peer := p.NewThread(), q.NewThread()
			if two {
				if err := p.NewThread().Register(); err != nil {
					t.Fatal(err)
				}
			}
			everything(t, th, peer)
			// q has one thread in both rounds, so the counts are p's.
			stats := app.Locks()
			if len(stats) != 5 {
				t.Fatalf("%d lock classes are counted, want P, S, MQ, SP and SD", len(stats))
			}
			for _, st := range stats {
				if !two && st.Acquisitions != 0 {
					t.Errorf("%v: one thread took %s %d times", wait, st.Class, st.Acquisitions)
				}
				if two && st.Acquisitions == 0 && st.Class != "SD" {
					t.Errorf("%v: two threads never took %s", wait, st.Class)
				}
			}
		}
	}
}

// everything makes th use every operation, waiting for a peer in another
// process where one can wait.
func everything(t *testing.T, th, peer vls.Thread) {
	t.Helper()
	ok := func(what string, err error, accept ...error) {
		t.Helper()
		for _, a := range accept {
			if err == a {
				return
			}
		}
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	ep := netip.MustParseAddrPort("127.0.0.1:4000")
	l, err := th.Create(vls.TCP, false)
	ok("create", err)
	ok("bind", th.Bind(l, ep))
	ok("listen", th.Listen(l, 8))
	set, err := th.EpollCreate()
	ok("epoll create", err)

	done := make(chan error, 1)
	go func() { // the peer: late, so that th waits
		time.Sleep(2 * time.Millisecond)
		c, err := peer.Create(vls.TCP, false)
		if err == nil {
			err = peer.Connect(c, ep)
		}
		time.Sleep(2 * time.Millisecond)
		if err == nil {
			_, err = peer.Write(c, []byte("hello"))
		}
		time.Sleep(2 * time.Millisecond)
		for got := 0; err == nil && got < 100_000; {
			var n int
			n, err = peer.Read(c, make([]byte, 5000))
			got += n
		}
		time.Sleep(2 * time.Millisecond)
		if err == nil {
			err = peer.Close(c)
		}
		done <- err
	}()
	s, _, err := th.Accept(l, 0)
	ok("accept", err)
	buf := make([]byte, 100_000)
	_, err = th.Read(s, buf)
	ok("read", err)
	_, err = th.Write(s, buf[:50_000])
	ok("write", err)
	_, err = th.WriteMsg(s, buf[:50_000])
	ok("write_msg", err)
	evs := make([]vls.EpollEvent, 4)
	ok("epoll add", th.EpollCtl(set, core.EPOLL_CTL_ADD, s, &vls.EpollEvent{Events: core.EPOLLIN}))
	_, err = th.EpollWait(set, evs, -1)
	ok("epoll wait", err)
	<-done
	_, err = th.EpollWait(set, evs, 0)
	ok("epoll poll", err)
	ok("epoll mod", th.EpollCtl(set, core.EPOLL_CTL_MOD, s, &vls.EpollEvent{}))
	_, err = th.EpollWait(set, evs, time.Millisecond)
	ok("epoll timeout", err)
	ok("epoll del", th.EpollCtl(set, core.EPOLL_CTL_DEL, s, nil))

	d, err := th.Create(vls.UDP, false)
	ok("create", err)
	ok("bind", th.Bind(d, ep))
	_, err = th.Sendto(d, buf[:100], 0, ep)
	ok("sendto", err)
	_, _, err = th.Recvfrom(d, buf, core.MSG_PEEK)
	ok("recvfrom", err)
	fds := []vls.PollFD{{Handle: d, Events: core.EPOLLIN}}
	_, err = th.Poll(fds, -1)
	ok("poll", err)
	ok("connect", th.Connect(d, ep))
	_, err = th.Read(d, buf)
	ok("read", err)
	_, err = th.Poll(fds, time.Millisecond)
	ok("poll timeout", err)
	var read vls.HandleSet
	read.Add(d)
	_, err = th.Select(&read, nil, nil, time.Millisecond)
	ok("select", err)
	ok("close", th.Close(d))

	_, err = th.SessionHandle(s)
	ok("session handle", err)
	index, _, err := th.SessionIndex(s)
	ok("session index", err)
	_, err = th.HandleOf(index)
	ok("handle of", err)
	_, err = th.Attr(s, core.SetFlags, binary.NativeEndian.AppendUint32(nil, syscall.O_NONBLOCK))
	ok("attr", err)
	ok("shutdown", th.Shutdown(s, syscall.SHUT_RDWR))
	c, err := th.Create(vls.TCP, true)
	ok("create", err)
	ok("connect", th.Connect(c, ep), syscall.EINPROGRESS)
	for _, h := range []vls.Handle{c, s, l, set} {
		ok("close", th.Close(h))
	}
	ok("stale", th.Close(s), syscall.EBADFD)
	ok("exit", th.Exit())
}

// With one thread a process that has forked takes no lock for what it does not
// share, and S alone for what it does, but for the last close, which takes SD.
func TestLocksOfSharers(t *testing.T) {
	s, err := vls.Lookup("perworker")
	if err != nil {
		t.Fatal(err)
	}
	app, err := s.New(vls.Options{CountLocks: true, Config: core.Config{SegmentSize: 64 << 20}})
	if err != nil {
		t.Fatal(err)
	}
	p, err := app.NewProcess()
	if err != nil {
		t.Fatal(err)
	}
	th := p.NewThread()
	port := uint16(6000)
	pair := func(th vls.Thread) (x, y vls.Handle) {
		t.Helper()
		port++
		ep := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)
		l, err := th.Create(vls.TCP, false)
		for _, f := range []func() error{
			func() error { return err },
			func() error { return th.Bind(l, ep) },
			func() error { return th.Listen(l, 1) },
			func() error { x, err = th.Create(vls.TCP, false); return err },
			func() error { return th.Connect(x, ep) },
			func() error { y, _, err = th.Accept(l, 0); return err },
			func() error { return th.Close(l) },
		} {
			if err := f(); err != nil {
				t.Fatal(err)
			}
		}
		return x, y
	}
	use := func(th vls.Thread, x, y vls.Handle) {
		t.Helper()
		for range 10 {
			if n, err := th.Write(x, []byte("hello")); n != 5 || err != nil {
				t.Fatal(n, err)
			}
			if n, err := th.Read(y, make([]byte, 9)); n != 5 || err != nil {
				t.Fatal(n, err)
			}
		}
		if err := th.Close(x); err != nil {
			t.Fatal(err)
		}
	}
	counts := func() map[string]uint64 {
		m := make(map[string]uint64)
		for _, st := range app.Locks() {
			m[st.Class] = uint64(st.Acquisitions)
		}
		return m
	}
	x, y := pair(th)
	child, err := p.Fork()
	if err != nil {
		t.Fatal(err)
	}
	ct := child.NewThread()
	for _, c := range []struct {
		what string
		th   vls.Thread
		own  bool
		want map[string]uint64
	}{
		{"the parent's own", th, true, map[string]uint64{}},
		{"the child's own", ct, true, map[string]uint64{}},
		{"shared, by the child", ct, false, map[string]uint64{"S": 21}},
		{"shared, by the parent, which closes last", th, false, map[string]uint64{"S": 21, "SD": 1}},
	} {
		u, v := x, y
		if c.own {
			u, v = pair(c.th)
		}
		before := counts()
		use(c.th, u, v)
		for class, n := range counts() {
			if n -= before[class]; n != c.want[class] {
				t.Errorf("%s: %s is taken %d times, want %d", c.what, class, n, c.want[class])
			}
		}
	}
}
