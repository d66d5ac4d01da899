//go:build sched

package delegate

import (
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"vlsbench/core"
	"vlsbench/hw"
	"vlsbench/sched"
	"vlsbench/vls"
)

// The tests here run threads through the points of the stations, in schedules of
// the scheduler's choice. Exclusion shows in the fifos, which have points of their
// own: two writers inside one at once lose bytes, or give them twice.

// lab is a process with threads, of which the first has made a connection within
// it. All is non-blocking, since the core's waits are none of the scheduler's.
type lab struct {
	r    *sched.Run
	a    *app
	p    *process
	ths  []*thread
	x, y vls.Handle
}

func newLab(r *sched.Run, threads int) *lab {
	l := &lab{r: r}
	va, err := New(vls.Options{Config: core.Config{SegmentSize: 1 << 20, RxFifoSize: 4 << 10, TxFifoSize: 4 << 10, EventQueueSize: 64}})
	l.no(err)
	l.a = va.(*app)
	vp, err := va.NewProcess()
	l.no(err)
	l.p = vp.(*process)
	for range threads {
		t := l.p.newThread()
		l.no(t.Register())
		l.ths = append(l.ths, t)
	}
	t := l.ths[0]
	ep := netip.MustParseAddrPort("127.0.0.1:80")
	ln := l.created(t)
	l.no(t.Bind(ln, ep))
	l.no(t.Listen(ln, 1))
	l.x = l.created(t)
	if err := t.Connect(l.x, ep); err != syscall.EINPROGRESS {
		l.no(err)
	}
	l.y, _, err = t.Accept(ln, syscall.O_NONBLOCK)
	l.no(err)
	l.no(t.Close(ln))
	return l
}

// no fails the run with an error that there must not be.
func (l *lab) no(err error) {
	if err != nil {
		l.r.Fatalf("%v", err)
	}
}

func (l *lab) created(t *thread) vls.Handle {
	h, err := t.Create(vls.TCP, true)
	l.no(err)
	return h
}

// bytes are what a thread writes: its number and a count.
func (l *lab) write(t *thread, i, n int) {
	if got, err := t.Write(l.x, []byte{byte(i<<4 | n)}); got != 1 || err != nil {
		l.r.Fatalf("write: %d, %v", got, err)
	}
}

// arrived checks that each of so many threads' bytes came, in order.
func (l *lab) arrived(t *thread, threads, each int) {
	buf := make([]byte, 64)
	n, err := t.Read(l.y, buf)
	if err != nil && err != syscall.EWOULDBLOCK {
		l.r.Errorf("read: %v", err)
		return
	}
	next := make([]int, threads)
	for _, b := range buf[:n] {
		i := int(b >> 4)
		if i >= threads || int(b&15) != next[i] {
			l.r.Errorf("out of order, or lost: % x", buf[:n])
			return
		}
		next[i]++
	}
	if n != threads*each {
		l.r.Errorf("%d bytes of %d came: % x", n, threads*each, buf[:n])
	}
}

func (l *lab) quietAt(st *station) {
	if w := st.word.Load(); w != nil && w != biased || st.mark != 0 {
		l.r.Errorf("everybody has left, and a station is held, or has something posted")
	}
}

// quiet checks that nothing is left of anything, and ends the lab.
func (l *lab) quiet() {
	l.quietAt(&l.p.main)
	for _, t := range l.ths {
		l.quietAt(&t.st)
	}
	l.no(l.p.Exit())
	if u := l.a.Usage(); u.Sessions != 0 {
		l.r.Errorf("%d sessions are left", u.Sessions)
	}
	l.no(l.a.Close())
}

// low makes the bounds so low that the schedules come to them, and that of a guest
// as told.
func low(t *testing.T, guest int) {
	m, c, s := most, calm, stays
	most, calm, stays = 1, 2, guest
	t.Cleanup(func() { most, calm, stays = m, c, s })
}

// writers are threads that write to the first one's session.
func writers(threads, each int) func(*sched.Run) {
	return func(r *sched.Run) {
		l := newLab(r, threads)
		for i, t := range l.ths {
			r.Go(fmt.Sprint("thread", i), func() {
				for n := range each {
					l.write(t, i, n)
				}
			})
		}
		r.Check(func() {
			l.arrived(l.ths[0], threads, each)
			l.quiet()
		})
	}
}

func TestSchedulesOfPosts(t *testing.T) {
	for _, n := range []int{2, 3, 4} {
		rep := sched.Explore(t, sched.Options{Schedules: 400}, writers(n, 2))
		t.Logf("%d threads: %d schedules, the longest of %d steps", n, rep.Schedules, rep.Longest)
	}
	low(t, 2)
	sched.Explore(t, sched.Options{Schedules: 400}, writers(3, 3))
}

