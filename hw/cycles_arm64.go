//go:build !purego

package hw

const counterName = "cntvct"

// counterUsable: the architecture demands a counter of one rate, the same on
// all cores.
func counterUsable() bool { return true }
