package fifo_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"vlsbench/fifo"
	"vlsbench/hw"
)

// Streams by every operation there is, between two threads and two processes,
// in order and out of order, with every byte checked: what a stream carries
// tells its position.

// idle waits for the other side, which may need this core.
type idle int

func (w *idle) wait() {
	switch *w++; {
	case *w < 64:
		hw.Pause()
	case *w < 256:
		runtime.Gosched()
	default:
		time.Sleep(20 * time.Microsecond)
	}
}

// source writes the stream to a fifo.
type source struct {
	f       *fifo.Fifo
	pos     uint64 // of the tail in the stream
	msg     int    // messages are up to so long
	scatter bool   // out of order too
	r       *rand.Rand
	pieces  [4][]byte
}

// step writes up to limit bytes, at least one. ErrFull, ErrGrow: it could not.
func (s *source) step(limit uint64) error {
	n := int(min(uint64(1+s.r.IntN(s.msg)), limit))
	p := expected(s.pos, n)
	op := s.r.IntN(8)
	if s.scatter && op > 2 {
		n = int(min(uint64(s.f.MaxEnqueue()), uint64(2*s.msg), limit))
		return s.scattered(n)
	}
	var got int
	var err error
	switch op {
	case 0:
		cut := s.r.IntN(n + 1)
		got, err = s.f.EnqueueSegments([][]byte{p[:cut], p[cut:]}, s.r.IntN(4) > 0)
	case 1:
		k, bytes, e := s.f.Provision(n, s.pieces[:1+s.r.IntN(len(s.pieces))])
		if e != nil {
			return e
		}
		for _, piece := range s.pieces[:k] {
			p = p[copy(piece, p):]
		}
		got, err = s.f.Advance(bytes)
	default:
		got, err = s.f.Enqueue(p)
	}
	s.pos += uint64(got)
	return err
}

// scattered writes n bytes in pieces from the last to the first, or as it comes,
// some over others, and then the first, which closes the gap.
func (s *source) scattered(n int) error {
	first := min(1+s.r.IntN(1+n/4), n)
	for range 1 + s.r.IntN(6) {
		if first >= n {
			break
		}
		from := first + s.r.IntN(n-first)
		to := from + 1 + s.r.IntN(n-from)
		if err := s.f.EnqueueAt(from, expected(s.pos+uint64(from), to-from)); err != nil {
			return err
		}
	}
	got, err := s.f.Enqueue(expected(s.pos, max(first, 1)))
	s.pos += uint64(got)
	return err
}

// sink reads the stream from a fifo and checks it.
type sink struct {
	f      *fifo.Fifo
	pos    uint64
	msg    int
	r      *rand.Rand
	buf    []byte
	pieces [4][]byte
}

// step reads what is there, once. ErrEmpty: nothing is.
func (s *sink) step() error {
	n := 1 + s.r.IntN(s.msg)
	if len(s.buf) < n {
		s.buf = make([]byte, s.msg)
	}
	var got int
	var err error
	switch s.r.IntN(8) {
	case 0:
		ahead := s.r.IntN(n)
		if got, err = s.f.Peek(ahead, s.buf[:n]); err != nil {
			if err == fifo.ErrEmpty && ahead > 0 {
				return nil
			}
			return err
		}
		return s.same("Peek", s.buf[:got], uint64(ahead))
	case 1, 2:
		k, _, err := s.f.Segments(0, n, s.pieces[:1+s.r.IntN(len(s.pieces))])
		if err != nil {
			return err
		}
		for _, piece := range s.pieces[:k] {
			if err := s.same("Segments", piece, uint64(got)); err != nil {
				return err
			}
			got += len(piece)
		}
		if dropped, err := s.f.Drop(got); dropped != got || err != nil {
			return fmt.Errorf("Drop(%d) of what Segments showed: %d, %w", got, dropped, err)
		}
	case 3:
		n = min(n, 40)
		if err := s.f.OverwriteHead(expected(s.pos, n)); err != nil {
			return err
		}
		if got, err = s.f.Dequeue(s.buf[:n]); got != n || err != nil {
			return fmt.Errorf("Dequeue of %d bytes that were overwritten: %d, %w", n, got, err)
		}
		err = s.same("Dequeue", s.buf[:got], 0)
	default:
		if got, err = s.f.Dequeue(s.buf[:n]); err == nil {
			err = s.same("Dequeue", s.buf[:got], 0)
		}
	}
	s.pos += uint64(got)
	return err
}

func (s *sink) same(op string, got []byte, ahead uint64) error {
	if !bytes.Equal(got, expected(s.pos+ahead, len(got))) {
		return fmt.Errorf("%s: %s", op, firstWrong(got, s.pos+ahead))
	}
	return nil
}

