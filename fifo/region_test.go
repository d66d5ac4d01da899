package fifo_test

import (
	"testing"

	"golang.org/x/sys/unix"
)

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
