package hw_test

import (
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"vlsbench/hw"
	"vlsbench/internal/litmus"
)

// The two shapes that everything in docs/memory-order.md is made of, on bare
// words: message passing and store buffering. The real structures go through the
// same in the tests of their packages.

// word is a word on lines of its own.
type word struct {
	v uint32
	_ [hw.FalseSharing - 4]byte
	w uint64
	_ [hw.FalseSharing - 8]byte
}

// cell is the words of a round: x and y are shared, a and b are what the two
// threads found.
type cell struct{ x, y, a, b word }

type cells [litmus.Cells]cell

func nothing() {}

// storePlain is the store without the promise: the compiler may not move it,
// since it is a call, the machine may.
//
//go:noinline
func storePlain(p *uint32, v uint32) { *p = v }

// storeBuffering: each thread stores and then looks at the other's word.
func storeBuffering(left, right func()) litmus.Test {
	cs := new(cells)
	return litmus.Test{
		Outcomes: []string{"neither saw the other", "the left alone", "the right alone", "both"},
		// Each has at hand what it looks at, and not what it stores to.
		Ready: []func(int){
			func(c int) { atomic.LoadUint32(&cs[c].y.v) },
			func(c int) { atomic.LoadUint32(&cs[c].x.v) },
		},
		Threads: []func(int){
			func(c int) {
				s := &cs[c]
				hw.StoreRel32(&s.x.v, 1)
				left()
				s.a.v = atomic.LoadUint32(&s.y.v)
			},
			func(c int) {
				s := &cs[c]
				hw.StoreRel32(&s.y.v, 1)
				right()
				s.b.v = atomic.LoadUint32(&s.x.v)
			},
		},
		Check: func(c int) int {
			s := &cs[c]
			s.x.v, s.y.v = 0, 0
			return int(s.a.v + 2*s.b.v)
		},
	}
}

func TestLitmusFence(t *testing.T) {
	t.Run("shipped", func(t *testing.T) { litmus.Never(t, storeBuffering(hw.Fence, hw.Fence)) })
	t.Run("without", func(t *testing.T) { litmus.Seen(t, storeBuffering(nothing, nothing)) })
	t.Run("on one side", func(t *testing.T) { litmus.Seen(t, storeBuffering(nothing, hw.Fence)) })
}

func TestLitmusHeavyFence(t *testing.T) {
	light := nothing
	if !hw.MembarrierAvailable() {
		t.Log("no membarrier here: both sides fence")
		light = hw.Fence
	}
	t.Run("shipped", func(t *testing.T) { litmus.Never(t, storeBuffering(light, hw.HeavyFence)) })
	t.Run("on both sides", func(t *testing.T) { litmus.Never(t, storeBuffering(hw.HeavyFence, hw.HeavyFence)) })
}

// Who arms does so with a sequentially consistent store, and who publishes with
// a release store, in every publish and test here.
func TestLitmusPublishAndTest(t *testing.T) {
	test := func(publish func(*uint32, uint32), fence func()) litmus.Test {
		cs := new(cells)
		return litmus.Test{
			Outcomes: []string{"a wake-up lost", "the flag seen", "the word seen", "both"},
			Ready: []func(int){
				func(c int) { atomic.LoadUint32(&cs[c].y.v) },
				func(c int) { atomic.LoadUint32(&cs[c].x.v) },
			},
			Threads: []func(int){
				func(c int) {
					s := &cs[c]
					publish(&s.x.v, 1)
					s.a.v = atomic.LoadUint32(&s.y.v)
				},
				func(c int) {
					s := &cs[c]
					atomic.StoreUint32(&s.y.v, 1)
					fence()
					s.b.v = atomic.LoadUint32(&s.x.v)
				},
			},
			Check: func(c int) int {
				s := &cs[c]
				s.x.v, s.y.v = 0, 0
				return int(s.a.v + 2*s.b.v)
			},
		}
	}
	if hw.MembarrierAvailable() {
		t.Run("release", func(t *testing.T) { litmus.Never(t, test(hw.StoreRel32, hw.HeavyFence)) })
	}
	t.Run("seqcst", func(t *testing.T) { litmus.Never(t, test(atomic.StoreUint32, hw.Fence)) })
	t.Run("without", func(t *testing.T) { litmus.Seen(t, test(hw.StoreRel32, nothing)) })
	t.Run("a fence on the sleeper's side", func(t *testing.T) { litmus.Seen(t, test(hw.StoreRel32, hw.Fence)) })
}

// messagePassing: the left one stores data and then a flag, the right one looks
// at the flag and then at the data.
func messagePassing(left func(s *cell), flag func(s *cell) bool) litmus.Test {
	cs := new(cells)
	return litmus.Test{
		Outcomes: []string{"a flag without its data", "neither", "both"},
		// The reader has the data at hand: an old one, if it may.
		Ready: []func(int){
			func(c int) { atomic.LoadUint32(&cs[c].y.v) },
			func(c int) { atomic.LoadUint64(&cs[c].x.w) },
		},
		Threads: []func(int){
			func(c int) { left(&cs[c]) },
			func(c int) {
				s := &cs[c]
				// It looks a few times: the flag comes while it does.
				for s.a.v, s.b.w = 0, 0; s.a.v < 8; s.a.v++ {
					if flag(s) {
						s.b.w = 1 + s.x.w
						return
					}
				}
			},
		},
		Check: func(c int) int {
			s := &cs[c]
			s.x.w, s.y.v, s.y.w = 0, 0, 0
			return [...]int{1, 0, 2}[s.b.w]
		},
	}
}

