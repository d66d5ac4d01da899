package hw

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"vlsbench/internal/quote"
)

// CPU is one logical CPU.
type CPU struct {
	ID int
	// Core names the physical core, by the lowest CPU number on it, so that it
	// is unique in the machine and not only in a package.
	Core    int
	Package int // socket; 0 where the kernel does not say
	Node    int // NUMA node; 0 where the kernel does not say
	// Siblings are the online CPUs of the core, this one included and those
	// that the process may not use too, ascending.
	Siblings []int
}

// Topology is the CPUs that a process may use, by ascending ID.
type Topology struct {
	CPUs []CPU
}

// SystemFS is the tree that [ReadTopology] and [Governor] read on a real
// machine: /sys/devices/system.
func SystemFS() fs.FS { return os.DirFS("/sys/devices/system") }

// SystemTopology is the topology of this machine within [Allowed].
func SystemTopology() (Topology, error) {
	allowed, err := Allowed()
	if err != nil {
		return Topology{}, err
	}
	return ReadTopology(SystemFS(), allowed)
}

// ReadTopology reads the topology of the allowed CPUs that are online, from a
// tree rooted as /sys/devices/system is. What a virtual machine or a container
// hides is taken in the plainest way: no list of online CPUs means all that are
// allowed, no topology directory means one core per CPU in package 0, no nodes
// mean node 0. What is there and cannot be understood is an error.
func ReadTopology(fsys fs.FS, allowed CPUSet) (Topology, error) {
	usable := allowed
	online, found, err := readCPUList(fsys, "cpu/online")
	if err != nil {
		return Topology{}, err
	}
	if found {
		for i := range usable.words {
			usable.words[i] &= online.words[i]
		}
	}
	if usable.Len() == 0 {
		return Topology{}, fmt.Errorf("no usable CPU: allowed are %v, online are %v", allowed, online)
	}
	nodes, err := readNodes(fsys)
	if err != nil {
		return Topology{}, err
	}
	var t Topology
	for _, id := range usable.List() {
		cpu, err := readCPU(fsys, id)
		if err != nil {
			return Topology{}, err
		}
		for _, n := range nodes {
			if n.cpus.Has(id) {
				cpu.Node = n.id
			}
		}
		t.CPUs = append(t.CPUs, cpu)
	}
	return t, nil
}

func readCPU(fsys fs.FS, id int) (CPU, error) {
	dir := fmt.Sprintf("cpu/cpu%d/topology", id)
	cpu := CPU{ID: id, Core: id, Siblings: []int{id}}
	// core_cpus_list is the newer name of thread_siblings_list.
	for _, name := range []string{"core_cpus_list", "thread_siblings_list"} {
		set, found, err := readCPUList(fsys, path.Join(dir, name))
		if err != nil {
			return CPU{}, err
		}
		if !found {
			continue
		}
		if !set.Has(id) {
			return CPU{}, fmt.Errorf("%s: %v does not hold CPU %d itself", path.Join(dir, name), set, id)
		}
		cpu.Siblings = set.List()
		cpu.Core = cpu.Siblings[0]
		break
	}
	name := path.Join(dir, "physical_package_id")
	s, err := readLine(fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return cpu, nil
	}
	if err != nil {
		return CPU{}, err
	}
	pkg, err := strconv.Atoi(s)
	if err != nil {
		return CPU{}, fmt.Errorf("%s: %q is not a number", name, s)
	}
	cpu.Package = max(pkg, 0) // -1: the firmware does not say
	return cpu, nil
}

type node struct {
	id   int
	cpus CPUSet
}

func readNodes(fsys fs.FS) ([]node, error) {
	entries, err := fs.ReadDir(fsys, "node")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var nodes []node
	for _, e := range entries {
		number, isNode := strings.CutPrefix(e.Name(), "node")
		id, err := strconv.Atoi(number)
		if !isNode || err != nil {
			continue
		}
		cpus, _, err := readCPUList(fsys, path.Join("node", e.Name(), "cpulist"))
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, node{id, cpus})
	}
	return nodes, nil
}

// readCPUList reads a list of CPUs; found is false where there is no such file.
func readCPUList(fsys fs.FS, name string) (set CPUSet, found bool, err error) {
	s, err := readLine(fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return CPUSet{}, false, nil
	}
	if err != nil {
		return CPUSet{}, false, err
	}
	if set, err = ParseCPUList(s); err != nil {
		return CPUSet{}, false, fmt.Errorf("%s: %w", name, err)
	}
	return set, true, nil
}

func readLine(fsys fs.FS, name string) (string, error) {
	b, err := fs.ReadFile(fsys, name)
	return strings.TrimSpace(string(b)), err
}

// Cores is the number of physical cores.
func (t Topology) Cores() int {
	return t.count(func(c CPU) int { return c.Core })
}

// Nodes is the number of NUMA nodes.
func (t Topology) Nodes() int {
	return t.count(func(c CPU) int { return c.Node })
}

func (t Topology) count(of func(CPU) int) int {
	seen := make(map[int]struct{})
	for _, c := range t.CPUs {
		seen[of(c)] = struct{}{}
	}
	return len(seen)
}

// SMT reports whether a core has more than one CPU online, be the other one
// allowed or not: it takes its share of the core from outside as well.
func (t Topology) SMT() bool {
	return slices.ContainsFunc(t.CPUs, func(c CPU) bool { return len(c.Siblings) > 1 })
}

// PinPolicy is the order in which threads are given CPUs.
type PinPolicy uint8

const (
	// PinCore fills a node before the next and a package before the next, one
	// CPU of each core first, then their SMT siblings.
	PinCore PinPolicy = iota
	// PinSMT is PinCore with SMT siblings next to each other.
	PinSMT
	// PinNone leaves threads to the kernel.
	PinNone
)

var pinNames = [...]string{PinCore: "core", PinSMT: "smt", PinNone: "none"}

func (p PinPolicy) String() string {
	if int(p) < len(pinNames) {
		return pinNames[p]
	}
	return fmt.Sprintf("pin(%d)", uint8(p))
}

// ParsePinPolicy reads a policy's name.
func ParsePinPolicy(s string) (PinPolicy, error) {
	for p, name := range pinNames {
		if name == s {
			return PinPolicy(p), nil
		}
	}
	return 0, fmt.Errorf("unknown pin policy %s; there are: %s", quote.Of(s), strings.Join(pinNames[:], ", "))
}

// Order lists every CPU once, thread i being meant for the i-th; nil for
// [PinNone].
func (t Topology) Order(policy PinPolicy) []int {
	if policy == PinNone {
		return nil
	}
	type place struct{ node, pkg, turn, core, id int }
	places := make([]place, len(t.CPUs))
	used := make(map[int]int) // CPUs of a core that have their place already
	for i, c := range t.CPUs {
		places[i] = place{node: c.Node, pkg: c.Package, core: c.Core, id: c.ID}
		if policy == PinCore {
			places[i].turn = used[c.Core]
			used[c.Core]++
		}
	}
	slices.SortFunc(places, func(a, b place) int {
		return slices.Compare(
			[]int{a.node, a.pkg, a.turn, a.core, a.id},
			[]int{b.node, b.pkg, b.turn, b.core, b.id})
	})
	order := make([]int, len(places))
	for i, p := range places {
		order[i] = p.id
	}
	return order
}
