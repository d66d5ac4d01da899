//go:build sched

package locks

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"vlsbench/sched"
)

// The tests here run threads through the points of this package, in schedules of
// the scheduler's choice. A twin that breaks a lock in one place must be found,
// or the test could not fail.

// found expects the explorer to find what is wrong with a twin.
func found(t *testing.T, want string, body func(*sched.Run)) {
	t.Helper()
	_, f, err := sched.Search(sched.Options{Schedules: 10000}, body)
	switch {
	case err != nil:
		t.Fatal(err)
	case f == nil:
		t.Fatal("the twin was not found")
	case !strings.Contains(f.Reason, want):
		t.Fatalf("want %q in:\n%v", want, f)
	}
	t.Logf("found by schedule %d, %s: %s", f.Schedule, f.Replay, f.Reason)
}

// state is what a lock guards in a run.
type state struct{ a, b int }

func (s *state) write(r *sched.Run) {
	if s.a != s.b {
		r.Fatalf("a writer beside another: %d and %d", s.a, s.b)
	}
	s.a++
	sched.Point("inside")
	s.b++
}

func (s *state) read(r *sched.Run) {
	before := s.a
	sched.Point("inside")
	if s.a != s.b || s.a != before {
		r.Fatalf("a reader beside a writer: %d and %d, before %d", s.a, s.b, before)
	}
}

// lockBody is threads that lock and unlock by turns, one of them at first by
// trying.
func lockBody(threads, each int, fresh func() Lock) func(*sched.Run) {
	return func(r *sched.Run) {
		l := fresh()
		var s state
		for i := range threads {
			r.Go(fmt.Sprint("thread", i), func() {
				for n := range each {
					if i+n > 0 || !l.TryLock() {
						l.Lock()
					}
					s.write(r)
					l.Unlock()
				}
			})
		}
		r.Check(func() {
			if want := threads * each; s.a != want || s.b != want {
				r.Errorf("counted to %d and %d, want %d", s.a, s.b, want)
			}
			if !l.TryLock() {
				r.Errorf("everybody has left, and it is not free")
			}
		})
	}
}

// rwBody is two writers and two readers, each of which tries, too.
func rwBody(fresh func() RW) func(*sched.Run) {
	return func(r *sched.Run) {
		l := fresh()
		var s state
		for i := range 2 {
			r.Go(fmt.Sprint("writer", i), func() {
				for n := range 2 {
					if n != i || !l.TryLock() {
						l.Lock()
					}
					s.write(r)
					l.Unlock()
				}
			})
			r.Go(fmt.Sprint("reader", i), func() {
				for n := range 2 {
					if n != i || !l.TryRLock(i) {
						l.RLock(i)
					}
					s.read(r)
					l.RUnlock(i)
				}
			})
		}
		r.Check(func() {
			if s.a != 4 || s.b != 4 {
				r.Errorf("counted to %d and %d, want 4", s.a, s.b)
			}
			if !l.TryLock() {
				r.Errorf("everybody has left, and it is not free")
			}
		})
	}
}

func TestSchedulesOfLocks(t *testing.T) {
	eachKind(t, func(Kind) bool { return true }, func(t *testing.T, k Kind) {
		for _, n := range []int{2, 3, 4} {
			rep := sched.Explore(t, sched.Options{Schedules: 5000}, lockBody(n, 2, func() Lock { return newLock(t, k) }))
			t.Logf("%d threads: %d schedules, the longest of %d steps", n, rep.Schedules, rep.Longest)
		}
	})
}

func TestSchedulesOfReadersAndWriters(t *testing.T) {
	eachKind(t, func(k Kind) bool { return k.RW }, func(t *testing.T, k Kind) {
		rep := sched.Explore(t, sched.Options{Schedules: 20000}, rwBody(func() RW { return newRW(t, k) }))
		t.Logf("%d schedules, the longest of %d steps", rep.Schedules, rep.Longest)
	})
}

// unsafeStop is where a thread must not stop for good: who unlocks waits for it.
const unsafeStop = "mcs: between place and link"

