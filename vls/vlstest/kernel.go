package vlstest

import (
	"encoding/binary"
	"strings"
	"syscall"
	"time"

	"vlsbench/core"
	"vlsbench/vls"
)

// difference is a case that VCL and Linux do not agree on. A strategy of kind
// [vls.Kernel] has to do what Linux does.
type difference struct {
	name string
	doc  string     // what Linux does, one sentence
	run  func(*env) // and the proof; nil: there is nothing to prove, and the case is left out
}

// differences is all in which a kernel strategy may behave otherwise.
var differences = []difference{
	{"listen-idempotent", "a backlog of n holds n+1 connections, and listen sets it anew", testLinuxBacklogAnew},
	{"listen-errors", "a taken endpoint is EADDRINUSE from bind", testLinuxListenErrors},
	{"connect-backlog", "a connect beyond the backlog waits: of TCP EINPROGRESS for as long, of AF_UNIX refused if non-blocking", testLinuxBacklog},
	{"connect-errors", "a second connect is EISCONN", testLinuxConnectErrors},
	{"connect-nonblocking", "before connect a session is OUT and HUP; of AF_UNIX a non-blocking connect is over at once", testLinuxConnectNonblocking},
	{"connect-nonblocking-fails", "TCP reports a failed connect as IN and RDHUP too, and its end of stream is read; AF_UNIX refuses at once", testLinuxConnectFails},
	{"accept-reset", "the write that resets is followed by EPIPE, of AF_UNIX it is EPIPE itself", testLinuxAcceptReset},
	{"write-short", "a non-blocking write writes what the kernel's buffers take, then EWOULDBLOCK", testLinuxWriteShort},
	{"write-wakes-for-space", "a blocked writer goes on when a good part of the buffer is free, however little it writes", testLinuxWriteFew},
	{"shutdown-read", "of AF_UNIX the peer's writes are EPIPE then", testLinuxShutdownRead},
	{"attr", "NREAD of a listener of AF_UNIX is EINVAL, of what is not connected 0; NWRITE is an estimate", testLinuxAttr},
	{"close-unread-resets", "the peer reads what came before the reset, then ECONNRESET once, then the end", testLinuxCloseUnread},
	{"close-then-written-to", "a write to a closed peer is EPIPE, with TCP only the second", testLinuxCloseWritten},
	{"close-listener-refuses", "the reset of a connection that was not accepted is told once, then writes are EPIPE", testLinuxCloseListener},
	{"shutdown-wakes-own", "of TCP what was full may have room once more", testLinuxShutdownWakesOwn},
	{"close-wakes-writer", "of TCP what was full may have room once more", testLinuxCloseWakesWriter},
	{"reset-wakes-writer", "of AF_UNIX that may be EPIPE, if the wait was not in write itself", testLinuxResetWakesWriter},
	{"epoll-ctl-errors", "a set may hold a set, and a session may be in several, each of which knows its own alone", testLinuxCtl},
	{"epoll-level-out", "OUT is true while a good part of the buffer is free", hotAndCold(testLinuxLevelOut)},
	{"epoll-edge-out", "a reader that frees a little may bring OUT; of AF_UNIX it is news whenever space is freed, full before or not", hotAndCold(testLinuxEdgeOut)},
	{"epoll-edge-end", "of AF_UNIX a peer that closes is HUP too", hotAndCold(testEpollEdgeEnd)},
	{"epoll-oneshot", "of AF_UNIX a peer that closes is HUP too", hotAndCold(testEpollOneshot)},
	{"epoll-add-ready", "of AF_UNIX a peer that closes is HUP too", testEpollAddReady},
	{"epoll-peer-closes", "of AF_UNIX a peer that closes is HUP too", hotAndCold(testEpollPeerCloses)},
	{"epoll-woken", "of AF_UNIX a peer that closes is HUP too; of TCP who spins may find a reset half told", unlessHalfTold(testEpollWoken)},
	{"poll-woken", "of TCP who spins may find a reset half told: ERR, and HUP at the next look", unlessHalfTold(testPollWoken)},
	{"epoll-listener", "before listen a session is OUT and HUP", hotAndCold(testLinuxEpollListener)},
	{"epoll-reset-by-own-write", "with AF_UNIX a write to a closed peer is EPIPE, and HUP was there before", hotAndCold(testLinuxResetOwn)},
	{"write-beside-epoll-out", "a blocked writer and a set that waits for OUT are told at once when a good part of the buffer is free", testLinuxWriteBesideOut},
	{"segment-exhausted", "Linux has no segment to exhaust", nil},
	{"worker-without-memory", "Linux has no segment to exhaust", nil},
	{"max-threads", "threads are the caller's own", nil},
	{"session-layer-thread", "Linux has its session layer in the kernel", nil},
	{"connect-under-way", "a connect beyond the backlog is under way for long; of AF_UNIX it is refused", testLinuxConnectUnderWay},
	{"connect-at-once", "Linux has its session layer in the kernel, and two that connect at once wait for one connection", nil},
	{"listen-at-once", "Linux listens at once", nil},
	{"connect-times-out", "Linux gives up after minutes", nil},
	{"listen-times-out", "Linux listens at once", nil},
	{"connect-closed-under-way", "Linux has its session layer in the kernel", nil},
	{"close-wakes-connector", "Linux listens at once, and connects as soon as there is room", nil},
	{"attr-switches", "NODELAY is on from the start; AF_UNIX has neither that nor REUSEPORT, which are ENOTSUP", testLinuxSwitches},
	{"attr-numbers", "MSS is what the connection came to; AF_UNIX has none of them, which are ENOTSUP", testLinuxNumbers},
	{"attr-fifo-sizes", "a buffer's size is twice what was asked for, within the limits of the system, and can be set at any time", testLinuxFifos},
	{"attr-inherited", "of AF_UNIX an accepted session has no options of its listener's", testLinuxInherited},
	{"attr-v6only", "a taken endpoint is EADDRINUSE from bind", testAttrV6only},
	{"poll-ready", "before connect a session is OUT and HUP", testPollReady},
	{"poll-unasked", "AF_UNIX refuses a non-blocking connect at once", testPollUnasked},
	{"poll-sees-connect", "before connect a session is OUT and HUP, so that there is nothing to wait for", nil},
	{"dgram-listen-accept", "listen on datagrams is EOPNOTSUPP, accept too, bound or not", testDgramListen},
	{"dgram-recv-errors", "what is not bound has nothing to read", testDgramRecvErrors},
	{"dgram-send-errors", "who is not connected needs an endpoint, bound or not; only what UDP cannot carry is EMSGSIZE", testDgramSendErrors},
	{"dgram-connect-nonblocking", "a non-blocking connect is over at once", testDgramConnectNonblocking},
	{"dgram-full", "a receiver that is full drops", nil},
	{"dgram-send-waits", "a receiver that is full drops", nil},
	{"dgram-close-receiver", "a receiver that is full drops, and nobody waits for it", nil},
	{"dgram-close-wakes", "nobody waits for room", testDgramCloseWakes},
	{"dgram-shutdown", "what is bound alone is ENOTCONN", testDgramShutdown},
	{"dgram-shutdown-wakes", "nobody waits for room", testDgramShutdownWakes},
	{"dgram-attr", "NWRITE is an estimate", testDgramAttr},
	{"dgram-epoll-edge", "OUT is always true: nobody waits for room", hotAndCold(testDgramEpollEdge)},
	{"fork-listener-turns", "a listener has one queue: whoever accepts gets the oldest connection", testLinuxForkListener},
	{"fork-listener-epoll", "all sets that hold a listener report it while a connection waits", testLinuxForkListenerEpoll},
	{"fork-listener-heir", "connections wait with the listener, not with a process", nil},
	{"fork-dead-listener", "connections wait with the listener, not with a process", testLinuxForkDead},
	{"fork-unconnected", "before connect a session is OUT and HUP, and a second connect is EISCONN", testLinuxForkUnconnected},
	{"fork-sets", "parent and child have one set, and one interest list", testLinuxForkSets},
	{"fork-edge", "parent and child have one set: who waits first takes the report", testLinuxForkEdge},
	{"reuseport-turns", "which listener gets a connection is left to a hash; AF_UNIX has no REUSEPORT, which is ENOTSUP", testLinuxReuseport},
	{"reuseport-refused", "that is said by bind; AF_UNIX has no REUSEPORT", testLinuxReuseportRefused},
	{"reuseport-closes", "how many waited with it is left to a hash; AF_UNIX has no REUSEPORT", testLinuxReuseportCloses},
}

