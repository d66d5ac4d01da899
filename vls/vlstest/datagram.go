package vlstest

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"syscall"
	"testing"

	"vlsbench/audit"
	"vlsbench/core"
	"vlsbench/vls"
)

// Sessions of datagrams.
var datagramCases = []testCase{
	{name: "dgram-create", doc: "UDP makes a session of datagrams, blocking or not as asked", run: testDgramCreate},
	{name: "dgram-bind", doc: "bind on UDP also listens: it hears at once, and what another has is EADDRINUSE until that closes", run: testDgramBind},
	{name: "dgram-listen-accept", doc: "listen on a bound session changes nothing (Linux: EOPNOTSUPP); accept is EOPNOTSUPP, unbound EBADFD", run: testDgramListen},
	{name: "dgram-recvfrom", doc: "recvfrom gives the sender's endpoint, to which an answer can be sent", run: testDgramRecvfrom, spin: true},
	{name: "dgram-from-anyone", doc: "an unconnected session hears anyone, in the order in which it came", run: testDgramAnyone},
	{name: "dgram-boundaries", doc: "a read returns one message, the rest of it dropped; one of no bytes is one too", run: testDgramBoundaries},
	{name: "dgram-peek", doc: "MSG_PEEK leaves the message where it is", run: testDgramPeek},
	{name: "dgram-recv-errors", doc: "nil is EFAULT, nothing and non-blocking EWOULDBLOCK, other flags EAFNOSUPPORT, not bound ENOTCONN", run: testDgramRecvErrors},
	{name: "dgram-send-errors", doc: "an endpoint on a connected session or a stream is EINVAL, none EDESTADDRREQ, what can never fit EMSGSIZE", run: testDgramSendErrors},
	{name: "dgram-binds-itself", doc: "unbound UDP binds itself when it sends", run: testDgramBindsItself},
	{name: "dgram-connect", doc: "a connected session writes to its peer and hears nobody else; it can be connected anew", run: testDgramConnect},
	{name: "dgram-connect-nonblocking", doc: "a non-blocking connect is EINPROGRESS, then OUT (Linux: done at once)", run: testDgramConnectNonblocking},
	{name: "dgram-nobody", doc: "what nobody hears is lost; a connected session is told so by its next call, once, unless that is a connect", run: testDgramNobody},
	{name: "dgram-full", doc: "a datagram needs room for all of it, or EWOULDBLOCK, and holds up nobody but who sends to that receiver", run: testDgramFull},
	{name: "dgram-send-waits", doc: "a blocking send waits for room", run: testDgramSendWaits, far: true, spin: true},
	{name: "dgram-recv-waits", doc: "a blocking receive waits for a message, an empty one too", run: testDgramRecvWaits, far: true, spin: true},
	{name: "dgram-close-sender", doc: "what was sent before the close arrives", run: testDgramCloseSender},
	{name: "dgram-close-receiver", doc: "a receiver that closes lets a blocked sender go on, and its endpoint is free", run: testDgramCloseReceiver, far: true},
	{name: "dgram-close-wakes", doc: "close ends another thread's receive and send with ENOTCONN", run: testDgramCloseWakes},
	{name: "dgram-shutdown", doc: "connected, shutdown of writing is EPIPE, of reading 0 after what is there; bound alone it is EBADFD", run: testDgramShutdown},
	{name: "dgram-shutdown-wakes", doc: "a thread that waits leaves when another shuts that direction down", run: testDgramShutdownWakes},
	{name: "dgram-attr", doc: "NREAD is the length of the next message, NWRITE of the longest that can be sent", run: testDgramAttr},
	{name: "dgram-any-address", doc: "the unspecified address hears what is sent to any of its family; that of IPv6 IPv4 too, unless V6ONLY", run: testDgramAny},
	{name: "dgram-ipv6", doc: "endpoints may be IPv6; one of another family is EAFNOSUPPORT", run: testDgramIPv6},
	{name: "dgram-self", doc: "a session can send to itself", run: testDgramSelf},
	{name: "dgram-epoll-level", doc: "level triggered, IN while a message waits, OUT while there is room", run: hotAndCold(testDgramEpollLevel), spin: true},
	{name: "dgram-epoll-edge", doc: "edge triggered, IN for each arrival, OUT when there is room after it was full", run: hotAndCold(testDgramEpollEdge)},
	{name: "dgram-epoll-oneshot", doc: "ONESHOT disarms after one report, until MOD", run: hotAndCold(testDgramEpollOneshot)},
	{name: "dgram-epoll-error", doc: "a pending error is ERR, unasked, until it is taken", run: hotAndCold(testDgramEpollError)},
	{name: "dgram-epoll-woken", doc: "a message, room and an error end a wait", run: testDgramEpollWoken, far: true, spin: true},
	{name: "dgram-many-senders", doc: "of many senders at once each message arrives once, each sender's in order", run: testDgramMany, far: true},
	{name: "dgram-many-receivers", doc: "each of several threads that receive on one session gets messages of its own", run: testDgramManyReceivers},
	{name: "dgram-queue-overrun", doc: "news that finds no room on a queue is not lost", run: testDgramOverrun,
		opts: func(o *vls.Options) { o.Config.EventQueueSize = 16 }},
	{name: "dgram-segment-exhausted", doc: "without memory a send is ENOMEM, and goes on once something was closed", run: testDgramExhausted,
		opts: func(o *vls.Options) { o.Config.SegmentSize = 1 << 20 }},
	{name: "dgram-memory-comes-back", doc: "sessions that are closed, read or not, give all of their memory back", run: testDgramComesBack,
		opts: func(o *vls.Options) { o.Config.SegmentSize = 1 << 20 }},
	{name: "dgram-process-exit", doc: "a process that exits frees its endpoints; what it sent arrives, what was sent to it is lost", run: testDgramProcessExit},
	{name: "dgram-stale", doc: "every call on a closed session of datagrams is EBADFD, and never another session", run: testDgramStale},
	{name: "dgram-allocs", doc: "send and receive allocate nothing", run: testDgramAllocs},
}

