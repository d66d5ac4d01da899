//go:build sched

package strategies_test

import (
	"testing"

	"vlsbench/vls/vlstest/edge"
)

// An edge-triggered reader never sleeps on data that is there.
func TestEdge(t *testing.T) {
	schedules := 300
	if *soak {
		schedules = 100_000
	}
	for _, s := range built() {
		t.Run(s.Name, func(t *testing.T) { edge.Explore(t, s, schedules) })
	}
}
