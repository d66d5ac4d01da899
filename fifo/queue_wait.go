package fifo

import (
	"encoding/binary"
	"fmt"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"vlsbench/hw"
	"vlsbench/sched"
)

// WaitMode is how a thread waits.
type WaitMode uint8

const (
	// Spin looks again and again, with a PAUSE in between.
	Spin WaitMode = iota
	// Adaptive spins for about as long as a sleep and a wake-up cost, so that it
	// never costs more than twice the better of both, then sleeps on a futex.
	Adaptive
	// Park sleeps on a futex at once.
	Park
	// Eventfd sleeps on the queue's eventfd at once; the consumer alone can.
	Eventfd
)

const (
	spinTime = 10 * time.Microsecond
	// spinLooks is how often a spinning wait looks between two looks at the
	// clock, which cost 40 ns each: about a microsecond.
	spinLooks = 16

	// Bits of queueHeader.asleep; a lane's waiting is onFutex or 0.
	onFutex   = 1
	onEventfd = 2
	armedBits = 2
)

// ErrTimeout: the time of a wait was over. It is a syscall.ETIMEDOUT.
var ErrTimeout = fmt.Errorf("fifo: %w", syscall.ETIMEDOUT)

// PostWait is Post that waits for room: until there is some, or for timeout if
// that is not negative. The time is kept to the clock's grain, and what ends it
// first is the consumer's first free slot. The errors are ErrTimeout; with a
// timeout of 0, ErrFull; ErrGrow, without waiting, if the segment has no memory
// for a lane; ErrProducer, ErrQueueCorrupt. An event that was not posted leaves
// nothing behind.
func (q *Queue) PostWait(producer int, ev Event, mode WaitMode, timeout time.Duration) error {
	if mode > Park {
		return fmt.Errorf("fifo: wait mode %d of a producer: want Spin, Adaptive or Park", mode)
	}
	if q.Post(producer, ev) {
		return nil
	}
	l, err := q.lane(producer)
	if err != nil {
		return err
	}
	if timeout == 0 {
		return ErrFull
	}
	full := l.prod.tail - q.len // the head at which there is no room
	w := waiter{word: &l.waiting, bits: onFutex}
	if err := q.wait(&w, mode, timeout, func() bool { return atomic.LoadUint32(&l.head) != full }); err != nil {
		return err
	}
	if !q.Post(producer, ev) {
		return fmt.Errorf("%w: lane %d: the head was moved to no place of the lane", ErrQueueCorrupt, producer)
	}
	return nil
}

// Wait waits until something is pending, or for timeout if that is not
// negative, to the clock's grain. ErrTimeout: nothing is. Consumer.
func (q *Queue) Wait(mode WaitMode, timeout time.Duration) error {
	w := waiter{word: &q.h.asleep, arms: &q.h.cons.arms, bits: onFutex}
	switch {
	case mode > Eventfd:
		return fmt.Errorf("fifo: wait mode %d: want Spin, Adaptive, Park or Eventfd", mode)
	case mode == Eventfd && q.fd < 0:
		return fmt.Errorf("fifo: wait mode %d (Eventfd) on a queue without an eventfd: want SetEventfd first", mode)
	case mode == Eventfd:
		w.bits, w.fd = onEventfd, q.fd
	}
	if q.Pending() {
		return nil
	}
	if timeout == 0 {
		return ErrTimeout
	}
	return q.wait(&w, mode, timeout, q.Pending)
}

// waiter is what one side sleeps on.
type waiter struct {
	word *atomic.Uint32
	bits uint32
	arms *uint32 // number of the last arming, where that is kept
	fd   int     // where bits is onEventfd
}

// wait waits for ready. Whatever makes that true publishes it and then looks at
// the word; what happens between the arming and the sleep is seen here, after
// the fence, or has changed the word.
func (q *Queue) wait(w *waiter, mode WaitMode, timeout time.Duration, ready func() bool) error {
	start := time.Now()
	left := func() time.Duration {
		if timeout < 0 {
			return -1
		}
		return max(timeout-time.Since(start), 0)
	}
	if mode == Spin || mode == Adaptive {
		for i := 1; ; i++ {
			if ready() {
				return nil
			}
			if !sched.Spin("queue: spin") {
				hw.Pause()
			}
			if mode == Adaptive && sched.Controlled() {
				break // whose time is no clock's
			}
			if i%spinLooks != 0 {
				continue
			}
			if left() == 0 {
				return ErrTimeout
			}
			if mode == Adaptive && time.Since(start) >= spinTime {
				break
			}
		}
	}
	defer w.word.Store(0)
	for {
		armed := w.arm()
		q.fence()
		if ready() {
			return nil
		}
		d := left()
		if d == 0 {
			return ErrTimeout
		}
		if err := w.sleep(armed, d); err != nil {
			return err
		}
		if ready() {
			return nil
		}
	}
}

func (w *waiter) arm() uint32 {
	armed := w.bits
	if w.arms != nil {
		*w.arms++
		armed |= *w.arms << armedBits
	}
	if sched.Enabled {
		sched.Point("queue: before arming")
	}
	w.word.Store(armed)
	if sched.Enabled {
		sched.Point("queue: armed")
	}
	return armed
}

// sleep sleeps until woken, for d if that is not negative, or less.
func (w *waiter) sleep(armed uint32, d time.Duration) error {
	if w.bits == onEventfd {
		return sleepOnEventfd(w.fd, d)
	}
	if sched.FutexWait("queue: sleep", futex(w.word), armed, d) {
		return nil
	}
	if err := hw.FutexWait(futex(w.word), armed, d); err != nil && err != syscall.ETIMEDOUT {
		return fmt.Errorf("fifo: futex: %w", err)
	}
	return nil
}