// linux is the case as Linux has it, if that is what the strategy is to show and
// it differs. skip is set if nothing is left of it then.
func (c testCase) linux(s vls.Strategy) (_ testCase, skip string) {
	if s.Kind != vls.Kernel {
		return c, ""
	}
	for _, d := range differences {
		if d.name == c.name {
			if d.run == nil {
				return c, d.doc
			}
			c.run, c.doc = d.run, d.doc
		}
	}
	return c, ""
}

// kernel reports whether the strategy under test is one of Linux.
func (e *env) kernel() bool { return e.strategy.Kind == vls.Kernel }

// unix reports whether the strategy under test has sockets of AF_UNIX, which its
// name says.
func (e *env) unix() bool {
	return e.kernel() && strings.HasSuffix(e.strategy.Name, "-unix")
}

// closedHup is what a peer's close adds to its end of stream: of AF_UNIX a peer
// that has closed hears no more, so that both directions are down.
func (e *env) closedHup() uint32 {
	if e.unix() {
		return hup
	}
	return 0
}

// unconnected is what is true, unasked, of a stream before connect and listen.
func (e *env) unconnected() uint32 {
	if e.kernel() {
		return hup
	}
	return 0
}

// unlessHalfTold leaves out what a look at the wrong moment may see otherwise.
func unlessHalfTold(run func(*env)) func(*env) {
	return func(e *env) {
		if e.unix() || e.wait != vls.Spin {
			run(e)
		}
	}
}

