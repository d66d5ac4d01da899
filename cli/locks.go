package cli

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"vlsbench/audit"
	"vlsbench/internal/census"
	"vlsbench/vls"

	"github.com/spf13/pflag"
)

var locksCommand = command{
	name: "locks", doc: "count which locks each operation takes, and what a wait holds",
	flags: func(fs *pflag.FlagSet) func(*program, []string) error {
		var names strategyList
		fs.Var(&names, "strategies", "strategies to count, with knobs if any (default all that are built)")
		format := fs.String("format", "table", "table or json")
		return func(p *program, args []string) error {
			if err := noArgs(fs, args); err != nil {
				return err
			}
			if err := oneOf("--format", *format, "table", "json"); err != nil {
				return err
			}
			all, err := names.chosen()
			if err != nil {
				return err
			}
			for _, s := range all {
				if s.Kind == vls.Kernel {
					return usagef("%s has no locks that could be counted: what excludes its threads is in the kernel; there are: %s", s.Name, strings.Join(countable(), ", "))
				}
			}
			var rows []census.Row
			for _, s := range all {
				r, err := census.Count(s)
				if err != nil {
					return err
				}
				rows = append(rows, r...)
				if *format == "table" {
					p.printLocks(s, r)
				}
			}
			if *format == "json" {
				return writeJSON(p.stdout, rows)
			}
			for _, line := range census.Summary(rows) {
				fmt.Fprintln(p.stdout, line)
			}
			return nil
		}
	},
	examples: `  vlsbench locks
  vlsbench locks --strategies perworker
  vlsbench locks --strategies perworker,perworker,io=pool,pool=phasefair --format json

Each operation is made once, alone, and counted: the figures are the same on
every machine. P.r is the lock P taken as a reader, P.w as a writer. What the
letters stand for is in docs/strategies.md. A build with the tag audit tells
too if the locks of a strategy are taken in a circle, and where.
`,
}

// countable is the strategies whose locks can be counted.
func countable() (names []string) {
	for _, s := range vls.Strategies() {
		if s.Kind != vls.Kernel {
			names = append(names, s.Name)
		}
	}
	return names
}

// printLocks prints what one strategy takes.
func (p *program) printLocks(s vls.Strategy, rows []census.Row) {
	fmt.Fprintf(p.stdout, "%s: %s\n", s.Name, s.Doc)
	w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	for _, line := range census.Table(rows) {
		fmt.Fprintf(w, "  %s\n", strings.Join(line, "\t"))
	}
	w.Flush()
	if circle := audit.Cycle(s.Name); circle != "" {
		fmt.Fprintf(p.stdout, "\n%s", circle)
	}
	fmt.Fprintln(p.stdout)
}
