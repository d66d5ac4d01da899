package kernel

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"vlsbench/vls"

	"golang.org/x/sys/unix"
)

// family is how endpoints become addresses of Linux, those of one application
// apart from those of any other. Its methods may be called by any thread; their
// endpoints have IPv4 addresses in their own form.
//
// Addresses go through package syscall: those of x/sys/unix ask for the protocol
// of a socket, by a system call more, with each address they return.
type family interface {
	domain() int
	// address is that of an endpoint. EADDRNOTAVAIL: there are too many.
	address(dgram bool, ep vls.Endpoint) (syscall.Sockaddr, error)
	// endpoint is that of an address, zero if it has none.
	endpoint(dgram bool, sa syscall.Sockaddr) vls.Endpoint
	// bind gives a socket an endpoint, at a free port if that is 0. alone:
	// nobody else in the application has it.
	bind(s *socket, ep vls.Endpoint, alone bool) (vls.Endpoint, error)
	// name gives a socket that is to connect or send to ep an address, so that
	// its peer can tell it from others.
	name(s *socket, ep vls.Endpoint) error
}

// Ephemeral ports, as Linux has them by default.
const firstPort, ephemeralPorts = 32768, 28232

// inet is loopback. An application has 127.x.y.z with x and half of y as its
// number, which it reserves by an abstract name. The rest of y and z say which
// address of the application it is; those with turn 0 are bound to, by others
// connections come from, one after the other, so that ports do not run out while
// closed connections linger in TIME_WAIT.
//
//	127 | number: 12 bits | turn: 6 | address: 6
type inet struct {
	number   uint32
	reserved int           // descriptor
	sources  atomic.Uint32 // connections that were named

	mu    sync.RWMutex
	index map[netip.Addr]uint32
	addrs []netip.Addr // by index
	// Ports at which a stranger listens on all addresses of the machine stand
	// for others, and those for them.
	moved atomic.Bool
	port  map[portKey]uint16
	back  map[portKey]uint16
}

const (
	turnBits, addrBits = 6, 6
	// perTurn is how many connections come from one address, a small part of
	// the ports it has: the kernel's search for a free one stays short.
	perTurn = 4096
	// firstSubstitute is above what Linux gives out by itself.
	firstSubstitute = 61000
)

func newInet() (*inet, error) {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("reserve loopback addresses: %w", err)
	}
	for range 1000 {
		number := 16 + rand.Uint32N(4080-16) // neither 127.0 nor 127.255
		err = syscall.Bind(fd, &syscall.SockaddrUnix{Name: fmt.Sprintf("@vlsbench/loopback/%d", number)})
		if err == nil {
			f := &inet{number: number, reserved: fd, index: make(map[netip.Addr]uint32),
				port: make(map[portKey]uint16), back: make(map[portKey]uint16)}
			for _, a := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified(), loopback4, netip.IPv6Loopback()} {
				f.index[a] = uint32(len(f.addrs))
				f.addrs = append(f.addrs, a)
			}
			return f, nil
		}
		if err != syscall.EADDRINUSE {
			break
		}
	}
	_ = syscall.Close(fd)
	return nil, fmt.Errorf("reserve loopback addresses: %w", err)
}

var loopback4 = netip.AddrFrom4([4]byte{127, 0, 0, 1})

func (f *inet) close() error { return syscall.Close(f.reserved) }
func (f *inet) domain() int  { return syscall.AF_INET }

