package tape

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"syscall"
	"time"

	"vlsbench/core"
	"vlsbench/vls"
)

// play plays one operation.
func (p *player) play(op Op) {
	p.op = op
	plays[op.Kind%nKinds](p)
	p.settle()
	p.stats.Ops++
	p.stats.Kinds[op.Kind%nKinds]++
}

var plays = [nKinds]func(*player){
	Nop:         func(*player) {},
	Create:      (*player).pair,
	Listen:      (*player).listen,
	Connect:     (*player).connect,
	Accept:      (*player).accept,
	Read:        (*player).read,
	Write:       (*player).write,
	Shutdown:    (*player).shutdown,
	Close:       (*player).close,
	EpollCreate: (*player).epollCreate,
	EpollCtl:    (*player).epollCtl,
	EpollWait:   (*player).epollWait,
	Poll:        (*player).poll,
	Select:      (*player).selects,
	Bind:        (*player).bind,
	Sendto:      (*player).sendto,
	Attr:        (*player).attribute,
	Stale:       (*player).stale,
	Drain:       func(p *player) { p.drain(p.target((*session).connected)) },
	Fill:        (*player).fill,
}

// pair makes a connection, or no more than a session.
func (p *player) pair() {
	switch {
	case p.op.What >= 160:
		p.create(p.op.What >= 200 && p.count(isDgram) < maxDgrams)
		return
	case len(p.all)+3 > maxOpen:
		return
	}
	l := p.pick(p.op.Who, func(s *session) bool { return s.listens && len(s.queue) == 0 })
	if l == nil {
		if l = p.newListener(1); l == nil {
			return
		}
	}
	if s := p.create(false); s != nil {
		p.dial(s, l.at)
		p.settle()
		p.take(l)
	}
}

// At most so many of a kind are open: the rest is for streams.
const (
	maxListeners = 3
	maxDgrams    = 4
	maxSets      = 3
)

func (p *player) count(fits func(*session) bool) (n int) {
	for _, s := range p.all {
		if fits(s) {
			n++
		}
	}
	return n
}

// create makes a session, of datagrams if udp. nil: there are enough.
func (p *player) create(udp bool) *session {
	if len(p.all) >= maxOpen {
		return nil
	}
	s := &session{id: p.nextID, proc: int(p.op.Who>>7) & 1, blocking: p.op.How&7 == 7}
	proto := vls.TCP
	if udp {
		s.kind, s.blocking, proto = dgrams, false, vls.UDP
	}
	if p.op.How >= 250 && p.op.Kind == Create {
		proto += 7
	}
	c := p.do("create", s, s.proc, "", func(i int, th vls.Thread) (r result) {
		s.h[i], r.err = th.Create(proto, !s.blocking)
		return r
	})
	if c.got[0].err != nil {
		return nil
	}
	return p.enter(s)
}

// fresh is a stream that is nothing yet.
func fresh(s *session) bool { return s.kind == streams && s.c == nil && !s.listens }

// listen binds and listens, or listens anew.
func (p *player) listen() {
	backlog := 1 + int(p.op.How%4)
	if p.op.What >= 200 || p.op.How >= 240 {
		s := p.target(func(s *session) bool { return s.listens || s.kind == dgrams })
		if s == nil {
			return
		}
		c := p.do("listen", s, s.proc, fmt.Sprint(backlog), func(i int, th vls.Thread) result {
			return result{err: th.Listen(s.h[i], backlog)}
		})
		if c.got[0].err == nil {
			s.backlog = backlog
		}
		return
	}
	p.newListener(backlog)
}

func listens(s *session) bool { return s.listens }

// newListener makes a listener, nil if there are enough or the endpoint is taken.
func (p *player) newListener(backlog int) *session {
	if p.count(listens) >= maxListeners {
		return nil
	}
	s := p.pick(p.op.Who, func(s *session) bool { return fresh(s) && !s.bound })
	if s == nil {
		if s = p.create(false); s == nil {
			return nil
		}
	}
	ep := p.endpoint(p.op.What)
	c := p.do("bind and listen", s, s.proc, fmt.Sprint(ep, " ", backlog), func(i int, th vls.Thread) result {
		err := th.Bind(s.h[i], ep)
		if err == nil {
			err = th.Listen(s.h[i], backlog)
		}
		return result{err: err}
	})
	if c.got[0].err != nil {
		// From here on one of them may be bound.
		p.closeSession(s)
		return nil
	}
	s.listens, s.bound, s.at, s.backlog = true, true, ep, backlog
	s.stirred = true
	return s
}

