//go:build sched

package fifo_test

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"vlsbench/fifo"
	"vlsbench/sched"
)

// The tests here run threads through the points of this package, in schedules of
// the scheduler's choice. What is promised must hold in all of them; a twin that
// breaks the protocol in one place must be found, or the test could not fail.

// found expects the explorer to find what is wrong with a twin, and to find it
// again in the schedule that it tells: nothing here may depend on the time or on
// where a thread happens to run.
func found(t *testing.T, o sched.Options, want string, body func(*sched.Run)) {
	t.Helper()
	_, f, err := sched.Search(o, body)
	switch {
	case err != nil:
		t.Fatal(err)
	case f == nil:
		t.Fatal("the twin was not found")
	case !strings.Contains(f.Reason, want):
		t.Fatalf("want %q in:\n%v", want, f)
	}
	again, err := sched.Replay(f.Replay, o, body)
	if err != nil || again == nil || again.Reason != f.Reason || !slices.Equal(again.Trace, f.Trace) {
		t.Errorf("%s fails otherwise the second time: %v, %v; first:\n%v", f.Replay, again, err, f)
	}
	t.Logf("found by schedule %d, %s", f.Schedule, f.Replay)
}

// stop runs body with each of the threads stopped for ever at each point that
// it comes to, at each visit, and returns the names of the points.
func stop(t *testing.T, o sched.Options, threads []string, body func(*sched.Run)) []string {
	t.Helper()
	rep := sched.Explore(t, sched.Options{Schedules: 500}, body)
	names := map[string]bool{}
	runs := 0
	before := t.Failed()
	for _, v := range rep.Visited {
		if !slices.Contains(threads, v.Thread) {
			continue
		}
		for n := range v.Visit {
			v.Visit = n + 1
			o.Stall = []sched.Stall{v}
			got, f, err := sched.Search(o, body)
			if f != nil || err != nil {
				t.Fatalf("%v: %v %v", v, f, err)
			}
			if !before && t.Failed() {
				t.Fatalf("%v", v)
			}
			// A visit that is rare may not come in so few schedules.
			if got.Stalled > 0 {
				names[v.Point] = true
				runs += got.Stalled
			}
		}
	}
	t.Logf("stopped at %d points, in %d runs", len(names), runs)
	return slices.Sorted(maps.Keys(names))
}

// points compares the points at which stop has stopped threads with a list.
func points(t *testing.T, got []string, list string) {
	t.Helper()
	want := strings.Split(strings.TrimSpace(list), "\n")
	for i := range want {
		want[i] = strings.TrimSpace(want[i])
	}
	slices.Sort(want)
	for _, p := range want {
		if !slices.Contains(got, p) {
			t.Errorf("nobody was stopped at %q", p)
		}
	}
	for _, p := range got {
		if !slices.Contains(want, p) {
			t.Errorf("%q is not in the list", p)
		}
	}
}

// feed writes some of a stream of total bytes, from position pos on, and returns
// how much; 0: there is no room, or no memory.
type feed func(r *sched.Run, f *fifo.Fifo, pos, total int) int

// drain reads some of a stream, compares it, and returns how much; 0: there is
// nothing.
type drain func(r *sched.Run, f *fifo.Fifo, pos int) int

func fed(r *sched.Run, n int, err error) int {
	if err != nil && err != fifo.ErrFull && err != fifo.ErrGrow {
		r.Fatalf("%v", err)
	}
	return n
}

func drained(r *sched.Run, p []byte, pos int, err error) int {
	if err != nil && err != fifo.ErrEmpty {
		r.Fatalf("%v", err)
	}
	if !bytes.Equal(p, expected(uint64(pos), len(p))) {
		r.Fatalf("%s", firstWrong(p, uint64(pos)))
	}
	return len(p)
}

func enqueue(message int) feed {
	return func(r *sched.Run, f *fifo.Fifo, pos, total int) int {
		n, err := f.Enqueue(expected(uint64(pos), min(message, total-pos)))
		return fed(r, n, err)
	}
}

// putShort writes a long message and a short one in turn, the short one by steps.
func putShort(message int) feed {
	return func(r *sched.Run, f *fifo.Fifo, pos, total int) int {
		if pos%(message+64) != message || total-pos < 64 || !f.Room(64) {
			return enqueue(max(message-pos%(message+64), 1))(r, f, pos, total)
		}
		f.Put(expected(uint64(pos), 64))
		f.AdvanceTail(64)
		return 64
	}
}

