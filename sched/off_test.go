//go:build !sched

package sched

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"
)

// plain and pointed are the same work, without points and with all there are.
func plain(p *uint32) uint32 {
	*p += 3
	return *p
}

func pointed(p *uint32) uint32 {
	Point("before")
	*p++
	if Controlled() || Wait("even", func() bool { return *p%2 == 0 }, time.Second) {
		*p = 0
	}
	*p++
	if !FutexWait("sleep", p, 7, -1) && !Spin("look") {
		*p++
	}
	FutexWake("wake", p, 1)
	return *p
}

// guarded must cost the inliner what plain does.
func guarded(p *uint32) uint32 {
	if Enabled {
		Point("before")
	}
	*p += 3
	if Enabled && Controlled() {
		Wait("even", func() bool { return *p%2 == 0 }, time.Second)
	}
	return *p
}

// compile is what the compiler says of this package with a flag of its own.
func compile(t *testing.T, flag string) string {
	t.Helper()
	if _, err := exec.LookPath("go"); err != nil {
		t.Skipf("a test binary away from its toolchain has no compiler to ask: %v", err)
	}
	out, err := exec.Command("go", "test", "-c", "-o", t.TempDir()+"/x.test", "-gcflags="+flag, ".").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

func TestGuardedPointsCostTheInlinerNothing(t *testing.T) {
	report := compile(t, "-m=2")
	cost := func(f string) string {
		m := regexp.MustCompile(`can inline ` + f + ` with cost (\d+)`).FindStringSubmatch(report)
		if m == nil {
			t.Fatalf("the compiler does not report that it can inline %s:\n%s", f, report)
		}
		return m[1]
	}
	if cost("plain") != cost("guarded") {
		t.Errorf("%s with points, %s without", cost("guarded"), cost("plain"))
	}
	for _, f := range []string{"Point", "Controlled", "Wait", "FutexWait", "FutexWake", "Spin"} {
		cost(f)
	}
}

// TestNothingIsLeft reads the compiler's listing: no call, and none of the names.
func TestNothingIsLeft(t *testing.T) {
	functions := 0
	inside := false
	for line := range strings.Lines(compile(t, "-S")) {
		if strings.Contains(line, " STEXT ") {
			inside = strings.HasPrefix(line, "vlsbench/sched.pointed ") || strings.HasPrefix(line, "vlsbench/sched.plain ")
			if inside {
				functions++
			}
		}
		if inside && (strings.Contains(line, "\tCALL\t") || strings.Contains(line, "go:string.") || strings.Contains(line, "pointed.func")) {
			t.Error(line)
		}
	}
	if functions != 2 {
		t.Errorf("%d of 2 functions in the compiler's listing", functions)
	}
}

func TestNoAllocationWithoutTag(t *testing.T) {
	if Enabled {
		t.Error("Enabled without the tag")
	}
	v := new(uint32)
	if n := testing.AllocsPerRun(100, func() { pointed(v); guarded(v); plain(v) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if *v = 0; pointed(v) != 3 {
		t.Errorf("%d, want 3", *v)
	}
}
