package core

import (
	"net/netip"
	"syscall"
	"testing"

	"vlsbench/fifo"
	"vlsbench/hw"
	"vlsbench/internal/litmus"
)

// found is what a thread of a round found, on lines of its own.
type found struct {
	v int
	_ [hw.FalseSharing - 8]byte
}

const looks = 8

// A pool grows by a page, and the first slot of it is published.
func TestLitmusPool(t *testing.T) {
	test := func(weak bool) litmus.Test {
		var pools [litmus.Cells]*Pool[thing]
		var got [litmus.Cells]found
		full := func() *Pool[thing] {
			p := NewPool[thing](1)
			for range pageSlots {
				p.Alloc()
			}
			return p
		}
		for c := range pools {
			pools[c] = full()
		}
		const next = 1<<32 | 1<<indexBits | pageSlots // the handle that Alloc gives
		return litmus.Test{
			Outcomes: []string{"a handle without its value", "nothing", "both"},
			Threads: []func(int){
				func(c int) {
					h, v := pools[c].Alloc()
					if !weak {
						v.handle = h
					}
					pools[c].Publish(h)
					if weak {
						for range 256 {
							pools[c].Live(0)
						}
						v.handle = h
					}
				},
				func(c int) {
					got[c].v = 1
					for range looks {
						if v := pools[c].Get(next); v != nil {
							got[c].v = 0
							if v.handle == next {
								got[c].v = 2
							}
							return
						}
					}
				},
			},
			Check: func(c int) int {
				if pools[c].Get(next) == nil {
					return 0
				}
				pools[c] = full()
				return got[c].v
			},
		}
	}
	t.Run("shipped", func(t *testing.T) { litmus.Never(t, test(false)) })
	t.Run("published first", func(t *testing.T) { litmus.Seen(t, test(true)) })
}

// Who takes a connection from a listener finds all of it.
func TestLitmusListener(t *testing.T) {
	test := func(weak bool) litmus.Test {
		var ls [litmus.Cells]*listener
		var got [litmus.Cells]found
		for c := range ls {
			ls[c] = new(listener)
			ls[c].setBacklog(1)
		}
		ends := [2]Endpoint{netip.MustParseAddrPort("127.0.0.1:1"), netip.MustParseAddrPort("[::1]:2")}
		return litmus.Test{
			Outcomes: []string{"an unfinished connection", "none", "a connection"},
			Threads: []func(int){
				func(c int) {
					x := new(conn)
					if !weak {
						x.ends = ends
					}
					ls[c].push(x, false)
					if weak {
						x.ends = ends
					}
				},
				func(c int) {
					got[c].v = 1
					for range looks {
						if x := ls[c].pop(); x != nil {
							got[c].v = 0
							if x.ends == ends {
								got[c].v = 2
							}
							return
						}
					}
				},
			},
			Check: func(c int) int {
				if got[c].v == 1 && ls[c].pop() == nil {
					return 0
				}
				return got[c].v
			},
		}
	}
	t.Run("shipped", func(t *testing.T) { litmus.Never(t, test(false)) })
	t.Run("pushed first", func(t *testing.T) { litmus.Seen(t, test(true)) })
}

// A connection that meets the close of its listener is refused or found, and not
// both. One word decides, which leaves nothing to weaken.
func TestLitmusListenerClose(t *testing.T) {
	var ls [litmus.Cells]*listener
	var left, right [litmus.Cells]found
	listen := func(c int) {
		ls[c] = new(listener)
		ls[c].setBacklog(1)
	}
	for c := range ls {
		listen(c)
	}
	litmus.Never(t, litmus.Test{
		Outcomes: []string{"forgotten, or both", "refused", "found"},
		Threads: []func(int){
			func(c int) {
				left[c].v = 0
				if !ls[c].push(new(conn), false) {
					left[c].v = 1
				}
			},
			func(c int) {
				right[c].v = 0
				for x := ls[c].close(); x != nil; x = x.next {
					right[c].v += 2
				}
			},
		},
		Check: func(c int) int {
			listen(c)
			return (left[c].v + right[c].v) % 3
		},
	})
}

// pairs is two workers of one application, and a connection between them for
// each cell: s of the first worker, a of the second.
type pairs struct {
	t      *testing.T
	t1, t2 *Thread
	ls     [litmus.Cells]*Session
	s, a   [litmus.Cells]*Session
	told   map[Handle]bool // has an event that was not asked for yet
}

// pairSize is the capacity of the fifos.
const pairSize = 4 << 10

