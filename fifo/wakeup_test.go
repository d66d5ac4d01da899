package fifo_test

import (
	"bytes"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vlsbench/fifo"
	"vlsbench/hw"
)

// The tests here look for lost wake-ups. One thread goes to sleep as often as it
// can and the other publishes, each after a random moment, so that both meet in
// the few nanoseconds in which a wake-up can be lost. One that is lost is a sleep
// for ever, which the watchdog ends.

const (
	handOvers    = 1_000_000
	handOverTime = 1200 * time.Millisecond // fewer, where a million take longer
)

// ballast is lines that both threads write. Who has just written them has a
// full store buffer: what it stores next is visible late, while its loads go
// ahead. That is what a fence is for, and what the tests must provoke.
type ballast [8][fifo.Line / 8]uint64

func (b *ballast) write(v int) {
	for i := range b {
		hw.StoreRel64(&b[i][0], uint64(v))
	}
}

// budget ends a test after so many hand-overs, or so long.
type budget struct {
	n        int
	deadline time.Time
}

func newBudget() *budget {
	return &budget{scaled(handOvers), time.Now().Add(handOverTime)}
}

func (b *budget) spent(n int) bool {
	return n >= b.n || n%8 == 0 && time.Now().After(b.deadline)
}

// bell is a futex that loses nothing by itself: a wait ends if it was rung since
// the value it is given was looked at.
type bell struct{ rung atomic.Uint32 }

// A date is when both sides meet: the sleeper proposes it and arms then, the
// publisher waits for it and publishes then, each with a random delay.
type date struct{ at atomic.Int64 }

// propose sets the date and waits for it. flag is what will be armed: to look at
// it keeps its line at hand.
func (d *date) propose(rnd *uint32, flag func() bool) {
	at := int64(hw.Cycles()) + 2000
	d.at.Store(at)
	keep(at, rnd, flag)
}

// accept waits for another date than the last, and then for that. It returns at
// once when over is true.
func (d *date) accept(last *int64, over func() bool, rnd *uint32, flag func() bool) {
	until(func() bool { return d.at.Load() != *last || over() })
	*last = d.at.Load()
	keep(*last, rnd, flag)
}

func keep(at int64, rnd *uint32, flag func() bool) {
	*rnd = *rnd*1664525 + 1013904223
	at += int64(*rnd >> 16 & 1023)
	// Clocks that disagree cost the test its point, not its end.
	for i := 0; i < 1000 && int64(hw.Cycles()) < at; i++ {
		flag()
	}
}

// until spins, at last with consideration for who else needs the core.
func until(done func() bool) {
	for i := 1; !done(); i++ {
		if i%1000 == 0 {
			runtime.Gosched()
		}
	}
}

// pair runs both sides on threads of their own and waits for both.
func pair(a, b func()) {
	done := make(chan struct{}, 2)
	for _, f := range []func(){a, b} {
		go func() {
			defer func() { done <- struct{}{} }()
			runtime.LockOSThread()
			f()
		}()
	}
	<-done
	<-done
}

// dozes are the ways in which a consumer can go to sleep when it found nothing;
// after is when that is, where it spins first.
var dozes = []struct {
	name  string
	after time.Duration
	doze  func(q *fifo.Queue, ord fifo.Order) error
}{
	{"arm", 0, func(q *fifo.Queue, ord fifo.Order) error { sleep(q, ord); return nil }},
	{"park", 0, func(q *fifo.Queue, _ fifo.Order) error { return q.Wait(fifo.Park, -1) }},
	{"eventfd", 0, func(q *fifo.Queue, _ fifo.Order) error { return q.Wait(fifo.Eventfd, -1) }},
	{"adaptive", spinTime, func(q *fifo.Queue, _ fifo.Order) error { return q.Wait(fifo.Adaptive, -1) }},
	{"spin", 0, func(q *fifo.Queue, _ fifo.Order) error { return q.Wait(fifo.Spin, -1) }},
}

