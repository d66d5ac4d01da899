package vlstest

import (
	"runtime"
	"sync/atomic"
	"syscall"

	"vlsbench/core"
	"vlsbench/vls"
)

// Processes that share sessions by fork. The numbers in parentheses are those
// of docs/faults.md, of faults that a case would find.
var forkCases = []testCase{
	{name: "fork-refused", doc: "a strategy without fork says ENOTSUP", run: testForkRefused},
	{name: "fork-shares-stream", doc: "parent and child use one stream under one handle: whoever reads gets the next bytes", run: testForkShares},
	{name: "fork-close-one", doc: "a shared stream ends when the last process has closed it, and not before (26)", run: testForkCloseOne},
	{name: "fork-parent-exits", doc: "a child whose parent has exited goes on with everything it inherited (25)", run: testForkParentExits},
	{name: "fork-worker-index", doc: "a child's sessions belong to a worker of its own, whatever number their handles carry (19, 29)", run: testForkIndex},
	{name: "fork-new-sessions", doc: "sessions made after the fork are not shared, and closing one harms no other of the same index (22)", run: testForkNew},
	{name: "fork-stale-handles", doc: "what was stale in the parent is stale in the child, for ever", run: testForkStale},
	{name: "fork-listener-passive", doc: "an inherited listener serves a child from its first accept, and an owner that never served it stops", run: testForkPassive},
	{name: "fork-listener-again", doc: "an owner that has stopped to serve does so again from its next accept, with nothing left of before", run: testForkListenerAgain},
	{name: "fork-listener-turns", doc: "connections go to the processes that serve a listener in turn", run: testForkTurns},
	{name: "fork-listener-epoll", doc: "adding it to a set makes an inherited listener serve too, whenever that is", run: testForkListenerEpoll},
	{name: "fork-listener-leaves", doc: "what waits in the queue of a process that leaves goes to another that serves", run: testForkLeaves},
	{name: "fork-listener-heir", doc: "who gets what waits in the queue of a process that leaves is told, and gets it beyond its backlog", run: testForkHeir},
	{name: "fork-owner-closes", doc: "the owner of an inherited listener or an unconnected session may close it (24)", run: testForkOwnerCloses},
	{name: "fork-unconnected", doc: "a session that one process binds, listens at or connects is that for all who share it", run: testForkUnconnected},
	{name: "fork-high-index", doc: "a child with a high worker index listens like any other (23)", run: testForkHigh},
	{name: "fork-sets", doc: "a child has a set of its own for each of its parent's, with the same members", run: testForkSets},
	{name: "fork-set-threads", doc: "threads of a child may use a set that it has by fork at once, and one close it", run: testForkSetThreads},
	{name: "fork-edge", doc: "what an edge triggered member has reported is not news to the child's copy", run: testForkEdge},
	{name: "fork-edge-out", doc: "a child that fills a session which its set has by inheritance is told of space by it", run: testForkEdgeOut},
	{name: "fork-readers", doc: "readers that wait in several processes are each woken for what they get", run: testForkReaders},
	{name: "fork-writers", doc: "writers that wait for space in several processes are each woken", run: testForkWriters},
	{name: "fork-waits-on-sets", doc: "waits on sets in several processes all hear of a shared session", run: testForkWaits},
	{name: "fork-records", doc: "an operation on a shared session is exclusive between processes: records stay whole (46)", run: testForkRecords},
	{name: "fork-attributes", doc: "O_NONBLOCK, options and shutdown hold for all who share a session", run: testForkAttributes},
	{name: "fork-datagrams", doc: "processes share a session of datagrams: each one is read once, and both send from one endpoint", run: testForkDatagrams},
	{name: "fork-datagrams-unbound", doc: "an unbound session of datagrams that one process binds or connects is that for all who share it", run: testForkUnboundDatagrams},
	{name: "fork-poll", doc: "polling makes an inherited listener serve, however often others were polled before (51)", run: testForkPoll},
	{name: "fork-grandchild", doc: "a grandchild shares what its grandparent has, when both parents are gone", run: testForkGrandchild},
	{name: "fork-limit", doc: "a fork too many is ENOMEM and changes nothing", run: testForkLimit,
		opts: func(o *vls.Options) { o.Config.MaxWorkers = 3 }},
	{name: "fork-nothing-left", doc: "when all who shared something are gone all of its memory is back", run: testForkNothingLeft,
		opts: func(o *vls.Options) { o.Config.SegmentSize = 1 << 20 }},
	{name: "fork-child-dies", doc: "children that die are all reaped at their parent's next wait, which then goes on (27, 28, 30)", run: testForkDies,
		opts: func(o *vls.Options) { o.Config.MaxWorkers = 4 }},
	{name: "fork-dies-waiting", doc: "a child that dies while it waits, and its own dead children, are reaped", run: testForkDiesWaiting,
		opts: func(o *vls.Options) { o.Config.MaxWorkers = 4 }},
	{name: "fork-dies-hungry", doc: "what comes between the death of a child and its burial goes to who lives, and nothing of it to the threads of the child that waited", run: testForkDiesHungry},
	{name: "fork-owner-dies", doc: "an owner that dies leaves its sessions to the others", run: testForkOwnerDies},
	{name: "fork-dead-listener", doc: "connections that wait with a child that died go to those that serve", run: testForkDeadListener},
	{name: "fork-among-threads", doc: "fork may come while other threads of the process use its sessions, and make and close others (21, 52)", run: testForkAmongThreads},
	{name: "fork-storm", doc: "several threads in parent and child share one session at once (5, 46)", run: testForkStorm},
	{name: "fork-while-first-works", doc: "fork may come in the middle of the calls of a process's only thread", run: testForkWhileFirst},
}

