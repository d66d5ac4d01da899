package migrate

import (
	"fmt"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"vlsbench/core"
	"vlsbench/vls"
)

// A child has what all workers of its parent have, sets with their members, what
// nobody has, and what threads of the parent fight for at that moment.
func TestForkOfWorkers(t *testing.T) {
	eachWait(t, func(t *testing.T, a *app) {
		p, q := newProcess(t, a), newProcess(t, a)
		o := newThread(t, q)
		var xs, ys, sets []vls.Handle
		for i := range 4 {
			th := newThread(t, p)
			x, y := pair(t, th, o)
			set, err := th.EpollCreate()
			ok(t, err)
			ok(t, th.EpollCtl(set, core.EPOLL_CTL_ADD, x, &vls.EpollEvent{Events: core.EPOLLIN, Data: uint64(i)}))
			xs, ys, sets = append(xs, x), append(ys, y), append(sets, set)
			if i%2 == 1 {
				ok(t, th.Exit())
			}
		}
		f, err := p.Fork()
		ok(t, err)
		child := f.(*process)
		p.free(t, "fork")
		// The child's table has the parent's handles and their indices.
		c, d := newThread(t, child), newThread(t, child)
		stop := serving(d)
		evs := make([]vls.EpollEvent, 4)
		for i := range xs {
			write(t, o, ys[i], fmt.Sprint("to ", i))
			if n, err := c.EpollWait(sets[i], evs, -1); n != 1 || err != nil || evs[0].Data != uint64(i) {
				t.Fatalf("the child's set %d reports %d, %v, %v", i, n, err, evs[0])
			}
			want(t, syscall.EEXIST, c.EpollCtl(sets[i], core.EPOLL_CTL_ADD, xs[i], &evs[0]))
			read(t, c, xs[i], fmt.Sprint("to ", i))
			write(t, c, xs[i], "back")
			read(t, o, ys[i], "back")
		}
		stop()
		child.free(t, "that")
		defer serving(d)()
		// When the parent has gone they are the child's alone.
		for len(p.threads) > 0 {
			ok(t, p.threads[0].Exit())
		}
		ok(t, p.Exit())
		for i := range xs {
			write(t, o, ys[i], "still")
			read(t, c, xs[i], "still")
			ok(t, c.Close(xs[i]))
			read(t, o, ys[i], "")
			ok(t, c.Close(sets[i]))
			ok(t, o.Close(ys[i]))
		}
		for _, th := range []*thread{c, d, o} {
			if n := th.w.core.Sessions(); n > 4 { // those that still stand on the list
				t.Errorf("%d sessions are left", n)
			}
		}
	})
}

// A fork for which there are too few workers is undone: the parent is alone with
// what it has, wherever it is.
func TestForkUndone(t *testing.T) {
	guard(t, time.Minute)
	a := attach(t, vls.Options{Config: core.Config{Wait: core.Park, MaxWorkers: 5}})
	p, q := newProcess(t, a), newProcess(t, a)
	o := newThread(t, q)
	ths := []*thread{newThread(t, p), newThread(t, p)}
	gone := newThread(t, p)
	nobodys, y0 := pair(t, gone, o)
	ok(t, gone.Exit())
	var xs, ys []vls.Handle
	for _, th := range ths {
		x, y := pair(t, th, o)
		set, err := th.EpollCreate()
		ok(t, err)
		ok(t, th.EpollCtl(set, core.EPOLL_CTL_ADD, x, &vls.EpollEvent{Events: core.EPOLLIN}))
		xs, ys = append(xs, x), append(ys, y)
	}
	spare := newProcess(t, a) // there is one left now, and two are wanted
	for range 3 {
		if _, err := p.Fork(); err != syscall.ENOMEM {
			t.Fatalf("a fork with one worker for two: %v, want ENOMEM", err)
		}
		p.free(t, "that")
	}
	for i, th := range ths {
		write(t, th, xs[i], "unharmed")
		read(t, o, ys[i], "unharmed")
	}
	ok(t, spare.Exit())
	f, err := p.Fork()
	ok(t, err)
	ok(t, f.Exit())
	// The children are gone: what is closed ends.
	for i, th := range ths {
		ok(t, th.Close(xs[i]))
		read(t, o, ys[i], "")
	}
	ok(t, ths[0].Close(nobodys))
	read(t, o, y0, "")
}

