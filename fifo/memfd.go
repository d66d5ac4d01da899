package fifo

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Pages is what a segment's memory consists of.
type Pages uint8

const (
	BasePages        Pages = iota // the machine's ordinary ones
	TransparentPages              // huge where the kernel finds some: it was asked to
	HugePages                     // huge ones that were reserved for it
)

func (p Pages) String() string {
	switch p {
	case BasePages:
		return "base"
	case TransparentPages:
		return "transparent huge"
	case HugePages:
		return "huge"
	}
	return fmt.Sprintf("pages %d", uint8(p))
}

// hugePage is the size of a huge page in bytes.
const hugePage = 2 << 20

// Pages is what the segment's memory consists of. Where better was asked for,
// err says why it could not be had.
func (s *Segment) Pages() (p Pages, err error) { return s.pages, s.pagesErr }

// NewMemfdSegment makes a segment of size bytes in a memfd, mapped shared, and
// returns its file descriptor, which the caller may pass to another process and
// closes. Pages are taken when they are first touched. Its size is sealed. In
// builds for the race detector, which cannot see such memory, the segment lies
// on the Go heap and the descriptor is -1.
//
// want is what its pages shall be. Less is no error: see [Segment.Pages]. Huge
// pages round the size up to whole ones.
func NewMemfdSegment(name string, size int, want ...Pages) (*Segment, int, error) {
	if err := sizeError(size); err != nil {
		return nil, -1, err
	}
	if raceEnabled {
		s, err := NewHeapSegment(size)
		return s, -1, err
	}
	fd := -1
	s, err := region(size, most(want), func(size int, huge bool) ([]byte, error) {
		var err error
		if fd, err = memfd(name, size, huge); err != nil {
			return nil, err
		}
		mem, err := mapShared(fd, size)
		if err != nil {
			err = errors.Join(err, unix.Close(fd))
			fd = -1
		}
		return mem, err
	})
	if err != nil && fd >= 0 {
		err = errors.Join(err, unix.Close(fd))
		fd = -1
	}
	return s, fd, err
}

// memfd makes a file in memory of size bytes for good.
func memfd(name string, size int, huge bool) (int, error) {
	flags := unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	if huge {
		flags |= unix.MFD_HUGETLB | unix.MFD_HUGE_2MB
	}
	fd, err := unix.MemfdCreate(name, flags)
	if err != nil {
		return -1, fmt.Errorf("fifo: memfd_create: %w", err)
	}
	if err = unix.Ftruncate(fd, int64(size)); err != nil {
		err = fmt.Errorf("fifo: ftruncate memfd to %d bytes: %w", size, err)
	} else if _, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, sizeSeals); err != nil {
		err = fmt.Errorf("fifo: seal the memfd's size: %w", err)
	}
	if err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

// sizeSeals keep a file from being cut off under those who have mapped it, who
// would die by SIGBUS.
const sizeSeals = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW

func mapShared(fd, size int) ([]byte, error) {
	mem, err := unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("fifo: mmap %d bytes of memfd: %w", size, err)
	}
	return mem, nil
}

// NewMappedSegment makes a segment of size bytes in anonymous memory that is
// shared with children and taken page by page when touched. want is as for
// [NewMemfdSegment]. In builds for the race detector it lies on the Go heap.
func NewMappedSegment(size int, want ...Pages) (*Segment, error) {
	if err := sizeError(size); err != nil {
		return nil, err
	}
	if raceEnabled {
		return NewHeapSegment(size)
	}
	return region(size, most(want), func(size int, huge bool) ([]byte, error) {
		// Huge pages are reserved here and now: one that is missing when it is
		// touched would be a SIGBUS.
		flags := unix.MAP_SHARED | unix.MAP_ANON
		if huge {
			flags |= unix.MAP_HUGETLB | unix.MAP_HUGE_2MB
		} else {
			flags |= unix.MAP_NORESERVE
		}
		mem, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, flags)
		if err != nil {
			return nil, fmt.Errorf("fifo: mmap %d bytes: %w", size, err)
		}
		return mem, nil
	})
}

func most(want []Pages) Pages {
	p := BasePages
	for _, w := range want {
		p = max(p, w)
	}
	return p
}

// region makes a segment in memory that get maps, of the pages that are wanted
// or else of the next best.
func region(size int, want Pages, get func(size int, huge bool) ([]byte, error)) (*Segment, error) {
	pages := want
	var mem []byte
	var why, err error
	if want >= HugePages {
		if mem, why = get((size+hugePage-1)/hugePage*hugePage, true); why != nil {
			pages = TransparentPages
		}
	}
	if mem == nil {
		if mem, err = get(size, false); err != nil {
			return nil, err
		}
	}
	if pages == TransparentPages {
		if err := unix.Madvise(mem, unix.MADV_HUGEPAGE); err != nil {
			pages, why = BasePages, errors.Join(why, fmt.Errorf("fifo: madvise huge pages: %w", err))
		}
	}
	s, err := newSegment(mem, true)
	if err != nil {
		return nil, errors.Join(err, unix.Munmap(mem))
	}
	s.pages, s.pagesErr = pages, why
	s.close = func() error { return unix.Munmap(mem) }
	return s, nil
}

// AttachMemfd maps the segment in a memfd that another process made, and
// attaches to it: see [Attach]. The descriptor may be closed after. A file whose
// size is not sealed is refused: who made it could cut it off under us.
func AttachMemfd(fd int) (*Segment, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("fifo: attach to descriptor %d: fstat: %w", fd, err)
	}
	if st.Size < MinSegment || st.Size > MaxSegment {
		return nil, fmt.Errorf("fifo: attach to a file of %d bytes: want %d to %d", st.Size, MinSegment, uint64(MaxSegment))
	}
	seals, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	if err != nil {
		return nil, fmt.Errorf("fifo: attach to descriptor %d, which is no memfd: %w", fd, err)
	}
	if seals&sizeSeals != sizeSeals {
		return nil, fmt.Errorf("fifo: attach to a memfd with seals %#x: want its size sealed (%#x)", seals, sizeSeals)
	}
	mem, err := mapShared(fd, int(st.Size))
	if err != nil {
		return nil, err
	}
	s, err := Attach(mem)
	if err != nil {
		return nil, errors.Join(err, unix.Munmap(mem))
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err == nil && fs.Type == unix.HUGETLBFS_MAGIC {
		s.pages = HugePages
	}
	s.close = func() error { return unix.Munmap(mem) }
	return s, nil
}
