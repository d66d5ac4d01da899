//go:build !(amd64 || arm64) || purego

package hw

const counterName = "monotonic"

func counter() uint64     { return counterGeneric() }
func counterUsable() bool { return false }
