package core

import (
	"math"
	"net/netip"
	"syscall"
	"testing"
)

// A connection that cannot be accepted because the pool is full goes on
// waiting, in its place.
func TestAcceptWithFullPool(t *testing.T) {
	a, err := New(Config{SegmentSize: 4 << 20}, Hooks{})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	w, err := a.NewWorker()
	if err != nil {
		t.Fatal(err)
	}
	th, err := w.NewThread(nil)
	if err != nil {
		t.Fatal(err)
	}
	create := func() *Session {
		t.Helper()
		s, err := th.Create(TCP, true)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	ep := netip.MustParseAddrPort("127.0.0.1:80")
	l := create()
	if err := th.Bind(l, ep); err != nil {
		t.Fatal(err)
	}
	if err := th.Listen(l, 4); err != nil {
		t.Fatal(err)
	}
	var xs [3]*Session
	for i := range xs {
		xs[i] = create()
		if err := th.Connect(xs[i], ep); err != syscall.EINPROGRESS {
			t.Fatal(err)
		}
		if _, err := th.Write(xs[i], []byte{'a' + byte(i)}); err != nil {
			t.Fatal(err)
		}
	}
	w.sessions.limit = w.Sessions()
	if _, err := th.Create(TCP, true); err != syscall.ENOMEM {
		t.Fatalf("create in a full pool: %v, want ENOMEM", err)
	}
	if _, err := th.EpollCreate(); err != syscall.ENOMEM {
		t.Fatalf("epoll create in a full pool: %v, want ENOMEM", err)
	}
	for range 3 {
		if _, err := th.Accept(l, 0); err != syscall.ENOMEM {
			t.Fatalf("accept with a full pool: %v, want ENOMEM", err)
		}
	}
	w.sessions.limit = MaxIndex - 1
	for i := range xs {
		s, err := th.Accept(l, 0)
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 4)
		if n, err := th.Read(s, buf); n != 1 || buf[0] != 'a'+byte(i) {
			t.Fatalf("connection %d gives %q, %v: out of order", i, buf[:n], err)
		}
	}
	if _, err := th.Accept(l, 0); err != syscall.EAGAIN {
		t.Fatalf("accept of a fourth: %v, want EAGAIN", err)
	}
}

// While one thread takes connections from the stack, in pop, both lists are empty,
// and for another, about to sleep, the second connection must still be waiting.
func TestListenerWaitsWhileTaken(t *testing.T) {
	var l listener
	l.setBacklog(2)
	for range 2 {
		if !l.push(new(conn), false) {
			t.Fatal("the backlog is full")
		}
	}
	list := l.stack.Load().take() // as far as pop has come
	if !l.waiting() {
		t.Error("two connections wait, and another thread sees none")
	}
	if l.push(new(conn), false) {
		t.Error("two connections wait, and a backlog of two has room")
	}
	l.oldest.Store(list)
	for i := range 2 {
		if !l.waiting() || l.pop() == nil {
			t.Fatalf("connection %d is gone", i)
		}
	}
	if l.waiting() || l.pop() != nil {
		t.Error("none waits, and one is seen")
	}
}

// A listener counts what waits through closing and opening again, beyond its
// backlog too, and where the count goes round.
func TestListenerCounts(t *testing.T) {
	var l listener
	l.setBacklog(2)
	l.taken.Store(math.MaxUint32 - 2)
	l.reopen()
	for round := range 3 {
		var cs [3]conn
		for i := range cs {
			if l.length() != i {
				t.Fatalf("round %d: %d wait, want %d", round, l.length(), i)
			}
			if ok := l.push(&cs[i], false); ok != (i < 2) {
				t.Fatalf("round %d: connection %d is queued: %v", round, i, ok)
			}
		}
		l.push(&cs[2], true)
		if c := l.pop(); c != &cs[0] {
			t.Fatalf("round %d: the first is not the oldest", round)
		}
		if round == 1 {
			l.unpop(&cs[0])
			if l.length() != 3 || l.pop() != &cs[0] {
				t.Fatal("what was put back is not the oldest again")
			}
		}
		before := l.pushed()
		list := l.close()
		if list != &cs[1] || list.next != &cs[2] || cs[2].next != nil {
			t.Fatalf("round %d: what waited is not what close gives", round)
		}
		if l.length() != 0 || l.close() != nil || l.push(&cs[0], true) {
			t.Fatalf("round %d: the listener is not closed", round)
		}
		if l.reopen(); l.length() != 0 || l.pop() != nil || l.pushed() != before {
			t.Fatalf("round %d: opened again %d wait, of %d that came: want 0 of %d", round, l.length(), l.pushed(), before)
		}
	}
}
