package fifo

import (
	"sync/atomic"
	"unsafe"
)

// This file holds the conversions between bytes of a segment and the structures
// of a queue. Where a reference comes from shared memory, holds is asked first.

const (
	queueHeaderSize = unsafe.Sizeof(queueHeader{})
	laneHeaderSize  = unsafe.Sizeof(lane{})
	slotSize        = unsafe.Sizeof(slot{})
)

// laneSize is what a lane of events events takes, in bytes.
func laneSize(events uint32) uintptr { return laneHeaderSize + uintptr(events)*slotSize }

func laneClass(events uint32) uint32 { return classFor(uint32(laneSize(events))) }

// holds reports whether a block at r with n bytes behind its header would lie in
// the segment.
func (s *Segment) holds(r Ref, n uintptr) bool {
	return r != 0 && (uint64(r)+1)*Line+uint64(n) <= uint64(s.Size())
}

func (s *Segment) queueHeader(r Ref) *queueHeader { return (*queueHeader)(s.payload(r)) }

func (s *Segment) lane(r Ref) *lane { return (*lane)(s.payload(r)) }

// laneRef is the block of a lane.
func (s *Segment) laneRef(l *lane) Ref {
	return Ref((uintptr(unsafe.Pointer(l))-uintptr(s.at(0)))/Line) - 1
}

// slot is the i-th of a lane's events, behind its header.
func (l *lane) slot(i uint32) *slot {
	return (*slot)(unsafe.Add(unsafe.Pointer(l), laneHeaderSize+uintptr(i)*slotSize))
}

// futex is a word as the kernel wants it.
func futex(w *atomic.Uint32) *uint32 { return (*uint32)(unsafe.Pointer(w)) }
