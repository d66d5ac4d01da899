package vlstest

import (
	"runtime"
	"syscall"
	"time"

	"vlsbench/core"
	"vlsbench/hw"
	"vlsbench/vls"
)

const (
	in, out, rdhup, hup, errs = core.EPOLLIN, core.EPOLLOUT, core.EPOLLRDHUP, core.EPOLLHUP, core.EPOLLERR
	et, oneshot               = core.EPOLLET, core.EPOLLONESHOT
)

// Epoll sets. What a set reports must not depend on whether it has just looked
// at a session or has been at rest, so most cases run both ways.
var epollCases = []testCase{
	{name: "epoll-ctl-errors", doc: "EINVAL for a set in a set, a set through a session, MOD or DEL through another set, no event, an unknown op; EEXIST; ENOENT", run: testEpollCtlErrors},
	{name: "epoll-wait-errors", doc: "no room for events is EINVAL", run: testEpollWaitErrors},
	{name: "epoll-level", doc: "level triggered, a session is reported at each wait while it is ready", run: hotAndCold(testEpollLevel), spin: true},
	{name: "epoll-level-out", doc: "OUT is true while a quarter of the fifo is free", run: hotAndCold(testEpollLevelOut)},
	{name: "epoll-edge", doc: "edge triggered, IN is reported once, and again for new data, but not for a read that leaves some", run: hotAndCold(testEpollEdge), spin: true},
	{name: "epoll-edge-out", doc: "edge triggered, OUT is reported once, and again when there is space after it was full", run: hotAndCold(testEpollEdgeOut)},
	{name: "epoll-edge-accept", doc: "edge triggered, a listener is reported for each new connection", run: hotAndCold(testEpollEdgeAccept)},
	{name: "epoll-edge-end", doc: "edge triggered, the peer's end is news though unread data was reported before", run: hotAndCold(testEpollEdgeEnd)},
	{name: "epoll-oneshot", doc: "ONESHOT disarms after one report, until MOD", run: hotAndCold(testEpollOneshot)},
	{name: "epoll-mod", doc: "MOD changes what is asked for and the data, and reports what is already true", run: hotAndCold(testEpollMod)},
	{name: "epoll-del", doc: "after DEL a session is not reported, and can go into another set", run: hotAndCold(testEpollDel)},
	{name: "epoll-data", doc: "each report carries the word that ADD or MOD gave", run: testEpollData},
	{name: "epoll-add-ready", doc: "what came before ADD is reported: data, space, a connection, the end, a reset", run: testEpollAddReady},
	{name: "epoll-listener", doc: "a listener is IN while a connection waits", run: hotAndCold(testEpollListener)},
	{name: "epoll-peer-closes", doc: "the peer's end is IN, and RDHUP where asked for; HUP once both directions are down", run: hotAndCold(testEpollPeerCloses)},
	{name: "epoll-reset", doc: "a reset is ERR and HUP, unasked, and what was asked for of IN, OUT and RDHUP", run: hotAndCold(testEpollReset)},
	{name: "epoll-reset-by-own-write", doc: "a reset that answers this side's own write is reported too", run: hotAndCold(testEpollResetOwn)},
	{name: "epoll-own-shutdown", doc: "a shutdown of one's own is reported: reading as IN and RDHUP, writing as OUT, both directions down as HUP", run: hotAndCold(testEpollOwnShutdown)},
	{name: "epoll-close-member", doc: "a closed session leaves its set", run: hotAndCold(testEpollCloseMember)},
	{name: "epoll-fair", doc: "more ready than asked for: the rest comes with the next waits, none starved", run: hotAndCold(testEpollFair)},
	{name: "epoll-two-sets", doc: "two sets of one worker do not see each other's events", run: hotAndCold(testEpollTwoSets)},
	{name: "epoll-many-cold", doc: "of hundreds of members that are at rest, the one that data comes for is reported", run: testEpollMany},
	{name: "epoll-timeouts", doc: "a wait of 0 or a while returns 0 if nothing comes; no timeout loses what comes", run: testEpollTimeouts, far: true, spin: true},
	{name: "epoll-woken", doc: "data, a connection, space, an end and a reset end a wait", run: testEpollWoken, far: true, spin: true},
	{name: "epoll-ping-pong", doc: "nothing is lost between a read that finds nothing and the wait after it", run: testEpollPingPong, far: true, spin: true},
	{name: "epoll-server", doc: "a server on one set, level or edge triggered, serves clients that come and go", run: testEpollServer},
	{name: "epoll-ctl-beside-arrival", doc: "what comes at the moment of ADD or MOD is reported", run: testEpollCtlBeside, far: true},
	{name: "epoll-one-set", doc: "threads, four times as many as cores, wait on one set: each report goes to one of them, and close of the set ends all", run: testEpollOneSet},
	{name: "epoll-wait-sees-add", doc: "a wait reports a session that another thread adds meanwhile", run: testEpollWaitSeesAdd},
	{name: "close-member-of-waited-set", doc: "a wait goes on when another thread closes a member", run: testCloseMemberOfWaited},
	{name: "epoll-wait-two-threads", doc: "two threads of a process wait on a set each, and each is told what is its own", run: testEpollTwoThreads},
	{name: "epoll-handoff", doc: "when the thread leaves that slept on the queue, the others are still told", run: testEpollHandoff},
	{name: "write-beside-epoll-out", doc: "a writer that is blocked for a few bytes is woken by them, though a set waits for OUT of the same session", run: testWriteBesideOut},
}

