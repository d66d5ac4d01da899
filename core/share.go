package core

import (
	"slices"
	"sync/atomic"

	"vlsbench/audit"
)

// Flags of a session, from the other end of the word.
const (
	fServes  = 1 << 31 // a listener that was accepted from, or that a set or a select has asked about
	fDialing = 1 << 30 // the session layer has not answered its connect yet
	fMoved   = 1 << 29 // given away: who waits on it must look for it elsewhere
	fBinding = 1 << 28 // the session layer has not answered its listen yet
)

// shared is what the sessions have in common that one session has become by
// fork. Each worker has a session of its own, with its own waiters, sets and
// fate, for one and the same connection or listener; who touches one
// exclusively must have them all to itself.
type shared struct {
	ctlAudit audit.Resource
	rxAudit  audit.Resource
	txAudit  audit.Resource

	// handle is what news for any of them is sent to.
	handle   Handle
	claim    atomic.Uint64 // as a session's life: who is inside, in whatever process
	audience atomic.Pointer[audience]
	leaving  atomic.Pointer[Session] // to end, where others are inside; linked by zombie
}

// audience are the sessions that share one, in the order in which they came to
// it: the first is the owner. It is never changed; a change makes another.
type audience struct {
	of     Handle
	who    []Handle
	adrift []*Session // of them, those on their way to another worker
}

// sharedIndex is the worker index in handles of shared data.
const sharedIndex = 255

// self is where news for s goes that all who share it must hear.
func (s *Session) self() Handle {
	if sh := s.sh.Load(); sh != nil {
		return sh.handle
	}
	return s.handle
}

// others calls f for the other sessions that share this one.
func (s *Session) others(f func(o *Session)) {
	if s.sh.Load() == nil {
		return
	}
	a := s.sh.Load().audience.Load()
	for _, h := range a.who {
		if o := s.w.app.session(h); o != nil && o != s {
			f(o)
		}
	}
	for _, o := range a.adrift {
		f(o)
	}
}

// change makes the audience another.
func (sh *shared) change(f func(a *audience)) {
	old := sh.audience.Load()
	a := &audience{of: sh.handle, who: slices.Clone(old.who), adrift: slices.Clone(old.adrift)}
	f(a)
	sh.audience.Store(a)
}

// session is the session with that key, or nil. That it stays what it is is the
// caller's to see to.
func (a *App) session(h Handle) *Session {
	if w := a.workers[h.Worker()].Load(); w != nil {
		return w.sessions.Key(uint64(h))
	}
	return nil
}

// leaving reports whether a session that does without exclusion, or all that share
// one, of which this is the key, are closed: who is inside of one, or ends it, may be
// stopped, and keeps its endpoint from nobody. Any thread.
func (a *App) leaving(target Handle) bool {
	if !a.hooks.Free {
		return false
	}
	if target.Worker() == sharedIndex {
		sh := a.shared.Key(uint64(target))
		return sh == nil || a.allClosing(sh)
	}
	if target == 0 {
		return true // of datagrams: it is about to end
	}
	if !a.closing(target) {
		return false
	}
	// In this order: who forks makes a session one that is shared, and its image one
	// of those that share it, which is not found before he has looked whether the
	// session is closing.
	s := a.session(target)
	if s == nil {
		return false // it has ended, and listens no more
	}
	sh := s.sh.Load()
	return sh == nil || a.allClosing(sh)
}

func (a *App) allClosing(sh *shared) bool {
	of := sh.audience.Load()
	return of == nil || !slices.ContainsFunc(of.who, func(h Handle) bool { return !a.closing(h) })
}

// closing reports whether the session with that key is there, and closing.
func (a *App) closing(h Handle) bool {
	s := a.session(h)
	if s == nil {
		return false
	}
	l := s.life.Load()
	return l>>lifeGen == uint64(h)>>32 && l&lifeClosing != 0
}

