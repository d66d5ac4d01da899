// Package litmus runs small programs of two or three threads against each other
// many hundred thousand times and counts what they come to. A test shows that
// the memory order which is shipped forbids, on the machine at hand, what it has
// to forbid; its twin, with one order weakened, that the test would have seen it.
//
// # How a round is run
//
// Each thread is an OS thread of its own, pinned to a CPU of its own. Rounds come
// in batches of [Cells], each round in a cell of its own, whose words no other
// cell shares a line with. Before a batch every thread looks at the lines that it
// is to have at hand (Ready); before a round all meet, and each then waits for a
// random moment, of a scale that changes from batch to batch, so that they run
// into each other in every way. After a batch one of them looks at what the
// rounds came to and restores the cells, while the others rest.
//
// Where a CPU is taken away from a thread the others wait for it, at first
// spinning and then asleep. A busy machine makes for fewer rounds; it cannot make
// a test fail.
package litmus

import (
	"flag"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vlsbench/hw"
)

var (
	rounds = flag.Int("litmus.rounds", 1_000_000, "rounds of a litmus test; a weakened twin gets four times as many")
	limit  = flag.Duration("litmus.time", 200*time.Millisecond, "end a litmus test after so long, with fewer rounds; a weakened twin gets four times as long")
	strict = flag.Bool("litmus.strict", false, "fail if a weakened twin was never seen to go wrong")
)

// Cells is the number of rounds in a batch.
const Cells = 64

// hang is how long the threads may be without a meeting.
const hang = time.Minute

// patience is how many more rounds, and how much more time, a twin gets.
const patience = 4

// Test is a small program of several threads.
type Test struct {
	// Outcomes names what a round can come to. The first is the one that is
	// forbidden.
	Outcomes []string
	// Threads are the threads' parts in the round of a cell. What one finds it
	// leaves in a place that no other thread writes.
	Threads []func(cell int)
	// Ready, if not nil, is what the threads do in each cell before the batch,
	// in step: touch the lines that they are to have at hand.
	Ready []func(cell int)
	// Check returns what the round of a cell came to, as an index of Outcomes,
	// and restores the cell. It is called while all threads rest, and sees all
	// that they did.
	Check func(cell int) int
}

// Never runs x and fails if the forbidden outcome is seen.
func Never(t testing.TB, x Test) {
	t.Helper()
	n := run(t, x, *rounds, *limit, false)
	if n[0] > 0 {
		t.Errorf("seen and forbidden: %s", x.counted(n))
		return
	}
	t.Log(x.counted(n))
}

// Seen runs a weakened twin until the forbidden outcome is seen. That it was not
// is logged: the machine may not be able to, or is too busy. With -litmus.strict
// it is a failure. Under the race detector and with the tag purego the shipped
// stores are others, and there is no twin.
func Seen(t testing.TB, x Test) {
	t.Helper()
	if n := look(t, x, patience); n[0] == 0 && *strict {
		t.Error("never seen on this machine")
	}
}

// Rare is [Seen] of a twin that the machine's own rules may forbid, whatever the
// language's say: it only logs what was seen.
func Rare(t testing.TB, x Test) {
	t.Helper()
	look(t, x, 1)
}

func look(t testing.TB, x Test, patience int) []int {
	t.Helper()
	if !weak {
		t.Skip("this build has no weaker stores: no twin")
	}
	n := run(t, x, patience**rounds, time.Duration(patience)**limit, true)
	switch {
	case n[0] == 0:
		t.Logf("never seen on this machine: %s", x.counted(n))
	default:
		t.Logf("seen, as it must be: %s", x.counted(n))
	}
	return n
}

// counted is the outcomes with their counts.
func (x *Test) counted(n []int) string {
	total := 0
	for _, c := range n {
		total += c
	}
	var b strings.Builder
	fmt.Fprintf(&b, "of %d rounds", total)
	for i, name := range x.Outcomes {
		fmt.Fprintf(&b, "; %s: %d", name, n[i])
	}
	return b.String()
}

