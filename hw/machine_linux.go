package hw

import (
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
)

// What follows describes the machine for the record of a run. What cannot be
// found out is "unknown", or zero, and never an error: no measurement hangs on
// it.

const unknown = "unknown"

var root = os.DirFS("/")

// CPUModel is the processor's name, as /proc/cpuinfo or, on arm64, the device
// tree has it.
func CPUModel() string { return cpuModel(root) }

// Kernel is the kernel's release.
func Kernel() string { return kernel(root) }

// Hypervisor reports whether the machine is known to be a virtual one.
func Hypervisor() bool { return hypervisor(root) }

// LoadAverage is the mean number of threads that ran or wanted to over the last
// minute.
func LoadAverage() float64 { return loadAverage(root) }

// MemTotal is the machine's memory in bytes.
func MemTotal() uint64 { return memTotal(root) }

// Governor is the frequency governor of the CPUs, from a tree such as
// [SystemFS]; several are joined by commas, and "none" is a machine, most often
// a virtual one, that does not scale its frequency as far as can be seen.
func Governor(fsys fs.FS) string {
	files, err := fs.Glob(fsys, "cpu/cpu[0-9]*/cpufreq/scaling_governor")
	if err != nil {
		return unknown
	}
	var names []string
	for _, f := range files {
		// A CPU that is offline has the file, which then cannot be read.
		if s, err := readLine(fsys, f); err == nil && s != "" {
			names = append(names, s)
		}
	}
	if len(names) == 0 {
		return "none"
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), ",")
}

func cpuModel(fsys fs.FS) string {
	info := cpuinfo(fsys)
	if s := info["model name"]; s != "" {
		return s
	}
	if s, err := readLine(fsys, "proc/device-tree/model"); err == nil && s != "" {
		return strings.TrimRight(s, "\x00")
	}
	if s := info["CPU part"]; s != "" {
		return fmt.Sprintf("implementer %s part %s", info["CPU implementer"], s)
	}
	return unknown
}

// cpuinfo is the first processor's paragraph.
func cpuinfo(fsys fs.FS) map[string]string {
	b, _ := fs.ReadFile(fsys, "proc/cpuinfo")
	first, _, _ := strings.Cut(string(b), "\n\n")
	m := make(map[string]string)
	for line := range strings.Lines(first) {
		key, value, _ := strings.Cut(line, ":")
		m[strings.TrimSpace(key)] = strings.TrimSpace(value)
	}
	return m
}

func kernel(fsys fs.FS) string {
	s, err := readLine(fsys, "proc/sys/kernel/osrelease")
	if err != nil || s == "" {
		return unknown
	}
	return s
}

func hypervisor(fsys fs.FS) bool {
	if slices.Contains(strings.Fields(cpuinfo(fsys)["flags"]), "hypervisor") {
		return true
	}
	for _, name := range []string{"sys/hypervisor/type", "proc/device-tree/hypervisor"} {
		if _, err := fs.Stat(fsys, name); err == nil {
			return true
		}
	}
	return false
}

func loadAverage(fsys fs.FS) float64 {
	s, _ := readLine(fsys, "proc/loadavg")
	first, _, _ := strings.Cut(s, " ")
	load, _ := strconv.ParseFloat(first, 64)
	return load
}

func memTotal(fsys fs.FS) uint64 {
	b, _ := fs.ReadFile(fsys, "proc/meminfo")
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "MemTotal:" && f[2] == "kB" {
			kb, _ := strconv.ParseUint(f[1], 10, 64)
			return kb * 1024
		}
	}
	return 0
}