// The session belongs to whoever used it last.
func TestSchedulesOfMoves(t *testing.T) {
	low(t, 1)
	sched.Explore(t, sched.Options{Schedules: 600}, writers(3, 3))
}

// A session is closed while others use it: they find it whole, or not at all.
func TestSchedulesOfClose(t *testing.T) {
	sched.Explore(t, sched.Options{Schedules: 600}, func(r *sched.Run) {
		l := newLab(r, 3)
		var wrote, stale int
		for i, t := range l.ths[:2] {
			r.Go(fmt.Sprint("thread", i), func() {
				for range 2 {
					switch n, err := t.Write(l.x, []byte{1}); {
					case n == 1 && err == nil:
						wrote++
					case err == syscall.EBADFD:
						stale++
					default:
						r.Fatalf("write: %d, %v", n, err)
					}
				}
			})
		}
		r.Go("closer", func() {
			l.no(l.ths[2].Close(l.x))
			if _, err := l.ths[2].Write(l.x, []byte{1}); err != syscall.EBADFD {
				r.Fatalf("write to what was closed: %v", err)
			}
			// In its place.
			if h := l.created(l.ths[2]); h == l.x {
				r.Fatalf("a handle was given out twice")
			}
		})
		r.Check(func() {
			buf := make([]byte, 8)
			n, err := l.ths[0].Read(l.y, buf)
			l.no(err)
			if n != wrote || wrote+stale != 4 {
				r.Errorf("%d bytes came, %d were written, %d were refused", n, wrote, stale)
			}
			l.quiet()
		})
	})
}

// An owner exits while others use its session, which is theirs from then on.
func TestSchedulesOfExit(t *testing.T) {
	sched.Explore(t, sched.Options{Schedules: 600}, func(r *sched.Run) {
		l := newLab(r, 3)
		r.Go("owner", func() {
			l.write(l.ths[0], 0, 0)
			l.write(l.ths[0], 0, 1)
			l.no(l.ths[0].Exit())
		})
		for i, t := range l.ths[1:] {
			r.Go(fmt.Sprint("thread", i+1), func() {
				l.write(t, i+1, 0)
				l.write(t, i+1, 1)
			})
		}
		r.Check(func() {
			l.arrived(l.ths[1], 3, 2)
			if at := l.p.find(core.Handle(l.y).Index()).at.Load(); at != &l.ths[1].st {
				r.Errorf("a session whose owner has exited is not whose who used it then")
			}
			l.quiet()
		})
	})
}

// Sessions are made, put into a set and closed by all at once.
func TestSchedulesOfPool(t *testing.T) {
	low(t, 2)
	sched.Explore(t, sched.Options{Schedules: 600}, func(r *sched.Run) {
		l := newLab(r, 3)
		set, err := l.ths[1].EpollCreate()
		l.no(err)
		for i, t := range l.ths {
			r.Go(fmt.Sprint("thread", i), func() {
				h := l.created(t)
				ev := vls.EpollEvent{Events: core.EPOLLIN, Data: uint64(i)}
				l.no(t.EpollCtl(set, core.EPOLL_CTL_ADD, h, &ev))
				if _, err := t.EpollWait(set, make([]vls.EpollEvent, 4), 0); err != nil {
					r.Fatalf("wait: %v", err)
				}
				l.no(t.Close(h))
			})
		}
		r.Check(func() {
			if u := l.a.Usage(); u.Sessions != 3 {
				r.Errorf("%d sessions are left of 3", u.Sessions)
			}
			l.quiet()
		})
	})
}

// A fork comes between the operations of all, and what it shares has one station.
func TestSchedulesOfFork(t *testing.T) {
	sched.Explore(t, sched.Options{Schedules: 400}, func(r *sched.Run) {
		l := newLab(r, 2)
		var child *process
		for i, t := range l.ths {
			r.Go(fmt.Sprint("thread", i), func() {
				l.write(t, i, 0)
				l.write(t, i, 1)
			})
		}
		r.Go("fork", func() {
			p, err := l.p.Fork()
			l.no(err)
			child = p.(*process)
			t := child.newThread()
			l.write(t, 2, 0)
			l.write(t, 2, 1)
			l.no(t.Exit())
		})
		r.Check(func() {
			l.arrived(l.ths[0], 3, 2)
			l.no(child.Exit())
			l.quiet()
		})
	})
}

