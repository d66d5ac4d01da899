//go:build sched && (!(amd64 || arm64) || purego)

package sched

// goroutine tells running goroutines apart.
func goroutine() uintptr { return goroutineGeneric() }
