package vlstest

import (
	"encoding/binary"
	"net/netip"
	"syscall"

	"vlsbench/core"
	"vlsbench/vls"
)

// Attributes beyond those of streams' data, and endpoints.
var attrCases = []testCase{
	{name: "attr-endpoints", doc: "the local and the peer's endpoint are what bind, connect and accept made them", run: testAttrEndpoints},
	{name: "attr-switches", doc: "a switch is 0 or 1, as it was set; others stay as they are", run: testAttrSwitches},
	{name: "attr-numbers", doc: "keepidle, keepintvl and MSS are what they were set to, within their ranges", run: testAttrNumbers},
	{name: "attr-of-datagrams", doc: "what only streams have is EINVAL of datagrams", run: testAttrDatagrams},
	{name: "attr-fifo-sizes", doc: "the fifo lengths set before a connection are those that it has", run: testAttrFifos},
	{name: "attr-shutdown", doc: "the shutdown state says which directions are down", run: testAttrShutdown},
	{name: "attr-inherited", doc: "an accepted session has its listener's options, but not its O_NONBLOCK", run: testAttrInherited},
	{name: "attr-v6only", doc: "a listener on IPv6's unspecified address serves IPv4 too, unless V6ONLY is set", run: testAttrV6only},
	{name: "connect-ipv6", doc: "endpoints may be IPv6", run: testConnectIPv6},
	{name: "connect-family", doc: "connect to an endpoint that the local address cannot reach is EAFNOSUPPORT", run: testConnectFamily},
	{name: "connect-unspecified", doc: "connect to the unspecified address reaches who listens on this machine", run: testConnectUnspecified},
}

// setting is SetX with a value.
func (x end) setting(a vls.Attr, v int) error {
	return err1(x.th.Attr(x.h, a, binary.NativeEndian.AppendUint32(nil, uint32(v))))
}

// set sets an attribute.
func (x end) set(a vls.Attr, v int) {
	x.e.t.Helper()
	x.e.ok(x.setting(a, v))
}

func testAttrEndpoints(e *env) {
	th := e.thread()
	noPeer := func(x end) {
		e.t.Helper()
		e.want(syscall.ENOTCONN, err1(th.Attr(x.h, core.GetPeer, make([]byte, 32))))
	}
	x := e.create(th, false)
	if own := x.local(); own.Port() != 0 || !own.Addr().IsUnspecified() {
		e.fatalf("a new session is at %v, want the unspecified address and port 0", own)
	}
	noPeer(x)
	l, ep := e.listen(th, 4)
	if own := l.local(); own != ep {
		e.fatalf("the listener is at %v, want %v", own, ep)
	}
	noPeer(l)
	own := e.address()
	e.ok(th.Bind(x.h, own))
	noPeer(x)
	e.ok(th.Connect(x.h, ep))
	y := l.accept()
	for _, c := range []struct {
		x    end
		a    vls.Attr
		want vls.Endpoint
	}{{x, core.GetLocal, own}, {x, core.GetPeer, ep}, {y, core.GetLocal, ep}, {y, core.GetPeer, own}} {
		if got := c.x.endpoint(c.a); got != c.want {
			e.fatalf("attribute %d is %v, want %v", c.a, got, c.want)
		}
	}
	z := e.connect(th, ep)
	w := l.accept()
	if z.local() != w.endpoint(core.GetPeer) || z.local().Port() == 0 {
		e.fatalf("the connector is at %v, its peer says %v", z.local(), w.endpoint(core.GetPeer))
	}
	for _, n := range []int{0, 1, 4, 5} {
		e.want(syscall.EINVAL, err1(th.Attr(x.h, core.GetLocal, make([]byte, n))))
		e.want(syscall.EINVAL, err1(th.Attr(x.h, core.GetPeer, make([]byte, n))))
	}
	e.want(syscall.EBADFD, err1(th.Attr(e.set(th).h, core.GetLocal, make([]byte, 32))))
}

