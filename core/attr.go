package core

import (
	"encoding/binary"
	"net/netip"
	"syscall"

	"vlsbench/audit"
	"vlsbench/fifo"
	"vlsbench/sched"
)

// options is what attributes set on a session and an accepted one inherits.
type options struct {
	rx, tx              uint32 // bytes of the fifos it brings
	keepidle, keepintvl uint16 // seconds
	mss                 uint16 // bytes
	bits                uint8
}

const (
	optReuseaddr = 1 << iota
	optReuseport
	optBroadcast
	optV6only
	optKeepalive
	optNodelay
)

// Limits of a fifo's size, in bytes.
const minFifo, maxFifo = 4 << 10, fifo.MaxSize

func (o *options) is(bit uint8) bool { return o.bits&bit != 0 }

// options are those of a new session.
func (a *App) options() options {
	return options{
		rx: uint32(a.cfg.RxFifoSize), tx: uint32(a.cfg.TxFifoSize),
		keepidle: 7200, keepintvl: 75, mss: 536,
	}
}

// setFifos notes the fifo sizes of connections to come.
func (l *listener) setFifos(o options) {
	l.rx.Store(o.rx)
	l.tx.Store(o.tx)
}

// Attr reads or writes an attribute in buf and returns its length. EINVAL: it is
// unknown, or has no meaning for the protocol, the buffer has not its length, or
// the value is out of range. ENOTCONN, ECONNRESET: there is no connection to
// ask. EBADFD: an epoll set. Session control: exclusive; for GetNread and
// GetNwrite of datagrams session rx and tx too.
func (t *Thread) Attr(s *Session, a Attr, buf []byte) (int, error) {
	s.ctlAudit.Enter("session control", audit.Exclusive)
	defer s.ctlAudit.Leave(audit.Exclusive)
	defer s.spread()
	if sched.Enabled {
		sched.Point("core: an attribute is looked at")
	}
	if s.epoll != nil {
		return 0, syscall.EBADFD
	}
	if a == GetLocal || a == GetPeer {
		return s.endpointAttr(a, buf)
	}
	if len(buf) != 4 {
		return 0, syscall.EINVAL
	}
	var err error
	v := int32(binary.NativeEndian.Uint32(buf))
	if bit, set := a.bit(); bit != 0 {
		v, err = s.bitAttr(bit, set, v)
	} else {
		v, err = s.numberAttr(a, v)
	}
	if err != nil {
		return 0, err
	}
	binary.NativeEndian.PutUint32(buf, uint32(v))
	return 4, nil
}

func (s *Session) endpointAttr(a Attr, buf []byte) (int, error) {
	ep := s.local
	if a == GetPeer {
		if s.open() == syscall.ENOTCONN || !s.remote.IsValid() {
			return 0, syscall.ENOTCONN
		}
		ep = s.remote
	} else if !ep.IsValid() {
		ep = netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
	}
	b, err := ep.MarshalBinary()
	if err != nil || len(buf) < len(b) {
		return 0, syscall.EINVAL
	}
	return copy(buf, b), nil
}

// bit is the option that an attribute gets or sets, 0 if it is none of these.
func (a Attr) bit() (bit uint8, set bool) {
	switch a {
	case GetReuseaddr, SetReuseaddr:
		bit = optReuseaddr
	case GetReuseport, SetReuseport:
		bit = optReuseport
	case GetBroadcast, SetBroadcast:
		bit = optBroadcast
	case GetV6only, SetV6only:
		bit = optV6only
	case GetKeepalive, SetKeepalive:
		bit = optKeepalive
	case GetNodelay, SetNodelay:
		bit = optNodelay
	}
	switch a {
	case SetReuseaddr, SetReuseport, SetBroadcast, SetV6only, SetKeepalive, SetNodelay:
		set = true
	}
	return bit, set
}

