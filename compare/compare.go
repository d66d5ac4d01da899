// Package compare says by what factor things differ, and whether that is shown.
// It is for paired observations: rounds in which everything was measured once,
// one shortly after another, so that what drifts from round to round cancels.
//
// There is one primary analysis, and the verdict is read from nothing else: the
// median over the rounds of log(value / baseline's value), with a bootstrap
// interval that holds for all comparisons of a [Family] at once. Its ends are
// order statistics. How far out they must lie is found by resampling whole
// rounds, which keeps the dependence that a shared baseline puts between the
// comparisons: each resample counts, for every comparison, the rounds above and
// below its median, and the ends are set where [Confidence] of the resamples
// stay inside in all comparisons together. For a single comparison that is the
// exact, distribution-free interval of a median; for several it is narrower
// than Bonferroni's, the more so the more they go together.
//
// A Wilcoxon signed-rank test with Holm's correction stands beside it as a
// check only: whoever shows a result may say where it disagrees.
//
// Note: the percentiles of resampled medians were tried first. They miss more
// often than they say, clearly so below 20 rounds; TestCoverage holds what
// stands here to its promise. BCa does not mend them: its acceleration comes
// from a jackknife, which sees no more of a median than two values.
package compare

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/montanaflynn/stats"
)

const (
	// Margin is the smallest difference that is called one: ratios from
	// 1/(1+Margin) to 1+Margin count as the same. One build on one machine
	// supports no finer claim, since the placement of code alone moves a result
	// by more than half of it.
	Margin = 0.02
	// MinRounds is how many rounds a cell should have. With fewer there is still
	// a result, and a warning.
	MinRounds = 50
	// Confidence is that of the intervals over a whole family.
	Confidence = 0.95
	// Resamples is the number of bootstrap resamples.
	Resamples = 4000
)

// Cell is the paired observations of one experiment.
type Cell struct {
	Label string
	Names []string // of what was measured
	// Rounds[r][i] is what Names[i] did in round r, higher being better: a rate,
	// or the reciprocal of a time. NaN, and what is not above zero, stands for
	// missing or invalid, and leaves out the whole round.
	Rounds [][]float64
}

// Family is the comparisons that are corrected for one another: all that a
// reader would choose the most striking from. Cells are taken as independent.
type Family struct {
	Baseline string // a cell without it has no estimates, and a warning
	Cells    []Cell
}

// Verdict is what is claimed of one comparison.
type Verdict uint8

const (
	// NotShown says that the rounds do not decide.
	NotShown Verdict = iota
	// Different says that the interval lies wholly beyond the margin.
	Different
	// Equivalent says that the interval lies wholly within the margin.
	Equivalent
)

func (v Verdict) String() string {
	switch v {
	case Different:
		return "different"
	case Equivalent:
		return "equivalent"
	}
	return "~"
}

// Estimate is one name against the baseline in one cell.
type Estimate struct {
	Name    string
	Ratio   float64 // median over the rounds of name / baseline
	Lo, Hi  float64 // its interval, simultaneous over the family
	P       float64 // of the check: signed-rank, two-sided, Holm over the family
	Verdict Verdict
}

// Word is the verdict with its direction: "faster", "slower", "equivalent" or
// "~".
func (e Estimate) Word() string {
	switch {
	case e.Verdict != Different:
		return e.Verdict.String()
	case e.Ratio > 1:
		return "faster"
	}
	return "slower"
}

// CellResult is what came out for one cell.
type CellResult struct {
	Label     string
	Used      int        // rounds
	LeftOut   int        // rounds with a value missing or invalid
	Estimates []Estimate // in the order of Names, without the baseline
}

// Warning is something that weakens a result.
type Warning struct {
	Cell string // its label
	What string
}

func (w Warning) String() string { return w.Cell + ": " + w.What }

// Result is what came out for a family, its cells in the family's order.
type Result struct {
	Cells    []CellResult
	Warnings []Warning
}

// group is the comparisons of one cell at work: they have their rounds in
// common.
type group struct {
	cell    int // in the family
	rounds  int
	columns []int       // of the names that are compared
	sorted  [][]float64 // log ratios of each, rising
	sides   []int8      // sides[r*len(columns)+i]: is round r above (1), below (-1) or at the median
	p       []float64
}

