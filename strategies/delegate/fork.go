package delegate

import (
	"cmp"
	"slices"

	"vlsbench/core"
	"vlsbench/vls"
)

// helper is a thread of the core for as long as a fork or an exit takes. It is no
// thread of the process.
func (p *process) helper() (*thread, error) {
	t := p.newThread()
	return t, t.attach()
}

// Fork copies the process from inside all stations of its sessions.
func (p *process) Fork() (vls.Process, error) {
	p.enlist() // nobody registers or leaves meanwhile
	defer p.mu.Unlock()
	t, err := p.helper()
	if err != nil {
		return nil, err
	}
	defer t.core.Exit()
	in := t.enterAll()
	made := make(map[*entry]*core.Session)
	w, err := t.c.Fork(func(s, image *core.Session) { made[p.find(s.Handle().Index())] = image })
	var child *process
	if err == nil {
		child = p.a.process(w)
		for e, image := range made {
			at := e.at.Load()
			if at == &p.main {
				at = &child.main
			} else {
				at.shared = true
			}
			child.enter(image, e.h, at)
		}
		p.crowded.Store(true)
		child.crowded.Store(true)
	}
	t.unlockMain()
	for _, st := range slices.Backward(in) {
		t.leave(st)
	}
	if err != nil {
		return nil, err
	}
	return child, nil
}

// enterAll enters the stations of all sessions of the process, in their order,
// and then the process's. Under mu.
func (t *thread) enterAll() (in []*station) {
	p := t.p
	for {
		// In main nobody makes a session or closes one, so what is found there
		// last is all.
		t.lockMain()
		all := make(map[*station]bool)
		p.each(func(e *entry) {
			if at := e.at.Load(); at != &p.main {
				all[at] = true
			}
		})
		whole := true
		for st := range all {
			whole = whole && slices.Contains(in, st)
		}
		if whole {
			return in
		}
		t.unlockMain()
		for _, st := range slices.Backward(in) {
			t.leave(st)
		}
		in = in[:0]
		for st := range all {
			in = append(in, st)
		}
		slices.SortFunc(in, func(a, b *station) int { return cmp.Compare(a.id, b.id) })
		t.outer.alone = true
		for _, st := range in {
			t.enter(st, &t.outer)
		}
	}
}

// Exit closes what the process holds.
func (p *process) Exit() error {
	t, err := p.helper()
	if err != nil {
		return err
	}
	p.w.Orphan()
	p.reap()
	var open []vls.Handle
	t.lockMain()
	p.each(func(e *entry) { open = append(open, e.h) })
	t.unlockMain()
	// Others may be in the stations of what they share with this process.
	for _, h := range open {
		t.req = request{op: opClose, h: h}
		t.finish(false)
	}
	t.lockMain()
	p.w.Close(t.c)
	t.unlockMain()
	t.core.Exit()
	return nil
}

// Kill dooms from inside of all stations, as a fork copies: who is in an operation
// has left it, or waits.
func (p *process) Kill() error {
	p.enlist()
	t := p.newThread()
	in := t.enterAll()
	p.w.Doom(t)
	t.unlockMain()
	for _, st := range slices.Backward(in) {
		t.leave(st)
	}
	p.mu.Unlock()
	if p.w.Die() {
		return nil
	}
	return p.Exit()
}

// reap closes what children of the process held that have died. Nothing is held.
func (p *process) reap() {
	for w := p.w.TakeDead(); w != nil; w = p.w.TakeDead() {
		if err := w.Owner.(*process).Exit(); err != nil {
			// There is no number for a thread that could: at the next wait.
			p.w.PutDead(w)
			return
		}
	}
}
