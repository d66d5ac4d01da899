//go:build (amd64 || arm64) && !purego

package hw

// counter reads the core's time-stamp counter: RDTSC or CNTVCT_EL0.
func counter() uint64