// fork is a thread of a new child of th's process.
func (e *env) fork(th vls.Thread) vls.Thread {
	e.t.Helper()
	e.mu.Lock()
	p := e.procOf[th]
	e.mu.Unlock()
	c, err := p.Fork()
	e.ok(err)
	e.mu.Lock()
	e.procs = append(e.procs, c)
	e.mu.Unlock()
	return e.threadOf(c)
}

// exit ends th and its process.
func (e *env) exit(th vls.Thread) {
	e.t.Helper()
	e.mu.Lock()
	p := e.procOf[th]
	var all []vls.Thread
	for o, q := range e.procOf {
		if q == p {
			all = append(all, o)
		}
	}
	e.mu.Unlock()
	for _, o := range all {
		e.ok(o.Exit())
	}
	e.ok(p.Exit())
	e.gone(p)
}

// kill lets th's process die.
func (e *env) kill(th vls.Thread) {
	e.t.Helper()
	e.mu.Lock()
	p := e.procOf[th]
	e.mu.Unlock()
	m, ok := p.(vls.Mortal)
	if !ok {
		e.fatalf("the process is a %T, which has no Kill", p)
	}
	e.leave(p)
	e.ok(m.Kill())
	e.gone(p)
}

// sleeps lets th wait for something, as it must before it reaps its children.
func (e *env) sleeps(th vls.Thread) {
	e.t.Helper()
	s := e.set(th)
	e.count(0)(th.EpollWait(s.h, make([]vls.EpollEvent, 1), 1))
	s.close()
}

func testForkRefused(e *env) {
	e.want(syscall.ENOTSUP, err1(e.process().Fork()))
}

func testForkShares(e *env) {
	a, o := e.thread(), e.thread()
	x, y := e.pair(a, o)
	y.write("before")
	b := e.fork(a)
	xb := x.on(b)
	e.count(3)(b.Read(x.h, make([]byte, 3)))
	x.read("ore")
	for _, w := range []end{x, xb} {
		w.write("up")
		y.read("up")
		y.write("down, and")
		e.count(4)(x.th.Read(x.h, make([]byte, 4)))
		xb.read(", and")
	}
	for pos := 0; pos < 300_000; pos += 1000 { // in turn, through every chunk
		w := []end{x, xb}[pos/1000%2]
		w.send(4, pos, pos+1000, 700)
		y.receive(4, pos, pos+1000, 900)
		y.send(5, pos, pos+1000, 800)
		[]end{x, xb}[pos/2000%2].receive(5, pos, pos+1000, 600)
	}
}

func testForkCloseOne(e *env) {
	for i := range 4 {
		a, o := e.thread(), e.thread()
		x, y := e.pair(a, o)
		b := e.fork(a)
		first, last := x, x.on(b)
		if i%2 == 1 {
			first, last = last, first
		}
		y.write("unread")
		if i < 2 {
			first.close()
		} else {
			e.exit(first.th)
		}
		y.nonblock(true)
		y.reading(syscall.EWOULDBLOCK)
		last.read("unread")
		y.nonblock(false)
		for pos := 0; pos < 40_000; pos += 8000 {
			last.send(1, pos, pos+8000, 5000)
			y.receive(1, pos, pos+8000, 3000)
		}
		y.write("still here")
		last.read("still here")
		if i < 2 {
			first.reading(syscall.EBADFD)
		}
		last.close()
		y.eof()
	}
}

func testForkParentExits(e *env) {
	a, o := e.thread(), e.thread()
	x, y := e.pair(a, o)
	l, ep := e.listen(a, 8)
	s := e.set(a)
	s.add(x, in)
	b := e.fork(a)
	e.exit(a)
	x, l = x.on(b), l.on(b)
	sb := set{end: s.on(b)}
	y.write("to the child")
	sb.soon(report{x, in})
	x.read("to the child")
	c := e.connect(o, ep)
	d := l.accept()
	d.write("served")
	c.read("served")
	// A stranger may have the parent's place.
	n := e.thread()
	e.fork(n)
	u, v := e.pair(b, n)
	u.write("new")
	v.read("new")
	if u.h == x.h || u.h == l.h {
		e.fatalf("a new session has the handle %#x of an old one", uint64(u.h))
	}
	for _, z := range []end{x, l, d, u, sb.end} {
		z.close()
	}
	y.eof()
	e.empty(b)
}

func testForkIndex(e *env) {
	for range 5 { // so that process and worker numbers go apart
		e.exit(e.thread())
		e.thread()
	}
	a := e.thread()
	x, _ := e.pair(a, a)
	b := e.fork(a)
	ia, wa, err := a.SessionIndex(x.h)
	e.ok(err)
	ib, wb, err := b.SessionIndex(x.h)
	e.ok(err)
	if ia != ib || wa == wb {
		e.fatalf("session %#x is %d of worker %d in the parent and %d of worker %d in the child: want one index and two workers",
			uint64(x.h), ia, wa, ib, wb)
	}
	sh, err := b.SessionHandle(x.h)
	e.ok(err)
	if sh.Worker() != wb || sh.Index() != ib {
		e.fatalf("session handle %#x in the child, want worker %d, index %d", uint64(sh), wb, ib)
	}
	for _, th := range []vls.Thread{a, b} {
		if h, err := th.HandleOf(ia); h != x.h || err != nil {
			e.fatalf("index %d leads to %#x, %v; want %#x", ia, uint64(h), err, uint64(x.h))
		}
	}
	// One at the same index that is not shared.
	ya, yb := e.create(a, false), e.create(b, false)
	_, w, err := b.SessionIndex(yb.h)
	e.ok(err)
	if w != wb || ya.h == yb.h {
		e.fatalf("new sessions %#x and %#x, of worker %d; want two, the second of worker %d", uint64(ya.h), uint64(yb.h), w, wb)
	}
	ya.on(b).reading(syscall.EBADFD)
	yb.on(a).reading(syscall.EBADFD)
}

