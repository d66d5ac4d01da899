package fifo_test

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vlsbench/fifo"
)

func createQueue(t testing.TB, s *fifo.Segment, events int, ord fifo.Order) *fifo.Queue {
	t.Helper()
	q, err := fifo.NewQueue(s, events, ord)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// event is what producer posts as its n-th. Kind holds the producer in its low
// byte, and a digest of the rest, so that an event put together from two is seen.
func event(producer int, n uint64) fifo.Event {
	return fifo.Event{Kind: uint32(n*0x9e3779b9)<<8 | uint32(producer), Arg: n<<8 ^ uint64(producer)}
}

// order checks that each producer's events come in order, each once.
type order [fifo.MaxProducers]uint64

func (o *order) see(ev fifo.Event) error {
	p := int(ev.Kind & 0xff)
	if want := event(p, o[p]); ev != want {
		return fmt.Errorf("producer %d, event %d: %#x, want %#x", p, o[p], ev, want)
	}
	o[p]++
	return nil
}

// sleep is how a consumer sleeps without losing a wake-up.
func sleep(q *fifo.Queue, ord fifo.Order) {
	q.Arm()
	sleepFence(ord)
	if q.Pending() {
		q.Disarm()
		return
	}
	q.Sleep(-1)
}

// drainAll drains whatever is there now.
func drainAll(q *fifo.Queue) []fifo.Event {
	var all []fifo.Event
	var evs [7]fifo.Event
	for {
		n := q.Drain(evs[:])
		if n == 0 {
			return all
		}
		all = append(all, evs[:n]...)
	}
}

func TestQueueBounds(t *testing.T) {
	watchdog(t, endless)
	s := heap(t, 1<<20)
	used := s.Used()
	for _, n := range []int{-16, 0, 1, fifo.MinEvents - 1, fifo.MinEvents / 2, fifo.MinEvents + 1, 100, 2 * fifo.MaxEvents, 1 << 40} {
		_, err := fifo.NewQueue(s, n, fifo.Release)
		refused(t, "NewQueue", n, err)
	}
	if s.Used() != used {
		t.Errorf("refused queues took %d bytes", s.Used()-used)
	}
	small := heap(t, fifo.MinSegment)
	for {
		if _, err := fifo.NewQueue(small, fifo.MinEvents, fifo.Release); err == fifo.ErrGrow {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func TestQueueFullLane(t *testing.T) {
	watchdog(t, endless)
	for _, o := range orders {
		for _, length := range []int{fifo.MinEvents, 256, fifo.MaxEvents} {
			q := createQueue(t, heap(t, 8<<20), length, o.ord)
			var sent [3]uint64
			var seen order
			for round := range 3 {
				for p := 1; p < 3; p++ {
					for q.Post(p, event(p, sent[p])) {
						sent[p]++
					}
					if want := uint64((round + 1) * length); sent[p] != want {
						t.Fatalf("%s: lane of %d: producer %d posted %d, want %d", o.name, length, p, sent[p], want)
					}
				}
				if q.Post(1, event(1, sent[1])) {
					t.Fatal("a full lane became free by itself")
				}
				if !q.Pending() {
					t.Error("full, and nothing pending")
				}
				for _, ev := range drainAll(q) {
					if err := seen.see(ev); err != nil {
						t.Fatal(err)
					}
				}
				if seen[1] != sent[1] || seen[2] != sent[2] {
					t.Fatalf("posted %d, drained %d and %d", sent[1:], seen[1], seen[2])
				}
				if q.Pending() {
					t.Error("pending after all was drained")
				}
			}
			// A single free slot is enough.
			for q.Post(1, event(1, sent[1])) {
				sent[1]++
			}
			var one [1]fifo.Event
			if n := q.Drain(one[:]); n != 1 || seen.see(one[0]) != nil {
				t.Fatalf("Drain: %d, %v", n, one)
			}
			if !q.Post(1, event(1, sent[1])) || q.Post(1, event(1, sent[1]+1)) {
				t.Error("one event drained is not one more to post")
			}
			if n := q.Drain(nil); n != 0 {
				t.Errorf("Drain into nothing: %d", n)
			}
		}
	}
}

// Lanes are made for those who post, with any number.
func TestQueueLanesOnDemand(t *testing.T) {
	s := heap(t, 8<<20)
	q := createQueue(t, s, fifo.MinEvents, fifo.Release)
	var evs [3]fifo.Event
	if q.Lanes() != 0 || q.Pending() || q.Drain(evs[:]) != 0 {
		t.Error("a new queue is not empty")
	}
	var seen order
	for i, p := range []int{255, 0, 254, 17, 255} {
		used := s.Used()
		ev := event(p, seen[p])
		if !q.Post(p, ev) {
			t.Fatalf("Post(%d)", p)
		}
		if got := s.Used() - used; (got > 0) != (i < 4) || got > fifo.MinChunk+fifo.Line {
			t.Errorf("post %d took %d bytes", i, got)
		}
		if !q.Pending() {
			t.Errorf("posted by %d and not pending", p)
		}
		if n := q.Drain(evs[:]); n != 1 || seen.see(evs[0]) != nil {
			t.Errorf("posted by %d, drained %d, %v", p, n, evs[:n])
		}
	}
	if q.Lanes() != 4 {
		t.Errorf("%d lanes", q.Lanes())
	}
}

// A segment without room for a lane is like a full lane, and recovers.
func TestQueueWithoutRoom(t *testing.T) {
	watchdog(t, endless)
	s := heap(t, 128<<10)
	q := createQueue(t, s, fifo.MinEvents, fifo.Release)
	if !q.Post(0, event(0, 0)) {
		t.Fatal("the first lane")
	}
	f := create(t, s, 1<<20, fifo.Release)
	if _, err := fill(t, &f, 0, 1<<20); err != fifo.ErrGrow {
		t.Fatal(err)
	}
	if q.Post(1, event(1, 0)) || q.Lanes() != 1 {
		t.Error("a lane out of an exhausted segment")
	}
	if !q.Post(0, event(0, 1)) {
		t.Error("a producer with a lane suffers from the segment")
	}
	f.Free()
	// Its memory is that of chunks: nothing left there is taken for events.
	if !q.Post(1, event(1, 0)) {
		t.Fatal("no lane after a fifo was freed")
	}
	var seen order
	evs := drainAll(q)
	for _, ev := range evs {
		if err := seen.see(ev); err != nil {
			t.Fatal(err)
		}
	}
	if len(evs) != 3 {
		t.Errorf("drained %d, want 3", len(evs))
	}
}

// What memory held before is not taken for events, not even where it looks like
// the first of a lane.
func TestQueueOnUsedMemory(t *testing.T) {
	watchdog(t, endless)
	mem := fifo.AlignedBytes(fifo.MinSegment)
	for i := 4; i < len(mem); i += 8 {
		binary.LittleEndian.PutUint32(mem[i:], 1)
	}
	s, err := fifo.NewSegment(mem)
	if err != nil {
		t.Fatal(err)
	}
	q := createQueue(t, s, fifo.MinEvents, fifo.Release)
	if q.Lanes() != 0 || q.Pending() || q.Armed() || q.TakeOverrun() {
		t.Error("a new queue is not empty")
	}
	q.PostUntil(3, event(3, 0), fifo.EventWritten) // makes the lane, and publishes nothing in it
	if evs := drainAll(q); q.Pending() || len(evs) != 0 {
		t.Errorf("a new lane holds %d events", len(evs))
	}
}

// Every lane gets its turn: a producer that never pauses does not shut out
// another.
func TestQueueDrainsInTurn(t *testing.T) {
	watchdog(t, endless)
	q := createQueue(t, heap(t, 1<<20), fifo.MinEvents, fifo.Release)
	var sent, seen order
	evs := make([]fifo.Event, fifo.MinEvents)
	for range 100 {
		for _, p := range []int{3, 9, 200} {
			for q.Post(p, event(p, sent[p])) {
				sent[p]++
			}
		}
		for _, ev := range evs[:q.Drain(evs)] {
			if err := seen.see(ev); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, p := range []int{3, 9, 200} {
		if seen[p] < 30*fifo.MinEvents {
			t.Errorf("producer %d: %d events of 100 batches of %d over three", p, seen[p], len(evs))
		}
	}
}

// The 32-bit positions of a lane wrap. The slots hold what the lap before left.
func TestQueueWrap(t *testing.T) {
	watchdog(t, endless)
	for _, length := range []int{fifo.MinEvents, 1024} {
		for back := range uint32(3) {
			q := createQueue(t, heap(t, 1<<20), length, fifo.Release)
			q.StartAt(7, -(uint32(length)/2 + back))
			if q.Pending() || len(drainAll(q)) != 0 {
				t.Fatalf("lane of %d: something there before the first post", length)
			}
			var sent, seen order
			for round := range 5 * length {
				for range 1 + round%3 {
					if q.Post(7, event(7, sent[7])) {
						sent[7]++
					}
				}
				if round%length == 0 { // to the brim
					for q.Post(7, event(7, sent[7])) {
						sent[7]++
					}
					if held := sent[7] - seen[7]; held != uint64(length) {
						t.Fatalf("lane of %d holds %d", length, held)
					}
				}
				if round%2 == 0 {
					for _, ev := range drainAll(q) {
						if err := seen.see(ev); err != nil {
							t.Fatal(err)
						}
					}
					if sent[7] != seen[7] || q.Pending() {
						t.Fatalf("lane of %d: posted %d, drained %d, pending %v", length, sent[7], seen[7], q.Pending())
					}
				}
			}
		}
	}
}

func TestQueueOverrun(t *testing.T) {
	q := createQueue(t, heap(t, 1<<20), fifo.MinEvents, fifo.Release)
	if q.TakeOverrun() || q.Pending() {
		t.Error("a new queue was overrun")
	}
	q.Overrun()
	q.Overrun()
	if !q.Pending() {
		t.Error("overrun and not pending")
	}
	if !q.TakeOverrun() {
		t.Error("Overrun was not reported")
	}
	if q.TakeOverrun() || q.Pending() {
		t.Error("Overrun was reported twice")
	}
	// It wakes a consumer that sleeps, and Wake does so without anything to take.
	for _, wake := range []func(){q.Overrun, q.Wake} {
		q.Arm()
		if !q.Armed() {
			t.Fatal("not armed")
		}
		watchdog(t, func() string { return "the consumer sleeps" })
		done := make(chan struct{})
		go func() {
			defer close(done)
			q.Sleep(-1)
		}()
		time.Sleep(time.Millisecond) // most likely asleep now; right either way
		wake()
		<-done
		if q.Armed() {
			t.Error("armed after Sleep")
		}
		q.TakeOverrun()
	}
	q.Arm()
	q.Sleep(time.Microsecond) // ends by itself
	if q.Armed() {
		t.Error("armed after a sleep that ended")
	}
	q.Arm()
	q.Disarm()
	q.Sleep(-1) // does not begin
}

// An overrun flag tells of every event that was not posted, when the flag is
// taken before the lanes are looked at.
func TestQueueOverrunIsNotLost(t *testing.T) {
	threads(t, 3)
	q := createQueue(t, heap(t, 1<<20), fifo.MinEvents, fifo.Release)
	const producers = 2
	events := int64(scaled(400_000))
	// What producers want done stands here; the event only says that it changed.
	var want, done [producers]atomic.Int64
	watchdog(t, func() string {
		return fmt.Sprintf("wanted %d %d, done %d %d", want[0].Load(), want[1].Load(), done[0].Load(), done[1].Load())
	})
	needFence(t, fifo.Release)
	overruns := 0
	var wg sync.WaitGroup
	for p := range producers {
		wg.Go(func() {
			for i := int64(1); i <= events; i++ {
				want[p].Store(i)
				if !q.Post(p, fifo.Event{Kind: uint32(p)}) {
					q.Overrun()
				}
				if i%1024 == 0 {
					for done[p].Load() < i { // told, or hangs
						runtime.Gosched()
					}
				}
			}
		})
	}
	evs := make([]fifo.Event, 4)
	for done[0].Load() < events || done[1].Load() < events {
		if q.TakeOverrun() {
			overruns++
			for p := range producers {
				done[p].Store(want[p].Load())
			}
		}
		n := q.Drain(evs)
		for _, ev := range evs[:n] {
			done[ev.Kind].Store(want[ev.Kind].Load())
		}
		if n == 0 {
			sleep(q, fifo.Release)
		}
	}
	wg.Wait()
	if overruns == 0 {
		t.Error("there was no overrun, so this showed nothing")
	}
}

// Nothing lost, nothing doubled, in order for each producer, whatever their
// number and however the consumer waits.
func TestQueueManyProducers(t *testing.T) {
	for _, o := range orders {
		for _, asleep := range []bool{false, true} {
			for _, producers := range []int{1, 2, 5, 40, 256} {
				wait := "poll"
				if asleep {
					wait = "sleep"
				}
				t.Run(fmt.Sprintf("%s/%s/producers=%d", o.name, wait, producers), func(t *testing.T) {
					needFence(t, o.ord)
					manyProducers(t, o.ord, asleep, producers, scaled(100_000)/producers)
				})
			}
		}
	}
}

func manyProducers(t *testing.T, ord fifo.Order, asleep bool, producers, each int) {
	threads(t, 3)
	q := createQueue(t, heap(t, 4<<20), fifo.MinEvents, ord)
	seed := seedOf(t)
	var seen order
	var total, stop atomic.Int64
	watchdog(t, func() string {
		return fmt.Sprintf("%d of %d events drained, armed %v, pending %v", total.Load(), producers*each, q.Armed(), q.Pending())
	})
	// A producer without events: stopped in the middle of posting one.
	dead := -1
	if producers < fifo.MaxProducers {
		dead = producers / 2
		q.PostUntil(dead, event(dead, 0), fifo.EventWritten)
	}
	var wg sync.WaitGroup
	live := 0
	for p := range producers + 1 {
		if p == dead || p == fifo.MaxProducers {
			continue
		}
		live++
		wg.Go(func() {
			for n := 0; n < each && stop.Load() == 0; {
				if q.Post(p, event(p, uint64(n))) {
					n++
				} else {
					runtime.Gosched()
				}
			}
		})
	}
	r := random(seed)
	evs := make([]fifo.Event, 64)
	for total.Load() < int64(live*each) && !t.Failed() {
		n := q.Drain(evs[:1+r.IntN(len(evs))])
		for _, ev := range evs[:n] {
			if err := seen.see(ev); err != nil {
				t.Error(err)
				stop.Store(1)
				break
			}
		}
		total.Add(int64(n))
		switch {
		case n > 0:
		case asleep:
			sleep(q, ord)
		default:
			runtime.Gosched()
		}
	}
	wg.Wait()
	if evs := drainAll(q); len(evs) != 0 && !t.Failed() {
		t.Errorf("%d events more than were posted, the first %#x", len(evs), evs[0])
	}
}

// A producer that stops for ever holds up no other: in the middle of its stream,
// or of a post, or with its lane full and nobody to see to it.
func TestQueueDeadProducer(t *testing.T) {
	watchdog(t, endless)
	q := createQueue(t, heap(t, 1<<20), fifo.MinEvents, fifo.Release)
	var sent, seen order
	post := func(p int) bool {
		ok := q.Post(p, event(p, sent[p]))
		if ok {
			sent[p]++
		}
		return ok
	}
	for range 5 {
		post(1)
	}
	q.PostUntil(1, event(1, sent[1]), fifo.EventWritten)
	q.PostUntil(2, event(2, 0), fifo.EventWritten)
	for range 1000 {
		for _, p := range []int{0, 3} {
			if !post(p) {
				t.Fatalf("producer %d cannot post", p)
			}
		}
		for _, ev := range drainAll(q) {
			if err := seen.see(ev); err != nil {
				t.Fatal(err)
			}
		}
	}
	if sent != seen {
		t.Errorf("posted %d, drained %d", sent[:4], seen[:4])
	}
	if q.Pending() {
		t.Error("an event that was never published is pending")
	}
}

// A queue works between two mappings of its memory, its wake-ups too.
func TestQueueTwoMappings(t *testing.T) {
	a, b := twice(t, 1<<20)
	threads(t, 2)
	needFence(t, fifo.Release)
	q := createQueue(t, a, fifo.MinEvents, fifo.Release)
	v := q.Through(b)
	const events = 50_000
	watchdog(t, func() string { return fmt.Sprintf("armed %v, pending %v", q.Armed(), q.Pending()) })
	go func() {
		for n := uint64(0); n < events; {
			if v.Post(4, event(4, n)) {
				n++
			} else {
				runtime.Gosched()
			}
		}
	}()
	var seen order
	evs := make([]fifo.Event, 8)
	for seen[4] < events {
		n := q.Drain(evs)
		for _, ev := range evs[:n] {
			if err := seen.see(ev); err != nil {
				t.Fatal(err)
			}
		}
		if n == 0 {
			sleep(q, fifo.Release)
		}
	}
}

func TestQueueAllocates0(t *testing.T) {
	watchdog(t, endless)
	if fifo.RaceEnabled {
		t.Skip("the race detector allocates")
	}
	for _, o := range orders {
		q := createQueue(t, heap(t, 8<<20), fifo.MinEvents, o.ord)
		evs := make([]fifo.Event, 32)
		p := 0
		n := testing.AllocsPerRun(fifo.MaxProducers-1, func() {
			q.Post(p, fifo.Event{Kind: 1}) // its first: makes a lane
			for q.Post(3, fifo.Event{Kind: 2, Arg: 3}) {
			}
			q.Overrun()
			q.TakeOverrun()
			for q.Drain(evs) > 0 {
			}
			if q.Pending() {
				t.Error("pending")
			}
			q.Arm()
			q.Disarm()
			p = (p + 1) % fifo.MaxProducers
		})
		if n != 0 {
			t.Errorf("%s: %v allocations", o.name, n)
		}
	}
}
