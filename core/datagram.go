package core

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"sync/atomic"
	"syscall"

	"vlsbench/audit"
	"vlsbench/fifo"
	"vlsbench/hw"
	"vlsbench/sched"
)

// MaxDatagram is the longest datagram, in bytes: what UDP over IPv4 carries.
const MaxDatagram = 65507

// dgram is what a session of datagrams has beside a session. What is sent goes
// through a fifo of its own for each pair of sender and receiver, a flow, so
// that each has one producer and one consumer, and a receiver that does not read
// holds up those alone who send to it.
type dgram struct {
	refs   atomic.Int32  // sessions: several may share it by fork
	target atomic.Uint64 // session, or shared data, that news goes to; 0 once closed
	ep     Endpoint      // where it is bound; set before it is entered there
	v6only bool
	rx     atomic.Uint32            // bytes of the fifos that others make to it
	only   atomic.Pointer[Endpoint] // connected: the one it hears
	closed atomic.Bool

	// Senders hand a flow over when they put something into it that the
	// consumer does not know of, and number what they send, so that it comes
	// out in the order in which it came.
	stack   atomic.Pointer[flow] // handed over, newest first
	held    atomic.Uint32        // 1: the consumer has flows, or is about to take some
	tickets atomic.Uint64        // datagrams, before they are there
	arrived atomic.Uint32        // datagrams, once they are there
	event   atomic.Uint32        // as a fifo's: 1, nobody need be told

	heads heads // the consumer's: flows that are not empty, by their next

	// The producer's.
	out     map[Endpoint]*flow
	sweep   int // entries of out when those of closed receivers are dropped next
	last    *flow
	full    *flow         // that block was called for last
	blocked atomic.Uint32 // 1: a send found no room, and nobody told of any since
}

func newDgram(s *Session) *dgram {
	d := &dgram{}
	d.refs.Store(1)
	d.target.Store(uint64(s.handle))
	d.rx.Store(s.opt.rx)
	d.event.Store(1)
	return d
}

// flow is the fifo from one session of datagrams to another. Each message in it
// has a header.
type flow struct {
	refs     atomic.Int32 // the producer's, the consumer's, and of who waits for room
	f        fifo.Fifo
	from, to *dgram
	src, dst Endpoint
	// active is 1 while the consumer knows that the flow is not empty. A producer
	// publishes and then looks; the consumer that has drained it clears it and
	// then looks for more.
	active atomic.Uint32
	next   *flow // in the receiver's stack
}

// headerSize is what a datagram takes in a fifo beside its payload: the number
// that its receiver gave it and its length.
const headerSize = 16

func (f *flow) unref() {
	if f.refs.Add(-1) == 0 {
		f.f.Free()
	}
}

// gone reports whether the receiver was closed. Any thread.
func (f *flow) gone() bool { return f.to.closed.Load() }

// hears reports whether the receiver takes what src sends.
func (d *dgram) hears(src Endpoint) bool {
	o := d.only.Load()
	return o == nil || *o == src
}

// most is the longest datagram that a fifo of a size can hold.
func most(size int) int { return min(size-headerSize, MaxDatagram) }

// ports is who is bound where. It takes no part in what is sent to a peer that
// was sent to before.
type ports struct {
	byPort [256]atomic.Pointer[[256]atomic.Pointer[[]*dgram]] // each list replaced whole
}

// at is the place of a port's list, nil if there was never one.
func (y *ports) at(port uint16) *atomic.Pointer[[]*dgram] {
	if page := y.byPort[port>>8].Load(); page != nil {
		return &page[port&0xff]
	}
	return nil
}

// change replaces the list of a port; change may be called again. False: by its
// wish it stays.
func (y *ports) change(port uint16, change func([]*dgram) ([]*dgram, bool)) bool {
	at := y.at(port)
	if at == nil {
		y.byPort[port>>8].CompareAndSwap(nil, new([256]atomic.Pointer[[]*dgram]))
		at = y.at(port)
	}
	for {
		old := at.Load()
		var list []*dgram
		if old != nil {
			list = append(list, *old...)
		}
		list, ok := change(list)
		if !ok {
			return false
		}
		if sched.Enabled {
			sched.Point("datagram: between who is bound and the swap")
		}
		if at.CompareAndSwap(old, &list) {
			return true
		}
	}
}

