package delegate

import (
	"syscall"
	"time"

	"vlsbench/audit"
	"vlsbench/core"
	"vlsbench/hw"
	"vlsbench/vls"
)

// run does the operation that stands in req. Somebody is in the station, for t.
// errElsewhere: the session is not there. ErrWait: t has to wait, and then to do
// the rest.
func (t *thread) run(st *station) {
	q := &t.req
	e := t.p.find(core.Handle(q.h).Index())
	switch {
	case e.at.Load() != st:
		q.err = errElsewhere
		return
	case e.h != q.h:
		q.err = syscall.EBADFD
		return
	}
	main := st == &t.p.main
	if main {
		t.inMain = true
	}
	s, c := e.s, t.c
	q.err = nil
	switch q.op {
	case opRead:
		q.n, q.err = c.Read(s, q.p)
	case opWrite:
		var n int
		n, q.err = c.Write(s, q.p[q.n:])
		q.n += n
	case opRecvfrom:
		q.n, q.ep, q.err = c.Recvfrom(s, q.p, q.num)
	case opSendto:
		q.n, q.err = c.Sendto(s, q.p, q.num, q.ep)
	case opBind:
		q.err = c.Bind(s, q.ep)
	case opListen:
		q.err = c.Listen(s, q.num)
	case opConnect:
		q.err = c.Connect(s, q.ep)
	case opAccept:
		t.accept(s, main)
	case opShutdown:
		q.err = c.Shutdown(s, q.num)
	case opClose:
		t.close(e, main)
	case opAttr:
		q.n, q.err = c.Attr(s, q.attr, q.p)
	case opEpollCtl:
		t.epollCtl(s, main)
	case opHandle:
		q.other = vls.Handle(s.Handle())
	case opAttend:
		if s.Passive() {
			c.Attend(s)
		}
	}
	if main {
		t.inMain = false
	}
	switch {
	case q.op == opClose:
		// The entry may be another's by now.
	case st != &t.st:
		t.visited(e, st)
	case e.guest != nil:
		e.guest = nil
	}
}

// visited notes that t, as a guest, was at a session in a station. Who was there
// often and nobody else, or once where there is no owner any more, is the owner
// from here on. It is the last that is done to the session in that station.
func (t *thread) visited(e *entry, st *station) {
	// In its middle one that is in alone may have left.
	if st.shared || t.outer.alone || st == &t.p.main || e.at.Load() != st {
		return
	}
	if e.guest != t {
		e.guest, e.visits = t, 0
	}
	if e.visits++; e.visits >= stays || st.gone.Load() {
		e.guest = nil
		e.at.Store(&t.st)
	}
}

// accept is Accept of a listener that somebody is in, in main or not.
func (t *thread) accept(l *core.Session, main bool) {
	q := &t.req
	if !main {
		t.lockMain()
	}
	var s *core.Session
	if s, q.err = t.c.Accept(l, q.num); q.err == nil {
		q.ep, q.other = s.Remote(), vls.Handle(s.Handle())
		t.p.enter(s, q.other, &t.st)
	}
	if !main {
		t.unlockMain()
	}
}

// close is Close.
func (t *thread) close(e *entry, main bool) {
	if !main {
		t.lockMain()
	}
	t.req.err = t.c.Close(e.s)
	e.h, e.s, e.guest = 0, nil, nil
	e.at.Store(nil)
	if !main {
		t.unlockMain()
	}
}

// epollCtl is EpollCtl of session s and the set req.other.
func (t *thread) epollCtl(s *core.Session, main bool) {
	q := &t.req
	if !main {
		t.lockMain()
	}
	var set *core.Session
	if set, q.err = t.set(q.other); q.err == nil {
		q.err = t.c.EpollCtl(set, q.num, s, q.ev)
	}
	if !main {
		t.unlockMain()
	}
}

// set is the epoll set of a handle. EINVAL: that names a session. In main.
func (t *thread) set(h vls.Handle) (*core.Session, error) {
	e := t.p.find(core.Handle(h).Index())
	switch {
	case t.p.w.Lookup(core.Handle(h)) == nil:
		return nil, syscall.EBADFD
	case e.at.Load() != &t.p.main:
		return nil, syscall.EINVAL
	}
	return e.s, nil
}

