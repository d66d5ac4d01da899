package compare

import (
	"cmp"
	"math"
	"slices"

	"github.com/montanaflynn/stats"
)

// exactRounds is up to how many rounds the signed-rank distribution is counted
// out; beyond, the normal approximation is good to more digits than anybody
// prints.
const exactRounds = 128

// signedRank is the two-sided p-value of the Wilcoxon signed-rank test that the
// values lie symmetrically about zero. Zeros say nothing and are dropped; ties
// share their mean rank, and the distribution is the one given those ranks.
func signedRank(values []float64) float64 {
	var nonzero []float64
	for _, v := range values {
		if v != 0 {
			nonzero = append(nonzero, v)
		}
	}
	n := len(nonzero)
	if n == 0 {
		return 1
	}
	slices.SortFunc(nonzero, func(a, b float64) int { return cmp.Compare(math.Abs(a), math.Abs(b)) })
	ranks := make([]int, n) // twice the rank, so that shared ones are whole
	for i := 0; i < n; {
		j := i + 1
		for j < n && math.Abs(nonzero[j]) == math.Abs(nonzero[i]) {
			j++
		}
		for k := i; k < j; k++ {
			ranks[k] = i + 1 + j
		}
		i = j
	}
	plus, total, squares := 0, 0, 0.0
	for i, r := range ranks {
		total += r
		squares += float64(r) * float64(r)
		if nonzero[i] > 0 {
			plus += r
		}
	}
	low := min(plus, total-plus)

	if n > exactRounds {
		return min(1, 2*normalTail(low, total, squares))
	}
	return min(1, 2*exactTail(low, ranks))
}

// exactTail is the probability that the ranks of the positive values add up to
// no more than low.
func exactTail(low int, ranks []int) float64 {
	share := make([]float64, low+1) // share[s] is the probability of the sum s
	share[0] = 1
	for _, r := range ranks {
		for s := low; s >= 0; s-- {
			share[s] /= 2
			if s >= r {
				share[s] += share[s-r] / 2
			}
		}
	}
	tail := 0.0
	for _, p := range share {
		tail += p
	}
	return tail
}

// normalTail is about the same, from the sum of the ranks and of their squares.
func normalTail(low, total int, squares float64) float64 {
	return stats.NormCdf(float64(low), float64(total)/2, math.Sqrt(squares)/2)
}

// holm replaces the p-values by Holm's, which hold for all of them at once.
func holm(groups []*group) {
	var rising []*float64
	for _, g := range groups {
		for i := range g.p {
			rising = append(rising, &g.p[i])
		}
	}
	slices.SortStableFunc(rising, func(a, b *float64) int { return cmp.Compare(*a, *b) })
	most := 0.0
	for i, p := range rising {
		most = max(most, min(1, *p*float64(len(rising)-i)))
		*p = most
	}
}
