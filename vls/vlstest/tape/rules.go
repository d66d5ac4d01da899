package tape

import (
	"slices"
	"syscall"

	"vlsbench/core"
)

// Rule is a difference that is allowed, or something that is not played.
type Rule struct {
	// Name is a few words, by which docs/differences.md has it too.
	Name string
	// Why says what Linux does, or what would happen.
	Why string
}

// result rules: a call's results may differ as one of these says.
var resultRules = []struct {
	Rule
	allows func(p *player, c *call) bool
}{
	{Rule{"connect twice", "a connected session is EISCONN in Linux, if nothing else is wrong with the call, and connected in VCL"},
		func(p *player, c *call) bool {
			return c.op == "connect" && c.s.c != nil && c.got[0].err == nil
		}},
	{Rule{"after a reset", "Linux gives unread data first, then the error once, then the end; a write is EPIPE"},
		func(p *player, c *call) bool {
			if c.s == nil || !c.s.isReset() {
				return false
			}
			return c.got[0].err == syscall.ECONNRESET
		}},
	{Rule{"write to a closed peer", "AF_UNIX says EPIPE at once, where TCP takes the write that resets"},
		func(p *player, c *call) bool {
			return p.unix && c.op == "write" && c.s.peerClosed() && c.errs(nil, syscall.EPIPE)
		}},
	{Rule{"when both streams have ended", "there is no connection any more in Linux: ENOTCONN from shutdown and for the peer's endpoint"},
		func(p *player, c *call) bool {
			return (c.op == "shutdown" || c.op == "peer") && c.s.isOver() && c.errs(nil, syscall.ENOTCONN)
		}},
	{Rule{"full", "how much fits before EWOULDBLOCK is each side's own, and how much a read finds then"},
		func(p *player, c *call) bool {
			switch c.op {
			case "fill":
				return c.got[0].err == c.got[1].err && c.got[0].n > 0 && c.got[1].n > 0
			case "drain":
				return c.got[0].err == c.got[1].err
			case "read", "peek", "nread":
				return c.s.rxFull() && c.got[0].err == c.got[1].err && c.got[0].n > 0 && c.got[1].n > 0
			}
			return false
		}},
	{Rule{"through a set that does not hold it", "EINVAL in VCL, ENOENT in Linux"},
		func(p *player, c *call) bool {
			return c.op == "ctl" && c.errs(syscall.EINVAL, syscall.ENOENT)
		}},
	{Rule{"datagrams, unbound or without a peer", "Linux lets one wait for what cannot come, asks for an endpoint, and knows no listen"},
		func(p *player, c *call) bool {
			if c.s == nil || c.s.kind != dgrams {
				return false
			}
			switch c.op {
			case "read", "peek":
				return c.errs(syscall.ENOTCONN, syscall.EAGAIN)
			case "write", "sendto":
				return c.errs(syscall.ENOTCONN, syscall.EDESTADDRREQ)
			case "listen":
				return c.errs(nil, syscall.EOPNOTSUPP) || c.errs(syscall.EINVAL, syscall.EOPNOTSUPP)
			case "accept":
				return c.errs(syscall.EBADFD, syscall.EOPNOTSUPP)
			case "shutdown":
				return c.errs(syscall.EBADFD, syscall.ENOTCONN) || c.errs(syscall.EBADFD, syscall.EINVAL)
			}
			return false
		}},
	{Rule{"datagrams shut down for reading", "a read that does not wait is 0 here, EAGAIN in Linux"},
		func(p *player, c *call) bool {
			return c.s != nil && c.s.kind == dgrams && c.s.shutR && (c.op == "read" || c.op == "peek") &&
				c.errs(nil, syscall.EAGAIN) && c.got[0].n == 0
		}},
}

