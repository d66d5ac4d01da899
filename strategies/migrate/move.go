package migrate

import (
	"cmp"
	"errors"
	"slices"
	"syscall"
	"time"

	"vlsbench/core"
	"vlsbench/vls"
)

// errElsewhere: who lost a session finds that another has it, and waits on.
var errElsewhere = errors.New("migrate: another thread has the session")

// take makes a session the thread's own, and takes its S. EBADFD: there is none.
// ETIMEDOUT: its owner does not answer. ENOTCONN: the process was killed.
func (t *thread) take(h vls.Handle, k kind) (*session, error) {
	for {
		v := t.table.Get(uint64(h))
		if v == nil {
			return nil, syscall.EBADFD
		}
		if v.at.Load() == t.w {
			t.lockS(v)
			t.kind = k
			return v, nil
		}
		if err := t.fetch(h, false); err != nil {
			return nil, err
		}
	}
}

// regain waits until a session that the thread has lost is to be had, until the
// deadline unless that is zero, and takes it. False: the time is over.
func (t *thread) regain(h vls.Handle, deadline time.Time) (bool, error) {
	for w := t.lost(h); w != nil; w = t.lost(h) {
		if left := remaining(deadline); left == 0 || !t.awaits(w, left) {
			t.forsake()
			return false, nil
		}
		if err := t.fetch(h, false); err != errElsewhere {
			if err != nil {
				t.forsake()
			}
			return true, err
		}
	}
	return true, nil
}

// lost is what says that the thread has lost a session, or nil.
func (t *thread) lost(h vls.Handle) *waiter {
	for _, w := range t.losses {
		if w.h == h {
			return w
		}
	}
	return nil
}

// remaining is the time to a deadline, 0 if it is over, and negative for ever.
func remaining(deadline time.Time) time.Duration {
	if deadline.IsZero() {
		return -1
	}
	return max(time.Until(deadline), 0)
}

// awaits waits until w is told, or for a time unless that is negative; false:
// that is over.
func (t *thread) awaits(w *waiter, timeout time.Duration) bool {
	t.c.Await(func() bool { return w.told.Load() != 0 || t.p.dead.Load() }, timeout)
	// Cleared before the look, so that what is left after it tells again.
	return w.told.Swap(0) != 0 || t.p.dead.Load()
}

// forsake ends the thread's wish for what it has lost.
func (t *thread) forsake() {
	for _, w := range t.losses {
		w.gone.Store(true)
	}
	t.losses = nil
	t.owes = len(t.debts) > 0
}

// fetch brings a session to the thread's worker; alone: without the set that it
// is in. Nothing is held. When it returns the session is there, and stays until
// the thread answers others again. Errors are those of take.
func (t *thread) fetch(h vls.Handle, alone bool) error {
	p := t.p
	deadline := time.Now().Add(p.a.patience)
	var room []*core.Session
	defer func() {
		if len(room) > 0 {
			t.in()
			for _, s := range room {
				t.c.Unreserve(s)
			}
			t.out()
		}
	}()
	need := 1
	for i := 1; ; i++ {
		for len(room) < need {
			t.in()
			s, err := t.c.Reserve()
			t.out()
			if err != nil {
				t.passBy(h)
				return err
			}
			room = append(room, s)
		}
		p.lock.RLock(t.slot)
		v := p.table.Get(uint64(h))
		if v == nil || p.dead.Load() {
			p.lock.RUnlock(t.slot)
			if v != nil {
				return syscall.ENOTCONN
			}
			return syscall.EBADFD
		}
		l := v.lock.Load()
		l.lock()
		at, u := v.at.Load(), v.unit.Load()
		l.unlock()
		if at == nil && u != nil {
			if need = len(u.parcels); need <= len(room) {
				room = t.adopt(u, room)
				need = 0
			}
		}
		p.lock.RUnlock(t.slot)
		switch {
		case at == t.w:
			return nil
		case at == nil:
			continue
		case t.lost(h) != nil:
			return errElsewhere
		}
		n, err := t.request(at, v, h, len(room), alone, deadline)
		if err != nil {
			return err
		}
		need = max(n, 1)
		if n == 0 && v.at.Load() == at {
			if !time.Now().Before(deadline) {
				return syscall.ETIMEDOUT
			}
			t.c.Serve()
			pause(i)
		}
	}
}

