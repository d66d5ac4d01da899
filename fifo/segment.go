package fifo

import (
	"errors"
	"fmt"
	"math/bits"
	"os"
	"sync/atomic"

	"vlsbench/hw"
	"vlsbench/sched"
)

const (
	// Line is the unit of offsets and of separation, in bytes.
	Line = 128

	// MinChunk and MaxChunk bound the payload of a chunk, in bytes; sizes
	// between are powers of two.
	MinChunk = 4 << 10
	MaxChunk = 4 << 20

	// MinSegment and MaxSegment bound a segment, in bytes.
	MinSegment = 64 << 10
	MaxSegment = 256 << 30

	// MaxOwners bounds the owners of a segment. One that is small has fewer: see
	// [Segment.MaxOwners].
	MaxOwners = 64

	segMagic   = 0x6d767356 // "Vsvm"
	segVersion = 2

	// smallSize is the payload of the one class below MinChunk: a fifo's header.
	smallSize = 5 * Line
	nClasses  = 1 + 11 // smallSize, then MinChunk << 0..10

	// firstClass is the class of a fifo's first chunk.
	firstClass = uint32(1)

	// A run is what a slice takes from fresh memory at once: at least a block, at
	// most runBytes, and of a small segment no more than a 256th, since what one
	// slice holds in reserve another has to steal.
	runBytes = 64 << 10
	runShare = 256

	// coldBytes is how much of a class a slice puts in circulation for streams
	// across cores before it hands out again what came back, so that what is
	// rewritten is in neither core's second-level cache (1 MB) any more. A line
	// that both still hold costs a third of a line round trip to write. With 2,
	// 4 and 8 MB a message of 64 B took 0.094, 0.080 and 0.064 round trips in a
	// fifo of 64 KB, and 0.077, 0.064 and 0.047 in one of 4 MB.
	coldBytes = 8 << 20
)

// Ref is an offset in a segment, in lines. 0 is none.
type Ref uint32

// Errors of fifos and segments.
var (
	ErrFull  = errors.New("fifo: full")
	ErrEmpty = errors.New("fifo: empty")
	// ErrGrow: the fifo has room, the segment has none.
	ErrGrow = errors.New("fifo: segment exhausted")
	// ErrCorrupt: shared memory holds what no segment of this version holds.
	ErrCorrupt = errors.New("fifo: segment corrupt")
	// ErrOwners: every owner number of the segment is taken.
	ErrOwners = errors.New("fifo: segment has no owner number left")
	// ErrSweeping: somebody else sweeps.
	ErrSweeping = errors.New("fifo: segment is being swept")
)

// Segment is one owner's view of a region of memory that holds fifos, chunks
// and queues by offset. Owners are the creator and whoever joined since, a
// worker or another process; each has a slice of the free blocks, so that
// owners do not meet on one list unless memory runs short. What an owner takes
// comes back to its slice, whoever gives it back.
//
// Methods may be called by any thread of the owner at any time, but for Close.
type Segment struct {
	mem  []byte
	h    *segHeader
	own  *slice
	me   uint32 // owner number
	base address
	geometry
	// corruptions counts what this view met in shared memory that no peer in its
	// right mind writes.
	corruptions atomic.Uint64
	pages       Pages
	pagesErr    error
	close       func() error
}

// geometry is how a segment is divided, all of it from its size: nothing of it
// is read from shared memory.
type geometry struct {
	owners  uint32 // owner numbers are below
	slices  uintptr
	runs    uintptr // offset of the run table
	maxRuns uint32
	target  uint32 // bytes of a run
	first   Ref    // the first block's
	end     Ref    // beyond the last line
}

func geometryOf(size uint64) geometry {
	g := geometry{end: Ref(size / Line)}
	g.owners = uint32(min(max(size/16/uint64(sliceSize), 1), MaxOwners))
	g.target = uint32(max(min(size/runShare, runBytes), uint64(classLines(0))*Line))
	// Runs are of more than half the target each, but for the last of a class.
	g.maxRuns = uint32(size/uint64(g.target/2)) + 2*nClasses
	g.slices = lineUp(segHeaderSize)
	g.runs = g.slices + uintptr(g.owners)*sliceSize
	g.first = Ref(lineUp(g.runs+uintptr(g.maxRuns)*8) / Line)
	return g
}