// A queue's consumer sleeps whenever there is nothing.
func TestQueueLosesNoWakeup(t *testing.T) {
	for _, d := range dozes {
		for _, o := range orders {
			t.Run(d.name+"/"+o.name, func(t *testing.T) {
				needFence(t, o.ord)
				threads(t, 2)
				q, _ := eventfdQueue(t, fifo.MinEvents, o.ord)
				var seen atomic.Uint64
				progressDog(t, seen.Load, func() string {
					return fmt.Sprintf("armed %v, pending %v", q.Armed(), q.Pending())
				})
				b := handOverBudget()
				ballast, date := new(ballast), new(date)
				sleeps, armed := 0, 0
				const end = ^uint64(0)
				pair(func() {
					var evs [4]fifo.Event
					rnd := uint32(1)
					for {
						n := q.Drain(evs[:])
						if n == 0 {
							date.propose(&rnd, q.Armed)
							if err := d.doze(q, o.ord); err != nil {
								t.Error(err)
							}
							sleeps++
							continue
						}
						for _, ev := range evs[:n] {
							if ev.Arg == end {
								return
							}
							if want := seen.Load(); ev.Arg != want {
								t.Errorf("event %d, want %d", ev.Arg, want)
							}
							ballast.write(0)
							seen.Add(1)
						}
					}
				}, func() {
					var rnd uint32
					var last int64
					never := func() bool { return false }
					n := 0
					for ; !b.spent(n); n++ {
						date.accept(&last, never, &rnd, q.Armed)
						// Half of them meet a consumer that is about to sleep, half
						// one that most likely does.
						keepFor(d.after+time.Duration(n%2)*asleepAfter, q.Armed)
						if n%2 == 1 && q.Armed() {
							armed++
						}
						ballast.write(n)
						if !q.Post(0, fifo.Event{Arg: uint64(n)}) {
							t.Error("full")
						}
						until(func() bool { return seen.Load() > uint64(n) })
					}
					q.Post(0, fifo.Event{Arg: end})
				})
				t.Logf("%d hand-overs, %d waits, %d most likely asleep", seen.Load(), sleeps, armed)
			})
		}
	}
}

const (
	spinTime    = 10 * time.Microsecond // of an adaptive wait
	asleepAfter = 5 * time.Microsecond
)

// keepFor lets so much time pass, or what seems so, looking at the flag.
func keepFor(d time.Duration, flag func() bool) {
	cycles := hw.NanosToCycles(d)
	for t0, i := hw.Cycles(), 0; i < 10_000 && hw.Cycles()-t0 < cycles; i++ {
		hw.Pause()
		flag()
	}
}

// A producer whose lane is full sleeps until there is room: the consumer's first
// free slot wakes it.
func TestPostLosesNoWakeup(t *testing.T) {
	for _, w := range producerWaits {
		for _, o := range orders {
			t.Run(w.name+"/"+o.name, func(t *testing.T) {
				needFence(t, o.ord)
				threads(t, 2)
				q := createQueue(t, heap(t, 1<<20), fifo.MinEvents, o.ord)
				const p = 5
				var posted atomic.Uint64
				var over atomic.Bool
				progressDog(t, posted.Load, func() string {
					return fmt.Sprintf("the producer waits: %v", q.Waiting(p))
				})
				b := handOverBudget()
				ballast, date := new(ballast), new(date)
				waits := func() bool { return q.Waiting(p) }
				sleeps, asleep := 0, 0
				var after time.Duration
				if w.mode == fifo.Adaptive {
					after = spinTime
				}
				pair(func() { // the producer
					defer over.Store(true)
					rnd := uint32(1)
					for n := uint64(0); !b.spent(int(n)); n++ {
						if ev := event(p, n); !q.Post(p, ev) {
							date.propose(&rnd, waits)
							if err := q.PostWait(p, ev, w.mode, -1); err != nil {
								t.Error(err)
								return
							}
							sleeps++
						}
						posted.Add(1)
						ballast.write(0)
					}
				}, func() { // the consumer: a slot at a time
					var rnd uint32
					var last int64
					var evs [1]fifo.Event
					var seen order
					for n := 0; ; n++ {
						date.accept(&last, over.Load, &rnd, waits)
						if over.Load() {
							break
						}
						keepFor(after+time.Duration(n%2)*asleepAfter, waits)
						if n%2 == 1 && waits() {
							asleep++
						}
						ballast.write(0)
						if n := q.Drain(evs[:]); n != 1 {
							t.Errorf("drained %d of a full lane", n)
						} else if err := seen.see(evs[0]); err != nil {
							t.Error(err)
						}
						until(func() bool { return posted.Load() >= seen[p]+fifo.MinEvents || over.Load() })
					}
					for _, ev := range drainAll(q) {
						if err := seen.see(ev); err != nil {
							t.Error(err)
						}
					}
					if seen[p] != posted.Load() {
						t.Errorf("posted %d, drained %d", posted.Load(), seen[p])
					}
				})
				t.Logf("%d posts, %d waits, %d most likely asleep", posted.Load(), sleeps, asleep)
			})
		}
	}
}