// listener is who listens where an endpoint leads.
func (p *player) listener(ep vls.Endpoint) *session {
	for _, s := range p.all {
		if s.listens && s.at.Port() == ep.Port() &&
			(s.at.Addr() == ep.Addr() || s.at.Addr() == netip.IPv4Unspecified() && ep.Addr().Is4() ||
				s.at.Addr().Is4() && ep.Addr() == netip.IPv4Unspecified() && s.at.Addr() == addresses[0]) {
			return s
		}
	}
	return nil
}

// connect connects a stream or a session of datagrams.
func (p *player) connect() {
	if p.op.What >= 200 && p.op.How < 240 {
		p.connectDgram()
		return
	}
	ep := p.endpoint(p.op.What)
	if p.op.What < 180 {
		l := p.pick(p.op.What, func(s *session) bool { return s.listens && len(s.queue) < s.backlog })
		if l == nil {
			if l = p.newListener(1 + int(p.op.How%4)); l == nil {
				return
			}
		}
		ep = l.at
	}
	s := p.target(fresh)
	if s == nil {
		if s = p.create(false); s == nil {
			return
		}
	}
	p.dial(s, ep)
}

// dial connects a stream, or tries to connect what is none.
func (p *player) dial(s *session, ep vls.Endpoint) {
	l := p.listener(ep)
	if l != nil && len(l.queue) >= l.backlog || s.kind == dgrams || s.isReset() {
		return
	}
	c := p.do("connect", s, s.proc, ep.String(), func(i int, th vls.Thread) result {
		return result{err: p.connected(i, th, s.h[i], ep)}
	})
	switch {
	case s.c != nil || s.listens || s.kind == sets:
	case c.got[0].err == syscall.EAFNOSUPPORT:
	case c.got[0].err != nil:
		p.closeSession(s)
	case l == nil:
		p.fail("%v is connected to %v, where nobody listens", s, ep)
	default:
		s.c = &conn{l: l, ends: [2]*session{s, nil}}
		s.c.dir[0].seed, s.c.dir[1].seed = p.nextID, p.nextID+100
		s.stirred = true
		l.queue = append(l.queue, s.c)
		p.touch(s.c)
	}
}

// connected connects, and if that is not over at once waits until it is.
func (p *player) connected(i int, th vls.Thread, h vls.Handle, ep vls.Endpoint) error {
	err := th.Connect(h, ep)
	if err != syscall.EINPROGRESS {
		return err
	}
	fds := []vls.PollFD{{Handle: h, Events: core.EPOLLOUT}}
	wait := func() bool {
		_, err := th.Poll(fds, 0)
		return err == nil && fds[0].Revents != 0
	}
	if i == 1 {
		p.await("a connect's end", wait)
	} else if !wait() {
		p.fail("%s: a connect is not over, by poll", p.sides[i].name)
	}
	var buf [4]byte
	if _, err := th.Attr(h, core.GetError, buf[:]); err != nil {
		return err
	}
	if no := binary.NativeEndian.Uint32(buf[:]); no != 0 {
		return syscall.Errno(no)
	}
	return nil
}

func (p *player) accept() {
	s := p.target(func(s *session) bool { return len(s.queue) > 0 || s.listens && p.op.What >= 224 })
	if s != nil {
		p.take(s)
	}
}

