package original_test

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"vlsbench/audit"
	"vlsbench/vls/vlstest"
)

const migrate = "migrate-orig"

// migratePart is what runs of the suite without -soak, with one outcome each.
var migratePart = []string{
	"read-partial", "processes-streams", "epoll-level", "threads-share-session", "read-many-readers",
	"poll-two-threads", "fork-shares-stream", "fork-sets", "fork-unconnected",
}

// TestOutcomesOfMigrate puts migrate-orig through the suite, as TestOutcomes does
// the others. It has a table of its own: what happens to it is for other reasons.
func TestOutcomesOfMigrate(t *testing.T) {
	switch {
	case audit.Enabled:
		t.Skip("the auditor stops what would go well by luck")
	case underRace:
		t.Skip("the race detector stops what would go well by luck")
	}
	doc, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile(`(?s)(<!-- outcomes of migrate-orig -->\n)(.*?)(<!-- end -->)`)
	m := block.FindSubmatch(doc)
	if m == nil {
		t.Fatalf("%s has no table of the outcomes of migrate-orig", file)
	}
	said := make(map[string][]string)
	for _, line := range strings.Split(string(m[2]), "\n") {
		if cells := strings.Split(strings.Trim(line, "| "), " | "); len(cells) == 3 {
			said[cells[0]] = strings.Split(cells[1], " or ")
		}
	}
	names, docs := vlstest.Cases()
	run := names
	if !*soak {
		run = migratePart
	}
	got := make(map[string][]string)
	if *rewrite {
		got = said // what was seen once can come again
	}
	why := make(map[string]string)
	var mu sync.Mutex
	var wg sync.WaitGroup
	slots := make(chan struct{}, 6)
	for range *rounds {
		for some := range slices.Chunk(run, 5) {
			slots <- struct{}{}
			wg.Go(func() {
				outcomes(t, migrate, some, func(name, o, stacks string) {
					mu.Lock()
					defer mu.Unlock()
					if !slices.Contains(got[name], o) {
						got[name] = append(got[name], o)
						slices.Sort(got[name])
					}
					why[name+" "+o] = stacks
				})
				<-slots
			})
		}
	}
	wg.Wait()
	if !*rewrite {
		for _, n := range run {
			may := said[n]
			if may == nil {
				may = []string{passes}
			}
			for _, o := range got[n] {
				if len(may) == 1 && o != may[0] {
					t.Errorf("%s %s; the documentation says that it %s\n%s", n, o, may[0], why[n+" "+o])
				}
			}
		}
		return
	}
	if !*soak {
		t.Fatal("-rewrite is for all cases: with -soak")
	}
	var b strings.Builder
	b.WriteString("| case | migrate-orig | proves that |\n| --- | --- | --- |\n")
	clean := 0
	for i, n := range names {
		if slices.Equal(got[n], []string{passes}) {
			clean++
		} else {
			fmt.Fprintf(&b, "| %s | %s | %s |\n", n, strings.Join(got[n], " or "), docs[i])
		}
	}
	fmt.Fprintf(&b, "| pass, of %d | %d |  |\n", len(names), clean)
	doc = block.ReplaceAllLiteral(doc, []byte(string(m[1])+b.String()+string(m[3])))
	if err := os.WriteFile(file, doc, 0o666); err != nil {
		t.Fatal(err)
	}
}
