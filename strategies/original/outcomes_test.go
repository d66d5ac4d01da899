package original_test

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"vlsbench/audit"
	"vlsbench/hw"
	"vlsbench/vls"
	"vlsbench/vls/vlstest"
)

var (
	soak    = flag.Bool("soak", false, "put the originals through the whole suite, not a part of it")
	rewrite = flag.Bool("rewrite", false, "write the table of docs/strategies.md anew; with -soak")
	rounds  = flag.Int("rounds", 1, "runs of each case")
)

const (
	file   = "../../docs/strategies.md"
	begin  = "<!-- outcomes of the originals -->\n"
	end    = "<!-- end -->"
	inside = "VLS_ORIGINAL" // strategy/case,case,…, in the environment of a process that runs them
)

// Outcomes of a case.
const (
	passes = "passes"
	fails  = "fails"
	hangs  = "hangs"
)

// TestMain runs cases, where the environment names them: one may end the
// process, or leave threads behind.
func TestMain(m *testing.M) {
	if os.Getenv(inside) != "" {
		flag.Set("test.run", "^TestCases$")
	}
	os.Exit(m.Run())
}

// TestCases says on its output what becomes of the cases that the environment
// names, and ends the process after the first that does not pass.
func TestCases(t *testing.T) {
	strategy, names, ok := strings.Cut(os.Getenv(inside), "/")
	if !ok {
		t.Skip("for a process that runs cases")
	}
	s, err := vls.Lookup(strategy)
	if err != nil {
		t.Fatal(err)
	}
	vlstest.Limit = time.Hour // the watch is for that
	// Once a process, the kernel may think about it for a second.
	hw.MembarrierAvailable()
	for _, name := range strings.Split(names, ",") {
		fmt.Printf("\n%s begins\n", name)
		w := newWatch(s)
		done := make(chan struct{})
		go func() {
			defer close(done)
			t.Run(name, func(t *testing.T) { vlstest.RunCases(t, w.strategy(s), vls.Park, name) })
		}()
		outcome := hangs
		switch {
		case !w.over(done):
		case t.Failed():
			outcome = fails
		default:
			outcome = passes
		}
		fmt.Printf("\n%s %s\n", name, outcome)
		if outcome != passes {
			buf := make([]byte, 1<<20)
			os.Stderr.Write(buf[:runtime.Stack(buf, true)])
			os.Exit(0)
		}
	}
}

// outcomes runs cases of a strategy in order, in as many processes as it takes,
// and tells what becomes of each, with the stacks of one that does not pass.
func outcomes(t *testing.T, strategy string, names []string, tell func(name, outcome, stacks string)) {
	for len(names) > 0 {
		// The limit is for a process that cannot even watch itself.
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		cmd := exec.CommandContext(ctx, os.Args[0], "-test.timeout", "1h")
		cmd.Env = append(os.Environ(), inside+"="+strategy+"/"+strings.Join(names, ","))
		var stacks bytes.Buffer
		cmd.Stderr = &stacks
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			cancel()
			t.Error(err)
			return
		}
		var last, what string
		for lines := bufio.NewScanner(out); lines.Scan(); {
			name, word, _ := strings.Cut(lines.Text(), " ")
			if len(names) == 0 || name != names[0] {
				continue
			}
			if last, what = name, word; what == passes {
				tell(name, passes, "")
				names = names[1:]
			}
		}
		err = cmd.Wait()
		switch {
		case what == hangs, what == "begins" && ctx.Err() != nil:
			tell(last, hangs, stacks.String())
			names = names[1:]
		case what == fails, what == "begins": // and has ended the process
			tell(last, fails, stacks.String())
			names = names[1:]
		case what != passes || len(names) > 0:
			t.Errorf("%s: a process for the cases from %s on ends: %v\n%s", strategy, names[0], err, stacks.String())
			names = nil
		}
		cancel()
	}
}

// part is what runs without -soak: some that go well, and some that do not, of
// which each comes out one way, whoever is faster.
var part = []string{
	"read-partial", "processes-streams", "epoll-level", "fork-shares-stream", "fork-sets",
	"close-wakes-reader", "close-wakes-acceptor", "shutdown-wakes-peer", "epoll-wait-two-threads", "fork-poll",
}

