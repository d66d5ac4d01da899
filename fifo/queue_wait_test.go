package fifo_test

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vlsbench/fifo"
	"vlsbench/hw"
)

// eventfd is one that does not block.
func eventfd(t testing.TB) int {
	t.Helper()
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// eventfdQueue is a queue whose consumer can wait in every mode.
func eventfdQueue(t testing.TB, events int, ord fifo.Order) (*fifo.Queue, int) {
	t.Helper()
	q := createQueue(t, heap(t, 1<<20), events, ord)
	fd := eventfd(t)
	if err := q.SetEventfd(fd); err != nil {
		t.Fatal(err)
	}
	return q, fd
}

// waits are the ways in which a consumer can wait; those that producers have
// come first.
var waits = []struct {
	name string
	mode fifo.WaitMode
}{
	{"spin", fifo.Spin}, {"adaptive", fifo.Adaptive}, {"park", fifo.Park}, {"eventfd", fifo.Eventfd},
}

var producerWaits = waits[:3]

func TestWaitModesThatDoNotExist(t *testing.T) {
	q := createQueue(t, heap(t, 1<<20), fifo.MinEvents, fifo.Release)
	q.Post(0, fifo.Event{})
	for _, mode := range []fifo.WaitMode{fifo.Eventfd, fifo.Eventfd + 1, 255} {
		refused(t, "Wait", mode, q.Wait(mode, 0))
		refused(t, "PostWait", mode, q.PostWait(0, fifo.Event{}, mode, 0))
	}
	if len(drainAll(q)) != 1 {
		t.Error("a refused post posted")
	}
}

func TestPostWaitErrors(t *testing.T) {
	watchdog(t, endless)
	s := heap(t, fifo.MinSegment)
	q := createQueue(t, s, fifo.MinEvents, fifo.Release)
	for _, p := range []int{-1, fifo.MaxProducers, 1 << 40, -1 << 63} {
		if q.Post(p, fifo.Event{}) {
			t.Errorf("producer %d posted", p)
		}
		err := q.PostWait(p, fifo.Event{}, fifo.Park, -1)
		if !errors.Is(err, fifo.ErrProducer) {
			t.Errorf("producer %d: %v", p, err)
		}
		refused(t, "PostWait", p, err)
		err = q.Resume(p)
		if !errors.Is(err, fifo.ErrProducer) {
			t.Errorf("Resume(%d): %v", p, err)
		}
	}
	for i := range fifo.MinEvents {
		if err := q.PostWait(0, fifo.Event{Arg: uint64(i)}, fifo.Park, 0); err != nil {
			t.Fatal(err)
		}
	}
	for _, w := range producerWaits {
		if err := q.PostWait(0, fifo.Event{}, w.mode, 0); err != fifo.ErrFull {
			t.Errorf("%s, full, no time: %v", w.name, err)
		}
		err := q.PostWait(0, fifo.Event{}, w.mode, 10*time.Microsecond)
		if err != fifo.ErrTimeout || !errors.Is(err, syscall.ETIMEDOUT) {
			t.Errorf("%s, full, 10 us: %v", w.name, err)
		}
		if q.Waiting(0) {
			t.Errorf("%s: waits after its time", w.name)
		}
	}
	if n := len(drainAll(q)); n != fifo.MinEvents {
		t.Errorf("%d events", n)
	}
	// No memory for a lane: the consumer could wait for ever to make room.
	p := 1
	for q.Post(p, fifo.Event{}) {
		p++
	}
	if err := q.PostWait(p, fifo.Event{}, fifo.Park, -1); err != fifo.ErrGrow {
		t.Errorf("no memory: %v", err)
	}
}

// A wait does not end before its time, and one below a millisecond can end
// below a millisecond.
func TestWaitKeepsShortTimes(t *testing.T) {
	const short = 150 * time.Microsecond
	for _, w := range waits {
		q, _ := eventfdQueue(t, fifo.MinEvents, fifo.Release)
		for q.Post(1, fifo.Event{}) {
		}
		full := createQueue(t, heap(t, 1<<20), fifo.MinEvents, fifo.Release)
		for full.Post(0, fifo.Event{}) {
		}
		drainAll(q)
		for _, tt := range []struct {
			name string
			wait func(d time.Duration) error
			have bool
		}{
			{"Wait", func(d time.Duration) error { return q.Wait(w.mode, d) }, true},
			{"PostWait", func(d time.Duration) error { return full.PostWait(0, fifo.Event{}, w.mode, d) }, w.mode != fifo.Eventfd},
		} {
			if !tt.have {
				continue
			}
			t.Run(w.name+"/"+tt.name, func(t *testing.T) {
				watchdog(t, func() string { return "no wait of 150 us took less than 1 ms" })
				for _, d := range []time.Duration{1, time.Microsecond, short, 1100 * time.Microsecond} {
					start := time.Now()
					err := tt.wait(d)
					if took := time.Since(start); err != fifo.ErrTimeout || took < d {
						t.Errorf("%v: %v after %v", d, err, took)
					}
				}
				// How often it takes is the machine's affair.
				for {
					start := time.Now()
					if err := tt.wait(short); err != fifo.ErrTimeout {
						t.Fatal(err)
					}
					if time.Since(start) < time.Millisecond {
						break
					}
				}
			})
		}
	}
}

// A wait for what is there already does not begin, whatever its time.
func TestWaitForWhatIsThere(t *testing.T) {
	watchdog(t, endless)
	q, _ := eventfdQueue(t, fifo.MinEvents, fifo.Release)
	for _, w := range waits {
		if err := q.Wait(w.mode, 0); err != fifo.ErrTimeout {
			t.Errorf("%s, empty, no time: %v", w.name, err)
		}
		q.Post(0, fifo.Event{})
		for _, d := range []time.Duration{-1, 0, 1, time.Hour} {
			if err := q.Wait(w.mode, d); err != nil {
				t.Errorf("%s for %v: %v", w.name, d, err)
			}
		}
		drainAll(q)
		q.Overrun()
		if err := q.Wait(w.mode, -1); err != nil {
			t.Errorf("%s, overrun: %v", w.name, err)
		}
		q.TakeOverrun()
		if q.Armed() {
			t.Errorf("%s: armed", w.name)
		}
	}
}

// Whatever makes a wait true ends it: a post, an overrun. What does not make it
// true does not end it: Wake.
func TestWaitEnds(t *testing.T) {
	needFence(t, fifo.Release)
	threads(t, 2)
	for _, w := range waits {
		t.Run(w.name, func(t *testing.T) {
			q, _ := eventfdQueue(t, fifo.MinEvents, fifo.Release)
			watchdog(t, func() string { return fmt.Sprintf("armed %v, pending %v", q.Armed(), q.Pending()) })
			for i, do := range []func(){
				func() { q.Post(7, fifo.Event{}) },
				q.Overrun,
				func() {
					for range 100 {
						q.Wake()
						time.Sleep(10 * time.Microsecond)
					}
					q.Post(7, fifo.Event{})
				},
			} {
				done := make(chan error)
				go func() { done <- q.Wait(w.mode, -1) }()
				for w.mode >= fifo.Park && !q.Armed() {
					time.Sleep(10 * time.Microsecond)
				}
				time.Sleep(time.Millisecond) // most likely asleep now; right either way
				do()
				if err := <-done; err != nil {
					t.Error(err)
				}
				if !q.Pending() {
					t.Errorf("%d: Wait returned, and nothing is pending", i)
				}
				drainAll(q)
				q.TakeOverrun()
				if q.Armed() {
					t.Error("armed after Wait")
				}
			}
		})
	}
}

// Nobody is woken who does not sleep: an eventfd that was not armed stays as it
// is, and one that was is written by the first post alone.
func TestEventfdWrittenOnlyWhenArmed(t *testing.T) {
	q, fd := eventfdQueue(t, fifo.MinEvents, fifo.Release)
	count := func() uint64 {
		var b [8]byte
		if _, err := unix.Read(fd, b[:]); err == syscall.EAGAIN {
			return 0
		} else if err != nil {
			t.Fatal(err)
		}
		return uint64(b[0]) // all of it: nobody writes more than 255 times here
	}
	for range 3 {
		q.Post(0, fifo.Event{})
		q.Overrun()
		q.Wake()
	}
	if n := count(); n != 0 {
		t.Errorf("not armed, and written %d times", n)
	}
	if q.ArmEventfd() || q.Armed() {
		t.Error("armed though something is pending")
	}
	drainAll(q)
	q.TakeOverrun()
	if !q.ArmEventfd() || !q.Armed() {
		t.Fatal("not armed")
	}
	for p := range 5 {
		q.Post(p, fifo.Event{})
	}
	if n := count(); n != 1 {
		t.Errorf("armed, and 5 posts wrote %d times", n)
	}
	q.DisarmEventfd()
	drainAll(q)
	// A wait on the futex leaves the eventfd alone.
	q.Arm()
	q.Post(0, fifo.Event{})
	if n := count(); n != 0 || q.Armed() {
		t.Errorf("armed for the futex: eventfd written %d times, armed %v", n, q.Armed())
	}
	// DisarmEventfd takes what was written.
	drainAll(q)
	q.ArmEventfd()
	q.Post(0, fifo.Event{})
	q.DisarmEventfd()
	if n := count(); n != 0 {
		t.Errorf("%d left behind", n)
	}
}

// The eventfd works in an epoll set of the kernel's, among others.
func TestEventfdInEpoll(t *testing.T) {
	needFence(t, fifo.Release)
	threads(t, 2)
	q, fd := eventfdQueue(t, fifo.MinEvents, fifo.Release)
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(ep)
	other := eventfd(t)
	for _, fd := range []int{fd, other} {
		if err := unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}); err != nil {
			t.Fatal(err)
		}
	}
	const events = 2000
	var seen atomic.Uint64
	watchdog(t, func() string {
		return fmt.Sprintf("event %d: armed %v, pending %v", seen.Load(), q.Armed(), q.Pending())
	})
	go func() {
		for n := uint64(0); n < events; n++ {
			for seen.Load() < n {
				hw.Pause()
			}
			q.Post(3, event(3, n))
		}
	}()
	var order order
	sleeps := 0
	for seen.Load() < events {
		for _, ev := range drainAll(q) {
			if err := order.see(ev); err != nil {
				t.Fatal(err)
			}
			seen.Add(1)
		}
		if !q.ArmEventfd() {
			continue
		}
		if seen.Load() == events {
			q.DisarmEventfd()
			break
		}
		var got [2]unix.EpollEvent
		n, err := unix.EpollWait(ep, got[:], -1)
		if err != nil && err != syscall.EINTR {
			t.Fatal(err)
		}
		for _, e := range got[:max(n, 0)] {
			if e.Fd != int32(fd) {
				t.Fatalf("descriptor %d is readable", e.Fd)
			}
		}
		q.DisarmEventfd()
		sleeps++
	}
	t.Logf("%d sleeps", sleeps)
}

