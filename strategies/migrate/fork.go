package migrate

import (
	"runtime"
	"sync/atomic"

	"vlsbench/core"
	"vlsbench/hw"
	"vlsbench/sched"
	"vlsbench/vls"
)

// helper is a thread of a process's worker for as long as a fork or an exit
// takes. It is no thread of the process.
func (p *process) helper(w *worker) (*thread, error) {
	t := &thread{p: p, table: p.table, here: nowhere, w: w}
	if err := w.core.InitThread(&t.core, t); err != nil {
		return nil, err
	}
	t.c = &t.core
	return t, nil
}

// Fork copies the process while it is stopped.
func (p *process) Fork() (vls.Process, error) {
	p.enlist() // nobody registers or leaves meanwhile
	defer p.mu.Unlock()
	t, err := p.helper(p.main)
	if err != nil {
		return nil, err
	}
	t.frozen = true
	defer t.core.Exit()
	thaw := t.freeze()
	// What is at no worker is the main one's for as long as that takes.
	taken, err := t.takeAll()
	var child *process
	if err == nil {
		child, err = p.copy(t)
	}
	var line []*waiter
	for _, v := range taken {
		if v.at.Load() == t.w && v.root() == v {
			line = append(line, t.part(v, newUnit(v), t.c.GiveUp)...)
		}
	}
	thaw()
	t.tell(line)
	if err != nil {
		return nil, err
	}
	return child, nil
}

// freeze stops the process, with S of all of its sessions held, once all
// sessions of its workers are in the table. Under mu.
func (t *thread) freeze() (thaw func()) {
	p := t.p
	for {
		t.writeP()
		var held []*slock
		for _, sets := range []bool{true, false} {
			p.table.Each(func(_ uint64, v *session) {
				if v.isSet.Load() == sets {
					l := v.lock.Load()
					t.lockS(l)
					held = append(held, l)
				}
			})
		}
		p.stop()
		p.halt.Lock()
		thaw = func() {
			p.halt.Unlock()
			if hw.MembarrierAvailable() {
				p.mode.Store(0)
			}
			t.unlockAll(held)
			t.unwriteP()
		}
		entered := true
		for _, w := range p.workers {
			w.core.Each(func(s *core.Session) { entered = entered && s.Owner != nil })
		}
		if entered {
			return thaw
		}
		// A session was made and waits for P, to be entered in the table.
		thaw()
		if !sched.Spin("migrate: a session is not in the table yet") {
			runtime.Gosched()
		}
	}
}

// takeAll makes everything that is at no worker that of t, and returns it. No
// other thread of the process does anything.
func (t *thread) takeAll() (taken []*session, err error) {
	t.table.Each(func(_ uint64, v *session) {
		if v.at.Load() != nil || err != nil {
			return
		}
		u := v.unit.Load()
		if u == nil {
			return // of a child that is not whole yet
		}
		var room []*core.Session
		for len(room) < len(u.parcels) && err == nil {
			var s *core.Session
			if s, err = t.c.Reserve(); err == nil {
				room = append(room, s)
			}
		}
		if err != nil {
			for _, s := range room {
				t.c.Unreserve(s)
			}
			return
		}
		if t.frozen {
			t.adoptLocked(u, room)
		} else {
			t.adopt(u, room)
		}
		taken = append(taken, u.of...)
	})
	t.debts = nil
	return taken, err
}

// copy makes a child of a process that is stopped. t is a thread of its main
// worker. ENOMEM: there is not room for all of it; nothing has changed then.
func (p *process) copy(t *thread) (*process, error) {
	child, err := p.a.process()
	if err != nil {
		return nil, err
	}
	images := make(map[*session]*core.Session)
	made := func(s, image *core.Session) { images[s.Owner.(*session)] = image }
	w, err := t.c.Fork(made)
	if err != nil {
		return nil, err
	}
	if err := child.start(w); err != nil {
		return nil, err
	}
	// The table: those of the main worker at once, the others as they come.
	copies := make(map[*session]*session)
	child.table.Mirror(p.table, func(_ uint64, v, c *session) {
		c.clear()
		c.h = v.h
		c.isSet.Store(v.isSet.Load())
		c.lock.Store(v.lock.Load())
		if v.isSet.Load() {
			c.lock.Store(p.a.slock(true))
		}
		copies[v] = c
	})
	for v, c := range copies {
		c.set.Store(copies[v.set.Load()])
	}
	at := child.main
	enter := func() {
		for v, image := range images {
			c := copies[v]
			image.Owner = c
			c.s = image
			c.sh.Store(uint64(image.Handle()))
			child.byHandle[image.Handle()] = c.h
			c.at.Store(at)
		}
		clear(images)
	}
	enter()
	for _, k := range p.workers {
		if k == p.main || empty(k.core) {
			continue
		}
		h, err := p.helper(k)
		if err == nil {
			h.frozen = true
			var w *core.Worker
			if w, err = h.c.Fork(made); err == nil {
				at, err = child.worker(w)
			}
			h.core.Exit()
		}
		if err != nil {
			child.undo()
			return nil, err
		}
		enter()
		// There is a number: the one that was just given back.
		if h, err = child.helper(at); err != nil {
			child.undo()
			return nil, err
		}
		h.frozen = true
		at.core.Each(func(s *core.Session) {
			if s.Set() == nil {
				v := s.Owner.(*session)
				h.part(v, newUnit(v), h.c.GiveUp)
			}
		})
		child.retire(at, h.c)
		h.core.Exit()
	}
	for v, c := range copies {
		v.shared.Store(!v.isSet.Load())
		c.shared.Store(!v.isSet.Load())
	}
	p.forked.Store(true)
	child.forked.Store(true)
	return child, nil
}

