package vlstest

import (
	"sync"
	"syscall"
	"time"

	"vlsbench/core"
	"vlsbench/vls"
)

// What is true while the session layer has not answered, and when it answers too
// late: it has a thread of its own here, which the case holds up at a gate.
var layerCases = []testCase{
	{name: "session-layer-thread", doc: "a session layer on a thread of its own does the same", run: testLayerThread, opts: onThread},
	{name: "connect-under-way", doc: "connect of a session that is connecting is EALREADY; it reports nothing until the answer comes, then OUT, or OUT, ERR and HUP", run: testConnectUnderWay, opts: onThread},
	{name: "connect-at-once", doc: "of two threads that connect one session at once the second is told EALREADY", run: testConnectAtOnce, opts: onThread},
	{name: "listen-at-once", doc: "of two threads that listen on one session at once both listen, and neither does so twice", run: testListenAtOnce, opts: onThread},
	{name: "connect-times-out", doc: "connect is ETIMEDOUT without an answer in time; the session is as before, and an answer that comes later touches nothing", run: testConnectTimesOut, opts: onThreadBriefly},
	{name: "listen-times-out", doc: "listen is ETIMEDOUT without an answer in time; the endpoint is free, and an answer that comes later does not take it", run: testListenTimesOut, opts: onThreadBriefly},
	{name: "connect-closed-under-way", doc: "a session may be closed while it connects; nothing comes of that, and all memory comes back", run: testConnectClosed,
		opts: func(o *vls.Options) { onThread(o); o.Config.SegmentSize = 1 << 20 }},
	{name: "close-wakes-connector", doc: "close ends another thread's connect and listen with ENOTCONN", run: testCloseWakesConnector, opts: onThread},
}

// gate is what the session layer's thread passes before each answer.
type gate struct {
	mu     sync.Mutex // held while it is shut
	passed int
}

func (g *gate) pass() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.passed++
}

func (g *gate) shut() { g.mu.Lock() }
func (g *gate) open() { g.mu.Unlock() }

// onThreadBriefly gives it little time to answer, too.
func onThreadBriefly(o *vls.Options) {
	onThread(o)
	o.Config.SessionTimeout = 5 * time.Millisecond
}

// patiently calls f, which has little time, until it had enough.
func (e *env) patiently(f func() error) {
	e.t.Helper()
	err := f()
	for err == syscall.ETIMEDOUT {
		err = f()
	}
	e.ok(err)
}

func testConnectUnderWay(e *env) {
	th := e.thread()
	l, ep := e.listen(th, 4)
	for _, early := range []bool{true, false} {
		for _, target := range []vls.Endpoint{ep, e.address()} {
			x, s := e.create(th, true), e.set(th)
			if early {
				s.add(x, out)
				s.none()
			}
			e.gate.shut()
			e.want(syscall.EINPROGRESS, th.Connect(x.h, target))
			if !early {
				s.add(x, out)
			}
			for range 2 {
				e.want(syscall.EALREADY, th.Connect(x.h, target))
			}
			e.want(syscall.EALREADY, th.Connect(x.h, e.address()))
			e.want(syscall.EINVAL, th.Bind(x.h, e.address()))
			e.want(syscall.EINVAL, th.Listen(x.h, 1))
			e.want(syscall.ENOTCONN, th.Shutdown(x.h, syscall.SHUT_RDWR))
			x.reading(syscall.ENOTCONN)
			x.writing(syscall.ENOTCONN)
			x.attrIs(core.GetError, 0)
			s.none()
			l.attrIs(core.GetNread, 0)
			e.gate.open()
			if target == ep {
				s.soon(report{x, out})
				x.attrIs(core.GetError, 0)
				e.ok(th.Connect(x.h, ep))
				y := l.accept()
				x.write("answered")
				y.read("answered")
				l.attrIs(core.GetNread, 0)
				continue
			}
			s.soon(report{x, out | errs | hup})
			x.attrIs(core.GetError, int(syscall.ECONNREFUSED))
			// That one is over.
			e.want(syscall.EINPROGRESS, th.Connect(x.h, ep))
			s.soon(report{x, out})
			l.accept()
		}
	}
}

