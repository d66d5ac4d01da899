package fifo_test

import (
	"fmt"
	"testing"
	"time"

	"vlsbench/fifo"
)

// The tests here stop a producer for ever at one point of a post after another,
// and look what becomes of everybody else. What PostUntil does is what Post
// does: its last point is a whole post.

// A consumer, asleep or not, gets what others post; what the one that stopped
// had published comes in its place; whoever takes its number over goes on
// behind it; and all of the memory comes back, but for a lane that nobody knew.
func TestQueueStoppedAtEachPoint(t *testing.T) {
	needFence(t, fifo.Release)
	for _, o := range orders {
		for _, w := range waits {
			for _, before := range []uint64{0, 1, fifo.MinEvents - 1, fifo.MinEvents + 3} {
				for at := range fifo.Points {
					if before > 0 && at <= fifo.LaneLinked {
						continue // it has its lane
					}
					name := fmt.Sprintf("%s/%s/before=%d/%s", o.name, w.name, before, at)
					t.Run(name, func(t *testing.T) { stopAt(t, o.ord, w.mode, before, at) })
				}
			}
		}
	}
}

func stopAt(t *testing.T, ord fifo.Order, mode fifo.WaitMode, before uint64, at fifo.Point) {
	threads(t, 2)
	const stopped, other = 9, 4
	s := heap(t, 1<<20)
	q := createQueue(t, s, fifo.MinEvents, ord)
	if err := q.SetEventfd(eventfd(t)); err != nil {
		t.Fatal(err)
	}
	watchdog(t, func() string { return fmt.Sprintf("armed %v, pending %v", q.Armed(), q.Pending()) })
	var sent, seen order
	post := func(p int) {
		t.Helper()
		if !q.Post(p, event(p, sent[p])) {
			t.Fatalf("producer %d cannot post", p)
		}
		sent[p]++
	}
	see := func() {
		t.Helper()
		for _, ev := range drainAll(q) {
			if err := seen.see(ev); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range before {
		post(stopped)
		see()
	}
	// A consumer that sleeps, and wakes for nobody but the other producer: it
	// looks again until it has the other's event.
	done := make(chan error, 1)
	go func() {
		for seen[other] == 0 {
			if err := q.Wait(mode, -1); err != nil {
				done <- err
				return
			}
			var evs [fifo.MinEvents]fifo.Event
			for _, ev := range evs[:q.Drain(evs[:])] {
				if err := seen.see(ev); err != nil {
					done <- err
					return
				}
			}
		}
		done <- nil
	}()
	for mode >= fifo.Park && !q.Armed() {
		time.Sleep(10 * time.Microsecond)
	}
	time.Sleep(100 * time.Microsecond) // most likely asleep now; right either way
	q.PostUntil(stopped, event(stopped, sent[stopped]), at)
	if at >= fifo.EventPublished {
		sent[stopped]++
	}
	time.Sleep(100 * time.Microsecond)
	post(other)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	for range 3 * fifo.MinEvents {
		post(other)
		post(other + 1)
		see()
	}
	if sent != seen {
		t.Fatalf("posted %d, drained %d", sent[:10], seen[:10])
	}
	if q.Pending() {
		t.Error("something is pending that cannot be drained")
	}

	if err := q.Resume(stopped); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		for range fifo.MinEvents {
			post(stopped)
		}
		if q.Post(stopped, fifo.Event{}) {
			t.Error("a full lane took one more")
		}
		see()
	}
	if sent != seen {
		t.Errorf("resumed: posted %d, drained %d", sent[:10], seen[:10])
	}

	q.Free()
	used := s.Used()
	again := createQueue(t, s, fifo.MinEvents, ord)
	for _, p := range []int{0, 1, 2} {
		again.Post(p, fifo.Event{})
	}
	if s.Used() != used {
		t.Errorf("%d bytes did not come back", s.Used()-used)
	}
}

// A producer that resumes before anything was drained: what was published and
// what follows come in order, nothing twice.
func TestQueueResumeFullLane(t *testing.T) {
	watchdog(t, endless)
	for at := fifo.EventWritten; at < fifo.Points; at++ {
		for before := range uint64(fifo.MinEvents) {
			q := createQueue(t, heap(t, 1<<20), fifo.MinEvents, fifo.Release)
			q.StartAt(3, 1<<32-5)
			var sent, seen order
			for range before {
				q.Post(3, event(3, sent[3]))
				sent[3]++
			}
			q.PostUntil(3, event(3, sent[3]), at)
			if at >= fifo.EventPublished {
				sent[3]++
			}
			for range 2 { // once more does no harm
				if err := q.Resume(3); err != nil {
					t.Fatal(err)
				}
			}
			for q.Post(3, event(3, sent[3])) {
				sent[3]++
			}
			for _, ev := range drainAll(q) {
				if err := seen.see(ev); err != nil {
					t.Fatalf("%v after %d: %v", at, before, err)
				}
			}
			if sent != seen || sent[3] != fifo.MinEvents {
				t.Errorf("%v after %d: posted %d, drained %d", at, before, sent[3], seen[3])
			}
		}
	}
}

// A producer that died in PostWait: the consumer wakes nobody, once, and goes
// on; so does who takes over.
func TestQueueStoppedWaiting(t *testing.T) {
	watchdog(t, endless)
	q := createQueue(t, heap(t, 1<<20), fifo.MinEvents, fifo.Release)
	var sent, seen order
	fill := func(p int) {
		for q.Post(p, event(p, sent[p])) {
			sent[p]++
		}
	}
	fill(1)
	fill(2)
	q.DieWaiting(1)
	for _, ev := range drainAll(q) {
		if err := seen.see(ev); err != nil {
			t.Fatal(err)
		}
	}
	if sent != seen {
		t.Errorf("posted %d, drained %d", sent[:3], seen[:3])
	}
	if q.Waiting(1) {
		t.Error("the consumer wakes a dead producer for ever")
	}
	fill(1)
	q.DieWaiting(1)
	if err := q.Resume(1); err != nil {
		t.Fatal(err)
	}
	if q.Waiting(1) {
		t.Error("waits, and has just begun")
	}
}
