package core

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"vlsbench/hw"
)

// dgramPair is two threads of two workers, each with a session of datagrams,
// connected to each other.
func dgramPair(t *testing.T) (ta, tb *Thread, x, y *Session) {
	t.Helper()
	a, err := New(Config{SegmentSize: 4 << 20, TxFifoSize: 4096, RxFifoSize: 4096}, Hooks{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	var ths [2]*Thread
	var ss [2]*Session
	eps := [2]Endpoint{netip.MustParseAddrPort("127.0.0.1:1"), netip.MustParseAddrPort("127.0.0.1:2")}
	for i := range ths {
		w, err := a.NewWorker()
		if err != nil {
			t.Fatal(err)
		}
		if ths[i], err = w.NewThread(nil); err != nil {
			t.Fatal(err)
		}
		if ss[i], err = ths[i].Create(UDP, true); err != nil {
			t.Fatal(err)
		}
		if err := ths[i].Bind(ss[i], eps[i]); err != nil {
			t.Fatal(err)
		}
	}
	for i := range ths {
		ths[i].Connect(ss[i], eps[1-i])
	}
	return ths[0], ths[1], ss[0], ss[1]
}

// What comes between the consumer's look and its letting go was sent by one who
// took the flow for the consumer's: it must stay that.
func TestFlowIsKept(t *testing.T) {
	ta, tb, x, y := dgramPair(t)
	send := func(s string) {
		t.Helper()
		if _, err := ta.Write(x, []byte(s)); err != nil {
			t.Fatal(err)
		}
	}
	receive := func(want string) {
		t.Helper()
		p := make([]byte, 10)
		if n, err := tb.Read(y, p); err != nil || string(p[:n]) != want {
			t.Fatalf("received %q, %v; want %q", p[:n], err, want)
		}
	}
	send("one")
	y.dg.takeOver()
	f := y.dg.heads[0].f
	f.f.Drop(headerSize + 3) // found empty
	send("two")
	if f.letGo() || f.active.Load() != 1 || y.dg.stack.Load() != nil {
		t.Fatal("the flow was let go with a datagram in it that nobody hands over")
	}
	y.dg.heads[0] = f.head()
	receive("two")
	if f.active.Load() != 0 || y.dg.readable() {
		t.Fatal("the flow is empty and was not let go")
	}
	send("three")
	if y.dg.stack.Load() != f || f.active.Load() != 1 || !y.dg.readable() {
		t.Fatal("the flow was not handed over")
	}
	receive("three")
	// The sender may look only when what it sent was read, and the flow let go.
	if !f.handOver() || y.dg.stack.Load() != nil || f.active.Load() != 0 || y.dg.readable() {
		t.Fatal("an empty flow was handed over")
	}
	send("four")
	receive("four")
}

// A sender that puts a datagram into a flow in the moment in which the receiver
// has drained it and lets it go: one of them hands it over again.
func TestFlowIsHandedOverAgain(t *testing.T) {
	ta, tb, x, y := dgramPair(t)
	const most = 300_000
	var got atomic.Uint32 // datagrams received
	var stop atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		p := make([]byte, 8)
		for spins := 1; !stop.Load(); spins++ {
			k, err := tb.Read(y, p)
			if err != nil {
				if hw.Pause(); spins%1000 == 0 {
					runtime.Gosched()
				}
				continue
			}
			if v := binary.NativeEndian.Uint32(p); k != 4 || v != got.Load() {
				t.Errorf("datagram %d of %d bytes came, want %d", v, k, got.Load())
				return
			}
			got.Add(1)
		}
	}()
	defer func() { <-done }()
	defer stop.Store(true)
	// received waits until the receiver has drained n datagrams, or has read
	// the last of them as well.
	received := func(n uint32, drained func() bool) {
		begin := time.Now()
		for spins := 1; got.Load() < n && !drained(); spins++ {
			if spins%1000 != 0 {
				continue
			}
			if runtime.Gosched(); time.Since(begin) > 20*time.Second {
				t.Fatalf("datagram %d is not found: %d came, some are there: %v, active is %d",
					n-1, got.Load(), y.dg.readable(), x.dg.last.active.Load())
			}
		}
	}
	p := make([]byte, 4)
	begin := time.Now()
	n := uint32(0)
	for n < most && (n%100 != 0 || time.Since(begin) < time.Second) {
		binary.NativeEndian.PutUint32(p, n)
		if _, err := ta.Write(x, p); err != nil {
			t.Fatal(err)
		}
		n++
		received(n, func() bool { return x.dg.last.f.MaxDequeue() == 0 })
		for range n % 16 { // not always at the same distance
			hw.Pause()
		}
	}
	received(n, func() bool { return false })
}

func TestHeads(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var q heads
	var model []uint64
	for i := range 10_000 {
		ticket := uint64(i)<<1 | rng.Uint64N(64)<<40
		switch {
		case len(q) == 0 || rng.IntN(5) < 2 && len(q) < 100:
			q.push(head{ticket: ticket})
			model = append(model, ticket)
		case rng.IntN(2) == 0:
			q.pop()
			model = model[1:]
		default:
			q[0] = head{ticket: ticket}
			q.down()
			model[0] = ticket
		}
		slices.Sort(model)
		if len(q) != len(model) || len(q) > 0 && q[0].ticket != model[0] {
			t.Fatalf("step %d: %d entries with %v first, want %d with %v", i, len(q), q[:min(len(q), 1)], len(model), model[:min(len(model), 1)])
		}
	}
}

func TestOverlap(t *testing.T) {
	v4, v6 := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1")
	any4, any6 := netip.IPv4Unspecified(), netip.IPv6Unspecified()
	for _, c := range []struct {
		a     netip.Addr
		aOnly bool
		b     netip.Addr
		bOnly bool
		want  bool
	}{
		{v4, false, v4, false, true},
		{v4, false, v6, false, false},
		{v4, false, netip.MustParseAddr("127.0.0.2"), false, false},
		{any4, false, v4, false, true},
		{any4, false, v6, false, false},
		{any4, false, any4, false, true},
		{any6, false, v6, false, true},
		{any6, true, v6, false, true},
		{any6, false, v4, false, true},
		{any6, true, v4, false, false},
		{any6, false, any4, false, true},
		{any6, true, any4, false, false},
		{any6, true, any6, false, true},
	} {
		if overlap(c.a, c.aOnly, c.b, c.bOnly) != c.want || overlap(c.b, c.bOnly, c.a, c.aOnly) != c.want {
			t.Errorf("%v (IPv6 only: %v) and %v (%v): want %v", c.a, c.aOnly, c.b, c.bOnly, c.want)
		}
	}
}
