package kernel

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"

	"vlsbench/core"
	"vlsbench/vls"

	"golang.org/x/sys/unix"
)

// socket is a socket or an epoll set of Linux, which processes may share.
type socket struct {
	a      *app
	family family
	fd     int
	set    bool // an epoll set
	dgram  bool

	refs     atomic.Int32 // tables that hold it
	shared   atomic.Bool  // two of them have at once: the descriptor is non-blocking
	nonblock atomic.Bool  // as the session is to be

	listens   atomic.Bool
	connected atomic.Bool // is, or was once; a non-blocking one only once it is seen
	named     atomic.Bool // has an address, given or not
	v6only    atomic.Bool
	reuse     atomic.Bool   // SO_REUSEADDR is the user's
	shut      atomic.Uint32 // as GetShutdown has it

	mu      sync.Mutex
	waiters []*thread    // in ppoll
	stop    int          // -1, or an eventfd that ends waits on a set
	bound   vls.Endpoint // zero if not by Bind
	remote  vls.Endpoint // what connect was asked for
}

func (a *app) socket(fd int, f family) *socket {
	s := &socket{a: a, family: f, fd: fd, stop: -1}
	s.refs.Store(1)
	return s
}

// share adds a table that holds the socket.
func (s *socket) share() {
	s.refs.Add(1)
	s.shared.Store(true)
	if s.a.wait == core.Park && !s.set {
		_ = unix.SetNonblock(s.fd, true)
	}
}

// unref ends a table's hold. The last one closes the descriptor.
func (s *socket) unref() {
	if s.refs.Add(-1) > 0 {
		return
	}
	_ = unix.Close(s.fd)
	if s.stop >= 0 {
		_ = unix.Close(s.stop)
	}
	if s.bound.IsValid() {
		s.a.ports.remove(s)
	}
}

// disturb lets those leave who are inside a call on a socket whose handle was
// closed. A socket that another process has cannot be shut down for that; so
// threads sleep on one in ppoll, with an eventfd of their own.
func (s *socket) disturb() {
	s.kick()
	if s.refs.Load() > 1 {
		return
	}
	if !s.set {
		_ = unix.Shutdown(s.fd, unix.SHUT_RDWR)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	fd, err := unix.Eventfd(1, unix.EFD_CLOEXEC)
	if err != nil {
		return
	}
	s.stop = fd
	_ = unix.EpollCtl(s.fd, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN})
}

// kick lets all who sleep on the socket in ppoll look again.
func (s *socket) kick() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.waiters {
		t.kicked.Store(true)
		_, _ = unix.Write(t.bell.fd, kickWord[:])
	}
}

var kickWord = [8]byte{1, 1, 1, 1, 1, 1, 1, 1}

// thread is a calling context.
type thread struct {
	p    *process
	wait core.Wait

	events []unix.EpollEvent // for EpollWait
	fds    []unix.PollFd     // for what sleeps
	slots  []*slot           // for Poll and Select: of fds, nil if there is none
	polled []core.PollFD

	bell   bell
	kicked atomic.Bool // the bell was rung
}

func (t *thread) Register() error { return nil }

func (t *thread) Exit() error {
	t.p.keep(&t.bell, false)
	t.bell.close()
	return nil
}

// blocking reports whether a new descriptor blocks.
func (t *thread) blocking(nonblocking bool) bool { return t.wait == core.Park && !nonblocking }

// errno gives an error of Linux the name that the API has for it, whatever the
// session is.
func errno(err error) error {
	switch err {
	case syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS:
		return syscall.ENOMEM
	case syscall.EBADF, syscall.ENOTSOCK:
		return syscall.EBADFD
	}
	return err
}

// hold is the slot of a session; EBADFD for a set. Let go of it with release.
func (t *thread) hold(h vls.Handle) (*slot, error) {
	s := t.p.acquire(h)
	if s == nil {
		return nil, syscall.EBADFD
	}
	if s.sock.set {
		t.p.release(s)
		return nil, syscall.EBADFD
	}
	return s, nil
}

// open gives a new socket a handle, or closes it.
func (t *thread) open(s *socket) (vls.Handle, error) {
	h, err := t.p.open(s, t.p.worker)
	if err != nil {
		s.unref()
	}
	return h, err
}

func (t *thread) Create(p vls.Proto, nonblocking bool) (vls.Handle, error) {
	kind := syscall.SOCK_STREAM
	switch p {
	case vls.TCP:
	case vls.UDP:
		kind = syscall.SOCK_DGRAM
	default:
		return 0, syscall.EAFNOSUPPORT
	}
	mode := kind | syscall.SOCK_CLOEXEC
	if !t.blocking(nonblocking) {
		mode |= syscall.SOCK_NONBLOCK
	}
	a := t.p.a
	f := a.streams
	if p == vls.UDP {
		f = a.dgrams
	}
	fd, err := unix.Socket(f.domain(), mode, 0)
	if err != nil {
		return 0, errno(err)
	}
	s := a.socket(fd, f)
	s.dgram = p == vls.UDP
	s.nonblock.Store(nonblocking)
	if s.tcp() {
		// Accepted sockets have it from their listener.
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
			s.unref()
			return 0, errno(err)
		}
	}
	return t.open(s)
}

