//go:build sched

package stall

import (
	"encoding/binary"
	"fmt"
	"net/netip"
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
	Then  []string // of the same done again, behind those
}

func (s Still) any() bool { return len(s.First)+len(s.Then) > 0 }

func (s Still) String() string {
	if !s.any() {
		return "nothing"
	}
	return fmt.Sprintf("%s; behind these %s", strings.Join(s.First, ", "), strings.Join(s.Then, ", "))
}

// visits is how many visits of one point are tried: a thread that comes there
// again and again does the same.
const visits = 2

// world is what the threads of one run use.
type world struct {
	app    vls.App
	victim vls.Thread
	near   []vls.Thread // one a round, of the victim's process
	far    []vls.Thread
	// wakers are threads of other processes: each writes what a round of near, or
	// of far, waits for.
	wakers [2]vls.Thread
	wakes  [2][]func() error // what they do, once for each time
	port   uint16
}

const victim = "victim"

// Find stops a thread at each point of each operation. The error is an operation
// that did not do what it is for, or that met no point at all.
func Find(s vls.Strategy) ([]Stop, error) {
	var stops []Stop
	for _, op := range operations {
		report, _, err := run(s, op, nil)
		if err != nil {
			return nil, err
		}
		met := 0
		for _, v := range report.Visited {
			if v.Thread != victim {
				continue
			}
			for visit := 1; visit <= min(v.Visit, visits); visit++ {
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
// who change what all have in common, and then all of it again.
const (
	looks   = 1
	wakes   = 20
	changes = 40
	again   = 60
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
		if r.done < 1 {
			still.First = append(still.First, r.name)
		}
		if r.done < 2 {
			still.Then = append(still.Then, r.name)
		}
	}
	return stop
}

// Held does the same without stopping anybody, and returns the operations after
// which, or during whose waits, others stand still: no design is to have any. The
// points of these stops are empty.
func Held(s vls.Strategy) (held []Stop, err error) {
	for _, op := range operations {
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
	name string
	far  bool
	done int // times
}

// run runs an operation beside all rounds, with the thread that does it stopped
// where stall says.
func run(s vls.Strategy, op operation, stall *sched.Stall) (sched.Report, []*progress, error) {
	audit.SetRun("strategy " + s.Name + ", stall in " + op.name)
	o := sched.Options{Schedules: 1, Strategies: []sched.Strategy{sched.Random}, Steps: 20_000}
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
		if w, err = newWorld(s); err != nil {
			fail("start", err)
			return
		}
		do, err := op.prepare(w, w.victim)
		if err != nil {
			fail("preparation", err)
			return
		}
		r.Go(victim, func() { fail(victim, do()) })
		all = all[:0]
		for i, k := range rounds {
			for _, far := range []bool{false, true} {
				threads, where := w.near, "near "
				if far {
					threads, where = w.far, "far "
				}
				if len(threads) == 0 {
					continue
				}
				th := threads[i]
				var do [2]func() error
				for n := range do {
					if do[n], err = k.prepare(w, th); err != nil {
						fail("preparation of "+where+k.name, err)
						return
					}
				}
				p := &progress{name: k.name, far: far}
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
	if wrong == nil && failure != nil && !strings.Contains(failure.Reason, "deadlock") && !strings.Contains(failure.Reason, "no end after") {
		wrong = fmt.Errorf("%s, thread stopped in %s at %v: %w", s.Name, op.name, stall, failure)
	}
	return report, all, wrong
}

func newWorld(s vls.Strategy) (*world, error) {
	app, err := s.New(vls.Options{Config: core.Config{
		Wait: vls.Park, RxFifoSize: 4 << 10, TxFifoSize: 4 << 10, EventQueueSize: 64,
		SegmentSize: 4 << 20, MaxWorkers: 32,
	}})
	if err != nil {
		return nil, err
	}
	w := &world{app: app}
	// Each has registered before any thread is stopped.
	thread := func(p vls.Process) (vls.Thread, error) {
		th := p.NewThread()
		return th, th.Register()
	}
	p, err := app.NewProcess()
	if err != nil {
		return nil, err
	}
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
	flags := binary.NativeEndian.AppendUint32(nil, syscall.O_NONBLOCK)
	if _, err := th.Attr(x, core.SetFlags, flags); err != nil {
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
		a, err := th.Create(vls.UDP, false)
		ep := w.address()
		if err == nil {
			err = th.Bind(a, ep)
		}
		if err != nil {
			return nil, err
		}
		b, err := th.Create(vls.UDP, false)
		return func() error { return done(4)(th.Sendto(b, make([]byte, 4), 0, ep)) }, err
	}},
	{name: "recvfrom", prepare: func(w *world, th vls.Thread) (func() error, error) {
		a, err := th.Create(vls.UDP, false)
		ep := w.address()
		if err == nil {
			err = th.Bind(a, ep)
		}
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
	stops, err := Find(s)
	if err != nil {
		t.Fatal(err)
	}
	Check(t, s, stops)
}

// Check is NonBlocking of what Find has found.
func Check(t *testing.T, s vls.Strategy, stops []Stop) {
	t.Helper()
	for _, x := range stops {
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
	list := func(still map[string]bool) string {
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
			return "all"
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
		a, b := list(first), list(then)
		if a == b {
			return a
		}
		return a + "; behind these " + b
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