func TestSetEventfdRefuses(t *testing.T) {
	q := createQueue(t, heap(t, 1<<20), fifo.MinEvents, fifo.Release)
	blocking, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(blocking)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	for _, fd := range []int{-1, 1 << 20, blocking, int(w.Fd())} {
		err := q.SetEventfd(fd)
		refused(t, "SetEventfd", fd, err)
		if !errors.Is(err, fifo.ErrQueueEventfd) {
			t.Errorf("descriptor %d: %v", fd, err)
		}
	}
	refused(t, "Wait", fifo.Eventfd, q.Wait(fifo.Eventfd, 0))
}

func TestWaitsAllocate0(t *testing.T) {
	watchdog(t, endless)
	if fifo.RaceEnabled {
		t.Skip("the race detector allocates")
	}
	q, _ := eventfdQueue(t, fifo.MinEvents, fifo.Release)
	full := createQueue(t, heap(t, 1<<20), fifo.MinEvents, fifo.Release)
	for full.Post(0, fifo.Event{}) {
	}
	for _, w := range waits {
		if n := testing.AllocsPerRun(20, func() {
			for _, d := range []time.Duration{0, 1, 20 * time.Microsecond} {
				if err := q.Wait(w.mode, d); err != fifo.ErrTimeout {
					t.Error(err)
				}
			}
			q.Post(2, fifo.Event{})
			if err := q.Wait(w.mode, -1); err != nil {
				t.Error(err)
			}
			var evs [2]fifo.Event
			q.Drain(evs[:])
			if w.mode == fifo.Eventfd {
				q.ArmEventfd()
				q.Post(2, fifo.Event{})
				q.DisarmEventfd()
				q.Drain(evs[:])
				return
			}
			if err := full.PostWait(0, fifo.Event{}, w.mode, 20*time.Microsecond); err != fifo.ErrTimeout {
				t.Error(err)
			}
			full.Drain(evs[:1])
			if err := full.PostWait(0, fifo.Event{}, w.mode, -1); err != nil {
				t.Error(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", w.name, n)
		}
	}
}
