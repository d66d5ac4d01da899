package plots

import (
	"hash/fnv"
	"image/color"
	"math"
	"sort"
	"strings"
)

var (
	white = color.RGBA{255, 255, 255, 255}
	black = color.RGBA{26, 26, 26, 255}
	grey  = color.RGBA{90, 90, 90, 255}
	pale  = color.RGBA{225, 225, 225, 255} // grid
	wash  = color.RGBA{243, 244, 246, 255} // behind headings
	band  = color.RGBA{221, 228, 236, 255} // the margin
	alarm = color.RGBA{176, 48, 0, 255}
)

// look is how a strategy is drawn.
type look struct {
	ink   color.RGBA
	shape shape
}

// shape is a regular polygon or star of a marker; a circle without corners.
type shape struct {
	corners int
	turn    float64 // of the first corner, clockwise from the top
	star    bool
}

var (
	circle   = shape{}
	square   = shape{corners: 4, turn: math.Pi / 4}
	diamond  = shape{corners: 4}
	upward   = shape{corners: 3}
	downward = shape{corners: 3, turn: math.Pi}
	pentagon = shape{corners: 5}
	hexagon  = shape{corners: 6}
	star5    = shape{corners: 10, star: true}
	star4    = shape{corners: 8, star: true}
)

// The colours are those of Okabe and Ito, which people who do not tell red from
// green tell apart; the yellow is darkened to be seen on white. No two share a
// marker, so that they are told apart in black and white too.
var looks = map[string]look{
	"null":        {color.RGBA{118, 118, 118, 255}, diamond},
	"global":      {color.RGBA{213, 94, 0, 255}, square},
	"shared":      {color.RGBA{230, 159, 0, 255}, upward},
	"perworker":   {color.RGBA{0, 114, 178, 255}, circle},
	"spoolrw":     {color.RGBA{86, 180, 233, 255}, downward},
	"migrate":     {color.RGBA{204, 121, 167, 255}, pentagon},
	"lockfree":    {color.RGBA{0, 158, 115, 255}, star5},
	"delegate":    {color.RGBA{158, 142, 0, 255}, hexagon},
	"kernel-unix": {color.RGBA{0, 0, 0, 255}, star4},
	"kernel-tcp":  {color.RGBA{95, 60, 20, 255}, star4},
}

var (
	strangerInks = []color.RGBA{{136, 34, 85, 255}, {51, 34, 136, 255}, {17, 119, 51, 255}, {128, 70, 27, 255},
		{0, 104, 120, 255}, {122, 80, 170, 255}, {150, 30, 30, 255}}
	strangerShapes = []shape{circle, square, diamond, upward, downward, pentagon, hexagon, star5, star4}
)

// palette gives every name its look. A name's look depends on nothing else: a
// variant "x-something" of a known x is x in a darker shade, and any other name
// decides by its hash. Only if two names of one run would look the same does
// the later in the alphabet take the next marker.
func palette(names []string) map[string]look {
	sorted := append([]string(nil), names...)
	sort.Strings(sorted)
	taken := make(map[look]bool)
	given := make(map[string]look)
	for _, n := range sorted {
		l, known := looks[n]
		if !known {
			l = stranger(n)
		}
		for tries := 0; taken[l] && tries < len(strangerShapes); tries++ {
			for i, s := range strangerShapes {
				if s == l.shape {
					l.shape = strangerShapes[(i+1)%len(strangerShapes)]
					break
				}
			}
		}
		taken[l] = true
		given[n] = l
	}
	return given
}

func stranger(name string) look {
	if base, _, variant := strings.Cut(name, "-"); variant {
		if l, known := looks[base]; known {
			shade := func(v uint8) uint8 { return uint8(float64(v) * 0.6) }
			l.ink = color.RGBA{shade(l.ink.R), shade(l.ink.G), shade(l.ink.B), 255}
			return l
		}
	}
	h := fnv.New32a()
	h.Write([]byte(name))
	sum := h.Sum32()
	return look{
		strangerInks[sum%uint32(len(strangerInks))],
		strangerShapes[sum/uint32(len(strangerInks))%uint32(len(strangerShapes))],
	}
}