// Analyse compares every name of every cell with the baseline of that cell. The
// same family and seed give the same result. An error is a malformed family;
// too little data is no error but a warning.
func Analyse(f Family, seed uint64) (Result, error) {
	var res Result
	var groups []*group
	for i, c := range f.Cells {
		if err := c.check(); err != nil {
			return Result{}, err
		}
		rows := c.complete()
		res.Cells = append(res.Cells, CellResult{Label: c.Label, Used: len(rows), LeftOut: len(c.Rounds) - len(rows)})
		base := slices.Index(c.Names, f.Baseline)
		switch {
		case base < 0:
			res.warn(c.Label, "no baseline %q here, so nothing to compare with", f.Baseline)
		case len(c.Names) == 1:
		case len(rows) == 0:
			res.warn(c.Label, "no complete round")
		default:
			if len(rows) < MinRounds {
				res.warn(c.Label, "%d rounds where %d are asked for: the intervals are wide", len(rows), MinRounds)
			}
			groups = append(groups, newGroup(i, rows, base))
		}
	}
	if len(groups) == 0 {
		return res, nil
	}

	limit := calibrate(groups, rand.New(rand.NewPCG(seed, 0)))
	holm(groups)
	for _, g := range groups {
		c := &res.Cells[g.cell]
		k := depth(g.rounds, limit)
		if k < 0 {
			res.warn(c.Label, "%d rounds are too few for intervals that hold for all comparisons: no verdicts", g.rounds)
		}
		for i, col := range g.columns {
			x := g.sorted[i]
			median, err := stats.Median(x)
			if err != nil {
				return Result{}, fmt.Errorf("compare: %s: %w", c.Label, err)
			}
			e := Estimate{Name: f.Cells[g.cell].Names[col], Ratio: math.Exp(median), P: g.p[i]}
			e.Lo, e.Hi = math.Exp(x[max(k, 0)]), math.Exp(x[len(x)-1-max(k, 0)])
			if k >= 0 {
				e.Verdict = judge(e.Lo, e.Hi)
			}
			c.Estimates = append(c.Estimates, e)
		}
	}
	return res, nil
}

func (r *Result) warn(cell, format string, args ...any) {
	r.Warnings = append(r.Warnings, Warning{cell, fmt.Sprintf(format, args...)})
}

func (c Cell) check() error {
	for i, n := range c.Names {
		if slices.Contains(c.Names[:i], n) {
			return fmt.Errorf("compare: %s: the name %q stands there twice", c.Label, n)
		}
	}
	for r, row := range c.Rounds {
		if len(row) != len(c.Names) {
			return fmt.Errorf("compare: %s: round %d has %d values for %d names", c.Label, r, len(row), len(c.Names))
		}
	}
	return nil
}

// complete is the rounds in which everything is there.
func (c Cell) complete() [][]float64 {
	var rows [][]float64
	for _, row := range c.Rounds {
		if !slices.ContainsFunc(row, func(v float64) bool { return !(v > 0) || math.IsInf(v, 1) }) {
			rows = append(rows, row)
		}
	}
	return rows
}

// judge reads the verdict from an interval of ratios.
func judge(lo, hi float64) Verdict {
	const up, down = 1 + Margin, 1 / (1 + Margin)
	switch {
	case lo > up || hi < down:
		return Different
	case lo >= down && hi <= up:
		return Equivalent
	}
	return NotShown
}

// newGroup compares the columns of complete rounds with column base.
func newGroup(cell int, rows [][]float64, base int) *group {
	g := &group{cell: cell, rounds: len(rows)}
	for col := range rows[0] {
		if col != base {
			g.columns = append(g.columns, col)
		}
	}
	g.sides = make([]int8, len(rows)*len(g.columns))
	for i, col := range g.columns {
		logs := make([]float64, len(rows))
		order := make([]int, len(rows))
		for r, row := range rows {
			logs[r], order[r] = math.Log(row[col]/row[base]), r
		}
		slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(logs[a], logs[b]) })
		// By place and not by value: rounds that tie with the median count half
		// above and half below.
		for at, r := range order {
			g.sides[r*len(g.columns)+i] = int8(cmp.Compare(2*at+1, len(rows)))
		}
		g.p = append(g.p, signedRank(logs))
		slices.Sort(logs)
		g.sorted = append(g.sorted, logs)
	}
	return g
}

// calibrate returns the binomial tail below which an order statistic must stay,
// so that Confidence of the resamples have no comparison outside.
func calibrate(groups []*group, rng *rand.Rand) float64 {
	least := make([]float64, Resamples) // the most extreme tail in each resample
	for b := range least {
		least[b] = 1
	}
	for _, g := range groups {
		tail := binomialTail(g.rounds)
		m := len(g.columns)
		sum := make([]int, m) // rounds above less rounds below, as drawn
		for b := range least {
			clear(sum)
			for range g.rounds {
				r := int(rng.Uint32N(uint32(g.rounds)))
				for i, side := range g.sides[r*m : r*m+m] {
					sum[i] += int(side)
				}
			}
			most := 0
			for _, s := range sum {
				most = max(most, s, -s)
			}
			least[b] = min(least[b], tail[(g.rounds-most)/2])
		}
	}
	slices.Sort(least)
	return least[int(math.Round((1-Confidence)*Resamples))]
}

// depth is how many of n values lie outside an interval on each side, -1 if
// even the widest is too narrow.
func depth(n int, limit float64) int {
	k := -1
	for tail := binomialTail(n); k+1 < len(tail) && tail[k+1] < limit; k++ {
	}
	return k
}

// binomialTail returns, for k up to n/2, the probability that at most k of n
// values lie above their true median: with which the k-th order statistic,
// counted from 0, misses it.
func binomialTail(n int) []float64 {
	tail := make([]float64, n/2+1)
	sum := 0.0
	for k := range tail {
		all, _ := math.Lgamma(float64(n + 1))
		in, _ := math.Lgamma(float64(k + 1))
		out, _ := math.Lgamma(float64(n - k + 1))
		sum += math.Exp(all - in - out - float64(n)*math.Ln2)
		tail[k] = sum
	}
	return tail
}
