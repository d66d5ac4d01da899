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
	for _, kind := range []string{"ttas", "futex"} {
		test := func(t *testing.T, weak bool) litmus.Test {
			ls := new([litmus.Cells]Lock)
			for c := range ls {
				l, err := New(kind)
				if err != nil {
					t.Fatal(err)
				}
				ls[c] = l
				l.Lock()
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
		t.Run(kind, func(t *testing.T) { litmus.Never(t, test(t, false)) })
		t.Run(kind+" given back first", func(t *testing.T) { litmus.Seen(t, test(t, true)) })
	}
}