// A thread that is stopped for ever anywhere else in locking or unlocking, and others
// that wait for it, keep nobody from trying.
func TestSchedulesOfTrying(t *testing.T) {
	eachKind(t, func(Kind) bool { return true }, func(t *testing.T, k Kind) {
		var tried bool
		body := func(r *sched.Run) {
			tried = false
			l := newLock(t, k)
			for _, name := range []string{"a", "b"} {
				r.Go(name, func() {
					pass(l)
					if rw, ok := l.(RW); ok {
						rw.RLock(0)
						rw.RUnlock(0)
					}
				})
			}
			r.Go("trying", func() {
				for range 3 {
					sched.Point("about to try")
					if l.TryLock() {
						l.Unlock()
					}
					if rw, ok := l.(RW); ok && rw.TryRLock(1) {
						rw.RUnlock(1)
					}
				}
				tried = true
			})
		}
		o := sched.Options{Schedules: 300, Steps: 1000}
		for _, v := range sched.Explore(t, o, body).Visited {
			if v.Thread != "a" || v.Point == unsafeStop {
				continue
			}
			for n := range min(v.Visit, 3) {
				o.Stall = []sched.Stall{{Thread: v.Thread, Point: v.Point, Visit: n + 1}}
				for seed := range 30 {
					// That b hangs is a failure, too, and as it must be.
					f, err := sched.Replay(fmt.Sprint("random/", seed), o, body)
					if err != nil {
						t.Fatal(err)
					}
					if !tried {
						t.Fatalf("stopped %v: %v", o.Stall, f)
					}
				}
			}
		}
	})
}

// Twins.

// blindTTAS does not make sure of what it has seen.
type blindTTAS struct{ TTAS }

func (l *blindTTAS) TryLock() bool {
	if atomic.LoadUint32(&l.word) != 0 {
		return false
	}
	sched.Point("between look and store")
	atomic.StoreUint32(&l.word, 1)
	return true
}

func (l *blindTTAS) Lock() {
	for !l.TryLock() {
		sched.Spin("taken")
	}
}

// forgetfulFutex forgets, when it was woken, that others may sleep.
type forgetfulFutex struct{ Futex }

func (l *forgetfulFutex) Lock() {
	for !l.TryLock() {
		sched.Point("before it says that it sleeps")
		if atomic.LoadUint32(&l.word) == 2 || atomic.CompareAndSwapUint32(&l.word, 1, 2) {
			sleep("sleep", &l.word, 2)
		}
	}
}

// lateMCS forgets who comes behind when it is there already, and has not said so.
type lateMCS struct{ MCS }

func (l *lateMCS) Unlock() {
	id := l.holder
	if atomic.LoadUint32(&l.word)&passed == 0 || atomic.LoadUint32(&nodeOf(id).next) != 0 {
		l.MCS.Unlock()
		return
	}
	sched.Point("between the look and the swap")
	atomic.CompareAndSwapUint32(&l.tail, id, 0)
	giveNode(id)
	free("nobody behind", &l.word)
}

// earlyCLH gives a node back that it still waits for.
type earlyCLH struct{ CLH }

func (l *earlyCLH) Lock() {
	if l.TryLock() {
		return
	}
	id := takeNode()
	if before := atomic.SwapUint32(&l.tail, id); before == 0 {
		takeFirst("taken", &l.word)
	} else {
		giveNode(before)
		awaitGrant("turn", &nodeOf(before).state)
	}
	l.holder = id
}

// boldMCS says that it sleeps without a look at whether the lock is still held.
type boldMCS struct{ MCS }

func (l *boldMCS) Lock() {
	for !l.TryLock() {
		sched.Point("between the look and the store")
		atomic.StoreUint32(&l.word, held|sleeps)
		sleep("sleep", &l.word, held|sleeps)
	}
}

// deafMCS does not look who sleeps when it frees the lock after a queue.
type deafMCS struct{ MCS }

