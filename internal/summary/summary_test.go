package summary

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"vlsbench/compare"
	"vlsbench/internal/summary/summarytest"
	"vlsbench/results"
)

var rewrite = flag.Bool("rewrite", false, "write the files under testdata anew")

func summarized(t *testing.T, set *results.Set) Summary {
	t.Helper()
	s, err := Summarize(set, 1)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// cell gives the one that is described by words.
func (s Summary) cell(t *testing.T, words string) *Cell {
	t.Helper()
	for i := range s.Cells {
		if strings.HasPrefix(Describe(s.Cells[i].Cell), words) {
			return &s.Cells[i]
		}
	}
	t.Fatalf("no cell %q", words)
	return nil
}

func (c *Cell) row(t *testing.T, name string) *Row {
	t.Helper()
	for i := range c.Rows {
		if c.Rows[i].Strategy == name {
			return &c.Rows[i]
		}
	}
	t.Fatalf("no %s in %s", name, Describe(c.Cell))
	return nil
}

func TestSummarize(t *testing.T) {
	s := summarized(t, summarytest.Set(60))
	if len(s.Cells) != 7 || len(s.Notes) != 0 {
		t.Fatalf("%d cells, notes %q", len(s.Cells), s.Notes)
	}
	c := s.cell(t, "uni, 2 processes, 2 threads, 1 session, 64 B")
	if c.Rounds != 60 || c.Used != 57 || c.Invalid != 3 || c.Incomplete != 0 {
		t.Errorf("%d rounds, %d used, %d invalid, %d incomplete", c.Rounds, c.Used, c.Invalid, c.Incomplete)
	}
	if c.Stall <= 0 || c.Stall > 0.004 || len(c.Notes) != 0 {
		t.Errorf("stall %g, notes %q", c.Stall, c.Notes)
	}
	var names []string
	for _, r := range c.Rows {
		names = append(names, r.Strategy)
	}
	if want := []string{"null", "global", "perworker"}; !slices.Equal(names, want) {
		t.Errorf("rows %q, want %q", names, want)
	}
	global, per := c.row(t, "global"), c.row(t, "perworker")
	if !global.Baseline || global.Ratio != nil || per.Baseline {
		t.Errorf("global %+v, perworker %+v", global, per)
	}
	if q := global.Rate; math.Abs(q.Median/21e6-1) > 0.05 || !(q.Lo < q.Median && q.Median < q.Hi) {
		t.Errorf("global makes %+v, want about 21e6", q)
	}
	if math.Abs(global.Bytes/(64*global.Rate.Median)-1) > 0.001 {
		t.Errorf("%g bytes/s at %g messages of 64", global.Bytes, global.Rate.Median)
	}
	if r := per.Ratio; r == nil || math.Abs(r.Ratio/(38.4/21)-1) > 0.02 || r.Word() != "faster" {
		t.Errorf("perworker to global: %+v", r)
	}
	if shared := s.cell(t, "uni, 1 process, 2 threads"); !slices.Equal(shared.Absent, []string{"null"}) || len(shared.Rows) != 2 {
		t.Errorf("absent %q, %d rows", shared.Absent, len(shared.Rows))
	}
	if per.Latency != nil {
		t.Error("a stream with latencies")
	}
	ping := s.cell(t, "pingpong, 1 process").row(t, "global")
	if ping.Latency == nil || ping.Latency.TotalCount() != 57*300 {
		t.Errorf("latency %+v, want 57 rounds of 300", ping.Latency)
	}
}

func TestSameSeed(t *testing.T) {
	set := summarytest.Set(20)
	if a, b := summarized(t, set), summarized(t, set); !reflect.DeepEqual(a, b) {
		t.Error("the same set and seed gave two summaries")
	}
}

// All cells of a workload are one family: with more of them the intervals of
// each are no narrower, and some are wider.
func TestFamilyIsTheWorkload(t *testing.T) {
	set := summarytest.Set(60)
	all := summarized(t, set)
	one := all.Cells[3].Cell
	set.Slots = slices.DeleteFunc(slices.Clone(set.Slots), func(s results.Slot) bool { return s.Cell != one })
	set.Run.Plan.Cells = []results.Cell{one}
	alone := summarized(t, set).Cells[0]
	wider := 0
	for i, row := range all.Cells[3].Rows {
		if row.Ratio == nil {
			continue
		}
		a := alone.Rows[i].Ratio
		if row.Ratio.Lo > a.Lo || row.Ratio.Hi < a.Hi {
			t.Errorf("%s: [%g, %g] among others, [%g, %g] alone", row.Strategy, row.Ratio.Lo, row.Ratio.Hi, a.Lo, a.Hi)
		}
		if row.Ratio.Hi-row.Ratio.Lo > a.Hi-a.Lo {
			wider++
		}
	}
	if wider == 0 {
		t.Error("no interval is wider for the company of other cells")
	}
}

// cases are sets in which something is amiss, and what the summary has to say.
var cases = []struct {
	name string
	edit func(*results.Set)
	cell string // to look at
	want string // a note of the cell, or of the run where cell is empty
}{
	{"no baseline in the run", func(s *results.Set) { s.Run.Plan.Baseline = "shared" },
		"uni, 2 processes", `no baseline "shared" here`},
	{"no baseline in a cell", func(s *results.Set) {
		s.Slots = slices.DeleteFunc(s.Slots, func(s results.Slot) bool { return s.Strategy == "global" && s.Cell.Procs == 1 })
	}, "uni, 1 process, 2 threads", `no baseline "global" here`},
	{"invalid rounds", func(s *results.Set) {
		for i := range s.Slots {
			if s.Slots[i].Round%3 == 0 && s.Slots[i].Strategy == "global" {
				s.Slots[i].Bad = "thread 0 lost 20% of it"
			}
		}
	}, "uni, 1 process, 2 threads", "22 of 60 rounds are invalid (first in round 0, global: thread 0 lost 20% of it): this machine cannot measure this here"},
	{"nothing but invalid rounds", func(s *results.Set) {
		for i := range s.Slots {
			s.Slots[i].Bad = "nothing was completed"
			s.Slots[i].Ops = 0
		}
	}, "uni, 1 process, 2 threads", "no complete round"},
	{"slots without length", func(s *results.Set) {
		for i := range s.Slots {
			s.Slots[i].Seconds = 0
		}
	}, "uni, 1 process, 2 threads", "60 of 60 rounds are invalid"},
	{"not quiet", func(s *results.Set) {
		for i := range s.Slots {
			s.Slots[i].Stall[0] = 0.06
		}
	}, "uni, 1 process, 2 threads", "machine not quiet: in half of the slots a thread lost 6 % or more"},
	{"more threads than CPUs", func(s *results.Set) {
		s.Run.Plan.CPUs = []int{1}
		for i := range s.Slots {
			s.Slots[i].Stall[0] = 0.5
		}
	}, "uni, 1 process, 2 threads", "2 threads take turns on 1 CPU"},
	{"few rounds", func(s *results.Set) {
		s.Slots = slices.DeleteFunc(s.Slots, func(s results.Slot) bool { return s.Round >= 20 })
	}, "uni, 1 process, 2 threads", "19 rounds where 50 are asked for"},
	{"interrupted", func(s *results.Set) {
		s.Slots = s.Slots[:len(s.Slots)-1]
		s.End.Interrupted, s.End.Rounds = true, 59
	}, "", "interrupted after 59 complete rounds"},
	{"failed", func(s *results.Set) { s.End.Error = "a wrong byte" }, "", "failed: a wrong byte"},
	{"cut off", func(s *results.Set) {
		s.End, s.Problems = nil, []results.Problem{{Line: 9, What: "cut off"}}
	}, "", "results file, line 9: cut off"},
	{"warned", func(s *results.Set) {
		s.Run.Warnings = []results.Warning{{What: "The governor is powersave.", Do: "set it to performance"}}
	}, "", "The governor is powersave: set it to performance"},
	{"a cell not reached", func(s *results.Set) {
		s.Slots = slices.DeleteFunc(s.Slots, func(s results.Slot) bool { return s.Cell.Workload == "pingpong" && s.Cell.Procs == 2 })
	}, "", "not reached: pingpong, 2 processes"},
}

func TestSaysWhatIsAmiss(t *testing.T) {
	for _, c := range cases {
		set := summarytest.Set(60)
		c.edit(set)
		s := summarized(t, set)
		notes := s.Notes
		if c.cell != "" {
			notes = s.cell(t, c.cell).Notes
		}
		if !slices.ContainsFunc(notes, func(n string) bool { return strings.Contains(n, c.want) }) {
			t.Errorf("%s: notes %q, want %q", c.name, notes, c.want)
		}
		if err := WriteTable(new(bytes.Buffer), s); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// Where a machine cannot measure, nothing is claimed.
func TestUnmeasuredHasNoVerdict(t *testing.T) {
	for _, bad := range []int{15, 16} { // of 60; a quarter is 15
		set := summarytest.Set(60)
		for i := range set.Slots {
			set.Slots[i].Bad = ""
			if set.Slots[i].Round < bad {
				set.Slots[i].Bad = "thread 0 lost 20% of it"
			}
		}
		row := summarized(t, set).cell(t, "uni, 1 process, 2 threads").row(t, "perworker")
		if claimed := row.Ratio.Verdict != compare.NotShown; claimed != (bad == 15) {
			t.Errorf("%d of 60 rounds invalid: %s", bad, row.Ratio.Word())
		}
	}
}

func TestBrokenHistogram(t *testing.T) {
	set := summarytest.Set(5)
	for i := range set.Slots {
		if set.Slots[i].Latency != nil && set.Slots[i].Strategy == "perworker" {
			set.Slots[i].Latency.HDR = "broken"
		}
	}
	if _, err := Summarize(set, 1); err == nil || !strings.Contains(err.Error(), "perworker, workload=pingpong/procs=1") {
		t.Errorf("error %v, want one that names the strategy and the cell", err)
	}
}

func TestTable(t *testing.T) {
	for name, edit := range map[string]func(*results.Set){
		"table.txt": func(*results.Set) {},
		"troubled.txt": func(s *results.Set) {
			for _, c := range cases {
				switch c.name {
				case "invalid rounds", "interrupted", "warned", "a cell not reached", "not quiet":
					c.edit(s)
				}
			}
			s.Run.Plan.Units = nil
			s.Slots = slices.DeleteFunc(s.Slots, func(s results.Slot) bool { return s.Strategy == "global" && s.Cell.Threads == 1 })
		},
	} {
		set := summarytest.Set(60)
		edit(set)
		var got bytes.Buffer
		if err := WriteTable(&got, summarized(t, set)); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(got.String()) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 100 {
				t.Errorf("%s: a line of %d columns: %s", name, n, line)
			}
			if trimmed := strings.TrimRight(line, " \n") + "\n"; trimmed != line {
				t.Errorf("%s: blanks at the end of %q", name, line)
			}
		}
		path := filepath.Join("testdata", name)
		if *rewrite {
			if err := os.MkdirAll("testdata", 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Bytes(), want) {
			t.Errorf("%s has changed (-rewrite accepts it):\n%s", path, got.String())
		}
	}
	if err := WriteTable(failing{}, summarized(t, summarytest.Set(5))); err == nil {
		t.Error("no error from a writer that fails")
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("no space") }

func TestWords(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{Rate(38.24e6), "38.2 M"}, {Rate(999_499), "999 k"}, {Rate(999_600), "1.00 M"}, {Rate(999_960), "1.00 M"}, {Rate(0), "0.00"}, {Rate(12), "12.0"}, {Rate(2.5e9), "2.50 G"},
		{Nanos(7), "7 ns"}, {Nanos(999), "999 ns"}, {Nanos(1320), "1.32 µs"}, {Nanos(45678), "45.7 µs"}, {Nanos(4.1e6), "4.10 ms"}, {Nanos(2e9), "2.00 s"},
		{Ratio(1.00251), "1.003"}, {Ratio(12.345), "12.3"}, {Ratio(123.4), "123"}, {Ratio(0.98), "0.980"}, {Ratio(0.004123), "0.00412"}, {Ratio(0.05), "0.0500"}, {Ratio(0), "0.000"},
		{Size(64), "64 B"}, {Size(4096), "4 KB"}, {Size(1500), "1500 B"}, {Size(1 << 20), "1 MB"},
		{cores(results.Machine{Cores: 2, Hypervisor: true}), "2 virtual cores"},
		{cores(results.Machine{Cores: 1}), "1 core"},
		{cores(results.Machine{CPUs: 4}), "4 CPUs"},
		{cores(results.Machine{Cores: 8, SMT: true, Allowed: make([]int, 16), Nodes: 2}), "8 cores (16 hardware threads) on 2 NUMA nodes"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
	if got := fmt.Sprint(Machine(&results.Run{})); !strings.HasPrefix(got, "unknown CPU") {
		t.Errorf("no machine: %q", got)
	}
}