// udp makes a session of datagrams.
func (e *env) udp(th vls.Thread, nonblocking bool) end {
	e.t.Helper()
	h, err := th.Create(vls.UDP, nonblocking)
	e.ok(err)
	return end{e, th, h}
}

// bound makes one at an endpoint of its own.
func (e *env) bound(th vls.Thread) (end, vls.Endpoint) {
	e.t.Helper()
	x, ep := e.udp(th, false), e.address()
	e.ok(th.Bind(x.h, ep))
	return x, ep
}

// duo makes two that are connected to each other.
func (e *env) duo(a, b vls.Thread) (x, y end) {
	e.t.Helper()
	x, xe := e.bound(a)
	y, ye := e.bound(b)
	e.ok(a.Connect(x.h, ye))
	e.ok(b.Connect(y.h, xe))
	return x, y
}

// sendto wants s to be sent.
func (x end) sendto(ep vls.Endpoint, s string) {
	x.e.t.Helper()
	x.e.count(len(s))(x.th.Sendto(x.h, []byte(s), 0, ep))
}

// recvfrom wants s, and returns where it came from.
func (x end) recvfrom(s string, flags int) vls.Endpoint {
	x.e.t.Helper()
	buf := make([]byte, len(s)+10)
	n, ep, err := x.th.Recvfrom(x.h, buf, flags)
	if err != nil || string(buf[:n]) != s {
		x.e.fatalf("received %.40q, %v; want %.40q", buf[:n], show(err), s)
	}
	return ep
}

// nothing wants a receive that does not block to find nothing.
func (x end) nothing() {
	x.e.t.Helper()
	was := x.attr(core.GetFlags) != 0
	x.nonblock(true)
	x.reading(syscall.EWOULDBLOCK)
	x.nonblock(was)
}

// local is the session's own endpoint.
func (x end) local() vls.Endpoint { return x.endpoint(core.GetLocal) }

func (x end) endpoint(a vls.Attr) (ep vls.Endpoint) {
	x.e.t.Helper()
	var buf [64]byte
	n, err := x.th.Attr(x.h, a, buf[:])
	x.e.ok(err)
	x.e.ok(ep.UnmarshalBinary(buf[:n]))
	return ep
}

// stuff sends messages of size bytes until there is no room and returns their
// number; the first four bytes of each are its number.
func (x end) stuff(ep vls.Endpoint, size int) int {
	x.e.t.Helper()
	was := x.attr(core.GetFlags) != 0
	x.nonblock(true)
	p := make([]byte, size)
	n := 0
	for ; ; n++ {
		binary.NativeEndian.PutUint32(p, uint32(n))
		k, err := x.th.Sendto(x.h, p, 0, ep)
		if err == syscall.EWOULDBLOCK {
			break
		}
		x.e.count(size)(k, err)
	}
	x.nonblock(was)
	return n
}

// unstuff receives messages from..to of what stuff sent.
func (x end) unstuff(from, to, size int) {
	x.e.t.Helper()
	p := make([]byte, size+1)
	for i := from; i < to; i++ {
		x.e.count(size)(x.th.Read(x.h, p))
		if got := int(binary.NativeEndian.Uint32(p)); got != i {
			x.e.fatalf("message %d came, want %d", got, i)
		}
	}
}

func testDgramCreate(e *env) {
	th := e.thread()
	x := e.udp(th, false)
	x.attrIs(core.GetFlags, 0)
	x.attrIs(core.GetProtocol, int(vls.UDP))
	e.udp(th, true).attrIs(core.GetFlags, syscall.O_NONBLOCK)
	e.create(th, false).attrIs(core.GetProtocol, int(vls.TCP))
}

func testDgramBind(e *env) {
	a, b := e.thread(), e.thread()
	x, ep := e.bound(a)
	y, _ := e.bound(b)
	y.sendto(ep, "at once")
	x.read("at once")
	e.want(syscall.EINVAL, a.Bind(x.h, e.address()))
	e.want(syscall.EINVAL, a.Bind(e.udp(a, false).h, vls.Endpoint{}))
	for _, th := range []vls.Thread{a, b} {
		z := e.udp(th, false)
		e.want(syscall.EADDRINUSE, th.Bind(z.h, ep))
		e.want(syscall.EADDRINUSE, th.Bind(z.h, netip.AddrPortFrom(netip.IPv4Unspecified(), ep.Port())))
		// A stream's endpoints are others.
		l := e.create(th, false)
		e.ok(th.Bind(l.h, ep))
		e.ok(th.Listen(l.h, 1))
		l.close()
	}
	x.close()
	z := e.udp(b, false)
	e.ok(b.Bind(z.h, ep))
	y.sendto(ep, "to the next")
	z.read("to the next")

	seen := make(map[vls.Endpoint]bool)
	for range 5 {
		z := e.udp(a, false)
		e.ok(a.Bind(z.h, netip.AddrPortFrom(ep.Addr(), 0)))
		own := z.local()
		if own.Addr() != ep.Addr() || own.Port() == 0 || seen[own] {
			e.fatalf("port 0 gave %v, want an endpoint of its own on %v", own, ep.Addr())
		}
		seen[own] = true
		y.sendto(own, "found")
		z.read("found")
	}
}

func testDgramListen(e *env) {
	th := e.thread()
	x, ep := e.bound(th)
	if e.kernel() {
		e.want(syscall.EOPNOTSUPP, th.Listen(x.h, 1))
	} else {
		e.ok(th.Listen(x.h, 1))
		e.ok(th.Listen(x.h, 5))
		e.want(syscall.EINVAL, th.Listen(e.udp(th, false).h, 1))
	}
	x.attrIs(core.GetListen, 0)
	e.want(syscall.EOPNOTSUPP, err2(th.Accept(x.h, 0)))
	if !e.kernel() {
		e.want(syscall.EBADFD, err2(th.Accept(e.udp(th, false).h, 0)))
	}
	y, _ := e.bound(th)
	y.sendto(ep, "hears on")
	x.read("hears on")
}

