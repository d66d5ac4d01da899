//go:build sched

package stall

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"vlsbench/audit"
	"vlsbench/core"
	"vlsbench/sched"
	"vlsbench/vls"
)

// Stop is a place where a thread was stopped, and what came of it.
type Stop struct {
	Operation string
	Point     string
	Visit     int // of the point, from 1
	// Near and Far are the rounds that stood still, of threads in the same
	// process and in another one.
	Near, Far Still
}

// Still is rounds that stood still.
type Still struct {
	First []string // while nobody had yet asked for more than they do themselves
	Then  []string // of the same done again, behind those, and who comes last
}

func (s Still) any() bool { return len(s.First)+len(s.Then) > 0 }

func (s Still) String() string {
	if !s.any() {
		return "nothing"
	}
	return fmt.Sprintf("%s; behind these %s", strings.Join(s.First, ", "), strings.Join(s.Then, ", "))
}

// visits is how many visits of one point are tried: a thread that comes there
// again and again does the same. But one that goes through the sessions of a
// process is at another one each time: of these there are everyVisits.
const (
	visits      = 1
	everyVisits = 6
)

// world is what the threads of one run use.
type world struct {
	s       vls.Strategy
	app     vls.App
	process vls.Process // the victim's
	victim  vls.Thread
	// inherited is a listener that the victim's process has from its parent, if
	// the operation is to have one.
	inherited vls.Handle
	near      []vls.Thread // one a round, of the victim's process
	far       []vls.Thread
	other     vls.Process // far's
	// wakers are threads of other processes: each writes what a round of near, or
	// of far, waits for.
	wakers [2]vls.Thread
	wakes  [2][]func() error // what they do, once for each time
	port   uint16
}

const victim = "victim"

// Find stops a thread at each point of each operation, if all, at each visit of
// it, which takes long, and is more than the documentation is made of. The error is
// an operation that did not do what it is for, or that met no point at all.
func Find(s vls.Strategy, all bool) ([]Stop, error) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // one runs at a time: no other core is to be woken
	var stops []Stop
	for _, op := range operationsOf(s) {
		report, _, err := run(s, op, nil)
		if err != nil {
			return nil, err
		}
		met := 0
		for _, v := range report.Visited {
			if v.Thread != victim {
				continue
			}
			most := visits
			switch {
			case all:
				most = v.Visit
			case op.every:
				most = everyVisits
			}
			for visit := 1; visit <= min(v.Visit, most); visit++ {
				met++
				report, rounds, err := run(s, op, &sched.Stall{Thread: victim, Point: v.Point, Visit: visit})
				if err != nil {
					return nil, err
				}
				if report.Stalled == 0 {
					continue // it goes another way each time
				}
				stop := still(rounds)
				stop.Operation, stop.Point, stop.Visit = op.name, v.Point, visit
				stops = append(stops, stop)
			}
		}
		if met == 0 && !op.idle {
			return nil, fmt.Errorf("%s, %s: it comes to no point, so nothing was tried", s.Name, op.name)
		}
	}
	return stops, nil
}

// Time is the scheduler's: it passes when nothing else can run, so when the
// victim stands, for good or in a wait, and then when all others do who have
// begun. First come those who look, then what wakes those who wait, then those
// who change what all have in common, and then all of it again. At last come a
// thread that registers and a process that forks, once.
const (
	looks     = 1
	wakes     = 20
	changes   = 40
	again     = 60
	registers = 200
	forks     = 240
)

func until(later time.Duration) {
	sched.Wait("until nobody else goes on", func() bool { return false }, later)
}

// still is which of the rounds stood still.
func still(rounds []*progress) (stop Stop) {
	for _, r := range rounds {
		still := &stop.Near
		if r.far {
			still = &stop.Far
		}
		if r.done < 1 && r.times > 1 {
			still.First = append(still.First, r.name)
		}
		if r.done < r.times {
			still.Then = append(still.Then, r.name)
		}
	}
	return stop
}

// Held does the same without stopping anybody, and returns the operations after
// which, or during whose waits, others stand still: no design is to have any. The
// points of these stops are empty.
func Held(s vls.Strategy) (held []Stop, err error) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for _, op := range operationsOf(s) {
		_, rounds, err := run(s, op, nil)
		if err != nil {
			return nil, err
		}
		if stop := still(rounds); stop.Near.any() || stop.Far.any() {
			stop.Operation = op.name
			held = append(held, stop)
		}
	}
	return held, nil
}

// progress is how far a round came.
type progress struct {
	name        string
	far         bool
	done, times int
}