// OwnerWorker is the index of the worker that the session belongs to: of several
// that share it the one that has had it longest. Session control: shared.
func (s *Session) OwnerWorker() uint32 { return s.owner().w.index }

func (s *Session) owner() *Session {
	if s.sh.Load() == nil {
		return s
	}
	a := s.sh.Load().audience.Load()
	if o := s.w.app.session(a.who[0]); o != nil {
		return o
	}
	for _, o := range a.adrift {
		if o.handle == a.who[0] {
			return o
		}
	}
	return s
}

// spreads are the flags that sessions which share one have alike, as the file
// description behind two descriptors has them.
const spreads = fRead | fWrite | fNonblock | fRdShut | fWrShut | fDgram

// spread makes those that share s what s has become.
func (s *Session) spread() {
	if s.sh.Load() == nil {
		return
	}
	s.others(func(o *Session) {
		o.local, o.remote, o.opt = s.local, s.remote, s.opt
		switch {
		case s.conn != nil && o.conn == nil:
			s.conn.refs.Add(1)
			o.connected(s.conn, s.side)
		case s.lsn != nil && o.lsn == nil:
			o.lsn = s.lsn.passive(o.handle)
			o.state.Store(uint32(StateListen))
		case s.lsn != nil:
			o.lsn.backlog.Store(s.lsn.backlog.Load())
			o.lsn.setFifos(s.opt)
		case s.dg != nil:
			o.state.Store(s.state.Load())
		}
		f := s.flags.Load() & spreads
		o.flags.Or(f)
		o.flags.And(f | ^uint32(spreads))
	})
	if s.conn != nil {
		s.conn.target[s.side].Store(uint64(s.sh.Load().handle))
	}
}

// forget ends what a session had in common with others, when nobody uses it any
// more.
func (s *Session) forget() {
	s.dial = nil
	s.sh.Store(nil)
	s.ctlAudit.PartOf(nil)
	s.rxAudit.PartOf(nil)
	s.txAudit.PartOf(nil)
}

// join makes s, in which nobody is, one of those that share sh.
func (s *Session) join(sh *shared) {
	s.partOf(sh)
	if a := sh.audience.Load(); a == nil || a.of != sh.handle {
		sh.audience.Store(&audience{of: sh.handle})
	}
	sh.change(func(a *audience) { a.who = append(a.who, s.handle) })
}

func (s *Session) partOf(sh *shared) {
	s.sh.Store(sh)
	s.ctlAudit.PartOf(&sh.ctlAudit)
	s.rxAudit.PartOf(&sh.rxAudit)
	s.txAudit.PartOf(&sh.txAudit)
}

// allocShared makes the data of a session that is to be shared; nil: there is
// no room. Shared data: exclusive.
func (a *App) allocShared() *shared {
	var h uint64
	var sh *shared
	if a.hooks.Free {
		h, sh = a.shared.Take()
	} else {
		h, sh = a.shared.Alloc()
	}
	if sh == nil {
		return nil
	}
	sh.handle = Handle(h)
	sh.claim.Store(h >> 32 << lifeGen)
	sh.audience.Store(nil)
	a.shared.Publish(h)
	return sh
}

func (a *App) freeShared(sh *shared) {
	a.shared.Invalidate(uint64(sh.handle))
	if a.hooks.Free {
		a.shared.Return(uint64(sh.handle))
		return
	}
	a.shared.Free(uint64(sh.handle))
}

// unshare takes s out of those that share its session; the next one is the
// owner then, if it was. True: there is no other.
func (t *Thread) unshare(s *Session) (last bool) {
	if s.sh.Load() == nil {
		return true
	}
	sh := s.sh.Load()
	sh.change(func(a *audience) {
		a.who = slices.DeleteFunc(a.who, func(h Handle) bool { return h == s.handle })
	})
	if len(sh.audience.Load().who) > 0 {
		return false
	}
	s.sh.Store(nil) // what it is may be others' from here on
	t.enterShared()
	t.w.app.freeShared(sh)
	t.leaveShared()
	return true
}