func testDgramRecvfrom(e *env) {
	th := e.thread()
	x, xe := e.bound(th)
	y, ye := e.bound(th)
	for range 3 {
		x.sendto(ye, "question")
		if from := y.recvfrom("question", 0); from != xe {
			e.fatalf("it came from %v, want %v", from, xe)
		}
		y.sendto(xe, "answer")
		if from := x.recvfrom("answer", 0); from != ye {
			e.fatalf("the answer came from %v, want %v", from, ye)
		}
	}
}

func testDgramAnyone(e *env) {
	a, b := e.thread(), e.thread()
	x, ep := e.bound(a)
	const n = 7
	var from []end
	var eps []vls.Endpoint
	for i := range n {
		y, ye := e.bound([]vls.Thread{a, b}[i%2])
		from, eps = append(from, y), append(eps, ye)
	}
	// Now and then some is read in between.
	sent, got := 0, 0
	for ; sent < 60; sent++ {
		from[sent*sent%n].sendto(ep, fmt.Sprint("message ", sent))
		for got < sent-sent%11 {
			if src := x.recvfrom(fmt.Sprint("message ", got), 0); src != eps[got*got%n] {
				e.fatalf("message %d came from %v, want %v", got, src, eps[got*got%n])
			}
			got++
		}
	}
	for ; got < sent; got++ {
		x.recvfrom(fmt.Sprint("message ", got), 0)
	}
	x.nothing()
}

func testDgramBoundaries(e *env) {
	th := e.thread()
	x, y := e.duo(th, th)
	for _, s := range []string{"one", "two", "", "long enough to be cut", "three", "dropped whole", "four"} {
		x.write(s)
	}
	y.read("one")
	y.read("two")
	e.count(0)(th.Read(y.h, make([]byte, 5)))
	buf := make([]byte, 4)
	e.count(4)(th.Read(y.h, buf))
	if string(buf) != "long" {
		e.fatalf("read %q, want %q", buf, "long")
	}
	y.read("three")
	e.count(0)(th.Read(y.h, []byte{}))
	y.read("four")
	y.nothing()
	// Of all sizes, through a fifo that wraps.
	for size := 1; size < fifoSize-100; size += size/2 + 13 {
		for i := range 3 {
			p := make([]byte, size)
			for k := range p {
				p[k] = at(i, k)
			}
			x.write(string(p))
			y.read(string(p))
		}
	}
}

func testDgramPeek(e *env) {
	th := e.thread()
	x, xe := e.bound(th)
	y, ye := e.bound(th)
	x.sendto(ye, "the first")
	x.sendto(ye, "the second")
	for range 3 {
		if from := y.recvfrom("the first", core.MSG_PEEK); from != xe {
			e.fatalf("it came from %v, want %v", from, xe)
		}
	}
	buf := make([]byte, 3)
	n, _, err := th.Recvfrom(y.h, buf, core.MSG_PEEK)
	e.count(3)(n, err)
	y.read("the first")
	y.recvfrom("the second", core.MSG_PEEK)
	y.read("the second")
	y.nonblock(true)
	e.want(syscall.EWOULDBLOCK, err2(th.Recvfrom(y.h, buf, core.MSG_PEEK)))
}

func testDgramRecvErrors(e *env) {
	th := e.thread()
	x, ep := e.bound(th)
	y, _ := e.bound(th)
	y.sendto(ep, "there")
	e.want(syscall.EFAULT, err1(th.Read(x.h, nil)))
	e.want(syscall.EFAULT, err2(th.Recvfrom(x.h, nil, 0)))
	buf := make([]byte, 10)
	for _, flags := range []int{syscall.MSG_OOB, syscall.MSG_TRUNC, syscall.MSG_DONTWAIT, syscall.MSG_PEEK | syscall.MSG_OOB, -1} {
		e.want(syscall.EAFNOSUPPORT, err2(th.Recvfrom(x.h, buf, flags)))
	}
	e.want(syscall.EBADFD, err2(th.Recvfrom(e.set(th).h, buf, 0)))
	x.read("there")
	x.nonblock(true)
	x.reading(syscall.EWOULDBLOCK)
	z := e.udp(th, true)
	if e.kernel() {
		z.reading(syscall.EWOULDBLOCK)
	} else {
		z.reading(syscall.ENOTCONN)
	}
	z.close()
	e.want(syscall.EBADFD, err2(th.Recvfrom(z.h, buf, 0)))
}

func testDgramSendErrors(e *env) {
	th := e.thread()
	x, xe := e.bound(th)
	y, ye := e.bound(th)
	buf := make([]byte, 10)
	sending := func(want syscall.Errno, x end, p []byte, flags int, ep vls.Endpoint) {
		e.t.Helper()
		e.want(want, err1(th.Sendto(x.h, p, flags, ep)))
	}
	x.writing(syscall.EDESTADDRREQ)
	sending(syscall.EDESTADDRREQ, x, buf, 0, vls.Endpoint{})
	if e.kernel() {
		e.udp(th, false).writing(syscall.EDESTADDRREQ)
	} else {
		e.udp(th, false).writing(syscall.ENOTCONN)
		sending(syscall.EINVAL, x, buf, 0, netip.AddrPortFrom(ye.Addr(), 0))
		sending(syscall.EAFNOSUPPORT, x, buf, syscall.MSG_OOB, ye)
		sending(syscall.EAFNOSUPPORT, x, buf, syscall.MSG_DONTWAIT, ye)
	}
	sending(syscall.EMSGSIZE, x, make([]byte, 70_000), 0, ye)
	sending(syscall.EMSGSIZE, x, make([]byte, 70_000), 0, e.address()) // whoever hears it
	if !e.kernel() {
		// A fifo has room for so much, and a header.
		sending(syscall.EMSGSIZE, x, make([]byte, fifoSize), 0, ye)
		most := y.attr(core.GetNwrite)
		sending(syscall.EMSGSIZE, x, make([]byte, most+1), 0, ye)
		x.sendto(ye, string(make([]byte, most)))
		y.read(string(make([]byte, most)))
	}
	e.want(syscall.EBADFD, err1(th.Sendto(e.set(th).h, buf, 0, ye)))
	y.nothing()

	e.ok(th.Connect(x.h, ye))
	sending(syscall.EINVAL, x, buf, 0, ye)
	sending(syscall.EINVAL, x, buf, 0, xe)
	e.count(10)(th.Sendto(x.h, buf, 0, vls.Endpoint{}))
	y.read(string(buf))
	e.want(syscall.EMSGSIZE, err1(th.Write(x.h, make([]byte, 70_000))))
	y.nothing()

	s, z := e.pair(th, th)
	sending(syscall.EINVAL, s, buf, 0, ye)
	sending(syscall.EINVAL, e.create(th, false), buf, 0, ye)
	e.count(10)(th.Sendto(s.h, buf, 0, vls.Endpoint{}))
	z.read(string(buf))
	s.close()
	sending(syscall.EBADFD, s, buf, 0, ye)
}