// settled reports whether a session that is full will stay so. With TCP what was
// written moves on when an acknowledgement comes, which may be delayed for 40 ms;
// asked again, it has come, and there is no more to move to.
func (e *env) settled(asked *bool) bool {
	if *asked || !e.kernel() || e.unix() {
		return true
	}
	*asked = true
	time.Sleep(45 * time.Millisecond)
	return false
}

// full wants a listener's backlog to be full.
func (e *env) full(th vls.Thread, ep vls.Endpoint) {
	e.t.Helper()
	x := e.create(th, true)
	if e.unix() {
		e.want(syscall.ECONNREFUSED, th.Connect(x.h, ep))
	} else {
		e.want(syscall.EINPROGRESS, th.Connect(x.h, ep))
		s := e.set(th)
		s.add(x, out)
		s.waits(time.Millisecond, nil)
		s.close()
	}
	x.close()
}

func testLinuxBacklogAnew(e *env) {
	th := e.thread()
	l, ep := e.listen(th, 1)
	e.connect(th, ep)
	e.connect(th, ep)
	e.full(th, ep)
	e.ok(th.Listen(l.h, 2))
	e.connect(th, ep)
	e.full(th, ep)
	l.attrIs(core.GetListen, 1)
}

func testLinuxListenErrors(e *env) {
	th := e.thread()
	e.want(syscall.EINVAL, th.Listen(e.create(th, false).h, 1))
	x, _ := e.pair(th, th)
	e.want(syscall.EINVAL, th.Listen(x.h, 1))
	e.want(syscall.EBADFD, th.Listen(e.set(th).h, 1))

	l, ep := e.listen(th, 1)
	for _, o := range []vls.Thread{th, e.thread()} {
		m := e.create(o, false)
		e.want(syscall.EADDRINUSE, o.Bind(m.h, ep))
		e.want(syscall.EINVAL, o.Listen(m.h, 1))
	}
	// One that is in TIME_WAIT is not in the way.
	y := e.connect(th, ep)
	l.accept().close()
	y.eof()
	y.close()
	l.close()
	m := e.create(th, false)
	e.ok(th.Bind(m.h, ep))
	e.ok(th.Listen(m.h, 1))
}

func testLinuxBacklog(e *env) {
	th := e.thread()
	l, ep := e.listen(th, 3)
	for range 4 {
		e.connect(th, ep)
	}
	e.full(th, ep)
	l.accept()
	e.connect(th, ep)
	e.full(th, ep)
	for range 4 {
		l.accept()
	}
	l.nonblock(true)
	e.want(syscall.EAGAIN, err2(th.Accept(l.h, 0)))
}

