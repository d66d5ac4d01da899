package fifo_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"vlsbench/fifo"
)

// transfer streams total bytes from one goroutine to another, in at one view of
// a fifo and out at another, in pieces of up to msg bytes, and checks each byte.
// It says what went wrong.
func transfer(in, out *fifo.Fifo, total uint64, msg int, seed uint64) error {
	var failed atomic.Bool
	length := func(r *rand.Rand) int {
		if r.IntN(8) == 0 {
			return msg
		}
		return 1 + r.IntN(msg)
	}
	write := func() error {
		r := random(seed)
		var b backoff
		for pos := uint64(0); pos < total && !failed.Load(); {
			n := min(length(r), int(min(total-pos, maxMessage)))
			got, err := in.Enqueue(expected(pos, n))
			if got < 0 || got > n || (got == 0) != (err != nil) {
				return fmt.Errorf("Enqueue of %d bytes: %d, %v", n, got, err)
			}
			if err != nil {
				if err != fifo.ErrFull {
					return fmt.Errorf("Enqueue after %d bytes: %w", pos, err)
				}
				b.wait()
				continue
			}
			b = 0
			pos += uint64(got)
		}
		return nil
	}
	read := func() error {
		r := random(seed + 1)
		buf := make([]byte, msg)
		var b backoff
		for pos := uint64(0); pos < total && !failed.Load(); {
			n := length(r)
			got, err := out.Dequeue(buf[:n])
			if got < 0 || got > n || (got == 0) != (err != nil) {
				return fmt.Errorf("Dequeue of %d bytes: %d, %v", n, got, err)
			}
			if err != nil {
				if err != fifo.ErrEmpty {
					return fmt.Errorf("Dequeue after %d bytes: %w", pos, err)
				}
				b.wait()
				continue
			}
			b = 0
			if !bytes.Equal(buf[:got], expected(pos, got)) {
				return fmt.Errorf("Dequeue: %s", firstWrong(buf[:got], pos))
			}
			pos += uint64(got)
		}
		if n := out.MaxDequeue(); n != 0 && !failed.Load() {
			return fmt.Errorf("%d bytes more than were written", n)
		}
		return nil
	}
	errs := make(chan error, 2)
	run := func(f func() error) {
		err := f()
		if err != nil {
			failed.Store(true)
		}
		errs <- err
	}
	go run(write)
	go run(read)
	a, b := <-errs, <-errs
	if a != nil {
		return a
	}
	return b
}

// watched is transfer under a watchdog.
func watched(t *testing.T, in, out *fifo.Fifo, total uint64, msg int, seed uint64) {
	t.Helper()
	watchdog(t, func() string {
		return fmt.Sprintf("fifo of %d: tail %#x, head %#x, seed %d", in.Size(), in.Tail(), in.Head(), seed)
	})
	if err := transfer(in, out, total, msg, seed); err != nil {
		t.Errorf("fifo of %d, messages up to %d: %v", in.Size(), msg, err)
	}
}

func TestStream(t *testing.T) {
	threads(t, 2)
	for _, o := range orders {
		t.Run(o.name, func(t *testing.T) {
			seed := seedOf(t)
			r := random(seed)
			for _, c := range []struct{ size, msg, total int }{
				{1, 1, 50_000},
				{1, 3, 50_000},
				{7, 3, 200_000},
				{64, 64, 1 << 20},
				{64, 100, 1 << 20},
				{1000, 64, 2 << 20},
				{fifo.MinChunk, 300, 4 << 20},
				{fifo.MinChunk + 1, fifo.MinChunk, 8 << 20},
				{10_000, 10_000, 8 << 20},
				{64 << 10, 64, 2 << 20},
				{64 << 10, 20_000, 16 << 20},
				{1 << 20, 100_000, 32 << 20},
			} {
				t.Run(fmt.Sprintf("size=%d/msg=%d", c.size, c.msg), func(t *testing.T) {
					s := heap(t, 4<<20)
					f := create(t, s, c.size, o.ord)
					total := scaled(c.total)
					f.StartAt(-uint32(r.IntN(total)))
					g := fifo.Open(s, f.Ref(), o.ord)
					watched(t, &f, &g, uint64(total), c.msg, seed)
				})
			}
		})
	}
}

