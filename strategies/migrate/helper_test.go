package migrate

import (
	"fmt"
	"net/netip"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"vlsbench/core"
	"vlsbench/vls"
)

// guard ends a test that hangs, with all stacks.
func guard(t *testing.T, limit time.Duration) {
	t.Helper()
	name := t.Name()
	w := time.AfterFunc(limit, func() {
		buf := make([]byte, 1<<20)
		panic(fmt.Sprintf("%s hangs\n%s", name, buf[:runtime.Stack(buf, true)]))
	})
	t.Cleanup(func() { w.Stop() })
}

// eachWait runs a test in the ways of waiting that let more threads run than
// there are cores.
func eachWait(t *testing.T, f func(t *testing.T, a *app)) {
	for _, wait := range []core.Wait{core.Park, core.Adaptive} {
		t.Run(wait.String(), func(t *testing.T) {
			guard(t, 3*time.Minute)
			f(t, attach(t, vls.Options{Config: core.Config{Wait: wait}}))
		})
	}
}

// attach makes an application with small fifos, whose threads wait for each other
// however long it takes: a machine that stands still loses nothing.
func attach(t *testing.T, o vls.Options) *app {
	t.Helper()
	return tuned(t, preset, o)
}

// tuned is attach for another design.
func tuned(t *testing.T, d design, o vls.Options) *app {
	t.Helper()
	c := &o.Config
	c.RxFifoSize, c.TxFifoSize, c.SegmentSize = 16<<10, 16<<10, 64<<20
	if c.MaxWorkers == 0 {
		c.MaxWorkers = 64
	}
	a, err := d.new(o)
	if err != nil {
		t.Fatal(err)
	}
	a.(*app).patience = time.Hour
	t.Cleanup(func() {
		if !t.Failed() { // else somebody may still be inside a call
			a.Close()
		}
	})
	return a.(*app)
}

func newProcess(t *testing.T, a *app) *process {
	t.Helper()
	p, err := a.NewProcess()
	if err != nil {
		t.Fatal(err)
	}
	return p.(*process)
}

// newThread makes a registered thread.
func newThread(t *testing.T, p *process) *thread {
	t.Helper()
	th := p.NewThread().(*thread)
	ok(t, th.Register())
	return th
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func want(t *testing.T, want, got error) {
	t.Helper()
	if got != want {
		t.Fatalf("%v, want %v", got, want)
	}
}

var ports atomic.Uint32

func address() vls.Endpoint {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(2000+ports.Add(1)%20000))
}

// listen makes a listener.
func listen(t *testing.T, th vls.Thread) (vls.Handle, vls.Endpoint) {
	t.Helper()
	ep := address()
	l, err := th.Create(vls.TCP, false)
	ok(t, err)
	ok(t, th.Bind(l, ep))
	ok(t, th.Listen(l, 16))
	return l, ep
}

// pair connects x of one thread to y of another.
func pair(t *testing.T, a, b vls.Thread) (x, y vls.Handle) {
	t.Helper()
	l, ep := listen(t, b)
	x, err := a.Create(vls.TCP, false)
	ok(t, err)
	ok(t, a.Connect(x, ep))
	y, _, err = b.Accept(l, 0)
	ok(t, err)
	ok(t, b.Close(l))
	return x, y
}

func write(t *testing.T, th vls.Thread, h vls.Handle, s string) {
	t.Helper()
	if n, err := th.Write(h, []byte(s)); n != len(s) || err != nil {
		t.Fatalf("wrote %d, %v; want %d", n, err, len(s))
	}
}

func read(t *testing.T, th vls.Thread, h vls.Handle, s string) {
	t.Helper()
	buf := make([]byte, len(s)+10)
	n, err := th.Read(h, buf)
	if string(buf[:n]) != s || err != nil {
		t.Fatalf("read %q, %v; want %q", buf[:n], err, s)
	}
}

func idle(th vls.Thread) { th.Poll(nil, 0) }

// serving lets th do nothing but answer others until the function is called.
func serving(th vls.Thread) (stop func()) {
	var over atomic.Bool
	done := make(chan struct{})
	go func() {
		for !over.Load() {
			idle(th)
			time.Sleep(20 * time.Microsecond)
		}
		close(done)
	}()
	return func() { over.Store(true); <-done }
}

// free fails unless no lock of the process is held, nor its queues, and its table
// of handles has its sessions and nothing else.
func (p *process) free(t *testing.T, after string) {
	t.Helper()
	if !p.lock.TryLock() {
		t.Fatalf("after %s P is held", after)
	}
	if !p.handles.TryLock() {
		t.Fatalf("after %s H is held", after)
	}
	p.handles.Unlock()
	entries := 0
	p.table.Each(func(_ uint64, v *session) {
		entries++
		if h := p.byHandle[core.Handle(v.sh.Load())]; h != v.h {
			t.Fatalf("after %s handle %#x leads to %#x, want %#x", after, v.sh.Load(), uint64(h), uint64(v.h))
		}
	})
	if n := len(p.byHandle); n != entries {
		t.Fatalf("after %s the table of handles has %d entries for %d sessions", after, n, entries)
	}
	p.table.Each(func(_ uint64, v *session) {
		if th := new(thread); !th.tryS(v.lock.Load()) {
			t.Fatalf("after %s S is held", after)
		} else {
			th.unlockS(v.lock.Load())
		}
	})
	p.lock.Unlock()
	for _, w := range p.workers {
		if !w.ask.TryLock() {
			t.Fatalf("after %s R is held", after)
		}
		w.ask.Unlock()
		if w.asked.Load() != 0 {
			t.Fatalf("after %s somebody asks", after)
		}
	}
	for _, th := range p.threads {
		if atomic.LoadUint32(&th.mark) != 0 || th.deep != 0 || th.held || th.lock {
			t.Fatalf("after %s a thread is still inside", after)
		}
		if len(th.debts)+len(th.losses) != 0 || th.owes {
			t.Fatalf("after %s a thread has debts %v, losses %v", after, th.debts, th.losses)
		}
	}
	if !p.a.shared.TryLock() {
		t.Fatalf("after %s SD is held", after)
	}
	p.a.shared.Unlock()
}

// of is the worker that has a session.
func of(p *process, h vls.Handle) *worker { return p.table.Get(uint64(h)).at.Load() }
