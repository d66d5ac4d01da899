// Package census counts which locks each operation of a strategy takes, and
// which it holds while it waits. Nothing of it depends on the machine: each
// operation is made once, by itself, and counted by the strategy's own
// instrumented locks.
package census

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"vlsbench/core"
	"vlsbench/locks"
	"vlsbench/vls"
)

// Modes that a strategy is counted in.
const (
	OneThread       = "one thread"
	SeveralThreads  = "several threads"
	SharedByFork    = "shared by fork"    // one thread in each of two processes, and sessions that both have
	WorkerPerThread = "worker per thread" // several threads, and sessions that another's worker has
)

// Taken is how often an operation takes a lock: of a readers-writer lock r as a
// reader, w as a writer.
type Taken struct {
	Lock  string `json:"lock"` // P.r, P.w, S, MQ, …
	Times int    `json:"times"`
}

// Locks is what an operation takes, or holds while it waits.
type Locks []Taken

// String is the locks with a space between them, or "none".
func (l Locks) String() string {
	if len(l) == 0 {
		return "none"
	}
	var words []string
	for _, t := range l {
		w := t.Lock
		if t.Times > 1 {
			w = fmt.Sprintf("%d×%s", t.Times, w)
		}
		words = append(words, w)
	}
	return strings.Join(words, " ")
}

// MarshalJSON has no locks as an empty list.
func (l Locks) MarshalJSON() ([]byte, error) { return json.Marshal(append([]Taken{}, l...)) }

// Row is one operation of a strategy in one mode.
type Row struct {
	Strategy  string `json:"strategy"`
	Mode      string `json:"mode"`
	Operation string `json:"operation"`
	// Takes is what it takes. Of one that waits, Holds is what it holds then; how
	// often it takes what by the time it is back may differ from run to run.
	Waits bool  `json:"waits,omitempty"`
	Takes Locks `json:"takes"`
	Holds Locks `json:"holds"`
}

// Modes are those that a strategy can be counted in.
func Modes(s vls.Strategy) ([]string, error) {
	modes := []string{OneThread}
	if s.MaxThreads != 1 {
		several := SeveralThreads
		a, err := s.New(options())
		if err != nil {
			return nil, err
		}
		p, err := a.NewProcess()
		if err != nil {
			return nil, err
		}
		if t := p.NewThread(); t.MultiThreadWorkers() {
			several = WorkerPerThread
		}
		if err := a.Close(); err != nil {
			return nil, err
		}
		modes = append(modes, several)
	}
	if !s.NoFork {
		modes = append(modes, SharedByFork)
	}
	return modes, nil
}

func options() vls.Options {
	return vls.Options{CountLocks: true, Config: core.Config{
		Wait: core.Park, RxFifoSize: fifoSize, TxFifoSize: fifoSize, SegmentSize: 16 << 20,
	}}
}

const fifoSize = 16 << 10

// limit is how long an operation may take that has no reason to wait, and one
// that has to come to its wait.
const limit = 30 * time.Second

// Count makes every operation of a strategy in every mode.
func Count(s vls.Strategy) ([]Row, error) {
	modes, err := Modes(s)
	if err != nil {
		return nil, err
	}
	var rows []Row
	for _, m := range modes {
		c := &counting{s: s, mode: m}
		done := make(chan error, 1)
		go func() { done <- c.run() }()
		for seen, over := int32(-1), false; !over; {
			select {
			case err = <-done:
				over = true
			case <-time.After(2 * limit):
				// A busy machine is slow, but it goes on.
				if now := c.steps.Load(); now != seen {
					seen = now
					continue
				}
				// Whoever hangs keeps its memory.
				err, over = errors.New("it hangs"), true
			}
		}
		if err != nil {
			return nil, fmt.Errorf("%s, %s: %s: %w", s.Name, m, c.at, err)
		}
		rows = append(rows, c.rows...)
	}
	return rows, nil
}

