package fifo_test

import (
	"bytes"
	"fmt"
	"sync/atomic"
	"testing"

	"vlsbench/fifo"
)

// A producer sleeps until a condition comes about that the consumer is to tell
// it of. One that is not told of is a sleep for ever.
func TestConditionsLoseNoWakeup(t *testing.T) {
	const size = 1000
	for _, c := range []struct {
		name string
		arm  func(f *fifo.Fifo)
		wait func(f *fifo.Fifo) bool // not yet
	}{
		{"space", func(f *fifo.Fifo) { f.WantNotify(size / 3) }, func(f *fifo.Fifo) bool { return f.MaxEnqueue() < size/3 }},
		{"not full", func(f *fifo.Fifo) { f.Want(fifo.NotFull) }, func(f *fifo.Fifo) bool { return f.MaxEnqueue() == 0 }},
		{"drained", func(f *fifo.Fifo) { f.Want(fifo.Drained) }, func(f *fifo.Fifo) bool { return f.MaxDequeue() > 0 }},
		{"drained or space", func(f *fifo.Fifo) { f.Want(fifo.Drained); f.WantNotify(size / 2) }, func(f *fifo.Fifo) bool { return f.MaxEnqueue() < size/2 && f.MaxDequeue() > 0 }},
	} {
		for _, ord := range []fifo.Order{fifo.Release, fifo.SeqCst, fifo.Batched(4)} {
			t.Run(fmt.Sprintf("%s/%v", c.name, ord), func(t *testing.T) {
				fence := ord
				if ord != fifo.SeqCst {
					fence = fifo.Release
				}
				needFence(t, fence)
				threads(t, 2)
				f := create(t, heap(t, 1<<20), size, ord)
				f.StartAt(1<<32 - 100_000)
				bell := new(bell)
				total := uint64(scaled(1 << 20))
				var sleeps, rings atomic.Int64
				both(t, &f, func(over func() bool) error {
					r := random(1)
					for pos := uint64(0); pos < total && !over(); {
						got, err := f.Enqueue(expected(pos, int(min(uint64(1+r.IntN(size)), total-pos))))
						pos += uint64(got)
						if err == nil {
							continue
						}
						if err != fifo.ErrFull {
							return err
						}
						rung := bell.rung.Load()
						c.arm(&f)
						sleepFence(fence)
						if c.wait(&f) && !over() {
							sleepOn(bell, rung)
							sleeps.Add(1)
						}
					}
					f.Flush()
					return nil
				}, func(over func() bool) error {
					defer ring(bell)
					r := random(2)
					buf := make([]byte, size)
					var w idle
					for pos := uint64(0); pos < total && !over(); {
						n, err := f.Dequeue(buf[:1+r.IntN(size)])
						if err == fifo.ErrEmpty {
							w.wait()
							continue
						}
						if err != nil || !bytes.Equal(buf[:n], expected(pos, n)) {
							return fmt.Errorf("%s, %v", firstWrong(buf[:n], pos), err)
						}
						w = 0
						pos += uint64(n)
						if f.Notify(n) {
							rings.Add(1)
							ring(bell)
						}
					}
					return nil
				})
				t.Logf("%d sleeps, %d rings", sleeps.Load(), rings.Load())
			})
		}
	}
}

// One of two who look at once whether the producer is to be told is the one who
// tells.
func TestNotifyIsTakenOnce(t *testing.T) {
	threads(t, 3)
	f := create(t, heap(t, 1<<20), 100, fifo.Release)
	watchdog(t, endless)
	rounds := int32(scaled(20_000))
	var round, told, looked atomic.Int32
	look := func() {
		view := f
		for i := range rounds {
			until(func() bool { return round.Load() > i })
			if view.Notify(0) {
				told.Add(1)
			}
			looked.Add(1)
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range rounds {
			f.WantNotify(1 + int(i)%100)
			round.Add(1)
			until(func() bool { return looked.Load() == 2*(i+1) })
			if n := told.Swap(0); n != 1 || f.Wanted() {
				t.Errorf("round %d: %d were to tell, wanted %v", i, n, f.Wanted())
			}
		}
	}()
	pair(look, look)
	<-done
}

// A size that shrinks below the space that was asked for leaves nobody asleep.
func TestNotifyAfterShrink(t *testing.T) {
	f := create(t, heap(t, 1<<20), 100, fifo.Release)
	put(t, &f, 0, 50)
	f.WantNotify(80)
	if n, err := f.SetSize(60); n != 60 || err != nil {
		t.Fatal(n, err)
	}
	take(t, &f, 0, 49)
	if f.Notify(49) {
		t.Error("told of 59 bytes of 60")
	}
	take(t, &f, 49, 1)
	if !f.Notify(1) {
		t.Error("not told of all the space there can be")
	}
}

// Eight who subscribe at once are seven, and the eighth is told so.
func TestSubscribersAtOnce(t *testing.T) {
	threads(t, 3)
	watchdog(t, endless)
	f := create(t, heap(t, 1<<20), 100, fifo.Release)
	for range scaled(500) {
		errs := make(chan error, 2*(fifo.MaxSubscribers+1))
		for w := range uint8(fifo.MaxSubscribers + 1) {
			for range 2 { // twice: one that is there already stays so
				go func() { errs <- f.Subscribe(w) }()
			}
		}
		refused := 0
		for range cap(errs) {
			if err := <-errs; err == fifo.ErrSubscribers {
				refused++
			} else if err != nil {
				t.Fatal(err)
			}
		}
		var to [fifo.MaxSubscribers]uint8
		if n := f.Subscribers(&to); n != fifo.MaxSubscribers || refused < 1 || refused > 2 {
			t.Fatalf("%d subscribers, %d refused", n, refused)
		}
		seen := map[uint8]bool{}
		for _, w := range to {
			if seen[w] {
				t.Fatalf("subscribers %v", to)
			}
			seen[w] = true
			f.Unsubscribe(w)
		}
	}
}