func lineUp(n uintptr) uintptr { return (n + Line - 1) &^ (Line - 1) }

// segHeader is the head of the region. Behind it stand the owners' slices, the
// table of runs, and the blocks.
type segHeader struct {
	magic, version uint32
	size           uint64
	small, classes uint32 // smallSize and nClasses, which are part of the format
	_              [Line - 24]byte

	used    atomic.Uint64 // a bit for each owner number that was ever in use
	runs    atomic.Uint32 // runs there are at least; helped along by who finds more
	sweeper atomic.Uint32 // owner that sweeps, plus 1
	_       [Line - 16]byte

	owner [MaxOwners]atomic.Uint64 // process id of the owner; 0: nobody
}

// generations is how many lists a class has in a slice, by age. Blocks come back
// to the youngest; those for streams across cores are taken from the oldest.
// After a share of them was taken, the youngest list is closed and the next one
// begun. That hands out blocks nearly in the order they came back, without a
// list that has two ends.
const generations = 4

// slice is an owner's part of the free blocks: per class lists of blocks, head
// words with tag<<32 | Ref. The tag grows with each pop, so that a head that
// was taken and given back in between does not look unchanged (ABA).
type slice struct {
	class [nClasses]shelf
}

// shelf is the lists of one class, a line each: who gives back and who takes
// from the oldest do not meet. Who gives back reads turn, too, which changes
// once in a generation; the last line is the owner's.
type shelf struct {
	gen [generations]struct {
		head atomic.Uint64
		_    [Line - 8]byte
	}
	turn atomic.Uint32 // number of the oldest list, and how many are younger << 2
	_    [Line - 4]byte

	fresh atomic.Uint64 // a list too: blocks of a run that were never handed out
	count atomic.Uint32 // blocks put in circulation by this slice
	since uint32        // blocks taken for streams since the youngest list was begun
	share uint32        // as many begin the next; 0: a generation's of coldBytes
	_     [Line - 24]byte
}

func (h *shelf) list(i uint32) *atomic.Uint64 { return &h.gen[i%generations].head }

// youngest is the number of the list that blocks come back to, modulo their
// number.
func (h *shelf) youngest() uint32 {
	t := h.turn.Load()
	return t + t/generations
}

// block is the header line of everything that is allocated.
type block struct {
	next  atomic.Uint32 // a Ref: in a fifo's chain
	class uint32        // immutable
	start uint32        // of a chunk in a fifo: position of its first byte
	link  uint32        // a Ref: in a free list
	state uint64        // see kind
	of    uint32        // a Ref: what the block is linked in
	_     [Line - 28]byte
}

// classSize is the payload of a class in bytes.
func classSize(class uint32) uint32 {
	if class == 0 {
		return smallSize
	}
	return MinChunk << (class - 1)
}

// classLines is a block of a class, header and payload, in lines.
func classLines(class uint32) uint32 { return 1 + classSize(class)/Line }

// classFor is the smallest class of chunks that holds n bytes, or the largest.
func classFor(n uint32) uint32 {
	if n <= MinChunk {
		return 1
	}
	return min(uint32(bits.Len32((n-1)/MinChunk))+1, nClasses-1)
}

// NewSegment makes a segment in mem, which must begin on a line (128 bytes) and
// be used for nothing else until the segment is dropped. What mem held before
// does not matter. The caller is owner 0.
func NewSegment(mem []byte) (*Segment, error) {
	return newSegment(mem, false)
}

