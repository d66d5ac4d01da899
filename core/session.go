package core

import (
	"net/netip"
	"sync/atomic"
	"syscall"

	"vlsbench/audit"
	"vlsbench/fifo"
	"vlsbench/sched"
)

// State is where a session stands. It is changed by the session's own
// operations and by the dispatch of events, and may be read at any time.
type State uint32

const (
	// StateClosed: new, or its connection was refused.
	StateClosed State = iota
	// StateListen: accepts connections.
	StateListen
	// StateReady: connected both ways.
	StateReady
	// StateVPPClosing: the peer ended its stream; what is buffered can still be
	// read, and writing works until shut down.
	StateVPPClosing
	// StateDisconnect: reset.
	StateDisconnect
	// StateUpdated: the session layer has not answered its connect, or listen,
	// yet. It is told by a flag, and never stored.
	StateUpdated
)

var stateNames = [...]string{"CLOSED", "LISTEN", "READY", "VPP_CLOSING", "DISCONNECT", "UPDATED"}

func (s State) String() string { return stateNames[s] }

// Flags of a session.
const (
	fRead     = 1 << iota // connected, and reading was not shut down
	fWrite                // connected, and writing was not shut down
	fNonblock             // O_NONBLOCK
	fRdShut
	fWrShut
	fClosing  // closed: who still waits on it must leave
	fMember   // in a set
	fEpollOut // in a set that wants to be told of space
	fFull     // a write found no space since the set last looked
	fDgram    // UDP
	fPolled   // was in a Poll that slept
	fFailed   // an error was noted since the set last looked
)

// Bits of a fifo's status. They stand in the fifo, not in the session, so that
// the other end sees them with the data and in its order.
const (
	stEnd   = 1 << iota // the producer will write no more
	stReset             // the connection was reset
	stGone              // the consumer will read no more
)

// Session is one VCL session: an endpoint of a connection, a listener or an
// epoll set. See the package documentation for what must be excluded.
type Session struct {
	ctlAudit audit.Resource
	rxAudit  audit.Resource
	txAudit  audit.Resource
	setAudit audit.Resource

	// The data path reads these and writes none of them.
	flags  atomic.Uint32
	rx, tx fifo.Fifo

	place  uint32                 // index+1 of its slot; never changed
	life   atomic.Uint64          // who has it, where ends are claimed
	member atomic.Pointer[member] // as a member of a set without exclusion
	// News for that set which shows in no fifo, counted: a claim was met and has
	// ended, a write found no room, an error was noted.
	missed, full, failed atomic.Uint32

	state  atomic.Uint32
	refs   atomic.Int32 // the handle's, and one for each thread that waits
	w      *Worker
	handle Handle
	proto  Proto
	err    atomic.Uint32 // pending errno

	conn   *conn
	side   int
	lsn    *listener
	sh     atomic.Pointer[shared] // what it has in common with those that share it by fork
	dial   *request               // the connect or listen under way
	dg     *dgram                 // of datagrams, from Create on
	local  Endpoint
	remote Endpoint
	opt    options

	epi   epollItem    // as a member of a set
	epoll *epollSet    // as a set
	polls atomic.Int32 // entries of sleeping Polls

	// Owner is the strategy's own session; the strategy sets it while nobody
	// else can have the session.
	Owner any

	zombie *Session
}

// conn is what the two sessions of a connection share.
type conn struct {
	refs atomic.Int32
	// fifos[0] carries from the connector to the acceptor, fifos[1] back.
	fifos [2]fifo.Fifo
	// target[i] is the session that news for side i go to, or the shared data of
	// those they go to; 0: not accepted yet, or being handed over.
	target [2]atomic.Uint64
	ends   [2]Endpoint
	next   *conn // in a listener's queue
}

func (c *conn) unref() {
	if c.refs.Add(-1) == 0 {
		c.fifos[0].Free()
		c.fifos[1].Free()
	}
}

// Handle is the session's handle.
func (s *Session) Handle() Handle { return s.handle }

// State is the session's state.
func (s *Session) State() State {
	s.sync()
	if s.flags.Load()&(fDialing|fBinding) != 0 {
		return StateUpdated
	}
	return State(s.state.Load())
}

// IsEpoll reports whether the session is an epoll set.
func (s *Session) IsEpoll() bool { return s.epoll != nil }

