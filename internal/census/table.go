package census

import (
	"fmt"
	"slices"
	"strings"
)

// Summary is, for each mode, what a strategy takes in it over all operations
// but fork and exit: "perworker, one thread: none".
func Summary(rows []Row) (lines []string) {
	type key struct{ strategy, mode string }
	var keys []key
	seen := make(map[key][]string)
	for _, r := range rows {
		k := key{r.Strategy, r.Mode}
		if !slices.Contains(keys, k) {
			keys = append(keys, k)
		}
		for _, t := range append(slices.Clone(r.Takes), r.Holds...) {
			if r.Operation != "fork" && r.Operation != "exit" && !slices.Contains(seen[k], t.Lock) {
				seen[k] = append(seen[k], t.Lock)
			}
		}
	}
	for _, k := range keys {
		what := "none"
		if l := seen[k]; len(l) > 0 {
			slices.Sort(l)
			what = strings.Join(l, ", ")
		}
		lines = append(lines, fmt.Sprintf("%s, %s: %s", k.strategy, k.mode, what))
	}
	return lines
}

// Table is the rows of one strategy with a column for each mode: the head, and
// then a line for each operation.
func Table(rows []Row) (lines [][]string) {
	var modes []string
	head := []string{"operation"}
	for _, r := range rows {
		if !slices.Contains(modes, r.Mode) {
			modes = append(modes, r.Mode)
			head = append(head, r.Mode)
		}
	}
	lines = append(lines, head)
	at := make(map[string]int)
	for _, r := range rows {
		name, cell := r.Operation, r.Takes.String()
		if r.Waits {
			name, cell = r.Operation+whileWaiting, r.Holds.String()
		}
		i, ok := at[name]
		if !ok {
			i = len(lines)
			at[name] = i
			lines = append(lines, append([]string{name}, slices.Repeat([]string{"–"}, len(modes))...))
		}
		lines[i][1+slices.Index(modes, r.Mode)] = cell
	}
	return lines
}

// Markdown is a table as documentation has it: operations that take the same
// stand in one line.
func Markdown(lines [][]string) string {
	var b strings.Builder
	row := func(cells []string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }
	row(lines[0])
	row(slices.Repeat([]string{"---"}, len(lines[0])))
	var merged [][]string
	for _, l := range lines[1:] {
		i := slices.IndexFunc(merged, func(m []string) bool { return slices.Equal(m[1:], l[1:]) && waits(m) == waits(l) })
		if i < 0 {
			merged = append(merged, slices.Clone(l))
			continue
		}
		name := l[0]
		if waits(l) {
			merged[i][0] = strings.TrimSuffix(merged[i][0], whileWaiting)
		}
		merged[i][0] += ", " + name
	}
	for _, l := range merged {
		row(l)
	}
	return b.String()
}

const whileWaiting = ", while it waits"

func waits(line []string) bool { return strings.HasSuffix(line[0], whileWaiting) }
