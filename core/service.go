package core

import (
	"fmt"
	"math"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"vlsbench/audit"
	"vlsbench/fifo"
	"vlsbench/hw"
)

// service is the session layer's own thread, where it has one, as VPP's worker
// would be: who listens, who connects, and which worker gets the connection is
// decided there. What ends a stream or resets a connection stands in the fifos,
// in order with the data, and needs no thread in between.
type service struct {
	t       Thread                  // it posts as
	asked   atomic.Pointer[request] // newest first
	asleep  uint32                  // atomic, a futex: 1 while it sleeps or is about to
	end     request                 // asks it to stop
	stopped chan struct{}
}

// request is what a thread asks of the session layer: to connect, or, if lsn is
// set, to listen.
type request struct {
	state  uint32 // atomic, a futex
	next   *request
	lsn    *listener
	target Handle
	// dialer, where sessions need no exclusion, is the session that the session
	// layer's thread connects by itself. It cannot end while the request is claimed.
	dialer *Session
	local  Endpoint
	remote Endpoint
	opt    options

	conn *conn // the answers
	err  syscall.Errno
}

const (
	reqAsked     = iota
	reqClaimed   // the session layer is at it
	reqDone      // the answers are there
	reqWithdrawn // nobody wants to know any more
)

func (r *request) is(state uint32) bool { return atomic.LoadUint32(&r.state) == state }

// withdraw makes sure that nothing will come of a request. False: it is
// answered.
func (r *request) withdraw() bool {
	if atomic.CompareAndSwapUint32(&r.state, reqAsked, reqWithdrawn) {
		hw.FutexWake(&r.state, math.MaxInt32)
		return true
	}
	for r.is(reqClaimed) {
		runtime.Gosched()
	}
	return r.is(reqWithdrawn)
}

// startService starts the session layer's thread.
func (a *App) startService() error {
	y := &service{stopped: make(chan struct{})}
	if err := (&Worker{app: a}).InitThread(&y.t, nil); err != nil {
		return err
	}
	pinned := make(chan error)
	go func() {
		// The thread ends with the goroutine, and its mask with it.
		runtime.LockOSThread()
		err := hw.Pin(a.cfg.SessionCPU)
		pinned <- err
		if err == nil {
			y.run(a.cfg.Wait, a.cfg.SessionGate)
		}
		close(y.stopped)
	}()
	if err := <-pinned; err != nil {
		return fmt.Errorf("session layer's thread: cpu %d: %w", a.cfg.SessionCPU, err)
	}
	a.layer.service = y
	return nil
}

func (a *App) stopService() {
	y := a.layer.service
	if y == nil {
		return
	}
	a.layer.service = nil
	y.ask(&y.end)
	<-y.stopped
}

// ask hands a request over. Any thread.
func (y *service) ask(r *request) {
	for {
		old := y.asked.Load()
		r.next = old
		if y.asked.CompareAndSwap(old, r) {
			break
		}
	}
	if atomic.LoadUint32(&y.asleep) != 0 && atomic.CompareAndSwapUint32(&y.asleep, 1, 0) {
		hw.FutexWake(&y.asleep, 1)
	}
}

// run is the session layer's thread.
func (y *service) run(mode Wait, gate func()) {
	until := uint64(0)
	for i := 1; ; i++ {
		if y.asked.Load() == nil {
			if mode == Spin || mode == Adaptive && hw.Cycles() < until {
				hw.Pause()
				if i%1024 == 0 {
					runtime.Gosched()
				}
				continue
			}
			// Publish and test: asked and asleep are both atomics of Go, in one
			// order for all.
			atomic.StoreUint32(&y.asleep, 1)
			if y.asked.Load() == nil {
				hw.FutexWait(&y.asleep, 1, -1)
			}
			atomic.StoreUint32(&y.asleep, 0)
			continue
		}
		var oldest *request
		for r := y.asked.Swap(nil); r != nil; {
			next := r.next
			r.next = oldest
			oldest = r
			r = next
		}
		for r := oldest; r != nil; {
			next := r.next
			if r == &y.end {
				return
			}
			if gate != nil {
				gate()
			}
			y.serve(r)
			r = next
		}
		until = hw.Cycles() + hw.NanosToCycles(spinTime)
	}
}

