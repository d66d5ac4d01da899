package locked

import (
	"runtime"
	"sync/atomic"
	"syscall"

	"vlsbench/core"
	"vlsbench/hw"
	"vlsbench/sched"
	"vlsbench/vls"
)

// Register makes the thread one of its process's.
func (t *thread) Register() error {
	if t.c != nil {
		return nil
	}
	p := t.p
	p.enlist()
	defer p.mu.Unlock()
	if err := p.w.InitThread(&t.core, t); err != nil {
		return err
	}
	t.c, t.slot = &t.core, p.table.slot()
	if len(p.threads) > 0 && !p.several {
		p.several = true
		p.threads[0].lockOut()
	}
	p.threads = append(p.threads, t)
	if !p.several {
		t.c.Bare = p.mode() == alone
		t.setMode(p.mode())
	}
	return nil
}

// mode is that of the only thread of a process. Under mu.
func (p *process) mode() uint32 {
	if p.forked || p.d.Always {
		return sharer
	}
	return alone
}

// setMode makes the thread take other locks from its next operation on. Under mu.
func (t *thread) setMode(mode uint32) {
	if t.mode.Store(mode); mode == alone {
		t.sessions.Open(t.w)
	} else {
		t.sessions.Shut()
	}
}

// lockOut makes the only thread of its process take locks, and waits until it
// has left an operation that it may be in without. Under mu.
func (t *thread) lockOut() {
	t.setMode(locked)
	// Either it sees that before it goes on, or its mark is seen here.
	hw.HeavyFence()
	for i := 1; atomic.LoadUint32(&t.mark) != 0; i++ {
		if sched.Spin("locked: the first is inside") {
			continue
		}
		hw.Pause()
		if i%64 == 0 {
			runtime.Gosched()
		}
	}
}

// enlist takes mu, in a way that the scheduler sees.
func (p *process) enlist() {
	if !sched.Wait("locked: somebody registers", p.mu.TryLock, -1) {
		p.mu.Lock()
	}
}

// Exit unregisters the thread.
func (t *thread) Exit() error {
	if t.c == nil {
		return nil
	}
	p := t.p
	p.enlist()
	defer p.mu.Unlock()
	for i, o := range p.threads {
		if o == t {
			p.threads = append(p.threads[:i], p.threads[i+1:]...)
			break
		}
	}
	p.table.giveBack(t.slot)
	t.setMode(locked)
	t.c.Exit()
	t.c = nil
	return nil
}

// begin starts an operation: it registers the thread, and marks it if it is the
// only one. True: MQ and SP are not needed, and P and S neither, but by a design
// that takes them always, and S of what is shared.
func (t *thread) begin() (bool, error) {
	for {
		setMark(&t.mark, 1)
		switch t.mode.Load() {
		case alone:
			return true, nil
		case sharer:
			// It may hold S, with which one does not spin.
			t.c.Bare = false
			return true, nil
		}
		setMark(&t.mark, 0)
		if t.c != nil {
			t.c.Bare = false
			return false, nil
		}
		if err := t.Register(); err != nil {
			return false, err
		}
	}
}

// acquire starts an operation on a session, with the locks of a row of the
// table; P.r it lets go as soon as S is held, since a session keeps its address,
// and before, if waits keep S.
// EBADFD: there is no such session, and nothing is held.
func (t *thread) acquire(h vls.Handle, takes Set) (*core.Session, error) {
	single, err := t.begin()
	if err != nil {
		return nil, err
	}
	table := !single || t.p.d.Always
	if table {
		t.rlockP()
	}
	v := t.lookup(h)
	if v == nil {
		if table {
			t.runlockP()
		}
		setMark(&t.mark, 0)
		return nil, syscall.EBADFD
	}
	switch {
	case !table:
		if v.shared {
			t.lockS(v)
		}
	case t.p.d.HoldSession:
		// Or who makes a session would wait for P as long as they do who keep S,
		// and behind him everybody. What is closed meanwhile says so.
		t.runlockP()
		t.lockS(v)
	default:
		t.lockS(v)
		t.runlockP()
	}
	s := v.s
	// Closed, in two phases, while S was waited for; or marked: poll and epoll_wait
	// see that at once, and nothing may see the session after they did not.
	if s == nil || s.Closing() {
		t.release()
		return nil, syscall.EBADFD
	}
	t.want = takes
	t.take(takes, single)
	return s, nil
}

// lookup is the VLS session of a handle, nil if there is none. P: read or write.
func (t *thread) lookup(h vls.Handle) *session {
	if s := t.w.Lookup(core.Handle(h)); s != nil {
		// One that was made and is not entered yet has no owner.
		v, _ := s.Owner.(*session)
		return v
	}
	return nil
}

func (t *thread) rlockP() {
	t.order.Take(t.p.d.Name, "P")
	t.p.table.RLock(t.slot)
}

func (t *thread) runlockP() {
	t.p.table.RUnlock(t.slot)
	t.order.Give("P")
}

func (t *thread) lockP() {
	t.order.Take(t.p.d.Name, "P")
	t.p.table.Lock()
}

func (t *thread) unlockP() {
	t.p.table.Unlock()
	t.order.Give("P")
}

func (t *thread) lockS(v *session) {
	t.order.Take(t.p.d.Name, v.class())
	v.lock.Lock()
	t.held |= S
	t.v = v
}

