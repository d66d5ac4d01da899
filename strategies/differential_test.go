package strategies_test

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"vlsbench/audit"
	_ "vlsbench/strategies"
	"vlsbench/vls"
	"vlsbench/vls/vlstest/tape"
)

var (
	soak    = flag.Bool("soak", false, "play a million operations against each kernel strategy, with progress on stderr")
	tapeOps = flag.Int("tape.ops", 0, "operations of the differential test, of each pair; 0: 10,000 against kernel-unix, 2,000 against kernel-tcp")
)

// soakOps is what -soak plays against each kernel strategy, all strategies
// together.
const soakOps = 1_000_000

// built are the strategies that are judged.
func built() (list []vls.Strategy) {
	for _, s := range vls.Strategies() {
		if s.Kind == vls.Built {
			list = append(list, s)
		}
	}
	return list
}

func lookup(t testing.TB, name string) vls.Strategy {
	t.Helper()
	s, err := vls.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// What a strategy says to any sequence of operations is what Linux says, but for
// the differences that are written down; and nothing is left in the end.
func TestDifferential(t *testing.T) {
	judged := built()
	type pair struct{ judged, believed vls.Strategy }
	var pairs []pair
	for _, s := range judged {
		for _, name := range []string{"kernel-unix", "kernel-tcp"} {
			pairs = append(pairs, pair{s, lookup(t, name)})
		}
	}
	var rows []string
	var total tape.Stats
	start := time.Now()
	for k, p := range pairs {
		name := p.judged.Name + "/" + p.believed.Name
		t.Run(name, func(t *testing.T) {
			ops := *tapeOps
			switch {
			case ops > 0:
			case *soak:
				ops = soakOps/len(judged) + 1
			case p.believed.Name == "kernel-unix" && !audit.Enabled:
				ops = 10_000
			default:
				ops = 2_000
			}
			began, told := time.Now(), time.Now()
			s := tape.Run(t, p.judged, p.believed, ops, func(s tape.Stats) {
				if *soak && time.Since(told) > 5*time.Second {
					told = time.Now()
					done := (float64(k) + min(float64(s.Ops)/float64(ops), 1)) / float64(len(pairs))
					left := time.Duration(float64(time.Since(start)) * (1 - done) / done)
					fmt.Fprintf(os.Stderr, "%3.0f%% %s: %d of %d operations, %v left\n", 100*done, name, s.Ops, ops, left.Round(time.Second))
				}
			})
			rows = append(rows, fmt.Sprintf("%-24s %10d %11d %7d %7.0f s", name, s.Ops, s.Calls, s.Tapes, time.Since(began).Seconds()))
			total.Add(s)
		})
	}
	if *soak && !t.Failed() {
		fmt.Print(summary(rows, total))
	}
}

// summary is what a soak was made of.
func summary(rows []string, total tape.Stats) string {
	var s strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&s, format+"\n", args...) }
	line("Differential test: tapes of random operations on each strategy and on Linux.")
	line("%s/%s, %s", runtime.GOOS, runtime.GOARCH, kernelRelease())
	line("")
	line("%-24s %10s %11s %7s %9s", "judged/believed", "operations", "calls each", "tapes", "time")
	for _, r := range rows {
		line("%s", r)
	}
	line("%-24s %10d %11d %7d", "all", total.Ops, total.Calls, total.Tapes)
	line("")
	line("No difference but those that are allowed. Nothing left after any tape: sessions,")
	line("shared data, events and bytes of the segment are as many as before it.")
	line("")
	line("Operations by kind:")
	for k, n := range total.Kinds {
		if n > 0 {
			line("%12d  %v", n, tape.Kind(k))
		}
	}
	line("")
	line("Differences passed over:")
	for _, r := range tape.Allowed() {
		line("%12d  %s", total.Allowed[r.Name], r.Name)
	}
	return s.String()
}

func kernelRelease() string {
	b, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "unknown kernel"
	}
	return "Linux " + strings.TrimSpace(string(b))
}

// Threads of one process that play at once are to each other as if they were
// not there: adaptive waits, four times as many threads as cores, and once
// threads that spin.
func TestDifferentialStorm(t *testing.T) {
	for _, s := range built() {
		if s.MaxThreads != 0 {
			continue
		}
		for _, wait := range []vls.Wait{vls.Adaptive, vls.Spin} {
			t.Run(s.Name+"/"+wait.String(), func(t *testing.T) {
				ops := 1500
				if wait == vls.Spin || audit.Enabled || testing.Short() {
					ops = 300
				}
				tape.Storm(t, s, lookup(t, "kernel-unix"), wait, 4*runtime.NumCPU(), ops)
			})
		}
	}
}

// The documentation lists what the comparison passes over.
func TestDifferencesDocumented(t *testing.T) {
	b, err := os.ReadFile("../docs/differences.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, ok := strings.Cut(string(b), "## What the differential test passes over")
	if !ok {
		t.Fatal("docs/differences.md has no section on it")
	}
	var listed []string
	for l := range strings.Lines(text) {
		if name, ok := strings.CutPrefix(l, "- **"); ok {
			name, _, _ = strings.Cut(name, "**")
			listed = append(listed, name)
		}
	}
	var want []string
	for _, r := range append(tape.Allowed(), tape.NotPlayed...) {
		want = append(want, r.Name)
	}
	if !slices.Equal(listed, want) {
		t.Errorf("docs/differences.md lists\n\t%s\nand the code\n\t%s", strings.Join(listed, "\n\t"), strings.Join(want, "\n\t"))
	}
}
