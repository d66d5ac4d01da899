package core

import (
	"net/netip"
	"testing"

	"vlsbench/hw"
	"vlsbench/internal/litmus"
)

// Where the queue has no exclusion: a thread that is about to sleep on a session,
// or in a poll, or that finds a member of its set idle, against a writer. Either it
// finds the data, or the writer tells. It does not sleep here, and that the writer
// has told shows in the session's set.

// freePairs is a connection for each cell, between two workers that have no
// exclusion, of which the second has its end in a set of its own.
type freePairs struct {
	t      *testing.T
	t1, t2 *Thread
	x, y   [litmus.Cells]*Session
	set    [litmus.Cells]*ready
	news   [litmus.Cells]found // of the second thread
}

func newFreePairs(t *testing.T) *freePairs {
	app, err := New(Config{SegmentSize: 16 << 20, RxFifoSize: pairSize, TxFifoSize: pairSize}, Hooks{Free: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { app.Close() })
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	p := &freePairs{t: t}
	for _, th := range []**Thread{&p.t1, &p.t2} {
		w, err := app.NewWorker()
		must(err)
		*th, err = w.NewThread(nil)
		must(err)
	}
	// Each is born claimed, and stays so.
	l, err := p.t2.Create(TCP, true)
	must(err)
	ep := netip.MustParseAddrPort("127.0.0.1:80")
	must(p.t2.Bind(l, ep))
	must(p.t2.Listen(l, 1))
	for c := range p.x {
		p.x[c], err = p.t1.Create(TCP, false)
		must(err)
		must(p.t1.Connect(p.x[c], ep))
		p.y[c], err = p.t2.Accept(l, 0)
		must(err)
		set, err := p.t2.EpollCreate()
		must(err)
		must(p.t2.EpollCtl(set, EPOLL_CTL_ADD, p.y[c], &EpollEvent{Events: EPOLLIN}))
		p.y[c].polls.Add(1)
		p.set[c] = set.epoll.free
		p.y[c].rx.SetEvent()
		p.heat(c, false)
	}
	return p
}

// hot is whether the member is, which news makes it.
func (p *freePairs) hot(c int) bool { return uint32(p.set[c].groups.Load().word(0).Load()) != 0 }

func (p *freePairs) heat(c int, hot bool) {
	m := p.y[c].member.Load()
	m.hot.And(^uint64(1 << m.at))
	if hot {
		m.heat()
	}
}

// test has the second thread do rest, which says whether there was news, beside a
// write of the first.
func (p *freePairs) test(hot bool, rest func(c int) bool) litmus.Test {
	message := make([]byte, 8)
	for c := range p.y {
		p.heat(c, hot)
	}
	return litmus.Test{
		Outcomes: []string{"data that nobody hears of", "told", "found", "both"},
		Ready: []func(int){
			func(c int) { p.x[c].tx.HasEvent() },
			func(c int) { p.y[c].rx.MaxDequeue() },
		},
		Threads: []func(int){
			func(c int) {
				if n, err := p.t1.Write(p.x[c], message); n != len(message) || err != nil {
					p.t.Errorf("write: %d, %v", n, err)
				}
			},
			func(c int) {
				p.news[c].v = 0
				if rest(c) {
					p.news[c].v = 2
				}
			},
		},
		Check: func(c int) int {
			var buf [64]byte
			was := p.news[c].v
			if p.hot(c) {
				was |= 1
			}
			p.t2.Read(p.y[c], buf[:])
			p.y[c].rx.SetEvent()
			p.heat(c, hot)
			return was
		},
	}
}

// fences are the twins: what a thread does, with less of a fence.
func (p *freePairs) fences(t *testing.T, hot bool, arm func(c int), look func(c int) bool) {
	for name, fence := range map[string]func(){"without": func() {}, "a fence on its own side": hw.Fence} {
		t.Run(name, func(t *testing.T) {
			litmus.Seen(t, p.test(hot, func(c int) bool {
				arm(c)
				fence()
				return look(c)
			}))
		})
	}
}

func TestLitmusFreeSleep(t *testing.T) {
	p := newFreePairs(t)
	t.Run("shipped", func(t *testing.T) {
		litmus.Never(t, p.test(false, func(c int) bool { return p.t2.armed(p.y[c], waitRead, 1) }))
	})
	p.fences(t, false,
		func(c int) { p.t2.arm(p.y[c], waitRead, 1) },
		func(c int) bool { return p.t2.ready(p.y[c], waitRead, 1) })
}

func TestLitmusFreePoll(t *testing.T) {
	p := newFreePairs(t)
	var watches [litmus.Cells]*watch
	for c := range watches {
		watches[c] = &watch{fds: []PollFD{{Handle: p.y[c].handle, Events: EPOLLIN}}, held: []*Session{p.y[c]}}
	}
	t.Run("shipped", func(t *testing.T) {
		litmus.Never(t, p.test(false, func(c int) bool { return p.t2.settleFree(watches[c]) }))
	})
	p.fences(t, false,
		func(c int) { watches[c].arm() },
		func(c int) bool { return watches[c].settle() })
}

func TestLitmusFreeCool(t *testing.T) {
	p := newFreePairs(t)
	t.Run("shipped", func(t *testing.T) {
		litmus.Never(t, p.test(true, func(c int) bool { return p.set[c].cool(p.t2, 0) }))
	})
	// The word as it was before the arming.
	var words [litmus.Cells]uint64
	p.fences(t, true,
		func(c int) {
			m := p.y[c].member.Load()
			words[c] = m.hot.Load()
			p.y[c].arm(m.events)
		},
		func(c int) bool {
			m := p.y[c].member.Load()
			return m.look(false) != 0 || !m.hot.CompareAndSwap(words[c], words[c]&^(1<<m.at))
		})
}
