//go:build audit

package audit

import (
	"strings"
	"testing"
)

// caught runs f and returns the violation it was stopped with, or "".
func caught(f func()) (report string) {
	old := fail
	defer func() { fail = old }()
	fail = func(r string) { report += r }
	f()
	return report
}

func TestViolations(t *testing.T) {
	for _, c := range []struct {
		name          string
		first, second Mode
		bad           bool
	}{
		{"two readers", Shared, Shared, false},
		{"writer under reader", Shared, Exclusive, true},
		{"reader under writer", Exclusive, Shared, true},
		{"two writers", Exclusive, Exclusive, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			SetRun("strategy=none seed=7")
			var r Resource
			got := caught(func() {
				r.Enter("session rx", c.first)
				r.Enter("session rx", c.second)
				r.Leave(c.second)
				r.Leave(c.first)
			})
			if (got != "") != c.bad {
				t.Fatalf("report %q, want one: %v", got, c.bad)
			}
			if c.bad {
				for _, want := range []string{"session rx", "strategy=none seed=7", "entering", "holding", "audit_test.go"} {
					if !strings.Contains(got, want) {
						t.Errorf("report lacks %q:\n%s", want, got)
					}
				}
			}
			if got := caught(func() { r.Enter("session rx", Exclusive); r.Leave(Exclusive) }); got != "" {
				t.Errorf("a resource that was left is still held: %s", got)
			}
		})
	}
}

// Parts of one resource exclude each other, until they are their own again.
func TestParts(t *testing.T) {
	var whole, a, b Resource
	a.PartOf(&whole)
	b.PartOf(&whole)
	if caught(func() { a.Enter("session rx", Exclusive); b.Enter("session rx", Exclusive) }) == "" {
		t.Error("two are inside parts of one resource, and that is not noticed")
	}
	a.Leave(Exclusive)
	b.Leave(Exclusive)
	b.PartOf(nil)
	if got := caught(func() { a.Enter("session rx", Exclusive); b.Enter("session rx", Exclusive) }); got != "" {
		t.Errorf("what is no part any more is taken for one: %s", got)
	}
}

func TestLeaveWithoutEnter(t *testing.T) {
	var r Resource
	if caught(func() { r.Leave(Shared) }) == "" {
		t.Fatal("not noticed")
	}
}
