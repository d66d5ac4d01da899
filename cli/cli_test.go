package cli

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"vlsbench/hw"
	"vlsbench/internal/census"
	"vlsbench/results"
	_ "vlsbench/strategies"
	"vlsbench/vls"
	"vlsbench/workloads/workloadtest"
)

var update = flag.Bool("update", false, "write testdata anew")

func init() {
	vls.Register(workloadtest.Strategy("pipe-corrupt", 0, workloadtest.Corrupt, 500))
}

// buffer is a writer for several goroutines.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// vlsbench runs a command line in an empty directory of its own, unless the
// test has made one.
func vlsbench(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	dog := time.AfterFunc(5*time.Minute, func() { panic("hangs: vlsbench " + strings.Join(args, " ")) })
	defer dog.Stop()
	var out, err buffer
	code = Main(args, &out, &err)
	return code, out.String(), err.String()
}

// tiny is a run that takes no time. Both threads are on one CPU, where no slot is
// bad whatever else the machine does.
func tiny(more ...string) []string {
	allowed, err := hw.Allowed()
	if err != nil {
		panic(err)
	}
	return append([]string{"run", "--rounds", "3", "--slot", "5ms", "--workloads", "uni", "--sizes", "64",
		"--threads", "2", "--procs", "1", "--strategies", "global,perworker", "--wait", "park", "--no-plots", "--progress", "off", "--cpus", strconv.Itoa(allowed.List()[0])}, more...)
}

