package locks

import (
	"time"

	"vlsbench/hw"
	"vlsbench/sched"
)

// backoff spaces the looks of a thread that waits for a short time. After
// patience pauses (2 to 20 µs, by the machine) the holder is most likely not
// running, with more threads than cores, and the CPU is given away in a sleep.
// (Giving it away by sched_yield is cheaper, but a thread that does so again
// and again beside one that spins was seen not to run for hundreds of
// milliseconds.)
type backoff struct {
	what  string // is waited for
	spent uint
}

const (
	maxPauses = 64
	patience  = 512
	nap       = 50 * time.Microsecond
)

// nobody is a futex that no one wakes.
var nobody uint32

// longer is 1, 2, 4, … 64 pauses, which keeps the line quiet and those who
// missed each other apart.
func (b *backoff) longer() uint { return min(b.spent+1, maxPauses) }

// wait is n pauses while it is the time for them, and then a nap.
func (b *backoff) wait(n uint) {
	if !b.spin(n) && !sched.Spin(b.what) {
		hw.FutexWait(&nobody, 0, nap)
	}
}

// spin is n pauses; false: the time for them is over.
func (b *backoff) spin(n uint) bool {
	if sched.Enabled && sched.Controlled() {
		// Once, so that what comes after it is explored, too.
		b.spent++
		return b.spent < 2 && sched.Spin(b.what)
	}
	if b.spent >= patience {
		return false
	}
	b.spent += n
	for range n {
		hw.Pause()
	}
	return true
}

// sleep waits in the kernel while the word is val, and may come back too early.
func sleep(what string, word *uint32, val uint32) {
	if !sched.FutexWait(what, word, val, -1) {
		hw.FutexWait(word, val, -1)
	}
}

// wake ends the sleep of one.
func wake(what string, word *uint32) {
	sched.FutexWake(what, word, 1)
	hw.FutexWake(word, 1)
}
