package tape

import (
	"fmt"
	"net/netip"
	"syscall"
	"time"

	"vlsbench/core"
	"vlsbench/vls"
)

// maxUnderWay is how many bytes of datagrams are sent and not yet read, at
// most: less than one fifo holds, with their headers.
const maxUnderWay = 8000

func isDgram(s *session) bool { return s.kind == dgrams }

// bind binds a session of datagrams, or a stream that is to connect.
func (p *player) bind() {
	s := p.target(func(s *session) bool { return s.kind == dgrams && !s.bound })
	if s == nil || p.op.What >= 200 {
		if p.op.What < 200 && p.count(isDgram) >= maxDgrams {
			return
		}
		if s = p.create(p.op.What < 200); s == nil {
			return
		}
	}
	if s.isReset() || s.isOver() {
		return
	}
	ep := p.somewhere(s)
	if s.kind == streams {
		// Linux looks for who has it at bind, and here that is at listen.
		ep = vls.Endpoint{}
		if p.op.What&1 == 0 {
			ep = anyPort(p.endpoint(p.op.What & 7))
		}
	}
	c := p.do("bind", s, s.proc, ep.String(), func(i int, th vls.Thread) result {
		return result{err: th.Bind(s.h[i], ep)}
	})
	if c.got[0].err == nil {
		s.bound = true
	}
}

// anyPort is an endpoint at a port that is free.
func anyPort(ep vls.Endpoint) vls.Endpoint { return netip.AddrPortFrom(ep.Addr(), 0) }

// somewhere is an endpoint where datagrams are heard, or may be: of one family,
// once the session has an address that it did not choose itself.
func (p *player) somewhere(s *session) vls.Endpoint {
	ep := p.endpoint(p.op.What & 7)
	if s.family.IsValid() {
		ep = netip.AddrPortFrom(s.family, ep.Port())
	}
	return ep
}

// addressed notes that a session got an address by what it was to talk with.
func (s *session) addressed(ep vls.Endpoint) {
	if s.kind == dgrams && !s.bound {
		s.bound, s.family = true, ep.Addr()
	}
}

func (p *player) connectDgram() {
	s := p.target(isDgram)
	if s == nil {
		if s = p.create(true); s == nil {
			return
		}
	}
	ep := p.somewhere(s)
	c := p.do("connect", s, s.proc, ep.String(), func(i int, th vls.Thread) result {
		err := p.connected(i, th, s.h[i], ep)
		if err == nil {
			p.attr(i, s, core.GetError)
		}
		return result{err: err}
	})
	if c.got[0].err == nil && s.kind == dgrams {
		s.peer = true
		s.addressed(ep)
	}
}

func (p *player) sendto() {
	s := p.target(isDgram)
	if s == nil {
		if s = p.create(true); s == nil {
			return
		}
	}
	if s.kind == streams && s.connected() && s.txFull() {
		return
	}
	ep := p.somewhere(s)
	if p.op.How&7 == 7 {
		ep = vls.Endpoint{}
	}
	size := max(sizes[p.op.How>>3&7], 0)
	if ep == (vls.Endpoint{}) && p.op.What >= 250 {
		size = core.MaxDatagram + 1
	}
	if s.kind == streams && ep == (vls.Endpoint{}) {
		return // it is Write
	}
	p.send(s, size, ep)
}

// send sends a datagram, to the peer if ep is zero.
func (p *player) send(s *session, size int, ep vls.Endpoint) {
	if p.underWay+size > maxUnderWay && size <= core.MaxDatagram {
		return
	}
	flags := 0
	if p.op.How == 77 {
		flags = syscall.MSG_OOB
	}
	p.seq++
	c := p.do("sendto", s, s.proc, fmt.Sprint(ep, " ", size), func(i int, th vls.Thread) (r result) {
		buf := p.sides[i].buf[:size]
		for k := range buf {
			buf[k] = p.seq + byte(k)
		}
		if ep == (vls.Endpoint{}) && p.op.How%2 == 0 {
			r.n, r.err = th.Write(s.h[i], buf)
		} else {
			r.n, r.err = th.Sendto(s.h[i], buf, flags, ep)
		}
		return r
	})
	if c.got[0].err != nil {
		return
	}
	p.underWay += size
	p.lens[p.seq] = size
	if s.kind == dgrams {
		s.addressed(ep)
		p.unheard(s)
	}
}

// unheard waits for the ICMP message that nobody heard a datagram, which Linux
// does not always send, and if it does not come takes back what is said here.
func (p *player) unheard(s *session) {
	if !s.peer || p.level(0, s, 0)&core.EPOLLERR == 0 {
		return
	}
	s.stirred = true
	for i := range 20 {
		if p.level(1, s, 0)&core.EPOLLERR != 0 {
			return
		}
		nap(time.Duration(i) * 20 * time.Microsecond)
	}
	if e := p.attr(0, s, core.GetError); e != int(syscall.ECONNREFUSED) {
		p.fail("%s: error %d of %v, which nobody heard", p.sides[0].name, e, s)
	}
}
