package vlstest

import (
	"syscall"

	"vlsbench/core"
	"vlsbench/vls"
)

// Handles: live, stale, of the wrong kind, and look-ups.
var handleCases = []testCase{
	{name: "handle-stale", doc: "every call on a closed handle is EBADFD, and never another session", run: testHandleStale},
	{name: "handle-never-was", doc: "the zero handle and any that was never given out are EBADFD", run: testHandleNeverWas},
	{name: "handle-of-peer-process", doc: "what one process closes, and exits with, leaves the handles of another alone", run: testHandleOther},
	{name: "handle-wrong-kind", doc: "a set where a session is wanted is EBADFD, a session where a set is wanted EINVAL", run: testHandleKind},
	{name: "lookup", doc: "handle, session handle, index and worker lead to each other", run: testLookup},
	{name: "set-closes-once", doc: "a closed set is EBADFD, and its members live on", run: testSetClosed},
	{name: "exit-register", doc: "exit of a thread that never registered does nothing; one that exited can register again", run: testExitRegister},
	{name: "process-exit", doc: "a process that exits closes what it holds: peers see the end, or a reset", run: testProcessExit},
	{name: "answers", doc: "without a kernel's epoll, eventfd or a worker per thread the questions for them answer alike from every thread", run: testAnswers},
	{name: "locks-uncounted", doc: "an application that was not asked to count locks reports none", run: testLocksUncounted},
}

// refused wants every call on h to be EBADFD. other is a live set.
func (e *env) refused(th vls.Thread, h vls.Handle, other set) {
	e.t.Helper()
	buf := make([]byte, 4)
	x := e.create(th, false)
	e.want(syscall.EBADFD, th.Bind(h, e.address()))
	e.want(syscall.EBADFD, th.Listen(h, 1))
	e.want(syscall.EBADFD, th.Connect(h, e.address()))
	e.want(syscall.EBADFD, err2(th.Accept(h, 0)))
	e.want(syscall.EBADFD, err1(th.Read(h, buf)))
	e.want(syscall.EBADFD, err2(th.Recvfrom(h, buf, 0)))
	e.want(syscall.EBADFD, err2(th.Recvfrom(h, buf, core.MSG_PEEK)))
	e.want(syscall.EBADFD, err1(th.Sendto(h, buf, 0, e.address())))
	e.want(syscall.EBADFD, err1(th.Write(h, buf)))
	e.want(syscall.EBADFD, err1(th.WriteMsg(h, buf)))
	e.want(syscall.EBADFD, th.Shutdown(h, syscall.SHUT_WR))
	e.want(syscall.EBADFD, th.Close(h))
	e.want(syscall.EBADFD, err1(th.Attr(h, core.GetFlags, buf)))
	for _, op := range []int{core.EPOLL_CTL_ADD, core.EPOLL_CTL_MOD, core.EPOLL_CTL_DEL} {
		e.want(syscall.EBADFD, th.EpollCtl(other.h, op, h, &vls.EpollEvent{}))
		e.want(syscall.EBADFD, th.EpollCtl(h, op, x.h, &vls.EpollEvent{}))
	}
	e.want(syscall.EBADFD, err1(th.EpollWait(h, make([]vls.EpollEvent, 1), 0)))
	e.want(syscall.EBADFD, err1(th.SessionHandle(h)))
	e.want(syscall.EBADFD, err2(th.SessionIndex(h)))
	x.close()
}

func testHandleStale(e *env) {
	th := e.thread()
	s := e.set(th)
	x, y := e.pair(th, th)
	l, _ := e.listen(th, 1)
	gone := e.set(th)
	for _, d := range []end{x, l, gone.end} {
		d.close()
		e.refused(th, d.h, s)
	}
	y.eof()

	// The slots are used again, under other handles.
	reused := make(map[uint32]bool)
	for _, h := range []vls.Handle{x.h, l.h, gone.h} {
		reused[uint32(h)] = false
	}
	var live []end
	m, ep := e.listen(th, 1)
	took := func(d end) {
		if d.h == x.h || d.h == l.h || d.h == gone.h {
			e.fatalf("handle %#x was given out again", uint64(d.h))
		}
		if _, was := reused[uint32(d.h)]; was {
			reused[uint32(d.h)] = true
		}
	}
	took(m)
	for range 100 {
		a := e.connect(th, ep)
		b := m.accept()
		a.write("a secret")
		live = append(live, a, b)
		took(a)
		took(b)
	}
	for i, again := range reused {
		if !again {
			e.fatalf("slot %#x was not used again in 200 sessions", i)
		}
	}
	for _, d := range []end{x, l, gone.end} {
		e.refused(th, d.h, s)
	}
	for i := 1; i < len(live); i += 2 {
		live[i].read("a secret")
	}
}

func testHandleNeverWas(e *env) {
	th := e.thread()
	s := e.set(th)
	x, _ := e.pair(th, th)
	for _, h := range []vls.Handle{
		0, 1, ^vls.Handle(0), 0xffffff, 1 << 32, x.h + 1<<32, x.h - 1<<32, x.h ^ 1<<24, x.h ^ 1<<31,
		x.h&^0xffffff | 0xffffff, x.h&^0xffffff | 0x7fff, vls.Handle(uint32(x.h)),
	} {
		if h == x.h || h == s.h {
			continue
		}
		e.refused(th, h, s)
	}
}

func testHandleOther(e *env) {
	a, p := e.thread(), e.process()
	b := e.threadOf(p)
	x, y := e.pair(a, a)
	for range 20 {
		c, d := e.pair(b, b)
		c.close()
		d.eof()
	}
	e.ok(b.Exit())
	e.ok(p.Exit())
	e.gone(p)
	x.write("untouched")
	y.read("untouched")
}

