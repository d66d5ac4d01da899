//go:build sched

package migrate

import (
	"testing"

	"vlsbench/core"
	"vlsbench/locks"
	"vlsbench/sched"
	"vlsbench/vls"
)

// asks is an R that counts how often its worker is asked.
type asks struct {
	r locks.Lock
	n int
}

func (l *asks) Lock()   { l.r.Lock() }
func (l *asks) Unlock() { l.r.Unlock() }

func (l *asks) TryLock() bool {
	if !l.r.TryLock() {
		return false
	}
	l.n++
	return true
}

// Who asks for a session gets it, however soon the owner wants it again: it need
// not be quicker than one that is there.
func TestSchedulesAsked(t *testing.T) {
	const uses = 30
	sched.Explore(t, sched.Options{Schedules: 500}, func(r *sched.Run) {
		app, err := preset.new(vls.Options{Config: core.Config{Wait: core.Park, SegmentSize: 1 << 20, MaxWorkers: 4}})
		if err != nil {
			r.Fatalf("%v", err)
		}
		p, err := app.NewProcess()
		if err != nil {
			r.Fatalf("%v", err)
		}
		owner, asker := p.NewThread().(*thread), p.NewThread().(*thread)
		for _, th := range []*thread{owner, asker} {
			if err := th.Register(); err != nil {
				r.Fatalf("%v", err)
			}
		}
		h, err := owner.Create(vls.TCP, true)
		if err != nil {
			r.Fatalf("%v", err)
		}
		count := &asks{r: owner.w.ask}
		owner.w.ask = count
		asked := 0
		use := func(th *thread) {
			if _, err := th.Attr(h, core.GetMSS, make([]byte, 4)); err != nil {
				r.Fatalf("%v", err)
			}
		}
		r.Go("owner", func() {
			for range uses {
				use(owner)
			}
			owner.w.ask = count.r // not to count its own
			owner.Exit()
		})
		r.Go("asker", func() {
			use(asker)
			asked = count.n
			asker.Exit()
		})
		r.Check(func() {
			if asked > inVain+1 {
				r.Errorf("asked %d times for one use, of an owner that made calls", asked)
			}
			if err := app.Close(); err != nil {
				r.Errorf("%v", err)
			}
		})
	})
}
