package migrate

import (
	"cmp"
	"errors"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"vlsbench/core"
	"vlsbench/vls"
)

// errElsewhere: who lost a session finds that another has it, and waits on.
var errElsewhere = errors.New("migrate: another thread has the session")

const (
	// inVain is how often a thread asks for a session that others then take before
	// it looks. The next time it asks for it to be kept.
	inVain = 2
	// courtesy is how often the others look whether the one that it is kept for has
	// taken it: for some 10 ms, on a machine that lets all of them run.
	courtesy = 256
)

// take makes a session the thread's own, and takes its S. EBADFD: there is none.
// ETIMEDOUT: its owner does not answer. ENOTCONN: the process was killed.
func (t *thread) take(h vls.Handle, k kind) (*session, error) {
	for {
		v, own := t.find(h)
		if v == nil {
			return nil, syscall.EBADFD
		}
		if own {
			if t.p.dead.Load() {
				t.release(v) // it may be closed
				return nil, syscall.ENOTCONN
			}
			t.kind = k
			return v, nil
		}
		if err := t.fetch(h, false); err != nil {
			return nil, err
		}
	}
}

// find looks a session up, and takes its S if it is the thread's own.
func (t *thread) find(h vls.Handle) (v *session, own bool) {
	lookup := t.p.a.d.lookup
	if lookup {
		t.readP()
	}
	v = t.table.Get(uint64(h))
	if own = v != nil && v.at.Load() == t.w; own {
		t.hold(v)
	}
	if lookup {
		t.unreadP()
	}
	return v, own
}