// request asks the owner for a session, with room for so many. It returns
// without an error when it is worth to look again, with the room that is needed
// if that is known. ETIMEDOUT: no answer before the deadline. R: taken inside.
func (t *thread) request(at *worker, v *session, h vls.Handle, room int, alone bool, deadline time.Time) (int, error) {
	for i := 1; !at.ask.TryLock(); i++ {
		t.c.Serve()
		if v.at.Load() != at {
			return 0, nil
		}
		if !time.Now().Before(deadline) {
			return 0, syscall.ETIMEDOUT
		}
		pause(i)
	}
	if at.idle || v.at.Load() != at {
		at.ask.Unlock()
		return 0, nil
	}
	// The owner looks at this; its queue it sees only where it waits.
	at.asked.Store(1)
	t.call = core.Call{Kind: uint32(room) << 1, Arg: uint64(h)}
	if alone {
		t.call.Kind |= 1
	}
	err := t.c.Call(at.core.Index(), &t.call, remaining(deadline))
	at.asked.Store(0)
	at.ask.Unlock()
	switch err {
	case syscall.ETIMEDOUT:
		return 0, err
	case syscall.ENOBUFS:
		return t.call.Out.(int), nil
	}
	// What else it says shows where the session is.
	return 0, nil
}

// answer is the hook in which the owner is asked for a session. It waits for
// nothing. EAGAIN: not now. ENOBUFS: what goes with it needs more room. EBADFD,
// ESRCH: it is not the thread's.
func (t *thread) answer(c *core.Call) {
	from := t.p.a.workers[c.From].Load()
	if from.p != t.p {
		c.Err = syscall.ESRCH // the worker that was meant is gone
		return
	}
	if t.frozen {
		c.Err = syscall.EAGAIN
		return
	}
	v := t.table.Get(c.Arg)
	if v == nil || v.at.Load() != t.w {
		c.Err = syscall.EBADFD
		return
	}
	root := v
	if c.Kind&1 == 0 {
		root = v.root()
	}
	if root == t.pinned {
		c.Err = syscall.EAGAIN
		return
	}
	u := newUnit(root)
	if n := len(u.of); n > int(c.Kind>>1) {
		c.Out, c.Err = n, syscall.ENOBUFS
		return
	}
	if !u.tryShared() {
		c.Err = syscall.EAGAIN
		return
	}
	t.part(root, u, t.c.HandOver)
	u.unlockShared()
}

// root is the set that the session is in, or itself. The session is the
// thread's.
func (v *session) root() *session {
	if set := v.s.Set(); set != nil {
		return set.Owner.(*session)
	}
	return v
}

// newUnit is what goes with root.
func newUnit(root *session) *unit {
	u := &unit{of: []*session{root}}
	if root.isSet {
		root.s.EachMember(func(m *core.Session) { u.of = append(u.of, m.Owner.(*session)) })
		slices.SortFunc(u.of, func(a, b *session) int { return cmp.Compare(index(a.h), index(b.h)) })
	}
	return u
}

func index(h vls.Handle) uint32 { return core.Handle(h).Index() }

// tryShared takes S of those that other processes may be inside; false: some
// are.
func (u *unit) tryShared() bool {
	for i, v := range u.of {
		if v.shared.Load() && !v.lock.Load().try() {
			for _, v := range u.of[:i] {
				if v.shared.Load() {
					v.lock.Load().unlock()
				}
			}
			return false
		}
	}
	return true
}

func (u *unit) lockShared() {
	for _, v := range u.of {
		if v.shared.Load() {
			v.lock.Load().lock()
		}
	}
}

func (u *unit) unlockShared() {
	for _, v := range u.of {
		if v.shared.Load() {
			v.lock.Load().unlock()
		}
	}
}

// part takes a unit out of the thread's worker, by HandOver or GiveUp, and
// returns who wants what is in it. If the thread itself waits for some of it, it
// is one of them from now on. S of what is shared: held.
func (t *thread) part(root *session, u *unit, by func(*core.Session) *core.Parcel) (line []*waiter) {
	p := t.p
	p.handles.Lock()
	for _, v := range u.of {
		delete(p.byHandle, v.s.Handle())
	}
	p.handles.Unlock()
	if !root.isSet {
		root.set.Store(nil) // it goes alone
	}
	parcel := by(root.s)
	u.parcels = append([]*core.Parcel{parcel}, parcel.Members()...)
	for _, v := range u.of {
		if v == t.waitsFor || slices.Contains(t.polled, v) {
			w := &waiter{t: t, h: v.h, worker: t.w.core.Index(), kind: t.kind}
			t.losses = append(t.losses, w)
			t.owes = true
			v.line = append(v.line, w)
		}
		line = append(line, v.line...)
	}
	for _, v := range u.of {
		v.s = nil
		v.unit.Store(u)
		v.at.Store(nil)
	}
	return line
}