func testAttrSwitches(e *env) {
	th := e.thread()
	switches := [][2]vls.Attr{
		{core.GetReuseaddr, core.SetReuseaddr}, {core.GetReuseport, core.SetReuseport},
		{core.GetBroadcast, core.SetBroadcast}, {core.GetKeepalive, core.SetKeepalive},
		{core.GetNodelay, core.SetNodelay}, {core.GetV6only, core.SetV6only},
	}
	x := e.create(th, false)
	for i, s := range switches {
		x.attrIs(s[0], 0)
		x.set(s[1], 1)
		for k, o := range switches {
			want := 0
			if k <= i {
				want = 1
			}
			x.attrIs(o[0], want)
		}
	}
	for _, s := range switches {
		x.set(s[1], 0)
		x.attrIs(s[0], 0)
		x.set(s[1], 7)
		x.attrIs(s[0], 1)
		for _, n := range []int{0, 3, 8} {
			e.want(syscall.EINVAL, err1(th.Attr(x.h, s[0], make([]byte, n))))
			e.want(syscall.EINVAL, err1(th.Attr(x.h, s[1], make([]byte, n))))
		}
		e.want(syscall.EBADFD, err1(th.Attr(e.set(th).h, s[0], make([]byte, 4))))
	}
}

func testAttrNumbers(e *env) {
	th := e.thread()
	x := e.create(th, false)
	for _, c := range []struct {
		get, set          vls.Attr
		def, least, value int
	}{
		{core.GetKeepidle, core.SetKeepidle, 7200, 1, 30},
		{core.GetKeepintvl, core.SetKeepintvl, 75, 1, 5},
		{core.GetMSS, core.SetMSS, 536, 88, 1400},
	} {
		x.attrIs(c.get, c.def)
		for _, v := range []int{c.value, c.least, 32767} {
			x.set(c.set, v)
			if c.get != core.GetMSS || !e.kernel() {
				x.attrIs(c.get, v)
			}
		}
		for _, bad := range []int{c.least - 1, -1, 32768, 1 << 30} {
			if bad == 0 && c.get == core.GetMSS {
				continue
			}
			e.want(syscall.EINVAL, x.setting(c.set, bad))
		}
	}
}

func testAttrDatagrams(e *env) {
	th := e.thread()
	x := e.udp(th, false)
	for _, a := range []vls.Attr{
		core.GetNodelay, core.SetNodelay, core.GetKeepidle, core.SetKeepidle,
		core.GetKeepintvl, core.SetKeepintvl, core.GetMSS, core.SetMSS,
	} {
		e.want(syscall.EINVAL, x.setting(a, 100))
	}
	x.set(core.SetBroadcast, 1)
	x.attrIs(core.GetBroadcast, 1)
}

func testAttrFifos(e *env) {
	if e.kernel() {
		return // it takes them as a hint
	}
	th := e.thread()
	l, ep := e.listen(th, 8)
	x := e.create(th, false)
	x.attrIs(core.GetTxFifoLen, fifoSize)
	x.attrIs(core.GetRxFifoLen, fifoSize)
	for _, bad := range []int{0, -1, 4095, 1<<30 + 1} {
		e.want(syscall.EINVAL, x.setting(core.SetTxFifoLen, bad))
		e.want(syscall.EINVAL, x.setting(core.SetRxFifoLen, bad))
	}
	// Each direction has the larger of the writer's and the reader's.
	x.set(core.SetTxFifoLen, 40_000)
	x.set(core.SetRxFifoLen, 4096)
	e.ok(th.Connect(x.h, ep))
	y := l.accept()
	x.attrIs(core.GetTxFifoLen, 40_000)
	y.attrIs(core.GetRxFifoLen, 40_000)
	x.attrIs(core.GetRxFifoLen, fifoSize)
	y.attrIs(core.GetTxFifoLen, fifoSize)
	if n := x.fill(); n != 40_000 {
		e.fatalf("%d bytes fit, want 40000", n)
	}
	if n := y.fill(); n != fifoSize {
		e.fatalf("%d bytes fit, want %d", n, fifoSize)
	}
	e.want(syscall.EINVAL, x.setting(core.SetTxFifoLen, 50_000))
	y.receive(0, 0, 40_000, 5000)

	l.set(core.SetRxFifoLen, 50_000)
	l.set(core.SetTxFifoLen, 30_000)
	z := e.connect(th, ep)
	z.attrIs(core.GetTxFifoLen, 50_000)
	z.attrIs(core.GetRxFifoLen, 30_000)
}

