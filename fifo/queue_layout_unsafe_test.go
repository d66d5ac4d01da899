package fifo

import (
	"testing"
	"unsafe"
)

// What the producer, the consumer and both write in a queue lies on lines of its
// own, and nothing reaches beyond its block.
func TestQueueLayout(t *testing.T) {
	var l lane
	if laneHeaderSize%Line != 0 {
		t.Errorf("slots begin at %d", laneHeaderSize)
	}
	apart(t, "lane", laneHeaderSize,
		part{"prod", unsafe.Offsetof(l.prod), unsafe.Sizeof(l.prod)},
		part{"head and waiting", unsafe.Offsetof(l.head), unsafe.Offsetof(l.waiting) + 4 - unsafe.Offsetof(l.head)})
	if slotSize != 16 {
		t.Errorf("a slot has %d bytes, want a divisor of a line", slotSize)
	}
	if unsafe.Offsetof(slot{}.word)%8 != 0 || unsafe.Sizeof(slot{}.word) != 8 {
		t.Error("a slot's word cannot be stored at once")
	}
	for events := uint32(MinEvents); events <= MaxEvents; events *= 2 {
		if need, have := laneSize(events), uintptr(classSize(laneClass(events))); need > have {
			t.Errorf("a lane of %d events takes %d bytes, its block has %d", events, need, have)
		}
	}
	var h queueHeader
	if queueHeaderSize > uintptr(classSize(firstClass)) {
		t.Errorf("a queue's header has %d bytes, its block %d", queueHeaderSize, classSize(firstClass))
	}
	seldom := unsafe.Offsetof(h.n) + unsafe.Sizeof(h.n) - unsafe.Offsetof(h.lanes)
	apart(t, "queue", queueHeaderSize,
		part{"what never changes", unsafe.Offsetof(h.queueFacts), unsafe.Sizeof(h.queueFacts)},
		part{"lanes and n, which change with a producer's first post", unsafe.Offsetof(h.lanes), seldom},
		part{"overrun", unsafe.Offsetof(h.overrun), unsafe.Sizeof(h.overrun)},
		part{"asleep", unsafe.Offsetof(h.asleep), unsafe.Sizeof(h.asleep)},
		part{"cons", unsafe.Offsetof(h.cons), unsafe.Sizeof(h.cons)})
}

// Other processes read these places: they do not move without a new version.
func TestQueueOffsets(t *testing.T) {
	var h queueHeader
	var l lane
	for _, tt := range []struct {
		name      string
		off, want uintptr
	}{
		{"magic", unsafe.Offsetof(h.magic), 0},
		{"version", unsafe.Offsetof(h.version), 4},
		{"events", unsafe.Offsetof(h.events), 8},
		{"order", unsafe.Offsetof(h.order), 12},
		{"process", unsafe.Offsetof(h.process), 16},
		{"eventfd", unsafe.Offsetof(h.eventfd), 24},
		{"lanes", unsafe.Offsetof(h.lanes), 128},
		{"n", unsafe.Offsetof(h.n), 1152},
		{"overrun", unsafe.Offsetof(h.overrun), 1280},
		{"asleep", unsafe.Offsetof(h.asleep), 1408},
		{"next", unsafe.Offsetof(h.cons), 1536},
		{"the header's end", queueHeaderSize, 1664},
		{"a lane's tail", unsafe.Offsetof(l.prod), 0},
		{"a lane's tag", unsafe.Offsetof(l.prod.tag), 8},
		{"a lane's head", unsafe.Offsetof(l.head), 128},
		{"a lane's waiting", unsafe.Offsetof(l.waiting), 132},
		{"a lane's slots", laneHeaderSize, 256},
		{"a slot's arg", unsafe.Offsetof(slot{}.arg), 8},
	} {
		if tt.off != tt.want {
			t.Errorf("%s is at %d, want %d", tt.name, tt.off, tt.want)
		}
	}
	if queueVersion != 2 {
		t.Errorf("version %d: say here where its words lie", queueVersion)
	}
}
