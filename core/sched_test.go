//go:build sched

package core

import (
	"fmt"
	"testing"

	"vlsbench/sched"
)

// TestSchedulesPool has threads take and return slots: no slot is two threads' at
// once, no handle comes twice, and in the end as many are free as were made.
func TestSchedulesPool(t *testing.T) {
	rep := sched.Explore(t, sched.Options{Schedules: 3000}, func(r *sched.Run) {
		p := NewPool[thing](0)
		seen := make(map[uint64]bool)
		owner := make(map[uint32]string)
		take := func(who string) uint64 {
			h, v := p.Take()
			if v == nil || seen[h] {
				r.Fatalf("%s: handle %#x was given out before, or the pool is full", who, h)
			}
			if o := owner[uint32(h)]; o != "" {
				r.Fatalf("slot %d is %s's and %s's", uint32(h), o, who)
			}
			seen[h] = true
			owner[uint32(h)] = who
			p.Publish(h)
			return h
		}
		give := func(h uint64) {
			owner[uint32(h)] = ""
			p.Invalidate(h)
			p.Return(h)
		}
		for i := range 3 {
			who := fmt.Sprint("thread", i)
			r.Go(who, func() {
				a, b := take(who), take(who)
				give(a)
				c := take(who)
				give(b)
				give(c)
			})
		}
		r.Check(func() {
			if p.Used() != 0 {
				r.Errorf("%d slots are used, want 0", p.Used())
			}
			free := 0
			for i := uint32(p.top.Load()); i != 0; i = p.find(uint64(i - 1)).below.Load() {
				if free++; free > 6 {
					break
				}
			}
			if n := int(p.made.Load()); free != n || n > 6 {
				r.Errorf("%d slots of %d are free", free, n)
			}
		})
	})
	t.Logf("%d schedules, the longest of %d steps", rep.Schedules, rep.Longest)
}
