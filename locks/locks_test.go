package locks

import (
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vlsbench/hw"
)

// watchdog ends the test binary, with all stacks, if the test is still running
// after a time that no healthy machine needs.
func watchdog(t *testing.T, waitsFor string) {
	t.Helper()
	name := t.Name()
	timer := time.AfterFunc(time.Minute, func() {
		panic(name + " hangs: it waits for " + waitsFor)
	})
	t.Cleanup(func() { timer.Stop() })
}

// threads is more than can run at once.
var threads = 4 * runtime.GOMAXPROCS(0)

// onThreads runs f on n locked OS threads at once and waits for all.
func onThreads(n int, f func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			runtime.LockOSThread() // and never unlocked
			f(i)
		})
	}
	wg.Wait()
}

func newLock(t testing.TB, kind Kind) Lock {
	t.Helper()
	if kind.RW {
		return newRW(t, kind)
	}
	l, err := New(kind.Name)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func newRW(t testing.TB, kind Kind) RW {
	t.Helper()
	l, err := NewRW(kind.Name)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// pass takes a lock and gives it back.
func pass(l Lock) {
	l.Lock()
	//lint:ignore SA2001 nothing is done inside: the lock itself is looked at
	l.Unlock()
}

// eachLock runs f for every kind, as it is and counted.
func eachLock(t *testing.T, f func(t *testing.T, l Lock)) {
	for _, k := range Kinds() {
		t.Run(k.Name, func(t *testing.T) { f(t, newLock(t, k)) })
		t.Run("counted "+k.Name, func(t *testing.T) { f(t, Counted(newLock(t, k), NewCounter("X"))) })
	}
}

func eachRW(t *testing.T, f func(t *testing.T, l RW)) {
	for _, k := range Kinds() {
		if k.RW {
			t.Run(k.Name, func(t *testing.T) { f(t, newRW(t, k)) })
			t.Run("counted "+k.Name, func(t *testing.T) { f(t, CountedRW(newRW(t, k), NewCounter("X"))) })
		}
	}
}

func TestLockExcludes(t *testing.T) {
	eachLock(t, func(t *testing.T, l Lock) {
		watchdog(t, "threads that take a lock in turn")
		const rounds = 2000
		plain := 0 // what the race detector looks at
		var inside atomic.Int32
		onThreads(threads, func(i int) {
			for r := range rounds {
				if r%4 != 0 || !l.TryLock() {
					l.Lock()
				}
				if n := inside.Add(1); n != 1 {
					t.Errorf("%d threads inside", n)
				}
				plain++
				if r%64 == i {
					runtime.Gosched() // held by one that does not run
				}
				inside.Add(-1)
				l.Unlock()
			}
		})
		if plain != threads*rounds {
			t.Errorf("counted to %d, want %d", plain, threads*rounds)
		}
	})
}

// The holder sleeps, so that all others give up spinning; each Unlock must get
// another one going.
func TestLockLosesNoWakeup(t *testing.T) {
	eachLock(t, func(t *testing.T, l Lock) {
		watchdog(t, "a lock that is free")
		onThreads(threads, func(int) {
			for range 5 {
				l.Lock()
				time.Sleep(50 * time.Microsecond)
				l.Unlock()
			}
		})
	})
}

// A lock may be given back by another thread than took it.
func TestUnlockByAnotherThread(t *testing.T) {
	eachLock(t, func(t *testing.T, l Lock) {
		watchdog(t, "a lock that another thread gave back")
		onThreads(1, func(int) { l.Lock() })
		onThreads(1, func(int) { l.Unlock() })
		pass(l)
	})
}

func TestTryLock(t *testing.T) {
	eachLock(t, func(t *testing.T, l Lock) {
		if !l.TryLock() {
			t.Fatal("a free lock was refused")
		}
		if l.TryLock() {
			t.Fatal("taken twice")
		}
		l.Unlock()
		if !l.TryLock() {
			t.Fatal("refused after Unlock")
		}
		l.Unlock()
		l.Lock()
		if l.TryLock() {
			t.Fatal("taken twice, the first time by Lock")
		}
		l.Unlock()
	})
}

func TestTryRW(t *testing.T) {
	eachRW(t, func(t *testing.T, l RW) {
		if !l.TryRLock(0) || !l.TryRLock(1) || !l.TryRLock(0) {
			t.Fatal("a reader was refused with only readers inside")
		}
		for i, slot := range []int{0, 1, 0} {
			if l.TryLock() {
				t.Fatalf("a writer was let in with %d readers inside", 3-i)
			}
			l.RUnlock(slot)
		}
		if !l.TryLock() {
			t.Fatal("a writer was refused with nobody inside")
		}
		for _, slot := range []int{0, 1, 255} {
			if l.TryRLock(slot) {
				t.Fatalf("reader %d was let in with a writer inside", slot)
			}
		}
		l.Unlock()
		if !l.TryRLock(255) {
			t.Fatal("a reader was refused after the writer had left")
		}
		l.RUnlock(255)
	})
}

func TestReadersTogether(t *testing.T) {
	eachRW(t, func(t *testing.T, l RW) {
		watchdog(t, "readers that should all be inside")
		// Slots that share a line (2 and 66) are as good as any.
		slots := []int{0, 1, 2, 66, 255, 255}
		var inside atomic.Int32
		onThreads(len(slots), func(i int) {
			l.RLock(slots[i])
			inside.Add(1)
			for int(inside.Load()) < len(slots) {
				runtime.Gosched()
			}
			l.RUnlock(slots[i])
		})
		if !l.TryLock() {
			t.Fatal("a writer was refused after all readers had left")
		}
		l.Unlock()
	})
}

func TestReadersAndWritersExclude(t *testing.T) {
	eachRW(t, func(t *testing.T, l RW) {
		watchdog(t, "readers and writers in turn")
		const rounds = 2000
		var a, b int // equal whenever no writer is inside
		var readers, writers atomic.Int32
		writes := 0
		onThreads(threads, func(i int) {
			for r := range rounds {
				if (r+i)%8 == 0 {
					if r%3 != 0 || !l.TryLock() {
						l.Lock()
					}
					if w, r := writers.Add(1), readers.Load(); w != 1 || r != 0 {
						t.Errorf("a writer beside %d others and %d readers", w-1, r)
					}
					a++
					if r%32 == i {
						runtime.Gosched()
					}
					b++
					writes++
					writers.Add(-1)
					l.Unlock()
					continue
				}
				if r%3 != 0 || !l.TryRLock(i) {
					l.RLock(i)
				}
				readers.Add(1)
				if w := writers.Load(); w != 0 {
					t.Errorf("a reader beside %d writers", w)
				}
				if a != b {
					t.Errorf("half a write: %d and %d", a, b)
				}
				readers.Add(-1)
				l.RUnlock(i)
			}
		})
		if a != b || a != writes || writes != threads*rounds/8 {
			t.Errorf("%d and %d after %d writes, want %d", a, b, writes, threads*rounds/8)
		}
	})
}

// One reader and one writer on two CPUs run into each other at every distance in
// time: a reader that has looked at the flag and not yet counted itself, and a
// writer that has raised the flag and not yet looked at the lines.
func TestBravoReaderMeetsWriter(t *testing.T) {
	watchdog(t, "a reader and a writer in turn")
	allowed, err := hw.Allowed()
	if err != nil {
		t.Fatal(err)
	}
	cpus := allowed.List()
	rounds := 500_000
	switch {
	case len(cpus) == 1:
		rounds /= 250 // nothing meets in between there
	case underRace:
		rounds /= 50
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4))
	l := NewBravo()
	var words struct {
		_       [hw.FalseSharing]byte
		writing atomic.Uint32
		_       [hw.FalseSharing]byte
		done    atomic.Bool
		_       [hw.FalseSharing]byte
		delay   atomic.Uint32
	}
	wait := func(n int) {
		for range n {
			words.delay.Load()
		}
	}
	met := 0
	onThreads(2, func(i int) {
		if err := hw.Pin(cpus[i%len(cpus)]); err != nil {
			t.Error(err)
		}
		if i == 0 {
			end := time.Now().Add(2 * time.Second) // a busy machine does fewer
			for r := 0; r < rounds && (r%64 != 0 || time.Now().Before(end)); r++ {
				l.Lock()
				words.writing.Store(1)
				wait(100)
				words.writing.Store(0)
				l.Unlock()
				wait(r % 4096)
			}
			words.done.Store(true)
			return
		}
		for r := 0; !words.done.Load(); r++ {
			l.RLock(0)
			if words.writing.Load() != 0 {
				met++
			}
			wait(r % 8)
			if words.writing.Load() != 0 {
				met++
			}
			l.RUnlock(0)
			wait(r % 64)
		}
	})
	if met > 0 {
		t.Errorf("a reader saw a writer inside %d times", met)
	}
}

// Readers come in before the last one has left, for ever, until the writer has
// been inside.
func TestWriterIsNotStarved(t *testing.T) {
	eachRW(t, func(t *testing.T, l RW) {
		watchdog(t, "a writer that readers keep out")
		var inside atomic.Int32
		var written atomic.Bool
		onThreads(threads+1, func(i int) {
			if i == threads {
				for inside.Load() == 0 {
					runtime.Gosched()
				}
				l.Lock()
				written.Store(true)
				l.Unlock()
				return
			}
			for !written.Load() {
				l.RLock(i)
				inside.Add(1)
				// Stay until another one is in, or none can come.
				for n := 0; inside.Load() < 2 && n < 100; n++ {
					runtime.Gosched()
				}
				inside.Add(-1)
				l.RUnlock(i)
			}
		})
	})
}

func TestReaderIsNotStarved(t *testing.T) {
	eachRW(t, func(t *testing.T, l RW) {
		watchdog(t, "a reader that writers keep out")
		var read atomic.Bool
		onThreads(threads+1, func(i int) {
			if i == threads {
				l.RLock(i)
				read.Store(true)
				l.RUnlock(i)
				return
			}
			for !read.Load() {
				l.Lock()
				runtime.Gosched()
				l.Unlock()
			}
		})
	})
}

func TestMisuseIsCaught(t *testing.T) {
	for name, f := range map[string]func(){
		"Unlock of a TTAS":   func() { new(TTAS).Unlock() },
		"RUnlock of a Bravo": func() { NewBravo().RUnlock(3) },
	} {
		func() {
			defer func() {
				if r := recover(); r == nil || !strings.Contains(fmt.Sprint(r), name) {
					t.Errorf("%s: panic %v", name, r)
				}
			}()
			f()
		}()
	}
}

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
			if got, want := c.Stat(), (Stat{"S", 2 * rounds, 0}); got != want {
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
	want := Stat{before.Class, before.Acquisitions + 2, before.Contended + 1}
	if got := c.Stat(); got != want {
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
			l.RUnlock(0)
			l.RUnlock(1)
			l.RUnlock(0)
			if got, want := c.Stat(), (Stat{"T", 3, 0}); got != want {
				t.Fatalf("readers alone: %+v, want %+v", got, want)
			}
			rlock := func() { l.RLock(2) }
			runlock := func() { l.RUnlock(2) }
			contend(t, c, rlock, runlock, func() { pass(l) })
			contend(t, c, l.Lock, l.Unlock, func() { l.RLock(5); l.RUnlock(5) })
			contend(t, c, l.Lock, l.Unlock, func() { pass(l) })
		})
	}
}

