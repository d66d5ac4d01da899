package compare

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/quick"
)

// noise draws a log rate around zero.
type noise func(*rand.Rand) float64

func normal(sd float64) noise {
	return func(r *rand.Rand) float64 { return sd * r.NormFloat64() }
}

// outliers is normal noise in which one value in five is ten times as wild.
func outliers(sd float64) noise {
	return func(r *rand.Rand) float64 {
		x := sd * r.NormFloat64()
		if r.IntN(5) == 0 {
			x *= 10
		}
		return x
	}
}

// stalls only ever slows down, as an interrupt does.
func stalls(mean float64) noise {
	return func(r *rand.Rand) float64 { return -mean * r.ExpFloat64() }
}

// draw makes a cell of names "base", "s1", "s2"…, where the i-th is shift[i]
// times as fast as the baseline. The machine's speed wanders from round to
// round by far more than what is looked for.
func draw(rng *rand.Rand, rounds int, n noise, shift ...float64) Cell {
	c := Cell{Label: "cell", Names: []string{"base"}}
	for i := range shift {
		c.Names = append(c.Names, fmt.Sprintf("s%d", i+1))
	}
	speed := 0.0
	for range rounds {
		speed += 0.2 * rng.NormFloat64()
		row := []float64{1e6 * math.Exp(speed+n(rng))}
		for _, s := range shift {
			row = append(row, 1e6*s*math.Exp(speed+n(rng)))
		}
		c.Rounds = append(c.Rounds, row)
	}
	return c
}