func testDgramBindsItself(e *env) {
	th := e.thread()
	x, ep := e.bound(th)
	seen := make(map[vls.Endpoint]bool)
	for range 5 {
		y := e.udp(th, false)
		if own := y.local(); own.Port() != 0 {
			e.fatalf("before it sends it is bound to %v", own)
		}
		y.sendto(ep, "hello")
		from := x.recvfrom("hello", 0)
		if own := y.local(); from.Addr() != ep.Addr() || from.Port() == 0 || own.Port() != from.Port() || seen[from] {
			e.fatalf("it came from %v, and the session is bound to %v", from, own)
		}
		seen[from] = true
		x.sendto(from, "welcome")
		y.read("welcome")
		e.want(syscall.EINVAL, th.Bind(y.h, e.address()))
	}
}

func testDgramConnect(e *env) {
	th := e.thread()
	x, xe := e.bound(th)
	y, ye := e.bound(th)
	z, ze := e.bound(th)
	z.sendto(xe, "before")
	e.ok(th.Connect(x.h, ye))
	if p := x.endpoint(core.GetPeer); p != ye {
		e.fatalf("the peer is %v, want %v", p, ye)
	}
	x.write("to y")
	if from := y.recvfrom("to y", 0); from != xe {
		e.fatalf("it came from %v, want %v", from, xe)
	}
	x.read("before") // it was there
	z.sendto(xe, "unheard")
	y.sendto(xe, "heard")
	if from := x.recvfrom("heard", 0); from != ye {
		e.fatalf("it came from %v, want %v", from, ye)
	}
	x.nothing()
	z.sendto(ye, "y hears anyone")
	y.read("y hears anyone")

	e.ok(th.Connect(x.h, ze))
	x.write("to z")
	z.read("to z")
	y.sendto(xe, "unheard")
	z.sendto(xe, "heard")
	x.read("heard")
	x.nothing()

	// One that is not bound gets an endpoint on the way.
	u := e.udp(th, false)
	e.ok(th.Connect(u.h, ye))
	u.write("from u")
	if from := y.recvfrom("from u", 0); from != u.local() {
		e.fatalf("it came from %v, want %v", from, u.local())
	}
	e.want(syscall.EINVAL, th.Bind(u.h, e.address()))
	e.want(syscall.EINVAL, th.Connect(u.h, netip.AddrPortFrom(ye.Addr(), 0)))
	// Nobody need be there.
	e.ok(th.Connect(e.udp(th, false).h, e.address()))
}

func testDgramConnectNonblocking(e *env) {
	th := e.thread()
	y, ye := e.bound(th)
	x, s := e.udp(th, true), e.set(th)
	err := th.Connect(x.h, ye)
	if e.kernel() {
		e.ok(err)
	} else {
		e.want(syscall.EINPROGRESS, err)
	}
	s.add(x, out)
	s.soon(report{x, out})
	x.attrIs(core.GetError, 0)
	x.write("connected")
	y.read("connected")
}

func testDgramNobody(e *env) {
	th := e.thread()
	x, _ := e.bound(th)
	for range 3 {
		x.sendto(e.address(), "lost")
	}
	x.attrIs(core.GetError, 0)
	x.nothing()

	z, ze := e.bound(th)
	e.ok(th.Connect(x.h, ze))
	x.write("heard")
	z.read("heard")
	z.close()
	for range 2 {
		x.write("lost")
		x.writing(syscall.ECONNREFUSED)
		x.write("lost")
		e.want(syscall.ECONNREFUSED, err1(th.Sendto(x.h, []byte("unsent"), 0, vls.Endpoint{})))
		x.write("lost")
		x.nonblock(true)
		x.reading(syscall.ECONNREFUSED)
		x.reading(syscall.EWOULDBLOCK)
		x.nonblock(false)
		x.write("lost")
		x.attrIs(core.GetError, int(syscall.ECONNREFUSED))
		x.attrIs(core.GetError, 0)
		x.nothing()
	}
	// The next who is bound there hears.
	z = e.udp(th, false)
	e.ok(th.Bind(z.h, ze))
	x.write("heard again")
	z.read("heard again")
	if e.kernel() {
		return // it tells of it after the next connect too
	}
	z.close()
	x.write("lost")
	o, oe := e.bound(th)
	e.ok(th.Connect(x.h, oe))
	x.attrIs(core.GetError, 0)
	x.write("to another")
	o.read("to another")
}

