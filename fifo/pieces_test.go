package fifo_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"vlsbench/fifo"
)

// both runs a producer and a consumer at once, each until it returns; what one
// reports ends the other.
func both(t *testing.T, f *fifo.Fifo, in, out func(over func() bool) error) {
	t.Helper()
	watchdog(t, func() string { return fmt.Sprintf("tail %#x, head %#x, size %d", f.Tail(), f.Head(), f.Size()) })
	over := make(chan struct{})
	ended := func() bool {
		select {
		case <-over:
			return true
		default:
			return false
		}
	}
	errs := make(chan error, 2)
	for _, side := range []func(func() bool) error{in, out} {
		go func() { errs <- side(ended) }()
	}
	for range 2 {
		if err := <-errs; err != nil && !ended() {
			t.Error(err)
			close(over)
		}
	}
}

// What is written as one publication becomes readable as a whole: the consumer
// never sees a part of it, however many chunks it lies in.
func TestPublishedAtOnce(t *testing.T) {
	threads(t, 2)
	const record = 997
	for _, c := range []struct {
		name  string
		write func(f *fifo.Fifo, p []byte) (int, error)
	}{
		{"Enqueue", func(f *fifo.Fifo, p []byte) (int, error) {
			if f.MaxEnqueue() < len(p) {
				return 0, fifo.ErrFull
			}
			return f.Enqueue(p)
		}},
		{"EnqueueSegments", func(f *fifo.Fifo, p []byte) (int, error) {
			return f.EnqueueSegments([][]byte{p[:1], p[1:300], p[300:300], p[300:]}, false)
		}},
		{"Advance", func(f *fifo.Fifo, p []byte) (int, error) {
			var pieces [4][]byte
			k, n, err := f.Provision(len(p), pieces[:])
			if err != nil {
				return 0, err
			}
			if n < len(p) {
				return 0, fifo.ErrFull
			}
			for _, piece := range pieces[:k] {
				p = p[copy(piece, p):]
			}
			return f.Advance(n)
		}},
		{"EnqueueAt", func(f *fifo.Fifo, p []byte) (int, error) {
			for _, from := range []int{700, 10, 350} {
				if err := f.EnqueueAt(from, p[from:min(from+400, len(p))]); err != nil {
					return 0, err
				}
			}
			return f.Enqueue(p[:10])
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := heap(t, 1<<20)
			f := create(t, s, 20*record, fifo.Release)
			f.StartAt(1<<32 - 50*record)
			total := uint64(scaled(16_000)) * record
			both(t, &f, func(over func() bool) error {
				var w idle
				for pos := uint64(0); pos < total && !over(); {
					got, err := c.write(&f, expected(pos, record))
					switch {
					case err == fifo.ErrFull:
						w.wait()
						continue
					case err != nil || got != record:
						return fmt.Errorf("%d bytes became readable, %v", got, err)
					}
					w = 0
					pos += record
				}
				return nil
			}, func(over func() bool) error {
				var w idle
				buf := make([]byte, 20*record)
				for pos := uint64(0); pos < total && !over(); {
					n, err := f.Dequeue(buf)
					if err == fifo.ErrEmpty {
						w.wait()
						continue
					}
					if err != nil || n%record != 0 {
						return fmt.Errorf("%d bytes are there, of records of %d: %v", n, record, err)
					}
					if !bytes.Equal(buf[:n], expected(pos, n)) {
						return fmt.Errorf("%s", firstWrong(buf[:n], pos))
					}
					w = 0
					pos += uint64(n)
				}
				return nil
			})
			f.Free()
		})
	}
}