func (t *Thread) enterShared() {
	a := t.w.app
	if a.hooks.Free {
		return
	}
	if f := a.hooks.EnterShared; f != nil {
		f(t)
	}
	a.sharedAudit.Enter("shared data", audit.Exclusive)
}

func (t *Thread) leaveShared() {
	a := t.w.app
	if a.hooks.Free {
		return
	}
	a.sharedAudit.Leave(audit.Exclusive)
	if f := a.hooks.LeaveShared; f != nil {
		f(t)
	}
}

// postAll sends an event to all who share a session.
func (t *Thread) postAll(to Handle, kind Event) {
	sh := t.w.app.shared.Key(uint64(to))
	if sh == nil {
		return
	}
	// The data may be another session's by now: its audience says whose it is.
	if a := sh.audience.Load(); a != nil && a.of == to {
		for _, h := range a.who {
			t.post(h, kind)
		}
	}
}

// passive is a listener at the same endpoint, for another session, that does
// not serve yet.
func (l *listener) passive(target Handle) *listener {
	o := &listener{ep: l.ep, target: target, v6only: l.v6only, reuse: l.reuse}
	o.rx.Store(l.rx.Load())
	o.tx.Store(l.tx.Load())
	o.backlog.Store(l.backlog.Load())
	o.stack.Store(listenerClosed)
	return o
}

// serve makes a listener that was inherited take its share of the connections,
// once its worker shows that it wants them. If the owner never did, it may not
// be interested, and stops: what would be queued there nobody would accept.
// Session control: exclusive.
func (t *Thread) serve(s *Session) {
	if s.lsn == nil || s.flags.Load()&fServes != 0 && s.lsn.serves() {
		return
	}
	s.flags.Or(fServes)
	t.open(s.lsn)
	if o := s.owner(); o != s && o.flags.Load()&fServes == 0 {
		t.hand(o.lsn, s.lsn)
	}
}

// Passive reports whether the session is a listener that does not serve its
// worker. Any thread.
func (s *Session) Passive() bool {
	return State(s.state.Load()) == StateListen && s.dg == nil && !s.lsn.serves()
}

// Attend makes a passive listener serve, as Accept and EpollCtl do by
// themselves, for a Poll that is about to look at it. Session control:
// exclusive.
func (t *Thread) Attend(s *Session) {
	s.ctlAudit.Enter("session control", audit.Exclusive)
	t.serve(s)
	s.ctlAudit.Leave(audit.Exclusive)
}

// open makes a listener serve.
func (t *Thread) open(l *listener) {
	if !l.serves() {
		l.reopen()
		t.w.app.layer.join(l)
	}
}

// hand makes a listener stop to serve, and gives what waits there to another
// of the same endpoint.
func (t *Thread) hand(l, heir *listener) {
	t.w.app.layer.unlisten(l)
	c := l.close()
	if c == nil {
		return
	}
	for c != nil {
		next := c.next
		heir.push(c, true)
		c = next
	}
	t.post(heir.target, EventAccepted)
}

// refuseAll refuses what waits at a listener that is closed.
func (t *Thread) refuseAll(l *listener) {
	for c := l.close(); c != nil; {
		next := c.next
		t.refuse(c)
		c = next
	}
}

// unlisten ends a listener that is being closed. Where others share it they go
// on, and have what waited here; the last one refuses that.
func (t *Thread) unlisten(s *Session, last bool) {
	if last {
		t.w.app.layer.unlisten(s.lsn)
		t.refuseAll(s.lsn)
		return
	}
	var heir *listener
	s.others(func(o *Session) {
		if heir == nil || !heir.serves() && o.lsn.serves() {
			heir = o.lsn
		}
	})
	// Somebody listens at any moment, or a connector would be refused.
	t.open(heir)
	t.hand(s.lsn, heir)
}