func testDgramFull(e *env) {
	if e.kernel() {
		return // it drops
	}
	th := e.thread()
	x, xe := e.bound(th)
	slow, ep := e.bound(th)
	quick, qe := e.bound(th)
	const size = 1000
	n := x.stuff(ep, size)
	if n != fifoSize/(size+16) {
		e.fatalf("%d messages of %d bytes fit into %d", n, size, fifoSize)
	}
	// What fits of it is not sent, but a short one is.
	left := fifoSize - n*(size+16)
	x.nonblock(true)
	e.want(syscall.EWOULDBLOCK, err1(th.Sendto(x.h, make([]byte, left), 0, ep)))
	x.sendto(ep, string(make([]byte, left-16)))
	e.want(syscall.EWOULDBLOCK, err1(th.Sendto(x.h, []byte{}, 0, ep)))
	// Others go on, on both sides.
	x.sendto(qe, "quick")
	quick.read("quick")
	quick.sendto(ep, "from another")
	slow.unstuff(0, 1, size)
	x.sendto(ep, string(make([]byte, size)))
	e.want(syscall.EWOULDBLOCK, err1(th.Sendto(x.h, make([]byte, size), 0, ep)))
	slow.unstuff(1, n, size)
	slow.read(string(make([]byte, left-16)))
	slow.read("from another")
	if from := slow.recvfrom(string(make([]byte, size)), 0); from != xe {
		e.fatalf("it came from %v, want %v", from, xe)
	}
	slow.nothing()
}

func testDgramSendWaits(e *env) {
	if e.kernel() {
		return // it drops
	}
	a := e.thread()
	b := e.far(a)
	x, _ := e.bound(a)
	y, ep := e.bound(b)
	n := x.stuff(ep, 700)
	rounds := e.rounds(200)
	join := e.start(func() {
		p := make([]byte, 700)
		for i := n; i < n+rounds; i++ {
			binary.NativeEndian.PutUint32(p, uint32(i))
			x.sendto(ep, string(p))
		}
	})
	e.pause()
	y.unstuff(0, n+rounds, 700)
	join()
	y.nothing()
}

func testDgramRecvWaits(e *env) {
	a := e.thread()
	x, y := e.duo(a, e.far(a))
	rounds := e.rounds(45)
	join := e.start(func() {
		for range rounds {
			y.read("ping")
			y.write("pong")
			y.read("")
		}
	})
	for i := range rounds {
		if i%8 == 0 {
			e.pause()
		}
		x.write("ping")
		x.read("pong")
		if i%8 == 1 {
			e.pause()
		}
		x.write("")
	}
	join()
}

func testDgramCloseSender(e *env) {
	a, b := e.thread(), e.thread()
	y, ep := e.bound(a)
	for i := range 5 {
		x := e.udp(b, false)
		x.sendto(ep, "read before")
		if i%2 == 0 {
			y.read("read before")
		}
		for k := range i {
			x.sendto(ep, fmt.Sprint("last words ", k))
		}
		x.close()
		if i%2 != 0 {
			y.read("read before")
		}
		for k := range i {
			y.read(fmt.Sprint("last words ", k))
		}
		y.nothing()
	}
}

func testDgramCloseReceiver(e *env) {
	if e.kernel() {
		return // nobody blocks
	}
	a := e.thread()
	b := e.far(a)
	for range 3 {
		y, ep := e.bound(b)
		x, w := e.udp(a, false), e.udp(a, false)
		e.ok(a.Connect(w.h, ep))
		n := x.stuff(ep, 1000)
		w.stuff(vls.Endpoint{}, 1000)
		join := e.start(func() {
			x.sendto(ep, string(make([]byte, 1000)))
			x.sendto(ep, string(make([]byte, 1000)))
			w.write(string(make([]byte, 1000)))
			w.writing(syscall.ECONNREFUSED)
		})
		e.pause()
		y.close()
		join()
		z := e.udp(b, false)
		e.ok(b.Bind(z.h, ep))
		if again := x.stuff(ep, 1000); again != n {
			e.fatalf("%d messages fit for the next, %d did before", again, n)
		}
		z.unstuff(0, n, 1000)
		w.write("and connected")
		z.read("and connected")
		for _, d := range []end{x, w, z} {
			d.close()
		}
	}
	e.empty(a)
}

func testDgramCloseWakes(e *env) {
	a := e.thread()
	b := e.near(a)
	for n := 0; n < 5; {
		x, _ := e.bound(a)
		join := e.start(func() { n += e.waited(err1(b.Read(x.h, make([]byte, 10)))) })
		e.pause()
		x.close()
		join()
		x.on(b).reading(syscall.EBADFD)
	}
	if e.kernel() {
		return
	}
	for n := 0; n < 5; {
		x, _ := e.bound(a)
		y, ep := e.bound(a)
		full := x.stuff(ep, 500)
		join := e.start(func() { n += e.waited(err1(b.Sendto(x.h, make([]byte, 500), 0, ep))) })
		e.pause()
		x.close()
		join()
		y.unstuff(0, full, 500)
		y.nothing()
		y.close()
	}
	e.empty(a)
}

func testDgramShutdown(e *env) {
	th := e.thread()
	if !e.kernel() {
		z, _ := e.bound(th)
		e.want(syscall.EBADFD, th.Shutdown(z.h, syscall.SHUT_RD))
	}
	e.want(syscall.ENOTCONN, th.Shutdown(e.udp(th, false).h, syscall.SHUT_WR))
	x, y := e.duo(th, th)
	y.write("buffered")
	e.ok(th.Shutdown(x.h, syscall.SHUT_WR))
	x.writing(syscall.EPIPE)
	x.attrIs(core.GetShutdown, 2)
	y.nothing() // no end of a stream
	y.write("still heard")
	x.read("buffered")
	x.read("still heard")
	y.write("last")
	e.ok(th.Shutdown(x.h, syscall.SHUT_RD))
	x.attrIs(core.GetShutdown, 3)
	x.read("last")
	x.eof()
	x.eof()
	// What went wrong before is told first.
	z := e.udp(th, false)
	e.ok(th.Connect(z.h, e.address()))
	z.write("nobody hears it")
	e.ok(th.Shutdown(z.h, syscall.SHUT_WR))
	z.writing(syscall.ECONNREFUSED)
	z.writing(syscall.EPIPE)
}

