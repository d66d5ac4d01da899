package harness_test

import (
	"testing"
	"time"

	"vlsbench/core"
	"vlsbench/harness"
	"vlsbench/hw"
	_ "vlsbench/strategies"
	"vlsbench/vls"
	"vlsbench/workloads"
)

// Every strategy that is built, and every kernel one, carries every workload, in each way of waiting,
// on its own OS threads: all bytes right, and none lost at the end.
func TestStrategiesCarryWorkloads(t *testing.T) {
	allowed, err := hw.Allowed()
	if err != nil {
		t.Fatal(err)
	}
	defer harness.Quiet(4)()
	for _, st := range vls.Strategies() {
		if st.Kind != vls.Built && st.Kind != vls.Kernel {
			continue
		}
		for _, w := range workloads.List() {
			for _, wait := range []core.Wait{core.Spin, core.Adaptive, core.Park} {
				for _, p := range []workloads.Params{
					{Threads: 1, Procs: 1, Sessions: 1, Size: 64},
					{Threads: 1, Procs: 1, Sessions: 2, Size: 200_000},
					{Threads: 2, Procs: 1, Sessions: 3, Size: 64},
					{Threads: 2, Procs: 2, Sessions: 1, Size: 4096},
					{Threads: 4, Procs: 2, Sessions: 4, Size: 1000},
					{Threads: 2, Procs: 1, Sessions: 1, Size: workloads.MaxSize},
				} {
					p.Wait, p.Seed = wait, 11
					if w.Accepts(p) != nil || st.MaxThreads > 0 && p.PerProcess() > st.MaxThreads {
						continue
					}
					if wait == core.Spin && p.Threads > allowed.Len() {
						continue // a turn of the kernel's per hand-over
					}
					s := harness.Spec{Strategy: st, Workload: w, Params: p, Slot: 4 * time.Millisecond, Warmup: time.Millisecond, CPUs: allowed.List(), Patience: time.Minute}
					slot, err := harness.Measure(s)
					if err != nil {
						t.Fatal(err)
					}
					if slot.Bytes == 0 && slot.Bad == "" {
						t.Errorf("%s, %s: nothing came through", st.Name, slot.Cell)
					}
				}
			}
		}
	}
}
