//go:build sched

package sched

import "runtime"

// goroutineGeneric is the goroutine's number, which stands at the head of its
// stack: "goroutine 12 [running]:".
func goroutineGeneric() uintptr {
	var buf [32]byte
	n := uintptr(0)
	for _, c := range buf[len("goroutine "):runtime.Stack(buf[:], false)] {
		if c < '0' || c > '9' {
			break
		}
		n = 10*n + uintptr(c-'0')
	}
	return n
}
