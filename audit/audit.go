// Package audit checks the exclusion contract of the session core: who is
// inside which resource, and that nobody is who should not be. Built without
// the tag audit it is empty and costs nothing.
//
// The core enters a [Resource] where it touches one. Two exclusive holders, or
// an exclusive and a shared one, stop the program with the call stacks of both:
// a strategy that passes its tests by luck is caught here.
package audit

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