// The same through memory outside the Go heap.
func TestStreamMapped(t *testing.T) {
	threads(t, 2)
	seed := seedOf(t)
	memfd, fd, err := fifo.NewMemfdSegment("stream", 4<<20)
	if err != nil {
		t.Fatal(err)
	}
	if fd >= 0 {
		defer unix.Close(fd)
	} else if !fifo.RaceEnabled {
		t.Error("a memfd segment without a descriptor")
	}
	anon, err := fifo.NewMappedSegment(4 << 20)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*fifo.Segment{memfd, anon} {
		if s.Size() != 4<<20 {
			t.Errorf("Size %d", s.Size())
		}
		f := create(t, s, 50_000, fifo.Release)
		watched(t, &f, &f, uint64(scaled(16<<20)), 5000, seed)
		f.Free()
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("Close again: %v", err)
		}
	}
}

// twice is a memfd segment and the same memory at another address.
func twice(t *testing.T, size int) (a, b *fifo.Segment) {
	t.Helper()
	if fifo.RaceEnabled {
		t.Skip("under the race detector segments are not mapped")
	}
	a, fd, err := fifo.NewMemfdSegment("twice", size)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	mem, err := unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
		if err := unix.Munmap(mem); err != nil {
			t.Error(err)
		}
	})
	return a, fifo.SegmentAt(mem)
}

// A producer and a consumer at two addresses of the same memory: nothing in it
// depends on where it lies.
func TestStreamTwoMappings(t *testing.T) {
	threads(t, 2)
	seed := seedOf(t)
	a, b := twice(t, 4<<20)
	for i, size := range []int{100, fifo.MinChunk, 70_000, 1 << 20} {
		f := create(t, a, size, fifo.Release)
		g := fifo.Open(b, f.Ref(), fifo.Release)
		in, out := &f, &g
		if i%2 == 1 {
			in, out = out, in
		}
		watched(t, in, out, uint64(scaled(200*size)), size, seed)
		g.Free() // what one mapping made, the other gives back
		if used := a.Used(); used != b.Used() {
			t.Errorf("%d bytes used, and %d in the other mapping", used, b.Used())
		}
	}
}

// Anyone may ask for sizes while a stream runs, and gets one that is possible.
func TestOnlooker(t *testing.T) {
	threads(t, 3)
	seed := seedOf(t)
	s := heap(t, 1<<20)
	const size = 5 // streamed through between an onlooker's two loads
	f := create(t, s, size, fifo.Release)
	f.StartAt(1<<32 - 100_000)
	onlooker := fifo.Open(s, f.Ref(), fifo.Release)
	var stop atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; !stop.Load(); i++ {
			d, e := onlooker.MaxDequeue(), onlooker.MaxEnqueue()
			if d < 0 || d > size || e < 0 || e > size || onlooker.Size() != size {
				t.Errorf("MaxDequeue %d, MaxEnqueue %d, Size %d", d, e, onlooker.Size())
				return
			}
			if i%64 == 0 {
				runtime.Gosched()
			}
		}
	})
	watched(t, &f, &f, uint64(scaled(200_000)), 5, seed)
	stop.Store(true)
	wg.Wait()
}

// Both ends pass from goroutine to goroutine under a lock of their own, as
// sessions do between threads.
func TestEndsChangeHands(t *testing.T) {
	const writers, readers = 3, 3
	threads(t, 4)
	s := heap(t, 1<<20)
	f := create(t, s, 9000, fifo.Release)
	total := uint64(scaled(8 << 20))
	var in, out sync.Mutex
	var sent, seen uint64
	watchdog(t, func() string { return fmt.Sprintf("tail %#x, head %#x", f.Tail(), f.Head()) })
	var wg sync.WaitGroup
	seed := seedOf(t)
	for i := range uint64(writers) {
		wg.Go(func() {
			r := random(seed + i)
			view := fifo.Open(s, f.Ref(), fifo.Release)
			for {
				in.Lock()
				if sent == total {
					in.Unlock()
					return
				}
				n, err := view.Enqueue(expected(sent, min(1+r.IntN(2000), int(total-sent))))
				sent += uint64(n)
				in.Unlock()
				if err != nil {
					runtime.Gosched()
				}
			}
		})
	}
	for i := range uint64(readers) {
		wg.Go(func() {
			r := random(seed + 100 + i)
			view := fifo.Open(s, f.Ref(), fifo.Release)
			buf := make([]byte, 2000)
			for {
				out.Lock()
				if seen == total {
					out.Unlock()
					return
				}
				n, err := view.Dequeue(buf[:1+r.IntN(len(buf))])
				if !bytes.Equal(buf[:n], expected(seen, n)) {
					t.Error(firstWrong(buf[:n], seen))
					n = int(total - seen) // enough
				}
				seen += uint64(n)
				out.Unlock()
				if err != nil {
					runtime.Gosched()
				}
			}
		})
	}
	wg.Wait()
}
