package turnstile

import (
	"testing"

	"vlsbench/vls"
	"vlsbench/vls/vlstest"
)

func TestTurnstile(t *testing.T) {
	s, err := vls.Lookup("turnstile")
	if err != nil {
		t.Fatal(err)
	}
	vlstest.Run(t, s)
}
