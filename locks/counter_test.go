package locks

import (
	"runtime"
	"sync"
	"testing"
	"time"

	"vlsbench/hw"
)

func TestCounterIsExact(t *testing.T) {
	const rounds = 500
	for _, k := range Kinds() {
		t.Run(k.Name, func(t *testing.T) {
			watchdog(t, "threads that take a lock in turn")
			// One class, two locks.
			c := NewCounter("S")
			ls := []Lock{Counted(newLock(t, k), c), Counted(newLock(t, k), c)}
			for range rounds {
				pass(ls[0])
				if !ls[1].TryLock() {
					t.Fatal("a free lock was refused")
				}
				if ls[1].TryLock() {
					t.Fatal("taken twice")
				}
				ls[1].Unlock()
			}
			if got, want := c.Stat(), (Stat{Class: "S", Acquisitions: 2 * rounds}); got != want {
				t.Fatalf("one thread: %+v, want %+v", got, want)
			}
			onThreads(threads, func(i int) {
				for range rounds {
					pass(ls[i%2])
				}
			})
			got := c.Stat()
			if want := uint64(rounds * (2 + threads)); got.Acquisitions != want || got.Contended > want {
				t.Fatalf("%d threads: %+v, want %d acquisitions", threads, got, want)
			}
			if got.Wait != 0 || got.Hold != 0 {
				t.Errorf("times that nobody asked for: %+v", got)
			}
		})
	}
}

// contend holds a lock until the counter shows that another thread failed to
// get it at the first try.
func contend(t *testing.T, c *Counter, hold, release, acquire func()) {
	t.Helper()
	watchdog(t, "an acquisition that should be counted as contended")
	before := c.Stat()
	hold()
	done := make(chan struct{})
	go func() {
		defer close(done)
		acquire()
	}()
	for c.Stat().Contended == before.Contended {
		runtime.Gosched()
	}
	release()
	<-done
	got, want := c.Stat(), before
	want.Acquisitions += 2
	want.Contended++
	want.Shared, want.Wait, want.Hold = got.Shared, got.Wait, got.Hold
	if got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestCounterSeesContention(t *testing.T) {
	for _, k := range Kinds() {
		t.Run(k.Name, func(t *testing.T) {
			c := NewCounter("P")
			l := Counted(newLock(t, k), c)
			contend(t, c, l.Lock, l.Unlock, func() { pass(l) })
		})
	}
}

func TestCounterOfReadersAndWriters(t *testing.T) {
	for _, k := range Kinds() {
		if !k.RW {
			continue
		}
		t.Run(k.Name, func(t *testing.T) {
			c := NewCounter("T")
			l := CountedRW(newRW(t, k), c)
			// Readers do not contend with each other.
			l.RLock(0)
			l.RLock(1)
			if !l.TryRLock(0) {
				t.Fatal("a reader was refused with only readers inside")
			}
			if l.TryLock() {
				t.Fatal("a writer was let in with readers inside")
			}
			if st := c.Stat(); st.Held != 3 || st.HeldShared != 3 {
				t.Fatalf("three readers inside: %+v", st)
			}
			l.RUnlock(0)
			l.RUnlock(1)
			l.RUnlock(0)
			if got, want := c.Stat(), (Stat{Class: "T", Acquisitions: 3, Shared: 3, RW: true}); got != want {
				t.Fatalf("readers alone: %+v, want %+v", got, want)
			}
			rlock := func() { l.RLock(2) }
			runlock := func() { l.RUnlock(2) }
			contend(t, c, rlock, runlock, func() { pass(l) })
			contend(t, c, l.Lock, l.Unlock, func() { l.RLock(5); l.RUnlock(5) })
			contend(t, c, l.Lock, l.Unlock, func() { pass(l) })
			if got := c.Stat().Shared; got != 5 {
				t.Errorf("%d shared, want 5", got)
			}
		})
	}
}

// Hold is the sum of all holds and Wait of all waits: between what a clock inside
// of them and one around them say, which hold whatever the machine does.
func TestTimerIsExact(t *testing.T) {
	for _, k := range Kinds() {
		t.Run(k.Name, func(t *testing.T) {
			watchdog(t, "threads that take a lock in turn")
			c := NewTimer("S")
			l := Counted(newLock(t, k), c)
			var mu sync.Mutex
			var inside, around uint64
			onThreads(threads, func(int) {
				var in, out uint64
				for range 20 {
					start := hw.Cycles()
					l.Lock()
					got := hw.Cycles()
					time.Sleep(time.Microsecond)
					in += hw.Cycles() - got
					l.Unlock()
					out += hw.Cycles() - start
				}
				mu.Lock()
				inside += in
				around += out
				mu.Unlock()
			})
			got := c.Stat()
			slack := hw.NanosToCycles(time.Microsecond) // what the CPU moves a reading of the clock by
			if got.Hold+slack < inside || got.Hold+got.Wait > around+slack {
				t.Errorf("%+v: holds took %d at least, and with the waits %d at most", got, inside, around)
			}
			if (got.Wait == 0) != (got.Contended == 0) {
				t.Errorf("%+v: contended, and no wait, or the other way round", got)
			}
		})
	}
}

// Two readers hold at once, and both are counted; the one gives back what the
// other took.
func TestTimerOfReaders(t *testing.T) {
	for _, k := range Kinds() {
		if !k.RW {
			continue
		}
		t.Run(k.Name, func(t *testing.T) {
			c := NewTimer("P")
			l := CountedRW(newRW(t, k), c)
			l.RLock(0)
			l.RLock(1)
			start := hw.Cycles()
			time.Sleep(time.Millisecond)
			atLeast := hw.Cycles() - start
			onThreads(1, func(int) { l.RUnlock(0) })
			l.RUnlock(1)
			if got := c.Stat(); got.Hold < 2*atLeast-atLeast/100 || got.Wait != 0 || got.Shared != 2 {
				t.Errorf("%+v, want two holds of %d at least", got, atLeast)
			}
		})
	}
}
