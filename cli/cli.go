// Package cli is the command line. [Main] is the whole of it, so that a main of
// five lines, which imports strategies and workloads of its own, is a vlsbench
// that has them too.
package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"vlsbench/harness"
	"vlsbench/internal/quote"

	"github.com/spf13/pflag"
)

// Exit codes.
const (
	exitDone        = 0
	exitFailed      = 1 // a run failed or had no valid round, or a file could not be read or written
	exitUsage       = 2
	exitInterrupted = 130
)

// program is one invocation.
type program struct {
	stdout, stderr io.Writer
	signals        <-chan os.Signal // nil: the process's own
}

// command is one subcommand.
type command struct {
	name, args, doc string
	flags           func(*pflag.FlagSet) func(*program, []string) error
	examples        string
}

// usageError is bad input: exit 2.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// errInterrupted is a run that was stopped and has said so.
var errInterrupted = errors.New("interrupted")

// Main runs the command line args, without the program's name, and returns the
// exit code: 0 done, 1 a run failed or had no valid round, 2 usage, 130
// interrupted with what was measured kept.
func Main(args []string, stdout, stderr io.Writer) int {
	return (&program{stdout: stdout, stderr: stderr}).main(args)
}

func (p *program) main(args []string) int {
	if len(args) == 0 || slices.Contains([]string{"help", "--help", "-h"}, args[0]) {
		if len(args) > 1 {
			args = []string{args[1], "--help"}
		} else {
			fmt.Fprint(p.stdout, overview())
			return exitDone
		}
	}
	i := slices.IndexFunc(commands, func(c command) bool { return c.name == args[0] })
	if i < 0 {
		fmt.Fprintf(p.stderr, "vlsbench: unknown command %s; %s\n", quote.Of(args[0]), suggest(args[0], commandNames()))
		return exitUsage
	}
	c := commands[i]
	fs := newFlags()
	run := c.flags(fs)
	err := fs.Parse(bareLists(args[1:]))
	switch {
	case errors.Is(err, pflag.ErrHelp):
		fmt.Fprint(p.stdout, c.help(fs))
		return exitDone
	case err != nil:
		err = usagef("%w (see vlsbench %s --help)", flagError(fs, err), c.name)
	default:
		err = run(p, fs.Args())
	}
	var usage usageError
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, errInterrupted):
		return exitInterrupted
	case errors.As(err, &usage):
		fmt.Fprintf(p.stderr, "vlsbench %s: %s\n", c.name, quote.Text(err.Error()))
		return exitUsage
	}
	fmt.Fprintf(p.stderr, "vlsbench %s: %s\n", c.name, quote.Text(err.Error()))
	return exitFailed
}

func newFlags() *pflag.FlagSet {
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	fs.SortFlags = false // in the order of use
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	return fs
}

// bareLists gives --strategies its meaning without names.
func bareLists(args []string) []string {
	out := slices.Clone(args)
	for i, a := range out {
		if a == "--strategies" && (i+1 == len(out) || strings.HasPrefix(out[i+1], "-")) {
			out[i] = "--strategies=all"
		}
	}
	return out
}

// commands in the order of the overview.
var commands []command

func init() {
	commands = []command{runCommand, showCommand, listCommand, locksCommand, calibrateCommand, plotCommand, versionCommand}
}

func commandNames() (names []string) {
	for _, c := range commands {
		names = append(names, c.name)
	}
	return names
}

const heading = `vlsbench measures how a thread-safe session layer should be locked: every lock
strategy under the same work, on pinned threads, in many short slots in random
order, each compared with a baseline.
`

const firstSteps = `
Begin with
  vlsbench run                        all strategies, three minutes
  vlsbench run --strategies perworker,global --workloads uni --sizes 64
  vlsbench list strategies            what there is to compare
  vlsbench calibrate                  what this machine can do at best
  vlsbench show RUN                   a stored run's table again

RUN is a run's directory or its results.jsonl. Exit codes: 0 done, 1 a run
failed or had no valid round, 2 usage, 130 interrupted (what was measured is
kept).
"vlsbench COMMAND --help" has the flags and more examples.
`

func overview() string {
	var b strings.Builder
	b.WriteString(heading)
	b.WriteString("\nCommands\n")
	for _, c := range commands {
		fmt.Fprintf(&b, "  %-33s %s\n", strings.TrimSpace(c.name+" "+c.args), c.doc)
	}
	b.WriteString(firstSteps)
	return b.String()
}

