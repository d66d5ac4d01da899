package fifo_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vlsbench/fifo"
)

// hostile is a queue with two lanes whose memory can be written.
type hostile struct {
	mem  []byte
	seg  *fifo.Segment
	q    *fifo.Queue
	ref  fifo.Ref
	lane [2]fifo.Ref
}

const (
	offMagic, offVersion, offEvents, offOrder, offProcess, offEventfd = 0, 4, 8, 12, 16, 24
	offLanes, offN, offOverrun, offAsleep, offNext                    = 128, 1152, 1280, 1408, 1536
	offTail, offCached, offTag, offHead, offWaiting, offSlots         = 0, 4, 8, 128, 132, 256
)

func newHostile(t testing.TB, ord fifo.Order) *hostile {
	t.Helper()
	h := &hostile{mem: guarded(t, fifo.MinSegment)}
	var err error
	if h.seg, err = fifo.NewSegment(h.mem); err != nil {
		t.Fatal(err)
	}
	h.q = createQueue(t, h.seg, fifo.MinEvents, ord)
	h.ref = h.q.Ref()
	for p := range h.lane {
		h.q.Post(p, event(p, 0))
		h.lane[p] = fifo.Ref(h.u32(h.ref, offLanes+4*p))
	}
	return h
}

// at is the bytes at off behind the block header of r.
func (h *hostile) at(r fifo.Ref, off int) []byte {
	return h.mem[(int(r)+1)*fifo.Line+off:]
}

func (h *hostile) u32(r fifo.Ref, off int) uint32 { return binary.NativeEndian.Uint32(h.at(r, off)) }

func (h *hostile) set(r fifo.Ref, off int, v uint32) {
	binary.NativeEndian.PutUint32(h.at(r, off), v)
}

func TestOpenQueue(t *testing.T) {
	s := heap(t, 1<<20)
	for _, o := range orders {
		q := createQueue(t, s, 64, o.ord)
		q.Post(3, event(3, 0))
		v, err := fifo.OpenQueue(s, q.Ref(), -1)
		if err != nil {
			t.Fatal(err)
		}
		if v.Ref() != q.Ref() {
			t.Errorf("at %d, opened %d", q.Ref(), v.Ref())
		}
		q.Post(5, event(5, 0)) // a lane that v has not seen
		v.Post(3, event(3, 1)) // the same producer through another view
		v.Post(7, event(7, 0))
		var seen order
		for _, ev := range append(drainAll(v), drainAll(q)...) {
			if err := seen.see(ev); err != nil {
				t.Error(err)
			}
		}
		if seen[3] != 2 || seen[5] != 1 || seen[7] != 1 {
			t.Errorf("drained %d %d %d", seen[3], seen[5], seen[7])
		}
		q.Free()
		if _, err := fifo.OpenQueue(s, v.Ref(), -1); !errors.Is(err, fifo.ErrNotQueue) {
			t.Errorf("a queue that was freed: %v", err)
		}
		q.Free() // nothing more to free
	}
}

