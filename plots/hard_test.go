package plots

import (
	"vlsbench/internal/summary/summarytest"
	"vlsbench/results"
)

// hard is a run that has all that makes drawing difficult: more strategies than
// colours, ratios over four decades, cells for several pages, rounds that were
// spoiled, a cell without baseline and one without a valid round, a CPU with a
// long name.
func hard() *results.Set {
	set := summarytest.Set(55)
	set.Run.Machine.CPU = "Intel(R) Xeon(R) Platinum 8488C with a name that goes on for much longer than anybody would think it could go on for"
	extra := []string{"shared", "perworker-orig", "spoolrw", "migrate", "lockfree", "delegate", "kernel-unix", "kernel-tcp", "somebodys-own-strategy", "x2"}
	set.Run.Plan.Strategies = append(set.Run.Plan.Strategies, extra...)
	var slots []results.Slot
	for _, s := range set.Slots {
		if s.Cell.Workload == "uni" && s.Cell.Procs == 1 && s.Cell.Threads == 1 && s.Strategy == "global" {
			continue
		}
		if s.Cell.Size == 4096 && s.Cell.Procs == 1 {
			s.Bad = "nothing was completed"
		}
		if s.Cell.Procs == 2 && s.Cell.Workload == "pingpong" {
			s.Stall = []float64{0.07, 0.02}
		}
		slots = append(slots, s)
		if s.Strategy != "perworker" {
			continue
		}
		for i, n := range extra {
			e := s
			e.Strategy = n
			e.Order = 3 + i
			f := []float64{0.9, 0.02, 1.01, 0.8, 1.2, 1.15, 0.01, 0.004, 1.0, 30}[i] * (1 + 0.001*float64((s.Round*7+i*3)%11))
			e.Ops = uint64(float64(e.Ops)*f) + 1
			slots = append(slots, e)
		}
	}
	set.Slots = slots
	return set
}