func (c command) help(fs *pflag.FlagSet) string {
	var b strings.Builder
	fmt.Fprintf(&b, "vlsbench %s: %s\n\nUsage\n  vlsbench %s", c.name, c.doc, strings.TrimSpace(c.name+" "+c.args))
	if fs.HasFlags() {
		b.WriteString(" [flags]\n\nFlags\n")
		b.WriteString(fs.FlagUsagesWrapped(96))
	} else {
		b.WriteString("\n")
	}
	if c.examples != "" {
		fmt.Fprintf(&b, "\nExamples\n%s", c.examples)
	}
	return b.String()
}

// suggest says which of the names were meant, or what there is.
func suggest(got string, names []string) string {
	best, distance := "", max(3, 2+len(got)/4)
	for _, n := range names {
		if d := edits(got, n); d < distance || len(got) > 1 && strings.HasPrefix(n, got) && best == "" {
			best, distance = n, d
		}
	}
	list := "there are: " + strings.Join(names, ", ")
	if best == "" {
		return list
	}
	return fmt.Sprintf("did you mean %q? %s", best, list)
}

// edits is the Levenshtein distance.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}

// noArgs refuses arguments of a command that has flags alone.
func noArgs(fs *pflag.FlagSet, args []string) error {
	if len(args) == 0 {
		return nil
	}
	want := "nothing"
	if names := flagNames(fs); names != nil {
		want = "flags alone: " + strings.Join(names, ", ")
	}
	return usagef("unexpected argument %s: want %s", quote.Of(args[0]), want)
}

func flagNames(fs *pflag.FlagSet) (names []string) {
	fs.VisitAll(func(f *pflag.Flag) { names = append(names, "--"+f.Name) })
	return names
}

// flagError is what is wrong with the flags, and what would be right.
func flagError(fs *pflag.FlagSet, err error) error {
	var unknown *pflag.NotExistError
	var invalid *pflag.InvalidValueError
	var syntax *pflag.InvalidSyntaxError
	switch {
	case errors.As(err, &syntax):
		return fmt.Errorf("%s is no flag: want --name or --name=value", quote.Of(syntax.GetSpecifiedFlag()))
	case errors.As(err, &unknown):
		name := "--" + unknown.GetSpecifiedName()
		if short := unknown.GetSpecifiedShortnames(); short != "" {
			name = "-" + short
		}
		if names := flagNames(fs); names != nil {
			return fmt.Errorf("unknown flag %s; %s", quote.Of(name), suggest(name, names))
		}
		return fmt.Errorf("unknown flag %s: there are none", quote.Of(name))
	case errors.As(err, &invalid):
		f := invalid.GetFlag()
		// Of these the library says nothing that a user would know.
		want := map[string]string{
			"bool": "true or false", "duration": "a time such as 20ms", "int": "a whole number",
			"uint64": "a whole number from 0 on",
		}[f.Value.Type()]
		if want != "" {
			return fmt.Errorf("--%s %s: want %s", f.Name, quote.Of(invalid.GetValue()), want)
		}
		return fmt.Errorf("--%s: %w", f.Name, errors.Unwrap(invalid))
	}
	return err
}

// oneOf checks a value against the valid ones.
func oneOf(flag, value string, valid ...string) error {
	if slices.Contains(valid, value) {
		return nil
	}
	return usagef("%s %s: there are: %s", flag, quote.Of(value), strings.Join(valid, ", "))
}

// interrupts is the signals that stop a run.
func (p *program) interrupts() (signals <-chan os.Signal, stop func()) {
	if p.signals != nil {
		return p.signals, func() {}
	}
	c := make(chan os.Signal, 2)
	signal.Notify(c, os.Interrupt, syscall.SIGTERM)
	return c, func() { signal.Stop(c) }
}

var versionCommand = command{
	name: "version", doc: "print the version",
	flags: func(fs *pflag.FlagSet) func(*program, []string) error {
		return func(p *program, args []string) error {
			if err := noArgs(fs, args); err != nil {
				return err
			}
			b := harness.BuildInfo()
			_, err := fmt.Fprintf(p.stdout, "vlsbench %s %s %s/%s\n", b.Version, b.Go, runtime.GOOS, runtime.GOARCH)
			return err
		}
	},
}
