//go:build !race && !purego

package fifo

import "unsafe"

// Copies in and out of a fifo. From 33 to 64 bytes they are moved in place, by
// loads and stores that may overlap: a call of memmove, and what it does to
// find out how, costs a nanosecond, and what it stores to the stack takes the
// place of messages in the store buffer.

type half = [16]byte

// copyIn copies n bytes to place at.
func (f *Fifo) copyIn(at uint64, from address, n uint64) {
	if n-33 < 32 {
		f.shortIn(at, from, n)
		return
	}
	copy(bytesAt(unsafe.Add(f.base, at), n), bytesAt(from, n))
}

// copyOut copies n bytes from place at.
func (f *Fifo) copyOut(to address, at, n uint64) {
	if n-33 < 32 {
		f.shortOut(to, at, n)
		return
	}
	copy(bytesAt(to, n), bytesAt(unsafe.Add(f.base, at), n))
}

// shortIn copies n bytes, 33 to 64, to place at.
func (f *Fifo) shortIn(at uint64, from address, n uint64) {
	to := unsafe.Add(f.base, at)
	*(*half)(to) = *(*half)(from)
	*(*half)(unsafe.Add(to, 16)) = *(*half)(unsafe.Add(from, 16))
	*(*half)(unsafe.Add(to, n-32)) = *(*half)(unsafe.Add(from, n-32))
	*(*half)(unsafe.Add(to, n-16)) = *(*half)(unsafe.Add(from, n-16))
}

// shortOut copies n bytes, 33 to 64, from place at.
func (f *Fifo) shortOut(to address, at, n uint64) {
	from := unsafe.Add(f.base, at)
	*(*half)(to) = *(*half)(from)
	*(*half)(unsafe.Add(to, 16)) = *(*half)(unsafe.Add(from, 16))
	*(*half)(unsafe.Add(to, n-32)) = *(*half)(unsafe.Add(from, n-32))
	*(*half)(unsafe.Add(to, n-16)) = *(*half)(unsafe.Add(from, n-16))
}
