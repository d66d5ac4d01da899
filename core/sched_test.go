//go:build sched

package core

import (
	"fmt"
	"syscall"
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

// TestSchedulesBurial has children of a process die, and of a child that has died
// itself, while two threads bury them and the process exits: each is closed once,
// by whoever buries it or, if nobody is to, by itself, and its index is free then,
// for one of those who want one.
func TestSchedulesBurial(t *testing.T) {
	rep := sched.Explore(t, sched.Options{Schedules: 600}, func(r *sched.Run) {
		a, err := New(Config{SegmentSize: 1 << 20, EventQueueSize: 16, MaxWorkers: 6}, Hooks{})
		if err != nil {
			r.Fatalf("%v", err)
		}
		made := func(parent *Worker) *Worker {
			w, err := a.newWorker(parent)
			if err != nil {
				r.Fatalf("worker: %v", err)
			}
			return w
		}
		parent := made(nil)
		one, two := made(parent), made(parent)
		deep := made(one)
		closed := make(map[*Worker]string)
		bury := func(who string, w *Worker) {
			if by := closed[w]; by != "" {
				r.Fatalf("worker %d is closed by %s and by %s", w.index, by, who)
			}
			closed[w] = who
			th, err := w.NewThread(nil)
			if err != nil {
				r.Fatalf("thread: %v", err)
			}
			w.Close(th)
			th.Exit()
		}
		burials := func(who string) {
			for w := parent.TakeDead(); w != nil; w = parent.TakeDead() {
				w.Orphan()
				bury(who, w)
			}
		}
		for _, d := range []struct {
			name string
			w    *Worker
		}{{"one", one}, {"two", two}, {"one of one's", deep}} {
			r.Go(d.name, func() {
				if !d.w.Die() {
					d.w.Orphan()
					for w := d.w.TakeDead(); w != nil; w = d.w.TakeDead() {
						bury(d.name, w)
					}
					bury(d.name, d.w)
				}
			})
		}
		mine := make(map[uint32]string)
		for i := range 3 {
			who := fmt.Sprint("maker", i)
			r.Go(who, func() {
				w, err := a.newWorker(nil)
				if err != nil {
					return // others have all there is, for now
				}
				if o := mine[w.index]; o != "" {
					r.Fatalf("index %d is %s's and %s's", w.index, o, who)
				}
				mine[w.index] = who
			})
		}
		r.Go("waits", func() { burials("waits") })
		r.Go("exits", func() {
			parent.Orphan()
			burials("exits")
		})
		r.Check(func() {
			burials("the last") // what another had taken when the exit looked
			bury("its exit", parent)
			if len(closed) != 4 {
				r.Errorf("%d of 4 are closed: %v", len(closed), closed)
			}
			for range 6 - len(mine) {
				made(nil)
			}
			if _, err := a.newWorker(nil); err == nil {
				r.Errorf("there is an index too many")
			}
			a.Close()
		})
	})
	t.Logf("%d schedules, the longest of %d steps", rep.Schedules, rep.Longest)
}

// TestSchedulesModClose has a thread change a session's membership in a set that
// another closes: it has none afterwards, and the set no member.
func TestSchedulesModClose(t *testing.T) {
	done := 0
	rep := sched.Explore(t, sched.Options{Schedules: 600}, func(r *sched.Run) {
		_, w, one, two, x, _ := freeWorld(t)
		set, err := one.EpollCreate()
		if err != nil {
			t.Fatal(err)
		}
		h := set.Handle()
		one.Release(set, BothEnds)
		ctl := func(th *Thread, op int, events uint32) error {
			s, err := th.Claim(x, BothEnds, true)
			if err != nil {
				r.Fatalf("claim: %v", err)
			}
			defer th.Release(s, BothEnds)
			return th.EpollCtl(set, op, s, &EpollEvent{Events: events})
		}
		// A pin, so that the set is there to be looked at.
		if w.Pin(h) != set {
			t.Fatal("the set is not found")
		}
		groups := set.epoll.free
		if err := ctl(one, EPOLL_CTL_ADD, EPOLLIN); err != nil {
			t.Fatal(err)
		}
		r.Go("closer", func() {
			if err := one.CloseHandle(h); err != nil {
				r.Fatalf("close: %v", err)
			}
		})
		r.Go("changer", func() {
			switch err := ctl(two, EPOLL_CTL_MOD, EPOLLOUT); err {
			case nil:
				done++
			case syscall.EBADFD, syscall.ENOENT:
			default:
				r.Fatalf("mod: %v", err)
			}
		})
		r.Check(func() {
			s := w.Lookup(x)
			if m := s.member.Load(); m != nil {
				r.Errorf("the session is a member of a closed set")
			}
			for _, g := range groups.groups.Load().all {
				for i := range g {
					if g[i].Load() != nil {
						r.Errorf("the closed set has a member at place %d", i)
					}
				}
			}
			w.Unpin(set)
		})
	})
	if done == 0 || done == rep.Schedules {
		t.Errorf("%d changes of %d were in time: want some", done, rep.Schedules)
	}
	t.Logf("%d schedules, the longest of %d steps, %d changes in time", rep.Schedules, rep.Longest, done)
}
