package fifo_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"vlsbench/fifo"
)

// queueModel is a queue beside what it should be: a slice of events for each
// producer, in order.
type queueModel struct {
	seg     *fifo.Segment
	q       *fifo.Queue
	length  int
	ord     fifo.Order
	held    map[int][]fifo.Event
	overrun bool
	armed   bool
	n       uint64
}

// producers are few, so that lanes fill up, and far apart.
var modelProducers = []int{0, 1, 2, 17, fifo.MaxProducers - 1}

func (m *queueModel) producer(t *rapid.T) int {
	return rapid.SampledFrom(modelProducers).Draw(t, "producer")
}

// position is as often near the wrap as elsewhere.
func position(t *rapid.T) uint32 {
	if rapid.Bool().Draw(t, "near the wrap") {
		return uint32(rapid.IntRange(-40, 40).Draw(t, "off the wrap"))
	}
	return rapid.Uint32().Draw(t, "position")
}

func (m *queueModel) open(t *rapid.T) {
	q, err := fifo.NewQueue(m.seg, m.length, m.ord)
	if err != nil {
		t.Fatal(err)
	}
	m.q, m.held, m.overrun, m.armed = q, map[int][]fifo.Event{}, false, false
	for _, p := range modelProducers {
		if rapid.Bool().Draw(t, fmt.Sprintf("%d has a lane", p)) {
			if pos := position(t); pos != 0 {
				q.StartAt(p, pos)
			}
		}
	}
}

// resume hands a producer's number on, and wakes the consumer for what is there.
func (m *queueModel) resume(t *rapid.T, p int) {
	if err := m.q.Resume(p); err != nil {
		t.Fatal(err)
	}
	if len(m.held[p]) > 0 {
		m.armed = false
	}
}

func (m *queueModel) next() fifo.Event {
	m.n++
	return fifo.Event{Kind: uint32(m.n * 0x9e3779b9), Arg: m.n}
}

func (m *queueModel) pending() bool {
	for _, evs := range m.held {
		if len(evs) > 0 {
			return true
		}
	}
	return m.overrun
}

// took sees to it that evs are, for each producer, its oldest.
func (m *queueModel) took(t *rapid.T, evs []fifo.Event) {
	for _, ev := range evs {
		found := false
		for p, held := range m.held {
			if len(held) > 0 && held[0] == ev {
				m.held[p], found = held[1:], true
				break
			}
		}
		if !found {
			t.Fatalf("drained %#x, which is nobody's oldest: %#x", ev, m.held)
		}
	}
}