func testDgramShutdownWakes(e *env) {
	a := e.thread()
	b := e.near(a)
	for range 3 {
		x, y := e.duo(a, a)
		join := e.start(x.on(b).eof)
		e.pause()
		e.ok(a.Shutdown(x.h, syscall.SHUT_RD))
		join()
		if e.kernel() {
			continue
		}
		x.stuff(vls.Endpoint{}, 500)
		join = e.start(func() { e.want(syscall.EPIPE, err1(b.Write(x.h, make([]byte, 500)))) })
		e.pause()
		e.ok(a.Shutdown(x.h, syscall.SHUT_WR))
		join()
		y.close()
	}
}

func testDgramAttr(e *env) {
	th := e.thread()
	x, y := e.duo(th, th)
	y.attrIs(core.GetNread, 0)
	x.write("12345")
	x.write("123")
	x.write("")
	y.attrIs(core.GetNread, 5)
	y.attrIs(core.GetNread, 5)
	y.read("12345")
	y.attrIs(core.GetNread, 3)
	y.read("123")
	y.attrIs(core.GetNread, 0)
	y.read("")
	y.nothing()
	if e.kernel() {
		return
	}
	x.attrIs(core.GetNwrite, fifoSize-16)
	x.write("1234567890")
	x.attrIs(core.GetNwrite, fifoSize-16-26)
	x.stuff(vls.Endpoint{}, 10)
	x.attrIs(core.GetNwrite, max(x.attr(core.GetNwrite), 0))
	z, _ := e.bound(th)
	z.attrIs(core.GetNwrite, fifoSize-16)
	u := e.udp(th, false)
	e.want(syscall.ENOTCONN, err1(th.Attr(u.h, core.GetNread, make([]byte, 4))))
	e.want(syscall.ENOTCONN, err1(th.Attr(u.h, core.GetNwrite, make([]byte, 4))))
	e.want(syscall.ENOTCONN, err1(th.Attr(z.h, core.GetPeer, make([]byte, 32))))
	// A larger fifo takes larger messages, but none that UDP could not carry.
	x.set(core.SetTxFifoLen, 200_000)
	v, ve := e.bound(th)
	x, _ = e.bound(th)
	x.set(core.SetTxFifoLen, 200_000)
	x.attrIs(core.GetTxFifoLen, 200_000)
	x.attrIs(core.GetNwrite, core.MaxDatagram)
	x.sendto(ve, string(make([]byte, core.MaxDatagram)))
	e.want(syscall.EMSGSIZE, err1(th.Sendto(x.h, make([]byte, core.MaxDatagram+1), 0, ve)))
	v.read(string(make([]byte, core.MaxDatagram)))
}

func testDgramAny(e *env) {
	th := e.thread()
	v4 := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	port := func(a netip.Addr) vls.Endpoint { return netip.AddrPortFrom(a, e.address().Port()) }
	for _, c := range []struct {
		bound  netip.Addr
		v6only bool
		to     netip.Addr
		hears  bool
	}{
		{netip.IPv4Unspecified(), false, v4, true},
		{netip.IPv6Unspecified(), false, netip.IPv6Loopback(), true},
		{netip.IPv6Unspecified(), false, v4, true},
		{netip.IPv6Unspecified(), true, netip.IPv6Loopback(), true},
		{netip.IPv6Unspecified(), true, v4, false},
	} {
		x, ep := e.udp(th, false), port(c.bound)
		if c.v6only {
			x.set(core.SetV6only, 1)
		}
		e.ok(th.Bind(x.h, ep))
		y := e.udp(th, false)
		y.sendto(netip.AddrPortFrom(c.to, ep.Port()), "to any")
		if !c.hears {
			x.nothing()
			z := e.udp(th, false)
			e.ok(th.Bind(z.h, netip.AddrPortFrom(c.to, ep.Port())))
			z.close()
			continue
		}
		from := x.recvfrom("to any", 0)
		if from.Addr() != c.to {
			e.fatalf("it came from %v, want an endpoint on %v", from, c.to)
		}
		x.sendto(from, "answer")
		y.read("answer")
		e.want(syscall.EADDRINUSE, th.Bind(e.udp(th, false).h, netip.AddrPortFrom(c.to, ep.Port())))
		// Its other port is not its own.
		y.sendto(netip.AddrPortFrom(c.to, ep.Port()+500), "lost")
		x.nothing()
	}
}

func testDgramIPv6(e *env) {
	th := e.thread()
	ep := netip.AddrPortFrom(netip.IPv6Loopback(), e.address().Port())
	x := e.udp(th, false)
	e.ok(th.Bind(x.h, ep))
	y := e.udp(th, false)
	e.ok(th.Connect(y.h, ep))
	y.write("over six")
	if from := x.recvfrom("over six", 0); from != y.local() || !from.Addr().Is6() {
		e.fatalf("it came from %v, want %v", from, y.local())
	}
	four, fe := e.bound(th)
	e.want(syscall.EAFNOSUPPORT, err1(th.Sendto(four.h, []byte("x"), 0, ep)))
	e.want(syscall.EAFNOSUPPORT, err1(th.Sendto(x.h, []byte("x"), 0, fe)))
	e.want(syscall.EAFNOSUPPORT, th.Connect(four.h, ep))
	// An IPv4 address in IPv6's clothes is the same.
	mapped := netip.AddrPortFrom(netip.AddrFrom16(fe.Addr().As16()), fe.Port())
	u := e.udp(th, false)
	u.sendto(mapped, "unwrapped")
	four.read("unwrapped")
}

func testDgramSelf(e *env) {
	th := e.thread()
	x, ep := e.bound(th)
	for range 3 {
		x.sendto(ep, "to myself")
		if from := x.recvfrom("to myself", 0); from != ep {
			e.fatalf("it came from %v, want %v", from, ep)
		}
	}
	x.sendto(ep, "unread")
	x.close()
	e.ok(th.Bind(e.udp(th, false).h, ep))
}

// dgramScene is two sessions of two processes, and a set on x's side.
func (e *env) dgramScene(cold bool) (s set, x, y end) {
	e.t.Helper()
	a := e.thread()
	x, y = e.duo(a, e.thread())
	s = e.set(a)
	s.cold = cold
	return s, x, y
}

