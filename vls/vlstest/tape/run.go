package tape

import (
	"fmt"
	"runtime"
	"syscall"
	"time"

	"vlsbench/core"
	"vlsbench/fifo"
	"vlsbench/vls"
)

// limit is when the watchdog ends a tape: thousands of times what one takes.
const limit = 60 * time.Second

// What an application of a comparison is made with. A fifo is as small as one
// may be that still holds what a tape has under way.
const (
	fifoSize    = 16 << 10
	segmentSize = 8 << 20
	queueLength = 64
)

// Options is how a tape is played.
type Options struct {
	// Wait is how the judged strategy waits.
	Wait vls.Wait
	// OneProcess lets both threads be of one process, where the strategy has a
	// second thread and lets it use a session of the first while that is idle:
	// with a worker for each thread, one would wait for the other.
	OneProcess bool
}

// OptionsOf are the options that a byte stands for; any byte does.
func OptionsOf(b byte) Options {
	return Options{Wait: vls.Wait(b % 3), OneProcess: b&4 != 0}
}

// Stats is what comparisons were made of.
type Stats struct {
	Tapes   int
	Ops     int            // operations of the tapes
	Calls   int            // of the API, on each side
	Kinds   [nKinds]int    // operations by kind
	Allowed map[string]int // differences that were passed over, by the rule's name
}

// Add adds other comparisons.
func (s *Stats) Add(o Stats) {
	s.Tapes += o.Tapes
	s.Ops += o.Ops
	s.Calls += o.Calls
	for k, n := range o.Kinds {
		s.Kinds[k] += n
	}
	if s.Allowed == nil {
		s.Allowed = make(map[string]int)
	}
	for name, n := range o.Allowed {
		s.Allowed[name] += n
	}
}

// Compare plays a tape on a strategy that is judged and on one that is
// believed, of kind [vls.Kernel]. The error says where they first differ, after
// which calls, or what was left behind: a session, an event, memory. A call that
// does not return ends the program, with the tape.
func Compare(judged, believed vls.Strategy, t Tape, o Options) (stats Stats, err error) {
	var w world
	defer w.abandon()
	if err := w.open(judged, believed, o); err != nil {
		return stats, err
	}
	p := newPlayer(judged, believed, w.threads, firstTapePort)
	p.mixed = len(w.procs[0]) == 1
	if err := p.run(t, func() { w.empty(p) }); err != nil {
		return p.stats, err
	}
	return p.stats, w.close()
}

// firstTapePort is where the endpoints of a tape begin.
const firstTapePort = 1000

func newPlayer(judged, believed vls.Strategy, threads [2][2]vls.Thread, port uint16) *player {
	p := &player{
		unix: believed.Name == "kernel-unix",
		tcp:  believed.Name == "kernel-tcp",
		port: port,
	}
	p.stats.Allowed = make(map[string]int)
	for i, s := range []vls.Strategy{judged, believed} {
		p.sides[i] = &side{name: s.Name, threads: threads[i], buf: make([]byte, core.MaxDatagram+1)}
	}
	return p
}

// run plays a tape, closes what is left open, and calls last.
func (p *player) run(t Tape, last func()) (err error) {
	dog := time.AfterFunc(limit, func() {
		buf := make([]byte, 1<<20)
		buf = buf[:runtime.Stack(buf, true)]
		p.mu.Lock()
		panic(fmt.Sprintf("a call does not return: %s\n%v\n%s", p.doing, t, buf))
	})
	defer dog.Stop()
	defer func() {
		switch r := recover().(type) {
		case nil:
		case failure:
			err = fmt.Errorf("%w, after %d operations, the last calls of which:%s", r.error, p.stats.Ops, p.story())
		default:
			buf := make([]byte, 8<<10)
			buf = buf[:runtime.Stack(buf, false)]
			err = fmt.Errorf("panic in %s: %v, the last calls:%s\n%s", p.doing, r, p.story(), buf)
		}
	}()
	for _, op := range t {
		p.play(op)
	}
	p.op = Op{}
	for len(p.all) > 0 {
		p.closeSession(p.all[0])
		p.settle()
	}
	last()
	p.stats.Tapes = 1
	return nil
}

