package migrate

import (
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"vlsbench/core"
	"vlsbench/vls"
)

// What waits for an owner that makes no call stands in nobody's way but its own
// (16): the others make and close sessions, take them from each other, come and
// go, and fork. When the owner calls at last, it is served.
func TestSleepyOwner(t *testing.T) {
	eachWait(t, func(t *testing.T, a *app) {
		p := newProcess(t, a)
		sleepy, asker := newThread(t, p), newThread(t, p)
		x, y := pair(t, sleepy, sleepy)
		got := make(chan error, 1)
		go func() {
			n, err := asker.Read(x, make([]byte, 20))
			if err == nil && n != len("at last") {
				err = syscall.EIO
			}
			got <- err
		}()
		for sleepy.w.asked.Load() == 0 {
			runtime.Gosched()
		}
		c, d := newThread(t, p), newThread(t, p)
		l, ep := listen(t, c)
		for i := range 50 {
			u, err := c.Create(vls.TCP, false)
			ok(t, err)
			ok(t, c.Connect(u, ep))
			stop := serving(c)
			v, _, err := d.Accept(l, 0)
			ok(t, err)
			write(t, d, u, "from the other end")
			read(t, d, v, "from the other end")
			set, err := d.EpollCreate()
			ok(t, err)
			ok(t, d.EpollCtl(set, core.EPOLL_CTL_ADD, v, &vls.EpollEvent{Events: core.EPOLLOUT}))
			if n, err := d.EpollWait(set, make([]vls.EpollEvent, 1), -1); n != 1 || err != nil {
				t.Fatal(n, err)
			}
			stop()
			stop = serving(d)
			for _, h := range []vls.Handle{set, u, v} {
				ok(t, c.Close(h))
			}
			e := newThread(t, p)
			z, _ := pair(t, e, e)
			ok(t, e.Exit())
			ok(t, c.Close(z))
			if i%10 == 0 {
				child, err := p.Fork()
				ok(t, err)
				ct := child.NewThread()
				ok(t, ct.Close(y))
				ok(t, ct.Close(l))
				ok(t, ct.Exit())
				ok(t, child.Exit())
			}
			_, err = c.Attr(l, core.GetNread, make([]byte, 4))
			ok(t, err)
			stop()
			select {
			case err := <-got:
				t.Fatalf("the owner made no call, and who asks gets %v", err)
			default:
			}
		}
		write(t, sleepy, y, "at last")
		ok(t, <-got)
	})
}

