//go:build sched

package busted_test

import (
	"testing"

	"vlsbench/strategies/busted"
	"vlsbench/vls"
	"vlsbench/vls/vlstest/edge"
	"vlsbench/vls/vlstest/stall"
)

// controlled runs a check that needs the scheduler. What stands still is wrong
// here where it does without a thread being stopped, or when one is stopped that
// has left its operation or sleeps in it.
func controlled(t *testing.T, check string, s vls.Strategy) {
	if check == "edge" {
		edge.Explore(t, s, 3000)
		return
	}
	held, err := stall.Held(s)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range held {
		t.Errorf("%s: a thread that has done %s, or waits in it, stops others: near it %v", s.Name, x.Operation, x.Near)
	}
}

// What is like the twins, but for the fault, gets through what finds them.
func TestSoundControlled(t *testing.T) {
	controlled(t, "stall", busted.Sound.Strategy())
	edge.Explore(t, busted.Sound.Strategy(), 100)
}
