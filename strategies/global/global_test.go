package global_test

import (
	"testing"

	_ "vlsbench/strategies/global"
	"vlsbench/vls"
	"vlsbench/vls/vlstest"
)

func TestConformance(t *testing.T) {
	s, err := vls.Lookup("global")
	if err != nil {
		t.Fatal(err)
	}
	vlstest.Run(t, s)
}
