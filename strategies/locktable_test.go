package strategies_test

import (
	"flag"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"vlsbench/internal/census"
	"vlsbench/vls"
)

var rewrite = flag.Bool("rewrite", false, "write the tables of docs/strategies.md anew")

// TestLockTables compares what the documentation says that each strategy takes,
// and holds while it waits, with what it does.
func TestLockTables(t *testing.T) {
	const file = "../docs/strategies.md"
	doc, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	// A strategy, and its table.
	blocks := regexp.MustCompile(`(?s)(<!-- locks: (\S+) -->\n)(.*?)(<!-- end -->)`)
	have := make(map[string]bool)
	doc = blocks.ReplaceAllFunc(doc, func(b []byte) []byte {
		m := blocks.FindSubmatch(b)
		name := string(m[2])
		have[name] = true
		s, err := vls.Lookup(name)
		if err != nil {
			t.Error(err)
			return b
		}
		rows, err := census.Count(s)
		if err != nil {
			t.Error(err)
			return b
		}
		now := census.Markdown(census.Table(rows))
		if now != string(m[3]) && !*rewrite {
			t.Errorf("%s of %s says:\n%s\nit takes (write it anew with -rewrite if it is meant):\n%s", file, name, m[3], now)
		}
		return []byte(string(m[1]) + now + string(m[4]))
	})
	for _, s := range vls.Strategies() {
		if s.Kind == vls.Built && !have[s.Name] {
			t.Errorf("%s has no table of what %s locks", file, s.Name)
		}
	}
	if *rewrite {
		if err := os.WriteFile(file, doc, 0o666); err != nil {
			t.Fatal(err)
		}
	}
}

// What perworker is about.
func TestOneThreadTakesNone(t *testing.T) {
	s, err := vls.Lookup("perworker")
	if err != nil {
		t.Fatal(err)
	}
	rows, err := census.Count(s)
	if err != nil {
		t.Fatal(err)
	}
	if line := census.Summary(rows)[0]; line != "perworker, one thread: none" {
		t.Error(line)
	}
}

// TestLocksOfOriginals compares the sets of locks that the originals take, in
// whatever mode, with the table that the documentation has of them.
func TestLocksOfOriginals(t *testing.T) {
	doc, err := os.ReadFile("../docs/strategies.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(doc), "<!-- locks of the originals -->\n")
	table, _, ok := strings.Cut(table, "<!-- end -->")
	if !ok {
		t.Fatal("the documentation has no table of them")
	}
	lines := strings.Split(strings.TrimSpace(table), "\n")
	cells := func(line string) (c []string) {
		for _, w := range strings.Split(strings.Trim(line, "|"), "|") {
			c = append(c, strings.TrimSpace(w))
		}
		return c
	}
	for i, name := range cells(lines[0])[1:] {
		s, err := vls.Lookup(name)
		if err != nil {
			t.Fatal(err)
		}
		rows, err := census.Count(s)
		if err != nil {
			t.Fatal(err)
		}
		// What is said of an operation is taken out; nothing may be left.
		takes := make(map[string][]string)
		learn := func(operation string, l census.Locks) {
			for _, lock := range l {
				if !slices.Contains(takes[operation], lock.Lock) {
					takes[operation] = append(takes[operation], lock.Lock)
				}
			}
			slices.Sort(takes[operation])
		}
		for _, r := range rows {
			if r.Waits {
				learn("waiting "+r.Operation, r.Takes)
				learn(r.Operation+" holds", r.Holds)
			} else {
				learn(r.Operation, r.Takes)
			}
		}
		// Of these the same is said as of those they stand for.
		for _, o := range []string{"close of a set", "waiting accept", "waiting epoll_wait", "waiting select", "waiting poll"} {
			delete(takes, o)
		}
		for _, line := range lines[2:] {
			c := cells(line)
			want := strings.Fields(c[i+1])
			slices.Sort(want)
			for _, o := range operations(c[0]) {
				if got := takes[o]; !slices.Equal(got, want) {
					t.Errorf("%s: %s takes %v, the documentation says %v", name, o, got, want)
				}
				delete(takes, o)
			}
		}
		for o, l := range takes {
			t.Errorf("%s: %s takes %v, and the documentation says nothing of it", name, o, l)
		}
	}
}

// operations are those that the first cell of a line names: "waiting read, write
// hold" is "read holds" and "write holds".
func operations(cell string) (names []string) {
	rest, waiting := strings.CutPrefix(cell, "waiting ")
	held := ""
	for _, end := range []string{" holds", " hold"} {
		if r, ok := strings.CutSuffix(rest, end); ok && held == "" {
			rest, held = r, " holds"
		}
	}
	for _, n := range strings.Split(rest, ", ") {
		if waiting && held == "" {
			n = "waiting " + n
		}
		names = append(names, n+held)
	}
	return names
}
