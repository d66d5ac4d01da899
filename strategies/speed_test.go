package strategies_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"vlsbench/core"
	"vlsbench/fifo"
	"vlsbench/harness"
	"vlsbench/hw"
	"vlsbench/vls"
	"vlsbench/workloads"
)

// What the session layer costs over its fifos, and against the kernel's
// sockets. Every figure is the median over rounds of a ratio within the round,
// each with fresh objects.

// compared measures every way once a round, in random order, and reports each
// one's median nanoseconds and its median ratio to the first: how many times as
// long it takes, or, with inverse, as short.
func compared(b *testing.B, n int, inverse bool, unit string, names []string, ways []func() float64) {
	var nanos, ratio [][]float64
	r := inTurn{measure: func() {
		nanos, ratio = make([][]float64, len(ways)), make([][]float64, len(ways))
		for range n {
			round := make([]float64, len(ways))
			for _, i := range rand.Perm(len(ways)) {
				runtime.GC()
				round[i] = ways[i]()
			}
			for i, ns := range round {
				nanos[i] = append(nanos[i], ns)
				q := ns / round[0]
				if inverse {
					q = 1 / q
				}
				ratio[i] = append(ratio[i], q)
			}
		}
	}}
	for i, name := range names {
		b.Run(name, func(b *testing.B) {
			r.ask(name)
			for b.Loop() {
			}
			b.ReportMetric(median(nanos[i]), "ns/op")
			b.ReportMetric(median(ratio[i]), unit)
		})
	}
}

// onCore runs f on a locked thread of its own on the first core.
func onCore(b *testing.B, f func() float64) float64 {
	var ns float64
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and dies so
		if err := hw.Pin(cpus(b)[0]); err != nil {
			b.Error(err)
			return
		}
		ns = f()
	}()
	<-done
	return ns
}

// barePair is a write and a read of 64 B through a fifo alone.
func barePair(b *testing.B) float64 {
	seg := must(fifo.NewMappedSegment(16 << 20))(b)
	defer seg.Close()
	f := must(fifo.New(seg, 4<<20, fifo.Release))(b)
	g := fifo.Open(seg, f.Ref(), fifo.Release)
	p, q := make([]byte, 64), make([]byte, 64)
	run := func(n int) float64 {
		f, g, p, q := f, g, p, q
		begin := hw.Cycles()
		for range n {
			f.Enqueue(p)
			g.Dequeue(q)
		}
		return hw.CyclesToNanos(hw.Cycles()-begin) / float64(n)
	}
	run(2000)
	return run(20000)
}

// layerPair is the same through connected sessions of one thread.
func layerPair(b *testing.B, name string) float64 {
	s := must(vls.Lookup(name))(b)
	a := must(s.New(vls.Options{Config: core.Config{SegmentSize: 16 << 20}}))(b)
	defer a.Close()
	t := must(a.NewProcess())(b).NewThread()
	l := listen(b, t)
	x := connect(b, t)
	y := accept(b, t, l)
	p, q := make([]byte, 64), make([]byte, 64)
	run := func(n int) float64 {
		t, x, y, p, q := t, x, y, p, q
		begin := hw.Cycles()
		for range n {
			t.Write(x, p)
			t.Read(y, q)
		}
		return hw.CyclesToNanos(hw.Cycles()-begin) / float64(n)
	}
	run(2000)
	return run(20000)
}

// BenchmarkOverFifo prices the session layer: a write and a read of 64 B by one
// thread through null, against the same through a bare fifo.
func BenchmarkOverFifo(b *testing.B) {
	compared(b, 101, false, "x-fifo", []string{"of=fifo/size=64", "of=null/size=64"}, []func() float64{
		func() float64 { return onCore(b, func() float64 { return barePair(b) }) },
		func() float64 { return onCore(b, func() float64 { return layerPair(b, "null") }) },
	})
}

// ends is a stream from one thread to another: each call moves one message, or
// none and returns false.
type ends struct {
	send, receive func(p []byte) bool
	back          *ends // the other way, for round trips
	close         func()
}

// bareEnds are two fifos with the event flag looked at, as the core does.
func bareEnds(b *testing.B) ends {
	seg := must(fifo.NewMappedSegment(64 << 20))(b)
	way := func() ends {
		f := must(fifo.New(seg, 4<<20, fifo.Release))(b)
		g := fifo.Open(seg, f.Ref(), fifo.Release)
		return ends{
			send: func(p []byte) bool {
				_, err := f.Enqueue(p)
				if err == nil && !f.HasEvent() {
					f.SetEvent()
				}
				return err == nil
			},
			receive: func(p []byte) bool {
				n, err := g.Dequeue(p)
				if err == nil && g.Wanted() {
					g.Notify(n)
				}
				return err == nil
			},
		}
	}
	there, back := way(), way()
	there.back, there.close = &back, func() { seg.Close() }
	return there
}