// enter binds d; false: its endpoint is taken. Of those that leaving says of that
// they are on their way out none takes any.
func (y *ports) enter(d *dgram, leaving func(Handle) bool) bool {
	return y.change(d.ep.Port(), func(list []*dgram) ([]*dgram, bool) {
		list = slices.DeleteFunc(list, func(o *dgram) bool { return leaving(Handle(o.target.Load())) })
		for _, o := range list {
			if overlap(o.ep.Addr(), o.v6only, d.ep.Addr(), d.v6only) {
				return nil, false
			}
		}
		return append(list, d), true
	})
}

func (y *ports) leave(d *dgram) {
	y.change(d.ep.Port(), func(list []*dgram) ([]*dgram, bool) {
		for i, o := range list {
			if o == d {
				return append(list[:i], list[i+1:]...), true
			}
		}
		return nil, false
	})
}

// find is who is bound where ep leads, or nil.
func (y *ports) find(ep Endpoint) *dgram {
	at := y.at(ep.Port())
	if at == nil {
		return nil
	}
	if list := at.Load(); list != nil {
		for _, o := range *list {
			// Of those who are bound none overlaps another.
			if overlap(o.ep.Addr(), o.v6only, ep.Addr(), true) {
				return o
			}
		}
	}
	return nil
}

// bindDgram binds a session of datagrams, which hears from then on.
func (t *Thread) bindDgram(s *Session, ep Endpoint) error {
	d := s.dg
	d.v6only = s.opt.is(optV6only)
	y := &t.w.app.layer
	for range nPorts {
		if d.ep = ep; ep.Port() == 0 {
			d.ep = y.ephemeral(ep.Addr())
		}
		if y.bound.enter(d, y.app.leaving) {
			if sched.Enabled {
				sched.Point("datagram: bound, before its session is")
			}
			s.local = d.ep
			s.state.Store(uint32(StateListen))
			s.others(func(o *Session) {
				o.local = s.local
				o.state.Store(uint32(StateListen))
			})
			return nil
		}
		if ep.Port() != 0 {
			break
		}
	}
	return syscall.EADDRINUSE
}

// connectDgram makes ep the one that a session of datagrams talks with.
func (t *Thread) connectDgram(s *Session, ep Endpoint) syscall.Errno {
	d := s.dg
	if !s.local.IsValid() {
		if err := t.bindDgram(s, netip.AddrPortFrom(ep.Addr(), 0)); err != nil {
			return err.(syscall.Errno)
		}
	}
	s.local, s.remote = source(s.local, ep), ep
	d.only.Store(&ep)
	s.err.Store(0)
	s.state.Store(uint32(StateReady))
	return 0
}

// source is the endpoint that dst sees of who is bound at local.
func source(local, dst Endpoint) Endpoint {
	if local.Addr().IsUnspecified() {
		return netip.AddrPortFrom(dst.Addr(), local.Port())
	}
	return local
}

// Sendto sends p to an endpoint, or without one to the peer, which is then
// [Thread.Write]: on a stream that is all it does. A datagram goes whole, waiting
// for room unless the session is non-blocking; if nobody is there to hear it it
// is lost, and a connected session learns of it by its next send or receive,
// ECONNREFUSED. A session that was not bound binds itself. EINVAL: an endpoint
// for a stream or a connected session, or no port. EDESTADDRREQ: none, and not
// connected. EMSGSIZE: longer than [MaxDatagram] or a fifo. EWOULDBLOCK, EPIPE,
// ENOTCONN, ENOMEM as from Write. EAFNOSUPPORT: flags, or the session is bound
// to an address that cannot reach ep. EBADFD: an epoll set. Session tx:
// exclusive. Session control: shared.
func (t *Thread) Sendto(s *Session, p []byte, flags int, ep Endpoint) (int, error) {
	switch {
	case s.epoll != nil:
		return 0, syscall.EBADFD
	case flags != 0:
		return 0, syscall.EAFNOSUPPORT
	case ep == Endpoint{}:
		return t.Write(s, p)
	case s.dg == nil:
		return 0, syscall.EINVAL
	}
	if ep = destination(ep); !ep.Addr().IsValid() || ep.Port() == 0 {
		return 0, syscall.EINVAL
	}
	return t.send(s, p, ep)
}