// take accepts, if that does not wait.
func (p *player) take(s *session) {
	if s.blocking && s.listens && len(s.queue) == 0 || len(p.all) >= maxOpen {
		return
	}
	o := &session{id: p.nextID, proc: s.proc, accepted: true, blocking: p.op.How&1 != 0}
	flags := syscall.O_NONBLOCK
	if o.blocking {
		flags = 0
	}
	c := p.do("accept", s, s.proc, fmt.Sprint("as ", p.nextID), func(i int, th vls.Thread) (r result) {
		if s.listens {
			p.mayWait(i, s)
		}
		o.h[i], r.ep, r.err = th.Accept(s.h[i], flags)
		if r.err != nil {
			r.ep = vls.Endpoint{}
		}
		return r
	})
	if c.got[0].err != nil {
		return
	}
	if len(s.queue) == 0 {
		p.fail("%v accepts what was never connected", s)
	}
	p.enter(o)
	o.c, o.side = s.queue[0], 1
	s.queue = s.queue[1:]
	o.c.l, o.c.ends[1] = nil, o
	p.touch(o.c)
}

// sizes are those of reads and writes; reads of the last two are of no bytes and
// of no buffer.
var sizes = []int{10, 1, 100, 1000, 2000, 3000, 500, 20, 5, 1500, 0, -1}

func (p *player) read() {
	fits := func(s *session) bool { return s.c != nil || s.kind == dgrams }
	if p.op.How%8 < 6 {
		// Where there is something to be read.
		fits = func(s *session) bool {
			return s.unread(1) > 0 || s.isReset() || s.peerEnded() || s.kind == dgrams && s.bound && p.underWay > 0
		}
	}
	s := p.target(fits)
	if s == nil {
		return
	}
	size := sizes[p.op.What%uint8(len(sizes))]
	if size == 0 && (!s.connected() && s.kind == streams) {
		return
	}
	if s.blocking && s.c != nil && size != -1 && s.unread(0) == 0 && !s.peerEnded() && !s.shutR && !s.c.reset {
		return
	}
	op, flags := "read", 0
	switch how := p.op.How % 16; {
	case how >= 12 && how < 15:
		op, flags = "peek", core.MSG_PEEK
	case how == 15:
		op, flags = "oob", syscall.MSG_OOB
	}
	from := op != "read" || p.op.How%16 >= 8
	c := p.do(op, s, s.proc, fmt.Sprint(size), func(i int, th vls.Thread) (r result) {
		var buf []byte
		if size >= 0 {
			buf = p.sides[i].buf[:size]
		}
		if size > 0 && op != "oob" && s.c != nil {
			p.mayWait(i, s)
		}
		if from {
			r.n, r.ep, r.err = th.Recvfrom(s.h[i], buf, flags)
		} else {
			r.n, r.err = th.Read(s.h[i], buf)
		}
		if r.err != nil || r.n == 0 && s.kind == streams || s.isOver() {
			r.ep = vls.Endpoint{} // as that of the peer, which is asked for elsewhere
		}
		if data := buf[:max(r.n, 0)]; s.connected() {
			p.took(s, i, data, op == "peek")
		} else if !s.isReset() {
			r.data = data
		}
		return r
	})
	if !s.connected() {
		if n := c.got[0].n; n > 0 && op == "read" && s.kind == dgrams {
			p.underWay -= p.lens[c.got[0].data[0]]
		}
		return
	}
	d := &s.c.dir[1-s.side]
	if d.sent[0] == d.rcvd[0] && !d.full {
		d.writes = 0
	}
}

// took checks what was read, and notes that it was.
func (p *player) took(s *session, i int, data []byte, peeked bool) {
	p.check(s, i, data)
	if !peeked {
		s.c.dir[1-s.side].rcvd[i] += len(data)
	}
}

// maxUnread and maxWrites keep a stream far from full: small writes take much
// more of a kernel's buffer than their bytes.
const (
	maxUnread = 3000
	maxWrites = 30
)

