//go:build !sched

package busted_test

import (
	"testing"

	"vlsbench/vls"
)

func controlled(t *testing.T, _ string, _ vls.Strategy) {
	t.Skip("needs the tag sched")
}
