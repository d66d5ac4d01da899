package core

import (
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"
)

type thing struct{ handle uint64 }

// put allocates and publishes a slot that holds its own handle.
func put(t *testing.T, p *Pool[thing]) uint64 {
	t.Helper()
	h, v := p.Alloc()
	if v == nil {
		t.Fatal("the pool is full")
	}
	v.handle = h
	p.Publish(h)
	return h
}

func drop(p *Pool[thing], h uint64) {
	p.Invalidate(h)
	p.Free(h)
}

func TestPoolHandles(t *testing.T) {
	for _, worker := range []uint32{0, 1, 254} {
		p := NewPool[thing](worker)
		seen := make(map[uint64]bool)
		for i := range uint32(1000) {
			h := put(t, p)
			if Handle(h).Worker() != worker || Handle(h).Index() != i || h>>32 != 1 {
				t.Fatalf("handle %d is %#x: want worker %d, index %d, generation 1", i, h, worker, i)
			}
			if h == 0 || seen[h] {
				t.Fatalf("handle %#x was given out before, or is zero", h)
			}
			seen[h] = true
			if v := p.Get(h); v == nil || v.handle != h {
				t.Fatalf("handle %#x leads to %v", h, v)
			}
			if live := p.Live(i); live != h {
				t.Fatalf("at index %d lives %#x, want %#x", i, live, h)
			}
		}
		if p.Used() != 1000 {
			t.Fatalf("%d slots are used, want 1000", p.Used())
		}
	}
}

// What was never given out leads to nothing: in an empty pool, in slots that
// were never used, and under words that the pool keeps for itself.
func TestPoolNeverGivenOut(t *testing.T) {
	for _, fill := range []int{0, 1, 64, 65, 1000} {
		p := NewPool[thing](3)
		for range fill {
			put(t, p)
		}
		for _, h := range []uint64{
			0, 1, 3 << 24, ^uint64(0), ^uint64(0) >> 32, 1<<32 | 3<<24 | indexMask,
			1<<32 | 2<<24, 2<<32 | 3<<24, 3<<24 | 64, 1<<32 | 3<<24 | 1<<20, 1<<63 | 3<<24,
		} {
			if v := p.Get(h); v != nil {
				t.Errorf("with %d used, handle %#x leads to %+v", fill, h, v)
			}
		}
		for _, i := range []uint32{uint32(fill), 5000, indexMask} {
			if h := p.Live(i); h != 0 {
				t.Errorf("with %d used, at index %d lives %#x", fill, i, h)
			}
		}
	}
}

// A handle is found from Publish to Invalidate, and never again.
func TestPoolStages(t *testing.T) {
	p := NewPool[thing](0)
	h, v := p.Alloc()
	if p.Get(h) != nil || p.Live(0) != 0 {
		t.Fatal("found before it was published")
	}
	p.Publish(h)
	if p.Get(h) != v {
		t.Fatal("not found though published")
	}
	p.Invalidate(h)
	if p.Get(h) != nil || p.Live(0) != 0 {
		t.Fatal("found though stale")
	}
	if o, _ := p.Alloc(); uint32(o) == uint32(h) {
		t.Fatal("a stale slot was given out before it was freed")
	}
	p.Free(h)
	old := h
	for gen := uint64(2); gen < 100; gen++ {
		h, w := p.Alloc()
		if w != v || h>>32 != gen {
			t.Fatalf("slot %p with handle %#x: want %p again, generation %d", w, h, v, gen)
		}
		p.Publish(h)
		if p.Get(old) != nil {
			t.Fatalf("the stale handle %#x leads to generation %d", old, gen)
		}
		drop(p, h)
		old = h
	}
}

// Generations wrap to 1: a handle is never zero.
func TestPoolGenerationWraps(t *testing.T) {
	p := NewPool[thing](0)
	h := put(t, p)
	drop(p, h)
	p.find(h).gen = 1<<32 - 1
	if h = put(t, p); h>>32 != 1 {
		t.Fatalf("after generation 1<<32-1 comes %d, want 1", h>>32)
	}
}