// sync takes over what the other side wrote in the fifos. Any thread.
func (s *Session) sync() {
	st := State(s.state.Load())
	if st != StateReady && st != StateVPPClosing || s.proto != TCP {
		return
	}
	switch status := s.rx.Status(); {
	case status&stReset != 0:
		s.state.Store(uint32(StateDisconnect))
	case status&stEnd != 0 && st == StateReady:
		s.state.CompareAndSwap(uint32(StateReady), uint32(StateVPPClosing))
	}
}

// open returns the error of an operation that wants a connection, or an
// endpoint for datagrams.
func (s *Session) open() error {
	if s.flags.Load()&fClosing != 0 && s.epoll == nil {
		return syscall.ENOTCONN // or its process is dead
	}
	s.sync()
	switch State(s.state.Load()) {
	case StateReady, StateVPPClosing:
		return nil
	case StateDisconnect:
		return syscall.ECONNRESET
	case StateListen:
		if s.dg != nil {
			return nil
		}
	}
	if s.epoll != nil {
		return syscall.EBADFD
	}
	return syscall.ENOTCONN
}

// alloc makes a session. Session pool: exclusive.
func (t *Thread) alloc(p Proto, nonblocking bool) (*Session, error) {
	w := t.w
	if !w.app.hooks.Free {
		w.poolAudit.Enter("session pool", audit.Exclusive)
		defer w.poolAudit.Leave(audit.Exclusive)
	}
	s, err := t.unpublished(p, nonblocking)
	if err == nil {
		if sched.Enabled {
			sched.Point("core: slot taken, before its handle is known")
		}
		w.sessions.Publish(uint64(s.handle))
	}
	return s, err
}

// unpublished makes a session that nobody finds yet.
func (t *Thread) unpublished(p Proto, nonblocking bool) (*Session, error) {
	w := t.w
	var h uint64
	var s *Session
	if w.app.hooks.Free {
		h, s = w.sessions.Take()
	} else {
		w.reap()
		h, s = w.sessions.Alloc()
	}
	if s == nil {
		return nil, syscall.ENOMEM
	}
	s.w, s.handle, s.proto = w, Handle(h), p
	s.born()
	s.state.Store(uint32(StateClosed))
	s.err.Store(0)
	var flags uint32
	if nonblocking {
		flags = fNonblock
	}
	s.opt = w.app.options()
	if p == UDP {
		flags |= fDgram
		s.dg = newDgram(s)
	}
	s.flags.Store(flags)
	return s, nil
}

// release drops what a session that nobody uses any more still has.
func (s *Session) release() {
	if s.conn != nil {
		s.conn.unref()
	}
	if s.dg != nil {
		s.dg.unref()
	}
	s.conn, s.lsn, s.dg, s.epoll = nil, nil, nil, nil
	s.forget()
	s.rx, s.tx = fifo.Fifo{}, fifo.Fifo{}
	s.local, s.remote = Endpoint{}, Endpoint{}
	s.epi = epollItem{}
	s.member.Store(nil)
	s.zombie, s.Owner = nil, nil
}

// Create makes a CLOSED session. EAFNOSUPPORT: unknown protocol. ENOMEM: the
// pool is full. Session pool: exclusive.
func (t *Thread) Create(p Proto, nonblocking bool) (*Session, error) {
	if p != TCP && p != UDP {
		return nil, syscall.EAFNOSUPPORT
	}
	return t.alloc(p, nonblocking)
}

// Bind gives the session its local endpoint; port 0 takes a free one. A session
// of datagrams hears from there at once. EINVAL: no address, or already bound.
// EADDRINUSE: datagrams of another go there; a stream finds out when it listens.
// EBADFD: an epoll set. Session control: exclusive.
func (t *Thread) Bind(s *Session, ep Endpoint) error {
	s.ctlAudit.Enter("session control", audit.Exclusive)
	defer s.ctlAudit.Leave(audit.Exclusive)
	if s.epoll != nil {
		return syscall.EBADFD
	}
	ep = unmap(ep)
	if !ep.Addr().IsValid() || s.local.IsValid() || State(s.state.Load()) != StateClosed {
		return syscall.EINVAL
	}
	if s.dg != nil {
		return t.bindDgram(s, ep)
	}
	if ep.Port() == 0 {
		ep = t.w.app.layer.ephemeral(ep.Addr())
	}
	if sched.Enabled {
		sched.Point("core: before the endpoint is the session's")
	}
	s.local = ep
	s.spread()
	return nil
}