func testHandleKind(e *env) {
	th := e.thread()
	s := e.set(th)
	x, _ := e.pair(th, th)
	l, _ := e.listen(th, 1)
	c := e.create(th, false)
	evs := make([]vls.EpollEvent, 1)
	for _, d := range []end{x, l, c} {
		e.want(syscall.EINVAL, err1(th.EpollWait(d.h, evs, 0)))
		e.want(syscall.EINVAL, th.EpollCtl(d.h, core.EPOLL_CTL_ADD, x.h, &vls.EpollEvent{}))
		e.want(syscall.EINVAL, th.EpollCtl(d.h, core.EPOLL_CTL_ADD, d.h, &vls.EpollEvent{}))
	}
	s.reading(syscall.EBADFD)
	s.writing(syscall.EBADFD)
	e.want(syscall.EBADFD, err1(th.WriteMsg(s.h, make([]byte, 4))))
	e.want(syscall.EBADFD, th.Bind(s.h, e.address()))
	e.want(syscall.EBADFD, th.Listen(s.h, 1))
	e.want(syscall.EBADFD, th.Connect(s.h, e.address()))
	e.want(syscall.EBADFD, err2(th.Accept(s.h, 0)))
	e.want(syscall.EBADFD, th.Shutdown(s.h, syscall.SHUT_WR))
	e.want(syscall.EBADFD, err1(th.Attr(s.h, core.GetFlags, make([]byte, 4))))
	// A nil buffer or none does not change what is wrong.
	e.want(syscall.EBADFD, err1(th.Write(s.h, nil)))
	s.none()
}

func testLookup(e *env) {
	e.thread().Register()
	th := e.thread() // not of worker 0
	var all []end
	for range 5 {
		x, y := e.pair(th, th)
		all = append(all, x, y)
	}
	l, _ := e.listen(th, 1)
	all = append(all, l)
	seen := make(map[uint32]bool)
	for _, d := range all {
		sh, err := th.SessionHandle(d.h)
		e.ok(err)
		index, worker, err := th.SessionIndex(d.h)
		e.ok(err)
		if sh == 0 || uint32(sh) != worker<<24|index {
			e.fatalf("session handle %#x, index %#x, worker %#x do not agree", uint64(sh), index, worker)
		}
		if seen[index] {
			e.fatalf("two sessions have index %d", index)
		}
		seen[index] = true
		h, err := th.HandleOf(index)
		e.ok(err)
		if h != d.h {
			e.fatalf("the handle of index %d is %#x, want %#x", index, uint64(h), uint64(d.h))
		}
	}
	d := all[0]
	index, _, _ := th.SessionIndex(d.h)
	d.close()
	e.want(syscall.EBADFD, err1(th.HandleOf(index)))
	for _, i := range []uint32{1000, 0xffffff, 0x1000000 | index, ^uint32(0)} {
		e.want(syscall.EBADFD, err1(th.HandleOf(i)))
	}
}

func testSetClosed(e *env) {
	th := e.thread()
	s := e.set(th)
	x, y := e.pair(th, th)
	s.add(x, core.EPOLLIN)
	s.close()
	e.want(syscall.EBADFD, th.Close(s.h))
	y.write("alive")
	x.read("alive")
	o := e.set(th)
	o.add(x, core.EPOLLIN)
	y.write("again")
	o.soon(report{x, core.EPOLLIN})
}

func testExitRegister(e *env) {
	p := e.process()
	th := e.threadOf(p)
	e.ok(th.Exit())
	e.ok(th.Register())
	e.ok(th.Register())
	x, y := e.pair(th, th)
	e.ok(th.Exit())
	e.ok(th.Exit())
	// Sessions are the process's. The next call registers by itself.
	x.write("still there")
	e.ok(th.Exit())
	y.read("still there")
	e.ok(th.Exit())
	o := e.threadOf(p)
	x.on(o).write("by another thread")
	y.on(o).read("by another thread")
}

func testProcessExit(e *env) {
	a := e.thread()
	for range 3 {
		p := e.process()
		b := e.threadOf(p)
		x, y := e.pair(a, b)
		y.write("last words")
		u, v := e.pair(a, b)
		u.write("never read")
		s := e.set(b)
		s.add(y, core.EPOLLIN)
		s.add(v, core.EPOLLIN)
		l, ep := e.listen(b, 4)
		q := e.connect(a, ep)
		e.ok(b.Exit())
		e.ok(p.Exit())
		e.gone(p)
		x.read("last words")
		x.eof()
		u.reading(syscall.ECONNRESET)
		q.reading(syscall.ECONNRESET)
		e.want(syscall.ECONNREFUSED, a.Connect(e.create(a, false).h, ep))
		_ = l
	}
}

func testAnswers(e *env) {
	a := e.thread()
	e.ok(a.Register())
	b := e.thread()
	if a.UseEventfd() != b.UseEventfd() || a.MultiThreadWorkers() != b.MultiThreadWorkers() {
		e.fatalf("two threads of an application disagree on its configuration")
	}
	if b.UseRealEpoll() {
		e.fatalf("a thread that is not registered needs no kernel's epoll")
	}
	if !a.UseEventfd() && a.UseRealEpoll() {
		e.fatalf("without eventfd there is nothing for the kernel's epoll to wait for")
	}
}

func testLocksUncounted(e *env) {
	th := e.thread()
	x, y := e.pair(th, th)
	x.write("uncounted")
	y.read("uncounted")
	if stats := e.app.Locks(); len(stats) != 0 {
		e.fatalf("locks are counted without CountLocks: %v", stats)
	}
}
