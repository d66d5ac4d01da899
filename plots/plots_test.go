package plots

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"image"
	"image/draw"
	"image/png"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"vlsbench/internal/summary"
	"vlsbench/internal/summary/summarytest"
	"vlsbench/results"

	"gonum.org/v1/plot/vg/vgsvg"
)

func summarized(t *testing.T, set *results.Set) summary.Summary {
	t.Helper()
	s, err := summary.Summarize(set, 1)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// texts are what an SVG file says, after a check that it is well-formed.
func texts(t *testing.T, path string) []string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(data, []byte("'Liberation Sans',Arial,")) || bytes.Contains(data, []byte("family:Liberation Sans;")) {
		t.Errorf("%s: a font without others to fall back to", path)
	}
	var all []string
	d := xml.NewDecoder(bytes.NewReader(data))
	inText := false
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		switch token := token.(type) {
		case xml.StartElement:
			inText = token.Name.Local == "text"
		case xml.EndElement:
			inText = false
		case xml.CharData:
			if inText {
				all = append(all, string(token))
			}
		}
	}
}

func TestWrite(t *testing.T) {
	for _, c := range []struct {
		name string
		set  *results.Set
		want []string // files without their extension
		say  map[string][]string
	}{
		{"plain", summarytest.Set(60), []string{"throughput", "ratio", "latency"}, map[string][]string{
			"throughput": {"Throughput", "null", "global", "perworker", "71.8 M msgs/s", "million msgs/s (uni, 64 B)", "701 k trips/s",
				"uni, 2 processes, 2 threads, 1 session, 4 KB, spin", "57 of 60 rounds",
				"Example CPU 3000 @ 2.50GHz, 2 virtual cores · 60 rounds of 20ms · 2 January 2026 · run 20260102-030405-quick"},
			"ratio":   {"Throughput relative to global", "null", "perworker", "faster", "equivalent", "~", "1.004 [0.992, 1.016]", "throughput / that of global (log scale)"},
			"latency": {"Latency by percentile", "null", "global", "perworker", "p50", "p99.9", "100 µs", "percentile of the samples"},
		}},
		{"hard", hard(), []string{"throughput", "throughput-2", "throughput-3", "ratio", "ratio-2", "latency"}, map[string][]string{
			"throughput": {"Throughput (1 of 3)", "somebodys-o…"},
			"ratio":      {"no ratio: global was not run here", "no ratio: no complete round", "0 of 55 rounds: this machine cannot measure this here"},
			"ratio-2":    {"Throughput relative to global (2 of 2)", "52 of 55 rounds, machine not quiet"},
			"latency":    {"machine not quiet", "somebodys-own-strategy"},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "a", "b")
			paths, err := Write(dir, summarized(t, c.set))
			if err != nil {
				t.Fatal(err)
			}
			var want []string
			for _, n := range c.want {
				want = append(want, filepath.Join(dir, n+".png"), filepath.Join(dir, n+".svg"))
			}
			if !slices.Equal(paths, want) {
				t.Fatalf("wrote\n%q\nwant\n%q", paths, want)
			}
			for _, path := range paths {
				name := strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
				if filepath.Ext(path) == ".png" {
					checkPNG(t, path)
					continue
				}
				said := texts(t, path)
				for _, s := range c.say[name] {
					if !slices.Contains(said, s) {
						t.Errorf("%s does not say %q but\n%q", path, s, said)
					}
				}
				// Rule or not, no picture goes without its scope.
				if !strings.Contains(strings.Join(said, " "), "Scope: 2 virtual cores, Go,") {
					t.Errorf("%s does not say its scope", path)
				}
			}
		})
	}
}

func checkPNG(t *testing.T, path string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	img, err := png.Decode(f)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	size := img.Bounds().Size()
	if size.X != Width*Scale || size.Y < 200*Scale || size.Y > (pageHigh+500)*Scale {
		t.Errorf("%s is %v pixels", path, size)
	}
	rgba := image.NewRGBA(img.Bounds())
	draw.Draw(rgba, rgba.Bounds(), img, image.Point{}, draw.Src)
	// Something is drawn in the middle, and nothing runs into the edges.
	ink := 0
	for y := range size.Y {
		for x := range size.X {
			at := rgba.PixOffset(x, y)
			if rgba.Pix[at] == 255 && rgba.Pix[at+1] == 255 && rgba.Pix[at+2] == 255 {
				continue
			}
			ink++
			if x < 10*Scale || x >= size.X-10*Scale || y < 8*Scale || y >= size.Y-6*Scale {
				t.Fatalf("%s: ink at (%d, %d) of %v", path, x, y, size)
			}
		}
	}
	if ink < size.X*size.Y/100 {
		t.Errorf("%s is empty", path)
	}
}

// No text lies on another, or on a marker.
func TestNoTextOverlaps(t *testing.T) {
	sets := map[string]*results.Set{"plain": summarytest.Set(60), "hard": hard()}
	for name, set := range sets {
		s := summarized(t, set)
		for _, p := range slices.Concat(throughput(s), ratios(s), latencies(s)) {
			var boxes []box
			paper := newPage(vgsvg.New(px(Width), px(p.height)), p.height)
			paper.written = func(b box) { boxes = append(boxes, b) }
			p.paint(paper)
			if len(boxes) < 10 {
				t.Errorf("%s, %s: %d texts", name, p.name, len(boxes))
			}
			for i, a := range boxes {
				if a.left < margin-10 || a.right > Width-margin+10 {
					t.Errorf("%s, %s: %q reaches over the margin", name, p.name, a.text)
				}
				for _, b := range boxes[:i] {
					if a.text == "" && b.text == "" {
						continue // markers may meet
					}
					if a.left < b.right-1 && b.left < a.right-1 && math.Abs(a.middle-b.middle) < 0.8*math.Max(a.size, b.size) {
						t.Errorf("%s, %s: %q lies on %q", name, p.name, a.text, b.text)
					}
				}
			}
		}
	}
}