// send sends a datagram, to the peer if ep is zero.
func (t *Thread) send(s *Session, p []byte, ep Endpoint) (int, error) {
	defer t.done()
	for {
		full, err := t.trySend(s, p, ep)
		if full == nil {
			if err != nil {
				return 0, err
			}
			return len(p), nil
		}
		if s.flags.Load()&fNonblock != 0 {
			return 0, syscall.EWOULDBLOCK
		}
		full.refs.Add(1)
		t.flow = full
		err = t.wait(s, waitSend, headerSize+len(p))
		if err == ErrWait {
			return 0, err // and Later is done with the flow
		}
		t.flow = nil
		full.unref()
		if err != nil {
			return 0, err
		}
	}
}

// Binds reports whether a Sendto would bind the session, for which it needs the
// control: exclusive. Any thread that has the session.
func (s *Session) Binds() bool {
	return s.flags.Load()&fDgram != 0 && State(s.state.Load()) == StateClosed
}

// trySend sends a datagram, or returns the flow that has no room for it.
func (t *Thread) trySend(s *Session, p []byte, ep Endpoint) (full *flow, err error) {
	s.ctlAudit.Enter("session control", audit.Shared)
	defer s.ctlAudit.Leave(audit.Shared)
	s.txAudit.Enter("session tx", audit.Exclusive)
	defer s.txAudit.Leave(audit.Exclusive)
	addressed := ep.IsValid()
	switch State(s.state.Load()) {
	case StateReady:
		if addressed {
			return nil, syscall.EINVAL
		}
		ep = s.remote
	case StateListen:
		if !addressed {
			return nil, syscall.EDESTADDRREQ
		}
	default:
		if !addressed {
			return nil, syscall.ENOTCONN
		}
	}
	if len(p) > MaxDatagram {
		return nil, syscall.EMSGSIZE
	}
	// As in Linux what went wrong before comes first.
	if err := s.takeErr(); err != nil {
		return nil, err
	}
	if s.flags.Load()&fWrShut != 0 {
		return nil, syscall.EPIPE
	}
	if !s.local.IsValid() {
		if err := t.bindDgram(s, netip.AddrPortFrom(anyAddr(ep.Addr()), 0)); err != nil {
			return nil, err
		}
	} else if !s.reaches(ep) {
		return nil, syscall.EAFNOSUPPORT
	}
	f, err := t.flowTo(s, ep)
	switch {
	case err != nil:
		return nil, err
	case f == nil:
		t.unheard(s)
		return nil, nil
	case len(p) > most(f.f.Size()):
		return nil, syscall.EMSGSIZE
	}
	for {
		heard, err := t.put(f, p)
		switch {
		case err == fifo.ErrFull:
			if s.block(f, headerSize+len(p)) {
				return f, nil
			}
			continue
		case err != nil:
			return nil, syscall.ENOMEM
		case !heard:
			t.unheard(s)
		}
		return nil, nil
	}
}

// flowTo is the flow to who is bound at dst, nil if nobody is. ENOMEM. Session
// tx: exclusive.
func (t *Thread) flowTo(s *Session, dst Endpoint) (*flow, error) {
	d := s.dg
	if f := d.last; f != nil && f.dst == dst && !f.gone() {
		return f, nil
	}
	if f := d.out[dst]; f != nil {
		if !f.gone() {
			d.last = f
			return f, nil
		}
		d.forget(f)
	}
	a := t.w.app
	to, src := a.layer.bound.find(dst), source(s.local, dst)
	if to == nil || !to.hears(src) {
		return nil, nil
	}
	if len(d.out) >= d.sweep {
		d.forgetGone()
	}
	size := int(max(s.opt.tx, to.rx.Load()))
	ff, err := fifo.New(a.seg, size, a.order)
	if err != nil {
		d.forgetGone()
		if ff, err = fifo.New(a.seg, size, a.order); err != nil {
			return nil, syscall.ENOMEM
		}
	}
	f := &flow{f: ff, from: d, to: to, src: src, dst: dst}
	f.refs.Store(1)
	if d.out == nil {
		d.out = make(map[Endpoint]*flow)
	}
	d.out[dst], d.last = f, f
	return f, nil
}