func (p *player) write() {
	s := p.target(func(s *session) bool { return s.c != nil })
	if s == nil {
		return
	}
	size := max(sizes[p.op.What%uint8(len(sizes))], 0)
	if s.kind == dgrams {
		p.send(s, size, vls.Endpoint{})
		return
	}
	if s.c != nil && !s.c.reset && size > 0 {
		d := &s.c.dir[s.side]
		if d.full || d.writes >= maxWrites || d.sent[0]-d.rcvd[0]+size > maxUnread ||
			s.c.deaf[1-s.side] && s.c.shut[1-s.side] && !s.c.gone[1-s.side] {
			return
		}
	}
	c := p.do("write", s, s.proc, fmt.Sprint(size), func(i int, th vls.Thread) (r result) {
		buf := p.sides[i].buf[:size]
		if s.c != nil {
			s.c.dir[s.side].fillIn(buf, i)
		}
		if p.op.How%4 == 3 {
			r.n, r.err = th.WriteMsg(s.h[i], buf)
		} else {
			r.n, r.err = th.Write(s.h[i], buf)
		}
		if r.err != nil {
			return r
		}
		return r
	})
	if s.c == nil || s.c.reset || c.got[0].err != nil || size == 0 {
		return
	}
	if s.peerClosed() {
		p.reset(s.c)
		return
	}
	d := &s.c.dir[s.side]
	for i := range p.sides {
		d.sent[i] += c.got[i].n
	}
	d.writes++
	if o := s.c.ends[1-s.side]; o != nil {
		o.woken = true
	}
	p.touch(s.c)
}

func (p *player) shutdown() {
	s := p.target(func(s *session) bool { return s.c != nil || s.kind == dgrams && s.peer })
	if s == nil {
		return
	}
	how := int(p.op.What % 8)
	switch {
	case how > 4:
		how = syscall.SHUT_WR
	case how == 4:
		how = syscall.SHUT_RDWR
	}
	if p.unix && s.kind == streams && (how == syscall.SHUT_RD || how == syscall.SHUT_RDWR) {
		how = syscall.SHUT_WR
	}
	if how != syscall.SHUT_RD && s.txFull() {
		p.drain(s.c.ends[1-s.side])
	}
	if how != syscall.SHUT_WR && s.rxFull() {
		p.drain(s)
	}
	c := p.do("shutdown", s, s.proc, fmt.Sprint(how), func(i int, th vls.Thread) result {
		return result{err: th.Shutdown(s.h[i], how)}
	})
	if c.got[0].err != nil {
		return
	}
	s.shutR = s.shutR || how != syscall.SHUT_WR
	s.shutW = s.shutW || how != syscall.SHUT_RD
	s.stirred = true
	if s.c != nil {
		s.c.shut[s.side], s.c.deaf[s.side] = s.shutW, s.shutR
		s.c.stir()
		p.touch(s.c)
	}
}

func (p *player) close() {
	if s := p.target(func(s *session) bool { return true }); s != nil {
		p.closeSession(s)
	}
}

func (p *player) closeSession(s *session) {
	if s.rxFull() {
		// Whether there is unread data is to be the same on both.
		p.drain(s)
	}
	if s.txFull() {
		p.drain(s.c.ends[1-s.side])
	}
	p.do("close", s, s.proc, "", func(i int, th vls.Thread) result {
		return result{err: th.Close(s.h[i])}
	})
	p.drop(s)
}

// drop takes a session that was closed out of the account.
func (p *player) drop(s *session) {
	s.open = false
	for k, o := range p.all {
		if o == s {
			p.all = append(p.all[:k], p.all[k+1:]...)
			break
		}
	}
	if p.closed = append(p.closed, s); len(p.closed) > 8 {
		p.closed = p.closed[1:]
	}
	for _, o := range p.all {
		if o.set == s {
			o.set, o.events = nil, 0
		}
	}
	for _, c := range s.queue {
		c.l = nil
		c.gone[1] = true
		p.reset(c)
	}
	c := s.c
	if c == nil {
		return
	}
	c.stir()
	c.gone[s.side] = true
	if s.unread(0) > 0 && !c.reset && !c.gone[1-s.side] {
		p.reset(c)
	}
	p.touch(c)
}

func (p *player) epollCreate() {
	if p.count(isSet) >= maxSets || len(p.all) >= maxOpen {
		return
	}
	s := &session{id: p.nextID, proc: int(p.op.Who>>7) & 1, kind: sets}
	p.do("epoll create", s, s.proc, "", func(i int, th vls.Thread) (r result) {
		s.h[i], r.err = th.EpollCreate()
		return r
	})
	p.enter(s)
}

func isSet(s *session) bool { return s.kind == sets }

