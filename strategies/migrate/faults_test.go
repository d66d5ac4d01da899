package migrate

import (
	"encoding/binary"
	"sync"
	"syscall"
	"testing"
	"time"

	"vlsbench/core"
	"vlsbench/vls"
)

// No operation leaves a lock behind, whether it succeeds, fails, or has to fetch
// what it is about (13, 47), and each acts on the session that it was given.
func TestNothingIsLeftHeld(t *testing.T) {
	eachWait(t, func(t *testing.T, a *app) {
		p := newProcess(t, a)
		owner, th := newThread(t, p), newThread(t, p)
		ev := &vls.EpollEvent{Events: core.EPOLLIN | core.EPOLLOUT}
		evs := make([]vls.EpollEvent, 4)
		buf := make([]byte, 16)
		ops := []struct {
			name string
			call func(h, set vls.Handle) error
		}{
			{"bind", func(h, _ vls.Handle) error { return th.Bind(h, address()) }},
			{"listen", func(h, _ vls.Handle) error { return th.Listen(h, 1) }},
			{"connect", func(h, _ vls.Handle) error { return th.Connect(h, address()) }},
			{"accept", func(h, _ vls.Handle) error { _, _, err := th.Accept(h, 0); return err }},
			{"read", func(h, _ vls.Handle) error { _, err := th.Read(h, buf); return err }},
			{"recvfrom", func(h, _ vls.Handle) error { _, _, err := th.Recvfrom(h, buf, 0); return err }},
			{"write", func(h, _ vls.Handle) error { _, err := th.Write(h, buf); return err }},
			{"sendto", func(h, _ vls.Handle) error { _, err := th.Sendto(h, buf, 0, address()); return err }},
			{"attr", func(h, _ vls.Handle) error { _, err := th.Attr(h, core.GetNread, buf[:4]); return err }},
			{"epoll_ctl", func(h, set vls.Handle) error { return th.EpollCtl(set, core.EPOLL_CTL_ADD, h, ev) }},
			{"epoll_ctl of a session", func(h, _ vls.Handle) error { return th.EpollCtl(h, core.EPOLL_CTL_DEL, h, nil) }},
			{"epoll_wait", func(_, set vls.Handle) error { _, err := th.EpollWait(set, evs, time.Millisecond); return err }},
			{"epoll_wait of a session", func(h, _ vls.Handle) error { _, err := th.EpollWait(h, evs, 0); return err }},
			{"poll", func(h, set vls.Handle) error {
				_, err := th.Poll([]vls.PollFD{{Handle: h}, {Handle: set}, {Handle: 7}}, time.Millisecond)
				return err
			}},
			{"session_handle", func(h, _ vls.Handle) error { _, err := th.SessionHandle(h); return err }},
			{"handle_of", func(_, _ vls.Handle) error { _, err := th.HandleOf(3); return err }},
			{"shutdown", func(h, _ vls.Handle) error { return th.Shutdown(h, syscall.SHUT_WR) }},
			{"create", func(_, _ vls.Handle) error { _, err := th.Create(vls.TCP, false); return err }},
			{"create of nothing", func(_, _ vls.Handle) error { _, err := th.Create(77, false); return err }},
			{"close", func(h, _ vls.Handle) error { return th.Close(h) }},
			{"close of a set", func(_, set vls.Handle) error { return th.Close(set) }},
		}
		kinds := []struct {
			name string
			make func(th *thread) vls.Handle
		}{
			{"a new session", func(th *thread) vls.Handle { h, _ := th.Create(vls.TCP, true); return h }},
			{"a stream", func(th *thread) vls.Handle {
				x, _ := pair(t, th, th)
				th.Attr(x, core.SetFlags, binary.NativeEndian.AppendUint32(nil, syscall.O_NONBLOCK))
				return x
			}},
			{"a listener", func(th *thread) vls.Handle {
				l, _ := listen(t, th)
				th.Attr(l, core.SetFlags, binary.NativeEndian.AppendUint32(nil, syscall.O_NONBLOCK))
				return l
			}},
			{"datagrams", func(th *thread) vls.Handle {
				h, _ := th.Create(vls.UDP, true)
				th.Bind(h, address())
				return h
			}},
			{"a set", func(th *thread) vls.Handle { h, _ := th.EpollCreate(); return h }},
			{"nothing", func(*thread) vls.Handle { return 12345 }},
		}
		for _, k := range kinds {
			for _, op := range ops {
				// Of one's own, of another's, and of nobody's.
				for _, from := range []string{"own", "another's", "nobody's"} {
					by := th
					if from != "own" {
						by = owner
					}
					if from == "nobody's" {
						by = newThread(t, p)
					}
					h, err := k.make(by), error(nil)
					set, err := by.EpollCreate()
					ok(t, err)
					m, _ := by.Create(vls.TCP, false)
					ok(t, by.EpollCtl(set, core.EPOLL_CTL_ADD, m, ev))
					what := op.name + " of " + k.name + ", " + from
					if from == "nobody's" {
						ok(t, by.Exit())
						err = op.call(h, set)
					} else {
						stop := serving(owner)
						err = op.call(h, set)
						stop()
					}
					if err == syscall.ETIMEDOUT || err == core.ErrMoved || err == errElsewhere {
						t.Fatalf("%s: %v", what, err)
					}
					p.free(t, what)
					stop := serving(owner)
					th.Close(h)
					th.Close(set)
					th.Close(m)
					stop()
				}
			}
		}
	})
}

