package vls_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"vlsbench/vls"
)

func init() {
	made := func(vls.Options) (vls.App, error) { return nil, errors.New("made") }
	vls.Register(vls.Strategy{
		Name: "tunable", Doc: "a strategy with knobs", Kind: vls.Busted, New: made,
		Knobs: []vls.Knob{
			{Name: "first", Default: "a", Values: []string{"a", "b"}},
			{Name: "second", Default: "x", Values: []string{"x", "y"}, Refused: map[string]string{"z": "it is a letter too many"}},
		},
		Tune: func(set map[string]string) (func(vls.Options) (vls.App, error), error) {
			if set["first"] == "b" && set["second"] == "x" {
				return nil, errors.New("b cannot be with x")
			}
			return func(vls.Options) (vls.App, error) {
				return nil, errors.New(set["first"] + set["second"])
			}, nil
		},
	})
}

func TestKnobs(t *testing.T) {
	for _, c := range []struct{ name, canonical, made string }{
		{"tunable", "tunable", "made"},
		{"tunable,first=b", "tunable,first=b", "b"},
		{"tunable,second=y,first=a", "tunable,first=a,second=y", "ay"},
	} {
		s, err := vls.Lookup(c.name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.New(vls.Options{}); s.Name != c.canonical || err.Error() != c.made {
			t.Errorf("%s: %s makes %v, want %s, which makes %s", c.name, s.Name, err, c.canonical, c.made)
		}
		if again, err := vls.Lookup(s.Name); err != nil || again.Name != s.Name {
			t.Errorf("%s is looked up as %s, %v", s.Name, again.Name, err)
		}
	}
	for _, c := range []struct {
		name string
		want []string
	}{
		{"tunable,third=a", []string{`"third"`, "first, second"}},
		{"tunable,first=c", []string{`first="c": want one of: a, b`}},
		{"tunable,first=", []string{`first=""`, "a, b"}},
		{"tunable,first=a,first=b", []string{"first", "twice", "a", "b"}},
		{"tunable,first=a,first=a", []string{"twice"}},
		{"tunable,second=z", []string{`second="z": it is a letter too many; want one of: x, y`}},
		{"tunable,first", []string{"knob first without a value", "first=VALUE", "a, b"}},
		{"tunable,third", []string{`"third"`, "knob=value", "first, second"}},
		{"tunable,", []string{"knob=value"}},
		{"tunable,first=b,second=x", []string{"b cannot be with x"}},
		{"absent,first=a", []string{`"absent"`, "tunable"}},
	} {
		_, err := vls.Lookup(c.name)
		if err == nil {
			t.Errorf("%s: no error", c.name)
			continue
		}
		for _, w := range c.want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %v: no %q in it", c.name, err, w)
			}
		}
	}
}

func TestSplitNames(t *testing.T) {
	for list, want := range map[string][]string{
		"a":                        {"a"},
		"a,b":                      {"a", "b"},
		"a,k=v,b":                  {"a,k=v", "b"},
		"a, k=v ,l=w,a,b":          {"a,k=v,l=w", "a", "b"},
		"tunable,first,a":          {"tunable,first", "a"},
		"tunable,first=b,second,a": {"tunable,first=b,second", "a"},
		"a,first":                  {"a", "first"},
		"":                         nil,
		"a,,b":                     nil,
		"k=v,a":                    nil,
	} {
		got, err := vls.SplitNames(list)
		if (err != nil) != (want == nil) || !slices.Equal(got, want) && want != nil {
			t.Errorf("%q: %q, %v; want %q", list, got, err, want)
		}
	}
}
