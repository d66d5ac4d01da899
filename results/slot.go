package results

import (
	"slices"
	"strings"
)

// Unit is the unit of [Slot.Rate] for a workload, as it is printed: "msgs/s",
// "trips/s" (round trips), or another.
func (r *Run) Unit(workload string) string {
	switch unit := r.Plan.Units[workload]; unit {
	case "messages":
		return "msgs/s"
	case "round trips":
		return "trips/s"
	case "":
		return "ops/s"
	default:
		return strings.ReplaceAll(unit, " ", "-") + "/s"
	}
}

// Rate is operations per second, 0 for a slot that has no length.
func (s *Slot) Rate() float64 { return s.per(s.Ops) }

func (s *Slot) per(n uint64) float64 {
	if s.Seconds <= 0 {
		return 0
	}
	return float64(n) / s.Seconds
}

// WorstStall is the largest stall share of a thread, 0 without threads.
func (s *Slot) WorstStall() float64 {
	if len(s.Stall) == 0 {
		return 0
	}
	return slices.Max(s.Stall)
}
