package harness

import "math/rand/v2"

// Step is one slot of a round: the index of a cell, and of a strategy among
// those that run in it.
type Step struct{ Cell, Strategy int }

// Order is what a round measures in which order: the cells at random, and
// within each its strategies at random, so that those that are compared stand
// close in time and none always follows the same other. strategies[i] is how
// many run in cell i. The same arguments give the same order for ever.
func Order(seed uint64, round int, strategies []int) []Step {
	r := rand.New(rand.NewPCG(seed, uint64(round)))
	var steps []Step
	for _, c := range r.Perm(len(strategies)) {
		for _, s := range r.Perm(strategies[c]) {
			steps = append(steps, Step{c, s})
		}
	}
	return steps
}