func testAttrShutdown(e *env) {
	th := e.thread()
	for _, c := range []struct{ how, want int }{{syscall.SHUT_RD, 1}, {syscall.SHUT_WR, 2}, {syscall.SHUT_RDWR, 3}} {
		x, y := e.pair(th, th)
		x.attrIs(core.GetShutdown, 0)
		e.ok(th.Shutdown(x.h, c.how))
		x.attrIs(core.GetShutdown, c.want)
		y.attrIs(core.GetShutdown, 0)
	}
	e.create(th, false).attrIs(core.GetShutdown, 0)
}

func testAttrInherited(e *env) {
	th := e.thread()
	l, ep := e.listen(th, 4)
	l.set(core.SetKeepalive, 1)
	l.set(core.SetNodelay, 1)
	l.set(core.SetKeepidle, 44)
	l.nonblock(true)
	x := e.connect(th, ep)
	y := l.accept()
	y.attrIs(core.GetKeepalive, 1)
	y.attrIs(core.GetNodelay, 1)
	y.attrIs(core.GetKeepidle, 44)
	y.attrIs(core.GetFlags, 0)
	x.attrIs(core.GetKeepalive, 0)
	x.attrIs(core.GetKeepidle, 7200)
}

func testAttrV6only(e *env) {
	th := e.thread()
	v4 := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	for _, only := range []bool{false, true} {
		l := e.create(th, false)
		ep := netip.AddrPortFrom(netip.IPv6Unspecified(), e.address().Port())
		if only {
			l.set(core.SetV6only, 1)
		}
		e.ok(th.Bind(l.h, ep))
		e.want(syscall.EINVAL, l.setting(core.SetV6only, 0))
		e.ok(th.Listen(l.h, 4))
		x := e.connect(th, netip.AddrPortFrom(netip.IPv6Loopback(), ep.Port()))
		y := l.accept()
		x.write("six")
		y.read("six")

		four := netip.AddrPortFrom(v4, ep.Port())
		m := e.create(th, false)
		if only {
			e.ok(th.Bind(m.h, four))
			e.want(syscall.ECONNREFUSED, th.Connect(e.create(th, false).h, four))
			e.ok(th.Listen(m.h, 4))
			continue
		}
		err := th.Bind(m.h, four)
		if !e.kernel() {
			e.ok(err)
			err = th.Listen(m.h, 4)
		}
		e.want(syscall.EADDRINUSE, err)
		x = e.connect(th, four)
		y = l.accept()
		x.write("four")
		y.read("four")
	}
}

func testConnectIPv6(e *env) {
	th := e.thread()
	l := e.create(th, false)
	ep := netip.AddrPortFrom(netip.IPv6Loopback(), e.address().Port())
	e.ok(th.Bind(l.h, ep))
	e.ok(th.Listen(l.h, 4))
	x := e.connect(th, ep)
	h, peer, err := th.Accept(l.h, 0)
	e.ok(err)
	y := end{e, th, h}
	if peer != x.local() || !peer.Addr().Is6() || y.local() != ep {
		e.fatalf("accept says %v and %v, want %v and %v", peer, y.local(), x.local(), ep)
	}
	x.write("over six")
	y.read("over six")
	e.want(syscall.ECONNREFUSED, th.Connect(e.create(th, false).h, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), ep.Port())))
}

func testConnectFamily(e *env) {
	th := e.thread()
	_, ep := e.listen(th, 4)
	six := netip.AddrPortFrom(netip.IPv6Loopback(), ep.Port())
	x := e.create(th, false)
	e.ok(th.Bind(x.h, e.address()))
	e.want(syscall.EAFNOSUPPORT, th.Connect(x.h, six))
	e.ok(th.Connect(x.h, ep))
	y := e.create(th, false)
	e.ok(th.Bind(y.h, six))
	e.want(syscall.EAFNOSUPPORT, th.Connect(y.h, ep))
}

func testConnectUnspecified(e *env) {
	th := e.thread()
	l, ep := e.listen(th, 4)
	x := e.connect(th, netip.AddrPortFrom(netip.IPv4Unspecified(), ep.Port()))
	y := l.accept()
	x.write("here")
	y.read("here")
	if p := x.endpoint(core.GetPeer); p != ep {
		e.fatalf("the peer is %v, want %v", p, ep)
	}
}
