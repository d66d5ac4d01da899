//go:build audit

package audit

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
)

// Order is what one thread holds, as far as its strategy says. The zero value
// is ready.
type Order struct{ held []string }

// edge is that somebody waited for one class while holding another.
type edge struct{ held, wanted string }

var orders struct {
	sync.Mutex
	graphs map[string]map[edge]string // of a strategy: each edge, and where it was first seen
}

// Take notes that the thread is about to wait for a lock of a class, under the
// name of its strategy. Locks of one class that are taken together have an
// order of their own, which is not looked at.
func (o *Order) Take(strategy, class string) {
	if len(o.held) > 0 {
		orders.Lock()
		for _, h := range o.held {
			if e := (edge{h, class}); h != class {
				learn(strategy, e)
			}
		}
		orders.Unlock()
	}
	o.Took(class)
}

func learn(strategy string, e edge) {
	if orders.graphs == nil {
		orders.graphs = make(map[string]map[edge]string)
	}
	g := orders.graphs[strategy]
	if g == nil {
		g = make(map[edge]string)
		orders.graphs[strategy] = g
	}
	if _, known := g[e]; !known {
		h := holder{}
		h.n = runtime.Callers(3, h.pcs[:])
		g[e] = stack(h)
	}
}

// Took notes that the thread has a lock for which it did not wait.
func (o *Order) Took(class string) { o.held = append(o.held, class) }

// Give notes that the thread has let go of a lock.
func (o *Order) Give(class string) {
	for i := len(o.held) - 1; i >= 0; i-- {
		if o.held[i] == class {
			o.held = slices.Delete(o.held, i, i+1)
			return
		}
	}
	fail(fmt.Sprintf("audit: let go of a lock %s that is not held; held are %v (%s)", class, o.held, runName()))
}

// Cycle is a cycle in the graph of a strategy, class by class with where each
// was taken, or "".
func Cycle(strategy string) string {
	orders.Lock()
	defer orders.Unlock()
	seen := orders.graphs[strategy]
	next := make(map[string][]string)
	for i := 1; i < len(Ranks); i++ {
		next[Ranks[i-1]] = append(next[Ranks[i-1]], Ranks[i])
	}
	for e := range seen {
		next[e.held] = append(next[e.held], e.wanted)
	}
	for _, n := range next {
		slices.Sort(n)
	}
	var path []string
	done := make(map[string]bool)
	var walk func(c string) []string
	walk = func(c string) []string {
		if i := slices.Index(path, c); i >= 0 {
			return append(slices.Clone(path[i:]), c)
		}
		if done[c] {
			return nil
		}
		path = append(path, c)
		for _, n := range next[c] {
			if found := walk(n); found != nil {
				return found
			}
		}
		path = path[:len(path)-1]
		done[c] = true
		return nil
	}
	var classes []string
	for c := range next {
		classes = append(classes, c)
	}
	slices.Sort(classes)
	for _, c := range slices.Concat(Ranks, classes) {
		if found := walk(c); found != nil {
			var b strings.Builder
			fmt.Fprintf(&b, "the locks of %s are taken in a circle: %s\n", strategy, strings.Join(found, " → "))
			for i := 1; i < len(found); i++ {
				where, ok := seen[edge{found[i-1], found[i]}]
				if !ok {
					where = "   (the order that is agreed on)\n"
				}
				fmt.Fprintf(&b, "-- %s, then %s:\n%s", found[i-1], found[i], where)
			}
			return b.String()
		}
	}
	return ""
}

// ForgetOrder empties the graph of a strategy.
func ForgetOrder(strategy string) {
	orders.Lock()
	delete(orders.graphs, strategy)
	orders.Unlock()
}