// Several producers that wait for room and a consumer that waits for events:
// nobody is forgotten, whoever sleeps.
func TestAllSidesSleep(t *testing.T) {
	for _, mode := range []fifo.WaitMode{fifo.Adaptive, fifo.Park, fifo.Eventfd} {
		for _, o := range orders {
			t.Run(fmt.Sprintf("%s/%s", waits[mode].name, o.name), func(t *testing.T) {
				needFence(t, o.ord)
				threads(t, 4)
				q, _ := eventfdQueue(t, fifo.MinEvents, o.ord)
				const producers = 3
				var seen order
				var total atomic.Uint64
				var stop atomic.Bool
				progressDog(t, total.Load, func() string {
					return fmt.Sprintf("armed %v, pending %v, producers wait %v %v %v",
						q.Armed(), q.Pending(), q.Waiting(0), q.Waiting(1), q.Waiting(2))
				})
				b := handOverBudget()
				var wg sync.WaitGroup
				var sent [producers]uint64
				for p := range producers {
					wg.Go(func() {
						r := random(uint64(p))
						for !stop.Load() {
							if err := q.PostWait(p, event(p, sent[p]), min(mode, fifo.Park), -1); err != nil {
								t.Error(err)
								return
							}
							sent[p]++
							for range r.IntN(40) {
								hw.Pause()
							}
						}
					})
				}
				alive := make(chan struct{})
				go func() { wg.Wait(); close(alive) }()
				var evs [3]fifo.Event
				for {
					n := q.Drain(evs[:])
					for _, ev := range evs[:n] {
						if err := seen.see(ev); err != nil {
							t.Fatal(err)
						}
					}
					if b.spent(int(total.Add(uint64(n)))) {
						stop.Store(true)
					}
					if n > 0 {
						continue
					}
					if stop.Load() {
						select {
						case <-alive:
							if q.Pending() {
								continue
							}
							for p, want := range sent {
								if seen[p] != want {
									t.Errorf("producer %d: posted %d, drained %d", p, want, seen[p])
								}
							}
							return
						default:
							runtime.Gosched()
							continue
						}
					}
					if err := q.Wait(mode, -1); err != nil {
						t.Fatal(err)
					}
				}
			})
		}
	}
}

// Both sides sleep: each hands the turn to the other's queue.
func TestQueuePingPong(t *testing.T) {
	needFence(t, fifo.Release)
	threads(t, 2)
	s := heap(t, 1<<20)
	qs := [2]*fifo.Queue{createQueue(t, s, fifo.MinEvents, fifo.Release), createQueue(t, s, fifo.MinEvents, fifo.Release)}
	var turns atomic.Int64
	watchdog(t, func() string {
		return fmt.Sprintf("turn %d: armed %v %v, pending %v %v", turns.Load(), qs[0].Armed(), qs[1].Armed(), qs[0].Pending(), qs[1].Pending())
	})
	b := newBudget()
	side := func(in, out *fifo.Queue) func() {
		return func() {
			var evs [2]fifo.Event
			for {
				switch n := in.Drain(evs[:]); n {
				case 0:
					sleep(in, fifo.Release)
				case 1:
					stop := evs[0].Kind == 1 || b.spent(int(turns.Add(1)))
					if stop {
						evs[0].Kind = 1
					}
					evs[0].Arg++
					out.Post(0, evs[0])
					if stop {
						return
					}
				default:
					t.Errorf("%d turns at once", n)
					return
				}
			}
		}
	}
	qs[0].Post(0, fifo.Event{})
	pair(side(qs[0], qs[1]), side(qs[1], qs[0]))
	t.Logf("%d turns", turns.Load())
}