func testForkNew(e *env) {
	a, o := e.thread(), e.thread()
	x, y := e.pair(a, o)
	b := e.fork(a)
	for range 3 {
		ua, va := e.pair(a, o)
		ub, vb := e.pair(b, o)
		ua.write("parent's")
		ub.write("child's")
		va.read("parent's")
		vb.read("child's")
		ub.close()
		vb.eof()
		vb.close()
		va.write("still")
		ua.read("still")
		ua.close()
		va.eof()
		va.close()
	}
	x.write("and this one")
	y.read("and this one")
	// One that the child gives up and makes anew leaves the parent's alone.
	x.on(b).close()
	z := e.create(b, false)
	z.close()
	z.on(a).reading(syscall.EBADFD)
	x.write("too")
	y.read("too")
}

func testForkStale(e *env) {
	a := e.thread()
	var stale []vls.Handle
	for range 40 {
		z := e.create(a, false)
		if len(stale)%3 == 0 {
			e.create(a, false)
		}
		z.close()
		stale = append(stale, z.h)
	}
	b := e.fork(a)
	seen := map[vls.Handle]bool{}
	for _, h := range stale {
		seen[h] = true
	}
	for range 200 {
		z := e.create(b, false)
		if seen[z.h] {
			e.fatalf("handle %#x was given out before", uint64(z.h))
		}
		seen[z.h] = true
		for _, h := range stale {
			e.want(syscall.EBADFD, b.Close(h))
		}
		z.close()
	}
}

func testForkPassive(e *env) {
	a, o := e.thread(), e.thread()
	l, ep := e.listen(a, 8)
	c := e.connect(o, ep)
	b := e.fork(a)
	lb := l.on(b)
	d := e.connect(o, ep)
	// The parent never showed that it wants them.
	first := lb.accept()
	c.write("c")
	first.read("c")
	second := lb.accept()
	d.write("d")
	second.read("d")
	for range 4 {
		x := e.connect(o, ep)
		x.write("x")
		lb.accept().read("x")
	}
	// It may still change its mind.
	l.nonblock(true)
	e.want(syscall.EAGAIN, err2(a.Accept(l.h, 0)))
	x, z := e.connect(o, ep), e.connect(o, ep)
	for _, k := range []end{x, z} {
		k.write("late")
	}
	l.accept().read("late")
	lb.accept().read("late")
}

func testForkListenerAgain(e *env) {
	a, o := e.thread(), e.thread()
	l, ep := e.listen(a, 3)
	l.nonblock(true)
	for range 3 {
		e.connect(o, ep)
	}
	b := e.fork(a)
	for range 3 {
		l.on(b).accept()
	}
	e.want(syscall.EAGAIN, err2(a.Accept(l.h, 0)))
	s := e.set(a)
	s.add(l, in)
	s.none()
	for range 4 {
		e.connect(o, ep)
	}
	s.soon(report{l, in})
	for range 2 {
		l.accept()
		l.on(b).accept()
	}
	s.none()
	e.want(syscall.EAGAIN, err2(b.Accept(l.h, 0)))
}

func testForkTurns(e *env) {
	a, o := e.thread(), e.thread()
	l, ep := e.listen(a, 16)
	x := e.connect(o, ep)
	l.accept().close()
	x.close()
	b := e.fork(a)
	// Until the child accepts all are the parent's.
	for range 3 {
		x := e.connect(o, ep)
		x.write("parent")
		l.accept().read("parent")
	}
	lb := l.on(b)
	lb.nonblock(true)
	e.want(syscall.EAGAIN, err2(b.Accept(l.h, 0)))
	for range 8 {
		e.connect(o, ep)
	}
	for _, k := range []end{l, lb} {
		for range 4 {
			k.accept()
		}
		e.want(syscall.EAGAIN, err2(k.th.Accept(k.h, 0)))
	}
	// A queue that is full is passed over.
	e.ok(b.Listen(l.h, 2))
	for range 4 {
		e.connect(o, ep)
	}
	e.want(syscall.ECONNREFUSED, o.Connect(e.create(o, false).h, ep))
	l.accept()
	e.connect(o, ep)
}

func testForkListenerEpoll(e *env) {
	a, o := e.thread(), e.thread()
	l, ep := e.listen(a, 8)
	x := e.connect(o, ep)
	for i := range 3 { // each has its own listener to begin with
		b := e.fork(a)
		lb, s := l.on(b), e.set(b)
		s.add(lb, in)
		if i == 0 {
			x.write("waited")
			s.soon(report{lb, in})
			lb.accept().read("waited")
			s.none()
		}
		// All of the children so far serve.
		for range i + 1 {
			e.connect(o, ep)
		}
		s.soon(report{lb, in})
		lb.accept()
		s.none()
	}
}