func hotAndCold(run func(e *env, cold bool)) func(*env) {
	return func(e *env) {
		run(e, false)
		run(e, true)
	}
}

// scene is a connection between two processes, and a set on x's side.
func (e *env) scene(cold bool) (s set, x, y end) {
	e.t.Helper()
	a := e.thread()
	x, y = e.pair(a, e.thread())
	s = e.set(a)
	s.cold = cold
	return s, x, y
}

func testEpollCtlErrors(e *env) {
	th := e.thread()
	s, o := e.set(th), e.set(th)
	x, _ := e.pair(th, th)
	ev := &vls.EpollEvent{Events: in}
	add, mod, del := core.EPOLL_CTL_ADD, core.EPOLL_CTL_MOD, core.EPOLL_CTL_DEL
	for _, op := range []int{add, mod, del} {
		e.want(syscall.EINVAL, th.EpollCtl(s.h, op, s.h, ev))
		e.want(syscall.EINVAL, th.EpollCtl(s.h, op, o.h, ev))
	}
	e.want(syscall.EINVAL, th.EpollCtl(s.h, add, x.h, nil))
	e.want(syscall.EINVAL, th.EpollCtl(s.h, 17, x.h, ev))
	e.want(syscall.EINVAL, th.EpollCtl(s.h, 0, x.h, ev))
	e.want(syscall.ENOENT, th.EpollCtl(s.h, mod, x.h, ev))
	e.want(syscall.ENOENT, th.EpollCtl(s.h, del, x.h, nil))
	s.add(x, in)
	e.want(syscall.EEXIST, th.EpollCtl(s.h, add, x.h, ev))
	e.want(syscall.EEXIST, th.EpollCtl(o.h, add, x.h, ev))
	e.want(syscall.EINVAL, th.EpollCtl(o.h, mod, x.h, ev))
	e.want(syscall.EINVAL, th.EpollCtl(o.h, del, x.h, nil))
	e.want(syscall.EINVAL, th.EpollCtl(s.h, mod, x.h, nil))
	e.want(syscall.EINVAL, th.EpollCtl(s.h, 17, x.h, ev))
	s.mod(x, out)
	s.is(report{x, out})
	e.ok(th.EpollCtl(s.h, del, x.h, ev))
	e.want(syscall.ENOENT, th.EpollCtl(s.h, del, x.h, nil))
	s.none()
}

func testEpollWaitErrors(e *env) {
	th := e.thread()
	s := e.set(th)
	for _, timeout := range []time.Duration{0, -1, time.Millisecond} {
		e.want(syscall.EINVAL, err1(th.EpollWait(s.h, nil, timeout)))
		e.want(syscall.EINVAL, err1(th.EpollWait(s.h, []vls.EpollEvent{}, timeout)))
	}
}

