package core

import (
	"sync/atomic"
)

const (
	indexBits = 24
	indexMask = 1<<indexBits - 1
	// MaxIndex is the highest index of a pool.
	MaxIndex = indexMask

	// pageSlots is the number of slots in a page.
	pageBits  = 10
	pageSlots = 1 << pageBits

	// notLive is the handle of a slot that is not to be found. No handle is
	// equal to it: that slot is never allocated.
	notLive = ^uint64(0)
)

// Pool is a table of slots that are named by handles. A slot keeps its address
// as the pool grows, and each use of it has a generation of its own, so Get
// needs no exclusion and finds what the handle named or nothing.
//
// A use has a name, which Get finds it by, and a key, which Key does. They are
// the same number, but for uses that a mirror has from another pool: those keep
// the name that they have there, and have a key of this pool's own.
//
// Alloc, Publish, Invalidate and Free are for one thread at a time. A use goes
// through them in that order; Get finds it between Publish and Invalidate.
type Pool[T any] struct {
	pages  [1 << (indexBits - pageBits)]atomic.Pointer[page[T]]
	absent slot[T] // stands for all that were never made
	worker uint32
	n      uint32 // slots that were ever used
	free   uint32 // index+1 of the slot freed last, 0: none
	used   int
	limit  int

	// Of Take and Return.
	top   atomic.Uint64 // swaps<<32 | index+1 of a free slot, 0 in the lower half: none
	made  atomic.Uint32 // slots that were ever used
	taken atomic.Int32
}

// page is the slots that are made at a time.
type page[T any] [pageSlots]slot[T]

// slot is one entry of a pool.
type slot[T any] struct {
	handle atomic.Uint64 // the name; notLive, or 0 if never used: not to be found
	gen    uint32        // of the use
	next   uint32        // in the free list, index+1
	below  atomic.Uint32 // the same, of Return's
	v      T
	key    atomic.Uint64 // 0: not to be found
}

// NewPool makes an empty pool whose handles carry the worker index.
func NewPool[T any](worker uint32) *Pool[T] {
	p := &Pool[T]{}
	p.init(worker)
	return p
}

func (p *Pool[T]) init(worker uint32) {
	p.worker, p.limit = worker&0xff, MaxIndex-1
	p.page(0)
}

// Get is the value of a live handle, else nil.
func (p *Pool[T]) Get(h uint64) *T {
	if s := p.find(h); s.handle.Load() == h {
		return &s.v
	}
	return nil
}

// Key is the value of the live use with that key, else nil.
func (p *Pool[T]) Key(k uint64) *T {
	if s := p.find(k); k != 0 && s.key.Load() == k {
		return &s.v
	}
	return nil
}

// Alloc takes a slot and returns the handle of its new use and the value, as
// its last user left it. nil: the pool is full.
func (p *Pool[T]) Alloc() (uint64, *T) {
	var index uint32
	switch {
	case p.free != 0:
		index = p.free - 1
		p.free = p.find(uint64(index)).next
	case int(p.n) < p.limit:
		index = p.n
		p.n++
		if p.find(uint64(index)) == &p.absent {
			p.page(index)
		}
	default:
		return 0, nil
	}
	s := p.find(uint64(index))
	s.gen = after(s.gen)
	p.used++
	return p.handle(s.gen, index), &s.v
}

// after is the generation that follows.
func after(gen uint32) uint32 { return max(gen+1, 1) }

func (p *Pool[T]) handle(gen, index uint32) uint64 {
	return uint64(gen)<<32 | uint64(p.worker)<<indexBits | uint64(index)
}

// Mirror makes the pool, in which nothing is allocated, an image of another:
// what is live there is live here, at the same index and under the same name,
// with a value that fill makes. The generations go on above those of both, so
// that no handle that was ever stale here or there is given out again. For one
// thread at a time in both pools.
func (p *Pool[T]) Mirror(of *Pool[T], fill func(key uint64, from, to *T)) {
	p.free = 0
	p.n = max(p.n, of.n)
	for index := range p.n {
		if p.find(uint64(index)) == &p.absent {
			p.page(index)
		}
	}
	for index := p.n; index > 0; {
		index--
		s, o := p.find(uint64(index)), of.find(uint64(index))
		s.gen = after(max(s.gen, o.gen))
		name := o.handle.Load()
		if name == 0 || name == notLive {
			s.next = p.free
			p.free = index + 1
			continue
		}
		key := p.handle(s.gen, index)
		fill(key, &o.v, &s.v)
		p.used++
		s.key.Store(key)
		s.handle.Store(name)
	}
}

// page makes the page of an index, if nobody else has. The first one always is
// there, and its first slot never has the handle 0; so 0, which is what absent
// has, finds nothing.
func (p *Pool[T]) page(index uint32) {
	made := new(page[T])
	made[0].handle.Store(notLive)
	p.pages[index>>pageBits].CompareAndSwap(nil, made)
}

// find is the slot with the index of a handle, absent if its page was never
// made. It is short enough to be inlined with what surrounds it: a call would
// store the caller's arguments, and took 1.5 ns of a Read.
func (p *Pool[T]) find(h uint64) *slot[T] {
	i := uint32(h) & indexMask
	if page := p.pages[i>>pageBits].Load(); page != nil {
		return &page[i%pageSlots]
	}
	return &p.absent
}

// Publish makes an allocated handle findable.
func (p *Pool[T]) Publish(h uint64) {
	s := p.find(h)
	s.key.Store(h)
	s.handle.Store(h)
}

// Invalidate makes the name and the key of a use, of which h is either, stale
// for ever. The slot stays as it is.
func (p *Pool[T]) Invalidate(h uint64) {
	s := p.find(h)
	s.handle.Store(notLive)
	s.key.Store(0)
}

// Free gives the slot of an invalidated use to its next user.
func (p *Pool[T]) Free(h uint64) {
	index := uint32(h) & indexMask
	p.find(uint64(index)).next = p.free
	p.free = index + 1
	p.used--
}

// Live is the name that the slot with this index is found by, or 0.
func (p *Pool[T]) Live(index uint32) uint64 {
	if h := p.find(uint64(index)).handle.Load(); h != notLive {
		return h
	}
	return 0
}

// Each calls f with the name of what is live, some of it perhaps no more when f looks. It
// needs no exclusion.
func (p *Pool[T]) Each(f func(h uint64, v *T)) {
	for index := uint32(0); ; index++ {
		s := p.find(uint64(index))
		if s == &p.absent {
			return
		}
		if h := s.handle.Load(); h != 0 && h != notLive {
			f(h, &s.v)
		}
	}
}

// Used is the number of slots that are allocated and not freed.
func (p *Pool[T]) Used() int { return p.used + int(p.taken.Load()) }