func TestOpenQueueEventfd(t *testing.T) {
	s := heap(t, 1<<20)
	with, without := createQueue(t, s, fifo.MinEvents, fifo.Release), createQueue(t, s, fifo.MinEvents, fifo.Release)
	fd := eventfd(t)
	if err := with.SetEventfd(fd); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		q  *fifo.Queue
		fd int
	}{{with, -1}, {with, 1 << 20}, {without, fd}} {
		if _, err := fifo.OpenQueue(s, tt.q.Ref(), tt.fd); !errors.Is(err, fifo.ErrQueueEventfd) {
			t.Errorf("descriptor %d: %v", tt.fd, err)
		}
	}
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(dup)
	v, err := fifo.OpenQueue(s, with.Ref(), dup)
	if err != nil {
		t.Fatal(err)
	}
	watchdog(t, func() string { return fmt.Sprintf("armed %v", with.Armed()) })
	done := make(chan error)
	go func() { done <- with.Wait(fifo.Eventfd, -1) }()
	for !v.Armed() {
		time.Sleep(10 * time.Microsecond)
	}
	v.Post(0, fifo.Event{})
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// Every field of a queue that a second process reads, damaged.
func TestOpenQueueRefuses(t *testing.T) {
	const lines = fifo.MinSegment / fifo.Line
	for _, r := range []fifo.Ref{0, lines, lines - 1, lines - fifo.Ref(fifo.QueueHeaderSize/fifo.Line), 1<<32 - 1, 1 << 31} {
		h := newHostile(t, fifo.SeqCst)
		if _, err := fifo.OpenQueue(h.seg, r, -1); !errors.Is(err, fifo.ErrNotQueue) {
			t.Errorf("reference %d: %v", r, err)
		}
	}
	type damage struct {
		name string
		do   func(h *hostile)
		want error
	}
	head := func(name string, off int, v uint32, want error) damage {
		return damage{fmt.Sprintf("%s=%#x", name, v), func(h *hostile) { h.set(h.ref, off, v) }, want}
	}
	damages := []damage{
		head("magic", offMagic, 0, fifo.ErrNotQueue),
		head("magic", offMagic, 0x6d767356, fifo.ErrNotQueue), // a segment's
		head("version", offVersion, 1, fifo.ErrQueueVersion),
		head("version", offVersion, 3, fifo.ErrQueueVersion),
		head("order", offOrder, 2, fifo.ErrQueueCorrupt),
		head("order", offOrder, 1<<31, fifo.ErrQueueCorrupt),
		head("eventfd", offEventfd, 2, fifo.ErrQueueCorrupt),
		head("n", offN, fifo.MaxProducers+1, fifo.ErrQueueCorrupt),
		head("n", offN, 1<<32-1, fifo.ErrQueueCorrupt),
	}
	for _, events := range []uint32{0, 1, 8, 17, 96, 2 * fifo.MaxEvents, 1 << 31, 1<<32 - 1} {
		damages = append(damages, head("events", offEvents, events, fifo.ErrQueueCorrupt))
	}
	// Lanes of more events than there are, where the segment ends.
	damages = append(damages, head("events", offEvents, fifo.MaxEvents, fifo.ErrQueueCorrupt))
	for _, ref := range []uint32{lines, lines - 1, 1<<32 - 1, 1 << 31} {
		for _, p := range []int{0, 1, 2, fifo.MaxProducers - 1} {
			damages = append(damages, head(fmt.Sprintf("lane %d", p), offLanes+4*p, ref, fifo.ErrQueueCorrupt))
		}
	}
	damages = append(damages,
		damage{"lane of another", func(h *hostile) { h.set(h.ref, offLanes, uint32(h.lane[1])) }, fifo.ErrQueueCorrupt},
		damage{"one lane twice", func(h *hostile) { h.set(h.ref, offLanes+4*9, uint32(h.lane[1])) }, fifo.ErrQueueCorrupt},
		damage{"lane is the queue", func(h *hostile) { h.set(h.ref, offLanes, uint32(h.ref)) }, fifo.ErrQueueCorrupt},
		damage{"lane is the segment's header", func(h *hostile) { h.set(h.ref, offLanes, 1) }, fifo.ErrQueueCorrupt},
		damage{"tag", func(h *hostile) { h.set(h.lane[0], offTag, 0) }, fifo.ErrQueueCorrupt},
		damage{"class of a lane's block", func(h *hostile) { h.set(h.lane[0]-1, 4, 5) }, fifo.ErrQueueCorrupt},
	)
	for _, d := range damages {
		h := newHostile(t, fifo.SeqCst)
		if _, err := fifo.OpenQueue(h.seg, h.ref, -1); err != nil {
			t.Fatal(err)
		}
		d.do(h)
		if _, err := fifo.OpenQueue(h.seg, h.ref, -1); !errors.Is(err, d.want) {
			t.Errorf("%s: %v, want %v", d.name, err, d.want)
		}
	}
}

// What is made for the threads of one process is not for another's.
func TestOpenQueueOfAnotherProcess(t *testing.T) {
	for _, o := range orders {
		h := newHostile(t, o.ord)
		h.set(h.ref, offProcess, h.u32(h.ref, offProcess)+1)
		_, err := fifo.OpenQueue(h.seg, h.ref, -1)
		if release := h.u32(h.ref, offOrder) == uint32(fifo.Release); release != errors.Is(err, fifo.ErrQueueOrder) || !release && err != nil {
			t.Errorf("%s: %v", o.name, err)
		}
	}
}

// exerciseQueue uses a queue that is not what it says. Nothing may hang or fault.
func exerciseQueue(q *fifo.Queue) {
	var evs [5]fifo.Event
	for round := range 3 * fifo.MinEvents {
		for _, p := range []int{0, 1, 2, fifo.MaxProducers - 1, fifo.MaxProducers} {
			q.Post(p, event(p, uint64(round)))
			q.PostWait(p, event(p, uint64(round)), fifo.Park, 0)
		}
		q.Pending()
		q.Wait(fifo.Park, 0)
		q.Drain(evs[:])
		q.TakeOverrun()
		q.Resume(round)
	}
}

