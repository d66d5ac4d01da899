//go:build sched

package fifo_test

import (
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vlsbench/fifo"
	"vlsbench/sched"
)

// poster posts a producer's next event, and returns false if its lane is full.
type poster func(r *sched.Run, q *fifo.Queue, producer int, ev fifo.Event) bool

func post(_ *sched.Run, q *fifo.Queue, producer int, ev fifo.Event) bool {
	return q.Post(producer, ev)
}

// postWait waits for room in a mode.
func postWait(mode fifo.WaitMode) poster {
	return func(r *sched.Run, q *fifo.Queue, producer int, ev fifo.Event) bool {
		if err := q.PostWait(producer, ev, mode, -1); err != nil {
			r.Fatalf("%v", err)
		}
		return true
	}
}

func sleepWell(q *fifo.Queue) { sleep(q, fifo.Release) }

// waitIn is a consumer's sleep in a mode.
func waitIn(mode fifo.WaitMode) func(q *fifo.Queue) {
	return func(q *fifo.Queue) {
		if err := q.Wait(mode, -1); err != nil {
			panic(err)
		}
	}
}

// queueTest is a queue with two producers, whose lanes come with their first
// posts, and a consumer that sleeps whenever it finds nothing.
type queueTest struct {
	t     *testing.T
	ord   fifo.Order
	each  int   // events of a producer
	full  int   // of them, posted by producer 0 before all begins
	wait  []int // the producers whose events the consumer waits for
	post  poster
	sleep func(q *fifo.Queue)
	drain func(q *fifo.Queue) []fifo.Event // nil: Drain
	heir  int                              // of this producer, who posts what is missing; -1: of none
	fd    int                              // the queue's eventfd, if that is not 0
	mem   []byte
	// The consumer may be stopped, and what it has drained is lost with it.
	mortal bool
}

func newQueueTest(t *testing.T) queueTest {
	return queueTest{t: t, each: 3, wait: []int{0, 1}, heir: -1, post: post, sleep: sleepWell, mem: fifo.AlignedBytes(fifo.MinSegment)}
}

func (c queueTest) body(r *sched.Run) {
	clear(c.mem)
	s, err := fifo.NewSegment(c.mem)
	if err != nil {
		c.t.Fatal(err)
	}
	q := createQueue(c.t, s, fifo.MinEvents, c.ord)
	if c.fd != 0 {
		emptyEventfd(c.fd)
		if err := q.SetEventfd(c.fd); err != nil {
			c.t.Fatal(err)
		}
	}
	var posted [2]int
	for ; posted[0] < c.full; posted[0]++ {
		q.Post(0, event(0, uint64(posted[0])))
	}
	producer := func(p int) {
		for posted[p] < c.each {
			for !c.post(r, q, p, event(p, uint64(posted[p]))) {
				sched.Spin("lane full")
			}
			posted[p]++
		}
	}
	for p := range posted {
		r.Go(fmt.Sprint("producer", p), func() { producer(p) })
	}
	if c.heir >= 0 {
		r.Go("heir", func() {
			// Nothing goes on: the producer is done or was stopped.
			sched.Wait("death", func() bool { return false }, time.Hour)
			if err := q.Resume(c.heir); err != nil {
				r.Fatalf("%v", err)
			}
			posted[c.heir] = q.Posted(c.heir)
			producer(c.heir)
		})
	}
	var seen order
	drain := func(n int) {
		var got []fifo.Event
		if c.drain != nil {
			got = c.drain(q)
		} else {
			got = make([]fifo.Event, n)
			got = got[:q.Drain(got)]
		}
		for _, ev := range got {
			if err := seen.see(ev); err != nil && !c.mortal {
				r.Fatalf("%v", err)
			}
		}
	}
	done := func() bool {
		for _, p := range c.wait {
			if seen[p] != uint64(c.each) {
				return false
			}
		}
		return true
	}
	r.Go("consumer", func() {
		for n := 1; !done(); n++ {
			if drain(1 + n%3); !done() && !q.Pending() {
				c.sleep(q)
			}
		}
		// Until nothing goes on: one that it did not wait for may need room.
		for sched.Wait("more", q.Pending, time.Hour) {
			drain(3)
		}
	})
	r.Check(func() {
		for range 3 {
			drain(fifo.MinEvents)
		}
		for p, n := range posted {
			// What a post has published counts, though it may not be over.
			if got := int(seen[p]); !c.mortal && got < n || got > n+1 {
				r.Errorf("producer %d: %d events of %d", p, got, n)
			}
		}
		if q.Pending() {
			r.Errorf("something is left")
		}
	})
}

