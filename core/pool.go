package core

import (
	"math/bits"
	"sync/atomic"
)

const (
	indexBits = 24
	indexMask = 1<<indexBits - 1
	// MaxIndex is the highest index of a pool.
	MaxIndex = indexMask

	// firstPage is the number of slots in page 0; page k has firstPage<<k.
	firstPageBits = 6
	firstPage     = 1 << firstPageBits
	nPages        = indexBits - firstPageBits + 1
)

// Pool is a table of slots that are named by handles. A slot keeps its address
// as the pool grows, and each use of it has a generation of its own, so Get
// needs no exclusion and finds what the handle named or nothing.
//
// Alloc, Publish, Invalidate and Free are for one thread at a time. A use goes
// through them in that order; Get finds it between Publish and Invalidate.
type Pool[T any] struct {
	pages  [nPages]atomic.Pointer[[]slot[T]]
	worker uint32
	n      uint32 // slots that were ever used
	free   uint32 // index+1 of the slot freed last, 0: none
	used   int
	limit  int
}

// slot is one entry of a pool.
type slot[T any] struct {
	handle atomic.Uint64 // 0: not to be found
	gen    uint32        // of the next use
	next   uint32        // in the free list, index+1
	v      T
}

// NewPool makes an empty pool whose handles carry the worker index.
func NewPool[T any](worker uint32) *Pool[T] {
	return &Pool[T]{worker: worker & 0xff, limit: MaxIndex}
}

// Get is the value of a live handle, else nil.
func (p *Pool[T]) Get(h uint64) *T {
	i := uint32(h)&indexMask + firstPage
	k := uint32(bits.Len32(i)) - firstPageBits - 1
	if k >= nPages {
		return nil
	}
	page := p.pages[k].Load()
	if page == nil {
		return nil
	}
	s := &(*page)[i-firstPage<<k]
	if s.handle.Load() != h || h == 0 {
		return nil
	}
	return &s.v
}

// at is the slot with an index that was allocated.
func (p *Pool[T]) at(index uint32) *slot[T] {
	i := index + firstPage
	k := uint32(bits.Len32(i)) - firstPageBits - 1
	return &(*p.pages[k].Load())[i-firstPage<<k]
}

// Alloc takes a slot and returns the handle of its new use and the value, as
// its last user left it. nil: the pool is full.
func (p *Pool[T]) Alloc() (uint64, *T) {
	var index uint32
	switch {
	case p.free != 0:
		index = p.free - 1
		p.free = p.at(index).next
	case int(p.n) < p.limit:
		index = p.n
		p.n++
		k := uint32(bits.Len32(index+firstPage)) - firstPageBits - 1
		if p.pages[k].Load() == nil {
			page := make([]slot[T], firstPage<<k)
			p.pages[k].Store(&page)
		}
	default:
		return 0, nil
	}
	s := p.at(index)
	if s.gen++; s.gen == 0 {
		s.gen = 1
	}
	p.used++
	return uint64(s.gen)<<32 | uint64(p.worker)<<indexBits | uint64(index), &s.v
}

// Publish makes an allocated handle findable.
func (p *Pool[T]) Publish(h uint64) { p.at(uint32(h) & indexMask).handle.Store(h) }

// Invalidate makes the handle stale for ever. The slot stays as it is.
func (p *Pool[T]) Invalidate(h uint64) { p.at(uint32(h) & indexMask).handle.Store(0) }

// Free gives the slot of an invalidated handle to its next user.
func (p *Pool[T]) Free(h uint64) {
	index := uint32(h) & indexMask
	p.at(index).next = p.free
	p.free = index + 1
	p.used--
}

// Live is the handle that the slot with this index is found by, or 0.
func (p *Pool[T]) Live(index uint32) uint64 {
	i := index&indexMask + firstPage
	k := uint32(bits.Len32(i)) - firstPageBits - 1
	if k >= nPages {
		return 0
	}
	page := p.pages[k].Load()
	if page == nil {
		return 0
	}
	return (*page)[i-firstPage<<k].handle.Load()
}

// Each calls f for what is live, some of it perhaps no more when f looks. It
// needs no exclusion.
func (p *Pool[T]) Each(f func(h uint64, v *T)) {
	for k := range p.pages {
		page := p.pages[k].Load()
		if page == nil {
			return
		}
		for i := range *page {
			s := &(*page)[i]
			if h := s.handle.Load(); h != 0 {
				f(h, &s.v)
			}
		}
	}
}

// Used is the number of slots that are allocated and not freed.
func (p *Pool[T]) Used() int { return p.used }