// serve answers one request.
func (y *service) serve(r *request) {
	if !atomic.CompareAndSwapUint32(&r.state, reqAsked, reqClaimed) {
		return // withdrawn
	}
	a := y.t.w.app
	var l *listener
	if r.lsn != nil {
		if !a.layer.listen(r.lsn) {
			r.err = syscall.EADDRINUSE
		}
	} else {
		r.conn, l, r.err = a.dial(r.target, r.local, r.remote, r.opt)
	}
	if r.dialer != nil {
		r.dialer.settled(r)
	}
	target := r.target
	atomic.StoreUint32(&r.state, reqDone)
	hw.FutexWake(&r.state, math.MaxInt32)
	y.t.post(target, EventConnected)
	if l != nil {
		y.t.post(l.target, EventAccepted)
	}
}

// dial makes a connection and queues it with a listener.
func (a *App) dial(target Handle, local, remote Endpoint, opt options) (*conn, *listener, syscall.Errno) {
	at := a.layer.lookup(remote)
	if at == nil {
		return nil, nil, syscall.ECONNREFUSED
	}
	// All who listen there bring fifos of one size, or else the first's count.
	peer := at.at[0]
	c, err := a.newConn(target, local, remote, [2]uint32{max(opt.tx, peer.rx.Load()), max(peer.tx.Load(), opt.rx)})
	if err != 0 {
		return nil, nil, err
	}
	l := a.layer.offer(remote, c)
	if l == nil {
		c.unref()
		c.unref()
		return nil, nil, syscall.ECONNREFUSED
	}
	return c, l, 0
}

// connect connects a session that never was. Session control: exclusive.
func (t *Thread) connect(s *Session, ep Endpoint) error {
	a := t.w.app
	// An error of the last one would be taken for this one's.
	s.err.Store(0)
	s.others(func(o *Session) { o.err.Store(0) })
	local := s.local
	if !local.IsValid() {
		local = a.layer.ephemeral(ep.Addr())
	}
	if a.layer.service != nil {
		r := &request{target: s.handle, local: local, remote: ep, opt: s.opt}
		if a.hooks.Free && s.sh.Load() == nil {
			r.dialer = s
		}
		s.local, s.remote = local, ep
		s.dial = r
		s.flags.Or(fDialing)
		a.layer.service.ask(r)
		// A session that others share changes for all at once, under their
		// exclusion, and not when an event comes.
		if s.flags.Load()&fNonblock != 0 && s.sh.Load() == nil {
			return syscall.EINPROGRESS
		}
		if err := t.awaitAnswer(s, r); err != nil {
			return err
		}
		t.enterMQ()
		s.answered()
		t.leaveMQ()
		return t.connectOver(s, r.err)
	}
	c, l, err := a.dial(s.handle, local, ep, s.opt)
	if err == 0 {
		s.attach(c, 0)
		t.post(l.target, EventAccepted)
	}
	return t.connectOver(s, err)
}

// connectOver tells of the end of a connect.
func (t *Thread) connectOver(s *Session, err syscall.Errno) error {
	flags := s.flags.Load()
	nonblock := flags&fNonblock != 0
	if nonblock && err != 0 {
		s.fail(err)
		s.others(func(o *Session) { o.fail(err) })
	}
	s.spread()
	if nonblock || flags&(fMember|fPolled) != 0 || s.sh.Load() != nil {
		t.post(s.self(), EventConnected)
	}
	switch {
	case nonblock:
		return syscall.EINPROGRESS
	case err != 0:
		return err
	}
	return nil
}

// fail notes an error that nobody was told of.
func (s *Session) fail(err syscall.Errno) {
	s.err.Store(uint32(err))
	s.flags.Or(fFailed)
	s.edge(&s.failed, failedShift)
}

// answered makes the session what the session layer has made of its connect, if
// it has, and did not do so by itself. Worker mq: exclusive.
func (s *Session) answered() {
	if s.flags.Load()&fDialing == 0 {
		return
	}
	r := s.dial
	if r == nil || r.dialer != nil || !r.is(reqDone) {
		return
	}
	s.dial = nil
	s.settled(r)
}

// settled makes the session what came of its connect. That it failed is not seen
// before the connect is over: who is told so may connect again.
func (s *Session) settled(r *request) {
	if r.conn != nil {
		s.connected(r.conn, 0)
	} else if s.flags.Load()&fNonblock != 0 {
		s.fail(r.err)
	}
	s.flags.And(^uint32(fDialing))
}

