package original_test

import (
	"strings"
	"sync/atomic"
	"time"

	"vlsbench/vls"
)

// A watch tells a case that hangs from one that is slow, by turns and not by a
// clock. A case hangs if no call of any of its threads has returned while the
// watch had its turn patience times, a millisecond or more apart, and has worked
// in each: the machine gives whoever could go on as much as it gives the watch,
// however busy it is, or stopped. Or if it made so many calls that it will not
// end: some of its threads go round, and wait for one that hangs.
type watch struct {
	calls    atomic.Uint64
	work     uint32
	patience int
	most     uint64        // calls
	away     time.Duration // the longest between two turns
}

const (
	patience = 500     // half a second of a machine that has nothing else to do
	most     = 5 << 20 // a hundred times what any case needs that ends

	// still is how long a watch may be without a turn: then the machine stood
	// still, or the process was stopped, and what waited for a time may have found
	// it over though nothing had happened meanwhile.
	still = time.Second
)

// newWatch is one for a strategy. What asks others for its sessions waits 3 s for
// the answer, and goes on; where a case repeats what does not come about there,
// many calls take long.
func newWatch(s vls.Strategy) *watch {
	if strings.HasPrefix(s.Name, "migrate") {
		return &watch{patience: 8 * patience, most: 100_000}
	}
	return &watch{patience: patience, most: most}
}

// over waits until done, which is true, or the case hangs.
func (w *watch) over(done <-chan struct{}) bool {
	tick := time.NewTicker(time.Millisecond) // which allocates nothing meanwhile: some cases count that
	defer tick.Stop()
	turn := time.Now()
	last, quiet := w.calls.Load(), 0
	for quiet < w.patience && last < w.most {
		select {
		case <-done:
			return true
		case <-tick.C:
		}
		now := time.Now()
		w.away, turn = max(w.away, now.Sub(turn)), now
		// One that only slept would be served before those who work.
		for range 100_000 {
			w.work = w.work*1664525 + 1013904223
		}
		if n := w.calls.Load(); n != last {
			last, quiet = n, 0
		} else {
			quiet++
		}
	}
	return false
}

// strategy is s with all calls watched.
func (w *watch) strategy(s vls.Strategy) vls.Strategy {
	made := s.New
	s.New = func(o vls.Options) (vls.App, error) {
		a, err := made(o)
		if err != nil {
			return nil, err
		}
		return watchedApp{a, w}, nil
	}
	return s
}

type watchedApp struct {
	vls.App
	w *watch
}

func (a watchedApp) NewProcess() (vls.Process, error) {
	p, err := a.App.NewProcess()
	if err != nil {
		return nil, err
	}
	return watchedProcess{p.(vls.Mortal), a.w}, nil
}

type watchedProcess struct {
	vls.Mortal
	w *watch
}

func (p watchedProcess) NewThread() vls.Thread { return watchedThread{p.Mortal.NewThread(), p.w} }

func (p watchedProcess) Fork() (vls.Process, error) {
	defer p.w.calls.Add(1)
	child, err := p.Mortal.Fork()
	if err != nil {
		return nil, err
	}
	return watchedProcess{child.(vls.Mortal), p.w}, nil
}

func (p watchedProcess) Exit() error {
	defer p.w.calls.Add(1)
	return p.Mortal.Exit()
}

// watchedThread counts the calls that return; of one that waits for ever
// nothing else need be known.
type watchedThread struct {
	vls.Thread
	w *watch
}

func (t watchedThread) Register() error {
	defer t.w.calls.Add(1)
	return t.Thread.Register()
}

func (t watchedThread) Exit() error {
	defer t.w.calls.Add(1)
	return t.Thread.Exit()
}

func (t watchedThread) Create(p vls.Proto, nonblocking bool) (vls.Handle, error) {
	defer t.w.calls.Add(1)
	return t.Thread.Create(p, nonblocking)
}

