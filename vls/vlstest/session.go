package vlstest

import (
	"net/netip"
	"syscall"

	"vlsbench/core"
	"vlsbench/vls"
)

// Create, bind, listen, connect, accept.
var sessionCases = []testCase{
	{name: "create", doc: "TCP makes a session, blocking or not as asked; an unknown protocol is EAFNOSUPPORT", run: testCreate},
	{name: "bind-errors", doc: "bind wants an address, once, on a session that is neither connected nor a set", run: testBindErrors},
	{name: "listen-idempotent", doc: "listen on a listener sets its backlog anew", run: testListenIdempotent},
	{name: "listen-errors", doc: "unbound and connected are EINVAL, a taken endpoint EADDRINUSE until its listener closes", run: testListenErrors},
	{name: "listen-any-address", doc: "a listener on the unspecified address answers for all addresses of its port", run: testListenAny},
	{name: "connect-refused", doc: "where nobody listens connect is ECONNREFUSED, and the session can try again", run: testConnectRefused},
	{name: "connect-backlog", doc: "a full backlog refuses until one is accepted", run: testConnectBacklog},
	{name: "connect-errors", doc: "connected is no error, a listener EINVAL, no address EINVAL, a set EBADFD", run: testConnectErrors},
	{name: "connect-nonblocking", doc: "a non-blocking connect is EINPROGRESS, then OUT", run: testConnectNonblocking},
	{name: "connect-nonblocking-fails", doc: "a non-blocking connect that fails is OUT, ERR and HUP, with the reason in the error attribute", run: testConnectNonblockingFails},
	{name: "connect-before-accept", doc: "connect is over once queued, and what is written before the accept arrives", run: testConnectBeforeAccept, spin: true},
	{name: "accept-errors", doc: "not listening is EBADFD; none and non-blocking EAGAIN", run: testAcceptErrors},
	{name: "accept-order", doc: "accept takes the oldest connection", run: testAcceptOrder},
	{name: "accept-endpoint", doc: "accept returns the peer's endpoint", run: testAcceptEndpoint},
	{name: "accept-flags", doc: "O_NONBLOCK in the flags is for the new session, which does not inherit the listener's", run: testAcceptFlags},
	{name: "accept-closed", doc: "a connection that was closed while queued is handed out, with its data", run: testAcceptClosed},
	{name: "accept-reset", doc: "a connection that was reset while queued is handed out in that state", run: testAcceptReset},
	{name: "accept-waits", doc: "a blocking accept waits for a connection", run: testAcceptWaits, far: true, spin: true},
}

func testCreate(e *env) {
	th := e.thread()
	e.create(th, false).attrIs(core.GetFlags, 0)
	e.create(th, true).attrIs(core.GetFlags, syscall.O_NONBLOCK)
	e.want(syscall.EAFNOSUPPORT, err1(th.Create(vls.Proto(77), false)))
}

func testBindErrors(e *env) {
	th := e.thread()
	x := e.create(th, false)
	e.want(syscall.EINVAL, th.Bind(x.h, vls.Endpoint{}))
	e.ok(th.Bind(x.h, e.address()))
	e.want(syscall.EINVAL, th.Bind(x.h, e.address()))
	c, _ := e.pair(th, th)
	e.want(syscall.EINVAL, th.Bind(c.h, e.address()))
	e.want(syscall.EBADFD, th.Bind(e.set(th).h, e.address()))
}

func testListenIdempotent(e *env) {
	th := e.thread()
	l, ep := e.listen(th, 1)
	e.connect(th, ep)
	e.want(syscall.ECONNREFUSED, th.Connect(e.create(th, false).h, ep))
	e.ok(th.Listen(l.h, 2))
	e.connect(th, ep)
	e.want(syscall.ECONNREFUSED, th.Connect(e.create(th, false).h, ep))
	l.attrIs(core.GetListen, 1)
}

func testListenErrors(e *env) {
	th := e.thread()
	e.want(syscall.EINVAL, th.Listen(e.create(th, false).h, 1))
	x, _ := e.pair(th, th)
	e.want(syscall.EINVAL, th.Listen(x.h, 1))
	e.want(syscall.EBADFD, th.Listen(e.set(th).h, 1))

	l, ep := e.listen(th, 1)
	for _, o := range []vls.Thread{th, e.thread()} {
		m := e.create(o, false)
		e.ok(o.Bind(m.h, ep))
		e.want(syscall.EADDRINUSE, o.Listen(m.h, 1))
		any := e.create(o, false)
		e.ok(o.Bind(any.h, netip.AddrPortFrom(netip.IPv4Unspecified(), ep.Port())))
		e.want(syscall.EADDRINUSE, o.Listen(any.h, 1))
	}
	l.close()
	m := e.create(th, false)
	e.ok(th.Bind(m.h, ep))
	e.ok(th.Listen(m.h, 1))
}

