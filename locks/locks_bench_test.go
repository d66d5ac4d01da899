package locks

import (
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"

	"vlsbench/hw"
)

// casUnit measures f in the unit that budgets are in: an uncontended
// compare-and-swap, timed in turns with it, so that both see the same machine.
// It reports the median of the ratios as CAS/op, and ns/op of both together.
func casUnit(b *testing.B, f func(n int)) {
	var word struct {
		_ [hw.FalseSharing]byte
		atomic.Uint64
		_ [hw.FalseSharing]byte
	}
	const batch = 2000
	var ratios []float64
	for n := 0; n < b.N; n += batch { // as package harness calibrates it
		start := hw.Cycles()
		for i := range uint64(batch) {
			word.CompareAndSwap(word.Load(), i)
		}
		middle := hw.Cycles()
		f(batch)
		ratios = append(ratios, float64(hw.Cycles()-middle)/float64(middle-start))
	}
	slices.Sort(ratios)
	b.ReportMetric(ratios[len(ratios)/2], "CAS/op")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkUncontended is a lock and an unlock by one thread that is alone, as a
// strategy calls them: plain, counted and timed. The budget is 2 CAS for a spin
// lock and 3 for a reader. What is neither counted nor timed is not wrapped:
// "plain" is what that costs.
func BenchmarkUncontended(b *testing.B) {
	for _, k := range Kinds() {
		for _, count := range []string{"plain", "counted", "timed"} {
			b.Run(fmt.Sprintf("lock=%s/count=%s", k.Name, count), func(b *testing.B) {
				l := newLock(b, k)
				if c := benchCounter(count); c != nil {
					l = Counted(l, c)
				}
				casUnit(b, func(n int) {
					for range n {
						pass(l)
					}
				})
			})
			if !k.RW {
				continue
			}
			b.Run(fmt.Sprintf("rlock=%s/count=%s", k.Name, count), func(b *testing.B) {
				l := newRW(b, k)
				if c := benchCounter(count); c != nil {
					l = CountedRW(l, c)
				}
				casUnit(b, func(n int) {
					for range n {
						l.RLock(1)
						l.RUnlock(1)
					}
				})
			})
		}
	}
}

func benchCounter(count string) *Counter {
	switch count {
	case "counted":
		return NewCounter("X")
	case "timed":
		return NewTimer("X")
	}
	return nil
}

// BenchmarkPairs is the least that two locked instructions on one line cost, by
// themselves: what a lock has to unlock with, that cannot do so by a store.
func BenchmarkPairs(b *testing.B) {
	var word struct {
		_ [hw.FalseSharing]byte
		v uint32
		_ [hw.FalseSharing]byte
	}
	for _, pair := range []struct {
		name string
		f    func(n int)
	}{
		{"cas+swap", func(n int) {
			for range n {
				atomic.CompareAndSwapUint32(&word.v, 0, 1)
				atomic.SwapUint32(&word.v, 0)
			}
		}},
		{"cas+add", func(n int) {
			for range n {
				atomic.CompareAndSwapUint32(&word.v, 0, 1)
				atomic.AddUint32(&word.v, ^uint32(0))
			}
		}},
		{"cas+cas", func(n int) {
			for range n {
				atomic.CompareAndSwapUint32(&word.v, 0, 1)
				atomic.CompareAndSwapUint32(&word.v, 1, 0)
			}
		}},
		{"swap+cas", func(n int) {
			for range n {
				atomic.SwapUint32(&word.v, 1)
				atomic.CompareAndSwapUint32(&word.v, 1, 0)
			}
		}},
	} {
		b.Run("pair="+pair.name, func(b *testing.B) { casUnit(b, pair.f) })
	}
}

// BenchmarkContended is a short hold by threads that all want the lock, on as
// many pinned threads as there are CPUs, and on four times as many.
func BenchmarkContended(b *testing.B) {
	for _, k := range Kinds() {
		onPinned(b, "lock="+k.Name, func(b *testing.B) func(i int) {
			l := newLock(b, k)
			shared := new([hw.FalseSharing / 8]uint64)
			return func(int) {
				l.Lock()
				shared[0]++
				l.Unlock()
			}
		})
	}
}

// BenchmarkReaders is a short hold by threads that all read.
func BenchmarkReaders(b *testing.B) {
	for _, k := range Kinds() {
		if !k.RW {
			continue
		}
		onPinned(b, "rlock="+k.Name, func(b *testing.B) func(i int) {
			l := newRW(b, k)
			return func(i int) {
				l.RLock(i)
				l.RUnlock(i)
			}
		})
	}
}

// onPinned runs b.N operations, as ns/op, on pinned threads.
func onPinned(b *testing.B, name string, fresh func(*testing.B) func(i int)) {
	allowed, err := hw.Allowed()
	if err != nil {
		b.Fatal(err)
	}
	cpus := allowed.List()
	for _, perCPU := range []int{1, 4} {
		n := perCPU * len(cpus)
		b.Run(fmt.Sprintf("threads=%d/%s", n, name), func(b *testing.B) {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(n + 2))
			op := fresh(b)
			var ready atomic.Int32
			onThreads(n, func(i int) {
				if err := hw.Pin(cpus[i%len(cpus)]); err != nil {
					b.Error(err)
				}
				if int(ready.Add(1)) == n {
					b.ResetTimer() // all are there, and it begins
				}
				for int(ready.Load()) < n {
					runtime.Gosched()
				}
				for range (b.N + n - 1) / n {
					op(i)
				}
			})
		})
	}
}