func (l *deafMCS) Unlock() {
	id := l.holder
	if atomic.LoadUint32(&l.word)&passed == 0 || !atomic.CompareAndSwapUint32(&l.tail, id, 0) {
		l.MCS.Unlock()
		return
	}
	giveNode(id)
	sched.Point("no queue, and not yet free")
	atomic.StoreUint32(&l.word, 0)
}

// parityFair takes the number's parity for the phase, as the published lock
// does, which has no TryLock.
type parityFair struct{ PhaseFair }

func (l *parityFair) Lock() {
	mine := atomic.AddUint32(&l.next, 1) - 1
	await("turn", &l.turn, mine)
	l.phase = aWriter | ^mine&otherPhase // which nextPhase inverts
	w := l.nextPhase()
	before := atomic.AddUint32(&l.in, w) - w
	for atomic.LoadUint32(&l.out) != before {
		sched.Spin("readers inside")
	}
}

// hastyBravo looks at the flag only before it counts itself.
type hastyBravo struct{ *Bravo }

func (l hastyBravo) RLock(slot int) {
	for l.flag.Load() != 0 {
		sched.Spin("writer inside")
	}
	sched.Point("between the look and the count")
	l.enlist(slot).readers.Add(1)
}

// lateBravo counts itself before it says that its line is used.
type lateBravo struct{ *Bravo }

func (l lateBravo) RLock(slot int) {
	for line := l.line(slot); !l.enter(line); {
		sched.Spin("writer inside")
	}
	sched.Point("between the count and the use")
	l.use(uint32(slot) + 1)
}

func TestSchedulesOfTwins(t *testing.T) {
	t.Run("ttas", func(t *testing.T) {
		found(t, "", lockBody(2, 1, func() Lock { return new(blindTTAS) }))
	})
	t.Run("futex", func(t *testing.T) {
		found(t, "sleeps", lockBody(3, 1, func() Lock { return new(forgetfulFutex) }))
	})
	t.Run("mcs", func(t *testing.T) {
		found(t, "", lockBody(3, 2, func() Lock { return new(lateMCS) }))
		found(t, "sleeps", lockBody(2, 1, func() Lock { return new(boldMCS) }))
		found(t, "sleeps", lockBody(3, 2, func() Lock { return new(deafMCS) }))
	})
	t.Run("clh", func(t *testing.T) {
		found(t, "", lockBody(3, 2, func() Lock { return new(earlyCLH) }))
	})
	t.Run("grant", func(t *testing.T) {
		// Granted without a look, in the same step, who sleeps.
		found(t, `waits sleeps in "turn"`, func(r *sched.Run) {
			word := new(uint32)
			r.Go("waits", func() { awaitGrant("turn", word) })
			r.Go("grants", func() {
				was := atomic.LoadUint32(word)
				sched.Point("between the look and the grant")
				atomic.StoreUint32(word, granted)
				if was == asleep {
					wake("wake", word)
				}
			})
		})
	})
	t.Run("phasefair", func(t *testing.T) {
		found(t, "no end", rwBody(func() RW { return new(parityFair) }))
	})
	t.Run("bravo", func(t *testing.T) {
		found(t, "reader beside a writer", rwBody(func() RW { return hastyBravo{NewBravo()} }))
		found(t, "reader beside a writer", rwBody(func() RW { return lateBravo{NewBravo()} }))
	})
	t.Run("recursive readers", func(t *testing.T) {
		// What RecursiveReaders says, of the kinds whose waits are all here.
		for _, k := range Kinds() {
			if !k.RW || k.Name == "rwmutex" {
				continue
			}
			body := func(r *sched.Run) {
				l := newRW(t, k)
				r.Go("reader", func() {
					l.RLock(0)
					l.RLock(0)
					l.RUnlock(0)
					l.RUnlock(0)
				})
				r.Go("writer", func() { pass(l) })
			}
			if k.RecursiveReaders {
				sched.Explore(t, sched.Options{}, body)
			} else {
				found(t, "", body)
			}
		}
	})
}
