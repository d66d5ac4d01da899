package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"vlsbench/harness"
	"vlsbench/internal/summary"
	"vlsbench/plots"
	"vlsbench/results"

	"github.com/spf13/pflag"
)

var formats = []string{"table", "jsonl", "csv", "bench"}

var runCommand = command{
	name: "run", doc: "measure strategies, and compare them with a baseline",
	flags: func(fs *pflag.FlagSet) func(*program, []string) error {
		o := &output{}
		r := runFlags(fs, o)
		return func(p *program, args []string) error {
			if err := noArgs(fs, args); err != nil {
				return err
			}
			return p.run(*r, *o)
		}
	},
	examples: `  vlsbench run
  vlsbench run --strategies perworker,global --workloads uni --sizes 64,1500
  vlsbench run --threads 2 --procs 1,2 --workloads pingpong --wait park
  vlsbench run --profile standard --out /tmp/mine --format bench > mine.txt
  vlsbench run --seed 42 --rounds 200 --cpus 2,3
  vlsbench run --vcl-config /etc/vpp/vcl.conf

Threads are pinned in turn to the CPUs. Two threads in one process share a
worker, two in two processes (--procs 2) do not. Every combination of the lists
is a cell; those with more processes than threads are left out.
Ctrl-C ends the run after the slot under way and keeps what was measured.
`,
}

// runFlags defines the flags of run.
func runFlags(fs *pflag.FlagSet, o *output) *request {
	r := &request{given: fs.Changed}
	fs.StringVar(&r.profile, "profile", "quick", "what is not given by a flag: quick (some minutes), standard (a quarter of an hour), full (some hours)")
	fs.Var(&r.strategies, "strategies", "strategies to measure, or all (default all that are built)")
	fs.StringVar(&r.baseline, "baseline", defaultBaseline, "strategy that the others are compared with")
	fs.Var(&r.workloads, "workloads", "workloads, or all (default uni,pingpong)")
	fs.Var(&r.threads, "threads", "threads in all, in as many cells (default 1,2)")
	fs.Var(&r.procs, "procs", "processes that they are spread over (default 1,2)")
	fs.Var(&r.sessions, "sessions", "connected sessions in all (default 1)")
	fs.Var(&r.sizes, "sizes", "bytes per message (default 64,4096)")
	fs.DurationVar(&r.slot, "slot", profiles["quick"].slot, "length of one measurement, of which 2ms are warm-up")
	fs.IntVar(&r.rounds, "rounds", profiles["quick"].rounds, "measurements of each strategy in each cell")
	fs.Var(&r.cpus, "cpus", "CPUs to pin to, thread by thread (default all that are allowed, in the order of --pin)")
	fs.StringVar(&r.pin, "pin", "core", "order of CPUs: core (a core each first), smt (siblings next to each other), none (not pinned)")
	fs.StringVar(&r.wait, "wait", "spin", "how threads wait: spin, adaptive, park")
	fs.StringVar(&r.vclConfig, "vcl-config", "", "a `FILE` in the form of vcl.conf: its fifo, queue and segment sizes and worker limit are taken in place of the workloads' own")
	fs.Uint64Var(&r.seed, "seed", 0, "order of rounds and place of objects (default from the clock)")
	fs.StringVar(&o.dir, "out", "", "directory for results and pictures (default one under results/runs and plots/runs)")
	fs.StringVar(&o.format, "format", "table", "what is printed at the end: table, jsonl, csv, bench")
	fs.BoolVar(&o.noPlots, "no-plots", false, "draw no pictures")
	fs.StringVar(&o.progress, "progress", "auto", "auto (a live line on a terminal), plain, off")
	fs.Lookup("seed").DefValue = "0" // it is said in words
	return r
}

// output is the flags of run that say what becomes of it.
type output struct {
	dir      string
	format   string
	noPlots  bool
	progress string
}

func (o output) check() error {
	if err := oneOf("--format", o.format, formats...); err != nil {
		return err
	}
	return oneOf("--progress", o.progress, "auto", "plain", "off")
}

// place says where a run's files go.
func (o output) place(profile string, now time.Time) (id, file, pictures string, err error) {
	id = now.Format("20060102-150405") + "-" + profile
	if o.dir != "" {
		file = filepath.Join(o.dir, results.FileName)
		if _, err := os.Lstat(file); err == nil {
			return "", "", "", usagef("--out %s holds results already (%s); name another directory", o.dir, file)
		}
		pictures = filepath.Join(o.dir, "plots")
		if there, err := os.ReadDir(pictures); err == nil && len(there) > 0 && !o.noPlots {
			return "", "", "", usagef("--out %s holds pictures already (%s); name another directory", o.dir, filepath.Join(pictures, there[0].Name()))
		}
		return id, file, pictures, nil
	}
	for n := 2; ; n++ {
		file = filepath.Join(results.RunsDir, id, results.FileName)
		if _, err := os.Lstat(file); err != nil {
			return id, file, filepath.Join(plots.RunsDir, id), nil
		}
		id = fmt.Sprintf("%s-%s-%d", now.Format("20060102-150405"), profile, n)
	}
}