// enqueuePieces writes a message as three pieces, or what fits of them.
func enqueuePieces(message int) feed {
	return func(r *sched.Run, f *fifo.Fifo, pos, total int) int {
		p := expected(uint64(pos), min(message, total-pos))
		k := len(p) / 3
		n, err := f.EnqueueSegments([][]byte{p[:k], p[k : 2*k], p[2*k:]}, true)
		return fed(r, n, err)
	}
}

// provide writes in place.
func provide(message int) feed {
	return func(r *sched.Run, f *fifo.Fifo, pos, total int) int {
		var pieces [8][]byte
		n, size, err := f.Provision(min(message, total-pos), pieces[:])
		at := pos
		for _, p := range pieces[:n] {
			at += copy(p, expected(uint64(at), len(p)))
		}
		if size == 0 {
			return fed(r, 0, err)
		}
		sched.Point("written in place")
		size, err = f.Advance(size)
		return fed(r, size, err)
	}
}

// enqueueBehind writes two messages, the second one first.
func enqueueBehind(message int) feed {
	return func(r *sched.Run, f *fifo.Fifo, pos, total int) int {
		if total-pos < 2*message {
			return enqueue(message)(r, f, pos, total)
		}
		if err := f.EnqueueAt(message, expected(uint64(pos+message), message)); err != nil {
			return fed(r, 0, err)
		}
		sched.Point("written behind a gap")
		n, err := f.Enqueue(expected(uint64(pos), message))
		if n != 2*message || f.OutOfOrder() != 0 {
			r.Fatalf("%d bytes and %d pieces behind them: %d became readable, %v", message, f.OutOfOrder(), n, err)
		}
		return fed(r, n, err)
	}
}

// resized changes the size after each message, between half of it and whole.
func resized(feed feed) feed {
	return func(r *sched.Run, f *fifo.Fifo, pos, total int) int {
		n := feed(r, f, pos, total)
		if _, err := f.SetSize(5000 + pos%2*5000); err != nil {
			r.Fatalf("%v", err)
		}
		return n
	}
}

func dequeue(most int) drain {
	p := make([]byte, most)
	return func(r *sched.Run, f *fifo.Fifo, pos int) int {
		n, err := f.Dequeue(p)
		return drained(r, p[:n], pos, err)
	}
}

// takeShort reads a short message by steps and then at most so many bytes.
func takeShort(most int) drain {
	p := make([]byte, most)
	return func(r *sched.Run, f *fifo.Fifo, pos int) int {
		if !f.There(64) && !f.Look(64) {
			return dequeue(most)(r, f, pos)
		}
		f.Take(p[:64])
		f.AdvanceHead(64)
		n := drained(r, p[:64], pos, nil)
		return n + dequeue(most)(r, f, pos+n)
	}
}

// dropPieces reads in place.
func dropPieces(most int) drain {
	return func(r *sched.Run, f *fifo.Fifo, pos int) int {
		var pieces [8][]byte
		n, size, err := f.Segments(0, most, pieces[:])
		at := pos
		for _, p := range pieces[:n] {
			sched.Point("reading in place")
			at += drained(r, p, at, err)
		}
		if size > 0 {
			if got, err := f.Drop(size); got != size || err != nil {
				r.Fatalf("%d of %d bytes dropped: %v", got, size, err)
			}
		}
		return size
	}
}

func peek(most int) drain {
	p := make([]byte, most)
	return func(r *sched.Run, f *fifo.Fifo, pos int) int {
		n, err := f.Peek(0, p)
		drained(r, p[:n], pos, err)
		if n > 0 {
			// Beyond the first byte, and as far as that reached.
			if k, err := f.Peek(n/2, p[:n-n/2]); k != n-n/2 {
				r.Fatalf("%d of %d bytes again: %v", k, n-n/2, err)
			}
			drained(r, p[:n-n/2], pos+n/2, nil)
			f.Drop(n)
		}
		return n
	}
}

