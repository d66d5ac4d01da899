package fifo_test

import (
	"unsafe"

	"vlsbench/hw"
)

func (b *bell) word() *uint32 { return (*uint32)(unsafe.Pointer(&b.rung)) }

// ring wakes who sleeps on b, or is about to.
func ring(b *bell) {
	b.rung.Add(1)
	hw.FutexWake(b.word(), 1)
}

// sleepOn sleeps until b is rung, unless it was since rung was read.
func sleepOn(b *bell, rung uint32) { hw.FutexWait(b.word(), rung, -1) }
