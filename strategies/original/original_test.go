package original_test

import (
	"strings"
	"testing"

	"vlsbench/audit"
	"vlsbench/internal/census"
	_ "vlsbench/strategies/original"
	"vlsbench/vls"
)

const migrate = "migrate-orig"

var originals = []string{"shared-orig", "perworker-orig", "spoolrw-orig"}

// The circle that the originals have: who closes has P and wants S, and who has S
// wants P, to let it go.
func TestCircle(t *testing.T) {
	if !audit.Enabled {
		t.Skip("the order of locks is noted in audit builds")
	}
	for _, name := range append([]string{migrate}, originals...) {
		s, err := vls.Lookup(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := census.Count(s); err != nil {
			t.Fatal(err)
		}
		circle := audit.Cycle(name)
		if !strings.Contains(circle, "S → P") {
			t.Errorf("%s: %q: no circle of S and P", name, circle)
		}
		t.Log(strings.SplitN(circle, "\n", 2)[0])
	}
}
