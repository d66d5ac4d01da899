package vls

import (
	"fmt"
	"slices"
	"strings"

	"vlsbench/internal/quote"
)

// Knob is a decision of a strategy that a user can take otherwise, by writing
// "strategy,knob=value". It holds for all applications made of that name.
type Knob struct {
	Name    string // a-z and '-'
	Doc     string // one line
	Default string
	Values  []string
	Refused map[string]string // what one would look for in Values, and why it is not there
}

// tuned is s with the knobs that a user set, as "knob=value". The name of what
// comes out has them in the order in which s lists them, so that equal
// strategies have equal names. The error names what is wrong, and what would be
// right.
func (s Strategy) tuned(settings []string) (Strategy, error) {
	set := make(map[string]string)
	for _, kv := range settings {
		name, value, ok := strings.Cut(kv, "=")
		i := slices.IndexFunc(s.Knobs, func(k Knob) bool { return k.Name == name })
		switch {
		case !ok && i >= 0:
			return s, fmt.Errorf("strategy %s: knob %s without a value: want %s=VALUE, with one of: %s", s.Name, name, name, strings.Join(s.Knobs[i].Values, ", "))
		case !ok:
			return s, fmt.Errorf("strategy %s: %s is no setting: want knob=value, with a knob of: %s", s.Name, quote.Of(kv), s.knobNames())
		case i < 0:
			return s, fmt.Errorf("strategy %s: unknown knob %s; there are: %s", s.Name, quote.Of(name), s.knobNames())
		case set[name] != "":
			return s, fmt.Errorf("strategy %s: knob %s is given twice, as %s and as %s", s.Name, name, quote.Of(set[name]), quote.Of(value))
		case !slices.Contains(s.Knobs[i].Values, value):
			why := ""
			if k := s.Knobs[i]; k.Refused[value] != "" {
				why = k.Refused[value] + "; "
			}
			return s, fmt.Errorf("strategy %s: %s=%s: %swant one of: %s", s.Name, name, quote.Of(value), why, strings.Join(s.Knobs[i].Values, ", "))
		}
		set[name] = value
	}
	made, err := s.Tune(set)
	if err != nil {
		return s, fmt.Errorf("strategy %s: %w", s.Name, err)
	}
	s.New = made
	for _, k := range s.Knobs {
		if v := set[k.Name]; v != "" {
			s.Name += "," + k.Name + "=" + v
		}
	}
	return s, nil
}

func (s Strategy) knobNames() string {
	if len(s.Knobs) == 0 {
		return "none"
	}
	var names []string
	for _, k := range s.Knobs {
		names = append(names, k.Name)
	}
	return strings.Join(names, ", ")
}

// SplitNames takes a list of strategies apart, in which a comma stands between
// two strategies and before each knob: "perworker,session=mcs,global" is two.
// It does not look whether they exist; but a word that is no strategy, and a knob
// of the one before, stays with that, whose look-up then asks for its value. The
// error says where a name is missing.
func SplitNames(list string) ([]string, error) {
	var names []string
	for _, word := range strings.Split(list, ",") {
		word = strings.TrimSpace(word)
		switch {
		case word == "":
			return nil, fmt.Errorf("an empty name in %s: want names with commas between them", quote.Of(list))
		case !strings.Contains(word, "="):
			if n := len(names); n > 0 && bareKnob(names[n-1], word) {
				names[n-1] += "," + word
				continue
			}
			names = append(names, word)
		case len(names) == 0:
			return nil, fmt.Errorf("%s in %s: a knob stands after the strategy it is of, as in perworker,session=mcs", quote.Of(word), quote.Of(list))
		default:
			names[len(names)-1] += "," + word
		}
	}
	return names, nil
}

// bareKnob is whether a word is no strategy but a knob of one, whose name may have
// knobs.
func bareKnob(strategy, word string) bool {
	strategy, _, _ = strings.Cut(strategy, ",")
	registry.Lock()
	defer registry.Unlock()
	_, known := registry.byName[word]
	return !known && slices.ContainsFunc(registry.byName[strategy].Knobs, func(k Knob) bool { return k.Name == word })
}