func testConnectAtOnce(e *env) {
	a := e.thread()
	b := e.near(a)
	l, ep := e.listen(a, 4)
	for range 5 {
		x := e.create(a, false)
		e.gate.shut()
		errs := make(chan error, 2)
		join := e.start(func() { errs <- b.Connect(x.h, ep) })
		other := e.start(func() { errs <- a.Connect(x.h, ep) })
		e.want(syscall.EALREADY, <-errs)
		e.gate.open()
		e.ok(<-errs)
		join()
		other()
		y := l.accept()
		x.write("once")
		y.read("once")
		l.attrIs(core.GetNread, 0)
	}
}

func testListenAtOnce(e *env) {
	a := e.thread()
	b := e.near(a)
	for range 5 {
		x, ep := e.create(a, true), e.address()
		e.ok(a.Bind(x.h, ep))
		e.gate.shut()
		join := e.start(func() { e.ok(b.Listen(x.h, 3)) })
		other := e.start(func() { e.ok(a.Listen(x.h, 3)) })
		e.pause()
		e.gate.open()
		join()
		other()
		for range 3 {
			e.connect(a, ep)
		}
		e.want(syscall.ECONNREFUSED, a.Connect(e.create(a, false).h, ep))
		for range 3 {
			x.accept()
		}
		e.want(syscall.EAGAIN, err2(a.Accept(x.h, 0)))
		x.close()
		m := e.create(a, false)
		e.ok(a.Bind(m.h, ep))
		e.ok(a.Listen(m.h, 1))
	}
}

func testConnectTimesOut(e *env) {
	th := e.thread()
	l, ep := e.create(th, true), e.address()
	e.ok(th.Bind(l.h, ep))
	e.patiently(func() error { return th.Listen(l.h, 2) })
	for range 3 {
		x, s := e.create(th, false), e.set(th)
		s.add(x, in|out)
		e.gate.shut()
		for range 2 { // and not EALREADY
			e.want(syscall.ETIMEDOUT, th.Connect(x.h, ep))
			x.reading(syscall.ENOTCONN)
			x.attrIs(core.GetError, 0)
		}
		z := e.create(th, false)
		e.want(syscall.ETIMEDOUT, th.Connect(z.h, ep))
		z.close()
		w := e.create(th, false) // has its slot
		s.add(w, in|out)
		e.gate.open()
		// Who asks later is answered later: the others have been passed by then.
		v := e.create(th, false)
		e.patiently(func() error { return th.Connect(v.h, ep) })
		y := l.accept()
		v.write("in time")
		y.read("in time")
		e.want(syscall.EAGAIN, err2(th.Accept(l.h, 0)))
		s.none()
		for _, o := range []end{x, w} {
			o.reading(syscall.ENOTCONN)
			o.attrIs(core.GetError, 0)
			e.patiently(func() error { return th.Connect(o.h, ep) })
			y := l.accept()
			o.write("again")
			y.read("again")
			y.close()
			o.close()
		}
		for _, o := range []end{s.end, v, y} {
			o.close()
		}
	}
	l.close()
	e.empty(th)
}