// clear makes the session nobody's.
func (v *session) clear() {
	v.s, v.line = nil, nil
	v.set.Store(nil)
	v.unit.Store(nil)
	v.at.Store(nil)
}

// clear empties the table of a process whose sessions are all closed. S is held
// of all of them by a fork, or of none.
func (t *thread) clear() {
	p := t.p
	p.table.Each(func(h uint64, v *session) {
		p.table.Invalidate(h)
		l := v.lock.Load()
		if !t.frozen {
			t.lockS(l) // one that was killed may just leave a wait
		}
		v.clear()
		if !t.frozen {
			t.unlockS(l)
		}
		p.table.Free(h)
	})
}

// empty reports whether a worker has no sessions.
func empty(w *core.Worker) bool {
	none := true
	w.Each(func(*core.Session) { none = false })
	return none
}

// undo closes a child that could not be made whole.
func (p *process) undo() {
	for _, w := range append(p.workers[1:len(p.workers):len(p.workers)], p.main) {
		h, err := p.helper(w)
		if err != nil {
			continue // others have taken all numbers, in this very moment
		}
		h.frozen = true
		if w == p.main {
			h.takeAll()
		}
		if w == p.main {
			h.clear()
		}
		w.core.Close(h.c)
		h.core.Exit()
	}
}

// Exit closes what the process holds, wherever it is. It is also what its parent
// does for one that was killed.
func (p *process) Exit() error {
	p.main.core.Orphan()
	p.reap()
	p.enlist()
	defer p.mu.Unlock()
	t, err := p.helper(p.main)
	if err != nil {
		return err
	}
	for _, o := range p.threads {
		t.c.Nudge(o.w.core.Index()) // those of one that was killed
	}
	for _, o := range p.threads {
		for i := 1; atomic.LoadUint32(&o.fetches) != 0; i++ {
			pause(i) // it has seen, or will see at once, that the process is dead
		}
	}
	// Those of one that was killed may be about to leave something.
	t.writeP()
	defer t.unwriteP()
	if _, err := t.takeAll(); err != nil {
		t.core.Exit()
		return err
	}
	// The main worker is the last: until then there is a thread to close with.
	for _, w := range append(p.workers[1:len(p.workers):len(p.workers)], p.main) {
		h := t
		if w != p.main {
			if h, err = p.helper(w); err != nil {
				t.core.Exit()
				return err
			}
		}
		w.core.Each(func(s *core.Session) {
			// Others may be in what they share with this process.
			v, _ := s.Owner.(*session)
			if v == nil {
				h.c.Close(s)
				return
			}
			h.hold(v)
			h.c.Close(s)
			h.release(v)
		})
		if w == p.main {
			h.clear()
		}
		w.core.Close(h.c)
		h.core.Exit()
	}
	p.workers = nil
	return nil
}

// Kill keeps the threads of the process from their queues, and waits for those
// that go about something: those that wait find it dead, and leave, so that who
// closes what it held is alone there.
func (p *process) Kill() error {
	p.enlist()
	p.dead.Store(true)
	hw.HeavyFence()
	for _, t := range p.threads {
		for i := 1; atomic.LoadUint32(&t.works) != 0; i++ {
			pause(i)
		}
	}
	p.stop()
	p.halt.Lock()
	t := &thread{p: p, frozen: true}
	for _, w := range p.workers {
		w.core.Doom(t)
	}
	p.halt.Unlock()
	p.mu.Unlock()
	if p.main.core.Die() {
		return nil
	}
	return p.Exit()
}

// reap closes what children of the process held that have died. Nothing is
// held.
func (p *process) reap() {
	for w := p.main.core.TakeDead(); w != nil; w = p.main.core.TakeDead() {
		if err := w.Owner.(*process).Exit(); err != nil {
			// There is no number for a thread that could: at the next wait.
			p.main.core.PutDead(w)
			return
		}
	}
}