// tcp reports whether the socket is one of TCP, and not AF_UNIX.
func (s *socket) tcp() bool { return !s.dgram && s.family.domain() == syscall.AF_INET }

func (t *thread) Bind(h vls.Handle, ep vls.Endpoint) error {
	s, err := t.hold(h)
	if err != nil {
		return err
	}
	defer t.p.release(s)
	if !ep.Addr().IsValid() {
		return syscall.EINVAL
	}
	return errno(s.sock.bind(unmap(ep)))
}

func (s *socket) bind(ep vls.Endpoint) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bound.IsValid() {
		return syscall.EINVAL
	}
	if s.tcp() && !s.reuse.Load() {
		// An endpoint is free again as soon as its listener is gone.
		if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
			return err
		}
	}
	if ep.Port() == 0 {
		got, err := s.family.bind(s, ep, false)
		if err != nil {
			return err
		}
		s.named.Store(true)
		s.bound = got
		if err = s.a.ports.add(s); err != nil {
			s.bound = vls.Endpoint{}
		}
		return err
	}
	s.bound = ep
	err := s.a.ports.add(s)
	if err == nil {
		if _, err = s.family.bind(s, ep, s.a.ports.alone(s)); err == nil {
			s.named.Store(true)
			return nil
		}
		s.a.ports.remove(s)
	}
	s.bound = vls.Endpoint{}
	return err
}

func (t *thread) Listen(h vls.Handle, backlog int) error {
	s, err := t.hold(h)
	if err != nil {
		return err
	}
	defer t.p.release(s)
	sock := s.sock
	sock.mu.Lock()
	defer sock.mu.Unlock()
	if !sock.bound.IsValid() {
		return syscall.EINVAL
	}
	return errno(t.p.a.ports.listen(sock, func() error { return unix.Listen(s.fd, backlog) }))
}

func (t *thread) Connect(h vls.Handle, ep vls.Endpoint) error {
	s, err := t.hold(h)
	if err != nil {
		return err
	}
	defer t.p.release(s)
	sock := s.sock
	ep = destination(ep)
	switch {
	case !ep.Addr().IsValid(), ep.Port() == 0, sock.listens.Load():
		return syscall.EINVAL
	case !sock.reaches(ep):
		return syscall.EAFNOSUPPORT
	}
	if err := sock.nameFor(ep); err != nil {
		return errno(err)
	}
	sa, err := sock.to(ep)
	if err != nil {
		return err
	}
	err = t.connect(s, h, sa)
	sock.mu.Lock()
	switch err {
	case nil:
		// Linux says so too of one that was under way to somebody else.
		if sock.dgram || !sock.remote.IsValid() {
			sock.remote = ep
		}
	case syscall.EINPROGRESS:
		sock.remote = ep
	case syscall.EISCONN, syscall.EALREADY:
	default:
		if !sock.dgram {
			sock.remote = vls.Endpoint{}
		}
	}
	sock.mu.Unlock()
	if err == nil {
		sock.connected.Store(true)
	}
	return err
}

// nameFor gives a socket an address if it has none.
func (s *socket) nameFor(ep vls.Endpoint) error {
	if s.named.Load() {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.named.Load() {
		return nil
	}
	err := s.family.name(s, ep)
	if err == nil {
		s.named.Store(true)
	}
	return err
}

// reaches reports whether the socket can talk to ep from where it is bound.
func (s *socket) reaches(ep vls.Endpoint) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	own := s.bound.Addr()
	if s.dgram && s.remote.IsValid() && (!own.IsValid() || own.IsUnspecified()) {
		own = s.remote.Addr() // which gave it its address
	}
	return !own.IsValid() || own.Is4() == ep.Addr().Is4() || own == netip.IPv6Unspecified() && !s.v6only.Load()
}

// to is the address by which an endpoint is reached.
func (s *socket) to(ep vls.Endpoint) (syscall.Sockaddr, error) {
	return s.family.address(s.dgram, s.a.ports.resolve(s.dgram, ep))
}

func (t *thread) connect(s *slot, h vls.Handle, sa syscall.Sockaddr) error {
	var w waiter
	sock := s.sock
	for {
		err := syscall.Connect(s.fd, sa)
		switch {
		case err == nil:
			return nil
		case t.gone(s, h):
			return syscall.ENOTCONN
		case err == syscall.EINTR:
			// It goes on; ask again.
		case err == syscall.EAGAIN:
			// AF_UNIX: the backlog is full.
			if sock.nonblock.Load() {
				return syscall.ECONNREFUSED
			}
			if t.wait != core.Spin && w.tired(t) {
				// No event tells of room there.
				return t.connectBlocking(s, h, sa)
			}
		case err == syscall.EINPROGRESS, err == syscall.EALREADY:
			if sock.nonblock.Load() {
				return err
			}
			w.wait(t, s, h, unix.POLLOUT)
		default:
			return errno(err)
		}
	}
}

