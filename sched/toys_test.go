//go:build sched

package sched

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
)

// Small programs with a known fault, which must be found within a bounded number
// of schedules and had again from the seed, and their twins without it, which
// must pass.

// toys are found by the default mixture of strategies.
var toys = []struct {
	name, want  string
	schedules   int
	wrong, good func(*Run)
}{
	{"lost update", "n is 1, want 2", 20, lostUpdate(false), lostUpdate(true)},
	{"lost wake-up: flag cleared after the look", `consumer sleeps in "sleep"`, 200, lostWakeup(false), lostWakeup(true)},
	{"wake without the call", `consumer sleeps in "sleep"`, 20, mutedWake, lostWakeup(true)},
	{"ABA in a stack", "was handed out twice", 1000, stack(false), stack(true)},
	{"two locks in two orders", "deadlock", 50, twoLocks(false), twoLocks(true)},
}

func TestToys(t *testing.T) {
	hangs(t)
	for _, c := range toys {
		t.Run(c.name, func(t *testing.T) {
			finds(t, Options{Schedules: c.schedules}, c.want, c.wrong)
			passes(t, Options{Schedules: 5 * c.schedules}, c.good)
		})
	}
}

func lostUpdate(good bool) func(*Run) {
	return func(r *Run) {
		var n atomic.Int32
		for _, name := range []string{"a", "b"} {
			r.Go(name, func() {
				Point("start")
				if good {
					n.Add(1)
				} else {
					v := n.Load()
					Point("loaded")
					n.Store(v + 1)
				}
				Point("stored")
			})
		}
		r.Check(func() {
			if n.Load() != 2 {
				r.Errorf("n is %d, want 2", n.Load())
			}
		})
	}
}

// lostWakeup is a producer that tells the consumer only when its flag is up, and
// a consumer that must raise it before it looks for the last time.
func lostWakeup(good bool) func(*Run) {
	return func(r *Run) {
		var data int
		var flag uint32
		r.Go("producer", func() {
			for range 3 {
				Point("publish")
				data++
				Point("published")
				if atomic.CompareAndSwapUint32(&flag, 1, 0) {
					FutexWake("wake", &flag, 1)
				}
			}
		})
		r.Go("consumer", func() {
			for seen := 0; seen < 3; {
				if data > seen {
					seen++
					Point("took")
					continue
				}
				Point("found none")
				atomic.StoreUint32(&flag, 1)
				Point("armed")
				if !good || data == seen {
					FutexWait("sleep", &flag, 1, -1)
				}
				atomic.StoreUint32(&flag, 0)
			}
		})
	}
}

// mutedWake changes the word of the futex, and makes no call.
func mutedWake(r *Run) {
	var flag uint32 = 1
	r.Go("producer", func() {
		Point("wake")
		atomic.StoreUint32(&flag, 0)
	})
	r.Go("consumer", func() { FutexWait("sleep", &flag, 1, -1) })
}

// stack is a free list by compare-and-swap, with a tag that each pop raises or
// without. Threads take two nodes and give them back in another order.
func stack(tagged bool) func(*Run) {
	return func(r *Run) {
		const nodes = 3
		var head atomic.Uint64 // tag<<32 | node
		var next [nodes + 1]atomic.Uint32
		var taken [nodes + 1]bool
		push := func(n uint32) {
			taken[n] = false
			for {
				old := head.Load()
				next[n].Store(uint32(old))
				Point("push: between link and swap")
				if head.CompareAndSwap(old, old&^0xffffffff|uint64(n)) {
					return
				}
			}
		}
		pop := func() uint32 {
			for {
				old := head.Load()
				n := uint32(old)
				if n == 0 {
					return 0
				}
				follow := uint64(next[n].Load())
				Point("pop: between load and swap")
				if tagged {
					follow |= (old>>32 + 1) << 32
				}
				if head.CompareAndSwap(old, follow) {
					if taken[n] {
						r.Fatalf("node %d was handed out twice", n)
					}
					taken[n] = true
					return n
				}
			}
		}
		for n := range uint32(nodes) {
			push(n + 1)
		}
		for _, name := range []string{"a", "b"} {
			r.Go(name, func() {
				for range 2 {
					one := pop()
					two := pop()
					Point("have both")
					if one != 0 {
						push(one)
					}
					if two != 0 {
						pop() // and keep it
						push(two)
					}
				}
			})
		}
	}
}

