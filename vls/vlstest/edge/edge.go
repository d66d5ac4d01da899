//go:build sched

package edge

import (
	"fmt"
	"net/netip"
	"sync/atomic"
	"syscall"
	"testing"

	"vlsbench/audit"
	"vlsbench/core"
	"vlsbench/sched"
	"vlsbench/vls"
)

const (
	conns  = 2
	writes = 3 // to each connection
	length = 2 // of a write, more than one read takes
	total  = conns * writes * length
	tries  = 5 // of the other thread at the reader's end
)

// Explore runs so many schedules of a writer, an edge-triggered reader, and a
// thread that reads and peeks at the same end now and then: all that is written
// is read. A strategy with one thread a process has no such thread.
func Explore(t testing.TB, s vls.Strategy, schedules int) {
	t.Helper()
	audit.SetRun("strategy " + s.Name + ", edge-triggered reader")
	sched.Explore(t, sched.Options{Schedules: schedules}, func(r *sched.Run) {
		w, err := newWorld(s)
		if err != nil {
			r.Fatalf("%v", err)
		}
		r.Go("reader", func() { w.end(r, w.read) })
		r.Go("writer", func() { w.end(r, w.write) })
		if w.other != nil {
			r.Go("other", func() { w.end(r, w.meddle) })
		}
		r.Check(func() {
			if n := w.got.Load(); n != total {
				r.Errorf("%d bytes were read, %d written", n, total)
			}
			if err := w.app.Close(); err != nil {
				r.Errorf("%v", err)
			}
		})
	})
}

// world is what the threads of one schedule use.
type world struct {
	app                   vls.App
	reader, other, writer vls.Thread
	set                   vls.Handle
	x, y                  [conns]vls.Handle // the writer's ends, and the reader's
	bell, heard           vls.Handle        // who reads the last byte tells the reader by this
	got                   atomic.Int32
}

func newWorld(s vls.Strategy) (*world, error) {
	app, err := s.New(vls.Options{Config: core.Config{
		Wait: vls.Park, RxFifoSize: 4 << 10, TxFifoSize: 4 << 10, EventQueueSize: 16,
		SegmentSize: 1 << 20, MaxWorkers: 8,
	}})
	if err != nil {
		return nil, err
	}
	w := &world{app: app}
	var procs [2]vls.Process
	for i := range procs {
		if procs[i], err = app.NewProcess(); err != nil {
			return nil, err
		}
	}
	w.reader, w.writer = procs[0].NewThread(), procs[1].NewThread()
	threads := []vls.Thread{w.reader, w.writer}
	if s.MaxThreads != 1 {
		w.other = procs[0].NewThread()
		threads = append(threads, w.other)
	}
	for _, th := range threads {
		if err := th.Register(); err != nil {
			return nil, err
		}
	}
	if w.set, err = w.reader.EpollCreate(); err != nil {
		return nil, err
	}
	for i := range conns {
		if w.x[i], w.y[i], err = w.pair(w.writer, uint64(i), uint16(1000+i)); err != nil {
			return nil, err
		}
	}
	ringer := w.other
	if ringer == nil {
		ringer = w.writer
	}
	w.bell, w.heard, err = w.pair(ringer, conns, 2000)
	return w, err
}

// pair connects a thread with the reader, whose end is a member of the set.
func (w *world) pair(from vls.Thread, data uint64, port uint16) (x, y vls.Handle, err error) {
	ep := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)
	l, err := w.reader.Create(vls.TCP, false)
	if err == nil {
		err = w.reader.Bind(l, ep)
	}
	if err == nil {
		err = w.reader.Listen(l, 1)
	}
	if err == nil {
		x, err = from.Create(vls.TCP, false)
	}
	if err == nil {
		err = from.Connect(x, ep)
	}
	if err == nil {
		y, _, err = w.reader.Accept(l, syscall.O_NONBLOCK)
	}
	if err == nil {
		err = w.reader.Close(l)
	}
	if err == nil {
		err = w.reader.EpollCtl(w.set, core.EPOLL_CTL_ADD, y, &vls.EpollEvent{Events: core.EPOLLIN | core.EPOLLET, Data: data})
	}
	return x, y, err
}

// end runs what a thread does.
func (w *world) end(r *sched.Run, f func() error) {
	if err := f(); err != nil {
		r.Fatalf("%v", err)
	}
}

// read is the edge-triggered reader. It asks for one event at a time, so that
// there is more than it asks for.
func (w *world) read() error {
	evs := make([]vls.EpollEvent, 1)
	buf := make([]byte, 1)
	for w.got.Load() < total {
		if n, err := w.reader.EpollWait(w.set, evs, -1); n != 1 || err != nil {
			return fmt.Errorf("epoll_wait: %d, %w", n, err)
		}
		from := w.heard
		if i := evs[0].Data; i < conns {
			from = w.y[i]
		}
		for {
			n, err := w.reader.Read(from, buf)
			if err == syscall.EWOULDBLOCK {
				break
			}
			if n != 1 || err != nil {
				return fmt.Errorf("read: %d, %w", n, err)
			}
			if from != w.heard {
				w.got.Add(1)
			}
		}
	}
	// Where each thread has a worker of its own it leaves what it has.
	return w.reader.Exit()
}

func (w *world) write() error {
	for range writes {
		for _, x := range w.x {
			if n, err := w.writer.Write(x, make([]byte, length)); n != length || err != nil {
				return fmt.Errorf("write: %d, %w", n, err)
			}
		}
	}
	return w.writer.Exit()
}

// meddle makes the reader's ends busy. If it reads the last byte there is none
// left to be reported, so it says so.
func (w *world) meddle() error {
	buf := make([]byte, 1)
	for i := range tries {
		var n int
		var err error
		if i%3 == 2 {
			_, _, err = w.other.Recvfrom(w.y[i%conns], buf, core.MSG_PEEK)
		} else {
			n, err = w.other.Read(w.y[i%conns], buf)
		}
		if err != nil && err != syscall.EWOULDBLOCK {
			return fmt.Errorf("read beside the reader: %w", err)
		}
		if n > 0 && w.got.Add(1) == total {
			if _, err := w.other.Write(w.bell, buf); err != nil {
				return fmt.Errorf("bell: %w", err)
			}
		}
	}
	return w.other.Exit()
}
