package original_test

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
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
	end    = "<!-- end -->"
	inside = "VLS_ORIGINAL" // strategy/case,case,…, in the environment of a process that runs them
)

// Outcomes of a case.
const (
	passes = "passes"
	fails  = "fails"
	hangs  = "hangs"

	void = "void" // the machine stood still, so this is made again
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
	said := tableOf(strategy).read(t)
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
		listed := said.of(strategy, name)
		ended := w.over(done)
		if !ended && !slices.Contains(listed, hangs) {
			w.patience, w.most = 10*w.patience, 10*w.most
			ended = w.over(done)
		}
		outcome := hangs
		switch {
		case !ended:
		case t.Failed():
			outcome = fails
		default:
			outcome = passes
		}
		if w.away > still && !slices.Contains(listed, outcome) {
			outcome = void
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
	for voids := 0; len(names) > 0; {
		// The limit is for a process that cannot even watch itself.
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
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
				names, voids = names[1:], 0
			}
		}
		err = cmd.Wait()
		switch {
		case what == void && voids < 5:
			voids++
		case what == void:
			t.Errorf("%s: %s does not come out as %s lists, but each time the machine stood still for more than %v meanwhile, so nothing is known", strategy, last, file, still)
			names, voids = names[1:], 0
		case what == hangs, what == "begins" && ctx.Err() != nil:
			tell(last, hangs, stacks.String())
			names, voids = names[1:], 0
		case what == fails, what == "begins": // and has ended the process
			tell(last, fails, stacks.String())
			names, voids = names[1:], 0
		case what != passes || len(names) > 0:
			t.Errorf("%s: a process for the cases from %s on ends: %v\n%s", strategy, names[0], err, stacks.String())
			names = nil
		}
		cancel()
	}
}

// outcomeTable is one of the documentation's tables of what becomes of strategies
// in the suite.
type outcomeTable struct {
	name       string // as the documentation marks it
	strategies []string
	// part is what runs without -soak: some that go well, and some that do not, of
	// which each comes out one way, whoever is faster.
	part  []string
	chunk int // cases to a process, as long as they pass
	slots int // processes at once: most of them sleep
}

var outcomeTables = []outcomeTable{
	{
		name: "the originals", strategies: originals, chunk: 10, slots: 12,
		part: []string{
			"read-partial", "processes-streams", "epoll-level", "fork-shares-stream", "fork-sets",
			"close-wakes-reader", "close-wakes-acceptor", "shutdown-wakes-peer", "epoll-wait-two-threads", "fork-poll",
		},
	},
	{
		name: migrate, strategies: []string{migrate}, chunk: 5, slots: 6,
		part: []string{
			"read-partial", "processes-streams", "epoll-level", "threads-share-session", "read-many-readers",
			"poll-two-threads", "fork-shares-stream", "fork-sets", "fork-unconnected",
		},
	},
}

// tableOf is the table that a strategy is in.
func tableOf(strategy string) outcomeTable {
	i := slices.IndexFunc(outcomeTables, func(o outcomeTable) bool { return slices.Contains(o.strategies, strategy) })
	return outcomeTables[i]
}

// seen is the outcomes of cases, in their order.
type seen map[[2]string][]string // by strategy and case

// of is what a table that has these lists: what it does not name passes.
func (s seen) of(strategy, name string) []string {
	if o := s[[2]string{strategy, name}]; o != nil {
		return o
	}
	return []string{passes}
}

func (s seen) add(strategy, name, outcome string) {
	k := [2]string{strategy, name}
	if !slices.Contains(s[k], outcome) {
		s[k] = append(s[k], outcome)
		slices.Sort(s[k])
	}
}

// TestOutcomes puts the originals through the suite. Each outcome must be one that
// the table of the documentation lists for its case. What depends on who is faster
// has several there, of which any may come. It is not tried again until it comes
// out right; see the documentation for what a busy machine is allowed.
func TestOutcomes(t *testing.T) {
	switch {
	case audit.Enabled:
		t.Skip("the auditor stops what would go well by luck")
	case underRace:
		t.Skip("the race detector stops what would go well by luck")
	case *rewrite && !*soak:
		t.Fatal("-rewrite is for all cases: with -soak")
	}
	for _, o := range outcomeTables {
		t.Run(strings.ReplaceAll(o.name, " ", "-"), o.check)
	}
}

