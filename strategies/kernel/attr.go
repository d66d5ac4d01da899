package kernel

import (
	"encoding/binary"
	"syscall"

	"vlsbench/core"
	"vlsbench/vls"

	"golang.org/x/sys/unix"
)

func (t *thread) Attr(h vls.Handle, a vls.Attr, buf []byte) (int, error) {
	s, err := t.hold(h)
	if err != nil {
		return 0, err
	}
	defer t.p.release(s)
	sock := s.sock
	if len(buf) != 4 {
		return 0, syscall.EINVAL
	}
	var v int
	switch a {
	case core.GetNread:
		v, err = sock.nread()
	case core.GetNwrite:
		v, err = sock.nwrite()
	case core.GetFlags:
		if sock.nonblock.Load() {
			v = syscall.O_NONBLOCK
		}
	case core.SetFlags:
		return 4, errno(sock.setNonblock(binary.NativeEndian.Uint32(buf)&syscall.O_NONBLOCK != 0))
	case core.GetError:
		v, err = unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	case core.GetListen:
		v, err = unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	default:
		err = syscall.EINVAL
	}
	if err != nil {
		return 0, errno(err)
	}
	binary.NativeEndian.PutUint32(buf, uint32(v))
	return 4, nil
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
