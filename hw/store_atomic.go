//go:build !amd64 || purego || race

package hw

// StoreRel32 stores v with release order: who sees v with an atomic load sees
// everything that came before the store. It is not a fence.
//
// It is Go's atomic store: on arm64 that is one STLR, and the race detector
// sees no other.
func StoreRel32(p *uint32, v uint32) { storeRel32Generic(p, v) }

// StoreRel64 is [StoreRel32] of 8 bytes. On a 32-bit machine p must be a
// multiple of 8, as sync/atomic demands.
func StoreRel64(p *uint64, v uint64) { storeRel64Generic(p, v) }
