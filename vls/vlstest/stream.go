package vlstest

import (
	"syscall"

	"vlsbench/core"
)

// Read, write, shutdown and attributes.
var streamCases = []testCase{
	{name: "read-errors", doc: "a nil buffer is EFAULT, no connection ENOTCONN, nothing and non-blocking EWOULDBLOCK", run: testReadErrors},
	{name: "read-partial", doc: "a read returns what is there, up to the buffer", run: testReadPartial, spin: true},
	{name: "read-zero", doc: "a read or write of no bytes returns 0 at once", run: testReadZero},
	{name: "read-waits", doc: "a blocking read waits for the first byte", run: testReadWaits, far: true, spin: true},
	{name: "write-errors", doc: "not connected is ENOTCONN, a listener and a set are refused", run: testWriteErrors},
	{name: "write-short", doc: "a non-blocking write writes what fits, then EWOULDBLOCK", run: testWriteShort},
	{name: "write-waits", doc: "a blocking write larger than the fifo returns when all is written", run: testWriteWaits, far: true, spin: true},
	{name: "write-wakes-for-space", doc: "a blocked write of a few bytes ends when they fit, though the reader waits for them", run: testWriteFew, far: true, spin: true},
	{name: "write-nothing", doc: "a write of no bytes is 0, whatever the session is by then", run: testWriteNothing},
	{name: "read-takes-all", doc: "a blocked writer goes on when a reader that waited takes all that fits at once", run: testReadTakesAll, far: true, spin: true},
	{name: "write-msg", doc: "write_msg is a write that the receiver is told of", run: testWriteMsg, far: true},
	{name: "both-ways", doc: "the two directions of a connection are independent", run: testBothWays, far: true, spin: true},
	{name: "shutdown-write", doc: "after shutdown of writing it is EPIPE, and the peer reads what is buffered, then the end; its own writing still works", run: testShutdownWrite},
	{name: "shutdown-read", doc: "shutdown of reading only marks: what is buffered is read, then 0, and the peer may write", run: testShutdownRead},
	{name: "shutdown-both", doc: "shutdown of both ends both directions", run: testShutdownBoth},
	{name: "shutdown-errors", doc: "a listener is EBADFD, a bad direction EINVAL, no connection ENOTCONN", run: testShutdownErrors},
	{name: "shutdown-wakes-peer", doc: "a blocked reader sees the end when its peer shuts down or closes", run: testShutdownWakesPeer, far: true, spin: true},
	{name: "shutdown-wakes-own", doc: "a thread that waits in read or write leaves when another shuts that direction down", run: testShutdownWakesOwn},
	{name: "attr", doc: "NREAD, NWRITE, FLAGS, ERROR and LISTEN say what is so", run: testAttr},
	{name: "attr-errors", doc: "a wrong length or unknown name is EINVAL", run: testAttrErrors},
}

func testReadErrors(e *env) {
	th := e.thread()
	x, _ := e.pair(th, th)
	e.want(syscall.EFAULT, err1(th.Read(x.h, nil)))
	e.want(syscall.EBADFD, err1(th.Read(e.set(th).h, nil)))
	x.nonblock(true)
	x.reading(syscall.EWOULDBLOCK)
	e.create(th, false).reading(syscall.ENOTCONN)
	l, _ := e.listen(th, 1)
	l.reading(syscall.ENOTCONN)
	e.set(th).reading(syscall.EBADFD)
}

func testReadPartial(e *env) {
	th := e.thread()
	x, y := e.pair(th, th)
	x.write("abc")
	x.write("defgh")
	buf := make([]byte, 4)
	e.count(4)(th.Read(y.h, buf))
	if string(buf) != "abcd" {
		e.fatalf("read %q, want %q", buf, "abcd")
	}
	y.read("efgh")
	y.nonblock(true)
	y.reading(syscall.EWOULDBLOCK)
	x.write("i")
	y.read("i")
}

func testReadZero(e *env) {
	th := e.thread()
	x, y := e.pair(th, th)
	e.count(0)(th.Read(x.h, []byte{}))
	e.count(0)(th.Write(x.h, []byte{}))
	e.count(0)(th.Write(x.h, nil))
	y.nonblock(true)
	y.reading(syscall.EWOULDBLOCK)
	x.fill()
	e.count(0)(th.Write(x.h, []byte{}))
}

func testReadWaits(e *env) {
	a := e.thread()
	x, y := e.pair(a, e.far(a))
	rounds := e.rounds(45)
	join := e.start(func() {
		for range rounds {
			y.read("ping")
			y.write("pong")
		}
	})
	for i := range rounds {
		if i%8 == 0 {
			e.pause()
		}
		x.write("ping")
		x.read("pong")
	}
	join()
}

