package hw

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// tree is a sysfs: path to content.
type tree map[string]string

func (tr tree) fs() fs.FS {
	m := make(fstest.MapFS)
	for name, content := range tr {
		m[name] = &fstest.MapFile{Data: []byte(content + "\n")}
	}
	return m
}

// cpu adds CPU id in package pkg, on a core with those of siblings.
func (tr tree) cpu(id, pkg int, siblings string) tree {
	dir := fmt.Sprintf("cpu/cpu%d/topology/", id)
	tr[dir+"thread_siblings_list"] = siblings
	tr[dir+"physical_package_id"] = fmt.Sprint(pkg)
	return tr
}

func (tr tree) with(name, content string) tree { tr[name] = content; return tr }

// twoNodes is 2 packages × 2 cores × 2 threads, numbered as Linux does it on
// x86: siblings are 4 apart.
func twoNodes() tree {
	tr := tree{
		"cpu/online":           "0-7",
		"node/node0/cpulist":   "0-1,4-5",
		"node/node1/cpulist":   "2-3,6-7",
		"node/possible":        "0-1",
		"node/has_cpu":         "0-1",
		"node/node0/distance":  "10 21",
		"cpu/cpuidle/current":  "none",
		"cpu/cpufreq/whatever": "",
	}
	for id := range 8 {
		core := id % 4
		tr.cpu(id, core/2, fmt.Sprintf("%d,%d", core, core+4))
	}
	return tr
}

func smt() tree {
	return tree{"cpu/online": "0-3"}.
		cpu(0, 0, "0-1").cpu(1, 0, "0-1").cpu(2, 0, "2-3").cpu(3, 0, "2-3")
}

func TestTopology(t *testing.T) {
	for _, tt := range []struct {
		name         string
		tree         tree
		allowed      string
		cores, nodes int
		smt          bool
		byCore       []int
		bySMT        []int
	}{
		{
			name:    "one core",
			tree:    tree{"cpu/online": "0", "node/node0/cpulist": "0"}.cpu(0, 0, "0"),
			allowed: "0", cores: 1, nodes: 1,
			byCore: []int{0}, bySMT: []int{0},
		}, {
			name:    "SMT",
			tree:    smt(),
			allowed: "0-3", cores: 2, nodes: 1, smt: true,
			byCore: []int{0, 2, 1, 3}, bySMT: []int{0, 1, 2, 3},
		}, {
			name:    "both hardware threads of one core",
			tree:    smt(),
			allowed: "2-3", cores: 1, nodes: 1, smt: true,
			byCore: []int{2, 3}, bySMT: []int{2, 3},
		}, {
			name:    "SMT, one hardware thread of each core allowed",
			tree:    smt(),
			allowed: "1,3", cores: 2, nodes: 1, smt: true,
			byCore: []int{1, 3}, bySMT: []int{1, 3},
		}, {
			name:    "newer name of the siblings",
			tree:    tree{"cpu/cpu0/topology/core_cpus_list": "0,2", "cpu/cpu1/topology/core_cpus_list": "1", "cpu/cpu2/topology/core_cpus_list": "0,2"},
			allowed: "0-2", cores: 2, nodes: 1, smt: true,
			byCore: []int{0, 1, 2}, bySMT: []int{0, 2, 1},
		}, {
			name:    "two NUMA nodes",
			tree:    twoNodes(),
			allowed: "0-7", cores: 4, nodes: 2, smt: true,
			byCore: []int{0, 1, 4, 5, 2, 3, 6, 7}, bySMT: []int{0, 4, 1, 5, 2, 6, 3, 7},
		}, {
			name:    "two packages and no nodes",
			tree:    tree{}.cpu(0, 1, "0").cpu(1, 0, "1").cpu(2, 1, "2").cpu(3, 0, "3"),
			allowed: "0-3", cores: 4, nodes: 1,
			byCore: []int{1, 3, 0, 2}, bySMT: []int{1, 3, 0, 2},
		}, {
			name:    "a cpuset that does not begin at 0",
			tree:    twoNodes(),
			allowed: "3,6-7", cores: 2, nodes: 1, smt: true,
			byCore: []int{6, 3, 7}, bySMT: []int{6, 3, 7},
		}, {
			name:    "offline CPUs",
			tree:    twoNodes().with("cpu/online", "0-1,4").cpu(0, 0, "0,4").cpu(4, 0, "0,4").cpu(1, 0, "1"),
			allowed: "0-7", cores: 2, nodes: 1, smt: true,
			byCore: []int{0, 1, 4}, bySMT: []int{0, 4, 1},
		}, {
			name:    "an empty sysfs",
			tree:    tree{},
			allowed: "4-5", cores: 2, nodes: 1,
			byCore: []int{4, 5}, bySMT: []int{4, 5},
		}, {
			name:    "nodes, and no topology directory",
			tree:    tree{"cpu/online": "0-3", "node/node0/cpulist": "1,3", "node/node1/cpulist": "0,2"},
			allowed: "0-3", cores: 4, nodes: 2,
			byCore: []int{1, 3, 0, 2}, bySMT: []int{1, 3, 0, 2},
		}, {
			name:    "a node of memory only, and a package the firmware does not tell",
			tree:    tree{"node/node0/cpulist": "0", "node/node1/cpulist": ""}.cpu(0, -1, "0"),
			allowed: "0", cores: 1, nodes: 1,
			byCore: []int{0}, bySMT: []int{0},
		}, {
			name:    "CPU numbers beyond 1023",
			tree:    tree{"cpu/online": "0-1100"}.cpu(1024, 0, "1024,1100").cpu(1100, 0, "1024,1100"),
			allowed: "1024,1100", cores: 1, nodes: 1, smt: true,
			byCore: []int{1024, 1100}, bySMT: []int{1024, 1100},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			top, err := ReadTopology(tt.tree.fs(), set(t, tt.allowed))
			if err != nil {
				t.Fatal(err)
			}
			if top.Cores() != tt.cores || top.Nodes() != tt.nodes || top.SMT() != tt.smt {
				t.Errorf("%d cores, %d nodes, SMT %v; want %d, %d, %v",
					top.Cores(), top.Nodes(), top.SMT(), tt.cores, tt.nodes, tt.smt)
			}
			if got := top.Order(PinCore); !slices.Equal(got, tt.byCore) {
				t.Errorf("by core: %v, want %v", got, tt.byCore)
			}
			if got := top.Order(PinSMT); !slices.Equal(got, tt.bySMT) {
				t.Errorf("by SMT: %v, want %v", got, tt.bySMT)
			}
			if got := top.Order(PinNone); got != nil {
				t.Errorf("unpinned: %v", got)
			}
		})
	}
}

