package delegate

import (
	"sync/atomic"
	"testing"

	"vlsbench/hw"
	"vlsbench/internal/litmus"
)

// The owner of a biased station comes in by its mark while another takes the
// station from it: either it is in before the other, and out when that comes in,
// or it sees that the station is held. What the other then writes, the owner must
// not find inside.
func TestLitmusRevoke(t *testing.T) {
	if !hw.MembarrierAvailable() {
		t.Skip("no membarrier: no station is biased")
	}
	type note struct {
		v uint32
		_ [hw.FalseSharing - 4]byte
	}
	test := func(enter func(st *station, second *thread), leave func(st *station, data *uint32) uint32) litmus.Test {
		var owners [litmus.Cells]thread
		var data, found, in [litmus.Cells]note
		second := new(thread)
		for c := range owners {
			owners[c].st.owner = &owners[c]
			owners[c].st.word.Store(biased)
		}
		return litmus.Test{
			Outcomes: []string{"in beside the other", "in before", "kept out"},
			Ready: []func(int){
				func(c int) { owners[c].st.word.Load() },
				func(c int) { atomic.LoadUint32(&owners[c].st.mark) },
			},
			Threads: []func(int){
				func(c int) {
					st := &owners[c].st
					in[c].v, found[c].v = 0, 0
					for range 64 * (c % 8) { // the other has some way to go
						st.word.Load()
					}
					if st.mark1() {
						in[c].v = 1
						found[c].v = leave(st, &data[c].v)
					}
				},
				func(c int) {
					enter(&owners[c].st, second)
					atomic.StoreUint32(&data[c].v, 1)
				},
			},
			Check: func(c int) int {
				data[c].v = 0
				owners[c].st.word.Store(biased)
				switch {
				case in[c].v == 0:
					return 2
				case found[c].v != 0:
					return 0
				}
				return 1
			},
		}
	}
	look := func(data *uint32, looks uint64) (v uint32) {
		for range looks {
			v |= atomic.LoadUint32(data)
		}
		return v
	}
	// An operation is short, or so long that the other, whose membarrier takes some
	// microseconds, waits for its end.
	operation := func(st *station, data *uint32) (v uint32) {
		if now := hw.Cycles() >> 4; now%8 == 0 {
			for st.word.Load() == biased {
				v |= look(data, 1)
			}
			v |= look(data, now>>3%(16<<10))
		}
		return v | look(data, 64)
	}
	leave := func(st *station, data *uint32) uint32 {
		v := operation(st, data)
		st.leave(st.owner)
		return v
	}
	t.Run("shipped", func(t *testing.T) {
		litmus.Never(t, test(func(st *station, second *thread) { st.enter(second, &second.outer) }, leave))
	})
	// What enter does, with less of a fence.
	without := func(fence func()) func(*station, *thread) {
		return func(st *station, _ *thread) {
			st.word.CompareAndSwap(biased, held)
			fence()
			for atomic.LoadUint32(&st.mark) != 0 {
				hw.Pause()
			}
		}
	}
	t.Run("without", func(t *testing.T) { litmus.Seen(t, test(without(func() {}), leave)) })
	t.Run("a fence on the other's side", func(t *testing.T) { litmus.Seen(t, test(without(hw.Fence), leave)) })
	t.Run("left too early", func(t *testing.T) {
		litmus.Seen(t, test(without(hw.HeavyFence), func(st *station, data *uint32) uint32 {
			operation(st, data)
			st.leave(st.owner)
			return look(data, 512)
		}))
	})
}
