package vlstest

import (
	"syscall"
	"testing"
	"time"

	"vlsbench/audit"
	"vlsbench/core"
	"vlsbench/vls"
)

const nval = core.POLLNVAL

// Select, poll, and what streams have of recvfrom and sendto.
var selectCases = []testCase{
	{name: "recvfrom-stream", doc: "recvfrom of a stream is a read with the peer's endpoint; sendto without one is a write", run: testRecvfromStream},
	{name: "peek-stream", doc: "MSG_PEEK leaves what it read; at the end it is 0, and with nothing there it waits or EWOULDBLOCK", run: testPeekStream},
	{name: "recvfrom-zero", doc: "recvfrom of no bytes, peeking or not, waits for the first byte or the end, or EWOULDBLOCK, and leaves what is there", run: testRecvfromZero, far: true},
	{name: "peek-waits", doc: "a blocking peek waits for the first byte", run: testPeekWaits, far: true, spin: true},
	{name: "epoll-exclusive", doc: "EPOLLEXCLUSIVE is accepted and changes nothing", run: testEpollExclusive},
	{name: "epoll-rotates", doc: "level triggered and always more ready than asked for: each is reported as often as any other", run: testEpollRotates},
	{name: "poll-ready", doc: "poll says of each entry what is true of what it asks for, and counts those that have something", run: testPollReady},
	{name: "poll-unasked", doc: "ERR and HUP come unasked, and NVAL of a handle that names no session, or a set", run: testPollUnasked},
	{name: "poll-same-twice", doc: "a session may stand in several entries, and in a set as well", run: testPollTwice},
	{name: "poll-timeouts", doc: "a timeout of 0 or a while returns 0 if nothing comes, with no entry too; none loses what comes", run: testPollTimeouts, far: true, spin: true},
	{name: "poll-woken", doc: "data, a connection, space, an end, a reset and a datagram end a poll", run: testPollWoken, far: true, spin: true},
	{name: "poll-ping-pong", doc: "nothing is lost between a read that finds nothing and the poll after it", run: testPollPingPong, far: true, spin: true},
	{name: "poll-close-wakes", doc: "close ends another thread's poll, which says NVAL", run: testPollCloseWakes},
	{name: "poll-two-threads", doc: "threads may poll the same sessions at once, and each is told", run: testPollTwoThreads},
	{name: "poll-sees-connect", doc: "a poll reports a session that another thread connects meanwhile", run: testPollSeesConnect},
	{name: "poll-allocs", doc: "poll allocates nothing once it has been called", run: testPollAllocs},
	{name: "select-sets", doc: "select leaves in each set what is ready and returns how many are left in all", run: testSelectSets},
	{name: "select-except", doc: "a session that was reset is in except, one whose directions are down is not", run: testSelectExcept},
	{name: "select-missing", doc: "a handle that names no session counts as ready, so that the read says EBADFD", run: testSelectMissing},
	{name: "select-timeouts", doc: "select without sets, or with nothing ready, waits for the timeout and leaves the sets empty", run: testSelectTimeouts, spin: true},
	{name: "select-close-wakes", doc: "close ends another thread's select, which counts the handle as ready", run: testSelectCloseWakes},
	{name: "select-woken", doc: "what becomes ready ends a select", run: testSelectWoken, far: true, spin: true},
}

func testRecvfromStream(e *env) {
	th := e.thread()
	x, y := e.pair(th, th)
	x.write("stream")
	if from := y.recvfrom("stream", 0); from != x.local() {
		e.fatalf("it came from %v, want %v", from, x.local())
	}
	e.count(4)(th.Sendto(x.h, []byte("back"), 0, vls.Endpoint{}))
	y.read("back")
	buf := make([]byte, 4)
	e.want(syscall.EAFNOSUPPORT, err2(th.Recvfrom(y.h, buf, syscall.MSG_OOB)))
	e.want(syscall.EFAULT, err2(th.Recvfrom(y.h, nil, 0)))
	e.want(syscall.ENOTCONN, err2(th.Recvfrom(e.create(th, false).h, buf, 0)))
	e.want(syscall.EBADFD, err2(th.Recvfrom(e.set(th).h, buf, 0)))
	x.close()
	n, _, err := th.Recvfrom(y.h, buf, 0)
	e.count(0)(n, err)
}