// forget drops the producer's hold of a flow.
func (d *dgram) forget(f *flow) {
	delete(d.out, f.dst)
	if d.last == f {
		d.last = nil
	}
	if d.full == f {
		d.full = nil
	}
	f.unref()
}

// forgetGone drops the flows to receivers that were closed, and says when to do
// so next: it costs a share of what the entries since then have cost.
func (d *dgram) forgetGone() {
	for _, f := range d.out {
		if f.gone() {
			d.forget(f)
		}
	}
	d.sweep = max(16, 2*len(d.out))
}

// put puts a datagram into a flow; false: nobody is there to hear it. Session
// tx: exclusive.
func (t *Thread) put(f *flow, p []byte) (heard bool, err error) {
	to := f.to
	if f.gone() || !to.hears(f.src) {
		return false, nil
	}
	var header [headerSize]byte
	binary.NativeEndian.PutUint64(header[:], to.tickets.Add(1))
	binary.NativeEndian.PutUint32(header[8:], uint32(len(p)))
	pieces := [2][]byte{header[:], p}
	if _, err := f.f.EnqueueSegments(pieces[:], false); err != nil {
		return false, err
	}
	to.arrived.Add(1) // and the fence between the publication and the look
	if f.active.Load() == 0 && !f.handOver() {
		return false, nil
	}
	// Where a stopped thread must not keep news from others, who finds the flag
	// set cannot know that it was told.
	if t.w.app.hooks.Free || to.event.Load() == 0 && to.event.CompareAndSwap(0, 1) {
		t.post(Handle(to.target.Load()), EventRx)
	}
	return true, nil
}

// handOver gives a flow into which something was put to the receiver, if that
// has let it go. False: the receiver was closed. Session tx: exclusive.
func (f *flow) handOver() bool {
	if !f.active.CompareAndSwap(0, 1) {
		return true // not yet, and it found what was put
	}
	if f.f.MaxDequeue() == 0 {
		// It has read that too before it let go. A flow that is handed over is
		// not empty: a session that is said to be readable is.
		f.active.Store(0)
		return true
	}
	f.refs.Add(1)
	if sched.Enabled {
		sched.Point("datagram: a flow is active, before it is handed over")
	}
	if !f.to.push(f) {
		f.unref()
		return false
	}
	// Once more: who has seen the first count may have found nothing then.
	f.to.arrived.Add(1)
	return true
}

// readable reports whether there is a datagram to receive. A thread that is stopped
// does not make it say so too early. Any thread.
func (d *dgram) readable() bool {
	f := d.stack.Load() // in this order: flows go from there to the consumer
	return f != nil && f != dgramClosed || d.held.Load() != 0
}

// dgramClosed ends the stack of a session that was closed.
var dgramClosed = new(flow)

// push hands a flow over; false: the receiver was closed.
func (d *dgram) push(f *flow) bool {
	for {
		old := d.stack.Load()
		if old == dgramClosed {
			return false
		}
		f.next = old
		if d.stack.CompareAndSwap(old, f) {
			return true
		}
	}
}

// block asks to be told of room for need bytes in a flow. False: there is by
// now, or the receiver is gone. Session tx: exclusive.
func (s *Session) block(f *flow, need int) bool {
	d := s.dg
	if d.full == f && d.blocked.Load() != 0 && f.f.Wanted() {
		return true // as was asked before
	}
	d.full = f
	d.blocked.Store(1)
	s.flags.Or(fFull)
	s.edge(&s.full, fullShift)
	f.f.WantNotify(max(need, f.f.Size()/4))
	hw.HeavyFence()
	if f.f.MaxEnqueue() < need && !f.gone() {
		return true
	}
	d.blocked.Store(0)
	return false
}

// unheard notes that nobody was there to hear a datagram.
func (t *Thread) unheard(s *Session) {
	if State(s.state.Load()) == StateReady && s.err.CompareAndSwap(0, uint32(syscall.ECONNREFUSED)) {
		s.flags.Or(fFailed)
		s.edge(&s.failed, failedShift)
		t.post(s.handle, EventReset)
	}
}

