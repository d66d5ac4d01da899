package strategies_test

import (
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vlsbench/core"
	"vlsbench/harness"
	"vlsbench/hw"
	_ "vlsbench/strategies"
	"vlsbench/vls"
	"vlsbench/workloads"
)

func median(x []float64) float64 {
	slices.Sort(x)
	return x[len(x)/2]
}

// cpus is where the threads of a benchmark run: one per core first.
func cpus(b *testing.B) []int {
	b.Helper()
	t, err := hw.SystemTopology()
	if err != nil {
		b.Fatal(err)
	}
	return t.Order(hw.PinCore)
}

// BenchmarkVLS measures every built strategy with every workload in slots, as
// the harness does; an iteration is a slot, and ns/op the median nanoseconds a
// message or round trip. Compare with benchstat over several -count.
func BenchmarkVLS(b *testing.B) {
	order := cpus(b)
	for _, s := range vls.Strategies() {
		if s.Kind != vls.Built {
			continue
		}
		for _, work := range []string{"uni", "bi", "pingpong"} {
			w, err := workloads.Lookup(work)
			if err != nil {
				b.Fatal(err)
			}
			for _, t := range []struct{ procs, threads int }{{1, 1}, {1, 2}, {2, 2}} {
				for _, size := range []int{64, 4096} {
					p := workloads.Params{Threads: t.threads, Procs: t.procs, Sessions: 1, Size: size, Wait: core.Spin}
					if s.MaxThreads > 0 && p.PerProcess() > s.MaxThreads || t.threads > len(order) {
						continue
					}
					spec := harness.Spec{
						Strategy: s, Workload: w, Params: p, CPUs: order,
						Slot: 20 * time.Millisecond, Warmup: harness.Warmup,
					}
					b.Run("strategy="+s.Name+"/"+spec.Cell().String(), func(b *testing.B) { slots(b, spec) })
				}
			}
		}
	}
}

func slots(b *testing.B, spec harness.Spec) {
	defer harness.Quiet(spec.Params.Threads)()
	var nanos, rates []float64
	for b.Loop() {
		spec.Params.Seed = rand.Uint64()
		runtime.GC()
		s, err := harness.Measure(spec)
		if err != nil {
			b.Fatal(err)
		}
		nanos = append(nanos, s.Seconds*1e9/float64(s.Ops))
		rates = append(rates, float64(s.Ops)/s.Seconds)
	}
	b.ReportMetric(median(nanos), "ns/op")
	b.ReportMetric(median(rates), "ops/s")
	b.ReportMetric(median(rates)*float64(spec.Params.Size)/1e6, "MB/s")
}

var endpoint = netip.MustParseAddrPort("127.0.0.1:5000")

// must is the value of a call that cannot fail here.
func must[T any](v T, err error) func(testing.TB) T {
	return func(tb testing.TB) T {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
		return v
	}
}

func check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// listen makes a listener at endpoint.
func listen(tb testing.TB, t vls.Thread) vls.Handle {
	l := must(t.Create(vls.TCP, false))(tb)
	check(tb, t.Bind(l, endpoint))
	check(tb, t.Listen(l, 8))
	return l
}

// connect makes a connected session.
func connect(tb testing.TB, t vls.Thread) vls.Handle {
	c := must(t.Create(vls.TCP, false))(tb)
	check(tb, t.Connect(c, endpoint))
	return c
}

// accept takes a connection from a listener.
func accept(tb testing.TB, t vls.Thread, l vls.Handle) vls.Handle {
	s, _, err := t.Accept(l, 0)
	check(tb, err)
	return s
}

// timed is nanoseconds a call of f, over about half a millisecond.
func timed(f func()) float64 {
	const n = 20000
	for range n / 10 {
		f()
	}
	t := hw.Cycles()
	for range n {
		f()
	}
	return hw.CyclesToNanos(hw.Cycles()-t) / n
}

// inTurn gives the sub-benchmarks of a benchmark figures that are measured
// together, in rounds, and measures anew when one asks again, as with -count.
type inTurn struct {
	measure func()
	had     map[string]bool
}

func (r *inTurn) ask(name string) {
	if r.had == nil || r.had[name] {
		r.measure()
		r.had = map[string]bool{}
	}
	r.had[name] = true
}

