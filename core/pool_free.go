package core

import "vlsbench/sched"

// Take and Return are Alloc and Free for any number of threads at once, none of
// which, wherever it is stopped, keeps another from going on. A pool is used
// with the one pair or with the other. Free slots are a stack, whose top counts
// its changes, so that a swap of what was seen says that nothing changed.

// Take takes a slot and returns the handle of its new use and the value, as its
// last user left it. nil: the pool is full.
func (p *Pool[T]) Take() (uint64, *T) {
	index, ok := p.takeFree()
	if !ok {
		if index, ok = p.takeNew(); !ok {
			return 0, nil
		}
	}
	if sched.Enabled {
		sched.Point("pool: a slot taken, before it has a generation")
	}
	s := p.find(uint64(index))
	s.gen = after(s.gen)
	p.taken.Add(1)
	return p.handle(s.gen, index), &s.v
}

// takeFree takes the slot that was returned last.
func (p *Pool[T]) takeFree() (index uint32, ok bool) {
	for {
		top := p.top.Load()
		if uint32(top) == 0 {
			return 0, false
		}
		index = uint32(top) - 1
		below := p.find(uint64(index)).below.Load()
		if sched.Enabled {
			sched.Point("pool: between the look at the top and its swap")
		}
		if p.top.CompareAndSwap(top, (top>>32+1)<<32|uint64(below)) {
			return index, true
		}
	}
}

// takeNew takes a slot that was never used.
func (p *Pool[T]) takeNew() (index uint32, ok bool) {
	for {
		n := p.made.Load()
		if int(n) >= p.limit {
			return 0, false
		}
		// Before it is anybody's, or who was stopped here would keep it.
		if p.find(uint64(n)) == &p.absent {
			p.page(n)
		}
		if sched.Enabled {
			sched.Point("pool: between the count of slots and its swap")
		}
		if p.made.CompareAndSwap(n, n+1) {
			return n, true
		}
	}
}

// Return gives the slot of an invalidated use to its next user.
func (p *Pool[T]) Return(h uint64) {
	p.push(uint32(h) & indexMask)
	p.taken.Add(-1)
}

func (p *Pool[T]) push(index uint32) {
	s := p.find(uint64(index))
	for {
		top := p.top.Load()
		s.below.Store(uint32(top))
		if sched.Enabled {
			sched.Point("pool: between a free slot's link and its place")
		}
		if p.top.CompareAndSwap(top, (top>>32+1)<<32|uint64(index+1)) {
			return
		}
	}
}

// image makes the slot at an index, of a pool that nobody uses yet, one for the
// image of a use of another pool, and returns its key.
func (p *Pool[T]) image(index uint32) (key uint64, v *T) {
	for i := uint32(0); i <= index>>pageBits; i++ {
		if p.pages[i].Load() == nil {
			p.page(i << pageBits)
		}
	}
	s := p.find(uint64(index))
	s.gen = after(s.gen)
	p.taken.Add(1)
	return p.handle(s.gen, index), &s.v
}

// show makes an image findable, under the name that it has in the other pool.
func (p *Pool[T]) show(key, name uint64) {
	s := p.find(key)
	s.key.Store(key)
	s.handle.Store(name)
}

// imaged ends the making of images, of which none has index n or one beyond:
// what has no name is free.
func (p *Pool[T]) imaged(n uint32) {
	n = max(n, p.made.Load())
	p.made.Store(n)
	p.top.Store(p.top.Load() >> 32 << 32)
	for index := n; index > 0; {
		index--
		if p.find(uint64(index)) == &p.absent {
			p.page(index)
		}
		if p.Live(index) == 0 {
			p.push(index)
		}
	}
}