// streamBody streams through a fifo of a few chunks near the wrap of positions.
// Nobody sleeps. All memory comes back.
func streamBody(t *testing.T, size int, ord fifo.Order, feed feed, drain func() drain) func(*sched.Run) {
	const total = 40_000
	mem := fifo.AlignedBytes(256 << 10)
	return func(r *sched.Run) {
		clear(mem) // the bytes of the run before would pass for this one's
		s, err := fifo.NewSegment(mem)
		if err != nil {
			t.Fatal(err)
		}
		f := create(t, s, size, ord)
		f.StartAt(1<<32 - 20_000)
		r.Go("producer", func() {
			for pos := 0; pos < total; {
				n := feed(r, &f, pos, total)
				if n == 0 {
					sched.Spin("full")
				}
				pos += n
			}
			f.Flush()
		})
		r.Go("consumer", func() {
			drain := drain()
			for pos := 0; pos < total; {
				n := drain(r, &f, pos)
				if n == 0 {
					sched.Spin("empty")
				}
				pos += n
			}
		})
		r.Check(func() {
			f.Free()
			allOnce(t, s)
		})
	}
}

func TestSchedulesOfStream(t *testing.T) {
	const chunk = fifo.MinChunk
	dequeues := func(n int) func() drain { return func() drain { return dequeue(n) } }
	for _, c := range []struct {
		name  string
		size  int
		ord   fifo.Order
		feed  feed
		drain func() drain
	}{
		{"across chunks", 10_000, fifo.Release, enqueue(3000), dequeues(3500)},
		{"to the end of chunks", 10_000, fifo.Release, enqueue(chunk / 2), dequeues(chunk / 2)},
		{"one chunk that begins anew", chunk, fifo.Release, enqueue(chunk / 2), dequeues(chunk / 2)},
		{"large chunks", 40_000, fifo.Release, enqueue(5000), dequeues(7000)},
		{"seqcst", 10_000, fifo.SeqCst, enqueue(3000), dequeues(3500)},
		{"batched", 10_000, fifo.Batched(3), enqueue(1500), dequeues(1700)},
		{"batched, one chunk", chunk, fifo.Batched(2), enqueue(chunk / 4), dequeues(chunk / 4)},
		{"batches larger than the fifo", chunk, fifo.Batched(50), enqueue(chunk / 4), dequeues(chunk)},
		{"by steps", 10_000, fifo.Release, putShort(3000), func() drain { return takeShort(3400) }},
		{"by steps, one chunk", chunk, fifo.Release, putShort(chunk / 2), func() drain { return takeShort(chunk / 2) }},
		{"in place", 10_000, fifo.Release, provide(3000), func() drain { return dropPieces(3500) }},
		{"in place, batched", 10_000, fifo.Batched(2), provide(3000), func() drain { return dropPieces(3500) }},
		{"pieces", 10_000, fifo.Release, enqueuePieces(3300), func() drain { return peek(3500) }},
		{"out of order", 10_000, fifo.Release, enqueueBehind(2500), dequeues(3500)},
		{"out of order, to the end of chunks", 10_000, fifo.Release, enqueueBehind(chunk / 2), func() drain { return peek(chunk) }},
		{"resized", 10_000, fifo.Release, resized(enqueue(2999)), dequeues(3501)},
		{"resized in place", 10_000, fifo.Release, resized(provide(2999)), func() drain { return dropPieces(1501) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			rep := sched.Explore(t, sched.Options{Schedules: 1500}, streamBody(t, c.size, c.ord, c.feed, c.drain))
			t.Logf("%d schedules, the longest of %d steps", rep.Schedules, rep.Longest)
		})
	}
	twin := func(name, want string, size int, ord fifo.Order, feed feed, drain func() drain) {
		t.Run(name, func(t *testing.T) {
			found(t, sched.Options{Schedules: 3000, Steps: 4000}, want, streamBody(t, size, ord, feed, drain))
		})
	}
	twin("twin: published before the bytes", "byte ", 10_000, fifo.Release, func(r *sched.Run, f *fifo.Fifo, pos, total int) int {
		n, err := f.EnqueueEarly(expected(uint64(pos), min(1000, total-pos)))
		return fed(r, n, err)
	}, dequeues(3500))
	twin("twin: advanced before the bytes", "byte ", 10_000, fifo.Release, func(r *sched.Run, f *fifo.Fifo, pos, total int) int {
		var pieces [8][]byte
		n, size, _ := f.Provision(min(3000, total-pos), pieces[:])
		f.Advance(size)
		sched.Point("advanced")
		at := pos
		for _, p := range pieces[:n] {
			at += copy(p, expected(uint64(at), len(p)))
		}
		return size
	}, dequeues(3500))
	twin("twin: dropped before it was read", "byte ", chunk, fifo.Release, enqueue(chunk/2), func() drain {
		return func(r *sched.Run, f *fifo.Fifo, pos int) int {
			var pieces [8][]byte
			n, size, err := f.Segments(0, chunk/2, pieces[:])
			f.Drop(size)
			sched.Point("dropped")
			for _, p := range pieces[:n] {
				pos += drained(r, p, pos, err)
			}
			return size
		}
	})
	twin("twin: chunk begins anew before it was read", "consumer: ", 10_000, fifo.Release, func(r *sched.Run, f *fifo.Fifo, pos, total int) int {
		n, err := f.EnqueueOver(expected(uint64(pos), min(1000, total-pos)))
		return fed(r, n, err)
	}, dequeues(3500))
	twin("twin: batch that is not flushed", "no end after", 10_000, fifo.Batched(50), func(r *sched.Run, f *fifo.Fifo, pos, total int) int {
		if f.MaxEnqueue() < 1000 {
			return 0 // and nothing that would flush
		}
		n, err := f.Enqueue(expected(uint64(pos), min(1000, total-pos)))
		if pos+n == total {
			sched.Wait("the last is not flushed", func() bool { return false }, -1)
		}
		return fed(r, n, err)
	}, dequeues(3500))
}