func testDgramEpollLevel(e *env, cold bool) {
	s, x, y := e.dgramScene(cold)
	s.add(x, in)
	s.none()
	for range 3 {
		y.write("one")
		y.write("")
		s.is(report{x, in})
		s.is(report{x, in})
		x.read("one")
		s.soon(report{x, in})
		x.read("")
		s.none()
	}
	s.mod(x, in|out)
	s.is(report{x, out})
	if e.kernel() {
		return
	}
	n := x.stuff(vls.Endpoint{}, 1000)
	s.none()
	y.unstuff(0, 1, 1000)
	s.none()
	y.unstuff(1, n, 1000)
	s.soon(report{x, out})
	// It is room for what was refused that is waited for.
	few, much := "a few", string(make([]byte, 12000))
	for range 3 {
		x.write(few)
	}
	for range 4 {
		x.write(much[:1080])
	}
	x.nonblock(true)
	e.want(syscall.EWOULDBLOCK, err1(x.th.Write(x.h, []byte(much))))
	for range 3 {
		s.none()
		y.read(few)
	}
	s.none()
	y.read(much[:1080])
	s.soon(report{x, out})
	x.write(much)
	for range 3 {
		y.read(much[:1080])
	}
	y.read(much)
	x.nonblock(false)
	y.write("both")
	s.soon(report{x, in | out})
	// Not bound yet it can be sent from.
	z := e.udp(x.th, false)
	s.del(x)
	s.add(z, in|out)
	s.is(report{z, out})
}

func testDgramEpollEdge(e *env, cold bool) {
	s, x, y := e.dgramScene(cold)
	s.add(x, in|et)
	s.none()
	for range 3 {
		y.write("one")
		s.is(report{x, in})
		s.none()
		y.write("two")
		s.is(report{x, in})
		s.none()
		x.read("one")
		s.none()
		x.read("two")
		s.none()
	}
	s.del(x)
	s.add(x, out|et)
	s.is(report{x, out})
	s.none()
	if e.kernel() {
		return
	}
	for range 3 {
		n := x.stuff(vls.Endpoint{}, 1000)
		s.none()
		y.unstuff(0, n, 1000)
		s.soon(report{x, out})
		s.none()
		// Full and emptied between two waits is news as well.
		n = x.stuff(vls.Endpoint{}, 1000)
		y.unstuff(0, n, 1000)
		s.soon(report{x, out})
		s.none()
	}
}

func testDgramEpollOneshot(e *env, cold bool) {
	s, x, y := e.dgramScene(cold)
	s.add(x, in|oneshot)
	s.none()
	y.write("one")
	s.is(report{x, in})
	y.write("two")
	s.none()
	s.mod(x, in|oneshot)
	s.soon(report{x, in})
	x.read("one")
	x.read("two")
	s.mod(x, in|oneshot)
	s.none()
	y.write("three")
	s.soon(report{x, in})
	s.none()
}

func testDgramEpollError(e *env, cold bool) {
	s, x, y := e.dgramScene(cold)
	s.add(x, in)
	s.none()
	y.close()
	x.write("lost")
	s.soon(report{x, errs})
	s.is(report{x, errs})
	x.attrIs(core.GetError, int(syscall.ECONNREFUSED))
	s.none()
	s.mod(x, et)
	x.write("lost")
	s.soon(report{x, errs})
	s.none()
	x.writing(syscall.ECONNREFUSED)
	s.none()
	x.write("lost")
	s.soon(report{x, errs})
}

