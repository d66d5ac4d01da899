package strategies_test

import (
	"flag"
	"os"
	"regexp"
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