// usage is what an application has in hand, as far as the strategy tells.
func usage(a vls.App) core.Usage {
	if c, ok := a.(interface{ Usage() core.Usage }); ok {
		return c.Usage()
	}
	return core.Usage{}
}

// world is the applications of a comparison.
type world struct {
	seg     *fifo.Segment
	before  int // bytes of the segment that were taken
	apps    [2]vls.App
	procs   [2][]vls.Process
	threads [2][2]vls.Thread
}

func (w *world) open(judged, believed vls.Strategy, o Options) (err error) {
	if w.seg, err = fifo.NewMappedSegment(segmentSize); err != nil {
		return err
	}
	w.before = w.seg.Usage().Taken
	for i, s := range []vls.Strategy{judged, believed} {
		opts := vls.Options{Config: core.Config{Wait: o.Wait, RxFifoSize: fifoSize, TxFifoSize: fifoSize, EventQueueSize: queueLength}}
		if i == 0 {
			opts.Config.Segment = w.seg
		} else {
			opts.Config.Wait = vls.Adaptive
		}
		if w.apps[i], err = s.New(opts); err != nil {
			return fmt.Errorf("%s: %w", s.Name, err)
		}
		one := o.OneProcess && judged.MaxThreads != 1
		for k := range w.threads[i] {
			if k == 1 {
				one = one && !w.threads[0][0].MultiThreadWorkers()
			}
			if k == 0 || !one {
				proc, err := w.apps[i].NewProcess()
				if err != nil {
					return fmt.Errorf("%s: a process: %w", s.Name, err)
				}
				w.procs[i] = append(w.procs[i], proc)
			}
			w.threads[i][k] = w.procs[i][len(w.procs[i])-1].NewThread()
			if err := w.threads[i][k].Register(); err != nil {
				return fmt.Errorf("%s: a thread: %w", s.Name, err)
			}
		}
	}
	return nil
}

// empty wants no session, no event and no shared data to be left.
func (w *world) empty(p *player) {
	p.note("the end", "what is left")
	for i, s := range p.sides {
		for _, th := range s.threads {
			// This empties its worker's queue.
			if _, err := th.Poll(nil, 0); err != nil {
				p.fail("%s: poll of nothing: %v", s.name, err)
			}
			for index := range uint32(4 * maxOpen) {
				if h, err := th.HandleOf(index); err != syscall.EBADFD {
					p.fail("%s: session %d is left, with the handle %#x (%v)", s.name, index, uint64(h), err)
				}
			}
		}
		if u := usage(w.apps[i]); u.Pending != 0 || u.Shared != 0 {
			p.fail("%s: left at the end: %+v", s.name, u)
		}
	}
}

// close ends all and wants the segment to be as empty as it was.
func (w *world) close() error {
	for i, app := range w.apps {
		for _, th := range w.threads[i] {
			if err := th.Exit(); err != nil {
				return fmt.Errorf("exit of a thread: %w", err)
			}
		}
		for _, proc := range w.procs[i] {
			if err := proc.Exit(); err != nil {
				return fmt.Errorf("exit of a process: %w", err)
			}
		}
		// Until here a strategy may keep the slot of a session that was closed.
		if n := usage(app).Sessions; n != 0 {
			return fmt.Errorf("%d sessions are left when all processes have exited", n)
		}
		w.apps[i] = nil
		if err := app.Close(); err != nil {
			return fmt.Errorf("close of an application: %w", err)
		}
	}
	if u := w.seg.Usage(); u.Taken != w.before || u.Pending != 0 || u.Corruptions != 0 {
		return fmt.Errorf("%d bytes of the segment are taken at the end, and %d were at the beginning (%d pending, %d corruptions)",
			u.Taken, w.before, u.Pending, u.Corruptions)
	}
	return nil
}

// abandon gives back what is left after a failure, as far as that goes, and the
// segment.
func (w *world) abandon() {
	for i, app := range w.apps {
		if app == nil {
			continue
		}
		func() {
			defer func() { _ = recover() }()
			for _, proc := range w.procs[i] {
				_ = proc.Exit()
			}
			_ = app.Close()
		}()
	}
	if w.seg != nil {
		_ = w.seg.Close()
	}
}
