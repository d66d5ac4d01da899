package strategies_test

import (
	"testing"

	"vlsbench/audit"
	"vlsbench/vls"
	"vlsbench/vls/vlstest/history"
)

// Each call of a history seems to happen at one moment.
func TestHistories(t *testing.T) {
	rounds := 12 // each way of a stream once
	if *soak {
		rounds = 4000
	}
	for _, s := range built() {
		t.Run(s.Name, func(t *testing.T) { history.Run(t, s, rounds) })
	}
}

// Sessions come and go by the million, and nobody gets at one by the handle of
// another.
func TestChurn(t *testing.T) {
	n := 100_000
	switch {
	case *soak:
		n = 1_000_000
	case testing.Short(), audit.Enabled:
		n = 10_000
	}
	for _, s := range built() {
		t.Run(s.Name, func(t *testing.T) {
			if err := history.Churn(s, history.Options{Wait: vls.Park, Seed: 1}, n); err != nil {
				t.Error(err)
			}
		})
	}
}