func TestTopologyFields(t *testing.T) {
	top, err := ReadTopology(twoNodes().fs(), set(t, "6"))
	if err != nil {
		t.Fatal(err)
	}
	want := CPU{ID: 6, Core: 2, Package: 1, Node: 1, Siblings: []int{2, 6}}
	if got := fmt.Sprint(top.CPUs); got != fmt.Sprint([]CPU{want}) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestTopologyErrors(t *testing.T) {
	for _, tt := range []struct {
		name    string
		tree    tree
		allowed string
		culprit []string
	}{
		{"nothing allowed", tree{}, "", []string{"no usable CPU", "none"}},
		{"all offline", tree{"cpu/online": "0-1"}, "4-5", []string{"no usable CPU", "4-5", "0-1"}},
		{"online is no list", tree{"cpu/online": "all"}, "0", []string{"cpu/online", "all"}},
		{"siblings are no list", tree{}.cpu(0, 0, "zero"), "0", []string{"cpu0/topology/thread_siblings_list", "zero"}},
		{"siblings without the CPU itself", tree{}.cpu(0, 0, "1-2"), "0", []string{"thread_siblings_list", "1-2", "CPU 0"}},
		{"package is no number", tree{"cpu/cpu0/topology/physical_package_id": "A"}, "0", []string{"physical_package_id", "A"}},
		{"node is no list", tree{"node/node0/cpulist": "?"}, "0", []string{"node/node0/cpulist", "?"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			top, err := ReadTopology(tt.tree.fs(), set(t, tt.allowed))
			if err == nil {
				t.Fatalf("read as %v", top)
			}
			for _, word := range tt.culprit {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("%q does not name %q", err, word)
				}
			}
		})
	}
}

func TestSystemTopology(t *testing.T) {
	top, err := SystemTopology()
	if err != nil {
		t.Fatal(err)
	}
	order := top.Order(PinCore)
	if top.Cores() < 1 || top.Nodes() < 1 || len(order) != len(top.CPUs) {
		t.Errorf("%d cores, %d nodes, order %v of %v", top.Cores(), top.Nodes(), order, top.CPUs)
	}
	onThread(func() {
		if err := Pin(order[0]); err != nil {
			t.Error(err)
		}
	})
}

func TestPinPolicyNames(t *testing.T) {
	for _, p := range []PinPolicy{PinCore, PinSMT, PinNone} {
		if got, err := ParsePinPolicy(p.String()); err != nil || got != p {
			t.Errorf("%v reads back as %v, %v", p, got, err)
		}
	}
	_, err := ParsePinPolicy("numa")
	if err == nil || !strings.Contains(err.Error(), `"numa"`) || !strings.Contains(err.Error(), "core, smt, none") {
		t.Errorf("error %v", err)
	}
	if s := PinPolicy(9).String(); s != "pin(9)" {
		t.Errorf("unknown policy prints as %q", s)
	}
}