// regain waits until a session that the thread has lost is to be had, until the
// deadline unless that is zero, and takes it. False: the time is over.
func (t *thread) regain(h vls.Handle, deadline time.Time) (bool, error) {
	for w := t.lost(h); w != nil; w = t.lost(h) {
		if t.p.dead.Load() {
			t.forsake()
			return true, syscall.ENOTCONN
		}
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
	atomic.StoreUint32(&t.fetches, 1)
	var room []*core.Session
	defer func() {
		if len(room) > 0 {
			t.in()
			for _, s := range room {
				t.c.Unreserve(s)
			}
			t.out()
		}
		atomic.StoreUint32(&t.fetches, 0)
	}()
	asked, looks := 0, 0
	for i := 1; ; i++ {
		t.readP()
		v := p.table.Get(uint64(h))
		if v == nil || p.dead.Load() {
			t.unreadP()
			if v != nil {
				return syscall.ENOTCONN
			}
			return syscall.EBADFD
		}
		l := v.lock.Load()
		t.lockS(l)
		at, u := v.at.Load(), v.unit.Load()
		t.unlockS(l)
		lies := at == nil && u != nil && u.whole.Load()
		kept := lies && u.first != nil && u.first != t.w && looks < courtesy && time.Now().Before(deadline)
		if lies && !kept && len(u.of) <= len(room) {
			room = t.adopt(u, room)
		}
		t.unreadP()
		need := 1
		switch {
		case at == t.w:
			return nil
		case kept:
			looks++
			t.c.Serve()
			pause(looks)
			continue
		case lies:
			need = len(u.of)
		case at == nil:
			pause(i) // it is just being left
			continue
		case t.lost(h) != nil:
			return errElsewhere
		}
		if v.at.Load() == t.w {
			return nil
		}
		var err error
		if room, err = t.reserve(room, need); err != nil {
			t.passBy(h)
			return err
		}
		if lies {
			continue
		}
		need, err = t.request(at, v, h, len(room), alone, asked >= inVain, deadline)
		asked++
		if err == nil && need > 0 {
			room, err = t.reserve(room, need)
		}
		if err != nil {
			return err
		}
		if p.dead.Load() {
			return syscall.ENOTCONN
		}
		if need == 0 && v.at.Load() == at {
			if !time.Now().Before(deadline) {
				return syscall.ETIMEDOUT
			}
			t.c.Serve()
			pause(i)
		}
	}
}

// reserve makes room for n sessions in the thread's worker. ENOMEM: its pool is
// full.
func (t *thread) reserve(room []*core.Session, n int) ([]*core.Session, error) {
	t.in()
	defer t.out()
	for len(room) < n {
		s, err := t.c.Reserve()
		if err != nil {
			return room, err
		}
		room = append(room, s)
	}
	return room, nil
}

// What a call says beside the room that there is.
const (
	callAlone = 1 << iota // without the set
	callKeep              // for who asks
)

// request asks the owner for a session, with room for so many, and to keep it for
// the thread if that was in vain before. It returns without an error when it is
// worth to look again, with the room that is needed if that is known. ETIMEDOUT:
// no answer before the deadline. R: taken inside.
func (t *thread) request(at *worker, v *session, h vls.Handle, room int, alone, keep bool, deadline time.Time) (int, error) {
	for i := 1; !at.ask.TryLock(); i++ {
		t.c.Serve()
		if v.at.Load() != at || t.p.dead.Load() {
			return 0, nil
		}
		if !time.Now().Before(deadline) {
			return 0, syscall.ETIMEDOUT
		}
		pause(i)
	}
	t.order.Took("R")
	defer func() {
		at.ask.Unlock()
		t.order.Give("R")
	}()
	// The owner looks at this; its queue it sees only where it waits.
	at.asked.Store(1 + t.w.core.Index())
	defer at.asked.Store(0)
	if at.idle.Load() || v.at.Load() != at {
		return 0, nil
	}
	t.call = core.Call{Kind: uint32(room) << 2, Arg: uint64(h), While: func() bool {
		return v.at.Load() == at && !t.p.dead.Load()
	}}
	if alone {
		t.call.Kind |= callAlone
	}
	if keep {
		t.call.Kind |= callKeep
	}
	t.asking = true
	err := t.c.Call(at.core.Index(), &t.call, remaining(deadline))
	t.asking = false
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
	if from.p != t.p || t.p.dead.Load() {
		c.Err = syscall.ESRCH // who was meant is gone
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
	if c.Kind&callAlone == 0 {
		root = v.root()
	}
	if root == t.pinned {
		c.Err = syscall.EAGAIN
		return
	}
	u := newUnit(root)
	if n := len(u.of); n > int(c.Kind>>2) {
		c.Out, c.Err = n, syscall.ENOBUFS
		return
	}
	ls, ok := t.tryShared(u)
	if !ok {
		c.Err = syscall.EAGAIN
		return
	}
	if c.Kind&callKeep != 0 {
		u.first = from
	}
	t.part(root, u, t.c.HandOver)
	t.unlockAll(ls)
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
	if root.isSet.Load() {
		root.s.EachMember(func(m *core.Session) { u.of = append(u.of, m.Owner.(*session)) })
		slices.SortFunc(u.of[1:], func(a, b *session) int { return cmp.Compare(index(a.h), index(b.h)) })
	}
	return u
}

func index(h vls.Handle) uint32 { return core.Handle(h).Index() }

// tryShared takes S of those that other processes may be inside; false: some
// are.
func (t *thread) tryShared(u *unit) (ls []*slock, ok bool) {
	for _, v := range u.of {
		if !v.shared.Load() {
			continue
		}
		l := v.lock.Load()
		if !t.tryS(l) {
			t.unlockAll(ls)
			return nil, false
		}
		ls = append(ls, l)
	}
	return ls, true
}

func (t *thread) lockShared(u *unit) (ls []*slock) {
	for _, v := range u.of {
		if v.shared.Load() {
			ls = append(ls, v.lock.Load())
			t.lockS(v.lock.Load())
		}
	}
	return ls
}

// part takes a unit out of the thread's worker, by HandOver or GiveUp, and
// returns who wants what is in it. If the thread itself waits for some of it, it
// is one of them from now on. S of what is shared: held.
func (t *thread) part(root *session, u *unit, by func(*core.Session) *core.Parcel) (line []*waiter) {
	if !root.isSet.Load() {
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
	// Who finds one of them takes all.
	u.whole.Store(true)
	t.recall()
	return line
}

// recall makes who asks the thread look whether what it asks for is still here.
func (t *thread) recall() {
	if asker := t.w.asked.Load(); asker != 0 {
		t.c.Nudge(asker - 1)
	}
}

// giveUp leaves a session of the thread's own, or its set, to whoever wants it.
// Nothing is held.
func (t *thread) giveUp(v *session) {
	t.readP()
	defer t.unreadP()
	if t.p.dead.Load() {
		return // whoever closes it has P
	}
	root := v.root()
	u := newUnit(root)
	ls := t.lockShared(u)
	line := t.part(root, u, t.c.GiveUp)
	t.unlockAll(ls)
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
	t.readP()
	defer t.unreadP()
	v := t.table.Get(uint64(h))
	if v == nil || v.at.Load() != nil {
		return
	}
	u := v.unit.Load()
	if u == nil || !u.whole.Load() {
		return // another is at it, and tells
	}
	ls := t.lockAll(u)
	if !u.taken {
		for _, v := range u.of {
			t.tell(v.line)
		}
	}
	t.unlockAll(ls)
}

// lockAll takes S of a unit.
func (t *thread) lockAll(u *unit) []*slock {
	var ls []*slock
	for _, v := range u.of {
		l := v.lock.Load()
		t.lockS(l)
		ls = append(ls, l)
	}
	return ls
}

func (t *thread) unlockAll(ls []*slock) {
	for _, l := range ls {
		t.unlockS(l)
	}
}

// adopt makes what lies there the thread's own, unless another is quicker, and
// returns the room that is left. P: read or write, S of nothing.
func (t *thread) adopt(u *unit, room []*core.Session) []*core.Session {
	ls := t.lockAll(u)
	if !u.taken {
		room = t.adoptLocked(u, room)
	}
	t.unlockAll(ls)
	return room
}

// adoptLocked is adopt with S of the unit, which nobody has taken.
func (t *thread) adoptLocked(u *unit, room []*core.Session) []*core.Session {
	u.taken = true
	for i, parcel := range u.parcels {
		v, s := parcel.Owner.(*session), room[i]
		s.Owner = v
		t.c.Adopt(s, parcel)
		v.s = s
	}
	t.writeH()
	for _, v := range u.of {
		// The slot that it had is found by nobody since it was left.
		delete(t.p.byHandle, core.Handle(v.sh.Load()))
		t.p.byHandle[v.s.Handle()] = v.h
		v.sh.Store(uint64(v.s.Handle()))
	}
	t.unwriteH()
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
		l := v.lock.Load()
		t.lockS(l) // if the process was killed, all of it may be closed just now
		owed := v.at.Load() == t.w && len(v.line) > 0
		keep := waiting && (t.kind == others || v == t.waitsFor && owed && t.alike(v.line))
		t.unlockS(l)
		switch {
		case owed && keep:
			kept = append(kept, v)
		case owed:
			t.giveUp(v)
		}
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