// Listen makes a bound session accept, with up to backlog connections that
// wait; on a listener it sets the backlog anew. On a bound session of datagrams
// it changes nothing. EINVAL: not bound, or connected. EADDRINUSE: another
// listener has the endpoint. ETIMEDOUT: the session layer did not answer within
// the session timeout. ENOTCONN: closed meanwhile. EBADFD: an epoll set. Session
// control: exclusive.
func (t *Thread) Listen(s *Session, backlog int) error {
	defer t.done()
	s.ctlAudit.Enter("session control", audit.Exclusive)
	defer t.leaveControl(s)
	switch {
	case s.epoll != nil:
		return syscall.EBADFD
	case s.lsn != nil:
		s.lsn.setBacklog(backlog)
		s.spread()
		return nil
	case s.dg != nil && State(s.state.Load()) == StateListen:
		return nil
	case s.flags.Load()&fBinding != 0:
		// As another thread asked for just now.
		err := t.awaitListen(s, s.dial)
		if err == nil {
			s.lsn.setBacklog(backlog)
			s.spread()
		}
		return err
	case State(s.state.Load()) != StateClosed || !s.local.IsValid() || s.flags.Load()&fDialing != 0:
		return syscall.EINVAL
	}
	l := &listener{ep: s.local, target: s.handle, v6only: s.opt.is(optV6only), reuse: s.opt.is(optReuseport)}
	l.setBacklog(backlog)
	l.setFifos(s.opt)
	return t.bindListener(s, l)
}

// listens makes a session listen, once the session layer knows its listener.
func (s *Session) listens(l *listener) {
	if sched.Enabled {
		sched.Point("core: listener known, before its session listens")
	}
	s.lsn = l
	s.state.Store(uint32(StateListen))
	s.spread()
}

// Connect connects to a listener. Where the session layer runs in the calling
// thread the answer is there at once; a non-blocking connect gives it as an
// event all the same, after EINPROGRESS. READY: nil. EINVAL: the session
// listens, or no address. EAFNOSUPPORT: the session is bound to one that cannot
// reach it. EALREADY: connecting already. ECONNREFUSED: nobody listens, or its
// backlog is full. ETIMEDOUT: the session layer did not answer within the
// session timeout. ENOTCONN: closed meanwhile. ENOMEM: no room for fifos. EBADFD:
// an epoll set.
//
// A session of datagrams hears from its peer alone from then on, and sends to
// it; whether anybody is there does not matter, and it may be connected anew.
// Session control: exclusive.
func (t *Thread) Connect(s *Session, ep Endpoint) error {
	defer t.done()
	s.ctlAudit.Enter("session control", audit.Exclusive)
	defer t.leaveControl(s)
	if s.epoll != nil {
		return syscall.EBADFD
	}
	if s.dg == nil {
		s.sync()
		switch State(s.state.Load()) {
		case StateReady, StateVPPClosing:
			return nil
		case StateListen:
			return syscall.EINVAL
		case StateDisconnect:
			return syscall.ECONNRESET
		}
	}
	ep = destination(ep)
	if !ep.Addr().IsValid() || ep.Port() == 0 {
		return syscall.EINVAL
	}
	if flags := s.flags.Load(); flags&fDialing != 0 {
		return syscall.EALREADY
	} else if flags&fBinding != 0 {
		return syscall.EINVAL
	}
	if !s.reaches(ep) {
		return syscall.EAFNOSUPPORT
	}
	if s.dg != nil {
		return t.connectOver(s, t.connectDgram(s, ep))
	}
	return t.connect(s, ep)
}

// attach makes s the given side of a connection.
func (s *Session) attach(c *conn, side int) {
	s.local, s.remote = c.ends[side], c.ends[1-side]
	s.connected(c, side)
}

// connected is attach of a session that has its endpoints already.
func (s *Session) connected(c *conn, side int) {
	s.conn, s.side = c, side
	s.tx, s.rx = c.fifos[side], c.fifos[1-side]
	if sched.Enabled {
		sched.Point("core: connection made, before the session is ready")
	}
	// In this order: who finds it open may shut it down.
	s.flags.Or(fRead | fWrite)
	s.state.Store(uint32(StateReady))
}

// hasConn reports whether the session is, or was, connected: whether conn is
// there to be looked at. Any thread.
func (s *Session) hasConn() bool {
	return s.proto == TCP && State(s.state.Load()) >= StateReady
}

