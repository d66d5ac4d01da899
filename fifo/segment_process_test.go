package fifo_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vlsbench/fifo"
)

const peerEnv = "FIFO_TEST_SEGMENT_PEER"

// TestSegmentPeer is the other process of the tests below: it attaches to the
// segment in descriptor 3, tells its owner number, and takes and gives back
// blocks of all kinds until it is killed or its standard input ends.
func TestSegmentPeer(t *testing.T) {
	seed, err := strconv.ParseUint(os.Getenv(peerEnv), 10, 64)
	if err != nil {
		t.Skip("only as another test's second process")
	}
	s, err := fifo.AttachMemfd(3)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("owner", s.Owner())
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	r := random(seed)
	var held []fifo.Ref
	for {
		if len(held) < 8 && r.IntN(2) == 0 {
			class := uint32(r.IntN(5))
			var b fifo.Ref
			if r.IntN(2) == 0 {
				b = s.Alloc(class)
			} else {
				b = s.AllocNear(class, true)
			}
			if b != 0 {
				held = append(held, b)
			}
		} else if len(held) > 0 {
			j := r.IntN(len(held))
			s.Release(held[j])
			held[j] = held[len(held)-1]
			held = held[:len(held)-1]
		}
	}
}

// peer starts the other process and returns it with its owner number. It ends
// when its input is closed.
func peer(t *testing.T, fd *os.File, seed uint64) (*exec.Cmd, int, io.Closer) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestSegmentPeer$")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", peerEnv, seed))
	cmd.ExtraFiles = []*os.File{fd}
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	owner, ok := strings.CutPrefix(strings.TrimSpace(line), "owner ")
	k, atoi := strconv.Atoi(owner)
	if err != nil || !ok || atoi != nil {
		cmd.Process.Kill()
		cmd.Wait()
		t.Fatalf("the peer says %q, %v", line, err)
	}
	return cmd, k, in
}

// A process is killed anywhere between taking and giving back. The survivor,
// who goes on meanwhile, sweeps, and everything can be handed out once.
func TestSegmentPeerKilled(t *testing.T) {
	if fifo.RaceEnabled {
		t.Skip("the race detector's segments lie on the heap")
	}
	s, fd, err := fifo.NewMemfdSegment("killed", 2<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	file := os.NewFile(uintptr(fd), "segment")
	defer file.Close()
	var round atomic.Int64
	watchdog(t, func() string { return fmt.Sprintf("round %d", round.Load()) })
	seed := seedOf(t)
	r := random(seed)
	sweeper := join(t, s)
	kills := 20
	if testing.Short() {
		kills = 5
	}
	found := 0
	for range kills {
		round.Add(1)
		a, ka, ina := peer(t, file, r.Uint64()>>1)
		b, kb, inb := peer(t, file, r.Uint64()>>1)
		var stop atomic.Bool
		var wg sync.WaitGroup
		wg.Go(func() {
			for !stop.Load() {
				x, y := s.Alloc(1), s.AllocCold(2)
				for _, r := range []fifo.Ref{x, y} {
					if r != 0 {
						s.Release(r)
					}
				}
			}
		})
		time.Sleep(time.Duration(1+r.IntN(10_000)) * time.Microsecond)
		a.Process.Kill()
		a.Wait()
		ina.Close()
		if s.Owners()[ka] != a.Process.Pid {
			t.Errorf("owner %d is process %d, want %d", ka, s.Owners()[ka], a.Process.Pid)
		}
		// The other peer still runs.
		res, err := sweeper.Sweep(ka)
		if err != nil {
			t.Fatal(err)
		}
		found += res.Blocks
		b.Process.Kill()
		b.Wait()
		inb.Close()
		stop.Store(true)
		wg.Wait()
		res, err = sweeper.Sweep(kb)
		if err != nil || res.Left != 0 {
			t.Fatalf("%+v, %v", res, err)
		}
		found += res.Blocks
		allOnce(t, s)
		if t.Failed() {
			t.Fatalf("in round %d", round.Load())
		}
	}
	if found == 0 {
		t.Errorf("%d kills, and nothing was ever under way", 2*kills)
	}
	t.Logf("%d kills, %d blocks swept", 2*kills, found)
}
