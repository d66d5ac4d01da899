package fifo_test

import (
	"bytes"
	"flag"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"vlsbench/fifo"
)

// The model of a fifo is a byte slice, and another for what lies beyond the
// tail. A program of operations runs on a few fifos in one segment and on their
// models, and after every operation each answer must be the model's. Rapid
// decides the program, and shortens one that fails.

// subject is a fifo and its model.
type subject struct {
	f     fifo.Fifo
	views [3]fifo.Fifo // the same fifo, by Ref: opened, and attached for each end
	ord   fifo.Order

	size int
	head uint32 // position of the first byte not read
	held []byte // written and not read
	// Not published yet, of a batch: bytes at the end of held, bytes before the
	// head, and the operations of each end since it published.
	unseen, unfreed  int
	writes, consumes int

	ahead  []byte // beyond the tail,
	known  []bool // where this was written
	newest int    // where the last one was, from the tail on; -1: none

	event  bool
	wanted int
	conds  fifo.Condition
	status uint32
	subs   []uint8
}

type machine struct {
	seg      *fifo.Segment
	mem      []byte // of the segment, and guard behind it
	roomy    bool   // the segment cannot be exhausted
	before   int    // bytes in use without a fifo
	subjects []*subject
	fresh    uint64
	buf      []byte
}

const (
	modelGuard = 4 << 10
	modelRoomy = 8 << 20
	unread     = 0xa5 // what a buffer holds where nothing was read
)

// modelMemory is where every program runs, one after another, on what the one
// before left there.
var modelMemory = fifo.AlignedBytes(modelRoomy + modelGuard)

func newMachine(t *rapid.T) *machine {
	m := new(machine)
	size := modelRoomy
	m.roomy = !rapid.Bool().Draw(t, "tight")
	if !m.roomy {
		size = fifo.MinSegment + rapid.IntRange(0, 512).Draw(t, "lines")*fifo.Line
	}
	m.mem = modelMemory[:size+modelGuard]
	for i := range m.mem[size:] {
		m.mem[size+i] = unread
	}
	var err error
	if m.seg, err = fifo.NewSegment(m.mem[:size:size]); err != nil {
		t.Fatal(err)
	}
	m.before = m.seg.InUse()
	for range rapid.IntRange(1, 3).Draw(t, "fifos") {
		s := new(subject)
		m.subjects = append(m.subjects, s)
		m.renew(t, s)
	}
	return m
}

var modelOrders = []fifo.Order{fifo.Release, fifo.SeqCst, fifo.Batched(2), fifo.Batched(5)}

// renew makes a subject's fifo, unless the segment has no memory for it.
func (m *machine) renew(t *rapid.T, s *subject) bool {
	*s = subject{event: true, newest: -1}
	s.size = rapid.OneOf(
		rapid.IntRange(1, 16),
		rapid.IntRange(fifo.MinChunk-3, fifo.MinChunk+3),
		rapid.IntRange(1, 3*fifo.MinChunk),
		rapid.IntRange(1, 256<<10),
	).Draw(t, "size")
	s.ord = rapid.SampledFrom(modelOrders).Draw(t, "order")
	f, err := fifo.New(m.seg, s.size, s.ord)
	if err != nil {
		if err != fifo.ErrGrow || m.roomy || m.seg.SpareList() {
			t.Fatalf("New(%d): %v", s.size, err)
		}
		return false
	}
	s.f = f
	if pos := drawPosition(t, s.size); pos != 0 {
		s.f.StartAt(pos)
		s.head = pos
	}
	m.open(t, s)
	return true
}

// drawPosition is a position, as often as not within size of where it wraps.
func drawPosition(t *rapid.T, size int) uint32 {
	switch rapid.IntRange(0, 3).Draw(t, "where") {
	case 0:
		return 0
	case 1:
		return uint32(rapid.IntRange(0, 255).Draw(t, "position")) << 24
	}
	return -uint32(rapid.IntRange(0, size+2).Draw(t, "before the wrap"))
}

