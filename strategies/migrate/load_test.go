package migrate

import (
	"flag"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"vlsbench/core"
	"vlsbench/vls"
)

var soak = flag.Bool("soak", false, "let TestMigrationUnderLoad run for a minute each")

// echoed is one connection whose one end the threads of a process take from each
// other, to echo what comes. Whoever uses it holds mu: what is written has to be
// in the order of what was read.
type echoed struct {
	mu    sync.Mutex
	x, y  vls.Handle
	pos   int // echoed so far
	ended bool
}

func at(seed, pos int) byte { return byte(pos) ^ byte(pos>>8)*7 ^ byte(pos>>16)*13 ^ byte(seed)*31 }

// Eight threads take connected sessions from each other, out of reads, of waits
// on a set that all share, and of polls, and echo what their peers send: every
// byte comes back once and in order, and no event is lost, or somebody would
// wait for ever.
func TestMigrationUnderLoad(t *testing.T) {
	for name, serve := range map[string]func(l *load, th *thread){
		"reads":   (*load).reads,
		"level":   (*load).level,
		"oneshot": (*load).oneshot,
		"polls":   (*load).polls,
	} {
		for _, wait := range []core.Wait{core.Park, core.Adaptive} {
			t.Run(name+"/"+wait.String(), func(t *testing.T) {
				l := &load{t: t, bytes: 60_000}
				if *soak {
					l.until = time.Now().Add(time.Minute)
				}
				guard(t, 4*time.Minute)
				// A thread that sleeps keeps its processor for a while.
				defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(12))
				l.run(attach(t, vls.Options{Config: core.Config{Wait: wait}}), serve)
			})
		}
	}
}

type load struct {
	t     *testing.T
	bytes int       // of each connection
	until time.Time // or zero

	set   vls.Handle
	conns []*echoed
	left  atomic.Int32 // connections that have not ended
	moves atomic.Int64
}

// atLeast is how many moves the shortest run sees.
const atLeast = 50

func (l *load) run(a *app, serve func(*load, *thread)) {
	t := l.t
	const threads, peers, each = 8, 2, 3
	p, q := newProcess(t, a), newProcess(t, a)
	ths := make([]*thread, threads)
	for i := range ths {
		ths[i] = newThread(t, p)
	}
	var err error
	l.set, err = ths[0].EpollCreate()
	ok(t, err)
	var clients sync.WaitGroup
	var os []*thread
	for i := range peers {
		o := newThread(t, q)
		os = append(os, o)
		for range each {
			c := new(echoed)
			c.x, c.y = pair(t, ths[i], o)
			l.conns = append(l.conns, c)
		}
	}
	l.left.Store(int32(len(l.conns)))
	for i, o := range os {
		clients.Go(func() { l.ask(o, i*each, l.conns[i*each:(i+1)*each]) })
	}
	var servers sync.WaitGroup
	var busy atomic.Int32
	busy.Store(threads)
	for _, th := range ths {
		servers.Go(func() {
			serve(l, th)
			// What it has, others may still want.
			for busy.Add(-1); busy.Load() > 0; time.Sleep(20 * time.Microsecond) {
				idle(th)
			}
		})
	}
	clients.Wait()
	servers.Wait()
	p.free(t, "all")
	if n := l.moves.Load(); n < atLeast {
		t.Errorf("sessions moved %d times, want %d", n, atLeast)
	}
	t.Logf("%d connections of %d bytes, %d moves seen", len(l.conns), l.conns[0].pos, l.moves.Load())
}

// ask sends records of all lengths on each connection and reads them back, until
// there are enough.
func (l *load) ask(o *thread, seed int, conns []*echoed) {
	rng := rand.New(rand.NewPCG(1, uint64(seed)))
	defer func() { // or the servers would wait for more
		for _, c := range conns {
			if err := o.Close(c.y); err != nil {
				l.t.Error(err)
			}
		}
	}()
	pos := make([]int, len(conns))
	buf, back := make([]byte, 6000), make([]byte, 6000)
	more := func() bool {
		// Where the sessions happen to stay with one thread there is nothing to see.
		still := l.moves.Load() < atLeast && pos[0] < 100*l.bytes
		return pos[0] < l.bytes || still || time.Now().Before(l.until)
	}
	for more() && !l.t.Failed() {
		var n [16]int
		for i, c := range conns {
			n[i] = 1 + rng.IntN(len(buf)-1)
			for k := range buf[:n[i]] {
				buf[k] = at(seed+i, pos[i]+k)
			}
			if m, err := o.Write(c.y, buf[:n[i]]); m != n[i] || err != nil {
				l.t.Errorf("connection %d: wrote %d of %d at %d: %v", seed+i, m, n[i], pos[i], err)
				return
			}
		}
		for i, c := range conns {
			for end := pos[i] + n[i]; pos[i] < end; {
				m, err := o.Read(c.y, back[:end-pos[i]])
				if m == 0 || err != nil {
					l.t.Errorf("connection %d: read %d at %d: %v", seed+i, m, pos[i], err)
					return
				}
				for k, b := range back[:m] {
					if b != at(seed+i, pos[i]+k) {
						l.t.Errorf("connection %d: byte %d is %#x, want %#x", seed+i, pos[i]+k, b, at(seed+i, pos[i]+k))
						return
					}
				}
				pos[i] += m
			}
		}
	}
}

