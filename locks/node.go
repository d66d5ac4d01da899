package locks

import (
	"math/rand/v2"
	"sync/atomic"

	"vlsbench/hw"
	"vlsbench/sched"
)

// Queue locks let a thread wait on a node. A thread has one from when it has to
// wait until it unlocks; so all locks share these, one that is free has none, and
// a lock and unlock that meet nobody know nothing of them. A node is named by its
// number, counted from 1.
const maxNodes = 16 << 6 // threads beyond have no place in a queue

type node struct {
	state uint32 // see below
	next  uint32 // MCS: the node of who came next, written by that one
	taken uint32 // 1: somebody has it
	_     [hw.FalseSharing - 12]byte
}

// In the heap, where it has pages of its own and so an address to rely on. A
// slice, as the lines of a [Bravo], so that nobody reads the first on the way.
var nodes = make([]node, maxNodes)

func nodeOf(id uint32) *node { return &nodes[id-1] }

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
			return i + 1
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

// What the word of a queue lock says; 0 if it is free.
const (
	held   = 1 << iota
	sleeps // the first who waits does
	passed // the holder had to wait: it has a node, and hands the lock on by that
)

// takeFirst waits for the word of a lock, as the first of its queue: since there
// is a queue, nobody comes any more that would go before it.
func takeFirst(what string, word *uint32) {
	for b := (backoff{what: what}); ; {
		was := atomic.LoadUint32(word)
		sched.Point(what)
		switch {
		case was == 0:
			if atomic.CompareAndSwapUint32(word, 0, held|passed) {
				return
			}
		case b.spin(1):
		case was&sleeps != 0 || atomic.CompareAndSwapUint32(word, was, was|sleeps):
			sleep(what, word, was|sleeps)
		}
	}
}

// free gives a lock back that had passed, and has no queue any more.
func free(what string, word *uint32) {
	sched.Point(what)
	if was := atomic.SwapUint32(word, 0); was&sleeps != 0 {
		wake(what, word)
	}
}

// freed is after a word was set to 0 that was not just held.
func freed(lock string, was uint32, word *uint32) {
	if was == 0 {
		panic("locks: Unlock of " + lock + " that is not locked")
	}
	wake("the first of a queue", word)
}