func testEpollLevel(e *env, cold bool) {
	s, x, y := e.scene(cold)
	s.add(x, in)
	s.none()
	for range 3 {
		y.write("abcdef")
		s.is(report{x, in})
		s.is(report{x, in})
		buf := make([]byte, 3)
		e.count(3)(x.th.Read(x.h, buf))
		s.soon(report{x, in})
		x.read("def")
		s.none()
	}
	for range 100 { // looks that find nothing change nothing
		s.is()
	}
	y.write("g")
	s.is(report{x, in})
}

func testEpollLevelOut(e *env, cold bool) {
	s, x, y := e.scene(cold)
	s.add(x, in|out)
	s.is(report{x, out})
	s.is(report{x, out})
	n := x.fill()
	s.none()
	y.receive(0, 0, n/4-1, 1000)
	s.none()
	y.receive(0, n/4-1, n/4, 1000)
	s.is(report{x, out})
	y.receive(0, n/4, n, 1000)
	s.soon(report{x, out})
	y.write("both")
	s.soon(report{x, in | out})
}

func testEpollEdge(e *env, cold bool) {
	s, x, y := e.scene(cold)
	s.add(x, in|et)
	s.none()
	buf := make([]byte, 3)
	for range 3 {
		y.write("abcdef")
		s.is(report{x, in})
		s.none()
		e.count(3)(x.th.Read(x.h, buf))
		s.none() // a read alone is no news
		y.write("gh")
		s.soon(report{x, in})
		s.none()
		y.write("ij") // news, though nothing was read in between
		s.is(report{x, in})
		s.none()
		x.read("defghij")
		s.none()
	}
}

func testEpollEdgeOut(e *env, cold bool) {
	s, x, y := e.scene(cold)
	s.add(x, out|et)
	s.is(report{x, out})
	s.none()
	x.write("space is left")
	s.none()
	y.read("space is left")
	s.none()
	for range 3 {
		n := x.fill()
		s.none()
		y.receive(0, 0, 100, 1000)
		s.none()
		y.receive(0, 100, n, 1000)
		s.soon(report{x, out})
		s.none()
	}
	// Full and emptied between two waits is news as well.
	x.nonblock(true)
	n := x.fill()
	y.receive(0, 0, n, 1000)
	s.soon(report{x, out})
	s.none()
}

func testEpollEdgeAccept(e *env, cold bool) {
	a, b := e.thread(), e.thread()
	l, ep := e.listen(a, 10)
	s := e.set(a)
	s.cold = cold
	s.add(l, in|et)
	s.none()
	e.connect(b, ep)
	s.is(report{l, in})
	s.none()
	e.connect(b, ep)
	s.is(report{l, in})
	s.none()
	l.accept()
	s.none()
	l.accept()
	s.none()
	e.connect(b, ep)
	s.soon(report{l, in})
	s.none()
}

func testEpollEdgeEnd(e *env, cold bool) {
	for _, ask := range []uint32{in | et, in | rdhup | et} {
		s, x, y := e.scene(cold)
		s.add(x, ask)
		y.write("unread")
		s.is(report{x, in})
		s.none()
		y.close()
		s.soon(report{x, ask&^et | e.closedHup()})
		s.none()
		x.read("unread")
		x.eof()
		s.none()
	}
}

func testEpollOneshot(e *env, cold bool) {
	s, x, y := e.scene(cold)
	s.add(x, in|oneshot)
	s.none()
	y.write("one")
	s.is(report{x, in})
	s.none()
	x.read("one")
	y.write("two")
	s.none()
	s.mod(x, in|oneshot)
	s.soon(report{x, in})
	s.none()
	x.read("two")
	s.mod(x, in|oneshot)
	s.none()
	y.write("three")
	s.soon(report{x, in})
	y.close()
	s.none() // disarmed is deaf to the end too
	s.mod(x, in|rdhup|oneshot|et)
	s.is(report{x, in | rdhup | e.closedHup()})
	s.none()
}