func (t watchedThread) Bind(h vls.Handle, ep vls.Endpoint) error {
	defer t.w.calls.Add(1)
	return t.Thread.Bind(h, ep)
}

func (t watchedThread) Listen(h vls.Handle, backlog int) error {
	defer t.w.calls.Add(1)
	return t.Thread.Listen(h, backlog)
}

func (t watchedThread) Connect(h vls.Handle, ep vls.Endpoint) error {
	defer t.w.calls.Add(1)
	return t.Thread.Connect(h, ep)
}

func (t watchedThread) Accept(h vls.Handle, flags int) (vls.Handle, vls.Endpoint, error) {
	defer t.w.calls.Add(1)
	return t.Thread.Accept(h, flags)
}

func (t watchedThread) Read(h vls.Handle, p []byte) (int, error) {
	defer t.w.calls.Add(1)
	return t.Thread.Read(h, p)
}

func (t watchedThread) Recvfrom(h vls.Handle, p []byte, flags int) (int, vls.Endpoint, error) {
	defer t.w.calls.Add(1)
	return t.Thread.Recvfrom(h, p, flags)
}

func (t watchedThread) Write(h vls.Handle, p []byte) (int, error) {
	defer t.w.calls.Add(1)
	return t.Thread.Write(h, p)
}

func (t watchedThread) WriteMsg(h vls.Handle, p []byte) (int, error) {
	defer t.w.calls.Add(1)
	return t.Thread.WriteMsg(h, p)
}

func (t watchedThread) Sendto(h vls.Handle, p []byte, flags int, ep vls.Endpoint) (int, error) {
	defer t.w.calls.Add(1)
	return t.Thread.Sendto(h, p, flags, ep)
}

func (t watchedThread) Shutdown(h vls.Handle, how int) error {
	defer t.w.calls.Add(1)
	return t.Thread.Shutdown(h, how)
}

func (t watchedThread) Close(h vls.Handle) error {
	defer t.w.calls.Add(1)
	return t.Thread.Close(h)
}

func (t watchedThread) Attr(h vls.Handle, a vls.Attr, buf []byte) (int, error) {
	defer t.w.calls.Add(1)
	return t.Thread.Attr(h, a, buf)
}

func (t watchedThread) EpollCreate() (vls.Handle, error) {
	defer t.w.calls.Add(1)
	return t.Thread.EpollCreate()
}

func (t watchedThread) EpollCtl(ep vls.Handle, op int, h vls.Handle, ev *vls.EpollEvent) error {
	defer t.w.calls.Add(1)
	return t.Thread.EpollCtl(ep, op, h, ev)
}

func (t watchedThread) EpollWait(ep vls.Handle, evs []vls.EpollEvent, timeout time.Duration) (int, error) {
	defer t.w.calls.Add(1)
	return t.Thread.EpollWait(ep, evs, timeout)
}

func (t watchedThread) Select(read, write, except *vls.HandleSet, timeout time.Duration) (int, error) {
	defer t.w.calls.Add(1)
	return t.Thread.Select(read, write, except, timeout)
}

func (t watchedThread) Poll(fds []vls.PollFD, timeout time.Duration) (int, error) {
	if len(fds) > 0 { // else the suite looks after a thread that idles
		defer t.w.calls.Add(1)
	}
	return t.Thread.Poll(fds, timeout)
}

func (t watchedThread) SessionHandle(h vls.Handle) (vls.SessionHandle, error) {
	defer t.w.calls.Add(1)
	return t.Thread.SessionHandle(h)
}

func (t watchedThread) SessionIndex(h vls.Handle) (index, worker uint32, err error) {
	defer t.w.calls.Add(1)
	return t.Thread.SessionIndex(h)
}

func (t watchedThread) HandleOf(index uint32) (vls.Handle, error) {
	defer t.w.calls.Add(1)
	return t.Thread.HandleOf(index)
}
