package kernel

import (
	"sync"
	"sync/atomic"
	"syscall"

	"vlsbench/core"
	"vlsbench/hw"
	"vlsbench/vls"
)

const (
	pageSlots = 256
	pages     = 4096 // a million sessions: no process may open more descriptors
)

// table is the handles of a process. Whoever uses one holds its slot, so that a
// descriptor is closed, and its number used again, only when nobody is inside a
// call on it.
type table struct {
	pages [pages]atomic.Pointer[[pageSlots]slot]

	mu   sync.Mutex // of opening and closing
	n    uint32     // slots ever used
	free []uint32
	gen  uint32 // that new slots go on from
}

// slot is one handle's place, on cache lines of its own.
type slot struct {
	// handle is what the slot is found by; 0: nothing.
	handle atomic.Uint64
	// refs counts who is inside, and the open handle as one.
	refs atomic.Int32
	// fd and sock are set before the handle is, and stay until refs is 0.
	fd   int
	sock *socket

	gen   uint32 // of the last use; under mu
	index uint32
	dead  bool // closed, and not free yet; under mu

	_ [hw.FalseSharing - 48]byte
}

// at is the slot of an index, nil if it was never made.
func (t *table) at(index uint32) *slot {
	if index >= pages*pageSlots {
		return nil
	}
	page := t.pages[index/pageSlots].Load()
	if page == nil {
		return nil
	}
	return &page[index%pageSlots]
}

// acquire holds the slot of a handle. nil: closed, or never was.
func (t *table) acquire(h vls.Handle) *slot {
	s := t.at(uint32(h) & core.MaxIndex)
	if s == nil || h == 0 {
		return nil
	}
	s.refs.Add(1)
	if s.handle.Load() == uint64(h) {
		return s
	}
	t.release(s)
	return nil
}

// release lets go of a slot. The last one out of a closed one frees it.
func (t *table) release(s *slot) {
	if s.refs.Add(-1) == 0 {
		t.reap(s)
	}
}

// reap frees a closed slot. It may be called for one that is not: who looks up a
// stale handle holds, for a moment, whatever its slot is by then.
func (t *table) reap(s *slot) {
	t.mu.Lock()
	if !s.dead || s.refs.Load() != 0 {
		t.mu.Unlock()
		return
	}
	sock := s.sock
	s.dead, s.sock = false, nil
	t.free = append(t.free, s.index)
	t.mu.Unlock()
	sock.unref()
}

// open gives a socket a handle. ENOMEM: the table is full.
func (t *table) open(sock *socket, worker uint32) (vls.Handle, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var s *slot
	if n := len(t.free); n > 0 {
		s = t.at(t.free[n-1])
		t.free = t.free[:n-1]
	} else if s = t.make(t.n); s != nil {
		t.n++
	} else {
		return 0, syscall.ENOMEM
	}
	if s.gen++; s.gen == 0 {
		s.gen = 1
	}
	h := vls.Handle(s.gen)<<32 | vls.Handle(worker)<<24 | vls.Handle(s.index)
	s.set(h, sock)
	return h, nil
}

// set opens a free slot.
func (s *slot) set(h vls.Handle, sock *socket) {
	s.fd, s.sock = sock.fd, sock
	s.refs.Add(1)
	s.handle.Store(uint64(h))
}

// make makes the slot of the next index, nil if there can be no more.
func (t *table) make(index uint32) *slot {
	if index >= pages*pageSlots {
		return nil
	}
	p := &t.pages[index/pageSlots]
	if p.Load() == nil {
		p.Store(new([pageSlots]slot))
	}
	s := t.at(index)
	s.index, s.gen = index, t.gen
	return s
}

// highest is the highest generation that was given out.
func (t *table) highest() uint32 {
	t.mu.Lock()
	defer t.mu.Unlock()
	gen := t.gen
	for index := range t.n {
		gen = max(gen, t.at(index).gen)
	}
	return gen
}

// close makes a handle stale, and whoever is inside a call on it leave.
func (t *table) close(h vls.Handle) error {
	s := t.acquire(h)
	if s == nil {
		return syscall.EBADFD
	}
	t.mu.Lock()
	if s.dead || s.handle.Load() != uint64(h) { // another close was quicker
		t.mu.Unlock()
		t.release(s)
		return syscall.EBADFD
	}
	s.handle.Store(0)
	s.dead = true
	t.mu.Unlock()
	if s.refs.Add(-1) > 1 {
		s.sock.disturb()
	}
	t.release(s)
	return nil
}

// each calls f with each open handle.
func (t *table) each(f func(vls.Handle)) {
	t.mu.Lock()
	n := t.n
	t.mu.Unlock()
	for index := range n {
		if h := t.at(index).handle.Load(); h != 0 {
			f(vls.Handle(h))
		}
	}
}

// copyFrom makes an empty table a copy of another, whose mu is held.
func (t *table) copyFrom(o *table) {
	for index := range o.n {
		from, to := o.at(index), t.make(index)
		to.gen = max(to.gen, from.gen)
		if h := vls.Handle(from.handle.Load()); h != 0 {
			from.sock.share()
			to.set(h, from.sock)
		} else {
			t.free = append(t.free, index)
		}
	}
	t.n = o.n
}
