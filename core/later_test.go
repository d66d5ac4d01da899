package core

import (
	"net/netip"
	"syscall"
	"testing"
)

// A thread that defers its waits is told that it has to wait, be it in the middle
// of a write, and then waits for what it would have waited for.
func TestLater(t *testing.T) {
	eachWait(t, 2, Config{}, nil, func(t *testing.T, ths []*Thread) {
		a, b := ths[0], ths[1]
		x, y := connectedPair(t, a, b, 1000)
		b.Defers = true
		buf := make([]byte, 32<<10)
		// later waits while the other thread does f.
		later := func(f func()) error {
			t.Helper()
			done := make(chan struct{})
			go func() {
				defer close(done)
				f()
			}()
			defer func() { <-done }()
			return b.Later()
		}
		if n, err := b.Read(y, buf); n != 0 || err != ErrWait {
			t.Fatalf("read of nothing: %d, %v, want ErrWait", n, err)
		}
		if err := later(func() { a.Write(x, []byte("abc")) }); err != nil {
			t.Fatal(err)
		}
		if n, err := b.Read(y, buf); n != 3 || err != nil {
			t.Fatalf("read: %d, %v", n, err)
		}

		n, err := b.Write(y, buf)
		if n != 16<<10 || err != ErrWait {
			t.Fatalf("write of more than fits: %d, %v, want %d and ErrWait", n, err, 16<<10)
		}
		drain := func() {
			for n := 0; n < 16<<10; {
				m, err := a.Read(x, make([]byte, 4<<10))
				if err != nil {
					t.Error(err)
					return
				}
				n += m
			}
		}
		if err := later(drain); err != nil {
			t.Fatal(err)
		}
		for n < len(buf) {
			m, err := b.Write(y, buf[n:])
			n += m
			if err == ErrWait {
				err = later(drain)
			}
			if err != nil {
				t.Fatal(err)
			}
		}

		l, err := b.Create(TCP, false)
		if err == nil {
			err = b.Bind(l, local(1001))
		}
		if err == nil {
			err = b.Listen(l, 4)
		}
		if err != nil {
			t.Fatal(err)
		}
		if s, err := b.Accept(l, 0); s != nil || err != ErrWait {
			t.Fatalf("accept of nothing: %v, want ErrWait", err)
		}
		if err := later(func() {
			c, err := a.Create(TCP, false)
			if err == nil {
				err = a.Connect(c, local(1001))
			}
			if err != nil {
				t.Error(err)
			}
		}); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Accept(l, 0); err != nil {
			t.Fatal(err)
		}

		// Closed before the wait begins: the session is kept for it.
		if n, err := b.Accept(l, 0); n != nil || err != ErrWait {
			t.Fatalf("accept of nothing: %v, want ErrWait", err)
		}
		used := b.w.Sessions()
		if err := b.Close(l); err != nil {
			t.Fatal(err)
		}
		if b.w.Sessions() != used {
			t.Error("a session is freed for which a wait is to come")
		}
		if err := b.Later(); err != syscall.ENOTCONN {
			t.Fatalf("wait on what was closed: %v, want ENOTCONN", err)
		}
	})
}

// The same of datagrams, whose sender waits for room with one receiver.
func TestLaterDatagrams(t *testing.T) {
	guard(t, t.Name())
	ta, tb, x, y := dgramPair(t)
	for _, s := range []*Session{x, y} {
		s.flags.And(^uint32(fNonblock))
	}
	ta.Defers, tb.Defers = true, true
	buf := make([]byte, 1000)
	if _, _, err := tb.Recvfrom(y, buf, 0); err != ErrWait {
		t.Fatalf("receive of nothing: %v, want ErrWait", err)
	}
	sent := 0
	for {
		n, err := ta.Sendto(x, buf, 0, netip.AddrPort{})
		if err == ErrWait {
			break
		}
		if n != len(buf) || err != nil {
			t.Fatalf("send: %d, %v", n, err)
		}
		sent++
	}
	if err := tb.Later(); err != nil {
		t.Fatal(err)
	}
	for range sent {
		if n, _, err := tb.Recvfrom(y, buf, 0); n != len(buf) || err != nil {
			t.Fatalf("receive: %d, %v", n, err)
		}
	}
	if err := ta.Later(); err != nil {
		t.Fatal(err)
	}
	if n, err := ta.Sendto(x, buf, 0, netip.AddrPort{}); n != len(buf) || err != nil {
		t.Fatalf("send: %d, %v", n, err)
	}
	if ta.flow != nil {
		t.Error("the flow is held on")
	}
}