// No event is lost and no wake-up, however the two sides wait.
func TestSchedulesOfQueue(t *testing.T) {
	for _, o := range orders {
		for _, w := range []struct {
			name  string
			sleep func(q *fifo.Queue)
		}{
			{"arm", func(q *fifo.Queue) { sleep(q, o.ord) }},
			{"park", waitIn(fifo.Park)},
			{"adaptive", waitIn(fifo.Adaptive)},
			{"spin", waitIn(fifo.Spin)},
		} {
			t.Run(o.name+"/"+w.name, func(t *testing.T) {
				c := newQueueTest(t)
				c.ord, c.sleep = o.ord, w.sleep
				rep := sched.Explore(t, sched.Options{Schedules: 4000}, c.body)
				t.Logf("%d schedules, the longest of %d steps", rep.Schedules, rep.Longest)
			})
		}
	}
	lost := `consumer sleeps in "queue: sleep"`
	for _, twin := range []struct {
		name, want string
		change     func(c *queueTest)
	}{
		{"no look between arming and sleep", lost, func(c *queueTest) {
			c.sleep = func(q *fifo.Queue) { q.Arm(); q.Sleep(-1) }
		}},
		{"last look before arming", lost, func(c *queueTest) {
			c.sleep = func(q *fifo.Queue) {
				if !q.Pending() {
					q.Arm()
					q.Sleep(-1)
				}
			}
		}},
		{"look who sleeps before the event", lost, func(c *queueTest) {
			c.post = func(_ *sched.Run, q *fifo.Queue, p int, ev fifo.Event) bool { return q.PostLookFirst(p, ev) }
		}},
		{"word before slot", "want ", func(c *queueTest) {
			c.post = func(_ *sched.Run, q *fifo.Queue, p int, ev fifo.Event) bool { return q.PostWordFirst(p, ev) }
		}},
	} {
		t.Run("twin: "+twin.name, func(t *testing.T) {
			c := newQueueTest(t)
			twin.change(&c)
			found(t, sched.Options{}, twin.want, c.body)
		})
	}
}

// A lane's slots are used again lap after lap, and its producer meets the end,
// waits for room, and is woken by the first there is.
func TestSchedulesOfFullLane(t *testing.T) {
	for _, w := range []struct {
		name string
		post poster
	}{
		{"post", post}, {"park", postWait(fifo.Park)}, {"adaptive", postWait(fifo.Adaptive)}, {"spin", postWait(fifo.Spin)},
	} {
		for _, o := range orders {
			t.Run(w.name+"/"+o.name, func(t *testing.T) {
				c := newQueueTest(t)
				c.each, c.post, c.ord = fifo.MinEvents+6, w.post, o.ord
				c.sleep = waitIn(fifo.Park)
				sched.Explore(t, sched.Options{Schedules: 1000}, c.body)
			})
		}
	}
	t.Run("twin: look who waits before the room", func(t *testing.T) {
		c := newQueueTest(t)
		c.each, c.full, c.post = fifo.MinEvents+2, fifo.MinEvents-2, postWait(fifo.Park)
		c.drain = func(q *fifo.Queue) []fifo.Event {
			got := make([]fifo.Event, 2*fifo.MinEvents)
			n := q.DrainLookFirst(0, got[:fifo.MinEvents])
			return got[:n+q.DrainLookFirst(1, got[n:])]
		}
		found(t, sched.Options{Schedules: 5000}, ` sleeps in "queue: sleep"`, c.body)
	})
}