// Two workers have sessions and sets of one index. What is done to one of them is
// not done to the other (19, 48).
func TestSameIndex(t *testing.T) {
	eachWait(t, func(t *testing.T, a *app) {
		p := newProcess(t, a)
		ths := []*thread{newThread(t, p), newThread(t, p)}
		for i := range 5 { // sessions of the table, too, go apart
			ths[i%2].Create(vls.TCP, false)
		}
		var hs, sets []vls.Handle
		var index [2]uint32
		for i, th := range ths {
			if i == 1 {
				ok(t, th.Close(mustCreate(t, th))) // a hole, so that the next has it
			}
			h := mustCreate(t, th)
			hs = append(hs, h)
			set, err := th.EpollCreate()
			ok(t, err)
			sets = append(sets, set)
		}
		// Until the indices agree.
		for {
			for i, th := range ths {
				var err error
				index[i], _, err = th.SessionIndex(hs[i])
				ok(t, err)
			}
			if index[0] == index[1] {
				break
			}
			i := 0
			if index[1] < index[0] {
				i = 1
			}
			hs[i] = mustCreate(t, ths[i])
		}
		for i, th := range ths {
			if h, err := th.HandleOf(index[i]); h != hs[i] || err != nil {
				t.Errorf("index %d of worker %d leads to %#x, %v; want %#x", index[i], i, uint64(h), err, uint64(hs[i]))
			}
		}
		stop := serving(ths[1])
		ep := address()
		ok(t, ths[0].Bind(hs[1], ep))
		stop()
		if l := localOf(t, ths[0], hs[0]); l.Port() != 0 {
			t.Errorf("the other session is bound to %v", l)
		}
		if l := localOf(t, ths[0], hs[1]); l != ep {
			t.Errorf("the session is bound to %v, want %v", l, ep)
		}
		x, y := pair(t, ths[1], ths[1])
		write(t, ths[1], y, "news")
		ok(t, ths[1].EpollCtl(sets[1], core.EPOLL_CTL_ADD, x, &vls.EpollEvent{Events: core.EPOLLIN, Data: 77}))
		stop = serving(ths[1])
		evs := make([]vls.EpollEvent, 2)
		if n, err := ths[0].EpollWait(sets[0], evs, 0); n != 0 || err != nil {
			t.Errorf("the empty set reports %d, %v", n, err)
		}
		if n, err := ths[0].EpollWait(sets[1], evs, 0); n != 1 || err != nil || evs[0].Data != 77 {
			t.Errorf("the other's set reports %d, %v, %v; want 77", n, err, evs[0])
		}
		stop()
	})
}

func mustCreate(t *testing.T, th *thread) vls.Handle {
	t.Helper()
	h, err := th.Create(vls.TCP, false)
	ok(t, err)
	return h
}

// localOf is a session's own endpoint.
func localOf(t *testing.T, th *thread, h vls.Handle) (ep vls.Endpoint) {
	t.Helper()
	buf := make([]byte, 18)
	for _, n := range []int{6, 18} {
		if k, err := th.Attr(h, core.GetLocal, buf[:n]); err == nil {
			ok(t, ep.UnmarshalBinary(buf[:k]))
			return ep
		}
	}
	t.Fatal("no local endpoint")
	return ep
}