func testListenAny(e *env) {
	th := e.thread()
	l, ep := e.create(th, false), e.address()
	e.ok(th.Bind(l.h, netip.AddrPortFrom(netip.IPv4Unspecified(), ep.Port())))
	e.ok(th.Listen(l.h, 4))
	x := e.connect(th, ep)
	y := l.accept()
	x.write("to any")
	y.read("to any")
	other := netip.AddrPortFrom(ep.Addr(), ep.Port()+1)
	e.want(syscall.ECONNREFUSED, th.Connect(e.create(th, false).h, other))
}

func testConnectRefused(e *env) {
	th := e.thread()
	x, ep := e.create(th, false), e.address()
	e.want(syscall.ECONNREFUSED, th.Connect(x.h, ep))
	x.reading(syscall.ENOTCONN)

	l := e.create(th, false)
	e.ok(th.Bind(l.h, ep))
	// Bound and not listening is not there either.
	e.want(syscall.ECONNREFUSED, th.Connect(x.h, ep))
	e.ok(th.Listen(l.h, 1))
	e.ok(th.Connect(x.h, ep))
	y := l.accept()
	x.write("again")
	y.read("again")

	l.close()
	e.want(syscall.ECONNREFUSED, th.Connect(e.create(th, false).h, ep))
}

func testConnectBacklog(e *env) {
	th := e.thread()
	l, ep := e.listen(th, 3)
	for range 3 {
		e.connect(th, ep)
	}
	x := e.create(th, false)
	e.want(syscall.ECONNREFUSED, th.Connect(x.h, ep))
	l.attrIs(core.GetNread, 3)
	l.accept()
	e.ok(th.Connect(x.h, ep))
	e.want(syscall.ECONNREFUSED, th.Connect(e.create(th, false).h, ep))
	for range 3 {
		l.accept()
	}
	l.nonblock(true)
	e.want(syscall.EAGAIN, err2(th.Accept(l.h, 0)))
}

func testConnectErrors(e *env) {
	th := e.thread()
	l, ep := e.listen(th, 4)
	x := e.connect(th, ep)
	e.ok(th.Connect(x.h, ep))
	l.attrIs(core.GetNread, 1)
	e.want(syscall.EINVAL, th.Connect(l.h, ep))
	y := e.create(th, false)
	e.want(syscall.EINVAL, th.Connect(y.h, vls.Endpoint{}))
	e.want(syscall.EINVAL, th.Connect(y.h, netip.AddrPortFrom(ep.Addr(), 0)))
	e.want(syscall.EBADFD, th.Connect(e.set(th).h, ep))
	e.ok(th.Connect(y.h, ep))
}

func testConnectNonblocking(e *env) {
	th := e.thread()
	l, ep := e.listen(th, 4)
	for _, early := range []bool{true, false} {
		x, s := e.create(th, true), e.set(th)
		if early {
			s.add(x, core.EPOLLOUT)
			s.none()
		}
		e.want(syscall.EINPROGRESS, th.Connect(x.h, ep))
		if !early {
			s.add(x, core.EPOLLOUT)
		}
		s.soon(report{x, core.EPOLLOUT})
		x.attrIs(core.GetError, 0)
		e.ok(th.Connect(x.h, ep))
		y := l.accept()
		x.write("hello")
		y.read("hello")
	}
}

func testConnectNonblockingFails(e *env) {
	th := e.thread()
	for _, early := range []bool{true, false} {
		x, s := e.create(th, true), e.set(th)
		if early {
			s.add(x, core.EPOLLOUT|core.EPOLLIN)
		}
		e.want(syscall.EINPROGRESS, th.Connect(x.h, e.address()))
		if !early {
			s.add(x, core.EPOLLOUT|core.EPOLLIN)
		}
		evs := make([]vls.EpollEvent, 1)
		e.count(1)(th.EpollWait(s.h, evs, -1))
		const want = core.EPOLLOUT | core.EPOLLERR | core.EPOLLHUP
		if got := evs[0].Events; got&want != want {
			e.fatalf("events %#x, want OUT, ERR and HUP (%#x)", got, want)
		}
		x.attrIs(core.GetError, int(syscall.ECONNREFUSED))
		x.attrIs(core.GetError, 0)
		x.reading(syscall.ENOTCONN)

		// Tried again it fails again, which is news.
		s.mod(x, et)
		s.cold = true
		s.none()
		for range 2 {
			e.want(syscall.EINPROGRESS, th.Connect(x.h, e.address()))
			s.soon(report{x, errs | hup})
			s.none()
			x.attrIs(core.GetError, int(syscall.ECONNREFUSED))
		}

		// What was not asked for is not said of the next.
		e.want(syscall.EINPROGRESS, th.Connect(x.h, e.address()))
		s.soon(report{x, errs | hup})
		_, ep := e.listen(th, 1)
		e.want(syscall.EINPROGRESS, th.Connect(x.h, ep))
		s.mod(x, out|et)
		s.soon(report{x, out})
		x.attrIs(core.GetError, 0)
	}
}

