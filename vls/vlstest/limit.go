package vlstest

import (
	"strings"
	"syscall"
	"testing"

	"vlsbench/audit"
	"vlsbench/core"
	"vlsbench/vls"
)

// What happens when something is full, and what costs nothing.
var limitCases = []testCase{
	{name: "queue-overrun", doc: "events that find no room on a queue are not lost", run: testOverrun,
		opts: func(o *vls.Options) { o.Config.EventQueueSize = 16 }},
	{name: "queue-overrun-edge", doc: "nor are they with edge triggered members", run: testOverrunEdge,
		opts: func(o *vls.Options) { o.Config.EventQueueSize = 16 }},
	{name: "segment-exhausted", doc: "without memory connect and write are ENOMEM, and go on once something was closed", run: testExhausted,
		opts: func(o *vls.Options) { o.Config.SegmentSize = 1 << 20 }},
	{name: "segment-comes-back", doc: "connections that are closed give all of their memory back", run: testComesBack,
		opts: func(o *vls.Options) { o.Config.SegmentSize = 1 << 20 }},
	{name: "max-workers", doc: "a process too many is ENOMEM, and one that exits makes room", run: testMaxWorkers,
		opts: func(o *vls.Options) { o.Config.MaxWorkers = 3 }},
	{name: "max-threads", doc: "a thread too many is ENOMEM, in its first call too, and one that exits makes room", run: testMaxThreads},
	{name: "worker-without-memory", doc: "a process or fork that memory does not suffice for is ENOMEM and changes nothing; what is closed makes room", run: testWorkerMemory,
		opts: func(o *vls.Options) { o.Config.SegmentSize = 1 << 20 }},
	{name: "bad-config", doc: "a configuration that is out of range is refused with its name", run: testBadConfig},
	{name: "allocs", doc: "read and write of a ready session allocate nothing", run: testAllocs},
	{name: "allocs-two-threads", doc: "nor do they with two registered threads", run: testAllocsTwo},
}

// overrun lets hundreds of members get news while their set is not waited on.
func (e *env) overrun(mode uint32) {
	e.t.Helper()
	a, b := e.thread(), e.thread()
	s := e.set(a)
	s.cold = true
	const n = 400
	ends := make(map[uint64]end)
	var peers []end
	for range n {
		x, y := e.pair(a, b)
		s.add(x, in|rdhup|mode)
		ends[uint64(x.h)] = x
		peers = append(peers, y)
	}
	for _, what := range []string{"data", "end"} {
		s.none()
		for _, y := range peers {
			if what == "data" {
				y.write("data")
			} else {
				y.close()
			}
		}
		evs := make([]vls.EpollEvent, 50)
		for told := make(map[uint64]bool); len(told) < n; {
			k, err := a.EpollWait(s.h, evs, -1)
			e.ok(err)
			for _, ev := range evs[:k] {
				x := ends[ev.Data]
				if told[ev.Data] {
					e.fatalf("%#x is reported again, after %d of %d", ev.Data, len(told), n)
				}
				told[ev.Data] = true
				if what == "data" {
					x.read("data")
				} else {
					x.eof()
					s.del(x)
				}
			}
		}
	}
	s.none()
}

func testOverrun(e *env)     { e.overrun(0) }
func testOverrunEdge(e *env) { e.overrun(et) }

// flood connects a to b until there is no memory.
func (e *env) flood(a vls.Thread, l end, ep vls.Endpoint) (xs, ys []end) {
	e.t.Helper()
	for {
		x := e.create(a, true)
		err := a.Connect(x.h, ep)
		if err == syscall.EINPROGRESS && x.attr(core.GetError) == int(syscall.ENOMEM) {
			x.close()
			return xs, ys
		}
		e.want(syscall.EINPROGRESS, err)
		y := l.accept()
		xs, ys = append(xs, x), append(ys, y)
		for pos := 0; ; {
			var buf [1000]byte
			for i := range buf {
				buf[i] = at(0, pos+i)
			}
			n, err := a.Write(x.h, buf[:])
			if err == syscall.EWOULDBLOCK || err == syscall.ENOMEM {
				break
			}
			e.ok(err)
			pos += n
		}
	}
}

func testExhausted(e *env) {
	a, b := e.thread(), e.thread()
	l, ep := e.listen(b, 16)
	for range 3 {
		xs, ys := e.flood(a, l, ep)
		if len(xs) < 10 {
			e.fatalf("%d connections fit into 1 MB, want more", len(xs))
		}
		// A blocking connect says so at once.
		c := e.create(a, false)
		e.want(syscall.ENOMEM, a.Connect(c.h, ep))
		// What was written before is all there.
		for i, y := range ys[:5] {
			y.receive(0, 0, fifoSize, 4000)
			xs[i].close()
			y.close()
		}
		// There is room again.
		e.ok(a.Connect(c.h, ep))
		d := l.accept()
		c.write("room")
		d.read("room")
		c.close()
		d.close()
		for i := 5; i < len(xs); i++ {
			xs[i].close()
			ys[i].close()
		}
	}
}

