package fifo_test

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"vlsbench/fifo"
	"vlsbench/hw"
)

// queueStream measures events from one thread to another, in nanoseconds each.
// With several producers the one thread posts under their numbers in turn: on
// two cores a thread for each would measure the scheduler.
func queueStream(b testing.TB, q *fifo.Queue, producers int) float64 {
	return slot(b, func(_, stop *atomic.Bool) int {
		n, p := 0, 0
		for !stop.Load() {
			for range 64 {
				if !q.Post(p, fifo.Event{Kind: 1, Arg: uint64(n)}) {
					hw.Pause()
					continue
				}
				n++
				if p++; p == producers {
					p = 0
				}
			}
		}
		return n
	}, func(_, stop *atomic.Bool) int {
		var evs [32]fifo.Event
		n := 0
		for !stop.Load() {
			for range 16 {
				got := q.Drain(evs[:])
				if got == 0 {
					hw.Pause()
				}
				n += got
			}
		}
		return n
	})
}

// queueTrip measures an event there and one back, in nanoseconds.
func queueTrip(b testing.TB, there, back *fifo.Queue) float64 {
	return slot(b, func(_, stop *atomic.Bool) int {
		var evs [32]fifo.Event
		for !stop.Load() {
			for _, ev := range evs[:there.Drain(evs[:])] {
				back.Post(0, ev)
			}
		}
		return 0
	}, func(_, stop *atomic.Bool) int {
		var evs [32]fifo.Event
		n := 0
		for ; !stop.Load(); n++ {
			there.Post(0, fifo.Event{Kind: 1, Arg: uint64(n)})
			for back.Drain(evs[:]) == 0 && !stop.Load() {
			}
		}
		return n
	})
}

// BenchmarkQueue sends events across two cores. Each line reports nanoseconds
// and line round trips per event, or per round trip of a single event, medians;
// b.N has no say in it.
func BenchmarkQueue(b *testing.B) {
	twoCores(b)
	region := mapped(b, 256<<20)
	type variant struct {
		name         string
		producers    int // 0: a round trip
		events       int
		ord          fifo.Order
		nanos, lines []float64
		had          bool
	}
	var variants []*variant
	for _, events := range []int{1024} {
		for _, producers := range []int{1, 2, 0} {
			for _, o := range orders {
				name := fmt.Sprintf("order=%s/lane=%d/producers=%d", o.name, events, producers)
				if producers == 0 {
					name = fmt.Sprintf("order=%s/lane=%d/trip", o.name, events)
				}
				variants = append(variants, &variant{name: name, producers: producers, events: events, ord: o.ord})
			}
		}
	}
	var ls []float64
	measure := func() {
		ls = nil
		for _, v := range variants {
			v.nanos, v.lines, v.had = nil, nil, false
		}
		for range 25 {
			l := lineRoundTrip(b)
			ls = append(ls, l)
			for _, i := range rand.Perm(len(variants)) {
				v := variants[i]
				seg := place(b, region, 16<<20)
				q := createQueue(b, seg, v.events, v.ord)
				var ns float64
				if v.producers > 0 {
					ns = queueStream(b, q, v.producers)
				} else {
					ns = queueTrip(b, q, createQueue(b, seg, v.events, v.ord))
				}
				v.nanos = append(v.nanos, ns)
				v.lines = append(v.lines, ns/l)
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
			b.ReportMetric(median(v.nanos), "ns/event")
			b.ReportMetric(median(v.lines), "L/event")
			b.ReportMetric(median(ls), "ns/L")
		})
	}
}
