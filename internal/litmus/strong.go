//go:build race || purego

package litmus

// weak: release stores are atomic stores, which leave nothing to weaken.
const weak = false
