package core

import (
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// take is an RPC that hands over the session whose handle is asked for.
func take(t *Thread, c *Call) {
	s := t.w.Lookup(Handle(c.Arg))
	if s == nil {
		c.Err = syscall.EBADFD
		return
	}
	if busy, _ := t.Owner.(*bool); busy != nil && *busy {
		c.Err = syscall.EBUSY
		return
	}
	c.Out = t.HandOver(s)
}

// fetch takes a session of another worker over.
func fetch(t *Thread, h Handle) (*Session, error) {
	s, err := t.Reserve()
	if err != nil {
		return nil, err
	}
	c := Call{Arg: uint64(h)}
	if err := t.Call(h.Worker(), &c, -1); err != nil {
		t.Unreserve(s)
		return nil, err
	}
	t.Adopt(s, c.Out.(*Parcel))
	return s, nil
}

func pattern(pos int) byte { return byte(pos) ^ byte(pos>>8)*7 ^ byte(pos>>16)*13 }

// Two workers take a session from each other again and again, out of each
// other's waits too, and echo what its peer sends: every byte comes back once
// and in order. One of them waits on the session, the other on a set.
func TestHandOverUnderLoad(t *testing.T) {
	eachWait(t, 3, Config{}, take, func(t *testing.T, ths []*Thread) {
		total := 1_000_000
		if ths[0].w.app.cfg.Wait == Spin {
			total /= 20
		}
		x, y := connectedPair(t, ths[0], ths[1], 900)
		x.flags.Or(fNonblock)
		var cur atomic.Uint64
		cur.Store(uint64(y.handle))
		var moves, left atomic.Int32
		left.Store(2)
		errs := make(chan error, 2)
		var over atomic.Bool
		for i, th := range ths[1:] {
			go func() {
				err := echo(th, i == 1, &cur, &moves, &over)
				over.Store(true)
				for left.Add(-1); left.Load() > 0; time.Sleep(20 * time.Microsecond) {
					th.Serve() // the other may be asking
				}
				errs <- err // the application may close
			}()
		}
		buf := make([]byte, 3000)
		for sent, got := 0, 0; got < total && !over.Load(); {
			n := min(1+sent%len(buf), total-sent)
			for i := range n {
				buf[i] = pattern(sent + i)
			}
			n, err := ths[0].Write(x, buf[:n])
			if err != nil && err != syscall.EWOULDBLOCK {
				t.Errorf("write: %v", err)
				break
			}
			sent += n
			n, err = ths[0].Read(x, buf)
			if err != nil && err != syscall.EWOULDBLOCK {
				t.Errorf("read: %v", err)
				break
			}
			for i, b := range buf[:n] {
				if b != pattern(got+i) {
					t.Fatalf("byte %d is %#x, want %#x", got+i, b, pattern(got+i))
				}
			}
			if got += n; n == 0 {
				time.Sleep(5 * time.Microsecond)
			}
			if got == total && moves.Load() < 2 {
				total += len(buf) // whoever is to take it has not run yet
			}
		}
		over.Store(true)
		ths[0].Close(x) // ends a wait
		for range 2 {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		if moves.Load() < 2 {
			t.Errorf("the session moved %d times", moves.Load())
		}
	})
}

// echo holds the session of which cur is the handle, for a while, echoes what
// it reads, and takes it back when the other has taken it.
func echo(th *Thread, epoll bool, cur *atomic.Uint64, moves *atomic.Int32, over *atomic.Bool) error {
	buf := make([]byte, 2000)
	busy := false // what was read has to be echoed before what comes after
	th.Owner = &busy
	set, err := th.EpollCreate()
	if err != nil {
		return err
	}
	for !over.Load() {
		h := Handle(cur.Load())
		s := th.w.Lookup(h)
		if s == nil && h.Worker() == th.w.index {
			th.Serve()
			continue
		}
		if s == nil {
			if s, err = fetch(th, h); err == syscall.EBADFD || err == syscall.EBUSY {
				continue // it is on its way, or in use
			} else if err != nil {
				return err
			}
			moves.Add(1)
			cur.Store(uint64(s.handle))
		}
		if epoll {
			if err := th.EpollCtl(set, EPOLL_CTL_ADD, s, &EpollEvent{Events: EPOLLIN}); err != nil && err != syscall.EEXIST {
				return err
			}
			if _, err := th.EpollWait(set, make([]EpollEvent, 1), time.Millisecond); err != nil {
				return err
			}
			if th.w.Lookup(h) == nil {
				continue
			}
		}
		n, err := th.Read(s, buf)
		if n > 0 {
			busy = true
			_, err = th.Write(s, buf[:n])
			busy = false
		}
		switch {
		case err == ErrMoved:
		case err == syscall.ECONNRESET || n == 0 && err == nil:
			return nil // it is over
		case err != nil:
			return err
		}
		th.Serve()
	}
	return nil
}

// What a session is goes along: unread data, the end of a stream, its flags,
// what waits at a listener, its part in what is shared, an empty set.
func TestHandOverKeeps(t *testing.T) {
	eachWait(t, 3, Config{}, take, func(t *testing.T, ths []*Thread) {
		a, b, o := ths[0], ths[1], ths[2]
		move := func(s *Session) *Session {
			t.Helper()
			old := s.handle
			n, err := b.Create(TCP, false)
			if err != nil {
				t.Fatal(err)
			}
			b.Adopt(n, a.GiveUp(s))
			if a.w.Lookup(old) != nil || b.w.Lookup(n.handle) != n {
				t.Fatal("the old handle lives, or the new one does not")
			}
			return n
		}
		read := func(th *Thread, s *Session, want string) {
			t.Helper()
			buf := make([]byte, 20)
			if n, err := th.Read(s, buf); err != nil || string(buf[:n]) != want {
				t.Fatalf("read %q, %v; want %q", buf[:n], err, want)
			}
		}
		x, y := connectedPair(t, a, o, 901)
		o.Write(y, []byte("unread"))
		o.Shutdown(y, syscall.SHUT_WR)
		a.Shutdown(x, syscall.SHUT_RD)
		x.flags.Or(fNonblock)
		x = move(x)
		read(b, x, "unread")
		read(b, x, "")
		if x.flags.Load()&(fNonblock|fRdShut) != fNonblock|fRdShut || x.State() != StateVPPClosing || x.Local().Port() == 0 || x.Remote() != local(901) {
			t.Errorf("flags %#x, %v, %v to %v", x.flags.Load(), x.State(), x.Local(), x.Remote())
		}
		b.Write(x, []byte("back"))
		b.Close(x)
		read(o, y, "back")
		read(o, y, "")

		l, _ := a.Create(TCP, false)
		a.Bind(l, local(902))
		if err := a.Listen(l, 4); err != nil {
			t.Fatal(err)
		}
		z, _ := o.Create(TCP, false)
		if err := o.Connect(z, local(902)); err != nil {
			t.Fatal(err)
		}
		l = move(l)
		z2, _ := o.Create(TCP, false)
		if err := o.Connect(z2, local(902)); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, err := b.Accept(l, 0); err != nil {
				t.Fatal(err)
			}
		}
		set, _ := a.EpollCreate()
		set = move(set)
		if err := b.EpollCtl(set, EPOLL_CTL_ADD, l, &EpollEvent{Events: EPOLLIN}); err != nil {
			t.Fatal(err)
		}

		x, y = connectedPair(t, a, o, 903)
		child, err := a.Fork(nil)
		if err != nil {
			t.Fatal(err)
		}
		c, _ := child.NewThread(nil)
		xc := child.Lookup(x.handle)
		x = move(x)
		if xc.OwnerWorker() != b.w.index {
			t.Errorf("the owner is worker %d, want %d", xc.OwnerWorker(), b.w.index)
		}
		b.Close(x)
		o.Write(y, []byte("shared"))
		read(c, xc, "shared")
		c.Close(xc)
		read(o, y, "")
	})
}

// When all is closed that was handed over the fifos are back.
func TestHandOverLeavesNothing(t *testing.T) {
	eachWait(t, 3, Config{}, take, func(t *testing.T, ths []*Thread) {
		a, b, o := ths[0], ths[1], ths[2]
		var used int
		for i := range 200 {
			x, y := connectedPair(t, a, o, 904)
			o.Write(y, make([]byte, 5000))
			n, _ := b.Create(TCP, false)
			b.Adopt(n, a.GiveUp(x))
			b.Read(n, make([]byte, 5000))
			b.Close(n)
			o.Close(y)
			if i == 20 {
				used = a.w.app.seg.Used()
			}
		}
		if now := a.w.app.seg.Used(); now != used {
			t.Errorf("%d bytes are used, %d were after a few", now, used)
		}
		for _, th := range ths {
			if n := th.w.Sessions(); n > 1 { // what a wait has left, at most
				t.Errorf("worker %d has %d sessions", th.w.index, n)
			}
		}
	})
}

// A set takes its members along: what was reported is no news there, what was
// not is, and what is not asked for is not. A member that is handed over alone
// is in no set.
func TestHandOverSet(t *testing.T) {
	eachWait(t, 3, Config{}, take, func(t *testing.T, ths []*Thread) {
		a, b, o := ths[0], ths[1], ths[2]
		set, _ := a.EpollCreate()
		set.Owner = "set"
		var xs, ys []*Session
		for i := range 3 {
			x, y := connectedPair(t, a, o, 905)
			x.Owner = i
			ev := &EpollEvent{Events: EPOLLIN | EPOLLET, Data: uint64(i)}
			if i == 2 {
				ev.Events = EPOLLIN | EPOLLONESHOT
			}
			if err := a.EpollCtl(set, EPOLL_CTL_ADD, x, ev); err != nil {
				t.Fatal(err)
			}
			xs, ys = append(xs, x), append(ys, y)
		}
		wait := func(th *Thread, set *Session, want ...uint64) {
			t.Helper()
			evs := make([]EpollEvent, 8)
			n, err := th.EpollWait(set, evs, 0)
			if err != nil || n != len(want) {
				t.Fatalf("%d events, %v; want %d", n, err, len(want))
			}
			for i, ev := range evs[:n] {
				if ev.Data != want[i] {
					t.Errorf("event %d is of %d, want %d", i, ev.Data, want[i])
				}
			}
		}
		o.Write(ys[0], []byte("old"))
		o.Write(ys[2], []byte("old"))
		wait(a, set, 0, 2)
		p := a.GiveUp(set)
		o.Write(ys[1], []byte("on the way"))
		if p.Owner != "set" || len(p.Members()) != 3 {
			t.Fatalf("the parcel of %v has %d members, want the set's 3", p.Owner, len(p.Members()))
		}
		if n := a.w.Sessions(); n > 4 { // they may still stand on the list
			t.Errorf("%d sessions are left", n)
		}
		set, _ = b.Reserve()
		b.Adopt(set, p)
		for i, mp := range p.Members() {
			m, _ := b.Reserve()
			b.Adopt(m, mp)
			if mp.Owner != i || m.Set() != set {
				t.Errorf("member %v in set %p, want %d in %p", mp.Owner, m.Set(), i, set)
			}
			xs[i] = m
		}
		wait(b, set, 1)
		o.Write(ys[0], []byte("new"))
		o.Write(ys[2], []byte("new, but it is off"))
		wait(b, set, 0)
		wait(b, set)
		n, _ := o.Reserve()
		o.Adopt(n, b.GiveUp(xs[1]))
		if n.Set() != nil {
			t.Error("a member that was handed over alone is in a set")
		}
		o.Write(ys[1], []byte("not reported"))
		o.Write(ys[0], []byte("reported"))
		wait(b, set, 0)
		left := 0
		set.EachMember(func(*Session) { left++ })
		if left != 2 {
			t.Errorf("%d members are left, want 2", left)
		}
	})
}

// What is done by those who share a session while it is on its way is done to
// it, and it counts as one of them.
func TestHandOverShared(t *testing.T) {
	eachWait(t, 2, Config{}, take, func(t *testing.T, ths []*Thread) {
		a, o := ths[0], ths[1]
		u, _ := a.Create(TCP, false)
		l, _ := a.Create(TCP, false)
		a.Bind(l, local(906))
		child, err := a.Fork(nil)
		if err != nil {
			t.Fatal(err)
		}
		c, _ := child.NewThread(nil)
		uc, lc := child.Lookup(u.handle), child.Lookup(l.handle)
		up, lp := a.GiveUp(u), a.GiveUp(l)
		if err := c.Listen(lc, 4); err != nil {
			t.Fatal(err)
		}
		if err := c.Connect(uc, local(906)); err != nil {
			t.Fatal(err)
		}
		z, _ := o.Create(TCP, false)
		if err := o.Connect(z, local(906)); err != nil {
			t.Fatal(err)
		}
		// They may even leave: what waited is the heir's.
		c.Close(uc)
		c.Close(lc)
		u, _ = a.Reserve()
		a.Adopt(u, up)
		l, _ = a.Reserve()
		a.Adopt(l, lp)
		if u.State() != StateReady || l.State() != StateListen {
			t.Fatalf("they are %v and %v, want READY and LISTEN", u.State(), l.State())
		}
		a.Write(u, []byte("after all"))
		for range 2 {
			if _, err := a.Accept(l, 0); err != nil {
				t.Fatal(err)
			}
		}
		a.Close(u)
		a.Close(l)
		if w, _ := o.Create(TCP, false); o.Connect(w, local(906)) != syscall.ECONNREFUSED {
			t.Error("the listener was closed by all, and somebody listens")
		}
	})
}

// A listener that is on its way gives what waits there to a child that serves.
func TestHandOverOwnersListener(t *testing.T) {
	eachWait(t, 2, Config{}, take, func(t *testing.T, ths []*Thread) {
		a, o := ths[0], ths[1]
		l, _ := a.Create(TCP, false)
		a.Bind(l, local(907))
		if err := a.Listen(l, 4); err != nil {
			t.Fatal(err)
		}
		child, err := a.Fork(nil)
		if err != nil {
			t.Fatal(err)
		}
		c, _ := child.NewThread(nil)
		lc := child.Lookup(l.handle)
		p := a.GiveUp(l)
		for range 2 { // one that waits already, and one that comes
			z, _ := o.Create(TCP, false)
			if err := o.Connect(z, local(907)); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Accept(lc, 0); err != nil {
				t.Fatal(err)
			}
		}
		l, _ = a.Reserve()
		a.Adopt(l, p)
		if !l.Passive() {
			t.Error("it serves though it never accepted")
		}
	})
}

// What is reserved is not found, not inherited, and gives its place back.
func TestReserve(t *testing.T) {
	eachWait(t, 1, Config{}, nil, func(t *testing.T, ths []*Thread) {
		a := ths[0]
		for range 3 {
			s, err := a.Reserve()
			if err != nil {
				t.Fatal(err)
			}
			a.w.Each(func(s *Session) { t.Errorf("%#x is found", uint64(s.handle)) })
			child, err := a.Fork(nil)
			if err != nil {
				t.Fatal(err)
			}
			child.Each(func(s *Session) { t.Errorf("%#x was inherited", uint64(s.handle)) })
			c, _ := child.NewThread(nil)
			child.Close(c)
			c.Exit()
			a.Unreserve(s)
		}
		x, _ := a.Create(TCP, false)
		if x.handle.Index() != 0 || a.w.Sessions() != 1 {
			t.Errorf("a new session has index %d, of %d sessions", x.handle.Index(), a.w.Sessions())
		}
	})
}

// A set that the first look of a wait hands over is not waited for.
func TestHandOverInFirstLook(t *testing.T) {
	eachWait(t, 2, Config{}, take, func(t *testing.T, ths []*Thread) {
		a, b := ths[0], ths[1]
		for range 20 {
			set, _ := a.EpollCreate()
			got := make(chan *Session)
			go func() {
				s, err := fetch(b, set.handle)
				if err != nil {
					t.Error(err)
				}
				got <- s
			}()
			for !a.w.mq.Pending() {
				time.Sleep(10 * time.Microsecond)
			}
			if _, err := a.EpollWait(set, make([]EpollEvent, 1), -1); err != ErrMoved {
				t.Fatalf("the wait ends with %v, want ErrMoved", err)
			}
			b.Close(<-got)
		}
		a.Create(TCP, false) // takes back what was left
		if n := a.w.Sessions(); n != 1 {
			t.Errorf("%d sessions, want 1", n)
		}
	})
}

// Who awaits something is told by a nudge, serves its queue meanwhile, and
// leaves when its time is over.
func TestAwait(t *testing.T) {
	eachWait(t, 2, Config{}, double, func(t *testing.T, ths []*Thread) {
		a, b := ths[0], ths[1]
		var word atomic.Uint32
		left := make(chan struct{})
		go func() {
			a.Await(func() bool { return word.Load() != 0 }, -1)
			close(left)
		}()
		c := Call{Kind: 7, Arg: 4}
		if err := b.Call(a.w.index, &c, -1); err != nil || c.Out != uint64(8) {
			t.Errorf("%v, %v; want 8", c.Out, err)
		}
		word.Store(1)
		b.Nudge(a.w.index)
		<-left
		a.Await(func() bool { return false }, time.Millisecond)
	})
}

// A session that was never connected is cloned, with what was set of it, and an
// empty set; the two have nothing in common. Others are not.
func TestClone(t *testing.T) {
	clone := func(t *Thread, c *Call) {
		if p := t.Clone(t.w.Lookup(Handle(c.Arg))); p != nil {
			c.Out = p
			return
		}
		c.Err = syscall.EBADFD
	}
	eachWait(t, 2, Config{}, clone, func(t *testing.T, ths []*Thread) {
		a, b := ths[0], ths[1]
		x, y := connectedPair(t, a, a, 950)
		made := func(s *Session, err error) *Session {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		s := made(b.Create(TCP, true))
		if err := b.Bind(s, local(951)); err != nil {
			t.Fatal(err)
		}
		u := made(b.Create(UDP, false))
		set := made(b.EpollCreate())
		full := made(b.EpollCreate())
		m := made(b.Create(TCP, false))
		if err := b.EpollCtl(full, EPOLL_CTL_ADD, m, &EpollEvent{Events: EPOLLIN}); err != nil {
			t.Fatal(err)
		}
		bound := made(b.Create(UDP, false))
		if err := b.Bind(bound, local(952)); err != nil {
			t.Fatal(err)
		}
		l := made(b.Create(TCP, false))
		if err := b.Bind(l, local(953)); err != nil {
			t.Fatal(err)
		}
		if err := b.Listen(l, 1); err != nil {
			t.Fatal(err)
		}
		var stop atomic.Bool
		done := make(chan struct{})
		go func() {
			for ; !stop.Load(); time.Sleep(10 * time.Microsecond) {
				b.Serve()
			}
			close(done)
		}()
		for what, o := range map[string]*Session{"a set with a member": full, "bound datagrams": bound, "a listener": l} {
			if _, err := fetch(a, o.handle); err != syscall.EBADFD {
				t.Errorf("%s: %v, want EBADFD", what, err)
			}
		}
		c := made(fetch(a, s.handle))
		if c.Local() != local(951) || c.flags.Load()&fNonblock == 0 || c.w != a.w {
			t.Errorf("the copy is at %v with flags %#x", c.Local(), c.flags.Load())
		}
		d := made(fetch(a, u.handle))
		e := made(fetch(a, set.handle))
		if err := a.EpollCtl(e, EPOLL_CTL_ADD, y, &EpollEvent{Events: EPOLLIN}); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Write(x, []byte("news")); err != nil {
			t.Fatal(err)
		}
		if n, err := a.EpollWait(e, make([]EpollEvent, 1), 0); n != 1 || err != nil {
			t.Errorf("the copy of a set reports %d, %v", n, err)
		}
		if err := a.Bind(d, local(954)); err != nil {
			t.Error(err)
		}
		stop.Store(true)
		<-done
		if u.Local().IsValid() || u.dg == d.dg || set.epoll == e.epoll {
			t.Error("the first has what its copy has")
		}
		for _, o := range []*Session{c, d, e, x, y} {
			a.Close(o)
		}
		if b.w.Lookup(s.handle) != s || b.w.Lookup(set.handle) != set {
			t.Error("the first is closed with its copy")
		}
	})
}
