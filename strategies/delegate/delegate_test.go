package delegate

import (
	"testing"

	"vlsbench/vls"
	"vlsbench/vls/vlstest"
)

func TestConformance(t *testing.T) {
	s, err := vls.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	vlstest.Run(t, s)
}
