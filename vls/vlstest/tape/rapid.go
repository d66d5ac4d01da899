package tape

import (
	"flag"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"vlsbench/audit"
	"vlsbench/vls"
)

// weights is how often each kind of operation is drawn.
var weights = [nKinds]int{
	Create: 4, Listen: 1, Connect: 6, Accept: 7, Read: 18, Write: 18, Shutdown: 2, Close: 6, EpollCreate: 1,
	EpollCtl: 9, EpollWait: 14, Poll: 3, Select: 2, Bind: 1, Sendto: 5, Attr: 3, Stale: 1, Drain: 1, Fill: 1,
}

// drawn is the kinds, each as often as its weight says.
var drawn = sync.OnceValue(func() (kinds []Kind) {
	for k, n := range weights {
		for range n {
			kinds = append(kinds, Kind(k))
		}
	}
	return kinds
})

// steps is how many operations a drawn tape has, on average, unless -rapid.steps
// says otherwise.
const steps = 150

// octets draws a byte, any as likely as another: rapid prefers small numbers, of
// which most of a tape would be then. Shrinking clears bits.
var octets = rapid.Custom(func(t *rapid.T) (b byte) {
	for range 8 {
		b <<= 1
		if rapid.Bool().Draw(t, "bit") {
			b |= 1
		}
	}
	return b
})

// operations draws one operation.
var operations = rapid.Custom(func(t *rapid.T) Op {
	kinds := drawn()
	return Op{
		Kind: kinds[int(octets.Draw(t, "kind"))*len(kinds)/256],
		Who:  octets.Draw(t, "who"),
		What: octets.Draw(t, "what"),
		How:  octets.Draw(t, "how"),
	}
})

// Draw draws a tape, of as many operations as -rapid.steps says on average.
// Slices that rapid draws are too short to get anywhere, or have a least length
// below which they do not shrink.
func Draw(t *rapid.T) (tape Tape) {
	t.Repeat(map[string]func(*rapid.T){
		"op": func(t *rapid.T) { tape = append(tape, operations.Draw(t, "op")) },
	})
	return tape
}

// Random is a tape of n operations of the kinds that Draw draws.
func Random(r *rand.Rand, n int) Tape {
	t := make(Tape, n)
	kinds := drawn()
	for i := range t {
		v := r.Uint32()
		t[i] = Op{kinds[r.IntN(len(kinds))], uint8(v), uint8(v >> 8), uint8(v >> 16)}
	}
	return t
}

// shortenPlays is how many tapes Shorten tries.
const shortenPlays = 1000

// Shorten leaves operations out of a tape that fails, as long as it still does,
// and returns what is left with its error, which is nil if the tape does not
// fail again. Shrinking tries how numbers change what follows; this looks only
// for what is not needed.
func Shorten(t Tape, play func(Tape) error) (Tape, error) {
	err := play(t)
	left := shortenPlays
	for n := len(t) / 2; n > 0 && err != nil; {
		less := false
		for i := 0; i+n <= len(t) && left > 0; left-- {
			short := slices.Delete(slices.Clone(t), i, i+n)
			if e := play(short); e != nil {
				t, err, less = short, e, true
			} else {
				i += n
			}
		}
		if n > 1 {
			n = max(n/2, 1)
		} else if !less {
			break
		}
	}
	return t, err
}

// lengthen makes drawn tapes as long as steps says, for the rest of the process:
// tests may draw at once.
func lengthen(t testing.TB) {
	lengthenOnce.Do(func() {
		if f := flag.Lookup("rapid.steps"); f.Value.String() == f.DefValue {
			check(t, f.Value.Set(strconv.Itoa(steps)))
		}
	})
}

var lengthenOnce sync.Once

// Run compares a strategy with one of the kernel on drawn tapes, until ops
// operations were played; progress, which may be nil, is told after each tape. A
// difference is shrunk to a short tape and fails the test. Tests may Run at once.
func Run(t *testing.T, judged, believed vls.Strategy, ops int, progress func(Stats)) (total Stats) {
	audit.SetRun("strategy " + judged.Name + ", tapes")
	var failed Tape
	var how Options
	property := func(rt *rapid.T) {
		if total.Ops >= ops {
			return // tapes were longer than on average
		}
		o := OptionsOf(octets.Draw(rt, "options"))
		tape := Draw(rt)
		s, err := Compare(judged, believed, tape, o)
		if err != nil {
			failed, how = tape, o
			rt.Fatalf("%v\n\nthe tape, with %+v:\n%v", err, o, tape)
		}
		total.Add(s)
		if progress != nil {
			progress(total)
		}
	}
	lengthen(t)
	defer func() {
		if failed == nil {
			return
		}
		short, err := Shorten(failed, func(short Tape) error {
			_, err := Compare(judged, believed, short, how)
			return err
		})
		t.Logf("%v\n\nthe shortest tape, with %+v, of %d operations:\n%v", err, how, len(short), short)
	}()
	for total.Ops < ops && !t.Failed() {
		rapid.Check(t, property)
	}
	return total
}

func check(t testing.TB, err error) {
	if err != nil {
		t.Fatal(err)
	}
}