// An owner that does not answer in time leaves everything as it was, and what it
// does later touches nothing (18).
func TestLateAnswer(t *testing.T) {
	eachWait(t, func(t *testing.T, a *app) {
		a.patience = 5 * time.Millisecond
		p := newProcess(t, a)
		sleepy, asker := newThread(t, p), newThread(t, p)
		x, y := pair(t, sleepy, sleepy)
		set, err := sleepy.EpollCreate()
		ok(t, err)
		ok(t, sleepy.EpollCtl(set, core.EPOLL_CTL_ADD, x, &vls.EpollEvent{Events: core.EPOLLIN}))
		own, err := asker.EpollCreate()
		ok(t, err)
		var before [2]vls.SessionHandle
		for i, h := range []vls.Handle{x, y} {
			before[i], _ = sleepy.SessionHandle(h)
		}
		buf := make([]byte, 8)
		ev := &vls.EpollEvent{Events: core.EPOLLIN}
		for what, call := range map[string]func() error{
			"read":       func() error { _, err := asker.Read(x, buf); return err },
			"write":      func() error { _, err := asker.Write(y, buf); return err },
			"bind":       func() error { return asker.Bind(y, address()) },
			"close":      func() error { return asker.Close(x) },
			"close set":  func() error { return asker.Close(set) },
			"epoll_wait": func() error { _, err := asker.EpollWait(set, make([]vls.EpollEvent, 1), 0); return err },
			"epoll_ctl":  func() error { return asker.EpollCtl(set, core.EPOLL_CTL_MOD, x, ev) },
			"add":        func() error { return asker.EpollCtl(own, core.EPOLL_CTL_ADD, y, ev) },
			"poll": func() error {
				_, err := asker.Poll([]vls.PollFD{{Handle: x, Events: core.EPOLLIN}}, 0)
				return err
			},
		} {
			if err := call(); err != syscall.ETIMEDOUT {
				t.Fatalf("%s of what a sleepy owner has: %v, want ETIMEDOUT", what, err)
			}
			p.free(t, what)
		}
		// The slots that were to be theirs are used for others.
		var us, vs []vls.Handle
		for range 4 {
			u, v := pair(t, asker, asker)
			us, vs = append(us, u), append(vs, v)
		}
		n := asker.w.core.Sessions()
		for range 5 {
			idle(sleepy)
		}
		for i, h := range []vls.Handle{x, y} {
			if sh, err := sleepy.SessionHandle(h); err != nil || sh != before[i] || of(p, h) != sleepy.w {
				t.Fatalf("the late answer moved a session: %#x, %v; want %#x", uint64(sh), err, uint64(before[i]))
			}
		}
		if m := asker.w.core.Sessions(); m != n {
			t.Fatalf("the late answer made %d sessions of %d", m, n)
		}
		for i := range us {
			write(t, asker, us[i], "still its own")
			read(t, asker, vs[i], "still its own")
		}
		write(t, sleepy, y, "all is well")
		if n, err := sleepy.EpollWait(set, make([]vls.EpollEvent, 1), 0); n != 1 || err != nil {
			t.Fatalf("the set reports %d, %v; want 1", n, err)
		}
		// And it is had for the asking when the owner calls.
		a.patience = time.Hour
		defer serving(sleepy)()
		read(t, asker, x, "all is well")
	})
}

// Threads that ask each other at once all get what they ask for (17).
func TestAskEachOther(t *testing.T) {
	eachWait(t, func(t *testing.T, a *app) {
		p := newProcess(t, a)
		const n, rounds = 4, 150
		var ths [n]*thread
		var xs, ys [n]vls.Handle
		for i := range ths {
			ths[i] = newThread(t, p)
			xs[i], ys[i] = pair(t, ths[i], ths[i])
		}
		var left atomic.Int32
		left.Store(n)
		var wg sync.WaitGroup
		for i, th := range ths {
			wg.Go(func() {
				for r := range rounds {
					// A different one each round, so that nobody waits for bytes.
					k := (i + r) % n
					for _, h := range []vls.Handle{xs[k], ys[k]} {
						if _, err := th.Attr(h, core.GetFlags, make([]byte, 4)); err != nil {
							t.Errorf("round %d: %v", r, err)
						}
					}
				}
				for left.Add(-1); left.Load() > 0; time.Sleep(20 * time.Microsecond) {
					idle(th)
				}
			})
		}
		wg.Wait()
		p.free(t, "all")
		for i := range ths {
			stop := serving(ths[(i+1)%n])
			stop2, stop3 := serving(ths[(i+2)%n]), serving(ths[(i+3)%n])
			write(t, ths[i], xs[i], "whole")
			read(t, ths[i], ys[i], "whole")
			stop()
			stop2()
			stop3()
		}
	})
}