// fence orders the arming of this side's flag before its next look.
func (q *Queue) fence() {
	if q.seq {
		hw.Fence()
	} else {
		hw.HeavyFence()
	}
}

// Wake wakes the consumer if it sleeps or is about to, though there may be
// nothing to drain; a Wait sleeps on then. Any thread.
//
// A thread that is killed in here must not leave a consumer that sleeps and
// looks awake, whom nobody would wake any more. So the futex's word is cleared
// by the same system call that wakes, and an eventfd is written before the word
// is cleared, by compare and swap with the one arming that was seen.
func (q *Queue) Wake() {
	w := q.h.asleep.Load()
	switch {
	case w&onFutex != 0:
		sched.FutexWake("queue: wake", futex(&q.h.asleep), 1)
		hw.FutexClearWake(futex(&q.h.asleep), onFutex)
	case w&onEventfd != 0:
		ringEventfd(q.fd)
		sched.Point("queue: eventfd written, before the arming is cleared")
		q.h.asleep.CompareAndSwap(w, w&^onEventfd)
	}
}

// Arm is the first half of going to sleep, for a consumer that waits for more
// than its queue: it makes producers wake it. Whoever arms must order that
// against what it looks at next ([hw.HeavyFence]), look at everything it waits
// for, the queue among it, and then Sleep or Disarm. Consumer.
func (q *Queue) Arm() {
	w := waiter{word: &q.h.asleep, arms: &q.h.cons.arms, bits: onFutex}
	w.arm()
}

// Disarm takes Arm back.
func (q *Queue) Disarm() {
	if sched.Enabled {
		sched.Point("queue: before disarming")
	}
	q.h.asleep.Store(0)
}

// Sleep sleeps until woken, or for timeout if that is not negative. It may
// return early, without a reason. Consumer, after Arm.
func (q *Queue) Sleep(timeout time.Duration) {
	if armed := q.h.asleep.Load(); armed&onFutex != 0 && !sched.FutexWait("queue: sleep", futex(&q.h.asleep), armed, timeout) {
		hw.FutexWait(futex(&q.h.asleep), armed, timeout)
	}
	q.h.asleep.Store(0)
}

// SetEventfd gives the queue an eventfd, one that does not block, for the
// consumer to sleep on, alone or among others in an epoll set of the kernel's.
// Who made the queue calls it before any other thread or process knows the
// queue; every process that opens it then has to have the same eventfd. The
// descriptor stays the caller's, and is not to be closed while the queue is in
// use.
func (q *Queue) SetEventfd(fd int) error {
	if err := checkEventfd(fd); err != nil {
		return err
	}
	q.fd = fd
	q.h.eventfd = 1
	return nil
}

// checkEventfd asks the kernel's own list; where that cannot be read, a
// descriptor that does not block must do.
func checkEventfd(fd int) error {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return fmt.Errorf("%w: descriptor %d: %w: want an eventfd", ErrQueueEventfd, fd, err)
	}
	if name, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd)); err == nil && name != "anon_inode:[eventfd]" {
		return fmt.Errorf("%w: descriptor %d is %s: want an eventfd", ErrQueueEventfd, fd, name)
	}
	if flags&unix.O_NONBLOCK == 0 {
		return fmt.Errorf("%w: descriptor %d blocks: want an eventfd with EFD_NONBLOCK", ErrQueueEventfd, fd)
	}
	return nil
}

// ArmEventfd readies the consumer to sleep on its eventfd by means of its own,
// an epoll set say. False: something is pending, and nothing is armed. After a
// true one, whatever woke it, it calls DisarmEventfd. Consumer.
func (q *Queue) ArmEventfd() bool {
	w := waiter{word: &q.h.asleep, arms: &q.h.cons.arms, bits: onEventfd}
	w.arm()
	q.fence()
	if q.Pending() {
		q.Disarm()
		return false
	}
	return true
}

// DisarmEventfd ends what ArmEventfd began, and takes what was written to the
// eventfd. A producer that is late may write to it afterwards: then it is
// readable once for nothing. Consumer.
func (q *Queue) DisarmEventfd() {
	q.Disarm()
	takeEventfd(q.fd)
}

// ringEventfd makes an eventfd readable. EAGAIN: it is, since nobody took what
// was written 2^64-2 times.
func ringEventfd(fd int) {
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	for {
		if _, err := unix.Write(fd, one[:]); err != syscall.EINTR {
			return
		}
	}
}

func takeEventfd(fd int) {
	var n [8]byte
	for {
		if _, err := unix.Read(fd, n[:]); err != syscall.EINTR {
			return
		}
	}
}

// sleepOnEventfd sleeps until fd is readable, and takes what is there, or for d
// if that is not negative, or until a signal.
func sleepOnEventfd(fd int, d time.Duration) error {
	fds := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	var ts *unix.Timespec
	if d >= 0 {
		t := unix.NsecToTimespec(int64(d))
		ts = &t
	}
	n, err := unix.Ppoll(fds[:], ts, nil)
	switch {
	case err == syscall.EINTR:
	case err != nil:
		return fmt.Errorf("fifo: wait on eventfd %d: %w", fd, err)
	case n > 0 && fds[0].Revents&unix.POLLIN == 0:
		return fmt.Errorf("fifo: wait on eventfd %d: %w", fd, syscall.EBADF)
	case n > 0:
		takeEventfd(fd)
	}
	return nil
}