// A queue that is damaged after it was opened: what its users find is wrong, and
// they find it in the segment.
func TestQueueDamagedLater(t *testing.T) {
	watchdog(t, endless)
	wild := []uint32{0, 1, 7, fifo.MinEvents, fifo.MaxProducers, 1 << 20, 1<<31 - 1, 1 << 31, 1<<32 - 1}
	for _, v := range wild {
		for _, off := range []int{offMagic, offVersion, offEvents, offOrder, offN, offOverrun, offAsleep, offNext, offNext + 4, offLanes, offLanes + 4, offLanes + 8} {
			h := newHostile(t, fifo.SeqCst)
			view, err := fifo.OpenQueue(h.seg, h.ref, -1)
			if err != nil {
				t.Fatal(err)
			}
			h.set(h.ref, off, v)
			exerciseQueue(view)
			exerciseQueue(h.q)
		}
		for _, off := range []int{offTail, offCached, offTag, offHead, offWaiting, offSlots, offSlots + 4} {
			h := newHostile(t, fifo.SeqCst)
			h.set(h.lane[0], off, v)
			exerciseQueue(h.q)
		}
	}
	// A lane that is none is left alone, and its producer told.
	h := newHostile(t, fifo.SeqCst)
	h.set(h.ref, offLanes+4*5, 1<<31)
	h.set(h.ref, offN, 9)
	if h.q.Post(5, fifo.Event{}) {
		t.Error("posted into a lane that is none")
	}
	if err := h.q.PostWait(5, fifo.Event{}, fifo.Park, -1); !errors.Is(err, fifo.ErrQueueCorrupt) {
		t.Errorf("PostWait: %v", err)
	}
	if err := h.q.Resume(5); !errors.Is(err, fifo.ErrQueueCorrupt) {
		t.Errorf("Resume: %v", err)
	}
	if n := len(drainAll(h.q)); n != 2 {
		t.Errorf("%d events of the good lanes, want 2", n)
	}
	// A head that no consumer stored is not waited for.
	for h.q.Post(0, fifo.Event{}) {
	}
	h.set(h.lane[0], offHead, h.u32(h.lane[0], offHead)-100)
	if err := h.q.PostWait(0, fifo.Event{}, fifo.Park, -1); !errors.Is(err, fifo.ErrQueueCorrupt) {
		t.Errorf("PostWait: %v", err)
	}
}

// Any words in the queue's header and its lanes, before it is opened and after.
func FuzzQueue(f *testing.F) {
	f.Add([]byte{}, []byte{})
	patch := func(off uint16, v uint32) []byte {
		b := binary.LittleEndian.AppendUint16(nil, off)
		return binary.LittleEndian.AppendUint32(b, v)
	}
	f.Add(patch(offEvents, 64), patch(offN, 1<<31))
	f.Add(patch(offLanes+8, 300), patch(offLanes+12, 300))
	f.Add(patch(offN, 256), append(patch(4096+offHead, 1<<31), patch(4096+offTail, 5)...))
	f.Add(patch(offAsleep, 0xffffffff), patch(4096+offWaiting, 1))
	f.Fuzz(func(t *testing.T, before, after []byte) {
		h := newHostile(t, fifo.SeqCst)
		apply := func(patches []byte) {
			for ; len(patches) >= 6; patches = patches[6:] {
				off := int(binary.LittleEndian.Uint16(patches)) &^ 3
				v := binary.LittleEndian.Uint32(patches[2:])
				const lane = 512 // of which so many bytes
				switch {
				case off < 4096:
					h.set(h.ref, off, v)
				default:
					h.set(h.lane[off>>12&1], off%lane, v)
				}
			}
		}
		apply(before)
		q, err := fifo.OpenQueue(h.seg, h.ref, -1)
		if err == nil {
			apply(after)
			exerciseQueue(q)
			return
		}
		for _, want := range []error{fifo.ErrNotQueue, fifo.ErrQueueVersion, fifo.ErrQueueCorrupt, fifo.ErrQueueOrder, fifo.ErrQueueEventfd} {
			if errors.Is(err, want) {
				return
			}
		}
		t.Errorf("an error without a name: %v", err)
	})
}
