package hw

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

var useCounter = counterUsable()

// Cycles reads the cycle clock, which is one clock for all cores, never goes
// back on one of them, and ticks [CycleHz] times a second whatever the core's
// frequency. The read waits for nothing: the core may take it some tens of
// cycles before or after its place in the program, so that a difference of two
// is good to about 20 ns.
func Cycles() uint64 {
	if useCounter {
		return counter()
	}
	return counterGeneric()
}

// CycleClock names what [Cycles] reads: "tsc" (amd64), "cntvct" (arm64), or
// "monotonic", the kernel's clock in nanoseconds, where the CPU has no counter
// that ticks at one rate on all cores and in all power states. The last costs
// four times as much to read and should be said beside a measurement.
func CycleClock() string {
	if useCounter {
		return counterName
	}
	return "monotonic"
}

const (
	calibrateSpan = 20 * time.Millisecond
	// calibrateMax ends a calibration on a machine so noisy that two good
	// readings of both clocks cannot be had.
	calibrateMax = 200 * time.Millisecond
	calibratePPM = 25
)

type calibration struct {
	hz  float64
	ppm float64 // hz is right to within this many millionths
}

var calibrated = sync.OnceValue(func() calibration {
	if CycleClock() == "monotonic" {
		return calibration{hz: 1e9}
	}
	return calibrate(Cycles, rawNanos, time.Sleep)
})

// calibrate compares two clocks over at least calibrateSpan. Each reading of
// the reference lies between two of the cycle clock, so the rate is bounded by
// what was seen, not by trust in the scheduler.
func calibrate(cycles func() uint64, nanos func() int64, sleep func(time.Duration)) calibration {
	c0, w0, t0 := readBoth(cycles, nanos)
	for {
		sleep(calibrateSpan)
		c1, w1, t1 := readBoth(cycles, nanos)
		span := c1 - c0
		cal := calibration{
			hz:  span * 1e9 / float64(t1-t0),
			ppm: (w0 + w1) / 2 / span * 1e6,
		}
		if cal.ppm <= calibratePPM || time.Duration(t1-t0) >= calibrateMax {
			return cal
		}
	}
}

// readBoth takes the closest of several pairs of readings: the middle of the
// cycle clock's interval, its width, and the reference within it.
func readBoth(cycles func() uint64, nanos func() int64) (mid, width float64, t int64) {
	best := ^uint64(0)
	for range 16 {
		a := cycles()
		n := nanos()
		b := cycles()
		if d := b - a; d < best {
			best, t = d, n
			mid, width = float64(a)+float64(d)/2, float64(d)
		}
	}
	return mid, width, t
}

func rawNanos() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC_RAW, &ts); err != nil {
		return int64(time.Since(clockBase))
	}
	return ts.Nano()
}

// CycleHz is the rate of [Cycles]. The first call measures it against
// CLOCK_MONOTONIC_RAW, which takes 20 ms, or up to 200 ms on a machine so busy
// that it would be less exact; all later calls, and the conversions below, use
// that figure. The error is at most 25 millionths (0.0025 %) unless those 200 ms
// were used up. A program that measures calls it first, outside what it measures.
func CycleHz() float64 { return calibrated().hz }

// CyclesToNanos converts a difference of two [Cycles].
func CyclesToNanos(c uint64) float64 { return float64(c) * (1e9 / calibrated().hz) }

// NanosToCycles is how many cycles pass in d, 0 if d is negative.
func NanosToCycles(d time.Duration) uint64 {
	if d <= 0 {
		return 0
	}
	return uint64(float64(d) * (calibrated().hz / 1e9))
}