// What a thread keeps while it fetches something to go with it does not go to
// others meanwhile, though it answers them: else two that want both could take the
// one from each other for the other one's sake, without end.
func TestPinned(t *testing.T) {
	eachWait(t, func(t *testing.T, a *app) {
		p := newProcess(t, a)
		sleepy, th, asker := newThread(t, p), newThread(t, p), newThread(t, p)
		far := mustCreate(t, sleepy)
		set, err := th.EpollCreate()
		ok(t, err)
		added, got := make(chan error, 1), make(chan error, 1)
		go func() { added <- th.EpollCtl(set, core.EPOLL_CTL_ADD, far, &vls.EpollEvent{}) }()
		for sleepy.w.asked.Load() == 0 {
			runtime.Gosched()
		}
		go func() {
			_, err := asker.EpollWait(set, make([]vls.EpollEvent, 1), 0)
			got <- err
		}()
		// It asks, and th answers while it waits for the sleepy one.
		for th.w.asked.Load() == 0 && of(p, set) == th.w {
			runtime.Gosched()
		}
		for range 200 {
			if of(p, set) != th.w {
				t.Fatal("a set went while a session was fetched for it")
			}
			time.Sleep(20 * time.Microsecond)
		}
		idle(sleepy)
		stops := []func(){serving(sleepy)}
		ok(t, <-added)
		stops = append(stops, serving(th))
		ok(t, <-got)
		for _, stop := range stops {
			stop()
		}
		p.free(t, "all")
	})
}

// A thread that waits in read does not keep the session from one that waits in
// write, and the other way: whoever's wait ends first goes on.
func TestWaitForOtherThings(t *testing.T) {
	eachWait(t, func(t *testing.T, a *app) {
		p, q := newProcess(t, a), newProcess(t, a)
		peer, writer, reader := newThread(t, q), newThread(t, p), newThread(t, p)
		l, ep := listen(t, peer)
		x := mustCreate(t, writer)
		ok(t, writer.Connect(x, ep))
		y, _, err := peer.Accept(l, 0)
		ok(t, err)
		const size = 128 << 10 // some fifos
		wrote, got := make(chan error, 1), make(chan error, 1)
		go func() {
			for n, buf := 0, make([]byte, size); n < size; {
				m, err := writer.Write(x, buf[n:])
				if n += m; err != nil {
					wrote <- err
					return
				}
			}
			wrote <- nil
		}()
		go func() {
			buf := make([]byte, 8)
			n, err := reader.Read(x, buf)
			if err == nil && string(buf[:n]) != "an end" {
				err = syscall.EIO
			}
			got <- err
		}()
		for of(p, x) != reader.w { // and the writer has lost it
			runtime.Gosched()
		}
		for n, buf := 0, make([]byte, 4<<10); n < size; {
			m, err := peer.Read(y, buf)
			ok(t, err)
			n += m
		}
		ok(t, <-wrote)
		stop := serving(writer) // who reads may have to ask
		write(t, peer, y, "an end")
		ok(t, <-got)
		stop()
	})
}

// An owner that leaves, or closes what it is asked for, answers by that (18).
func TestOwnerLeaves(t *testing.T) {
	eachWait(t, func(t *testing.T, a *app) {
		p := newProcess(t, a)
		for i := range 30 {
			owner, asker := newThread(t, p), newThread(t, p)
			x, y := pair(t, owner, owner)
			write(t, owner, y, "left behind")
			got, done := make(chan error, 1), make(chan struct{})
			go func() {
				buf := make([]byte, 20)
				n, err := asker.Read(x, buf)
				if err == nil && string(buf[:n]) != "left behind" {
					err = syscall.EIO
				}
				answers := serving(asker)
				got <- err
				<-done
				answers()
				got <- nil
			}()
			for owner.w.asked.Load() == 0 {
				runtime.Gosched()
			}
			if i%2 == 0 {
				ok(t, owner.Exit())
				ok(t, <-got)
			} else {
				// The call begins with an answer, so the close has to ask in turn,
				// and may find the read over.
				ok(t, owner.Close(x))
				if err := <-got; err != nil && err != syscall.EBADFD && err != syscall.ENOTCONN {
					t.Fatalf("the session was closed, and who asked for it gets %v", err)
				}
				ok(t, owner.Exit())
			}
			close(done)
			ok(t, <-got)
			if i%2 == 0 {
				write(t, asker, y, "by who has it now")
				read(t, asker, x, "by who has it now")
			}
			ok(t, asker.Exit())
			p.free(t, "that")
		}
	})
}
