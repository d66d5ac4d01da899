//go:build linux

package hw

import (
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Futexes here are shared, not private: a word in a memfd mapping is the same
// word wherever it is mapped. The calls go through Syscall6, which lets the
// runtime give the processor to another goroutine meanwhile.
const (
	futexWait = 0
	futexWake = 1
)

// FutexWait sleeps while *addr is val, at most for timeout; a negative timeout
// is for ever. It returns nil when woken, when *addr was not val, and when a
// signal came, so the caller looks at its condition again whatever the reason;
// syscall.ETIMEDOUT when the time is over. The kernel compares and goes to
// sleep in one step, so that a [FutexWake] after *addr changed is not missed.
func FutexWait(addr *uint32, val uint32, timeout time.Duration) error {
	var ts *unix.Timespec
	if timeout >= 0 {
		t := unix.NsecToTimespec(int64(timeout))
		ts = &t
	}
	_, _, e := unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(addr)), futexWait,
		uintptr(val), uintptr(unsafe.Pointer(ts)), 0, 0)
	switch e {
	case 0, syscall.EAGAIN, syscall.EINTR:
		return nil
	}
	return e
}

// FutexWake wakes at most n of those who sleep on addr and returns how many it
// woke. It is a system call whether anybody sleeps or not.
func FutexWake(addr *uint32, n int) int {
	if n <= 0 {
		return 0 // to the kernel 0 means 1
	}
	woken, _, e := unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(addr)), futexWake,
		uintptr(min(n, 1<<30)), 0, 0, 0)
	if e != 0 {
		return 0
	}
	return int(woken)
}

// futexClear encodes "clear these bits of the word": ANDN (3) of the argument
// at 12. The comparison, less than (2) 0, would at most wake one more.
func futexClear(bits uint32) uintptr { return uintptr(3<<28 | 2<<24 | bits<<12) }

const futexWakeOp = 5

// FutexClearWake clears bits, from 1 to 0x7ff, of *addr and wakes one of those
// who sleep on it, in one system call: a thread that is killed has done both or
// neither. With two calls it could leave a word that says that nobody sleeps
// beside somebody who does.
func FutexClearWake(addr *uint32, bits uint32) {
	_, _, e := unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(addr)), futexWakeOp,
		1, 0, uintptr(unsafe.Pointer(addr)), futexClear(bits))
	if e != 0 { // a kernel, or a filter, without it
		atomic.AndUint32(addr, ^bits)
		FutexWake(addr, 1)
	}
}