func testPeekStream(e *env) {
	th := e.thread()
	x, y := e.pair(th, th)
	x.write("abcdef")
	y.recvfrom("abcdef", core.MSG_PEEK)
	buf := make([]byte, 3)
	for range 2 {
		n, _, err := th.Recvfrom(y.h, buf, core.MSG_PEEK)
		e.count(3)(n, err)
		if string(buf) != "abc" {
			e.fatalf("peeked %q, want %q", buf, "abc")
		}
	}
	y.attrIs(core.GetNread, 6)
	e.count(3)(th.Read(y.h, buf))
	y.recvfrom("def", core.MSG_PEEK)
	y.read("def")
	y.nonblock(true)
	e.want(syscall.EWOULDBLOCK, err2(th.Recvfrom(y.h, buf, core.MSG_PEEK)))
	e.want(syscall.EFAULT, err2(th.Recvfrom(y.h, nil, core.MSG_PEEK)))
	// Across chunks, again and again.
	for i := range 5 {
		const size = fifoSize - 700
		x.send(i, 0, size, 3000)
		big := make([]byte, fifoSize)
		n, _, err := th.Recvfrom(y.h, big, core.MSG_PEEK)
		e.count(size)(n, err)
		y.check(i, 0, big[:n])
		y.receive(i, 0, size, 4000)
	}
	x.write("last")
	x.close()
	y.recvfrom("last", core.MSG_PEEK)
	y.read("last")
	n, _, err := th.Recvfrom(y.h, buf, core.MSG_PEEK)
	e.count(0)(n, err)
	u, v := e.pair(th, th)
	u.write("unread")
	v.close()
	e.want(syscall.ECONNRESET, err2(th.Recvfrom(u.h, buf, core.MSG_PEEK)))
}

func testRecvfromZero(e *env) {
	a := e.thread()
	b := e.far(a)
	for _, flags := range []int{0, core.MSG_PEEK} {
		x, y := e.pair(a, b)
		recv := func() (int, error) {
			n, _, err := b.Recvfrom(y.h, []byte{}, flags)
			return n, err
		}
		y.nonblock(true)
		e.want(syscall.EWOULDBLOCK, err1(recv()))
		y.nonblock(false)
		join := e.start(func() { e.count(0)(recv()) })
		e.pause()
		x.write("there")
		join()
		y.nonblock(true)
		for range 2 {
			e.count(0)(recv())
			y.attrIs(core.GetNread, 5)
		}
		y.read("there")
		e.want(syscall.EWOULDBLOCK, err1(recv()))
		e.ok(a.Shutdown(x.h, syscall.SHUT_WR))
		y.nonblock(false)
		e.count(0)(recv())
		y.eof()
		e.ok(b.Shutdown(y.h, syscall.SHUT_RD))
		e.count(0)(recv())
	}
}

func testPeekWaits(e *env) {
	a := e.thread()
	x, y := e.pair(a, e.far(a))
	for range 3 {
		join := e.start(func() {
			y.recvfrom("ping", core.MSG_PEEK)
			y.read("ping")
		})
		e.pause()
		x.write("ping")
		join()
	}
	join := e.start(func() {
		n, _, err := y.th.Recvfrom(y.h, make([]byte, 4), core.MSG_PEEK)
		e.count(0)(n, err)
	})
	e.pause()
	x.close()
	join()
}

func testEpollExclusive(e *env) {
	s, x, y := e.scene(false)
	s.add(x, in|core.EPOLLEXCLUSIVE)
	s.none()
	y.write("data")
	s.is(report{x, in})
	s.is(report{x, in})
	x.read("data")
	s.none()
}

