package core

import (
	"errors"
	"slices"
	"syscall"

	"vlsbench/audit"
)

// ErrMoved ends a wait on a session that another worker has taken over: the
// operation is to be tried again, there or after it was taken back.
var ErrMoved = errors.New("core: the session was handed to another worker")

// Parcel is a session on its way from one worker to another. It is nobody's,
// and must be adopted: until then its connection stays as it is, and what its
// peer writes is kept in the fifos.
type Parcel struct{ s Session }

// HandOver takes a session out of its worker, to be adopted by another: a
// stream in any state, a listener with what waits there, a session that was
// never connected, or a set without members. Its handle is stale from then on,
// it is in no set any more, and threads that wait on it leave with ErrMoved.
// EBADFD: a set with members.
//
// It is for the hook RPC, which is where the owner learns that another worker
// wants a session: the worker's mq is entered there. All of the session, and
// the session pool: exclusive.
func (t *Thread) HandOver(s *Session) (*Parcel, error) {
	w := t.w
	s.ctlAudit.Enter("session control", audit.Exclusive)
	defer s.ctlAudit.Leave(audit.Exclusive)
	if s.epoll != nil && s.epoll.members.head != nil {
		return nil, syscall.EBADFD
	}
	s.rxAudit.Enter("session rx", audit.Exclusive)
	defer s.rxAudit.Leave(audit.Exclusive)
	s.txAudit.Enter("session tx", audit.Exclusive)
	defer s.txAudit.Leave(audit.Exclusive)
	w.poolAudit.Enter("session pool", audit.Exclusive)
	defer w.poolAudit.Leave(audit.Exclusive)
	s.settleDial()
	p := &Parcel{}
	o := &p.s
	o.like(s)
	o.flags.Or(s.flags.Load() & fServes)
	o.handle, o.sh, o.lsn, o.epoll = s.handle, s.sh, s.lsn, s.epoll
	// Who still waits here looks at the fifos until it has left.
	s.hold()
	if s.sh == nil {
		// Nobody is told. Who adopts it looks, before it first sleeps.
		s.sendTo(0)
	}
	s.flags.Or(fMoved | fClosing)
	s.flags.And(^uint32(fRead | fWrite))
	if s.epi.set != nil {
		s.epi.set.epoll.remove(s)
	}
	w.sessions.Invalidate(uint64(s.handle))
	t.wake(s)
	w.unref(s)
	return p, nil
}

// Adopt makes s, which the thread has just created and used for nothing, the
// session that was handed over: with its state, its endpoints and what it has
// not read, and in its place among those that share it. Session control:
// exclusive.
func (t *Thread) Adopt(s *Session, p *Parcel) {
	o := &p.s
	if sh := o.sh; sh != nil {
		who := slices.Clone(sh.audience.Load().who)
		who[slices.Index(who, o.handle)] = s.handle
		sh.audience.Store(&audience{of: sh.handle, who: who})
		s.partOf(sh)
	}
	s.ctlAudit.Enter("session control", audit.Exclusive)
	defer s.ctlAudit.Leave(audit.Exclusive)
	if s.dg != nil {
		s.dg.unref()
	}
	s.like(o)
	s.flags.Or(o.flags.Load() & fServes)
	s.epoll = o.epoll
	s.sendTo(s.self())
	if o.lsn != nil {
		s.lsn = o.lsn.passive(s.handle)
		if o.lsn.serves() {
			t.open(s.lsn)
			t.hand(o.lsn, s.lsn)
		}
	}
}
