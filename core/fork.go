package core

import (
	"runtime"
	"sync/atomic"
	"syscall"

	"vlsbench/audit"
	"vlsbench/sched"
)

// Fork registers a worker that is the image of t's: it has every session of it
// at the same index and under the same handle, sharing what it stands for, and
// every epoll set, with the same members, for itself. made is called for each,
// with the parent's and the child's, before anybody else can find the child's.
// ENOMEM: max-workers are registered, or there is no room; nothing has changed
// then.
//
// Listeners are passive in the child until it accepts from one, adds it to a
// set or selects on it. Sessions that were closed, and still are waited on, are
// not the child's.
//
// Session pool, message queue, and all of every session of the worker:
// exclusive. Shared data: entered and left inside.
func (t *Thread) Fork(made func(parent, child *Session)) (*Worker, error) {
	w := t.w
	a := w.app
	child, err := a.newWorker(w)
	if err != nil {
		return nil, err
	}
	if a.hooks.Free {
		return t.forkFree(child, made)
	}
	t.enterMQ()
	defer t.leaveMQ()
	// What is known is known to both.
	t.drain()
	w.poolAudit.Enter("session pool", audit.Exclusive)
	defer w.poolAudit.Leave(audit.Exclusive)
	if !t.share() {
		t.retire(child)
		return nil, syscall.ENOMEM
	}
	child.sessions.Mirror(&w.sessions, func(key uint64, p, c *Session) {
		c.image(child, p, Handle(key))
		if made != nil {
			made(p, c)
		}
	})
	// The sets, once all members are there.
	w.sessions.Each(func(name uint64, p *Session) {
		if p.epoll != nil {
			child.sessions.Get(name).mirrorSet(p, func(m *Session) *Session {
				return child.sessions.Get(w.sessions.Live(m.handle.Index()))
			})
		}
	})
	w.forked.Store(true)
	child.forked.Store(true)
	return child, nil
}

// Forked reports whether the worker was forked, or shares sessions since it was
// made.
func (w *Worker) Forked() bool { return w.forked.Load() }

// share makes every session of the worker one that can be shared. False: there
// is no room, and none is.
func (t *Thread) share() bool {
	a := t.w.app
	t.enterShared()
	defer t.leaveShared()
	var fresh []*Session
	ok := true
	t.w.sessions.Each(func(_ uint64, s *Session) {
		if s.sh.Load() != nil || s.epoll != nil || !ok {
			return
		}
		if sh := a.allocShared(); sh != nil {
			s.ctlAudit.Enter("session control", audit.Exclusive)
			s.rxAudit.Enter("session rx", audit.Exclusive)
			s.txAudit.Enter("session tx", audit.Exclusive)
			s.txAudit.Leave(audit.Exclusive)
			s.rxAudit.Leave(audit.Exclusive)
			s.ctlAudit.Leave(audit.Exclusive)
			s.join(sh)
			fresh = append(fresh, s)
		} else {
			ok = false
		}
	})
	for _, s := range fresh {
		if ok {
			s.settleDial()
			s.sendTo(s.sh.Load().handle)
			continue
		}
		a.freeShared(s.sh.Load())
		s.forget()
	}
	return ok
}

// image makes s, a new session of a child, share what p of its parent is.
func (s *Session) image(w *Worker, p *Session, key Handle) {
	s.w, s.handle = w, key
	s.refs.Store(1)
	s.like(p)
	s.hold()
	if p.lsn != nil {
		s.lsn = p.lsn.passive(key)
	}
	if sh := p.sh.Load(); sh != nil {
		s.join(sh)
	}
}

// like makes s the session that o is, but for what is a worker's own: its
// handle, listener and sets. The reference to the connection is the caller's to
// count.
func (s *Session) like(o *Session) {
	s.proto, s.local, s.remote = o.proto, o.local, o.remote
	s.conn, s.side, s.rx, s.tx = o.conn, o.side, o.rx, o.tx
	s.dg, s.opt = o.dg, o.opt
	s.err.Store(o.err.Load())
	s.flags.Store(o.flags.Load() & spreads)
	s.state.Store(o.state.Load())
}

// hold counts one more session of the connection or of the datagrams.
func (s *Session) hold() {
	if s.conn != nil {
		s.conn.refs.Add(1)
	}
	if s.dg != nil {
		s.dg.refs.Add(1)
	}
}

// sendTo makes news of what the session stands for go to h, 0: nowhere.
func (s *Session) sendTo(h Handle) {
	if s.conn != nil {
		s.conn.target[s.side].Store(uint64(h))
	}
	if s.dg != nil {
		s.dg.target.Store(uint64(h))
	}
}

// mirrorSet makes s, the image of set p, have the images of its members.
func (s *Session) mirrorSet(p *Session, image func(*Session) *Session) {
	s.epoll = &epollSet{}
	for m := p.epoll.members.head; m != nil; m = m.epi.next {
		s.epoll.addAs(s, image(m), &m.epi, m.flags.Load()&memberFlags)
	}
}