// BenchmarkOneThread prices what a strategy adds to a write and read of 64 B by
// one thread: all strategies in turn, in random order, fresh for each of many
// rounds, against null and in uncontended CAS of the same round. Medians of the
// rounds; ns/op is the pair itself.
func BenchmarkOneThread(b *testing.B) {
	names := []string{"null", "perworker", "perworker-orig", "spoolrw", "spoolrw-orig", "shared", "shared-orig", "migrate", "migrate-orig", "delegate", "lockfree", "global"}
	var pairs, over map[string][]float64
	var cas []float64
	rounds := inTurn{measure: func() {
		pairs, over, cas = map[string][]float64{}, map[string][]float64{}, nil
		done := make(chan struct{})
		go func() {
			defer close(done)
			runtime.LockOSThread() // and dies so
			if err := hw.Pin(cpus(b)[0]); err != nil {
				b.Error(err)
				return
			}
			var word atomic.Uint32
			for range 101 {
				c := timed(func() { word.CompareAndSwap(0, 0) })
				cas = append(cas, c)
				round := map[string]float64{}
				for _, i := range rand.Perm(len(names)) {
					round[names[i]] = onePair(b, names[i])
				}
				for _, n := range names {
					pairs[n] = append(pairs[n], round[n])
					over[n] = append(over[n], (round[n]-round["null"])/c)
				}
			}
		}()
		<-done
	}}
	for _, n := range names {
		b.Run("strategy="+n+"/size=64", func(b *testing.B) {
			rounds.ask(n)
			for b.Loop() {
			}
			b.ReportMetric(median(pairs[n]), "ns/op")
			b.ReportMetric(median(over[n]), "CAS-over-null")
			b.ReportMetric(median(cas), "ns/CAS")
		})
	}
}

func onePair(b *testing.B, name string) float64 {
	s := must(vls.Lookup(name))(b)
	a := must(s.New(vls.Options{Config: core.Config{SegmentSize: 16 << 20}}))(b)
	defer a.Close()
	t := must(a.NewProcess())(b).NewThread()
	l := listen(b, t)
	x := connect(b, t)
	y := accept(b, t, l)
	p, q := make([]byte, 64), make([]byte, 64)
	ns := timed(func() {
		t.Write(x, p)
		t.Read(y, q)
	})
	return ns
}

// BenchmarkAgainstUnix streams 64 B messages across two cores, by perworker
// between two processes of one thread each, by perworker between two threads of
// one process, and by a Unix stream socket whose ends spin, in turn and in
// random order; x-unix is the median ratio of the rounds to the socket.
func BenchmarkAgainstUnix(b *testing.B) {
	order := cpus(b)
	if len(order) < 2 {
		b.Skip("one processor: nothing crosses cores here")
	}
	defer harness.Quiet(2)()
	w := must(workloads.Lookup("uni"))(b)
	s := must(vls.Lookup("perworker"))(b)
	names := []string{"of=unix-socket", "of=perworker/procs=2", "of=perworker/procs=1"}
	var nanos, ratio map[string][]float64
	rounds := inTurn{measure: func() {
		nanos, ratio = map[string][]float64{}, map[string][]float64{}
		for range 25 {
			round := map[string]float64{}
			for _, i := range rand.Perm(len(names)) {
				runtime.GC()
				if i == 0 {
					round[names[i]] = unixStream(b, order, 64)
					continue
				}
				m, err := harness.Measure(harness.Spec{
					Strategy: s, Workload: w, CPUs: order,
					Params: workloads.Params{Threads: 2, Procs: 3 - i, Sessions: 1, Size: 64, Seed: rand.Uint64()},
					Slot:   20 * time.Millisecond, Warmup: harness.Warmup,
				})
				check(b, err)
				round[names[i]] = m.Seconds * 1e9 / float64(m.Ops)
			}
			for _, n := range names {
				nanos[n] = append(nanos[n], round[n])
				ratio[n] = append(ratio[n], round[names[0]]/round[n])
			}
		}
	}}
	for _, n := range names {
		b.Run(n+"/size=64", func(b *testing.B) {
			rounds.ask(n)
			for b.Loop() {
			}
			b.ReportMetric(median(nanos[n]), "ns/op")
			b.ReportMetric(median(ratio[n]), "x-unix")
		})
	}
}

