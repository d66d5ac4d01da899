//go:build race

package vlstest

// underRace: the race detector looks on, and allocates.
const underRace = true