// newSegment makes a segment in mem. zero: mem holds nothing but zeros.
func newSegment(mem []byte, zero bool) (*Segment, error) {
	s, err := view(mem)
	if err != nil {
		return nil, err
	}
	h := s.h
	if !zero {
		clear(mem[:s.slices])
		clear(mem[s.runs : uintptr(s.first)*Line])
	}
	h.magic, h.version, h.size = segMagic, segVersion, uint64(len(mem))
	h.small, h.classes = smallSize, nClasses
	if err := s.claimOwner(); err != nil {
		return nil, err
	}
	return s, nil
}

// view is a look at mem that owns nothing yet.
func view(mem []byte) (*Segment, error) {
	if err := sizeError(len(mem)); err != nil {
		return nil, err
	}
	if !aligned(mem) {
		return nil, fmt.Errorf("fifo: segment does not begin on a multiple of %d bytes", Line)
	}
	s := &Segment{mem: mem, h: segHeaderAt(mem), geometry: geometryOf(uint64(len(mem)))}
	s.base = s.at(0)
	return s, nil
}

func sizeError(size int) error {
	if size < MinSegment || size > MaxSegment {
		return fmt.Errorf("fifo: segment of %d bytes: want %d to %d", size, MinSegment, uint64(MaxSegment))
	}
	return nil
}

// NewHeapSegment makes a segment of size bytes on the Go heap.
func NewHeapSegment(size int) (*Segment, error) {
	if err := sizeError(size); err != nil {
		return nil, err
	}
	return newSegment(alignedBytes(size), true)
}

// Size is the segment's size in bytes.
func (s *Segment) Size() int { return len(s.mem) }

// Join makes the view of another owner, with a slice of its own, for a worker
// that allocates at the same time as others. The views of a process share its
// mapping: it stands until the view that made it is closed. ErrOwners: there
// are as many owners as there can be.
func (s *Segment) Join() (*Segment, error) {
	v := &Segment{mem: s.mem, h: s.h, base: s.base, geometry: s.geometry, pages: s.pages, pagesErr: s.pagesErr}
	if err := v.claimOwner(); err != nil {
		return nil, err
	}
	return v, nil
}

// claimOwner takes the lowest owner number that is free.
func (s *Segment) claimOwner() error {
	pid := uint64(os.Getpid())
	for k := range s.owners {
		if s.h.owner[k].Load() != 0 || !s.h.owner[k].CompareAndSwap(0, pid) {
			continue
		}
		sched.Point("segment: owner number claimed, before its slice")
		s.me, s.own = k, s.slice(k)
		// A slice is nobody's to look at before its bit is set; once it is, what an
		// earlier owner of the number left in it is there to be taken.
		if s.h.used.Load()>>k&1 == 0 {
			*s.own = slice{}
			sched.Point("segment: slice cleared, before it is used")
			s.h.used.Or(1 << k)
		}
		return nil
	}
	return fmt.Errorf("%w: it has %d", ErrOwners, s.owners)
}

// Owner is the number of the view's owner.
func (s *Segment) Owner() int { return int(s.me) }

// MaxOwners is how many owners this segment can have at a time: a slice each, in
// a sixteenth of the segment.
func (s *Segment) MaxOwners() int { return int(s.owners) }

// Owners is the process id of each owner, 0 where there is none: a moment's
// truth. One that died without Close stays until it is swept.
func (s *Segment) Owners() []int {
	pids := make([]int, s.owners)
	for k := range pids {
		pids[k] = int(s.h.owner[k].Load())
	}
	return pids
}

// Close ends the view. Its owner number is free again, and so are, to all, the
// free blocks of its slice; what it took and did not give back stays where it
// is. If the view made the mapping, nothing in the segment may be used after.
func (s *Segment) Close() error {
	if s.own == nil {
		return nil
	}
	s.own = nil
	sched.Point("segment: before an owner number is free")
	s.h.owner[s.me].Store(0)
	if s.close == nil {
		return nil
	}
	return s.close()
}

// alloc takes a block of a class: the one given back last, else fresh memory,
// else what others have free, else part of a larger block. 0: there is none in
// the whole segment. Lock-free.
func (s *Segment) alloc(class uint32) Ref {
	h := &s.own.class[class]
	if r := s.pop(h.list(h.youngest()), class); r != 0 {
		return r
	}
	if r := s.find(class); r != 0 {
		return r
	}
	return s.part(class)
}

