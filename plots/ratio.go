package plots

import (
	"fmt"
	"math"
	"slices"
	"strconv"

	"vlsbench/compare"
	"vlsbench/internal/summary"

	"gonum.org/v1/plot/vg/draw"
)

// pageHigh is how high the rows of one picture may become.
const pageHigh = 1200

// ratios draws every comparison as a point with its interval on one axis, cell
// by cell, beside the figures and the verdict.
func ratios(s summary.Summary) []picture {
	var heights []float64
	lo, hi := 1/1.1, 1.1
	any := false
	for _, c := range s.Cells {
		n := 0
		for _, r := range c.Rows {
			if r.Ratio != nil {
				n++
				lo, hi = min(lo, r.Ratio.Lo), max(hi, r.Ratio.Hi)
			}
		}
		any = any || n > 0
		heights = append(heights, headHigh+rowHigh*float64(max(n, 1))+gap)
	}
	if !any {
		return nil
	}
	// The same axis on all pages; room for markers at its ends.
	x := scale{lo: lo, hi: hi, left: margin + 130, wide: 460, log: true}
	pad := math.Pow(x.hi/x.lo, 0.04)
	x.lo, x.hi = x.lo/pad, x.hi*pad
	ticks := ratioTicks(x)
	look := palette(names(s))
	pages := split(heights, pageHigh)
	var pictures []picture
	for i, cells := range pages {
		t := newTop(s, "Throughput relative to "+s.Baseline, i, len(pages), fmt.Sprintf(
			"Points: medians of the paired rounds; lines: intervals that hold for all of a workload at once at %.0f %%; band: ±%.0f %%. Faster and slower lie wholly beyond it, equivalent wholly within; ~ (hollow): not shown.",
			100*compare.Confidence, 100*compare.Margin))
		rows := 0.0
		for _, c := range cells {
			rows += heights[c]
		}
		pictures = append(pictures, picture{numbered("ratio", i), t.above() + rows + axisHigh + t.below(), func(p *page) {
			t.paint(p)
			y := t.above()
			bottom := y + rows
			for _, c := range cells {
				cell := &s.Cells[c]
				heading(p, y, cell)
				y += headHigh
				if !compared(cell) {
					p.text(margin+8, y+rowHigh/2, axisFace, draw.XLeft, "no ratio: "+why(cell, s.Baseline))
					y += rowHigh + gap
					continue
				}
				// The band and the grid stop at headings, which they would cross.
				area := heights[c] - headHigh - gap
				p.rect(x.at(1/(1+compare.Margin)), y, x.at(1+compare.Margin)-x.at(1/(1+compare.Margin)), area, band)
				for _, tick := range ticks {
					p.line(x.at(tick), y, x.at(tick), y+area, 1, pale)
				}
				p.line(x.at(1), y, x.at(1), y+area, 1.2, grey)
				for _, r := range cell.Rows {
					e := r.Ratio
					if e == nil {
						continue
					}
					mid := y + rowHigh/2
					l := look[r.Strategy]
					p.text(x.left-12, mid, bodyFace, draw.XRight, bodyFace.fit(r.Strategy, x.left-margin-16))
					p.line(x.at(e.Lo), mid, x.at(e.Hi), mid, 2.6, l.ink)
					for _, end := range []float64{e.Lo, e.Hi} {
						p.line(x.at(end), mid-7, x.at(end), mid+7, 1.6, l.ink)
					}
					fill := solid
					if e.Verdict == compare.NotShown {
						fill = hollow
					}
					p.mark(x.at(e.Ratio), mid, l, fill)
					p.text(Width-margin-98, mid, bodyFace, draw.XRight, fmt.Sprintf("%s [%s, %s]", summary.Ratio(e.Ratio), summary.Ratio(e.Lo), summary.Ratio(e.Hi)))
					f := bodyFace
					f.bold = e.Verdict == compare.Different
					p.text(Width-margin-82, mid, f, draw.XLeft, e.Word())
					y += rowHigh
				}
				y += gap
			}
			p.line(x.left, bottom, x.left+x.wide, bottom, 1, grey)
			for _, tick := range ticks {
				p.line(x.at(tick), bottom, x.at(tick), bottom+5, 1, grey)
				p.text(x.at(tick), bottom+14, axisFace, draw.XCenter, strconv.FormatFloat(tick, 'g', 4, 64))
			}
			p.text(x.left, bottom+33, axisFace, draw.XLeft, "slower")
			p.text(x.left+x.wide/2, bottom+33, axisFace, draw.XCenter, "throughput / that of "+s.Baseline+" (log scale)")
			p.text(x.left+x.wide, bottom+33, axisFace, draw.XRight, "faster")
		}})
	}
	return pictures
}

func compared(c *summary.Cell) bool {
	return slices.ContainsFunc(c.Rows, func(r summary.Row) bool { return r.Ratio != nil })
}

// why says why a cell has no ratio.
func why(c *summary.Cell, baseline string) string {
	for _, r := range c.Rows {
		if r.Baseline {
			if len(c.Rows) == 1 {
				return "only " + baseline + " was run here"
			}
			return "no complete round"
		}
	}
	return baseline + " was not run here"
}

// ratioTicks are round factors on both sides of 1: the roundest first, and of
// the others those for which there is room.
func ratioTicks(x scale) []float64 {
	const room = 38
	ticks := []float64{1}
	add := func(v float64) {
		if v < x.lo || v > x.hi {
			return
		}
		for _, t := range ticks {
			if math.Abs(x.at(t)-x.at(v)) < room {
				return
			}
		}
		ticks = append(ticks, v)
	}
	for _, mantissas := range [][]float64{{1}, {2, 5}, {1.5, 3, 7}} {
		for e := math.Floor(math.Log10(x.lo)); e <= math.Log10(x.hi); e++ {
			for _, m := range mantissas {
				// From the printed form, so that 0.3 is 0.3.
				if v, err := strconv.ParseFloat(fmt.Sprintf("%ge%g", m, e), 64); err == nil {
					add(v)
				}
			}
		}
	}
	for _, grid := range []struct{ step, last int }{{50, 400}, {20, 200}, {10, 200}, {5, 125}, {2, 110}} {
		for v := grid.step; v <= grid.last; v += grid.step { // in hundredths
			add(float64(v) / 100)
		}
	}
	return ticks
}
