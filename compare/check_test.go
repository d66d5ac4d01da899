package compare

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestSignedRankKnown(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{
		{nil, 1},
		{[]float64{0, 0}, 1},
		{[]float64{1, 2, 3, 4, 5}, 2. / 32},
		{[]float64{-1, -2, -3, -4, -5, 0}, 2. / 32},
		{[]float64{1, -1}, 1},
		// Darwin's cross- and self-fertilised plants.
		{[]float64{6, 8, 14, 16, 23, 24, 28, 29, 41, -48, 49, 56, 60, -67, 75}, 0.041259765625},
	} {
		if got := signedRank(c.values); math.Abs(got-c.want) > 1e-12 {
			t.Errorf("%v: p = %v, want %v", c.values, got, c.want)
		}
	}
}

// With ties as well, the p-value is the share of sign patterns at least as
// extreme.
func TestSignedRankCounted(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for range 200 {
		values := make([]float64, 1+rng.IntN(9))
		for i := range values {
			values[i] = float64(1+rng.IntN(5)) * float64(1-2*rng.IntN(2))
		}
		rank := make([]float64, len(values))
		for i, v := range values {
			for _, w := range values {
				switch {
				case math.Abs(w) < math.Abs(v):
					rank[i]++
				case math.Abs(w) == math.Abs(v):
					rank[i] += 0.5
				}
			}
			rank[i] += 0.5
		}
		away := func(positive func(int) bool) float64 {
			d := 0.0
			for i, r := range rank {
				if positive(i) {
					d += r
				} else {
					d -= r
				}
			}
			return math.Abs(d)
		}
		observed := away(func(i int) bool { return values[i] > 0 })
		extreme := 0
		for signs := range 1 << len(values) {
			if away(func(i int) bool { return signs>>i&1 == 1 }) >= observed-1e-9 {
				extreme++
			}
		}
		want := float64(extreme) / float64(int(1)<<len(values))
		if got := signedRank(values); math.Abs(got-want) > 1e-12 {
			t.Errorf("%v: p = %v, want %v", values, got, want)
		}
	}
}

// The approximation for many rounds agrees with the exact count where that ends.
func TestSignedRankMany(t *testing.T) {
	ranks := make([]int, exactRounds)
	total, squares := 0, 0.0
	for i := range ranks {
		ranks[i] = 2 * (i + 1)
		total += ranks[i]
		squares += float64(ranks[i]) * float64(ranks[i])
	}
	for _, low := range []int{total / 2, total * 4 / 9, total * 2 / 5} {
		exact, normal := exactTail(low, ranks), normalTail(low, total, squares)
		if math.Abs(exact-normal) > 0.003 || exact == normal {
			t.Errorf("rank sum %d of %d: %v, and approximately %v", low, total, exact, normal)
		}
	}
	var even, up []float64
	for i := range exactRounds {
		even = append(even, float64(i+1), -float64(i+1))
		up = append(up, float64(i+1), float64(i+1))
	}
	if p := signedRank(even); p < 0.999 {
		t.Errorf("as much above as below: p = %v", p)
	}
	if p := signedRank(up); p > 1e-30 {
		t.Errorf("everything above: p = %v", p)
	}
}

func TestHolm(t *testing.T) {
	a := &group{p: []float64{0.01, 0.9}}
	b := &group{p: []float64{0.02, 0.015}}
	holm([]*group{a, b})
	// 0.01*4, then 0.015*3, then 0.02*2 which may not fall below, then 0.9.
	for i, want := range []float64{0.04, 0.9, 0.045, 0.045} {
		got := append(append([]float64(nil), a.p...), b.p...)[i]
		if math.Abs(got-want) > 1e-12 {
			t.Errorf("p[%d] = %v, want %v", i, got, want)
		}
	}
}

func TestBinomialTail(t *testing.T) {
	tail := binomialTail(5)
	for k, want := range []float64{1. / 32, 6. / 32, 16. / 32} {
		if math.Abs(tail[k]-want) > 1e-12 {
			t.Errorf("tail[%d] = %v, want %v", k, tail[k], want)
		}
	}
}
