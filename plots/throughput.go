package plots

import (
	"fmt"
	"strconv"

	"vlsbench/internal/summary"

	"gonum.org/v1/plot/vg/draw"
)

// axisHigh is the height of an axis with its numbers and its name.
const axisHigh = 46

// group is the cells whose rates may be compared by eye, on one axis: messages
// of different sizes may not.
type group struct {
	workload string
	size     int
}

// throughput draws the median rate of every strategy as a bar from zero, cell
// by cell.
func throughput(s summary.Summary) []picture {
	most := make(map[group]float64) // that is drawn
	var order []group
	members := make(map[group][]*summary.Cell)
	any := false
	for i := range s.Cells {
		c := &s.Cells[i]
		g := group{c.Workload, c.Size}
		if members[g] == nil {
			order = append(order, g)
		}
		members[g] = append(members[g], c)
		for _, r := range c.Rows {
			most[g] = max(most[g], r.Rate.Hi)
		}
		any = any || c.Used > 0
	}
	if !any {
		return nil
	}
	var list []*summary.Cell
	var heights []float64
	for _, g := range order {
		for i, c := range members[g] {
			h := headHigh + rowHigh*float64(len(c.Rows)) + gap
			if i == len(members[g])-1 {
				h += axisHigh
			}
			list, heights = append(list, c), append(heights, h)
		}
	}
	look := palette(names(s))
	pages := split(heights, pageHigh)
	var pictures []picture
	for i, cells := range pages {
		t := newTop(s, "Throughput", i, len(pages), "Bars: medians over the rounds; lines: from the lower to the upper quartile.")
		rows := 0.0
		for _, c := range cells {
			rows += heights[c]
		}
		// A page that ends in the middle of a group has its axis too.
		final := cells[len(cells)-1]
		ends := func(i int) bool {
			return i == final || group{list[i].Workload, list[i].Size} != group{list[i+1].Workload, list[i+1].Size}
		}
		if final+1 < len(list) && list[final].Workload == list[final+1].Workload && list[final].Size == list[final+1].Size {
			rows += axisHigh
		}
		pictures = append(pictures, picture{numbered("throughput", i), t.above() + rows + t.below(), func(p *page) {
			t.paint(p)
			y := t.above()
			for _, c := range cells {
				cell := list[c]
				ticks := steps(most[group{cell.Workload, cell.Size}], 8)
				x := scale{lo: 0, hi: ticks[len(ticks)-1], left: margin + 130, wide: 560}
				heading(p, y, cell)
				y += headHigh
				area := rowHigh * float64(len(cell.Rows))
				for _, tick := range ticks {
					p.line(x.at(tick), y, x.at(tick), y+area, 1, pale)
				}
				for _, r := range cell.Rows {
					mid := y + rowHigh/2
					l := look[r.Strategy]
					p.text(x.left-24, mid, bodyFace, draw.XRight, bodyFace.fit(r.Strategy, x.left-margin-30))
					p.mark(x.left-12, mid, l, solid)
					if cell.Used == 0 {
						p.text(x.left+8, mid, axisFace, draw.XLeft, "no valid round")
					} else {
						p.rect(x.left, mid-7, x.at(r.Rate.Median)-x.left, 14, l.ink)
						p.path(1.4, black, [2]float64{x.at(r.Rate.Lo), mid}, [2]float64{x.at(r.Rate.Hi), mid})
						for _, end := range []float64{r.Rate.Lo, r.Rate.Hi} {
							p.line(x.at(end), mid-4, x.at(end), mid+4, 1.4, black)
						}
						p.text(Width-margin-8, mid, bodyFace, draw.XRight, summary.Rate(r.Rate.Median)+" "+cell.Unit)
					}
					y += rowHigh
				}
				p.line(x.left, y-area, x.left, y, 1.2, grey)
				y += gap
				if ends(c) {
					p.line(x.left, y, x.left+x.wide, y, 1, grey)
					factor, prefix := 1.0, ""
					switch top := x.hi; {
					case top >= 2e6:
						factor, prefix = 1e6, "million "
					case top >= 2e3:
						factor, prefix = 1e3, "thousand "
					}
					for _, tick := range ticks {
						p.line(x.at(tick), y, x.at(tick), y+5, 1, grey)
						p.text(x.at(tick), y+14, axisFace, draw.XCenter, strconv.FormatFloat(tick/factor, 'g', 4, 64))
					}
					p.text(x.left+x.wide/2, y+31, axisFace, draw.XCenter, fmt.Sprintf("%s%s (%s, %s)", prefix, cell.Unit, cell.Workload, summary.Size(cell.Size)))
					y += axisHigh
				}
			}
		}})
	}
	return pictures
}
