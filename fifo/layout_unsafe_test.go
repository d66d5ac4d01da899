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
	if n := unsafe.Offsetof(h.cons) + unsafe.Offsetof(h.cons.pat) + unsafe.Offsetof(h.cons.pat.phase); n%Line > 64 {
		t.Errorf("what the consumer touches reaches to %d bytes of its line", n%Line)
	}
}

func TestSegmentLayout(t *testing.T) {
	var h segHeader
	apart(t, "segment", segHeaderSize,
		part{"what never changes", 0, unsafe.Offsetof(h.classes) + unsafe.Sizeof(h.classes)},
		part{"what seldom changes", unsafe.Offsetof(h.used), unsafe.Offsetof(h.sweeper) + unsafe.Sizeof(h.sweeper) - unsafe.Offsetof(h.used)},
		part{"owners", unsafe.Offsetof(h.owner), unsafe.Sizeof(h.owner)})
	var f shelf
	var parts []part
	for i := range f.gen {
		parts = append(parts, part{"a list", unsafe.Offsetof(f.gen) + uintptr(i)*unsafe.Sizeof(f.gen[0]), unsafe.Sizeof(f.gen[0].head)})
	}
	apart(t, "shelf", unsafe.Sizeof(f),
		append(parts, part{"turn", unsafe.Offsetof(f.turn), unsafe.Sizeof(f.turn)},
			part{"the owner's", unsafe.Offsetof(f.fresh), unsafe.Offsetof(f.share) + unsafe.Sizeof(f.share) - unsafe.Offsetof(f.fresh)})...)
	if unsafe.Sizeof(slice{}) != nClasses*unsafe.Sizeof(f) || unsafe.Sizeof(f)%Line != 0 {
		t.Errorf("a slice has %d bytes, a shelf %d", unsafe.Sizeof(slice{}), unsafe.Sizeof(f))
	}
	for _, size := range []uint64{MinSegment, MinSegment + 1, 1 << 20, 64 << 20, MaxSegment} {
		g := geometryOf(size)
		if g.owners < 1 || g.owners > MaxOwners || g.slices%Line != 0 || g.runs != g.slices+uintptr(g.owners)*sliceSize ||
			uintptr(g.first)*Line < g.runs+uintptr(g.maxRuns)*8 || uint64(g.first)*Line > size/4 || uint64(g.end)*Line > size {
			t.Errorf("a segment of %d bytes: %+v", size, g)
		}
	}
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
		l, err := q.lane(3)
		if err != nil {
			t.Fatal(err)
		}
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
