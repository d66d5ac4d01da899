package locks

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"

	"vlsbench/hw"
)

// BenchmarkCAS is what the others are read against: one uncontended locked
// instruction.
func BenchmarkCAS(b *testing.B) {
	word := new([hw.FalseSharing / 4]uint32)
	for i := range b.N {
		atomic.CompareAndSwapUint32(&word[0], uint32(i), uint32(i)+1)
	}
}

// BenchmarkUncontended is a lock and an unlock by one thread that is alone.
func BenchmarkUncontended(b *testing.B) {
	for _, k := range Kinds() {
		b.Run("lock="+k.Name, func(b *testing.B) { lockUnlock(b, newLock(b, k)) })
		b.Run("lock="+k.Name+"/counted", func(b *testing.B) {
			lockUnlock(b, Counted(newLock(b, k), NewCounter("X")))
		})
	}
	for _, k := range Kinds() {
		if !k.RW {
			continue
		}
		b.Run("rlock="+k.Name, func(b *testing.B) {
			l := newRW(b, k)
			for b.Loop() {
				l.RLock(1)
				l.RUnlock(1)
			}
		})
	}
}

func lockUnlock(b *testing.B, l Lock) {
	for b.Loop() {
		pass(l)
	}
}

// BenchmarkContended is a short hold by threads that all want the lock, on as
// many pinned threads as there are CPUs, and on four times as many.
func BenchmarkContended(b *testing.B) {
	allowed, err := hw.Allowed()
	if err != nil {
		b.Fatal(err)
	}
	cpus := allowed.List()
	for _, perCPU := range []int{1, 4} {
		n := perCPU * len(cpus)
		for _, k := range Kinds() {
			b.Run(fmt.Sprintf("threads=%d/lock=%s", n, k.Name), func(b *testing.B) {
				defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(n + 2))
				l := newLock(b, k)
				shared := new([hw.FalseSharing / 8]uint64)
				onThreads(n, func(i int) {
					if err := hw.Pin(cpus[i%len(cpus)]); err != nil {
						b.Error(err)
					}
					for range b.N / n {
						l.Lock()
						shared[0]++
						l.Unlock()
					}
				})
			})
		}
	}
}
