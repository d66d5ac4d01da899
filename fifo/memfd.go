package fifo

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// NewMemfdSegment makes a segment of size bytes in a memfd, mapped shared, and
// returns its file descriptor, which the caller may pass to another process and
// closes. Pages are taken when they are first touched. In builds for the race
// detector, which cannot see such memory, the segment lies on the Go heap and
// the descriptor is -1.
func NewMemfdSegment(name string, size int) (*Segment, int, error) {
	if raceEnabled {
		s, err := NewHeapSegment(size)
		return s, -1, err
	}
	if size < MinSegment || size > MaxSegment {
		return nil, -1, fmt.Errorf("fifo: segment of %d bytes: want %d to %d", size, MinSegment, uint64(MaxSegment))
	}
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, -1, fmt.Errorf("fifo: memfd_create: %w", err)
	}
	mem, err := func() ([]byte, error) {
		if err := unix.Ftruncate(fd, int64(size)); err != nil {
			return nil, fmt.Errorf("fifo: ftruncate memfd to %d bytes: %w", size, err)
		}
		mem, err := unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			return nil, fmt.Errorf("fifo: mmap %d bytes of memfd: %w", size, err)
		}
		return mem, nil
	}()
	if err != nil {
		return nil, -1, errors.Join(err, unix.Close(fd))
	}
	s, err := NewSegment(mem)
	if err != nil {
		return nil, -1, errors.Join(err, unix.Munmap(mem), unix.Close(fd))
	}
	s.close = func() error { return unix.Munmap(mem) }
	return s, fd, nil
}

// NewMappedSegment makes a segment of size bytes in anonymous memory that is
// shared with children and taken page by page when touched. In builds for the
// race detector it lies on the Go heap.
func NewMappedSegment(size int) (*Segment, error) {
	if raceEnabled {
		return NewHeapSegment(size)
	}
	if size < MinSegment || size > MaxSegment {
		return nil, fmt.Errorf("fifo: segment of %d bytes: want %d to %d", size, MinSegment, uint64(MaxSegment))
	}
	mem, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("fifo: mmap %d bytes: %w", size, err)
	}
	s, err := NewSegment(mem)
	if err != nil {
		return nil, errors.Join(err, unix.Munmap(mem))
	}
	s.close = func() error { return unix.Munmap(mem) }
	return s, nil
}
