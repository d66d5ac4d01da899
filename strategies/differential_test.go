package strategies_test

import (
	"flag"
	"testing"

	_ "vlsbench/strategies"
	"vlsbench/vls"
	"vlsbench/vls/vlstest/tape"
)

func lookup(t testing.TB, name string) vls.Strategy {
	t.Helper()
	s, err := vls.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var tapeOps = flag.Int("tape.ops", 10_000, "operations of the differential test, of each pair")

// What a strategy says to any sequence of operations is what Linux says, but for
// the differences that are written down.
func TestDifferential(t *testing.T) {
	for _, judged := range []string{"null", "global", "perworker"} {
		for _, believed := range []string{"kernel-unix", "kernel-tcp"} {
			t.Run(judged+"/"+believed, func(t *testing.T) {
				s := tape.Run(t, lookup(t, judged), lookup(t, believed), *tapeOps, nil)
				t.Logf("%d operations, %d calls on each side", s.Ops, s.Calls)
			})
		}
	}
}