// bitAttr gets or sets an option and returns what it is; a buffer that gave it
// stays as it is.
func (s *Session) bitAttr(bit uint8, set bool, v int32) (int32, error) {
	if bit == optNodelay && s.proto != TCP || bit == optV6only && set && s.local.IsValid() {
		return 0, syscall.EINVAL
	}
	switch {
	case !set && s.opt.is(bit):
		return 1, nil
	case !set:
		return 0, nil
	case v != 0:
		s.opt.bits |= bit
	default:
		s.opt.bits &^= bit
	}
	return v, nil
}

func (s *Session) numberAttr(a Attr, v int32) (int32, error) {
	const maxSeconds, minMSS, maxMSS = 32767, 88, 32767
	switch a {
	case GetNread:
		return s.nread()
	case GetNwrite:
		return s.nwrite()
	case GetFlags:
		return int32(s.flags.Load() & fNonblock / fNonblock * syscall.O_NONBLOCK), nil
	case SetFlags:
		if v&syscall.O_NONBLOCK != 0 {
			s.flags.Or(fNonblock)
		} else {
			s.flags.And(^uint32(fNonblock))
		}
		return v, nil
	case GetError:
		if s.flags.Load()&fDialing != 0 {
			return 0, nil // of that it is not known yet
		}
		e := s.err.Swap(0)
		if e != 0 {
			s.others(func(o *Session) { o.err.Store(0) })
		}
		return int32(e), nil
	case GetListen:
		if s.lsn != nil {
			return 1, nil
		}
		return 0, nil
	case GetProtocol:
		return int32(s.proto), nil
	case GetShutdown:
		flags := s.flags.Load()
		return int32(flags&fRdShut/fRdShut + 2*(flags&fWrShut/fWrShut)), nil
	case GetTxFifoLen, SetTxFifoLen, GetRxFifoLen, SetRxFifoLen:
		return s.fifoAttr(a, v)
	}
	if s.proto != TCP {
		return 0, syscall.EINVAL
	}
	number := func(at *uint16, set bool, least, most int32) (int32, error) {
		switch {
		case !set:
			return int32(*at), nil
		case v < least || v > most:
			return 0, syscall.EINVAL
		}
		*at = uint16(v)
		return v, nil
	}
	switch a {
	case GetKeepidle, SetKeepidle:
		return number(&s.opt.keepidle, a == SetKeepidle, 1, maxSeconds)
	case GetKeepintvl, SetKeepintvl:
		return number(&s.opt.keepintvl, a == SetKeepintvl, 1, maxSeconds)
	case GetMSS, SetMSS:
		return number(&s.opt.mss, a == SetMSS, minMSS, maxMSS)
	}
	return 0, syscall.EINVAL
}

func (s *Session) nread() (int32, error) {
	switch err := s.open(); {
	case s.lsn != nil:
		return int32(s.lsn.length()), nil
	case err != nil:
		return 0, err
	case s.dg != nil:
		return int32(s.nextLen()), nil
	}
	return int32(s.rx.MaxDequeue()), nil
}

func (s *Session) nwrite() (int32, error) {
	if err := s.open(); err != nil {
		return 0, err
	}
	if s.dg != nil {
		return int32(s.room()), nil
	}
	return int32(s.tx.MaxEnqueue()), nil
}

// fifoAttr gets or sets the size of a fifo. A connected stream has its fifos; a
// session of datagrams makes one with each new peer, and all others later.
func (s *Session) fifoAttr(a Attr, v int32) (int32, error) {
	at, f := &s.opt.tx, &s.tx
	if a == GetRxFifoLen || a == SetRxFifoLen {
		at, f = &s.opt.rx, &s.rx
	}
	switch {
	case a == GetTxFifoLen || a == GetRxFifoLen:
		if s.hasConn() {
			return int32(f.Size()), nil
		}
		return int32(*at), nil
	case s.hasConn() || v < minFifo || v > maxFifo:
		return 0, syscall.EINVAL
	}
	*at = uint32(v)
	if s.lsn != nil {
		s.lsn.setFifos(s.opt)
	}
	if s.dg != nil {
		s.dg.rx.Store(s.opt.rx)
	}
	return v, nil
}