func TestHelp(t *testing.T) {
	var all strings.Builder
	for _, args := range append([][]string{{"--help"}}, func() (list [][]string) {
		for _, c := range commandNames() {
			list = append(list, []string{c, "--help"})
		}
		return list
	}()...) {
		code, out, err := vlsbench(t, args...)
		if code != 0 || err != "" {
			t.Errorf("%v: exit %d, %s", args, code, err)
		}
		all.WriteString("$ vlsbench " + strings.Join(args, " ") + "\n" + out + "\n")
	}
	golden := filepath.Join("testdata", "help.golden")
	if *update {
		if err := os.WriteFile(golden, []byte(all.String()), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if all.String() != string(want) {
		t.Errorf("the help is not that of %s (write it anew with -update if it is meant):\n%s", golden, all.String())
	}
	for _, args := range [][]string{nil, {"help"}, {"-h"}} {
		if code, out, _ := vlsbench(t, args...); code != 0 || out != overview() {
			t.Errorf("%v: exit %d, %s", args, code, out)
		}
	}
	if code, out, _ := vlsbench(t, "help", "show"); code != 0 || !strings.Contains(out, "vlsbench show RUN") {
		t.Errorf("help show: exit %d, %s", code, out)
	}
}

// Bad input is one line that names the culprit and what would be valid, and
// leaves nothing behind.
func TestBadInput(t *testing.T) {
	t.Chdir(t.TempDir())
	taken := t.TempDir()
	if err := os.WriteFile(filepath.Join(taken, results.FileName), []byte("mine"), 0o666); err != nil {
		t.Fatal(err)
	}
	drawn := t.TempDir()
	if err := os.Mkdir(filepath.Join(drawn, "plots"), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(drawn, "plots", "ratio.png"), []byte("mine"), 0o666); err != nil {
		t.Fatal(err)
	}
	conf := func(lines string) string {
		name := filepath.Join(t.TempDir(), "vcl.conf")
		if err := os.WriteFile(name, []byte("vcl {\n"+lines+"\n}\n"), 0o666); err != nil {
			t.Fatal(err)
		}
		return name
	}
	for _, c := range []struct {
		args string
		want []string
	}{
		{"rnu", []string{`"rnu"`, `did you mean "run"?`}},
		{"frobnicate", []string{`"frobnicate"`, "there are: run, show"}},
		{"run --frob", []string{"--frob", "--profile, --strategies", "run --help"}},
		{"run now", []string{`"now"`, "flags alone: --profile, "}},
		{"run --profile huge", []string{`"huge"`, "quick, standard, full"}},
		{"run --strategies ,", []string{"--strategies", "empty name"}},
		{"run --out " + drawn, []string{"ratio.png", "name another directory"}},
		{"run --strategies nope", []string{`"nope"`, "global, "}},
		{"run --strategies global,nope", []string{`"nope"`, "global, "}},
		{"run --baseline nope", []string{`"nope"`, "global, "}},
		{"run --strategies global --baseline null", []string{"null", "global"}},
		{"run --workloads nope", []string{`"nope"`, "bi, pingpong, uni"}},
		{"run --threads 0", []string{"--threads 0", "1 to 64"}},
		{"run --threads 65", []string{"--threads 65", "1 to 64"}},
		{"run --threads 3", []string{"threads 3", "1 or an even number"}},
		{"run --threads x", []string{`"x"`, "--threads", "1,2"}},
		{"run --procs 0", []string{"--procs 0", "1 to 64"}},
		{"run --threads 1 --procs 2", []string{"procs 2", "at most the 1 threads"}},
		{"run --sessions 0", []string{"--sessions 0", "1 to 1024"}},
		{"run --threads 4 --sessions 1", []string{"sessions 1", "each needs a session"}},
		{"run --sizes 0", []string{"--sizes 0", "1 to 1048576"}},
		{"run --sizes 64,-1", []string{"--sizes -1", "1 to 1048576"}},
		{"run --sizes 1048577", []string{"--sizes 1048577", "1 to 1048576"}},
		{"run --slot 2ms", []string{"--slot 2ms", "3ms"}},
		{"run --slot 0", []string{"--slot 0s", "3ms"}},
		{"run --slot soon", []string{"soon", "--slot", "20ms"}},
		{"run --rounds 0", []string{"--rounds 0", "at least 1"}},
		{"run --rounds -3", []string{"--rounds -3", "at least 1"}},
		{"run --cpus 8000", []string{"--cpus 8000", "may run on"}},
		{"run --cpus x", []string{`"x"`, "0,1"}},
		{"run --cpus 0 --pin none", []string{"--cpus 0", "--pin none"}},
		{"run --pin tight", []string{`"tight"`, "core, smt, none"}},
		{"run --wait nap", []string{`"nap"`, "spin, adaptive, park"}},
		{"run --vcl-config nothing-there", []string{"--vcl-config", "nothing-there"}},
		{"run --vcl-config .", []string{"--vcl-config", "directory"}},
		{"run --vcl-config " + conf("heapsize 64M\nrx-fifo-sise 5"), []string{"vcl.conf: line 3", `"rx-fifo-sise"`, "rx-fifo-size, "}},
		{"run --vcl-config " + conf("rx-fifo-size 17"), []string{"vcl.conf: line 2", "rx-fifo-size 17", "4096 to "}},
		{"run --vcl-config " + conf("rx-fifo-size 4096\ntx-fifo-size 8192"), []string{"vcl.conf", "up to 8192", "at least 65536"}},
		{"run --threads 2 --procs 2 --vcl-config " + conf("max-workers 3"), []string{"vcl.conf", "max-workers 3", "at least 4"}},
		{"run --vcl-config " + conf("segment-size 1m"), []string{"vcl.conf", "segment-size 1048576", "at least "}},
		{"run --seed many", []string{"many", "--seed", "a whole number"}},
		{"run --format xml", []string{`"xml"`, "table, jsonl, csv, bench"}},
		{"run --progress loud", []string{`"loud"`, "auto, plain, off"}},
		{"run --out " + taken, []string{taken, "results.jsonl", "another directory"}},
		{"show", []string{"RUN"}},
		{"show a b", []string{"RUN"}},
		{"show nothing-there", []string{"nothing-there"}},
		{"show . --format xml", []string{`"xml"`}},
		{"plot nothing-there", []string{"nothing-there"}},
		{"run --strategies perworker,session=futexx", []string{"perworker", `session="futexx"`, "mcs, clh, futex"}},
		{"run --strategies perworker,sesion=mcs", []string{`"sesion"`, "session, queue"}},
		{"run --strategies perworker,session=mcs,session=tas", []string{"session", "twice", "mcs", "tas"}},
		{"run --strategies perworker,retake=yes,global", []string{"retake=yes", "bravo", "rwspin", "retake=no"}},
		{"run --strategies session=mcs,perworker", []string{`"session=mcs"`, "after the strategy"}},
		{"run --strategies global,session=mcs", []string{"global", `"session"`}},
		{"run --baseline perworker,where=app", []string{"where=app", "when=always"}},
		{"locks perworker", []string{`"perworker"`, "flags alone: --strategies, --format"}},
		{"locks --strategies none", []string{`"none"`, "perworker"}},
		{"locks --strategies perworkr", []string{`"perworkr"`, "perworker, perworker-orig"}},
		{"locks --strategies perworker,session=qlock", []string{`session="qlock"`, "mcs, clh, futex"}},
		{"locks --strategies spoolrw,wher=app", []string{`"wher"`, "where, when"}},
		{"locks --strategies spoolrw,enter=try,enter=try", []string{"enter", "twice"}},
		{"locks --strategies perworker,hold=session", []string{"hold=session", "close=two-phase"}},
		{"locks --strategies shared,when=several", []string{"when=several", "where=process"}},
		{"locks --strategies shared-orig,session=mcs", []string{"shared-orig", `"session"`, "none"}},
		{"locks --strategies spoolrw,pool=rwspin", []string{`pool="rwspin"`, "keep a writer out", "mutex, tas, ", "futex, rwmutex, rwpending, phasefair, bravo"}},
		{"locks --strategies perworker,pool=rwspn", []string{`pool="rwspn"`, "futex, rwmutex, rwpending, phasefair, bravo"}},
		{"run --strategies perworker,table=rwspin", []string{"rwspin", "keep a writer out", "rwmutex, rwpending, phasefair, bravo", "retake=yes"}},
		{"run --strategies migrate,table=rwspin", []string{`table="rwspin"`, "keep a writer out", "rwmutex, rwpending, phasefair, bravo"}},
		{"locks --strategies kernel-tcp", []string{"kernel-tcp has no locks", "null, perworker, "}},
		{"locks --strategies perworker,kernel-unix,global", []string{"kernel-unix has no locks", "null, perworker, "}},
		{"locks --strategies all,kernel-unix", []string{"kernel-unix has no locks", "null, perworker, "}},
		{"locks --strategies perworker,perworker", []string{"perworker is given twice"}},
		{"run --strategies global,perworker,global", []string{"global is given twice"}},
		{"run --strategies perworker,io=pool,enter=try,perworker,enter=try,io=pool", []string{"perworker,enter=try,io=pool is given twice"}},
		{"run --workloads uni,uni", []string{"--workloads", `"uni" is given twice`}},
		{"run --sizes 64,64", []string{"--sizes", "64 is given twice"}},
		{"run --cpus 0,0", []string{"--cpus", "CPU 0 is given twice"}},
		{"locks --format csv", []string{`"csv"`, "table, json"}},
		{"list", []string{"strategies, knobs, workloads, locks"}},
		{"list strategy", []string{`"strategy"`, `did you mean "strategies"?`}},
		{"list locks --format csv", []string{`"csv"`, "table, json"}},
		{"calibrate --cpus 8000", []string{"8000", "may run on"}},
		{"calibrate --format csv", []string{`"csv"`, "table, json"}},
		{"version 2", []string{`"2"`, "want nothing"}},
		{"version --frob", []string{`"--frob"`, "there are none"}},
		{"run -f", []string{`"-f"`, "--profile, "}},
		{"run --no-plots=maybe", []string{"--no-plots", `"maybe"`, "true or false"}},
	} {
		code, out, err := vlsbench(t, strings.Fields(c.args)...)
		if code != exitUsage || out != "" {
			t.Errorf("%s: exit %d, printed %q", c.args, code, out)
		}
		if strings.Count(err, "\n") != 1 || !strings.HasPrefix(err, "vlsbench") {
			t.Errorf("%s: not one line: %q", c.args, err)
		}
		for _, want := range c.want {
			if !strings.Contains(err, want) {
				t.Errorf("%s: %q: no %q in it", c.args, err, want)
			}
		}
	}
	if left, _ := os.ReadDir("."); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if b, _ := os.ReadFile(filepath.Join(taken, results.FileName)); string(b) != "mine" {
		t.Errorf("results that were there are now %q", b)
	}
}

// What a user typed is shown in quotes and cut, wherever it stands: it may be long,
// or what a terminal obeys.
func TestHostileInput(t *testing.T) {
	t.Chdir(t.TempDir())
	long := strings.Repeat("x", 100_000)
	for _, bad := range []string{"\x1b]0;title\x07\x1b[31m", long} {
		for _, args := range [][]string{
			{bad},
			{"list", bad}, {"list", "--format", bad}, {"show", bad}, {"show", bad, bad}, {"show", bad + "/" + bad}, {"plot", bad}, {"version", bad},
			{"calibrate", bad}, {"calibrate", "--cpus", bad}, {"locks", bad}, {"locks", "--strategies", bad},
			{"run", bad}, {"run", "--" + bad}, {"run", "--=" + bad}, {"run", "-" + bad}, {"run", "--" + bad + "=1"},
			{"run", "--strategies", bad}, {"run", "--strategies", "perworker," + bad}, {"run", "--strategies", "perworker," + bad + "=1"},
			{"run", "--strategies", "perworker,session=" + bad}, {"run", "--strategies", "perworker,session=mcs,session=" + bad},
			{"run", "--strategies", bad + "=1"}, {"run", "--strategies", bad + ",,"}, {"run", "--baseline", bad},
			{"run", "--profile", bad}, {"run", "--workloads", bad}, {"run", "--workloads", bad + ",,"}, {"run", "--threads", bad},
			{"run", "--procs", bad}, {"run", "--sessions", bad}, {"run", "--sizes", bad}, {"run", "--slot", bad}, {"run", "--rounds", bad},
			{"run", "--seed", bad}, {"run", "--cpus", bad}, {"run", "--pin", bad}, {"run", "--wait", bad}, {"run", "--vcl-config", bad},
			{"run", "--format", bad}, {"run", "--progress", bad}, {"run", "--no-plots=" + bad},
		} {
			code, out, err := vlsbench(t, args...)
			if code != exitUsage || out != "" || len(err) > 2500 || strings.Count(err, "\n") != 1 || strings.ContainsAny(err, "\x1b\x07") {
				t.Errorf("%.40q: exit %d, printed %.40q, said %d bytes: %.300q", args, code, out, len(err), err)
			}
		}
	}
	// A directory of that name is the user's, but such a long one there cannot be.
	if code, _, err := vlsbench(t, tiny("--out", long)...); code != exitFailed || len(err) > 2500 {
		t.Errorf("--out: exit %d, %d bytes: %.300q", code, len(err), err)
	}
}

func TestUnwritable(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("file", nil, 0o666); err != nil {
		t.Fatal(err)
	}
	code, out, err := vlsbench(t, tiny("--out", "file/mine")...)
	if code != exitFailed || out != "" || !strings.Contains(err, "file") || strings.Count(err, "\n") != 1 {
		t.Errorf("exit %d, %q, %q", code, out, err)
	}
}

// unspoiled ends the test if the machine was so busy that no round of the run in
// mine counts: then there is nothing to compare or draw, as the commands say.
func unspoiled(t *testing.T) {
	t.Helper()
	if _, shown, _ := vlsbench(t, "show", "mine", "--format", "bench"); strings.Contains(shown, "spoiled-rounds: 3\n") {
		t.Skip("the machine spoiled every round")
	}
}

// A run leaves a file that every other command reads, and is not overwritten.
func TestRun(t *testing.T) {
	t.Chdir(t.TempDir())
	code, out, err := vlsbench(t, tiny("--out", "mine")...)
	if code != 0 {
		t.Fatalf("exit %d: %s", code, err)
	}
	for _, want := range []string{"global", "perworker", "msgs/s", "results:  mine/results.jsonl"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	set, rerr := results.Read("mine/results.jsonl")
	if rerr != nil {
		t.Fatal(rerr)
	}
	if len(set.Slots) != 6 || set.End == nil || set.End.Interrupted || set.Run.Plan.Baseline != "global" {
		t.Errorf("%d slots, end %+v", len(set.Slots), set.End)
	}
	if code, _, err := vlsbench(t, tiny("--out", "mine")...); code != exitUsage || !strings.Contains(err, "mine/results.jsonl") {
		t.Errorf("into the same directory: exit %d, %s", code, err)
	}
	for _, run := range []string{"mine", "mine/results.jsonl"} {
		if code, shown, err := vlsbench(t, "show", run); code != 0 || !strings.HasPrefix(out, shown) {
			t.Errorf("show %s: exit %d, %s, not what run printed:\n%s", run, code, err, shown)
		}
	}
	file, rerr := os.ReadFile("mine/results.jsonl")
	if rerr != nil {
		t.Fatal(rerr)
	}
	if _, shown, _ := vlsbench(t, "show", "mine", "--format", "jsonl"); shown != string(file) {
		t.Errorf("as jsonl it is not the file:\n%s", shown)
	}
	unspoiled(t)
	for format, want := range map[string]string{
		"csv":   "perworker",
		"bench": "BenchmarkVLS/strategy=perworker/workload=uni/procs=1/threads=2/sessions=1/size=64/wait=park",
	} {
		if code, shown, err := vlsbench(t, "show", "mine", "--format", format); code != 0 || !strings.Contains(shown, want) {
			t.Errorf("%s: exit %d, %s, no %q in\n%s", format, code, err, want, shown)
		}
	}
	code, out, err = vlsbench(t, "plot", "mine")
	if code != 0 || !strings.Contains(out, filepath.Join("mine", "plots")) {
		t.Errorf("plot: exit %d, %s, %s", code, out, err)
	}
	for _, name := range strings.Fields(out) {
		if info, err := os.Stat(name); err != nil || info.Size() == 0 {
			t.Errorf("plot printed %s: %v", name, err)
		}
	}
}

// A run of which no round is valid is shown, with nothing to draw, and is a failure:
// a script would take it for a result.
func TestNoValidRound(t *testing.T) {
	t.Chdir(t.TempDir())
	if code, _, err := vlsbench(t, tiny("--out", "mine")...); code != 0 {
		t.Fatalf("exit %d: %s", code, err)
	}
	for valid := range 2 {
		set, err := results.Read("mine/results.jsonl")
		if err != nil {
			t.Fatal(err)
		}
		for i := range set.Slots {
			if set.Slots[i].Round >= valid {
				set.Slots[i].Bad = "lost its core"
			} else {
				// Whatever became of it here.
				set.Slots[i].Bad, set.Slots[i].Seconds, set.Slots[i].Ops = "", 1, 1000
			}
		}
		var file bytes.Buffer
		if err := results.WriteJSONL(&file, set); err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprint("valid", valid)
		if err := os.WriteFile(name, file.Bytes(), 0o666); err != nil {
			t.Fatal(err)
		}
		var out, stderr buffer
		err = (&program{stdout: &out, stderr: &stderr}).report(name, "table", "pictures of "+name, true)
		if (err == errNoRound) != (valid == 0) || err != nil && err != errNoRound {
			t.Errorf("%d valid rounds: %v", valid, err)
		}
		if !strings.Contains(out.String(), "results:  "+name) || strings.Contains(out.String(), "pictures:") != (valid > 0) {
			t.Errorf("%d valid rounds:\n%s", valid, out.String())
		}
	}
}

// Where nothing else is said, a run has a directory of its own under
// results/runs, and two at the same moment have two.
func TestPlace(t *testing.T) {
	t.Chdir(t.TempDir())
	now := time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)
	id, file, pictures, err := output{}.place("quick", now)
	if err != nil || id != "20260102-150405-quick" || file != "results/runs/"+id+"/results.jsonl" || pictures != "plots/runs/"+id {
		t.Errorf("%s, %s, %s, %v", id, file, pictures, err)
	}
	if got := picturesOf(file); got != pictures {
		t.Errorf("plot draws to %s, run to %s", got, pictures)
	}
	w, err := results.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	if id, _, _, _ := (output{}).place("quick", now); id != "20260102-150405-quick-2" {
		t.Errorf("the second: %s", id)
	}
}

// A run that was cut off in the middle of a line is shown, and said to be so.
func TestCutOff(t *testing.T) {
	t.Chdir(t.TempDir())
	if code, _, err := vlsbench(t, tiny("--out", "mine")...); code != 0 {
		t.Fatalf("exit %d: %s", code, err)
	}
	unspoiled(t)
	file, err := os.ReadFile("mine/results.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(file, []byte("\n"))
	// In the last line but one: rounds in which a busy machine kept the threads
	// apart do not count, and one that does is to be left.
	last := len(lines) - 3
	cut := append(bytes.Join(lines[:last], nil), lines[last][:50]...)
	if err := os.WriteFile("mine/results.jsonl", cut, 0o666); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"show", "mine"}, {"plot", "mine"}} {
		code, _, err := vlsbench(t, args...)
		if code != 0 || !strings.Contains(err, "cut off") || !strings.Contains(err, "results.jsonl") {
			t.Errorf("%v: exit %d, %s", args, code, err)
		}
	}
	if after, err := os.ReadFile("mine/results.jsonl"); err != nil || !bytes.Equal(after, cut) {
		t.Errorf("looking at the file changed it")
	}
}

// The first signal ends the run after the slot under way, the second at once;
// what was measured is kept and shown.
func TestInterrupt(t *testing.T) {
	for _, n := range []int{1, 2} {
		t.Chdir(t.TempDir())
		signals := make(chan os.Signal, 2)
		go func() {
			for {
				if file, err := os.ReadFile("mine/results.jsonl"); err == nil && bytes.Count(file, []byte("\n")) > 6 {
					break
				}
				time.Sleep(time.Millisecond)
			}
			for range n {
				signals <- syscall.SIGINT
			}
		}()
		var out, err buffer
		dog := time.AfterFunc(5*time.Minute, func() { panic("hangs") })
		p := &program{stdout: &out, stderr: &err, signals: signals}
		args := tiny("--out", "mine", "--rounds", "100000", "--progress", "plain")
		code := p.main(args)
		dog.Stop()
		if code != exitInterrupted {
			t.Fatalf("%d signals: exit %d: %s", n, code, err.String())
		}
		set, rerr := results.Read("mine/results.jsonl")
		if rerr != nil {
			t.Fatal(rerr)
		}
		if set.End == nil || !set.End.Interrupted || set.End.Slots != len(set.Slots) || len(set.Slots) == 0 {
			t.Errorf("%d signals: %d slots, end %+v", n, len(set.Slots), set.End)
		}
		if !strings.Contains(err.String(), "are kept in mine/results.jsonl") || !strings.Contains(out.String(), "perworker") {
			t.Errorf("%d signals: said %q, printed %q", n, err.String(), out.String())
		}
	}
}

// Wrong data fails the run, which says where, and what was measured is kept.
func TestFailedRun(t *testing.T) {
	t.Chdir(t.TempDir())
	code, _, err := vlsbench(t, tiny("--out", "mine", "--strategies", "pipe-corrupt")...)
	if code != exitFailed || !strings.Contains(err, "strategy pipe-corrupt, workload=uni/") || !strings.Contains(err, "at byte") {
		t.Errorf("exit %d, %s", code, err)
	}
	set, rerr := results.Read("mine/results.jsonl")
	if rerr != nil {
		t.Fatal(rerr)
	}
	if set.End == nil || !strings.Contains(set.End.Error, "pipe-corrupt") {
		t.Errorf("end: %+v", set.End)
	}
}

func TestList(t *testing.T) {
	// A value that is always refused is not offered.
	_, knobs, _ := vlsbench(t, "list", "knobs")
	for _, line := range strings.Split(knobs, "\n") {
		if strings.Contains(line, "rwspin") && !strings.HasPrefix(line, "perworker,table=") && !strings.HasPrefix(line, "shared,table=") && !strings.HasPrefix(line, "spoolrw,table=") {
			t.Errorf("rwspin is offered: %s", line)
		}
	}
	for what, want := range map[string][]string{
		"strategies": {"global", "null", "perworker", "pipe-corrupt"}, "workloads": {"bi", "pingpong", "uni"}, "locks": {"mutex"},
		"knobs": {"perworker,session", "spoolrw,close"},
	} {
		code, out, err := vlsbench(t, "list", what, "--format", "json")
		var rows []row
		if jerr := json.Unmarshal([]byte(out), &rows); code != 0 || jerr != nil {
			t.Fatalf("%s: exit %d, %s, %v", what, code, err, jerr)
		}
		_, table, _ := vlsbench(t, "list", what)
		for _, name := range want {
			if !slices.ContainsFunc(rows, func(r row) bool { return r.Name == name && r.Doc != "" }) || !strings.Contains(table, name+" ") && !strings.Contains(table, name+"=") {
				t.Errorf("%s: no %s in %s or %s", what, name, out, table)
			}
		}
	}
}

// What locks counts is the same each time; its headline is that one thread
// takes none.
func TestLocks(t *testing.T) {
	code, out, err := vlsbench(t, "locks", "--strategies", "perworker,null")
	if code != 0 || !strings.Contains(out, "perworker, one thread: none\n") {
		t.Errorf("exit %d, %s: %s", code, err, out)
	}
	if _, again, _ := vlsbench(t, "locks", "--strategies", "perworker,null"); again != out {
		t.Errorf("not the same twice:\n%s\n%s", out, again)
	}
	code, out, err = vlsbench(t, "locks", "--strategies", "perworker,io=pool,pool=phasefair", "--format", "json")
	var rows []census.Row
	if jerr := json.Unmarshal([]byte(out), &rows); code != 0 || jerr != nil {
		t.Fatalf("exit %d, %s, %v", code, err, jerr)
	}
	i := slices.IndexFunc(rows, func(r census.Row) bool {
		return r.Operation == "read" && r.Mode == census.SeveralThreads && !r.Waits
	})
	if i < 0 || rows[i].Takes.String() != "P.r S SP.r" || rows[i].Strategy != "perworker,io=pool,pool=phasefair" {
		t.Errorf("row %d of %s", i, out)
	}
}

// It counts all that are built, each in every mode, and says what a wait holds.
func TestLocksOfAll(t *testing.T) {
	rows := func(args ...string) (rows []census.Row) {
		t.Helper()
		code, out, err := vlsbench(t, append([]string{"locks", "--format", "json"}, args...)...)
		if jerr := json.Unmarshal([]byte(out), &rows); code != 0 || jerr != nil {
			t.Fatalf("exit %d, %s, %v", code, err, jerr)
		}
		return rows
	}
	built := rows()
	for _, s := range vls.Strategies() {
		if s.Kind != vls.Built {
			continue
		}
		modes, err := census.Modes(s)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range modes {
			for _, operation := range []string{"create", "read", "close"} {
				if !slices.ContainsFunc(built, func(r census.Row) bool {
					return r.Strategy == s.Name && r.Mode == m && r.Operation == operation && !r.Waits
				}) {
					t.Errorf("%s, %s: nothing of %s", s.Name, m, operation)
				}
			}
		}
	}
	for _, r := range rows("--strategies", "spoolrw,spoolrw-orig") {
		if r.Operation != "read" || r.Mode != census.SeveralThreads || !r.Waits {
			continue
		}
		if want := map[string]string{"spoolrw": "none", "spoolrw-orig": "S SP.r"}[r.Strategy]; r.Holds.String() != want {
			t.Errorf("%s holds %s while it waits in read, want %s", r.Strategy, r.Holds, want)
		}
	}
}

func TestCalibrate(t *testing.T) {
	code, out, err := vlsbench(t, "calibrate", "--format", "json")
	var limits []results.Limit
	if jerr := json.Unmarshal([]byte(out), &limits); code != 0 || jerr != nil || len(limits) < 10 {
		t.Errorf("exit %d, %s, %v: %s", code, err, jerr, out)
	}
}

func TestPlan(t *testing.T) {
	plan := func(args ...string) (results.Plan, []string) {
		t.Helper()
		var r *request
		fs := newFlags()
		r = runFlags(fs, &output{})
		if err := fs.Parse(bareLists(args)); err != nil {
			t.Fatal(err)
		}
		p, notes, err := r.plan()
		if err != nil {
			t.Fatal(err)
		}
		return p, notes
	}
	p, notes := plan()
	if len(p.Cells) != 12 || len(p.Strategies) < 3 || slices.Contains(p.Strategies, "pipe-corrupt") || p.Baseline != "global" || len(notes) != 0 || p.Rounds != 80 {
		t.Errorf("quick: %+v, %v", p, notes)
	}
	if q, _ := plan("--strategies", "--rounds", "7"); !slices.Equal(q.Strategies, p.Strategies) || q.Rounds != 7 {
		t.Errorf("--strategies without names: %v", q.Strategies)
	}
	if q, _ := plan("--strategies", "all,pipe-corrupt"); len(q.Strategies) != len(p.Strategies)+1 {
		t.Errorf("all and one more: %v", q.Strategies)
	}
	if q, notes := plan("--strategies", "perworker,null"); q.Baseline != "perworker" || len(notes) != 1 {
		t.Errorf("without the default baseline: %s, %v", q.Baseline, notes)
	}
	q, notes := plan("--threads", "1,2,3,4", "--procs", "1,4", "--workloads", "uni", "--sizes", "64", "--seed", "5")
	var shapes []string
	for _, c := range q.Cells {
		shapes = append(shapes, c.String())
	}
	if len(q.Cells) != 2 || q.Seed != 5 || len(notes) != 2 || !strings.Contains(strings.Join(notes, "\n"), "threads 3") {
		t.Errorf("%v, %v", shapes, notes)
	}
	for _, name := range profileNames {
		if q, _ := plan("--profile", name); len(q.Cells) == 0 || q.Profile != name {
			t.Errorf("%s: %+v", name, q)
		}
	}
}

// A vcl.conf has its effect in the run and is kept with it, but for what has none.
func TestVCLConfig(t *testing.T) {
	t.Chdir(t.TempDir())
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(os.WriteFile("vcl.conf", []byte("vcl {\n  rx-fifo-size 100000 # bytes\n  use-mq-eventfd\n  namespace-secret 1234\n}\n"), 0o666))
	code, _, stderr := vlsbench(t, tiny("--vcl-config", "vcl.conf", "--out", "mine")...)
	if code != exitDone || !strings.Contains(stderr, "note: vcl.conf: line 3: use-mq-eventfd has no effect") {
		t.Fatalf("exit %d, %s", code, stderr)
	}
	set, err := results.Read(filepath.Join("mine", results.FileName))
	check(err)
	if want := "vcl {\nrx-fifo-size 100000\n}\n"; set.Run.Plan.VCL != want {
		t.Errorf("kept is %q, want %q", set.Run.Plan.VCL, want)
	}
}

func TestSuggest(t *testing.T) {
	names := []string{"run", "show", "calibrate"}
	for got, want := range map[string]string{"rnu": "run", "cal": "calibrate", "shwo": "show", "zebra": ""} {
		s := suggest(got, names)
		if (want == "") == strings.Contains(s, "did you mean") || !strings.Contains(s, want) {
			t.Errorf("%s: %s", got, s)
		}
	}
}
