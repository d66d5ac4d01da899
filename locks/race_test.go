//go:build race

package locks

// underRace: the race detector looks on, and makes every access some fifty
// times as dear.
const underRace = true
