package harness

import (
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"vlsbench/hw"
	"vlsbench/results"
	"vlsbench/workloads"
)

// tries is how often each limit is measured; its median is taken.
const tries = 9

// Calibrate measures the limits of the machine that results can be read
// against, on the given CPUs (empty: unpinned), in about a second. What takes
// two CPUs is left out where there is one.
func Calibrate(cpus []int) ([]results.Limit, error) {
	var limits []results.Limit
	err := pinned(at(cpus, 0), func() error {
		for _, l := range alone {
			limits = append(limits, l.measure())
		}
		return nil
	})
	if err != nil || len(cpus) < 2 {
		return limits, err
	}
	for _, l := range together {
		if l.name == "membarrier" && !hw.MembarrierAvailable() {
			continue
		}
		value, err := l.measure(cpus)
		if err != nil {
			return limits, err
		}
		limits = append(limits, results.Limit{Name: l.name, Doc: l.doc, Value: value, Unit: "ns"})
	}
	return limits, nil
}

// pinned runs f on an OS thread of its own, pinned unless cpu is negative.
func pinned(cpu int, f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: it dies with its mask
		if cpu >= 0 {
			if err := hw.Pin(cpu); err != nil {
				done <- err
				return
			}
		}
		done <- f()
	}()
	return <-done
}

func at(cpus []int, i int) int {
	if len(cpus) == 0 {
		return -1
	}
	return cpus[i%len(cpus)]
}

// primitive is what one thread can measure: loop does it n times.
type primitive struct {
	name, doc string
	n         int
	loop      func(n int)
}

func (p primitive) measure() results.Limit {
	var ns [tries]float64
	p.loop(p.n / 10)
	for i := range ns {
		begin := hw.Cycles()
		p.loop(p.n)
		ns[i] = hw.CyclesToNanos(hw.Cycles()-begin) / float64(p.n)
	}
	return results.Limit{Name: p.name, Doc: p.doc, Value: median(ns[:]), Unit: "ns"}
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

// word has its lines to itself.
type word struct {
	_ [hw.FalseSharing]byte
	atomic.Uint64
	plain uint64
	futex uint32
	_     [hw.FalseSharing]byte
}

var (
	scratch  word
	from, to [64 << 10]byte
)

func copies(size int) func(int) {
	return func(n int) {
		for range n {
			copy(to[:size], from[:size])
		}
	}
}

var alone = []primitive{
	{"memcpy-64", "copy of 64 B within the first-level cache", 100_000, copies(64)},
	{"memcpy-4k", "copy of 4 KB within the caches", 5_000, copies(4 << 10)},
	{"memcpy-64k", "copy of 64 KB within the caches", 300, copies(64 << 10)},
	{"atomic-store", "sequentially consistent store to a line that is this CPU's", 100_000, func(n int) {
		for i := range n {
			scratch.Store(uint64(i))
		}
	}},
	{"release-store", "release store to such a line", 200_000, func(n int) {
		for i := range n {
			hw.StoreRel64(&scratch.plain, uint64(i))
		}
	}},
	{"cas", "compare-and-swap of such a line", 100_000, func(n int) {
		for i := range n {
			scratch.CompareAndSwap(scratch.Load(), uint64(i))
		}
	}},
	{"fence", "full fence", 50_000, func(n int) {
		for range n {
			hw.Fence()
		}
	}},
	{"cycle-clock", "one read of the cycle clock", 50_000, func(n int) {
		for range n {
			hw.Cycles()
		}
	}},
	{"time-now", "one time.Now", 20_000, func(n int) {
		for range n {
			runtime.KeepAlive(time.Now()) // or it is not called for anything
		}
	}},
	{"verify-64", "comparison of a 64 B message with what was to come: part of every message measured", 100_000, func(n int) {
		workloads.Verify(n, 64)
	}},
	{"verify-4k", "the same of a 4 KB message", 5_000, func(n int) {
		workloads.Verify(n, 4<<10)
	}},
}

// duet is what two threads on two CPUs measure, in ns per operation.
type duet struct {
	name, doc string
	measure   func(cpus []int) (float64, error)
}

var together = []duet{
	{"line-roundtrip", "a cache line to the second CPU and back", lineRoundtrip},
	{"futex-roundtrip", "two threads on two CPUs that sleep and wake each other in turn", futexRoundtrip},
	{"membarrier", "fence in every running thread, while another one runs on the second CPU", membarrierCost},
}

// duets runs a on the first CPU, measured over n operations, against b on the
// second, which runs until it is told to stop. stop wakes b.
func duets(cpus []int, n int, a func(n int), b func(), stop func()) (float64, error) {
	ended := make(chan error, 1)
	go func() {
		ended <- pinned(at(cpus, 1), func() error { b(); return nil })
	}()
	var ns [tries]float64
	err := pinned(at(cpus, 0), func() error {
		a(n / 10)
		for i := range ns {
			begin := hw.Cycles()
			a(n)
			ns[i] = hw.CyclesToNanos(hw.Cycles()-begin) / float64(n)
		}
		return nil
	})
	stop()
	if berr := <-ended; err == nil {
		err = berr
	}
	return median(ns[:]), err
}

// over ends the second thread of a duet.
const over = ^uint64(0)

func lineRoundtrip(cpus []int) (float64, error) {
	var ping, pong word
	turn := uint64(0)
	return duets(cpus, 5_000, func(n int) {
		for range n {
			turn++
			hw.StoreRel64(&ping.plain, turn)
			for atomic.LoadUint64(&pong.plain) != turn {
				hw.Pause()
			}
		}
	}, func() {
		for last := uint64(0); ; {
			v := atomic.LoadUint64(&ping.plain)
			if v == over {
				return
			}
			if v == last {
				hw.Pause()
				continue
			}
			last = v
			hw.StoreRel64(&pong.plain, v)
		}
	}, func() { atomic.StoreUint64(&ping.plain, over) })
}

func futexRoundtrip(cpus []int) (float64, error) {
	var ping, pong word
	turn := uint32(0)
	await := func(addr *uint32, not uint32) uint32 {
		for {
			if v := atomic.LoadUint32(addr); v != not {
				return v
			}
			_ = hw.FutexWait(addr, not, -1) // it is looked at again whatever woke it
		}
	}
	tell := func(addr *uint32, v uint32) {
		atomic.StoreUint32(addr, v)
		hw.FutexWake(addr, 1)
	}
	const last = ^uint32(0)
	return duets(cpus, 200, func(n int) {
		for range n {
			turn++
			tell(&ping.futex, turn)
			await(&pong.futex, turn-1)
		}
	}, func() {
		for v := uint32(0); ; {
			if v = await(&ping.futex, v); v == last {
				return
			}
			tell(&pong.futex, v)
		}
	}, func() { tell(&ping.futex, last) })
}

func membarrierCost(cpus []int) (float64, error) {
	var stop atomic.Bool
	return duets(cpus, 200, func(n int) {
		for range n {
			_ = hw.Membarrier() // available, so ENOMEM at worst, and that is rare
		}
	}, func() {
		for !stop.Load() {
			hw.Pause()
		}
	}, func() { stop.Store(true) })
}
