package vlstest

import (
	"runtime"
	"syscall"

	"vlsbench/vls"
)

// Threads of one process, and processes of one application.
var threadCases = []testCase{
	{name: "second-thread-refused", doc: "a second thread of a process is ENOTSUP, until the first exits", run: testSecondThread},
	{name: "processes-streams", doc: "processes stream to each other both ways at once, and nothing is left", run: testProcessesStreams},
	{name: "processes-storm", doc: "processes connect, accept and close at once, and nothing is left", run: testProcessesStorm},
	{name: "threads-streams", doc: "threads, four times as many as cores, stream over connections of their own, and nothing is left", run: testThreadsStreams},
	{name: "threads-storm", doc: "threads connect, accept and close at once, and nothing is left", run: testThreadsStorm},
	{name: "threads-share-session", doc: "threads may use one session at once: each byte is written and read once", run: testShareSession},
	{name: "read-many-readers", doc: "each of several threads that wait on one session is woken for what it gets", run: testManyReaders},
	{name: "write-many-writers", doc: "each of several threads that wait for space in one session is woken, whatever it waits for", run: testManyWriters},
	{name: "accept-many-acceptors", doc: "each of several threads that wait on one listener gets a connection", run: testManyAcceptors},
	{name: "thread-registers-while-first-reads", doc: "a second thread can register and work while the first is blocked in its first read", run: testRegisterWhileReading},
	{name: "thread-registers-while-first-works", doc: "a second thread can register and work in the middle of the first one's calls", run: testRegisterWhileWorking},
	{name: "pool-grows-while-thread-reads", doc: "a thread that waits on a session is not harmed by a thousand new ones", run: testPoolGrows},
	{name: "stale-handle-among-threads", doc: "a handle that other threads close and reuse is EBADFD or ENOTCONN, and never another session", run: testStaleAmongThreads},
}

func testSecondThread(e *env) {
	p := e.process()
	a, b := e.threadOf(p), e.threadOf(p)
	e.ok(a.Register())
	e.want(syscall.ENOTSUP, b.Register())
	e.want(syscall.ENOTSUP, err1(b.Create(vls.TCP, false)))
	e.ok(b.Exit())
	x, y := e.pair(a, a)
	e.want(syscall.ENOTSUP, err1(b.Read(x.h, make([]byte, 1))))
	e.ok(a.Exit())
	e.ok(b.Register())
	e.want(syscall.ENOTSUP, a.Register())
	x.on(b).write("by the other")
	y.on(b).read("by the other")
}

// stream sends and receives total bytes on both ends at once, each direction
// in its own goroutine. The four threads may be of one process or of two.
func (e *env) stream(xw, xr, yw, yr end, seed, total int) {
	e.t.Helper()
	joins := []func(){
		e.start(func() { xw.send(seed, 0, total, 5000) }),
		e.start(func() { yr.receive(seed, 0, total, 3000) }),
		e.start(func() { yw.send(seed+1, 0, total, 900) }),
		e.start(func() { xr.receive(seed+1, 0, total, 7000) }),
	}
	for _, join := range joins {
		join()
	}
}

func testProcessesStreams(e *env) {
	// A ring of processes, each of which writes to the next and reads from the
	// one before, in pieces that fit into a fifo.
	const n, total, piece = 4, 400_000, fifoSize / 2
	var ths []vls.Thread
	for range n {
		ths = append(ths, e.thread())
	}
	var outs, ins [n]end
	for i := range n {
		outs[i], ins[(i+1)%n] = e.pair(ths[i], ths[(i+1)%n])
	}
	var joins []func()
	for i := range n {
		joins = append(joins, e.start(func() {
			for pos := 0; pos < total; pos += piece {
				outs[i].send(i, pos, pos+piece, 2000)
				ins[i].receive((i+n-1)%n, pos, pos+piece, 3000)
			}
			outs[i].close()
			ins[i].eof()
			ins[i].close()
		}))
	}
	for _, join := range joins {
		join()
	}
	for _, th := range ths {
		e.empty(th)
	}
}