func newPairs(t *testing.T) *pairs {
	app, err := New(Config{SegmentSize: 16 << 20, RxFifoSize: pairSize, TxFifoSize: pairSize}, Hooks{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { app.Close() })
	p := &pairs{t: t, told: make(map[Handle]bool)}
	for _, th := range []**Thread{&p.t1, &p.t2} {
		w, err := app.NewWorker()
		if err != nil {
			t.Fatal(err)
		}
		if *th, err = w.NewThread(nil); err != nil {
			t.Fatal(err)
		}
	}
	for c := range p.ls {
		if p.ls[c], err = p.t2.Create(TCP, true); err == nil {
			err = p.t2.Bind(p.ls[c], p.endpoint(c))
		}
		if err == nil {
			err = p.t2.Listen(p.ls[c], 1)
		}
		if err != nil {
			t.Fatal(err)
		}
		p.connect(c)
	}
	return p
}

func (p *pairs) endpoint(c int) Endpoint {
	return netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(1+c))
}

func (p *pairs) connect(c int) {
	s, err := p.t1.Create(TCP, true)
	if err == nil {
		err = p.t1.Connect(s, p.endpoint(c))
	}
	if err != syscall.EINPROGRESS {
		p.t.Errorf("connect: %v", err)
	}
	p.s[c] = s
}

func (p *pairs) accept(c int) *Session {
	s, err := p.t2.Accept(p.ls[c], syscall.O_NONBLOCK)
	if err != nil {
		p.t.Errorf("accept: %v", err)
	}
	return s
}

func (p *pairs) acceptAll() {
	for c := range p.ls {
		p.a[c] = p.accept(c)
	}
}

// event reports whether there was an event for a session, of whatever kind,
// since it was asked for last.
func (p *pairs) event(s *Session) bool {
	for _, th := range []*Thread{p.t1, p.t2} {
		var evs [64]fifo.Event
		for n := th.w.mq.Drain(evs[:]); n > 0; n = th.w.mq.Drain(evs[:]) {
			for _, ev := range evs[:n] {
				p.told[Handle(ev.Arg)] = true
			}
		}
	}
	was := p.told[s.Handle()]
	delete(p.told, s.Handle())
	return was
}

// A stream ends while it is accepted: either it is told to the new session, or
// that finds it when it looks first. In the twin it looks before it can be told.
func TestLitmusAccepted(t *testing.T) {
	test := func(t *testing.T, weak bool) litmus.Test {
		p := newPairs(t)
		var looked [litmus.Cells]found
		return litmus.Test{
			Outcomes: []string{"an end not heard of", "told", "found", "both"},
			Threads: []func(int){
				func(c int) {
					if err := p.t1.Shutdown(p.s[c], syscall.SHUT_WR); err != nil {
						t.Errorf("shutdown: %v", err)
					}
				},
				func(c int) {
					looked[c].v = 0
					if weak && p.s[c].conn.fifos[0].Status() != 0 {
						looked[c].v = 2
					}
					p.a[c] = p.accept(c)
					if !weak && p.a[c].rx.Status() != 0 {
						looked[c].v = 2
					}
				},
			},
			Check: func(c int) int {
				was := looked[c].v
				if p.event(p.a[c]) {
					was++
				}
				p.t1.Close(p.s[c])
				p.t2.Close(p.a[c])
				p.connect(c)
				if c == litmus.Cells-1 {
					clear(p.told) // of sessions that are gone
				}
				return was
			},
		}
	}
	t.Run("shipped", func(t *testing.T) { litmus.Never(t, test(t, false)) })
	t.Run("looked first", func(t *testing.T) { litmus.Seen(t, test(t, true)) })
}