// A consumer that unsets the event flag, fences, looks again and sleeps, against
// a producer that publishes and then tests the flag.
func TestEventLosesNoWakeup(t *testing.T) {
	for _, o := range orders {
		t.Run(o.name, func(t *testing.T) {
			needFence(t, o.ord)
			threads(t, 2)
			const size = 100 // of messages of 1 to 60: now and then not all fits
			f := create(t, heap(t, 1<<20), size, o.ord)
			f.StartAt(1<<32 - 1_000_000)
			g := f
			bell := new(bell)
			var ended atomic.Bool
			watchdog(t, func() string {
				return fmt.Sprintf("%d bytes there, event %v, rung %d times", g.MaxDequeue(), g.HasEvent(), bell.rung.Load())
			})
			b := newBudget()
			ballast, date := new(ballast), new(date)
			sleeps, rings, n := 0, 0, 0
			pair(func() { // the consumer
				pos := uint64(0)
				rnd := uint32(1)
				buf := make([]byte, size)
				for {
					got, err := g.Dequeue(buf)
					if err == nil {
						if !bytes.Equal(buf[:got], expected(pos, got)) {
							t.Error(firstWrong(buf[:got], pos))
						}
						pos += uint64(got)
						ballast.write(0)
						continue
					}
					if ended.Load() && g.MaxDequeue() == 0 {
						return
					}
					date.propose(&rnd, g.HasEvent)
					rung := bell.rung.Load()
					g.UnsetEvent()
					sleepFence(o.ord)
					if g.MaxDequeue() > 0 || ended.Load() {
						g.SetEvent() // awake, and needs no bell
						continue
					}
					sleepOn(bell, rung)
					sleeps++
				}
			}, func() { // the producer
				var rnd uint32
				var last int64
				never := func() bool { return false }
				pos := uint64(0)
				for ; !b.spent(n); n++ {
					m := 1 + n%60
					date.accept(&last, never, &rnd, f.HasEvent)
					ballast.write(n)
					got, err := f.Enqueue(expected(pos, m))
					if err != nil || got != m {
						t.Errorf("Enqueue: %d, %v", got, err)
						break
					}
					pos += uint64(got)
					if !f.HasEvent() && f.SetEvent() {
						ring(bell)
						rings++
					}
					until(func() bool { return f.MaxDequeue() == 0 })
				}
				ended.Store(true)
				ring(bell)
			})
			t.Logf("%d hand-overs, %d rings, %d sleeps", n, rings, sleeps)
		})
	}
}

// The same the other way round: a producer with a full fifo asks to be told of
// space, fences, looks again and sleeps; the consumer frees and then looks
// whether somebody asked.
func TestNotifyLosesNoWakeup(t *testing.T) {
	for _, o := range orders {
		t.Run(o.name, func(t *testing.T) {
			needFence(t, o.ord)
			threads(t, 2)
			const size = 100
			f := create(t, heap(t, 1<<20), size, o.ord)
			f.StartAt(1<<32 - 1_000_000)
			g := f
			bell := new(bell)
			var ended atomic.Bool
			watchdog(t, func() string {
				return fmt.Sprintf("%d bytes free, wanted %v, rung %d times", g.MaxEnqueue(), g.Wanted(), bell.rung.Load())
			})
			b := newBudget()
			ballast, date := new(ballast), new(date)
			sleeps, rings, n := 0, 0, 0
			pair(func() { // the producer
				defer ended.Store(true)
				pos := uint64(0)
				rnd := uint32(7)
				for !b.spent(n) {
					got, err := f.Enqueue(expected(pos, 1+n%(size+20)))
					if err == nil {
						pos += uint64(got)
						n++
						ballast.write(n)
						continue
					}
					date.propose(&rnd, f.Wanted)
					want := 1 + int(rnd>>16)%size
					rung := bell.rung.Load()
					f.WantNotify(want)
					sleepFence(o.ord)
					if f.MaxEnqueue() >= want {
						f.TakeNotify() // awake, and needs no bell
						continue
					}
					sleepOn(bell, rung)
					sleeps++
				}
			}, func() { // the consumer
				pos := uint64(0)
				rnd := uint32(11)
				var last int64
				buf := make([]byte, size)
				for {
					// All there is, at once or bit by bit. Whether somebody wants to be
					// told is looked at only after some was freed.
					date.accept(&last, ended.Load, &rnd, g.Wanted)
					ballast.write(0)
					piece := size
					if rnd>>10&3 == 0 {
						piece = 1 + int(rnd>>20)%size
					}
					for {
						got, err := g.Dequeue(buf[:piece])
						if err != nil {
							break
						}
						if g.Wanted() && g.Notify(1) {
							ring(bell)
							rings++
						}
						if !bytes.Equal(buf[:got], expected(pos, got)) {
							t.Error(firstWrong(buf[:got], pos))
						}
						pos += uint64(got)
					}
					if ended.Load() && g.MaxDequeue() == 0 {
						return
					}
				}
			})
			t.Logf("%d messages, %d rings, %d sleeps", n, rings, sleeps)
		})
	}
}