func TestKinds(t *testing.T) {
	var names []string
	for _, k := range Kinds() {
		names = append(names, k.Name)
		if k.Doc == "" || strings.Contains(k.Doc, "\n") {
			t.Errorf("%s: doc %q", k.Name, k.Doc)
		}
		// New does not make a readers-writer lock, nor the other way round.
		_, plainErr := New(k.Name)
		_, rwErr := NewRW(k.Name)
		if (plainErr != nil) != k.RW || (rwErr == nil) != k.RW {
			t.Errorf("%s, RW %v: New %v, NewRW %v", k.Name, k.RW, plainErr, rwErr)
		}
	}
	if want := []string{"mutex", "ttas", "futex", "rwmutex", "bravo"}; !slices.Equal(names, want) {
		t.Errorf("kinds %v, want %v", names, want)
	}
	if _, err := New("ticket"); err == nil || err.Error() != `unknown lock "ticket"; there are: mutex, ttas, futex` {
		t.Errorf("New: %v", err)
	}
	if _, err := NewRW("ttas"); err == nil || err.Error() != `unknown readers-writer lock "ttas"; there are: rwmutex, bravo` {
		t.Errorf("NewRW: %v", err)
	}
}

// A lock, and each line of a Bravo, has its pair of cache lines for itself.
func TestLinesAreNotShared(t *testing.T) {
	for _, tt := range []struct {
		of   any
		size uintptr
	}{
		{Mutex{}, hw.FalseSharing},
		{TTAS{}, hw.FalseSharing},
		{RWMutex{}, hw.FalseSharing},
		{Bravo{}, 2 * hw.FalseSharing},
		{bravoLine{}, hw.FalseSharing},
		{Counter{}, 3 * hw.FalseSharing},
	} {
		if got := reflect.TypeOf(tt.of).Size(); got != tt.size {
			t.Errorf("%T takes %d bytes, want %d", tt.of, got, tt.size)
		}
	}
	for _, k := range Kinds() {
		for range 100 {
			l := newLock(t, k)
			if at := reflect.ValueOf(l).Pointer(); at%hw.FalseSharing != 0 {
				t.Errorf("a %s begins at %#x", k.Name, at)
			}
			if b, ok := l.(*Bravo); ok {
				if at := reflect.ValueOf(b.lines).Pointer(); at%hw.FalseSharing != 0 {
					t.Errorf("a %s has its lines at %#x", k.Name, at)
				}
			}
		}
	}
	field, _ := reflect.TypeOf(Bravo{}).FieldByName("mu")
	if field.Offset != hw.FalseSharing {
		t.Errorf("a Bravo's mutex is %d bytes from its flag", field.Offset)
	}
}

func TestNothingAllocates(t *testing.T) {
	eachLock(t, func(t *testing.T, l Lock) {
		if n := testing.AllocsPerRun(100, func() {
			pass(l)
			l.TryLock()
			l.Unlock()
		}); n != 0 {
			t.Errorf("%v allocations", n)
		}
	})
	eachRW(t, func(t *testing.T, l RW) {
		if n := testing.AllocsPerRun(100, func() {
			l.RLock(1)
			l.RUnlock(1)
			l.TryRLock(1)
			l.RUnlock(1)
		}); n != 0 {
			t.Errorf("%v allocations", n)
		}
	})
}