// A thread stopped for ever at any point, whatever it was doing, keeps nobody
// from reading and writing at stations that it is not in.
func TestSchedulesOfStopped(t *testing.T) {
	body := func(r *sched.Run) {
		l := newLab(r, 3)
		// A connection of the third's own.
		own := &lab{r: r, a: l.a, p: l.p, ths: l.ths[2:]}
		t, ep := l.ths[2], netip.MustParseAddrPort("127.0.0.1:81")
		ln := l.created(t)
		l.no(t.Bind(ln, ep))
		l.no(t.Listen(ln, 1))
		own.x = l.created(t)
		if err := t.Connect(own.x, ep); err != syscall.EINPROGRESS {
			l.no(err)
		}
		var err error
		own.y, _, err = t.Accept(ln, syscall.O_NONBLOCK)
		l.no(err)
		r.Go("owner", func() {
			l.write(l.ths[0], 0, 0)
			l.no(l.ths[0].Close(l.created(l.ths[0])))
		})
		r.Go("other", func() {
			l.write(l.ths[1], 1, 0)
			h, err := l.ths[1].EpollCreate()
			l.no(err)
			l.no(l.ths[1].Close(h))
		})
		r.Go("apart", func() {
			own.write(t, 0, 0)
			own.write(t, 0, 1)
			own.arrived(t, 1, 2)
		})
		r.Check(func() { l.a.Close() })
	}
	rep := sched.Explore(t, sched.Options{Schedules: 300}, body)
	n := 0
	for _, v := range rep.Visited {
		if v.Thread != "apart" {
			n++
			v.Visit = 1
			stopped(t, v, body)
		}
	}
	t.Logf("stopped at each of %d points", n)
}

// stopped explores with a thread that is stopped at a point. The other may wait
// for it for ever; the third must have ended.
func stopped(t *testing.T, at sched.Stall, body func(*sched.Run)) {
	t.Helper()
	_, f, err := sched.Search(sched.Options{Schedules: 15, Steps: 2000, Stall: []sched.Stall{at}}, body)
	switch {
	case err != nil:
		t.Fatal(err)
	case f != nil && !strings.Contains(f.Error(), "apart has ended"):
		t.Errorf("stopped: %v: %v", at, f)
	}
}

// Who is told to come and is stopped before it does is in no station: those who
// were told with it, and have to be in alone as well, come nevertheless.
func TestSchedulesOfTold(t *testing.T) {
	body := func(r *sched.Run) {
		l := newLab(r, 4)
		for i, name := range []string{"first", "told", "third", "fourth"} {
			r.Go(name, func() { l.created(l.ths[i]) })
		}
		r.Check(func() { l.a.Close() })
	}
	stalled := 0
	for visit := 1; visit <= 2; visit++ {
		rep, f, err := sched.Search(sched.Options{
			Schedules: 150,
			Stall:     []sched.Stall{{Thread: "told", Point: "station: between the look and the swap", Visit: visit}},
		}, body)
		if err != nil {
			t.Fatal(err)
		}
		if f != nil {
			t.Errorf("stopped at visit %d: %v", visit, f)
		}
		stalled += rep.Stalled
	}
	if stalled == 0 {
		t.Error("no thread was stopped")
	}
	t.Logf("%d schedules with a thread that was stopped", stalled)
}

// mixed is threads that write to the first one's session, and one that has to be
// in alone to do so, with ways of their own to come and go.
func mixed(enter func(*station, *thread, *slot) bool, leave func(*station, *thread)) func(*sched.Run) {
	return func(r *sched.Run) {
		l := newLab(r, 4)
		st := &l.ths[0].st
		for i, t := range l.ths {
			r.Go(fmt.Sprint("thread", i), func() {
				for n := range 2 {
					t.req = request{op: opWrite, h: l.x, p: []byte{byte(i<<4 | n)}}
					t.outer.alone = i == 3
					in := enter(st, t, &t.outer)
					for !in && t.outer.alone {
						in = enter(st, t, &t.outer)
					}
					if in {
						t.run(st)
						leave(st, t)
					}
				}
			})
		}
		r.Check(func() {
			l.arrived(l.ths[0], 4, 2)
			l.quiet()
		})
	}
}

// found expects the explorer to find what is wrong with a twin.
func found(t *testing.T, enter func(*station, *thread, *slot) bool, leave func(*station, *thread)) {
	t.Helper()
	_, f, err := sched.Search(sched.Options{Schedules: 10000}, mixed(enter, leave))
	if err != nil {
		t.Fatal(err)
	}
	if f == nil {
		t.Fatal("the twin was not found")
	}
	reason, _, _ := strings.Cut(f.Reason, "\n")
	t.Logf("found by schedule %d, %s: %s", f.Schedule, f.Replay, reason)
}

