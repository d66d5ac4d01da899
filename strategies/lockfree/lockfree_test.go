package lockfree_test

import (
	"testing"

	_ "vlsbench/strategies/lockfree"
	"vlsbench/vls"
	"vlsbench/vls/vlstest"
)

func TestConformance(t *testing.T) {
	s, err := vls.Lookup("lockfree")
	if err != nil {
		t.Fatal(err)
	}
	vlstest.Run(t, s)
}
