package tape_test

import (
	"math/rand/v2"
	"reflect"
	"syscall"
	"testing"
	"time"

	"vlsbench/core"
	_ "vlsbench/strategies"
	"vlsbench/vls"
	"vlsbench/vls/vlstest/tape"
)

func lookup(t *testing.T, name string) vls.Strategy {
	t.Helper()
	s, err := vls.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A tape is the same after it was written down.
func TestEncode(t *testing.T) {
	want := tape.Random(rand.New(rand.NewPCG(1, 2)), 1000)
	if got := tape.Decode(append(want.Encode(), 1, 2, 3)); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
}

// faulty is the strategy without locks, with one fault.
type faulty struct {
	vls.Thread
	fault string
	waits int
}

func (f *faulty) Recvfrom(h vls.Handle, p []byte, flags int) (int, vls.Endpoint, error) {
	if f.fault == "a peek takes" {
		flags &^= core.MSG_PEEK
	}
	return f.Thread.Recvfrom(h, p, flags)
}

func (f *faulty) Read(h vls.Handle, p []byte) (int, error) {
	n, err := f.Thread.Read(h, p)
	switch {
	case f.fault == "a reset is no connection" && err == syscall.ECONNRESET:
		err = syscall.ENOTCONN
	case f.fault == "a byte is wrong" && n > 50:
		p[n/2]++
	case f.fault == "nothing is an end" && err == syscall.EAGAIN:
		err = nil
	}
	return n, err
}

func (f *faulty) EpollWait(h vls.Handle, evs []vls.EpollEvent, timeout time.Duration) (int, error) {
	n, err := f.Thread.EpollWait(h, evs, timeout)
	if f.waits++; f.fault == "a report is lost" && n > 0 && f.waits%8 == 0 {
		n--
	}
	return n, err
}

func (f *faulty) Close(h vls.Handle) error {
	if f.waits++; f.fault == "a close does nothing" && f.waits%8 == 0 {
		return nil
	}
	return f.Thread.Close(h)
}

type faultyApp struct {
	vls.App
	fault string
}

func (a faultyApp) NewProcess() (vls.Process, error) {
	p, err := a.App.NewProcess()
	return faultyProcess{p, a.fault}, err
}

type faultyProcess struct {
	vls.Process
	fault string
}

func (p faultyProcess) NewThread() vls.Thread {
	return &faulty{Thread: p.Process.NewThread(), fault: p.fault}
}

// Faults are found, within as many operations as a test plays, and the tape that
// shows one is short.
func TestFindsFaults(t *testing.T) {
	null, believed := lookup(t, "null"), lookup(t, "kernel-unix")
	for _, fault := range []string{
		"a peek takes", "a reset is no connection", "a byte is wrong", "nothing is an end", "a report is lost", "a close does nothing",
	} {
		t.Run(fault, func(t *testing.T) {
			judged := null
			judged.New = func(o vls.Options) (vls.App, error) {
				app, err := null.New(o)
				return faultyApp{app, fault}, err
			}
			play := func(ops tape.Tape) error {
				_, err := tape.Compare(judged, believed, ops, tape.Options{Wait: vls.Park})
				return err
			}
			r := rand.New(rand.NewPCG(1, 2))
			for range 100 {
				ops := tape.Random(r, 100)
				if play(ops) == nil {
					continue
				}
				short, err := tape.Shorten(ops, play)
				if err == nil {
					t.Fatalf("it is not found again in\n%v", ops)
				}
				if len(short) > 25 {
					t.Errorf("%d operations are left of %d: want at most 25", len(short), len(ops))
				}
				t.Logf("%d operations: %v", len(short), err)
				return
			}
			t.Error("not found in 10,000 operations")
		})
	}
}
