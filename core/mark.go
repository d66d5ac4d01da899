//go:build !amd64 || race || sched

package core

import "sync/atomic"

// setMark stores to a thread's own mark; see mark_amd64_unsafe.go.
func setMark(p *uint32, v uint32) { atomic.StoreUint32(p, v) }