func testEpollRotates(e *env) {
	a, b := e.thread(), e.thread()
	s := e.set(a)
	const n, room, waits = 23, 5, 46
	for i := range n {
		if i%2 == 0 {
			x, y := e.pair(a, b)
			s.add(x, in)
			y.write("ready")
		} else {
			x, y := e.duo(a, b)
			s.add(x, in)
			y.write("ready")
		}
	}
	seen := make(map[uint64]int)
	evs := make([]vls.EpollEvent, room)
	for range waits {
		e.count(room)(a.EpollWait(s.h, evs, 0))
		for _, ev := range evs {
			seen[ev.Data]++
		}
	}
	for h, k := range seen {
		if k != waits*room/n {
			e.fatalf("session %#x was reported %d times, want %d", h, k, waits*room/n)
		}
	}
	if len(seen) != n {
		e.fatalf("%d of %d were reported", len(seen), n)
	}
}

// polled wants one poll to find just this: got is what each entry is to have.
func (e *env) polled(th vls.Thread, timeout time.Duration, fds []vls.PollFD, got ...uint32) {
	e.t.Helper()
	for i := range fds {
		fds[i].Revents = 0xdead // to be overwritten
	}
	n, err := th.Poll(fds, timeout)
	e.ok(err)
	count := 0
	for i, want := range got {
		if fds[i].Revents != want {
			e.fatalf("entry %d of %d has %#x, want %#x", i, len(fds), fds[i].Revents, want)
		}
		if want != 0 {
			count++
		}
	}
	if n != count {
		e.fatalf("poll returns %d, with %d entries that have something", n, count)
	}
}

func fd(x end, events uint32) vls.PollFD { return vls.PollFD{Handle: x.h, Events: events} }

func testPollReady(e *env) {
	th := e.thread()
	x, y := e.pair(th, th)
	u, v := e.duo(th, th)
	l, ep := e.listen(th, 4)
	c := e.create(th, false)
	fds := []vls.PollFD{fd(x, in), fd(x, out), fd(u, in), fd(u, out), fd(l, in|out), fd(c, in), fd(x, 0)}
	e.polled(th, 0, fds, 0, out, 0, out, 0, e.unconnected(), 0)
	y.write("data")
	v.write("message")
	e.connect(th, ep)
	for range 2 {
		e.polled(th, -1, fds, in, out, in, out, in, e.unconnected(), 0)
	}
	x.read("data")
	u.read("message")
	l.accept()
	n := x.fill()
	e.polled(th, 0, fds, 0, 0, 0, out, 0, e.unconnected(), 0)
	y.receive(0, 0, n, 5000)
	e.polled(th, -1, fds, 0, out, 0, out, 0, e.unconnected(), 0)
	e.ok(th.Shutdown(y.h, syscall.SHUT_WR))
	fds = []vls.PollFD{fd(x, in), fd(x, rdhup), fd(x, in|out|rdhup)}
	e.polled(th, -1, fds, in, rdhup, in|out|rdhup)
}

func testPollUnasked(e *env) {
	th := e.thread()
	x, y := e.pair(th, th)
	x.write("unread")
	y.close()
	e.polled(th, -1, []vls.PollFD{fd(x, 0), fd(x, in)}, errs|hup, in|errs|hup)
	u, v := e.pair(th, th)
	e.ok(th.Shutdown(u.h, syscall.SHUT_WR))
	v.close()
	e.polled(th, -1, []vls.PollFD{fd(u, 0)}, hup)
	w, z := e.duo(th, th)
	z.close()
	w.write("lost")
	e.polled(th, -1, []vls.PollFD{fd(w, 0)}, errs)
	f := e.create(th, true)
	if !e.unix() {
		e.want(syscall.EINPROGRESS, th.Connect(f.h, e.address()))
		e.polled(th, -1, []vls.PollFD{fd(f, out)}, out|errs|hup)
	}

	x.close()
	live, _ := e.pair(th, th)
	fds := []vls.PollFD{fd(x, in), fd(live, in), {Handle: 0, Events: in}, {Handle: ^vls.Handle(0), Events: out}}
	e.polled(th, -1, fds, nval, 0, nval, nval)
	e.polled(th, time.Hour, fds, nval, 0, nval, nval)
	if !e.kernel() { // where a set can be polled
		e.polled(th, -1, []vls.PollFD{fd(e.set(th).end, in)}, nval)
	}
}

