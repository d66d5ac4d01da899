package hw

import (
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

func mapWord(t *testing.T, fd int) *uint32 {
	t.Helper()
	b, err := unix.Mmap(fd, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Munmap(b) })
	return (*uint32)(unsafe.Pointer(&b[0]))
}
