//go:build !audit

package audit

// Enabled reports whether the auditor is built in.
const Enabled = false

// Resource is one thing that the contract speaks of. The zero value is ready.
// It has no size; a last field of no size adds padding, so it stands first.
type Resource struct{}

// Enter notes that the caller is inside the resource until Leave.
func (r *Resource) Enter(what string, m Mode) {}

// Leave ends Enter with the same mode.
func (r *Resource) Leave(m Mode) {}

// PartOf makes the resource one with another, nil: its own again. Nobody is
// inside it.
func (r *Resource) PartOf(whole *Resource) {}

// SetRun says what stands in the message of a violation, such as the strategy
// and the seed.
func SetRun(string) {}