// takeErr takes what unheard noted.
func (s *Session) takeErr() error {
	if s.err.Load() != 0 {
		if e := s.err.Swap(0); e != 0 {
			return syscall.Errno(e)
		}
	}
	return nil
}

// Recvfrom is [Thread.Read] with the sender's endpoint, on a stream the peer's.
// With MSG_PEEK what is read stays. It waits for something to read with len(p)
// 0 too, as recv does and read does not. Of datagrams it reads one, the rest of
// which is dropped if it is longer than p; one of no bytes is read too.
// EAFNOSUPPORT: other flags. Errors are those of Read, and ECONNREFUSED, which
// says that what a connected session sent before was not heard. Session rx:
// exclusive. Session control: shared.
func (t *Thread) Recvfrom(s *Session, p []byte, flags int) (int, Endpoint, error) {
	switch {
	case s.epoll != nil:
		return 0, Endpoint{}, syscall.EBADFD
	case flags&^MSG_PEEK != 0:
		return 0, Endpoint{}, syscall.EAFNOSUPPORT
	case s.dg != nil:
		return t.recv(s, p, flags != 0)
	}
	peer := s.remote // after a wait nothing is held
	var n int
	var err error
	if flags == 0 && len(p) > 0 {
		n, err = t.Read(s, p)
	} else {
		n, err = t.readSlow(s, p, true)
	}
	if err != nil {
		return 0, Endpoint{}, err
	}
	return n, peer, nil
}

// recv reads or peeks at a datagram.
func (t *Thread) recv(s *Session, p []byte, peek bool) (int, Endpoint, error) {
	defer t.done()
	if p == nil {
		return 0, Endpoint{}, syscall.EFAULT
	}
	for {
		if err := s.open(); err != nil {
			return 0, Endpoint{}, err
		}
		if err := s.takeErr(); err != nil {
			return 0, Endpoint{}, err
		}
		if n, src, ok := t.tryRecv(s, p, peek); ok {
			return n, src, nil
		}
		switch flags := s.flags.Load(); {
		case flags&fRdShut != 0:
			return 0, Endpoint{}, nil
		case flags&fNonblock != 0:
			return 0, Endpoint{}, syscall.EWOULDBLOCK
		}
		if err := t.wait(s, waitRecv, 0); err != nil {
			return 0, Endpoint{}, err
		}
	}
}

func (t *Thread) tryRecv(s *Session, p []byte, peek bool) (int, Endpoint, bool) {
	s.rxAudit.Enter("session rx", audit.Exclusive)
	defer s.rxAudit.Leave(audit.Exclusive)
	d := s.dg
	d.takeOver()
	if len(d.heads) == 0 {
		return 0, Endpoint{}, false
	}
	h := d.heads[0]
	n := min(len(p), h.len)
	if n > 0 {
		h.f.f.Peek(headerSize, p[:n])
	}
	if !peek {
		freed, _ := h.f.f.Drop(headerSize + h.len)
		if h.f.f.Wanted() && h.f.f.Notify(freed) {
			t.tellRoom(h.f)
		}
		d.advance()
	}
	return n, h.f.src, true
}

// tellRoom tells the sender that it may find room.
func (t *Thread) tellRoom(f *flow) {
	f.from.blocked.Store(0)
	t.post(Handle(f.from.target.Load()), EventTx)
}

// takeOver takes the flows that were handed over. Session rx: exclusive.
func (d *dgram) takeOver() {
	for {
		f := d.stack.Load()
		if f == nil || f == dgramClosed {
			return
		}
		if len(d.heads) == 0 {
			d.held.Store(1) // before the stack is empty
		}
		if sched.Enabled {
			sched.Point("datagram: between the flows handed over and their swap")
		}
		if !d.stack.CompareAndSwap(f, nil) {
			continue
		}
		if sched.Enabled {
			sched.Point("datagram: flows taken, before the receiver has them")
		}
		for f != nil {
			next := f.next
			f.next = nil
			d.heads.push(f.head())
			f = next
		}
		return
	}
}

// advance goes on after the first datagram was taken. Session rx: exclusive.
func (d *dgram) advance() {
	f := d.heads[0].f
	if f.f.MaxDequeue() == 0 && f.letGo() {
		if d.heads.pop(); len(d.heads) == 0 {
			d.held.Store(0)
		}
		f.unref()
		return
	}
	d.heads[0] = f.head()
	d.heads.down()
}

