//go:build sched

package sched

import (
	"fmt"
	"strings"
)

// A failure shows this many steps before its end, of all threads and of each.
const (
	tailSteps   = 40
	threadSteps = 8
)

// Error says what failed, the last steps before, and where each thread stood.
func (f *Failure) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "schedule %d (%s): %s\n\nlast steps, of %d:\n", f.Schedule, f.Replay, f.Reason, len(f.Trace))
	for _, line := range tail(f.Trace, tailSteps) {
		b.WriteString("  " + line + "\n")
	}
	b.WriteString("\nthreads:\n" + f.standing)
	return strings.TrimRight(b.String(), "\n")
}

// tail is the last n lines of a trace. A thread that comes to the same point
// again and again takes one.
func tail(trace []Step, n int) []string {
	var lines []string
	for i := len(trace) - 1; i >= 0 && len(lines) < n; {
		first := i
		for first > 0 && trace[first-1] == trace[i] {
			first--
		}
		line := fmt.Sprintf("%5d %s: %s", first+1, trace[i].Thread, trace[i].Point)
		if first < i {
			line += fmt.Sprintf(" (%d times)", i-first+1)
		}
		lines = append(lines, line)
		i = first - 1
	}
	for i, j := 0, len(lines)-1; i < j; i, j = i+1, j-1 {
		lines[i], lines[j] = lines[j], lines[i]
	}
	return lines
}

// standing says of each thread where it stood when the run ended, and its own
// last steps.
func (r *Run) standing() string {
	var b strings.Builder
	for i, t := range r.threads {
		fmt.Fprintf(&b, "  %s %s\n", t.name, r.stood[i])
		var own []Step
		for i := len(r.trace) - 1; i >= 0 && len(own) < threadSteps; i-- {
			if r.trace[i].Thread == t.name {
				own = append(own, r.trace[i])
			}
		}
		for i := len(own) - 1; i >= 0; i-- {
			fmt.Fprintf(&b, "      %s\n", own[i].Point)
		}
	}
	return b.String()
}