func testConnectBeforeAccept(e *env) {
	th := e.thread()
	l, ep := e.listen(th, 4)
	x := e.connect(th, ep)
	x.write("early")
	y := l.accept()
	y.read("early")
	y.write("answer")
	x.read("answer")
}

func testAcceptErrors(e *env) {
	th := e.thread()
	x, _ := e.pair(th, th)
	e.want(syscall.EBADFD, err2(th.Accept(x.h, 0)))
	e.want(syscall.EBADFD, err2(th.Accept(e.create(th, false).h, 0)))
	e.want(syscall.EBADFD, err2(th.Accept(e.set(th).h, 0)))
	l, ep := e.listen(th, 4)
	l.nonblock(true)
	e.want(syscall.EAGAIN, err2(th.Accept(l.h, 0)))
	e.connect(th, ep)
	l.accept()
	e.want(syscall.EAGAIN, err2(th.Accept(l.h, 0)))
}

func testAcceptOrder(e *env) {
	th := e.thread()
	l, ep := e.listen(th, 20)
	const n = 12
	for i := range n {
		e.connect(th, ep).write(string(rune('a' + i)))
		if i == 4 {
			l.accept().read("a")
			l.accept().read("b")
		}
	}
	for i := 2; i < n; i++ {
		l.accept().read(string(rune('a' + i)))
	}
}

func testAcceptEndpoint(e *env) {
	th := e.thread()
	l, ep := e.listen(th, 4)
	x, own := e.create(th, false), e.address()
	e.ok(th.Bind(x.h, own))
	e.ok(th.Connect(x.h, ep))
	_, peer, err := th.Accept(l.h, 0)
	e.ok(err)
	if peer != own {
		e.fatalf("accept says the peer is %v, want %v", peer, own)
	}
	seen := make(map[vls.Endpoint]bool)
	for range 3 {
		e.connect(th, ep)
		_, peer, err := th.Accept(l.h, 0)
		e.ok(err)
		if peer.Addr() != ep.Addr() || peer.Port() == 0 || seen[peer] {
			e.fatalf("accept says the peer is %v, want an address of its own on %v", peer, ep.Addr())
		}
		seen[peer] = true
	}
}

func testAcceptFlags(e *env) {
	th := e.thread()
	l, ep := e.listen(th, 4)
	e.connect(th, ep)
	h, _, err := th.Accept(l.h, syscall.O_NONBLOCK)
	e.ok(err)
	y := end{e, th, h}
	y.attrIs(core.GetFlags, syscall.O_NONBLOCK)
	y.reading(syscall.EWOULDBLOCK)
	l.attrIs(core.GetFlags, 0)

	l.nonblock(true)
	e.connect(th, ep)
	l.accept().attrIs(core.GetFlags, 0)
}

func testAcceptClosed(e *env) {
	th := e.thread()
	l, ep := e.listen(th, 4)
	x := e.connect(th, ep)
	x.write("last words")
	x.close()
	y := l.accept()
	y.read("last words")
	y.eof()
}

func testAcceptReset(e *env) {
	th := e.thread()
	l, ep := e.listen(th, 4)
	// Only an accepted end can leave data unread, so the end that is reset in
	// the queue is one whose peer, having closed, is written to.
	x := e.connect(th, ep)
	x.close()
	y := l.accept()
	y.write("into the void")
	y.reading(syscall.ECONNRESET)
	y.writing(syscall.ECONNRESET)
}

func testAcceptWaits(e *env) {
	a := e.thread()
	b := e.far(a)
	l, ep := e.listen(a, 4)
	for i := range 5 {
		join := e.start(func() {
			y := l.accept()
			y.read("knock")
			y.write("who is there")
			y.close()
		})
		if i > 0 {
			e.pause()
		}
		x := e.connect(b, ep)
		x.write("knock")
		x.read("who is there")
		join()
		x.eof()
		x.close()
	}
	l.close()
	e.empty(a)
	e.empty(b)
}
