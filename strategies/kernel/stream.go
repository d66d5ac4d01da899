package kernel

import (
	"net/netip"
	"syscall"

	"vlsbench/vls"

	"golang.org/x/sys/unix"
)

func (t *thread) Read(h vls.Handle, p []byte) (int, error) {
	s := t.p.acquire(h)
	if s == nil {
		return 0, syscall.EBADFD
	}
	n, err := unix.Read(s.fd, p)
	if n <= 0 {
		n, err = t.readSlow(s, h, p, max(n, 0), err)
	}
	t.p.release(s)
	return n, err
}

// readSlow goes on where a read returned no data.
func (t *thread) readSlow(s *slot, h vls.Handle, p []byte, n int, err error) (int, error) {
	switch {
	case s.sock.set:
		return 0, syscall.EBADFD
	case p == nil:
		return 0, syscall.EFAULT
	case s.sock.dgram && (len(p) == 0 || err == syscall.EAGAIN):
		// read(2) of no bytes does not take a message.
		n, _, err := t.recvfrom(s, h, p, 0)
		return n, err
	}
	var w waiter
	for {
		switch {
		case n > 0:
			return n, nil
		case t.gone(s, h):
			return 0, syscall.ENOTCONN
		case err == syscall.EAGAIN:
			if s.sock.nonblock.Load() {
				return 0, err
			}
			w.wait(t, s, h, unix.POLLIN)
			if t.gone(s, h) {
				return 0, syscall.ENOTCONN // what came is for those who share the socket
			}
		case err == syscall.EINTR:
		default:
			return 0, s.sock.readError(err)
		}
		n, err = unix.Read(s.fd, p)
		n = max(n, 0)
	}
}

// readError is the API's name for an error of a read.
func (s *socket) readError(err error) error {
	switch err {
	case syscall.EINVAL: // AF_UNIX without a connection
		return syscall.ENOTCONN
	case syscall.ECONNRESET:
		s.connected.Store(true)
	}
	return errno(err)
}

func (t *thread) Write(h vls.Handle, p []byte) (int, error) {
	s := t.p.acquire(h)
	if s == nil {
		return 0, syscall.EBADFD
	}
	if s.sock.unsent() {
		t.p.release(s)
		return 0, syscall.EDESTADDRREQ
	}
	var n int
	var err error
	if len(p) > 0 || s.sock.dgram {
		// Of nothing a stream would tell a pending error, and forget it.
		n, err = unix.Write(s.fd, p)
	}
	if n != len(p) || err != nil || n == 0 {
		n, err = t.writeSlow(s, h, p, max(n, 0), err)
	}
	t.p.release(s)
	return n, err
}

// unsent reports whether a session of datagrams has no address yet. A write that
// goes nowhere would make Linux give it one, and not one of ours.
func (s *socket) unsent() bool { return s.dgram && !s.named.Load() }

// WriteMsg is Write: the receiver is told at once anyway.
func (t *thread) WriteMsg(h vls.Handle, p []byte) (int, error) { return t.Write(h, p) }

// writeSlow goes on where a write returned after done bytes.
func (t *thread) writeSlow(s *slot, h vls.Handle, p []byte, done int, err error) (int, error) {
	sock := s.sock
	switch {
	case sock.set:
		return 0, syscall.EBADFD
	case len(p) == 0 && !sock.dgram:
		return 0, nil
	case len(p) == 0 && err == nil:
		return 0, nil
	}
	var w waiter
	for {
		switch {
		case err == nil && (done == len(p) || sock.nonblock.Load()):
			return done, nil
		case t.gone(s, h):
			err = syscall.ENOTCONN
		case err == nil, err == syscall.EINTR:
			err = nil
		case err == syscall.EAGAIN:
			if !sock.nonblock.Load() {
				w.wait(t, s, h, unix.POLLOUT)
				err = nil
			}
		default:
			err = sock.writeError(err)
		}
		if err != nil {
			if done > 0 {
				return done, nil
			}
			return 0, err
		}
		var n int
		n, err = unix.Write(s.fd, p[done:])
		done += max(n, 0)
	}
}