func TestPoolGrowthKeepsAddresses(t *testing.T) {
	p := NewPool[thing](7)
	const n = 20_000
	handles, values := make([]uint64, n), make([]*thing, n)
	distinct := make(map[*thing]bool)
	for i := range handles {
		handles[i] = put(t, p)
		values[i] = p.Get(handles[i])
		distinct[values[i]] = true
	}
	if len(distinct) != n {
		t.Fatalf("%d slots lie at %d addresses", n, len(distinct))
	}
	for i, h := range handles {
		if v := p.Get(h); v != values[i] || v.handle != h {
			t.Fatalf("handle %#x moved from %p to %p", h, values[i], v)
		}
	}
}

func TestPoolFull(t *testing.T) {
	p := NewPool[thing](0)
	p.limit = 100
	var last uint64
	for range 100 {
		last = put(t, p)
	}
	for range 3 {
		if h, v := p.Alloc(); v != nil || h != 0 {
			t.Fatalf("a full pool gave %#x", h)
		}
	}
	drop(p, last)
	if h := put(t, p); uint32(h) != uint32(last) || h == last {
		t.Fatalf("handle %#x, want the slot of %#x again", h, last)
	}
}

// Each sees what is live, once each, whatever came and went.
func TestPoolEach(t *testing.T) {
	p := NewPool[thing](2)
	rng := rand.New(rand.NewPCG(1, 2))
	live := make(map[uint64]bool)
	for range 3000 {
		if len(live) > 0 && rng.IntN(5) < 2 {
			for h := range live {
				drop(p, h)
				delete(live, h)
				break
			}
		} else {
			live[put(t, p)] = true
		}
		if rng.IntN(50) != 0 {
			continue
		}
		seen := 0
		p.Each(func(h uint64, v *thing) {
			seen++
			if !live[h] || v.handle != h {
				t.Fatalf("Each gives %#x with %#x, which is not live", h, v.handle)
			}
		})
		if seen != len(live) || p.Used() != len(live) {
			t.Fatalf("Each gives %d and Used %d, want %d", seen, p.Used(), len(live))
		}
	}
	// What f closes and makes meanwhile does no harm.
	p.Each(func(h uint64, _ *thing) { drop(p, h) })
	p.Each(func(h uint64, _ *thing) { t.Fatalf("%#x is left", h) })
}

