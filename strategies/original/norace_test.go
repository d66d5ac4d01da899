//go:build !race

package original_test

const underRace = false