// allocCold is alloc for streams across cores: it takes the block that was given
// back longest ago, and fresh memory before that until enough is in circulation.
func (s *Segment) allocCold(class uint32) Ref {
	if r := s.oldest(class); r != 0 {
		return r
	}
	if r := s.find(class); r != 0 {
		return r
	}
	return s.part(class)
}

// oldest takes a block from the view's own slice, or fresh memory.
func (s *Segment) oldest(class uint32) Ref {
	h := &s.own.class[class]
	if h.count.Load() < coldBytes/classSize(class) && s.mark() < s.lowMark() {
		if r := s.unused(class); r != 0 {
			h.age(class)
			return r
		}
	}
	for range 2 * generations { // less than twice round, unless others turn it too
		t := h.turn.Load()
		oldest, younger := t%generations, t/generations%generations
		list := h.list(oldest)
		if younger > 0 {
			if r := s.pop(list, class); r != 0 {
				h.age(class)
				return r
			}
			oldest, younger = (oldest+1)%generations, younger-1
		} else {
			if Ref(list.Load()) == 0 {
				break
			}
			// All that is free is of one age: generations are too long.
			hw.StoreRel32(&h.share, max(h.shareOf(class)/2, 1))
			younger = 1
		}
		if sched.Enabled {
			sched.Point("segment: before the oldest list changes")
		}
		h.turn.CompareAndSwap(t, younger*generations+oldest)
	}
	return 0
}

// age counts a block taken for a stream. Threads of one owner may lose each
// other's counts; that makes a generation longer.
func (h *shelf) age(class uint32) {
	n, share := atomic.LoadUint32(&h.since)+1, h.shareOf(class)
	if n >= share {
		n = 0
		if t := h.turn.Load(); t/generations%generations < generations-1 {
			if sched.Enabled {
				sched.Point("segment: before the youngest list is closed")
			}
			h.turn.CompareAndSwap(t, t+generations)
		} else {
			hw.StoreRel32(&h.share, share*2)
		}
	}
	hw.StoreRel32(&h.since, n)
}

func (h *shelf) shareOf(class uint32) uint32 {
	most := coldBytes / generations / classSize(class)
	share := atomic.LoadUint32(&h.share)
	if share == 0 || share > most {
		share = most
	}
	return max(share, 1)
}

// allocNear takes a block of a class, or else one that is smaller, though not
// below a chunk for a chunk, or else part of a larger one. 0: there is none at
// all.
func (s *Segment) allocNear(class uint32, cold bool) Ref {
	if cold {
		if r := s.oldest(class); r != 0 {
			return r
		}
	} else {
		h := &s.own.class[class]
		if r := s.pop(h.list(h.youngest()), class); r != 0 {
			return r
		}
	}
	for c := class; ; c-- {
		if r := s.find(c); r != 0 {
			return r
		}
		if c <= firstClass {
			break
		}
	}
	return s.part(class)
}

// find takes a block of a class wherever there is one, without breaking a larger
// one. What it takes from another slice is the view's own from then on, and
// comes back to its slice.
func (s *Segment) find(class uint32) Ref {
	// Twice: what moves from a list not looked at yet to one that was is missed.
	for range 2 {
		if r := s.takeFrom(s.own, class); r != 0 {
			return r
		}
		if r := s.steal(class, false); r != 0 {
			return r
		}
		if r := s.unused(class); r != 0 {
			return r
		}
		if r := s.steal(class, true); r != 0 {
			return r
		}
	}
	return 0
}

// takeFrom takes a block that was in use before from a slice, the youngest first.
func (s *Segment) takeFrom(from *slice, class uint32) Ref {
	h := &from.class[class]
	young := h.youngest()
	for age := range uint32(generations) {
		if r := s.pop(h.list(young-age), class); r != 0 {
			return r
		}
	}
	return 0
}

