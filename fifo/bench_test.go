package fifo_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"vlsbench/fifo"
	"vlsbench/hw"
)

// The benchmarks across two cores print each figure as a multiple of the cache
// line round trip (L) measured in the same round, the median over rounds, each
// with fresh fifos at another place of a large region: machines differ, and so
// does the same machine from one second to the next.

const (
	slotTime   = 6 * time.Millisecond
	warmupTime = 1 * time.Millisecond
)

// pinned runs f on a locked thread of its own on the i-th allowed processor and
// returns a channel that closes when it is done. The thread dies with f.
func pinned(b testing.TB, i int, f func()) <-chan struct{} {
	b.Helper()
	allowed, err := hw.Allowed()
	if err != nil {
		b.Fatal(err)
	}
	cpus := allowed.List()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if err := hw.Pin(cpus[i%len(cpus)]); err != nil {
			b.Error(err)
		}
		f()
	}()
	return done
}

// twoCores skips where nothing can cross cores.
func twoCores(b testing.TB) {
	b.Helper()
	allowed, err := hw.Allowed()
	if err != nil {
		b.Fatal(err)
	}
	if len(allowed.List()) < 2 {
		b.Skip("one processor: nothing crosses cores here")
	}
	old := runtime.GOMAXPROCS(4)
	b.Cleanup(func() { runtime.GOMAXPROCS(old) })
}

// slot runs a and z on two cores for one slot, each told when to stop and
// returning its count, and returns nanoseconds per z's count.
func slot(b testing.TB, a, z func(go_, stop *atomic.Bool) int) float64 {
	var start, stop, begun atomic.Bool
	var n int
	var ns float64
	da := pinned(b, 0, func() {
		for !begun.Load() {
		}
		a(&start, &stop)
	})
	dz := pinned(b, 1, func() {
		begun.Store(true)
		z(&start, &start) // warm up
		t0 := hw.Cycles()
		n = z(&start, &stop)
		ns = hw.CyclesToNanos(hw.Cycles() - t0)
	})
	time.Sleep(warmupTime)
	start.Store(true)
	time.Sleep(slotTime)
	stop.Store(true)
	<-da
	<-dz
	return ns / float64(n)
}

// lineRoundTrip is one cache line there and back, in nanoseconds.
func lineRoundTrip(b testing.TB) float64 {
	x := make([]uint64, 128)
	there, back := &x[32], &x[64]
	return slot(b, func(_, stop *atomic.Bool) int {
		seen := uint64(0)
		for !stop.Load() {
			if v := atomic.LoadUint64(there); v != seen {
				seen = v
				hw.StoreRel64(back, v)
			}
		}
		return 0
	}, func(_, stop *atomic.Bool) int {
		n := 0
		v := atomic.LoadUint64(there)
		for ; !stop.Load(); n++ {
			v++
			hw.StoreRel64(there, v)
			for atomic.LoadUint64(back) != v && !stop.Load() {
			}
		}
		return n
	})
}

// place is a segment at a random page and line of region.
func place(b testing.TB, region []byte, size int) *fifo.Segment {
	off := rand.IntN((len(region)-size)/fifo.Line) * fifo.Line
	seg, err := fifo.NewSegment(region[off : off+size])
	if err != nil {
		b.Fatal(err)
	}
	return seg
}

func median(x []float64) float64 {
	slices.Sort(x)
	return x[len(x)/2]
}

// stream measures messages of msg bytes through f, in nanoseconds each.
func stream(b testing.TB, f, g *fifo.Fifo, msg int, flags bool) float64 {
	return slot(b, func(_, stop *atomic.Bool) int {
		buf := make([]byte, msg+4096)[2048 : 2048+msg]
		n := 0
		for !stop.Load() {
			for range 64 {
				if _, err := f.Enqueue(buf); err != nil {
					hw.Pause()
					continue
				}
				n++
				if flags && !f.HasEvent() {
					f.SetEvent()
				}
			}
		}
		f.Flush()
		return n
	}, func(_, stop *atomic.Bool) int {
		buf := make([]byte, msg+4096)[2048 : 2048+msg]
		n := 0
		for !stop.Load() {
			for range 64 {
				if _, err := g.Dequeue(buf); err != nil {
					hw.Pause()
					continue
				}
				n++
				if flags && g.Wanted() {
					g.Notify(msg)
				}
			}
		}
		return n
	})
}

