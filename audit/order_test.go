//go:build audit

package audit

import (
	"strings"
	"testing"
)

// order notes what a thread does: a class is taken, one with a minus let go of,
// one with a question mark got by trying.
func order(strategy string, steps ...string) {
	var o Order
	for _, s := range steps {
		switch {
		case s[0] == '-':
			o.Give(s[1:])
		case s[0] == '?':
			o.Took(s[1:])
		default:
			o.Take(strategy, s)
		}
	}
}

func TestCycles(t *testing.T) {
	for _, c := range []struct {
		name    string
		threads [][]string
		circle  string
	}{
		{"in order", [][]string{{"P", "S", "MQ", "SP"}, {"S(set)", "S", "-S", "MQ"}}, ""},
		{"two the wrong way round", [][]string{{"SP", "MQ"}}, "MQ → SP → MQ"},
		{"far apart", [][]string{{"SD", "P"}}, "P → S(set) → S → MQ → SP → H → R → SD → P"},
		{"between two threads", [][]string{{"x", "y"}, {"y", "z"}, {"z", "x"}}, "x → y → z → x"},
		{"let go of in between", [][]string{{"S", "-S", "P"}}, ""},
		{"got by trying", [][]string{{"S", "?P"}}, ""},
		{"held by trying", [][]string{{"?S", "P"}}, "P → S(set) → S → P"},
		{"of one class", [][]string{{"S", "S", "-S", "MQ"}}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			defer ForgetOrder(t.Name())
			for _, steps := range c.threads {
				order(t.Name(), steps...)
			}
			got := Cycle(t.Name())
			if c.circle == "" && got != "" {
				t.Fatalf("a circle is found where there is none: %s", got)
			}
			if !strings.Contains(got, c.circle) {
				t.Fatalf("%q, want the circle %s", got, c.circle)
			}
			if c.circle != "" && !strings.Contains(got, "order_test.go") {
				t.Errorf("it does not say where: %s", got)
			}
		})
	}
	if caught(func() { order("none", "S", "-P") }) == "" {
		t.Error("a lock that is let go of and not held is not noticed")
	}
}