// chime is a futex that tells one thread that there is something to look at.
type chime struct{ word uint32 }

func (c *chime) tell() {
	atomic.AddUint32(&c.word, 1)
	sched.FutexWake("tell", &c.word, 1)
}

// sleep returns when the chime was told since the value that now had.
func (c *chime) sleep(now uint32) { sched.FutexWait("sleep", &c.word, now, -1) }

func (c *chime) now() uint32 { return atomic.LoadUint32(&c.word) }

// eventBody is a producer that tells, and a consumer that sleeps when it finds
// nothing.
func eventBody(t *testing.T, ord fifo.Order, put func(f *fifo.Fifo, pos uint64, tell func()), sleepy func(f *fifo.Fifo, sleep func())) func(*sched.Run) {
	const messages = 4
	return func(r *sched.Run) {
		f := create(t, heap(t, fifo.MinSegment), 64, ord)
		var bell chime
		r.Go("producer", func() {
			for i := range uint64(messages) {
				put(&f, i, bell.tell)
			}
		})
		r.Go("consumer", func() {
			var p [1]byte
			for got := 0; got < messages; {
				now := bell.now()
				if n, _ := f.Dequeue(p[:]); n > 0 {
					got++
					continue
				}
				sleepy(&f, func() { bell.sleep(now) })
			}
		})
	}
}

// The consumer sleeps when it finds nothing, and is told when the producer finds
// its flag unset.
func TestSchedulesOfEvent(t *testing.T) {
	tell := func(f *fifo.Fifo, pos uint64, tell func()) {
		put(t, f, pos, 1)
		if !f.HasEvent() && f.SetEvent() {
			tell()
		}
	}
	sleepy := func(f *fifo.Fifo, sleep func()) {
		f.UnsetEvent()
		if f.MaxDequeue() == 0 {
			sleep()
		}
	}
	for _, o := range orders {
		sched.Explore(t, sched.Options{Schedules: 3000}, eventBody(t, o.ord, tell, sleepy))
	}
	lost := `consumer sleeps in "sleep"`
	t.Run("twin: unset after the last look", func(t *testing.T) {
		found(t, sched.Options{}, lost, eventBody(t, fifo.Release, tell, func(f *fifo.Fifo, sleep func()) {
			if f.MaxDequeue() == 0 {
				f.UnsetEvent()
				sleep()
			}
		}))
	})
	t.Run("twin: no look after it was unset", func(t *testing.T) {
		found(t, sched.Options{}, lost, eventBody(t, fifo.Release, tell, func(f *fifo.Fifo, sleep func()) {
			f.UnsetEvent()
			sleep()
		}))
	})
	t.Run("twin: looked at before the data", func(t *testing.T) {
		found(t, sched.Options{}, lost, eventBody(t, fifo.Release, func(f *fifo.Fifo, pos uint64, tell func()) {
			has := f.HasEvent()
			put(t, f, pos, 1)
			if !has && f.SetEvent() {
				tell()
			}
		}, sleepy))
	})
}

