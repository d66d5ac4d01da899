package hw

import (
	"testing"
)

const (
	cpuinfoGuest = `processor	: 0
vendor_id	: AuthenticAMD
model name	: AMD EPYC 9R14
flags		: fpu tsc hypervisor lahf_lm

processor	: 1
model name	: another
flags		: fpu`
	cpuinfoMetal = `processor	: 0
model name	: Intel(R) Xeon(R)
flags		: fpu tsc`
	cpuinfoARM = `processor	: 0
Features	: fp asimd
CPU implementer	: 0x41
CPU part	: 0xd0c`
)

func TestMachine(t *testing.T) {
	for _, tt := range []struct {
		name  string
		tree  tree
		model string
		guest bool
	}{
		{"guest", tree{"proc/cpuinfo": cpuinfoGuest}, "AMD EPYC 9R14", true},
		{"metal", tree{"proc/cpuinfo": cpuinfoMetal}, "Intel(R) Xeon(R)", false},
		{"Xen", tree{"proc/cpuinfo": cpuinfoMetal, "sys/hypervisor/type": "xen"}, "Intel(R) Xeon(R)", true},
		{"arm64", tree{"proc/cpuinfo": cpuinfoARM}, "implementer 0x41 part 0xd0c", false},
		{"arm64 board", tree{"proc/cpuinfo": cpuinfoARM, "proc/device-tree/model": "Some Board\x00"}, "Some Board", false},
		{"nothing", tree{}, "unknown", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := cpuModel(tt.tree.fs()); got != tt.model {
				t.Errorf("model %q, want %q", got, tt.model)
			}
			if got := hypervisor(tt.tree.fs()); got != tt.guest {
				t.Errorf("hypervisor %v, want %v", got, tt.guest)
			}
		})
	}
}

func TestMachineFigures(t *testing.T) {
	full := tree{
		"proc/sys/kernel/osrelease": "6.1.0-test",
		"proc/loadavg":              "1.25 0.50 0.10 2/345 6789",
		"proc/meminfo":              "MemTotal:       16384 kB\nMemFree:         1 kB",
	}.fs()
	if s := kernel(full); s != "6.1.0-test" {
		t.Errorf("kernel %q", s)
	}
	if l := loadAverage(full); l != 1.25 {
		t.Errorf("load %v", l)
	}
	if m := memTotal(full); m != 16<<20 {
		t.Errorf("memory %d", m)
	}
	none := tree{}.fs()
	if kernel(none) != "unknown" || loadAverage(none) != 0 || memTotal(none) != 0 {
		t.Errorf("of nothing: %q, %v, %d", kernel(none), loadAverage(none), memTotal(none))
	}
}

func TestGovernor(t *testing.T) {
	for _, tt := range []struct {
		tree tree
		want string
	}{
		{tree{}, "none"},
		{tree{"cpu/cpu0/cpufreq/scaling_governor": "performance", "cpu/cpu10/cpufreq/scaling_governor": "performance"}, "performance"},
		{tree{"cpu/cpu0/cpufreq/scaling_governor": "powersave", "cpu/cpu1/cpufreq/scaling_governor": "performance"}, "performance,powersave"},
	} {
		if got := Governor(tt.tree.fs()); got != tt.want {
			t.Errorf("%v: %q, want %q", tt.tree, got, tt.want)
		}
	}
}

func TestThisMachine(t *testing.T) {
	if CPUModel() == "" || Kernel() == "" || Kernel() == unknown || Governor(SystemFS()) == "" {
		t.Errorf("model %q, kernel %q, governor %q", CPUModel(), Kernel(), Governor(SystemFS()))
	}
	if MemTotal() == 0 || LoadAverage() < 0 {
		t.Errorf("memory %d, load %v", MemTotal(), LoadAverage())
	}
	t.Logf("%s, %s, hypervisor %v, governor %s, load %v, %d bytes, %s at %.0f Hz",
		CPUModel(), Kernel(), Hypervisor(), Governor(SystemFS()), LoadAverage(), MemTotal(), CycleClock(), CycleHz())
}
