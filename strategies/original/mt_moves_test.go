package original_test

import (
	"encoding/binary"
	"net/netip"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"vlsbench/core"
	"vlsbench/vls"
)

// copies are some threads of a process of migrate-orig.
func copies(t *testing.T, n int) (vls.App, []vls.Thread) {
	t.Helper()
	watchdog := time.AfterFunc(2*time.Minute, func() { panic(t.Name() + " hangs") })
	t.Cleanup(func() { watchdog.Stop() })
	s, err := vls.Lookup(migrate)
	ok(t, err)
	o := vls.Options{CountLocks: true}
	o.Config = core.Config{Wait: core.Park, RxFifoSize: 16 << 10, TxFifoSize: 16 << 10, SegmentSize: 16 << 20}
	a, err := s.New(o)
	ok(t, err)
	p, err := a.NewProcess()
	ok(t, err)
	var ths []vls.Thread
	for range n {
		th := p.NewThread()
		ok(t, th.Register())
		ths = append(ths, th)
	}
	return a, ths
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func want(t *testing.T, err, want error) {
	t.Helper()
	if err != want {
		t.Fatalf("%v, want %v", err, want)
	}
}

// serving lets th answer until the function is called.
func serving(th vls.Thread) (stop func()) {
	var over atomic.Bool
	done := make(chan struct{})
	go func() {
		for ; !over.Load(); time.Sleep(20 * time.Microsecond) {
			th.Poll(nil, 0)
		}
		close(done)
	}()
	return func() { over.Store(true); <-done }
}

func create(t *testing.T, th vls.Thread) vls.Handle {
	t.Helper()
	h, err := th.Create(vls.TCP, false)
	ok(t, err)
	return h
}

var port uint16 = 3000

func address() vls.Endpoint {
	port++
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)
}

func flags(t *testing.T, th vls.Thread, h vls.Handle) uint32 {
	t.Helper()
	buf := make([]byte, 4)
	_, err := th.Attr(h, core.GetFlags, buf)
	ok(t, err)
	return binary.NativeEndian.Uint32(buf)
}

func setFlags(t *testing.T, th vls.Thread, h vls.Handle, f uint32) {
	t.Helper()
	_, err := th.Attr(h, core.SetFlags, binary.NativeEndian.AppendUint32(nil, f))
	ok(t, err)
}

// A session that was never connected comes to who uses it, as a copy, and then
// there are two; an empty set does too. What is connected, listens, or has members
// does not.
func TestMigrateCopies(t *testing.T) {
	_, ths := copies(t, 2)
	a, b := ths[0], ths[1]
	s := create(t, a)
	setFlags(t, a, s, syscall.O_NONBLOCK)
	empty, err := a.EpollCreate()
	ok(t, err)
	full, err := a.EpollCreate()
	ok(t, err)
	in := &vls.EpollEvent{Events: core.EPOLLIN}
	ok(t, a.EpollCtl(full, core.EPOLL_CTL_ADD, create(t, a), in))
	l := create(t, a)
	ep := address()
	ok(t, a.Bind(l, ep))
	ok(t, a.Listen(l, 4))
	x := create(t, a)
	ok(t, a.Connect(x, ep))

	stop := serving(a)
	if f := flags(t, b, s); f&syscall.O_NONBLOCK == 0 {
		t.Errorf("the copy has flags %#x", f)
	}
	setFlags(t, b, s, 0)
	ok(t, b.EpollCtl(empty, core.EPOLL_CTL_ADD, create(t, b), in))
	_, err = b.Read(x, make([]byte, 1))
	want(t, err, syscall.EBADFD)
	_, _, err = b.Accept(l, 0)
	want(t, err, syscall.EBADFD)
	want(t, b.EpollCtl(full, core.EPOLL_CTL_ADD, s, in), syscall.EBADFD)
	stop()
	if f := flags(t, a, s); f&syscall.O_NONBLOCK == 0 {
		t.Errorf("the first has flags %#x, which were set on the copy", f)
	}
	// Who closes it tells the other.
	_, w, err := a.SessionIndex(s)
	ok(t, err)
	_, v, err := b.SessionIndex(s)
	ok(t, err)
	if w == v {
		t.Errorf("both slots are at worker %d", w)
	}
	ok(t, a.Close(s))
	b.Poll(nil, 0)
	_, err = b.Attr(s, core.GetFlags, make([]byte, 4))
	want(t, err, syscall.EBADFD)
}

// Bind, epoll_wait and the session of an epoll_ctl act on what the caller's worker
// has at the index (48).
func TestMigrateActsOnIndex(t *testing.T) {
	_, ths := copies(t, 2)
	a, b := ths[0], ths[1]
	his, own := create(t, a), create(t, b)
	ep := address()
	ok(t, b.Bind(his, ep))
	var local netip.AddrPort
	buf := make([]byte, 6)
	n, err := b.Attr(own, core.GetLocal, buf)
	ok(t, err)
	ok(t, local.UnmarshalBinary(buf[:n]))
	if local != ep {
		t.Errorf("b's own session is at %v, want %v, which was said of a's", local, ep)
	}
	theirs, err := a.EpollCreate()
	ok(t, err)
	set, err := b.EpollCreate()
	ok(t, err)
	ok(t, b.EpollCtl(set, core.EPOLL_CTL_ADD, his, &vls.EpollEvent{Events: core.EPOLLIN, Data: 7}))
	ok(t, b.Listen(own, 1))
	client := create(t, b)
	ok(t, b.Connect(client, ep))
	evs := make([]vls.EpollEvent, 1)
	if n, err := b.EpollWait(theirs, evs, 0); n != 1 || err != nil || evs[0].Data != 7 {
		t.Errorf("a's set reports %d, %v, %v; want what b's has", n, err, evs[0])
	}
}

// Who asks an owner that does not answer has R, of which there is one: others who
// ask, of others, wait until its 3 s are over. Then it is EBADFD.
func TestMigrateAsksOneByOne(t *testing.T) {
	app, ths := copies(t, 4)
	sleepy, asker, owner, other := ths[0], ths[1], ths[2], ths[3]
	s, u := create(t, sleepy), create(t, owner)
	defer serving(owner)()
	begin := time.Now()
	got := make(chan error)
	go func() {
		_, err := asker.Attr(s, core.GetFlags, make([]byte, 4))
		got <- err
	}()
	for held := uint64(0); held == 0; time.Sleep(time.Millisecond) {
		for _, l := range app.Locks() {
			if l.Class == "R" {
				held = uint64(l.Held)
			}
		}
	}
	_, err := other.Attr(u, core.GetFlags, make([]byte, 4))
	ok(t, err)
	if d := time.Since(begin); d < 2900*time.Millisecond {
		t.Errorf("another request is answered after %v, while R is held for 3 s", d)
	}
	want(t, <-got, syscall.EBADFD)
}

// Close of a session that another has lets go of P, held by a writer, as a reader
// does: nobody gets it any more (47).
func TestMigrateCloseWedges(t *testing.T) {
	app, ths := copies(t, 2)
	a, b := ths[0], ths[1]
	l := create(t, a)
	ok(t, a.Bind(l, address()))
	ok(t, a.Listen(l, 4))
	stop := serving(a)
	want(t, b.Close(l), syscall.EBADFD)
	stop()
	for _, s := range app.Locks() {
		if s.Class == "P" && s.Held != 1 {
			t.Errorf("P is held %d times, want once, by nobody", s.Held)
		}
	}
}
