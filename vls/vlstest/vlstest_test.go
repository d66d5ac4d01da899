package vlstest

import (
	"testing"
)

// Every case has a sentence and a name of its own, and what may be skipped
// exists.
func TestCases(t *testing.T) {
	names := map[string]bool{}
	for _, c := range cases() {
		if c.doc == "" || c.run == nil || names[c.name] {
			t.Errorf("case %q: a sentence, a function and a name of its own are needed", c.name)
		}
		names[c.name] = true
	}
	for _, k := range skips {
		for _, n := range k.cases {
			if n != "*/"+string(threads) && !names[n] {
				t.Errorf("%q may be skipped, but there is no such case", n)
			}
		}
	}
	differs := map[string]bool{}
	for _, d := range differences {
		if !names[d.name] || d.doc == "" || differs[d.name] {
			t.Errorf("%q differs in Linux: a case of that name, a sentence, and once are needed", d.name)
		}
		differs[d.name] = true
	}
}