// counting is the count of one mode.
type counting struct {
	s    vls.Strategy
	mode string
	at   string // the operation under way
	app  vls.App
	port uint16
	rows []Row

	steps atomic.Int32 // operations that were begun

	proc vls.Process
	th   vls.Thread // whose operations are counted
	peer vls.Thread // at the other end, of a process of its own
	mate vls.Thread // of th's process, in mode WorkerPerThread one that has a session which th wants
}

// failure is an error of a step, which ends the count of the mode.
type failure struct{ error }

func check(err error) {
	if err != nil {
		panic(failure{err})
	}
}

func must[T any](v T, err error) T {
	check(err)
	return v
}

func (c *counting) run() (err error) {
	defer func() {
		if f, ok := recover().(failure); ok {
			err = f.error
		}
	}()
	c.app = must(c.s.New(options()))
	c.proc = must(c.app.NewProcess())
	c.th = c.proc.NewThread()
	c.peer = must(c.app.NewProcess()).NewThread()
	check(c.th.Register())
	check(c.peer.Register())
	c.mate = c.th
	if c.mode == SeveralThreads || c.mode == WorkerPerThread {
		mate := c.proc.NewThread()
		check(mate.Register())
		if c.mode == WorkerPerThread {
			c.mate = mate
		}
	}
	c.operations()
	c.waits()
	if !c.s.NoFork {
		c.count("fork", func() { must(c.proc.Fork()) })
	}
	c.at = "exit of the thread"
	check(c.th.Exit())
	c.count("exit", func() { check(c.proc.Exit()) })
	return nil
}

// share makes all sessions of th shared, in mode SharedByFork, with another
// process.
func (c *counting) share() vls.Process {
	if c.mode != SharedByFork {
		return nil
	}
	return must(c.proc.Fork())
}

// count makes an operation and notes what it takes.
func (c *counting) count(operation string, do func()) {
	c.at = operation
	c.steps.Add(1)
	before := c.app.Locks()
	do()
	c.rows = append(c.rows, Row{
		Strategy: c.s.Name, Mode: c.mode, Operation: operation,
		Takes: difference(before, c.app.Locks()),
	})
}

// wait begins an operation that waits, notes what it holds, and ends it.
func (c *counting) wait(operation string, begin, end func()) {
	c.at = operation + ", waiting"
	c.steps.Add(1)
	before := c.app.Locks()
	failed := make(chan error, 1)
	begun := make(chan string)
	go func() {
		defer func() {
			f, _ := recover().(failure)
			failed <- f.error
		}()
		begun <- goroutine()
		begin()
	}()
	who, at := <-begun, time.Now()
	// It waits when nothing has changed for a while and the thread sleeps. On a
	// busy machine one that is still on its way there may not run for as long.
	now, since := c.app.Locks(), at
	for waits := false; !waits; {
		if time.Since(at) > limit {
			check(fmt.Errorf("it does not sleep, which in the wait mode %v it should", core.Park))
		}
		time.Sleep(time.Millisecond)
		waits = time.Since(since) >= 20*time.Millisecond && sleeps(who)
		last := now
		if now = c.app.Locks(); !slices.Equal(now, last) {
			waits, since = false, time.Now()
		}
	}
	c.rows = append(c.rows, Row{
		Strategy: c.s.Name, Mode: c.mode, Operation: operation, Waits: true,
		Holds: held(now),
	})
	end()
	check(<-failed)
	c.rows[len(c.rows)-1].Takes = difference(before, c.app.Locks())
}

// goroutine is how a stack of the calling goroutine begins: "goroutine 12 ".
func goroutine() string {
	b := make([]byte, 64)
	b = b[:runtime.Stack(b, false)]
	return string(b[:bytes.IndexByte(b, '[')])
}

// sleeps reports whether a goroutine waits for another, by whatever means, rather
// than for a processor. A fence in all threads, which may take long, is none of
// these: it is on the way.
func sleeps(who string) bool {
	b := make([]byte, 1<<20)
	for stack := range bytes.SplitSeq(b[:runtime.Stack(b, true)], []byte("\n\n")) {
		if !bytes.HasPrefix(stack, []byte(who)) {
			continue
		}
		state := string(stack[len(who)+1:])
		for _, s := range []string{"runn", "preempted", "GC"} {
			if strings.HasPrefix(state, s) {
				return false
			}
		}
		return !strings.Contains(state, "hw.HeavyFence(")
	}
	return true // it is over
}