// letGo is the consumer's end of a flow that it found empty. False: something
// came meanwhile, and the flow is the consumer's still; if the producer has
// handed it over once more it is not. Session rx: exclusive.
func (f *flow) letGo() bool {
	f.active.Store(0)
	if sched.Enabled {
		sched.Point("datagram: a flow let go, before the look whether more came")
	}
	return f.f.MaxDequeue() == 0 || !f.active.CompareAndSwap(0, 1)
}

// head is the first datagram of a flow that is not empty, and the number that
// the receiver gave it.
type head struct {
	ticket uint64
	len    int
	f      *flow
}

func (f *flow) head() head {
	var header [headerSize]byte
	f.f.Peek(0, header[:])
	return head{binary.NativeEndian.Uint64(header[:]), int(binary.NativeEndian.Uint32(header[8:])), f}
}

// heads is a heap with the lowest ticket first.
type heads []head

func (q *heads) push(h head) {
	*q = append(*q, h)
	a := *q
	for i := len(a) - 1; i > 0; {
		up := (i - 1) / 2
		if a[up].ticket < a[i].ticket {
			break
		}
		a[up], a[i] = a[i], a[up]
		i = up
	}
}

func (q *heads) pop() {
	a := *q
	last := len(a) - 1
	a[0], a[last] = a[last], head{}
	*q = a[:last]
	q.down()
}

// down puts a first entry that may not belong there where it does.
func (q *heads) down() {
	a := *q
	for i := 0; ; {
		k := 2*i + 1
		if k+1 < len(a) && a[k+1].ticket < a[k].ticket {
			k++
		}
		if k >= len(a) || a[i].ticket < a[k].ticket {
			return
		}
		a[i], a[k] = a[k], a[i]
		i = k
	}
}

// nextLen is the length of the next datagram, 0 if there is none.
func (s *Session) nextLen() int {
	s.rxAudit.Enter("session rx", audit.Exclusive)
	defer s.rxAudit.Leave(audit.Exclusive)
	d := s.dg
	if d.takeOver(); len(d.heads) == 0 {
		return 0
	}
	return d.heads[0].len
}

// room is the longest datagram that can be sent now, to the peer if there is one.
func (s *Session) room() int {
	s.txAudit.Enter("session tx", audit.Exclusive)
	defer s.txAudit.Leave(audit.Exclusive)
	if State(s.state.Load()) == StateReady {
		if f := s.dg.out[s.remote]; f != nil && !f.gone() {
			return max(most(f.f.MaxEnqueue()), 0)
		}
	}
	return most(int(s.opt.tx))
}

// dgramLevel is [Session.level] of datagrams.
func (s *Session) dgramLevel(flags uint32) uint32 {
	var l uint32
	if s.err.Load() != 0 {
		l = EPOLLERR
	}
	if flags&fRdShut != 0 {
		l |= EPOLLIN | EPOLLRDHUP
		if flags&fWrShut != 0 {
			l |= EPOLLHUP
		}
	} else if s.dg.readable() {
		l |= EPOLLIN
	}
	if flags&fWrShut != 0 || s.dg.blocked.Load() == 0 {
		l |= EPOLLOUT
	}
	return l
}

// closeDgram ends what others send to a session, and drops what it did not read.
// What it sent itself can be read still. Session rx, tx, control: exclusive.
func (t *Thread) closeDgram(d *dgram) {
	d.target.Store(0)
	if d.ep.IsValid() {
		t.w.app.layer.bound.leave(d)
	}
	d.closed.Store(true)
	for f := d.stack.Swap(dgramClosed); f != nil; {
		next := f.next
		t.tellRoom(f)
		f.unref()
		f = next
	}
	for _, h := range d.heads {
		t.tellRoom(h.f)
		h.f.unref()
	}
	d.heads = nil
	d.held.Store(0)
}

// unref drops what a session sent through, once nobody uses it any more.
func (d *dgram) unref() {
	if d.refs.Add(-1) != 0 {
		return
	}
	for _, f := range d.out {
		f.unref()
	}
	d.out, d.last, d.full = nil, nil, nil
}