// A producer that is stopped anywhere in a post, in that of its first lane too,
// holds up neither the other nor the consumer, and what it has published is
// there.
func TestSchedulesOfStoppedProducer(t *testing.T) {
	for p, name := range []string{"producer0", "producer1"} {
		c := newQueueTest(t)
		c.each, c.wait = 2, []int{1 - p}
		got := stop(t, sched.Options{Schedules: 60}, []string{name}, c.body)
		points(t, got, postPoints)
	}
	// One that waits for room: as many points again.
	for _, mode := range []fifo.WaitMode{fifo.Park, fifo.Adaptive, fifo.Spin} {
		c := newQueueTest(t)
		c.each, c.full, c.wait, c.post = fifo.MinEvents+2, fifo.MinEvents-2, []int{1}, postWait(mode)
		got := stop(t, sched.Options{Schedules: 120}, []string{"producer0"}, c.body)
		list := slotPoints
		if mode != fifo.Spin {
			list += waitPoints
		}
		if mode != fifo.Park {
			list += spinPoints
		}
		points(t, got, list)
	}
	// The word that is cleared and the wake-up are one step, or who is stopped in
	// between leaves one that sleeps and looks awake.
	c := newQueueTest(t)
	c.each, c.wait = 3, []int{1}
	c.post = func(_ *sched.Run, q *fifo.Queue, p int, ev fifo.Event) bool { return q.PostWakeTwice(p, ev) }
	found(t, sched.Options{Stall: []sched.Stall{{Thread: "producer0", Point: "twin: wake", Visit: 1}}},
		`consumer sleeps in "queue: sleep"`, c.body)
}

// Every point that a producer comes to in Post, and in PostWait.
const (
	postPoints = `
		queue: a lane taken, before it is prepared
		segment: before the number of runs is helped along
		segment: between the look at fresh memory and its claim
		segment: run claimed, before it is described
		segment: run described, before it is ready
		segment: taken, before it is linked
		segment: linked, before the link is made
		queue: between the look at the count of lanes and its swap
		queue: between the count of lanes and a lane's place` + slotPoints
	slotPoints = `
		queue: post, between slot and word
		queue: post, between word and tail
		queue: post, between tail and the look who sleeps
		queue: wake`
	waitPoints = `
		queue: before arming
		queue: armed
		queue: sleep`
	spinPoints = `
		queue: spin`
)

// Whoever takes over from a producer that was stopped at any point posts on from
// there, and all arrives.
func TestSchedulesOfHeir(t *testing.T) {
	for p, name := range []string{"producer0", "producer1"} {
		c := newQueueTest(t)
		c.heir = p
		got := stop(t, sched.Options{Schedules: 60}, []string{name}, c.body)
		points(t, got, postPoints)
	}
	t.Run("twin: lane before the count of lanes", func(t *testing.T) {
		c := newQueueTest(t)
		c.heir = 1
		c.post = func(_ *sched.Run, q *fifo.Queue, p int, ev fifo.Event) bool {
			if p == 1 && !q.HasLane(p) {
				q.LaneBackwards(p)
			}
			return q.Post(p, ev)
		}
		found(t, sched.Options{Stall: []sched.Stall{{Thread: "producer1", Point: "twin: between a lane's place and the count of lanes", Visit: 1}}},
			`consumer sleeps in "queue: sleep"`, c.body)
	})
}