// indexOf is the index of an address, a new one if need be.
func (f *inet) indexOf(a netip.Addr) (uint32, error) {
	f.mu.RLock()
	i, ok := f.index[a]
	f.mu.RUnlock()
	if ok {
		return i, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if i, ok = f.index[a]; ok {
		return i, nil
	}
	if i = uint32(len(f.addrs)); i == 1<<addrBits {
		return 0, syscall.EADDRNOTAVAIL
	}
	f.index[a] = i
	f.addrs = append(f.addrs, a)
	return i, nil
}

func (f *inet) sockaddr(turn, index uint32, port uint16) syscall.Sockaddr {
	host := f.number<<(turnBits+addrBits) | turn<<addrBits | index
	return &syscall.SockaddrInet4{Port: int(port), Addr: [4]byte{127, byte(host >> 16), byte(host >> 8), byte(host)}}
}

func (f *inet) address(dgram bool, ep vls.Endpoint) (syscall.Sockaddr, error) {
	i, err := f.indexOf(ep.Addr())
	if err != nil {
		return nil, err
	}
	port := ep.Port()
	if f.moved.Load() {
		f.mu.RLock()
		if to, ok := f.port[portKey{dgram, port}]; ok {
			port = to
		}
		f.mu.RUnlock()
	}
	return f.sockaddr(0, i, port), nil
}

func (f *inet) endpoint(dgram bool, sa syscall.Sockaddr) vls.Endpoint {
	in, ok := sa.(*syscall.SockaddrInet4)
	if !ok || in.Addr == [4]byte{} {
		return vls.Endpoint{}
	}
	host := int(in.Addr[2])<<8 | int(in.Addr[3])
	f.mu.RLock()
	defer f.mu.RUnlock()
	i, turn := host%(1<<addrBits), host>>addrBits%(1<<turnBits)
	if i >= len(f.addrs) {
		return vls.Endpoint{}
	}
	port := uint16(in.Port)
	if of, ok := f.back[portKey{dgram, port}]; ok && turn == 0 {
		port = of
	}
	return netip.AddrPortFrom(f.addrs[i], port)
}

func (f *inet) bind(s *socket, ep vls.Endpoint, alone bool) (vls.Endpoint, error) {
	sa, err := f.address(s.dgram, ep)
	if err != nil {
		return ep, err
	}
	err = syscall.Bind(s.fd, sa)
	for n := firstSubstitute; err == syscall.EADDRINUSE && alone && n < 1<<16; n++ {
		sa.(*syscall.SockaddrInet4).Port = n
		if err = syscall.Bind(s.fd, sa); err == nil {
			f.move(s.dgram, ep.Port(), uint16(n))
		}
	}
	if err != nil || ep.Port() != 0 {
		return ep, err
	}
	if sa, err = syscall.Getsockname(s.fd); err != nil {
		return ep, err
	}
	return f.endpoint(s.dgram, sa), nil
}

// move lets a port stand for another one.
func (f *inet) move(dgram bool, port, to uint16) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if old, ok := f.port[portKey{dgram, port}]; ok {
		delete(f.back, portKey{dgram, old})
	}
	f.port[portKey{dgram, port}] = to
	f.back[portKey{dgram, to}] = port
	f.moved.Store(true)
}

