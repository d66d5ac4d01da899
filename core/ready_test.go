package core

import (
	"net/netip"
	"testing"
	"time"
)

// A set of many groups, of which a look finds whatever is ready, wherever the last
// look ended, and reports in turn what is more than there is room for.
func TestReadyTurns(t *testing.T) {
	const members, room = 300, 7
	dog := time.AfterFunc(time.Minute, func() { panic("a look has no end") })
	defer dog.Stop()
	endpoint := netip.MustParseAddrPort("127.0.0.1:80")
	app, err := New(Config{SegmentSize: 64 << 20, RxFifoSize: 4096, TxFifoSize: 4096}, Hooks{Free: true})
	if err != nil {
		t.Fatal(err)
	}
	defer app.Close()
	w, err := app.NewWorker()
	if err != nil {
		t.Fatal(err)
	}
	th, err := w.NewThread(nil)
	if err != nil {
		t.Fatal(err)
	}
	set, err := th.EpollCreate()
	if err != nil {
		t.Fatal(err)
	}
	lsn, err := th.Create(TCP, false)
	if err == nil {
		err = th.Bind(lsn, endpoint)
	}
	if err == nil {
		err = th.Listen(lsn, 1)
	}
	if err != nil {
		t.Fatal(err)
	}
	peers := make([]*Session, members)
	for i := range peers {
		if peers[i], err = th.Create(TCP, false); err != nil {
			t.Fatal(err)
		}
		if err := th.Connect(peers[i], endpoint); err != nil {
			t.Fatal(err)
		}
		s, err := th.Accept(lsn, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := th.EpollCtl(set, EPOLL_CTL_ADD, s, &EpollEvent{Events: EPOLLIN, Data: uint64(i)}); err != nil {
			t.Fatal(err)
		}
	}
	evs := make([]EpollEvent, room)
	look := func() []EpollEvent {
		t.Helper()
		n, err := th.EpollWait(set, evs, 0)
		if err != nil {
			t.Fatal(err)
		}
		return evs[:n]
	}
	for range 100 { // until all are cold
		if got := look(); len(got) != 0 {
			t.Fatalf("nothing is ready, and the look finds %v", got)
		}
	}
	for _, g := range set.epoll.free.groups.Load().hot {
		for i := range g {
			if hot := uint32(g[i].Load()); hot != 0 {
				t.Fatalf("places %#x of group %d are hot", hot, i)
			}
		}
	}
	// One after the other, so that each look begins where another was found.
	for _, i := range []int{0, 299, 31, 32, 288, 255, 256, 1, 0, 0, 299, 299, 150} {
		if _, err := th.Write(peers[i], []byte("x")); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if got := look(); len(got) != 1 || got[0].Data != uint64(i) {
				t.Fatalf("member %d is ready, and the look finds %v", i, got)
			}
		}
		set.epoll.free.members(func(m *member) {
			if m.data == uint64(i) {
				th.Read(m.s, make([]byte, 1))
			}
		})
	}
	for _, p := range peers {
		if _, err := th.Write(p, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	last := make(map[uint64]int)
	for n := range 2*members/room + 1 {
		got := look()
		if len(got) != room {
			t.Fatalf("look %d finds %d", n, len(got))
		}
		for k, e := range got {
			at := n*room + k
			if was, ok := last[e.Data]; ok && at-was != members {
				t.Fatalf("member %d is reported as number %d and %d: want every %d", e.Data, was, at, members)
			}
			last[e.Data] = at
		}
	}
	if len(last) != members {
		t.Errorf("%d members were reported, want %d", len(last), members)
	}
}

// members calls f for the members of a set.
func (r *ready) members(f func(*member)) {
	for _, g := range r.groups.Load().all {
		for i := range g {
			if m := g[i].Load(); m != nil {
				f(m)
			}
		}
	}
}