func analyse(t testing.TB, seed uint64, cells ...Cell) Result {
	t.Helper()
	res, err := Analyse(Family{"base", cells}, seed)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func same(n int) []float64 { return slices.Repeat([]float64{1}, n) }

// In families of identical things the intervals miss 1 somewhere in no more
// than 5 of 100, whatever the noise; and they are not simply wide.
func TestCoverage(t *testing.T) {
	if testing.Short() {
		t.Skip("make test has run it: a build with the race detector computes the same, in minutes")
	}
	const families = 300
	slack := 2.6 * math.Sqrt(0.05*0.95/families)
	noises := map[string]noise{"normal": normal(0.05), "outliers": outliers(0.05), "stalls": stalls(0.05)}
	for _, kind := range []string{"normal", "outliers", "stalls"} {
		for _, shape := range []struct{ cells, others, rounds int }{
			{1, 1, 50}, {1, 7, 50}, {1, 7, 51}, {3, 2, 50}, {1, 7, 12},
		} {
			if kind != "normal" && shape.others != 7 {
				continue
			}
			rng := rand.New(rand.NewPCG(1, uint64(shape.cells*1000+shape.others*100+shape.rounds)))
			missed, different := 0, 0
			for f := range families {
				var cells []Cell
				for range shape.cells {
					cells = append(cells, draw(rng, shape.rounds, noises[kind], same(shape.others)...))
				}
				var miss, diff bool
				for _, c := range analyse(t, uint64(f), cells...).Cells {
					for _, e := range c.Estimates {
						miss = miss || e.Lo > 1 || e.Hi < 1
						diff = diff || e.Verdict == Different
					}
				}
				if miss {
					missed++
				}
				if diff {
					different++
				}
			}
			rate, false_ := float64(missed)/families, float64(different)/families
			t.Logf("%-8s %d cells x %d names x %d rounds: missed in %4.1f %% of families, called different in %4.1f %%",
				kind, shape.cells, shape.others, shape.rounds, 100*rate, 100*false_)
			if rate > 0.05+slack {
				t.Errorf("%s %+v: missed in %.1f %% of families, promised 5 %%", kind, shape, 100*rate)
			}
			if shape.rounds >= MinRounds && rate < 0.01 {
				t.Errorf("%s %+v: missed in %.1f %% of families: the intervals are wider than they need be", kind, shape, 100*rate)
			}
			if false_ > rate {
				t.Errorf("%s %+v: %d families called different, %d missed", kind, shape, different, missed)
			}
		}
	}
}

// The check holds its level too.
func TestCheckLevel(t *testing.T) {
	const families = 400
	rng := rand.New(rand.NewPCG(3, 3))
	hits := 0
	for range families {
		res := analyse(t, 1, draw(rng, 50, outliers(0.05), same(6)...))
		if slices.ContainsFunc(res.Cells[0].Estimates, func(e Estimate) bool { return e.P < 0.05 }) {
			hits++
		}
	}
	if rate := float64(hits) / families; rate > 0.05+2.6*math.Sqrt(0.05*0.95/families) {
		t.Errorf("Holm's p under 0.05 in %.1f %% of families of identical things", 100*rate)
	}
}

func TestPlantedDifference(t *testing.T) {
	const families = 100
	rng := rand.New(rand.NewPCG(5, 5))
	found := 0
	for f := range families {
		e := analyse(t, uint64(f), draw(rng, 50, outliers(0.01), 1, 1.05, 1/1.05, 1)).Cells[0].Estimates
		if e[1].Word() == "faster" && e[2].Word() == "slower" {
			found++
		}
		for _, e := range e {
			if e.Lo > e.Ratio || e.Ratio > e.Hi {
				t.Fatalf("%+v: the estimate lies outside of its interval", e)
			}
		}
		if e[1].P > 0.05 || e[2].P > 0.05 {
			t.Errorf("family %d: the check misses 5 %%: %+v", f, e)
		}
	}
	if found < 90 {
		t.Errorf("5 %% under 1 %% of noise found in %d of %d families", found, families)
	}
}

func TestEquivalent(t *testing.T) {
	const families = 100
	rng := rand.New(rand.NewPCG(6, 6))
	found := 0
	for f := range families {
		// A true difference of half the margin is still the same to us.
		e := analyse(t, uint64(f), draw(rng, 50, normal(0.01), 1, 1.002, 1)).Cells[0].Estimates
		if e[0].Verdict == Equivalent && e[1].Verdict == Equivalent && e[2].Verdict == Equivalent {
			found++
		}
	}
	if found < 90 {
		t.Errorf("the same under 1 %% of noise found in %d of %d families", found, families)
	}
	for f := range families {
		for _, e := range analyse(t, uint64(f), draw(rng, 50, normal(0.2), same(3)...)).Cells[0].Estimates {
			if e.Verdict == Equivalent {
				t.Errorf("equivalent under 20 %% of noise: %+v", e)
			}
		}
	}
}

func TestJudge(t *testing.T) {
	for _, c := range []struct {
		lo, hi float64
		want   Verdict
	}{
		{1.021, 1.5, Different},
		{0.5, 0.9802, Different}, // 1/1.02 is 0.98039
		{1.019, 1.5, NotShown},
		{0.5, 0.982, NotShown},
		{0.981, 1.019, Equivalent},
		{0.981, 1.021, NotShown},
		{0.979, 1.0, NotShown},
		{0.5, 2, NotShown},
		{1, 1, Equivalent},
	} {
		if got := judge(c.lo, c.hi); got != c.want {
			t.Errorf("[%g, %g]: %v, want %v", c.lo, c.hi, got, c.want)
		}
	}
}

// What all of a round have in common does not reach the result.
func TestSharedDriftCancels(t *testing.T) {
	steady := draw(rand.New(rand.NewPCG(7, 7)), 60, normal(0.02), 1.03, 0.8)
	f := func(seed uint64) bool {
		rng := rand.New(rand.NewPCG(seed, 0))
		drifting := Cell{Label: steady.Label, Names: steady.Names}
		for _, row := range steady.Rounds {
			by := math.Exp(10 * rng.NormFloat64())
			moved := make([]float64, len(row))
			for i, v := range row {
				moved[i] = v * by
			}
			drifting.Rounds = append(drifting.Rounds, moved)
		}
		return alike(t, analyse(t, 9, steady), analyse(t, 9, drifting))
	}
	if err := quick.Check(f, &quick.Config{MaxCount: 30}); err != nil {
		t.Error(err)
	}
}

// With the roles of the two exchanged every ratio is the reciprocal, and every
// verdict the same.
func TestSwapIsReciprocal(t *testing.T) {
	f := func(seed uint64, odd bool) bool {
		rng := rand.New(rand.NewPCG(seed, 0))
		rounds := 50
		if odd {
			rounds = 51
		}
		c := draw(rng, rounds, outliers(0.02), math.Exp(0.05*rng.NormFloat64()))
		a := analyse(t, seed, c).Cells[0].Estimates[0]
		res, err := Analyse(Family{"s1", []Cell{c}}, seed)
		if err != nil {
			t.Fatal(err)
		}
		b := res.Cells[0].Estimates[0]
		return near(a.Ratio, 1/b.Ratio) && near(a.Lo, 1/b.Hi) && near(a.Hi, 1/b.Lo) && near(a.P, b.P) && a.Verdict == b.Verdict
	}
	if err := quick.Check(f, &quick.Config{MaxCount: 60}); err != nil {
		t.Error(err)
	}
}

// The order in which names stand changes nothing.
func TestColumnOrder(t *testing.T) {
	f := func(seed uint64) bool {
		rng := rand.New(rand.NewPCG(seed, 0))
		c := draw(rng, 50, outliers(0.02), 1, 1.1, 0.9)
		perm := rng.Perm(len(c.Names))
		shuffled := Cell{Label: c.Label}
		for _, p := range perm {
			shuffled.Names = append(shuffled.Names, c.Names[p])
		}
		for _, row := range c.Rounds {
			var r []float64
			for _, p := range perm {
				r = append(r, row[p])
			}
			shuffled.Rounds = append(shuffled.Rounds, r)
		}
		a, b := analyse(t, seed, c), analyse(t, seed, shuffled)
		slices.SortFunc(b.Cells[0].Estimates, func(x, y Estimate) int { return strings.Compare(x.Name, y.Name) })
		return alike(t, a, b)
	}
	if err := quick.Check(f, &quick.Config{MaxCount: 30}); err != nil {
		t.Error(err)
	}
}

func near(a, b float64) bool { return math.Abs(a-b) <= 1e-9*math.Abs(a) }

func alike(t *testing.T, a, b Result) bool {
	for i, c := range a.Cells {
		for j, x := range c.Estimates {
			y := b.Cells[i].Estimates[j]
			if x.Name != y.Name || !near(x.Ratio, y.Ratio) || !near(x.Lo, y.Lo) || !near(x.Hi, y.Hi) || !near(x.P, y.P) || x.Verdict != y.Verdict {
				t.Logf("%+v\n%+v", x, y)
				return false
			}
		}
	}
	return true
}

func TestSameSeedSameResult(t *testing.T) {
	c := draw(rand.New(rand.NewPCG(8, 8)), 50, normal(0.02), 1, 1.03)
	if a, b := analyse(t, 4, c), analyse(t, 4, c); !reflect.DeepEqual(a, b) {
		t.Errorf("the same seed gave\n%+v\n%+v", a, b)
	}
}

// A larger family makes every interval in it wider, or leaves it as it is.
func TestFamilyWidens(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 9))
	var cells []Cell
	for i := range 12 {
		c := draw(rng, 50, normal(0.02), same(3)...)
		c.Label = fmt.Sprint("cell ", i)
		cells = append(cells, c)
	}
	together := analyse(t, 1, cells...)
	wider := 0
	for i, c := range cells {
		for j, alone := range analyse(t, 1, c).Cells[0].Estimates {
			e := together.Cells[i].Estimates[j]
			if e.Lo > alone.Lo || e.Hi < alone.Hi {
				t.Errorf("%s %s: [%g, %g] alone, [%g, %g] in a family", c.Label, e.Name, alone.Lo, alone.Hi, e.Lo, e.Hi)
			}
			if e.Lo < alone.Lo {
				wider++
			}
		}
	}
	if wider == 0 {
		t.Error("12 cells together are as narrow as each alone: nothing was corrected")
	}
}