func testLinuxConnectErrors(e *env) {
	th := e.thread()
	l, ep := e.listen(th, 4)
	x := e.connect(th, ep)
	e.want(syscall.EISCONN, th.Connect(x.h, ep))
	y := l.accept()
	x.write("still connected")
	y.read("still connected")
	e.want(syscall.EINVAL, th.Connect(l.h, ep))
	z := e.create(th, false)
	e.want(syscall.EINVAL, th.Connect(z.h, vls.Endpoint{}))
	e.want(syscall.EBADFD, th.Connect(e.set(th).h, ep))
	e.ok(th.Connect(z.h, ep))
}

func testLinuxConnectNonblocking(e *env) {
	th := e.thread()
	l, ep := e.listen(th, 4)
	for _, early := range []bool{true, false} {
		x, s := e.create(th, true), e.set(th)
		if early {
			s.add(x, core.EPOLLOUT)
			s.is(report{x, out | hup})
		}
		if e.unix() {
			e.ok(th.Connect(x.h, ep))
		} else {
			e.want(syscall.EINPROGRESS, th.Connect(x.h, ep))
		}
		if !early {
			s.add(x, core.EPOLLOUT)
		}
		s.soon(report{x, core.EPOLLOUT})
		x.attrIs(core.GetError, 0)
		if !e.unix() {
			e.ok(th.Connect(x.h, ep))
		}
		e.want(syscall.EISCONN, th.Connect(x.h, ep))
		y := l.accept()
		x.write("hello")
		y.read("hello")
	}
}

func testLinuxConnectFails(e *env) {
	th := e.thread()
	x, s := e.create(th, true), e.set(th)
	if e.unix() {
		e.want(syscall.ECONNREFUSED, th.Connect(x.h, e.address()))
		x.reading(syscall.ENOTCONN)
		x.writing(syscall.ENOTCONN)
		return
	}
	e.want(syscall.EINPROGRESS, th.Connect(x.h, e.address()))
	s.add(x, out|in|rdhup)
	s.soon(report{x, out | in | rdhup | errs | hup})
	x.attrIs(core.GetError, int(syscall.ECONNREFUSED))
	x.attrIs(core.GetError, 0)
	x.eof()
	x.writing(syscall.ENOTCONN)
}

// resets wants the session's first write, if it is accepted, to reset it.
func (x end) resets() {
	x.e.t.Helper()
	if !x.e.unix() {
		x.write("into the void")
	}
	x.writing(syscall.EPIPE)
	x.eof()
}

func testLinuxAcceptReset(e *env) {
	th := e.thread()
	l, ep := e.listen(th, 4)
	x := e.connect(th, ep)
	x.close()
	l.accept().resets()
}

func testLinuxWriteShort(e *env) {
	th := e.thread()
	x, y := e.pair(th, th)
	x.nonblock(true)
	big := make([]byte, 32<<20)
	for i := range big {
		big[i] = at(1, i)
	}
	n, err := th.Write(x.h, big)
	e.ok(err)
	if n == len(big) {
		e.fatalf("all of %d bytes were written, and nobody read", n)
	}
	for {
		m, err := th.Write(x.h, big[n:])
		if err == syscall.EWOULDBLOCK {
			break
		}
		e.ok(err)
		n += m
	}
	y.receive(1, 0, n, 1<<20)
	e.count(100)(th.Write(x.h, big[n:n+100]))
	y.receive(1, n, n+100, 100)
	y.nonblock(true)
	y.reading(syscall.EWOULDBLOCK)
}

func testLinuxWriteFew(e *env) {
	a := e.thread()
	x, y := e.pair(a, e.far(a))
	for range 3 {
		n := x.fill()
		join := e.start(func() { x.write("12345678") })
		e.pause()
		y.receive(0, 0, n, 4000)
		join()
		y.read("12345678")
	}
}

func testLinuxShutdownRead(e *env) {
	if !e.unix() {
		testShutdownRead(e)
		return
	}
	th := e.thread()
	x, y := e.pair(th, th)
	y.write("buffered")
	e.ok(th.Shutdown(x.h, syscall.SHUT_RD))
	x.read("buffered")
	x.eof()
	y.writing(syscall.EPIPE)
	x.write("writing works")
	y.read("writing works")
}

