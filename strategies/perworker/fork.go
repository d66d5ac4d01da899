package perworker

import (
	"runtime"

	"vlsbench/core"
	"vlsbench/locks"
	"vlsbench/vls"
)

// Fork copies the process as if the caller were a second thread of it, for as
// long as that takes: with every lock, and no thread in an operation without.
func (p *process) Fork() (vls.Process, error) {
	child, err := p.a.process()
	if err != nil {
		return nil, err
	}
	t := &thread{p: p, w: p.w}
	p.mu.Lock() // nobody registers or leaves meanwhile
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
		defer func() { first.mode.Store(p.mode()) }()
	}
	sets, err := t.holdAll()
	if err != nil {
		return nil, err
	}
	w, err := t.c.Fork(func(s, image *core.Session) {
		v := s.Owner.(*session)
		if s.IsEpoll() {
			image.Owner = &session{lock: sets[s], s: image}
			return
		}
		v.shared = true
		image.Owner = &session{lock: v.lock, s: image, shared: true}
	})
	t.unlock()
	p.w.Each(func(s *core.Session) { s.Owner.(*session).lock.Unlock() })
	p.table.Unlock()
	if err != nil {
		return nil, err
	}
	p.forked, child.forked = true, true
	child.w = w
	w.Owner = child
	return child, nil
}

// holdAll takes all locks of the process, and makes those of the sets that a
// child will have.
func (t *thread) holdAll() (sets map[*core.Session]locks.Lock, err error) {
	for {
		t.p.table.Lock()
		var held []*session
		t.p.w.Each(func(s *core.Session) {
			if v, ok := s.Owner.(*session); ok {
				v.lock.Lock()
				held = append(held, v)
			}
		})
		t.lockMQ(false)
		t.lockSP(false)
		entered := true
		sets = make(map[*core.Session]locks.Lock)
		t.p.w.Each(func(s *core.Session) {
			if s.Owner == nil {
				entered = false
			} else if s.IsEpoll() && err == nil {
				sets[s], err = t.p.a.lock("S", kindS)
			}
		})
		if entered && err == nil {
			return sets, nil
		}
		t.unlock()
		for _, v := range held {
			v.lock.Unlock()
		}
		t.p.table.Unlock()
		if err != nil {
			return nil, err
		}
		// A session was made and waits for P, to be entered in the table.
		runtime.Gosched()
	}
}

func (p *process) Exit() error {
	p.w.Orphan()
	p.reap()
	t := &thread{p: p, w: p.w}
	if err := t.Register(); err != nil {
		return err
	}
	// Others may be in what they share with this process.
	p.w.Each(func(s *core.Session) {
		v := s.Owner.(*session)
		v.lock.Lock()
		v.s = nil
		t.c.Close(s)
		v.lock.Unlock()
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
