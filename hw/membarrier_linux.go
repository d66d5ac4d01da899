package hw

import (
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	membarrierQuery                    = 0
	membarrierPrivateExpedited         = 1 << 3
	membarrierRegisterPrivateExpedited = 1 << 4
)

var membarrierRegistered = sync.OnceValue(func() bool {
	have, _, e := unix.Syscall(unix.SYS_MEMBARRIER, membarrierQuery, 0, 0)
	if e != 0 || have&membarrierPrivateExpedited == 0 {
		return false
	}
	_, _, e = unix.Syscall(unix.SYS_MEMBARRIER, membarrierRegisterPrivateExpedited, 0, 0)
	return e == 0
})

// MembarrierAvailable reports whether the kernel gives this process private
// expedited membarriers; the first call registers for them, which can take 20 ms
// and so is best made before anything is measured. The answer does not change
// while the process lives. Where it is false, an algorithm that leaves its
// fences to the side that calls [HeavyFence] must fence on both.
func MembarrierAvailable() bool { return membarrierRegistered() }

// Membarrier is a full fence in every running thread of this process: when it
// returns, each of them has passed one. It does not reach into other processes
// that map the same memory. ENOSYS: not available.
func Membarrier() error {
	if !membarrierRegistered() {
		return syscall.ENOSYS
	}
	_, _, e := unix.Syscall(unix.SYS_MEMBARRIER, membarrierPrivateExpedited, 0, 0)
	if e != 0 {
		return e
	}
	return nil
}

// HeavyFence is the dear side of an asymmetric fence. Where
// [MembarrierAvailable], the other side (threads of this process) needs no
// fence between its store and its load, only that order in the program. Where
// it is not, this is [Fence], and the other side must call Fence too.
func HeavyFence() {
	if !membarrierRegistered() {
		Fence()
		return
	}
	for {
		switch err := Membarrier(); err {
		case nil:
			return
		case syscall.ENOMEM: // the kernel had no room for a mask of CPUs; it will
		default:
			// The other side left its fence out because of us. To go on
			// would be to lose a wake-up, in silence.
			panic("hw: membarrier worked and now answers " + err.Error())
		}
	}
}