// peer is the session at the other side, 0 if it was not accepted yet.
func (s *Session) peer() Handle { return Handle(s.conn.target[1-s.side].Load()) }

// Accept takes the oldest connection that waits on a listener, in whatever
// state it is by now. flags may hold O_NONBLOCK, for the new session. EBADFD:
// not a listener. EOPNOTSUPP: of datagrams. EAGAIN: none, and non-blocking.
// ENOMEM: the pool is full; the connection goes on waiting. ENOTCONN: closed
// meanwhile. The listener's session control: exclusive. Session pool: exclusive.
func (t *Thread) Accept(l *Session, flags int) (*Session, error) {
	defer t.done()
	for {
		s, err := t.tryAccept(l, flags)
		if err != syscall.EAGAIN || l.flags.Load()&fNonblock != 0 {
			return s, err
		}
		if err := t.wait(l, waitAccept, 0); err != nil {
			return nil, err
		}
	}
}

func (t *Thread) tryAccept(l *Session, flags int) (*Session, error) {
	l.ctlAudit.Enter("session control", audit.Exclusive)
	defer l.ctlAudit.Leave(audit.Exclusive)
	if State(l.state.Load()) != StateListen {
		return nil, syscall.EBADFD
	}
	if l.dg != nil {
		return nil, syscall.EOPNOTSUPP
	}
	t.serve(l)
	c := l.lsn.pop()
	if c == nil {
		return nil, syscall.EAGAIN
	}
	s, err := t.accepted(l, c, flags&syscall.O_NONBLOCK != 0)
	if err != nil {
		l.lsn.unpop(c)
		// Who looked meanwhile may have missed it.
		t.post(l.handle, EventAccepted)
		return nil, err
	}
	if sched.Enabled {
		sched.Point("core: accepted, before the other side knows")
	}
	c.target[1].Store(uint64(s.handle))
	return s, nil
}

// accepted makes the session of a connection that waited at l.
func (t *Thread) accepted(l *Session, c *conn, nonblocking bool) (*Session, error) {
	w := t.w
	if !w.app.hooks.Free {
		w.poolAudit.Enter("session pool", audit.Exclusive)
		defer w.poolAudit.Leave(audit.Exclusive)
	}
	s, err := t.unpublished(l.proto, nonblocking)
	if err == nil {
		s.opt = l.opt
		s.attach(c, 1)
		w.sessions.Publish(uint64(s.handle))
	}
	return s, err
}

// Remote and Local are the session's endpoints; the zero Endpoint where there
// is none. Session control: exclusive, since sending a datagram may bind.
func (s *Session) Remote() Endpoint { return s.remote }

// Local is the session's own endpoint.
func (s *Session) Local() Endpoint { return s.local }

// Shutdown ends reading, writing or both. EBADFD: a listener or an epoll set.
// ENOTCONN: not connected. EINVAL: how. Session control: exclusive.
func (t *Thread) Shutdown(s *Session, how int) error {
	s.ctlAudit.Enter("session control", audit.Exclusive)
	defer s.ctlAudit.Leave(audit.Exclusive)
	if sched.Enabled {
		sched.Point("core: before a direction is shut down")
	}
	if s.epoll != nil || State(s.state.Load()) == StateListen {
		return syscall.EBADFD
	}
	if how != syscall.SHUT_RD && how != syscall.SHUT_WR && how != syscall.SHUT_RDWR {
		return syscall.EINVAL
	}
	if err := s.open(); err != nil {
		return err
	}
	if how != syscall.SHUT_WR {
		s.flags.And(^uint32(fRead))
		s.flags.Or(fRdShut)
	}
	if how != syscall.SHUT_RD {
		s.flags.And(^uint32(fWrite))
		s.flags.Or(fWrShut)
		if s.conn != nil {
			s.tx.OrStatus(stEnd)
			t.post(s.peer(), EventDisconnected)
		}
	}
	s.spread()
	// Others may wait for what will not come.
	t.post(s.self(), EventShutdown)
	return nil
}