// A child of a process with several workers serves the listeners of all of them,
// whoever had them (20).
func TestChildListens(t *testing.T) {
	eachWait(t, func(t *testing.T, a *app) {
		p, q := newProcess(t, a), newProcess(t, a)
		client := newThread(t, q)
		ths := []*thread{newThread(t, p), newThread(t, p), newThread(t, p)}
		var ls []vls.Handle
		var eps []vls.Endpoint
		for _, th := range ths {
			l, ep := listen(t, th)
			ls, eps = append(ls, l), append(eps, ep)
		}
		ok(t, ths[2].Exit()) // that one is nobody's
		f, err := p.Fork()
		ok(t, err)
		child := f.(*process)
		cs := []*thread{newThread(t, child), newThread(t, child)}
		for i, l := range ls {
			th := cs[i%2]
			stop := serving(cs[1-i%2])
			c := mustCreate(t, client)
			ok(t, client.Connect(c, eps[i]))
			write(t, client, c, "hello")
			switch i {
			case 1: // as a member of a set
				set, err := th.EpollCreate()
				ok(t, err)
				ok(t, th.EpollCtl(set, core.EPOLL_CTL_ADD, l, &vls.EpollEvent{Events: core.EPOLLIN}))
				if n, err := th.EpollWait(set, make([]vls.EpollEvent, 1), -1); n != 1 || err != nil {
					t.Fatal(n, err)
				}
			case 2: // in a poll
				if n, err := th.Poll([]vls.PollFD{{Handle: l, Events: core.EPOLLIN}}, -1); n != 1 || err != nil {
					t.Fatal(n, err)
				}
			}
			s, _, err := th.Accept(l, 0)
			ok(t, err)
			read(t, th, s, "hello")
			stop()
		}
		for _, p := range []*process{child, p, q} {
			p.free(t, "all")
		}
	})
}

// Threads that register and exit at once get workers of their own, and one too
// many is ENOMEM and leaves nothing behind (40).
func TestRegisterAtOnce(t *testing.T) {
	guard(t, time.Minute)
	a := attach(t, vls.Options{Config: core.Config{Wait: core.Park, MaxWorkers: 6}})
	p := newProcess(t, a)
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			for range 100 {
				th := p.NewThread()
				x, y := pair(t, th, th)
				write(t, th, x, "mine")
				read(t, th, y, "mine")
				if err := th.Close(x); err != nil {
					t.Error(err)
				}
				if err := th.Close(y); err != nil {
					t.Error(err)
				}
				if err := th.Exit(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	var ths []*thread
	for range 6 {
		ths = append(ths, newThread(t, p))
	}
	seen := make(map[*worker]bool)
	for _, th := range ths {
		if seen[th.w] {
			t.Error("two threads have one worker")
		}
		seen[th.w] = true
	}
	want(t, syscall.ENOMEM, p.NewThread().Register())
	x := mustCreate(t, ths[3])
	ok(t, ths[3].Exit())
	th := newThread(t, p)
	ok(t, th.Bind(x, address()))
	want(t, syscall.ENOMEM, p.NewThread().Register())
	p.free(t, "all")
}

// A session that another thread waits on is closed as its own is: the waiting
// thread leaves, and so do those that it had lost it to (47).
func TestCloseElsewhere(t *testing.T) {
	eachWait(t, func(t *testing.T, a *app) {
		p := newProcess(t, a)
		owner, closer := newThread(t, p), newThread(t, p)
		const n = 3
		var waiting []*thread
		for range n {
			waiting = append(waiting, newThread(t, p))
		}
		for round := range 10 {
			x, y := pair(t, owner, owner)
			stop := serving(owner)
			errs := make(chan error, n)
			for i, th := range waiting {
				go func() {
					var err error
					if round%2 == 0 || i > 0 {
						_, err = th.Read(x, make([]byte, 4))
					} else {
						_, err = th.Poll([]vls.PollFD{{Handle: x, Events: core.EPOLLIN}}, -1)
						if err == nil {
							err = syscall.ENOTCONN
						}
					}
					errs <- err
				}()
			}
			for at := of(p, x); at == owner.w; at = of(p, x) {
				time.Sleep(10 * time.Microsecond)
			}
			time.Sleep(time.Duration(round%4) * time.Millisecond)
			ok(t, closer.Close(x))
			for range n {
				if err := <-errs; err != syscall.ENOTCONN && err != syscall.EBADFD {
					t.Fatalf("who waited leaves with %v, want ENOTCONN", err)
				}
			}
			stop()
			read(t, owner, y, "")
			ok(t, owner.Close(y))
			p.free(t, "that")
		}
	})
}