func (o outcomeTable) check(t *testing.T) {
	names, _ := vlstest.Cases()
	run := names
	if !*soak {
		run = o.part
		for _, n := range run {
			if !slices.Contains(names, n) {
				t.Errorf("the suite has no case %s", n)
			}
		}
	}
	said := o.read(t)
	got := make(seen)
	why := make(map[string]string) // stacks of the last that ended so
	var mu sync.Mutex
	var wg sync.WaitGroup
	slots := make(chan struct{}, o.slots)
	for range *rounds {
		for _, s := range o.strategies {
			for some := range slices.Chunk(run, o.chunk) {
				slots <- struct{}{}
				wg.Go(func() {
					outcomes(t, s, some, func(name, outcome, stacks string) {
						mu.Lock()
						defer mu.Unlock()
						got.add(s, name, outcome)
						why[s+" "+name+" "+outcome] = stacks
					})
					<-slots
				})
			}
		}
	}
	wg.Wait()
	if *rewrite { // what was seen once can come again
		for k, list := range said {
			for _, outcome := range list {
				got.add(k[0], k[1], outcome)
			}
		}
		o.write(t, got)
		return
	}
	for _, s := range o.strategies {
		for _, n := range run {
			may := said.of(s, n)
			for _, outcome := range got[[2]string{s, n}] {
				if !slices.Contains(may, outcome) {
					t.Errorf("%s: %s %s; %s lists that it %s, and nothing else. If it is right, -soak -rewrite adds it.\n%s",
						s, n, outcome, file, strings.Join(may, " or "), why[s+" "+n+" "+outcome])
				}
			}
		}
	}
	if *soak { // which knows all cases
		if _, is, _ := o.find(t); is != o.text(said) {
			t.Errorf("the table of %s in %s has rows that say nothing, or counts what is not there; -rewrite makes it\n%s", o.name, file, o.text(said))
		}
	}
}

// text is the table that lists these.
func (o outcomeTable) text(said seen) string {
	var b strings.Builder
	row := func(cells ...string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }
	row(slices.Concat([]string{"case"}, o.strategies, []string{"proves that"})...)
	row(slices.Repeat([]string{"---"}, len(o.strategies)+2)...)
	clean := make([]int, len(o.strategies))
	names, docs := vlstest.Cases()
	for i, name := range names {
		cells, well := []string{name}, true
		for j, s := range o.strategies {
			list := said.of(s, name)
			cells = append(cells, strings.Join(list, " or "))
			if slices.Equal(list, []string{passes}) {
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
	return b.String()
}

// find is the documentation before the table, the table, and the rest.
func (o outcomeTable) find(t *testing.T) (before, table, after string) {
	t.Helper()
	doc, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	begin := "<!-- outcomes of " + o.name + " -->\n"
	before, rest, _ := strings.Cut(string(doc), begin)
	table, after, ok := strings.Cut(rest, end)
	if !ok {
		t.Fatalf("%s has no table of the outcomes of %s", file, o.name)
	}
	return before + begin, table, end + after
}

// write writes the table into the documentation.
func (o outcomeTable) write(t *testing.T, said seen) {
	before, _, after := o.find(t)
	if err := os.WriteFile(file, []byte(before+o.text(said)+after), 0o666); err != nil {
		t.Fatal(err)
	}
}

// read is what the documentation says of each case that does not pass everywhere.
func (o outcomeTable) read(t *testing.T) seen {
	t.Helper()
	said := make(seen)
	_, table, _ := o.find(t)
	for _, line := range strings.Split(table, "\n") {
		cells := strings.Split(strings.Trim(line, "| "), " | ")
		if len(cells) != 2+len(o.strategies) {
			continue
		}
		for j, s := range o.strategies {
			for _, outcome := range strings.Split(cells[1+j], " or ") {
				switch outcome {
				case passes, fails, hangs:
					said.add(s, cells[0], outcome)
				}
			}
		}
	}
	return said
}
