package summary

import (
	"fmt"
	"math"
	"strconv"

	"vlsbench/compare"
	"vlsbench/results"
)

// Describe is a cell in words: "uni, 1 process, 2 threads, 1 session, 64 B,
// spin".
func Describe(c results.Cell) string {
	return fmt.Sprintf("%s, %s, %s, %s, %s, %s", c.Workload, count(c.Procs, "process", "processes"),
		count(c.Threads, "thread", "threads"), count(c.Sessions, "session", "sessions"), Size(c.Size), c.Wait)
}

// Machine is where a run was made, in words.
func Machine(r *results.Run) string {
	m := r.Machine
	cpu := m.CPU
	if cpu == "" {
		cpu = "unknown CPU"
	}
	return fmt.Sprintf("%s, %s", cpu, cores(m))
}

// Scope is what a run can speak of, and what it cannot.
func Scope(r *results.Run) string {
	return fmt.Sprintf("Scope: %s, Go, cut-through sessions inside one address space; no network, and not the C of VPP. One build, so nothing is claimed below %.0f %%.", cores(r.Machine), 100*compare.Margin)
}

func cores(m results.Machine) string {
	n, kind := m.Cores, "core"
	if n == 0 {
		n, kind = max(len(m.Allowed), m.CPUs), "CPU"
	}
	if m.Hypervisor {
		kind = "virtual " + kind
	}
	s := count(n, kind, kind+"s")
	if m.SMT && len(m.Allowed) > n {
		s += fmt.Sprintf(" (%d hardware threads)", len(m.Allowed))
	}
	if m.Nodes > 1 {
		s += fmt.Sprintf(" on %d NUMA nodes", m.Nodes)
	}
	return s
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// Size is a number of bytes: "64 B", "4 KB" where it is a whole one.
func Size(n int) string {
	for _, u := range []struct {
		bytes int
		name  string
	}{{1 << 20, "MB"}, {1 << 10, "KB"}} {
		if n >= u.bytes && n%u.bytes == 0 {
			return fmt.Sprintf("%d %s", n/u.bytes, u.name)
		}
	}
	return fmt.Sprintf("%d B", n)
}

// Rate is a rate to three digits: "38.2 M", "812 k".
func Rate(v float64) string {
	for _, u := range []struct {
		at   float64
		name string
	}{{1e9, " G"}, {1e6, " M"}, {1e3, " k"}} {
		if v >= 0.9995*u.at {
			return three(v/u.at) + u.name
		}
	}
	return three(v)
}

// Nanos is a time to three digits: "214 ns", "1.32 µs".
func Nanos(ns float64) string {
	for _, u := range []struct {
		at   float64
		name string
	}{{1e9, " s"}, {1e6, " ms"}, {1e3, " µs"}} {
		if ns >= 0.9995*u.at {
			return three(ns/u.at) + u.name
		}
	}
	return strconv.FormatFloat(ns, 'f', 0, 64) + " ns"
}

// Ratio is a ratio as precise as a margin of 2 % asks for.
func Ratio(v float64) string {
	switch {
	case v > 0 && v < 0.1: // three digits after the zeros
		return strconv.FormatFloat(v, 'f', 2-int(math.Floor(math.Log10(v))), 64)
	case v >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 3, 64)
}

// three prints a value below 1000 with three digits.
func three(v float64) string {
	switch {
	case v >= 99.95:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 9.995:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}
