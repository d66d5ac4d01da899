package migrate_test

import (
	"testing"

	_ "vlsbench/strategies/migrate"
	"vlsbench/vls"
	"vlsbench/vls/vlstest"
)

func TestConformance(t *testing.T) {
	s, err := vls.Lookup("migrate")
	if err != nil {
		t.Fatal(err)
	}
	vlstest.Run(t, s)
}