// writeError is the API's name for an error of a write.
func (s *socket) writeError(err error) error {
	switch err {
	case syscall.ECONNRESET:
		s.connected.Store(true)
	case syscall.EPIPE:
		if !s.isConnected() { // TCP without a connection
			return syscall.ENOTCONN
		}
	}
	return errno(err)
}

func (t *thread) Recvfrom(h vls.Handle, p []byte, flags int) (int, vls.Endpoint, error) {
	s, err := t.hold(h)
	if err != nil {
		return 0, vls.Endpoint{}, err
	}
	defer t.p.release(s)
	switch {
	case flags&^syscall.MSG_PEEK != 0:
		return 0, vls.Endpoint{}, syscall.EAFNOSUPPORT
	case p == nil:
		return 0, vls.Endpoint{}, syscall.EFAULT
	}
	return t.recvfrom(s, h, p, flags)
}

func (t *thread) recvfrom(s *slot, h vls.Handle, p []byte, flags int) (int, vls.Endpoint, error) {
	var w waiter
	for {
		n, from, err := syscall.Recvfrom(s.fd, p, flags)
		switch {
		case err == nil && (n > 0 || !t.gone(s, h)):
			if from == nil && !s.sock.dgram {
				return n, s.sock.peer(), nil
			}
			return n, s.sock.sender(from), nil
		case t.gone(s, h):
			return 0, vls.Endpoint{}, syscall.ENOTCONN
		case err == syscall.EAGAIN:
			if s.sock.nonblock.Load() {
				return 0, vls.Endpoint{}, err
			}
			if s.sock.deaf() {
				return 0, vls.Endpoint{}, nil
			}
			w.wait(t, s, h, unix.POLLIN)
			if t.gone(s, h) {
				return 0, vls.Endpoint{}, syscall.ENOTCONN // as in readSlow
			}
		case err == syscall.EINTR:
		default:
			return 0, vls.Endpoint{}, s.sock.readError(err)
		}
	}
}

// deaf reports whether a session of datagrams was shut down for reading, and a
// wait for one is to end. A call that blocks is told so, others are EAGAIN.
func (s *socket) deaf() bool { return s.dgram && s.shut.Load()&1 != 0 }

// peer is the endpoint that the socket is connected to, zero if it is not.
func (s *socket) peer() vls.Endpoint {
	s.mu.Lock()
	ep := s.remote
	s.mu.Unlock()
	if ep.IsValid() {
		return ep
	}
	sa, err := syscall.Getpeername(s.fd)
	if err != nil {
		return vls.Endpoint{}
	}
	return s.sender(sa)
}

func (t *thread) Sendto(h vls.Handle, p []byte, flags int, ep vls.Endpoint) (int, error) {
	s, err := t.hold(h)
	if err != nil {
		return 0, err
	}
	defer t.p.release(s)
	sock := s.sock
	switch {
	case flags != 0:
		return 0, syscall.EAFNOSUPPORT
	case ep == vls.Endpoint{}:
		if sock.unsent() {
			return 0, syscall.EDESTADDRREQ
		}
		n, err := unix.Write(s.fd, p)
		return t.writeSlow(s, h, p, max(n, 0), err)
	case !sock.dgram || sock.connected.Load():
		return 0, syscall.EINVAL
	}
	switch ep = destination(ep); {
	case !ep.Addr().IsValid(), ep.Port() == 0:
		return 0, syscall.EINVAL
	case !sock.reaches(ep):
		return 0, syscall.EAFNOSUPPORT
	}
	if !sock.named.Load() {
		anyPort := netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
		if ep.Addr().Is6() {
			anyPort = netip.AddrPortFrom(netip.IPv6Unspecified(), 0)
		}
		if err := sock.bind(anyPort); err != nil && !sock.named.Load() {
			return 0, errno(err)
		}
	}
	sa, err := sock.to(ep)
	if err != nil {
		return 0, err
	}
	var w waiter
	for {
		err := syscall.Sendto(s.fd, p, syscall.MSG_NOSIGNAL, sa)
		switch {
		case err == nil:
			return len(p), nil
		case t.gone(s, h):
			return 0, syscall.ENOTCONN
		case err == syscall.EAGAIN:
			if sock.nonblock.Load() {
				return 0, err
			}
			w.wait(t, s, h, unix.POLLOUT)
		case err == syscall.EINTR:
		default:
			return 0, sock.writeError(err)
		}
	}
}