func testForkLeaves(e *env) {
	for i := range 3 {
		a, o := e.thread(), e.thread()
		l, ep := e.listen(a, 16)
		l.nonblock(true)
		e.want(syscall.EAGAIN, err2(a.Accept(l.h, 0)))
		b := e.fork(a)
		lb := l.on(b)
		e.want(syscall.EAGAIN, err2(b.Accept(l.h, 0)))
		l.nonblock(false)
		var xs []end
		for k := range 10 {
			x := e.connect(o, ep)
			x.write(string(rune('a' + k)))
			xs = append(xs, x)
		}
		stays, s := lb, e.set(b)
		switch i {
		case 0:
			s.add(lb, in)
			l.close()
		case 1:
			e.exit(a)
		case 2:
			e.exit(b)
			stays = l
		}
		for range xs {
			y := stays.accept()
			y.write("got it")
			buf := make([]byte, 2)
			e.count(1)(y.th.Read(y.h, buf))
			k := int(buf[0] - 'a')
			xs[k].read("got it")
		}
		if i == 0 {
			s.none()
			e.connect(o, ep)
			s.soon(report{lb, in})
		}
	}
}

func testForkHeir(e *env) {
	const backlog = 3
	for _, how := range []string{"accept", "epoll", "full"} {
		a, o := e.thread(), e.thread()
		l, ep := e.listen(a, backlog)
		l.nonblock(true)
		e.want(syscall.EAGAIN, err2(a.Accept(l.h, 0)))
		b := e.fork(a)
		e.want(syscall.EAGAIN, err2(b.Accept(l.h, 0)))
		if how == "full" {
			for range 2 * backlog {
				e.connect(o, ep).write("full")
			}
			e.exit(b)
			for range 2 * backlog {
				l.accept().read("full")
			}
			e.want(syscall.EAGAIN, err2(a.Accept(l.h, 0)))
			continue
		}
		// Of two one is b's, whoever's turn is first.
		e.connect(o, ep)
		e.connect(o, ep)
		l.accept()
		s := e.set(a)
		s.cold = true
		if how == "epoll" {
			s.add(l, in)
			s.none()
		}
		l.nonblock(false)
		join := e.start(func() {
			if how == "epoll" {
				s.soon(report{l, in})
			}
			l.accept()
		})
		e.pause()
		e.exit(b)
		join()
	}
}

func testForkOwnerCloses(e *env) {
	a, o := e.thread(), e.thread()
	l, ep := e.listen(a, 8)
	u := e.create(a, false)
	w := e.create(a, false)
	e.ok(a.Bind(w.h, e.address()))
	b := e.fork(a)
	l.close()
	u.close()
	w.close()
	// Nobody is refused while the child has not yet shown interest.
	x := e.connect(o, ep)
	l.on(b).accept()
	x.close()
	e.ok(b.Connect(u.h, ep))
	l.on(b).accept().write("hello")
	u.on(b).read("hello")
	e.ok(b.Listen(w.h, 4))
	for _, z := range []end{l, u, w} {
		z.on(b).close()
	}
	e.want(syscall.ECONNREFUSED, o.Connect(e.create(o, false).h, ep))
}

func testForkUnconnected(e *env) {
	a, o := e.thread(), e.thread()
	l, ep := e.listen(o, 8)
	for _, nonblocking := range []bool{false, true} {
		u, m := e.create(a, nonblocking), e.create(a, false)
		sa := e.set(a)
		sa.add(u, out)
		b := e.fork(a)
		sb := set{end: sa.on(b)}
		sa.none()
		sb.none()
		err := b.Connect(u.h, ep)
		if nonblocking {
			e.want(syscall.EINPROGRESS, err)
		} else {
			e.ok(err)
		}
		sa.soon(report{u, out})
		sb.soon(report{u, out})
		y := l.accept()
		u.write("of the parent")
		y.read("of the parent")
		e.ok(a.Connect(u.h, ep)) // it is connected
		u.on(b).close()
		u.write("alone")
		y.read("alone")
		u.close()
		y.eof()

		e.ok(a.Bind(m.h, e.address()))
		e.want(syscall.EINVAL, b.Bind(m.h, e.address()))
		e.ok(b.Listen(m.h, 4))
		m.attrIs(core.GetListen, 1)
	}
	// One that fails says so to whoever asks first.
	u := e.create(a, true)
	b := e.fork(a)
	e.want(syscall.EINPROGRESS, a.Connect(u.h, e.address()))
	u.on(b).attrIs(core.GetError, int(syscall.ECONNREFUSED))
	u.attrIs(core.GetError, 0)
	// Be it that it failed before the fork.
	v := e.create(a, true)
	e.want(syscall.EINPROGRESS, a.Connect(v.h, e.address()))
	b = e.fork(a)
	v.on(b).attrIs(core.GetError, int(syscall.ECONNREFUSED))
	v.attrIs(core.GetError, 0)
}

func testForkHigh(e *env) {
	var th vls.Thread
	for range 90 {
		th = e.thread()
	}
	o := e.thread()
	l, ep := e.listen(th, 8)
	var ls []end
	for range 5 {
		lb := l.on(e.fork(th))
		lb.nonblock(true)
		e.want(syscall.EAGAIN, err2(lb.th.Accept(lb.h, 0)))
		ls = append(ls, lb)
	}
	for round := range 2 {
		for range ls {
			e.connect(o, ep)
		}
		for _, lb := range ls {
			lb.accept()
		}
		if round == 0 {
			e.exit(ls[2].th)
			ls = append(ls[:2], ls[3:]...)
		}
	}
	for _, lb := range ls {
		lb.close()
	}
	l.close()
	e.want(syscall.ECONNREFUSED, o.Connect(e.create(o, false).h, ep))
}