func TestSchedulesOfTwins(t *testing.T) {
	enter, leave := (*station).enter, (*station).leave
	marked := func(st *station, t *thread) bool {
		if st.owner == t && st.mark != 0 {
			hw.StoreRel32(&st.mark, 0)
			return true
		}
		return false
	}
	t.Run("shipped", func(t *testing.T) {
		sched.Explore(t, sched.Options{Schedules: 500}, mixed(enter, leave))
		low(t, stays)
		sched.Explore(t, sched.Options{Schedules: 500}, mixed(enter, leave))
	})
	t.Run("leaves without a look", func(t *testing.T) {
		found(t, enter, func(st *station, t *thread) {
			if marked(st, t) {
				return
			}
			did := 0
			var rest list
			st.take(&rest)
			st.serve(&rest, &did)
			sched.Point("twin: served, before it leaves")
			st.word.Store(nil)
			for x := rest.pop(); x != nil; x = rest.pop() {
				x.tell(again)
			}
		})
	})
	t.Run("forgets the rest", func(t *testing.T) {
		low(t, stays)
		found(t, enter, func(st *station, t *thread) {
			if marked(st, t) {
				return
			}
			for {
				did := 0
				var rest list
				st.take(&rest)
				st.serve(&rest, &did)
				if st.word.CompareAndSwap(held, nil) {
					if x := rest.pop(); x != nil {
						x.tell(again)
					}
					return
				}
			}
		})
	})
	t.Run("tells before it is done", func(t *testing.T) {
		found(t, enter, func(st *station, t *thread) {
			if marked(st, t) {
				return
			}
			for {
				var rest list
				st.take(&rest)
				for x := rest.pop(); x != nil; x = rest.pop() {
					if x.alone {
						x.tell(again)
						continue
					}
					x.tell(done)
					sched.Point("twin: told, before it is done")
					x.t.run(st)
				}
				if st.word.CompareAndSwap(held, nil) {
					return
				}
			}
		})
	})
	t.Run("comes in beside the owner", func(t *testing.T) {
		found(t, func(st *station, t *thread, x *slot) bool {
			if st.owner == t || !st.word.CompareAndSwap(biased, held) {
				return st.enter(t, x)
			}
			return true
		}, leave)
	})
	t.Run("posts where nobody is in", func(t *testing.T) {
		found(t, func(st *station, t *thread, x *slot) bool {
			head := st.word.Load()
			if head == nil || head == biased {
				return st.enter(t, x)
			}
			atomic.StoreUint32(&x.state, posted)
			x.next = head
			sched.Point("twin: slot written, before it is posted")
			if old := st.word.Swap(x); old == nil || old == biased {
				x.next = held
			} else {
				x.next = old
			}
			return x.await() != done && st.enter(t, x)
		}, leave)
	})
	t.Run("sleeps without a look", func(t *testing.T) {
		found(t, func(st *station, t *thread, x *slot) bool {
			head := st.word.Load()
			if head == nil || head == biased {
				return st.enter(t, x)
			}
			atomic.StoreUint32(&x.state, posted)
			x.next = head
			if !st.word.CompareAndSwap(head, x) {
				return st.enter(t, x)
			}
			sched.Point("twin: before the slot says that it sleeps")
			atomic.StoreUint32(&x.state, asleep)
			return x.await() != done && st.enter(t, x)
		}, leave)
	})
}

// All that changes whose a session is, at once: its owner exits and comes back, a
// guest stays, processes fork, and a child is killed while others do its operations
// or it does theirs, and is buried. Each byte comes once, and those of each writer
// in order.
func TestSchedulesOfChanges(t *testing.T) {
	low(t, 2)
	sched.Explore(t, sched.Options{Schedules: 600, Steps: 60000}, func(r *sched.Run) {
		l := newLab(r, 3)
		r.Go("owner", func() {
			l.write(l.ths[0], 0, 0)
			l.no(l.ths[0].Exit())
			l.write(l.ths[0], 0, 1)
		})
		r.Go("guest", func() {
			l.write(l.ths[1], 1, 0)
			l.write(l.ths[1], 1, 1)
		})
		for i, name := range []string{"forks", "forks, too"} {
			r.Go(name, func() {
				p, err := l.p.Fork()
				l.no(err)
				child := p.(*process)
				t := child.newThread()
				l.write(t, 2+i, 0)
				if i == 0 {
					l.write(t, 2, 1)
					l.no(child.Exit())
					return
				}
				grandchild, err := child.Fork()
				l.no(err)
				l.write(t, 3, 1)
				l.no(grandchild.(*process).Kill())
				l.no(child.Kill())
			})
		}
		r.Go("buries", func() {
			for range 3 {
				l.p.reap()
				sched.Point("test: between two burials")
			}
		})
		r.Check(func() {
			l.p.reap()
			l.arrived(l.ths[2], 4, 2)
			l.quiet()
		})
	})
}
