package results

import (
	"errors"
	"fmt"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// NewLatency packs a histogram of nanoseconds. It is nil for one that is nil or
// holds nothing.
func NewLatency(h *hdrhistogram.Histogram) *Latency {
	if h == nil || h.TotalCount() == 0 {
		return nil
	}
	l := &Latency{
		Count: uint64(h.TotalCount()),
		P50:   h.ValueAtQuantile(50),
		P90:   h.ValueAtQuantile(90),
		P99:   h.ValueAtQuantile(99),
		P999:  h.ValueAtQuantile(99.9),
		Max:   h.Max(),
	}
	// Encoding fails only if memory cannot be written to; without it the record
	// still has its percentiles, and Histogram says what is missing.
	if packed, err := h.Encode(hdrhistogram.V2CompressedEncodingCookieBase); err == nil {
		l.HDR = string(packed)
	}
	return l
}

// Histogram unpacks the histogram.
func (l *Latency) Histogram() (*hdrhistogram.Histogram, error) {
	if l == nil || l.HDR == "" {
		return nil, errors.New("results: a latency without its histogram")
	}
	h, err := hdrhistogram.Decode([]byte(l.HDR))
	if err != nil {
		return nil, fmt.Errorf("results: a latency histogram that cannot be read: %w", err)
	}
	return h, nil
}

// MergeLatency adds histograms up, to the finest resolution and the widest
// range among them. Nil ones are passed over; without any it returns nil.
func MergeLatency(latencies ...*Latency) (*hdrhistogram.Histogram, error) {
	var sum *hdrhistogram.Histogram
	for _, l := range latencies {
		if l == nil {
			continue
		}
		h, err := l.Histogram()
		if err != nil {
			return nil, err
		}
		if sum == nil {
			sum = h
			continue
		}
		if low, high, digits := min(sum.LowestTrackableValue(), h.LowestTrackableValue()),
			max(sum.HighestTrackableValue(), h.HighestTrackableValue()),
			max(sum.SignificantFigures(), h.SignificantFigures()); low != sum.LowestTrackableValue() ||
			high != sum.HighestTrackableValue() || digits != sum.SignificantFigures() {
			wide := hdrhistogram.New(low, high, int(digits))
			wide.Merge(sum)
			sum = wide
		}
		if dropped := sum.Merge(h); dropped != 0 {
			return nil, fmt.Errorf("results: %d values are lost in adding latency histograms up", dropped)
		}
	}
	return sum, nil
}
