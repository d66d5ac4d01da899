package fifo_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"vlsbench/fifo"
)

// Whatever pages are asked for, there is a segment, and it says what it has.
func TestPages(t *testing.T) {
	if fifo.RaceEnabled {
		t.Skip("the race detector's segments lie on the heap")
	}
	const size = 4<<20 + 4096
	for _, want := range []fifo.Pages{fifo.BasePages, fifo.TransparentPages, fifo.HugePages} {
		s, fd, err := fifo.NewMemfdSegment("pages", size, want)
		if err != nil {
			t.Fatal(err)
		}
		m, err := fifo.NewMappedSegment(size, want)
		if err != nil {
			t.Fatal(err)
		}
		v, err := fifo.AttachMemfd(fd)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []*fifo.Segment{s, m} {
			got, why := s.Pages()
			if got > want || (got < want) != (why != nil) {
				t.Errorf("want %s pages, got %s: %v", want, got, why)
			}
			if s.Size() < size || got != fifo.HugePages && s.Size() != size {
				t.Errorf("%s pages: %d bytes, want %d", got, s.Size(), size)
			}
			allOnce(t, s)
		}
		if v.Size() != s.Size() {
			t.Errorf("%d bytes attached of %d", v.Size(), s.Size())
		}
		a, b := s.Alloc(1), v.Alloc(1)
		if a == b || a == 0 || b == 0 {
			t.Errorf("blocks %d and %d", a, b)
		}
		if err := errors.Join(v.Close(), s.Close(), m.Close(), unix.Close(fd)); err != nil {
			t.Error(err)
		}
	}
	for p, want := range map[fifo.Pages]string{fifo.BasePages: "base", fifo.TransparentPages: "transparent huge", fifo.HugePages: "huge"} {
		if p.String() != want {
			t.Errorf("pages %d are %q", p, p)
		}
	}
}

// Only a memfd that nobody can cut off, with a segment in it, is attached to.
func TestAttachMemfdRefuses(t *testing.T) {
	if fifo.RaceEnabled {
		t.Skip("the race detector's segments lie on the heap")
	}
	_, err := fifo.AttachMemfd(-1)
	refused(t, "AttachMemfd", -1, err)
	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	_, err = fifo.AttachMemfd(int(file.Fd()))
	refused(t, "AttachMemfd of an empty file", "0 bytes", err)
	if err := file.Truncate(1 << 20); err != nil {
		t.Fatal(err)
	}
	_, err = fifo.AttachMemfd(int(file.Fd()))
	refused(t, "AttachMemfd of a file on a disk", file.Fd(), err)
	fd, err := unix.MemfdCreate("plain", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Ftruncate(fd, 1<<20); err != nil {
		t.Fatal(err)
	}
	_, err = fifo.AttachMemfd(fd)
	refused(t, "AttachMemfd of one that can shrink", "sealed", err)
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW); err != nil {
		t.Fatal(err)
	}
	_, err = fifo.AttachMemfd(fd)
	refused(t, "AttachMemfd of zeros", "magic is 0x0", err)
	if !errors.Is(err, fifo.ErrCorrupt) {
		t.Errorf("%v is not ErrCorrupt", err)
	}
	// A segment of another size than its file.
	s, own, err := fifo.NewMemfdSegment("size", 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(own)
	defer s.Close()
	if err := unix.Ftruncate(own, 1<<19); err == nil {
		t.Error("a segment's file can be cut off")
	}
	s.Scribble("size", 1<<19)
	_, err = fifo.AttachMemfd(own)
	refused(t, "AttachMemfd of a smaller segment", "size is 0x80000", err)
}

// mapped is size bytes of touched memory outside the Go heap.
func mapped(b testing.TB, size int) []byte {
	b.Helper()
	mem, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_POPULATE)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { unix.Munmap(mem) })
	return mem
}
