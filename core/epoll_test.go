package core

import "testing"

// What comes to a member between the look that found nothing and its arming
// sends no event, since its event flag was set: it is found by the look after
// the arming. What comes after that is told.
func TestSettleLooksAgain(t *testing.T) {
	a, err := New(Config{SegmentSize: 4 << 20}, Hooks{})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	var ths [2]*Thread
	for i := range ths {
		w, err := a.NewWorker()
		if err != nil {
			t.Fatal(err)
		}
		if ths[i], err = w.NewThread(nil); err != nil {
			t.Fatal(err)
		}
	}
	x, y := connectedPair(t, ths[0], ths[1], 80)
	set, err := ths[0].EpollCreate()
	if err == nil {
		err = ths[0].EpollCtl(set, EPOLL_CTL_ADD, x, &EpollEvent{Events: EPOLLIN})
	}
	if err != nil {
		t.Fatal(err)
	}
	reports := func(want int) {
		t.Helper()
		var evs [4]EpollEvent
		if n, err := ths[0].EpollWait(set, evs[:], 0); n != want || err != nil {
			t.Fatalf("%d reports, %v; want %d", n, err, want)
		}
	}
	write := func() {
		t.Helper()
		if n, err := ths[1].Write(y, []byte("z")); n != 1 || err != nil {
			t.Fatalf("wrote %d, %v", n, err)
		}
	}
	all := func(*Session) bool { return true }
	reports(0)
	write()
	if ths[0].w.mq.Pending() {
		t.Fatal("an event was sent for a member that is looked at anyway")
	}
	set.epoll.arm(all)
	if !set.epoll.settle() {
		t.Error("what came before the arming is not found after it")
	}
	reports(1)
	if _, err := ths[0].Read(x, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	reports(0)
	set.epoll.arm(all)
	if set.epoll.settle() {
		t.Error("there is news of a member that nothing came to")
	}
	write()
	if !ths[0].w.mq.Pending() {
		t.Error("no event was sent for a member at rest")
	}
	reports(1)
}