// Close closes a session or an epoll set. Its handle is stale from then on, and
// threads that wait on it leave with ENOTCONN, on a set with EBADFD. What was
// written is delivered before the peer sees the end; with unread data the peer
// is reset. Of several workers that share a session the last one that closes it
// does that; the others leave it to the rest. All of the session, and the
// session pool: exclusive.
func (t *Thread) Close(s *Session) error {
	w := t.w
	s.ctlAudit.Enter("session control", audit.Exclusive)
	s.rxAudit.Enter("session rx", audit.Exclusive)
	s.txAudit.Enter("session tx", audit.Exclusive)
	w.poolAudit.Enter("session pool", audit.Exclusive)
	h := s.handle

	t.enterMQ()
	s.flags.Or(fClosing)
	s.flags.And(^uint32(fRead | fWrite))
	if s.epi.set != nil {
		s.epi.set.epoll.remove(s)
	}
	if s.epoll != nil {
		s.epoll.clear()
	}
	if sched.Enabled {
		sched.Point("core: marked as closed, before its handle is stale")
	}
	w.sessions.Invalidate(uint64(h))
	t.wake(s)
	t.leaveMQ()

	t.ended(s)
	s.rxAudit.Leave(audit.Exclusive)
	s.txAudit.Leave(audit.Exclusive)
	s.ctlAudit.Leave(audit.Exclusive)
	w.unref(s)
	w.reap()
	w.poolAudit.Leave(audit.Exclusive)
	return nil
}

// ended tells the other side, and those that share the session, of its end. It
// reports whether nobody shares it any more.
func (t *Thread) ended(s *Session) (last bool) {
	t.hangUp(s)
	last = t.unshare(s)
	switch {
	case s.lsn != nil:
		t.unlisten(s, last)
	case s.conn != nil && last:
		s.sync()
		if State(s.state.Load()) == StateDisconnect {
			break
		}
		if s.rx.MaxDequeue() > 0 {
			s.rx.OrStatus(stReset)
			s.tx.OrStatus(stReset | stEnd)
			t.post(s.peer(), EventReset)
			break
		}
		s.rx.OrStatus(stGone)
		s.tx.OrStatus(stEnd)
		t.post(s.peer(), EventDisconnected)
	case s.dg != nil && last:
		t.closeDgram(s.dg)
	}
	return last
}

// BeginClose is for a strategy that closes in two phases: it marks a session as
// closing, ahead of [Thread.Close], so that threads which wait on it leave, and
// none waits any more. Its slot stays what it is until EndClose, even when the
// session was closed in between. Several may close one at once, each with its
// own pair; first is true to the one of them who marked it. Worker mq: entered
// and left inside.
func (t *Thread) BeginClose(s *Session) (first bool) {
	t.enterMQ()
	s.refs.Add(1)
	first = s.flags.Or(fClosing)&fClosing == 0
	if sched.Enabled {
		sched.Point("core: marked as closing, before who waits is woken")
	}
	t.wake(s)
	t.leaveMQ()
	return first
}

// Closing reports whether the session was marked by [Thread.BeginClose] or
// [Worker.Doom], or is closed. Any thread.
func (s *Session) Closing() bool { return s.flags.Load()&fClosing != 0 }

// EndClose ends BeginClose, once nobody can be looking at the session who found
// it by its handle.
func (t *Thread) EndClose(s *Session) { t.w.unref(s) }

// refuse resets a connection that was never accepted.
func (t *Thread) refuse(c *conn) {
	c.fifos[0].OrStatus(stReset)
	c.fifos[1].OrStatus(stReset)
	t.post(Handle(c.target[0].Load()), EventReset)
	c.unref()
}

// anyAddr is the unspecified address of a's family.
func anyAddr(a netip.Addr) netip.Addr {
	if a.Unmap().Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// unmap is ep with an IPv4 address as such, not wrapped in IPv6.
func unmap(ep Endpoint) Endpoint { return netip.AddrPortFrom(ep.Addr().Unmap(), ep.Port()) }

// destination is ep as one to send to: no address means this machine.
func destination(ep Endpoint) Endpoint {
	switch ep = unmap(ep); ep.Addr() {
	case netip.IPv4Unspecified():
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), ep.Port())
	case netip.IPv6Unspecified():
		return netip.AddrPortFrom(netip.IPv6Loopback(), ep.Port())
	}
	return ep
}

// reaches reports whether the session can talk to ep from where it is bound.
func (s *Session) reaches(ep Endpoint) bool {
	own := s.local.Addr()
	return !own.IsValid() || own.Is4() == ep.Addr().Is4() ||
		own == netip.IPv6Unspecified() && !s.opt.is(optV6only)
}