func (f *inet) name(s *socket, ep vls.Endpoint) error {
	i, err := f.indexOf(ep.Addr())
	if err != nil {
		return err
	}
	if s.dgram {
		// The peer answers to this one.
		return syscall.Bind(s.fd, f.sockaddr(0, i, 0))
	}
	// The port is chosen by connect, which knows both ends.
	if err := unix.SetsockoptInt(s.fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err != nil {
		return err
	}
	const turns = 1<<turnBits - 1
	turn := 1 + f.sources.Add(1)/perTurn%turns
	return syscall.Bind(s.fd, f.sockaddr(turn, i, 0))
}

// local is AF_UNIX, with abstract names.
type local struct {
	prefix string
	last   atomic.Uint32 // ephemeral port
}

func newUnix() *local { return &local{prefix: fmt.Sprintf("@vlsbench/%x/", rand.Uint64())} }

func (f *local) domain() int { return syscall.AF_UNIX }

func (f *local) address(_ bool, ep vls.Endpoint) (syscall.Sockaddr, error) {
	return &syscall.SockaddrUnix{Name: f.prefix + ep.String()}, nil
}

func (f *local) endpoint(_ bool, sa syscall.Sockaddr) vls.Endpoint {
	if un, ok := sa.(*syscall.SockaddrUnix); ok {
		if text, ours := strings.CutPrefix(un.Name, f.prefix); ours {
			ep, _ := netip.ParseAddrPort(text)
			return ep
		}
	}
	return vls.Endpoint{}
}

func (f *local) bind(s *socket, ep vls.Endpoint, _ bool) (vls.Endpoint, error) {
	if ep.Port() != 0 {
		sa, _ := f.address(false, ep)
		return ep, syscall.Bind(s.fd, sa)
	}
	for range ephemeralPorts {
		ep = netip.AddrPortFrom(ep.Addr(), uint16(firstPort+f.last.Add(1)%ephemeralPorts))
		sa, _ := f.address(false, ep)
		if err := syscall.Bind(s.fd, sa); err != syscall.EADDRINUSE {
			return ep, err
		}
	}
	return ep, syscall.EADDRINUSE
}

func (f *local) name(s *socket, ep vls.Endpoint) error {
	_, err := f.bind(s, netip.AddrPortFrom(ep.Addr(), 0), false)
	return err
}

// ports is what sessions of an application are bound to, for the sake of the
// unspecified address, of which Linux does not know that it stands for ours.
type ports struct {
	wild atomic.Int32 // sessions bound to it
	mu   sync.Mutex
	m    map[portKey][]*socket
}

type portKey struct {
	dgram bool
	port  uint16
}

func (s *socket) key() portKey { return portKey{s.dgram, s.bound.Port()} }

// covers reports whether the socket is bound where another address leads too.
func (s *socket) covers(a netip.Addr) bool {
	own := s.bound.Addr()
	return own.IsUnspecified() && own != a && (own.Is4() == a.Is4() || own.Is6() && !s.v6only.Load())
}

// taken reports whether somebody stands in the way of s: who hears there, at an
// address that covers or is covered. Two of one address Linux keeps apart.
func (p *ports) taken(s *socket) bool {
	for _, o := range p.m[s.key()] {
		if o != s && (o.dgram || o.listens.Load()) && (o.covers(s.bound.Addr()) || s.covers(o.bound.Addr())) {
			return true
		}
	}
	return false
}

// add enters s, which has its endpoint.
func (p *ports) add(s *socket) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.taken(s) {
		return syscall.EADDRINUSE
	}
	if p.m == nil {
		p.m = make(map[portKey][]*socket)
	}
	p.m[s.key()] = append(p.m[s.key()], s)
	if s.bound.Addr().IsUnspecified() {
		p.wild.Add(1)
	}
	return nil
}

// remove takes s out.
func (p *ports) remove(s *socket) {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.m[s.key()]
	i := slices.Index(list, s)
	if list = slices.Delete(list, i, i+1); len(list) == 0 {
		delete(p.m, s.key())
	} else {
		p.m[s.key()] = list
	}
	if s.bound.Addr().IsUnspecified() {
		p.wild.Add(-1)
	}
}

// alone reports whether nobody but s has its endpoint.
func (p *ports) alone(s *socket) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !slices.ContainsFunc(p.m[s.key()], func(o *socket) bool { return o != s && o.bound == s.bound })
}

// listen runs listen unless somebody listens already.
func (p *ports) listen(s *socket, listen func() error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.taken(s) {
		return syscall.EADDRINUSE
	}
	err := listen()
	if err == nil {
		s.listens.Store(true)
	}
	return err
}

// resolve is the endpoint that hears what is sent to ep.
func (p *ports) resolve(dgram bool, ep vls.Endpoint) vls.Endpoint {
	if p.wild.Load() == 0 {
		return ep
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, o := range p.m[portKey{dgram, ep.Port()}] {
		if (o.dgram || o.listens.Load()) && o.covers(ep.Addr()) {
			return o.bound
		}
	}
	return ep
}

// unmap writes an IPv4 address in its own form.
func unmap(ep vls.Endpoint) vls.Endpoint { return netip.AddrPortFrom(ep.Addr().Unmap(), ep.Port()) }

// destination is where ep leads: the unspecified address to the loopback one.
func destination(ep vls.Endpoint) vls.Endpoint {
	switch ep = unmap(ep); ep.Addr() {
	case netip.IPv4Unspecified():
		return netip.AddrPortFrom(loopback4, ep.Port())
	case netip.IPv6Unspecified():
		return netip.AddrPortFrom(netip.IPv6Loopback(), ep.Port())
	}
	return ep
}