// Forks come while threads take sessions from each other. Each child has all
// sessions, and the parent's threads lose none, and no byte.
func TestForkWhileMoving(t *testing.T) {
	eachWait(t, func(t *testing.T, a *app) {
		p, q := newProcess(t, a), newProcess(t, a)
		o := newThread(t, q)
		const n = 4
		var ths [n]*thread
		var xs, ys []vls.Handle
		for i := range ths {
			ths[i] = newThread(t, p)
		}
		for i := range 2 * n {
			x, y := pair(t, ths[i%n], o)
			xs, ys = append(xs, x), append(ys, y)
		}
		set, err := ths[0].EpollCreate()
		ok(t, err)
		for _, x := range xs[n:] {
			stop := serving(ths[1])
			stop2, stop3 := serving(ths[2]), serving(ths[3])
			ok(t, ths[0].EpollCtl(set, core.EPOLL_CTL_ADD, x, &vls.EpollEvent{Events: core.EPOLLIN}))
			stop()
			stop2()
			stop3()
		}
		var over atomic.Bool
		var left atomic.Int32
		left.Store(n)
		done := make(chan int, n)
		for i, th := range ths {
			go func() {
				k := i
				for ; !over.Load(); k += 3 {
					if m, err := th.Write(xs[k%len(xs)], []byte{1}); m != 1 || err != nil {
						t.Errorf("write: %d, %v", m, err)
						break
					}
				}
				for left.Add(-1); left.Load() > 0; time.Sleep(20 * time.Microsecond) {
					idle(th)
				}
				done <- (k - i) / 3
			}()
		}
		var read atomic.Int64
		stopped := make(chan struct{})
		go func() {
			fds := make([]vls.PollFD, len(ys))
			buf := make([]byte, 1000)
			for !over.Load() {
				for i, y := range ys {
					fds[i] = vls.PollFD{Handle: y, Events: core.EPOLLIN}
				}
				if _, err := o.Poll(fds, time.Millisecond); err != nil {
					t.Error(err)
				}
				for _, fd := range fds {
					if fd.Revents != 0 {
						m, err := o.Read(fd.Handle, buf)
						if err != nil {
							t.Error(err)
						}
						read.Add(int64(m))
					}
				}
			}
			close(stopped)
		}()
		for range 30 {
			f, err := p.Fork()
			ok(t, err)
			c := newThread(t, f.(*process))
			for _, x := range append(xs, set) {
				if _, err := c.SessionHandle(x); err != nil {
					t.Fatalf("a session is missing in the child: %v", err)
				}
			}
			ok(t, c.Exit())
			ok(t, f.Exit())
		}
		over.Store(true)
		written := 0
		for range ths {
			written += <-done
		}
		<-stopped
		for _, y := range ys {
			for {
				var nread [4]byte
				_, err := o.Attr(y, core.GetNread, nread[:])
				ok(t, err)
				if nread == [4]byte{} {
					break
				}
				m, err := o.Read(y, make([]byte, 1000))
				ok(t, err)
				read.Add(int64(m))
			}
		}
		if int64(written) != read.Load() {
			t.Errorf("%d bytes were written, %d came", written, read.Load())
		}
		p.free(t, "all")
	})
}

// A process that is killed while its threads wait for sessions, for each other
// and for their owners leaves nothing behind.
func TestKillWhileMoving(t *testing.T) {
	eachWait(t, func(t *testing.T, a *app) {
		p, q := newProcess(t, a), newProcess(t, a)
		th, o := newThread(t, p), newThread(t, q)
		for range 10 {
			f, err := p.Fork()
			ok(t, err)
			child := f.(*process)
			var ths []*thread
			for range 4 {
				ths = append(ths, newThread(t, child))
			}
			x, y := pair(t, ths[0], o)
			u, v := pair(t, ths[3], o)
			stop := serving(ths[3])
			left := make(chan error, 3)
			go func() { _, err := ths[0].Read(x, make([]byte, 1)); left <- err }()
			go func() { _, err := ths[1].Read(x, make([]byte, 1)); left <- err }()
			go func() {
				_, err := ths[2].Poll([]vls.PollFD{{Handle: x, Events: core.EPOLLIN}, {Handle: u}}, -1)
				left <- err
			}()
			time.Sleep(time.Millisecond)
			stop()
			ok(t, child.Kill())
			set, err := th.EpollCreate()
			ok(t, err)
			th.EpollWait(set, make([]vls.EpollEvent, 1), 1) // reaps it
			ok(t, th.Close(set))
			for range 3 {
				if err := <-left; err != nil && err != syscall.ENOTCONN && err != syscall.EBADFD {
					t.Fatalf("a thread of a dead process leaves with %v", err)
				}
			}
			read(t, o, y, "")
			read(t, o, v, "")
			ok(t, o.Close(y))
			ok(t, o.Close(v))
			p.free(t, "that")
		}
	})
}