func testForkSets(e *env) {
	a, o := e.thread(), e.thread()
	x, y := e.pair(a, o)
	u, v := e.pair(a, o)
	s := e.set(a)
	s.add(x, in)
	s.add(u, in|rdhup)
	b := e.fork(a)
	sb := set{end: s.on(b)}
	y.write("news")
	s.soon(report{x, in})
	sb.soon(report{x, in})
	x.read("news")
	s.none()
	sb.none()
	// What one does to its set is not done to the other's.
	s.del(x)
	e.want(syscall.EEXIST, sb.ctl(core.EPOLL_CTL_ADD, x, in))
	y.write("more")
	v.close()
	s.soon(report{u, in | rdhup})
	sb.soon(report{x, in}, report{u, in | rdhup})
	s.close()
	sb.soon(report{x, in}, report{u, in | rdhup})
	u.on(b).close()
	sb.soon(report{x, in})
	u.eof()
}

func testForkSetThreads(e *env) {
	a, o := e.thread(), e.thread()
	x, y := e.pair(a, o)
	sets := make([]set, e.rounds(40))
	for i := range sets {
		sets[i] = e.set(a)
	}
	sets[0].add(x, in)
	b := e.fork(a)
	c := e.near(b)
	for i, s := range sets {
		ask := func(th vls.Thread) { e.want(syscall.EBADFD, err1(th.Attr(s.h, core.GetFlags, make([]byte, 4)))) }
		// Who reads what it has alone may come to have it more cheaply.
		e.want(syscall.EBADFD, err1(b.Read(s.h, make([]byte, 1))))
		var asked atomic.Int32
		join := e.start(func() {
			for range 100 {
				ask(b)
				asked.Add(1)
			}
		})
		for asked.Load() < 3 {
			runtime.Gosched()
		}
		ask(c)
		if i == 0 {
			y.write("news")
			set{end: s.on(c)}.soon(report{x, in})
		}
		e.ok(c.Close(s.h))
		join()
	}
	// A member of what was closed may be another's.
	other := e.set(c)
	other.add(x.on(c), in)
	other.soon(report{x, in})
	sets[0].soon(report{x, in})
}

func testForkEdge(e *env) {
	a, o := e.thread(), e.thread()
	x, y := e.pair(a, o)
	u, v := e.pair(a, o)
	s := e.set(a)
	s.add(x, in|et)
	s.add(u, in|oneshot)
	y.write("1")
	v.write("1")
	s.soon(report{x, in}, report{u, in})
	b := e.fork(a)
	sb := set{end: s.on(b)}
	sb.none()
	y.write("2")
	v.write("2")
	sb.soon(report{x, in})
	s.soon(report{x, in})
	sb.none()
	sb.mod(u, in)
	sb.soon(report{u, in})
	s.none()
}

func testForkEdgeOut(e *env) {
	a, o := e.thread(), e.thread()
	x, y := e.pair(a, o)
	s := e.set(a)
	s.add(x, out|et)
	s.is(report{x, out})
	b := e.fork(a)
	sb := set{end: s.on(b)}
	sb.none()
	for range 2 {
		n := x.on(b).fill() // which the set has not seen
		y.receive(0, 0, n, 4000)
		sb.soon(report{x, out})
		sb.none()
	}
}

func testForkReaders(e *env) {
	a, o := e.thread(), e.thread()
	x, y := e.pair(a, o)
	ends := []end{x}
	for range 3 {
		ends = append(ends, x.on(e.fork(a)))
	}
	for range 20 {
		var joins []func()
		for _, z := range ends {
			joins = append(joins, e.start(func() { e.count(1)(z.th.Read(z.h, make([]byte, 1))) }))
		}
		for range ends {
			y.write("1")
			runtime.Gosched()
		}
		for _, join := range joins {
			join()
		}
	}
	var joins []func()
	for _, z := range ends {
		joins = append(joins, e.start(z.eof))
	}
	e.pause()
	y.close()
	for _, join := range joins {
		join()
	}
}

func testForkWriters(e *env) {
	a, o := e.thread(), e.thread()
	x, y := e.pair(a, o)
	xb := x.on(e.fork(a))
	const small, large, each = 64, 1000, 200
	joins := []func(){
		e.start(func() {
			for range each {
				e.count(small)(x.th.Write(x.h, make([]byte, small)))
			}
		}),
		e.start(func() {
			for range each {
				e.count(large)(xb.th.Write(x.h, make([]byte, large)))
			}
		}),
	}
	buf := make([]byte, 700)
	for left := each * (small + large); left > 0; {
		n, err := y.th.Read(y.h, buf[:min(left, len(buf))])
		e.ok(err)
		left -= n
	}
	for _, join := range joins {
		join()
	}
}

func testForkWaits(e *env) {
	a, o := e.thread(), e.thread()
	x, y := e.pair(a, o)
	s := e.set(a)
	s.add(x, in)
	sets := []set{s}
	for range 3 {
		sets = append(sets, set{end: s.on(e.fork(a))})
	}
	for range 20 {
		var joins []func()
		for _, k := range sets {
			joins = append(joins, e.start(func() { k.soon(report{x, in}) }))
		}
		if e.wait != vls.Spin {
			e.pause()
		}
		y.write("all")
		for _, join := range joins {
			join()
		}
		sets[3].end.e.count(3)(sets[3].th.Read(x.h, make([]byte, 10)))
		for _, k := range sets {
			k.none()
		}
	}
}