// open makes other views of the fifo: each operation takes one of all.
func (m *machine) open(t *rapid.T, s *subject) {
	r := s.f.Ref()
	s.views[0] = fifo.Open(m.seg, r, s.ord)
	var err error
	if s.views[1], err = fifo.OpenProducer(m.seg, r, s.ord); err == nil {
		s.views[2], err = fifo.OpenConsumer(m.seg, r, s.ord)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (m *machine) producer(t *rapid.T, s *subject) *fifo.Fifo {
	return &s.views[rapid.IntRange(0, 1).Draw(t, "view")]
}

func (m *machine) consumer(t *rapid.T, s *subject) *fifo.Fifo {
	return &s.views[2*rapid.IntRange(0, 1).Draw(t, "view")]
}

func (m *machine) anyone(t *rapid.T, s *subject) *fifo.Fifo {
	return &s.views[rapid.IntRange(0, 2).Draw(t, "view")]
}

// subject draws one that there is.
func (m *machine) subject(t *rapid.T) *subject {
	s := m.subjects[rapid.IntRange(0, len(m.subjects)-1).Draw(t, "fifo")]
	if !s.f.Valid() && !m.renew(t, s) {
		t.Skip("no memory")
	}
	return s
}

func (s *subject) tail() uint32 { return s.head + uint32(len(s.held)) }
func (s *subject) there() int   { return len(s.held) - s.unseen }
func (s *subject) room() int    { return s.size - len(s.held) - s.unfreed }

// length draws a message's length, with a liking for what lies at an edge.
func (s *subject) length(t *rapid.T) int {
	return max(0, rapid.OneOf(
		rapid.IntRange(0, 16),
		rapid.IntRange(17, 80), // some of them are copied in place
		rapid.SampledFrom([]int{
			fifo.MinChunk - 1, fifo.MinChunk, fifo.MinChunk + 1,
			s.room() - 1, s.room(), s.room() + 1,
			s.there() - 1, s.there(), s.there() + 1, s.size,
		}),
		rapid.IntRange(0, s.size),
		rapid.IntRange(0, 3*fifo.MinChunk),
	).Draw(t, "length"))
}

// message is n bytes that were not written just so before.
func (m *machine) message(n int) []byte {
	m.fresh += 1009
	return expected(m.fresh, n)
}

// overlay notes that p stands at offset beyond the tail. known: as data.
func (s *subject) overlay(offset int, p []byte, known bool) {
	for len(s.ahead) < offset+len(p) {
		s.ahead = append(s.ahead, 0)
		s.known = append(s.known, false)
	}
	copy(s.ahead[offset:], p)
	for i := range p {
		s.known[offset+i] = s.known[offset+i] || known
	}
}

// move moves the tail over n bytes of what is ahead, and all that is known
// behind them, and returns over how many.
func (s *subject) move(n int) int {
	for n < len(s.known) && s.known[n] {
		n++
	}
	s.held = append(s.held, s.ahead[:n]...)
	s.ahead, s.known = s.ahead[n:], s.known[n:]
	if s.newest >= 0 {
		s.newest = max(s.newest-n, -1)
	}
	return n
}

// write is what an Enqueue of p does.
func (s *subject) write(p []byte) int {
	s.overlay(0, p, true)
	return s.move(len(p))
}

// segments are the stretches that are known ahead, as offset and length.
func (s *subject) segments() [][2]int {
	var segs [][2]int
	for i := 0; i < len(s.known); i++ {
		if !s.known[i] {
			continue
		}
		from := i
		for i < len(s.known) && s.known[i] {
			i++
		}
		segs = append(segs, [2]int{from, i - from})
	}
	return segs
}

// reach is how far beyond the tail there is out-of-order data.
func (s *subject) reach() int {
	if segs := s.segments(); len(segs) > 0 {
		last := segs[len(segs)-1]
		return last[0] + last[1]
	}
	return 0
}

// wrote notes what an operation of the producer published: n bytes were written.
// all: it publishes whatever there is.
func (m *machine) wrote(t *rapid.T, s *subject, n int, all bool) {
	s.unseen += n
	if n > 0 {
		s.writes++
	}
	switch got := s.f.Tail(); {
	case got == s.tail():
		s.unseen, s.writes = 0, 0
	case all || s.writes >= int(s.ord) || got != s.tail()-uint32(s.unseen):
		t.Fatalf("tail %#x after %d operations without publication, want %#x", got, s.writes, s.tail())
	}
}

// freed notes what an operation of the consumer published, after it had read or
// dropped n bytes.
func (m *machine) freed(t *rapid.T, s *subject, n int, all bool) {
	s.held = s.held[n:]
	s.head += uint32(n)
	s.unfreed += n
	if n > 0 {
		s.consumes++
	}
	got := s.f.Head()
	if s.unfreed > n && got == s.head-uint32(n) {
		// Before it read that, it found nothing new, and published.
		s.unfreed, s.consumes = n, 1
	}
	switch {
	case got == s.head:
		s.unfreed, s.consumes = 0, 0
	case all || s.consumes >= int(s.ord) || got != s.head-uint32(s.unfreed):
		t.Fatalf("head %#x after %d operations without publication, want %#x", got, s.consumes, s.head)
	}
	if n > 0 && rapid.Bool().Draw(t, "notify") {
		m.notify(t, s, n)
	}
}

func (m *machine) notify(t *rapid.T, s *subject, freed int) {
	f := m.consumer(t, s)
	there, want := s.there(), false
	if s.wanted > 0 && s.size-there >= min(s.wanted, s.size) {
		want, s.wanted = true, 0
	}
	if freed > 0 {
		want = want || s.conds&fifo.NotFull != 0 && there < s.size && there+freed >= s.size
		want = want || s.conds&fifo.Drained != 0 && there == 0
	}
	if got := f.Notify(freed); got != want {
		t.Fatalf("Notify(%d) with %d there: %v, want %v", freed, there, got, want)
	}
	if f.Head() != s.head {
		t.Fatalf("head %#x after Notify, want %#x", f.Head(), s.head)
	}
	s.unfreed, s.consumes = 0, 0
}

// short checks that an operation that had got bytes of want, all of which fit,
// had them for want of chunks, and says so.
func (m *machine) short(t *rapid.T, got, want int, err error) {
	if (got == 0) != (err == fifo.ErrGrow) || got > 0 && err != nil {
		t.Fatalf("%d of %d bytes that fit: %v", got, want, err)
	}
	if m.roomy {
		t.Fatalf("%d of %d bytes that fit, and the segment has chunks", got, want)
	}
	if n := m.seg.Obtainable(); n >= want {
		t.Fatalf("%d of %d bytes that fit, and the segment has chunks for %d", got, want, n)
	}
}

func (m *machine) Enqueue(t *rapid.T) {
	s := m.subject(t)
	n := s.length(t)
	p, fit := m.message(n), min(n, s.room())
	got, err := m.producer(t, s).Enqueue(p)
	m.enqueued(t, s, p, fit, got, err)
}

// Put writes a short message by steps, if that is what there is room for.
func (m *machine) Put(t *rapid.T) {
	s := m.subject(t)
	n := rapid.IntRange(30, 70).Draw(t, "length")
	p, f := m.message(n), m.producer(t, s)
	if !f.Short(n) || !f.Room(n) {
		return
	}
	if n <= 32 || n > 64 || n > s.room() {
		t.Fatalf("%d bytes may be put, and there is room for %d", n, s.room())
	}
	f.Put(p)
	f.AdvanceTail(n)
	m.enqueued(t, s, p, n, n, nil)
}

// enqueued holds what Enqueue of p, or of pieces that are p together, has
// answered against the model; fit bytes of it fit.
func (m *machine) enqueued(t *rapid.T, s *subject, p []byte, fit, got int, err error) {
	if fit == 0 && len(p) > 0 {
		if got != 0 || err != fifo.ErrFull {
			t.Fatalf("Enqueue of %d bytes to a full fifo: %d, %v", len(p), got, err)
		}
		m.wrote(t, s, 0, true)
		return
	}
	// How much of p was written, if less than fits, is to be seen by what became
	// readable only if no gap was closed.
	if got < fit {
		m.short(t, got, fit, err)
		fit = got
	} else if err != nil {
		t.Fatalf("Enqueue: %d, %v", got, err)
	}
	if len(p) == 0 && got == 0 {
		m.wrote(t, s, 0, false)
		return
	}
	if want := s.write(p[:fit]); got != want {
		t.Fatalf("Enqueue of %d bytes, %d fit: %d became readable, want %d", len(p), fit, got, want)
	}
	m.wrote(t, s, got, err != nil)
}

func (m *machine) EnqueueSegments(t *rapid.T) {
	s := m.subject(t)
	var pieces [][]byte
	var all []byte
	for range rapid.IntRange(0, 5).Draw(t, "pieces") {
		p := m.message(s.length(t) / rapid.IntRange(1, 4).Draw(t, "share"))
		pieces = append(pieces, p)
		all = append(all, p...)
	}
	partial := rapid.Bool().Draw(t, "partial")
	fit := min(len(all), s.room())
	got, err := m.producer(t, s).EnqueueSegments(pieces, partial)
	switch {
	case !partial && fit < len(all):
		if got != 0 || err != fifo.ErrFull {
			t.Fatalf("EnqueueSegments of %d bytes, %d fit: %d, %v", len(all), fit, got, err)
		}
		m.wrote(t, s, 0, true)
	case !partial && err == fifo.ErrGrow:
		m.short(t, got, fit, err)
		m.wrote(t, s, 0, true)
	case len(all) == 0:
		// What stands at the tail already is included, as by Advance(0).
		if want := s.move(0); got != want || err != nil {
			t.Fatalf("EnqueueSegments of nothing: %d, %v, want %d", got, err, want)
		}
		m.wrote(t, s, got, false)
	default:
		m.enqueued(t, s, all, fit, got, err)
	}
}

func (m *machine) EnqueueAt(t *rapid.T) {
	s := m.subject(t)
	room := s.room()
	offset := rapid.OneOf(
		rapid.IntRange(-1, 100),
		rapid.IntRange(0, s.size+1),
	).Draw(t, "offset")
	if segs := s.segments(); len(segs) > 0 && rapid.Bool().Draw(t, "near") {
		// At the edges of another, or across them.
		g := rapid.SampledFrom(segs).Draw(t, "segment")
		offset = g[rapid.IntRange(0, 1).Draw(t, "end")] + rapid.IntRange(-20, 20).Draw(t, "from it")
		if rapid.Bool().Draw(t, "its end") {
			offset += g[0]
		}
	}
	n := rapid.OneOf(
		rapid.IntRange(0, 40),
		rapid.IntRange(0, max(room-offset+1, 0)),
		rapid.SampledFrom([]int{max(room-offset, 0), max(room-offset+1, 0), fifo.MinChunk}),
	).Draw(t, "length")
	m.enqueueAt(t, s, offset, n)
}

func (m *machine) enqueueAt(t *rapid.T, s *subject, offset, n int) bool {
	p := m.message(n)
	err := m.producer(t, s).EnqueueAt(offset, p)
	switch {
	case n == 0:
		if err != nil {
			t.Fatalf("EnqueueAt of nothing: %v", err)
		}
		return true
	case offset < 0 || offset+n > s.room():
		if err != fifo.ErrFull {
			t.Fatalf("EnqueueAt %d bytes at %d with room for %d: %v", n, offset, s.room(), err)
		}
		m.wrote(t, s, 0, true)
		return false
	case err != nil:
		// A list that is full takes a larger block, and there may be none.
		full := len(s.segments()) >= fifo.SmallSize/8
		if err != fifo.ErrGrow || m.roomy || m.seg.Obtainable() >= offset+n && m.seg.SpareList() && !full {
			t.Fatalf("EnqueueAt %d bytes at %d with room for %d: %v", n, offset, s.room(), err)
		}
		m.wrote(t, s, 0, true)
		return false
	}
	s.overlay(offset, p, true)
	s.newest = offset
	m.wrote(t, s, 0, false)
	return true
}

// Comb writes many pieces that do not touch.
func (m *machine) Comb(t *rapid.T) {
	s := m.subject(t)
	n := min(rapid.SampledFrom([]int{3, 79, 80, 81, 600}).Draw(t, "teeth"), s.room()/2)
	first := rapid.IntRange(0, 3).Draw(t, "first")
	order := rapid.IntRange(0, 2).Draw(t, "order")
	for i := range n {
		// Forwards, backwards, or from both ends.
		if order == 1 || order == 2 && i%2 == 1 {
			i = n - 1 - i
		}
		if first+2*i < s.room() && !m.enqueueAt(t, s, first+2*i, 1) {
			return
		}
	}
}

func (m *machine) ProvisionAdvance(t *rapid.T) {
	s := m.subject(t)
	f := m.producer(t, s)
	pieces := make([][]byte, rapid.IntRange(0, 6).Draw(t, "pieces"))
	want := s.length(t)
	fit := min(want, s.room())
	n, got, err := f.Provision(want, pieces)
	sum := 0
	for _, p := range pieces[:n] {
		if len(p) == 0 {
			t.Fatalf("Provision: an empty piece")
		}
		sum += len(p)
	}
	switch {
	case sum != got || got > fit:
		t.Fatalf("Provision(%d) of %d that fit: %d bytes in pieces, and it says %d", want, fit, sum, got)
	case fit == 0:
		if full := want > 0; n != 0 || full != (err == fifo.ErrFull) || !full && err != nil {
			t.Fatalf("Provision(%d) with nothing free: %v", want, err)
		}
		m.wrote(t, s, 0, true)
		return
	case err == fifo.ErrGrow:
		m.short(t, got, fit, err)
		m.wrote(t, s, 0, true)
		return
	case err != nil:
		t.Fatalf("Provision(%d): %v", want, err)
	case got < fit && n < len(pieces) && m.roomy:
		t.Fatalf("Provision(%d) of %d that fit: %d in %d pieces", want, fit, got, n)
	}
	// The consumer may go on before Advance.
	if rapid.Bool().Draw(t, "dequeue") {
		m.dequeue(t, s, s.length(t))
	}
	written := got
	if rapid.Bool().Draw(t, "in part") {
		written = rapid.IntRange(0, got).Draw(t, "written")
	}
	p := m.message(written)
	s.overlay(0, p, false)
	for _, piece := range pieces[:n] {
		p = p[copy(piece, p):]
	}
	moved := rapid.IntRange(0, written).Draw(t, "moved")
	if rapid.Bool().Draw(t, "all") {
		moved = written
	}
	if got, err := f.Advance(s.room() + 1); got != 0 || err != fifo.ErrFull {
		t.Fatalf("Advance beyond what is free: %d, %v", got, err)
	}
	m.wrote(t, s, 0, false)
	readable, err := m.producer(t, s).Advance(moved)
	for i := range moved {
		s.known[i] = true
	}
	if want := s.move(moved); readable != want || err != nil {
		t.Fatalf("Advance(%d): %d, %v, want %d", moved, readable, err, want)
	}
	m.wrote(t, s, readable, false)
}

func (m *machine) Dequeue(t *rapid.T) {
	s := m.subject(t)
	m.dequeue(t, s, s.length(t))
}

// room for n bytes to be read, and one behind that is not to be touched.
func (m *machine) buffer(n int) []byte {
	if len(m.buf) < n+1 {
		m.buf = make([]byte, 2*n+1)
	}
	for i := range m.buf[:n+1] {
		m.buf[i] = unread
	}
	return m.buf[:n]
}

// same checks what was read, and that nothing behind it was touched.
func (m *machine) same(t *rapid.T, what string, p, want []byte) {
	if !bytes.Equal(p[:len(want)], want) {
		i := 0
		for p[i] == want[i] {
			i++
		}
		t.Fatalf("%s: byte %d of %d is %#02x, want %#02x", what, i, len(want), p[i], want[i])
	}
	for i, b := range p[len(want) : len(p)+1] {
		if b != unread {
			t.Fatalf("%s: byte %d of the buffer was written, and %d reported", what, len(want)+i, len(want))
		}
	}
}

func (m *machine) dequeue(t *rapid.T, s *subject, n int) {
	p := m.buffer(n)
	want := min(n, s.there())
	got, err := m.consumer(t, s).Dequeue(p)
	if empty := n > 0 && want == 0; got != want || empty != (err == fifo.ErrEmpty) || !empty && err != nil {
		t.Fatalf("Dequeue(%d) of %d: %d, %v", n, s.there(), got, err)
	}
	m.same(t, "Dequeue", p, s.held[:got])
	m.freed(t, s, got, err != nil)
}

// Take reads a short message by steps, if there is one.
func (m *machine) Take(t *rapid.T) {
	s := m.subject(t)
	n := rapid.IntRange(30, 70).Draw(t, "length")
	f := m.consumer(t, s)
	if !f.Short(n) || !f.There(n) && !f.Look(n) {
		return
	}
	if n <= 32 || n > 64 || n > s.there() {
		t.Fatalf("%d bytes may be taken, and there are %d", n, s.there())
	}
	p := m.buffer(n)
	f.Take(p)
	f.AdvanceHead(n)
	m.same(t, "Take", p, s.held[:n])
	m.freed(t, s, n, false)
}

func (m *machine) Peek(t *rapid.T) {
	s := m.subject(t)
	offset, n := s.length(t)-1, s.length(t)
	p := m.buffer(n)
	want := max(min(n, s.there()-offset), 0)
	empty := offset < 0 || offset > s.there() || want == 0 && n > 0
	if empty {
		want = 0
	}
	got, err := m.consumer(t, s).Peek(offset, p)
	if got != want || empty != (err == fifo.ErrEmpty) || !empty && err != nil {
		t.Fatalf("Peek(%d, %d) of %d: %d, %v", offset, n, s.there(), got, err)
	}
	if want > 0 {
		m.same(t, "Peek", p, s.held[offset:][:want])
	}
	m.freed(t, s, 0, false)
}

func (m *machine) SegmentsDrop(t *rapid.T) {
	s := m.subject(t)
	f := m.consumer(t, s)
	offset, limit := s.length(t)-1, s.length(t)
	pieces := make([][]byte, rapid.IntRange(0, 6).Draw(t, "pieces"))
	want := min(limit, s.there()-offset)
	empty := offset < 0 || limit == 0 || want <= 0
	n, got, err := f.Segments(offset, limit, pieces)
	switch {
	case empty != (err == fifo.ErrEmpty) || !empty && err != nil || empty && n+got != 0:
		t.Fatalf("Segments(%d, %d) of %d: %d, %d, %v", offset, limit, s.there(), n, got, err)
	case empty:
	case n > len(pieces) || got > want || n < len(pieces) && got < want:
		t.Fatalf("Segments(%d, %d) of %d: %d bytes in %d pieces", offset, limit, s.there(), got, n)
	default:
		if all := slices.Concat(pieces[:n]...); !bytes.Equal(all, s.held[offset:][:got]) {
			t.Fatalf("Segments(%d, %d): %d bytes, and not those that were written", offset, limit, len(all))
		}
		for _, p := range pieces[:n] {
			if len(p) == 0 {
				t.Fatal("Segments: an empty piece")
			}
		}
	}
	m.freed(t, s, 0, false)
	if rapid.Bool().Draw(t, "drop") {
		m.drop(t, s, s.length(t)-1)
	}
}

func (m *machine) drop(t *rapid.T, s *subject, n int) {
	want := max(min(n, s.there()), 0)
	got, err := m.consumer(t, s).Drop(n)
	if empty := n < 0 || n > 0 && want == 0; got != want || empty != (err == fifo.ErrEmpty) || !empty && err != nil {
		t.Fatalf("Drop(%d) of %d: %d, %v", n, s.there(), got, err)
	}
	m.freed(t, s, got, n > 0 && err != nil)
}

func (m *machine) Drop(t *rapid.T) {
	s := m.subject(t)
	m.drop(t, s, s.length(t)-1)
}

func (m *machine) DropAll(t *rapid.T) {
	s := m.subject(t)
	want := s.there()
	if got := m.consumer(t, s).DropAll(); got != want {
		t.Fatalf("DropAll: %d, want %d", got, want)
	}
	m.freed(t, s, want, true)
}

func (m *machine) OverwriteHead(t *rapid.T) {
	s := m.subject(t)
	p := m.message(s.length(t))
	err := m.consumer(t, s).OverwriteHead(p)
	if len(p) > s.there() {
		if err != fifo.ErrEmpty {
			t.Fatalf("OverwriteHead of %d bytes of %d: %v", len(p), s.there(), err)
		}
	} else if err != nil {
		t.Fatalf("OverwriteHead of %d bytes of %d: %v", len(p), s.there(), err)
	} else {
		copy(s.held, p)
	}
	m.freed(t, s, 0, false)
}

func (m *machine) Chunks(t *rapid.T) {
	s := m.subject(t)
	f := m.consumer(t, s)
	n, there := f.MaxReadChunk(), s.there()
	pieces := make([][]byte, 1)
	if n > 0 {
		if _, got, err := f.Segments(0, there, pieces); err != nil || got != n {
			t.Fatalf("MaxReadChunk %d, and Segments: %d, %v", n, got, err)
		}
	}
	if n > there || n == 0 && there > 0 {
		t.Fatalf("MaxReadChunk %d of %d", n, there)
	}
	m.freed(t, s, 0, false)
	f = m.producer(t, s)
	if n = f.MaxWriteChunk(); n > s.room() {
		t.Fatalf("MaxWriteChunk %d of %d that fit", n, s.room())
	}
	if n > 0 {
		if _, got, err := f.Provision(n, pieces); err != nil || got != n {
			t.Fatalf("MaxWriteChunk %d, and Provision: %d, %v", n, got, err)
		}
		m.wrote(t, s, 0, false)
	}
}

func (m *machine) SetSize(t *rapid.T) {
	s := m.subject(t)
	n := s.length(t)
	got, err := m.producer(t, s).SetSize(n)
	if n < fifo.MinSize {
		if err == nil {
			t.Fatalf("SetSize(%d): no error", n)
		}
	} else {
		s.size = max(n, len(s.held)+s.unfreed+s.reach())
	}
	if got != s.size || n >= fifo.MinSize && err != nil {
		t.Fatalf("SetSize(%d): %d, %v, want %d", n, got, err, s.size)
	}
}

func (m *machine) Flush(t *rapid.T) {
	s := m.subject(t)
	m.producer(t, s).Flush()
	m.wrote(t, s, 0, true)
}

func (m *machine) Events(t *rapid.T) {
	s := m.subject(t)
	f := m.anyone(t, s)
	if rapid.Bool().Draw(t, "set") {
		if got := f.SetEvent(); got == s.event {
			t.Fatalf("SetEvent: %v, and the flag was %v", got, s.event)
		}
		s.event = true
	} else {
		f.UnsetEvent()
		s.event = false
	}
}

func (m *machine) Wanting(t *rapid.T) {
	s := m.subject(t)
	f := m.producer(t, s)
	c := rapid.SampledFrom([]fifo.Condition{fifo.NotFull, fifo.Drained, fifo.NotFull | fifo.Drained}).Draw(t, "condition")
	switch rapid.IntRange(0, 4).Draw(t, "what") {
	case 0, 1:
		n := rapid.IntRange(-1, s.size+1).Draw(t, "space")
		if n := max(n, 1); s.wanted == 0 || n < s.wanted {
			s.wanted = n // who asked for less goes first
		}
		f.WantNotify(n)
	case 2:
		f.Want(c)
		s.conds |= c
	case 3:
		f.Unwant(c)
		s.conds &^= c
	case 4:
		if got := f.TakeNotify(); got != (s.wanted != 0) {
			t.Fatalf("TakeNotify: %v, and %d was wanted", got, s.wanted)
		}
		s.wanted = 0
	}
}

func (m *machine) Notify(t *rapid.T) { m.notify(t, m.subject(t), 0) }

func (m *machine) Subscribers(t *rapid.T) {
	s := m.subject(t)
	f := m.anyone(t, s)
	w := rapid.OneOf(rapid.Uint8Range(0, 8), rapid.Uint8()).Draw(t, "worker")
	i := slices.Index(s.subs, w)
	if rapid.IntRange(0, 2).Draw(t, "subscribe") > 0 {
		err := f.Subscribe(w)
		switch {
		case w == 255:
			if err == nil {
				t.Fatal("Subscribe(255): no error")
			}
		case i < 0 && len(s.subs) == fifo.MaxSubscribers:
			if err != fifo.ErrSubscribers {
				t.Fatalf("Subscribe(%d) as the eighth: %v", w, err)
			}
		case err != nil:
			t.Fatalf("Subscribe(%d) beside %v: %v", w, s.subs, err)
		case i < 0:
			s.subs = append(s.subs, w)
		}
	} else {
		if got := f.Unsubscribe(w); got != (i >= 0) {
			t.Fatalf("Unsubscribe(%d) of %v: %v", w, s.subs, got)
		}
		if i >= 0 {
			s.subs = slices.Delete(s.subs, i, i+1)
		}
	}
}

func (m *machine) Status(t *rapid.T) {
	s := m.subject(t)
	bit := uint32(1) << rapid.IntRange(0, 31).Draw(t, "bit")
	if was := m.anyone(t, s).OrStatus(bit); was != s.status {
		t.Fatalf("OrStatus: was %#x, want %#x", was, s.status)
	}
	s.status |= bit
}

func (m *machine) Reopen(t *rapid.T) { m.open(t, m.subject(t)) }

func (m *machine) InitPointers(t *rapid.T) {
	s := m.subject(t)
	head := drawPosition(t, s.size)
	n := rapid.IntRange(0, s.size+1).Draw(t, "bytes")
	err := s.views[0].InitPointers(head, head+uint32(n))
	if n > s.size {
		if err != fifo.ErrFull {
			t.Fatalf("InitPointers to hold %d of %d: %v", n, s.size, err)
		}
		return
	}
	m.emptied(s, head)
	if err != nil {
		m.short(t, 0, n, err)
		return
	}
	s.held = append(s.held, m.message(n)...)
	if err := s.views[0].OverwriteHead(s.held); err != nil {
		t.Fatalf("OverwriteHead of all: %v", err)
	}
}

// emptied is a model as InitPointers leaves it, without data.
func (m *machine) emptied(s *subject, head uint32) {
	s.head, s.held = head, nil
	s.unseen, s.unfreed, s.writes, s.consumes = 0, 0, 0, 0
	s.ahead, s.known, s.newest = nil, nil, -1
}

func (m *machine) Clone(t *rapid.T) {
	to, from := m.subject(t), m.subject(t)
	if to == from {
		t.Skip("one fifo")
	}
	err := to.views[0].Clone(&from.views[0])
	m.wrote(t, from, 0, true)
	m.freed(t, from, 0, false)
	if len(from.held) > to.size {
		if err != fifo.ErrFull {
			t.Fatalf("Clone of %d bytes to %d: %v", len(from.held), to.size, err)
		}
		return
	}
	m.emptied(to, from.head)
	if err != nil {
		m.short(t, 0, len(from.held), err)
		return
	}
	to.held = slices.Clone(from.held)
}

func (m *machine) Free(t *rapid.T) {
	s := m.subject(t)
	s.f.Free()
	if s.f.Valid() {
		t.Fatal("valid after Free")
	}
	m.renew(t, s)
}

// Check compares all that can be asked.
func (m *machine) Check(t *rapid.T) {
	for i, s := range m.subjects {
		if !s.f.Valid() {
			continue
		}
		f := m.anyone(t, s)
		var subs [fifo.MaxSubscribers]uint8
		got := slices.Sorted(slices.Values(subs[:f.Subscribers(&subs)]))
		want := slices.Sorted(slices.Values(s.subs))
		published := s.there() + s.unfreed
		for _, c := range []struct {
			name      string
			got, want any
		}{
			{"Size", f.Size(), s.size},
			{"MaxDequeue", f.MaxDequeue(), published},
			{"MaxEnqueue", f.MaxEnqueue(), s.size - published},
			{"Head", f.Head(), s.head - uint32(s.unfreed)},
			{"Tail", f.Tail(), s.tail() - uint32(s.unseen)},
			{"HasEvent", f.HasEvent(), s.event},
			{"Wanted", f.Wanted(), s.wanted != 0 || s.conds != 0},
			{"Status", f.Status(), s.status},
			{"Ref", f.Ref(), s.f.Ref()},
			{"Subscribers", fmt.Sprint(got), fmt.Sprint(want)},
		} {
			if c.got != c.want {
				t.Fatalf("fifo %d: %s: %v, want %v", i, c.name, c.got, c.want)
			}
		}
		m.checkAhead(t, i, s)
	}
}

// checkAhead compares the lists of out-of-order segments.
func (m *machine) checkAhead(t *rapid.T, i int, s *subject) {
	f := m.producer(t, s)
	segs := s.segments()
	if f.OutOfOrder() != len(segs) {
		t.Fatalf("fifo %d: %d out-of-order segments, want %v", i, f.OutOfOrder(), segs)
	}
	for j, g := range segs {
		if o, n := f.OutOfOrderSegment(j); o != g[0] || n != g[1] {
			t.Fatalf("fifo %d: out-of-order segment %d is %d bytes at %d, want %v", i, j, n, o, segs)
		}
	}
	o, n, ok := f.Newest()
	k := slices.IndexFunc(segs, func(g [2]int) bool { return g[0] <= s.newest && s.newest < g[0]+g[1] })
	if ok != (k >= 0) || ok && (o != segs[k][0] || n != segs[k][1]) {
		t.Fatalf("fifo %d: newest is %d bytes at %d, %v; want that at %d of %v", i, n, o, ok, s.newest, segs)
	}
}

// program runs one program, and checks that it leaves nothing behind.
func program(t *rapid.T) {
	m := newMachine(t)
	t.Repeat(rapid.StateMachineActions(m))
	for _, s := range m.subjects {
		if !s.f.Valid() {
			continue
		}
		if rapid.Bool().Draw(t, "read all") {
			s.f.Flush()
			m.wrote(t, s, 0, true)
			m.dequeue(t, s, len(s.held)+1)
			m.dequeue(t, s, 1)
		}
		s.f.Free()
	}
	if n := m.seg.InUse(); n != m.before {
		t.Fatalf("%d bytes in use after all fifos were freed, %d before", n, m.before)
	}
	for i, b := range m.mem[m.seg.Size():] {
		if b != unread {
			t.Fatalf("byte %d behind the segment was written", i)
		}
	}
}

// rapidly sets how much rapid does, unless the command line says it.
func rapidly(t *testing.T, name string, n int) {
	f := flag.Lookup("rapid." + name)
	if old := f.Value.String(); old == f.DefValue {
		flag.Set(f.Name, fmt.Sprint(n))
		t.Cleanup(func() { flag.Set(f.Name, old) })
	}
}

func TestModel(t *testing.T) {
	watchdog(t, endless)
	rapidly(t, "checks", scaled(800))
	rapidly(t, "steps", 80)
	rapid.Check(t, program)
}

// FuzzModel runs the same programs by what a fuzzer draws, eight bytes for each
// choice.
func FuzzModel(f *testing.F) {
	for seed := range uint64(8) {
		r := random(seed)
		p := make([]byte, 64<<10)
		for i := range p {
			p[i] = byte(r.Uint32())
		}
		f.Add(p)
	}
	f.Fuzz(rapid.MakeFuzz(program))
}
