package core_test

import (
	"os/exec"
	"strings"
	"testing"
)

// TestDataPathInlines reads the compiler's own report: what Read and Write are
// made of must not be a call, and nothing of theirs may move to the heap.
func TestDataPathInlines(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skipf("a test binary away from its toolchain has no compiler to ask: %v", err)
	}
	out, err := exec.Command("go", "build", "-gcflags=-m", ".").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var stream strings.Builder
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "stream.go:") {
			stream.WriteString(line)
		}
	}
	report := stream.String()
	for _, want := range []string{
		"inlining call to fifo.(*Fifo).Short",
		"inlining call to fifo.(*Fifo).Room",
		"inlining call to fifo.(*Fifo).Put",
		"inlining call to fifo.(*Fifo).AdvanceTail",
		"inlining call to fifo.(*Fifo).There",
		"inlining call to fifo.(*Fifo).Look",
		"inlining call to fifo.(*Fifo).Take",
		"inlining call to fifo.(*Fifo).AdvanceHead",
		"inlining call to fifo.(*Fifo).Status",
		"inlining call to fifo.(*Fifo).Wanted",
		"inlining call to fifo.(*Fifo).HasEvent",
	} {
		if !strings.Contains(report, want) {
			t.Errorf("the compiler does not report %q:\n%s", want, report)
		}
	}
	for _, f := range []string{"(*Worker).Lookup", "(*Directory).Find"} {
		if !strings.Contains(string(out), "can inline "+f) {
			t.Errorf("the compiler does not report that %s can be inlined", f)
		}
	}
	for line := range strings.Lines(report) {
		// An errno in an error takes no memory: the runtime has the small ones.
		if strings.Contains(line, "escapes to heap") && !strings.Contains(line, "syscall.Errno(") || strings.Contains(line, "moved to heap") {
			t.Errorf("%s", line)
		}
	}
}