// run runs an operation beside all rounds, with the thread that does it stopped
// where stall says.
func run(s vls.Strategy, op operation, stall *sched.Stall) (sched.Report, []*progress, error) {
	audit.SetRun("strategy " + s.Name + ", stall in " + op.name)
	o := sched.Options{Schedules: 1, Strategies: []sched.Strategy{sched.Random}, Steps: 60_000, Spins: 5}
	if stall != nil {
		o.Stall = []sched.Stall{*stall}
	}
	var w *world
	var all []*progress
	var wrong error // of whoever found it first; one thread runs at a time
	fail := func(who string, err error) {
		if err != nil && wrong == nil {
			wrong = fmt.Errorf("%s, thread stopped in %s at %v: %s: %w", s.Name, op.name, stall, who, err)
		}
	}
	report, failure, err := sched.Search(o, func(r *sched.Run) {
		var err error
		if w, err = newWorld(s, op.inherits); err != nil {
			fail("start", err)
			return
		}
		all = all[:0]
		for i, k := range rounds {
			if k.skips(s) {
				continue
			}
			for _, far := range []bool{false, true} {
				threads, where := w.near, "near "
				if far {
					threads, where = w.far, "far "
				}
				if len(threads) == 0 {
					continue
				}
				th := threads[i]
				p := &progress{name: k.name, far: far, times: 2}
				if k.once {
					p.times = 1
				}
				do := make([]func() error, p.times)
				for n := range do {
					if do[n], err = k.prepare(w, th); err != nil {
						fail("preparation of "+where+k.name, err)
						return
					}
				}
				all = append(all, p)
				r.Go(where+k.name, func() {
					until(k.after)
					for n, round := range do {
						if n > 0 {
							until(again)
						}
						if err := round(); err != nil {
							fail(where+k.name, err)
							return
						}
						p.done++
					}
				})
			}
		}
		// The last, so that what forks has the sessions of all.
		do, err := op.prepare(w, w.victim)
		if err != nil {
			fail("preparation", err)
			return
		}
		r.Go(victim, func() { fail(victim, do()) })
		for k, name := range []string{"waker of near", "waker of far"} {
			r.Go(name, func() {
				until(wakes)
				for n, wake := range w.wakes[k] {
					if n > 0 {
						until(2 * again)
					}
					fail(name, wake())
				}
			})
		}
	})
	if err != nil {
		return report, nil, err
	}
	if w != nil && w.app != nil {
		w.app.Close()
	}
	// That all who are left wait, or spin, is what is to be found out.
	if wrong == nil && failure != nil && !strings.Contains(failure.Reason, "deadlock") && !strings.Contains(failure.Reason, "no end") {
		wrong = fmt.Errorf("%s, thread stopped in %s at %v: %w", s.Name, op.name, stall, failure)
	}
	return report, all, wrong
}

