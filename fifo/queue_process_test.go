package fifo_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vlsbench/fifo"
	"vlsbench/hw"
)

// A queue between processes: the test binary runs itself again as a producer,
// which gets the memfd and the eventfd as descriptors 3 and 4 and the rest in
// its environment.

const (
	childEnv   = "FIFO_QUEUE_PRODUCER"
	childSpec  = "ref=%d producer=%d from=%d pace=%d mode=%d"
	sharedSize = 4 << 20
)

// TestQueueChild is the producer. It posts until it is killed.
func TestQueueChild(t *testing.T) {
	spec := os.Getenv(childEnv)
	if spec == "" {
		t.Skip("is the other process of TestQueueKilledProducer")
	}
	var ref fifo.Ref
	var p, pace int
	var from uint64
	var mode fifo.WaitMode
	if _, err := fmt.Sscanf(spec, childSpec, &ref, &p, &from, &pace, &mode); err != nil {
		t.Fatal(err)
	}
	mem, err := unix.Mmap(3, 0, sharedSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	q, err := fifo.OpenQueue(fifo.SegmentAt(mem), ref, 4)
	if err != nil {
		t.Fatal(err)
	}
	if err := q.Resume(p); err != nil {
		t.Fatal(err)
	}
	r := random(from)
	parent := os.Getppid()
	for n := from; ; {
		switch err := q.PostWait(p, event(p, n), mode, 5*time.Second); {
		case err == nil:
			n++
		case os.Getppid() != parent: // it failed, or its watchdog ended it
			return
		case err != fifo.ErrTimeout:
			t.Fatal(err)
		}
		if pace > 0 {
			for range r.IntN(pace) {
				hw.Pause()
			}
		}
	}
}

// spawn starts a producer.
func spawn(t *testing.T, mem, efd *os.File, spec string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "-test.run=^TestQueueChild$")
	out := new(bytes.Buffer)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Env = append(os.Environ(), childEnv+"="+spec)
	cmd.ExtraFiles = []*os.File{mem, efd}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() }) // where the test failed
	return cmd, out
}

// killed ends the producer and waits until it is gone.
func killed(t *testing.T, cmd *exec.Cmd, out *bytes.Buffer) {
	t.Helper()
	cmd.Process.Kill()
	cmd.Wait()
	if s := cmd.ProcessState.Sys().(syscall.WaitStatus); !s.Signaled() || s.Signal() != syscall.SIGKILL {
		t.Fatalf("the producer ended by itself: %v\n%s", cmd.ProcessState, out)
	}
}

// A producer in another process is killed at random points, again and again,
// while it makes its lane, posts, waits or wakes. The consumer sees its events
// whole, in order and each once, never hangs, and goes on with another producer;
// the next process goes on under the same number.
func TestQueueKilledProducer(t *testing.T) {
	if fifo.RaceEnabled {
		t.Skip("the race detector sees one process")
	}
	threads(t, 2)
	rounds := 24
	if *soak {
		rounds = 4000
	}
	r := random(seedOf(t))
	fd := eventfd(t)
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	efd := os.NewFile(uintptr(dup), "eventfd")
	defer efd.Close()
	s, memfd, err := fifo.NewMemfdSegment("queue", sharedSize)
	if err != nil {
		t.Fatal(err)
	}
	mem := os.NewFile(uintptr(memfd), "memfd")
	defer mem.Close()

	var q *fifo.Queue
	var total atomic.Uint64
	var round int
	progressDog(t, total.Load, func() string {
		return fmt.Sprintf("round %d: armed %v, pending %v", round, q.Armed(), q.Pending())
	})
	const own = 200 // the producer that lives
	var sent, seen order
	kills, resumed, silent := 0, 0, 0
	for round = range rounds {
		if round%8 == 0 { // new lanes
			if q != nil {
				q.Free()
			}
			q = createQueue(t, s, fifo.MinEvents, fifo.SeqCst)
			if err := q.SetEventfd(fd); err != nil {
				t.Fatal(err)
			}
			sent, seen = order{}, order{}
		}
		mode := waits[r.IntN(len(waits))].mode
		p := 10 + round%2
		from := seen[p]
		pace := []int{0, 40, 400}[r.IntN(3)]
		cmd, out := spawn(t, mem, efd, fmt.Sprintf(childSpec, q.Ref(), p, from, pace, min(mode, fifo.Park)))

		// The survivor posts now and then, before and after.
		var stop atomic.Bool
		var wg sync.WaitGroup
		wg.Go(func() {
			for !stop.Load() {
				if err := q.PostWait(own, event(own, sent[own]), fifo.Park, -1); err != nil {
					t.Error(err)
					return
				}
				sent[own]++
				time.Sleep(50 * time.Microsecond)
			}
		})
		drain := func() {
			var evs [8]fifo.Event
			n := q.Drain(evs[:])
			for _, ev := range evs[:n] {
				if err := seen.see(ev); err != nil {
					t.Fatalf("round %d: %v", round, err)
				}
			}
			total.Add(uint64(n))
			if n == 0 {
				if err := q.Wait(mode, -1); err != nil {
					t.Fatal(err)
				}
			}
		}
		// Killed some time after its first event, or after it began.
		since := time.Now()
		life := time.Duration(r.IntN(3000)) * time.Microsecond
		if r.IntN(2) == 0 {
			life = time.Duration(r.IntN(30_000)) * time.Microsecond
		} else {
			for seen[p] == from {
				drain()
			}
			since = time.Now()
		}
		for time.Since(since) < life {
			drain()
		}
		killed(t, cmd, out)
		kills++
		if seen[p] == from {
			silent++
		} else if from > 0 {
			resumed++
		}
		// All that it left, and the other goes on.
		for until := seen[own] + 20; seen[own] < until; {
			drain()
		}
		stop.Store(true)
		ended := make(chan struct{})
		go func() { wg.Wait(); close(ended) }()
		for over := false; !over; {
			select {
			case <-ended:
				over = true
			default: // it may wait for room
				runtime.Gosched()
			}
			for _, ev := range drainAll(q) {
				if err := seen.see(ev); err != nil {
					t.Fatalf("round %d: %v", round, err)
				}
			}
		}
		if seen[own] != sent[own] {
			t.Fatalf("round %d: the survivor posted %d, drained %d", round, sent[own], seen[own])
		}
	}
	q.Free()
	if err := s.Close(); err != nil { // not where the survivor may still post
		t.Error(err)
	}
	t.Logf("%d kills: %d before a first event, %d of one that had resumed; %d events", kills, silent, resumed, total.Load())
}
