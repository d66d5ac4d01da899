//go:build !race

package locks

const underRace = false
