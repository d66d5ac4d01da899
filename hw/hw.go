// Package hw is the machine under the laboratory: pause, release store, fence,
// cycle clock, affinity, topology, futex and membarrier. It is what the Go
// runtime does not offer, or offers dearer than a comparison of locks can bear.
//
// Assembly and unsafe stand in files that say so in their names. Each primitive
// has a twin in plain Go (*_generic.go), which other architectures and the
// build tag purego use.
//
// # Memory order
//
// [StoreRel32] and [StoreRel64] order what was read and written before them
// against themselves, and nothing else: a later load may be served before the
// store is visible. Who publishes and then tests a flag needs [Fence] in
// between, or [HeavyFence] on the other side. Loads that pair with them are
// those of sync/atomic, which are acquire loads at the price of a plain one.
// Under the race detector release stores are atomic stores, so that it sees
// them; the shipped variant it never sees.
package hw

const (
	// CacheLine is the unit of coherence in bytes.
	CacheLine = 64
	// FalseSharing is how far apart in bytes two words must lie so that writing
	// one does not slow readers of the other: a pair of lines, since a
	// prefetcher may fetch the neighbour of a line with it.
	FalseSharing = 128
)
