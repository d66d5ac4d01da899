package harness

import (
	"time"

	"vlsbench/hw"

	"golang.org/x/sys/unix"
)

// usage is what the kernel has booked for a thread.
type usage struct {
	at     uint64        // cycles
	cpu    time.Duration // on a CPU; what the host took away is not in it, where the host says so
	queued time.Duration // ready to run, while something else ran
	slept  int64         // times it gave the CPU up by itself
}

// thread reads the calling thread's usage, without allocating.
type thread struct {
	schedstat int // descriptor, -1 if the kernel has none
	buf       [128]byte
}

func newThread() *thread {
	fd, err := unix.Open("/proc/thread-self/schedstat", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		fd = -1
	}
	return &thread{schedstat: fd}
}

func (t *thread) close() {
	if t.schedstat >= 0 {
		_ = unix.Close(t.schedstat) // it was only read
	}
}

func (t *thread) usage() usage {
	u := usage{at: hw.Cycles()}
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts) == nil {
		u.cpu = time.Duration(ts.Nano())
	}
	var ru unix.Rusage
	if unix.Getrusage(unix.RUSAGE_THREAD, &ru) == nil {
		u.slept = int64(ru.Nvcsw)
	}
	if t.schedstat >= 0 {
		// time on a CPU, time ready to run, times put on a CPU
		if n, err := unix.Pread(t.schedstat, t.buf[:], 0); err == nil {
			u.queued = time.Duration(secondNumber(t.buf[:n]))
		}
	}
	return u
}

// secondNumber reads b's second decimal number.
func secondNumber(b []byte) (n int64) {
	i := 0
	for i < len(b) && b[i] != ' ' {
		i++
	}
	for i++; i < len(b) && b[i] >= '0' && b[i] <= '9'; i++ {
		n = n*10 + int64(b[i]-'0')
	}
	return n
}

// wakeUp is how long a thread may queue after each of its own sleeps without
// having lost anything: waking a CPU that idles takes tens of microseconds, and
// more under a hypervisor.
const wakeUp = 100 * time.Microsecond

// stall is the share of the time between a and b that was lost to preemption or
// to the host, 0 to 1. One who never slept by itself lost all the time that it
// was off its CPU. One who did was waiting for most of that time, so only the
// time in the run queue counts, beyond what waking up takes, and what the host
// took goes unseen.
func stall(a, b usage) float64 {
	if b.at <= a.at {
		return 0
	}
	wall := hw.CyclesToNanos(b.at - a.at)
	lost := wall - float64(b.cpu-a.cpu)
	if sleeps := b.slept - a.slept; sleeps > 0 {
		lost = float64(b.queued - a.queued - time.Duration(sleeps)*wakeUp)
	}
	return min(1, max(0, lost/wall))
}
