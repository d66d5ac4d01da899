package strategies_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"vlsbench/core"
	"vlsbench/vls"
	"vlsbench/vls/vlstest/tape"
)

// Any bytes are a tape: the first picks how it is played, and on which strategy.
func FuzzTape(f *testing.F) {
	for _, t := range []tape.Tape{
		// A pair, data both ways, the end of a stream.
		{{Kind: tape.Create}, {Kind: tape.Write}, {Kind: tape.Read}, {Kind: tape.Write, Who: 1}, {Kind: tape.Shutdown}, {Kind: tape.Read, Who: 1}, {Kind: tape.Drain, Who: 1}},
		// A peek, and the same once more.
		{{Kind: tape.Create}, {Kind: tape.Write}, {Kind: tape.Read, How: 12}, {Kind: tape.Read}},
		// Reset by a close with unread data.
		{{Kind: tape.Create}, {Kind: tape.Write}, {Kind: tape.Close, Who: 2}, {Kind: tape.Read}, {Kind: tape.Write}},
		// Two wait to be accepted, and the listener closes.
		{{Kind: tape.Listen, How: 2}, {Kind: tape.Connect}, {Kind: tape.Connect}, {Kind: tape.Accept}, {Kind: tape.Close}, {Kind: tape.Read}},
		// An edge triggered member, cold and warm.
		{{Kind: tape.Create}, {Kind: tape.EpollCreate}, {Kind: tape.EpollCtl, Who: 2, What: 64}, {Kind: tape.EpollWait, How: 3}, {Kind: tape.Write}, {Kind: tape.EpollWait}, {Kind: tape.EpollWait}, {Kind: tape.Write}, {Kind: tape.EpollWait}},
		// Datagrams that nobody hears.
		{{Kind: tape.Connect, What: 200}, {Kind: tape.Sendto, How: 7}, {Kind: tape.Sendto, How: 7}, {Kind: tape.Poll}},
		// Full and empty again.
		{{Kind: tape.Create}, {Kind: tape.Fill}, {Kind: tape.Select}, {Kind: tape.Drain, Who: 1}, {Kind: tape.Select}},
		{{Kind: tape.Create}, {Kind: tape.Close}, {Kind: tape.Stale}, {Kind: tape.Stale, What: 4, How: 255}},
	} {
		for how := range byte(3) {
			f.Add(append([]byte{how}, t.Encode()...))
		}
	}
	judged := built()
	believed := lookup(f, "kernel-unix")
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) == 0 {
			return
		}
		s, ops := judged[int(b[0]>>3)%len(judged)], tape.Decode(b[1:min(len(b), 4000)])
		if _, err := tape.Compare(s, believed, ops, tape.OptionsOf(b[0])); err != nil {
			t.Fatalf("%v\n\nthe tape:\n%v", err, ops)
		}
	})
}

// Any endpoint is bound to, listened at and connected to, or refused, as the
// kernel strategies do: with an error that is always the same, and never a
// panic.
func FuzzEndpoint(f *testing.F) {
	for _, s := range []string{"127.0.0.1:80", "0.0.0.0:80", "[::1]:80", "[::]:80", "[::ffff:10.0.0.1]:80", "[fe80::1%eth0]:80", "255.255.255.255:65535", "127.0.0.1:0"} {
		ep := netip.MustParseAddrPort(s)
		b, _ := ep.Addr().MarshalBinary()
		f.Add(b, ep.Port(), b, ep.Port())
		f.Add(b, ep.Port(), []byte{127, 0, 0, 1}, uint16(80))
		f.Add([]byte{}, uint16(80), b, ep.Port())
	}
	judged, believed := lookup(f, "null"), lookup(f, "kernel-unix")
	f.Fuzz(func(t *testing.T, bind []byte, bindPort uint16, dial []byte, dialPort uint16) {
		// What is no address in bytes is the zero Endpoint.
		at, to := endpointOf(bind, bindPort), endpointOf(dial, dialPort)
		dog := time.AfterFunc(time.Minute, func() { panic(fmt.Sprintf("hangs: bind %v, connect %v", at, to)) })
		defer dog.Stop()
		got, want := meet(t, judged, at, to), meet(t, believed, at, to)
		if got != want {
			t.Errorf("bind %v, connect %v:\n\t%s: %s\n\t%s: %s", at, to, judged.Name, got, believed.Name, want)
		}
	})
}

func endpointOf(b []byte, port uint16) vls.Endpoint {
	var a netip.Addr
	if a.UnmarshalBinary(b) != nil || !a.IsValid() {
		return vls.Endpoint{}
	}
	// No interface has a longer name, or one with a NUL, and names of AF_UNIX do not
	// take it.
	const longest = 15
	zone, _, _ := strings.Cut(a.Zone(), "\x00")
	a = a.WithZone(zone[:min(len(zone), longest)])
	return netip.AddrPortFrom(a, port)
}

// meet listens at one endpoint and connects to another, for a stream and for
// datagrams, and says what came of it.
func meet(t *testing.T, s vls.Strategy, at, to vls.Endpoint) (said string) {
	app, err := s.New(vls.Options{Config: core.Config{Wait: vls.Adaptive, SegmentSize: 1 << 20, RxFifoSize: 4096, TxFifoSize: 4096}})
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(err)
	p, err := app.NewProcess()
	check(err)
	th := p.NewThread()
	note := func(what string, v any) { said += fmt.Sprint(what, " ", v, "; ") }
	for _, proto := range []vls.Proto{vls.TCP, vls.UDP} {
		l, err := th.Create(proto, true)
		check(err)
		x, err := th.Create(proto, true)
		check(err)
		err = th.Bind(l, at)
		if err == nil && proto == vls.TCP {
			err = th.Listen(l, 2)
		}
		note("bind", err)
		buf := make([]byte, 64)
		if n, e := th.Attr(l, core.GetLocal, buf); e != nil {
			note("local", e)
		} else if err == nil {
			var ep vls.Endpoint
			check(ep.UnmarshalBinary(buf[:n]))
			if at.Port() == 0 {
				ep = netip.AddrPortFrom(ep.Addr(), 0) // each side's own
			}
			note("local", ep)
		}
		if proto == vls.UDP {
			_, err := th.Sendto(x, []byte("hello"), 0, to)
			if err == syscall.ENOTCONN {
				err = syscall.EDESTADDRREQ // without an endpoint it is a write, to no peer
			}
			note("sendto", err)
			if err == nil {
				n, _, err := th.Recvfrom(l, buf, 0)
				note("recvfrom", fmt.Sprint(n, " ", err != nil))
			}
			continue
		}
		if err = th.Connect(x, to); err == syscall.EINPROGRESS {
			// What came of it, which others may say at once.
			n, e := th.Attr(x, core.GetError, buf[:4])
			check(e)
			if err = nil; binary.NativeEndian.Uint32(buf[:n]) != 0 {
				err = syscall.Errno(binary.NativeEndian.Uint32(buf[:n]))
			}
		}
		note("connect", err)
		_, _, err = th.Accept(l, 0)
		note("accepted", err == nil)
	}
	check(th.Exit())
	check(p.Exit())
	check(app.Close())
	return said
}
