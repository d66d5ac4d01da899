package core

import (
	"sync"
	"testing"
)

// Many threads take and return slots at once, and find each other's by their
// handles or not at all.
func TestPoolTakenByMany(t *testing.T) {
	p := NewPool[thing](3)
	const threads, each = 8, 5000
	var wait sync.WaitGroup
	last := make([][]uint64, threads)
	for i := range threads {
		wait.Add(1)
		go func() {
			defer wait.Done()
			var held []uint64
			for n := range each {
				h, v := p.Take()
				if v == nil || v.handle != 0 {
					t.Errorf("handle %#x: a slot that is %v", h, v)
					return
				}
				v.handle = h
				p.Publish(h)
				if held = append(held, h); n%7 != 0 && len(held) < 10 {
					continue
				}
				for _, h := range held {
					v := p.Get(h)
					if v == nil || v.handle != h {
						t.Errorf("handle %#x leads to %v", h, v)
						return
					}
					v.handle = 0
					p.Invalidate(h)
					p.Return(h)
				}
				last[i] = append(last[i][:0], held...)
				held = held[:0]
			}
			for _, h := range held {
				p.Get(h).handle = 0
				p.Invalidate(h)
				p.Return(h)
			}
		}()
	}
	wait.Wait()
	if p.Used() != 0 {
		t.Errorf("%d slots are used, want 0", p.Used())
	}
	if n := p.made.Load(); n > threads*10 {
		t.Errorf("%d slots were made for at most %d at once", n, threads*10)
	}
	for _, handles := range last {
		for _, h := range handles {
			if p.Get(h) != nil || p.Key(h) != nil {
				t.Errorf("the stale handle %#x is found", h)
			}
		}
	}
}

// A pool that is full says so, and goes on when a slot was returned.
func TestPoolTakenFull(t *testing.T) {
	p := NewPool[thing](0)
	p.limit = 2
	a, _ := p.Take()
	p.Take()
	if h, v := p.Take(); v != nil {
		t.Fatalf("a third slot of two: %#x", h)
	}
	p.Return(a)
	if h, v := p.Take(); v == nil || uint32(h) != uint32(a) || h == a {
		t.Fatalf("after a return: %#x, %v; want the slot of %#x with another generation", h, v, a)
	}
}