func testWriteErrors(e *env) {
	th := e.thread()
	e.create(th, false).writing(syscall.ENOTCONN)
	l, _ := e.listen(th, 1)
	l.writing(syscall.ENOTCONN)
	e.set(th).writing(syscall.EBADFD)
}

func testWriteShort(e *env) {
	th := e.thread()
	x, y := e.pair(th, th)
	x.nonblock(true)
	big := make([]byte, 3*fifoSize)
	for i := range big {
		big[i] = at(1, i)
	}
	n, err := th.Write(x.h, big)
	e.ok(err)
	if n != fifoSize {
		e.fatalf("wrote %d bytes, want the fifo's %d", n, fifoSize)
	}
	x.writing(syscall.EWOULDBLOCK)
	y.receive(1, 0, 100, 100)
	e.count(100)(th.Write(x.h, big[n:n+200]))
	x.writing(syscall.EWOULDBLOCK)
	y.receive(1, 100, n+100, 3000)
	y.nonblock(true)
	y.reading(syscall.EWOULDBLOCK)
}

func testWriteWaits(e *env) {
	a := e.thread()
	x, y := e.pair(a, e.far(a))
	const total = 20*fifoSize + 123
	join := e.start(func() { y.receive(3, 0, total, 5000) })
	buf := make([]byte, total)
	for i := range buf {
		buf[i] = at(3, i)
	}
	e.count(total)(x.th.Write(x.h, buf))
	join()
}

func testWriteFew(e *env) {
	a := e.thread()
	x, y := e.pair(a, e.far(a))
	for range 5 {
		n := x.fill()
		join := e.start(func() { x.write("12345678") })
		e.pause()
		y.receive(0, 0, 8, 8)
		join()
		y.receive(0, 8, n, 4000)
		y.read("12345678")
	}
}

func testWriteNothing(e *env) {
	th := e.thread()
	nothing := func(x end) {
		e.t.Helper()
		e.count(0)(th.Write(x.h, nil))
		e.count(0)(th.Write(x.h, []byte{}))
		e.count(0)(th.WriteMsg(x.h, nil))
	}
	nothing(e.create(th, false))
	l, _ := e.listen(th, 1)
	nothing(l)
	x, y := e.pair(th, th)
	e.ok(th.Shutdown(x.h, syscall.SHUT_WR))
	nothing(x)
	x, y = e.pair(th, th)
	y.close()
	nothing(x)
	x.eof() // it has reset nothing
	x, y = e.pair(th, th)
	x.write("unread")
	y.close()
	nothing(x)
	x.reading(syscall.ECONNRESET)
}

func testReadTakesAll(e *env) {
	a := e.thread()
	x, y := e.pair(a, e.far(a))
	rounds := e.rounds(10)
	const size = 3*fifoSize + 100
	join := e.start(func() {
		buf := make([]byte, 2*size)
		for i := range rounds {
			for pos := 0; pos < size; {
				n, err := y.th.Read(y.h, buf)
				e.ok(err)
				y.check(i, pos, buf[:n])
				pos += n
			}
			y.write("!")
		}
	})
	buf := make([]byte, size)
	for i := range rounds {
		for k := range buf {
			buf[k] = at(i, k)
		}
		e.pause()
		e.count(size)(x.th.Write(x.h, buf))
		x.read("!")
	}
	join()
}

func testWriteMsg(e *env) {
	a := e.thread()
	x, y := e.pair(a, e.far(a))
	join := e.start(func() { y.read("message") })
	e.pause()
	e.count(7)(x.th.WriteMsg(x.h, []byte("message")))
	join()
	e.ok(x.th.Shutdown(x.h, syscall.SHUT_WR))
	e.want(syscall.EPIPE, err1(x.th.WriteMsg(x.h, []byte("message"))))
}

func testBothWays(e *env) {
	a := e.thread()
	x, y := e.pair(a, e.far(a))
	const total = 10 * fifoSize
	const piece = fifoSize / 2 // one thread writes and reads: it must fit
	join := e.start(func() {
		for pos := 0; pos < total; pos += piece {
			y.send(5, pos, pos+piece, 700)
			y.receive(4, pos, pos+piece, 900)
		}
	})
	for pos := 0; pos < total; pos += piece {
		x.send(4, pos, pos+piece, 1100)
		x.receive(5, pos, pos+piece, 300)
	}
	join()
}

func testShutdownWrite(e *env) {
	th := e.thread()
	x, y := e.pair(th, th)
	x.write("before")
	e.ok(th.Shutdown(x.h, syscall.SHUT_WR))
	x.writing(syscall.EPIPE)
	e.ok(th.Shutdown(x.h, syscall.SHUT_WR))
	y.read("before")
	y.eof()
	y.eof()
	y.write("still here")
	x.read("still here")
	e.ok(th.Shutdown(y.h, syscall.SHUT_WR))
	y.writing(syscall.EPIPE)
	x.eof()
}