// records lets each of the ends write numbered records and read them at the
// other side, all at once; each has to come once and whole.
func (e *env) records(writers, readers []end, each int) {
	e.t.Helper()
	var wjoins, rjoins []func()
	for w, o := range writers {
		wjoins = append(wjoins, e.start(func() {
			for i := range each {
				o.write(string([]byte{byte(w), byte(i), byte(i >> 8), '.'}))
			}
		}))
	}
	counts := make([]map[string]int, len(readers))
	for r, o := range readers {
		counts[r] = make(map[string]int)
		rjoins = append(rjoins, e.start(func() {
			buf := make([]byte, 4)
			for {
				n, err := o.th.Read(o.h, buf)
				e.ok(err)
				if n == 0 {
					return
				}
				if n != 4 || buf[3] != '.' {
					e.fatalf("read %q, want a record of 4 bytes that ends in a dot", buf[:n])
				}
				counts[r][string(buf)]++
			}
		}))
	}
	for _, join := range wjoins {
		join()
	}
	e.ok(writers[0].th.Shutdown(writers[0].h, syscall.SHUT_WR))
	for _, join := range rjoins {
		join()
	}
	for w := range writers {
		for i := range each {
			record := string([]byte{byte(w), byte(i), byte(i >> 8), '.'})
			n := 0
			for _, c := range counts {
				n += c[record]
			}
			if n != 1 {
				e.fatalf("record %q was read %d times", record, n)
			}
		}
	}
}

func testForkRecords(e *env) {
	a, o := e.thread(), e.thread()
	x, y := e.pair(a, o)
	b, p := e.fork(a), e.fork(o)
	e.records([]end{x, x.on(b)}, []end{y, y.on(p)}, 5000)
}

func testForkStorm(e *env) {
	a, o := e.thread(), e.thread()
	x, y := e.pair(a, o)
	b, p := e.fork(a), e.fork(o)
	var writers, readers []end
	for _, th := range []vls.Thread{a, b} {
		writers = append(writers, x.on(th), x.on(e.near(th)))
	}
	for _, th := range []vls.Thread{o, p} {
		readers = append(readers, y.on(th), y.on(e.near(th)))
	}
	e.records(writers, readers, 1000)
}

func testForkAttributes(e *env) {
	a, o := e.thread(), e.thread()
	x, y := e.pair(a, o)
	x.set(core.SetKeepalive, 1)
	b := e.fork(a)
	xb := x.on(b)
	xb.attrIs(core.GetKeepalive, 1)
	xb.set(core.SetKeepalive, 0)
	x.attrIs(core.GetKeepalive, 0)
	x.nonblock(true)
	xb.reading(syscall.EWOULDBLOCK)
	xb.nonblock(false)
	x.attrIs(core.GetFlags, 0)
	join := e.start(x.eof)
	e.pause()
	e.ok(b.Shutdown(x.h, syscall.SHUT_RD))
	join()
	e.ok(a.Shutdown(x.h, syscall.SHUT_WR))
	xb.writing(syscall.EPIPE)
	y.eof()
}

func testForkDatagrams(e *env) {
	a, o := e.thread(), e.thread()
	h, err := a.Create(vls.UDP, false)
	e.ok(err)
	ep := e.address()
	e.ok(a.Bind(h, ep))
	k, err := o.Create(vls.UDP, false)
	e.ok(err)
	e.ok(o.Connect(k, ep))
	e.count(3)(o.Write(k, []byte("one")))
	e.count(3)(o.Write(k, []byte("two")))
	e.count(5)(o.Write(k, []byte("three")))
	b := e.fork(a)
	want := func(th vls.Thread, s string) (from vls.Endpoint) {
		e.t.Helper()
		buf := make([]byte, 20)
		n, from, err := th.Recvfrom(h, buf, 0)
		if err != nil || string(buf[:n]) != s {
			e.fatalf("received %q, %v; want %q", buf[:n], show(err), s)
		}
		return from
	}
	want(b, "one")
	peer := want(a, "two")
	want(b, "three")
	for _, th := range []vls.Thread{a, b} {
		e.count(4)(th.Sendto(h, []byte("back"), 0, peer))
		e.count(4)(o.Read(k, make([]byte, 9)))
	}
	// Whoever waits is told.
	joins := []func(){e.start(func() { want(a, "for one") }), e.start(func() { want(b, "for one") })}
	e.pause()
	e.count(7)(o.Write(k, []byte("for one")))
	e.count(7)(o.Write(k, []byte("for one")))
	for _, join := range joins {
		join()
	}
	e.exit(a)
	e.count(2)(o.Write(k, []byte("on")))
	want(b, "on")
	e.ok(b.Close(h))
	e.count(4)(o.Write(k, []byte("lost")))
	e.want(syscall.ECONNREFUSED, err1(o.Write(k, []byte("lost"))))
	e.empty(b)
}

func testForkUnboundDatagrams(e *env) {
	a, o := e.thread(), e.thread()
	h, err := a.Create(vls.UDP, false)
	e.ok(err)
	b := e.fork(a)
	k, err := o.Create(vls.UDP, false)
	e.ok(err)
	ep := e.address()
	e.ok(o.Bind(k, ep))
	buf := make([]byte, 20)
	e.count(5)(b.Sendto(h, []byte("child"), 0, ep))
	_, one, err := o.Recvfrom(k, buf, 0)
	e.ok(err)
	e.count(6)(a.Sendto(h, []byte("parent"), 0, ep))
	_, two, err := o.Recvfrom(k, buf, 0)
	e.ok(err)
	if one != two {
		e.fatalf("the child sends from %v, the parent from %v", one, two)
	}
	e.ok(a.Connect(h, ep))
	e.count(5)(b.Write(h, []byte("child")))
	e.count(5)(o.Read(k, buf))
	e.want(syscall.EINVAL, err1(b.Sendto(h, []byte("child"), 0, ep)))
}