func twoLocks(good bool) func(*Run) {
	return func(r *Run) {
		var locks [2]atomic.Bool
		for i, name := range []string{"a", "b"} {
			first, second := i, 1-i
			if good {
				first, second = 0, 1
			}
			r.Go(name, func() {
				for _, l := range []int{first, second} {
					Wait(fmt.Sprint("lock ", l), func() bool { return locks[l].CompareAndSwap(false, true) }, -1)
				}
				locks[second].Store(false)
				locks[first].Store(false)
			})
		}
	}
}

// A deadlock names who waits for what.
func TestDeadlockNamesLocks(t *testing.T) {
	hangs(t)
	f := finds(t, Options{Schedules: 50}, "deadlock: ", twoLocks(false))
	for _, want := range []string{`a waits for "lock 1"`, `b waits for "lock 0"`} {
		if !strings.Contains(f.Reason, want) {
			t.Errorf("want %q in %q", want, f.Reason)
		}
	}
}

// A queue of which producers take a ticket and then publish is right as long as
// nobody stops in between: then the consumer never gets what came after.
func TestTicketQueueStalls(t *testing.T) {
	hangs(t)
	const each = 2
	body := func(lanes bool) func(*Run) {
		return func(r *Run) {
			type ring struct {
				tail atomic.Uint32
				slot [2 * each]atomic.Uint32
			}
			var rings [2]ring
			of := func(producer int) *ring {
				if lanes {
					return &rings[producer]
				}
				return &rings[0]
			}
			posted := [2]int{}
			for i := range 2 {
				r.Go(fmt.Sprint("producer", i), func() {
					for range each {
						q := of(i)
						ticket := q.tail.Add(1) - 1
						Point("claimed")
						q.slot[ticket].Store(uint32(i) + 1)
						posted[i]++
						Point("published")
					}
				})
			}
			// All that was published must arrive.
			got := [2]int{}
			r.Go("consumer", func() {
				var head [2]int
				for got != [2]int{each, each} {
					if !Wait("event", func() bool {
						for k := range rings {
							if h := head[k]; h < len(rings[k].slot) && rings[k].slot[h].Load() != 0 {
								return true
							}
						}
						return false
					}, 1) {
						return // nothing more will come
					}
					for k := range rings {
						for h := &head[k]; *h < len(rings[k].slot) && rings[k].slot[*h].Load() != 0; *h++ {
							got[rings[k].slot[*h].Load()-1]++
						}
					}
				}
			})
			r.Check(func() {
				if got != posted {
					r.Errorf("posted %v, got %v", posted, got)
				}
			})
		}
	}
	rep := passes(t, Options{Schedules: 200}, body(false))
	found := 0
	for _, v := range rep.Visited {
		for n := range v.Visit {
			if v.Thread == "consumer" {
				continue
			}
			o := Options{Schedules: 20, Stall: []Stall{{v.Thread, v.Point, n + 1}}}
			passes(t, o, body(true))
			if v.Point == "claimed" {
				finds(t, o, "posted", body(false))
				found++
			} else {
				passes(t, o, body(false))
			}
		}
	}
	if found != 2*each {
		t.Errorf("%d stalls between claim and publication", found)
	}
}

// Faults that show only when a thread stands still for long while another goes
// on, once (depth 2) and twice (depth 3). PCT finds them; a choice at random
// would have to fall the same way some twenty times.
func TestDepth(t *testing.T) {
	hangs(t)
	body := func(depth int) func(*Run) {
		return func(r *Run) {
			const long = 10
			var x, y int
			r.Go("a", func() {
				x = 1
				Point("x is up")
				x = 0
				for range long {
					Point("a goes on")
				}
				if depth == 3 && y == 1 {
					r.Errorf("two windows")
				}
			})
			r.Go("b", func() {
				if x != 1 {
					return
				}
				for range long {
					Point("b goes on")
				}
				if x != 1 {
					return
				}
				if depth == 2 {
					r.Errorf("one window")
				}
				y = 1
				Point("y is up")
				y = 0
			})
		}
	}
	for depth := 2; depth <= 3; depth++ {
		with := func(n int, s Strategy) Options { return Options{Schedules: n, Strategies: []Strategy{s}} }
		finds(t, with(5000, PCT(depth)), "window", body(depth))
		passes(t, with(5000, PCT(depth-1)), body(depth))
	}
	passes(t, Options{Schedules: 5000, Strategies: []Strategy{Random}}, body(3))
}
