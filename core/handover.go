package core

import (
	"errors"
	"slices"

	"vlsbench/audit"
)

// ErrMoved ends a wait on a session that another worker has taken over: the
// operation is to be tried again, there or after it was taken back.
var ErrMoved = errors.New("core: the session was handed to another worker")

// Parcel is a session on its way from one worker to another. It is nobody's,
// and must be adopted: until then its connection stays as it is, and what its
// peer writes is kept in the fifos.
type Parcel struct {
	// Owner is the session's.
	Owner any

	s       Session
	members []*Parcel // of a set

	// Of a member that goes with its set.
	set   *Parcel
	item  epollItem
	flags uint32
	// adopted is what a set has become.
	adopted *Session
}

// Members are the members of a set, each to be adopted after it.
func (p *Parcel) Members() []*Parcel { return p.members }

// HandOver takes a session out of its worker, to be adopted by another: a
// stream in any state, a listener with what waits there, a session of datagrams
// or one that was never connected, or a set, whose members go with it. Its
// handle is stale from then on, threads that wait on it leave with ErrMoved,
// and a member alone is in no set any more.
//
// It is for the hook RPC, which is where the owner learns that another worker
// wants a session: the worker's mq is entered there. All of the session, of a
// set all of every member too, and the session pool: exclusive.
func (t *Thread) HandOver(s *Session) *Parcel {
	p := &Parcel{Owner: s.Owner}
	if s.epoll != nil {
		s.setAudit.Enter("epoll set", audit.Exclusive)
		for m := s.epoll.members.head; m != nil; m = s.epoll.members.head {
			item, flags := m.epi, m.flags.Load()&memberFlags
			mp := t.HandOver(m)
			mp.set, mp.item, mp.flags = p, item, flags
			p.members = append(p.members, mp)
		}
		s.setAudit.Leave(audit.Exclusive)
	}
	t.handOver(s, &p.s)
	return p
}

// memberFlags are those of a session that belong to its membership in a set.
const memberFlags = fMember | fEpollOut | fFull | fFailed

// handOver makes o what s was.
func (t *Thread) handOver(s, o *Session) {
	w := t.w
	s.ctlAudit.Enter("session control", audit.Exclusive)
	defer s.ctlAudit.Leave(audit.Exclusive)
	s.rxAudit.Enter("session rx", audit.Exclusive)
	defer s.rxAudit.Leave(audit.Exclusive)
	s.txAudit.Enter("session tx", audit.Exclusive)
	defer s.txAudit.Leave(audit.Exclusive)
	w.poolAudit.Enter("session pool", audit.Exclusive)
	defer w.poolAudit.Leave(audit.Exclusive)
	s.settleDial()
	o.like(s)
	o.flags.Or(s.flags.Load() & fServes)
	o.w, o.handle, o.lsn = w, s.handle, s.lsn
	o.sh.Store(s.sh.Load())
	if s.epoll != nil {
		o.epoll = &epollSet{}
	}
	// Who still waits here looks at the fifos until it has left.
	s.hold()
	if s.sh.Load() == nil {
		// Nobody is told. Who adopts it looks, before it first sleeps.
		s.sendTo(0)
	} else {
		// What those that share it do to it is done to it on its way, too.
		s.sh.Load().change(func(a *audience) { a.adrift = append(a.adrift, o) })
	}
	s.flags.Or(fMoved | fClosing)
	s.flags.And(^uint32(fRead | fWrite))
	if s.epi.set != nil {
		s.epi.set.epoll.remove(s)
	}
	w.sessions.Invalidate(uint64(s.handle))
	t.wake(s)
	w.unref(s)
}

// Clone is a parcel with a copy of a session that was never connected, nor
// bound if it is of datagrams, or of an epoll set that is empty: who adopts it
// has one of its own, and this one stays as it is. Nil: the session is another.
// All of it, and the worker's mq: exclusive, as in the hook RPC.
func (t *Thread) Clone(s *Session) *Parcel {
	if s.State() != StateClosed || s.epoll != nil && s.epoll.members.head != nil {
		return nil
	}
	p := &Parcel{Owner: s.Owner}
	o := &p.s
	o.like(s)
	if s.dg != nil {
		o.dg = newDgram(o)
	}
	if s.epoll != nil {
		o.epoll = &epollSet{}
	}
	return p
}

// GiveUp is HandOver by the worker's own thread, outside the hook: it enters the
// worker's mq by itself.
func (t *Thread) GiveUp(s *Session) *Parcel {
	t.enterMQ()
	defer t.leaveMQ()
	return t.HandOver(s)
}

// Reserve makes room for a session that is to be adopted. Until it is nobody
// finds it, nor has a child of the worker one like it. ENOMEM: the pool is full.
// Session pool: exclusive.
func (t *Thread) Reserve() (*Session, error) {
	t.w.poolAudit.Enter("session pool", audit.Exclusive)
	defer t.w.poolAudit.Leave(audit.Exclusive)
	return t.unpublished(TCP, false)
}

// Unreserve gives back what Reserve made and nothing was adopted into. Session
// pool: exclusive.
func (t *Thread) Unreserve(s *Session) { t.w.unref(s) }

// Adopt makes s, which the thread has just reserved, or created and used for
// nothing, the session that was handed over: with its state, its endpoints and
// what it has not read, in its place among those that share it, and, of a member
// that came with its set, in that set, as it was there. Session control:
// exclusive, of all that share it.
func (t *Thread) Adopt(s *Session, p *Parcel) {
	o := &p.s
	if sh := o.sh.Load(); sh != nil {
		sh.change(func(a *audience) {
			a.who[slices.Index(a.who, o.handle)] = s.handle
			a.adrift = slices.DeleteFunc(a.adrift, func(x *Session) bool { return x == o })
		})
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
	p.adopted = s
	s.sendTo(s.self())
	if o.lsn != nil {
		s.lsn = o.lsn.passive(s.handle)
		if o.lsn.serves() {
			t.open(s.lsn)
			t.hand(o.lsn, s.lsn)
		}
	}
	t.w.sessions.Publish(uint64(s.handle))
	if p.set != nil {
		t.enterMQ()
		p.set.adopted.epoll.addAs(p.set.adopted, s, &p.item, p.flags)
		t.leaveMQ()
	}
}
