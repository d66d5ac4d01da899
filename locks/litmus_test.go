package locks

import (
	"sync/atomic"
	"testing"

	"vlsbench/hw"
	"vlsbench/internal/litmus"
)

type litmusWord struct {
	v uint32
	_ [hw.FalseSharing - 4]byte
}

// A reader and a writer that try the same lock at once: both stay if they are
// let in, so that two are inside. The twin is a Bravo's two words with release
// stores, each lock making its word visible when it likes.
func TestLitmusBravo(t *testing.T) {
	test := func(read, write func(cell int) bool, reset func(cell int, read, write bool)) litmus.Test {
		var reads, writes [litmus.Cells]struct {
			ok bool
			_  [hw.FalseSharing - 1]byte
		}
		return litmus.Test{
			Outcomes: []string{"both inside", "the reader", "the writer", "neither"},
			Threads: []func(int){
				func(c int) { reads[c].ok = read(c) },
				func(c int) { writes[c].ok = write(c) },
			},
			Check: func(c int) int {
				r, w := reads[c].ok, writes[c].ok
				reset(c, r, w)
				switch {
				case r && w:
					return 0
				case r:
					return 1
				case w:
					return 2
				}
				return 3
			},
		}
	}
	t.Run("shipped", func(t *testing.T) {
		ls := new([litmus.Cells]*Bravo)
		for c := range ls {
			ls[c] = NewBravo()
		}
		litmus.Never(t, test(
			func(c int) bool { return ls[c].TryRLock(bravoLines - 1) },
			func(c int) bool { return ls[c].TryLock() },
			func(c int, read, write bool) {
				if read {
					ls[c].RUnlock(bravoLines - 1)
				}
				if write {
					ls[c].Unlock()
				}
				ls[c].used.Store(0)
			}))
	})
	t.Run("release stores", func(t *testing.T) {
		flags, lines := new([litmus.Cells]litmusWord), new([litmus.Cells]litmusWord)
		x := test(
			func(c int) bool {
				hw.StoreRel32(&lines[c].v, 1)
				return atomic.LoadUint32(&flags[c].v) == 0
			},
			func(c int) bool {
				hw.StoreRel32(&flags[c].v, 1)
				return atomic.LoadUint32(&lines[c].v) == 0
			},
			func(c int, _, _ bool) { flags[c].v, lines[c].v = 0, 0 })
		x.Ready = []func(int){
			func(c int) { atomic.LoadUint32(&flags[c].v) },
			func(c int) { atomic.LoadUint32(&lines[c].v) },
		}
		litmus.Seen(t, x)
	})
}

// What was done inside is there for the next who gets in. In the twin the lock is
// given back too early.
func TestLitmusUnlock(t *testing.T) {
	for _, k := range Kinds() {
		test := func(t *testing.T, weak bool) litmus.Test {
			ls := new([litmus.Cells]Lock)
			for c := range ls {
				ls[c] = newLock(t, k)
				ls[c].Lock()
			}
			data, got := new([litmus.Cells]litmusWord), new([litmus.Cells]litmusWord)
			return litmus.Test{
				Outcomes: []string{"inside too early", "not yet", "inside after the other"},
				Ready: []func(int){
					func(int) {},
					func(c int) { got[c].v = data[c].v },
				},
				Threads: []func(int){
					func(c int) {
						if !weak {
							data[c].v = 1
						}
						ls[c].Unlock()
						if weak {
							data[c].v = 1
						}
					},
					func(c int) {
						got[c].v = 1
						for range 8 {
							if ls[c].TryLock() {
								got[c].v = 2 * data[c].v
								return
							}
						}
					},
				},
				Check: func(c int) int {
					data[c].v = 0
					if got[c].v == 1 {
						ls[c].Lock() // for the next round
					}
					return int(got[c].v)
				},
			}
		}
		t.Run(k.Name, func(t *testing.T) { litmus.Never(t, test(t, false)) })
		t.Run(k.Name+" given back first", func(t *testing.T) { litmus.Seen(t, test(t, true)) })
	}
}