func testEpollMod(e *env, cold bool) {
	s, x, y := e.scene(cold)
	y.write("there")
	s.add(x, rdhup)
	s.none()
	s.mod(x, in)
	s.is(report{x, in})
	s.mod(x, out)
	s.is(report{x, out})
	s.mod(x, in|out|et)
	s.is(report{x, in | out})
	s.none()
	s.mod(x, in|out|et)
	s.is(report{x, in | out})
	s.mod(x, 0)
	s.none()
	x.read("there")
	s.mod(x, in)
	s.none()
	y.write("more")
	s.soon(report{x, in})
}

func testEpollDel(e *env, cold bool) {
	s, x, y := e.scene(cold)
	o := e.set(x.th)
	o.cold = cold
	s.add(x, in)
	s.none()
	s.del(x)
	y.write("unseen")
	s.none()
	o.add(x, in)
	o.is(report{x, in})
	s.none()
	x.read("unseen")
	o.none()
	o.del(x)
	s.add(x, in)
	y.write("seen")
	o.none()
	s.soon(report{x, in})
}

func testEpollData(e *env) {
	th := e.thread()
	s := e.set(th)
	x, y := e.pair(th, th)
	y.write("data")
	evs := make([]vls.EpollEvent, 2)
	for i, word := range []uint64{0, 1<<64 - 1, 0xdeadbeefcafe} {
		op := core.EPOLL_CTL_MOD
		if i == 0 {
			op = core.EPOLL_CTL_ADD
		}
		e.ok(th.EpollCtl(s.h, op, x.h, &vls.EpollEvent{Events: in, Data: word}))
		e.count(1)(th.EpollWait(s.h, evs, 0))
		if evs[0] != (vls.EpollEvent{Events: in, Data: word}) {
			e.fatalf("event %+v, want IN with %#x", evs[0], word)
		}
	}
}

func testEpollAddReady(e *env) {
	th := e.thread()
	for _, mode := range []uint32{0, et, oneshot, et | oneshot} {
		s := e.set(th)
		data, y := e.pair(th, th)
		y.write("early")
		idle, _ := e.pair(th, th)
		ended, z := e.pair(th, th)
		z.close()
		reset, w := e.pair(th, th)
		reset.write("unread")
		w.close()
		l, ep := e.listen(th, 1)
		e.connect(th, ep)
		for _, x := range []end{data, idle, ended, reset, l} {
			s.add(x, in|out|rdhup|mode)
		}
		s.soon(
			report{data, in | out}, report{idle, out}, report{ended, in | out | rdhup | e.closedHup()},
			report{reset, in | out | rdhup | errs | hup}, report{l, in},
		)
		if mode != 0 {
			s.none()
		}
	}
}

func testEpollListener(e *env, cold bool) {
	a, b := e.thread(), e.thread()
	s := e.set(a)
	s.cold = cold
	// It may become a listener as a member.
	l, ep := e.create(a, false), e.address()
	s.add(l, in|out)
	s.none()
	e.ok(a.Bind(l.h, ep))
	e.ok(a.Listen(l.h, 8))
	s.none()
	e.connect(b, ep)
	e.connect(b, ep)
	s.is(report{l, in})
	l.accept()
	s.is(report{l, in})
	l.accept()
	s.none()
	e.connect(b, ep).close()
	s.soon(report{l, in})
}

func testEpollPeerCloses(e *env, cold bool) {
	for _, ask := range []uint32{in, rdhup, in | rdhup, in | out | rdhup} {
		for _, end := range []struct {
			of func(x end)
			is uint32
		}{
			{end.close, ask | e.closedHup()},
			{func(x end) { e.ok(x.th.Shutdown(x.h, syscall.SHUT_WR)) }, ask},
		} {
			s, x, y := e.scene(cold)
			s.add(x, ask&^out)
			s.none()
			s.mod(x, ask)
			end.of(y)
			s.soon(report{x, end.is})
			s.is(report{x, end.is})
			x.eof()
			s.is(report{x, end.is})
			e.ok(x.th.Shutdown(x.h, syscall.SHUT_WR))
			s.soon(report{x, ask | hup})
		}
	}
	// HUP needs both directions.
	s, x, y := e.scene(cold)
	s.add(x, in|rdhup)
	e.ok(x.th.Shutdown(x.h, syscall.SHUT_WR))
	s.none()
	y.eof()
	y.close()
	s.soon(report{x, in | rdhup | hup})
}

