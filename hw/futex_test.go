package hw

import (
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestFutexWaitSeesAnotherValue(t *testing.T) {
	watchdog(t, "a futex that should not sleep")
	word := uint32(7)
	if err := FutexWait(&word, 8, -1); err != nil {
		t.Fatal(err)
	}
}

func TestFutexWaitTimesOut(t *testing.T) {
	watchdog(t, "a time-out")
	var word uint32
	for _, d := range []time.Duration{0, 1, 50 * time.Microsecond, time.Millisecond} {
		start := time.Now()
		var err error
		for err == nil { // a signal may come in between
			err = FutexWait(&word, 0, d)
		}
		if err != syscall.ETIMEDOUT {
			t.Errorf("%v: %v", d, err)
		}
		if waited := time.Since(start); waited < d {
			t.Errorf("%v: back after %v", d, waited)
		}
	}
}

func TestFutexWakeNobody(t *testing.T) {
	var word uint32
	for _, n := range []int{-1, 0, 1, 1<<30 + 1} {
		if got := FutexWake(&word, n); got != 0 {
			t.Errorf("FutexWake(%d) woke %d, and nobody sleeps", n, got)
		}
	}
}

// wakeAll wakes sleepers of word until it has woken want of them.
func wakeAll(word *uint32, want, atATime int) {
	for woken := 0; woken < want; {
		n := FutexWake(word, atATime)
		woken += n
		if n == 0 {
			time.Sleep(100 * time.Microsecond) // not asleep yet
		}
	}
}

func TestFutexWakesAsManyAsAsked(t *testing.T) {
	watchdog(t, "sleepers that were woken")
	const sleepers = 4
	word := new(uint32)
	var woken atomic.Int32
	var wg sync.WaitGroup
	for range sleepers {
		wg.Go(func() {
			if err := FutexWait(word, 0, 30*time.Second); err != nil {
				t.Error(err)
			}
			woken.Add(1)
		})
	}
	// The kernel's count of those woken is what is held against the sleepers.
	wakeAll(word, sleepers-1, 1)
	for woken.Load() < sleepers-1 {
		time.Sleep(100 * time.Microsecond)
	}
	wakeAll(word, 1, 100)
	wg.Wait()
}

// Two threads hand a word back and forth; one lost wake-up hangs the test.
func TestFutexLosesNoWakeup(t *testing.T) {
	watchdog(t, "a wake-up that was lost")
	word := new(uint32)
	const n = 5000
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range uint32(n) {
			pongFutex(word, 2*i+1)
		}
	}()
	for i := range uint32(n) {
		atomic.StoreUint32(word, 2*i+1)
		FutexWake(word, 1)
		for atomic.LoadUint32(word) != 2*i+2 {
			if err := FutexWait(word, 2*i+1, -1); err != nil {
				t.Fatal(err)
			}
		}
	}
	<-done
}

// A word in shared memory is one futex under both of its addresses.
func TestFutexAcrossMappings(t *testing.T) {
	watchdog(t, "a wake-up through the other mapping")
	fd, err := unix.MemfdCreate("futex", unix.MFD_CLOEXEC)
	if err != nil {
		t.Skipf("memfd: %v", err)
	}
	defer unix.Close(fd)
	if err := unix.Ftruncate(fd, 4096); err != nil {
		t.Fatal(err)
	}
	a, b := mapWord(t, fd), mapWord(t, fd)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for atomic.LoadUint32(a) == 0 {
			if err := FutexWait(a, 0, -1); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	time.Sleep(time.Millisecond) // most likely asleep now; right either way
	atomic.StoreUint32(b, 1)
	FutexWake(b, 1)
	<-done
}

func TestFutexReportsABadAddress(t *testing.T) {
	if err := FutexWait(nil, 0, 0); err != syscall.EFAULT {
		t.Errorf("no address: %v", err)
	}
}

func TestFutexClearWake(t *testing.T) {
	for _, tt := range []struct{ word, bits, want uint32 }{
		{1, 1, 0}, {0, 1, 0}, {0xffffffff, 1, 0xfffffffe}, {0xfffffffc, 1, 0xfffffffc},
		{7<<2 | 3, 2, 7<<2 | 1}, {0x7ff, 0x7ff, 0}, {0x80000001, 1, 0x80000000},
	} {
		word := tt.word
		FutexClearWake(&word, tt.bits)
		if word != tt.want {
			t.Errorf("%#x without %#x is %#x, want %#x", tt.word, tt.bits, word, tt.want)
		}
	}
}

// A sleeper on a flag is woken whenever it is cleared, before it sleeps or after.
func TestFutexClearWakeLosesNobody(t *testing.T) {
	watchdog(t, "a sleeper whose flag was cleared")
	word := new(uint32)
	const n = 5000
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := uint32(1); i <= n; i++ {
			armed := i<<1 | 1
			atomic.StoreUint32(word, armed)
			for atomic.LoadUint32(word) == armed {
				if err := FutexWait(word, armed, -1); err != nil {
					t.Error(err)
					return
				}
			}
		}
	}()
	for i := uint32(1); i <= n; i++ {
		for atomic.LoadUint32(word) != i<<1|1 {
			runtime.Gosched()
		}
		FutexClearWake(word, 1)
	}
	<-done
}