func testForkPoll(e *env) {
	a, o := e.thread(), e.thread()
	l, ep := e.listen(a, 4)
	m, em := e.listen(a, 4)
	b := e.fork(a)
	poll := func(x end, want uint32) {
		e.t.Helper()
		fds := []vls.PollFD{{Handle: x.h, Events: in}}
		_, err := x.th.Poll(fds, 0)
		e.ok(err)
		if fds[0].Revents != want {
			e.fatalf("poll says %#x of %#x, want %#x", fds[0].Revents, uint64(x.h), want)
		}
	}
	poll(l.on(b), 0)
	e.connect(o, ep)
	poll(l.on(b), in)
	l.on(b).accept()
	// Listeners that came later, in processes that did too.
	n, en := e.listen(b, 4)
	c := e.fork(b)
	poll(n.on(c), 0)
	e.connect(o, en)
	poll(n.on(c), in)
	n.on(c).accept()
	// Select as well, and while it waits; those that do neither get none.
	join := e.start(func() {
		var set vls.HandleSet
		set.Add(m.h)
		e.count(1)(c.Select(&set, nil, nil, -1))
		for range 3 {
			m.on(c).accept()
		}
	})
	e.pause()
	e.exit(e.fork(a))
	for range 3 {
		e.connect(o, em)
	}
	join()
}

func testForkGrandchild(e *env) {
	a, o := e.thread(), e.thread()
	x, y := e.pair(a, o)
	l, ep := e.listen(a, 8)
	b := e.fork(a)
	mine, yours := e.pair(b, o)
	c := e.fork(b)
	x.on(c).write("1")
	y.read("1")
	e.exit(b)
	mine.on(c).write("2")
	yours.read("2")
	e.exit(a)
	y.write("3")
	x.on(c).read("3")
	z := e.connect(o, ep)
	z.write("4")
	l.on(c).accept().read("4")
	x.on(c).close()
	y.eof()
}

func testForkLimit(e *env) {
	a, o := e.thread(), e.thread()
	x, y := e.pair(a, o)
	s := e.set(a)
	s.add(x, in)
	e.mu.Lock()
	p := e.procOf[a]
	e.mu.Unlock()
	b := e.fork(a)
	for range 3 {
		e.want(syscall.ENOMEM, err1(p.Fork()))
		y.write("still")
		s.soon(report{x, in})
		x.on(b).read("still")
	}
	e.exit(b)
	for range 5 {
		b = e.fork(a)
		x.on(b).write("again")
		y.read("again")
		e.exit(b)
	}
	x.close()
	y.eof()
}

func testForkNothingLeft(e *env) {
	o := e.thread()
	for i := range 150 {
		a := e.thread()
		x, y := e.pair(a, o)
		l, ep := e.listen(a, 4)
		b := e.fork(a)
		x.on(b).send(i, 0, 9000, 9000)
		y.receive(i, 0, 9000, 9000)
		y.send(i, 0, 9000, 9000)
		x.receive(i, 0, 9000, 9000)
		z := e.connect(o, ep)
		w := l.on(b).accept()
		w.write("w")
		z.read("w")
		q := e.connect(o, ep) // never accepted
		ths := []vls.Thread{a, b}
		if i%2 == 1 {
			ths[0], ths[1] = b, a
		}
		e.exit(ths[0])
		e.exit(ths[1])
		y.eof()
		q.reading(syscall.ECONNRESET)
		for _, k := range []end{y, z, q} {
			k.close()
		}
	}
	e.empty(o)
}

func testForkDies(e *env) {
	a, o := e.thread(), e.thread()
	x, y := e.pair(a, o)
	for range 4 {
		b, c := e.fork(a), e.fork(a)
		ub, vb := e.pair(b, o)
		uc, vc := e.pair(c, o)
		vc.write("unread")
		_, _ = ub, uc
		e.kill(b)
		e.kill(c)
		e.sleeps(a)
		// What only they had is over; what is shared goes on.
		vb.eof()
		vc.reading(syscall.ECONNRESET)
		x.write("alive")
		y.read("alive")
		y.write("and well")
		x.read("and well")
		vb.close()
		vc.close()
	}
	// The exit of the parent reaps as well as a wait.
	b := e.fork(a)
	_, v := e.pair(b, o)
	e.kill(b)
	e.exit(a)
	v.eof()
	y.eof()
}

func testForkDiesWaiting(e *env) {
	a, o := e.thread(), e.thread()
	x, y := e.pair(a, o)
	for i := range 4 {
		b := e.fork(a)
		_, v := e.pair(b, o)
		c := e.fork(b)
		mine, yours := e.pair(c, o)
		_ = mine
		s, l := e.set(b), e.create(b, false)
		e.ok(b.Bind(l.h, e.address()))
		e.ok(b.Listen(l.h, 1))
		join := e.start(func() {
			switch i {
			case 0:
				e.waited(err1(b.Read(x.h, make([]byte, 1))))
			case 1:
				e.want(syscall.EBADFD, err1(b.EpollWait(s.h, make([]vls.EpollEvent, 1), -1)))
			case 2:
				e.waited(err2(b.Accept(l.h, 0)))
			case 3:
				fds := []vls.PollFD{{Handle: l.h, Events: in}}
				if n, err := b.Poll(fds, -1); n != 1 || err != nil || fds[0].Revents != core.POLLNVAL {
					e.fatalf("poll reports %d, %v, %#x; want POLLNVAL", n, show(err), fds[0].Revents)
				}
			}
		})
		e.pause()
		e.kill(c)
		e.kill(b)
		e.sleeps(a)
		join()
		v.eof()
		yours.eof()
		v.close()
		yours.close()
	}
	x.write("alive")
	y.read("alive")
}