func testEpollReset(e *env, cold bool) {
	for _, mode := range []uint32{0, et, oneshot} {
		for _, ask := range []uint32{0, in, rdhup, in | rdhup} {
			s, x, y := e.scene(cold)
			s.add(x, ask|mode)
			x.write("unread")
			s.none()
			y.close()
			s.soon(report{x, ask | errs | hup})
			if mode == 0 {
				s.is(report{x, ask | errs | hup})
			} else {
				s.none()
			}
		}
	}
	s, x, y := e.scene(cold)
	s.add(x, out|et)
	s.is(report{x, out})
	s.none()
	x.write("unread")
	y.close()
	s.soon(report{x, out | errs | hup})
}

func testEpollResetOwn(e *env, cold bool) {
	for _, ask := range []uint32{0, out | et, in | et, in | out | rdhup | et} {
		s, x, y := e.scene(cold)
		y.close()
		s.add(x, ask)
		if ask&^et != 0 {
			s.is(report{x, ask &^ et})
		}
		s.none()
		x.write("into the void")
		s.soon(report{x, ask&^et | errs | hup})
	}
}

func testEpollOwnShutdown(e *env, cold bool) {
	s, x, _ := e.scene(cold)
	s.add(x, in|rdhup)
	s.none()
	e.ok(x.th.Shutdown(x.h, syscall.SHUT_RD))
	s.soon(report{x, in | rdhup})
	s.mod(x, et)
	s.none()
	e.ok(x.th.Shutdown(x.h, syscall.SHUT_WR))
	s.soon(report{x, hup})

	// A write that would say EPIPE does not wait for space.
	s, x, _ = e.scene(cold)
	s.add(x, out)
	x.fill()
	s.none()
	e.ok(x.th.Shutdown(x.h, syscall.SHUT_WR))
	if !e.unix() { // there space counts alone
		s.soon(report{x, out})
	}
}

func testEpollCloseMember(e *env, cold bool) {
	s, x, y := e.scene(cold)
	o, p := e.pair(x.th, y.th)
	s.add(x, in)
	s.add(o, in)
	s.none()
	y.write("unread")
	s.is(report{x, in})
	x.close()
	s.none()
	e.want(syscall.EBADFD, s.ctl(core.EPOLL_CTL_MOD, x, in))
	e.want(syscall.EBADFD, s.ctl(core.EPOLL_CTL_DEL, x, in))
	// Whoever gets the slot next is not a member.
	n, m := e.pair(x.th, x.th)
	m.write("not for the set")
	s.none()
	e.want(syscall.ENOENT, s.ctl(core.EPOLL_CTL_MOD, n, in))
	p.write("still reported")
	s.soon(report{o, in})
}

func testEpollFair(e *env, cold bool) {
	a, b := e.thread(), e.thread()
	const n, room = 20, 3
	for _, mode := range []uint32{0, et} {
		s := e.set(a)
		s.cold = cold
		peers := make(map[uint64]end)
		for range n {
			x, y := e.pair(a, b)
			s.add(x, in|mode)
			peers[uint64(x.h)] = y
		}
		s.none()
		for _, y := range peers {
			y.write("ready")
		}
		seen := make(map[uint64]int)
		evs := make([]vls.EpollEvent, room)
		for len(seen) < n {
			got, err := a.EpollWait(s.h, evs, 0)
			e.ok(err)
			if want := min(room, n-len(seen)); got < want {
				e.fatalf("%d reported, with %d of %d never reported", got, n-len(seen), n)
			}
			for i, ev := range evs[:got] {
				if seen[ev.Data]++; seen[ev.Data] > 1 && len(seen)+i < n && mode != 0 {
					e.fatalf("%#x is reported again", ev.Data)
				}
			}
			if total := len(seen); total < n && total%room != 0 {
				e.fatalf("who was reported came before %d who were not", n-total)
			}
		}
		if mode != 0 {
			s.none()
		}
	}
}

