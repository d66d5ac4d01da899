//go:build race

package original_test

// underRace: the race detector ends what breaks the contract, as the originals
// do.
const underRace = true