// steal takes a block from the slice of another owner, one that left or, if
// living, any.
func (s *Segment) steal(class uint32, living bool) Ref {
	for used := s.h.used.Load() &^ (1 << s.me); used != 0; used &= used - 1 {
		k := uint32(bits.TrailingZeros64(used))
		if k >= s.owners {
			break
		}
		if !living && s.h.owner[k].Load() != 0 {
			continue
		}
		if sched.Enabled {
			sched.Point("segment: before the lists of another owner")
		}
		from := s.slice(k)
		r := s.takeFrom(from, class)
		if r == 0 {
			r = s.pop(&from.class[class].fresh, class)
		}
		if r != 0 {
			s.own.class[class].count.Add(1)
			return r
		}
	}
	return 0
}

// unused takes a block that was never handed out, of the view's own or, with
// others in reserve, from fresh memory.
func (s *Segment) unused(class uint32) Ref {
	h := &s.own.class[class]
	r := s.pop(&h.fresh, class)
	if r == 0 {
		r = s.run(class, s.runLen(class))
	}
	if r != 0 {
		h.count.Add(1)
	}
	return r
}

// part takes a block of a class out of a free larger one, and frees the rest of
// that: one block of every class between, and small ones. Blocks that were
// parted do not merge again.
func (s *Segment) part(class uint32) Ref {
	for range 2 {
		for c := class + 1; c < nClasses; c++ {
			r := s.find(c)
			if r == 0 {
				continue
			}
			s.carve(r, c)
			if sched.Enabled {
				sched.Point("segment: carved, before it is divided")
			}
			s.divide(r)
			if sched.Enabled {
				sched.Point("segment: divided, before parts are given back")
			}
			var got Ref
			s.pieces(r, c, func(p Ref, pc uint32) {
				if pc == class && got == 0 {
					got = p
				} else {
					s.release(p)
				}
			})
			return got
		}
		if r := s.find(class); r != 0 { // others may have parted one meanwhile
			return r
		}
	}
	return 0
}

// maxDrops is how many blocks in a row may turn out not to be free before a list
// is taken for corrupt. A sweeper can take one from each thread that pops.
const maxDrops = 256

// pop takes the first block of a list. Lock-free.
func (s *Segment) pop(list *atomic.Uint64, class uint32) Ref {
	for drops := 0; ; {
		old := list.Load()
		r := Ref(old)
		if r == 0 {
			return 0
		}
		if !s.isBlock(r, class) || drops == maxDrops {
			// Nothing behind it can be trusted.
			s.corruptions.Add(1)
			list.CompareAndSwap(old, (old>>32+1)<<32)
			return 0
		}
		b := s.block(r)
		// Both may be stale if another thread took r meanwhile; then the tag has
		// moved and the swap fails. If it does not, r was in the list throughout,
		// in this incarnation.
		st := atomic.LoadUint64(&b.state)
		next := atomic.LoadUint32(&b.link)
		if sched.Enabled {
			sched.Point("segment: pop, between the link and the swap")
		}
		if !list.CompareAndSwap(old, (old>>32+1)<<32|uint64(next)) {
			continue
		}
		if sched.Enabled {
			sched.Point("segment: popped, before the claim")
		}
		if s.claim(b, st) {
			if sched.Enabled {
				sched.Point("segment: claimed")
			}
			return r
		}
		drops++
	}
}

// isBlock reports whether r, from shared memory, may name a block of a class.
func (s *Segment) isBlock(r Ref, class uint32) bool {
	return r >= s.first && r < s.end && uint32(s.end-r) >= classLines(class) && s.block(r).class == class
}

// claim makes a block that was just taken out of a list, in state st, the
// view's. False: a sweeper, who could not know whether the one who took it is
// alive, was faster, and the block is its.
func (s *Segment) claim(b *block, st uint64) bool {
	for {
		if k := kindOf(st); k != loose && k != giving {
			s.corruptions.Add(1)
			return false
		}
		if atomic.CompareAndSwapUint64(&b.state, st, stateOf(taken, s.me, genOf(st)+1)) {
			return true
		}
		// Who gave it back may only now say that it has done so.
		sched.Point("segment: claim failed, before another look")
		now := atomic.LoadUint64(&b.state)
		if genOf(now) != genOf(st) || kindOf(now) != loose {
			return false
		}
		st = now
	}
}

