package core

import (
	"math/bits"
	"unsafe"
)

// pageOf is the page of a slot, by the length of its biased index in bits.
func pageOf(index uint32) int { return bits.Len32(index + firstPage) }

// find is the slot with the index of a handle, absent if its page was never made. A page begins
// where the biased index is a power of two, and has as many slots, so its
// offset in the page is the biased index without its first bit. Pages are kept
// by their first slot: a slice would cost a load more in each call.
func (p *Pool[T]) find(h uint64) *slot[T] {
	i := uint32(h)&indexMask + firstPage
	n := bits.Len32(i)
	page := p.pages[n].Load()
	if page == nil {
		return &p.absent
	}
	return (*slot[T])(unsafe.Add(unsafe.Pointer(page), uintptr(i^1<<(n-1))*unsafe.Sizeof(*page)))
}
