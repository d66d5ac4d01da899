package results

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

var rewrite = flag.Bool("rewrite", false, "write the files under testdata anew")

// example is a small run in which everything is set that can be: two cells, two
// strategies, three rounds, one of them spoiled.
func example() *Set {
	stream := Cell{Workload: "uni", Procs: 1, Threads: 2, Sessions: 1, Size: 64, Wait: "spin"}
	trips := Cell{Workload: "pingpong", Procs: 2, Threads: 2, Sessions: 8, Size: 4096, Wait: "adaptive"}
	s := &Set{
		Run: &Run{
			ID:      "20260102-030405-quick",
			Started: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
			Command: []string{"vlsbench", "run", "--strategies", "global,perworker"},
			Plan: Plan{Profile: "quick", Seed: 1<<64 - 1, Strategies: []string{"global", "perworker"}, Baseline: "global",
				Cells: []Cell{stream, trips}, Units: map[string]string{"uni": "messages", "pingpong": "round trips"},
				Rounds: 3, Slot: 20 * time.Millisecond, Warmup: 2 * time.Millisecond, Pin: "core", CPUs: []int{0, 1},
				MinOverlap: 0.9, MaxStall: 0.1},
			Machine: Machine{CPU: "A <fast> CPU & more", Arch: "amd64", Kernel: "6.1.0", CPUs: 2, Allowed: []int{0, 1}, Cores: 2, Nodes: 1,
				Governor: "none", Hypervisor: true, Load: 0.25, MemTotal: 4 << 30, CycleHz: 2.5e9, Membarrier: true, Notes: []string{"a note"}},
			Build:    Build{Version: "abc+dirty", Go: "go1.26", GOMAXPROCS: 4, GOGC: "100"},
			Limits:   []Limit{{"cas", "an uncontended CAS", 4.5, "ns"}},
			Warnings: []Warning{{"no governor", "nothing, in a guest"}},
		},
		End: &End{Ended: time.Date(2026, 1, 2, 3, 5, 0, 0, time.UTC), Slots: 12, Rounds: 3},
	}
	for round := range 3 {
		for i, strategy := range []string{"global", "perworker"} {
			order := (round + i) % 2
			s.Slots = append(s.Slots, Slot{Round: round, Order: order, Strategy: strategy, Cell: stream,
				Seconds: 0.018, Ops: uint64(180000 * (i + 1)), Bytes: uint64(64 * 180000 * (i + 1)), PerOps: []uint64{0, 180000},
				CPUs: []int{0, 1}, Overlap: 0.995, Stall: []float64{0.01, 0.004}})
			h := hdrhistogram.New(1, 1e9, 3)
			for v := range int64(1000) {
				h.RecordValue(200 + v*v/int64(i+1))
			}
			slot := Slot{Round: round, Order: order, Strategy: strategy, Cell: trips,
				Seconds: 0.018, Ops: uint64(9000 * (i + 1)), Bytes: uint64(8192 * 9000 * (i + 1)),
				CPUs: []int{0, 1}, Overlap: 1, Stall: []float64{0, 0.002}, Latency: NewLatency(h)}
			if round == 1 && i == 1 {
				slot.Stall[1] = 0.3
				slot.Bad = `thread 1 lost 30%, "stolen"`
			}
			s.Slots = append(s.Slots, slot)
		}
	}
	return s
}

