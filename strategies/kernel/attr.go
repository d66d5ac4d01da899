package kernel

import (
	"encoding/binary"
	"net/netip"
	"syscall"

	"vlsbench/core"
	"vlsbench/vls"

	"golang.org/x/sys/unix"
)

// option is the socket option that an attribute gets or sets.
type option struct {
	level, name int
	set         bool
}

// options are the attributes that are options of Linux and nothing else, within
// its limits: a buffer's size is twice what was asked for and at most
// wmem_max or rmem_max, the defaults are those of the system, and AF_UNIX
// answers ENOTSUP to what it has not. Those of IPPROTO_TCP are of streams.
var options = map[vls.Attr]option{
	core.GetError:     {unix.SOL_SOCKET, unix.SO_ERROR, false},
	core.GetListen:    {unix.SOL_SOCKET, unix.SO_ACCEPTCONN, false},
	core.GetTxFifoLen: {unix.SOL_SOCKET, unix.SO_SNDBUF, false},
	core.SetTxFifoLen: {unix.SOL_SOCKET, unix.SO_SNDBUF, true},
	core.GetRxFifoLen: {unix.SOL_SOCKET, unix.SO_RCVBUF, false},
	core.SetRxFifoLen: {unix.SOL_SOCKET, unix.SO_RCVBUF, true},
	core.GetReuseaddr: {unix.SOL_SOCKET, unix.SO_REUSEADDR, false},
	core.SetReuseaddr: {unix.SOL_SOCKET, unix.SO_REUSEADDR, true},
	core.GetReuseport: {unix.SOL_SOCKET, unix.SO_REUSEPORT, false},
	core.SetReuseport: {unix.SOL_SOCKET, unix.SO_REUSEPORT, true},
	core.GetBroadcast: {unix.SOL_SOCKET, unix.SO_BROADCAST, false},
	core.SetBroadcast: {unix.SOL_SOCKET, unix.SO_BROADCAST, true},
	core.GetKeepalive: {unix.SOL_SOCKET, unix.SO_KEEPALIVE, false},
	core.SetKeepalive: {unix.SOL_SOCKET, unix.SO_KEEPALIVE, true},
	core.GetNodelay:   {unix.IPPROTO_TCP, unix.TCP_NODELAY, false},
	core.SetNodelay:   {unix.IPPROTO_TCP, unix.TCP_NODELAY, true},
	core.GetKeepidle:  {unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, false},
	core.SetKeepidle:  {unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, true},
	core.GetKeepintvl: {unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, false},
	core.SetKeepintvl: {unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, true},
	core.GetMSS:       {unix.IPPROTO_TCP, unix.TCP_MAXSEG, false},
	core.SetMSS:       {unix.IPPROTO_TCP, unix.TCP_MAXSEG, true},
}

func (t *thread) Attr(h vls.Handle, a vls.Attr, buf []byte) (int, error) {
	s, err := t.hold(h)
	if err != nil {
		return 0, err
	}
	defer t.p.release(s)
	sock := s.sock
	if a == core.GetLocal || a == core.GetPeer {
		n, err := sock.endpointAttr(a, buf)
		return n, errno(err)
	}
	if len(buf) != 4 {
		return 0, syscall.EINVAL
	}
	v := int(int32(binary.NativeEndian.Uint32(buf)))
	if o, ok := options[a]; ok {
		v, err = sock.option(o, v)
	} else {
		v, err = sock.own(a, v)
	}
	if err != nil {
		return 0, errno(err)
	}
	binary.NativeEndian.PutUint32(buf, uint32(v))
	return 4, nil
}

func (s *socket) option(o option, v int) (int, error) {
	switch {
	case o.level == unix.IPPROTO_TCP && s.dgram:
		return 0, syscall.EINVAL
	case !o.set:
		return unix.GetsockoptInt(s.fd, o.level, o.name)
	}
	if o.name == unix.SO_REUSEADDR && o.level == unix.SOL_SOCKET {
		s.reuse.Store(true)
	}
	return v, unix.SetsockoptInt(s.fd, o.level, o.name, v)
}

// own gets or sets an attribute that Linux does not keep, or not by this name.
func (s *socket) own(a vls.Attr, v int) (int, error) {
	is := func(b bool) (int, error) {
		if b {
			return 1, nil
		}
		return 0, nil
	}
	switch a {
	case core.GetNread:
		return s.nread()
	case core.GetNwrite:
		return s.nwrite()
	case core.GetFlags:
		n, _ := is(s.nonblock.Load())
		return n * syscall.O_NONBLOCK, nil
	case core.SetFlags:
		return v, s.setNonblock(v&syscall.O_NONBLOCK != 0)
	case core.GetProtocol:
		if s.dgram {
			return int(vls.UDP), nil
		}
		return int(vls.TCP), nil
	case core.GetShutdown:
		return int(s.shut.Load()), nil
	case core.GetV6only:
		return is(s.v6only.Load())
	case core.SetV6only:
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.bound.IsValid() {
			return 0, syscall.EINVAL
		}
		s.v6only.Store(v != 0)
		return v, nil
	}
	return 0, syscall.EINVAL
}

// endpointAttr is the socket's own endpoint or its peer's.
func (s *socket) endpointAttr(a vls.Attr, buf []byte) (int, error) {
	var ep vls.Endpoint
	if a == core.GetPeer {
		if _, err := syscall.Getpeername(s.fd); err != nil {
			return 0, err
		}
		ep = s.peer()
	} else {
		sa, err := syscall.Getsockname(s.fd)
		if err != nil {
			return 0, err
		}
		ep = s.family.endpoint(s.dgram, sa)
		if peer := s.peer(); ep.Addr().IsUnspecified() && peer.IsValid() {
			ep = netip.AddrPortFrom(peer.Addr(), ep.Port())
		}
		if ep.Port() == 0 {
			ep = netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
		}
	}
	b, err := ep.MarshalBinary()
	if err != nil || len(buf) < len(b) {
		return 0, syscall.EINVAL
	}
	return copy(buf, b), nil
}

// nread is what SIOCINQ says; of a listener of TCP, how many connections wait.
// EINVAL: a listener of AF_UNIX, of which Linux does not tell.
func (s *socket) nread() (int, error) {
	if s.listens.Load() && s.tcp() {
		info, err := unix.GetsockoptTCPInfo(s.fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil {
			return 0, err
		}
		return int(info.Unacked), nil
	}
	return unix.IoctlGetInt(s.fd, unix.SIOCINQ)
}

// nwrite is an estimate, the send buffer less what is in it: Linux counts there
// what messages take up in memory, not only their bytes.
func (s *socket) nwrite() (int, error) {
	used, err := unix.IoctlGetInt(s.fd, unix.SIOCOUTQ)
	if err != nil {
		return 0, err
	}
	size, err := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_SNDBUF)
	return max(size-used, 0), err
}

// setNonblock sets or clears O_NONBLOCK. The descriptor has it all the same
// where waits must not happen in the call itself.
func (s *socket) setNonblock(on bool) error {
	if on {
		s.nonblock.Store(true)
	}
	if s.a.wait == core.Park && !s.shared.Load() {
		if err := unix.SetNonblock(s.fd, on); err != nil {
			return err
		}
	}
	if !on {
		s.nonblock.Store(false)
	}
	return nil
}