// The consumer rewrites what it has not read while the producer writes behind it,
// in the same chunk and in others.
func TestOverwriteHeadBesideProducer(t *testing.T) {
	threads(t, 2)
	s := heap(t, 1<<20)
	f := create(t, s, 9000, fifo.Release)
	total := uint64(scaled(24 << 20))
	c := course{msg: 700, total: total, seed: seedOf(t)}
	both(t, &f, func(over func() bool) error {
		src := source{f: &f, msg: c.msg, r: random(c.seed)}
		var w idle
		for src.pos < total && !over() {
			if src.step(total-src.pos) == nil {
				w = 0
			} else {
				w.wait()
			}
		}
		return nil
	}, func(over func() bool) error {
		r := random(c.seed + 1)
		var w idle
		var header [12]byte
		buf := make([]byte, c.msg)
		for pos := uint64(0); pos < total && !over(); {
			n := f.MaxDequeue()
			if n < len(header) && pos+uint64(n) < total {
				w.wait()
				continue
			}
			w = 0
			h := min(n, len(header))
			binary.LittleEndian.PutUint64(header[:], ^pos)
			if err := f.OverwriteHead(header[:h]); err != nil {
				return fmt.Errorf("OverwriteHead of %d bytes of %d: %w", h, n, err)
			}
			got, err := f.Dequeue(buf[:max(h, r.IntN(len(buf)))])
			if err != nil || got < h {
				return fmt.Errorf("Dequeue: %d, %v", got, err)
			}
			if !bytes.Equal(buf[:h], header[:h]) {
				return fmt.Errorf("at %d: read %x, and %x was written over it", pos, buf[:h], header[:h])
			}
			if rest := buf[h:got]; !bytes.Equal(rest, expected(pos+uint64(h), len(rest))) {
				return fmt.Errorf("%s", firstWrong(rest, pos+uint64(h)))
			}
			pos += uint64(got)
		}
		return nil
	})
}

// The producer changes the size up and down while the consumer reads: nothing is
// lost, and there is never more than the size at some moment.
func TestSetSizeBesideConsumer(t *testing.T) {
	threads(t, 2)
	s := heap(t, 1<<20)
	const least, most = 100, 60_000
	f := create(t, s, least, fifo.Release)
	f.StartAt(1<<32 - 1_000_000)
	total := uint64(scaled(48 << 20))
	seed := seedOf(t)
	shrunk := 0
	both(t, &f, func(over func() bool) error {
		src := source{f: &f, msg: 3000, scatter: true, r: random(seed)}
		var w idle
		for src.pos < total && !over() {
			if src.r.IntN(4) == 0 {
				n := least + src.r.IntN(most)
				if src.r.IntN(2) == 0 {
					n = least
				}
				got, err := f.SetSize(n)
				if err != nil || got < n || got != f.Size() || got > most+least {
					return fmt.Errorf("SetSize(%d): %d, %v", n, got, err)
				}
				if got > n {
					shrunk++ // to what is in use, which is more
				}
			}
			switch err := src.step(total - src.pos); err {
			case nil:
				w = 0
			case fifo.ErrFull:
				w.wait()
			default:
				return err
			}
		}
		return nil
	}, func(over func() bool) error {
		sk := sink{f: &f, msg: 3000, r: random(seed + 1)}
		var w idle
		for sk.pos < total && !over() {
			switch err := sk.step(); err {
			case nil:
				w = 0
			case fifo.ErrEmpty:
				w.wait()
			default:
				return err
			}
		}
		return nil
	})
	t.Logf("%d times more was in use than asked for", shrunk)
	f.Free()
	if n := s.InUse(); n != 0 {
		t.Errorf("%d bytes in use after Free", n)
	}
}