func lines(t testing.TB, s *Set) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := WriteJSONL(&b, s); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestRoundTrip(t *testing.T) {
	want := example()
	path := filepath.Join(t.TempDir(), "a", "b", FileName)
	w, err := Create(path)
	if err != nil {
		t.Fatal(err)
	}
	records := []Record{{Run: want.Run}}
	for i := range want.Slots {
		records = append(records, Record{Slot: &want.Slots[i]})
	}
	for i, r := range append(records, Record{End: want.End}) {
		if err := w.Append(r); err != nil {
			t.Fatal(err)
		}
		// What was appended is in the file at once.
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if n := bytes.Count(data, []byte("\n")); n != i+1 || data[len(data)-1] != '\n' {
			t.Fatalf("after %d records the file has %d lines", i+1, n)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("read back\n%+v\nwritten\n%+v", got, want)
	}
	data, _ := os.ReadFile(path)
	if !bytes.Equal(data, lines(t, got)) {
		t.Error("WriteJSONL does not give the file that was read")
	}
}

func TestCreateRefuses(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, FileName)
	if err := os.WriteFile(path, []byte("dear\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{path, filepath.Join(path, "under-a-file", FileName), dir} {
		if _, err := Create(p); err == nil || !strings.Contains(err.Error(), p) {
			t.Errorf("Create(%s) = %v, want an error that names it", p, err)
		}
	}
	if data, _ := os.ReadFile(path); string(data) != "dear\n" {
		t.Errorf("the file that was there now holds %q", data)
	}
}

func TestAppendRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), FileName)
	w, err := Create(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []Record{{}, {Kind: "slot"}, {Run: new(Run), End: new(End)}, {Slot: &Slot{Overlap: math.NaN()}}} {
		if err := w.Append(r); err == nil {
			t.Errorf("%+v was written", r)
		}
	}
	if err := w.Append(Record{Run: example().Run}); err != nil {
		t.Errorf("after records that were refused: %v", err)
	}
	w.f.Close()
	first := w.Append(Record{End: new(End)})
	if first == nil {
		t.Error("a write to a closed file succeeded")
	}
	if again := w.Append(Record{End: new(End)}); again != first {
		t.Errorf("after a failed write: %v, want %v again", again, first)
	}
	if err := w.Close(); err != first {
		t.Errorf("Close gave %v, want %v", err, first)
	}
	if s, err := Read(path); err != nil || len(s.Slots) != 0 {
		t.Errorf("the file reads as %+v, %v", s, err)
	}
}