// BenchmarkCross streams across two cores. Each line reports nanoseconds and
// line round trips per message, medians; b.N has no say in it.
func BenchmarkCross(b *testing.B) {
	twoCores(b)
	region := mapped(b, 512<<20)
	type variant struct {
		name         string
		size, msg    int
		ord          fifo.Order
		flags        bool
		nanos, lines []float64
		copies       []float64 // share of the rate of a hot copy
		had          bool
	}
	var variants []*variant
	for _, size := range []int{64 << 10, 4 << 20} {
		for _, msg := range []int{64, 1024, 16 << 10} {
			for _, v := range []variant{
				{name: "release", ord: fifo.Release},
				{name: "release+event", ord: fifo.Release, flags: true},
				{name: "seqcst", ord: fifo.SeqCst},
				{name: "batched=16", ord: fifo.Batched(16)},
			} {
				v.size, v.msg = size, msg
				v.name = fmt.Sprintf("order=%s/fifo=%d/size=%d", v.name, size, msg)
				variants = append(variants, &v)
			}
		}
	}
	var ls []float64
	measure := func() {
		ls = nil
		for _, v := range variants {
			v.nanos, v.lines, v.copies, v.had = nil, nil, nil, false
		}
		for range 25 {
			l := lineRoundTrip(b)
			ls = append(ls, l)
			hot := hotCopy()
			for _, i := range rand.Perm(len(variants)) {
				v := variants[i]
				seg := place(b, region, 16<<20)
				f, err := fifo.New(seg, v.size, v.ord)
				if err != nil {
					b.Fatal(err)
				}
				g := fifo.Open(seg, f.Ref(), v.ord)
				ns := stream(b, &f, &g, v.msg, v.flags)
				v.nanos = append(v.nanos, ns)
				v.lines = append(v.lines, ns/l)
				v.copies = append(v.copies, float64(v.msg)/ns/hot)
			}
		}
	}
	for _, v := range variants {
		b.Run(v.name, func(b *testing.B) {
			if v.nanos == nil || v.had { // the first time, and with -count again
				measure()
			}
			v.had = true
			for b.Loop() {
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(median(v.nanos), "ns/msg")
			b.ReportMetric(median(v.lines), "L/msg")
			b.ReportMetric(median(v.copies), "copies")
			b.ReportMetric(median(ls), "ns/L")
		})
	}
}

// hotCopy is the rate of a copy of 64 KB that stays in the caches, in bytes a
// nanosecond.
func hotCopy() float64 {
	const size, times = 64 << 10, 200
	from, to := make([]byte, size), make([]byte, size)
	for range times / 10 {
		copy(to, from)
	}
	t := hw.Cycles()
	for range times {
		copy(to, from)
	}
	return size * times / hw.CyclesToNanos(hw.Cycles()-t)
}

// BenchmarkRoundTrip sends 64 B there and back over two fifos, across two
// cores, and reports line round trips, the median over fresh layouts.
func BenchmarkRoundTrip(b *testing.B) {
	twoCores(b)
	region := mapped(b, 512<<20)
	const msg = 64
	for _, size := range []int{64 << 10, 4 << 20} {
		for _, ord := range []fifo.Order{fifo.Release, fifo.SeqCst} {
			b.Run(fmt.Sprintf("order=%v/fifo=%d/size=%d", ord, size, msg), func(b *testing.B) {
				var nanos, lines []float64
				for range 25 {
					l := lineRoundTrip(b)
					seg := place(b, region, 16<<20)
					there, err := fifo.New(seg, size, ord)
					if err != nil {
						b.Fatal(err)
					}
					back, err := fifo.New(seg, size, ord)
					if err != nil {
						b.Fatal(err)
					}
					ns := roundTrip(b, there, back, msg)
					nanos = append(nanos, ns)
					lines = append(lines, ns/l)
				}
				for b.Loop() {
				}
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(median(nanos), "ns/trip")
				b.ReportMetric(median(lines), "L/trip")
			})
		}
	}
}

// roundTrip is one message of msg bytes there and another back, in nanoseconds.
func roundTrip(b testing.TB, there, back fifo.Fifo, msg int) float64 {
	var over atomic.Bool // nobody asks any more
	calls := 0
	return slot(b, func(_, _ *atomic.Bool) int {
		buf := make([]byte, msg+4096)[2048 : 2048+msg]
		there, back := there, back
		for !over.Load() {
			if n, _ := there.Dequeue(buf); n != 0 {
				back.Enqueue(buf)
			}
		}
		return 0
	}, func(_, stop *atomic.Bool) int {
		buf := make([]byte, msg+4096)[2048 : 2048+msg]
		n := 0
		for !stop.Load() {
			there.Enqueue(buf)
			for {
				if n, _ := back.Dequeue(buf); n != 0 {
					break
				}
			}
			n++
		}
		if calls++; calls == 2 {
			over.Store(true)
		}
		return n
	})
}

// pairs is a write and a read of len(p) bytes through f, n times, and copies is
// two copies of as many, in nanoseconds each.
func pairs(f fifo.Fifo, p, q []byte, n int) float64 {
	t := hw.Cycles()
	for range n {
		f.Enqueue(p)
		f.Dequeue(q)
	}
	return hw.CyclesToNanos(hw.Cycles()-t) / float64(n)
}

func copies(p, q, r []byte, n int) float64 {
	t := hw.Cycles()
	for range n {
		copy(q, p)
		copy(r, q)
	}
	return hw.CyclesToNanos(hw.Cycles()-t) / float64(n)
}

// BenchmarkPair writes and reads on one thread, as a multiple of two copies of
// the same size that are measured in the same round: medians, each round with a
// fresh fifo at another place.
func BenchmarkPair(b *testing.B) {
	region := mapped(b, 256<<20)
	for _, n := range []int{8, 64, 256, 1 << 10, 4 << 10, 16 << 10} {
		for _, ord := range []fifo.Order{fifo.Release, fifo.SeqCst, fifo.Batched(16)} {
			b.Run(fmt.Sprintf("order=%v/size=%d", ord, n), func(b *testing.B) {
				var nanos, ratios []float64
				<-pinned(b, 0, func() {
					for range 51 {
						seg := place(b, region, 16<<20)
						f, err := fifo.New(seg, 64<<10, ord)
						if err != nil {
							b.Error(err)
							return
						}
						p, q, r := make([]byte, n), make([]byte, n), make([]byte, n)
						times := 20_000_000 / (1000 + 50*n) // a fraction of a millisecond
						pairs(f, p, q, times/10)
						pair := pairs(f, p, q, times)
						copies(p, q, r, times/10)
						nanos = append(nanos, pair)
						ratios = append(ratios, pair/copies(p, q, r, times))
					}
				})
				for b.Loop() {
				}
				b.ReportMetric(median(nanos), "ns/op")
				b.ReportMetric(median(ratios), "copies")
			})
		}
	}
}
