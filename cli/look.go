package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"vlsbench/harness"
	"vlsbench/hw"
	"vlsbench/internal/quote"
	"vlsbench/internal/summary"
	"vlsbench/locks"
	"vlsbench/plots"
	"vlsbench/results"
	"vlsbench/vls"
	"vlsbench/workloads"

	"github.com/spf13/pflag"
)

var showCommand = command{
	name: "show", args: "RUN", doc: "print a stored run again",
	flags: func(fs *pflag.FlagSet) func(*program, []string) error {
		format := fs.String("format", "table", "table, jsonl, csv, bench")
		return func(p *program, args []string) error {
			if err := oneOf("--format", *format, formats...); err != nil {
				return err
			}
			set, _, err := p.load(args)
			if err != nil {
				return err
			}
			if *format != "table" {
				return p.print(set, nil, *format)
			}
			sum, err := summary.Summarize(set, set.Run.Plan.Seed)
			if err != nil {
				return err
			}
			return p.print(set, &sum, *format)
		}
	},
	examples: `  vlsbench show results/runs/20260102-150405-quick
  vlsbench show mine/results.jsonl --format csv > mine.csv
  vlsbench show mine --format bench | benchstat -col /strategy -
`,
}

var plotCommand = command{
	name: "plot", args: "RUN", doc: "draw a stored run",
	flags: func(fs *pflag.FlagSet) func(*program, []string) error {
		out := fs.String("out", "", "directory for the pictures (default plots beside the results, or under plots/runs)")
		return func(p *program, args []string) error {
			set, file, err := p.load(args)
			if err != nil {
				return err
			}
			sum, err := summary.Summarize(set, set.Run.Plan.Seed)
			if err != nil {
				return err
			}
			dir := *out
			if dir == "" {
				dir = picturesOf(file)
			}
			drawn, err := plots.Write(dir, sum)
			for _, name := range drawn {
				fmt.Fprintln(p.stdout, name)
			}
			return err
		}
	},
	examples: `  vlsbench plot results/runs/20260102-150405-quick
  vlsbench plot mine --out /tmp/pictures
`,
}

// picturesOf is where the pictures of a results file go, as run puts them.
func picturesOf(file string) string {
	dir := filepath.Dir(file)
	if filepath.Dir(dir) == filepath.Clean(results.RunsDir) {
		return filepath.Join(plots.RunsDir, filepath.Base(dir))
	}
	return filepath.Join(dir, "plots")
}

// load reads the run that args name and says what is amiss with it.
func (p *program) load(args []string) (*results.Set, string, error) {
	if len(args) != 1 {
		return nil, "", usagef("want one RUN, a run's directory or its %s; got %d arguments", results.FileName, len(args))
	}
	file, err := results.Find(args[0])
	if err != nil {
		return nil, "", usageError{err}
	}
	set, err := results.Read(file)
	if err != nil {
		return nil, "", err
	}
	for _, problem := range set.Problems {
		fmt.Fprintf(p.stderr, "%s:%d: %s\n", file, problem.Line, problem.What)
	}
	if set.End == nil {
		fmt.Fprintf(p.stderr, "%s was cut off: what stands before is shown\n", file)
	}
	return set, file, nil
}

var listCommand = command{
	name: "list", args: "strategies|knobs|workloads|locks", doc: "list what there is",
	flags: func(fs *pflag.FlagSet) func(*program, []string) error {
		format := fs.String("format", "table", "table or json")
		return func(p *program, args []string) error {
			if err := oneOf("--format", *format, "table", "json"); err != nil {
				return err
			}
			if len(args) != 1 {
				return usagef("want one of: strategies, knobs, workloads, locks; got %d arguments", len(args))
			}
			switch args[0] {
			case "strategies":
				return p.list(*format, strategyRows())
			case "knobs":
				return p.list(*format, knobRows())
			case "workloads":
				return p.list(*format, workloadRows())
			case "locks":
				return p.list(*format, lockRows())
			}
			return usagef("unknown list %s; %s", quote.Of(args[0]), suggest(args[0], []string{"strategies", "knobs", "workloads", "locks"}))
		}
	},
	examples: `  vlsbench list strategies
  vlsbench list knobs
  vlsbench list workloads --format json
`,
}

// row is one thing that there is.
type row struct {
	Name string `json:"name"`
	Kind string `json:"kind,omitempty"`
	Unit string `json:"unit,omitempty"`
	// MaxThreads is per process, 0 for any number.
	MaxThreads int    `json:"max_threads,omitempty"`
	Doc        string `json:"doc"`
	// Of a knob.
	Default string   `json:"default,omitempty"`
	Values  []string `json:"values,omitempty"`
}

func strategyRows() (rows []row) {
	for _, s := range vls.Strategies() {
		rows = append(rows, row{Name: s.Name, Kind: string(s.Kind), MaxThreads: s.MaxThreads, Doc: s.Doc})
	}
	return rows
}

// knobRows are the knobs of each strategy, as they are written after its name.
func knobRows() (rows []row) {
	for _, s := range vls.Strategies() {
		for _, k := range s.Knobs {
			rows = append(rows, row{
				Name: s.Name + "," + k.Name, Default: k.Default, Values: k.Values,
				Doc: k.Doc,
			})
		}
	}
	return rows
}

func workloadRows() (rows []row) {
	for _, w := range workloads.List() {
		rows = append(rows, row{Name: w.Name, Unit: w.Unit, Doc: w.Doc})
	}
	return rows
}

func lockRows() (rows []row) {
	for _, k := range locks.Kinds() {
		kind := "lock"
		if k.RW {
			kind = "rwlock"
		}
		rows = append(rows, row{Name: k.Name, Kind: kind, Doc: k.Doc})
	}
	return rows
}

func (p *program) list(format string, rows []row) error {
	if format == "json" {
		return writeJSON(p.stdout, rows)
	}
	w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	for _, r := range rows {
		if r.Values != nil {
			r.Name += "=" + r.Default
			r.Doc += ": " + strings.Join(r.Values, ", ")
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", r.Name, r.Kind+r.Unit, r.Doc)
	}
	return w.Flush()
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

var calibrateCommand = command{
	name: "calibrate", doc: "measure the machine's own limits",
	flags: func(fs *pflag.FlagSet) func(*program, []string) error {
		format := fs.String("format", "table", "table or json")
		var r request
		fs.Var(&r.cpus, "cpus", "the two CPUs to measure on (default as run would pin)")
		return func(p *program, args []string) error {
			if err := noArgs(fs, args); err != nil {
				return err
			}
			if err := oneOf("--format", *format, "table", "json"); err != nil {
				return err
			}
			r.pin = hw.PinCore.String()
			cpus, err := r.places()
			if err != nil {
				return err
			}
			defer harness.Quiet(2)()
			limits, err := harness.Calibrate(cpus)
			if err != nil {
				return err
			}
			if len(cpus) < 2 {
				fmt.Fprintln(p.stderr, "note: one CPU, so what takes two is left out")
			}
			if *format == "json" {
				return writeJSON(p.stdout, limits)
			}
			w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
			for _, l := range limits {
				fmt.Fprintf(w, "%s\t%8.4g %s\t%s\n", l.Name, l.Value, l.Unit, l.Doc)
			}
			return w.Flush()
		}
	},
	examples: `  vlsbench calibrate
  vlsbench calibrate --cpus 0,2 --format json
`,
}
