package fifo_test

import (
	"fmt"
	"math"
	"os"
	"runtime/debug"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vlsbench/fifo"
	"vlsbench/hw"
)

// An end is killed between any two of the stores that pass blocks on. Free gives
// each block back once.
func TestDeaths(t *testing.T) {
	for _, d := range fifo.Deaths {
		s := heap(t, 1<<20)
		f := create(t, s, 200_000, fifo.Release)
		put(t, &f, 0, 100)
		take(t, &f, 0, 50)
		put(t, &f, 100, 20_000)
		if err := f.EnqueueAt(30_000, expected(0, 30_000)); err != nil {
			t.Fatal(err)
		}
		if n := len(f.Blocks()); n < 5 {
			t.Fatalf("%d blocks", n)
		}
		other := d.Die(&f)
		f.Free()
		if other.Valid() {
			other.Free()
		}
		if n := s.InUse(); n != 0 {
			t.Errorf("%s: %d bytes in use after Free", d.Name, n)
		}
		if n := s.Usage().Corruptions; n != 0 {
			t.Errorf("%s: %d times something was given back that was not taken", d.Name, n)
		}
	}
}

// An end dies at whatever store there is to each page of the segment, one after
// another: the page cannot be written, and the fault is its end. What it took
// with it is swept, the other end reads no more than there is, and Free gives
// the rest back.
func TestDeathAtEveryPage(t *testing.T) {
	if fifo.RaceEnabled {
		t.Skip("the race detector's segments lie on the heap")
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	watchdog(t, endless)
	mem := cage(t, 2*stillSize) // for two owners
	page := os.Getpagesize()
	comb := func(f *fifo.Fifo) {
		for i := range fifo.SmallSize/8 + 5 {
			f.EnqueueAt(2+2*i, []byte{1})
		}
	}
	deaths := 0
	for name, op := range map[string]func(f *fifo.Fifo){
		"Enqueue":         func(f *fifo.Fifo) { f.Enqueue(make([]byte, 20_000)) },
		"Enqueue to all":  func(f *fifo.Fifo) { f.Enqueue(make([]byte, 25_500)) },
		"EnqueueSegments": func(f *fifo.Fifo) { f.EnqueueSegments([][]byte{make([]byte, 10_000), make([]byte, 5000)}, false) },
		"EnqueueAt":       func(f *fifo.Fifo) { f.EnqueueAt(5000, make([]byte, 20_000)) },
		"comb":            comb,
		"comb, closed":    func(f *fifo.Fifo) { comb(f); f.Enqueue(make([]byte, 300)) },
		"Provision":       func(f *fifo.Fifo) { f.Provision(20_000, make([][]byte, 9)); f.Advance(20_000) },
		"cut":             func(f *fifo.Fifo) { f.EnqueueAt(0, make([]byte, 35_000)) },
		"Dequeue":         func(f *fifo.Fifo) { f.Dequeue(make([]byte, 20_000)) },
		"Drop":            func(f *fifo.Fifo) { f.DropAll() },
	} {
		for kind := range stills {
			for n := range 2 * len(mem) / page {
				at, early := n/2*page, n%2 == 0 // the sweep before Free
				i := newStill(t, mem, kind)
				hog := i.seg.Hog(name == "cut")
				dying, err := i.seg.Join()
				if err != nil {
					t.Fatal(err)
				}
				f := fifo.Open(dying, i.f.Ref(), fifo.Release)
				died := func() (died bool) {
					if err := unix.Mprotect(mem[at:at+page], unix.PROT_READ); err != nil {
						t.Fatal(err)
					}
					defer func() {
						if err := unix.Mprotect(mem[at:at+page], unix.PROT_READ|unix.PROT_WRITE); err != nil {
							t.Fatal(err)
						}
						if r := recover(); r != nil {
							if _, fault := r.(interface{ Addr() uintptr }); !fault {
								panic(r)
							}
							died = true
						}
					}()
					op(&f)
					return false
				}()
				if died {
					deaths++
				}
				if early {
					sweep(t, i.seg, dying.Owner())
				}
				i.f.Free()
				if !early {
					sweep(t, i.seg, dying.Owner())
				}
				hog()
				for _, r := range i.pad {
					i.seg.Release(r)
				}
				if n := i.seg.InUse(); n != 0 {
					t.Errorf("%s on fifo %d, death at page %d (%v): %d bytes in use after Free", name, kind, at/page, died, n)
				}
				if n := i.seg.Usage().Corruptions; n != 0 {
					t.Errorf("%s on fifo %d, death at page %d (%v): %d times something was given back that was not taken", name, kind, at/page, died, n)
				}
			}
		}
	}
	t.Logf("%d deaths", deaths)
}

// A process is killed at a random point while it writes to a fifo or reads from
// it. The survivor at the other end does not hang and reads nothing that was not
// written, and all memory comes back.
func TestKilledPeer(t *testing.T) {
	s, memfd := sharedSegment(t, 1<<20)
	kills := 16
	if *soak {
		kills = 1000
	}
	done, _ := progress(t, uint64(kills))
	seed := seedOf(t)
	r := random(seed)
	var moved, lost, swept uint64
	for i := range kills {
		c := course{
			size:    1 + r.IntN(64<<10),
			msg:     1 + r.IntN(9000),
			scatter: i&1 != 0,
			ord:     []fifo.Order{fifo.Release, fifo.SeqCst, fifo.Batched(3)}[r.IntN(3)],
			total:   math.MaxInt64,
			seed:    r.Uint64() >> 1,
		}
		end := endWriter + i>>1&1
		f := create(t, s, c.size, c.ord)
		f.StartAt(-uint32(r.IntN(1 << 20)))
		peer := startPeer(t, memfd, f.Ref(), end, &c)
		if s.Owners()[peer.owner] != peer.cmd.Process.Pid {
			t.Fatalf("owner %d is process %d, want %d", peer.owner, s.Owners()[peer.owner], peer.cmd.Process.Pid)
		}
		// The survivor goes on for a while after the kill, and then drains, or fills.
		var dead, over atomic.Bool
		go func() {
			from := f.Tail()
			if end == endReader {
				from = f.Head()
			}
			for at := from; at == from && !over.Load(); {
				if at = f.Tail(); end == endReader {
					at = f.Head()
				}
				time.Sleep(50 * time.Microsecond)
			}
			for wait := r.IntN(1 << 20); wait > 0; wait -= 40 {
				hw.Pause()
			}
			peer.cmd.Process.Kill()
			peer.cmd.Wait()
			dead.Store(true)
		}()
		var pos atomic.Uint64
		live := func() bool { return dead.Load() }
		var err error
		if end == endWriter {
			err = c.read(&f, &pos, live)
		} else {
			err = c.write(&f, &pos, live)
		}
		over.Store(true)
		for !dead.Load() {
			time.Sleep(time.Millisecond)
		}
		if err != nil {
			t.Fatalf("kill %d, %v, end %d: %v", i, &c, end, err)
		}
		if ws := peer.cmd.ProcessState.Sys().(syscall.WaitStatus); !ws.Signaled() {
			t.Fatalf("kill %d, %v, end %d: the peer ended by itself: %v\n%s", i, &c, end, ws, peer.out)
		}
		peer.in.Close()
		// Its owner may be swept before the survivor is through with the fifo, or
		// when that is gone.
		early := r.IntN(2) == 0
		if early {
			swept += uint64(sweep(t, s, peer.owner))
		}
		if err := outlive(&f, &c, end, pos.Load()); err != nil {
			t.Fatalf("kill %d, %v, end %d: %v", i, &c, end, err)
		}
		f.Free()
		if n := s.InUse(); n > 0 {
			lost++
		}
		if !early {
			swept += uint64(sweep(t, s, peer.owner))
		}
		if n := s.InUse(); n != 0 {
			t.Fatalf("kill %d, %v, end %d, swept early %v: %d bytes in use after Free", i, &c, end, early, n)
		}
		if n := s.Usage().Corruptions; n != 0 {
			t.Fatalf("kill %d, %v, end %d: %d corruptions", i, &c, end, n)
		}
		moved += pos.Load()
		done.Add(1)
	}
	t.Logf("%d kills, %d bytes moved, %d times something was lost till the sweep, %d bytes swept", kills, moved, lost, swept)
}

func sweep(t *testing.T, s *fifo.Segment, owner int) int {
	t.Helper()
	res, err := s.Sweep(owner)
	if err != nil || res.Left != 0 {
		t.Fatalf("Sweep(%d): %+v, %v", owner, res, err)
	}
	return res.Bytes
}

// outlive goes on alone with the fifo whose other end died, at pos of the stream,
// until there is nothing more to do.
func outlive(f *fifo.Fifo, c *course, died int, pos uint64) error {
	if died == endReader {
		s := source{f: f, pos: pos, msg: c.msg, scatter: c.scatter, r: random(c.seed)}
		for end := pos + uint64(2*c.size); ; {
			if s.pos > end {
				return fmt.Errorf("%d bytes written to a fifo that nobody reads", s.pos-pos)
			}
			switch err := s.step(math.MaxInt64); err {
			case nil:
			case fifo.ErrFull:
				if n := f.MaxEnqueue(); n == 0 {
					return nil
				}
			default:
				return err
			}
		}
	}
	s := sink{f: f, pos: pos, msg: c.msg, r: random(c.seed)}
	for {
		switch err := s.step(); err {
		case nil:
		case fifo.ErrEmpty:
			// It may have asked for more than there is.
			if n, err := f.Dequeue(make([]byte, 1)); n == 0 {
				if err != fifo.ErrEmpty {
					return err
				}
				return nil
			}
			s.pos++
		default:
			return err
		}
	}
}