func (p *program) run(r request, o output) error {
	if err := o.check(); err != nil {
		return err
	}
	plan, notes, err := r.plan()
	if err != nil {
		return err
	}
	id, file, pictures, err := o.place(plan.Profile, time.Now())
	if err != nil {
		return err
	}
	writer, err := results.Create(file)
	if err != nil {
		return err
	}
	for _, n := range notes {
		fmt.Fprintf(p.stderr, "note: %s\n", n)
	}
	fmt.Fprintf(p.stderr, "%s, %s, %s: about %s; results go to %s\n",
		counted(len(plan.Strategies), "strategy", "strategies"), counted(len(plan.Cells), "cell", "cells"), counted(plan.Rounds, "round", "rounds"), roughly(harness.Estimate(plan)), file)

	keep := &keeper{w: writer, stderr: p.stderr}
	err = p.supervise(harness.Options{
		ID: id, Command: os.Args, Plan: plan, Sink: keep.append, Progress: newProgress(p.stderr, o.progress, plan).show,
	}, keep)
	if cerr := keep.close(); err == nil {
		err = cerr
	}
	interrupted := errors.Is(err, errInterrupted)
	if interrupted {
		fmt.Fprintf(p.stderr, "interrupted: %d slots are kept in %s\n", keep.slots, file)
	} else if err != nil {
		fmt.Fprintf(p.stderr, "%d slots are kept in %s\n", keep.slots, file)
		var hang *harness.Hang
		if errors.As(err, &hang) {
			fmt.Fprintf(p.stderr, "\n%s\n", hang.Stacks)
		}
		return err
	}
	if keep.slots == 0 {
		return err
	}
	if serr := p.report(file, o.format, pictures, !o.noPlots && !interrupted); err == nil {
		err = serr
	}
	return err
}

// supervise makes a run and stops it when a signal comes: the first ends it
// after the slot under way, the second at once.
func (p *program) supervise(o harness.Options, keep *keeper) error {
	signals, stop := p.interrupts()
	defer stop()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	type outcome struct {
		end results.End
		err error
	}
	done := make(chan outcome, 1)
	go func() {
		end, err := harness.Run(ctx, o)
		done <- outcome{end, err}
	}()
	for count := 0; ; {
		select {
		case out := <-done:
			if out.err == nil && out.end.Interrupted {
				return errInterrupted
			}
			return out.err
		case <-signals:
			if count++; count == 1 {
				fmt.Fprintln(p.stderr, "\nstopping after this slot; once more to stop at once")
				cancel()
				continue
			}
			// The run goes on behind our back and writes no more.
			keep.abandon()
			return errInterrupted
		}
	}
}

// keeper writes the records of a run.
type keeper struct {
	mu     sync.Mutex
	w      *results.Writer
	stderr io.Writer
	slots  int
	rounds int
	over   bool
}

var errAbandoned = errors.New("the run was stopped")

func (k *keeper) append(r results.Record) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.over {
		return errAbandoned
	}
	switch {
	case r.Run != nil:
		for _, w := range r.Run.Warnings {
			fmt.Fprintf(k.stderr, "warning: %s\n         %s\n", w.What, w.Do)
		}
	case r.Slot != nil:
		k.slots++
		k.rounds = r.Slot.Round
	}
	return k.w.Append(r)
}

// abandon writes the end in the run's place and takes nothing more.
func (k *keeper) abandon() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.over {
		k.over = true
		_ = k.w.Append(results.Record{End: &results.End{
			Ended: time.Now(), Interrupted: true, Slots: k.slots, Rounds: k.rounds,
		}}) // without it the file is one that was cut off, and says so
	}
}

func (k *keeper) close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.over = true
	return k.w.Close()
}

// report prints what a results file holds, draws it, and says where it is.
func (p *program) report(file, format, pictures string, draw bool) error {
	set, err := results.Read(file)
	if err != nil {
		return err
	}
	sum, err := summary.Summarize(set, set.Run.Plan.Seed)
	if err != nil {
		return err
	}
	if err := p.print(set, &sum, format); err != nil {
		return err
	}
	counts := slices.ContainsFunc(sum.Cells, func(c summary.Cell) bool { return c.Used > 0 })
	var drawn []string
	if draw && counts {
		if drawn, err = plots.Write(pictures, sum); err != nil {
			return fmt.Errorf("the results are in %s; drawing them: %w", file, err)
		}
	}
	where := p.stderr
	if format == "table" {
		where = p.stdout
		fmt.Fprintln(where)
	}
	fmt.Fprintf(where, "results:  %s\n", file)
	for i, name := range drawn {
		label := "pictures:"
		if i > 0 {
			label = "         "
		}
		fmt.Fprintf(where, "%s %s\n", label, name)
	}
	if !counts {
		return errNoRound
	}
	return nil
}

// errNoRound is a run that was made to its end and came to nothing.
var errNoRound = errors.New("no round of any cell is valid, so there is nothing to compare: " +
	"other work kept the threads from running together; stop it, or name CPUs that are free with --cpus")

// print writes a set in a format; sum is needed for a table.
func (p *program) print(set *results.Set, sum *summary.Summary, format string) error {
	switch format {
	case "jsonl":
		return results.WriteJSONL(p.stdout, set)
	case "csv":
		return results.WriteCSV(p.stdout, set)
	case "bench":
		return results.WriteBench(p.stdout, set)
	}
	return summary.WriteTable(p.stdout, *sum)
}

// counted is so many of something.
func counted(n int, one, several string) string {
	if n == 1 {
		several = one
	}
	return fmt.Sprintf("%d %s", n, several)
}

// roughly is a duration for a person.
func roughly(d time.Duration) string {
	switch {
	case d < 90*time.Second:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d < 90*time.Minute:
		return fmt.Sprintf("%.0f min", d.Minutes())
	}
	return fmt.Sprintf("%.1f h", d.Hours())
}