// addAs makes s a member of set as another session was one: what was reported
// of that is no news of this.
func (e *epollSet) addAs(set, s *Session, as *epollItem, flags uint32) {
	e.add(set, s)
	i := &s.epi
	i.events, i.data, i.off, i.last, i.tail = as.events, as.data, as.off, as.last, as.tail
	s.flags.Or(flags)
	e.heat(s)
}

// settleDial waits for the answer to a connect that is under way, which the
// session layer owes within microseconds.
func (s *Session) settleDial() {
	for s.flags.Load()&fDialing != 0 {
		s.answered()
		runtime.Gosched()
	}
}

// family is the children of one process that have died and are its to close. It
// takes no lock: who is stopped with it may keep from being closed what he was
// about to close.
type family struct {
	dead atomic.Pointer[Worker] // newest first, linked by sibling; nobody: those to come are not its
	rest atomic.Pointer[Worker] // taken from there, and not closed yet
}

// childless ends the dead of a process that has exited.
var childless = new(Worker)

// end makes children that die from now on not the family's. Those that have died
// are its to close.
func (f *family) end() {
	if d := f.dead.Swap(childless); d != childless {
		f.keep(d)
	}
}

// keep adds a list of the dead to the rest.
func (f *family) keep(d *Worker) {
	for d != nil {
		next := d.sibling
		for {
			old := f.rest.Load()
			d.sibling = old
			if sched.Enabled {
				sched.Point("core: between the look at the dead and their swap")
			}
			if f.rest.CompareAndSwap(old, d) {
				break
			}
		}
		d = next
	}
}

// takeDead takes all of one of the lists, nil if there is none.
func takeDead(list *atomic.Pointer[Worker]) *Worker {
	for {
		d := list.Load()
		if d == nil || d == childless {
			return nil
		}
		if list.CompareAndSwap(d, nil) {
			return d
		}
	}
}

// Doom precedes [Worker.Die]: every session is marked as closing, so that no thread
// of the worker gets anything from one any more, and those that wait leave. Who is
// in the middle of an operation is the caller's to wait for; where ends are claimed
// Doom does that, but for who is stopped there. owner is what the queue's hooks find
// as their thread's Owner; no hook but these is called. Session pool: shared. Worker
// mq: entered and left inside.
func (w *Worker) Doom(owner any) {
	t := &Thread{w: w, Owner: owner}
	mark := func(s *Session) {
		s.flags.Or(fClosing)
		s.flags.And(^uint32(fRead | fWrite)) // reads look further, and find that
	}
	if w.app.hooks.Free {
		w.sessions.Each(func(h uint64, _ *Session) {
			if s := w.Pin(Handle(h)); s != nil {
				mark(s)
				if sched.Enabled {
					sched.Point("core: doomed, before who waits is woken")
				}
				w.wakeFree(s, nil)
				t.outwait(s)
				w.Unpin(s)
			}
		})
		return
	}
	t.enterMQ()
	w.poolAudit.Enter("session pool", audit.Shared)
	w.Each(func(s *Session) {
		mark(s)
		t.wake(s)
	})
	w.poolAudit.Leave(audit.Shared)
	t.leaveMQ()
}

// Die declares that the worker's process is gone, without a word: its threads
// make no call any more, and those that wait in one do not come back from it
// with anything: see [Worker.Doom]. What it held is to be given back by its parent, which finds it
// by TakeDead at its next wait or exit. False: it has no parent that could, and
// whoever calls does.
func (w *Worker) Die() bool {
	f := w.parent.Swap(nil)
	if f == nil {
		return false
	}
	for {
		old := f.dead.Load()
		if old == childless {
			return false
		}
		w.sibling = old
		if sched.Enabled {
			sched.Point("core: dead, before its parent can know")
		}
		if f.dead.CompareAndSwap(old, w) {
			return true
		}
	}
}

// TakeDead is a worker whose process has died and that is w's to close, or nil:
// a child of it, or of a child that has died. The caller closes its sessions
// and then the worker, as the exit of its process would have. Any thread, where
// it holds nothing.
func (w *Worker) TakeDead() *Worker {
	f := w.family.Load()
	d := takeDead(&f.rest)
	if d == nil {
		if d = takeDead(&f.dead); d == nil {
			return nil
		}
	}
	if sched.Enabled {
		sched.Point("core: the dead are taken, before the rest is given back")
	}
	f.keep(d.sibling)
	d.sibling = nil
	c := d.family.Load()
	c.end()
	f.keep(takeDead(&c.rest))
	return d
}

// PutDead takes TakeDead back: the worker could not be closed yet.
func (w *Worker) PutDead(d *Worker) {
	d.sibling = nil
	w.family.Load().keep(d)
}

// Orphan is the first thing that an exit does: children that die from then on
// are not the worker's, and what TakeDead has still to give is all.
func (w *Worker) Orphan() { w.family.Load().end() }
