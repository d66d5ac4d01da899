package delegate

import (
	"errors"
	"slices"
	"syscall"

	"vlsbench/audit"
	"vlsbench/core"
	"vlsbench/hw"
	"vlsbench/sched"
	"vlsbench/vls"
)

// thread is a calling context. While an operation of it is posted the thread is
// its station's holder's: core and hooks work for it in the holder's goroutine.
type thread struct {
	order audit.Order
	vls.Unimplemented

	p  *process
	me *station // &st where the data path may enter it by itself: registered, and not counted

	core core.Thread
	c    *core.Thread // &core, nil until registered

	at     *station // that it is in itself, for an operation on a session
	back   bool     // to be entered again after a wait
	inMain bool     // in the process's station
	forMQ  bool     // for the queue alone

	req request
	fds []core.PollFD // memory for Poll

	// What others write.
	_     [hw.FalseSharing]byte
	st    station // D of its sessions
	outer slot    // at the stations of threads, and for what is done at the process's
	inner slot    // to enter the process's
}

// request is an operation: what is wanted, and what came of it.
type request struct {
	op  op
	h   vls.Handle
	p   []byte
	n   int // bytes done so far, or another answer
	err error

	num   int // flags, backlog, how, or epoll's op
	ep    vls.Endpoint
	attr  vls.Attr
	other vls.Handle // the set of an EpollCtl; the session of an Accept
	ev    *vls.EpollEvent
}

type op uint8

const (
	opRead op = iota
	opWrite
	opRecvfrom
	opSendto
	opBind
	opListen
	opConnect
	opAccept
	opShutdown
	opClose
	opAttr
	opEpollCtl
	opHandle
	opAttend
)

// errElsewhere: the session belongs to another station.
var errElsewhere = errors.New("delegate: the session belongs to another station")

func (p *process) NewThread() vls.Thread { return p.newThread() }

func (p *process) newThread() *thread {
	t := &thread{p: p}
	p.a.station(&t.st, "D", t)
	t.st.gone.Store(true)
	t.outer.t, t.inner.t = t, t
	t.inner.alone = true
	return t
}

// Register makes the thread one of its process's, and its station open.
func (t *thread) Register() error {
	if t.c != nil {
		return nil
	}
	p := t.p
	p.enlist()
	defer p.mu.Unlock()
	if err := t.attach(); err != nil {
		return err
	}
	if len(p.threads) == 0 {
		// Nobody is in any operation there who might be its owner.
		p.main.owner = t
		p.main.open()
	} else {
		p.crowded.Store(true)
	}
	p.threads = append(p.threads, t)
	t.core.Bare = !p.crowded.Load()
	t.st.gone.Store(false)
	t.st.open()
	if p.a.counters == nil {
		t.me = &t.st
	}
	return nil
}

// enlist takes mu, in a way that the scheduler sees.
func (p *process) enlist() {
	if !sched.Wait("delegate: somebody registers", p.mu.TryLock, -1) {
		p.mu.Lock()
	}
}

// attach makes the thread one of the core's.
func (t *thread) attach() error {
	if err := t.p.w.InitThread(&t.core, t); err != nil {
		return err
	}
	t.core.Defers = true
	t.c = &t.core
	return nil
}

// Exit unregisters the thread. Its sessions are for whoever uses them next.
func (t *thread) Exit() error {
	if t.c == nil {
		return nil
	}
	p := t.p
	p.enlist()
	defer p.mu.Unlock()
	p.threads = slices.DeleteFunc(p.threads, func(o *thread) bool { return o == t })
	t.st.gone.Store(true)
	t.st.word.CompareAndSwap(biased, nil)
	if p.main.owner == t {
		p.main.word.CompareAndSwap(biased, nil)
	}
	t.me = nil
	t.c.Exit()
	t.c = nil
	return nil
}

// begin registers the thread. The core may look again by itself only as long as
// nobody else is in the process.
func (t *thread) begin() error {
	if t.c == nil {
		if err := t.Register(); err != nil {
			return err
		}
	}
	if t.core.Bare && t.p.crowded.Load() {
		t.core.Bare = false
	}
	return nil
}

// do makes the operation that stands in req, by itself or by whoever is in the
// session's station, and again after each wait.
func (t *thread) do() error {
	if err := t.begin(); err != nil {
		return err
	}
	return t.finish(false)
}

// finish is do for a thread that is registered, and may have waited already.
func (t *thread) finish(waited bool) error {
	q := &t.req
	for {
		st := t.p.find(core.Handle(q.h).Index()).at.Load()
		if st == nil {
			q.err = syscall.EBADFD
		} else {
			t.doAt(st)
		}
		switch {
		case q.err == errElsewhere:
			continue
		case q.err == core.ErrWait:
			if err := t.later(); err != nil {
				return err
			}
			waited = true
			continue
		case q.err == syscall.EBADFD && waited:
			return syscall.ENOTCONN // closed meanwhile
		}
		return q.err
	}
}

// later waits for what the operation could not wait for. Nothing is held.
func (t *thread) later() error {
	t.p.reap()
	return t.c.Later()
}

// doAt has the operation done in a station.
func (t *thread) doAt(st *station) {
	// These may wait in their middle, for the session layer's thread.
	t.outer.alone = t.req.op == opListen || t.req.op == opConnect
	if !t.enter(st, &t.outer) {
		return
	}
	t.at = st
	t.run(st)
	if st = t.at; st != nil {
		t.at = nil
		t.leave(st)
	}
}

// enter and leave are the station's, noted.
func (t *thread) enter(st *station, x *slot) bool {
	t.order.Take(name, st.class)
	if st.enter(t, x) {
		return true
	}
	t.order.Give(st.class)
	return false
}

func (t *thread) leave(st *station) {
	t.order.Give(st.class)
	st.leave(t)
}

// lockMain makes the thread be in its process's station; unlockMain ends that.
func (t *thread) lockMain() {
	t.enter(&t.p.main, &t.inner)
	t.inMain = true
}

func (t *thread) unlockMain() {
	t.inMain = false
	t.leave(&t.p.main)
}

// sleep is the hook before a wait that the core makes by itself: nothing is held
// from here on.
func (t *thread) sleep() {
	if t.inMain {
		t.unlockMain()
	}
	if st := t.at; st != nil {
		t.at, t.back = nil, true
		t.leave(st)
	}
	t.p.reap()
}

// woke is the hook after such a wait: the session's station is entered again,
// wherever that is by now. False: the session was closed.
func (t *thread) woke(s *core.Session) bool {
	if !t.back {
		return true
	}
	t.back = false
	e := t.p.find(core.Handle(t.req.h).Index())
	for {
		st := e.at.Load()
		if st == nil {
			return false
		}
		t.outer.alone = true
		t.enter(st, &t.outer)
		if e.at.Load() == st {
			t.at = st
			return e.s == s
		}
		t.leave(st)
	}
}

// enterMQ is the hook before the queue is used.
func (t *thread) enterMQ() {
	if !t.inMain {
		t.lockMain()
		t.forMQ = true
	}
}

// tryMQ is asked for only in a wait, when nothing is held.
func (t *thread) tryMQ() bool {
	if !t.p.main.tryEnter(t) {
		return false
	}
	t.order.Took("DP")
	t.inMain, t.forMQ = true, true
	return true
}

func (t *thread) leaveMQ() {
	if t.forMQ {
		t.forMQ = false
		t.unlockMain()
	}
}