// storm lets each of n pairs of threads, that make gives, open and close
// connections.
func (e *env) storm(n, rounds int, make func() vls.Thread) {
	e.t.Helper()
	var joins []func()
	var ths []vls.Thread
	for k := range n {
		a, b := make(), make()
		ths = append(ths, a, b)
		l, ep := e.listen(a, 8)
		joins = append(joins, e.start(func() {
			for i := range rounds {
				y := l.accept()
				y.receive(k, 0, 100, 60)
				switch i % 3 {
				case 0: // closes first, with nothing unread
				case 1:
					y.write("unread by the peer")
				case 2:
					y.eof()
				}
				y.close()
			}
			l.close()
		}), e.start(func() {
			for i := range rounds {
				x := e.connect(b, ep)
				x.send(k, 0, 100, 100)
				if i%3 != 2 {
					_, err := b.Read(x.h, []byte{0})
					e.ok(err)
				}
				x.close()
			}
		}))
	}
	for _, join := range joins {
		join()
	}
	for _, th := range ths {
		e.empty(th)
	}
}

func testProcessesStorm(e *env) { e.storm(3, 150, e.thread) }

func testThreadsStorm(e *env) {
	p := e.process()
	e.storm(4, 100, func() vls.Thread { return e.threadOf(p) })
}

func testThreadsStreams(e *env) {
	p := e.process()
	n := min(runtime.NumCPU(), 16)
	var joins []func()
	var th vls.Thread
	for i := range n {
		var t [4]vls.Thread
		for k := range t {
			t[k] = e.threadOf(p)
		}
		th = t[0]
		x, y := e.pair(t[0], t[1])
		joins = append(joins, e.start(func() {
			e.stream(x, x.on(t[2]), y, y.on(t[3]), 2*i, 300_000)
			x.close()
			y.eof()
			y.close()
		}))
	}
	for _, join := range joins {
		join()
	}
	e.empty(th)
}

