//go:build race || purego

package fifo

import "unsafe"

// The twins of the copies in plain Go, whose ranges the race detector sees.

func (f *Fifo) copyIn(at uint64, from address, n uint64) {
	copy(bytesAt(unsafe.Add(f.base, at), n), bytesAt(from, n))
}

func (f *Fifo) copyOut(to address, at, n uint64) {
	copy(bytesAt(to, n), bytesAt(unsafe.Add(f.base, at), n))
}

func (f *Fifo) shortIn(at uint64, from address, n uint64) { f.copyIn(at, from, n) }

func (f *Fifo) shortOut(to address, at, n uint64) { f.copyOut(to, at, n) }
