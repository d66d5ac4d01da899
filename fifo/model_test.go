package fifo_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"vlsbench/fifo"
)

// The model of a fifo is a byte slice. A program of operations runs on a few
// fifos in one segment and on their models, and after every operation each
// answer must be the model's. What decides the program, a random source or a
// fuzzer's bytes, is a function that picks a number below n, and ends the
// program when it has no more.

type picker func(n int) (int, bool)

// subject is a fifo and its model.
type subject struct {
	f     fifo.Fifo
	views [2]fifo.Fifo // the same fifo, by Ref

	size   int
	held   []byte // written and not read
	sent   uint64 // bytes written in its life
	head   uint32
	event  bool
	wanted int
	status uint32
}

type machine struct {
	t     testing.TB
	pick  picker
	ended bool

	seg      *fifo.Segment
	subjects []*subject
	log      []string
	buf      []byte
}

// modelMemory is where every program runs, one after another, on what the one
// before left there.
var modelMemory = fifo.AlignedBytes(12 << 20)

const unread = 0xa5 // what a buffer holds where nothing was read

func (m *machine) n(n int) int {
	if n <= 1 {
		return 0
	}
	v, ok := m.pick(n)
	if !ok {
		m.ended = true
		return 0
	}
	return v
}

func (m *machine) failf(format string, args ...any) {
	m.t.Helper()
	for _, line := range m.log[max(0, len(m.log)-20):] {
		m.t.Log(line)
	}
	m.t.Fatalf("operation %d: %s", len(m.log), fmt.Sprintf(format, args...))
}

// runModel runs one program of at most steps operations and about budget bytes.
func runModel(t testing.TB, pick picker, steps, budget int) {
	m := &machine{t: t, pick: pick}
	size := len(modelMemory)
	if m.n(3) == 0 { // tight: the segment will be exhausted
		size = fifo.MinSegment + m.n(64<<10)
	}
	var err error
	if m.seg, err = fifo.NewSegment(modelMemory[:size]); err != nil {
		t.Fatal(err)
	}
	for range 1 + m.n(3) {
		s := new(subject)
		m.renew(s)
		m.subjects = append(m.subjects, s)
	}
	for range steps {
		if m.ended || budget < 0 {
			break
		}
		budget -= m.step(m.subjects[m.n(len(m.subjects))])
	}
	for _, s := range m.subjects {
		for len(s.held) > 0 {
			m.dequeue(s, len(s.held))
		}
		m.dequeue(s, 1)
	}
}

// renew makes a subject's fifo.
func (m *machine) renew(s *subject) {
	*s = subject{event: true}
	switch m.n(4) {
	case 0:
		s.size = 1 + m.n(16)
	case 1:
		s.size = fifo.MinChunk - 3 + m.n(7)
	case 2:
		s.size = 1 + m.n(64<<10)
	default:
		s.size = 1 + m.n(1<<20)
	}
	ord := fifo.Release
	if m.n(2) == 1 {
		ord = fifo.SeqCst
	}
	var err error
	if s.f, err = fifo.New(m.seg, s.size, ord); err != nil {
		m.failf("New(%d): %v", s.size, err)
	}
	switch m.n(3) {
	case 0: // about to wrap
		s.head = -uint32(m.n(s.size + 2))
	case 1:
		s.head = uint32(m.n(256)) << 24
	}
	s.f.StartAt(s.head)
	s.views = [2]fifo.Fifo{s.f, fifo.Open(m.seg, s.f.Ref(), ord)}
	m.logf(s, "new: size %d from position %#x", s.size, s.head)
}

func (m *machine) logf(s *subject, format string, args ...any) {
	i := 0
	for i < len(m.subjects) && m.subjects[i] != s {
		i++
	}
	m.log = append(m.log, fmt.Sprintf("fifo %d: ", i)+fmt.Sprintf(format, args...))
}

// length picks a message's length, with a liking for what lies at an edge.
func (m *machine) length(s *subject) int {
	switch m.n(10) {
	case 0:
		return 0
	case 1:
		return 1 + m.n(16)
	case 2:
		return fifo.MinChunk - 3 + m.n(7)
	case 3:
		return m.n(s.size + 1)
	case 4:
		return s.size - len(s.held)
	case 5:
		return s.size - len(s.held) + 1
	case 6:
		return len(s.held)
	case 7:
		return s.size + 1 + m.n(1<<13)
	default:
		return m.n(256)
	}
}