func TestRefusesToOverwrite(t *testing.T) {
	dir := t.TempDir()
	s := summarized(t, summarytest.Set(10))
	there := filepath.Join(dir, "ratio.svg")
	if err := os.WriteFile(there, []byte("dear"), 0o644); err != nil {
		t.Fatal(err)
	}
	if paths, err := Write(dir, s); err == nil || !strings.Contains(err.Error(), there) || len(paths) != 0 {
		t.Errorf("wrote %q, error %v; want one that names %s", paths, err, there)
	}
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if data, _ := os.ReadFile(there); len(left) != 1 || string(data) != "dear" {
		t.Errorf("%d files are left, and the one that was there holds %q", len(left), data)
	}
}

func TestUnwritable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	s := summarized(t, summarytest.Set(3))
	for _, dir := range []string{file, filepath.Join(file, "under")} {
		if _, err := Write(dir, s); err == nil || !strings.Contains(err.Error(), dir) {
			t.Errorf("into %s: error %v, want one that names it", dir, err)
		}
	}
	if os.Getuid() != 0 { // whom nothing stops
		dir := filepath.Join(t.TempDir(), "locked")
		if err := os.Mkdir(dir, 0o555); err != nil {
			t.Fatal(err)
		}
		if _, err := Write(dir, s); err == nil || !strings.Contains(err.Error(), dir) {
			t.Errorf("into a directory without permission: %v", err)
		}
	}
}

func TestLittleToDraw(t *testing.T) {
	one := summarytest.Set(10)
	one.Slots = slices.DeleteFunc(one.Slots, func(s results.Slot) bool { return s.Strategy != "global" || s.Cell.Workload != "uni" })
	paths, err := Write(t.TempDir(), summarized(t, one))
	if err != nil || len(paths) != 2 {
		t.Errorf("one strategy without latency: wrote %q, %v; want the throughput alone", paths, err)
	}
	none := summarytest.Set(10)
	for i := range none.Slots {
		none.Slots[i].Bad = "bad"
	}
	if paths, err := Write(t.TempDir(), summarized(t, none)); err == nil || !strings.Contains(err.Error(), "nothing to draw") {
		t.Errorf("no valid round: wrote %q, %v", paths, err)
	}
}

func TestPalette(t *testing.T) {
	var all []string
	for n := range looks {
		all = append(all, n, n+"-orig")
	}
	all = append(all, "mine", "yours", "x2")
	together := palette(all)
	seen := make(map[look]string)
	for n, l := range together {
		if other, twice := seen[l]; twice {
			t.Errorf("%s and %s look the same", n, other)
		}
		seen[l] = n
	}
	for n, l := range looks {
		if together[n] != l {
			t.Errorf("%s is not drawn as it is everywhere", n)
		}
		// A name's look does not hang on its company.
		if alone := palette([]string{n + "-orig"})[n+"-orig"]; alone != together[n+"-orig"] {
			t.Errorf("%s-orig looks different alone", n)
		}
	}
	// Two whose hashes meet are told apart even so.
	byLook := make(map[look]string)
	for i := 0; ; i++ {
		n := fmt.Sprintf("s%d", i)
		l := stranger(n)
		if other, met := byLook[l]; met {
			if p := palette([]string{n, other}); p[n] == p[other] {
				t.Errorf("%s and %s look the same", n, other)
			}
			return
		}
		byLook[l] = n
	}
}

func TestSteps(t *testing.T) {
	for _, hi := range []float64{1, 3, 7.2, 9.99, 10, 84e6, 0.003} {
		at := steps(hi, 8)
		if len(at) < 3 || len(at) > 10 || at[0] != 0 || at[len(at)-1] < hi {
			t.Errorf("steps to %g: %v", hi, at)
		}
	}
	for _, hi := range []float64{0, -1, math.NaN(), math.Inf(1)} {
		if at := steps(hi, 8); len(at) != 2 {
			t.Errorf("steps to %g: %v", hi, at)
		}
	}
}

func TestRatioTicks(t *testing.T) {
	for _, r := range [][2]float64{{0.9, 1.1}, {0.97, 1.03}, {0.5, 3}, {0.001, 1000}, {0.99, 80}, {1e-9, 1.1}} {
		x := scale{lo: r[0], hi: r[1], left: 100, wide: 460, log: true}
		ticks := ratioTicks(x)
		slices.Sort(ticks)
		if !slices.Contains(ticks, 1) || len(ticks) < 3 || len(ticks) > 13 {
			t.Errorf("%v: ticks %v", r, ticks)
		}
		for i, tick := range ticks {
			if tick < r[0] || tick > r[1] {
				t.Errorf("%v: tick %g is outside", r, tick)
			}
			if i > 0 && x.at(tick)-x.at(ticks[i-1]) < 30 {
				t.Errorf("%v: ticks %g and %g meet", r, ticks[i-1], tick)
			}
		}
	}
}

func TestDecade(t *testing.T) {
	for _, c := range []struct{ lo, hi, from, to float64 }{
		{120, 4.1e6, 100, 5e6}, {250, 900, 200, 1000}, {700, 700, 500, 1000}, {1, 1, 1, 10}, {99, 1e9, 50, 1e9},
	} {
		if s := decade(c.lo, c.hi); math.Abs(s.lo/c.from-1) > 1e-9 || math.Abs(s.hi/c.to-1) > 1e-9 {
			t.Errorf("%g to %g: axis from %g to %g, want %g to %g", c.lo, c.hi, s.lo, s.hi, c.from, c.to)
		}
	}
}