func testForkDiesHungry(e *env) {
	const late = "late"
	a, o := e.thread(), e.thread()
	for _, stream := range []bool{true, false} {
		for _, threads := range []int{1, 3} {
			x, y := e.pair(a, o)
			if !stream {
				x, y = e.datagrams(a, o)
			}
			b := e.fork(a)
			ths := []vls.Thread{b}
			for len(ths) < threads {
				ths = append(ths, e.near(b))
			}
			var ate atomic.Bool
			var joins []func()
			for _, th := range ths {
				joins = append(joins, e.start(func() {
					n, err := th.Read(x.h, make([]byte, len(late)))
					if err == nil || n != 0 {
						ate.Store(true)
						e.fatalf("a thread of a dead process reads %d, %v", n, show(err))
					}
					e.waited(err)
				}))
			}
			e.pause()
			e.kill(b)
			y.write(late)
			e.pause() // who wakes up and should not may take it
			if ate.Load() {
				runtime.Goexit()
			}
			x.read(late)
			y.write(late)
			e.sleeps(a)
			for _, join := range joins {
				join()
			}
			x.read(late)
			x.close()
			y.close()
		}
	}
}

// datagrams is a pair of sessions of datagrams: what the second one writes comes to
// the first.
func (e *env) datagrams(a, o vls.Thread) (x, y end) {
	e.t.Helper()
	h, err := a.Create(vls.UDP, false)
	e.ok(err)
	ep := e.address()
	e.ok(a.Bind(h, ep))
	k, err := o.Create(vls.UDP, false)
	e.ok(err)
	e.ok(o.Connect(k, ep))
	return end{e, a, h}, end{e, o, k}
}

func testForkOwnerDies(e *env) {
	a, o := e.thread(), e.thread()
	x, y := e.pair(a, o)
	l, ep := e.listen(a, 4)
	b := e.fork(a)
	e.kill(a) // nobody's child: at once
	y.write("to the child")
	x.on(b).read("to the child")
	z := e.connect(o, ep)
	z.write("z")
	l.on(b).accept().read("z")
	e.kill(b)
	y.eof()
	e.want(syscall.ECONNREFUSED, o.Connect(e.create(o, false).h, ep))
}

func testForkDeadListener(e *env) {
	a, o := e.thread(), e.thread()
	l, ep := e.listen(a, 16)
	l.nonblock(true)
	e.want(syscall.EAGAIN, err2(a.Accept(l.h, 0)))
	b := e.fork(a)
	e.want(syscall.EAGAIN, err2(b.Accept(l.h, 0)))
	for range 6 {
		e.connect(o, ep).write("served")
	}
	e.kill(b)
	for range 3 {
		l.accept().read("served")
	}
	e.want(syscall.EAGAIN, err2(a.Accept(l.h, 0)))
	e.sleeps(a)
	for range 3 {
		l.accept().read("served")
	}
	e.want(syscall.EAGAIN, err2(a.Accept(l.h, 0)))
}

func testForkAmongThreads(e *env) {
	a, o := e.thread(), e.thread()
	x, y := e.pair(a, o)
	const total = 400_000
	var joins []func()
	joins = append(joins,
		e.start(func() { x.on(e.near(a)).send(1, 0, total, 3000) }),
		e.start(func() { y.receive(1, 0, total, 3000) }))
	done := make(chan struct{})
	for range 2 {
		th := e.near(a)
		joins = append(joins, e.start(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				l, ep := e.listen(th, 4)
				u := e.connect(th, ep)
				v := l.accept()
				s := e.set(th)
				s.add(v, in)
				u.write("work")
				s.soon(report{v, in})
				v.read("work")
				for _, z := range []end{u, l, v, s.end} {
					z.close()
				}
			}
		}))
	}
	for range 100 {
		b := e.fork(a)
		e.ok(b.Register())
		// It has whatever there was at some moment, whole.
		for i := range uint32(20) {
			if h, err := b.HandleOf(i); err == nil && h != x.h {
				e.ok(b.Close(h))
			}
		}
		x.on(b).attrIs(core.GetListen, 0)
		e.exit(b)
	}
	close(done)
	for _, join := range joins {
		join()
	}
	x.close()
	y.eof()
}

func testForkWhileFirst(e *env) {
	for i := range 30 {
		a, o := e.thread(), e.thread()
		x, y := e.pair(a, o)
		join := e.start(func() {
			for k := range 40 {
				x.send(i, 100*k, 100*k+100, 100)
				u, v := e.pair(a, a)
				u.write("self")
				v.read("self")
				u.close()
				v.close()
			}
		})
		for range i % 10 {
			runtime.Gosched()
		}
		b := e.fork(a)
		y.receive(i, 0, 4000, 500)
		join()
		e.exit(a)
		x.on(b).write("child")
		y.read("child")
		e.exit(b)
		y.eof()
		e.exit(o)
	}
}