func (t *thread) Create(p vls.Proto, nonblocking bool) (vls.Handle, error) {
	if err := t.begin(); err != nil {
		return 0, err
	}
	t.lockMain()
	s, err := t.c.Create(p, nonblocking)
	return t.made(s, err, &t.st)
}

func (t *thread) EpollCreate() (vls.Handle, error) {
	if err := t.begin(); err != nil {
		return 0, err
	}
	t.lockMain()
	s, err := t.c.EpollCreate()
	return t.made(s, err, &t.p.main)
}

// made ends the making of a session for a station, in main.
func (t *thread) made(s *core.Session, err error, at *station) (h vls.Handle, _ error) {
	if err == nil {
		h = vls.Handle(s.Handle())
		t.p.enter(s, h, at)
	}
	t.unlockMain()
	return h, err
}

func (t *thread) Bind(h vls.Handle, ep vls.Endpoint) error {
	t.req = request{op: opBind, h: h, ep: ep}
	return t.do()
}

func (t *thread) Listen(h vls.Handle, backlog int) error {
	t.req = request{op: opListen, h: h, num: backlog}
	return t.do()
}

func (t *thread) Connect(h vls.Handle, ep vls.Endpoint) error {
	t.req = request{op: opConnect, h: h, ep: ep}
	return t.do()
}

func (t *thread) Accept(h vls.Handle, flags int) (vls.Handle, vls.Endpoint, error) {
	t.req = request{op: opAccept, h: h, num: flags}
	if err := t.do(); err != nil {
		return 0, vls.Endpoint{}, err
	}
	return t.req.other, t.req.ep, nil
}

// noted is whether stations are noted.
const noted = audit.Enabled

func (t *thread) Read(h vls.Handle, p []byte) (int, error) {
	// Its own, which nobody else has asked for: as enter, run and leave.
	waits := false
	if st := t.me; st != nil && st.mark1() {
		if e := t.p.find(core.Handle(h).Index()); e.at.Load() == st && e.h == h {
			if noted {
				t.order.Took("D")
			}
			if e.guest != nil {
				e.guest = nil
			}
			n, err := t.core.Read(e.s, p)
			if noted {
				t.order.Give("D")
			}
			hw.StoreRel32(&st.mark, 0)
			if err != core.ErrWait {
				return n, err
			}
			waits = true
		} else {
			hw.StoreRel32(&st.mark, 0)
		}
	}
	return t.readMore(h, p, waits)
}

// readMore reads from a session that is not at hand, or has to be waited for.
func (t *thread) readMore(h vls.Handle, p []byte, waits bool) (int, error) {
	t.req = request{op: opRead, h: h, p: p}
	err := t.goOn(waits)
	t.req.p = nil
	if err != nil {
		return 0, err
	}
	return t.req.n, nil
}

// goOn is do, after a wait if the operation has begun with one.
func (t *thread) goOn(waits bool) error {
	if !waits {
		return t.do()
	}
	if err := t.later(); err != nil {
		return err
	}
	if err := t.begin(); err != nil {
		return err
	}
	return t.finish(true)
}

func (t *thread) Write(h vls.Handle, p []byte) (int, error) {
	n, waits := 0, false
	if st := t.me; st != nil && st.mark1() {
		if e := t.p.find(core.Handle(h).Index()); e.at.Load() == st && e.h == h {
			if noted {
				t.order.Took("D")
			}
			if e.guest != nil {
				e.guest = nil
			}
			var err error
			n, err = t.core.Write(e.s, p)
			if noted {
				t.order.Give("D")
			}
			hw.StoreRel32(&st.mark, 0)
			if err != core.ErrWait {
				return n, err
			}
			waits = true
		} else {
			hw.StoreRel32(&st.mark, 0)
		}
	}
	return t.writeMore(h, p, n, waits)
}

