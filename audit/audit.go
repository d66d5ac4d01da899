// Package audit checks the exclusion contract of the session core: who is
// inside which resource, and that nobody is who should not be. Built without
// the tag audit it is empty and costs nothing.
//
// The core enters a [Resource] where it touches one. Two exclusive holders, or
// an exclusive and a shared one, stop the program with the call stacks of both:
// a strategy that passes its tests by luck is caught here.
//
// A strategy notes in an [Order] which locks each of its threads takes while it
// holds which others. All threads of all applications of a strategy together
// make a graph; a cycle in it is a deadlock that waits for its day, found
// without it having to happen.
package audit

// Ranks is the order of locks, outermost first, that strategies agree on: it is
// part of every graph, so that who takes two the other way round makes a cycle,
// whether or not anybody takes them this way.
var Ranks = []string{"P", "S(set)", "S", "MQ", "SP", "H", "R", "SD", "sd"}

// Mode is how a resource is held.
type Mode uint8

const (
	// Shared may be held by many at once.
	Shared Mode = iota
	// Exclusive is held by one alone.
	Exclusive
)

func (m Mode) String() string {
	if m == Shared {
		return "shared"
	}
	return "exclusive"
}
