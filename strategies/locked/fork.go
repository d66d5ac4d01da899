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
	if !p.several && len(p.threads) > 0 {
		first := p.threads[0]
		first.lockOut()
		// Whatever it is in by then with locks it ends with them.
		defer func() { first.setMode(p.mode()) }()
	}
	held, sets, err := t.holdAll()
	if err != nil {
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

// holdAll takes all locks of the process, sets first and then sessions, each in
// the order of the table, and makes those of the sets that a child will have.
func (t *thread) holdAll() (held []*session, sets map[*core.Session]locks.Lock, err error) {
	for b := (pause{}); ; b.wait() {
		t.lockP()
		held, sets = nil, make(map[*core.Session]locks.Lock)
		entered := true
		for _, epoll := range []bool{true, false} {
			t.w.Each(func(s *core.Session) {
				// One that was made may wait for P, to be entered in the table,
				// and by some designs one that holds S may wait for P.
				v, ok := s.Owner.(*session)
				if !ok {
					entered = false
				}
				if !entered || err != nil || v.set != epoll {
					return
				}
				if entered = t.lockSUnderP(v); entered {
					held = append(held, v)
					if epoll {
						sets[s], err = t.p.a.lock("S", t.p.d.Kinds.Session)
					}
				}
			})
		}
		t.take(MQ|SP, false)
		// One may have come into the pool before that was held.
		t.w.Each(func(s *core.Session) { entered = entered && s.Owner != nil })
		if entered && err == nil {
			return held, sets, nil
		}
		t.letGo(held)
		if err != nil {
			return nil, nil, err
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

func (p *process) Exit() error {
	p.w.Orphan()
	p.reap()
	t := p.newThread()
	if err := t.Register(); err != nil {
		return err
	}
	// Others may be in what they share with this process.
	p.w.Each(func(s *core.Session) {
		v := s.Owner.(*session)
		t.lockS(v)
		t.close(v, true)
	})
	p.w.Close(t.c)
	return t.Exit()
}

func (p *process) Kill() error {
	if p.w.Die() {
		return nil
	}
	return p.Exit()
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