// seat is what a thread of a running test has.
type seat struct {
	_     [hw.FalseSharing]byte
	met   atomic.Uint64 // how often it came to meet the others
	_     [hw.FalseSharing - 8]byte
	rnd   uint64
	clock atomic.Uint64 // to look at is to wait for a moment
	_     [hw.FalseSharing]byte
}

type runner struct {
	x     Test
	seats []seat
	over  atomic.Bool
}

// run runs x for so many rounds, or so long, or until the forbidden outcome is
// seen, and returns how often each outcome was.
func run(t testing.TB, x Test, rounds int, limit time.Duration, until bool) []int {
	t.Helper()
	allowed, err := hw.Allowed()
	if err != nil {
		t.Fatal(err)
	}
	cpus, n := allowed.List(), len(x.Threads)
	if len(cpus) < n {
		t.Skipf("it needs %d CPUs, and this process may use %v", n, allowed)
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(n + 2))

	r := &runner{x: x, seats: make([]seat, n)}
	name := t.Name()
	done := make(chan struct{})
	defer close(done)
	go func() {
		// As long as they meet they come to an end, on a busy machine late.
		for last := []uint64(nil); ; {
			select {
			case <-done:
				return
			case <-time.After(hang):
			}
			met := make([]uint64, n)
			for i := range met {
				met[i] = r.seats[i].met.Load()
			}
			if slices.Equal(met, last) {
				stacks := make([]byte, 1<<20)
				stacks = stacks[:runtime.Stack(stacks, true)]
				panic(fmt.Sprintf("%s: no progress for %v: the threads came to %v meetings\n\n%s", name, hang, met, stacks))
			}
			last = met
		}
	}()

	counts := make([]int, len(x.Outcomes))
	end := time.Now().Add(limit)
	played := 0
	check := func() {
		for c := range Cells {
			counts[x.Check(c)]++
		}
		played += Cells
		if played >= rounds || time.Now().After(end) || until && counts[0] > 0 {
			r.over.Store(true)
		}
	}
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			runtime.LockOSThread() // and never unlocked: its mask is altered
			// As far apart as can be: neighbours may be halves of one core.
			errs[i] = hw.Pin(cpus[i*(len(cpus)-1)/max(n-1, 1)])
			if errs[i] != nil {
				r.over.Store(true)
			}
			for batch := uint64(0); ; batch++ {
				r.meet(i)
				if r.over.Load() {
					return
				}
				r.batch(i, batch)
				r.meet(i)
				if i == 0 {
					check()
				}
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
	return counts
}

// batch is thread i's part in a batch.
func (r *runner) batch(i int, batch uint64) {
	seat := &r.seats[i]
	if r.x.Ready != nil {
		for c := range Cells {
			r.x.Ready[i](c)
		}
	}
	// Up to 1, 2, 4, … 512 looks, which is some hundred ns.
	mask := uint64(1)<<(batch%10) - 1
	round := r.x.Threads[i]
	for c := range uint64(Cells) {
		r.meet(i)
		seat.rnd = seat.rnd*6364136223846793005 + uint64(2*i+1)
		for range seat.rnd >> 33 & mask {
			seat.clock.Load()
		}
		// Not in the order of addresses, which a prefetcher would guess.
		round(int((c*29 + batch) % Cells))
	}
}

// nobody is a futex that no one wakes.
var nobody uint32

// meet waits for all threads to meet as often as thread i does now.
func (r *runner) meet(i int) {
	at := r.seats[i].met.Add(1)
	for j := range r.seats {
		for spins := 0; r.seats[j].met.Load() < at; spins++ {
			if spins < 2000 {
				hw.Pause()
			} else {
				hw.FutexWait(&nobody, 0, 50*time.Microsecond)
			}
		}
	}
}