// step runs one operation and returns how many bytes it had to do with.
func (m *machine) step(s *subject) int {
	f := &s.views[m.n(2)]
	cost := 16
	switch op := m.n(32); {
	case op < 12:
		n := m.length(s)
		m.enqueue(s, n)
		cost += n
	case op < 24:
		n := m.length(s)
		m.dequeue(s, n)
		cost += n
	case op < 26:
		m.logf(s, "SetEvent")
		if got := f.SetEvent(); got == s.event {
			m.failf("SetEvent: %v, and the flag was %v", got, s.event)
		}
		s.event = true
	case op < 27:
		m.logf(s, "UnsetEvent")
		f.UnsetEvent()
		s.event = false
	case op < 28:
		n := 1 + m.n(s.size)
		if s.wanted == 0 || n < s.wanted {
			s.wanted = n // who asked for less goes first
		}
		m.logf(s, "WantNotify %d", n)
		f.WantNotify(n)
	case op < 30:
		want := s.wanted != 0 && s.size-len(s.held) >= s.wanted
		m.logf(s, "Notify, %d wanted, %d free", s.wanted, s.size-len(s.held))
		if got := f.Notify(0); got != want {
			m.failf("Notify: %v, want %v", got, want)
		}
		if want {
			s.wanted = 0
		}
	case op < 31:
		if m.n(2) == 0 {
			m.logf(s, "TakeNotify")
			if got := f.TakeNotify(); got != (s.wanted != 0) {
				m.failf("TakeNotify: %v, and %d was wanted", got, s.wanted)
			}
			s.wanted = 0
			break
		}
		bit := uint32(1) << m.n(32)
		m.logf(s, "OrStatus %#x", bit)
		if was := f.OrStatus(bit); was != s.status {
			m.failf("OrStatus: was %#x, want %#x", was, s.status)
		}
		s.status |= bit
	default:
		m.logf(s, "Free")
		s.f.Free()
		if s.f.Valid() {
			m.failf("valid after Free")
		}
		m.renew(s)
	}
	m.check(s)
	return cost
}

func (m *machine) enqueue(s *subject, n int) {
	p := expected(s.sent, n)
	fits := min(n, s.size-len(s.held))
	got, err := s.views[m.n(2)].Enqueue(p)
	m.logf(s, "Enqueue %d, %d fit: %d, %v", n, fits, got, err)
	switch {
	case got < 0 || got > fits:
		m.failf("Enqueue wrote %d", got)
	case n > 0 && fits == 0:
		if err != fifo.ErrFull {
			m.failf("Enqueue: %v, want %v", err, fifo.ErrFull)
		}
	case got == fits:
		if err != nil {
			m.failf("Enqueue: %v", err)
		}
	default: // wrote less than fits: only for want of chunks
		if room := m.seg.Size() - m.seg.Used(); room >= fifo.MinChunk+fifo.Line {
			m.failf("Enqueue fell short, and the segment has %d bytes that were never used", room)
		}
		if want := got == 0; want != (err == fifo.ErrGrow) || !want && err != nil {
			m.failf("Enqueue fell short with %d written: %v", got, err)
		}
	}
	s.held = append(s.held, p[:got]...)
	s.sent += uint64(got)
}

func (m *machine) dequeue(s *subject, n int) {
	if len(m.buf) < n+1 {
		m.buf = make([]byte, 2*n+1)
	}
	p := m.buf[:n+1]
	for i := range p {
		p[i] = unread
	}
	want := min(n, len(s.held))
	got, err := s.views[m.n(2)].Dequeue(p[:n])
	m.logf(s, "Dequeue %d of %d: %d, %v", n, len(s.held), got, err)
	if got != want {
		m.failf("Dequeue read %d, want %d", got, want)
	}
	if empty := n > 0 && want == 0; empty != (err == fifo.ErrEmpty) || !empty && err != nil {
		m.failf("Dequeue: %v with %d bytes there", err, len(s.held))
	}
	if !bytes.Equal(p[:got], s.held[:got]) {
		i := 0
		for p[i] == s.held[i] {
			i++
		}
		m.failf("Dequeue: byte %d is %#02x, want %#02x", i, p[i], s.held[i])
	}
	for i, b := range p[got:] {
		if b != unread {
			m.failf("Dequeue wrote byte %d of the buffer and reported %d", got+i, got)
		}
	}
	s.held = s.held[got:]
	s.head += uint32(got)
}

// check compares all that can be asked.
func (m *machine) check(s *subject) {
	f := &s.views[m.n(2)]
	for _, c := range []struct {
		name      string
		got, want any
	}{
		{"Size", f.Size(), s.size},
		{"MaxDequeue", f.MaxDequeue(), len(s.held)},
		{"MaxEnqueue", f.MaxEnqueue(), s.size - len(s.held)},
		{"Head", f.Head(), s.head},
		{"Tail", f.Tail(), s.head + uint32(len(s.held))},
		{"HasEvent", f.HasEvent(), s.event},
		{"Wanted", f.Wanted(), s.wanted != 0},
		{"Status", f.Status(), s.status},
		{"Ref", f.Ref(), s.f.Ref()},
	} {
		if c.got != c.want {
			m.failf("%s: %v, want %v", c.name, c.got, c.want)
		}
	}
}

func TestModel(t *testing.T) {
	watchdog(t, endless)
	seed := seedOf(t)
	r := random(seed)
	pick := func(n int) (int, bool) { return r.IntN(n), true }
	for i := range modelMemory {
		modelMemory[i] = byte(r.Uint32())
	}
	for range scaled(400) {
		runModel(t, pick, 400, 4<<20)
	}
}

func FuzzModel(f *testing.F) {
	f.Fuzz(func(t *testing.T, program []byte) {
		runModel(t, func(n int) (int, bool) {
			width := 1
			if n > 1<<8 {
				width = 4
			}
			if len(program) < width {
				return 0, false
			}
			var word [4]byte
			copy(word[:], program[:width])
			program = program[width:]
			return int(binary.LittleEndian.Uint32(word[:]) % uint32(n)), true
		}, 1000, 8<<20)
	})
}
