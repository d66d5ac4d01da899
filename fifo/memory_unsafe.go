package fifo

import (
	"sync/atomic"
	"unsafe"
)

// This file holds every conversion between bytes of a segment and the
// structures that lie in it. All of them are bounded by how blocks are handed
// out: a Ref comes from alloc, or was checked; a block has classSize bytes
// behind its header; owners and runs are fewer than the geometry says.

// address is where a segment is mapped here.
type address = unsafe.Pointer

const (
	segHeaderSize = unsafe.Sizeof(segHeader{})
	sliceSize     = unsafe.Sizeof(slice{})
)

func segHeaderAt(mem []byte) *segHeader {
	return (*segHeader)(unsafe.Pointer(unsafe.SliceData(mem)))
}

func aligned(mem []byte) bool {
	return uintptr(unsafe.Pointer(unsafe.SliceData(mem)))%Line == 0
}

// alignedBytes is n bytes of Go heap that begin on a line.
func alignedBytes(n int) []byte {
	b := make([]byte, n+Line)
	off := 0
	if r := uintptr(unsafe.Pointer(unsafe.SliceData(b))) % Line; r != 0 {
		off = int(Line - r)
	}
	return b[off : off+n : off+n]
}

// slice is the free blocks of an owner, whose number is below s.owners.
func (s *Segment) slice(owner uint32) *slice {
	return (*slice)(unsafe.Add(s.base, s.slices+uintptr(owner)*sliceSize))
}

// runWord is the i-th entry of the table of runs, i below s.maxRuns.
func (s *Segment) runWord(i uint32) *atomic.Uint64 {
	return (*atomic.Uint64)(unsafe.Add(s.base, s.runs+uintptr(i)*8))
}

func (s *Segment) at(r Ref) address {
	return unsafe.Add(unsafe.Pointer(unsafe.SliceData(s.mem)), uintptr(r)*Line)
}

func (s *Segment) block(r Ref) *block { return (*block)(s.at(r)) }

// payload is what stands behind a block's header.
func (s *Segment) payload(r Ref) unsafe.Pointer { return s.at(r + 1) }

func (s *Segment) header(r Ref) *header { return (*header)(s.payload(r)) }

// place is where the payload of a block begins, in bytes from the base.
func (s *Segment) place(r Ref) uint64 { return uint64(r)*Line + Line }

// data is n bytes of the segment from place at on.
func data(base address, at uint64, n uint32) []byte {
	return unsafe.Slice((*byte)(unsafe.Add(base, at)), n)
}

// spansAt is the payload of a block as out-of-order segments.
func (s *Segment) spansAt(r Ref) []span {
	return unsafe.Slice((*span)(s.payload(r)), s.sizeOf(r)/uint32(unsafe.Sizeof(span{})))
}

// addressOf is where a slice's bytes are, and bytesAt the other way round.
func addressOf(p []byte) address         { return unsafe.Pointer(unsafe.SliceData(p)) }
func bytesAt(p address, n uint64) []byte { return unsafe.Slice((*byte)(p), n) }
