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
			if err := noArgs(args); err != nil {
				return err
			}
			if err := oneOf("--format", *format, "table", "json"); err != nil {
				return err
			}
			all, err := chosen(names)
			if err != nil {
				return err
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

// chosen is the strategies of those names, by default all that are built.
func chosen(names []string) (all []vls.Strategy, err error) {
	everything := len(names) == 0
	for _, n := range names {
		everything = everything || n == "all"
	}
	if everything {
		for _, s := range vls.Strategies() {
			if s.Kind == vls.Built {
				all = append(all, s)
			}
		}
	}
	for _, n := range names {
		if n == "all" {
			continue
		}
		s, err := vls.Lookup(n)
		if err != nil {
			return nil, usageError{err}
		}
		all = append(all, s)
	}
	return all, nil
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
