package core

import (
	"syscall"

	"vlsbench/sched"
)

// forkFree is Fork where ends of sessions are claimed: one session after the
// other, each with both ends claimed. A session that is made, or closed,
// meanwhile may be the child's or not.
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
			p, err := t.claim(w.sessions.find(h), Handle(h), BothEnds, waits)
			if err != nil {
				continue // closed meanwhile
			}
			if p.IsEpoll() == sets {
				err = f(p, h)
			}
			t.release(p, BothEnds)
			if err != nil {
				return err
			}
			sched.Point("fork: between two sessions")
		}
		return nil
	}
	enter := func(p, c *Session, key, name uint64) {
		if made != nil {
			made(p, c)
		}
		c.life.Store(key>>32<<lifeGen | lifePin)
		child.sessions.show(key, name)
	}
	each(true, func(p *Session, name uint64) error {
		key, c := child.sessions.image(Handle(name).Index())
		c.image(child, p, Handle(key))
		c.epoll = newReady(c)
		enter(p, c, key, name)
		return nil
	})
	err := each(false, func(p *Session, name uint64) error {
		var fresh *shared
		if p.sh == nil {
			if fresh = t.w.app.allocShared(); fresh == nil {
				return syscall.ENOMEM
			}
			p.join(fresh)
			p.settleDial()
			p.sendTo(fresh.handle)
			// The rest of the claim that the caller gives back.
			fresh.claim.Or(uint64(BothEnds))
		}
		key, c := child.sessions.image(Handle(name).Index())
		c.image(child, p, Handle(key))
		c.missed.Store(p.missed.Load())
		c.full.Store(p.full.Load())
		c.failed.Store(p.failed.Load())
		enter(p, c, key, name)
		if m := p.member.Load(); m != nil {
			if set := child.sessions.Get(child.sessions.Live(m.set.index)); set != nil && set.epoll != nil {
				o := &member{set: set.epoll.free, s: c, gen: key >> 32, events: m.events, data: m.data}
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
		// As its exit would.
		o := &Thread{w: child, producer: t.producer, whose: t.whose}
		child.Close(o)
		return nil, err
	}
	w.forked.Store(true)
	child.forked.Store(true)
	return child, nil
}