func TestLitmusStoreRel(t *testing.T) {
	flag32 := func(s *cell) bool { return atomic.LoadUint32(&s.y.v) != 0 }
	flag64 := func(s *cell) bool { return atomic.LoadUint64(&s.y.w) != 0 }
	t.Run("32", func(t *testing.T) {
		litmus.Never(t, messagePassing(func(s *cell) { s.x.w = 1; hw.StoreRel32(&s.y.v, 1) }, flag32))
	})
	t.Run("64", func(t *testing.T) {
		litmus.Never(t, messagePassing(func(s *cell) { s.x.w = 1; hw.StoreRel64(&s.y.w, 1) }, flag64))
	})
	// The pattern of every row that says seq and acquire.
	t.Run("atomic", func(t *testing.T) {
		litmus.Never(t, messagePassing(func(s *cell) { s.x.w = 1; atomic.StoreUint32(&s.y.v, 1) }, flag32))
	})
	t.Run("flag first, 32", func(t *testing.T) {
		litmus.Seen(t, messagePassing(func(s *cell) { hw.StoreRel32(&s.y.v, 1); s.x.w = 1 }, flag32))
	})
	t.Run("flag first, 64", func(t *testing.T) {
		litmus.Seen(t, messagePassing(func(s *cell) { hw.StoreRel64(&s.y.w, 1); s.x.w = 1 }, flag64))
	})
	t.Run("plain store", func(t *testing.T) {
		litmus.Rare(t, messagePassing(func(s *cell) { s.x.w = 1; storePlain(&s.y.v, 1) }, flag32))
	})
}

// The way back: who has read the data says so, and the other then writes over it.
func TestLitmusStoreRelAfterLoad(t *testing.T) {
	test := func(right func(s *cell)) litmus.Test {
		cs := new(cells)
		return litmus.Test{
			Outcomes: []string{"overwritten before it was read", "not yet free", "read, then overwritten"},
			// The reader has the flag at hand and not the data, so that its load
			// takes longer than the store that follows.
			Ready: []func(int){
				func(c int) { atomic.LoadUint64(&cs[c].x.w) },
				func(c int) { storePlain(&cs[c].y.v, 0) },
			},
			Threads: []func(int){
				func(c int) {
					s := &cs[c]
					s.a.v = 0
					for range 8 {
						if atomic.LoadUint32(&s.y.v) != 0 {
							s.x.w = 1
							s.a.v = 1
							return
						}
					}
				},
				func(c int) { right(&cs[c]) },
			},
			Check: func(c int) int {
				s := &cs[c]
				s.x.w, s.y.v = 0, 0
				switch {
				case s.b.w != 0:
					return 0
				case s.a.v == 0:
					return 1
				}
				return 2
			},
		}
	}
	t.Run("shipped", func(t *testing.T) {
		litmus.Never(t, test(func(s *cell) { s.b.w = s.x.w; hw.StoreRel32(&s.y.v, 1) }))
	})
	t.Run("flag first", func(t *testing.T) {
		litmus.Seen(t, test(func(s *cell) {
			hw.StoreRel32(&s.y.v, 1)
			for range 256 { // as a long message takes
				s.b.w = atomic.LoadUint64(&s.x.w)
			}
		}))
	})
	t.Run("plain store", func(t *testing.T) {
		litmus.Rare(t, test(func(s *cell) { s.b.w = s.x.w; storePlain(&s.y.v, 1) }))
	})
}

// A futex's sleeper against whoever changes its word and then wakes: one that
// sleeps on is a wake-up lost. The timeout stands for ever; in the twin, which
// wakes before it changes the word, it is what ends the sleep.
func TestLitmusFutex(t *testing.T) {
	test := func(forever time.Duration, wake func(p *uint32) int) litmus.Test {
		cs := new(cells)
		return litmus.Test{
			Outcomes: []string{"a wake-up lost", "not asleep yet", "woken"},
			Threads: []func(int){
				func(c int) {
					s := &cs[c]
					for range 8 * c { // the sleeper has a way into the kernel
						atomic.LoadUint32(&s.a.v)
					}
					s.a.v = uint32(wake(&s.x.v))
				},
				func(c int) {
					s := &cs[c]
					s.b.v = 0
					if hw.FutexWait(&s.x.v, 0, forever) == syscall.ETIMEDOUT {
						s.b.v = 1
					}
				},
			},
			Check: func(c int) int {
				s := &cs[c]
				s.x.v = 0
				switch {
				case s.a.v > 0:
					return 2
				case s.b.v > 0:
					return 0
				}
				return 1
			},
		}
	}
	t.Run("shipped", func(t *testing.T) {
		litmus.Never(t, test(20*time.Second, func(p *uint32) int {
			atomic.StoreUint32(p, 1)
			return hw.FutexWake(p, 1)
		}))
	})
	t.Run("woken first", func(t *testing.T) {
		litmus.Seen(t, test(time.Millisecond, func(p *uint32) int {
			n := hw.FutexWake(p, 1)
			atomic.StoreUint32(p, 1)
			return n
		}))
	})
}
