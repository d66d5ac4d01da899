//go:build !race

package vlstest

const underRace = false
