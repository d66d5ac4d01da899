package core

import (
	"syscall"

	"vlsbench/sched"
)

// forkFree is Fork where ends of sessions are claimed: one session after the
// other, each with its control claimed. Who reads and writes it goes on. A session
// that is made, or closed, meanwhile may be the child's or not.
func (t *Thread) forkFree(child *Worker, made func(parent, child *Session)) (*Worker, error) {
	w := t.w
	n := w.sessions.made.Load()
	each := func(sets bool, f func(p *Session, name uint64) error) error {
		for index := range n {
			h := w.sessions.Live(index)
			if h == 0 {
				continue
			}
			// Not by a bias: it is shared from here on.
			p, err := t.claim(w.sessions.find(h), Handle(h), control, waits)
			if err != nil {
				continue // closed meanwhile
			}
			if p.IsEpoll() == sets {
				err = f(p, h)
			}
			t.release(p, control)
			if err != nil {
				return err
			}
			sched.Point("fork: between two sessions")
		}
		return nil
	}
	// What is given up here is given up as by an exit.
	closer := &Thread{w: child, producer: t.producer, whose: t.whose}
	enter := func(p, c *Session, key, name, shared uint64) {
		if made != nil {
			made(p, c)
		}
		c.begin(lifePin | shared)
		if sched.Enabled {
			sched.Point("fork: an image is whole, before anybody finds it")
		}
		child.sessions.show(key, name)
	}
	sets := make(map[*ready]*ready) // the child's, by the parent's
	each(true, func(p *Session, name uint64) error {
		key, c := child.sessions.image(Handle(name).Index())
		c.image(child, p, Handle(key))
		c.epoll = newReady(c)
		sets[p.epoll.free] = c.epoll.free
		enter(p, c, key, name, 0)
		return nil
	})
	err := each(false, func(p *Session, name uint64) error {
		if child.sessions.Live(Handle(name).Index()) != 0 {
			return nil // a set was closed meanwhile, and this made in its slot
		}
		if p.sh.Load() == nil && !t.shareFree(p) {
			return syscall.ENOMEM
		}
		key, c := child.sessions.image(Handle(name).Index())
		c.image(child, p, Handle(key))
		c.missed.Store(p.missed.Load())
		c.full.Store(p.full.Load())
		c.failed.Store(p.failed.Load())
		if sched.Enabled {
			sched.Point("fork: an image shares, before the look whether its parent is closing")
		}
		if p.life.Load()&lifeClosing != 0 {
			// Where it listened, or was bound, others may by now. Nobody has found
			// the image: it ends here.
			c.begin(lifePin | lifeShared | lifeClosing | uint64(BothEnds))
			closer.endNow(c)
			return nil
		}
		enter(p, c, key, name, lifeShared)
		if m := p.member.Load(); m != nil {
			if set := sets[m.set]; set != nil {
				o := &member{set: set, s: c, gen: key >> 32, events: m.events, data: m.data}
				o.state.Store(m.state.Load() &^ stateGone)
				c.flags.Or(p.flags.Load() & memberFlags)
				o.set.add(o)
				o.heat()
			}
		}
		return nil
	})
	child.sessions.imaged(n)
	if err != nil {
		child.Close(closer)
		return nil, err
	}
	w.forked.Store(true)
	child.forked.Store(true)
	return child, nil
}

// shareFree makes a session, of which the caller has the control, one that can be
// shared: false: there is no room. Who is inside of an end is from then on inside
// of that of what is shared, and leaves it there, too.
func (t *Thread) shareFree(p *Session) bool {
	sh := t.w.app.allocShared()
	if sh == nil {
		return false
	}
	p.join(sh)
	p.settleDial()
	p.sendTo(sh.handle)
	gen := sh.claim.Load()
	for {
		l := p.life.Load()
		sh.claim.Store(gen | uint64(control) | l&uint64(RxEnd|TxEnd))
		if sched.Enabled {
			sched.Point("fork: between who is inside of a session and the word that it is shared")
		}
		if p.life.CompareAndSwap(l, l|lifeShared) {
			return true
		}
	}
}
