package original_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"vlsbench/audit"
	"vlsbench/internal/census"
	_ "vlsbench/strategies/original"
	"vlsbench/vls"
	"vlsbench/vls/vlstest"
)

var (
	all     = flag.Bool("all", false, "put the originals through the whole suite, not a part of it: minutes")
	rewrite = flag.Bool("rewrite", false, "write the table of docs/strategies.md anew; with -all")
	rounds  = flag.Int("rounds", 1, "runs of each case")
)

const (
	file   = "../../docs/strategies.md"
	begin  = "<!-- outcomes of the originals -->\n"
	end    = "<!-- end -->"
	inside = "VLS_ORIGINAL" // strategy/case, in the environment of a run of one case
)

var originals = []string{"shared-orig", "perworker-orig", "spoolrw-orig"}

// Outcomes of a case. One that the watchdog ended hangs.
const (
	passes = "passes"
	fails  = "fails"
	hangs  = "hangs"
)

// TestMain runs one case, where the environment names it: a case may end the
// process, or leave threads behind that spin.
func TestMain(m *testing.M) {
	if one := os.Getenv(inside); one != "" {
		vlstest.Limit = 10 * time.Second
		flag.Set("test.run", "^TestOne$")
	}
	os.Exit(m.Run())
}

func TestOne(t *testing.T) {
	strategy, name, ok := strings.Cut(os.Getenv(inside), "/")
	if !ok {
		t.Skip("for a process that runs one case")
	}
	s, err := vls.Lookup(strategy)
	if err != nil {
		t.Fatal(err)
	}
	vlstest.RunCases(t, s, vls.Park, name)
}

// outcome runs a case in a process of its own.
func outcome(t *testing.T, strategy, name string) string {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.v")
	cmd.Env = append(os.Environ(), inside+"="+strategy+"/"+name)
	out, err := cmd.CombinedOutput()
	switch {
	case ctx.Err() != nil || bytes.Contains(out, []byte(name+" hangs: ")):
		return hangs
	case err != nil:
		return fails
	case !bytes.Contains(out, []byte("--- PASS: TestOne")):
		t.Errorf("%s %s did not run:\n%s", strategy, name, out)
	}
	return passes
}

// part is what runs without -all: some that go well, and some that do not.
var part = []string{
	"read-partial", "processes-streams", "threads-share-session", "fork-shares-stream", "fork-sets",
	"close-wakes-reader", "close-wakes-acceptor", "shutdown-wakes-peer", "epoll-wait-two-threads", "fork-poll",
}

// TestOutcomes puts the originals through the suite, a process for each case,
// and compares with the table in the documentation what passes, fails and
// hangs. What depends on who is faster has several outcomes there, of which one
// has to come.
func TestOutcomes(t *testing.T) {
	if testing.Short() {
		t.Skip("what hangs has to be waited for")
	}
	names, docs := vlstest.Cases()
	if audit.Enabled {
		t.Skip("the auditor stops what would go well by luck")
	}
	said := table(t)
	for _, n := range part {
		if !slices.Contains(names, n) {
			t.Errorf("the suite has no case %s", n)
		}
	}
	run := names
	if !*all {
		run = slices.DeleteFunc(slices.Clone(names), func(n string) bool { return !slices.Contains(part, n) })
	}
	type key struct{ strategy, name string }
	got := make(map[key][]string)
	var mu sync.Mutex
	var wg sync.WaitGroup
	slots := make(chan struct{}, 12) // most of them sleep
	for range *rounds {
		for _, name := range run {
			for _, s := range originals {
				slots <- struct{}{}
				wg.Go(func() {
					o := outcome(t, s, name)
					<-slots
					mu.Lock()
					defer mu.Unlock()
					if k := (key{s, name}); !slices.Contains(got[k], o) {
						got[k] = append(got[k], o)
						slices.Sort(got[k])
					}
				})
			}
		}
	}
	wg.Wait()
	var b strings.Builder
	fmt.Fprintf(&b, "| case | %s | proves that |\n| --- | --- | --- | --- | --- |\n", strings.Join(originals, " | "))
	clean := make([]int, len(originals))
	for i, name := range names {
		row, well := []string{name}, true
		for j, s := range originals {
			o := got[key{s, name}]
			if old := said[name]; old != nil {
				for _, one := range o {
					if !slices.Contains(strings.Split(old[j], " or "), one) && !*rewrite {
						t.Errorf("%s %s %s; the documentation says that it %s", s, name, one, old[j])
					}
				}
				if *rewrite {
					// What was seen once can come again.
					for _, one := range strings.Split(old[j], " or ") {
						if !slices.Contains(o, one) {
							o = append(o, one)
						}
					}
					slices.Sort(o)
				}
			} else if slices.ContainsFunc(o, func(o string) bool { return o != passes }) && !*rewrite {
				t.Errorf("%s %s %s; the documentation says that it passes", s, name, o)
			}
			row = append(row, strings.Join(o, " or "))
			if len(o) == 1 && o[0] == passes {
				clean[j]++
			} else {
				well = false
			}
		}
		if !well {
			fmt.Fprintf(&b, "| %s | %s |\n", strings.Join(row, " | "), docs[i])
		}
	}
	fmt.Fprintf(&b, "| pass, of %d | %d | %d | %d | |\n", len(names), clean[0], clean[1], clean[2])
	if *rewrite && *all {
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
}

// The circle that the originals have: who closes has P and wants S, and who has S
// wants P, to let it go.
func TestCircle(t *testing.T) {
	if !audit.Enabled {
		t.Skip("the order of locks is noted in audit builds")
	}
	for _, name := range originals {
		s, err := vls.Lookup(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := census.Count(s); err != nil {
			t.Fatal(err)
		}
		circle := audit.Cycle(name)
		if !strings.Contains(circle, "S → P") {
			t.Errorf("%s: %q: no circle of S and P", name, circle)
		}
		t.Log(strings.SplitN(circle, "\n", 2)[0])
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
