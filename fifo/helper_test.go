package fifo_test

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vlsbench/fifo"
	"vlsbench/hw"
)

var seedFlag = flag.Uint64("seed", 0, "seed of the random tests; 0 draws one")

// seedOf is the seed of a random test, which a failure tells.
func seedOf(t testing.TB) uint64 {
	s := *seedFlag
	if s == 0 {
		s = rand.Uint64() | 1
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("repeat with: go test -run '^%s$' ./fifo -seed %d", t.Name(), s)
		}
	})
	return s
}

func random(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) }

// scaled is n, or a share of it where the race detector slows everything down.
func scaled(n int) int {
	if fifo.RaceEnabled {
		return n / 8
	}
	return n
}

const watchdogTime = time.Minute

// watchdog ends the process, with all stacks, if the test hangs. state says who
// waits for what, and is called by another goroutine.
func watchdog(t testing.TB, state func() string) {
	timer := time.AfterFunc(watchdogTime, func() {
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		panic(fmt.Sprintf("%s: no end after %v: %s\n\n%s", t.Name(), watchdogTime, state(), stacks))
	})
	t.Cleanup(func() { timer.Stop() })
}

// endless is a watchdog's state where one thread loops for itself.
func endless() string { return "a loop that does not end" }

// threads lets n goroutines run at once, sleeping in system calls or not.
func threads(t testing.TB, n int) {
	old := runtime.GOMAXPROCS(n + 2)
	t.Cleanup(func() { runtime.GOMAXPROCS(old) })
}

// Streams repeat a random pattern whose length is prime, so that a byte from
// another lap, chunk or message is most likely another byte.
const (
	period     = 65521
	maxMessage = 2 << 20
)

var pattern = func() []byte {
	p := make([]byte, period+maxMessage)
	r := random(42)
	for i := range p {
		if i < period {
			p[i] = byte(r.Uint32())
		} else {
			p[i] = p[i-period]
		}
	}
	return p
}()

// expected is n bytes of a stream from position pos on. It is not to be written.
func expected(pos uint64, n int) []byte {
	return pattern[pos%period:][:n:n]
}

// firstWrong is where got differs from the stream at pos, in words.
func firstWrong(got []byte, pos uint64) string {
	for i, want := range expected(pos, len(got)) {
		if got[i] != want {
			return fmt.Sprintf("byte %d of the stream (%d of %d read) is %#02x, want %#02x", pos+uint64(i), i, len(got), got[i], want)
		}
	}
	return "no difference"
}

// heap is a segment on the Go heap.
func heap(t testing.TB, size int) *fifo.Segment {
	t.Helper()
	s, err := fifo.NewHeapSegment(size)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// join is another owner's view.
func join(t testing.TB, s *fifo.Segment) *fifo.Segment {
	t.Helper()
	v, err := s.Join()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// create is a fifo, and it must be possible.
func create(t testing.TB, s *fifo.Segment, size int, ord fifo.Order) fifo.Fifo {
	t.Helper()
	f, err := fifo.New(s, size, ord)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

var orders = []struct {
	name string
	ord  fifo.Order
}{{"release", fifo.Release}, {"seqcst", fifo.SeqCst}}

// sleepFence is the fence of the side that is about to sleep: the one that
// reaches into the other thread, unless that one fences for itself.
func sleepFence(ord fifo.Order) {
	if ord == fifo.SeqCst {
		hw.Fence()
	} else {
		hw.HeavyFence()
	}
}

// needFence skips where the release order has no fence to lean on.
func needFence(t testing.TB, ord fifo.Order) {
	if ord == fifo.Release && !hw.MembarrierAvailable() {
		t.Skip("no membarrier: only the sequentially consistent order is sound here")
	}
}

// backoff waits a little, longer from call to call: a core for oneself is not
// to be had everywhere.
type backoff int

func (b *backoff) wait() {
	if *b++; *b < 64 {
		hw.Pause()
		return
	}
	runtime.Gosched()
}

// put writes the n bytes of the stream from pos on, all of them.
func put(t testing.TB, f *fifo.Fifo, pos uint64, n int) {
	t.Helper()
	if got, err := f.Enqueue(expected(pos, n)); got != n || err != nil {
		t.Fatalf("Enqueue of %d bytes: %d, %v", n, got, err)
	}
}

// take reads n bytes, all of them there, and checks them.
func take(t testing.TB, f *fifo.Fifo, pos uint64, n int) {
	t.Helper()
	p := make([]byte, n)
	if got, err := f.Dequeue(p); got != n || err != nil {
		t.Fatalf("Dequeue of %d bytes: %d, %v", n, got, err)
	}
	if !bytes.Equal(p, expected(pos, n)) {
		t.Fatal(firstWrong(p, pos))
	}
}

// guarded is size bytes between pages that nobody may touch.
func guarded(t testing.TB, size int) []byte {
	t.Helper()
	if fifo.RaceEnabled {
		return fifo.AlignedBytes(size) // where the detector sees it
	}
	page := os.Getpagesize()
	size = (size + page - 1) &^ (page - 1)
	mem, err := unix.Mmap(-1, 0, size+2*page, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(mem) })
	inner := mem[page : page+size : page+size]
	if err := unix.Mprotect(inner, unix.PROT_READ|unix.PROT_WRITE); err != nil {
		t.Fatal(err)
	}
	return inner
}