func testDgramEpollWoken(e *env) {
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
		x, y := e.duo(a, b)
		woken(x, in|mode, in, func() { y.write("data") })
		x.read("data")
		if !e.kernel() {
			n := x.stuff(vls.Endpoint{}, 1000)
			woken(x, out|mode, out, func() { y.unstuff(0, n, 1000) })
			x.stuff(vls.Endpoint{}, 1000)
			woken(x, out|mode, out, y.close)
		}
	}
	// Nothing is lost between a read that finds nothing and the wait after it.
	x, y := e.duo(a, b)
	rounds := e.rounds(300)
	serve := func(z end, first bool) {
		s := e.set(z.th)
		z.nonblock(true)
		s.add(z, in|et)
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

func testDgramMany(e *env) {
	a := e.thread()
	y, ep := e.bound(a)
	const senders, each = 6, 300
	var joins []func()
	var ends []end
	for k := range senders {
		th := e.far(a)
		x := e.udp(th, false)
		ends = append(ends, x)
		joins = append(joins, e.start(func() {
			p := make([]byte, 200)
			for i := range each {
				binary.NativeEndian.PutUint32(p, uint32(k))
				binary.NativeEndian.PutUint32(p[4:], uint32(i))
				size := 8 + (i*37+k)%190
				for b := 8; b < size; b++ {
					p[b] = at(k, i+b)
				}
				x.sendto(ep, string(p[:size]))
				if e.kernel() && i%8 == 7 {
					x.read("go on") // it drops what does not fit
				}
			}
		}))
	}
	var next [senders]int
	var from [senders]vls.Endpoint
	buf := make([]byte, 300)
	for range senders * each {
		n, src, err := a.Recvfrom(y.h, buf, 0)
		e.ok(err)
		k, i := int(binary.NativeEndian.Uint32(buf)), int(binary.NativeEndian.Uint32(buf[4:]))
		if k >= senders || i != next[k] || n != 8+(i*37+k)%190 {
			e.fatalf("message %d of sender %d, %d bytes; want message %d", i, k, n, next[min(k, senders-1)])
		}
		for b := 8; b < n; b++ {
			if buf[b] != at(k, i+b) {
				e.fatalf("byte %d of message %d of sender %d is %#x, want %#x", b, i, k, buf[b], at(k, i+b))
			}
		}
		if from[k].IsValid() && from[k] != src {
			e.fatalf("sender %d is %v, and was %v", k, src, from[k])
		}
		if from[k] = src; e.kernel() && i%8 == 7 {
			y.sendto(src, "go on")
		}
		next[k]++
	}
	for _, join := range joins {
		join()
	}
	y.nothing()
	for _, x := range ends {
		x.close()
	}
	y.close()
	e.empty(a)
}

func testDgramManyReceivers(e *env) {
	a, c := e.thread(), e.thread()
	x, y := e.duo(a, c)
	const n, each = 4, 50
	got := make(chan string, n*each)
	var joins []func()
	for range n {
		o := x.on(e.near(a))
		joins = append(joins, e.start(func() {
			buf := make([]byte, 20)
			for range each {
				k, err := o.th.Read(o.h, buf)
				e.ok(err)
				got <- string(buf[:k])
				o.write("got it")
			}
		}))
	}
	for i := range n * each {
		y.write(fmt.Sprint("message ", i))
		y.read("got it")
		if i%20 == 0 {
			e.pause()
		}
	}
	for _, join := range joins {
		join()
	}
	close(got)
	seen := make(map[string]bool)
	for s := range got {
		seen[s] = true
	}
	if len(seen) != n*each {
		e.fatalf("%d different messages came, want %d", len(seen), n*each)
	}
}

func testDgramOverrun(e *env) {
	a, b := e.thread(), e.thread()
	s := e.set(a)
	s.cold = true
	const n = 100
	ends := make(map[uint64]end)
	var eps []vls.Endpoint
	for range n {
		x, ep := e.bound(a)
		s.add(x, in|et)
		ends[uint64(x.h)] = x
		eps = append(eps, ep)
	}
	s.none()
	y := e.udp(b, false)
	for _, ep := range eps {
		y.sendto(ep, "data")
	}
	evs := make([]vls.EpollEvent, 50)
	for told := 0; told < n; {
		k, err := a.EpollWait(s.h, evs, -1)
		e.ok(err)
		for _, ev := range evs[:k] {
			ends[ev.Data].read("data")
			told++
		}
	}
	s.none()
}

func testDgramExhausted(e *env) {
	if e.kernel() {
		return // it drops
	}
	a, b := e.thread(), e.thread()
	for range 3 {
		x := e.udp(a, true)
		var ys []end
		var counts []int
		for full := false; !full; {
			y, ep := e.bound(b)
			ys, counts = append(ys, y), append(counts, 0)
			for p := make([]byte, 1500); ; counts[len(counts)-1]++ {
				binary.NativeEndian.PutUint32(p, uint32(counts[len(counts)-1]))
				_, err := a.Sendto(x.h, p, 0, ep)
				if err == syscall.EWOULDBLOCK {
					break
				}
				if full = err == syscall.ENOMEM; full {
					break
				}
				e.ok(err)
			}
		}
		if len(ys) < 20 {
			e.fatalf("%d receivers fill 1 MB, want more", len(ys))
		}
		// What was sent before is all there.
		for i, y := range ys[:5] {
			y.unstuff(0, counts[i], 1500)
			y.close()
		}
		// There is room again.
		z, ep := e.bound(b)
		x.sendto(ep, "room")
		z.read("room")
		for i, y := range ys[5:] {
			if i%2 == 0 {
				y.unstuff(0, counts[i+5], 1500)
			}
			y.close()
		}
		z.close()
		x.close()
	}
}

func testDgramComesBack(e *env) {
	a, b := e.thread(), e.thread()
	server, ep := e.bound(a)
	p := string(make([]byte, 9000))
	for i := range 1000 {
		x := e.udp(b, false)
		x.sendto(ep, p)
		if i%3 == 0 {
			x.close()
		}
		from := server.recvfrom(p, 0)
		server.sendto(from, p)
		if i%3 == 1 {
			x.read(p)
		}
		if i%3 != 0 {
			x.close()
		}
		y, ye := e.bound(a)
		z := e.udp(b, false)
		z.sendto(ye, p)
		server.sendto(ye, p)
		z.sendto(ye, "unread")
		if i%4 < 2 { // then what is left is known to the receiver
			y.read(p)
		}
		if i%2 == 0 {
			z.close()
			y.close()
		} else {
			y.close()
			z.close()
		}
	}
	server.close()
	e.empty(a)
	e.empty(b)
}

func testDgramProcessExit(e *env) {
	a := e.thread()
	x, ep := e.bound(a)
	for range 3 {
		p := e.process()
		b := e.threadOf(p)
		y, ye := e.bound(b)
		y.sendto(ep, "last words")
		x.sendto(ye, "never read")
		w := e.udp(a, false)
		e.ok(a.Connect(w.h, ye))
		w.write("never read")
		e.ok(b.Exit())
		e.ok(p.Exit())
		e.gone(p)
		x.read("last words")
		w.write("lost")
		w.writing(syscall.ECONNREFUSED)
		z := e.udp(a, false)
		e.ok(a.Bind(z.h, ye))
		x.sendto(ye, "to the next")
		z.read("to the next")
		z.close()
	}
}

func testDgramStale(e *env) {
	th := e.thread()
	s := e.set(th)
	x, _ := e.bound(th)
	x.close()
	for range 20 {
		e.bound(th) // its slot is used again
	}
	e.refused(th, x.h, s)
	c, _ := e.pair(th, th)
	c.close()
	e.refused(th, c.h, s)
	e.refused(th, 0, s)
}

func testDgramAllocs(e *env) {
	if underRace || audit.Enabled || e.kernel() {
		return // they allocate
	}
	a := e.thread()
	for _, b := range []vls.Thread{a, e.thread()} {
		x, y := e.duo(a, b)
		u, _ := e.bound(a)
		v, ep := e.bound(b)
		p, q := make([]byte, 100), make([]byte, 100)
		n := testing.AllocsPerRun(500, func() {
			e.count(100)(a.Write(x.h, p))
			e.count(100)(b.Read(y.h, q))
			e.count(100)(a.Sendto(u.h, p, 0, ep))
			k, _, err := b.Recvfrom(v.h, q, 0)
			e.count(100)(k, err)
		})
		if n != 0 {
			e.fatalf("two messages allocate %v times, want 0", n)
		}
	}
}