func (p *player) epollCtl() {
	set := p.pick(p.op.How>>3, isSet)
	if set == nil {
		p.epollCreate()
		if set = p.pick(0, isSet); set == nil {
			return
		}
	}
	s := p.pick(p.op.Who, func(s *session) bool {
		return s.kind != sets && (p.mixed || s.proc == set.proc || p.op.How >= 240) &&
			(s.c != nil || p.op.Who&1 == 0)
	})
	if s == nil {
		return
	}
	if p.op.What == 255 {
		set = s // a session where a set is wanted
	}
	op := core.EPOLL_CTL_ADD
	switch p.op.How % 8 {
	case 0, 1, 2:
		if s.set != nil {
			op = core.EPOLL_CTL_MOD
		}
	case 3:
		op = core.EPOLL_CTL_MOD
	case 4:
		op = core.EPOLL_CTL_DEL
	case 5:
		op = 17
	}
	if op == core.EPOLL_CTL_ADD && s.set != nil && s.set != set {
		return
	}
	events := p.interest(s)
	ev := &vls.EpollEvent{Events: events, Data: uint64(s.id)}
	names := map[int]string{core.EPOLL_CTL_ADD: "add", core.EPOLL_CTL_MOD: "mod", core.EPOLL_CTL_DEL: "del", 17: "17"}
	args := fmt.Sprint("in ", set, " ", names[op], " ", eventNames(events))
	c := p.do("ctl", s, set.proc, args, func(i int, th vls.Thread) result {
		return result{err: th.EpollCtl(set.h[i], op, s.h[i], ev)}
	})
	if c.got[0].err != nil {
		return
	}
	if op == core.EPOLL_CTL_DEL {
		s.set, s.events = nil, 0
		return
	}
	s.set, s.events = set, events
	s.spent = [2]bool{}
	s.noteFull(s.txFull())
	s.hup = [2]bool{}
}

// noteFull notes whether an edge of OUT is to come, once there is space again.
func (s *session) noteFull(full bool) {
	s.edgeOut = full && s.events&core.EPOLLET != 0 && s.events&core.EPOLLOUT != 0
	s.out = [2]bool{}
}

// interest is what the operation asks of a session.
func (p *player) interest(s *session) uint32 {
	var events uint32
	w := p.op.What
	if w&1 == 0 {
		events |= core.EPOLLIN
	}
	if w&2 != 0 {
		events |= core.EPOLLOUT
	}
	if w&4 != 0 {
		events |= core.EPOLLRDHUP
	}
	if w&24 == 24 && !fresh(s) {
		events |= core.EPOLLONESHOT
		if p.unix {
			events |= core.EPOLLIN // or HUP alone could disarm it there
		}
	}
	if w&64 != 0 {
		if events |= core.EPOLLET; p.unix || s.kind == dgrams {
			events &^= core.EPOLLOUT
		}
	}
	return events
}

func (p *player) epollWait() {
	set := p.target(func(s *session) bool {
		return s.kind == sets && (p.op.What >= 128 || p.count(func(o *session) bool { return o.set == s }) > 0)
	})
	if set == nil {
		return
	}
	most := 64
	if p.op.What&3 == 3 {
		most = 1 + int(p.op.What>>2)&3
	}
	if p.op.What >= 252 {
		most = 0
	}
	timeout := time.Duration(0)
	if p.op.How&3 == 3 {
		// With nothing to report the set comes to rest.
		timeout = pause
	}
	p.do("wait", set, set.proc, fmt.Sprint(most, " ", timeout), func(i int, th vls.Thread) result {
		r := p.wait(i, th, set, most, timeout)
		if i == 0 {
			p.expected = r.ready
			return r
		}
		// An event of Linux may be on its way still.
		for try := 0; try < 70 && r.err == nil && p.lacks(r.ready); try++ {
			nap(time.Duration(try) * 20 * time.Microsecond)
			more := p.wait(i, th, set, most, 0)
			for id, bits := range more.ready {
				r.ready[id] |= bits
			}
		}
		return r
	})
}

// pause is the timeout of a wait that is not to return at once.
const pause = 30 * time.Microsecond