// layerEnds are two connected sessions of perworker, of two processes of one
// thread each, non-blocking.
func layerEnds(b *testing.B) ends {
	s := must(vls.Lookup("perworker"))(b)
	a := must(s.New(vls.Options{Config: core.Config{SegmentSize: 64 << 20}}))(b)
	t := must(a.NewProcess())(b).NewThread()
	u := must(a.NewProcess())(b).NewThread()
	l := listen(b, t)
	x := connect(b, u)
	y, _, err := t.Accept(l, syscall.O_NONBLOCK)
	check(b, err)
	on := make([]byte, 4)
	binary.NativeEndian.PutUint32(on, syscall.O_NONBLOCK)
	must(u.Attr(x, core.SetFlags, on))(b)
	way := func(t vls.Thread, h vls.Handle, u vls.Thread, k vls.Handle) ends {
		return ends{
			send:    func(p []byte) bool { _, err := t.Write(h, p); return err == nil },
			receive: func(p []byte) bool { _, err := u.Read(k, p); return err == nil },
		}
	}
	there, back := way(u, x, t, y), way(t, y, u, x)
	there.back, there.close = &back, func() { check(b, a.Close()) }
	return there
}

// across runs two threads on two cores for 20 ms and returns nanoseconds per
// message of size bytes, or per round trip.
func across(b *testing.B, e ends, size int, trips bool) float64 {
	defer e.close()
	order := cpus(b)
	var over atomic.Bool
	var ns float64
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		check(b, hw.Pin(order[1]))
		p := make([]byte, size)
		for !over.Load() {
			if !trips {
				for range 64 {
					if !e.send(p) {
						hw.Pause()
					}
				}
			} else if e.receive(p) {
				e.back.send(p)
			}
		}
	}()
	ns = onCore(b, func() float64 {
		defer over.Store(true)
		p := make([]byte, size)
		step := func() int {
			n := 0
			for range 64 {
				switch {
				case trips:
					e.send(p)
					for !e.back.receive(p) {
					}
					n++
				case e.receive(p):
					n++
				default:
					hw.Pause()
				}
			}
			return n
		}
		run := func(d time.Duration) float64 {
			n := 0
			begin := hw.Cycles()
			for end := begin + hw.NanosToCycles(d); hw.Cycles() < end; {
				n += step()
			}
			return hw.CyclesToNanos(hw.Cycles()-begin) / float64(n)
		}
		run(2 * time.Millisecond)
		return run(20 * time.Millisecond)
	})
	<-done
	return ns
}

// BenchmarkAcrossFifo streams 64 B, and sends it there and back, between two
// cores through perworker, against the same through bare fifos.
func BenchmarkAcrossFifo(b *testing.B) {
	if len(cpus(b)) < 2 {
		b.Skip("one processor: nothing crosses cores here")
	}
	defer harness.Quiet(2)()
	for _, trips := range []bool{false, true} {
		work := map[bool]string{false: "uni", true: "pingpong"}[trips]
		compared(b, 25, false, "x-fifo", []string{"work=" + work + "/of=fifo/size=64", "work=" + work + "/of=perworker/size=64"}, []func() float64{
			func() float64 { return across(b, bareEnds(b), 64, trips) },
			func() float64 { return across(b, layerEnds(b), 64, trips) },
		})
	}
}

// slotOf measures a workload under a strategy in a slot, in nanoseconds per
// message or round trip.
func slotOf(b *testing.B, order []int, strategy, work string, size, procs int, wait core.Wait) float64 {
	m, err := harness.Measure(harness.Spec{
		Strategy: must(vls.Lookup(strategy))(b), Workload: must(workloads.Lookup(work))(b), CPUs: order,
		Params: workloads.Params{Threads: 2, Procs: procs, Sessions: 1, Size: size, Wait: wait, Seed: rand.Uint64()},
		Slot:   20 * time.Millisecond, Warmup: harness.Warmup,
	})
	check(b, err)
	return m.Seconds * 1e9 / float64(m.Ops)
}

// BenchmarkAgainstKernel compares perworker, between two processes of one thread
// each, with the kernel's Unix sockets under the same harness, both spinning:
// x-kernel is how many times as fast.
func BenchmarkAgainstKernel(b *testing.B) {
	order := cpus(b)
	if len(order) < 2 {
		b.Skip("one processor: nothing crosses cores here")
	}
	defer harness.Quiet(2)()
	for _, c := range []struct {
		work string
		size int
	}{{"uni", 64}, {"uni", 16 << 10}, {"pingpong", 64}} {
		var names []string
		var ways []func() float64
		for _, s := range []string{"kernel-unix", "perworker"} {
			names = append(names, fmt.Sprintf("work=%s/of=%s/size=%d", c.work, s, c.size))
			ways = append(ways, func() float64 { return slotOf(b, order, s, c.work, c.size, 2, core.Spin) })
		}
		compared(b, 25, true, "x-kernel", names, ways)
	}
}

