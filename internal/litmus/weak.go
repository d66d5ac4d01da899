//go:build !race && !purego

package litmus

// weak: release stores are what is shipped.
const weak = true