// lacks reports whether something is missing of what the judged side reported,
// and may not be.
func (p *player) lacks(got map[int]uint32) bool {
	for id, bits := range p.expected {
		s := p.byID(id)
		if s == nil || bits&^got[id] == 0 {
			continue
		}
		// The rules note what they saw.
		if trial := *s; !p.adjust(&trial, [2]uint32{bits, got[id]}, nil) {
			return true
		}
	}
	return false
}

// wait collects what a set has to report, by as many waits as it needs.
func (p *player) wait(i int, th vls.Thread, set *session, most int, timeout time.Duration) result {
	ready := make(map[int]uint32)
	var evs [64]vls.EpollEvent
	for {
		n, err := th.EpollWait(set.h[i], evs[:most], timeout)
		timeout = 0
		if err != nil {
			return result{err: err}
		}
		again := false
		once := make(map[int]bool)
		for _, ev := range evs[:n] {
			id := int(ev.Data)
			if once[id] {
				p.fail("%s reports %d twice by one wait", p.sides[i].name, id)
			}
			once[id] = true
			if _, ok := ready[id]; ok {
				again = true
			}
			ready[id] |= ev.Events
		}
		// Who is ready comes again when all others have.
		if n < most || again {
			return result{ready: ready}
		}
	}
}

// some are sessions of a process to be polled, without those of which Linux
// says something else.
func (p *player) some(fits func(*session) bool) (list []*session, proc int) {
	proc = int(p.op.Who>>7) & 1
	for _, s := range p.all {
		if (p.mixed || s.proc == proc) && !fresh(s) && fits(s) && (len(list) == 0 || p.op.What>>(s.id%8)&1 != 0) {
			list = append(list, s)
		}
	}
	if p.op.How&1 != 0 {
		if s := p.pickClosed(); s != nil {
			list = append(list, s)
		}
	}
	return list, proc
}

func (p *player) poll() {
	list, proc := p.some(func(s *session) bool { return true })
	names := ""
	for _, s := range list {
		names += s.String() + " "
	}
	events := uint32(p.op.How >> 2 & (core.EPOLLIN | core.EPOLLOUT))
	if p.op.How&2 != 0 {
		events |= core.EPOLLRDHUP
	}
	c := p.do("poll", nil, proc, names+eventNames(events), func(i int, th vls.Thread) result {
		fds := make([]vls.PollFD, len(list))
		for k, s := range list {
			fds[k] = vls.PollFD{Handle: s.h[i], Events: events}
		}
		n, err := th.Poll(fds, 0)
		text := ""
		for k, s := range list {
			if fds[k].Revents != 0 {
				n--
			}
			text += fmt.Sprint(s, ":", eventNames(p.polled(s, i, fds[k].Revents)), " ")
		}
		if err == nil && n != 0 {
			p.fail("%s: poll miscounts by %d", p.sides[i].name, n)
		}
		return result{err: err, text: text}
	})
	_ = c
}

// polled takes out of what was found of a session what may differ; the rules
// that do so for edges are not asked.
func (p *player) polled(s *session, i int, bits uint32) uint32 {
	switch {
	case !s.open || s.kind == sets:
		if s.kind == sets && s.open {
			return 0 // a set among the handles is IN in Linux, if it has news
		}
	case s.isReset():
		return bits & core.EPOLLHUP
	case p.unix && s.peerClosed() && !s.isOver():
		bits &^= core.EPOLLHUP
	}
	if s.txFull() {
		bits &^= core.EPOLLOUT
	}
	return bits
}

func (p *player) selects() {
	list, proc := p.some(func(s *session) bool { return s.kind != sets && !s.isReset() })
	names := ""
	for _, s := range list {
		names += s.String() + " "
	}
	p.do("select", nil, proc, names, func(i int, th vls.Thread) result {
		var in [3]vls.HandleSet
		for k, s := range list {
			for j := range in {
				if (int(p.op.How>>1)+k+j)%4 != 0 && !(j == 1 && s.txFull()) {
					in[j].Add(s.h[i])
				}
			}
		}
		n, err := th.Select(&in[0], &in[1], &in[2], 0)
		text := ""
		for _, s := range list {
			for j := range in {
				if in[j].Has(s.h[i]) {
					text += fmt.Sprintf("%v:%c ", s, "rwx"[j])
				}
			}
		}
		return result{n: n, err: err, text: text}
	})
}