// Readers need no exclusion: they find the value of their handle or nothing,
// while the pool grows and slots are used again.
func TestPoolConcurrentGet(t *testing.T) {
	p := NewPool[atomic.Uint64](1)
	var current [64]atomic.Uint64
	var stop atomic.Bool
	done := make(chan uint64, 2)
	for range 2 {
		go func() {
			var bad uint64
			for i := 0; !stop.Load(); i++ {
				h := current[i%len(current)].Load()
				if v := p.Get(h); v != nil && h != 0 {
					// It may have become stale since; then the slot is another's.
					if got := v.Load(); got != h && p.Get(h) != nil {
						bad = h
					}
				}
				p.Live(uint32(i % 5000))
			}
			done <- bad
		}()
	}
	for i := range 20_000 {
		k := i % len(current)
		if h := current[k].Load(); h != 0 && i%3 != 0 {
			current[k].Store(0)
			p.Invalidate(h)
			p.Free(h)
			continue
		}
		h, v := p.Alloc()
		v.Store(h)
		p.Publish(h)
		current[k].Store(h)
	}
	stop.Store(true)
	for range 2 {
		select {
		case bad := <-done:
			if bad != 0 {
				t.Errorf("handle %#x led to another's value", bad)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("a reader hangs")
		}
	}
}

// A mirror has what the other pool has, at the same indices under the same
// names, with keys of its own; and gives out no number, as name or key, that was
// ever one there or here.
func TestPoolMirror(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	pools := make([]*Pool[thing], 4)
	ever := make([]map[uint64]bool, len(pools)) // names and keys that a pool's process has seen
	for i := range pools {
		pools[i], ever[i] = NewPool[thing](uint32(i)), map[uint64]bool{}
	}
	churn := func(i int) {
		for range rng.IntN(200) {
			if h := pools[i].Live(uint32(rng.IntN(100))); h != 0 && rng.IntN(3) > 0 {
				drop(pools[i], h)
				continue
			}
			h := put(t, pools[i])
			if ever[i][h] {
				t.Fatalf("%#x is given out again by pool %d", h, i)
			}
			ever[i][h] = true
		}
	}
	churn(0)
	for round := range 100 {
		from, to := round%len(pools), (round+1+rng.IntN(len(pools)-1))%len(pools)
		o, p := pools[from], pools[to]
		// The worker before has ended, as that of a process that exits.
		p.Each(func(h uint64, _ *thing) { drop(p, h) })
		ever[to] = map[uint64]bool{}
		for h := range ever[from] {
			ever[to][h] = true
		}
		p.Mirror(o, func(key uint64, a, b *thing) {
			if ever[to][key] {
				t.Fatalf("key %#x was given out before", key)
			}
			ever[to][key] = true
			b.handle = key
		})
		if p.Used() != o.Used()-zombies(o) {
			t.Fatalf("%d in the mirror, want %d", p.Used(), o.Used())
		}
		o.Each(func(name uint64, _ *thing) {
			v := p.Get(name)
			if v == nil || p.Key(v.handle) != v || p.Live(uint32(name)&indexMask) != name || uint32(v.handle)>>indexBits != uint32(to) {
				t.Fatalf("%#x leads to %+v in the mirror", name, v)
			}
			if v.handle != name && p.Get(v.handle) != nil {
				t.Fatalf("the key %#x is a name", v.handle)
			}
		})
		churn(to)
		churn(from)
	}
}

// zombies is the number of slots that are allocated and not found.
func zombies(p *Pool[thing]) int {
	live := 0
	p.Each(func(uint64, *thing) { live++ })
	return p.Used() - live
}

// A directory finds what Lookup does, in the first page, in others, and where no
// page was ever made.
func TestDirectory(t *testing.T) {
	a, err := New(Config{}, Hooks{})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	w, err := a.NewWorker()
	if err != nil {
		t.Fatal(err)
	}
	th, err := w.NewThread(nil)
	if err != nil {
		t.Fatal(err)
	}
	var d Directory
	d.Open(w) // before there is any session
	var handles []Handle
	for i := range 2*pageSlots + 10 {
		s, err := th.Create(TCP, true)
		if err != nil {
			t.Fatal(err)
		}
		h := s.Handle()
		if i%3 == 0 {
			if err := th.Close(s); err != nil {
				t.Fatal(err)
			}
		}
		handles = append(handles, h, h+1<<32)
	}
	last := handles[len(handles)-2]
	handles = append(handles, 0, ^Handle(0), 1, last+1, last+pageSlots, last+5*pageSlots, 5*pageSlots, MaxIndex)
	live := 0
	for _, h := range handles {
		want := w.Lookup(h)
		s, ok := d.Find(h)
		if ok != (want != nil) || ok && s != want {
			t.Fatalf("Find(%#x) is %p, %v; Lookup's is %p", uint64(h), s, ok, want)
		}
		if ok {
			live++
		}
	}
	if live < 2*pageSlots/3 {
		t.Fatalf("%d handles of %d were live", live, len(handles))
	}
	// Shut, or caught between its two stores.
	var shut Directory
	shut.Shut()
	for _, h := range handles {
		if _, ok := shut.Find(h); ok {
			t.Fatalf("a directory that is shut finds %#x", uint64(h))
		}
	}
	d.first.Store(shut.first.Load())
	for _, h := range handles {
		if _, ok := d.Find(h); ok && h.Index() < pageSlots {
			t.Fatalf("a directory without its first page finds %#x", uint64(h))
		}
	}
	d.Open(w)
	d.pool.Store(shut.pool.Load())
	for _, h := range handles {
		if _, ok := d.Find(h); ok && h.Index() >= pageSlots {
			t.Fatalf("a directory without its pool finds %#x", uint64(h))
		}
	}
	d.Shut()
	d.Open(w)
	if s, ok := d.Find(last); !ok || s != w.Lookup(last) {
		t.Fatalf("a directory that was opened again finds %p, %v", s, ok)
	}
	w.Close(th)
	th.Exit()
}
