package harness

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"vlsbench/hw"
	"vlsbench/results"
)

// Inspect describes the machine, and warns of what spoils a measurement of the
// plan on it.
func Inspect(p results.Plan, now time.Time) (results.Machine, []results.Warning, error) {
	allowed, err := hw.Allowed()
	if err != nil {
		return results.Machine{}, nil, fmt.Errorf("affinity mask: %w", err)
	}
	topology, err := hw.SystemTopology()
	if err != nil {
		return results.Machine{}, nil, fmt.Errorf("topology: %w", err)
	}
	host, err := os.Hostname()
	if err != nil {
		host = ""
	}
	m := results.Machine{
		Hostname: host, CPU: hw.CPUModel(), Arch: runtime.GOARCH, Kernel: hw.Kernel(),
		CPUs: len(topology.CPUs), Allowed: allowed.List(), Cores: topology.Cores(),
		Nodes: topology.Nodes(), SMT: topology.SMT(), Governor: hw.Governor(hw.SystemFS()),
		Hypervisor: hw.Hypervisor(), Load: hw.LoadAverage(), MemTotal: hw.MemTotal(),
		CycleHz: hw.CycleHz(), Membarrier: hw.MembarrierAvailable(),
	}
	if m.Governor == "none" {
		m.Notes = append(m.Notes, "frequency scaling and turbo are not visible")
	}
	if !m.Membarrier {
		m.Notes = append(m.Notes, "membarrier refused: a fence on every publication stands in for it")
	}
	if clock := hw.CycleClock(); clock != "" {
		m.Notes = append(m.Notes, "cycle clock: "+clock)
	}
	return m, warnings(p, m, topology, runtime.NumCPU()), nil
}

// warnings is what spoils a measurement of p on m. cpus is how many the process
// may use at once, by mask and quota.
func warnings(p results.Plan, m results.Machine, topology hw.Topology, cpus int) []results.Warning {
	var ws []results.Warning
	warn := func(do, format string, args ...any) {
		ws = append(ws, results.Warning{What: fmt.Sprintf(format, args...), Do: do})
	}
	threads := 0
	for _, c := range p.Cells {
		threads = max(threads, c.Threads)
	}
	places := len(p.CPUs)
	if p.Pin == hw.PinNone.String() {
		places = len(m.Allowed)
		warn("pin them (--pin core) unless the kernel's placement is the question", "threads are not pinned: what the kernel does with them is in the figures")
	}
	if threads > places {
		do, spins := "compare such cells only with each other", ""
		if slices.ContainsFunc(p.Cells, func(c results.Cell) bool { return c.Threads > places && c.Wait == "spin" }) {
			do += ", and use --wait adaptive or park there"
			spins = " a spinning wait lasts until the kernel switches (milliseconds),"
		}
		warn(do, "%d threads on %d CPU(s): they take turns,%s and overlap and stall do not reject a slot", threads, places, spins)
	}
	if quota := cpuQuota(os.ReadFile); quota > 0 && quota < float64(min(threads, places)+1) {
		warn("lift the quota (cpu.max) of the container", "a quota of %.2g CPUs: the kernel stops all threads when it is used up", quota)
	}
	switch m.Governor {
	case "performance", "none", "unknown":
	default:
		warn("cpupower frequency-set -g performance", "frequency governor %s: the clock changes during the run", m.Governor)
	}
	if sharing := shareCore(topology, p.CPUs, threads); sharing != "" {
		warn("pin by core first (--pin core), or name CPUs of different cores (--cpus)", "CPUs %s are SMT siblings: two threads share a core", sharing)
	} else if m.SMT {
		warn("leave the siblings idle, or switch SMT off", "SMT is on: what runs on a sibling takes from the core")
	}
	if m.Hypervisor {
		warn("look at the stall shares; for figures to publish use a machine of its own", "a virtual machine: the host may take its CPUs away unseen")
	}
	if m.Load > 0.5*float64(cpus) {
		warn("wait, or stop what runs", "load average %.1f: something else runs or has just run", m.Load)
	}
	for _, s := range BuildSettings() {
		if s == "-race=true" {
			warn("build without -race", "built with the race detector: figures mean nothing beyond this build")
		}
	}
	return ws
}

// shareCore names two of the CPUs in use that are on one core, "" if none are.
func shareCore(t hw.Topology, cpus []int, threads int) string {
	core := make(map[int]int)
	for _, id := range cpus[:min(threads, len(cpus))] {
		i := slices.IndexFunc(t.CPUs, func(c hw.CPU) bool { return c.ID == id })
		if i < 0 {
			continue
		}
		if other, taken := core[t.CPUs[i].Core]; taken {
			return fmt.Sprintf("%d and %d", other, id)
		}
		core[t.CPUs[i].Core] = id
	}
	return ""
}

// cpuQuota is the cgroup's limit in CPUs, 0 if there is none that can be seen:
// of the second version at the root, where a container sees its own.
func cpuQuota(read func(string) ([]byte, error)) float64 {
	b, err := read("/sys/fs/cgroup/cpu.max")
	if err != nil {
		return 0
	}
	var quota, period float64
	if n, err := fmt.Sscan(string(b), &quota, &period); n != 2 || err != nil || period <= 0 {
		return 0 // "max"
	}
	return quota / period
}

// BuildInfo is what this program was built with and runs under.
func BuildInfo() results.Build {
	b := results.Build{Version: "unknown", Go: runtime.Version(), GOMAXPROCS: runtime.GOMAXPROCS(0), GOGC: "off in slots, asked for between rounds"}
	var flags []string
	for _, s := range BuildSettings() {
		key, value, _ := strings.Cut(s, "=")
		switch {
		case key == "vcs.revision":
			b.Version = value
		case key == "-tags":
			b.Tags = value
		case strings.HasPrefix(key, "-"):
			flags = append(flags, s)
		}
	}
	if b.Version != "unknown" && slices.Contains(BuildSettings(), "vcs.modified=true") {
		b.Version += "+dirty"
	}
	b.Flags = strings.Join(flags, " ")
	return b
}

// BuildSettings is what the toolchain recorded of the build, as key=value.
func BuildSettings() []string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return nil
	}
	var list []string
	for _, s := range info.Settings {
		list = append(list, s.Key+"="+s.Value)
	}
	return list
}