// A write that finds no space, of a session whose set wants to know when there
// is, against a read that frees it.
func TestLitmusFull(t *testing.T) {
	test := func(t *testing.T, write func(p *pairs, c int) bool) litmus.Test {
		p := newPairs(t)
		p.acceptAll()
		set, err := p.t1.EpollCreate()
		if err != nil {
			t.Fatal(err)
		}
		full := make([]byte, pairSize)
		for _, s := range p.s {
			err := p.t1.EpollCtl(set, EPOLL_CTL_ADD, s, &EpollEvent{Events: EPOLLOUT})
			if n, _ := p.t1.Write(s, full); n != pairSize || err != nil {
				t.Fatalf("%d bytes fill a fifo, %v", n, err)
			}
			p.event(s)
		}
		var got [litmus.Cells]found
		var bufs [litmus.Cells][pairSize]byte
		return litmus.Test{
			Outcomes: []string{"never told of space", "told", "written"},
			Ready: []func(int){
				func(c int) { p.s[c].tx.MaxEnqueue() },
				func(c int) { p.a[c].rx.Wanted() },
			},
			Threads: []func(int){
				func(c int) {
					got[c].v = 0
					if write(p, c) {
						got[c].v = 2
					}
				},
				func(c int) {
					if n, err := p.t2.Read(p.a[c], bufs[c][:]); n == 0 || err != nil {
						t.Errorf("read: %d, %v", n, err)
					}
				},
			},
			Check: func(c int) int {
				was := got[c].v
				if p.event(p.s[c]) {
					was |= 1
				}
				p.s[c].tx.TakeNotify()
				p.t2.Read(p.a[c], bufs[c][:])
				p.t1.Write(p.s[c], full)
				return min(was, 2)
			},
		}
	}
	byte1 := []byte{1}
	t.Run("shipped", func(t *testing.T) {
		litmus.Never(t, test(t, func(p *pairs, c int) bool {
			n, _ := p.t1.Write(p.s[c], byte1)
			return n > 0
		}))
	})
	// What Write does, with less of a fence.
	without := func(fence func()) func(p *pairs, c int) bool {
		return func(p *pairs, c int) bool {
			s := p.s[c]
			if n, _ := s.enqueue(byte1); n > 0 {
				return true
			}
			s.flags.Or(fFull)
			s.tx.WantNotify(pairSize / 4)
			fence()
			if s.tx.MaxEnqueue() >= pairSize/4 && s.tx.TakeNotify() {
				p.t1.post(s.handle, EventTx)
			}
			return false
		}
	}
	t.Run("without", func(t *testing.T) { litmus.Seen(t, test(t, without(func() {}))) })
	t.Run("a fence on the writer's side", func(t *testing.T) { litmus.Seen(t, test(t, without(hw.Fence))) })
}

// A reader that goes to sleep, against a writer: one that would sleep has an
// event on its queue. It sleeps for no time at all.
func TestLitmusDoze(t *testing.T) {
	test := func(t *testing.T, doze func(th *Thread, over func() bool) bool) litmus.Test {
		p := newPairs(t)
		p.acceptAll()
		for _, a := range p.a {
			p.event(a)
		}
		clear(p.told)
		var seen [litmus.Cells]found
		message := make([]byte, 8)
		return litmus.Test{
			Outcomes: []string{"a wake-up lost", "told", "data seen", "both"},
			Ready: []func(int){
				func(c int) { p.s[c].tx.HasEvent() },
				func(c int) { p.a[c].rx.MaxDequeue() },
			},
			Threads: []func(int){
				func(c int) {
					if n, err := p.t1.Write(p.s[c], message); n != len(message) || err != nil {
						t.Errorf("write: %d, %v", n, err)
					}
				},
				func(c int) {
					th, a := p.t2, p.a[c]
					seen[c].v = 0
					th.enterMQ()
					th.join(a)
					a.rx.UnsetEvent()
					if doze(th, func() bool { return th.ready(a, waitRead, 1) }) {
						seen[c].v = 2
					}
					th.part()
					th.leaveMQ()
				},
			},
			Check: func(c int) int {
				var buf [64]byte
				was := seen[c].v
				if p.event(p.a[c]) {
					was++
				}
				p.t2.Read(p.a[c], buf[:])
				p.a[c].rx.SetEvent()
				return was
			},
		}
	}
	t.Run("shipped", func(t *testing.T) {
		litmus.Never(t, test(t, func(th *Thread, over func() bool) bool { return th.doze(0, over) }))
	})
	// The arming of doze, with less of a fence.
	without := func(fence func()) func(th *Thread, over func() bool) bool {
		return func(th *Thread, over func() bool) bool {
			th.w.mq.Arm()
			fence()
			defer th.w.mq.Disarm()
			return over()
		}
	}
	t.Run("without", func(t *testing.T) { litmus.Seen(t, test(t, without(func() {}))) })
	t.Run("a fence on the sleeper's side", func(t *testing.T) { litmus.Seen(t, test(t, without(hw.Fence))) })
}

// Who finds a listener in the layer's table finds all of it. The order is that
// of Go's atomics, which leaves nothing to weaken from outside.
func TestLitmusTable(t *testing.T) {
	var ys [litmus.Cells]*layer
	var got [litmus.Cells]found
	ep := netip.MustParseAddrPort("127.0.0.1:80")
	for c := range ys {
		ys[c] = new(layer)
		ys[c].init(new(App))
	}
	litmus.Never(t, litmus.Test{
		Outcomes: []string{"an unfinished listener", "none", "a listener"},
		Threads: []func(int){
			func(c int) {
				ys[c].listen(&listener{ep: ep, target: 7})
			},
			func(c int) {
				got[c].v = 1
				for range looks {
					if l := ys[c].lookup(ep); l != nil {
						got[c].v = 0
						if l.at[0].target == 7 {
							got[c].v = 2
						}
						return
					}
				}
			},
		},
		Check: func(c int) int {
			l := ys[c].lookup(ep)
			if l == nil {
				return 0
			}
			ys[c].unlisten(l.at[0])
			return got[c].v
		},
	})
}
