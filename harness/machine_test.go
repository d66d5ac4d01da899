package harness

import (
	"os"
	"strings"
	"testing"

	"vlsbench/hw"
	"vlsbench/results"
)

// Each thing that spoils a measurement is said, with what to do.
func TestWarnings(t *testing.T) {
	quiet := func() (results.Plan, results.Machine, hw.Topology) {
		topology := hw.Topology{CPUs: []hw.CPU{
			{ID: 4, Core: 4, Siblings: []int{4}}, {ID: 5, Core: 5, Siblings: []int{5}},
			{ID: 6, Core: 4, Siblings: []int{4, 6}},
		}}
		return results.Plan{Pin: "core", CPUs: []int{4, 5}, Cells: []results.Cell{{Threads: 2}}},
			results.Machine{Governor: "performance", Allowed: []int{4, 5, 6}}, topology
	}
	p, m, topology := quiet()
	for _, w := range warnings(p, m, topology, 3) {
		if !strings.HasPrefix(w.What, "a quota") && !strings.HasPrefix(w.What, "built with") { // of the machine that runs this
			t.Errorf("a quiet machine: %+v", w)
		}
	}
	for want, change := range map[string]func(*results.Plan, *results.Machine){
		"not pinned":            func(p *results.Plan, _ *results.Machine) { p.Pin, p.CPUs = "none", nil },
		"4 threads on 2 CPU(s)": func(p *results.Plan, _ *results.Machine) { p.Cells = append(p.Cells, results.Cell{Threads: 4}) },
		"governor powersave":    func(_ *results.Plan, m *results.Machine) { m.Governor = "powersave" },
		"CPUs 4 and 6 are SMT":  func(p *results.Plan, _ *results.Machine) { p.CPUs = []int{4, 6} },
		"SMT is on":             func(_ *results.Plan, m *results.Machine) { m.SMT = true },
		"virtual machine":       func(_ *results.Plan, m *results.Machine) { m.Hypervisor = true },
		"load average 2.5":      func(_ *results.Plan, m *results.Machine) { m.Load = 2.5 },
	} {
		p, m, topology := quiet()
		change(&p, &m)
		found := false
		for _, w := range warnings(p, m, topology, 3) {
			found = found || strings.Contains(w.What, want) && w.Do != ""
		}
		if !found {
			t.Errorf("no warning of %q", want)
		}
	}
}

func TestQuota(t *testing.T) {
	for text, want := range map[string]float64{"max 100000\n": 0, "150000 100000\n": 1.5, "": 0, "1 0": 0} {
		if got := cpuQuota(func(string) ([]byte, error) { return []byte(text), nil }); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
	if got := cpuQuota(func(string) ([]byte, error) { return nil, os.ErrNotExist }); got != 0 {
		t.Errorf("no cgroup: %v", got)
	}
}

func TestStall(t *testing.T) {
	ms := func(n float64) uint64 { return uint64(n * hw.CycleHz() / 1e3) }
	for _, c := range []struct {
		what string
		b    usage
		want float64
	}{
		{"on its CPU throughout", usage{at: ms(10), cpu: 10e6}, 0},
		{"a quarter taken away", usage{at: ms(10), cpu: 7.5e6}, 0.25},
		{"asleep for half, by itself", usage{at: ms(10), cpu: 5e6, slept: 1}, 0},
		{"asleep, and slow to wake", usage{at: ms(10), cpu: 3e6, slept: 30, queued: 3e6}, 0},
		{"asleep, and behind others for a fifth", usage{at: ms(10), cpu: 3e6, slept: 10, queued: 3e6}, 0.2},
		{"no time at all", usage{}, 0},
	} {
		if got := stall(usage{}, c.b); got < c.want-0.01 || got > c.want+0.01 {
			t.Errorf("%s: %v, want %v", c.what, got, c.want)
		}
	}
	if got := secondNumber([]byte("123 4567 8\n")); got != 4567 {
		t.Errorf("schedstat: %d", got)
	}
	th := newThread()
	defer th.close()
	if n := testing.AllocsPerRun(100, func() { th.usage() }); n != 0 {
		t.Errorf("usage allocates %v times", n)
	}
}

// Slots follow each other at scattered places, do not overlap until the region
// is used up, and stay in it.
func TestArena(t *testing.T) {
	const slot = 300_000
	size := arenaSize(20*(slot+maxGap*page), slot, 64<<20)
	a := newArena(5, size)
	lines, pages := make(map[int]bool), make(map[int]bool)
	laps, last := 0, 0
	for range 200 {
		before := a.at
		if _, err := a.carve(slot); err != nil {
			t.Fatal(err)
		}
		if a.at < before {
			laps++
		} else if a.at < last+slot {
			t.Fatalf("a part that ends at %d after one that ended at %d", a.at, last)
		}
		last = a.at
		lines[a.at/128%32] = true
		pages[a.at/page%64] = true
	}
	if laps < 2 || len(pages) < 40 {
		t.Errorf("%d laps, %d pages", laps, len(pages))
	}
	a = newArena(5, size)
	b := newArena(6, size)
	same := 0
	for range 10 {
		_, _ = a.carve(slot)
		_, _ = b.carve(slot)
		if a.at == b.at {
			same++
		}
	}
	if same > 2 {
		t.Errorf("two seeds give one layout")
	}
}
