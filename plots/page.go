package plots

import (
	"bytes"
	"image/color"
	"io"
	"math"
	"unicode/utf8"

	xfont "golang.org/x/image/font"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/font/liberation"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"
)

// picture is one drawing, to be made in several formats.
type picture struct {
	name   string
	height float64
	paint  func(*page)
}

// formats are those that every picture is written in.
var formats = []struct {
	name string
	draw func(picture, io.Writer) error
}{
	{"png", func(p picture, w io.Writer) error {
		c := vgimg.PngCanvas{Canvas: vgimg.NewWith(vgimg.UseWH(px(Width), px(p.height)), vgimg.UseDPI(96*Scale))}
		p.paint(newPage(c, p.height))
		_, err := c.WriteTo(w)
		return err
	}},
	{"svg", func(p picture, w io.Writer) error {
		c := vgsvg.NewWith(vgsvg.UseWH(px(Width), px(p.height)))
		p.paint(newPage(c, p.height))
		var b bytes.Buffer
		if _, err := c.WriteTo(&b); err != nil {
			return err
		}
		// The canvas names one font only. Those after it have the same widths,
		// or are at least without serifs.
		_, err := w.Write(bytes.ReplaceAll(b.Bytes(), []byte("font-family:Liberation Sans;"),
			[]byte("font-family:'Liberation Sans',Arial,Helvetica,sans-serif;")))
		return err
	}},
}

// px is CSS pixels as a length.
func px(v float64) vg.Length { return vg.Length(v) * vg.Inch / 96 }

// page is a canvas in CSS pixels, with (0, 0) at the top left.
type page struct {
	draw.Canvas
	height  float64
	written func(box) // told of every text and marker, if set: for tests, which look for overlaps
}

func newPage(c vg.CanvasSizer, height float64) *page {
	p := &page{Canvas: draw.New(c), height: height}
	p.rect(0, 0, Width, height, white)
	return p
}

func (p *page) at(x, y float64) vg.Point { return vg.Point{X: px(x), Y: px(p.height - y)} }

// face is how a text looks.
type face struct {
	size float64
	bold bool
	ink  color.Color
}

var (
	titleFace   = face{20, true, black}
	headFace    = face{13, true, black}
	bodyFace    = face{13, false, black}
	axisFace    = face{12, false, grey}
	captionFace = face{11.5, false, grey}
	alarmFace   = face{12, true, alarm}
)

var handler = text.Plain{Fonts: font.NewCache(liberation.Collection())}

func (f face) style(align draw.XAlignment) text.Style {
	fnt := font.Font{Typeface: "Liberation", Variant: "Sans", Size: px(f.size)}
	if f.bold {
		fnt.Weight = xfont.WeightBold
	}
	return text.Style{Color: f.ink, Font: fnt, XAlign: align, YAlign: draw.YCenter, Handler: handler}
}

// wide is the width of a text.
func (f face) wide(s string) float64 { return float64(f.style(draw.XLeft).Width(s)) * 96 / 72 }

// box is where a text stands, or a marker, whose text is empty.
type box struct {
	text                      string
	left, right, middle, size float64
}

// text writes with the middle of the line at y, and x at the left end, the
// middle or the right end.
func (p *page) text(x, y float64, f face, align draw.XAlignment, s string) {
	// The middle of the lower case letters, not of the line, is what the eye
	// compares with a mark beside it.
	p.FillText(f.style(align), p.at(x, y-0.13*f.size), s)
	if p.written != nil {
		left := x + float64(align)*f.wide(s)
		p.written(box{s, left, left + f.wide(s), y, f.size})
	}
}

// pack joins parts to lines of no more than a width, where they allow it.
func (f face) pack(parts []string, with string, width float64) []string {
	var lines []string
	line := ""
	for _, part := range parts {
		part = f.fit(part, width)
		if line != "" && f.wide(line+with+part) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += with
		}
		line += part
	}
	return append(lines, line)
}

// fit shortens a text to a width.
func (f face) fit(s string, width float64) string {
	if f.wide(s) <= width {
		return s
	}
	for s != "" && f.wide(s+"…") > width {
		_, n := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-n]
	}
	return s + "…"
}

func (p *page) rect(x, y, w, h float64, c color.Color) {
	p.FillPolygon(c, []vg.Point{p.at(x, y), p.at(x+w, y), p.at(x+w, y+h), p.at(x, y+h)})
}

func (p *page) line(x0, y0, x1, y1, width float64, c color.Color) {
	p.path(width, c, [2]float64{x0, y0}, [2]float64{x1, y1})
}

func (p *page) path(width float64, c color.Color, points ...[2]float64) {
	var line []vg.Point
	for _, q := range points {
		line = append(line, p.at(q[0], q[1]))
	}
	p.StrokeLines(draw.LineStyle{Color: c, Width: px(width)}, line)
}

// filling is what a marker is filled with.
type filling uint8

const (
	solid  filling = iota
	hollow         // white: nothing is shown
	clear          // nothing: markers may lie on one another
)

// mark draws a strategy's marker.
func (p *page) mark(x, y float64, l look, f filling) {
	const radius = 5.0
	var outline vg.Path
	if l.shape.corners == 0 {
		outline.Move(vg.Point{X: px(x + radius), Y: px(p.height - y)})
		outline.Arc(p.at(x, y), px(radius), 0, 2*math.Pi)
	}
	for i := range l.shape.corners {
		r := radius * 1.25 // of about the same area as the circle
		if l.shape.star && i%2 == 1 {
			r *= 0.45
		}
		angle := l.shape.turn + 2*math.Pi*float64(i)/float64(l.shape.corners)
		at := p.at(x+r*math.Sin(angle), y-r*math.Cos(angle))
		if i == 0 {
			outline.Move(at)
		} else {
			outline.Line(at)
		}
	}
	outline.Close()
	switch f {
	case solid:
		p.SetColor(l.ink)
		p.Fill(outline)
	case hollow:
		p.SetColor(white)
		p.Fill(outline)
	}
	p.SetLineStyle(draw.LineStyle{Color: l.ink, Width: px(1.8)})
	p.Stroke(outline)
	if p.written != nil {
		p.written(box{"", x - radius, x + radius, y, 2 * radius})
	}
}