// Of many who set the flag one is told that it has.
func TestSchedulesOfEventSetOnce(t *testing.T) {
	body := func(set func(f *fifo.Fifo) bool) func(*sched.Run) {
		return func(r *sched.Run) {
			f := create(t, heap(t, fifo.MinSegment), 64, fifo.Release)
			f.UnsetEvent()
			n := 0
			for _, name := range []string{"a", "b", "c"} {
				r.Go(name, func() {
					if set(&f) {
						n++
					}
				})
			}
			r.Check(func() {
				if n != 1 {
					r.Errorf("%d have set it", n)
				}
			})
		}
	}
	sched.Explore(t, sched.Options{Schedules: 300}, body((*fifo.Fifo).SetEvent))
	found(t, sched.Options{Schedules: 300}, "2 have set it", body((*fifo.Fifo).SetEventPlain))
}

// notifyBody is a producer that sleeps when there is no room for a message, and
// a consumer that tells it.
func notifyBody(t *testing.T, message, read int, tell func(f *fifo.Fifo, freed int, before bool) bool, sleepy func(f *fifo.Fifo, sleep func())) func(*sched.Run) {
	const size, messages = 10, 6
	total := messages * message
	return func(r *sched.Run) {
		f := create(t, heap(t, fifo.MinSegment), size, fifo.Release)
		var bell chime
		r.Go("producer", func() {
			for pos := 0; pos < total; {
				now := bell.now()
				if f.MaxEnqueue() >= message {
					put(t, &f, uint64(pos), message)
					pos += message
					continue
				}
				sleepy(&f, func() { bell.sleep(now) })
			}
		})
		r.Go("consumer", func() {
			p := make([]byte, read)
			for pos := 0; pos < total; {
				before := f.Wanted()
				n, _ := f.Dequeue(p)
				if n == 0 {
					sched.Spin("empty")
					continue
				}
				drained(r, p[:n], pos, nil)
				pos += n
				if tell(&f, n, before) {
					bell.tell()
				}
			}
		})
	}
}

// The producer sleeps when there is no space, and is told by the consumer that
// frees what was asked for.
func TestSchedulesOfNotify(t *testing.T) {
	const message = 4
	tell := func(f *fifo.Fifo, freed int, _ bool) bool { return f.Wanted() && f.Notify(freed) }
	asks := func(f *fifo.Fifo, sleep func()) {
		f.WantNotify(message)
		if f.MaxEnqueue() < message {
			sleep()
		}
	}
	for _, read := range []int{1, 3, 10} {
		sched.Explore(t, sched.Options{Schedules: 2000}, notifyBody(t, message, read, tell, asks))
	}
	t.Run("withdrawn", func(t *testing.T) {
		sched.Explore(t, sched.Options{Schedules: 2000}, notifyBody(t, message, 3, tell, func(f *fifo.Fifo, sleep func()) {
			f.WantNotify(message)
			if f.MaxEnqueue() < message {
				sleep()
			}
			f.TakeNotify()
		}))
	})
	lost := `producer sleeps in "sleep"`
	t.Run("twin: asked after the last look", func(t *testing.T) {
		found(t, sched.Options{}, lost, notifyBody(t, message, 3, tell, func(f *fifo.Fifo, sleep func()) {
			if f.MaxEnqueue() < message {
				f.WantNotify(message)
				sleep()
			}
		}))
	})
	t.Run("twin: looked at before the room", func(t *testing.T) {
		found(t, sched.Options{}, lost, notifyBody(t, message, 10, func(f *fifo.Fifo, freed int, before bool) bool {
			return before && f.Notify(freed)
		}, asks))
	})
}

