package null_test

import (
	"testing"

	_ "vlsbench/strategies/null"
	"vlsbench/vls"
	"vlsbench/vls/vlstest"
)

func TestConformance(t *testing.T) {
	s, err := vls.Lookup("null")
	if err != nil {
		t.Fatal(err)
	}
	vlstest.Run(t, s)
}
