package strategies_test

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"vlsbench/audit"
	_ "vlsbench/strategies"
	"vlsbench/vls"
	"vlsbench/vls/vlstest/tape"
)

var (
	soak    = flag.Bool("soak", false, "play a million operations on each strategy against each kernel strategy, with progress on stderr")
	soakOut = flag.String("soak.out", "", "file in which -soak leaves what it was made of, in Markdown")
	tapeOps = flag.Int("tape.ops", 0, "operations of the differential test on each strategy against each kernel strategy; 0: 10,000")
)

// soakOps is what -soak plays on each strategy against each kernel strategy.
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
	var mu sync.Mutex // of what follows
	rows := make([]string, len(pairs))
	done := make([]float64, len(pairs))
	var total tape.Stats
	start := time.Now()
	told := start
	progress := func(k int, s tape.Stats, ops int) {
		mu.Lock()
		defer mu.Unlock()
		done[k] = min(float64(s.Ops)/float64(ops), 1)
		if !*soak || time.Since(told) < 5*time.Second {
			return
		}
		told = time.Now()
		share := 0.0
		for _, d := range done {
			share += d / float64(len(done))
		}
		left := time.Duration(float64(time.Since(start)) * (1 - share) / share)
		fmt.Fprintf(os.Stderr, "%3.0f%%, %v left\n", 100*share, left.Round(time.Second))
	}
	// After the pairs, which may run at once.
	t.Cleanup(func() {
		if !*soak || t.Failed() {
			return
		}
		text := summary(rows, total)
		fmt.Print(text)
		if *soakOut != "" {
			if err := os.WriteFile(*soakOut, []byte(text), 0o666); err != nil {
				t.Error(err)
			}
		}
	})
	for k, p := range pairs {
		t.Run(p.judged.Name+"/"+p.believed.Name, func(t *testing.T) {
			if !audit.Enabled { // a violation names the run that it was in
				t.Parallel()
			}
			ops := 10_000
			switch {
			case *tapeOps > 0:
				ops = *tapeOps
			case *soak:
				ops = soakOps
			case testing.Short():
				ops = 2_000
			}
			began := time.Now()
			s := tape.Run(t, p.judged, p.believed, ops, func(s tape.Stats) { progress(k, s, ops) })
			mu.Lock()
			defer mu.Unlock()
			rows[k] = fmt.Sprintf("| %s | %s | %d | %d | %d | %.0f |",
				p.judged.Name, p.believed.Name, s.Ops, s.Calls, s.Tapes, time.Since(began).Seconds())
			total.Add(s)
		})
	}
}

// summary is what a soak was made of.
func summary(rows []string, total tape.Stats) string {
	var s strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&s, format+"\n", args...) }
	line("# The differential test at length")
	line("")
	line("Tapes of random operations were played on each strategy and on Linux, and came out")
	line("the same, but for the differences that [differences.md](differences.md) allows.")
	line("After each tape nothing was left: sessions, shared data, events on their way and")
	line("bytes of the segment were as many as before it.")
	line("")
	line("Written by the test itself, on %s, %s/%s, %s, %s:", time.Now().UTC().Format(time.DateOnly), runtime.GOOS, runtime.GOARCH, kernelRelease(), runtime.Version())
	line("")
	line("    go test -run '^TestDifferential$' -timeout 80m ./strategies -soak -soak.out FILE")
	line("")
	line("| judged | believed | operations | calls of each | tapes | seconds |")
	line("| --- | --- | ---: | ---: | ---: | ---: |")
	for _, r := range rows {
		line("%s", r)
	}
	line("| all | | %d | %d | %d | |", total.Ops, total.Calls, total.Tapes)
	line("")
	line("## Operations by kind")
	line("")
	line("An operation that does not fit what is there by then makes no call; others make")
	line("several. Create makes a connected pair or a session, Drain reads until nothing is")
	line("left, Fill writes until nothing fits, Stale makes a call on a handle that is closed.")
	line("")
	line("| kind | operations |")
	line("| --- | ---: |")
	for k, n := range total.Kinds {
		if n > 0 {
			line("| %v | %d |", tape.Kind(k), n)
		}
	}
	line("")
	line("## Differences passed over")
	line("")
	line("| difference | times |")
	line("| --- | ---: |")
	for _, r := range tape.Allowed() {
		line("| %s | %d |", r.Name, total.Allowed[r.Name])
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