func testPollTwice(e *env) {
	a := e.thread()
	x, y := e.pair(a, e.thread())
	s := e.set(a)
	s.add(x, in|et)
	s.none()
	fds := []vls.PollFD{fd(x, in), fd(x, in|out), fd(x, in)}
	e.polled(a, 0, fds[:1], 0)
	y.write("data")
	e.polled(a, -1, fds, in, in|out, in)
	s.is(report{x, in}) // the set's edge is its own
	e.polled(a, -1, fds, in, in|out, in)
	s.none()
}

func testPollTimeouts(e *env) {
	a := e.thread()
	b := e.far(a)
	x, y := e.pair(a, b)
	fds := []vls.PollFD{fd(x, in)}
	for _, timeout := range []time.Duration{0, 1, time.Microsecond, time.Millisecond} {
		e.polled(a, timeout, nil)
		e.polled(a, timeout, fds, 0)
	}
	for _, timeout := range []time.Duration{-1, -time.Hour, time.Hour, 5 * time.Second} {
		join := e.start(func() {
			e.polled(a, timeout, fds, in)
			x.read("wake up")
		})
		e.pause()
		y.write("wake up")
		join()
	}
	// Polls that end in the moment the data comes lose none of it.
	n := e.rounds(200)
	join := e.start(func() {
		for got := 0; got < n; {
			k, err := a.Poll(fds, 20*time.Microsecond)
			e.ok(err)
			if k > 0 {
				x.read("z")
				e.count(1)(x.th.Write(x.h, []byte("z")))
				got++
			}
		}
	})
	for range n {
		y.write("z")
		y.read("z")
	}
	join()
}

func testPollWoken(e *env) {
	a := e.thread()
	b := e.far(a)
	// One that nothing comes from stands beside.
	idle, _ := e.pair(a, b)
	woken := func(x end, ask, got uint32, by func()) {
		e.t.Helper()
		join := e.start(func() { e.polled(a, -1, []vls.PollFD{fd(idle, in), fd(x, ask)}, 0, got) })
		e.pause()
		by()
		join()
	}
	for range 2 {
		l, ep := e.listen(a, 4)
		var x, y end
		woken(l, in, in, func() { y = e.connect(b, ep) })
		x = l.accept()
		woken(x, in, in, func() { y.write("data") })
		x.read("data")
		n := x.fill()
		woken(x, out, out, func() { y.receive(0, 0, n, 3000) })
		woken(x, rdhup, rdhup, func() { e.ok(b.Shutdown(y.h, syscall.SHUT_WR)) })
		x.write("unread")
		woken(x, 0, errs|hup, y.close)

		u, v := e.duo(a, b)
		woken(u, in, in, func() { v.write("message") })
		u.read("message")
		if e.kernel() {
			continue
		}
		k := u.stuff(vls.Endpoint{}, 1000)
		woken(u, out, out, func() { v.unstuff(0, k, 1000) })
	}
}

func testPollPingPong(e *env) {
	a := e.thread()
	b := e.far(a)
	x, y := e.pair(a, b)
	rounds := e.rounds(300)
	serve := func(z end, first bool) {
		z.nonblock(true)
		fds := []vls.PollFD{fd(z, in)}
		if first {
			z.write("!")
		}
		buf := make([]byte, 10)
		for got := 0; got < rounds; {
			n, err := z.th.Read(z.h, buf)
			if err == syscall.EWOULDBLOCK {
				e.polled(z.th, -1, fds, in)
				continue
			}
			e.count(1)(n, err)
			if got++; !first || got < rounds {
				z.write("!")
			}
		}
	}
	join := e.start(func() { serve(y, false) })
	serve(x, true)
	join()
}