// What is asked for by two threads of the producer's side is taken once, by the
// consumer or by who withdraws it.
func TestSchedulesOfNotifyOnce(t *testing.T) {
	body := func(notify func(f *fifo.Fifo) bool) func(*sched.Run) {
		return func(r *sched.Run) {
			f := create(t, heap(t, fifo.MinSegment), 10, fifo.Release)
			f.WantNotify(5)
			n := 0
			r.Go("consumer", func() {
				if notify(&f) {
					n++
				}
			})
			r.Go("producer", func() {
				if f.TakeNotify() {
					n++
				}
			})
			r.Check(func() {
				if n != 1 || f.Wanted() {
					r.Errorf("it was taken %d times, and stands: %v", n, f.Wanted())
				}
			})
		}
	}
	sched.Explore(t, sched.Options{Schedules: 300}, body(func(f *fifo.Fifo) bool { return f.Notify(1) }))
	found(t, sched.Options{Schedules: 300}, "it was taken 2 times", body((*fifo.Fifo).NotifyPlain))
}

// Who asks for less is told of less, whoever asks at the same time.
func TestSchedulesOfWantNotify(t *testing.T) {
	sched.Explore(t, sched.Options{Schedules: 1000}, func(r *sched.Run) {
		f := create(t, heap(t, fifo.MinSegment), 10, fifo.Release)
		put(t, &f, 0, 10)
		told := 0
		r.Go("asks for 6", func() { f.WantNotify(6) })
		r.Go("asks for 2", func() { f.WantNotify(2); f.Want(fifo.Drained); f.Unwant(fifo.Drained) })
		r.Go("consumer", func() {
			for pos := range uint64(4) {
				take(t, &f, pos, 1)
				if f.Wanted() && f.Notify(1) {
					told++
				}
			}
		})
		r.Check(func() {
			// Asked for early and late: once each, or once what is less.
			if f.Notify(0) {
				told++
			}
			if told < 1 || told > 2 {
				r.Errorf("told %d times", told)
			}
			take(t, &f, 4, 6)
			if f.Notify(6); f.Wanted() {
				r.Errorf("something stands, and nothing is in the fifo")
			}
		})
	})
}

// A producer that sleeps whenever the fifo is full is told each time that it is
// no more, and one that waits until all is read of that.
func TestSchedulesOfConditions(t *testing.T) {
	for _, c := range []struct {
		name string
		want fifo.Condition
		wait func(f *fifo.Fifo) bool
	}{
		{"not full", fifo.NotFull, func(f *fifo.Fifo) bool { return f.MaxEnqueue() == 0 }},
		{"drained", fifo.Drained, func(f *fifo.Fifo) bool { return f.MaxDequeue() > 0 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			const size, total = 4, 14
			sched.Explore(t, sched.Options{Schedules: 3000}, func(r *sched.Run) {
				f := create(t, heap(t, fifo.MinSegment), size, fifo.Release)
				f.Want(c.want)
				var bell chime
				r.Go("producer", func() {
					for pos := 0; pos < total; {
						now := bell.now()
						if c.wait(&f) {
							bell.sleep(now)
							continue
						}
						put(t, &f, uint64(pos), 1)
						pos++
					}
				})
				r.Go("consumer", func() {
					d := dequeue(3)
					for pos := 0; pos < total; {
						n := d(r, &f, pos)
						if n == 0 {
							sched.Spin("empty")
							continue
						}
						pos += n
						if f.Wanted() && f.Notify(n) {
							bell.tell()
						}
					}
				})
			})
		})
	}
}

// Workers that come and go at the same time all find their place.
func TestSchedulesOfSubscribers(t *testing.T) {
	body := func(subscribe func(f *fifo.Fifo, worker uint8)) func(*sched.Run) {
		return func(r *sched.Run) {
			f := create(t, heap(t, fifo.MinSegment), 10, fifo.Release)
			f.Subscribe(9)
			for i, name := range []string{"a", "b", "c"} {
				r.Go(name, func() {
					subscribe(&f, uint8(i))
					if i == 1 {
						f.Unsubscribe(9)
					}
				})
			}
			r.Check(func() {
				var to [fifo.MaxSubscribers]uint8
				got := slices.Sorted(slices.Values(to[:f.Subscribers(&to)]))
				if !slices.Equal(got, []uint8{0, 1, 2}) {
					r.Errorf("subscribers %v", got)
				}
			})
		}
	}
	sched.Explore(t, sched.Options{Schedules: 1000}, body(func(f *fifo.Fifo, worker uint8) {
		if err := f.Subscribe(worker); err != nil {
			t.Error(err)
		}
	}))
	found(t, sched.Options{Schedules: 300}, "subscribers ", body((*fifo.Fifo).SubscribePlain))
}