func testLinuxAttr(e *env) {
	th := e.thread()
	l, ep := e.listen(th, 4)
	l.attrIs(core.GetListen, 1)
	x := e.connect(th, ep)
	if e.unix() {
		e.want(syscall.EINVAL, err1(th.Attr(l.h, core.GetNread, make([]byte, 4))))
	} else {
		l.attrIs(core.GetNread, 1)
	}
	y := l.accept()
	if !e.unix() {
		l.attrIs(core.GetNread, 0)
	}
	x.attrIs(core.GetListen, 0)
	x.attrIs(core.GetError, 0)
	x.attrIs(core.GetNread, 0)
	x.write("12345")
	y.attrIs(core.GetNread, 5)
	y.read("12345")
	y.attrIs(core.GetNread, 0)

	room := x.attr(core.GetNwrite)
	n := x.fill()
	if left := x.attr(core.GetNwrite); left >= room {
		e.fatalf("room for %d bytes after %d were written, and for %d before", left, n, room)
	}
	y.receive(0, 0, n, 4000)

	x.nonblock(true)
	x.attrIs(core.GetFlags, syscall.O_NONBLOCK)
	x.reading(syscall.EWOULDBLOCK)
	x.nonblock(false)
	x.attrIs(core.GetFlags, 0)
	e.create(th, false).attrIs(core.GetNread, 0)
}

func testLinuxCloseUnread(e *env) {
	th := e.thread()
	x, y := e.pair(th, th)
	x.write("unread")
	y.write("not lost")
	y.close()
	x.read("not lost")
	x.reading(syscall.ECONNRESET)
	x.eof()
	x.writing(syscall.EPIPE)
}

func testLinuxCloseWritten(e *env) {
	th := e.thread()
	x, y := e.pair(th, th)
	y.write("last words")
	y.close()
	x.read("last words")
	x.eof()
	x.resets()
}

func testLinuxCloseListener(e *env) {
	th := e.thread()
	l, ep := e.listen(th, 8)
	var queued []end
	for range 5 {
		x := e.connect(th, ep)
		x.write("hello")
		queued = append(queued, x)
	}
	y := l.accept()
	l.close()
	e.want(syscall.ECONNREFUSED, th.Connect(e.create(th, false).h, ep))
	y.read("hello")
	y.write("accepted in time")
	queued[0].read("accepted in time")
	for _, x := range queued[1:] {
		x.reading(syscall.ECONNRESET)
		x.writing(syscall.EPIPE)
		x.eof()
	}
}

// writeOn writes zeros until that fails, and returns why.
func (x end) writeOn() error {
	for {
		if _, err := x.th.Write(x.h, make([]byte, 10)); err != nil {
			return err
		}
	}
}

func testLinuxShutdownWakesOwn(e *env) {
	a := e.thread()
	b := e.near(a)
	for range 3 {
		x, _ := e.pair(a, a)
		join := e.start(x.on(b).eof)
		e.pause()
		e.ok(a.Shutdown(x.h, syscall.SHUT_RD))
		join()

		x.fill()
		join = e.start(func() { e.want(syscall.EPIPE, x.on(b).writeOn()) })
		e.pause()
		e.ok(a.Shutdown(x.h, syscall.SHUT_WR))
		join()
	}
}

func testLinuxCloseWakesWriter(e *env) {
	a := e.thread()
	b := e.near(a)
	for n := 0; n < 5; {
		x, y := e.pair(a, a)
		full := x.fill()
		join := e.start(func() { n += e.waited(x.on(b).writeOn()) })
		e.pause()
		x.close()
		join()
		y.receive(0, 0, full, 5000)
		for k := 1; k > 0; {
			var err error
			k, err = a.Read(y.h, make([]byte, 1000))
			e.ok(err)
		}
		y.close()
	}
	e.empty(a)
}

func testLinuxResetWakesWriter(e *env) {
	a := e.thread()
	b := e.far(a)
	for range 3 {
		x, y := e.pair(a, b)
		x.fill()
		join := e.start(func() {
			err := x.writeOn()
			if err != syscall.EPIPE || !e.unix() {
				e.want(syscall.ECONNRESET, err)
			}
		})
		e.pause()
		y.close()
		join()
		x.close()
	}
}

