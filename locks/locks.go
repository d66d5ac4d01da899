// Package locks holds the lock primitives that strategies choose from, each
// small enough to be read at once, and the counters that say how often one was
// taken.
package locks

// Stat is what was counted of one class of locks.
type Stat struct {
	Class        string `json:"class"` // P, S, MQ, SP, …
	Acquisitions uint64 `json:"acquisitions"`
	Contended    uint64 `json:"contended"` // of them, not got at the first try
}