// writeMore writes what comes after n.
func (t *thread) writeMore(h vls.Handle, p []byte, n int, waits bool) (int, error) {
	t.req = request{op: opWrite, h: h, p: p, n: n}
	err := t.goOn(waits)
	t.req.p = nil
	if t.req.n > 0 {
		return t.req.n, nil
	}
	return 0, err
}

// WriteMsg is Write: a cut-through session tells its reader at once anyway.
func (t *thread) WriteMsg(h vls.Handle, p []byte) (int, error) { return t.Write(h, p) }

func (t *thread) Recvfrom(h vls.Handle, p []byte, flags int) (int, vls.Endpoint, error) {
	t.req = request{op: opRecvfrom, h: h, p: p, num: flags}
	err := t.do()
	t.req.p = nil
	if err != nil {
		return 0, vls.Endpoint{}, err
	}
	return t.req.n, t.req.ep, nil
}

func (t *thread) Sendto(h vls.Handle, p []byte, flags int, ep vls.Endpoint) (int, error) {
	if flags == 0 && ep == (vls.Endpoint{}) {
		return t.Write(h, p)
	}
	t.req = request{op: opSendto, h: h, p: p, num: flags, ep: ep}
	err := t.do()
	t.req.p = nil
	if err != nil {
		return 0, err
	}
	return t.req.n, nil
}

func (t *thread) Shutdown(h vls.Handle, how int) error {
	t.req = request{op: opShutdown, h: h, num: how}
	return t.do()
}

func (t *thread) Close(h vls.Handle) error {
	t.req = request{op: opClose, h: h}
	return t.do()
}

func (t *thread) Attr(h vls.Handle, a vls.Attr, buf []byte) (int, error) {
	t.req = request{op: opAttr, h: h, attr: a, p: buf}
	err := t.do()
	t.req.p = nil
	return t.req.n, err
}

func (t *thread) EpollCtl(ep vls.Handle, op int, h vls.Handle, ev *vls.EpollEvent) error {
	t.req = request{op: opEpollCtl, h: h, other: ep, num: op, ev: ev}
	err := t.do()
	t.req.ev = nil
	return err
}

func (t *thread) EpollWait(ep vls.Handle, evs []vls.EpollEvent, timeout time.Duration) (int, error) {
	if err := t.begin(); err != nil {
		return 0, err
	}
	n := 0
	t.lockMain()
	set, err := t.set(ep)
	if err == nil {
		n, err = t.c.EpollWait(set, evs, timeout)
	}
	if t.inMain {
		t.unlockMain()
	}
	return n, err
}

func (t *thread) Select(read, write, except *vls.HandleSet, timeout time.Duration) (int, error) {
	return vls.SelectBy(t.poll, read, write, except, timeout)
}

func (t *thread) Poll(fds []vls.PollFD, timeout time.Duration) (int, error) {
	return vls.PollBy(t.poll, &t.fds, fds, timeout)
}

func (t *thread) poll(fds []core.PollFD, timeout time.Duration) (int, error) {
	if err := t.begin(); err != nil {
		return 0, err
	}
	if t.p.w.Forked() {
		for i := range fds {
			// An entry that names no session is Poll's to find.
			t.req = request{op: opAttend, h: vls.Handle(fds[i].Handle)}
			t.do()
		}
	}
	return t.c.Poll(fds, timeout)
}

func (t *thread) SessionHandle(h vls.Handle) (vls.SessionHandle, error) {
	t.req = request{op: opHandle, h: h}
	if err := t.do(); err != nil {
		return 0, err
	}
	return vls.SessionHandle(t.req.other), nil
}

func (t *thread) SessionIndex(h vls.Handle) (index, worker uint32, err error) {
	sh, err := t.SessionHandle(h)
	return sh.Index(), sh.Worker(), err
}

func (t *thread) HandleOf(index uint32) (vls.Handle, error) {
	if err := t.begin(); err != nil {
		return 0, err
	}
	t.lockMain()
	h := t.p.w.Live(index)
	t.unlockMain()
	if h == 0 {
		return 0, syscall.EBADFD
	}
	return vls.Handle(h), nil
}