// What a reader did inside is over for the writer that gets in after it. In the
// twin the reader leaves too early.
func TestLitmusRUnlock(t *testing.T) {
	for _, k := range Kinds() {
		if !k.RW {
			continue
		}
		test := func(t *testing.T, weak bool) litmus.Test {
			ls := new([litmus.Cells]RW)
			for c := range ls {
				ls[c] = newRW(t, k)
				ls[c].RLock(0)
			}
			data, got, wrote := new([litmus.Cells]litmusWord), new([litmus.Cells]litmusWord), new([litmus.Cells]litmusWord)
			return litmus.Test{
				Outcomes: []string{"the reader saw the write", "not yet", "the writer after the reader"},
				Ready: []func(int){
					func(c int) { got[c].v = data[c].v },
					func(c int) { wrote[c].v = 0 },
				},
				Threads: []func(int){
					func(c int) {
						if !weak {
							got[c].v = data[c].v
						}
						ls[c].RUnlock(0)
						if weak {
							got[c].v = data[c].v
						}
					},
					func(c int) {
						for range 8 {
							if ls[c].TryLock() {
								data[c].v = 1
								wrote[c].v = 1
								ls[c].Unlock()
								return
							}
						}
					},
				},
				Check: func(c int) int {
					saw, w := got[c].v, wrote[c].v
					data[c].v = 0
					ls[c].RLock(0) // for the next round
					switch {
					case saw == 1:
						return 0
					case w == 0:
						return 1
					}
					return 2
				},
			}
		}
		t.Run(k.Name, func(t *testing.T) { litmus.Never(t, test(t, false)) })
		t.Run(k.Name+" left first", func(t *testing.T) { litmus.Seen(t, test(t, true)) })
	}
}

// What was done inside is there for one that waits, be it that the lock is handed
// to it. In the twin it is given back too early.
func TestLitmusHandOver(t *testing.T) {
	for _, k := range Kinds() {
		test := func(t *testing.T, weak bool) litmus.Test {
			ls := new([litmus.Cells]Lock)
			for c := range ls {
				ls[c] = newLock(t, k)
				ls[c].Lock()
			}
			data, got := new([litmus.Cells]litmusWord), new([litmus.Cells]litmusWord)
			return litmus.Test{
				Outcomes: []string{"inside too early", "inside after the other"},
				Ready: []func(int){
					func(int) {},
					func(c int) { got[c].v = data[c].v },
				},
				Threads: []func(int){
					func(c int) {
						if !weak {
							data[c].v = 1
						}
						ls[c].Unlock()
						if weak {
							data[c].v = 1
						}
					},
					func(c int) {
						ls[c].Lock() // and keep it for the next round
						got[c].v = data[c].v
					},
				},
				Check: func(c int) int {
					data[c].v = 0
					return int(got[c].v)
				},
			}
		}
		t.Run(k.Name, func(t *testing.T) { litmus.Never(t, test(t, false)) })
		t.Run(k.Name+" given back first", func(t *testing.T) { litmus.Seen(t, test(t, true)) })
	}
}

// Who is about to sleep says so and looks again, who grants looks who sleeps: one
// word, so that one of them sees the other. In the twin each has a word of its
// own, and release order alone.
func TestLitmusGrant(t *testing.T) {
	words, others := new([litmus.Cells]litmusWord), new([litmus.Cells]litmusWord)
	var slept, woke [litmus.Cells]struct {
		is bool
		_  [hw.FalseSharing - 1]byte
	}
	test := func(sleep, grant func(c int) bool) litmus.Test {
		return litmus.Test{
			Outcomes: []string{"asleep, and nobody wakes", "woken", "not asleep"},
			Threads: []func(int){
				func(c int) { slept[c].is = sleep(c) },
				func(c int) { woke[c].is = grant(c) },
			},
			Check: func(c int) int {
				words[c].v, others[c].v = 0, 0
				switch {
				case !slept[c].is:
					return 2
				case woke[c].is:
					return 1
				}
				return 0
			},
		}
	}
	t.Run("shipped", func(t *testing.T) {
		litmus.Never(t, test(
			func(c int) bool { return atomic.CompareAndSwapUint32(&words[c].v, waiting, asleep) },
			func(c int) bool { return atomic.SwapUint32(&words[c].v, granted) == asleep }))
	})
	t.Run("two words", func(t *testing.T) {
		x := test(
			func(c int) bool {
				hw.StoreRel32(&others[c].v, asleep)
				return atomic.LoadUint32(&words[c].v) != granted
			},
			func(c int) bool {
				hw.StoreRel32(&words[c].v, granted)
				return atomic.LoadUint32(&others[c].v) == asleep
			})
		x.Ready = []func(int){
			func(c int) { atomic.LoadUint32(&words[c].v) },
			func(c int) { atomic.LoadUint32(&others[c].v) },
		}
		litmus.Seen(t, x)
	})
}
