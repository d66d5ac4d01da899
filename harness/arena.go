package harness

import (
	"math/rand/v2"

	"vlsbench/fifo"
)

const (
	page = 4 << 10
	// maxGap is the most pages left out between two carvings.
	maxGap = 256
)

// arena is a large region of memory, touched beforehand, from which every slot
// takes a part of its own at a random page and line. Parts follow each other
// and are not given back, so that no slot inherits the layout of the one
// before; at the end of the region it begins again at a random page, between
// rounds if a whole round fits.
//
// Note: kept objects made identical strategies differ by 7 % for as long as
// they lived, which no number of rounds averages out.
type arena struct {
	mem  []byte
	at   int
	rand *rand.Rand
}

// newArena makes one of size bytes. It lies on the Go heap, where the race
// detector sees it; there is nothing in it for the collector to scan.
func newArena(seed uint64, size int) *arena {
	a := &arena{mem: make([]byte, size), rand: rand.New(rand.NewPCG(seed, 1<<63))}
	for i := 0; i < size; i += page {
		a.mem[i] = 1
	}
	return a
}

// arenaSize is the size for rounds of round bytes with slots of at most slot: a
// few rounds if limit allows, and at least what slots need to be scattered.
func arenaSize(round, slot, limit int) int {
	return max(leastArena(slot), min(4*round, limit))
}

func leastArena(slot int) int { return 2 * (slot + maxGap*page) }

// begin starts again if n bytes, a round's, are not left.
func (a *arena) begin(n int) {
	if a.at+n > len(a.mem) {
		a.wrap()
	}
}

func (a *arena) wrap() { a.at = page * a.rand.IntN(maxGap) }

// carve makes a segment of n bytes.
func (a *arena) carve(n int) (*fifo.Segment, error) {
	if a.at+n+maxGap*page > len(a.mem) {
		a.wrap()
	}
	a.at += page*a.rand.IntN(maxGap-1) + fifo.Line*a.rand.IntN(page/fifo.Line)
	mem := a.mem[a.at : a.at+n : a.at+n]
	a.at = (a.at + n + page - 1) / page * page
	return fifo.NewSegment(mem)
}
