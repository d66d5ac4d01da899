package plots

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"vlsbench/internal/summary"

	"github.com/HdrHistogram/hdrhistogram-go"
	"gonum.org/v1/plot/vg/draw"
)

// tail is how many samples must lie beyond a percentile for it to be drawn.
const tail = 10

// latencies draws the percentiles of every cell that has them, one panel a
// cell, all on the same axes.
func latencies(s summary.Summary) []picture {
	var with []*summary.Cell
	lo, hi := math.Inf(1), 0.0
	deepest := 1.0
	for i := range s.Cells {
		has := false
		for _, r := range s.Cells[i].Rows {
			if h := r.Latency; h != nil && depth(h) > 0 {
				has = true
				lo = min(lo, float64(h.ValueAtQuantile(0)))
				hi = max(hi, float64(h.ValueAtQuantile(quantile(depth(h)))))
				deepest = max(deepest, depth(h))
			}
		}
		if has {
			with = append(with, &s.Cells[i])
		}
	}
	if len(with) == 0 {
		return nil
	}
	// From a power of ten to twice, five or ten times one.
	y := decade(max(lo, 1), hi)
	look := palette(names(s))
	const across, panelHigh, perPage = 2, 320.0, 6
	columns := min(across, len(with))
	wide := (inner - 20*float64(columns-1)) / float64(columns)
	// The legend, in as many lines as it needs.
	var legend [][]string
	room := 0.0
	for _, n := range names(s) {
		if room -= entryWide(n); room < 0 {
			legend = append(legend, nil)
			room = inner - entryWide(n)
		}
		legend[len(legend)-1] = append(legend[len(legend)-1], n)
	}
	var pictures []picture
	for first := 0; first < len(with); first += perPage {
		cells := with[first:min(first+perPage, len(with))]
		t := newTop(s, "Latency by percentile", first/perPage, (len(with)+perPage-1)/perPage, fmt.Sprintf(
			"All samples of the valid rounds together. A line ends where fewer than %d lie beyond. The horizontal axis is logarithmic in the share that lies beyond.", tail))
		legendHigh := 24*float64(len(legend)) + 8
		rows := float64((len(cells) + columns - 1) / columns)
		pictures = append(pictures, picture{numbered("latency", first/perPage), t.above() + legendHigh + rows*panelHigh + t.below(), func(p *page) {
			t.paint(p)
			for i, line := range legend {
				x, y := margin+8, t.above()+8+24*float64(i)
				for _, n := range line {
					p.line(x-6, y, x+18, y, 2, look[n].ink)
					p.mark(x+6, y, look[n], hollow)
					p.text(x+25, y, bodyFace, draw.XLeft, n)
					x += entryWide(n)
				}
			}
			for i, c := range cells {
				left := margin + float64(i%columns)*(wide+20)
				panel(p, c, left, t.above()+legendHigh+float64(i/columns)*panelHigh, wide, panelHigh-16, deepest, y, look)
			}
		}})
	}
	return pictures
}

func entryWide(name string) float64 { return 51 + bodyFace.wide(name) }

// depth is log10(1/(1-p)) of the last percentile p that is drawn.
func depth(h *hdrhistogram.Histogram) float64 {
	return math.Log10(float64(h.TotalCount()) / tail)
}

// quantile is the percentile, in hundredths, at a depth.
func quantile(depth float64) float64 { return 100 * (1 - math.Pow(10, -depth)) }

// decade is a logarithmic scale around a range, its ends round.
func decade(lo, hi float64) scale {
	s := scale{lo: math.Pow10(int(math.Floor(math.Log10(lo)))), log: true}
	for _, m := range []float64{5, 2} {
		if s.lo*m <= lo {
			s.lo *= m
			break
		}
	}
	s.hi = math.Pow10(int(math.Floor(math.Log10(hi))))
	for _, m := range []float64{1, 2, 5, 10} {
		if s.hi*m >= hi {
			s.hi *= m
			break
		}
	}
	if s.hi <= s.lo {
		s.hi = 10 * s.lo
	}
	return s
}

