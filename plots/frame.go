package plots

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"vlsbench/internal/summary"

	"gonum.org/v1/plot/vg/draw"
)

// The columns of a page.
const (
	margin   = 20.0
	inner    = Width - 2*margin
	rowHigh  = 23.0
	headHigh = 24.0
	gap      = 8.0
)

// top is what stands over every picture: its title, and where, when and how
// often was measured.
type top struct {
	title    string
	lines    []string // below it
	captions []string // at the foot
}

func newTop(s summary.Summary, title string, page, pages int, caption string) top {
	r := s.Run
	if pages > 1 {
		title += fmt.Sprintf(" (%d of %d)", page+1, pages)
	}
	about := []string{summary.Machine(r), fmt.Sprintf("%d rounds of %v", r.Plan.Rounds, r.Plan.Slot),
		r.Started.Format("2 January 2006"), "run " + r.ID}
	return top{titleFace.fit(title, inner), axisFace.pack(about, " · ", inner), captionFace.pack(strings.Fields(caption+" "+summary.Scope(r)), " ", inner)}
}

// above and below are the space that the frame takes.
func (t top) above() float64 { return margin + 26 + 17*float64(len(t.lines)) + 8 }
func (t top) below() float64 { return 10 + 16*float64(len(t.captions)) + margin/2 }

func (t top) paint(p *page) {
	p.text(margin, margin+8, titleFace, draw.XLeft, t.title)
	for i, l := range t.lines {
		p.text(margin, margin+33+17*float64(i), axisFace, draw.XLeft, l)
	}
	y := p.height - t.below() + 18
	for i, l := range t.captions {
		p.text(margin, y+16*float64(i), captionFace, draw.XLeft, l)
	}
}

// heading writes a cell's name over its rows, and to the right what is to be
// known of its rounds.
func heading(p *page, y float64, c *summary.Cell) {
	p.rect(margin, y, inner, headHigh, wash)
	note, f := fmt.Sprintf("%d rounds", c.Used), axisFace
	if c.Invalid > 0 {
		note = fmt.Sprintf("%d of %d rounds", c.Used, c.Rounds)
	}
	switch {
	case c.Unmeasured():
		note, f = note+": this machine cannot measure this here", alarmFace
	case !c.Quiet:
		note, f = note+", machine not quiet", alarmFace
	}
	p.text(Width-margin-8, y+headHigh/2, f, draw.XRight, note)
	p.text(margin+8, y+headHigh/2, headFace, draw.XLeft, headFace.fit(summary.Describe(c.Cell), inner-30-f.wide(note)))
}

// scale maps values to places.
type scale struct {
	lo, hi     float64 // values
	left, wide float64 // places
	log        bool
}

func (s scale) at(v float64) float64 {
	if s.log {
		return s.left + s.wide*math.Log(v/s.lo)/math.Log(s.hi/s.lo)
	}
	return s.left + s.wide*(v-s.lo)/(s.hi-s.lo)
}

// steps are round numbers from 0 to beyond hi, about n of them.
func steps(hi float64, n int) []float64 {
	if !(hi > 0) || math.IsInf(hi, 1) {
		return []float64{0, 1}
	}
	step := math.Pow(10, math.Floor(math.Log10(hi/float64(n))))
	for _, m := range []float64{1, 2, 5, 10} {
		if hi/(m*step) <= float64(n) {
			step *= m
			break
		}
	}
	var at []float64
	for i := 0; ; i++ {
		at = append(at, float64(i)*step)
		if at[i] >= hi {
			return at
		}
	}
}

// split deals blocks out to pages of limited height, in order.
func split(heights []float64, limit float64) [][]int {
	var pages [][]int
	full := math.Inf(1)
	for i, h := range heights {
		if full+h > limit {
			pages = append(pages, nil)
			full = 0
		}
		last := len(pages) - 1
		pages[last] = append(pages[last], i)
		full += h
	}
	return pages
}

// names are the strategies of all cells, in the order of the plan.
func names(s summary.Summary) []string {
	list := slices.Clone(s.Run.Plan.Strategies)
	seen := make(map[string]bool)
	for _, c := range s.Cells {
		for _, r := range c.Rows {
			if !slices.Contains(list, r.Strategy) {
				list = append(list, r.Strategy)
			}
			seen[r.Strategy] = true
		}
	}
	return slices.DeleteFunc(list, func(n string) bool { return !seen[n] })
}
