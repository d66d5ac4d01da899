//go:build linux

package hw

import (
	"fmt"
	"math/bits"
	"os"
	"strconv"
	"strings"
	"unsafe"

	"vlsbench/internal/quote"

	"golang.org/x/sys/unix"
)

// maxCPUs is the most that a Linux kernel can be built for on any architecture.
const maxCPUs = 8192

// CPUSet is a set of CPU numbers from 0 to 8191. The zero value is empty; sets
// can be compared with ==.
type CPUSet struct{ words [maxCPUs / 64]uint64 }

// ParseCPUList reads the kernel's list form, "0-3,8"; blanks at the ends and an
// empty list are as valid as they are in sysfs.
func ParseCPUList(s string) (CPUSet, error) {
	var set CPUSet
	if strings.TrimSpace(s) == "" {
		return set, nil
	}
	for part := range strings.SplitSeq(strings.TrimSpace(s), ",") {
		first, last, isRange := strings.Cut(part, "-")
		lo, err := parseCPU(first)
		hi := lo
		if err == nil && isRange {
			hi, err = parseCPU(last)
		}
		if err != nil || lo > hi {
			return CPUSet{}, fmt.Errorf("CPU list %s: %s is neither a CPU number (0 to %d) nor a range like 0-3", quote.Of(s), quote.Of(part), maxCPUs-1)
		}
		for cpu := lo; cpu <= hi; cpu++ {
			set.add(cpu)
		}
	}
	return set, nil
}

func parseCPU(s string) (int, error) {
	n, err := strconv.ParseUint(strings.TrimSpace(s), 10, 16)
	if err == nil && n >= maxCPUs {
		err = strconv.ErrRange
	}
	return int(n), err
}

func (s *CPUSet) add(cpu int) { s.words[cpu/64] |= 1 << (cpu % 64) }

// Has reports whether cpu is in the set. No set has a CPU out of range.
func (s CPUSet) Has(cpu int) bool {
	return cpu >= 0 && cpu < maxCPUs && s.words[cpu/64]&(1<<(cpu%64)) != 0
}

// Len is the number of CPUs in the set.
func (s CPUSet) Len() int {
	n := 0
	for _, w := range s.words {
		n += bits.OnesCount64(w)
	}
	return n
}

// List is the CPU numbers in ascending order.
func (s CPUSet) List() []int {
	list := make([]int, 0, s.Len())
	for i, w := range s.words {
		for ; w != 0; w &= w - 1 {
			list = append(list, i*64+bits.TrailingZeros64(w))
		}
	}
	return list
}

// String is the set in the form that [ParseCPUList] reads, "none" if empty.
func (s CPUSet) String() string {
	list := s.List()
	if len(list) == 0 {
		return "none"
	}
	var b strings.Builder
	for i := 0; i < len(list); {
		j := i
		for j+1 < len(list) && list[j+1] == list[j]+1 {
			j++
		}
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(list[i]))
		if j > i {
			b.WriteByte('-')
			b.WriteString(strconv.Itoa(list[j]))
		}
		i = j + 1
	}
	return b.String()
}

// The mask that the process was started with is that of its first thread, taken
// before anything here can have pinned it.
var startMask, startMaskErr = getAffinity(os.Getpid())

// Allowed is the set of CPUs that the process was allowed to run on when it
// started. Pinning, which changes the mask of one thread, does not change it.
func Allowed() (CPUSet, error) {
	if startMaskErr != nil {
		return CPUSet{}, fmt.Errorf("the process' CPU mask cannot be read: %w", startMaskErr)
	}
	return startMask, nil
}

// Pin ties the calling OS thread to one CPU and reads the mask back. The caller
// has called runtime.LockOSThread and ends without unlocking, so that the
// thread with its altered mask dies and never runs another goroutine. A CPU
// outside [Allowed] is refused.
func Pin(cpu int) error {
	allowed, err := Allowed()
	if err != nil {
		return fmt.Errorf("CPU %d: %w", cpu, err)
	}
	if !allowed.Has(cpu) {
		return fmt.Errorf("CPU %d is not among those that this process may use: %v", cpu, allowed)
	}
	var want CPUSet
	want.add(cpu)
	if err := setAffinity(want); err != nil {
		return fmt.Errorf("CPU %d: the kernel refuses to pin a thread to it (the process started with CPUs %v): %w", cpu, allowed, err)
	}
	got, err := getAffinity(0)
	if err != nil {
		return fmt.Errorf("CPU %d: the thread's mask cannot be read back: %w", cpu, err)
	}
	if got != want {
		return fmt.Errorf("CPU %d: pinned, but the thread's mask reads back as %v", cpu, got)
	}
	return nil
}

// CurrentCPU is the CPU that the caller ran on a moment ago: lasting knowledge
// only on a pinned thread. It is -1 if the kernel does not say. It takes some
// nanoseconds on amd64, a system call elsewhere.
func CurrentCPU() int {
	if cpu := processor(); cpu >= 0 {
		return cpu
	}
	return kernelCPU()
}

// kernelCPU is CurrentCPU by the kernel's word.
func kernelCPU() int {
	var cpu uint32
	if _, _, e := unix.RawSyscall(unix.SYS_GETCPU, uintptr(unsafe.Pointer(&cpu)), 0, 0); e != 0 {
		return -1
	}
	return int(cpu)
}

// getAffinity reads the mask of a thread, 0 being the caller. The kernel's
// masks are arrays of long, which are words of 64 bits in the order of a
// CPUSet, or of 32 bits in the same order on a little-endian machine.
func getAffinity(tid int) (CPUSet, error) {
	var set CPUSet
	_, _, e := unix.RawSyscall(unix.SYS_SCHED_GETAFFINITY, uintptr(tid), unsafe.Sizeof(set), uintptr(unsafe.Pointer(&set)))
	if e != 0 {
		return CPUSet{}, e
	}
	return set, nil
}

func setAffinity(set CPUSet) error {
	_, _, e := unix.RawSyscall(unix.SYS_SCHED_SETAFFINITY, 0, unsafe.Sizeof(set), uintptr(unsafe.Pointer(&set)))
	if e != 0 {
		return e
	}
	return nil
}