// linked says that block r, which the caller allocated, belongs to what lies at
// of from now on, a fifo or queue or the block itself, and stays with it if its
// owner dies. It is to be called before the link is made: a block that is not
// linked yet can be found by who knows the fifo; one that is in use and passes
// for a dead owner's would be handed out again.
func (s *Segment) linked(r, of Ref) {
	if sched.Enabled {
		sched.Point("segment: taken, before it is linked")
	}
	b := s.block(r)
	hw.StoreRel32(&b.of, uint32(of))
	st := atomic.LoadUint64(&b.state)
	hw.StoreRel64(&b.state, st&^kindMask|uint64(linked))
	if sched.Enabled {
		sched.Point("segment: linked, before the link is made")
	}
}

// isLinked reports whether r belongs to what lies at of, as its state says.
func (s *Segment) isLinked(r, of Ref) bool {
	b := s.block(r)
	return kindOf(atomic.LoadUint64(&b.state)) == linked && Ref(atomic.LoadUint32(&b.of)) == of
}

// release gives a block back, to the slice of the owner that took it. Any
// owner. The caller has it to itself.
func (s *Segment) release(r Ref) {
	list, st := s.offer(r)
	if list == nil {
		return
	}
	b := s.block(r)
	sched.Point("segment: offered, before the push")
	push(list, r, b)
	sched.Point("segment: pushed, before it is settled")
	s.settle(b, st)
}

// offer is the first step of a release: until settle the block bears the mark of
// who gives it back. It returns the list that the block goes to and the state it
// is in, or nil if it is none to be given back.
func (s *Segment) offer(r Ref) (*atomic.Uint64, uint64) {
	if _, ok := s.checked(r); !ok {
		s.corruptions.Add(1)
		return nil, 0
	}
	b := s.block(r)
	old := atomic.LoadUint64(&b.state)
	home, class := ownerOf(old), b.class
	if k := kindOf(old); k != taken && k != linked || home >= s.owners || class >= nClasses {
		// Given back twice, or scribbled on: to drop it loses a block at most.
		s.corruptions.Add(1)
		return nil, 0
	}
	st := stateOf(giving, s.me, genOf(old))
	sched.Point("segment: before it is offered")
	hw.StoreRel64(&b.state, st)
	h := &s.slice(home).class[class]
	return h.list(h.youngest()), st
}

// push puts a block, or the chain that begins with first and ends with last, in
// front of a list.
func push(list *atomic.Uint64, first Ref, last *block) {
	for {
		old := list.Load()
		hw.StoreRel32(&last.link, uint32(old))
		if sched.Enabled {
			sched.Point("segment: push, between the link and the swap")
		}
		if list.CompareAndSwap(old, old&^0xffffffff|uint64(first)) {
			return
		}
	}
}

// settle is the last step: the block is in its list, and its giver's concern no
// longer. It fails, rightly, if somebody has taken the block already.
func (s *Segment) settle(b *block, st uint64) {
	atomic.CompareAndSwapUint64(&b.state, st, st&^kindMask|uint64(loose))
}

// sizeOf is the payload of the block at r, which was checked, in bytes.
func (s *Segment) sizeOf(r Ref) uint32 { return classSize(s.block(r).class) }

// checked is the payload of the block at r, a reference read from shared memory:
// ok if it lies in the segment, has a class, and fits. Cheap; it does not tell
// whose block it is, or whether one begins there.
func (s *Segment) checked(r Ref) (size uint32, ok bool) {
	if r < s.first || r >= s.end {
		return 0, false
	}
	class := atomic.LoadUint32(&s.block(r).class)
	if class >= nClasses || uint32(s.end-r) < classLines(class) {
		return 0, false
	}
	return classSize(class), true
}