// Where a chunk ends, and where nothing was provisioned: what the model cannot
// tell from outside.
func TestAdvanceBounds(t *testing.T) {
	s := heap(t, 1<<20)
	f := create(t, s, 10_000, fifo.Release)
	if n, err := f.Advance(1); n != 0 || err != fifo.ErrGrow {
		t.Errorf("Advance(1) without a chunk: %d, %v", n, err)
	}
	if n, err := f.Advance(-1); n != 0 || err != fifo.ErrFull {
		t.Errorf("Advance(-1): %d, %v", n, err)
	}
	put(t, &f, 0, 10)
	if n, err := f.Advance(9000); n != 0 || err != fifo.ErrGrow {
		t.Errorf("Advance beyond the chunk: %d, %v", n, err)
	}
	if n, err := f.Advance(9991); n != 0 || err != fifo.ErrFull {
		t.Errorf("Advance beyond the size: %d, %v", n, err)
	}
	take(t, &f, 0, 10)
	for _, n := range []int{-1, 0, fifo.MaxSize + 1} {
		got, err := f.SetSize(n)
		refused(t, "SetSize", n, err)
		if got != 10_000 {
			t.Errorf("SetSize(%d): %d", n, got)
		}
	}
	if err := f.InitPointers(0, 10_001); err != fifo.ErrFull {
		t.Errorf("InitPointers to hold more than the size: %v", err)
	}
}

// In an exhausted segment an empty fifo goes on in the chunk it has, whatever it
// is written by.
func TestExhaustedPiecesGoOn(t *testing.T) {
	for name, write := range map[string]func(f *fifo.Fifo, p []byte) error{
		"EnqueueSegments": func(f *fifo.Fifo, p []byte) error {
			_, err := f.EnqueueSegments([][]byte{p[:10], p[10:]}, false)
			return err
		},
		"Provision": func(f *fifo.Fifo, p []byte) error {
			pieces := make([][]byte, 1)
			if _, n, err := f.Provision(len(p), pieces); err != nil || n != len(p) {
				return fmt.Errorf("%d bytes: %w", n, err)
			}
			copy(pieces[0], p)
			_, err := f.Advance(len(p))
			return err
		},
		"EnqueueAt": func(f *fifo.Fifo, p []byte) error {
			if err := f.EnqueueAt(10, p[10:]); err != nil {
				return err
			}
			_, err := f.Enqueue(p[:10])
			return err
		},
	} {
		s := heap(t, 128<<10)
		f, spare := create(t, s, 64<<10, fifo.Release), create(t, s, 1, fifo.Release)
		put(t, &f, 0, fifo.MinChunk)
		take(t, &f, 0, fifo.MinChunk)
		hog := create(t, s, 1<<20, fifo.Release)
		if _, err := fill(t, &hog, 0, 1<<20); err != fifo.ErrGrow {
			t.Fatal(err)
		}
		spare.Free() // for the list
		for pos := uint64(fifo.MinChunk); pos < 20*fifo.MinChunk; pos += fifo.MinChunk / 2 {
			if err := write(&f, expected(pos, fifo.MinChunk/2)); err != nil {
				t.Fatalf("%s at %d: %v", name, pos, err)
			}
			take(t, &f, pos, fifo.MinChunk/2)
		}
	}
}

// What fails for want of chunks gives those back that it got.
func TestExhaustedPiecesTakeNothing(t *testing.T) {
	s := heap(t, 128<<10)
	f := create(t, s, 1<<20, fifo.Release)
	put(t, &f, 0, 100)
	before := s.InUse()
	if n, err := f.EnqueueSegments([][]byte{make([]byte, 100<<10), make([]byte, 100<<10)}, false); n != 0 || err != fifo.ErrGrow {
		t.Errorf("EnqueueSegments of more than the segment has: %d, %v", n, err)
	}
	if err := f.EnqueueAt(200<<10, []byte{1}); err != fifo.ErrGrow {
		t.Errorf("EnqueueAt beyond what the segment has: %v", err)
	}
	if n, _, err := f.Provision(200<<10, make([][]byte, 1)); n != 1 || err != nil {
		t.Errorf("Provision of more than the segment has: %d, %v", n, err)
	}
	if n := s.InUse(); n != before {
		t.Errorf("%d bytes in use, %d before", n, before)
	}
	take(t, &f, 0, 100)
}