func testPollCloseWakes(e *env) {
	a := e.thread()
	b := e.near(a)
	idle, _ := e.pair(a, a)
	for range 5 {
		x, y := e.pair(a, a)
		u, v := e.duo(a, a)
		l, _ := e.listen(a, 4)
		for _, z := range []end{x, u, l} {
			join := e.start(func() { e.polled(b, -1, []vls.PollFD{fd(idle, in), fd(z, in)}, 0, nval) })
			e.pause()
			// The slot is used again while the poll may still stand on it.
			z.close()
			e.create(a, false).close()
			join()
		}
		y.close()
		v.close()
	}
}

func testPollTwoThreads(e *env) {
	a, c := e.thread(), e.thread()
	x, y := e.pair(a, c)
	u, v := e.pair(a, c)
	const n = 4
	for range 10 {
		var joins []func()
		for range n {
			th := e.near(a)
			joins = append(joins, e.start(func() {
				e.polled(th, -1, []vls.PollFD{fd(u, in), fd(x, in)}, 0, in)
				e.ok(th.Exit())
			}))
		}
		// One reads meanwhile what the others do not poll.
		reader := e.start(func() { u.read("for the reader") })
		e.pause()
		y.write("for all")
		for _, join := range joins {
			join()
		}
		v.write("for the reader")
		reader()
		x.read("for all")
	}
}

func testPollSeesConnect(e *env) {
	a := e.thread()
	b := e.near(a)
	l, ep := e.listen(e.thread(), 4) // so that nothing else comes to a's queue
	for range 5 {
		x := e.create(a, false)
		join := e.start(func() { e.polled(b, -1, []vls.PollFD{fd(x, out)}, out) })
		e.pause()
		e.ok(a.Connect(x.h, ep))
		join()
		l.accept().close()
		x.close()
	}
}

func testPollAllocs(e *env) {
	if underRace || audit.Enabled {
		return // they allocate
	}
	a := e.thread()
	x, y := e.pair(a, a)
	fds := []vls.PollFD{fd(x, in), fd(y, in), fd(x, 0)}
	if n := testing.AllocsPerRun(100, func() {
		e.polled(a, 0, fds, 0, 0, 0)
		e.polled(a, time.Microsecond, fds, 0, 0, 0)
	}); n != 0 {
		e.fatalf("two polls allocate %v times, want 0", n)
	}
}

// handles is a set.
func handles(xs ...end) *vls.HandleSet {
	s := new(vls.HandleSet)
	for _, x := range xs {
		s.Add(x.h)
	}
	return s
}

// selected wants a select to leave just these in its sets.
func (e *env) selected(th vls.Thread, timeout time.Duration, read, write, except *vls.HandleSet, want [3][]end) {
	e.t.Helper()
	n, err := th.Select(read, write, except, timeout)
	e.ok(err)
	total := 0
	for i, s := range []*vls.HandleSet{read, write, except} {
		total += len(want[i])
		if s == nil {
			continue
		}
		same := s.Len() == len(want[i])
		for _, x := range want[i] {
			same = same && s.Has(x.h)
		}
		if !same {
			e.fatalf("set %d of read, write, except has %d handles, want %d", i, s.Len(), len(want[i]))
		}
	}
	if n != total {
		e.fatalf("select returns %d, want %d", n, total)
	}
}

