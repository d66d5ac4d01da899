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
	timer := time.AfterFunc(3*time.Minute, func() {
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

// eachKind runs f for the kinds that are asked for.
func eachKind(t *testing.T, want func(Kind) bool, f func(t *testing.T, k Kind)) {
	for _, k := range Kinds() {
		if want(k) {
			t.Run(k.Name, func(t *testing.T) { f(t, k) })
		}
	}
}

// rounds counts to n for each of several threads. Where each hand-over waits for
// a nap, or on a busy machine, it ends after a while.
func rounds(n int) (more func(r int) bool) {
	end := time.Now().Add(400 * time.Millisecond)
	return func(r int) bool { return r < 20 || r < n && time.Now().Before(end) }
}

// Nothing but the lock orders the threads here, so that the race detector sees
// what it does not.
func TestLockExcludes(t *testing.T) {
	eachLock(t, func(t *testing.T, l Lock) {
		watchdog(t, "threads that take a lock in turn")
		more := rounds(2000)
		var a, b int // equal whenever nobody is inside
		var all atomic.Int64
		onThreads(threads, func(i int) {
			r := 0
			for ; more(r); r++ {
				if r%4 != 0 || !l.TryLock() {
					l.Lock()
				}
				if a != b {
					t.Errorf("half a turn: %d and %d", a, b)
				}
				a++
				if r%64 == i {
					runtime.Gosched() // held by one that does not run
				}
				b++
				l.Unlock()
			}
			all.Add(int64(r))
		})
		if want := int(all.Load()); a != want || b != want {
			t.Errorf("counted to %d and %d, want %d", a, b, want)
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
		more := rounds(2000)
		var a, b int // equal whenever no writer is inside
		var writes atomic.Int64
		onThreads(threads, func(i int) {
			wrote := 0
			defer func() { writes.Add(int64(wrote)) }()
			for r := 0; more(r); r++ {
				if (r+i)%8 == 0 {
					if r%3 != 0 || !l.TryLock() {
						l.Lock()
					}
					if a != b {
						t.Errorf("a writer beside another: %d and %d", a, b)
					}
					a++
					if r%32 == i {
						runtime.Gosched()
					}
					b++
					l.Unlock()
					wrote++
					continue
				}
				if r%3 != 0 || !l.TryRLock(i) {
					l.RLock(i)
				}
				before := a
				if r%32 == i {
					runtime.Gosched()
				}
				if a != b || a != before {
					t.Errorf("a reader beside a writer: %d and %d, before %d", a, b, before)
				}
				l.RUnlock(i)
			}
		})
		if want := int(writes.Load()); want == 0 || a != want || b != want {
			t.Errorf("%d and %d after %d writes", a, b, want)
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
	eachKind(t, func(k Kind) bool { return k.RW && !k.StarvesWriters }, func(t *testing.T, k Kind) {
		watchdog(t, "a writer that readers keep out")
		l := newRW(t, k)
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

// What keeps a writer out where that is not promised: one reader comes before the
// other has left, as often as one likes. No reader waits, and the writer gets in
// when they stop.
func TestReadersStarveWriter(t *testing.T) {
	eachKind(t, func(k Kind) bool { return k.StarvesWriters }, func(t *testing.T, k Kind) {
		watchdog(t, "a writer after the last reader")
		l := newRW(t, k)
		var written atomic.Bool
		l.RLock(0)
		done := make(chan struct{})
		go func() {
			defer close(done)
			l.Lock()
			written.Store(true)
			l.Unlock()
		}()
		for r := range 10_000 {
			l.RLock(1 - r%2)
			l.RUnlock(r % 2)
			if r%100 == 0 {
				runtime.Gosched()
			}
		}
		if written.Load() {
			t.Error("a writer was inside beside a reader")
		}
		l.RUnlock(0)
		<-done
	})
}

// A writer that waits stops readers that come later, or else they may lock again
// what they hold.
func TestWaitingWriterAndReaders(t *testing.T) {
	eachKind(t, func(k Kind) bool { return k.RW }, func(t *testing.T, k Kind) {
		watchdog(t, "a writer that stops readers")
		l := newRW(t, k)
		l.RLock(0)
		done := make(chan struct{})
		go func() {
			defer close(done)
			pass(l)
		}()
		if k.RecursiveReaders {
			for range 100 {
				runtime.Gosched()
				l.RLock(0)
				l.RUnlock(0)
			}
		} else {
			for l.TryRLock(1) {
				l.RUnlock(1)
				runtime.Gosched()
			}
			if l.TryLock() {
				t.Error("a writer beside a reader")
			}
		}
		l.RUnlock(0)
		<-done
		if !l.TryRLock(1) {
			t.Fatal("a reader was refused after the writer had left")
		}
		l.RUnlock(1)
	})
}

func TestReaderIsNotStarved(t *testing.T) {
	eachKind(t, func(k Kind) bool { return k.RW && !k.StarvesReaders }, func(t *testing.T, k Kind) {
		watchdog(t, "a reader that writers keep out")
		l := newRW(t, k)
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

// Pending writers stand before readers that wait already: while the next one has
// come before the last goes in, no reader does.
func TestPendingWritersStarveReader(t *testing.T) {
	watchdog(t, "readers and writers of a lock that prefers writers")
	l := new(RWPending)
	var all sync.WaitGroup
	in, out := make(chan struct{}), make(chan struct{})
	write := func() {
		before := l.pending.Load()
		all.Go(func() {
			l.Lock()
			in <- struct{}{}
			<-out
			l.Unlock()
		})
		for l.pending.Load() == before {
			runtime.Gosched()
		}
	}
	var read atomic.Bool
	l.Lock()
	leave := l.Unlock
	write()
	all.Go(func() {
		l.RLock(0)
		read.Store(true)
		l.RUnlock(0)
	})
	for range 50 {
		write()
		if l.TryRLock(1) {
			t.Fatal("a reader passed a writer")
		}
		leave() // two are pending, and one of them goes in
		<-in
		leave = func() { out <- struct{}{} }
	}
	if read.Load() {
		t.Error("a reader was inside while writers were pending")
	}
	leave()
	<-in // the last one
	leave()
	all.Wait()
}

// queued is a number that changes when somebody has begun to wait to hold a fair
// lock alone.
func queued(t *testing.T, l Lock) func() uint32 {
	switch l := l.(type) {
	case *Ticket:
		return func() uint32 { return atomic.LoadUint32(&l.next) }
	case *MCS:
		return func() uint32 { return atomic.LoadUint32(&l.tail) }
	case *CLH:
		return func() uint32 { return atomic.LoadUint32(&l.tail) }
	case *PhaseFair:
		return func() uint32 { return atomic.LoadUint32(&l.next) }
	}
	t.Fatalf("nobody has said how to see who waits for a %T", l)
	return nil
}

// changes waits until a number is another.
func changes(number func() uint32, from uint32) {
	for number() == from {
		runtime.Gosched()
	}
}

// Threads that came one after the other get in in that order, whether they still
// spin or sleep, and whoever tries in between.
func TestFirstComeFirstServed(t *testing.T) {
	eachKind(t, func(k Kind) bool { return k.Fair }, func(t *testing.T, k Kind) {
		watchdog(t, "threads that wait in turn")
		l := newLock(t, k)
		seen := queued(t, l)
		had := takenNodes()
		for _, asleep := range []bool{false, true} {
			for range 5 {
				var order []int
				var all sync.WaitGroup
				l.Lock()
				for i := range 2 * threads {
					before := seen()
					all.Go(func() {
						runtime.LockOSThread()
						l.Lock()
						order = append(order, i)
						l.Unlock()
					})
					changes(seen, before)
					if l.TryLock() {
						t.Error("TryLock got in before those who wait")
					}
				}
				if asleep {
					time.Sleep(2 * time.Millisecond)
				}
				l.Unlock()
				for l.TryLock() {
					l.Unlock()
				}
				all.Wait()
				if len(order) != 2*threads || !slices.IsSorted(order) {
					t.Fatalf("got in as %v", order)
				}
			}
		}
		if has := takenNodes(); has != had {
			t.Errorf("%d nodes have not come back", has-had)
		}
	})
}

// With a writer inside, a reader, a writer and another reader come in this order.
// Both readers are let in before the second writer.
func TestPhasesTakeTurns(t *testing.T) {
	watchdog(t, "readers and writers in turn")
	l := new(PhaseFair)
	in := func() uint32 { return atomic.LoadUint32(&l.in) }
	next := func() uint32 { return atomic.LoadUint32(&l.next) }
	for range 20 {
		var readers atomic.Int32
		read := func() {
			l.RLock(0)
			readers.Add(1)
			l.RUnlock(0)
		}
		var all sync.WaitGroup
		start := func(f func(), seen func() uint32) {
			before := seen()
			all.Go(f)
			changes(seen, before)
		}
		l.Lock()
		start(read, in)
		start(func() {
			l.Lock()
			if n := readers.Load(); n != 2 {
				t.Errorf("the second writer came after %d readers, want 2", n)
			}
			l.Unlock()
		}, next)
		start(read, in)
		l.Unlock()
		all.Wait()
	}
}

// A writer that only tried comes between two that write. A reader that still
// waits for the first must see that the second is another.
func TestPhaseChangesWhateverTryLockDid(t *testing.T) {
	l := new(PhaseFair)
	bits := func() uint32 { return l.in & writerBits }
	var seen []uint32
	for _, try := range []int{0, 1, 2, 3} {
		l.RLock(0)
		for range try {
			if l.TryLock() {
				t.Fatal("a writer beside a reader")
			}
		}
		l.RUnlock(0)
		if try%2 == 0 {
			l.Lock()
		} else if !l.TryLock() {
			t.Fatal("a free lock was refused")
		}
		seen = append(seen, bits())
		l.Unlock()
		if bits() != 0 {
			t.Fatal("a writer's bits stay")
		}
	}
	for i, w := range seen[1:] {
		if w == seen[i] || w&aWriter == 0 {
			t.Errorf("writers' bits %v: two that follow each other are equal", seen)
		}
	}
}

// TryLock comes back with an answer though the lock is held and waited for.
func TestTryLockDoesNotWait(t *testing.T) {
	eachLock(t, func(t *testing.T, l Lock) {
		watchdog(t, "TryLock")
		l.Lock()
		var all sync.WaitGroup
		for range 2 {
			all.Go(func() { pass(l) })
		}
		for range 1000 {
			if l.TryLock() {
				t.Fatal("taken twice")
			}
			runtime.Gosched()
		}
		l.Unlock()
		all.Wait()
	})
}

// Numbers that are drawn begin again at 0.
func TestNumbersWrap(t *testing.T) {
	watchdog(t, "a number that is past the greatest")
	const last = ^uint32(0) - 2
	for _, l := range []Lock{
		&Ticket{next: last, serving: last},
		&PhaseFair{in: last &^ writerBits, out: last &^ writerBits, next: last, turn: last},
	} {
		n := 0
		onThreads(threads, func(int) {
			for range 5 {
				l.Lock()
				n++
				l.Unlock()
				if rw, ok := l.(RW); ok {
					rw.RLock(0)
					rw.RUnlock(0)
				}
			}
		})
		if n != 5*threads {
			t.Errorf("%T: %d of %d", l, n, 5*threads)
		}
	}
}

func takenNodes() (n int) {
	for i := range nodes {
		n += int(nodes[i].taken)
	}
	return n
}

// With no node to be had, threads wait without; and all nodes come back.
func TestNodesRunOut(t *testing.T) {
	for _, l := range []Lock{new(MCS), new(CLH)} {
		watchdog(t, "threads without a place in the queue")
		before := takenNodes() // locks that other tests left behind have some
		var mine []uint32
		for misses := 0; misses < 100; {
			if id := takeNode(); id != 0 {
				mine = append(mine, id)
			} else {
				misses++
			}
		}
		if len(mine) < maxNodes*9/10-before {
			t.Errorf("%d of %d nodes found", len(mine), maxNodes-before)
		}
		n := 0
		var all sync.WaitGroup
		for i := range threads {
			all.Go(func() {
				for r := range 200 {
					l.Lock()
					n++
					if i == 0 && r%2 == 0 && len(mine) > 0 {
						giveNode(mine[0])
						mine = mine[1:]
					}
					l.Unlock()
				}
			})
		}
		all.Wait()
		if n != 200*threads {
			t.Errorf("%T: %d of %d", l, n, 200*threads)
		}
		for _, id := range mine {
			giveNode(id)
		}
		if after := takenNodes(); after != before {
			t.Errorf("%T: %d nodes have not come back", l, after-before)
		}
	}
}

// A thread may hold several locks of a kind and give them back in any order.
func TestSeveralAtOnce(t *testing.T) {
	eachKind(t, func(Kind) bool { return true }, func(t *testing.T, k Kind) {
		watchdog(t, "threads that take several locks in turn")
		var ls [3]Lock
		for i := range ls {
			ls[i] = newLock(t, k)
		}
		n := 0
		onThreads(threads, func(i int) {
			for r := range 50 {
				for _, l := range ls {
					l.Lock()
				}
				n++
				for j := range ls {
					ls[(i+r+j)%len(ls)].Unlock()
				}
			}
		})
		if n != 50*threads {
			t.Errorf("%d, want %d", n, 50*threads)
		}
	})
}

func TestMisuseIsCaught(t *testing.T) {
	for name, f := range map[string]func(){
		"Unlock of a TAS":          func() { new(TAS).Unlock() },
		"Unlock of a TTAS":         func() { new(TTAS).Unlock() },
		"Unlock of a Ticket":       func() { new(Ticket).Unlock() },
		"Unlock of an MCS":         func() { new(MCS).Unlock() },
		"Unlock of a CLH":          func() { new(CLH).Unlock() },
		"Unlock of a Futex":        func() { new(Futex).Unlock() },
		"Unlock of an RWSpin":      func() { new(RWSpin).Unlock() },
		"RUnlock of an RWSpin":     func() { new(RWSpin).RUnlock(0) },
		"Unlock of a PhaseFair":    func() { new(PhaseFair).Unlock() },
		"RUnlock of a PhaseFair":   func() { new(PhaseFair).RUnlock(0) },
		"RUnlock of a Bravo":       func() { NewBravo().RUnlock(3) },
		"Unlock of an RWSpin ":     func() { l := new(RWSpin); l.RLock(0); l.Unlock() },
		"RUnlock of an RWSpin ":    func() { l := new(RWSpin); l.Lock(); l.RUnlock(0) },
		"Unlock of a CLH ":         func() { l := new(CLH); pass(l); l.Unlock() },
		"Unlock of an MCS ":        func() { l := new(MCS); pass(l); l.Unlock() },
		"Unlock of a Ticket ":      func() { l := new(Ticket); pass(l); l.Unlock() },
		"Unlock of an RWSpin that": func() { new(RWPending).Unlock() },
	} {
		func() {
			defer func() {
				if r := recover(); r == nil || !strings.Contains(fmt.Sprint(r), "locks: "+name) {
					t.Errorf("%s: panic %v", name, r)
				}
			}()
			f()
		}()
	}
}

func TestKinds(t *testing.T) {
	var names []string
	for _, k := range Kinds() {
		names = append(names, k.Name)
		if k.Doc == "" || strings.Contains(k.Doc, "\n") {
			t.Errorf("%s: doc %q", k.Name, k.Doc)
		}
		if !k.RW && (k.RecursiveReaders || k.StarvesReaders || k.StarvesWriters) {
			t.Errorf("%s has no readers, and says of them %+v", k.Name, k)
		}
		// New does not make a readers-writer lock, nor the other way round.
		_, plainErr := New(k.Name)
		_, rwErr := NewRW(k.Name)
		if (plainErr != nil) != k.RW || (rwErr == nil) != k.RW {
			t.Errorf("%s, RW %v: New %v, NewRW %v", k.Name, k.RW, plainErr, rwErr)
		}
	}
	if want := []string{
		"mutex", "tas", "ttas", "ticket", "mcs", "clh", "futex",
		"rwmutex", "rwspin", "rwpending", "phasefair", "bravo",
	}; !slices.Equal(names, want) {
		t.Errorf("kinds %v, want %v", names, want)
	}
	if _, err := New("rwspin"); err == nil || err.Error() != `unknown lock "rwspin"; there are: mutex, tas, ttas, ticket, mcs, clh, futex` {
		t.Errorf("New: %v", err)
	}
	if _, err := NewRW("ttas"); err == nil || err.Error() != `unknown readers-writer lock "ttas"; there are: rwmutex, rwspin, rwpending, phasefair, bravo` {
		t.Errorf("NewRW: %v", err)
	}
}

func TestPlace(t *testing.T) {
	for _, tt := range []struct {
		place Place
		kind  string
		err   string
	}{
		{Place{Name: "session"}, "mcs", ""},
		{Place{Name: "session"}, "qspin", `session: unknown lock "qspin"; there are: mutex, tas, ttas, ticket, mcs, clh, futex`},
		{Place{Name: "session"}, "bravo", `session: unknown lock "bravo"; there are: mutex, tas, ttas, ticket, mcs, clh, futex`},
		{Place{Name: "table", RW: true}, "rwspin", ""},
		{Place{Name: "table", RW: true}, "mcs", `table: unknown readers-writer lock "mcs"; there are: rwmutex, rwspin, rwpending, phasefair, bravo`},
		{Place{Name: "table", RW: true, Writers: true}, "bravo", ""},
		{Place{Name: "table", RW: true, Writers: true}, "rwspin",
			"table cannot be a rwspin: its readers can keep a writer out for ever; there are: rwmutex, rwpending, phasefair, bravo"},
		{Place{Name: "table", RW: true, RecursiveReaders: true}, "rwspin", ""},
		{Place{Name: "table", RW: true, RecursiveReaders: true}, "bravo",
			"table cannot be a bravo: a reader locks it again while it holds it, and would wait for a writer that waits for the reader; there are: rwspin"},
		{Place{Name: "table", RW: true, RecursiveReaders: true, Writers: true}, "rwmutex",
			"table cannot be a rwmutex: a reader locks it again while it holds it, and would wait for a writer that waits for the reader; there are: none"},
	} {
		err := tt.place.Check(tt.kind)
		if got := fmt.Sprint(err); err == nil && tt.err != "" || err != nil && got != tt.err {
			t.Errorf("%+v, %s: %v, want %s", tt.place, tt.kind, err, tt.err)
		}
	}
}

// A lock, and each line of a Bravo, has its pair of cache lines for itself.
func TestLinesAreNotShared(t *testing.T) {
	for _, tt := range []struct {
		of   any
		size uintptr
	}{
		{Mutex{}, hw.FalseSharing},
		{TAS{}, hw.FalseSharing},
		{TTAS{}, hw.FalseSharing},
		{Ticket{}, hw.FalseSharing},
		{MCS{}, hw.FalseSharing},
		{CLH{}, hw.FalseSharing},
		{node{}, hw.FalseSharing},
		{Futex{}, hw.FalseSharing},
		{RWMutex{}, hw.FalseSharing},
		{RWSpin{}, hw.FalseSharing},
		{RWPending{}, 2 * hw.FalseSharing},
		{PhaseFair{}, hw.FalseSharing},
		{Bravo{}, 2 * hw.FalseSharing},
		{bravoLine{}, hw.FalseSharing},
		{Counter{}, 8 * hw.FalseSharing},
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
	if at := reflect.ValueOf(nodes).Pointer(); at%hw.FalseSharing != 0 {
		t.Errorf("nodes begin at %#x", at)
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