// difference is what was taken between two counts.
func difference(before, after []locks.Stat) (l Locks) {
	for i, a := range after {
		b := before[i]
		l = l.add(a, int(a.Shared-b.Shared), int(a.Acquisitions-b.Acquisitions))
	}
	return l
}

func held(now []locks.Stat) (l Locks) {
	for _, s := range now {
		l = l.add(s, int(s.HeldShared), int(s.Held))
	}
	return l
}

// add adds what was taken of a class, of which so much by readers.
func (l Locks) add(s locks.Stat, readers, all int) Locks {
	if !s.RW {
		if all > 0 {
			l = append(l, Taken{s.Class, all})
		}
		return l
	}
	if readers > 0 {
		l = append(l, Taken{s.Class + ".r", readers})
	}
	if all > readers {
		l = append(l, Taken{s.Class + ".w", all - readers})
	}
	return l
}

func (c *counting) address() vls.Endpoint {
	c.port++
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 2000+c.port)
}

// listener makes a listener of t.
func (c *counting) listener(t vls.Thread) (vls.Handle, vls.Endpoint) {
	ep := c.address()
	l := must(t.Create(vls.TCP, false))
	check(t.Bind(l, ep))
	check(t.Listen(l, 4))
	return l, ep
}

// pair connects a session of th's process to one of the peer.
func (c *counting) pair() (own, far vls.Handle) {
	l, ep := c.listener(c.peer)
	own = must(c.th.Create(vls.TCP, false))
	check(c.th.Connect(own, ep))
	return own, c.accept(c.peer, l)
}

func (c *counting) accept(t vls.Thread, l vls.Handle) vls.Handle {
	h, _, err := t.Accept(l, 0)
	check(err)
	return h
}

// operations makes those that do not wait.
func (c *counting) operations() {
	th := c.th
	buf := make([]byte, 100)

	// All sessions first, so that they are shared.
	c.at = "sessions"
	unbound := must(th.Create(vls.TCP, false))
	bound := must(th.Create(vls.TCP, false))
	check(th.Bind(bound, c.address()))
	_, there := c.listener(c.peer)
	connecting := must(th.Create(vls.TCP, false))
	listener, here := c.listener(th)
	x, y := c.pair()
	ending, _ := c.pair()
	set := must(th.EpollCreate())
	dgram := must(th.Create(vls.UDP, false))
	to := c.address()
	check(th.Bind(dgram, to))
	last, _ := c.pair()
	quiet, _ := c.listener(th)
	child := c.share()

	if c.mode == WorkerPerThread {
		c.moving()
	}
	var h vls.Handle
	c.count("create", func() { h = must(th.Create(vls.TCP, false)) })
	check(th.Close(h))
	c.count("epoll_create", func() { h = must(th.EpollCreate()) })
	check(th.Close(h))
	c.count("bind", func() { check(th.Bind(unbound, c.address())) })
	c.count("listen", func() { check(th.Listen(bound, 4)) })
	c.count("connect", func() { check(th.Connect(connecting, there)) })

	c.at = "a connection to accept"
	// A listener that was inherited serves from the first accept on.
	far := must(c.peer.Create(vls.TCP, false))
	check(c.peer.Connect(far, here))
	check(th.Close(c.accept(th, listener)))
	check(c.peer.Connect(must(c.peer.Create(vls.TCP, false)), here))
	c.count("accept", func() { h = c.accept(th, listener) })
	check(th.Close(h))

	c.count("write", func() { must(th.Write(x, buf)) })
	c.count("write_msg", func() { must(th.WriteMsg(x, buf)) })
	must(c.peer.Write(y, buf))
	c.count("read", func() { must(th.Read(x, buf)) })
	c.count("sendto", func() { must(th.Sendto(dgram, buf, 0, to)) })
	c.count("recvfrom", func() { _, _, err := th.Recvfrom(dgram, buf, 0); check(err) })
	c.count("attr", func() { must(th.Attr(x, core.GetNread, make([]byte, 4))) })

	must(c.peer.Write(y, buf))
	event := &vls.EpollEvent{Events: core.EPOLLIN}
	c.count("epoll_ctl", func() { check(th.EpollCtl(set, core.EPOLL_CTL_ADD, x, event)) })
	events := make([]vls.EpollEvent, 4)
	c.count("epoll_wait", func() { must(th.EpollWait(set, events, -1)) })
	c.count("first select of a listener", func() {
		var read vls.HandleSet
		read.Add(quiet)
		must(th.Select(&read, nil, nil, 0))
	})
	c.count("epoll_ctl of a listener", func() { check(th.EpollCtl(set, core.EPOLL_CTL_ADD, quiet, event)) })
	c.count("select", func() {
		var read vls.HandleSet
		read.Add(x)
		must(th.Select(&read, nil, nil, -1))
	})
	c.count("poll", func() { must(th.Poll([]vls.PollFD{{Handle: x, Events: core.EPOLLIN}}, -1)) })

	var index uint32
	c.count("session_handle", func() { must(th.SessionHandle(x)) })
	c.count("session_index", func() {
		var err error
		index, _, err = th.SessionIndex(x)
		check(err)
	})
	c.count("handle_of", func() { must(th.HandleOf(index)) })
	c.count("shutdown", func() { check(th.Shutdown(ending, syscall.SHUT_WR)) })
	c.count("close", func() { check(th.Close(ending)) })
	c.count("close of a set", func() { check(th.Close(set)) })
	if child != nil {
		check(child.Exit())
		c.count("close by the last", func() { check(th.Close(last)) })
	} else {
		check(th.Close(last))
	}
	for _, h := range []vls.Handle{unbound, bound, connecting, listener, x, dgram, quiet} {
		c.at = "closing the rest"
		check(th.Close(h))
	}
}