func testSelectSets(e *env) {
	th := e.thread()
	x, y := e.pair(th, th)
	u, v := e.duo(th, th)
	l, ep := e.listen(th, 4)
	all := []end{x, u, l}
	e.selected(th, 0, handles(all...), handles(all...), handles(all...), [3][]end{nil, {x, u}, nil})
	y.write("data")
	e.selected(th, -1, handles(all...), nil, handles(all...), [3][]end{{x}, nil, nil})
	v.write("message")
	e.connect(th, ep)
	e.selected(th, time.Hour, handles(all...), handles(all...), nil, [3][]end{all, {x, u}, nil})
	x.fill()
	e.selected(th, 0, nil, handles(all...), nil, [3][]end{nil, {u}, nil})
	x.read("data")
	v.close()
	y.receive(0, 0, fifoSize, 5000)
	y.close()
	u.read("message")
	e.selected(th, -1, handles(x, u), nil, nil, [3][]end{{x}, nil, nil})
}

func testSelectExcept(e *env) {
	th := e.thread()
	x, y := e.pair(th, th)
	u, v := e.pair(th, th)
	x.write("unread")
	y.close()
	e.ok(th.Shutdown(u.h, syscall.SHUT_WR))
	v.close()
	e.selected(th, -1, nil, nil, handles(x, u), [3][]end{nil, nil, {x}})
	e.selected(th, -1, handles(x, u), handles(x, u), handles(x, u), [3][]end{{x, u}, {x, u}, {x}})
	e.selected(th, time.Millisecond, nil, nil, handles(u), [3][]end{})
}

func testSelectMissing(e *env) {
	th := e.thread()
	_, y := e.pair(th, th)
	y.close()
	idle, _ := e.pair(th, th)
	e.selected(th, -1, handles(y, idle), nil, nil, [3][]end{{y}, nil, nil})
	y.reading(syscall.EBADFD)
	e.selected(th, -1, nil, handles(y), nil, [3][]end{nil, {y}, nil})
	e.selected(th, -1, nil, nil, handles(y, idle), [3][]end{nil, nil, {y}})
	s := e.set(th)
	e.selected(th, -1, handles(s.end), nil, nil, [3][]end{{s.end}, nil, nil})
}

func testSelectTimeouts(e *env) {
	th := e.thread()
	x, _ := e.pair(th, th)
	for _, timeout := range []time.Duration{0, 1, time.Millisecond} {
		e.selected(th, timeout, nil, nil, nil, [3][]end{})
		e.selected(th, timeout, handles(x), nil, handles(x), [3][]end{})
		e.selected(th, timeout, new(vls.HandleSet), new(vls.HandleSet), nil, [3][]end{})
	}
}

func testSelectWoken(e *env) {
	a := e.thread()
	b := e.far(a)
	x, y := e.pair(a, b)
	u, v := e.duo(a, b)
	for range 3 {
		join := e.start(func() {
			e.selected(a, -1, handles(x, u), nil, handles(x, u), [3][]end{{x}, nil, nil})
		})
		e.pause()
		y.write("data")
		join()
		x.read("data")
		join = e.start(func() {
			e.selected(a, time.Hour, handles(x, u), nil, handles(x, u), [3][]end{{u}, nil, nil})
		})
		e.pause()
		v.write("message")
		join()
		u.read("message")
	}
	n := x.fill()
	join := e.start(func() {
		e.selected(a, -1, handles(u), handles(x), nil, [3][]end{nil, {x}, nil})
	})
	e.pause()
	y.receive(0, 0, n, 3000)
	join()
	x.write("unread")
	join = e.start(func() {
		e.selected(a, -1, nil, nil, handles(x, u), [3][]end{nil, nil, {x}})
	})
	e.pause()
	y.close()
	join()
}

func testSelectCloseWakes(e *env) {
	a := e.thread()
	b := e.near(a)
	idle, _ := e.pair(a, a)
	for range 5 {
		x, _ := e.pair(a, a)
		join := e.start(func() {
			e.selected(b, -1, handles(x, idle), nil, handles(idle), [3][]end{{x}, nil, nil})
		})
		e.pause()
		x.close()
		join()
	}
}