// TestOutcomes puts the originals through the suite, and compares with the table
// in the documentation what passes, fails and hangs. What depends on who is
// faster has several outcomes there, of which any may come; where there is one,
// it must come again.
func TestOutcomes(t *testing.T) {
	switch {
	case audit.Enabled:
		t.Skip("the auditor stops what would go well by luck")
	case underRace:
		t.Skip("the race detector stops what would go well by luck")
	case *rewrite && !*soak:
		t.Fatal("-rewrite is for all cases: with -soak")
	}
	names, docs := vlstest.Cases()
	run := names
	if !*soak {
		run = part
		for _, n := range part {
			if !slices.Contains(names, n) {
				t.Errorf("the suite has no case %s", n)
			}
		}
	}
	said := table(t)
	type key struct{ strategy, name string }
	got := make(map[key][]string)
	why := make(map[string]string) // stacks of the last that ended so
	for j, s := range originals {
		for _, n := range names {
			switch old := said[n]; {
			case *rewrite && old != nil: // what was seen once can come again
				got[key{s, n}] = strings.Split(old[j], " or ")
			}
		}
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	slots := make(chan struct{}, 12) // most of them sleep
	for range *rounds {
		for _, s := range originals {
			for some := range slices.Chunk(run, 10) {
				slots <- struct{}{}
				wg.Go(func() {
					outcomes(t, s, some, func(name, o, stacks string) {
						mu.Lock()
						defer mu.Unlock()
						if k := (key{s, name}); !slices.Contains(got[k], o) {
							got[k] = append(got[k], o)
							slices.Sort(got[k])
						}
						why[s+" "+name+" "+o] = stacks
					})
					<-slots
				})
			}
		}
	}
	wg.Wait()
	if *rewrite {
		write(t, names, docs, func(strategy, name string) []string { return got[key{strategy, name}] })
		return
	}
	for j, s := range originals {
		for _, n := range run {
			may := passes
			if old := said[n]; old != nil {
				may = old[j]
			}
			if strings.Contains(may, " or ") {
				continue
			}
			for _, o := range got[key{s, n}] {
				if o == may {
					continue
				}
				if comes(t, s, n, may) {
					t.Logf("%s: %s %s, and %s: it depends on who is faster, which -rewrite notes", s, n, o, may)
				} else {
					t.Errorf("%s: %s %s; the documentation says that it %s\n%s", s, n, o, may, why[s+" "+n+" "+o])
				}
			}
		}
	}
}

// comes reports whether a case has an outcome, if it is given some more tries.
func comes(t *testing.T, strategy, name, outcome string) (seen bool) {
	for range 5 {
		outcomes(t, strategy, []string{name}, func(_, o, _ string) { seen = seen || o == outcome })
		if seen {
			break
		}
	}
	return seen
}

// write writes the table of the documentation.
func write(t *testing.T, names, docs []string, got func(strategy, name string) []string) {
	var b strings.Builder
	row := func(cells ...string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }
	row(slices.Concat([]string{"case"}, originals, []string{"proves that"})...)
	row(slices.Repeat([]string{"---"}, len(originals)+2)...)
	clean := make([]int, len(originals))
	for i, name := range names {
		cells, well := []string{name}, true
		for j, s := range originals {
			o := got(s, name)
			cells = append(cells, strings.Join(o, " or "))
			if slices.Equal(o, []string{passes}) {
				clean[j]++
			} else {
				well = false
			}
		}
		if !well {
			row(append(cells, docs[i])...)
		}
	}
	cells := []string{fmt.Sprintf("pass, of %d", len(names))}
	for _, n := range clean {
		cells = append(cells, fmt.Sprint(n))
	}
	row(append(cells, "")...)
	doc, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	re := regexp.MustCompile(`(?s)` + begin + `.*?` + end)
	doc = re.ReplaceAllLiteral(doc, []byte(begin+b.String()+end))
	if err := os.WriteFile(file, doc, 0o666); err != nil {
		t.Fatal(err)
	}
}

// table is what the documentation says of each case that does not pass
// everywhere.
func table(t *testing.T) map[string][]string {
	t.Helper()
	doc, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(doc), begin)
	rest, _, ok := strings.Cut(rest, end)
	if !ok {
		t.Fatalf("%s has no table of the outcomes", file)
	}
	said := make(map[string][]string)
	for _, line := range strings.Split(rest, "\n") {
		cells := strings.Split(strings.Trim(line, "| "), " | ")
		if len(cells) == 2+len(originals) && !strings.HasPrefix(cells[0], "---") && cells[0] != "case" {
			said[cells[0]] = cells[1:]
		}
	}
	return said
}
