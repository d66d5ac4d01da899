//go:build !linux

package hw

// The build ends here on purpose: the name below is the reason.
var _ = vlsbench_builds_only_on_Linux_because_it_needs_futex_membarrier_and_thread_affinity