func panel(p *page, c *summary.Cell, left, top, wide, high, deepest float64, y scale, looks map[string]look) {
	const titleHigh, axisHigh, axisWide = 42, 44, 62
	p.rect(left, top, wide, titleHigh-6, wash)
	words := strings.SplitN(summary.Describe(c.Cell), ", ", 2)
	note, f := fmt.Sprintf("%d rounds", c.Used), axisFace
	if !c.Quiet {
		note, f = "machine not quiet", alarmFace
	}
	if c.Unmeasured() {
		note, f = "too many invalid rounds", alarmFace
	}
	p.text(left+8, top+10, headFace, draw.XLeft, headFace.fit(words[0], wide/2))
	p.text(left+wide-8, top+10, f, draw.XRight, note)
	p.text(left+8, top+26, axisFace, draw.XLeft, axisFace.fit(words[1], wide-16))

	x := scale{lo: 0, hi: deepest, left: left + axisWide, wide: wide - axisWide - 14}
	y.left, y.wide = top+high-axisHigh, -(high - axisHigh - titleHigh)
	for decade := math.Pow10(int(math.Floor(math.Log10(y.lo)))); decade <= y.hi*1.001; decade *= 10 {
		for _, m := range []float64{1, 2, 5} {
			v := decade * m
			if v < y.lo*0.999 || v > y.hi*1.001 {
				continue
			}
			p.line(x.left, y.at(v), x.left+x.wide, y.at(v), 1, pale)
			// With more than three decades only the powers of ten are written.
			if m == 1 || y.hi/y.lo <= 1001 {
				p.text(x.left-8, y.at(v), axisFace, draw.XRight, plainNanos(v))
			}
		}
	}
	end := math.Inf(-1) // of the last label
	for _, q := range []float64{0, 50, 90, 99, 99.9, 99.99, 99.999, 99.9999} {
		d := -math.Log10(1 - q/100)
		if d > deepest {
			break
		}
		p.line(x.at(d), y.at(y.lo), x.at(d), y.at(y.hi), 1, pale)
		label := "p" + strconv.FormatFloat(q, 'f', -1, 64)
		if q == 0 {
			label = "min"
		}
		if half := axisFace.wide(label) / 2; x.at(d)-half > end+5 {
			p.text(x.at(d), y.left+13, axisFace, draw.XCenter, label)
			end = x.at(d) + half
		}
	}
	p.line(x.left, y.left, x.left+x.wide, y.left, 1, grey)
	p.line(x.left, y.left, x.left, y.left+y.wide, 1, grey)
	p.text(x.left+x.wide/2, y.left+31, axisFace, draw.XCenter, "percentile of the samples")

	for _, r := range c.Rows {
		if r.Latency == nil {
			continue
		}
		l := looks[r.Strategy]
		to := depth(r.Latency)
		var line [][2]float64
		for d := 0.0; d <= to; d += deepest / 200 {
			line = append(line, [2]float64{x.at(d), y.at(max(y.lo, float64(r.Latency.ValueAtQuantile(quantile(d)))))})
		}
		if len(line) < 2 {
			continue
		}
		p.path(2, l.ink, line...)
		for _, q := range []float64{50, 90, 99, 99.9, 99.99, 99.999} {
			if d := -math.Log10(1 - q/100); d <= to {
				p.mark(x.at(d), y.at(max(y.lo, float64(r.Latency.ValueAtQuantile(q)))), l, clear)
			}
		}
	}
}

// plainNanos is a round time without decimals.
func plainNanos(ns float64) string {
	switch {
	case ns >= 0.999e9:
		return strconv.FormatFloat(ns/1e9, 'f', 0, 64) + " s"
	case ns >= 0.999e6:
		return strconv.FormatFloat(ns/1e6, 'f', 0, 64) + " ms"
	case ns >= 0.999e3:
		return strconv.FormatFloat(ns/1e3, 'f', 0, 64) + " µs"
	}
	return strconv.FormatFloat(ns, 'f', 0, 64) + " ns"
}