func TestRoundsLeftOut(t *testing.T) {
	c := draw(rand.New(rand.NewPCG(10, 10)), 60, normal(0.01), 1.2, 1)
	want := analyse(t, 1, c)
	for i, bad := range []float64{math.NaN(), 0, -1, math.Inf(1)} {
		row := []float64{1e6, 1e9, 1e9}
		row[i%3] = bad
		c.Rounds = slices.Insert(c.Rounds, 7*i, row)
	}
	got := analyse(t, 1, c)
	if got.Cells[0].Used != 60 || got.Cells[0].LeftOut != 4 {
		t.Errorf("used %d, left out %d; want 60 and 4", got.Cells[0].Used, got.Cells[0].LeftOut)
	}
	if !alike(t, want, got) {
		t.Error("rounds with a value missing had an effect")
	}
}

func TestWarnings(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 11))
	for _, c := range []struct {
		name      string
		cell      Cell
		warns     []string
		estimates int
		verdicts  bool
	}{
		{"enough", draw(rng, 50, normal(0.001), 2, 2), nil, 2, true},
		{"few", draw(rng, 49, normal(0.001), 2, 2), []string{"49 rounds where 50"}, 2, true},
		{"too few", draw(rng, 5, normal(0.001), 2, 2), []string{"5 rounds where 50", "5 rounds are too few"}, 2, false},
		{"one", draw(rng, 1, normal(0.001), 2), []string{"1 rounds where 50", "too few"}, 1, false},
		{"none", draw(rng, 0, normal(0.001), 2), []string{"no complete round"}, 0, false},
		{"alone", draw(rng, 50, normal(0.001)), nil, 0, false},
		{"no baseline", Cell{Label: "x", Names: []string{"a", "b"}, Rounds: [][]float64{{1, 2}}}, []string{`no baseline "base"`}, 0, false},
	} {
		res := analyse(t, 1, c.cell)
		if len(res.Warnings) != len(c.warns) {
			t.Errorf("%s: warnings %v, want %q", c.name, res.Warnings, c.warns)
			continue
		}
		for i, w := range c.warns {
			if !strings.Contains(res.Warnings[i].String(), w) {
				t.Errorf("%s: warning %q does not say %q", c.name, res.Warnings[i], w)
			}
		}
		es := res.Cells[0].Estimates
		if len(es) != c.estimates {
			t.Errorf("%s: %d estimates, want %d", c.name, len(es), c.estimates)
		}
		for _, e := range es {
			if (e.Verdict == Different) != c.verdicts {
				t.Errorf("%s: %+v; a verdict was to be given: %v", c.name, e, c.verdicts)
			}
		}
	}
}

func TestMalformed(t *testing.T) {
	for _, c := range []struct {
		cell Cell
		want string
	}{
		{Cell{Label: "L", Names: []string{"base", "x", "x"}}, `L: the name "x" stands there twice`},
		{Cell{Label: "L", Names: []string{"base", "x"}, Rounds: [][]float64{{1, 2}, {1}}}, "L: round 1 has 1 values for 2 names"},
	} {
		if _, err := Analyse(Family{"base", []Cell{c.cell}}, 1); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %q", err, c.want)
		}
	}
}

func BenchmarkAnalyse(b *testing.B) {
	c := draw(rand.New(rand.NewPCG(12, 12)), 50, normal(0.02), same(7)...)
	for b.Loop() {
		analyse(b, 1, c)
	}
}
