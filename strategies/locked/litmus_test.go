package locked

import (
	"runtime"
	"sync/atomic"
	"testing"

	"vlsbench/core"
	"vlsbench/hw"
	"vlsbench/internal/litmus"
	"vlsbench/vls"
)

// A second thread registers while the first is about to begin an operation, or
// inside one without locks, or about to end it. Once it is registered the first
// is not inside any more, and what it did there is done: what the second then
// writes, the first must not find inside.
func TestLitmusRegister(t *testing.T) {
	if !hw.MembarrierAvailable() {
		t.Skip("no membarrier: the locks are on from the first thread")
	}
	type note struct {
		v uint32
		_ [hw.FalseSharing - 4]byte
	}
	test := func(t *testing.T, register func(second *thread) error, enter func(first *thread, h vls.Handle) bool,
		leave func(first *thread, data *uint32) uint32) litmus.Test {
		a, err := perworker.New(vls.Options{Config: core.Config{SegmentSize: 64 << 20, MaxWorkers: litmus.Cells}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { a.Close() })
		var first, second [litmus.Cells]*thread
		var handles [litmus.Cells]vls.Handle
		for c := range first {
			p, err := a.NewProcess()
			if err != nil {
				t.Fatal(err)
			}
			first[c], second[c] = p.NewThread().(*thread), p.NewThread().(*thread)
			if handles[c], err = first[c].Create(vls.TCP, true); err != nil {
				t.Fatal(err)
			}
		}
		var data, found, single [litmus.Cells]note
		return litmus.Test{
			Outcomes: []string{"inside without locks beside the second", "alone", "with locks"},
			Ready: []func(int){
				func(c int) { first[c].mode.Load() },
				func(c int) { atomic.LoadUint32(&first[c].mark) },
			},
			Threads: []func(int){
				func(c int) {
					th := first[c]
					single[c].v = 0
					for range 64 * (c % 8) { // Register has some way to go
						th.mode.Load()
					}
					if enter(th, handles[c]) {
						single[c].v = 1
						found[c].v = leave(th, &data[c].v)
					}
				},
				func(c int) {
					if err := register(second[c]); err != nil {
						t.Error(err)
					}
					atomic.StoreUint32(&data[c].v, 1)
				},
			},
			Check: func(c int) int {
				// As before the second came.
				p := first[c].p
				if second[c].c != nil {
					if err := second[c].Exit(); err != nil {
						t.Error(err)
					}
				}
				p.several = false
				first[c].c.Bare = true
				first[c].setMode(alone)
				data[c].v = 0
				switch {
				case single[c].v == 0:
					return 2
				case found[c].v != 0:
					return 0
				}
				return 1
			},
		}
	}
	inside := func(data *uint32, looks uint64) (v uint32) {
		for range looks {
			v |= atomic.LoadUint32(data)
		}
		return v
	}
	// An operation is short, or so long that the newcomer, whose membarrier takes
	// some microseconds, waits for its end.
	operation := func(first *thread, data *uint32) (v uint32) {
		if now := hw.Cycles() >> 4; now%8 == 0 {
			for first.mode.Load() == alone {
				v |= inside(data, 1)
			}
			v |= inside(data, now>>3%(16<<10))
		}
		return v | inside(data, 64)
	}
	enter := func(first *thread, _ vls.Handle) bool {
		alone, _ := first.begin() // it is registered, and so cannot fail
		return alone
	}
	leave := func(first *thread, data *uint32) uint32 {
		v := operation(first, data)
		first.release()
		return v
	}
	t.Run("shipped", func(t *testing.T) {
		litmus.Never(t, test(t, (*thread).Register, enter, leave))
	})
	// As Read and Write do it.
	find := func(first *thread, h vls.Handle) bool {
		setMark(&first.mark, 1)
		_, live := first.sessions.Find(core.Handle(h))
		if !live {
			setMark(&first.mark, 0)
		}
		return live
	}
	found := func(first *thread, data *uint32) uint32 {
		v := operation(first, data)
		setMark(&first.mark, 0)
		return v
	}
	t.Run("data path", func(t *testing.T) {
		litmus.Never(t, test(t, (*thread).Register, find, found))
	})
	// As a wait does it, which uses the queue and nothing else of its process.
	queue := func(first *thread, _ vls.Handle) bool { return first.markForMQ() }
	emptied := func(first *thread, data *uint32) uint32 {
		v := operation(first, data)
		first.leaveMQ()
		return v
	}
	t.Run("queue", func(t *testing.T) {
		litmus.Never(t, test(t, (*thread).Register, queue, emptied))
	})
	// What Register does for the first thread, with less of a fence.
	without := func(fence func()) func(second *thread) error {
		return func(second *thread) error {
			first := second.p.threads[0]
			first.setMode(locked)
			fence()
			for i := 1; atomic.LoadUint32(&first.mark) != 0; i++ {
				hw.Pause()
				if i%64 == 0 {
					runtime.Gosched()
				}
			}
			return nil
		}
	}
	t.Run("without", func(t *testing.T) {
		litmus.Seen(t, test(t, without(func() {}), enter, leave))
	})
	t.Run("a fence on the newcomer's side", func(t *testing.T) {
		litmus.Seen(t, test(t, without(hw.Fence), enter, leave))
	})
	t.Run("the same, data path", func(t *testing.T) {
		litmus.Seen(t, test(t, without(hw.Fence), find, found))
	})
	t.Run("left too early", func(t *testing.T) {
		litmus.Seen(t, test(t, without(hw.HeavyFence), enter, func(first *thread, data *uint32) uint32 {
			operation(first, data)
			first.release()
			return inside(data, 512)
		}))
	})
}
