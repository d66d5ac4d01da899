//go:build (amd64 || arm64) && !purego

package hw

// Pause tells the core that the caller spins: one PAUSE or YIELD. It promises
// no length: 1 to 140 cycles on machines of today.
func Pause()

// Fence orders everything before it against everything after it, a store
// against a later load too.
func Fence()