// hangUp ends a connect or listen that is under way, of a session that is being
// closed.
func (t *Thread) hangUp(s *Session) {
	if r := s.dial; r != nil && !r.withdraw() && r.conn != nil && r.dialer == nil {
		s.connected(r.conn, 0)
	}
}

// bindListener makes a listener known to the session layer, and its session
// listen. Session control: exclusive, but not while it waits.
func (t *Thread) bindListener(s *Session, l *listener) error {
	y := &t.w.app.layer
	if y.service == nil {
		if !y.listen(l) {
			return syscall.EADDRINUSE
		}
		s.listens(l)
		return nil
	}
	r := &request{lsn: l, target: s.handle}
	s.dial = r
	s.flags.Or(fBinding)
	y.service.ask(r)
	return t.awaitListen(s, r)
}

// awaitListen waits until a listen is over, of which one or several threads want
// to know: the first that has the session again does what came of it.
func (t *Thread) awaitListen(s *Session, r *request) error {
	err := t.awaitAnswer(s, r)
	if t.lost {
		// Too late.
		if !r.withdraw() && r.err == 0 {
			t.w.app.layer.unlisten(r.lsn)
			t.refuseAll(r.lsn)
		}
		return err
	}
	if s.dial == r {
		s.dial = nil
		s.flags.And(^uint32(fBinding))
		if err == nil && r.err == 0 {
			s.listens(r.lsn)
		}
	}
	if err == nil && r.err != 0 {
		return r.err
	}
	return err
}

// awaitAnswer waits for the session layer's answer to a request. ETIMEDOUT: it
// did not come within the session timeout, and nothing will come of it.
// ENOTCONN: the session was closed meanwhile, ErrMoved: handed over, and its
// control is not the caller's any more.
func (t *Thread) awaitAnswer(s *Session, r *request) error {
	a := t.w.app
	hooks := &a.hooks
	t.waited = true
	t.w.ref(s)
	t.w.inside.Add(1)
	s.ctlAudit.Leave(audit.Exclusive)
	if hooks.Sleep != nil {
		hooks.Sleep(t, s)
	}
	deadline := time.Now().Add(a.cfg.SessionTimeout)
	spin := a.cfg.Wait != Park
	for i := 1; r.is(reqAsked) || r.is(reqClaimed); i++ {
		if spin {
			hw.Pause()
			spin = a.cfg.Wait == Spin || i%64 != 0 || time.Until(deadline) > a.cfg.SessionTimeout-spinTime
			if i%1024 != 0 {
				continue
			}
		}
		left := time.Until(deadline)
		if left <= 0 {
			break
		}
		if state := atomic.LoadUint32(&r.state); !spin && state <= reqClaimed {
			hw.FutexWait(&r.state, state, left)
		}
	}
	valid := hooks.Woke == nil || hooks.Woke(t, s)
	flags := s.flags.Load()
	t.w.unref(s)
	t.w.inside.Add(-1)
	if !valid || flags&(fClosing|fMoved) != 0 {
		t.lost = true
		if flags&fMoved != 0 {
			return ErrMoved
		}
		return syscall.ENOTCONN
	}
	s.ctlAudit.Enter("session control", audit.Exclusive)
	if !r.is(reqDone) && r.withdraw() {
		if r.lsn == nil {
			t.enterMQ()
			s.dial = nil
			s.flags.And(^uint32(fDialing))
			t.leaveMQ()
		}
		return syscall.ETIMEDOUT
	}
	return nil
}

// leaveControl leaves the session control, unless a wait has lost it.
func (t *Thread) leaveControl(s *Session) {
	if t.lost {
		t.lost = false
		return
	}
	s.ctlAudit.Leave(audit.Exclusive)
}

// newConn makes the connection of two endpoints, for the session target at the
// first, with fifos of those sizes.
func (a *App) newConn(target Handle, local, remote Endpoint, sizes [2]uint32) (*conn, syscall.Errno) {
	c := &conn{}
	for i := range c.fifos {
		f, err := fifo.New(a.seg, int(sizes[i]), a.order)
		if err != nil {
			if i == 1 {
				c.fifos[0].Free()
			}
			return nil, syscall.ENOMEM
		}
		c.fifos[i] = f
	}
	c.refs.Store(2)
	c.ends = [2]Endpoint{local, remote}
	c.target[0].Store(uint64(target))
	return c, 0
}
