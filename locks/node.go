package locks

import (
	"math/rand/v2"
	"sync/atomic"

	"vlsbench/hw"
	"vlsbench/sched"
)

// Queue locks let a thread wait on a node. A thread has one while it waits, and
// with CLH until it unlocks what it had to wait for; so all locks share these, a
// lock that is free has none, and a lock and unlock that meet nobody know nothing
// of them. The word of a lock names a node by its number, counted from firstNode.
const (
	maxNodes  = 16 << 6 // threads beyond have no place in a queue
	firstNode = 2       // a lock has its own meaning for 0 and 1
)

type node struct {
	state uint32 // see below
	next  uint32 // MCS: the node of who came next, written by that one
	taken uint32 // 1: somebody has it
	_     [hw.FalseSharing - 12]byte
}

// In the heap, where it has pages of its own and so an address to rely on. A
// slice, as the lines of a [Bravo], so that nobody reads the first on the way.
var nodes = make([]node, maxNodes)

func nodeOf(id uint32) *node { return &nodes[id-firstNode] }

// takeNode returns the number of a node that is the caller's until giveNode, in
// state waiting; 0 if there is none. It looks at random, first among a few that
// were used lately and then among more and more: when half of all are free, it
// misses them once in 2⁵² times.
func takeNode() uint32 {
	for try := range 64 {
		i := rand.Uint32N(16 << min(try/2, 6)) // of 16, 16, 32, 32, …
		n := &nodes[i]
		if atomic.LoadUint32(&n.taken) == 0 && atomic.CompareAndSwapUint32(&n.taken, 0, 1) {
			hw.StoreRel32(&n.state, waiting)
			hw.StoreRel32(&n.next, 0)
			return i + firstNode
		}
	}
	return 0
}

func giveNode(id uint32) { hw.StoreRel32(&nodeOf(id).taken, 0) }

// The states of a word on which one thread waits for another.
const (
	waiting = iota // until granted; or nobody is here yet
	asleep         // so deep that granting must wake
	granted
)

// awaitGrant waits until the word is granted.
func awaitGrant(what string, state *uint32) {
	for b := (backoff{what: what}); atomic.LoadUint32(state) != granted; {
		if b.spin(1) {
			continue
		}
		// The kernel may be late with a wake that was meant for the last user of
		// the node, hence the loop.
		if atomic.LoadUint32(state) == asleep || atomic.CompareAndSwapUint32(state, waiting, asleep) {
			sleep(what, state, asleep)
		}
	}
}

// grant ends the wait. The word may be another's when the wake-up comes.
func grant(what string, state *uint32) {
	sched.Point(what)
	if atomic.SwapUint32(state, granted) == asleep {
		wake(what, state)
	}
}