// churn connects, accepts and closes over and over, in nanoseconds a
// connection. null and perworker have a listener and its client in one process.
func churn(b *testing.B, strategy string) float64 {
	s := must(vls.Lookup(strategy))(b)
	a := must(s.New(vls.Options{Config: core.Config{SegmentSize: 64 << 20}}))(b)
	defer a.Close()
	proc := must(a.NewProcess())(b)
	defer proc.Exit()
	t := proc.NewThread()
	l := listen(b, t)
	n := 0
	begin := time.Now()
	for ; time.Since(begin) < 30*time.Millisecond; n++ {
		c := connect(b, t)
		x := accept(b, t, l)
		check(b, t.Close(c))
		check(b, t.Close(x))
	}
	ns := float64(time.Since(begin)) / float64(n)
	check(b, t.Close(l))
	check(b, t.Exit())
	return ns
}

// BenchmarkChurn connects, accepts and closes, against TCP of the kernel on
// loopback.
func BenchmarkChurn(b *testing.B) {
	var names []string
	var ways []func() float64
	for _, s := range []string{"kernel-tcp", "kernel-unix", "global", "perworker"} {
		names = append(names, "of="+s)
		ways = append(ways, func() float64 { return onCore(b, func() float64 { return churn(b, s) }) })
	}
	compared(b, 25, true, "x-tcp", names, ways)
}

// epollOf is one epoll_wait of a set of n sessions of which one is ready, in
// nanoseconds.
func epollOf(b *testing.B, n int) float64 {
	s := must(vls.Lookup("perworker"))(b)
	a := must(s.New(vls.Options{Config: core.Config{SegmentSize: 256 << 20, RxFifoSize: 4096, TxFifoSize: 4096}}))(b)
	defer a.Close()
	t := must(a.NewProcess())(b).NewThread()
	l := must(t.Create(vls.TCP, false))(b)
	check(b, t.Bind(l, endpoint))
	check(b, t.Listen(l, n))
	ep := must(t.EpollCreate())(b)
	var last vls.Handle
	for range n {
		last = connect(b, t)
		x := accept(b, t, l)
		check(b, t.EpollCtl(ep, syscall.EPOLL_CTL_ADD, x, &vls.EpollEvent{Events: syscall.EPOLLIN}))
	}
	must(t.Write(last, make([]byte, 64)))(b)
	evs := make([]vls.EpollEvent, 64)
	return timed(func() {
		if n, err := t.EpollWait(ep, evs, 0); n != 1 {
			b.Fatal(n, err)
		}
	})
}

// BenchmarkEpollSet waits for a set of which one session is ready.
func BenchmarkEpollSet(b *testing.B) {
	compared(b, 11, false, "x-10", []string{"sessions=10", "sessions=10000"}, []func() float64{
		func() float64 { return onCore(b, func() float64 { return epollOf(b, 10) }) },
		func() float64 { return onCore(b, func() float64 { return epollOf(b, 10_000) }) },
	})
}

// BenchmarkIdleSessions opens many sessions in one worker and reports what an
// idle one keeps, in bytes: of the segment (fifo headers; chunks it has none
// before the first byte) and of the heap.
func BenchmarkIdleSessions(b *testing.B) {
	const n = 100_000
	s := must(vls.Lookup("perworker"))(b)
	var seg, heap float64
	for b.Loop() {
		mem := must(fifo.NewMappedSegment(1 << 30))(b)
		taken, before := mem.Usage().Taken, heapBytes()
		a := must(s.New(vls.Options{Config: core.Config{Segment: mem, RxFifoSize: 4096, TxFifoSize: 4096}}))(b)
		t := must(a.NewProcess())(b).NewThread()
		l := must(t.Create(vls.TCP, false))(b)
		check(b, t.Bind(l, endpoint))
		check(b, t.Listen(l, 1024))
		for range n / 2 {
			connect(b, t)
			accept(b, t, l)
		}
		heap = float64(heapBytes()-before) / n
		seg = float64(mem.Usage().Taken-taken) / n
		check(b, a.Close())
		check(b, mem.Close())
	}
	b.ReportMetric(seg, "segment-B/session")
	b.ReportMetric(heap, "heap-B/session")
}

func heapBytes() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