// course is a stream's setting.
type course struct {
	size, msg int
	scatter   bool
	ord       fifo.Order
	total     uint64
	seed      uint64
}

func (c *course) String() string {
	how := "in order"
	if c.scatter {
		how = "out of order"
	}
	return fmt.Sprintf("fifo of %d, messages up to %d, %s, %s", c.size, c.msg, how, c.ord)
}

// write and read are the two sides. They end early when over says so.
func (c *course) write(f *fifo.Fifo, done *atomic.Uint64, over func() bool) error {
	s := source{f: f, msg: c.msg, scatter: c.scatter, r: random(c.seed)}
	var w idle
	for s.pos < c.total && !over() {
		switch err := s.step(c.total - s.pos); err {
		case nil:
			w = 0
		case fifo.ErrFull:
			f.Flush()
			w.wait()
		default:
			return fmt.Errorf("written %d: %w", s.pos, err)
		}
		done.Store(s.pos)
	}
	f.Flush()
	return nil
}

func (c *course) read(f *fifo.Fifo, done *atomic.Uint64, over func() bool) error {
	s := sink{f: f, msg: c.msg, r: random(c.seed + 1)}
	var w idle
	for s.pos < c.total && !over() {
		switch err := s.step(); err {
		case nil:
			w = 0
		case fifo.ErrEmpty:
			w.wait()
		default:
			return fmt.Errorf("read %d: %w", s.pos, err)
		}
		done.Store(s.pos)
	}
	if over() {
		return nil
	}
	if n, err := f.Dequeue(make([]byte, 1)); n != 0 || err != fifo.ErrEmpty {
		return fmt.Errorf("more than was written: %d, %w", n, err)
	}
	return nil
}

// courses share total bytes.
func courses(seed, total uint64) []course {
	var cs []course
	for _, scatter := range []bool{false, true} {
		for i, size := range []int{4 << 10, 10_001, 64 << 10} {
			ord := []fifo.Order{fifo.Release, fifo.Batched(7), fifo.SeqCst}[i]
			for _, msg := range []int{67, size/3 + 1} {
				cs = append(cs, course{size: size, msg: msg, scatter: scatter, ord: ord, seed: seed})
			}
		}
	}
	// Short messages take their time.
	for i := range cs {
		share := uint64(11)
		if cs[i].msg < 100 {
			share = 1
		}
		cs[i].total = total * share / 72
	}
	return cs
}

// run lets both sides of a course run, done counting what was read, and is under
// a watchdog by that.
func (c *course) run(t *testing.T, in, out *fifo.Fifo, done *atomic.Uint64) {
	t.Helper()
	var failed atomic.Bool
	var sent atomic.Uint64
	over := func() bool { return failed.Load() }
	errs := make(chan error, 2)
	side := func(f func() error) {
		err := f()
		if err != nil {
			failed.Store(true)
		}
		errs <- err
	}
	go side(func() error { return c.write(in, &sent, over) })
	go side(func() error { return c.read(out, done, over) })
	for range 2 {
		if err := <-errs; err != nil {
			t.Errorf("%v: %v", c, err)
		}
	}
}

const soakBytes = 7 << 30

// soakTotal is how many bytes a test streams in all, half of them in order.
func soakTotal() uint64 {
	if *soak {
		return soakBytes
	}
	return uint64(scaled(16 << 20))
}

// progress tells on standard error, in a soak, how far it is and how much time
// is left at this rate. It returns what is to be told, and what ends it.
func progress(t *testing.T, total uint64) (done *atomic.Uint64, next func()) {
	done = new(atomic.Uint64)
	var before atomic.Uint64
	at := func() uint64 { return before.Load() + done.Load() }
	progressDog(t, at, func() string { return fmt.Sprintf("%d of %d", at(), total) })
	if *soak {
		began := time.Now()
		tick := time.NewTicker(5 * time.Second)
		stop := make(chan struct{})
		go func() {
			for {
				select {
				case <-tick.C:
				case <-stop:
					return
				}
				if n := at(); n > 0 {
					left := time.Duration(float64(time.Since(began)) * (float64(total)/float64(n) - 1))
					fmt.Fprintf(os.Stderr, "%s: %.1f%%, %v left\n", t.Name(), 100*float64(n)/float64(total), left.Round(time.Second))
				}
			}
		}()
		t.Cleanup(func() { tick.Stop(); close(stop) })
	}
	return done, func() {
		before.Add(done.Load())
		done.Store(0)
	}
}

func TestSoakStreamThreads(t *testing.T) {
	threads(t, 2)
	total := soakTotal()
	done, next := progress(t, total)
	for _, c := range courses(seedOf(t), total) {
		s := heap(t, 1<<20)
		f := create(t, s, c.size, c.ord)
		f.StartAt(-uint32(c.total / 2))
		c.run(t, &f, &f, done)
		next()
		f.Free()
		if n := s.InUse(); n != 0 {
			t.Errorf("%v: %d bytes in use after Free", &c, n)
		}
	}
}

