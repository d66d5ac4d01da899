// Package summarytest makes up a run, for tests of what shows runs. Its figures
// are invented.
package summarytest

import (
	"math"
	"math/rand/v2"
	"time"

	"vlsbench/results"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Set is a run of three strategies in seven cells of two workloads, of the
// given number of rounds. One of them, "null", is in the cells only that have a
// thread per process. Every 17th round is spoiled.
func Set(rounds int) *results.Set {
	uni := func(procs, threads, size int) results.Cell {
		return results.Cell{Workload: "uni", Procs: procs, Threads: threads, Sessions: 1, Size: size, Wait: "spin"}
	}
	ping := func(procs int) results.Cell {
		return results.Cell{Workload: "pingpong", Procs: procs, Threads: 2, Sessions: 1, Size: 64, Wait: "spin"}
	}
	cells := []results.Cell{uni(1, 1, 64), uni(1, 2, 64), uni(1, 2, 4096), uni(2, 2, 64), uni(2, 2, 4096), ping(1), ping(2)}
	rates := []map[string]float64{
		{"null": 71e6, "global": 33e6, "perworker": 66e6},
		{"global": 3.1e6, "perworker": 8.4e6},
		{"global": 1.9e6, "perworker": 2.6e6},
		{"null": 39e6, "global": 21e6, "perworker": 38.4e6},
		{"null": 2.9e6, "global": 2.85e6, "perworker": 2.86e6},
		{"global": 0.71e6, "perworker": 1.02e6},
		{"null": 1.64e6, "global": 1.52e6, "perworker": 1.61e6},
	}
	strategies := []string{"null", "global", "perworker"}
	s := &results.Set{
		Run: &results.Run{
			ID:      "20260102-030405-quick",
			Started: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
			Command: []string{"vlsbench", "run", "--profile", "quick"},
			Plan: results.Plan{Profile: "quick", Seed: 42, Strategies: strategies, Baseline: "global", Cells: cells,
				Units:  map[string]string{"uni": "messages", "pingpong": "round trips"},
				Rounds: rounds, Slot: 20 * time.Millisecond, Warmup: 2 * time.Millisecond, Pin: "core", CPUs: []int{0, 1},
				MinOverlap: 0.9, MaxStall: 0.1},
			Machine: results.Machine{CPU: "Example CPU 3000 @ 2.50GHz", Arch: "amd64", Kernel: "Linux 6.1.0", CPUs: 2, Allowed: []int{0, 1},
				Cores: 2, Nodes: 1, Governor: "none", Hypervisor: true, MemTotal: 4 << 30, CycleHz: 2.5e9, Membarrier: true},
			Build: results.Build{Version: "0123abc", Go: "go1.26", GOMAXPROCS: 4, GOGC: "100"},
		},
		End: &results.End{Ended: time.Date(2026, 1, 2, 3, 5, 30, 0, time.UTC), Rounds: rounds},
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for r := range rounds {
		for i, c := range cells {
			shared := 0.05 * rng.NormFloat64()
			order := 0
			for _, name := range strategies {
				rate, ok := rates[i][name]
				if !ok {
					continue
				}
				rate *= math.Exp(shared + 0.015*rng.NormFloat64())
				slot := results.Slot{Round: r, Order: order, Strategy: name, Cell: c, Seconds: 0.018, Ops: uint64(rate * 0.018),
					CPUs: []int{0, 1}[:c.Threads], Overlap: 0.99, Stall: []float64{0.004 * rng.Float64(), 0.004 * rng.Float64()}[:c.Threads]}
				slot.Bytes = slot.Ops * uint64(c.Size)
				if r%17 == 16 && order == 0 {
					slot.Stall[0] = 0.3
					slot.Bad = "thread 0 lost 30% of it"
				}
				if c.Workload == "pingpong" {
					h := hdrhistogram.New(1, 1e9, 3)
					for range 300 {
						ns := 1e9 / rate * math.Exp(0.12*rng.NormFloat64())
						if rng.IntN(400) == 0 {
							ns *= 5 + 300*rng.Float64()
						}
						h.RecordValue(int64(ns))
					}
					slot.Latency = results.NewLatency(h)
					slot.Bytes *= 2
				}
				s.Slots = append(s.Slots, slot)
				order++
			}
		}
	}
	s.End.Slots = len(s.Slots)
	return s
}
