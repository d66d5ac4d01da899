package fifo_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vlsbench/fifo"
)

// image is a segment in which blocks are taken, free, parted and in reserve, of
// two owners.
func image(t testing.TB, mem []byte) *fifo.Segment {
	t.Helper()
	s, err := fifo.NewSegment(mem)
	if err != nil {
		t.Fatal(err)
	}
	v := join(t, s)
	var all []fifo.Ref
	for class := range uint32(4) {
		for range 3 {
			all = append(all, s.AllocCold(class), v.Alloc(class))
		}
	}
	rest := exhaust(t, s, make([]bool, s.Size()/fifo.Line))
	s.Release(rest[0])
	all = append(all, v.Alloc(0), s.Alloc(1)) // parts of it
	for i, r := range all {
		if i%3 != 0 {
			v.Release(r)
		}
	}
	return s
}

const imageSize = 512 << 10

// What one wrote another finds, at another address.
func TestAttach(t *testing.T) {
	mem := fifo.AlignedBytes(imageSize)
	s := image(t, mem)
	before := s.Usage()
	v, err := fifo.Attach(mem)
	if err != nil {
		t.Fatal(err)
	}
	if v.Owner() != 2 {
		t.Errorf("owner %d, want 2", v.Owner())
	}
	if after := v.Usage(); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("%+v\nwant %+v", after, before)
	}
	r := v.Alloc(1)
	if r == 0 {
		t.Fatal("nothing of what another owner gave back can be had")
	}
	v.Release(r)
}

// Whatever is wrong with what lies in memory is named, and followed nowhere.
func TestAttachRefuses(t *testing.T) {
	mem := fifo.AlignedBytes(imageSize)
	s := image(t, mem)
	good := bytes.Clone(mem)
	first, end := uint64(s.First()), uint64(imageSize/fifo.Line)
	run := func(start, count, class, kind, owner uint64) uint64 {
		return start<<32 | count<<12 | class<<8 | kind<<6 | owner
	}
	for _, c := range []struct {
		what  string
		value uint64
		say   string
	}{
		{"magic", 0, "magic is 0x0"},
		{"version", 1, "version is 0x1"},
		{"version", 77, "version is 0x4d"},
		{"size", imageSize - 1, "size is 0x7ffff"},
		{"size", imageSize * 2, "size is 0x100000"},
		{"size", 1<<64 - 1, "size is 0xffffffffffffffff"},
		{"smallest block", 512, "smallest block is 0x200"},
		{"classes", 13, "classes is 0xd"},
		{"owners in use", 1 << 63, "owners in use are 0x8000000000000000"},
		{"sweeper", 65, "sweeper is 65"},
		{"number of runs", 1<<32 - 1, "number of runs is 4294967295"},
		{"number of runs", 1000, "number of runs is 1000"},
		{"run 0", run(first-1, 1, 0, 2, 0), "run 0 is"},
		{"run 0", run(first, 0, 0, 2, 0), "run 0 is"},
		{"run 0", run(first, 1, 0, 0, 0), "run 0 is"},
		{"run 0", run(first, 1, 0, 3, 0), "run 0 is"},
		{"run 0", run(first, 1, 12, 2, 0), "run 0 is"},
		{"run 0", run(first, 1, 0, 2, 63), "run 0 is"},
		{"run 0", run(first, 1<<20-1, 11, 2, 0), "run 0 is"},
		{"run 0", run(first, 1, 11, 2, 0), "run 0 is"},
		{"run 0", run(end, 1, 0, 2, 0), "run 0 is"},
		{"run 0", run(1<<32-1, 1, 0, 2, 0), "run 0 is"},
		{"run 1", run(first, 1, 0, 2, 0), "run 1 is"}, // overlaps
		{"class", 11, "class of block"},
		{"class", 1 << 31, "class of block"},
		{"state", 0, "kind of block"},
		{"state", 6, "kind of block"},
		{"state", 5, "kind of block"}, // the smallest, parted
		{"state", 1<<8*200 | 3, "owner of block"},
		{"head", 1, "head of list"},
		{"head", end, "head of list"},
		{"head", first, "head of list"}, // of another class
		{"head", 1<<32 - 1, "head of list"},
		{"oldest", 1<<32 - 1, "head of list"},
		{"reserve", end - 1, "head of list"},
	} {
		copy(mem, good)
		s.Scribble(c.what, c.value)
		v, err := fifo.Attach(mem)
		refused(t, fmt.Sprintf("%s %#x", c.what, c.value), c.say, err)
		if !errors.Is(err, fifo.ErrCorrupt) {
			t.Errorf("%s %#x: %v is not ErrCorrupt", c.what, c.value, err)
		}
		if v != nil {
			t.Errorf("%s %#x: a segment beside an error", c.what, c.value)
		}
	}
	copy(mem, good)
	if _, err := fifo.Attach(mem); err != nil {
		t.Fatalf("the image itself: %v", err)
	}
	for _, c := range []struct {
		mem []byte
		say any
	}{{nil, 0}, {mem[:fifo.MinSegment-1], fifo.MinSegment - 1}, {mem[1:], fifo.Line}, {mem[:imageSize/2], "size"}} {
		_, err := fifo.Attach(c.mem)
		refused(t, "Attach", c.say, err)
	}
}

