package hw

import (
	"math"
	"testing"
	"time"
)

// The clock and its twin measure the same span. Two readings of the one enclose
// those of the other and two are enclosed by them, so that it holds whatever the
// scheduler does in between; 1 in 1000 is more than NTP may bend the kernel's
// clock.
func TestCyclesAgreeWithTheGenericClock(t *testing.T) {
	// Long enough for the counter's lower half to wrap, which shows a wrong
	// upper half; the counter of arm64 is read in one piece.
	span := 20 * time.Millisecond
	if CycleClock() == "tsc" && !testing.Short() {
		span = time.Duration(CyclesToNanos(1<<32)) + span
	}
	outer0 := Cycles()
	g0 := counterGeneric()
	inner0 := Cycles()
	time.Sleep(span)
	inner1 := Cycles()
	g1 := counterGeneric()
	outer1 := Cycles()
	inner, outer := CyclesToNanos(inner1-inner0), CyclesToNanos(outer1-outer0)
	generic := float64(g1 - g0)
	if inner > generic*1.001 || outer < generic*0.999 {
		t.Errorf("%s: %.0f to %.0f ns, the monotonic clock: %.0f", CycleClock(), inner, outer, generic)
	}
}

func TestCyclesNeverGoBack(t *testing.T) {
	last := Cycles()
	for range 100_000 {
		now := Cycles()
		if now < last {
			t.Fatalf("%d after %d on %s", now, last, CycleClock())
		}
		last = now
	}
}

func TestCycleConversions(t *testing.T) {
	if hz := CycleHz(); hz < 1e6 || hz > 1e11 || hz != CycleHz() {
		t.Fatalf("%v cycles a second", hz)
	}
	for _, d := range []time.Duration{time.Microsecond, time.Millisecond, time.Hour} {
		back := CyclesToNanos(NanosToCycles(d))
		if slack := 1e9/CycleHz() + float64(d)*1e-12; math.Abs(back-float64(d)) > slack {
			t.Errorf("%v came back as %v ns", d, back)
		}
	}
	if n := NanosToCycles(-1); n != 0 {
		t.Errorf("a negative time is %d cycles", n)
	}
	switch CycleClock() {
	case "tsc", "cntvct":
	case "monotonic":
		if CycleHz() != 1e9 {
			t.Errorf("nanoseconds tick at %v", CycleHz())
		}
	default:
		t.Errorf("cycle clock %q", CycleClock())
	}
}

// fakeClocks is a machine with two exact clocks on which each reading of the
// reference costs what delay says.
type fakeClocks struct {
	now   float64 // seconds
	hz    float64
	delay func() float64
	slept int
}

func (f *fakeClocks) cycles() uint64 { return uint64(f.now * f.hz) }
func (f *fakeClocks) nanos() int64 {
	f.now += f.delay() / 2
	n := int64(f.now * 1e9)
	f.now += f.delay() / 2
	return n
}
func (f *fakeClocks) sleep(d time.Duration) { f.slept++; f.now += d.Seconds() }

func TestCalibrate(t *testing.T) {
	k := 0
	for _, tt := range []struct {
		name  string
		delay func() float64
		slept int
	}{
		{"quiet", func() float64 { return 100e-9 }, 1},
		// One reading in ten is good; the others were preempted.
		{"preempted", func() float64 {
			if k++; k%10 == 1 || k%10 == 2 { // both halves of one

				return 100e-9
			}
			return 5e-3
		}, 1},
		// All readings are poor: more time is taken to make up for it.
		{"slow clock", func() float64 { return 2e-6 }, 4},
		// The readings themselves take most of the time that there is.
		{"hopeless", func() float64 { return 1e-3 }, 6},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := &fakeClocks{hz: 2.6e9, delay: tt.delay}
			cal := calibrate(f.cycles, f.nanos, f.sleep)
			if off := math.Abs(cal.hz/f.hz-1) * 1e6; off > cal.ppm+0.5 {
				t.Errorf("off by %.1f ppm, bound %.1f", off, cal.ppm)
			}
			if f.slept != tt.slept {
				t.Errorf("%d spans, want %d; bound %.1f ppm", f.slept, tt.slept, cal.ppm)
			}
		})
	}
}