func TestQueueModel(t *testing.T) {
	watchdog(t, endless)
	rapid.Check(t, func(t *rapid.T) {
		m := &queueModel{
			length: rapid.SampledFrom([]int{fifo.MinEvents, 32, 512}).Draw(t, "events"),
			ord:    rapid.SampledFrom([]fifo.Order{fifo.Release, fifo.SeqCst}).Draw(t, "order"),
		}
		var err error
		if m.seg, err = fifo.NewSegment(queueModelMemory); err != nil {
			t.Fatal(err)
		}
		m.open(t)
		// All lanes there can be, so that what comes back can be told.
		for _, p := range modelProducers {
			m.q.Post(p, fifo.Event{})
		}
		m.q.Free()
		used := m.seg.Used()
		m.open(t)
		t.Repeat(map[string]func(*rapid.T){
			"Post": func(t *rapid.T) {
				p := m.producer(t)
				for range rapid.IntRange(1, m.length+2).Draw(t, "n") {
					ev := m.next()
					ok := m.q.Post(p, ev)
					if want := len(m.held[p]) < m.length; ok != want {
						t.Fatalf("Post(%d) with %d of %d held: %v", p, len(m.held[p]), m.length, ok)
					}
					if !ok {
						break
					}
					m.held[p] = append(m.held[p], ev)
					m.armed = false // woken
				}
			},
			"PostWait": func(t *rapid.T) {
				p := m.producer(t)
				mode := rapid.SampledFrom(producerWaits).Draw(t, "mode").mode
				timeout := rapid.SampledFrom([]time.Duration{0, 1}).Draw(t, "timeout")
				ev := m.next()
				err := m.q.PostWait(p, ev, mode, timeout)
				var want error
				if len(m.held[p]) == m.length {
					if want = fifo.ErrTimeout; timeout == 0 {
						want = fifo.ErrFull
					}
				}
				if err != want {
					t.Fatalf("PostWait(%d) with %d of %d held: %v, want %v", p, len(m.held[p]), m.length, err, want)
				}
				if err == nil {
					m.held[p] = append(m.held[p], ev)
					m.armed = false
				}
			},
			"Stop": func(t *rapid.T) { // and another goes on
				p := m.producer(t)
				if len(m.held[p]) == m.length {
					t.Skip("full")
				}
				at := fifo.Point(rapid.IntRange(int(fifo.LaneLinked), int(fifo.PostDone)).Draw(t, "at"))
				ev := m.next()
				m.q.PostUntil(p, ev, at)
				if at >= fifo.EventPublished {
					m.held[p] = append(m.held[p], ev)
				}
				m.armed = m.q.Armed()
				m.resume(t, p)
			},
			"Drain": func(t *rapid.T) {
				evs := make([]fifo.Event, rapid.IntRange(0, 3*m.length).Draw(t, "n"))
				total, with := 0, 0
				for _, held := range m.held {
					if len(held) > 0 {
						total += len(held)
						with++
					}
				}
				n := m.q.Drain(evs)
				if want := min(total, len(evs)); n != want {
					t.Fatalf("Drain of %d took %d of %d", len(evs), n, total)
				}
				m.took(t, evs[:n])
			},
			"Turn": func(t *rapid.T) {
				// One at a time, each lane with events gets its turn before any
				// gets another.
				var with []int
				for _, p := range modelProducers {
					if len(m.held[p]) > 0 {
						with = append(with, p)
					}
				}
				var turns []int
				for range with {
					var one [1]fifo.Event
					if m.q.Drain(one[:]) != 1 {
						t.Fatal("nothing drained")
					}
					for _, p := range with {
						if held := m.held[p]; len(held) > 0 && held[0] == one[0] {
							turns = append(turns, p)
						}
					}
					m.took(t, one[:])
				}
				slices.Sort(turns)
				if !slices.Equal(turns, with) {
					t.Fatalf("turns of %d, events from %d", turns, with)
				}
			},
			"Wait": func(t *rapid.T) {
				mode := rapid.SampledFrom(producerWaits).Draw(t, "mode").mode
				err := m.q.Wait(mode, rapid.SampledFrom([]time.Duration{0, 1}).Draw(t, "timeout"))
				if want := m.pending(); want != (err == nil) || err != nil && err != fifo.ErrTimeout {
					t.Fatalf("Wait: %v, pending %v", err, want)
				}
				m.armed = m.armed && m.q.Armed() // a wait that began has disarmed
			},
			"Overrun": func(*rapid.T) { m.q.Overrun(); m.overrun, m.armed = true, false },
			"TakeOverrun": func(t *rapid.T) {
				if got := m.q.TakeOverrun(); got != m.overrun {
					t.Fatalf("TakeOverrun: %v, want %v", got, m.overrun)
				}
				m.overrun = false
			},
			"Arm":    func(*rapid.T) { m.q.Arm(); m.armed = true },
			"Disarm": func(*rapid.T) { m.q.Disarm(); m.armed = false },
			"Wake":   func(*rapid.T) { m.q.Wake(); m.armed = false },
			"Resume": func(t *rapid.T) { m.resume(t, m.producer(t)) },
			"OpenQueue": func(t *rapid.T) {
				q, err := fifo.OpenQueue(m.seg, m.q.Ref(), -1)
				if err != nil {
					t.Fatal(err)
				}
				m.q = q
			},
			"Free": func(t *rapid.T) {
				m.q.Free()
				m.open(t)
				if m.seg.Used() > used {
					t.Fatalf("%d bytes in use, before that %d were enough", m.seg.Used(), used)
				}
			},
			"": func(t *rapid.T) {
				if got, want := m.q.Pending(), m.pending(); got != want {
					t.Fatalf("Pending: %v, want %v", got, want)
				}
				if got := m.q.Armed(); got != m.armed {
					t.Fatalf("armed: %v, want %v", got, m.armed)
				}
			},
		})
		if m.overrun {
			m.q.TakeOverrun()
		}
		m.took(t, drainAll(m.q))
		if m.overrun = false; m.pending() {
			t.Fatalf("left behind: %#x", m.held)
		}
	})
}

// queueModelMemory is where every run takes place, on what the one before left.
var queueModelMemory = fifo.AlignedBytes(2 << 20)