// report rules take what may differ out of what was reported of a session.
var reportRules = []struct {
	Rule
	adjust func(p *player, s *session, r *[2]uint32)
}{
	{Rule{"not connected", "Linux reports OUT and HUP, VCL nothing"},
		func(p *player, s *session, r *[2]uint32) {
			if s.kind == streams && s.c == nil && !s.listens {
				r[1] = 0
			}
		}},
	{Rule{"reset", "Linux forgets the error once it was told; of an edge the last that matters is the HUP"},
		func(p *player, s *session, r *[2]uint32) {
			if !s.isReset() {
				return
			}
			for i := range r {
				s.hup[i] = s.hup[i] || r[i]&core.EPOLLHUP != 0
				r[i] &= core.EPOLLHUP
			}
			if s.events&core.EPOLLET != 0 && s.hup[0] {
				r[0], r[1] = 0, 0
			}
		}},
	{Rule{"a closed peer of AF_UNIX", "it hears no more either: HUP"},
		func(p *player, s *session, r *[2]uint32) {
			if p.unix && s.peerClosed() && r[0]&core.EPOLLHUP == 0 {
				r[1] &^= core.EPOLLHUP
			}
		}},
	{Rule{"OUT when nearly full", "a quarter of the fifo is free here, a third of the buffer in Linux"},
		func(p *player, s *session, r *[2]uint32) {
			for i := range r {
				s.out[i] = s.out[i] || r[i]&core.EPOLLOUT != 0
			}
			if s.events&core.EPOLLONESHOT != 0 {
				// Who has space first tells of it, and then of nothing, which the
				// other does later.
				was := s.spent
				for i := range r {
					s.spent[i] = s.spent[i] || r[i] != 0
				}
				if was[0] != was[1] || s.txFull() && s.spent[0] != s.spent[1] {
					r[0], r[1] = 0, 0
					return
				}
			}
			switch {
			case s.txFull():
				if s.edgeOut && (r[0]|r[1])&core.EPOLLOUT != 0 {
					// What else is true was told with it, by who had space first.
					both := r[0] & r[1]
					for i := range r {
						if r[i]&core.EPOLLOUT != 0 {
							r[i] = both
						}
					}
				}
				r[0] &^= core.EPOLLOUT
				r[1] &^= core.EPOLLOUT
			case s.edgeOut && s.out == [2]bool{true, true}:
				// An edge that Linux told early. What else is true is told with it.
				s.edgeOut = false
				r[0], r[1] = 0, 0
			case s.edgeOut:
				r[0], r[1] = 0, 0
			}
		}},
	{Rule{"an edge for nothing", "Linux reports all that is true of an edge triggered member that was woken: after any shutdown, close or connect, and what else there is after data or an error that were taken since"},
		func(p *player, s *session, r *[2]uint32) {
			if s.events&core.EPOLLET == 0 || r[1] == 0 {
				return
			}
			// TCP does once more when the end is acknowledged, whenever that is.
			// And when a read of what is full lets the rest come, or there was
			// space for a while.
			filled := s.txFull() && s.events&core.EPOLLOUT != 0
			if r[0] == 0 && (s.stirred || s.shutW || s.rxFull() || filled || s.woken && (r[1]&(core.EPOLLIN|core.EPOLLERR) == 0 || s.shutR)) {
				r[1] = 0
			}
			s.stirred, s.woken = false, false
		}},
}

// NotPlayed is what would leave the two in different states for good.
var NotPlayed = []Rule{
	{"beyond the backlog", "a connect is ECONNREFUSED here and waits in Linux, whose backlog holds one more"},
	{"after a failed connect", "the session is closed: Linux asks for one more connect before it tries again, reports the end of a stream, and AF_UNIX does not"},
	{"connect and bind after a connection", "a session has one in its life here"},
	{"a session in a second set, a set in a set", "allowed in Linux"},
	{"not connected, in select, poll or ONESHOT", "Linux reports OUT and HUP"},
	{"write to a session that is full", "how much fits is each side's own"},
	{"the end of a stream that is full", "TCP has no room to tell of it: it is drained before"},
	{"write to a peer that has shut down both", "TCP resets then, here the peer may read it"},
	{"shutdown for reading, of AF_UNIX", "the peer's writes are EPIPE then"},
	{"edge triggered OUT of datagrams and of AF_UNIX", "it is news whenever space is freed"},
	{"calls that would wait", "one thread drives all ends"},
	{"both families, or the unspecified address, of datagrams", "what they mean on loopback the kernel strategies only imitate"},
	{"datagrams beyond what a fifo holds", "Linux drops them"},
	{"read of no bytes from what is not connected", "Linux looks no further"},
	{"NREAD, error and options where nothing is connected or it was reset", "Linux keeps other ones"},
	{"an error from the last peer of datagrams", "connect forgets it here, Linux does not"},
	{"a lost ICMP message", "Linux sends a limited number a second: ECONNREFUSED of datagrams then is taken back here"},
}

// Allowed is the list of differences between the session core and Linux that the
// comparison passes over.
func Allowed() []Rule {
	var all []Rule
	for _, r := range resultRules {
		all = append(all, r.Rule)
	}
	for _, r := range reportRules {
		all = append(all, r.Rule)
	}
	return slices.Clip(all)
}
