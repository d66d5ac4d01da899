package vls

import (
	"fmt"
	"sort"
	"strings"
	"sync"

	"vlsbench/core"
	"vlsbench/internal/quote"
)

// Kind says what a registered strategy is for.
type Kind string

const (
	// Built is a design as built here, free of the original's faults. The
	// strategies a run takes by default are all of this kind.
	Built Kind = "built"
	// Original is the lock discipline of a historical design to the letter.
	Original Kind = "original"
	// Kernel is the same API over the kernel's sockets.
	Kernel Kind = "kernel"
	// Busted has a fault planted that the checks must find.
	Busted Kind = "busted"
)

// Options is what an application is made with. The zero value is valid.
type Options struct {
	// Config is the session layer's configuration.
	Config core.Config
	// CountLocks counts lock acquisitions for [App.Locks]. It costs an atomic
	// add per acquisition, so it has no place in a timed run.
	CountLocks bool
}

// Strategy is one registered lock strategy.
type Strategy struct {
	// Name is what a user types: lower case letters, digits and '-'.
	Name string
	// Doc is one line for `vlsbench list`.
	Doc  string
	Kind Kind
	// MaxThreads is how many threads a process may register, 0 for any number.
	MaxThreads int
	// NoFork: Fork answers ENOTSUP.
	NoFork bool
	// ThreadWorkers: each thread has a worker of its own, and a session moves to
	// the worker of whoever uses it.
	ThreadWorkers bool
	// New makes an application. The error names the option that is wrong.
	New func(Options) (App, error)
	// Knobs are the decisions that a user can take otherwise, and Tune is New
	// with some of them taken: known ones, with values from their lists. Its
	// error says what cannot work together, and why. Nil where there are none.
	Knobs []Knob
	Tune  func(set map[string]string) (func(Options) (App, error), error)
}

var registry struct {
	sync.Mutex
	byName map[string]Strategy
}

// Register makes a strategy known by its name. It is meant for init functions
// and panics when the name is malformed or taken, or New is nil, or there are
// knobs and no Tune.
func Register(s Strategy) {
	if (len(s.Knobs) > 0) != (s.Tune != nil) {
		panic(fmt.Sprintf("vls: strategy %q: Knobs and Tune belong together", s.Name))
	}
	if s.Name == "" || strings.Trim(s.Name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" || s.New == nil {
		panic(fmt.Sprintf("vls: strategy %q: a name of a-z, 0-9 and '-', and New, are needed", s.Name))
	}
	registry.Lock()
	defer registry.Unlock()
	if _, dup := registry.byName[s.Name]; dup {
		panic(fmt.Sprintf("vls: strategy %q is registered twice", s.Name))
	}
	if registry.byName == nil {
		registry.byName = make(map[string]Strategy)
	}
	registry.byName[s.Name] = s
}

// Strategies lists what is registered, by name.
func Strategies() []Strategy {
	registry.Lock()
	defer registry.Unlock()
	list := make([]Strategy, 0, len(registry.byName))
	for _, s := range registry.byName {
		list = append(list, s)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Name < list[j].Name })
	return list
}

// Lookup finds a strategy by name, with the knobs that the name sets, as in
// "perworker,session=mcs,table=phasefair". The error names what is wrong, and
// what there is.
func Lookup(name string) (Strategy, error) {
	words := strings.Split(name, ",")
	name = words[0]
	registry.Lock()
	s, ok := registry.byName[name]
	registry.Unlock()
	if !ok {
		var names []string
		for _, s := range Strategies() {
			names = append(names, s.Name)
		}
		return Strategy{}, fmt.Errorf("unknown strategy %s; there are: %s", quote.Of(name), strings.Join(names, ", "))
	}
	if len(words) > 1 {
		return s.tuned(words[1:])
	}
	return s, nil
}