func testLinuxCtl(e *env) {
	th := e.thread()
	s, o := e.set(th), e.set(th)
	x, y := e.pair(th, th)
	ev := &vls.EpollEvent{Events: in}
	add, mod, del := core.EPOLL_CTL_ADD, core.EPOLL_CTL_MOD, core.EPOLL_CTL_DEL
	for _, op := range []int{add, mod, del} {
		e.want(syscall.EINVAL, th.EpollCtl(s.h, op, s.h, ev))
	}
	e.want(syscall.EINVAL, th.EpollCtl(s.h, add, x.h, nil))
	e.want(syscall.EINVAL, th.EpollCtl(s.h, 17, x.h, ev))
	e.want(syscall.ENOENT, th.EpollCtl(s.h, mod, x.h, ev))
	e.want(syscall.ENOENT, th.EpollCtl(s.h, del, x.h, nil))
	s.add(x, in)
	e.want(syscall.EEXIST, th.EpollCtl(s.h, add, x.h, ev))
	e.want(syscall.EINVAL, th.EpollCtl(s.h, mod, x.h, nil))
	e.want(syscall.ENOENT, th.EpollCtl(o.h, mod, x.h, ev))
	o.add(x, in|et)
	y.write("for both")
	s.is(report{x, in})
	o.is(report{x, in})
	o.none()
	o.del(x)
	s.is(report{x, in})
	o.add(s.end, in) // a set in a set
	o.is(report{s.end, in})
	x.read("for both")
	o.none()
}

func testLinuxLevelOut(e *env, cold bool) {
	s, x, y := e.scene(cold)
	s.add(x, in|out)
	s.is(report{x, out})
	s.is(report{x, out})
	n := x.fill()
	s.none()
	y.receive(0, 0, n, 1000)
	s.soon(report{x, out})
	s.is(report{x, out})
	y.write("both")
	s.is(report{x, in | out})
}

func testLinuxEdgeOut(e *env, cold bool) {
	s, x, y := e.scene(cold)
	s.add(x, out|et)
	s.is(report{x, out})
	s.none()
	x.write("space is left")
	s.none()
	y.read("space is left")
	if e.unix() {
		s.is(report{x, out})
	}
	s.none()
	for range 3 {
		n := x.fill()
		s.none()
		y.receive(0, 0, n, 1000)
		s.soon(report{x, out})
		s.none()
	}
	n := x.fill()
	y.receive(0, 0, n, 1000)
	s.soon(report{x, out})
	s.none()
}

func testLinuxEpollListener(e *env, cold bool) {
	a, b := e.thread(), e.thread()
	s := e.set(a)
	s.cold = cold
	l, ep := e.create(a, false), e.address()
	s.add(l, in|out)
	s.is(report{l, out | hup})
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

func testLinuxResetOwn(e *env, cold bool) {
	if !e.unix() {
		testEpollResetOwn(e, cold)
		return
	}
	for _, ask := range []uint32{0, out | et, in | et, in | out | rdhup | et} {
		s, x, y := e.scene(cold)
		y.close()
		s.add(x, ask)
		s.is(report{x, ask&^et | hup})
		x.writing(syscall.EPIPE)
		if ask&et != 0 {
			s.none()
		} else {
			s.is(report{x, hup})
		}
	}
}

func testLinuxWriteBesideOut(e *env) {
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
		y.receive(0, 0, n, 4000)
		join()
		y.read("12345678")
		waiter()
		s.close()
		x.close()
		y.close()
	}
}

func testLinuxSwitches(e *env) {
	th := e.thread()
	x := e.create(th, false)
	set := func(a vls.Attr, v int) error {
		_, err := th.Attr(x.h, a, binary.NativeEndian.AppendUint32(nil, uint32(v)))
		return err
	}
	nodelay, has := 1, error(nil)
	if e.unix() {
		nodelay, has = 0, syscall.ENOTSUP
	}
	for _, s := range []struct {
		get, set vls.Attr
		first    int
		has      error
	}{
		{core.GetReuseaddr, core.SetReuseaddr, 0, nil},
		{core.GetReuseport, core.SetReuseport, 0, has},
		{core.GetBroadcast, core.SetBroadcast, 0, nil},
		{core.GetKeepalive, core.SetKeepalive, 0, nil},
		{core.GetNodelay, core.SetNodelay, nodelay, has},
		{core.GetV6only, core.SetV6only, 0, nil},
	} {
		if s.has != nil {
			if err := set(s.set, 1); err != s.has {
				e.fatalf("attribute %d: %v, want %v", s.set, show(err), show(s.has))
			}
			continue
		}
		x.attrIs(s.get, s.first)
		for _, v := range []int{1, 0, 7} {
			e.ok(set(s.set, v))
			x.attrIs(s.get, min(v, 1))
		}
		e.want(syscall.EINVAL, err1(th.Attr(x.h, s.set, make([]byte, 3))))
	}
}