func testComesBack(e *env) {
	a, b := e.thread(), e.thread()
	l, ep := e.listen(b, 4)
	for i := range 1500 {
		x := e.connect(a, ep)
		x.send(i, 0, 9000, 9000)
		if i%4 == 3 { // never accepted
			x.close()
			y := l.accept()
			y.close()
			continue
		}
		y := l.accept()
		y.receive(i, 0, 9000, 9000)
		y.send(i, 0, 5000, 5000)
		if i%2 == 0 {
			x.close()
			y.close()
		} else {
			y.close()
			x.close()
		}
	}
	l.close()
	for i := range 300 { // never accepted, and refused
		l, ep := e.listen(b, 4)
		x := e.connect(a, ep)
		x.send(i, 0, 9000, 9000)
		l.close()
		x.close()
	}
	e.empty(a)
	e.empty(b)
}

func testMaxWorkers(e *env) {
	var ps []vls.Process
	for range 3 {
		ps = append(ps, e.process())
	}
	e.want(syscall.ENOMEM, err1(e.app.NewProcess()))
	for range 3 {
		e.ok(ps[1].Exit())
		e.gone(ps[1])
		ps[1] = e.process()
		e.want(syscall.ENOMEM, err1(e.app.NewProcess()))
	}
	x, y := e.pair(e.threadOf(ps[0]), e.threadOf(ps[1]))
	x.write("alive")
	y.read("alive")
}

func testMaxThreads(e *env) {
	a := e.thread()
	x, y := e.pair(a, a)
	th := a
	var last vls.Thread
	for n := 0; ; n++ {
		last, th = th, e.near(a)
		err := th.Register()
		if err == nil && n < 1000 {
			continue
		}
		e.want(syscall.ENOMEM, err)
		break
	}
	e.want(syscall.ENOMEM, err1(th.Create(vls.TCP, false)))
	e.want(syscall.ENOMEM, err1(th.Write(x.h, []byte("too many"))))
	e.want(syscall.ENOMEM, err1(th.EpollCreate()))
	e.want(syscall.ENOMEM, err1(th.Poll(nil, 0)))
	e.ok(th.Exit())
	e.ok(last.Exit())
	x.on(th).write("room")
	y.read("room")
	e.want(syscall.ENOMEM, last.Register())
	e.ok(th.Exit())
	e.ok(last.Register())
}

func testWorkerMemory(e *env) {
	a := e.thread()
	l, ep := e.listen(a, 16)
	xs, ys := e.flood(a, l, ep)
	// What is left may be enough for one or two.
	var last vls.Process
	for n := 0; ; n++ {
		p, err := e.app.NewProcess()
		if err == nil && n < 50 {
			e.mu.Lock()
			e.procs = append(e.procs, p)
			e.mu.Unlock()
			last = p
			continue
		}
		e.want(syscall.ENOMEM, err)
		break
	}
	e.mu.Lock()
	p := e.procOf[a]
	e.mu.Unlock()
	if !e.strategy.NoFork {
		e.want(syscall.ENOMEM, err1(p.Fork()))
	}
	// One that exits leaves its queue to the next.
	if last != nil {
		e.ok(last.Exit())
		e.gone(last)
		e.process()
		e.want(syscall.ENOMEM, err1(e.app.NewProcess()))
	}
	for i, y := range ys {
		xs[i].close()
		y.close()
	}
	b := e.thread()
	u, v := e.pair(a, b)
	u.write("room")
	v.read("room")
	if !e.strategy.NoFork {
		c := e.fork(a)
		u.on(c).write("room for both")
		v.read("room for both")
	}
}

func testBadConfig(e *env) {
	for name, bad := range map[string]func(*core.Config){
		"rx-fifo-size":     func(c *core.Config) { c.RxFifoSize = 1 },
		"tx-fifo-size":     func(c *core.Config) { c.TxFifoSize = -1 },
		"event-queue-size": func(c *core.Config) { c.EventQueueSize = 100 },
		"segment-size":     func(c *core.Config) { c.SegmentSize = 4096 },
		"max-workers":      func(c *core.Config) { c.MaxWorkers = 256 },
		"wait":             func(c *core.Config) { c.Wait = 9 },
	} {
		var o vls.Options
		bad(&o.Config)
		app, err := e.strategy.New(o)
		if err == nil {
			app.Close()
			e.fatalf("a bad %s is accepted", name)
		}
		if !strings.Contains(err.Error(), name) {
			e.fatalf("the error of a bad %s is %q, which does not name it", name, err)
		}
	}
}

func (e *env) allocs(x, y end) {
	e.t.Helper()
	if underRace || audit.Enabled {
		return // they allocate
	}
	p, q := make([]byte, 100), make([]byte, 100)
	n := testing.AllocsPerRun(2000, func() {
		k, err := x.th.Write(x.h, p)
		if k != 100 || err != nil {
			e.fatalf("wrote %d, %v", k, err)
		}
		if k, err = y.th.Read(y.h, q); k != 100 || err != nil {
			e.fatalf("read %d, %v", k, err)
		}
	})
	if n != 0 {
		e.fatalf("a write and a read allocate %v times, want 0", n)
	}
}

func testAllocs(e *env) {
	a := e.thread()
	e.allocs(e.pair(a, a))
	e.allocs(e.pair(a, e.thread()))
}

func testAllocsTwo(e *env) {
	a := e.thread()
	b := e.near(a)
	e.ok(b.Register())
	e.allocs(e.pair(a, a))
	e.allocs(e.pair(a, b))
}