func testShareSession(e *env) {
	a := e.thread()
	x, y := e.pair(a, e.near(a))
	// Records of four bytes that fit are written and read whole.
	const writers, each = 3, 400
	var joins []func()
	for w := range writers {
		o := x.on(e.near(a))
		joins = append(joins, e.start(func() {
			for i := range each {
				o.write(string([]byte{byte(w), byte(i), byte(i >> 8), '.'}))
			}
		}))
	}
	counts := make([]map[string]int, 2)
	for r := range counts {
		o := y.on(e.near(a))
		counts[r] = make(map[string]int)
		joins = append(joins, e.start(func() {
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
	for _, join := range joins[:writers] {
		join()
	}
	e.ok(x.th.Shutdown(x.h, syscall.SHUT_WR))
	for _, join := range joins[writers:] {
		join()
	}
	for w := range writers {
		for i := range each {
			record := string([]byte{byte(w), byte(i), byte(i >> 8), '.'})
			if n := counts[0][record] + counts[1][record]; n != 1 {
				e.fatalf("record %q was read %d times", record, n)
			}
		}
	}
}

func testManyReaders(e *env) {
	a, c := e.thread(), e.thread()
	x, y := e.pair(a, c)
	const n = 4
	var joins []func()
	for range n {
		o := x.on(e.near(a))
		joins = append(joins, e.start(func() { e.count(1)(o.th.Read(o.h, make([]byte, 1))) }))
	}
	for range n {
		e.pause()
		y.write("1")
	}
	for _, join := range joins {
		join()
	}
	joins = nil
	for range n {
		joins = append(joins, e.start(x.on(e.near(a)).eof))
	}
	e.pause()
	y.close()
	for _, join := range joins {
		join()
	}
}

func testManyAcceptors(e *env) {
	a, c := e.thread(), e.thread()
	l, ep := e.listen(a, 8)
	const n = 4
	var joins []func()
	for range n {
		o := l.on(e.near(a))
		joins = append(joins, e.start(func() {
			y := o.accept()
			y.read("hello")
			y.write("welcome")
		}))
	}
	e.pause()
	for range n {
		x := e.connect(c, ep)
		x.write("hello")
		x.read("welcome")
	}
	for _, join := range joins {
		join()
	}
	l.nonblock(true)
	e.want(syscall.EAGAIN, err2(a.Accept(l.h, 0)))
}

func testRegisterWhileReading(e *env) {
	for i := range 10 {
		a := e.thread()
		x, y := e.pair(a, a)
		join := e.start(func() {
			x.read("from the second")
			x.write("thanks")
		})
		if i%2 == 0 {
			e.pause()
		}
		b := e.near(a)
		e.ok(b.Register())
		u, v := e.pair(b, b)
		u.write("busy")
		v.read("busy")
		y.on(b).write("from the second")
		y.on(b).read("thanks")
		join()
		u.close()
		v.close()
	}
}

func testRegisterWhileWorking(e *env) {
	// A process has one second thread in its life, so each round has its own.
	for i := range 60 {
		p := e.process()
		a := e.threadOf(p)
		e.ok(a.Register())
		work := func(th vls.Thread) {
			l, ep := e.listen(th, 2)
			for range 40 {
				x := e.connect(th, ep)
				y := l.accept()
				x.write("work")
				y.read("work")
				x.close()
				y.close()
			}
			l.close()
		}
		join := e.start(func() { work(a) })
		for range i % 10 {
			runtime.Gosched()
		}
		b := e.near(a)
		e.ok(b.Register())
		work(b)
		join()
		e.empty(b)
		e.ok(a.Exit())
		e.ok(b.Exit())
		e.ok(p.Exit())
		e.gone(p)
	}
}

func testPoolGrows(e *env) {
	a := e.thread()
	b := e.near(a)
	x, y := e.pair(a, a)
	s, o := e.set(a), e.near(a)
	u, v := e.pair(a, a)
	s.add(u, in)
	reader := e.start(func() { x.read("still here") })
	waiter := e.start(func() { set{end: s.on(o)}.soon(report{u, in}) })
	e.pause()
	var all []end
	for range 1000 {
		all = append(all, e.create(b, false))
	}
	y.on(b).write("still here")
	reader()
	v.on(b).write("and here")
	waiter()
	for _, z := range all {
		z.close()
	}
}

func testStaleAmongThreads(e *env) {
	a := e.thread()
	b := e.near(a)
	const rounds = 300
	handles := make(chan vls.Handle, rounds)
	// b reads what a closes at the same time. What it reads, if anything, is
	// that session's own.
	join := e.start(func() {
		buf := make([]byte, 4)
		for h := range handles {
			for {
				n, err := b.Read(h, buf)
				if err == nil && n == 4 {
					if buf[0] != byte(h) || buf[1] != byte(h>>32) || buf[2] != byte(h>>40) {
						e.fatalf("handle %#x gave another session's data", uint64(h))
					}
					continue
				}
				if err != syscall.EBADFD && err != syscall.ENOTCONN {
					e.fatalf("read of a session that is being closed: %d, %v", n, show(err))
				}
				break
			}
		}
	})
	l, ep := e.listen(a, 4)
	for i := range rounds {
		x := e.connect(a, ep)
		y := l.accept()
		y.write(string([]byte{byte(x.h), byte(x.h >> 32), byte(x.h >> 40), '.'}))
		handles <- x.h
		for range i % 7 {
			runtime.Gosched()
		}
		x.close()
		y.close()
	}
	close(handles)
	join()
	l.nonblock(true)
	e.want(syscall.EAGAIN, err2(a.Accept(l.h, 0)))
}

func testManyWriters(e *env) {
	a := e.thread()
	b, c := e.near(a), e.near(a)
	x, y := e.pair(a, e.far(a))
	const small, large, each = 64, 1000, 20
	for range e.rounds(500) {
		joins := []func(){
			e.start(func() {
				for range each {
					e.count(small)(b.Write(x.h, make([]byte, small)))
				}
			}),
			e.start(func() {
				for range each {
					e.count(large)(c.Write(x.h, make([]byte, large)))
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
}
