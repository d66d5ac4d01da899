package locked

import (
	"runtime"
	"time"

	"vlsbench/core"
	"vlsbench/hw"
	"vlsbench/locks"
	"vlsbench/sched"
	"vlsbench/vls"
)

// Fork copies the process as if the caller were a second thread of it, for as
// long as that takes: with every lock, and no thread in an operation without.
func (p *process) Fork() (vls.Process, error) {
	child, err := p.a.process()
	if err != nil {
		return nil, err
	}
	t := p.newThread()
	p.enlist() // nobody registers or leaves meanwhile
	defer p.mu.Unlock()
	if err := p.w.InitThread(&t.core, t); err != nil {
		return nil, err
	}
	defer t.core.Exit()
	t.c = &t.core
	if first := p.lockOutFirst(); first != nil {
		// Whatever it is in by then with locks it ends with them.
		defer func() { first.setMode(p.mode()) }()
	}
	held := t.holdAll()
	sets := make(map[*core.Session]locks.Lock) // those that the child will have
	for _, v := range held {
		if v.set && err == nil {
			sets[v.s], err = p.a.lock("S", p.d.Kinds.Session)
		}
	}
	if err != nil {
		t.letGo(held)
		return nil, err
	}
	w, err := t.c.Fork(func(s, image *core.Session) {
		v := s.Owner.(*session)
		if s.IsEpoll() {
			image.Owner = &session{lock: sets[s], s: image, set: true}
			return
		}
		v.shared = true
		image.Owner = &session{lock: v.lock, s: image, shared: true}
	})
	t.letGo(held)
	if err != nil {
		return nil, err
	}
	p.forked, child.forked = true, true
	child.w = w
	w.Owner = child
	return child, nil
}

// lockOutFirst makes the only thread of the process take locks, and returns it;
// nil: there is none, or there are several, which do. Under mu.
func (p *process) lockOutFirst() *thread {
	if p.several || len(p.threads) == 0 {
		return nil
	}
	p.threads[0].lockOut()
	return p.threads[0]
}

// holdAll takes all locks of the process, sets first and then sessions, each in
// the order of the table, once all sessions are in it. Under mu.
func (t *thread) holdAll() (held []*session) {
	for b := (pause{}); ; {
		t.lockP()
		held = nil
		entered := true
		var busy *session // whose S is not to be had while P is held
		for _, epoll := range []bool{true, false} {
			t.w.Each(func(s *core.Session) {
				// One that was made may wait for P, to be entered in the table.
				v, ok := s.Owner.(*session)
				if !ok {
					entered = false
				}
				if !entered || busy != nil || v.set != epoll {
					return
				}
				if t.lockSUnderP(v) {
					held = append(held, v)
				} else {
					busy = v
				}
			})
		}
		if entered && busy == nil {
			t.take(MQ|SP, false)
			// One may have come into the pool before that was held.
			t.w.Each(func(s *core.Session) { entered = entered && s.Owner != nil })
			if entered {
				return held
			}
		}
		t.letGo(held)
		if busy != nil {
			t.lockS(busy)
			t.dropS()
		} else {
			b.wait()
		}
	}
}

// letGo takes holdAll back.
func (t *thread) letGo(held []*session) {
	t.v, t.held = nil, t.held&^S
	t.unlock()
	for _, v := range held {
		v.lock.Unlock()
		t.order.Give(v.class())
	}
	t.unlockP()
}

// pause is between two tries for a lock, during which it must not be waited for.
type pause struct{ tries int }

func (b *pause) wait() {
	if sched.Spin("locked: S was not to be had") {
		return
	}
	hw.Pause()
	if b.tries++; b.tries%16 != 0 {
		runtime.Gosched()
		return
	}
	hw.FutexWait(&nobody, 0, 20*time.Microsecond)
}

// nobody is a futex that no one wakes.
var nobody uint32

// Exit closes what the process holds, if it has had several threads with every
// lock, as a fork copies: of one that was killed some may be on their way out.
func (p *process) Exit() error {
	p.w.Orphan()
	p.reap()
	t := p.newThread()
	if err := t.Register(); err != nil {
		return err
	}
	p.enlist()
	if p.several {
		held := t.holdAll()
		t.unlockInner() // each close lets go of them, and takes them in their order
		p.w.Each(func(s *core.Session) {
			s.Owner.(*session).s = nil
			t.take(MQ|SP, false)
			t.c.Close(s)
			t.unlockInner()
		})
		t.take(MQ|SP, false)
		p.w.Close(t.c)
		t.letGo(held)
	} else {
		// Others may be in what they share with this process.
		p.w.Each(func(s *core.Session) {
			v := s.Owner.(*session)
			t.lockS(v)
			t.close(v, true)
		})
		p.w.Close(t.c)
	}
	p.mu.Unlock()
	return t.Exit()
}

func (p *process) Kill() error {
	p.doom()
	if p.w.Die() {
		return nil
	}
	return p.Exit()
}

// doom keeps the threads of the process from everything, and waits for those that
// are in the middle of something: those that wait leave, and get nothing.
func (p *process) doom() {
	p.enlist()
	defer p.mu.Unlock()
	if p.lockOutFirst() != nil {
		p.several = true
	}
	t := p.newThread()
	t.take(MQ|SP, false)
	p.w.Doom(t)
	t.unlock()
	// By a design whose waits keep S those of others may have it for ever.
	if !p.d.HoldSession {
		t.letGo(t.holdAll())
	}
}

// reap closes what children of the process held that have died. Nothing is
// held.
func (p *process) reap() {
	for w := p.w.TakeDead(); w != nil; w = p.w.TakeDead() {
		if err := w.Owner.(*process).Exit(); err != nil {
			// There is no number for a thread that could: at the next wait.
			p.w.PutDead(w)
			return
		}
	}
}
