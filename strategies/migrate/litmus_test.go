package migrate

import (
	"sync/atomic"
	"testing"

	"vlsbench/core"
	"vlsbench/hw"
	"vlsbench/internal/litmus"
	"vlsbench/vls"
)

// A thread enters its queue and pool while a process is being stopped: it is
// inside before the process counts as stopped, or is kept out by the lock. What
// who stopped it then writes, the thread must not find inside.
func TestLitmusStop(t *testing.T) {
	if !hw.MembarrierAvailable() {
		t.Skip("no membarrier: threads take the lock always")
	}
	type note struct {
		v uint32
		_ [hw.FalseSharing - 4]byte
	}
	test := func(t *testing.T, stop func(p *process)) litmus.Test {
		a, err := preset.new(vls.Options{Config: core.Config{SegmentSize: 64 << 20, MaxWorkers: litmus.Cells}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { a.Close() })
		var ths [litmus.Cells]*thread
		for c := range ths {
			p, err := a.NewProcess()
			if err != nil {
				t.Fatal(err)
			}
			ths[c] = p.NewThread().(*thread)
			if err := ths[c].Register(); err != nil {
				t.Fatal(err)
			}
		}
		var data, found, marked [litmus.Cells]note
		return litmus.Test{
			Outcomes: []string{"inside while it is stopped", "inside before", "kept out"},
			Ready: []func(int){
				func(c int) { ths[c].p.mode.Load() },
				func(c int) { atomic.LoadUint32(&ths[c].mark) },
			},
			Threads: []func(int){
				func(c int) {
					th := ths[c]
					for range 64 * (c % 8) {
						th.p.mode.Load()
					}
					th.in()
					marked[c].v = 1
					if th.lock {
						marked[c].v = 0
					}
					found[c].v = 0
					looks := uint64(64)
					if now := hw.Cycles() >> 4; now%8 == 0 {
						looks = now >> 3 % (16 << 10)
					}
					for range looks {
						found[c].v |= atomic.LoadUint32(&data[c].v)
					}
					th.out()
				},
				func(c int) {
					stop(ths[c].p)
					atomic.StoreUint32(&data[c].v, 1)
				},
			},
			Check: func(c int) int {
				data[c].v = 0
				ths[c].p.mode.Store(0)
				switch {
				case marked[c].v == 0:
					return 2
				case found[c].v != 0:
					return 0
				}
				return 1
			},
		}
	}
	t.Run("shipped", func(t *testing.T) { litmus.Never(t, test(t, (*process).stop)) })
	weak := func(fence func()) func(p *process) {
		return func(p *process) {
			p.mode.Store(halted)
			fence()
			for atomic.LoadUint32(&p.threads[0].mark) != 0 {
				hw.Pause()
			}
		}
	}
	t.Run("without", func(t *testing.T) { litmus.Seen(t, test(t, weak(func() {}))) })
	t.Run("a fence on one side", func(t *testing.T) { litmus.Seen(t, test(t, weak(hw.Fence))) })
}