func (p *player) pickClosed() *session {
	if len(p.closed) == 0 {
		return nil
	}
	return p.closed[int(p.op.Who&63)%len(p.closed)]
}

// stale makes a call on a handle that is closed or never was.
func (p *player) stale() {
	s := p.pickClosed()
	if s == nil {
		s = &session{kind: streams}
	}
	h := s.h
	if p.op.How >= 200 {
		h = [2]vls.Handle{h[0] ^ 1<<62, h[1] ^ 1<<62}
	}
	calls := []struct {
		name string
		f    func(th vls.Thread, h vls.Handle) error
	}{
		{"read", func(th vls.Thread, h vls.Handle) error { _, err := th.Read(h, make([]byte, 4)); return err }},
		{"write", func(th vls.Thread, h vls.Handle) error { _, err := th.Write(h, make([]byte, 4)); return err }},
		{"close", func(th vls.Thread, h vls.Handle) error { return th.Close(h) }},
		{"bind", func(th vls.Thread, h vls.Handle) error { return th.Bind(h, p.endpoint(0)) }},
		{"listen", func(th vls.Thread, h vls.Handle) error { return th.Listen(h, 1) }},
		{"connect", func(th vls.Thread, h vls.Handle) error { return th.Connect(h, p.endpoint(0)) }},
		{"accept", func(th vls.Thread, h vls.Handle) error { _, _, err := th.Accept(h, 0); return err }},
		{"shutdown", func(th vls.Thread, h vls.Handle) error { return th.Shutdown(h, syscall.SHUT_WR) }},
		{"recvfrom", func(th vls.Thread, h vls.Handle) error {
			_, _, err := th.Recvfrom(h, make([]byte, 4), core.MSG_PEEK)
			return err
		}},
		{"sendto", func(th vls.Thread, h vls.Handle) error {
			_, err := th.Sendto(h, make([]byte, 4), 0, p.endpoint(0))
			return err
		}},
		{"attr", func(th vls.Thread, h vls.Handle) error {
			_, err := th.Attr(h, core.GetFlags, make([]byte, 4))
			return err
		}},
		{"wait", func(th vls.Thread, h vls.Handle) error {
			_, err := th.EpollWait(h, make([]vls.EpollEvent, 1), 0)
			return err
		}},
		{"ctl", func(th vls.Thread, h vls.Handle) error {
			return th.EpollCtl(h, core.EPOLL_CTL_ADD, h, &vls.EpollEvent{})
		}},
		{"session handle", func(th vls.Thread, h vls.Handle) error { _, err := th.SessionHandle(h); return err }},
		{"session index", func(th vls.Thread, h vls.Handle) error { _, _, err := th.SessionIndex(h); return err }},
	}
	k := calls[int(p.op.What)%len(calls)]
	p.do("stale "+k.name, nil, s.proc, s.String(), func(i int, th vls.Thread) result {
		return result{err: k.f(th, h[i])}
	})
}

// attr is an attribute of a session on one side, -1 if it has none.
func (p *player) attr(i int, s *session, a vls.Attr) int {
	var buf [4]byte
	if _, err := p.sides[i].threads[s.proc].Attr(s.h[i], a, buf[:]); err != nil {
		return -1
	}
	return int(int32(binary.NativeEndian.Uint32(buf[:])))
}

