package fifo

import (
	"testing"
	"unsafe"
)

// part is a stretch of a structure that one side writes, or nobody.
type part struct {
	name      string
	off, size uintptr
}

// apart checks that the parts begin on a line each, end before the next begins,
// and lie within size bytes.
func apart(t *testing.T, what string, size uintptr, parts ...part) {
	t.Helper()
	end := uintptr(0)
	for _, p := range parts {
		if p.off%Line != 0 {
			t.Errorf("%s: %s is at %d, not on a line", what, p.name, p.off)
		}
		if p.off < end {
			t.Errorf("%s: %s is at %d, before the line after what precedes it, %d", what, p.name, p.off, end)
		}
		end = (p.off + p.size + Line - 1) / Line * Line
	}
	if end > size {
		t.Errorf("%s: ends at %d of %d", what, end, size)
	}
}

// What the two ends of a fifo publish and what they keep to themselves lie on
// lines of their own.
func TestFifoLayout(t *testing.T) {
	var h header
	size := unsafe.Sizeof(h)
	if size > smallSize || size%Line != 0 {
		t.Errorf("a header has %d bytes, its block %d", size, smallSize)
	}
	shared := max(
		unsafe.Offsetof(h.size)+unsafe.Sizeof(h.size),
		unsafe.Offsetof(h.event)+unsafe.Sizeof(h.event),
		unsafe.Offsetof(h.want)+unsafe.Sizeof(h.want),
		unsafe.Offsetof(h.subs)+unsafe.Sizeof(h.subs),
		unsafe.Offsetof(h.status)+unsafe.Sizeof(h.status),
		unsafe.Offsetof(h.first)+unsafe.Sizeof(h.first))
	if shared > Line {
		t.Errorf("what both ends read takes %d bytes, more than a line", shared)
	}
	apart(t, "fifo", size,
		part{"what both ends read", 0, shared},
		part{"tail", unsafe.Offsetof(h.tail), unsafe.Sizeof(h.tail)},
		part{"prod", unsafe.Offsetof(h.prod), unsafe.Sizeof(h.prod)},
		part{"head", unsafe.Offsetof(h.head), unsafe.Sizeof(h.head)},
		part{"cons", unsafe.Offsetof(h.cons), unsafe.Sizeof(h.cons)})
	if n := unsafe.Sizeof(h.prod); n > 64 {
		t.Errorf("the producer's own takes %d bytes, more than a cache line", n)
	}
	// What a message touches comes first, and ends before the second cache line.
	if n := unsafe.Offsetof(h.cons) + unsafe.Offsetof(h.cons.pat) + unsafe.Offsetof(h.cons.pat.without); n%Line > 64 {
		t.Errorf("what the consumer touches reaches to %d bytes of its line", n%Line)
	}
}

func TestQueueLayout(t *testing.T) {
	var l lane
	if laneHeaderSize%Line != 0 {
		t.Errorf("slots begin at %d", laneHeaderSize)
	}
	apart(t, "lane", laneHeaderSize,
		part{"prod", unsafe.Offsetof(l.prod), unsafe.Sizeof(l.prod)},
		part{"head", unsafe.Offsetof(l.head), unsafe.Sizeof(l.head)},
		part{"cons", unsafe.Offsetof(l.cons), unsafe.Sizeof(l.cons)})
	if slotSize != 16 {
		t.Errorf("a slot has %d bytes, want a divisor of a line", slotSize)
	}
	if need := laneHeaderSize + MaxEvents*slotSize; need > MaxChunk {
		t.Errorf("the longest lane takes %d bytes, the largest block has %d", need, MaxChunk)
	}
	var h queueHeader
	size := unsafe.Sizeof(h)
	if size > MinChunk {
		t.Errorf("a queue's header has %d bytes, its block %d", size, MinChunk)
	}
	seldom := max(unsafe.Offsetof(h.n)+unsafe.Sizeof(h.n), unsafe.Offsetof(h.overrun)+unsafe.Sizeof(h.overrun))
	apart(t, "queue", size,
		part{"what seldom changes", unsafe.Offsetof(h.lanes), seldom},
		part{"asleep", unsafe.Offsetof(h.asleep), unsafe.Sizeof(h.asleep)},
		part{"next", unsafe.Offsetof(h.next), unsafe.Sizeof(h.next)})
}

func TestSegmentLayout(t *testing.T) {
	var h segHeader
	parts := []part{
		{"what never changes", 0, unsafe.Offsetof(h.size) + unsafe.Sizeof(h.size)},
		{"brk", unsafe.Offsetof(h.brk), unsafe.Sizeof(h.brk)},
	}
	for i := range h.free {
		off := unsafe.Offsetof(h.free) + uintptr(i)*unsafe.Sizeof(h.free[0]) + unsafe.Offsetof(h.free[0].head)
		parts = append(parts, part{"a free list", off, unsafe.Sizeof(h.free[0].head)})
	}
	apart(t, "segment", segHeaderSize, parts...)
	if n := unsafe.Sizeof(block{}); n != Line {
		t.Errorf("a block's header has %d bytes, not a line", n)
	}
	for class := range uint32(nClasses) {
		if classSize(class)%Line != 0 {
			t.Errorf("class %d has %d bytes, no whole lines", class, classSize(class))
		}
	}
}

// Lines are lines in memory too, wherever the Go heap puts a segment, and a
// structure that a reference names ends before the next block.
func TestPlacement(t *testing.T) {
	for range 10 {
		s, err := NewHeapSegment(1 << 20)
		if err != nil {
			t.Fatal(err)
		}
		f, err := New(s, 100, Release)
		if err != nil {
			t.Fatal(err)
		}
		q, err := NewQueue(s, MinEvents, Release)
		if err != nil {
			t.Fatal(err)
		}
		l := q.lane(3)
		for name, p := range map[string]unsafe.Pointer{
			"segment": unsafe.Pointer(s.h), "fifo": unsafe.Pointer(f.h), "queue": unsafe.Pointer(q.h),
			"lane": unsafe.Pointer(l), "slots": unsafe.Pointer(l.slot(0)),
		} {
			if uintptr(p)%Line != 0 {
				t.Errorf("%s at %p", name, p)
			}
		}
		end := uintptr(unsafe.Pointer(l.slot(MinEvents-1))) + slotSize
		if limit := uintptr(unsafe.Pointer(l)) + uintptr(classSize(q.class)); end > limit {
			t.Errorf("a lane's slots end %d bytes beyond its block", end-limit)
		}
		if uintptr(f.Ref())*Line+Line+unsafe.Sizeof(header{}) > uintptr(s.Used()) {
			t.Error("a fifo's header ends beyond what was handed out")
		}
	}
}