// giveUp leaves a session of the thread's own, or its set, to whoever wants it.
// No S is held.
func (t *thread) giveUp(v *session) {
	root := v.root()
	u := newUnit(root)
	u.lockShared()
	line := t.part(root, u, t.c.GiveUp)
	u.unlockShared()
	t.tell(line)
}

// tell makes those who lost something look for it.
func (t *thread) tell(line []*waiter) {
	for _, w := range line {
		if !w.gone.Load() {
			w.told.Store(1)
			t.c.Nudge(w.worker)
		}
	}
}

// passBy makes those who lost a session look for it which the thread could have
// taken, and could not.
func (t *thread) passBy(h vls.Handle) {
	p := t.p
	p.lock.RLock(t.slot)
	defer p.lock.RUnlock(t.slot)
	v := p.table.Get(uint64(h))
	if v == nil || v.at.Load() != nil {
		return
	}
	u := v.unit.Load()
	ls := u.lockAll()
	if !u.taken {
		for _, v := range u.of {
			t.tell(v.line)
		}
	}
	unlockAll(ls)
}

// lockAll takes S of a unit.
func (u *unit) lockAll() []*slock {
	var ls []*slock
	for _, v := range u.of {
		l := v.lock.Load()
		l.lock()
		ls = append(ls, l)
	}
	return ls
}

func unlockAll(ls []*slock) {
	for _, l := range ls {
		l.unlock()
	}
}

// adopt makes what lies there the thread's own, unless another is quicker, and
// returns the room that is left. P: read or write, S of nothing.
func (t *thread) adopt(u *unit, room []*core.Session) []*core.Session {
	ls := u.lockAll()
	if !u.taken {
		room = t.adoptLocked(u, room)
	}
	unlockAll(ls)
	return room
}

// adoptLocked is adopt with S of the unit, which nobody has taken.
func (t *thread) adoptLocked(u *unit, room []*core.Session) []*core.Session {
	u.taken = true
	p := t.p
	for i, parcel := range u.parcels {
		v, s := parcel.Owner.(*session), room[i]
		s.Owner = v
		t.c.Adopt(s, parcel)
		v.s = s
		v.sh.Store(uint64(s.Handle()))
	}
	p.handles.Lock()
	for _, v := range u.of {
		p.byHandle[v.s.Handle()] = v.h
	}
	p.handles.Unlock()
	for _, v := range u.of {
		v.line = slices.DeleteFunc(v.line, func(w *waiter) bool { return w.t == t || w.gone.Load() })
		t.losses = slices.DeleteFunc(t.losses, func(w *waiter) bool { return w.h == v.h })
		if len(v.line) > 0 {
			t.debts = append(t.debts, v)
		}
		v.unit.Store(nil)
		v.at.Store(t.w)
	}
	t.owes = len(t.debts) > 0 || len(t.losses) > 0
	return room[len(u.parcels):]
}

// settle leaves what others have lost to them. A thread that is about to wait
// keeps what they would only wait for as it does.
func (t *thread) settle(waiting bool) {
	debts := t.debts
	t.debts = nil
	var kept []*session
	for _, v := range debts {
		if v.at.Load() != t.w || len(v.line) == 0 {
			continue
		}
		if waiting && t.kind == others || waiting && v == t.waitsFor && t.alike(v.line) {
			kept = append(kept, v)
			continue
		}
		t.giveUp(v)
	}
	t.debts = kept
	t.owes = len(kept) > 0 || len(t.losses) > 0
}

// alike reports whether all of a line wait for what the thread waits for.
func (t *thread) alike(line []*waiter) bool {
	for _, w := range line {
		if w.kind != t.kind || t.kind == polls {
			return false
		}
	}
	return true
}

// leaveAll leaves all sessions of the thread's worker to whoever wants them.
func (t *thread) leaveAll() {
	var roots []*session
	t.w.core.Each(func(s *core.Session) {
		if s.Set() == nil {
			roots = append(roots, s.Owner.(*session))
		}
	})
	for _, v := range roots {
		t.giveUp(v)
	}
}