// connectBlocking waits inside connect.
func (t *thread) connectBlocking(s *slot, h vls.Handle, sa syscall.Sockaddr) error {
	if err := unix.SetNonblock(s.fd, false); err != nil {
		return err
	}
	err := syscall.Connect(s.fd, sa)
	for err == syscall.EINTR {
		err = syscall.Connect(s.fd, sa)
	}
	if e := unix.SetNonblock(s.fd, true); err == nil {
		err = e
	}
	if err != nil && t.gone(s, h) {
		return syscall.ENOTCONN
	}
	return errno(err)
}

func (t *thread) Accept(h vls.Handle, flags int) (vls.Handle, vls.Endpoint, error) {
	s, err := t.hold(h)
	if err != nil {
		return 0, vls.Endpoint{}, err
	}
	defer t.p.release(s)
	nonblocking := flags&syscall.O_NONBLOCK != 0
	mode := syscall.SOCK_CLOEXEC
	if !t.blocking(nonblocking) {
		mode |= syscall.SOCK_NONBLOCK
	}
	var w waiter
	for {
		fd, sa, err := syscall.Accept4(s.fd, mode)
		switch {
		case err == nil:
			sock := t.p.a.socket(fd, s.sock.family)
			sock.nonblock.Store(nonblocking)
			sock.connected.Store(true)
			sock.named.Store(true)
			h, err := t.open(sock)
			return h, s.sock.sender(sa), err
		case t.gone(s, h):
			return 0, vls.Endpoint{}, syscall.ENOTCONN
		case err == syscall.EAGAIN:
			if s.sock.nonblock.Load() {
				return 0, vls.Endpoint{}, err
			}
			w.wait(t, s, h, unix.POLLIN)
			if t.gone(s, h) {
				return 0, vls.Endpoint{}, syscall.ENOTCONN // as in readSlow
			}
		case err == syscall.EINTR:
		case err == syscall.EINVAL:
			return 0, vls.Endpoint{}, syscall.EBADFD
		default:
			return 0, vls.Endpoint{}, errno(err)
		}
	}
}

// sender is the endpoint of an address that the socket was sent to from. One
// that is bound to the unspecified address answers from where it was asked.
func (s *socket) sender(sa syscall.Sockaddr) vls.Endpoint {
	ep := s.family.endpoint(s.dgram, sa)
	if !ep.Addr().IsUnspecified() {
		return ep
	}
	s.mu.Lock()
	own := s.bound.Addr()
	s.mu.Unlock()
	if own.IsValid() && !own.IsUnspecified() {
		return netip.AddrPortFrom(own, ep.Port())
	}
	return destination(ep)
}

func (t *thread) Shutdown(h vls.Handle, how int) error {
	s, err := t.hold(h)
	if err != nil {
		return err
	}
	defer t.p.release(s)
	sock := s.sock
	switch {
	case sock.listens.Load():
		return syscall.EBADFD
	case !sock.isConnected() && how >= 0 && how <= syscall.SHUT_RDWR:
		return syscall.ENOTCONN // which AF_UNIX does not say
	}
	if err := unix.Shutdown(s.fd, how); err != nil {
		return errno(err)
	}
	sock.shut.Or(uint32(how + 1))
	// poll of AF_UNIX does not tell a writer of it.
	sock.kick()
	return nil
}

// isConnected reports whether the socket has been connected.
func (s *socket) isConnected() bool {
	if s.connected.Load() {
		return true
	}
	_, err := syscall.Getpeername(s.fd)
	if err == nil {
		s.connected.Store(true)
	}
	return err == nil
}

func (t *thread) Close(h vls.Handle) error { return t.p.close(h) }

func (t *thread) SessionHandle(h vls.Handle) (vls.SessionHandle, error) {
	index, worker, err := t.SessionIndex(h)
	return vls.SessionHandle(h)>>32<<32 | vls.SessionHandle(worker<<24|index), err
}

func (t *thread) SessionIndex(h vls.Handle) (index, worker uint32, err error) {
	s := t.p.acquire(h)
	if s == nil {
		return 0, 0, syscall.EBADFD
	}
	t.p.release(s)
	return s.index, t.p.worker, nil
}

func (t *thread) HandleOf(index uint32) (vls.Handle, error) {
	if s := t.p.at(index); s != nil {
		if h := s.handle.Load(); h != 0 {
			return vls.Handle(h), nil
		}
	}
	return 0, syscall.EBADFD
}

func (t *thread) UseEventfd() bool         { return false }
func (t *thread) MultiThreadWorkers() bool { return false }
func (t *thread) UseRealEpoll() bool       { return false }
