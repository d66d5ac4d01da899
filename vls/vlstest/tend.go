package vlstest

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"vlsbench/vls"
)

// Where each thread has a worker of its own (MultiThreadWorkers), what a thread
// has cannot be had by another while it makes no call at all; an application
// whose threads do other things for long has to see to that. A case does not: its
// threads idle while it waits for others. So there a tender makes a call on each
// thread that is in none, now and then, which polls nothing.

// tended is a thread that the tender looks after.
type tended struct {
	vls.Thread
	mu   sync.Mutex // held in each call
	live bool       // registered, and not gone
}

// tender looks after the threads of a case.
type tender struct {
	mu      sync.Mutex // held while it makes a call
	threads []*tended
	begun   bool
	stop    atomic.Bool
}

// look is how often the tender comes by.
const look = 200 * time.Microsecond

// tend gives a thread into the tender's care, if it needs that.
func (e *env) tend(th vls.Thread) vls.Thread {
	if !th.MultiThreadWorkers() {
		return th
	}
	t := &tended{Thread: th}
	e.tender.mu.Lock()
	defer e.tender.mu.Unlock()
	e.tender.threads = append(e.tender.threads, t)
	if !e.tender.begun {
		e.tender.begun = true
		go e.tender.run()
	}
	return t
}

func (n *tender) run() {
	for !n.stop.Load() {
		n.mu.Lock()
		for _, t := range n.threads {
			if !t.mu.TryLock() {
				continue
			}
			if t.live {
				t.Thread.Poll(nil, 0)
			}
			t.mu.Unlock()
		}
		n.mu.Unlock()
		time.Sleep(look)
	}
}

// leave takes the threads of a process out of the tender's care, wherever they
// are.
func (e *env) leave(p vls.Process) {
	e.tender.mu.Lock()
	defer e.tender.mu.Unlock()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.tender.threads = slices.DeleteFunc(e.tender.threads, func(t *tended) bool { return e.procOf[t] == p })
}

func (t *tended) begin() {
	t.mu.Lock()
	t.live = true
}

func (t *tended) Exit() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.live = false
	return t.Thread.Exit()
}

func (t *tended) Register() error {
	t.begin()
	defer t.mu.Unlock()
	return t.Thread.Register()
}

func (t *tended) Create(p vls.Proto, nonblocking bool) (vls.Handle, error) {
	t.begin()
	defer t.mu.Unlock()
	return t.Thread.Create(p, nonblocking)
}

func (t *tended) Bind(h vls.Handle, ep vls.Endpoint) error {
	t.begin()
	defer t.mu.Unlock()
	return t.Thread.Bind(h, ep)
}

func (t *tended) Listen(h vls.Handle, backlog int) error {
	t.begin()
	defer t.mu.Unlock()
	return t.Thread.Listen(h, backlog)
}

func (t *tended) Connect(h vls.Handle, ep vls.Endpoint) error {
	t.begin()
	defer t.mu.Unlock()
	return t.Thread.Connect(h, ep)
}

func (t *tended) Accept(h vls.Handle, flags int) (vls.Handle, vls.Endpoint, error) {
	t.begin()
	defer t.mu.Unlock()
	return t.Thread.Accept(h, flags)
}

func (t *tended) Read(h vls.Handle, p []byte) (int, error) {
	t.begin()
	defer t.mu.Unlock()
	return t.Thread.Read(h, p)
}

func (t *tended) Recvfrom(h vls.Handle, p []byte, flags int) (int, vls.Endpoint, error) {
	t.begin()
	defer t.mu.Unlock()
	return t.Thread.Recvfrom(h, p, flags)
}

func (t *tended) Write(h vls.Handle, p []byte) (int, error) {
	t.begin()
	defer t.mu.Unlock()
	return t.Thread.Write(h, p)
}

func (t *tended) WriteMsg(h vls.Handle, p []byte) (int, error) {
	t.begin()
	defer t.mu.Unlock()
	return t.Thread.WriteMsg(h, p)
}

func (t *tended) Sendto(h vls.Handle, p []byte, flags int, ep vls.Endpoint) (int, error) {
	t.begin()
	defer t.mu.Unlock()
	return t.Thread.Sendto(h, p, flags, ep)
}

func (t *tended) Shutdown(h vls.Handle, how int) error {
	t.begin()
	defer t.mu.Unlock()
	return t.Thread.Shutdown(h, how)
}

func (t *tended) Close(h vls.Handle) error {
	t.begin()
	defer t.mu.Unlock()
	return t.Thread.Close(h)
}

func (t *tended) Attr(h vls.Handle, a vls.Attr, buf []byte) (int, error) {
	t.begin()
	defer t.mu.Unlock()
	return t.Thread.Attr(h, a, buf)
}

func (t *tended) EpollCreate() (vls.Handle, error) {
	t.begin()
	defer t.mu.Unlock()
	return t.Thread.EpollCreate()
}

func (t *tended) EpollCtl(ep vls.Handle, op int, h vls.Handle, ev *vls.EpollEvent) error {
	t.begin()
	defer t.mu.Unlock()
	return t.Thread.EpollCtl(ep, op, h, ev)
}

func (t *tended) EpollWait(ep vls.Handle, evs []vls.EpollEvent, timeout time.Duration) (int, error) {
	t.begin()
	defer t.mu.Unlock()
	return t.Thread.EpollWait(ep, evs, timeout)
}

func (t *tended) Select(read, write, except *vls.HandleSet, timeout time.Duration) (int, error) {
	t.begin()
	defer t.mu.Unlock()
	return t.Thread.Select(read, write, except, timeout)
}

func (t *tended) Poll(fds []vls.PollFD, timeout time.Duration) (int, error) {
	t.begin()
	defer t.mu.Unlock()
	return t.Thread.Poll(fds, timeout)
}

func (t *tended) SessionHandle(h vls.Handle) (vls.SessionHandle, error) {
	t.begin()
	defer t.mu.Unlock()
	return t.Thread.SessionHandle(h)
}

func (t *tended) SessionIndex(h vls.Handle) (index, worker uint32, err error) {
	t.begin()
	defer t.mu.Unlock()
	return t.Thread.SessionIndex(h)
}

func (t *tended) HandleOf(index uint32) (vls.Handle, error) {
	t.begin()
	defer t.mu.Unlock()
	return t.Thread.HandleOf(index)
}
