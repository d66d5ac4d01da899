package fifo

import "vlsbench/hw"

// patience is how a consumer keeps from chasing its producer. To load the
// producer's index takes the line away from it, so that its next store waits
// for half a round trip, and meanwhile the core's store buffer fills up: a
// consumer that looks whenever it has read everything gets a few messages each
// time, and slows the producer down to that. If it pauses before each look
// instead, the producer runs at full speed meanwhile.
//
// Whether that pays is found out by trial: the bytes that some looks bring
// without pauses, then with. Pauses are kept where they bring many times as
// much, for a while, until the next trial. A look that finds nothing ends them
// at once, and a trial that fails makes the next one rarer, down to one in
// 65536 looks, so that a consumer that answers, or waits for a slow producer,
// is not held up. There is no trial where every look finds something: that is a
// consumer which does not chase, or the producer's own thread.
type patience struct {
	// Looks until the phase ends, of one without pauses and of one with; the
	// other is 0. Those that find nothing do not count.
	left, paused uint32
	// vain is how many looks of a phase found nothing.
	vain uint32

	phase   patiencePhase
	since   uint32 // the tail when it began
	without uint32 // bytes that a trial's looks without pauses brought
	backoff uint32 // looks between trials that fail
}

type patiencePhase uint32

const (
	resting patiencePhase = iota
	looking               // a trial, without pauses
	trying                // a trial, with pauses
	keeping
)

const (
	pauses    = 32  // about a microsecond, or some line round trips
	trialLen  = 6   // looks in each half of a trial
	keepLen   = 256 // looks until pauses are put to trial again
	minRest   = 128
	maxRest   = 64 << 10
	trialGain = 3              // times the bytes of the same looks without
	trialMin  = trialLen * 512 // bytes; less is no stream
)

func (p *patience) pause() {
	for range pauses {
		hw.Pause()
	}
}

// count notes a look that found something.
func (p *patience) count() {
	if p.paused != 0 {
		p.paused--
	} else {
		p.left--
	}
}

// over reports whether the phase has ended.
func (p *patience) over() bool { return p.left|p.paused == 0 }

// rest ends a trial or what it led to, for so many looks.
func (p *patience) rest(looks, tail uint32) {
	*p = patience{phase: resting, left: looks, backoff: looks, since: tail}
}

// turn begins the next phase, at the given tail, and reports whether pauses are
// kept from now on.
func (p *patience) turn(tail uint32) bool {
	got := tail - p.since
	vain := p.vain
	p.since, p.vain = tail, 0
	switch p.phase {
	case resting:
		if vain == 0 {
			p.left = p.backoff
			break
		}
		p.phase, p.left = looking, trialLen
	case keeping:
		p.phase, p.left = looking, trialLen
	case looking:
		p.phase, p.paused, p.without = trying, trialLen, got
	case trying:
		if got >= trialMin && got/trialGain >= p.without {
			p.phase, p.paused, p.backoff = keeping, keepLen, minRest
			return true
		}
		p.rest(min(2*p.backoff, maxRest), tail)
	}
	return false
}
