package locks

import (
	"os"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A reader touches no line but its own, not even to read: here the first page of
// the lines cannot be.
func TestBravoReadersKeepToTheirLines(t *testing.T) {
	page := os.Getpagesize()
	if page%int(unsafe.Sizeof(bravoLine{})) != 0 || page >= bravoLines*int(unsafe.Sizeof(bravoLine{})) {
		t.Skipf("pages of %d bytes: lines do not fill some", page)
	}
	mem, err := unix.Mmap(-1, 0, bravoLines*int(unsafe.Sizeof(bravoLine{})), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(mem)
	if err := unix.Mprotect(mem[:page], unix.PROT_NONE); err != nil {
		t.Fatal(err)
	}
	l := &Bravo{lines: unsafe.Slice((*bravoLine)(unsafe.Pointer(&mem[0])), bravoLines)}
	for slot := page / int(unsafe.Sizeof(bravoLine{})); slot < bravoLines; slot++ {
		l.RLock(slot)
		l.RUnlock(slot)
		if !l.TryRLock(slot) {
			t.Errorf("slot %d is not free", slot)
		}
		l.RUnlock(slot)
	}
}
