//go:build audit

package locked

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"vlsbench/audit"
	"vlsbench/core"
	"vlsbench/internal/census"
	"vlsbench/vls"
	"vlsbench/vls/vlstest"
)

// Every operation of the presets, and of each with knobs that take locks in
// other steps, takes them in the order that is agreed on.
func TestOrder(t *testing.T) {
	for _, name := range []string{
		"shared", "perworker", "spoolrw", "spoolrw,hold=session", "spoolrw,when=always",
		"perworker,table=rwspin,retake=yes", "perworker,close=two-phase,io=pool,pool=phasefair,enter=try",
	} {
		s, err := vls.Lookup(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := census.Count(s); err != nil {
			t.Fatal(err)
		}
		if circle := audit.Cycle(name); circle != "" {
			t.Error(circle)
		}
	}
}

// inside has a process run TestBustedOrder as a test of the suite.
const inside = "VLS_BUSTED_ORDER"

// One that takes P while it holds S, if only once and with nobody there to wait
// for, fails the suite.
func TestBustedOrder(t *testing.T) {
	if os.Getenv(inside) == "" {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestBustedOrder$")
		cmd.Env = append(os.Environ(), inside+"=1")
		out, err := cmd.CombinedOutput()
		const circle = "the locks of busted are taken in a circle: P → S(set) → S → P"
		if err == nil || !strings.Contains(string(out), circle) {
			t.Errorf("%v, and no %q in:\n%s", err, circle, out)
		}
		return
	}
	d := perworker
	d.Name = "busted"
	s := vls.Strategy{Name: d.Name, Kind: vls.Built, New: d.New}
	a, err := d.New(vls.Options{Config: core.Config{SegmentSize: 16 << 20}})
	if err != nil {
		t.Fatal(err)
	}
	p, err := a.NewProcess()
	if err != nil {
		t.Fatal(err)
	}
	th := p.NewThread().(*thread)
	h, err := th.Create(vls.TCP, false)
	if err != nil {
		t.Fatal(err)
	}
	th.lockS(th.lookup(h))
	th.lockP()
	th.unlockP()
	th.dropS()
	vlstest.RunCases(t, s, vls.Park, "read-partial")
}
