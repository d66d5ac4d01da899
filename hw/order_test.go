package hw

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// watchdog ends the test binary, with all stacks, if the test is still running
// after a time that no healthy machine needs.
func watchdog(t *testing.T, waitsFor string) {
	t.Helper()
	name := t.Name()
	timer := time.AfterFunc(time.Minute, func() {
		panic(name + " hangs: it waits for " + waitsFor)
	})
	t.Cleanup(func() { timer.Stop() })
}

func TestStoreRel(t *testing.T) {
	// Neighbours show a store that is too wide or lands elsewhere.
	for _, v := range []uint64{0, 1, 0x7fffffff, 0x80000000, 0xffffffff, 0x0123456789abcdef, 1<<64 - 1} {
		got := [3]uint32{^uint32(v), ^uint32(v), ^uint32(v)}
		want := got
		StoreRel32(&got[1], uint32(v))
		storeRel32Generic(&want[1], uint32(v))
		if got != want || got[1] != uint32(v) {
			t.Errorf("StoreRel32(%#x) left %#x, its twin %#x", v, got, want)
		}
		got64 := [3]uint64{^v, ^v, ^v}
		want64 := got64
		StoreRel64(&got64[1], v)
		storeRel64Generic(&want64[1], v)
		if got64 != want64 || got64[1] != v {
			t.Errorf("StoreRel64(%#x) left %#x, its twin %#x", v, got64, want64)
		}
	}
}

func TestPauseAndFenceLeaveEverything(t *testing.T) {
	a, b, c := 1, 2.5, "x"
	for _, f := range []func(){Pause, pauseGeneric, Fence, fenceGeneric, HeavyFence} {
		f()
	}
	if a != 1 || b != 2.5 || c != "x" {
		t.Fatal(a, b, c)
	}
}

// spot is a word with room around it.
type spot struct {
	_ [FalseSharing]byte
	v uint32
}

// inStep runs left and right up to n times on two threads, each pinned to a CPU
// of its own if there are two, and calls check in between, while both rest. They
// start within some hundred ns of each other; left's start is moved from round
// to round, so that they meet in every way. It returns the rounds that were
// run, which are fewer on a machine with other things to do.
func inStep(t *testing.T, n uint32, left, right, check func()) (rounds uint32) {
	t.Helper()
	watchdog(t, "two threads to meet at a barrier")
	allowed, err := Allowed()
	if err != nil {
		t.Fatal(err)
	}
	cpus := allowed.List()
	patience := 20_000
	if len(cpus) == 1 {
		patience = 0
	}
	// Both threads spin with their processor in hand.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4))
	thread := func(cpu int) {
		runtime.LockOSThread() // and never unlocked
		if err := Pin(cpu); err != nil {
			t.Error(err)
		}
	}
	const over = ^uint32(0)
	var round, done spot
	meet := func(word *uint32, want uint32) (last bool) {
		for spins := 0; ; spins++ {
			if v := atomic.LoadUint32(word); v >= want {
				return v == over
			}
			if spins < patience {
				Pause()
			} else {
				runtime.Gosched()
			}
		}
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		thread(cpus[len(cpus)-1])
		for i := uint32(1); !meet(&round.v, i); i++ {
			right()
			atomic.StoreUint32(&done.v, i)
		}
	})
	wg.Go(func() {
		thread(cpus[0])
		end := time.Now().Add(2 * time.Second)
		for rounds < n && (rounds%64 != 0 || time.Now().Before(end)) {
			rounds++
			atomic.StoreUint32(&round.v, rounds)
			for range rounds % 512 {
				atomic.LoadUint32(&round.v)
			}
			left()
			meet(&done.v, rounds)
			check()
		}
		atomic.StoreUint32(&round.v, over)
	})
	wg.Wait()
	return rounds
}

// Store buffering: two threads each set their flag and then look at the other's.
// Without store→load order both may miss the other.

func TestFenceOrdersStoreBeforeLoad(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fence func()
	}{{"Fence", Fence}, {"fenceGeneric", fenceGeneric}} {
		t.Run(tt.name, func(t *testing.T) {
			var x, y spot
			var sawX, sawY uint32
			missed := 0
			n := inStep(t, 50_000,
				func() {
					StoreRel32(&x.v, 1)
					tt.fence()
					sawY = atomic.LoadUint32(&y.v)
				},
				func() {
					StoreRel32(&y.v, 1)
					tt.fence()
					sawX = atomic.LoadUint32(&x.v)
				},
				func() {
					if sawX == 0 && sawY == 0 {
						missed++
					}
					x.v, y.v = 0, 0
				})
			if missed > 0 {
				t.Errorf("in %d rounds of %d both threads missed the other's store", missed, n)
			}
		})
	}
}

func TestHeavyFenceReplacesTheOtherSidesFence(t *testing.T) {
	var x, y spot
	var sawX, sawY uint32
	missed := 0
	light := func() {}
	if !MembarrierAvailable() {
		t.Log("no membarrier here: both sides fence")
		light = Fence
	}
	n := inStep(t, 20_000,
		func() {
			StoreRel32(&x.v, 1)
			light()
			sawY = atomic.LoadUint32(&y.v)
		},
		func() {
			StoreRel32(&y.v, 1)
			HeavyFence()
			sawX = atomic.LoadUint32(&x.v)
		},
		func() {
			if sawX == 0 && sawY == 0 {
				missed++
			}
			x.v, y.v = 0, 0
		})
	if missed > 0 {
		t.Errorf("in %d rounds of %d both threads missed the other's store", missed, n)
	}
}

// Message passing: who sees the flag sees what was written before it.
func TestStoreRelPublishes(t *testing.T) {
	watchdog(t, "a message")
	const n = 100_000
	var flag, seen spot
	var data [16]uint64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := uint32(1); i <= n; i++ {
			for spins := 0; atomic.LoadUint32(&flag.v) != i; spins++ {
				if spins < 20_000 && runtime.GOMAXPROCS(0) > 1 {
					Pause()
				} else {
					runtime.Gosched()
				}
			}
			if got := data[i%16]; got != uint64(i)*3 {
				t.Errorf("message %d holds %d, not %d", i, got, uint64(i)*3)
			}
			StoreRel32(&seen.v, i)
		}
	}()
	for i := uint32(1); i <= n; i++ {
		data[i%16] = uint64(i) * 3
		StoreRel32(&flag.v, i)
		for spins := 0; atomic.LoadUint32(&seen.v) != i; spins++ {
			if spins < 20_000 && runtime.GOMAXPROCS(0) > 1 {
				Pause()
			} else {
				runtime.Gosched()
			}
		}
	}
	<-done
}

func TestMembarrier(t *testing.T) {
	err := Membarrier()
	if MembarrierAvailable() != (err == nil) {
		t.Fatalf("available %v, but the call answers %v", MembarrierAvailable(), err)
	}
}

func TestNothingAllocates(t *testing.T) {
	var w32 uint32
	var w64 uint64
	var sink uint64
	for name, f := range map[string]func(){
		"StoreRel32": func() { StoreRel32(&w32, 1) },
		"StoreRel64": func() { StoreRel64(&w64, 1) },
		"Pause":      Pause,
		"Fence":      Fence,
		"HeavyFence": HeavyFence,
		"Cycles":     func() { sink += Cycles() },
		"FutexWake":  func() { FutexWake(&w32, 1) },
		"FutexWait":  func() { _ = FutexWait(&w32, 7, 0) },
		"CurrentCPU": func() { CurrentCPU() },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
	_ = sink
}
