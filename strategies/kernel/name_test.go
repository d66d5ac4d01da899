package kernel

import (
	"net/netip"
	"syscall"
	"testing"

	"vlsbench/vls"

	"golang.org/x/sys/unix"
)

// Connections come from many addresses of the application in turn, each of which
// leads back to the endpoint that it stands for.
func TestSourcesRotate(t *testing.T) {
	f, err := newInet()
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	to := netip.MustParseAddrPort("10.1.2.3:80")
	seen := make(map[[4]byte]bool)
	for range 10 {
		fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
		if err != nil {
			t.Fatal(err)
		}
		s := &socket{family: f, fd: fd}
		if err := f.name(s, to); err != nil {
			t.Fatal(err)
		}
		sa, err := syscall.Getsockname(fd)
		if err != nil {
			t.Fatal(err)
		}
		own := sa.(*syscall.SockaddrInet4)
		if own.Addr[0] != 127 || own.Addr[1] == 0 {
			t.Errorf("a connection comes from %v, want one of 127/8 that nobody else uses", own.Addr)
		}
		if ep := f.endpoint(false, sa); ep.Addr() != to.Addr() {
			t.Errorf("a connection to %v comes from %v, want the same address", to, ep)
		}
		seen[own.Addr] = true
		f.sources.Add(perTurn - 1)
		_ = unix.Close(fd)
	}
	if len(seen) != 10 {
		t.Errorf("%d addresses after 10 turns", len(seen))
	}
}

// There are as many addresses as an application can have, and then an error.
func TestTooManyAddresses(t *testing.T) {
	f, err := newInet()
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	seen := make(map[[4]byte]bool)
	for i := range 100 {
		ep := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 80)
		sa, err := f.address(false, ep)
		if err != nil {
			if err != syscall.EADDRNOTAVAIL || i < 50 {
				t.Errorf("address %d: %v", i, err)
			}
			continue
		}
		if f.endpoint(false, sa) != ep {
			t.Errorf("%v is %v, which is %v", ep, sa, f.endpoint(false, sa))
		}
		seen[sa.(*syscall.SockaddrInet4).Addr] = true
	}
	if len(seen) != 60 {
		t.Errorf("%d addresses, want 60", len(seen))
	}
}

// Two applications may have the same endpoints.
func TestApplicationsApart(t *testing.T) {
	for _, unix := range []bool{false, true} {
		for _, proto := range []vls.Proto{vls.TCP, vls.UDP} {
			for range 2 {
				app, err := newApp(vls.Options{}, unix)
				if err != nil {
					t.Fatal(err)
				}
				defer app.Close()
				p, err := app.NewProcess()
				if err != nil {
					t.Fatal(err)
				}
				th := p.NewThread()
				for _, a := range []string{"127.0.0.1:80", "[::1]:80", "0.0.0.0:81"} {
					h, err := th.Create(proto, false)
					if err != nil {
						t.Fatal(err)
					}
					if err := th.Bind(h, netip.MustParseAddrPort(a)); err != nil {
						t.Errorf("bind to %s: %v", a, err)
					}
				}
			}
		}
	}
}