func testLinuxNumbers(e *env) {
	if !e.unix() {
		testAttrNumbers(e)
		return
	}
	th := e.thread()
	x := e.create(th, false)
	for _, a := range []vls.Attr{core.GetKeepidle, core.SetKeepidle, core.GetKeepintvl, core.SetKeepintvl, core.GetMSS, core.SetMSS} {
		e.want(syscall.ENOTSUP, err1(th.Attr(x.h, a, make([]byte, 4))))
	}
}

func testLinuxFifos(e *env) {
	th := e.thread()
	x, _ := e.pair(th, th)
	x.set(core.SetTxFifoLen, 20_000)
	x.set(core.SetRxFifoLen, 30_000)
	x.attrIs(core.GetTxFifoLen, 40_000)
	x.attrIs(core.GetRxFifoLen, 60_000)
}

func testLinuxInherited(e *env) {
	if !e.unix() {
		testAttrInherited(e)
		return
	}
	th := e.thread()
	l, ep := e.listen(th, 4)
	l.set(core.SetKeepalive, 1)
	l.nonblock(true)
	e.connect(th, ep)
	y := l.accept()
	y.attrIs(core.GetKeepalive, 0)
	y.attrIs(core.GetFlags, 0)
}

func testLinuxForkListener(e *env) {
	a, o := e.thread(), e.thread()
	l, ep := e.listen(a, 16)
	lb := l.on(e.fork(a))
	for i := range 8 {
		e.connect(o, ep).write(string(rune('a' + i)))
	}
	for i := range 8 {
		[]end{l, lb}[i/3%2].accept().read(string(rune('a' + i)))
	}
	lb.nonblock(true)
	e.want(syscall.EAGAIN, err2(l.th.Accept(l.h, 0)))
}

func testLinuxForkListenerEpoll(e *env) {
	a, o := e.thread(), e.thread()
	l, ep := e.listen(a, 8)
	var sets []set
	for range 3 {
		b := e.fork(a)
		s := e.set(b)
		s.add(l.on(b), in)
		sets = append(sets, s)
	}
	for range 2 {
		for _, s := range sets {
			s.none()
		}
		e.connect(o, ep)
		for _, s := range sets {
			s.soon(report{l, in})
		}
		l.on(sets[1].th).accept()
	}
}

func testLinuxForkDead(e *env) {
	a, o := e.thread(), e.thread()
	l, ep := e.listen(a, 16)
	l.nonblock(true)
	b := e.fork(a)
	e.want(syscall.EAGAIN, err2(b.Accept(l.h, 0)))
	for range 6 {
		e.connect(o, ep).write("served")
	}
	e.kill(b)
	for range 6 {
		l.accept().read("served")
	}
	e.want(syscall.EAGAIN, err2(a.Accept(l.h, 0)))
}

func testLinuxForkUnconnected(e *env) {
	a, o := e.thread(), e.thread()
	l, ep := e.listen(o, 8)
	u, m := e.create(a, false), e.create(a, false)
	sa := e.set(a)
	sa.add(u, out)
	b := e.fork(a)
	sa.is(report{u, out | hup})
	e.ok(b.Connect(u.h, ep))
	sa.soon(report{u, out})
	y := l.accept()
	u.write("of the parent")
	y.read("of the parent")
	e.want(syscall.EISCONN, a.Connect(u.h, ep))
	u.on(b).close()
	u.write("alone")
	y.read("alone")
	u.close()
	y.eof()

	e.ok(a.Bind(m.h, e.address()))
	e.want(syscall.EINVAL, b.Bind(m.h, e.address()))
	e.ok(b.Listen(m.h, 4))
	m.attrIs(core.GetListen, 1)
	if e.unix() {
		return // a connect that fails says so itself
	}
	w := e.create(a, true)
	c := e.fork(a)
	e.want(syscall.EINPROGRESS, a.Connect(w.h, e.address()))
	s := e.set(a)
	s.add(w, out)
	s.soon(report{w, out | errs | hup})
	w.on(c).attrIs(core.GetError, int(syscall.ECONNREFUSED))
	w.attrIs(core.GetError, 0)
}