// unixStream is nanoseconds per message of size bytes through a Unix stream
// socket, non-blocking at both ends, each pinned and spinning.
func unixStream(b *testing.B, order []int, size int) float64 {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
	check(b, err)
	var stop atomic.Bool
	var ns float64
	writer, reader := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(writer)
		runtime.LockOSThread()
		check(b, hw.Pin(order[0]))
		p := make([]byte, size)
		for !stop.Load() {
			unix.Write(fds[0], p)
		}
	}()
	go func() {
		defer close(reader)
		runtime.LockOSThread()
		check(b, hw.Pin(order[1]))
		p := make([]byte, size)
		var bytes, from int
		begin := hw.Cycles()
		start := begin
		warm := hw.NanosToCycles(harness.Warmup)
		end := begin + hw.NanosToCycles(20*time.Millisecond)
		for now := begin; now < end; now = hw.Cycles() {
			if n, err := unix.Read(fds[1], p); err == nil {
				bytes += n
			}
			if start == begin && now-begin > warm {
				start, from = now, bytes
			}
		}
		ns = hw.CyclesToNanos(hw.Cycles()-start) / (float64(bytes-from) / float64(size))
		stop.Store(true)
	}()
	<-reader
	<-writer
	unix.Close(fds[0])
	unix.Close(fds[1])
	return ns
}

// BenchmarkTwoThreads has two threads of one process write and read 64 B on
// sessions of their own, each on a core of its own: x-one is their rate together,
// as a multiple of that of one of the two while the other does nothing. Medians
// over rounds with fresh objects; ns/op is a write and a read of one.
func BenchmarkTwoThreads(b *testing.B) {
	order := cpus(b)
	if len(order) < 2 {
		b.Skip("one processor: two threads do not run at once")
	}
	defer harness.Quiet(2)()
	names := []string{"delegate", "lockfree", "migrate", "perworker", "spoolrw", "shared", "global"}
	var nanos, ratio map[string][]float64
	rounds := inTurn{measure: func() {
		nanos, ratio = map[string][]float64{}, map[string][]float64{}
		for range 51 {
			for _, i := range rand.Perm(len(names)) {
				runtime.GC()
				one, two := twoThreads(b, order, names[i])
				nanos[names[i]] = append(nanos[names[i]], one)
				ratio[names[i]] = append(ratio[names[i]], 2*one/two)
			}
		}
	}}
	for _, n := range names {
		b.Run("strategy="+n+"/size=64", func(b *testing.B) {
			rounds.ask(n)
			for b.Loop() {
			}
			b.ReportMetric(median(nanos[n]), "ns/op")
			b.ReportMetric(median(ratio[n]), "x-one")
		})
	}
}

// twoThreads is nanoseconds a pair of calls of one thread alone, and of each of
// two at once, in the mean.
func twoThreads(b *testing.B, order []int, name string) (one, two float64) {
	s := must(vls.Lookup(name))(b)
	a := must(s.New(vls.Options{Config: core.Config{SegmentSize: 32 << 20}}))(b)
	defer a.Close()
	p := must(a.NewProcess())(b)
	ths := []vls.Thread{p.NewThread(), p.NewThread()}
	var pairs [2]func()
	for i, t := range ths {
		check(b, t.Register())
		l := listen(b, t)
		x := connect(b, t)
		y := accept(b, t, l)
		check(b, t.Close(l))
		// Apart from what the other writes.
		buf := make([]byte, 512)
		pairs[i] = func() {
			t.Write(x, buf[128:192])
			t.Read(y, buf[256:320])
		}
	}
	run := func(pairs ...func()) float64 {
		var ready atomic.Int32
		ns := make(chan float64, len(pairs))
		for i, pair := range pairs {
			go func() {
				runtime.LockOSThread() // and dies so
				if err := hw.Pin(order[i]); err != nil {
					b.Error(err)
				}
				ready.Add(1)
				for int(ready.Load()) < len(pairs) {
					hw.Pause()
				}
				n := 0
				begin := hw.Cycles()
				end := begin + hw.NanosToCycles(2*time.Millisecond)
				now := begin
				for ; now < end; now = hw.Cycles() {
					for range 100 {
						pair()
					}
					n += 100
				}
				ns <- hw.CyclesToNanos(now-begin) / float64(n)
			}()
		}
		sum := 0.0
		for range pairs {
			sum += <-ns
		}
		return sum / float64(len(pairs))
	}
	run(pairs[0]) // warm
	return run(pairs[0]), run(pairs[0], pairs[1])
}
