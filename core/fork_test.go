package core

import (
	"syscall"
	"testing"
)

// A fork for which there is no room among what sessions share changes nothing:
// it is ENOMEM, the sessions are what they were, and the worker's index is free.
func TestForkWithFullShared(t *testing.T) {
	a, err := New(Config{SegmentSize: 4 << 20, MaxWorkers: 2}, Hooks{})
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
	x, y := connectedPair(t, th, th, 80)
	// There is room for the first of the two.
	a.shared.limit = 1
	for range 3 {
		if _, err := th.Fork(nil); err != syscall.ENOMEM {
			t.Fatalf("fork: %v, want ENOMEM", err)
		}
		if n := a.Usage().Shared; n != 0 {
			t.Errorf("%d sessions are counted as shared", n)
		}
		if x.sh.Load() != nil || y.sh.Load() != nil || w.Forked() {
			t.Error("sessions are shared, and nobody is there to share them")
		}
	}
	echo := func() {
		t.Helper()
		buf := make([]byte, 8)
		if _, err := th.Write(x, []byte("hello")); err != nil {
			t.Fatal(err)
		}
		if n, err := th.Read(y, buf); err != nil || string(buf[:n]) != "hello" {
			t.Fatalf("read %q, %v", buf[:n], err)
		}
	}
	echo()
	a.shared.limit = MaxIndex - 1
	child, err := th.Fork(nil)
	if err != nil {
		t.Fatal(err)
	}
	if n := a.Usage().Shared; n != 2 {
		t.Errorf("%d sessions are counted as shared, want 2", n)
	}
	echo()
	child.Close(th)
}