// lockSUnderP takes S while P.w is held. False: it was not got, which only
// happens to designs whose holders of S may want P, or wait, and P has to be let go.
func (t *thread) lockSUnderP(v *session) bool {
	if !t.p.d.Retake && !t.p.d.HoldSession {
		t.lockS(v)
		return true
	}
	if !v.lock.TryLock() {
		return false
	}
	t.order.Took(v.class())
	t.held |= S
	t.v = v
	return true
}

// take takes those of MQ, SP and SPr that are asked for and not held, in that
// order, unless the process has one thread.
func (t *thread) take(what Set, single bool) {
	if single || what&(MQ|SP|SPr) == 0 {
		return
	}
	if what&^t.held&MQ != 0 {
		t.order.Take(t.p.d.Name, "MQ")
		t.p.mq.Lock()
		t.held |= MQ
	}
	if what&(SP|SPr) == 0 {
		return
	}
	t.order.Take(t.p.d.Name, "SP")
	if what&SP != 0 || t.p.poolRW == nil {
		t.p.pool.Lock()
		t.held |= SP
	} else {
		t.p.poolRW.RLock(t.slot)
		t.held |= SPr
	}
}

// release ends an operation, with whatever it holds by then.
func (t *thread) release() {
	setMark(&t.mark, 0)
	t.want = t.p.d.Takes.Read
	if t.held != 0 {
		t.unlock()
	}
}

// unlock lets go of what is held.
func (t *thread) unlock() {
	t.unlockInner()
	if t.held&S != 0 {
		t.unlockS()
	}
}

// unlockInner lets go of what is held inside S.
func (t *thread) unlockInner() {
	held := t.held
	t.held &= S
	if held&(SP|SPr) != 0 {
		if held&SP != 0 {
			t.p.pool.Unlock()
		} else {
			t.p.poolRW.RUnlock(t.slot)
		}
		t.order.Give("SP")
	}
	if held&MQ != 0 {
		t.p.mq.Unlock()
		t.order.Give("MQ")
	}
}

func (t *thread) unlockS() {
	retake := t.p.d.Retake && (t.p.d.Always || t.mode.Load() == locked)
	if retake {
		// It waits for who has P.w, who waits for no S, and not for who wants it.
		t.p.table.RLock(t.slot)
		t.order.Took("P")
	}
	t.dropS()
	if retake {
		t.runlockP()
	}
}

// dropS lets go of S, whatever becomes of P.
func (t *thread) dropS() {
	v := t.v
	t.v = nil
	t.held &^= S
	v.lock.Unlock()
	t.order.Give(v.class())
}

// sleep is the hook before a wait: nothing is held from here on, but S of a
// design that holds it.
func (t *thread) sleep(s *core.Session) {
	setMark(&t.mark, 0)
	if t.p.d.HoldSession && s != nil {
		t.unlockInner()
		t.reapWithoutS()
		return
	}
	t.unlock()
	t.p.reap()
}

// reapWithoutS is reap before a wait that keeps S, which who is reaped may share.
func (t *thread) reapWithoutS() {
	w := t.p.w.TakeDead()
	if w == nil {
		return
	}
	t.p.w.PutDead(w)
	v := t.v
	if v != nil {
		t.unlockS()
	}
	t.p.reap()
	if v != nil {
		t.lockS(v) // if it is closed by now, so is the wait over
	}
}

// woke is the hook after a wait: what the operation needs is taken again, by
// the mode that is in force now, and its session looked up again.
func (t *thread) woke(s *core.Session) bool {
	if s == nil {
		return true // of select and poll, which need none
	}
	setMark(&t.mark, 1)
	v := s.Owner.(*session)
	single := t.mode.Load() != locked
	if !single {
		setMark(&t.mark, 0)
		t.c.Bare = false
	}
	if t.held&S == 0 && (!single || v.shared || t.p.d.Always) {
		t.lockS(v)
	}
	if v.s == nil {
		return false
	}
	if !v.set { // of which no more is needed
		t.take(t.want, single)
	}
	return true
}

// enterMQ is the hook before the queue is used. An operation that holds MQ
// already goes on.
func (t *thread) enterMQ() {
	if t.held&MQ != 0 || t.markForMQ() {
		return
	}
	t.order.Take(t.p.d.Name, "MQ")
	t.p.mq.Lock()
	t.held |= MQ
}

func (t *thread) tryMQ() bool {
	if t.markForMQ() {
		return true
	}
	if !t.p.mq.TryLock() {
		return false
	}
	t.order.Took("MQ")
	t.held |= MQ
	return true
}

// markForMQ reports whether the queue needs no lock, and then marks the thread,
// if it is outside because it waits.
func (t *thread) markForMQ() bool {
	if t.mark != 0 {
		return true
	}
	setMark(&t.mark, 1)
	if t.mode.Load() != locked {
		t.held |= hMark
		return true
	}
	setMark(&t.mark, 0)
	return false
}

func (t *thread) leaveMQ() {
	switch {
	case t.held&hMark != 0:
		t.held &^= hMark
		setMark(&t.mark, 0)
	case t.held&MQ != 0:
		t.held &^= MQ
		t.p.mq.Unlock()
		t.order.Give("MQ")
	}
}

// enter gives a new session of the core its VLS session, under P.w.
func (t *thread) enter(s *core.Session, single bool) error {
	l, err := t.p.a.lock("S", t.p.d.Kinds.Session)
	if err != nil {
		return err
	}
	if !single || t.p.d.Always {
		t.lockP()
		defer t.unlockP()
	}
	s.Owner = &session{lock: l, s: s, set: s.IsEpoll()}
	return nil
}