func (p *player) attribute() {
	s := p.target(func(s *session) bool { return s.kind != sets })
	if s == nil {
		return
	}
	attrs := []struct {
		name string
		a    vls.Attr
		size int
		when bool
	}{
		{"flags", core.GetFlags, 4, true},
		{"nread", core.GetNread, 4, s.connected()},
		{"error", core.GetError, 4, s.connected()},
		{"listen", core.GetListen, 4, true},
		{"local", core.GetLocal, 32, (s.connected() || s.bound || s.listens) && !s.isOver()},
		{"peer", core.GetPeer, 32, !s.isReset()},
		{"protocol", core.GetProtocol, 4, true},
		{"get shutdown", core.GetShutdown, 4, !s.isReset() && !s.isOver()},
		{"keepalive", core.GetKeepalive, 4, !(p.unix && s.accepted) && !s.listens},
		{"set keepalive", core.SetKeepalive, 4, !(p.unix && s.accepted) && !s.listens},
		{"set flags", core.SetFlags, 4, s.kind == streams && !s.rxFull()},
		{"flags of a wrong length", core.GetFlags, 3, true},
		{"none", 9999, 4, true},
	}
	a := attrs[int(p.op.What)%len(attrs)]
	if !a.when {
		return
	}
	value := uint32(p.op.How>>4) & 1
	if a.a == core.SetFlags {
		value *= syscall.O_NONBLOCK
	}
	c := p.do(a.name, s, s.proc, "", func(i int, th vls.Thread) (r result) {
		buf := make([]byte, a.size)
		if a.size == 4 {
			binary.NativeEndian.PutUint32(buf, value)
		}
		n, err := th.Attr(s.h[i], a.a, buf)
		switch {
		case err != nil:
			return result{err: err}
		case a.size == 4:
			return result{n: int(binary.NativeEndian.Uint32(buf))}
		}
		r.text = a.name
		if err := r.ep.UnmarshalBinary(buf[:n]); err != nil {
			p.fail("%s: %s of %v: %v", p.sides[i].name, a.name, s, err)
		}
		return r
	})
	if a.a == core.SetFlags && c.got[0].err == nil {
		s.blocking = value == 0
	}
}

// drain reads all there is, on both sides.
func (p *player) drain(s *session) {
	if s == nil || !s.connected() || s.blocking {
		return
	}
	d := &s.c.dir[1-s.side]
	p.do("drain", s, s.proc, "", func(i int, th vls.Thread) (r result) {
		read := func() bool {
			buf := p.sides[i].buf
			n, err := th.Read(s.h[i], buf)
			if err == nil {
				p.took(s, i, buf[:n], false)
				r.n += n
			}
			r.err = err
			return err != nil || n == 0
		}
		for !read() {
		}
		if i == 1 {
			p.await(fmt.Sprintf("the rest at %v", s), func() bool {
				for d.rcvd[i] < d.sent[i] {
					if read() {
						return false
					}
				}
				read()
				return r.err == nil || !s.peerEnded()
			})
		}
		if d.rcvd[i] != d.sent[i] {
			p.fail("%s: %d bytes of %v are read, and %d were written", p.sides[i].name, d.rcvd[i], s, d.sent[i])
		}
		return r
	})
	d.writes = 0
	if !d.full {
		return
	}
	d.full = false
	s.woken = true // the rest came while it was read
	if o := s.c.ends[1-s.side]; o != nil && o.open {
		p.await(fmt.Sprintf("space at %v", o), func() bool { return p.level(1, o, core.EPOLLOUT)&core.EPOLLOUT != 0 })
	}
}

// fill writes until nothing fits.
func (p *player) fill() {
	s := p.target(func(s *session) bool { return s.connected() && !s.peerEnded() })
	if s == nil || !s.connected() || s.blocking || s.shutW || s.txFull() || s.peerEnded() || s.c.deaf[1-s.side] {
		return
	}
	o := s.c.ends[1-s.side]
	if o == nil || o.blocking || p.tcp && p.op.What >= 64 {
		return // somebody is to be able to drain it, and with TCP it takes long
	}
	d := &s.c.dir[s.side]
	s.noteFull(true)
	p.do("fill", s, s.proc, "", func(i int, th vls.Thread) (r result) {
		for settled := !p.tcp || i == 0; ; settled = true {
			for {
				n, err := th.Write(s.h[i], d.fillIn(p.sides[i].buf[:1000+int(p.op.What)], i))
				if err != nil {
					r.err = err
					break
				}
				d.sent[i] += n
				r.n += n
			}
			if settled {
				return r
			}
			// An acknowledgement that makes room may come late.
			nap(45 * time.Millisecond)
		}
	})
	d.full = true
	o.woken = true
}
