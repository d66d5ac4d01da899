package migrate

import (
	"runtime"
	"testing"

	"vlsbench/core"
	"vlsbench/vls"
)

// What the decisions decide: whose P and R are the same, and what a look-up takes.
func TestDecisions(t *testing.T) {
	guard(t, 60e9)
	for _, set := range []map[string]string{
		{}, {"where": "app"}, {"rpc": "app"}, {"lookup": "table"}, {"lookup": "table", "session": "mcs"},
	} {
		d, err := preset.tune(set)
		ok(t, err)
		t.Run(d.name, func(t *testing.T) {
			a := tuned(t, d, vls.Options{Config: core.Config{Wait: core.Park}})
			p, q := newProcess(t, a), newProcess(t, a)
			p.lock.Lock()
			if free := q.lock.TryLock(); free != (set["where"] != "app") {
				t.Errorf("while a process has P, that of another is free: %v", free)
			} else if free {
				q.lock.Unlock()
			}
			p.lock.Unlock()

			// One asks for what a thread has that makes no call.
			sleepy, asker, other := newThread(t, p), newThread(t, p), newThread(t, q)
			h := mustCreate(t, sleepy)
			got := make(chan error)
			go func() { _, err := asker.Attr(h, core.GetFlags, make([]byte, 4)); got <- err }()
			for sleepy.w.asked.Load() == 0 {
				runtime.Gosched()
			}
			if free := other.w.ask.TryLock(); free != (set["rpc"] != "app") {
				t.Errorf("while one asks, who wants to ask another worker may: %v", free)
			} else if free {
				other.w.ask.Unlock()
			}
			stop := serving(sleepy)
			ok(t, <-got)
			stop()
			p.free(t, "all that")

			counted := tuned(t, d, vls.Options{CountLocks: true, Config: core.Config{Wait: core.Park}})
			th := newThread(t, newProcess(t, counted))
			x, y := pair(t, th, th)
			taken := func() (n [2]uint64) {
				for _, s := range counted.Locks() {
					switch s.Class {
					case "P":
						n[0] = s.Shared
					case "S":
						n[1] = s.Acquisitions
					}
				}
				return n
			}
			before := taken()
			write(t, th, x, "of four")
			read(t, th, y, "of four")
			_, err = th.Attr(y, core.GetFlags, make([]byte, 4))
			ok(t, err)
			want := [2]uint64{0, 3}
			if set["lookup"] == "table" {
				want[0] = 3
			}
			if now := taken(); [2]uint64{now[0] - before[0], now[1] - before[1]} != want {
				t.Errorf("a write, a read and an attr take P.r and S from %v to %v, want %v more", before, now, want)
			}
		})
	}
}

// A thread that comes, goes, and comes again is asked as before; and who asks in
// the meantime finds that nobody is there, and takes what was left.
func TestAskedWhileLeaving(t *testing.T) {
	for _, rpc := range []string{"worker", "app"} {
		d, err := preset.tune(map[string]string{"rpc": rpc})
		ok(t, err)
		t.Run(rpc, func(t *testing.T) {
			guard(t, 60e9)
			a := tuned(t, d, vls.Options{Config: core.Config{Wait: core.Adaptive}})
			p := newProcess(t, a)
			owner, asker := newThread(t, p), newThread(t, p)
			for range 300 {
				h := mustCreate(t, owner)
				got := make(chan error)
				go func() { _, err := asker.Attr(h, core.GetFlags, make([]byte, 4)); got <- err }()
				runtime.Gosched()
				ok(t, owner.Exit())
				ok(t, <-got)
				if of(p, h) != asker.w {
					t.Fatal("it is elsewhere")
				}
				ok(t, asker.Close(h))
				ok(t, owner.Register())
			}
			p.free(t, "coming and going")
		})
	}
}