func testEpollTwoSets(e *env, cold bool) {
	s, x, y := e.scene(cold)
	o := e.set(x.th)
	o.cold = cold
	u, v := e.pair(x.th, y.th)
	s.add(x, in)
	o.add(u, in|et)
	s.none()
	o.none()
	for range 3 {
		y.write("x's")
		o.none() // though this wait takes the event off the queue
		s.is(report{x, in})
		v.write("u's")
		s.is(report{x, in})
		o.soon(report{u, in})
		o.none()
		x.read("x's")
		u.read("u's")
		s.none()
	}
}

func testEpollMany(e *env) {
	a, b := e.thread(), e.thread()
	s := e.set(a)
	s.cold = true
	const n = 300
	var xs, ys []end
	for range n {
		x, y := e.pair(a, b)
		s.add(x, in)
		xs, ys = append(xs, x), append(ys, y)
	}
	s.none()
	for i := range 60 {
		k := i * 37 % n
		ys[k].write("you")
		s.soon(report{xs[k], in})
		xs[k].read("you")
		if i%10 == 0 {
			s.none()
		}
	}
}

func testEpollTimeouts(e *env) {
	a := e.thread()
	b := e.far(a)
	x, y := e.pair(a, b)
	s := e.set(a)
	s.waits(0, nil)
	s.waits(time.Millisecond, nil)
	s.waits(time.Nanosecond, nil)
	s.add(x, in)
	s.waits(0, nil)
	s.waits(time.Millisecond, nil)
	for _, timeout := range []time.Duration{-1, -time.Hour, time.Hour, 5 * time.Second} {
		join := e.start(func() {
			s.waits(timeout, []report{{x, in}})
			x.read("wake up")
		})
		e.pause()
		y.write("wake up")
		join()
	}
	// Waits that end in the moment the data comes lose none of it.
	n := e.rounds(200)
	join := e.start(func() {
		evs := make([]vls.EpollEvent, 1)
		for got := 0; got < n; {
			k, err := s.th.EpollWait(s.h, evs, 20*time.Microsecond)
			e.ok(err)
			if k > 0 {
				x.read("z")
				y.e.count(1)(x.th.Write(x.h, []byte("z")))
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

func testEpollWoken(e *env) {
	a := e.thread()
	b := e.far(a)
	s := e.set(a)
	woken := func(x end, ask, got uint32, by func()) {
		e.t.Helper()
		s.add(x, ask)
		join := e.start(func() { s.soon(report{x, got}) })
		e.pause()
		by()
		join()
		s.del(x)
	}
	for _, mode := range []uint32{0, et} {
		l, ep := e.listen(a, 4)
		var x, y end
		woken(l, in|mode, in, func() { y = e.connect(b, ep) })
		x = l.accept()
		woken(x, in|mode, in, func() { y.write("data") })
		x.read("data")
		n := x.fill()
		woken(x, out|mode, out, func() { y.receive(0, 0, n, 3000) })
		woken(x, rdhup|mode, rdhup, func() { e.ok(b.Shutdown(y.h, syscall.SHUT_WR)) })
		x.write("unread")
		woken(x, mode, errs|hup, y.close)

		x, y = e.pair(a, b)
		woken(x, in|rdhup|mode, in|rdhup|e.closedHup(), y.close)
	}
}

func testEpollPingPong(e *env) {
	a := e.thread()
	b := e.far(a)
	x, y := e.pair(a, b)
	for _, mode := range []uint32{0, et} {
		rounds := e.rounds(300)
		serve := func(z end, first bool) {
			s := e.set(z.th)
			z.nonblock(true)
			s.add(z, in|mode)
			if first {
				z.write("!")
			}
			buf := make([]byte, 10)
			for got := 0; got < rounds; {
				n, err := z.th.Read(z.h, buf)
				if err == syscall.EWOULDBLOCK {
					s.soon(report{z, in})
					continue
				}
				e.count(1)(n, err)
				if got++; !first || got < rounds {
					z.write("!")
				}
			}
			s.close()
		}
		join := e.start(func() { serve(y, false) })
		serve(x, true)
		join()
	}
}

// testEpollServer serves echo to clients in processes of their own.
func testEpollServer(e *env) {
	for _, mode := range []uint32{0, et} {
		th := e.thread()
		l, ep := e.listen(th, 32)
		const clients, conns, total = 3, 8, 40_000
		var joins []func()
		for k := range clients {
			c := e.thread()
			joins = append(joins, e.start(func() {
				for i := range conns {
					x := e.connect(c, ep)
					seed := 10*k + i
					const piece = fifoSize / 2 // one thread writes and reads: it must fit
					for pos := 0; pos < total; pos += piece {
						to := min(pos+piece, total)
						x.send(seed, pos, to, 2000)
						x.receive(seed, pos, to, 3000)
					}
					x.close()
				}
			}))
		}
		e.echo(th, l, mode, clients*conns)
		for _, join := range joins {
			join()
		}
		l.close()
		e.empty(th)
	}
}

// echo serves n connections of a listener on one set until they have ended.
func (e *env) echo(th vls.Thread, l end, mode uint32, n int) {
	e.t.Helper()
	s := e.set(th)
	l.nonblock(true)
	s.add(l, in|mode)
	type state struct {
		x       end
		pending []byte
		ended   bool
	}
	states := make(map[uint64]*state)
	evs := make([]vls.EpollEvent, 4)
	buf := make([]byte, 1500)
	for n > 0 {
		k, err := th.EpollWait(s.h, evs, -1)
		e.ok(err)
		for _, ev := range evs[:k] {
			if ev.Data == uint64(l.h) {
				for {
					h, _, err := th.Accept(l.h, syscall.O_NONBLOCK)
					if err == syscall.EAGAIN {
						break
					}
					e.ok(err)
					x := end{e, th, h}
					states[uint64(h)] = &state{x: x}
					events := uint32(in | mode)
					if mode&et != 0 {
						events |= out
					}
					s.add(x, events)
				}
				continue
			}
			c := states[ev.Data]
			if c == nil {
				e.fatalf("a report of %#x, which is no member", ev.Data)
			}
			for {
				if len(c.pending) == 0 {
					got, err := th.Read(c.x.h, buf)
					if err == syscall.EWOULDBLOCK {
						break
					}
					e.ok(err)
					if got == 0 {
						c.ended = true
						break
					}
					c.pending = append(c.pending, buf[:got]...)
				}
				sent, err := th.Write(c.x.h, c.pending)
				if err == syscall.EWOULDBLOCK {
					if mode&et == 0 {
						s.mod(c.x, out)
					}
					break
				}
				e.ok(err)
				c.pending = c.pending[sent:]
				if mode&et == 0 && len(c.pending) == 0 {
					s.mod(c.x, in)
				}
			}
			if c.ended {
				delete(states, ev.Data)
				c.x.close()
				n--
			}
		}
	}
	s.close()
}

func testEpollCtlBeside(e *env) {
	a := e.thread()
	x, y := e.pair(a, e.far(a))
	s := e.set(a)
	modes := []uint32{0, et, oneshot, et | oneshot}
	for i := range e.rounds(200) {
		mode := in | modes[i/2%len(modes)]
		op := core.EPOLL_CTL_ADD
		if i%2 == 0 {
			s.add(x, 0)
			s.waits(time.Microsecond, nil) // comes to rest
			op = core.EPOLL_CTL_MOD
		}
		join := e.start(func() { y.write("z") })
		for range i * 7 % 300 {
			hw.Pause()
		}
		e.ok(s.ctl(op, x, mode))
		s.soon(report{x, in})
		x.read("z")
		join()
		s.del(x)
	}
}

func testEpollOneSet(e *env) {
	a, c := e.thread(), e.thread()
	const sessions, rounds = 5, 30
	for _, mode := range []uint32{in | oneshot, in | oneshot | et} {
		s := e.set(a)
		ends := make(map[uint64]end)
		var peers []end
		for range sessions {
			x, y := e.pair(a, c)
			s.add(x, mode)
			ends[uint64(x.h)] = x
			peers = append(peers, y)
		}
		var joins []func()
		for range 4 * runtime.NumCPU() {
			th := e.near(a)
			joins = append(joins, e.start(func() {
				var evs [1]vls.EpollEvent
				for {
					n, err := th.EpollWait(s.h, evs[:], -1)
					if err == syscall.EBADFD {
						break
					}
					e.count(1)(n, err)
					x := ends[evs[0].Data].on(th)
					x.read("?")
					x.write("!")
					// The last answer may be followed by the close at once.
					if err := (set{end: s.on(th)}).ctl(core.EPOLL_CTL_MOD, x, mode); err != syscall.EBADFD {
						e.ok(err)
					}
				}
				e.ok(th.Exit())
			}))
		}
		for range rounds {
			for _, y := range peers {
				y.write("?")
			}
			for _, y := range peers {
				y.read("!")
			}
		}
		s.close()
		for _, join := range joins {
			join()
		}
		for _, x := range ends {
			x.close()
		}
	}
	e.empty(a)
}

func testEpollWaitSeesAdd(e *env) {
	a := e.thread()
	b := e.near(a)
	for range 5 {
		s := e.set(a)
		x, y := e.pair(a, a)
		y.write("early")
		join := e.start(func() { s.soon(report{x, in}) })
		e.pause()
		s2 := set{end: s.on(b)}
		s2.add(x, in)
		join()
		x.read("early")
		join = e.start(func() { s.soon(report{x, out}) })
		e.pause()
		s2.mod(x, out)
		join()
		s.close()
	}
}

func testCloseMemberOfWaited(e *env) {
	a := e.thread()
	b := e.near(a)
	for range 5 {
		s := e.set(a)
		x, y := e.pair(a, a)
		u, v := e.pair(a, a)
		s.add(x, in)
		s.add(u, in)
		join := e.start(func() { s.soon(report{u, in}) })
		e.pause()
		x.on(b).close()
		y.on(b).eof()
		e.pause()
		v.on(b).write("for u")
		join()
		s.close()
	}
}

func testEpollTwoThreads(e *env) {
	p := e.process()
	c := e.thread()
	const n = 3
	var joins []func()
	var peers []end
	for i := range n {
		th := e.threadOf(p)
		x, y := e.pair(th, c)
		peers = append(peers, y)
		joins = append(joins, e.start(func() {
			s := e.set(th)
			s.add(x, in)
			for range 50 {
				s.soon(report{x, in})
				x.read(string(rune('a' + i)))
				x.write("ok")
			}
			s.close()
		}))
	}
	for k := range 50 {
		for i := range n {
			i = (i*2 + k) % n
			peers[i].write(string(rune('a' + i)))
			peers[i].read("ok")
			if k%16 == 0 {
				e.pause()
			}
		}
	}
	for _, join := range joins {
		join()
	}
}

func testEpollHandoff(e *env) {
	a, c := e.thread(), e.thread()
	b := e.near(a)
	for range 10 {
		x, y := e.pair(a, c)
		u, v := e.pair(b, c)
		// Both wait, one of them on the queue. Whichever leaves first, the
		// other is told.
		first := e.start(func() { x.read("first") })
		second := e.start(func() {
			s := e.set(b)
			s.add(u, in)
			s.soon(report{u, in})
			s.close()
		})
		e.pause()
		y.write("first")
		first()
		e.pause()
		v.write("second")
		second()
	}
}

func testWriteBesideOut(e *env) {
	a := e.thread()
	b := e.near(a)
	c := e.thread()
	for range 3 {
		x, y := e.pair(a, c)
		n := x.fill()
		join := e.start(func() { x.write("12345678") })
		e.pause()
		s := e.set(b)
		s.add(x, out)
		waiter := e.start(func() { s.soon(report{x, out}) })
		e.pause()
		y.receive(0, 0, 16, 16)
		join()
		y.receive(0, 16, n, 4000)
		y.read("12345678")
		waiter()
		s.close()
		x.close()
		y.close()
	}
}
