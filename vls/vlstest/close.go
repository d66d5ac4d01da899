package vlstest

import (
	"syscall"

	"vlsbench/core"
	"vlsbench/vls"
)

// Close, and what it does to the peer and to who waits.
var closeCases = []testCase{
	{name: "close-delivers", doc: "what was written before the close is delivered before the end", run: testCloseDelivers, far: true, spin: true},
	{name: "close-unread-resets", doc: "closing with unread data resets the peer, and what it had not read is gone", run: testCloseUnread},
	{name: "close-then-written-to", doc: "the first write to a closed peer is accepted, the next is ECONNRESET", run: testCloseWritten},
	{name: "close-after-end", doc: "two ends that close in turn leave nothing behind", run: testCloseAfterEnd},
	{name: "close-reset-session", doc: "a session that was reset can be closed", run: testCloseReset},
	{name: "close-listener-refuses", doc: "closing a listener resets what is queued and refuses what comes", run: testCloseListener},
	{name: "close-listener-wakes-peer", doc: "a reader whose connection is never accepted leaves when the listener closes", run: testCloseListenerWakes, far: true},
	{name: "reset-wakes-writer", doc: "a blocked writer leaves when its peer closes with unread data", run: testResetWakesWriter, far: true},
	{name: "close-wakes-reader", doc: "close ends another thread's read with ENOTCONN", run: testCloseWakesReader},
	{name: "close-wakes-writer", doc: "close ends another thread's write with ENOTCONN", run: testCloseWakesWriter},
	{name: "close-wakes-acceptor", doc: "close ends another thread's accept with ENOTCONN", run: testCloseWakesAcceptor},
	{name: "close-wakes-epoll-wait", doc: "close of a set ends another thread's wait with EBADFD", run: testCloseWakesEpollWait},
}

func testCloseDelivers(e *env) {
	a := e.thread()
	x, y := e.pair(a, e.far(a))
	const total = 5*fifoSize + 77
	join := e.start(func() {
		y.receive(6, 0, total, 2000)
		y.eof()
		y.eof()
	})
	x.send(6, 0, total, 3000)
	x.close()
	join()
}

func testCloseUnread(e *env) {
	th := e.thread()
	x, y := e.pair(th, th)
	x.write("unread")
	y.write("lost")
	y.close()
	x.reading(syscall.ECONNRESET)
	x.writing(syscall.ECONNRESET)
	e.want(syscall.ECONNRESET, th.Shutdown(x.h, syscall.SHUT_WR))
	e.want(syscall.ECONNRESET, err1(th.Attr(x.h, core.GetNread, make([]byte, 4))))
}

func testCloseWritten(e *env) {
	th := e.thread()
	x, y := e.pair(th, th)
	y.close()
	x.write("into the void")
	x.writing(syscall.ECONNRESET)
	x.reading(syscall.ECONNRESET)

	x, y = e.pair(th, th)
	y.write("last words")
	y.close()
	x.read("last words")
	x.eof()
	x.write("into the void")
	x.writing(syscall.ECONNRESET)
}

func testCloseAfterEnd(e *env) {
	th := e.thread()
	for range 3 {
		x, y := e.pair(th, th)
		x.write("bye")
		x.close()
		y.read("bye")
		y.eof()
		y.close()
		x, y = e.pair(th, th)
		e.ok(th.Shutdown(x.h, syscall.SHUT_RDWR))
		y.close()
		x.close()
	}
	e.empty(th)
}

func testCloseReset(e *env) {
	th := e.thread()
	x, y := e.pair(th, th)
	x.write("unread")
	y.close()
	x.close()
	x, y = e.pair(th, th)
	x.write("unread")
	y.close()
	x.reading(syscall.ECONNRESET)
	x.close()
	e.empty(th)
}

func testCloseListener(e *env) {
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
		x.writing(syscall.ECONNRESET)
	}
}

func testCloseListenerWakes(e *env) {
	a := e.thread()
	b := e.far(a)
	for range 3 {
		l, ep := e.listen(a, 4)
		x := e.connect(b, ep)
		join := e.start(func() { x.reading(syscall.ECONNRESET) })
		e.pause()
		l.close()
		join()
		x.close()
	}
}

func testResetWakesWriter(e *env) {
	a := e.thread()
	b := e.far(a)
	for range 3 {
		x, y := e.pair(a, b)
		x.fill()
		join := e.start(func() { x.writing(syscall.ECONNRESET) })
		e.pause()
		y.close()
		join()
		x.close()
	}
}

// waited reports whether a call that another thread ended by a close had begun
// before it, as most have after a pause; it counts then.
func (e *env) waited(err error) int {
	e.t.Helper()
	if err == syscall.EBADFD {
		return 0
	}
	e.want(syscall.ENOTCONN, err)
	return 1
}

func testCloseWakesReader(e *env) {
	a := e.thread()
	b := e.near(a)
	for n := 0; n < 5; {
		x, y := e.pair(a, a)
		join := e.start(func() { n += e.waited(err1(b.Read(x.h, make([]byte, 10)))) })
		e.pause()
		x.close()
		join()
		x.on(b).reading(syscall.EBADFD)
		y.eof()
		y.close()
	}
	e.ok(b.Close(e.create(a, false).h)) // reuses the slots
	e.empty(a)
}

func testCloseWakesWriter(e *env) {
	a := e.thread()
	b := e.near(a)
	for n := 0; n < 5; {
		x, y := e.pair(a, a)
		full := x.fill()
		join := e.start(func() { n += e.waited(err1(b.Write(x.h, make([]byte, 10)))) })
		e.pause()
		x.close()
		join()
		y.receive(0, 0, full, 5000)
		y.eof()
		y.close()
	}
	e.empty(a)
}

func testCloseWakesAcceptor(e *env) {
	a := e.thread()
	b := e.near(a)
	for n := 0; n < 5; {
		l, _ := e.listen(a, 4)
		join := e.start(func() { n += e.waited(err2(b.Accept(l.h, 0))) })
		e.pause()
		l.close()
		join()
	}
	e.empty(a)
}

func testCloseWakesEpollWait(e *env) {
	a := e.thread()
	b := e.near(a)
	for range 5 {
		x, _ := e.pair(a, a)
		s := e.set(a)
		s.add(x, core.EPOLLIN)
		join := e.start(func() {
			e.want(syscall.EBADFD, err1(b.EpollWait(s.h, make([]vls.EpollEvent, 4), -1)))
		})
		e.pause()
		s.close()
		join()
		// Its members are free for another.
		o := e.set(b)
		o.add(x, core.EPOLLOUT)
		o.is(report{x, core.EPOLLOUT})
		o.close()
		x.close()
	}
}
