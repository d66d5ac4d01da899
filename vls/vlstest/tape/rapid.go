package tape

import (
	"testing"

	"pgregory.net/rapid"

	"vlsbench/audit"
	"vlsbench/vls"
)

// weights is how often each kind of operation is drawn.
var weights = [nKinds]int{
	Create: 2, Listen: 3, Connect: 7, Accept: 8, Read: 14, Write: 14, Shutdown: 3, Close: 5, EpollCreate: 1,
	EpollCtl: 9, EpollWait: 12, Poll: 4, Select: 3, Bind: 2, Sendto: 6, Attr: 5, Stale: 2, Drain: 2, Fill: 1,
}

// drawn is the kinds, each as often as its weight says.
func drawn() (kinds []Kind) {
	for k, n := range weights {
		for range n {
			kinds = append(kinds, Kind(k))
		}
	}
	return kinds
}

// steps is how many operations a drawn tape has.
const steps = 150

// operations draws one operation.
var operations = rapid.Custom(func(t *rapid.T) Op {
	return Op{
		Kind: rapid.SampledFrom(drawn()).Draw(t, "kind"),
		Who:  rapid.Byte().Draw(t, "who"),
		What: rapid.Byte().Draw(t, "what"),
		How:  rapid.Byte().Draw(t, "how"),
	}
})

// Draw draws a tape.
func Draw(t *rapid.T) Tape {
	return rapid.SliceOfN(operations, 0, steps).Draw(t, "tape")
}

// Run compares a strategy with one of the kernel on drawn tapes, until ops
// operations were played; progress, which may be nil, is told after each tape. A
// difference is shrunk to a short tape and fails the test.
func Run(t *testing.T, judged, believed vls.Strategy, ops int, progress func(Stats)) (total Stats) {
	audit.SetRun("strategy " + judged.Name + ", tapes")
	property := func(rt *rapid.T) {
		o := OptionsOf(rapid.Byte().Draw(rt, "options"))
		tape := Draw(rt)
		s, err := Compare(judged, believed, tape, o)
		if err != nil {
			rt.Fatalf("%v\n\nthe tape, with %+v:\n%v", err, o, tape)
		}
		total.Ops += s.Ops
		total.Calls += s.Calls
		if progress != nil {
			progress(total)
		}
	}
	for total.Ops < ops && !t.Failed() {
		rapid.Check(t, property)
	}
	return total
}