func newWorld(s vls.Strategy, inherits bool) (*world, error) {
	app, err := s.New(vls.Options{Config: core.Config{
		Wait: vls.Park, RxFifoSize: 4 << 10, TxFifoSize: 4 << 10, EventQueueSize: 64,
		SegmentSize: 4 << 20, MaxWorkers: 64,
	}})
	if err != nil {
		return nil, err
	}
	w := &world{s: s, app: app}
	// Each has registered before any thread is stopped.
	thread := func(p vls.Process) (vls.Thread, error) {
		th := p.NewThread()
		return th, th.Register()
	}
	p, err := app.NewProcess()
	if err != nil {
		return nil, err
	}
	if inherits {
		th, err := thread(p)
		if err != nil {
			return nil, err
		}
		if w.inherited, _, err = w.listen(th); err != nil {
			return nil, err
		}
		if p, err = p.Fork(); err != nil {
			return nil, err
		}
	}
	w.process = p
	if w.victim, err = thread(p); err != nil {
		return nil, err
	}
	for range rounds {
		if s.MaxThreads != 1 {
			th, err := thread(p)
			if err != nil {
				return nil, err
			}
			w.near = append(w.near, th)
		}
	}
	q, err := app.NewProcess()
	if err != nil {
		return nil, err
	}
	w.other = q
	for range rounds {
		if s.MaxThreads == 1 && len(w.far) > 0 {
			if q, err = app.NewProcess(); err != nil {
				return nil, err
			}
		}
		th, err := thread(q)
		if err != nil {
			return nil, err
		}
		w.far = append(w.far, th)
	}
	for i := range w.wakers {
		p, err := app.NewProcess()
		if err != nil {
			return nil, err
		}
		if w.wakers[i], err = thread(p); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// processOf is the process of one of near or far.
func (w *world) processOf(th vls.Thread) vls.Process {
	if slices.Contains(w.far, th) {
		return w.other
	}
	return w.process
}

// address is an endpoint that nobody else has.
func (w *world) address() vls.Endpoint {
	w.port++
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 1000+w.port)
}

// listen makes a listener of a thread.
func (w *world) listen(th vls.Thread) (vls.Handle, vls.Endpoint, error) {
	ep := w.address()
	l, err := th.Create(vls.TCP, false)
	if err == nil {
		err = th.Bind(l, ep)
	}
	if err == nil {
		err = th.Listen(l, 4)
	}
	return l, ep, err
}

// pair makes a connection of a thread with itself.
func (w *world) pair(th vls.Thread) (x, y vls.Handle, err error) {
	l, ep, err := w.listen(th)
	if err != nil {
		return 0, 0, err
	}
	if x, err = th.Create(vls.TCP, false); err != nil {
		return 0, 0, err
	}
	if err = th.Connect(x, ep); err != nil {
		return 0, 0, err
	}
	if y, _, err = th.Accept(l, 0); err != nil {
		return 0, 0, err
	}
	return x, y, th.Close(l)
}

// operation is something that a thread does, with what it needs made before.
type operation struct {
	name    string
	prepare func(w *world, th vls.Thread) (do func() error, err error)
	idle    bool          // it claims nothing by itself, and may meet no point
	after   time.Duration // of a round, when it comes
	once    bool          // of a round, it comes once
	every   bool          // it goes through the sessions of a process

	several  bool // it needs a process with several threads
	forks    bool // it needs Fork
	inherits bool // its process is a child, and has a listener from its parent
}

// skips reports whether a strategy does not have the operation.
func (op *operation) skips(s vls.Strategy) bool {
	return op.several && s.MaxThreads == 1 || (op.forks || op.inherits) && s.NoFork
}

// operationsOf are those that a strategy has.
func operationsOf(s vls.Strategy) (ops []operation) {
	for _, op := range operations {
		if !op.skips(s) {
			ops = append(ops, op)
		}
	}
	return ops
}

// killed makes a child of a process that has died, and is its to close.
func (w *world) killed(p vls.Process) error {
	c, err := p.Fork()
	if err != nil {
		return err
	}
	return c.(vls.Mortal).Kill()
}

// nonblocking makes a session one that does not wait.
func nonblocking(th vls.Thread, h vls.Handle) error {
	_, err := th.Attr(h, core.SetFlags, binary.NativeEndian.AppendUint32(nil, syscall.O_NONBLOCK))
	return err
}

// datagrams is a session that hears at an endpoint.
func (w *world) datagrams(th vls.Thread) (vls.Handle, vls.Endpoint, error) {
	ep := w.address()
	h, err := th.Create(vls.UDP, false)
	if err == nil {
		err = th.Bind(h, ep)
	}
	return h, ep, err
}

// sharedByFork is an operation on sessions that a child shares.
func sharedByFork(name string) operation {
	i := slices.IndexFunc(operations, func(op operation) bool { return op.name == name })
	op := operations[i]
	alone := op.prepare
	op.name, op.forks = name+" of what is shared", true
	op.prepare = func(w *world, th vls.Thread) (func() error, error) {
		do, err := alone(w, th)
		if err == nil {
			_, err = w.process.Fork()
		}
		return do, err
	}
	return op
}

func init() {
	for _, name := range []string{
		"bind", "listen", "connect", "accept", "accept that waits", "read", "read that waits", "write", "write that waits",
		"sendto", "recvfrom", "attr", "epoll_ctl", "epoll_wait", "poll", "shutdown", "close", "close of a listener", "close of a set",
	} {
		operations = append(operations, sharedByFork(name))
	}
}

// done is the error of a call that is to give n.
func done(want int) func(int, error) error {
	return func(n int, err error) error {
		if err == nil && n != want {
			err = fmt.Errorf("%d, want %d", n, want)
		}
		return err
	}
}

// last is how many of rounds come at last, once; forkRound is one of them.
const (
	last      = 2
	forkRound = "fork"
)

// rounds are what every other thread does, those first that change nothing which
// all have in common.
var rounds = []operation{
	{name: "data", after: looks, prepare: func(w *world, th vls.Thread) (func() error, error) {
		x, y, err := w.pair(th)
		buf := make([]byte, 4)
		return func() error {
			if err := done(4)(th.Write(x, buf)); err != nil {
				return err
			}
			return done(4)(th.Read(y, buf))
		}, err
	}},
	{name: "look up", after: looks, prepare: func(w *world, th vls.Thread) (func() error, error) {
		x, _, err := w.pair(th)
		return func() error {
			i, _, err := th.SessionIndex(x)
			if err == nil {
				_, err = th.HandleOf(i)
			}
			return err
		}, err
	}},
	{name: "poll", after: looks, prepare: func(w *world, th vls.Thread) (func() error, error) {
		x, y, err := w.pair(th)
		if err == nil {
			err = done(1)(th.Write(x, []byte("1")))
		}
		if err != nil {
			return nil, err
		}
		ep, err := th.EpollCreate()
		if err == nil {
			err = th.EpollCtl(ep, core.EPOLL_CTL_ADD, y, &vls.EpollEvent{Events: core.EPOLLIN})
		}
		return func() error {
			if err := done(1)(th.Poll([]vls.PollFD{{Handle: y, Events: core.EPOLLIN}}, 0)); err != nil {
				return err
			}
			return done(1)(th.EpollWait(ep, make([]vls.EpollEvent, 1), 0))
		}, err
	}},
	{name: "wait", after: looks, prepare: func(w *world, th vls.Thread) (func() error, error) {
		k := 0
		if slices.Contains(w.far, th) {
			k = 1
		}
		l, ep, err := w.listen(th)
		if err != nil {
			return nil, err
		}
		x, err := w.wakers[k].Create(vls.TCP, false)
		if err == nil {
			err = w.wakers[k].Connect(x, ep)
		}
		if err != nil {
			return nil, err
		}
		y, _, err := th.Accept(l, 0)
		w.wakes[k] = append(w.wakes[k], func() error { return done(1)(w.wakers[k].Write(x, []byte("1"))) })
		return func() error { return done(1)(th.Read(y, make([]byte, 1))) }, err
	}},
	{name: "create", after: changes, prepare: func(w *world, th vls.Thread) (func() error, error) {
		return func() error {
			h, err := th.Create(vls.TCP, true)
			if err == nil {
				err = th.Bind(h, w.address())
			}
			return err
		}, nil
	}},
	{name: "close", after: changes, prepare: func(w *world, th vls.Thread) (func() error, error) {
		x, _, err := w.pair(th)
		return func() error { return th.Close(x) }, err
	}},
	{name: "connect", after: changes, prepare: func(w *world, th vls.Thread) (func() error, error) {
		return func() error { _, _, err := w.pair(th); return err }, nil
	}},
	{name: "register", after: registers, once: true, several: true, prepare: func(w *world, th vls.Thread) (func() error, error) {
		n := w.processOf(th).NewThread()
		return func() error {
			if err := n.Register(); err != nil {
				return err
			}
			return n.Exit()
		}, nil
	}},
	{name: forkRound, after: forks, once: true, forks: true, prepare: func(w *world, th vls.Thread) (func() error, error) {
		p := w.processOf(th)
		return func() error {
			c, err := p.Fork()
			if err != nil {
				return err
			}
			return c.Exit()
		}, nil
	}},
}

// pairOp is an operation on a connection.
func pairOp(do func(th vls.Thread, x, y vls.Handle) error) func(*world, vls.Thread) (func() error, error) {
	return func(w *world, th vls.Thread) (func() error, error) {
		x, y, err := w.pair(th)
		return func() error { return do(th, x, y) }, err
	}
}

// full is a connection that no more fits into.
func full(w *world, th vls.Thread) (x vls.Handle, err error) {
	x, _, err = w.pair(th)
	if err != nil {
		return 0, err
	}
	if err := nonblocking(th, x); err != nil {
		return 0, err
	}
	for err == nil {
		_, err = th.Write(x, make([]byte, 1000))
	}
	if err != syscall.EWOULDBLOCK {
		return 0, err
	}
	_, err = th.Attr(x, core.SetFlags, make([]byte, 4))
	return x, err
}

// member is a set and its only member, with data in it if ready.
func member(w *world, th vls.Thread, ready bool) (ep, y vls.Handle, err error) {
	x, y, err := w.pair(th)
	if err == nil && ready {
		err = done(1)(th.Write(x, []byte("1")))
	}
	if err == nil {
		ep, err = th.EpollCreate()
	}
	if err == nil {
		err = th.EpollCtl(ep, core.EPOLL_CTL_ADD, y, &vls.EpollEvent{Events: core.EPOLLIN})
	}
	return ep, y, err
}

// operations are what a thread is stopped in.
var operations = []operation{
	{name: "create", prepare: func(w *world, th vls.Thread) (func() error, error) {
		return func() error { _, err := th.Create(vls.TCP, false); return err }, nil
	}},
	{name: "epoll_create", prepare: func(w *world, th vls.Thread) (func() error, error) {
		return func() error { _, err := th.EpollCreate(); return err }, nil
	}},
	{name: "bind", prepare: func(w *world, th vls.Thread) (func() error, error) {
		h, err := th.Create(vls.TCP, false)
		return func() error { return th.Bind(h, w.address()) }, err
	}},
	{name: "listen", prepare: func(w *world, th vls.Thread) (func() error, error) {
		h, err := th.Create(vls.TCP, false)
		if err == nil {
			err = th.Bind(h, w.address())
		}
		return func() error { return th.Listen(h, 1) }, err
	}},
	{name: "connect", prepare: func(w *world, th vls.Thread) (func() error, error) {
		_, ep, err := w.listen(th)
		if err != nil {
			return nil, err
		}
		x, err := th.Create(vls.TCP, false)
		return func() error { return th.Connect(x, ep) }, err
	}},
	{name: "accept", prepare: func(w *world, th vls.Thread) (func() error, error) {
		l, ep, err := w.listen(th)
		if err != nil {
			return nil, err
		}
		x, err := th.Create(vls.TCP, false)
		if err == nil {
			err = th.Connect(x, ep)
		}
		return func() error { _, _, err := th.Accept(l, 0); return err }, err
	}},
	{name: "accept that waits", prepare: func(w *world, th vls.Thread) (func() error, error) {
		l, _, err := w.listen(th)
		return func() error { _, _, err := th.Accept(l, 0); return err }, err
	}},
	{name: "read", prepare: func(w *world, th vls.Thread) (func() error, error) {
		x, y, err := w.pair(th)
		if err == nil {
			err = done(1)(th.Write(x, []byte("1")))
		}
		return func() error { return done(1)(th.Read(y, make([]byte, 4))) }, err
	}},
	{name: "read that waits", prepare: pairOp(func(th vls.Thread, x, y vls.Handle) error {
		_, err := th.Read(y, make([]byte, 4))
		return err
	})},
	{name: "long read", prepare: func(w *world, th vls.Thread) (func() error, error) {
		x, y, err := w.pair(th)
		if err == nil {
			err = done(3000)(th.Write(x, make([]byte, 3000)))
		}
		return func() error { return done(3000)(th.Read(y, make([]byte, 3000))) }, err
	}},
	{name: "write", prepare: pairOp(func(th vls.Thread, x, y vls.Handle) error {
		return done(4)(th.Write(x, make([]byte, 4)))
	})},
	{name: "write that waits", prepare: func(w *world, th vls.Thread) (func() error, error) {
		x, err := full(w, th)
		return func() error { _, err := th.Write(x, make([]byte, 4)); return err }, err
	}},
	{name: "write_msg", prepare: pairOp(func(th vls.Thread, x, y vls.Handle) error {
		return done(4)(th.WriteMsg(x, make([]byte, 4)))
	})},
	{name: "sendto", prepare: func(w *world, th vls.Thread) (func() error, error) {
		_, ep, err := w.datagrams(th)
		if err != nil {
			return nil, err
		}
		b, err := th.Create(vls.UDP, false)
		return func() error { return done(4)(th.Sendto(b, make([]byte, 4), 0, ep)) }, err
	}},
	{name: "recvfrom", prepare: func(w *world, th vls.Thread) (func() error, error) {
		a, ep, err := w.datagrams(th)
		if err != nil {
			return nil, err
		}
		b, err := th.Create(vls.UDP, false)
		if err == nil {
			err = done(4)(th.Sendto(b, make([]byte, 4), 0, ep))
		}
		return func() error {
			n, _, err := th.Recvfrom(a, make([]byte, 4), 0)
			return done(4)(n, err)
		}, err
	}},
	{name: "attr", prepare: pairOp(func(th vls.Thread, x, y vls.Handle) error {
		return done(4)(th.Attr(x, core.GetNread, make([]byte, 4)))
	})},
	{name: "epoll_ctl", prepare: func(w *world, th vls.Thread) (func() error, error) {
		_, y, err := w.pair(th)
		if err != nil {
			return nil, err
		}
		ep, err := th.EpollCreate()
		return func() error {
			ev := &vls.EpollEvent{Events: core.EPOLLIN}
			for _, op := range []int{core.EPOLL_CTL_ADD, core.EPOLL_CTL_MOD, core.EPOLL_CTL_DEL} {
				if err := th.EpollCtl(ep, op, y, ev); err != nil {
					return err
				}
			}
			return nil
		}, err
	}},
	{name: "epoll_wait", prepare: func(w *world, th vls.Thread) (func() error, error) {
		ep, _, err := member(w, th, true)
		return func() error { return done(1)(th.EpollWait(ep, make([]vls.EpollEvent, 1), -1)) }, err
	}},
	{name: "epoll_wait that waits", prepare: func(w *world, th vls.Thread) (func() error, error) {
		ep, _, err := member(w, th, false)
		return func() error { _, err := th.EpollWait(ep, make([]vls.EpollEvent, 1), -1); return err }, err
	}},
	{name: "select", prepare: pairOp(func(th vls.Thread, x, y vls.Handle) error {
		var set vls.HandleSet
		set.Add(x)
		return done(1)(th.Select(nil, &set, nil, -1))
	})},
	{name: "select that waits", prepare: pairOp(func(th vls.Thread, x, y vls.Handle) error {
		var set vls.HandleSet
		set.Add(x)
		_, err := th.Select(&set, nil, nil, -1)
		return err
	})},
	{name: "poll", prepare: pairOp(func(th vls.Thread, x, y vls.Handle) error {
		return done(1)(th.Poll([]vls.PollFD{{Handle: x, Events: core.EPOLLOUT}}, -1))
	})},
	{name: "poll that waits", prepare: pairOp(func(th vls.Thread, x, y vls.Handle) error {
		_, err := th.Poll([]vls.PollFD{{Handle: x, Events: core.EPOLLIN}}, -1)
		return err
	})},
	{name: "shutdown", prepare: pairOp(func(th vls.Thread, x, y vls.Handle) error {
		return th.Shutdown(x, syscall.SHUT_RDWR)
	})},
	{name: "shutdown that is refused", prepare: func(w *world, th vls.Thread) (func() error, error) {
		l, _, err := w.listen(th)
		return func() error {
			if err := th.Shutdown(l, syscall.SHUT_WR); err != syscall.EBADFD {
				return fmt.Errorf("shutdown of a listener: %v, want EBADFD", err)
			}
			return nil
		}, err
	}},
	{name: "close", prepare: pairOp(func(th vls.Thread, x, y vls.Handle) error { return th.Close(x) })},
	{name: "close of a listener", prepare: func(w *world, th vls.Thread) (func() error, error) {
		l, ep, err := w.listen(th)
		if err != nil {
			return nil, err
		}
		x, err := th.Create(vls.TCP, false)
		if err == nil {
			err = th.Connect(x, ep)
		}
		return func() error { return th.Close(l) }, err
	}},
	{name: "close of a set", prepare: func(w *world, th vls.Thread) (func() error, error) {
		ep, _, err := member(w, th, true)
		return func() error { return th.Close(ep) }, err
	}},
	{name: "connect that is refused", idle: true, prepare: func(w *world, th vls.Thread) (func() error, error) {
		x, err := th.Create(vls.TCP, false)
		return func() error {
			if err := th.Connect(x, w.address()); err != syscall.ECONNREFUSED {
				return fmt.Errorf("%v, want ECONNREFUSED", err)
			}
			return nil
		}, err
	}},
	{name: "connect that does not wait", prepare: func(w *world, th vls.Thread) (func() error, error) {
		_, ep, err := w.listen(th)
		if err != nil {
			return nil, err
		}
		x, err := th.Create(vls.TCP, true)
		return func() error {
			if err := th.Connect(x, ep); err != syscall.EINPROGRESS {
				return fmt.Errorf("%v, want EINPROGRESS", err)
			}
			return nil
		}, err
	}},
	{name: "accept that finds nothing", idle: true, prepare: func(w *world, th vls.Thread) (func() error, error) {
		l, _, err := w.listen(th)
		if err == nil {
			err = nonblocking(th, l)
		}
		return func() error {
			if _, _, err := th.Accept(l, 0); err != syscall.EAGAIN {
				return fmt.Errorf("%v, want EAGAIN", err)
			}
			return nil
		}, err
	}},
	{name: "read that finds nothing", prepare: func(w *world, th vls.Thread) (func() error, error) {
		_, y, err := w.pair(th)
		if err == nil {
			err = nonblocking(th, y)
		}
		return func() error {
			if _, err := th.Read(y, make([]byte, 4)); err != syscall.EWOULDBLOCK {
				return fmt.Errorf("%v, want EWOULDBLOCK", err)
			}
			return nil
		}, err
	}},
	{name: "peek", prepare: func(w *world, th vls.Thread) (func() error, error) {
		x, y, err := w.pair(th)
		if err == nil {
			err = done(1)(th.Write(x, []byte("1")))
		}
		return func() error {
			n, _, err := th.Recvfrom(y, make([]byte, 4), syscall.MSG_PEEK)
			return done(1)(n, err)
		}, err
	}},
	{name: "attr that sets", prepare: pairOp(func(th vls.Thread, x, y vls.Handle) error { return nonblocking(th, x) })},
	{name: "create of datagrams", prepare: func(w *world, th vls.Thread) (func() error, error) {
		return func() error { _, err := th.Create(vls.UDP, false); return err }, nil
	}},
	{name: "bind of datagrams", prepare: func(w *world, th vls.Thread) (func() error, error) {
		a, err := th.Create(vls.UDP, false)
		return func() error { return th.Bind(a, w.address()) }, err
	}},
	{name: "connect of datagrams", prepare: func(w *world, th vls.Thread) (func() error, error) {
		a, err := th.Create(vls.UDP, false)
		return func() error { return th.Connect(a, w.address()) }, err
	}},
	{name: "recvfrom that waits", prepare: func(w *world, th vls.Thread) (func() error, error) {
		a, _, err := w.datagrams(th)
		return func() error { _, _, err := th.Recvfrom(a, make([]byte, 4), 0); return err }, err
	}},
	{name: "sendto that waits", prepare: func(w *world, th vls.Thread) (func() error, error) {
		_, ep, err := w.datagrams(th)
		if err != nil {
			return nil, err
		}
		b, err := th.Create(vls.UDP, true)
		for err == nil {
			_, err = th.Sendto(b, make([]byte, 1000), 0, ep)
		}
		if err != syscall.EWOULDBLOCK {
			return nil, err
		}
		_, err = th.Attr(b, core.SetFlags, make([]byte, 4))
		return func() error { _, err := th.Sendto(b, make([]byte, 1000), 0, ep); return err }, err
	}},
	{name: "close of datagrams", prepare: func(w *world, th vls.Thread) (func() error, error) {
		a, ep, err := w.datagrams(th)
		if err != nil {
			return nil, err
		}
		b, err := th.Create(vls.UDP, false)
		if err == nil {
			err = done(4)(th.Sendto(b, make([]byte, 4), 0, ep))
		}
		return func() error { return th.Close(a) }, err
	}},
	{name: "close of a member", prepare: func(w *world, th vls.Thread) (func() error, error) {
		_, y, err := member(w, th, true)
		return func() error { return th.Close(y) }, err
	}},
	{name: "register", several: true, prepare: func(w *world, th vls.Thread) (func() error, error) {
		n := w.process.NewThread()
		return n.Register, nil
	}},
	{name: "first call", several: true, prepare: func(w *world, th vls.Thread) (func() error, error) {
		_, y, err := w.pair(th)
		n := w.process.NewThread()
		return func() error { return done(4)(n.Attr(y, core.GetNread, make([]byte, 4))) }, err
	}},
	{name: "read and close of what another has used", several: true, prepare: func(w *world, th vls.Thread) (func() error, error) {
		n := w.process.NewThread()
		x, y, err := w.pair(n)
		for range 2 { // the second time nobody else has come
			if err == nil {
				err = done(4)(n.Write(x, make([]byte, 4)))
			}
			if err == nil {
				err = done(2)(n.Read(y, make([]byte, 2)))
			}
		}
		return func() error {
			if err := done(4)(th.Read(y, make([]byte, 8))); err != nil {
				return err
			}
			return th.Close(x)
		}, err
	}},
	{name: "exit of a thread", several: true, prepare: func(w *world, th vls.Thread) (func() error, error) {
		n := w.process.NewThread()
		x, y, err := w.pair(n)
		if err == nil {
			err = done(1)(n.Write(x, []byte("1")))
		}
		if err == nil {
			err = done(1)(n.Read(y, make([]byte, 1)))
		}
		return n.Exit, err
	}},
	{name: "making of a process", prepare: func(w *world, th vls.Thread) (func() error, error) {
		return func() error { _, err := w.app.NewProcess(); return err }, nil
	}},
	{name: "exit of a process", every: true, prepare: func(w *world, th vls.Thread) (func() error, error) {
		p, err := w.app.NewProcess()
		if err != nil {
			return nil, err
		}
		n := p.NewThread()
		_, _, err = w.pair(n)
		if err == nil {
			_, _, err = w.listen(n)
		}
		if err == nil {
			err = n.Exit()
		}
		return p.Exit, err
	}},
	{name: "fork", every: true, forks: true, prepare: func(w *world, th vls.Thread) (func() error, error) {
		return func() error { _, err := w.process.Fork(); return err }, nil
	}},
	{name: "fork of a child", every: true, inherits: true, prepare: func(w *world, th vls.Thread) (func() error, error) {
		return func() error { _, err := w.process.Fork(); return err }, nil
	}},
	{name: "exit of a child", every: true, forks: true, prepare: func(w *world, th vls.Thread) (func() error, error) {
		c, err := w.process.Fork()
		if err != nil {
			return nil, err
		}
		return c.Exit, nil
	}},
	{name: "kill of a child", forks: true, prepare: func(w *world, th vls.Thread) (func() error, error) {
		c, err := w.process.Fork()
		if err != nil {
			return nil, err
		}
		return c.(vls.Mortal).Kill, nil
	}},
	{name: "wait that buries a child", every: true, forks: true, prepare: func(w *world, th vls.Thread) (func() error, error) {
		_, y, err := w.pair(th)
		if err == nil {
			err = w.killed(w.process)
		}
		return func() error { _, err := th.Read(y, make([]byte, 4)); return err }, err
	}},
	{name: "exit that buries a child", every: true, forks: true, prepare: func(w *world, th vls.Thread) (func() error, error) {
		c, err := w.process.Fork()
		if err != nil {
			return nil, err
		}
		return c.Exit, w.killed(c)
	}},
	{name: "accept of what is inherited", inherits: true, prepare: func(w *world, th vls.Thread) (func() error, error) {
		if err := nonblocking(th, w.inherited); err != nil {
			return nil, err
		}
		return func() error {
			if _, _, err := th.Accept(w.inherited, 0); err != syscall.EAGAIN {
				return fmt.Errorf("%v, want EAGAIN", err)
			}
			return nil
		}, nil
	}},
	{name: "epoll_ctl of what is inherited", inherits: true, prepare: func(w *world, th vls.Thread) (func() error, error) {
		ep, err := th.EpollCreate()
		return func() error {
			return th.EpollCtl(ep, core.EPOLL_CTL_ADD, w.inherited, &vls.EpollEvent{Events: core.EPOLLIN})
		}, err
	}},
	{name: "poll of what is inherited", inherits: true, prepare: func(w *world, th vls.Thread) (func() error, error) {
		return func() error {
			return done(0)(th.Poll([]vls.PollFD{{Handle: w.inherited, Events: core.EPOLLIN}}, 0))
		}, nil
	}},
	{name: "select of what is inherited", inherits: true, prepare: func(w *world, th vls.Thread) (func() error, error) {
		return func() error {
			var set vls.HandleSet
			set.Add(w.inherited)
			return done(0)(th.Select(&set, nil, nil, 0))
		}, nil
	}},
	{name: "close of what is inherited", inherits: true, prepare: func(w *world, th vls.Thread) (func() error, error) {
		return func() error { return th.Close(w.inherited) }, nil
	}},
	{name: "session_index", idle: true, prepare: pairOp(func(th vls.Thread, x, y vls.Handle) error {
		_, _, err := th.SessionIndex(x)
		return err
	})},
	{name: "use_eventfd, mt_workers, use_real_epoll", idle: true, prepare: pairOp(func(th vls.Thread, x, y vls.Handle) error {
		th.UseEventfd()
		th.MultiThreadWorkers()
		th.UseRealEpoll()
		return nil
	})},
	{name: "session_handle", idle: true, prepare: pairOp(func(th vls.Thread, x, y vls.Handle) error {
		_, err := th.SessionHandle(x)
		return err
	})},
	{name: "handle_of", idle: true, prepare: func(w *world, th vls.Thread) (func() error, error) {
		x, _, err := w.pair(th)
		if err != nil {
			return nil, err
		}
		i, _, err := th.SessionIndex(x)
		return func() error { _, err := th.HandleOf(i); return err }, err
	}},
}

// NonBlocking judges a strategy that promises that a thread which is stopped
// anywhere stops nobody else.
func NonBlocking(t *testing.T, s vls.Strategy) {
	t.Helper()
	stops, err := Find(s, false)
	if err != nil {
		t.Fatal(err)
	}
	Check(t, s, stops)
}

// Check is NonBlocking of what Find has found. A fork of the process itself may
// stand still: it is an operation on all sessions of it, and so on the one that
// the stopped thread is inside of.
func Check(t *testing.T, s vls.Strategy, stops []Stop) {
	t.Helper()
	for _, x := range stops {
		x.Near.Then = slices.DeleteFunc(slices.Clone(x.Near.Then), func(round string) bool { return round == forkRound })
		if x.Near.any() || x.Far.any() {
			t.Errorf("%s: a thread that is stopped in %s at %q, visit %d, stops others: near it %v, in another process %v",
				s.Name, x.Operation, x.Point, x.Visit, x.Near, x.Far)
		}
	}
}

// Table says for each operation what stands still when a thread is stopped in
// it, at whatever point, in Markdown.
func Table(stops []Stop) string {
	type row struct {
		operations []string
		near, far  string
	}
	var table []row
	list := func(rounds []operation, still map[string]bool) string {
		var names []string
		for _, r := range rounds {
			if still[r.name] {
				names = append(names, r.name)
			}
		}
		switch len(names) {
		case 0:
			return "nothing"
		case len(rounds):
			if len(rounds) > last {
				return "all"
			}
		}
		return strings.Join(names, ", ")
	}
	words := func(where func(Stop) Still, operation string) string {
		first, then := map[string]bool{}, map[string]bool{}
		for _, x := range stops {
			if x.Operation == operation {
				for _, r := range where(x).First {
					first[r] = true
				}
				for _, r := range where(x).Then {
					then[r] = true
				}
			}
		}
		twice, once := rounds[:len(rounds)-last], rounds[len(rounds)-last:]
		cell := list(twice, first)
		if b := list(twice, then); b != cell {
			cell += "; behind these " + b
		}
		if c := list(once, then); c != "nothing" {
			if cell == "nothing" {
				return "at last " + c
			}
			cell += "; at last " + c
		}
		return cell
	}
	for _, op := range operations {
		if !slices.ContainsFunc(stops, func(x Stop) bool { return x.Operation == op.name }) {
			continue
		}
		n := words(func(x Stop) Still { return x.Near }, op.name)
		f := words(func(x Stop) Still { return x.Far }, op.name)
		i := slices.IndexFunc(table, func(r row) bool { return r.near == n && r.far == f })
		if i < 0 {
			table = append(table, row{near: n, far: f})
			i = len(table) - 1
		}
		table[i].operations = append(table[i].operations, op.name)
	}
	var b strings.Builder
	b.WriteString("| stopped in | stands still in its process | in another process |\n| --- | --- | --- |\n")
	for _, r := range table {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", strings.Join(r.operations, ", "), r.near, r.far)
	}
	return b.String()
}
