package hw

import "sync/atomic"

// The twins of the primitives in plain Go.

func storeRel32Generic(p *uint32, v uint32) { atomic.StoreUint32(p, v) }
func storeRel64Generic(p *uint64, v uint64) { atomic.StoreUint64(p, v) }

// pauseGeneric is a call and nothing else: plain Go has no way to tell a core
// that it spins.
//
//go:noinline
func pauseGeneric() {}

var fenceWord atomic.Uint32

// fenceGeneric is an atomic operation among others. Where it is used, release
// stores are atomic stores, which together with atomic loads need no fence at
// all. To the race detector it orders all threads that call it, so it may hide
// a race that the assembly shows.
func fenceGeneric() { fenceWord.Add(1) }