// A consumer that is stopped anywhere holds up no producer that does not wait
// for room.
func TestSchedulesOfStoppedConsumer(t *testing.T) {
	c := newQueueTest(t)
	c.sleep, c.mortal = waitIn(fifo.Park), true
	got := stop(t, sched.Options{Schedules: 30}, []string{"consumer"}, c.body)
	points(t, got, `
		queue: drain, between events and head
		queue: drain, between head and the look who waits
		queue: before the look at a lane
		queue: before arming
		queue: armed
		queue: sleep
		more`)
}

// An overrun is a wake-up too, and who takes it finds all that could not be
// posted.
func TestSchedulesOfOverrun(t *testing.T) {
	sched.Explore(t, sched.Options{Schedules: 3000}, func(r *sched.Run) {
		q := createQueue(t, heap(t, fifo.MinSegment), fifo.MinEvents, fifo.Release)
		var news [2]bool
		for i := range news {
			r.Go(fmt.Sprint("producer", i), func() {
				news[i] = true
				q.Overrun()
			})
		}
		r.Go("consumer", func() {
			for found := 0; found < 2; {
				if !q.TakeOverrun() {
					sleepWell(q)
					continue
				}
				for i := range news {
					if news[i] {
						news[i] = false
						found++
					}
				}
			}
		})
	})
}

// Two processes' views of the lanes of one queue: a lane that is made at the
// same time is there for both.
func TestSchedulesOfViews(t *testing.T) {
	sched.Explore(t, sched.Options{Schedules: 1500}, func(r *sched.Run) {
		s := heap(t, tightSize)
		q := createQueue(t, s, fifo.MinEvents, fifo.SeqCst)
		for p := range 2 {
			v := q.Through(join(t, s))
			r.Go(fmt.Sprint("producer", p), func() {
				for i := range uint64(2) {
					if !v.Post(p, event(p, i)) {
						r.Fatalf("lane full")
					}
				}
			})
		}
		r.Go("consumer", func() {
			var seen order
			var evs [3]fifo.Event
			for seen[0] < 2 || seen[1] < 2 {
				if err := q.Wait(fifo.Park, -1); err != nil {
					r.Fatalf("%v", err)
				}
				for _, ev := range evs[:q.Drain(evs[:])] {
					if err := seen.see(ev); err != nil {
						r.Fatalf("%v", err)
					}
				}
			}
		})
	})
}

// A consumer that sleeps on an eventfd among others loses no wake-up, with a
// producer stopped anywhere too.
func TestSchedulesOfEventfd(t *testing.T) {
	c := newQueueTest(t)
	c.fd = eventfd(t)
	c.sleep = func(q *fifo.Queue) {
		if q.ArmEventfd() {
			sched.Wait("readable eventfd", func() bool { return readableEventfd(c.fd) }, -1)
			q.DisarmEventfd()
		}
	}
	sched.Explore(t, sched.Options{Schedules: 3000}, c.body)
	c.wait = []int{1}
	got := stop(t, sched.Options{Schedules: 40}, []string{"producer0"}, c.body)
	want := "queue: eventfd written, before the arming is cleared"
	for _, p := range got {
		if p == want {
			want = ""
		}
	}
	if want != "" {
		t.Errorf("nobody was stopped at %q", want)
	}
	t.Run("twin: no look between arming and sleep", func(t *testing.T) {
		c.t = t
		c.sleep = func(q *fifo.Queue) {
			q.ArmEventfd()
			q.DisarmEventfd()
			q.ArmEventfdBlind()
			sched.Wait("readable eventfd", func() bool { return readableEventfd(c.fd) }, -1)
			q.DisarmEventfd()
		}
		found(t, sched.Options{}, `consumer waits for "readable eventfd"`, c.body)
	})
}

func readableEventfd(fd int) bool {
	p := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, _ := unix.Poll(p[:], 0)
	return n == 1
}

func emptyEventfd(fd int) {
	var b [8]byte
	unix.Read(fd, b[:]) //nolint:errcheck // EAGAIN: it is empty
}