// A peer that scribbles later gets somebody else's memory at most: nothing
// panics, nothing loops, and it is counted.
func TestScribbledLater(t *testing.T) {
	watchdog(t, endless)
	fifo.SetSweepPause(0)
	defer fifo.SetSweepPause(time.Millisecond)
	end := uint64(imageSize / fifo.Line)
	mem := guarded(t, imageSize)
	values := []uint64{
		0, 1, 5, end - 1, end, 1<<32 - 1, 1 << 63, 1<<64 - 1,
		(1<<32-1)<<32 | 1<<12 | 2<<6, // a run far out
		(end+8)<<32 | 1<<12 | 2<<6,   // and one just beyond the end
		(1<<32-1)<<32 | 1<<12 | 1<<6,
		uint64(fifo.MinSegment/fifo.Line)<<32 | 1<<12 | 1<<6, // a raw one, of the creator's
	}
	for _, what := range []string{
		"owners in use", "sweeper", "number of runs", "run 0", "run 1", "last run", "class", "state", "link", "head", "oldest", "reserve",
	} {
		for _, v := range values {
			s := image(t, mem)
			s.Scribble(what, v)
			exercise(s)
		}
	}
	// A list that bites its tail.
	s := image(t, mem)
	r := s.Alloc(0)
	s.Release(r)
	s.Scribble("link", uint64(s.First()))
	exercise(s)
	if s.Release(r); s.Corruptions() == 0 {
		t.Error("given back twice, and nothing is counted")
	}
}

// exercise does everything that can be done with a segment, a few times.
func exercise(s *fifo.Segment) {
	var held []fifo.Ref
	for range 3 {
		for class := range uint32(fifo.NClasses) {
			held = append(held, s.Alloc(class), s.AllocCold(class), s.AllocNear(class, class%2 == 0))
		}
		for i, r := range held {
			if i%4 == 0 {
				s.Linked(max(r, s.First()), r)
			}
			s.Checked(r)
			s.Release(r)
		}
		held = held[:0]
		s.Usage()
		s.Used()
		s.Preallocate(fifo.MinChunk, 3)
		for owner := range s.MaxOwners() {
			s.Sweep(owner)
		}
		s.Sweep(-1)
	}
	if v, err := s.Join(); err == nil {
		v.Alloc(1)
		v.Close()
	}
}

// Attach while others allocate and part blocks finds nothing wrong.
func TestAttachToWhatMoves(t *testing.T) {
	threads(t, 3)
	watchdog(t, endless)
	mem := fifo.AlignedBytes(1 << 20)
	s, err := fifo.NewSegment(mem)
	if err != nil {
		t.Fatal(err)
	}
	var stop atomic.Bool
	var wg sync.WaitGroup
	for id := range uint64(2) {
		r := random(id)
		v := join(t, s)
		wg.Go(func() {
			var held []fifo.Ref
			for !stop.Load() {
				if b := v.AllocCold(uint32(r.IntN(6))); b != 0 {
					held = append(held, b)
				} else {
					for _, b := range held {
						v.Release(b)
					}
					held = held[:0]
				}
			}
		})
	}
	for range scaled(500) {
		v, err := fifo.Attach(mem)
		if err != nil {
			t.Error(err)
			break
		}
		v.Release(v.Alloc(0))
		if n := v.Corruptions(); n > 1 { // block 0, where there was none
			t.Errorf("%d corruptions", n)
		}
		v.Close()
	}
	stop.Store(true)
	wg.Wait()
}

// FuzzAttach edits a valid image, attaches, edits it again under the view that
// it got, and uses that. An edit is 11 bytes: what (bit 15: a word that the
// segment's rules rest on, else any), when, and 8 bytes of value.
func FuzzAttach(f *testing.F) {
	edit := func(where uint16, when byte, v uint64) []byte {
		b := binary.LittleEndian.AppendUint16(nil, where)
		return binary.LittleEndian.AppendUint64(append(b, when), v)
	}
	f.Add([]byte{})
	f.Add(edit(1<<15, 0, 0))
	f.Add(edit(1<<15|3, 0, 1<<40))
	for _, where := range []uint16{8, 9, 10, 11, 12, 80, 81, 82, 83, 84, 300, 400, 500} {
		f.Add(append(edit(1<<15|where, 1, 1<<64-1), edit(1<<15|where+1, 1, 77)...))
	}
	mem := guarded(f, imageSize)
	s := image(f, mem)
	words := s.Words()
	good := bytes.Clone(mem)
	fifo.SetSweepPause(0)
	f.Fuzz(func(t *testing.T, edits []byte) {
		watchdog(t, endless)
		copy(mem, good)
		do := func(when byte) {
			for e := edits; len(e) >= 11; e = e[11:] {
				if e[2]&1 != when {
					continue
				}
				where := int(binary.LittleEndian.Uint16(e))
				at := where * 8 % imageSize
				if where>>15 != 0 {
					at = words[where&(1<<15-1)%len(words)]
				}
				n := 8
				if e[2]&2 != 0 {
					n = 4
				}
				copy(mem[at:min(at+n, len(mem))], e[3:3+n])
			}
		}
		do(0)
		v, err := fifo.Attach(mem)
		if err != nil {
			if !errors.Is(err, fifo.ErrCorrupt) && !errors.Is(err, fifo.ErrOwners) {
				t.Errorf("%v: neither ErrCorrupt nor ErrOwners", err)
			}
			return
		}
		do(1)
		exercise(v)
	})
}
