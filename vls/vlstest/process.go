package vlstest

import (
	"encoding/binary"
	"syscall"

	"vlsbench/core"
	"vlsbench/hw"
	"vlsbench/vls"
)

// Processes that share nothing: workers that come and go, and listeners of
// several at one endpoint.
var processCases = []testCase{
	{name: "process-exit-closes", doc: "a process that exits closes what it has, as close would", run: testExitCloses},
	{name: "process-index-again", doc: "a process that has the worker index of one that exited hears nothing of what was that one's", run: testIndexAgain},
	{name: "process-register-at-once", doc: "processes come and go at once, each with a worker of its own (40)", run: testRegisterAtOnce},
	{name: "reuseport-turns", doc: "listeners of several workers at one endpoint, that all set reuseport, get the connections in turn", run: testReuseport},
	{name: "reuseport-refused", doc: "an endpoint is taken unless all who listen there set reuseport before", run: testReuseportRefused},
	{name: "reuseport-closes", doc: "of several listeners at one endpoint one that closes refuses what waited with it, and the others go on", run: testReuseportCloses},
}

// reuseport makes a listener that admits others.
func (e *env) reuseport(th vls.Thread, ep vls.Endpoint, backlog int) end {
	e.t.Helper()
	l := e.create(th, true)
	e.count(4)(th.Attr(l.h, core.SetReuseport, binary.NativeEndian.AppendUint32(nil, 1)))
	e.ok(th.Bind(l.h, ep))
	e.ok(th.Listen(l.h, backlog))
	return l
}

func testExitCloses(e *env) {
	a, o := e.thread(), e.thread()
	x, y := e.pair(a, o)
	u, v := e.pair(a, o)
	l, ep := e.listen(a, 4)
	q := e.connect(o, ep)
	s := e.set(a)
	s.add(x, in)
	x.write("last words")
	v.write("unread")
	e.exit(a)
	_ = u
	y.read("last words")
	y.eof()
	v.reading(syscall.ECONNRESET)
	q.reading(syscall.ECONNRESET)
	e.want(syscall.ECONNREFUSED, o.Connect(e.create(o, false).h, ep))
	_ = l
}

func testIndexAgain(e *env) {
	o := e.thread()
	for range 20 {
		a := e.thread()
		x, y := e.pair(a, o)
		s := e.set(a)
		s.add(x, in)
		s.none()
		_, w, err := a.SessionIndex(x.h)
		e.ok(err)
		y.write("on the way")
		e.exit(a)
		b := e.thread()
		z, _ := e.pair(b, o)
		s = e.set(b)
		s.add(z, in)
		s.cold = true
		s.none()
		if _, again, err := b.SessionIndex(z.h); err != nil || again != w {
			e.fatalf("worker %d, %v; want %d again", again, err, w)
		}
		x.on(b).reading(syscall.EBADFD)
		e.exit(b)
	}
}

func testRegisterAtOnce(e *env) {
	var joins []func()
	for range 8 {
		joins = append(joins, e.start(func() {
			for range 30 {
				th := e.thread()
				x, y := e.pair(th, th)
				x.write("mine")
				y.read("mine")
				e.exit(th)
			}
		}))
	}
	for _, join := range joins {
		join()
	}
}

func testReuseport(e *env) {
	o, ep := e.thread(), e.address()
	var ls []end
	for range 3 {
		ls = append(ls, e.reuseport(e.thread(), ep, 4))
	}
	for range 12 {
		e.connect(o, ep)
	}
	e.want(syscall.ECONNREFUSED, o.Connect(e.create(o, false).h, ep))
	for _, l := range ls {
		for range 4 {
			l.accept()
		}
		e.want(syscall.EAGAIN, err2(l.th.Accept(l.h, 0)))
	}
}

func testReuseportRefused(e *env) {
	a, b, ep := e.thread(), e.thread(), e.address()
	l := e.reuseport(a, ep, 4)
	m := e.create(b, true)
	e.ok(b.Bind(m.h, ep))
	e.want(syscall.EADDRINUSE, b.Listen(m.h, 4))
	l.close()
	e.ok(b.Listen(m.h, 4))
	n := e.create(a, true)
	e.count(4)(a.Attr(n.h, core.SetReuseport, binary.NativeEndian.AppendUint32(nil, 1)))
	e.ok(a.Bind(n.h, ep))
	e.want(syscall.EADDRINUSE, a.Listen(n.h, 4))
}

func testReuseportCloses(e *env) {
	o, ep := e.thread(), e.address()
	a := e.reuseport(e.thread(), ep, 4)
	b := e.reuseport(e.thread(), ep, 4)
	var xs []end
	for range 4 {
		xs = append(xs, e.connect(o, ep))
	}
	a.close()
	for range 2 {
		b.accept().write("b")
	}
	e.want(syscall.EAGAIN, err2(b.th.Accept(b.h, 0)))
	reset := 0
	for _, x := range xs {
		n, err := x.th.Read(x.h, make([]byte, 1))
		if err == syscall.ECONNRESET {
			reset++
		} else if n != 1 || err != nil {
			e.fatalf("read %d, %v; want a byte or a reset", n, show(err))
		}
	}
	if reset != 2 {
		e.fatalf("%d were reset, want the 2 that waited with the one that closed", reset)
	}
	e.connect(o, ep)
	b.accept()
	b.close()
	e.want(syscall.ECONNREFUSED, o.Connect(e.create(o, false).h, ep))
}

// testLayerThread is a storm of connects, accepts and closes, with forks in
// between, where the session layer answers from a thread of its own.
func testLayerThread(e *env) {
	e.storm(3, 60, e.thread)
	if e.strategy.NoFork {
		return
	}
	a, o := e.thread(), e.thread()
	l, ep := e.listen(o, 64)
	for range 20 {
		x := e.create(a, true)
		e.want(syscall.EINPROGRESS, a.Connect(x.h, ep))
		b := e.fork(a)
		y := l.accept()
		x.on(b).write("child")
		x.write("parent")
		y.receiveText("childparent")
		e.exit(b)
		x.close()
		y.eof()
		y.close()
	}
	e.want(syscall.EINPROGRESS, a.Connect(e.create(a, true).h, ep))
	a.Close(e.create(a, true).h)
}

// receiveText wants the stream to go on with s, in whatever pieces.
func (x end) receiveText(s string) {
	x.e.t.Helper()
	for s != "" {
		buf := make([]byte, len(s))
		n, err := x.th.Read(x.h, buf)
		if err != nil || n == 0 || string(buf[:n]) != s[:n] {
			x.e.fatalf("read %q, %v; want the beginning of %q", buf[:n], show(err), s)
		}
		s = s[n:]
	}
}

// onThread gives the session layer a thread of its own.
func onThread(o *vls.Options) {
	if allowed, err := hw.Allowed(); err == nil {
		cpus := allowed.List()
		o.Config.SessionThread, o.Config.SessionCPU = true, cpus[len(cpus)-1]
	}
}
