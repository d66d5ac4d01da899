package kernel_test

import (
	"testing"

	_ "vlsbench/strategies/kernel"
	"vlsbench/vls"
	"vlsbench/vls/vlstest"
)

func TestConformance(t *testing.T) {
	for _, name := range []string{"kernel-tcp", "kernel-unix"} {
		t.Run(name, func(t *testing.T) {
			s, err := vls.Lookup(name)
			if err != nil {
				t.Fatal(err)
			}
			vlstest.Run(t, s)
		})
	}
}