// echo reads once from a connection and echoes it; false: nothing is there, or
// it has ended. c.mu is held.
func (l *load) echo(th *thread, c *echoed, buf []byte) bool {
	if c.ended {
		return false
	}
	if of(th.p, c.x) != th.w {
		l.moves.Add(1)
	}
	n, err := th.Read(c.x, buf)
	switch {
	case err == syscall.EWOULDBLOCK:
		return false
	case err != nil:
		l.t.Errorf("read at %d: %v", c.pos, err)
		fallthrough
	case n == 0:
		c.ended = true
		if err := th.Close(c.x); err != nil {
			l.t.Error(err)
		}
		if l.left.Add(-1) == 0 {
			if err := th.Close(l.set); err != nil { // ends the waits of the others
				l.t.Error(err)
			}
		}
		return false
	}
	for done := 0; done < n; {
		m, err := th.Write(c.x, buf[done:n])
		if err == syscall.EWOULDBLOCK {
			runtime.Gosched()
			continue
		}
		if err != nil {
			l.t.Errorf("write at %d: %v", c.pos, err)
			return false
		}
		done += m
	}
	c.pos += n
	return true
}

// reads blocks in reads, each time of another connection.
func (l *load) reads(th *thread) {
	buf := make([]byte, 2000)
	for i := rand.IntN(len(l.conns)); l.left.Load() > 0; i++ {
		if c := l.conns[i%len(l.conns)]; c.mu.TryLock() {
			l.echo(th, c, buf)
			c.mu.Unlock()
			continue
		}
		idle(th)
		if i%64 == 0 {
			time.Sleep(10 * time.Microsecond)
		}
	}
}

// add puts all connections that have not ended into the set, unless another
// thread has done so: the threads begin at different times.
func (l *load) add(th *thread, events uint32) {
	for i, c := range l.conns {
		for !c.mu.TryLock() {
			idle(th) // who has it may want what is here
		}
		if c.ended {
			c.mu.Unlock()
			continue
		}
		if _, err := th.Attr(c.x, core.SetFlags, []byte{0, 8, 0, 0}); err != nil { // O_NONBLOCK
			l.t.Error(err)
		}
		err := th.EpollCtl(l.set, core.EPOLL_CTL_ADD, c.x, &vls.EpollEvent{Events: events, Data: uint64(i)})
		if err != nil && err != syscall.EEXIST {
			l.t.Error(err)
		}
		c.mu.Unlock()
	}
}

// level waits on the set that all share, level triggered.
func (l *load) level(th *thread) {
	l.add(th, core.EPOLLIN)
	l.wait(th, func(c *echoed, buf []byte) { l.echo(th, c, buf) })
}

// oneshot does too, but each report is for one thread alone, until that asks for
// the next.
func (l *load) oneshot(th *thread) {
	l.add(th, core.EPOLLIN|core.EPOLLONESHOT)
	l.wait(th, func(c *echoed, buf []byte) {
		for l.echo(th, c, buf) {
		}
		if !c.ended {
			ev := &vls.EpollEvent{Events: core.EPOLLIN | core.EPOLLONESHOT}
			for i, o := range l.conns {
				if o == c {
					ev.Data = uint64(i)
				}
			}
			if err := th.EpollCtl(l.set, core.EPOLL_CTL_MOD, c.x, ev); err != nil {
				l.t.Error(err)
			}
		}
	})
}

func (l *load) wait(th *thread, serve func(c *echoed, buf []byte)) {
	buf := make([]byte, 2000)
	evs := make([]vls.EpollEvent, 2)
	for {
		n, err := th.EpollWait(l.set, evs, -1)
		if err == syscall.EBADFD {
			return
		}
		if err != nil {
			l.t.Error(err)
			return
		}
		for _, ev := range evs[:n] {
			c := l.conns[ev.Data]
			for !c.mu.TryLock() {
				idle(th) // who has it may want what is here
			}
			serve(c, buf)
			c.mu.Unlock()
		}
	}
}

// polls polls half of the connections at a time.
func (l *load) polls(th *thread) {
	buf := make([]byte, 2000)
	for first := rand.IntN(len(l.conns)); l.left.Load() > 0; first++ {
		var fds []vls.PollFD
		var at []*echoed
		for i := range len(l.conns) / 2 {
			c := l.conns[(first+i)%len(l.conns)]
			fds, at = append(fds, vls.PollFD{Handle: c.x, Events: core.EPOLLIN}), append(at, c)
		}
		if _, err := th.Poll(fds, time.Millisecond); err != nil {
			l.t.Error(err)
			return
		}
		for i, fd := range fds {
			if fd.Revents&core.EPOLLIN == 0 || !at[i].mu.TryLock() {
				continue
			}
			if !at[i].ended {
				// Another may have read it since.
				if n, err := th.Poll([]vls.PollFD{{Handle: fd.Handle, Events: core.EPOLLIN}}, 0); n == 1 && err == nil {
					l.echo(th, at[i], buf)
				}
			}
			at[i].mu.Unlock()
		}
	}
}