// moving counts the first use of a session that another worker has, whose
// thread looks at its queue meanwhile. It was never connected: others do not move
// everywhere.
func (c *counting) moving() {
	x := must(c.mate.Create(vls.TCP, false))
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				c.mate.Poll(nil, 0)
				time.Sleep(100 * time.Microsecond)
			}
		}
	}()
	defer func() { close(stop); <-stopped }()
	c.count("attr of a session that another has", func() { must(c.th.Attr(x, core.GetFlags, make([]byte, 4))) })
	check(c.th.Close(x))
}

// waits makes those that wait, for something that the peer then does.
func (c *counting) waits() {
	c.at = "sessions to wait on"
	th := c.th
	x, y := c.pair()
	full, drain := c.pair()
	listener, here := c.listener(th)
	set := must(th.EpollCreate())
	check(th.EpollCtl(set, core.EPOLL_CTL_ADD, x, &vls.EpollEvent{Events: core.EPOLLIN}))
	nonblocking := binary.NativeEndian.AppendUint32(nil, syscall.O_NONBLOCK)
	must(th.Attr(full, core.SetFlags, nonblocking))
	for {
		if _, err := th.Write(full, make([]byte, 1000)); err != nil {
			break
		}
	}
	must(th.Attr(full, core.SetFlags, make([]byte, 4)))
	c.share()

	buf := make([]byte, 100)
	tell := func() { must(c.peer.Write(y, buf)) }
	take := func() { must(th.Read(x, buf)) }
	c.wait("read", take, tell)
	c.wait("write", func() { must(th.Write(full, buf)) }, func() { must(c.peer.Read(drain, make([]byte, fifoSize))) })
	c.wait("accept", func() { c.accept(th, listener) }, func() {
		check(c.peer.Connect(must(c.peer.Create(vls.TCP, false)), here))
	})
	events := make([]vls.EpollEvent, 4)
	c.wait("epoll_wait", func() { must(th.EpollWait(set, events, -1)) }, tell)
	take()
	c.wait("select", func() {
		var read vls.HandleSet
		read.Add(x)
		must(th.Select(&read, nil, nil, -1))
	}, tell)
	take()
	c.wait("poll", func() { must(th.Poll([]vls.PollFD{{Handle: x, Events: core.EPOLLIN}}, -1)) }, tell)
}