func testListenTimesOut(e *env) {
	th := e.thread()
	for range 3 {
		l, ep := e.create(th, true), e.address()
		e.ok(th.Bind(l.h, ep))
		z, other := e.create(th, true), e.address()
		e.ok(th.Bind(z.h, other))
		e.gate.shut()
		for range 2 {
			e.want(syscall.ETIMEDOUT, th.Listen(l.h, 1))
			l.attrIs(core.GetListen, 0)
			e.want(syscall.EBADFD, err2(th.Accept(l.h, 0)))
		}
		e.want(syscall.ETIMEDOUT, th.Listen(z.h, 1))
		z.close()
		w := e.create(th, true) // has its slot
		e.gate.open()
		// Who asks later is answered later: the others have been passed by then.
		m := e.create(th, true)
		e.ok(th.Bind(m.h, ep))
		e.patiently(func() error { return th.Listen(m.h, 1) })
		e.want(syscall.EINPROGRESS, th.Connect(w.h, other))
		s := e.set(th)
		s.add(w, 0)
		s.soon(report{w, errs | hup})
		w.attrIs(core.GetError, int(syscall.ECONNREFUSED))
		s.close()
		m.close()
		e.patiently(func() error { return th.Listen(l.h, 1) })
		x := e.create(th, false)
		e.patiently(func() error { return th.Connect(x.h, ep) })
		y := l.accept()
		x.write("heard")
		y.read("heard")
		for _, o := range []end{l, w, x, y} {
			o.close()
		}
	}
	e.empty(th)
}

func testConnectClosed(e *env) {
	a, b := e.thread(), e.thread()
	l, ep := e.listen(b, 16)
	l.nonblock(true)
	// All there is is less than these would take.
	const rounds = 2000
	for i := range e.rounds(rounds) {
		held := i%50 == 0
		if held {
			e.gate.shut()
		}
		x := e.create(a, true)
		e.want(syscall.EINPROGRESS, a.Connect(x.h, ep))
		if i%3 == 0 {
			a.Write(x.h, []byte("if it is there already"))
		}
		x.close()
		x.reading(syscall.EBADFD)
		if held {
			y := e.create(a, true) // has its slot
			e.gate.open()
			y.reading(syscall.ENOTCONN)
			y.close()
		}
		for {
			h, _, err := b.Accept(l.h, 0)
			if err != nil {
				e.want(syscall.EAGAIN, err)
				break
			}
			e.ok(b.Close(h))
		}
	}
	// All that was asked for before this is answered by then.
	x := e.connect(a, ep)
	x.write("the last")
	buf := make([]byte, 100)
	for last := false; !last; {
		h, _, err := b.Accept(l.h, 0)
		e.ok(err)
		n, err := b.Read(h, buf)
		e.ok(err)
		last = string(buf[:n]) == "the last"
		e.ok(b.Close(h))
	}
	x.close()
	l.close()
	u, v := e.pair(a, b)
	u.send(0, 0, 12000, 5000)
	v.receive(0, 0, 12000, 5000)
	u.close()
	v.close()
	e.empty(a)
	e.empty(b)
}

func testCloseWakesConnector(e *env) {
	a := e.thread()
	b := e.near(a)
	l, ep := e.listen(a, 4)
	for _, call := range []func(x end) error{
		func(x end) error { return b.Connect(x.h, ep) },
		func(x end) error { return b.Listen(x.h, 1) },
	} {
		for n := 0; n < 3; {
			x, at := e.create(a, false), e.address()
			e.ok(a.Bind(x.h, at))
			e.gate.shut()
			join := e.start(func() { n += e.waited(call(x)) })
			e.pause()
			x.close()
			join()
			e.gate.open()
			e.want(syscall.ECONNREFUSED, a.Connect(e.create(a, false).h, at))
			l.attrIs(core.GetNread, 0)
		}
	}
}

func testLinuxConnectUnderWay(e *env) {
	th := e.thread()
	l, ep := e.listen(th, 1)
	e.connect(th, ep)
	e.connect(th, ep)
	if e.unix() {
		e.full(th, ep)
		return
	}
	x, s := e.create(th, true), e.set(th)
	e.want(syscall.EINPROGRESS, th.Connect(x.h, ep))
	for range 2 {
		e.want(syscall.EALREADY, th.Connect(x.h, ep))
	}
	s.add(x, out)
	s.waits(time.Millisecond, nil)
	x.reading(syscall.EWOULDBLOCK)
	x.close()
	l.accept()
}
