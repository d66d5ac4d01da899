package hw

import (
	"runtime"
	"sync/atomic"
	"testing"
	"time"
)

// Words on lines of their own, so that a benchmark pays for no neighbour.
var benchWords struct {
	_   [FalseSharing]byte
	u32 uint32
	_   [FalseSharing]byte
	u64 uint64
	_   [FalseSharing]byte
}

func BenchmarkStoreRel32(b *testing.B) {
	for i := range b.N {
		StoreRel32(&benchWords.u32, uint32(i))
	}
}

func BenchmarkStoreRel64(b *testing.B) {
	for i := range b.N {
		StoreRel64(&benchWords.u64, uint64(i))
	}
}

// storePlain is what the assembly is weighed against: the same instruction
// without the translation between Go's two calling conventions, and a data race
// by the language's rules.
//
//go:noinline
func storePlain(p *uint32, v uint32) { *p = v }

func BenchmarkStorePlainNoinline(b *testing.B) {
	for i := range b.N {
		storePlain(&benchWords.u32, uint32(i))
	}
}

func BenchmarkStoreAtomic32(b *testing.B) {
	for i := range b.N {
		atomic.StoreUint32(&benchWords.u32, uint32(i))
	}
}

func BenchmarkCAS(b *testing.B) {
	benchWords.u32 = 0
	for b.Loop() {
		atomic.CompareAndSwapUint32(&benchWords.u32, 0, 0)
	}
}

func BenchmarkPause(b *testing.B) {
	for b.Loop() {
		Pause()
	}
}

func BenchmarkFence(b *testing.B) {
	for b.Loop() {
		Fence()
	}
}

// BenchmarkStoreFence has something in the store buffer for the fence to wait
// for, as it has in use.
func BenchmarkStoreFence(b *testing.B) {
	for i := range b.N {
		StoreRel32(&benchWords.u32, uint32(i))
		Fence()
	}
}

func BenchmarkMembarrier(b *testing.B) {
	if !MembarrierAvailable() {
		b.Skip("the kernel gives this process no membarrier")
	}
	for b.Loop() {
		if err := Membarrier(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCycles(b *testing.B) {
	for b.Loop() {
		Cycles()
	}
}

func BenchmarkTimeNow(b *testing.B) {
	for b.Loop() {
		time.Now()
	}
}

// BenchmarkFutexWakeNobody is the price of waking when nobody sleeps.
func BenchmarkFutexWakeNobody(b *testing.B) {
	for b.Loop() {
		FutexWake(&benchWords.u32, 1)
	}
}

// BenchmarkFutexPingPong is a round trip of two threads that sleep in turn: two
// wake-ups.
func BenchmarkFutexPingPong(b *testing.B) {
	word := new(uint32)
	n := b.N
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		for i := range n {
			pongFutex(word, uint32(2*i+1))
		}
	}()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	b.ResetTimer()
	for i := range n {
		atomic.StoreUint32(word, uint32(2*i+1))
		FutexWake(word, 1)
		for atomic.LoadUint32(word) != uint32(2*i+2) {
			_ = FutexWait(word, uint32(2*i+1), -1)
		}
	}
	<-done
}

// pongFutex waits for odd and answers with the next number.
func pongFutex(word *uint32, odd uint32) {
	for {
		v := atomic.LoadUint32(word)
		if v == odd {
			break
		}
		_ = FutexWait(word, v, -1)
	}
	atomic.StoreUint32(word, odd+1)
	FutexWake(word, 1)
}
