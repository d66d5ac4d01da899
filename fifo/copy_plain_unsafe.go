//go:build race || purego

package fifo

import "unsafe"

// The twins of the copies in plain Go, whose ranges the race detector sees.

func (f *Fifo) copyIn(at uint64, p []byte) {
	copy(unsafe.Slice((*byte)(unsafe.Add(f.base, at)), len(p)), p)
}

func (f *Fifo) copyOut(p []byte, at uint64) {
	copy(p, unsafe.Slice((*byte)(unsafe.Add(f.base, at)), len(p)))
}