func testShutdownRead(e *env) {
	th := e.thread()
	x, y := e.pair(th, th)
	y.write("buffered")
	e.ok(th.Shutdown(x.h, syscall.SHUT_RD))
	x.read("buffered")
	x.eof()
	y.write("more")
	x.write("writing works")
	y.read("writing works")
}

func testShutdownBoth(e *env) {
	th := e.thread()
	x, y := e.pair(th, th)
	e.ok(th.Shutdown(x.h, syscall.SHUT_RDWR))
	x.writing(syscall.EPIPE)
	x.eof()
	y.eof()
}

func testShutdownErrors(e *env) {
	th := e.thread()
	l, _ := e.listen(th, 1)
	e.want(syscall.EBADFD, th.Shutdown(l.h, syscall.SHUT_RDWR))
	e.want(syscall.EBADFD, th.Shutdown(e.set(th).h, syscall.SHUT_RDWR))
	x, y := e.pair(th, th)
	e.want(syscall.EINVAL, th.Shutdown(x.h, 3))
	e.want(syscall.EINVAL, th.Shutdown(x.h, -1))
	x.write("unharmed")
	y.read("unharmed")
	e.want(syscall.ENOTCONN, th.Shutdown(e.create(th, false).h, syscall.SHUT_WR))
}

func testShutdownWakesPeer(e *env) {
	a := e.thread()
	b := e.far(a)
	for _, end := range []func(x end){
		func(x end) { e.ok(x.th.Shutdown(x.h, syscall.SHUT_WR)) },
		func(x end) { e.ok(x.th.Shutdown(x.h, syscall.SHUT_RDWR)) },
		func(x end) { x.close() },
	} {
		for range 3 {
			x, y := e.pair(a, b)
			join := e.start(y.eof)
			e.pause()
			end(x)
			join()
			y.close()
		}
	}
}

func testShutdownWakesOwn(e *env) {
	a := e.thread()
	b := e.near(a)
	for range 3 {
		x, _ := e.pair(a, a)
		join := e.start(x.on(b).eof)
		e.pause()
		e.ok(a.Shutdown(x.h, syscall.SHUT_RD))
		join()

		x.fill()
		join = e.start(func() { x.on(b).writing(syscall.EPIPE) })
		e.pause()
		e.ok(a.Shutdown(x.h, syscall.SHUT_WR))
		join()
	}
}

func testAttr(e *env) {
	th := e.thread()
	l, ep := e.listen(th, 4)
	l.attrIs(core.GetListen, 1)
	l.attrIs(core.GetNread, 0)
	x := e.connect(th, ep)
	l.attrIs(core.GetNread, 1)
	y := l.accept()
	l.attrIs(core.GetNread, 0)

	x.attrIs(core.GetListen, 0)
	x.attrIs(core.GetError, 0)
	x.attrIs(core.GetNread, 0)
	x.attrIs(core.GetNwrite, fifoSize)
	x.write("12345")
	y.attrIs(core.GetNread, 5)
	x.attrIs(core.GetNwrite, fifoSize-5)
	y.read("12345")
	y.attrIs(core.GetNread, 0)
	x.attrIs(core.GetNwrite, fifoSize)

	x.nonblock(true)
	x.attrIs(core.GetFlags, syscall.O_NONBLOCK)
	x.reading(syscall.EWOULDBLOCK)
	x.nonblock(false)
	x.attrIs(core.GetFlags, 0)

	c := e.create(th, false)
	e.want(syscall.ENOTCONN, err1(th.Attr(c.h, core.GetNread, make([]byte, 4))))
	e.want(syscall.ENOTCONN, err1(th.Attr(c.h, core.GetNwrite, make([]byte, 4))))
}

func testAttrErrors(e *env) {
	th := e.thread()
	x, _ := e.pair(th, th)
	for a := core.GetNread; a <= core.GetShutdown; a++ {
		if a == core.GetLocal || a == core.GetPeer {
			continue
		}
		for _, n := range []int{0, 3, 5, 8} {
			e.want(syscall.EINVAL, err1(th.Attr(x.h, a, make([]byte, n))))
		}
	}
	e.want(syscall.EINVAL, err1(th.Attr(x.h, core.Attr(999), make([]byte, 4))))
	x.attrIs(core.GetFlags, 0)
	e.want(syscall.EBADFD, err1(th.Attr(e.set(th).h, core.GetFlags, make([]byte, 4))))
}
