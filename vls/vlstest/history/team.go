package history

import (
	"fmt"
	"net/netip"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"vlsbench/audit"
	"vlsbench/core"
	"vlsbench/fifo"
	"vlsbench/vls"
	"vlsbench/vls/vlstest"
)

// team is the threads of a round, of one application.
type team struct {
	app   vls.App
	procs []vls.Process
	mates []*mate // one process's after another's
	port  uint16
	beats atomic.Int32 // how often it was looked after, which no stopped machine does
}

// mate is a thread of a team.
type mate struct {
	vls.Thread
	team  *team
	since int32 // beats when the last call began
	_     [128]byte
}

// begin is to be called before each call that may be late.
func (t *mate) begin() { t.since = t.team.beats.Load() }

// fifoSize is small, so that large writes fill a fifo at once.
const fifoSize = 8 << 10

// newTeam makes processes of so many threads each.
func newTeam(s vls.Strategy, wait vls.Wait, procs, each int) (*team, error) {
	return newTeamIn(nil, s, wait, procs, each)
}

// newTeamIn is newTeam in a segment, a new one if that is nil.
func newTeamIn(seg *fifo.Segment, s vls.Strategy, wait vls.Wait, procs, each int) (*team, error) {
	audit.SetRun("strategy " + s.Name + ", history")
	app, err := s.New(vls.Options{Config: core.Config{
		Wait: wait, RxFifoSize: fifoSize, TxFifoSize: fifoSize, EventQueueSize: 64,
		SegmentSize: 8 << 20, Segment: seg, MaxWorkers: 32,
	}})
	if err != nil {
		return nil, err
	}
	m := &team{app: app}
	for range procs {
		p, err := app.NewProcess()
		if err != nil {
			return nil, err
		}
		m.procs = append(m.procs, p)
		for range each {
			th := p.NewThread()
			if err := th.Register(); err != nil {
				return nil, err
			}
			m.mates = append(m.mates, &mate{Thread: th, team: m})
		}
	}
	return m, nil
}

// withCores gives each thread a processor of Go's, until the returned function is
// called: a goroutine that sleeps in the kernel keeps its processor for a while.
func withCores(threads int) func() {
	was := runtime.GOMAXPROCS(0)
	runtime.GOMAXPROCS(max(was, threads+2))
	return func() { runtime.GOMAXPROCS(was) }
}

// close ends the team.
func (m *team) close() error {
	for _, th := range m.mates {
		if err := th.Exit(); err != nil {
			return err
		}
	}
	for _, p := range m.procs {
		if err := p.Exit(); err != nil {
			return err
		}
	}
	return m.app.Close()
}

// all lets each thread do something at once, and waits until all have. The first
// error ends the wait: whoever is still inside a call is left there, and the
// team is not to be used any more.
func (m *team) all(do func(i int, th *mate) error) error {
	var left atomic.Int32
	left.Store(int32(len(m.mates)))
	ends := make(chan error, len(m.mates))
	var ready sync.WaitGroup
	ready.Add(len(m.mates))
	for i, th := range m.mates {
		go func() {
			debug.SetPanicOnFault(true)
			defer func() {
				if p := recover(); p != nil {
					ends <- fmt.Errorf("thread %d: panic: %v\n%s", i, p, debug.Stack())
				}
			}()
			ready.Done()
			ready.Wait()
			err := do(i, th)
			if err != nil {
				err = fmt.Errorf("thread %d: %w", i, err)
			}
			left.Add(-1)
			// Where each thread has a worker of its own, what it has can be had by
			// others only while it makes calls.
			for err == nil && th.MultiThreadWorkers() && left.Load() > 0 {
				th.Poll(nil, 0)
				runtime.Gosched()
			}
			ends <- err
		}()
	}
	dog := time.NewTimer(vlstest.Limit)
	defer dog.Stop()
	beats := time.NewTicker(beat)
	defer beats.Stop()
	for n := len(m.mates); n > 0; {
		select {
		case err := <-ends:
			if err != nil {
				return err
			}
			n--
		case <-beats.C:
			m.beats.Add(1)
		case <-dog.C:
			buf := make([]byte, 1<<20)
			return fmt.Errorf("hangs: a round has no end\n%s", buf[:runtime.Stack(buf, true)])
		}
	}
	return nil
}

// beat is how often a team is looked after, and starved how often it is in the
// shortest call that may not be given up: a team never rests for so long.
const (
	beat    = 100 * time.Millisecond
	starved = 20
)

// late reports whether a call on a session that another thread has, which has
// just ended, was given up where each has a worker of its own, because the machine
// had stopped for seconds: nothing has changed then, and it can be made again.
// While the machine runs, all threads make calls and so serve each other, and a
// call that is given up is one that was starved.
func (t *mate) late(err error) bool {
	return err == syscall.ETIMEDOUT && t.MultiThreadWorkers() && t.team.beats.Load()-t.since < starved
}

// closeOn closes a session, which another thread may have.
func closeOn(th *mate, h vls.Handle) error {
	for {
		th.begin()
		if err := th.Close(h); !th.late(err) {
			return err
		}
	}
}

// pair connects a session of a to one of b, both non-blocking.
func (m *team) pair(a, b vls.Thread) (x, y vls.Handle, err error) {
	m.port++
	return m.pairAt(a, b, 2000+m.port)
}

// pairAt is pair by a listener at a port that nobody else has.
func (m *team) pairAt(a, b vls.Thread, port uint16) (x, y vls.Handle, err error) {
	ep := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)
	l, err := b.Create(vls.TCP, false)
	if err != nil {
		return 0, 0, err
	}
	x, err = a.Create(vls.TCP, true)
	for _, f := range []func() error{
		func() error { return err },
		func() error { return b.Bind(l, ep) },
		func() error { return b.Listen(l, 1) },
		func() error {
			if err := a.Connect(x, ep); err != syscall.EINPROGRESS {
				return err
			}
			return nil
		},
		func() error { y, _, err = b.Accept(l, syscall.O_NONBLOCK); return err },
		func() error { return b.Close(l) },
	} {
		if err := f(); err != nil {
			return 0, 0, fmt.Errorf("a connection: %w", err)
		}
	}
	return x, y, nil
}
