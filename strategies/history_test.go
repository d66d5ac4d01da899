package strategies_test

import (
	"testing"

	"vlsbench/vls/vlstest/history"
)

// Each call of a history seems to happen at one moment.
func TestHistories(t *testing.T) {
	rounds := 20
	switch {
	case *soak:
		rounds = 4000
	case testing.Short():
		rounds = 8
	}
	for _, s := range built() {
		t.Run(s.Name, func(t *testing.T) { history.Run(t, s, rounds) })
	}
}
