package cli

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"vlsbench/harness"
	"vlsbench/results"

	"golang.org/x/sys/unix"
)

// progress shows how far a run has come. It writes between slots only.
type progress struct {
	w       io.Writer
	live    bool // one line, over and over
	width   int  // of the terminal
	every   time.Duration
	last    time.Time
	plan    results.Plan
	samples map[string][]float64 // operations per second, by strategy and cell
}

// enough is from how many slots on a running median is shown.
const enough = 5

func newProgress(w io.Writer, mode string, plan results.Plan) *progress {
	p := &progress{w: w, plan: plan, every: 5 * time.Second, samples: make(map[string][]float64)}
	if mode == "off" {
		p.w = nil
	}
	if f, ok := w.(*os.File); ok && mode == "auto" {
		if size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil {
			p.live, p.width, p.every = true, max(40, int(size.Col)), 200*time.Millisecond
		}
	}
	return p
}

func (p *progress) show(h harness.Progress) {
	if p.w == nil {
		return
	}
	if h.Slot != nil && h.Slot.Bad == "" && h.Slot.Seconds > 0 {
		key := h.Slot.Strategy + " " + h.Cell.String()
		p.samples[key] = append(p.samples[key], float64(h.Slot.Ops)/h.Slot.Seconds)
	}
	done := h.Slots == h.Total
	if now := time.Now(); done || now.Sub(p.last) >= p.every {
		p.last = now
	} else {
		return
	}
	line := fmt.Sprintf("round %d/%d  %s left", h.Round, h.Rounds, roughly(h.Left))
	if h.Slot != nil {
		line += "  " + brief(h.Cell) + p.medians(h.Cell)
	}
	if !p.live {
		fmt.Fprintln(p.w, line)
		return
	}
	if r := []rune(line); len(r) >= p.width {
		line = string(r[:p.width-1])
	}
	fmt.Fprintf(p.w, "\r\x1b[K%s", line)
	if done {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}

// medians is the running medians of a cell.
func (p *progress) medians(c results.Cell) string {
	var b strings.Builder
	for _, s := range p.plan.Strategies {
		v := slices.Clone(p.samples[s+" "+c.String()])
		if len(v) < enough {
			continue
		}
		slices.Sort(v)
		fmt.Fprintf(&b, "  %s %s/s", s, metric(v[len(v)/2]))
	}
	return b.String()
}

// brief is a cell in few words.
func brief(c results.Cell) string {
	return fmt.Sprintf("%s %dt/%dp %ds %dB:", c.Workload, c.Threads, c.Procs, c.Sessions, c.Size)
}

// metric is a number with three digits and a prefix.
func metric(v float64) string {
	for _, u := range []struct {
		unit string
		size float64
	}{{" G", 1e9}, {" M", 1e6}, {" k", 1e3}} {
		if v >= u.size {
			return fmt.Sprintf("%.3g%s", v/u.size, u.unit)
		}
	}
	return fmt.Sprintf("%.3g", v)
}