func testLinuxForkSets(e *env) {
	a, o := e.thread(), e.thread()
	x, y := e.pair(a, o)
	u, v := e.pair(a, o)
	s := e.set(a)
	s.add(x, in)
	b := e.fork(a)
	sb := set{end: s.on(b)}
	y.write("news")
	s.soon(report{x, in})
	sb.soon(report{x, in})
	x.read("news")
	s.none()
	sb.none()
	// What one does to the set is done to the other's.
	s.del(x)
	e.want(syscall.ENOENT, sb.ctl(core.EPOLL_CTL_MOD, x, in))
	sb.add(u, in)
	v.write("more")
	s.soon(report{u, in})
	s.close()
	sb.soon(report{u, in})
	// A session leaves it when the last process has closed it.
	u.close()
	sb.soon(report{u, in})
	u.on(b).close()
	sb.none()
}

func testLinuxForkEdge(e *env) {
	a, o := e.thread(), e.thread()
	x, y := e.pair(a, o)
	u, v := e.pair(a, o)
	s := e.set(a)
	s.add(x, in|et)
	s.add(u, in|oneshot)
	b := e.fork(a)
	sb := set{end: s.on(b)}
	y.write("1")
	v.write("1")
	sb.soon(report{x, in}, report{u, in})
	s.none()
	y.write("2")
	v.write("2")
	s.soon(report{x, in})
	sb.none()
	sb.mod(u, in|oneshot)
	s.soon(report{u, in})
	sb.none()
}

// noReuseport wants REUSEPORT to be refused, and reports whether it is not to be
// had.
func (e *env) noReuseport(th vls.Thread) bool {
	e.t.Helper()
	if e.unix() {
		e.want(syscall.ENOTSUP, err1(th.Attr(e.create(th, false).h, core.SetReuseport, []byte{1, 1, 1, 1})))
	}
	return e.unix()
}

func testLinuxReuseport(e *env) {
	o, ep := e.thread(), e.address()
	if e.noReuseport(o) {
		return
	}
	var ls []end
	for range 3 {
		ls = append(ls, e.reuseport(e.thread(), ep, 16))
	}
	const n = 12
	for range n {
		e.connect(o, ep)
	}
	got := 0
	for _, l := range ls {
		for {
			_, _, err := l.th.Accept(l.h, 0)
			if err == syscall.EAGAIN {
				break
			}
			e.ok(err)
			got++
		}
	}
	if got != n {
		e.fatalf("%d connections were accepted, want %d", got, n)
	}
}

func testLinuxReuseportRefused(e *env) {
	a, b, ep := e.thread(), e.thread(), e.address()
	if e.noReuseport(a) {
		return
	}
	l := e.reuseport(a, ep, 4)
	m := e.create(b, true)
	e.want(syscall.EADDRINUSE, b.Bind(m.h, ep))
	l.close()
	e.ok(b.Bind(m.h, ep))
	e.ok(b.Listen(m.h, 4))
	n := e.create(a, true)
	n.set(core.SetReuseport, 1)
	e.want(syscall.EADDRINUSE, a.Bind(n.h, ep))
}

func testLinuxReuseportCloses(e *env) {
	o, ep := e.thread(), e.address()
	if e.noReuseport(o) {
		return
	}
	a := e.reuseport(e.thread(), ep, 16)
	b := e.reuseport(e.thread(), ep, 16)
	const n = 12
	var xs []end
	for range n {
		xs = append(xs, e.connect(o, ep))
	}
	a.close()
	got := 0
	for {
		h, _, err := b.th.Accept(b.h, 0)
		if err == syscall.EAGAIN {
			break
		}
		e.ok(err)
		end{e, b.th, h}.write("b")
		got++
	}
	reset := 0
	for _, x := range xs {
		k, err := x.th.Read(x.h, make([]byte, 1))
		if err == syscall.ECONNRESET {
			reset++
		} else if k != 1 || err != nil {
			e.fatalf("read %d, %v; want a byte or a reset", k, show(err))
		}
	}
	if got+reset != n {
		e.fatalf("%d were accepted and %d reset, want %d in all", got, reset, n)
	}
	e.connect(o, ep)
	b.accept()
	b.close()
	e.want(syscall.ECONNREFUSED, o.Connect(e.create(o, false).h, ep))
}
