//go:build !purego && !race

package hw

// StoreRel32 stores v with release order: who sees v with an atomic load sees
// everything that came before the store. It is not a fence.
//
// It is assembly because an atomic store of Go is an XCHG here, which drains
// the store buffer, and because a plain store is a data race by Go's rules,
// which the compiler may turn into anything.
//
//go:noescape
func StoreRel32(p *uint32, v uint32)

// StoreRel64 is [StoreRel32] of 8 bytes.
//
//go:noescape
func StoreRel64(p *uint64, v uint64)