// Wherever a file is cut off, all whole lines are there.
func TestTruncation(t *testing.T) {
	s := example()
	s.Slots = s.Slots[:4]
	data := lines(t, s)
	first := bytes.IndexByte(data, '\n')
	for cut := range len(data) + 1 {
		got, err := ReadFrom(bytes.NewReader(data[:cut]))
		if cut < first {
			if err == nil || !strings.Contains(err.Error(), "run record") {
				t.Fatalf("cut at %d, in the run record: %v", cut, err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		// A line without its newline is whole, too.
		whole := bytes.Count(data[:cut], []byte("\n"))
		partial := cut > 0 && data[cut-1] != '\n'
		if partial && cut < len(data) && data[cut] == '\n' {
			whole, partial = whole+1, false
		}
		slots := min(whole-1, len(s.Slots))
		if len(got.Slots) != slots || (slots > 0 && !reflect.DeepEqual(got.Slots, s.Slots[:slots])) || (got.End != nil) != (whole == len(s.Slots)+2) {
			t.Fatalf("cut at %d: %d slots and end %v, of %d whole lines", cut, len(got.Slots), got.End, whole)
		}
		switch {
		case partial:
			if len(got.Problems) != 1 || got.Problems[0].Line != whole+1 || !strings.Contains(got.Problems[0].What, "cut off") {
				t.Fatalf("cut at %d in line %d: problems %v", cut, whole+1, got.Problems)
			}
		case got.End == nil:
			if len(got.Problems) != 1 || got.Problems[0].Line != whole || !strings.Contains(got.Problems[0].What, "no end record") {
				t.Fatalf("cut at %d after line %d: problems %v", cut, whole, got.Problems)
			}
		case len(got.Problems) != 0:
			t.Fatalf("a whole file has problems: %v", got.Problems)
		}
	}
}

func TestBadFiles(t *testing.T) {
	good := strings.SplitAfter(strings.TrimSuffix(string(lines(t, example())), "\n"), "\n")
	run, slot := good[0], good[1]
	for _, c := range []struct{ name, data, want string }{
		{"empty", "", ":1: no run record"},
		{"blank lines", "\n\n", ":2: no run record"},
		{"not one at all", "workload,rate\n", ":1: not a record"},
		{"an array", "[1]\n", ":1: not a record"},
		{"no schema", `{"kind":"run","run":{}}` + "\n", ":1: not a record: no valid schema"},
		{"slot first", slot + run, `:1: a record of kind "slot" before the run record`},
		{"two runs", run + slot + run, ":3: a second run record"},
		{"garbage in the middle", run + slot[:40] + "\n" + slot, ":2: not a record"},
		{"zeros in the middle", run + strings.Repeat("\x00", 80) + "\n" + slot, ":2: not a record"},
		{"wrong type", run + `{"schema":1,"kind":"slot","slot":{"ops":-1}}` + "\n", ":2: not a record"},
		{"wrong type at the end", run + `{"schema":1,"kind":"slot","slot":{"ops":-1}}`, ":2: not a record"},
		{"newer", run + `{"schema":2,"kind":"slot","slot":{"ops":"many"}}` + "\n", ":2: written with schema 2, and this version reads up to 1"},
		{"unknown kind", run + `{"schema":1,"kind":"note"}` + "\n", `:2: a record of unknown kind "note"; there are: run, slot, end`},
		{"kind without content", run + `{"schema":1,"kind":"slot"}` + "\n", `:2: a record of kind "slot"`},
		{"kind with other content", run + `{"schema":1,"kind":"end","slot":{}}` + "\n", `:2: a record of kind "end"`},
	} {
		path := filepath.Join(t.TempDir(), FileName)
		if err := os.WriteFile(path, []byte(c.data), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(path); err == nil || !strings.Contains(err.Error(), path+c.want) {
			t.Errorf("%s: error %v, want one with PATH%s", c.name, err, c.want)
		}
	}
	if _, err := Read(filepath.Join(t.TempDir(), "absent")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	broken := io.MultiReader(strings.NewReader(run), iotest.ErrReader(errors.New("disk on fire")))
	if _, err := ReadFrom(broken); err == nil || !strings.Contains(err.Error(), "line 2: disk on fire") {
		t.Errorf("a failing reader: %v", err)
	}
}

func TestReadTolerates(t *testing.T) {
	run := string(lines(t, &Set{Run: example().Run}))
	long := strings.Repeat("x", 1<<20)
	for _, c := range []struct {
		name, data string
		slots      int
		problem    string
	}{
		{"fields of later versions", run + `{"schema":1,"kind":"slot","slot":{"ops":7,"mood":"good"},"more":[1]}` + "\n", 1, "no end record"},
		{"blank lines", "\n" + run + "\n" + `{"schema":1,"kind":"slot","slot":{}}` + "\n\n", 1, "no end record"},
		{"long lines", run + `{"schema":1,"kind":"slot","slot":{"latency":{"hdr":"` + long + `"}}}` + "\n", 1, "no end record"},
		{"zeros at the end", run + `{"schema":1,"kind":"slot","slot":{}}` + "\n" + strings.Repeat("\x00", 100), 1, "cut off"},
		{"slots after an end", run + `{"schema":1,"kind":"end","end":{}}` + "\n" + `{"schema":1,"kind":"slot","slot":{}}` + "\n", 1, "no end record"},
		{"a run that went on", run + `{"schema":1,"kind":"end","end":{}}` + "\n" + `{"schema":1,"kind":"slot","slot":{}}` + "\n" + `{"schema":1,"kind":"end","end":{}}` + "\n", 1, ""},
	} {
		s, err := ReadFrom(strings.NewReader(c.data))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if len(s.Slots) != c.slots || !strings.Contains(fmt.Sprint(s.Problems), c.problem) || (c.problem == "" && len(s.Problems) > 0) {
			t.Errorf("%s: %d slots, problems %v; want %d, %q", c.name, len(s.Slots), s.Problems, c.slots, c.problem)
		}
	}
}

func FuzzReadFrom(f *testing.F) {
	data := lines(f, example())
	f.Add(data)
	f.Add(data[:len(data)/2])
	f.Add([]byte(`{"schema":1,"kind":"run","run":{}}` + "\n" + `{"schema":1,"kind":"slot","slot":{"seconds":0}}`))
	f.Add([]byte(`{"schema":99999999999999999999}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := ReadFrom(bytes.NewReader(data))
		if err != nil {
			return
		}
		// What could be read can be written in every format, and read again.
		again, err := ReadFrom(bytes.NewReader(lines(t, s)))
		if err != nil {
			t.Fatalf("written and not read again: %v", err)
		}
		if len(again.Slots) != len(s.Slots) || (again.End == nil) != (s.End == nil) {
			t.Fatalf("%d slots became %d", len(s.Slots), len(again.Slots))
		}
		if err := errors.Join(WriteCSV(io.Discard, s), WriteBench(io.Discard, s)); err != nil {
			t.Fatal(err)
		}
	})
}

func TestFind(t *testing.T) {
	t.Chdir(t.TempDir())
	make := func(dir string, age time.Duration) string {
		path := filepath.Join(dir, FileName)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		when := time.Now().Add(-age)
		if err := os.Chtimes(path, when, when); err != nil {
			t.Fatal(err)
		}
		return path
	}
	if _, err := Find("latest"); err == nil || !strings.Contains(err.Error(), "none under "+RunsDir) {
		t.Errorf("latest of none: %v", err)
	}
	if _, err := Find("first"); err == nil || !strings.Contains(err.Error(), "there: none") {
		t.Errorf("one of none: %v", err)
	}
	elsewhere := make("elsewhere", 0)
	old := make(filepath.Join(RunsDir, "b-old"), 2*time.Hour)
	latest := make(filepath.Join(RunsDir, "a-new"), time.Hour)
	if err := os.MkdirAll("empty", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(RunsDir, "c-unfinished"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ arg, want, err string }{
		{"elsewhere", elsewhere, ""},
		{"./elsewhere/", elsewhere, ""},
		{elsewhere, elsewhere, ""},
		{"b-old", old, ""},
		{filepath.Join(RunsDir, "b-old"), old, ""},
		{"latest", latest, ""},
		{"", "", "no run named"},
		{"empty", "", "empty is a directory without " + FileName},
		{"c-unfinished", "", "c-unfinished is a directory without " + FileName},
		{"nowhere", "", `no run "nowhere": a results file, a run's directory, latest, or the ID of a run under ` + RunsDir + ` (there: a-new, b-old)`},
		{"../b-old", "", `no run "../b-old"`},
	} {
		got, err := Find(c.arg)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("Find(%q): error %v, want %q", c.arg, err, c.err)
			}
		} else if err != nil || filepath.Clean(got) != c.want {
			t.Errorf("Find(%q) = %q, %v, want %q", c.arg, got, err, c.want)
		}
	}
}

func TestExports(t *testing.T) {
	for name, write := range map[string]func(io.Writer, *Set) error{
		"example.jsonl": WriteJSONL, "example.csv": WriteCSV, "example.bench": WriteBench,
	} {
		var got bytes.Buffer
		if err := write(&got, example()); err != nil {
			t.Fatal(err)
		}
		// How well the histograms are compressed is not ours to hold, so the
		// first is compared in TestReadsOldFile.
		if name != "example.jsonl" || *rewrite {
			golden(t, name, got.Bytes())
		}
		if err := write(failing{}, example()); err == nil {
			t.Errorf("%s: no error from a writer that fails", name)
		}
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("no space") }

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *rewrite {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s has changed (-rewrite accepts it):\n%s", path, got)
	}
}

// The reference file was written by schema 1 and stays readable.
func TestReadsOldFile(t *testing.T) {
	s, err := Read(filepath.Join("testdata", "example.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	want := example()
	for i, slot := range s.Slots {
		if slot.Latency == nil {
			continue
		}
		old, err := slot.Latency.Histogram()
		if err != nil {
			t.Fatal(err)
		}
		now, err := want.Slots[i].Latency.Histogram()
		if err != nil {
			t.Fatal(err)
		}
		if !old.Equals(now) {
			t.Errorf("slot %d has another histogram", i)
		}
		slot.Latency.HDR, want.Slots[i].Latency.HDR = "", ""
	}
	if !reflect.DeepEqual(s, want) {
		t.Errorf("read\n%+v\nwant\n%+v", s, want)
	}
}

func TestCSVIsRectangular(t *testing.T) {
	var b bytes.Buffer
	if err := WriteCSV(&b, example()); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(&b).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if want := len(example().Slots) + 1; len(rows) != want {
		t.Errorf("%d rows, want %d", len(rows), want)
	}
	column := func(name string) int {
		for i, n := range rows[0] {
			if n == name {
				return i
			}
		}
		t.Fatalf("no column %q", name)
		return 0
	}
	invalid := 0
	for _, row := range rows[1:] {
		if row[column("valid")] == "false" {
			invalid++
		}
	}
	// One bad slot takes the other strategy of its round with it.
	if invalid != 2 {
		t.Errorf("%d rows are of spoiled rounds, want 2", invalid)
	}
}

// The benchmark lines parse by the format's own rules: a name, a count, then
// pairs of a number and a unit.
func TestBenchLines(t *testing.T) {
	var b bytes.Buffer
	if err := WriteBench(&b, example()); err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(b.String()) {
		if !strings.HasPrefix(line, "Benchmark") {
			continue
		}
		n++
		fields := strings.Fields(line)
		var count uint64
		if _, err := fmt.Sscan(fields[1], &count); err != nil || len(fields)%2 != 0 {
			t.Errorf("malformed: %s", line)
			continue
		}
		for i := 2; i < len(fields); i += 2 {
			var v float64
			if _, err := fmt.Sscan(fields[i], &v); err != nil || v <= 0 {
				t.Errorf("%q is no number above 0 in: %s", fields[i], line)
			}
		}
		if want := "/workload="; !strings.Contains(fields[0], want) {
			t.Errorf("no %s in %s", want, fields[0])
		}
	}
	if n != 10 {
		t.Errorf("%d lines, want 10: 12 slots less a round of 2", n)
	}
}

func TestUnit(t *testing.T) {
	r := &Run{Plan: Plan{Units: map[string]string{"uni": "messages", "pingpong": "round trips", "churn": "new connections"}}}
	for workload, want := range map[string]string{"uni": "msgs/s", "pingpong": "trips/s", "churn": "new-connections/s", "other": "ops/s"} {
		if got := r.Unit(workload); got != want {
			t.Errorf("%s is counted in %s, want %s", workload, got, want)
		}
	}
}

func TestLatency(t *testing.T) {
	h := hdrhistogram.New(1, 1e9, 3)
	for v := int64(1); v <= 100000; v++ {
		h.RecordValue(v)
	}
	l := NewLatency(h)
	for _, c := range []struct{ got, want int64 }{
		{int64(l.Count), 100000}, {l.P50, 50000}, {l.P90, 90000}, {l.P99, 99000}, {l.P999, 99900}, {l.Max, 100000},
	} {
		if math.Abs(float64(c.got-c.want)) > 0.001*float64(c.want) {
			t.Errorf("%+v: %d, want about %d", *l, c.got, c.want)
		}
	}
	data, err := json.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	var back Latency
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	if got, err := back.Histogram(); err != nil || !got.Equals(h) {
		t.Errorf("unpacked histogram differs, error %v", err)
	}
	if NewLatency(nil) != nil || NewLatency(hdrhistogram.New(1, 10, 1)) != nil {
		t.Error("a latency of nothing")
	}
	for _, bad := range []*Latency{nil, {}, {HDR: "!"}, {HDR: "AAAA"}, {HDR: back.HDR[:len(back.HDR)/2]}} {
		if h, err := bad.Histogram(); err == nil {
			t.Errorf("%+v gave %v", bad, h)
		}
	}
}

func TestMergeLatency(t *testing.T) {
	coarse, fine := hdrhistogram.New(10, 1e6, 2), hdrhistogram.New(1, 1e9, 3)
	coarse.RecordValues(1000, 10)
	fine.RecordValues(5e8, 5)
	fine.RecordValue(3)
	for _, order := range [][]*Latency{{NewLatency(coarse), nil, NewLatency(fine)}, {NewLatency(fine), NewLatency(coarse)}} {
		sum, err := MergeLatency(order...)
		if err != nil {
			t.Fatal(err)
		}
		if sum.TotalCount() != 16 || sum.Min() != 3 || math.Abs(float64(sum.Max())-5e8) > 5e5 || sum.SignificantFigures() != 3 {
			t.Errorf("count %d, min %d, max %d, digits %d", sum.TotalCount(), sum.Min(), sum.Max(), sum.SignificantFigures())
		}
	}
	if sum, err := MergeLatency(nil, nil); sum != nil || err != nil {
		t.Errorf("the sum of nothing is %v, %v", sum, err)
	}
	if _, err := MergeLatency(NewLatency(fine), &Latency{HDR: "?"}); err == nil {
		t.Error("no error from a histogram that cannot be read")
	}
}
