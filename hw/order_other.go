//go:build !(amd64 || arm64) || purego

package hw

// Pause stands where a core should be told that the caller spins, which this
// build cannot do.
func Pause() { pauseGeneric() }

// Fence orders everything before it against everything after it, a store
// against a later load too.
func Fence() { fenceGeneric() }