const (
	streamEnv  = "FIFO_TEST_STREAM_PEER"
	streamSpec = "ref=%d end=%d size=%d msg=%d scatter=%t ord=%d total=%d seed=%d"
	endWriter  = 1
	endReader  = 2
)

// TestSoakStreamPeer is the other process of streams: it attaches to the segment
// in descriptor 3, tells its owner number, and writes or reads.
func TestSoakStreamPeer(t *testing.T) {
	spec := os.Getenv(streamEnv)
	if spec == "" {
		t.Skip("is the other process of other tests")
	}
	var c course
	var ref fifo.Ref
	var end int
	if _, err := fmt.Sscanf(spec, streamSpec, &ref, &end, &c.size, &c.msg, &c.scatter, &c.ord, &c.total, &c.seed); err != nil {
		t.Fatal(err)
	}
	s, err := fifo.AttachMemfd(3)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("owner", s.Owner())
	// The end of its input is the end of the one who waits for it.
	var orphan atomic.Bool
	go func() {
		io.Copy(io.Discard, os.Stdin)
		orphan.Store(true)
	}()
	var done atomic.Uint64
	if end == endWriter {
		f, e := fifo.OpenProducer(s, ref, c.ord)
		if err = e; err == nil {
			err = c.write(&f, &done, orphan.Load)
		}
	} else {
		f, e := fifo.OpenConsumer(s, ref, c.ord)
		if err = e; err == nil {
			err = c.read(&f, &done, orphan.Load)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// streamPeer is another process at one end of a fifo.
type streamPeer struct {
	cmd   *exec.Cmd
	in    io.Closer
	out   *bytes.Buffer
	owner int
}

// startPeer starts the process at the given end of the fifo at ref.
func startPeer(t *testing.T, memfd *os.File, ref fifo.Ref, end int, c *course) *streamPeer {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &streamPeer{cmd: exec.Command(exe, "-test.run=^TestSoakStreamPeer$"), out: new(bytes.Buffer)}
	p.cmd.Env = append(os.Environ(), fmt.Sprintf(streamEnv+"="+streamSpec, ref, end, c.size, c.msg, c.scatter, c.ord, c.total, c.seed))
	p.cmd.ExtraFiles = []*os.File{memfd}
	p.cmd.Stderr = p.out
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	// Not p.out: what the peer says first is to be had while it runs.
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Stdout = w
	err = p.cmd.Start()
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.cmd.Process.Kill() }) // where the test failed
	first := make([]byte, 64)
	n, _ := r.Read(first)
	go func() {
		io.Copy(io.Discard, r)
		r.Close()
	}()
	if _, err := fmt.Sscanf(string(first[:n]), "owner %d", &p.owner); err != nil {
		p.in.Close()
		p.cmd.Wait()
		t.Fatalf("the peer says %q, %s", first[:n], p.out)
	}
	return p
}

// sharedSegment is a memfd segment of size bytes, and its descriptor.
func sharedSegment(t *testing.T, size int) (*fifo.Segment, *os.File) {
	t.Helper()
	if fifo.RaceEnabled {
		t.Skip("the race detector sees one process")
	}
	s, fd, err := fifo.NewMemfdSegment("stream", size)
	if err != nil {
		t.Fatal(err)
	}
	memfd := os.NewFile(uintptr(fd), "memfd")
	t.Cleanup(func() {
		memfd.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, memfd
}

func TestSoakStreamProcesses(t *testing.T) {
	s, memfd := sharedSegment(t, 2<<20)
	total := soakTotal()
	done, next := progress(t, total)
	for i, c := range courses(seedOf(t), total) {
		f := create(t, s, c.size, c.ord)
		f.StartAt(-uint32(c.total / 2))
		end := endWriter
		if i%2 == 0 {
			end = endReader
		}
		peer := startPeer(t, memfd, f.Ref(), end, &c)
		var failed atomic.Bool
		ended := make(chan error, 1)
		go func() {
			err := peer.cmd.Wait()
			if err != nil {
				failed.Store(true)
			}
			ended <- err
		}()
		var err error
		if end == endWriter {
			err = c.read(&f, done, failed.Load)
		} else {
			err = c.write(&f, done, failed.Load)
		}
		if err != nil {
			t.Errorf("%v: %v", &c, err)
			peer.cmd.Process.Kill()
		}
		if err := <-ended; err != nil {
			t.Fatalf("%v: the peer: %v\n%s", &c, err, strings.TrimSpace(peer.out.String()))
		}
		peer.in.Close()
		next()
		f.Free()
		if n := s.InUse(); n != 0 {
			t.Errorf("%v: %d bytes in use after Free", &c, n)
		}
	}
}
