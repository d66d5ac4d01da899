package fifo

import "unsafe"

// This file holds every conversion between bytes of a segment and the
// structures that lie in it. All of them are bounded by how blocks are handed
// out: a Ref comes from alloc, a block has classSize bytes behind its header.

// address is where a segment is mapped here.
type address = unsafe.Pointer

const segHeaderSize = unsafe.Sizeof(segHeader{})

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

func (s *Segment) at(r Ref) address {
	return unsafe.Add(unsafe.Pointer(unsafe.SliceData(s.mem)), uintptr(r)*Line)
}

func (s *Segment) block(r Ref) *block { return (*block)(s.at(r)) }

// payload is what stands behind a block's header.
func (s *Segment) payload(r Ref) unsafe.Pointer { return s.at(r + 1) }

func (s *Segment) header(r Ref) *header { return (*header)(s.payload(r)) }

// data is n bytes at offset off of a chunk's payload.
func data(base address, r Ref, off, n uint32) []byte {
	return unsafe.Slice((*byte)(unsafe.Add(base, uintptr(r)*Line+Line+uintptr(off))), n)
}
