package core

import (
	"math"
	"syscall"
	"time"

	"vlsbench/audit"
	"vlsbench/hw"
	"vlsbench/sched"
)

// epollItem is a session's membership in a set. All of it belongs to the
// exclusion of the worker's queue.
type epollItem struct {
	set    *Session
	events uint32
	data   uint64
	off    bool // EPOLLONESHOT has fired

	next, prev *Session // members of the set
	hot        bool
	hnext      *Session // hot members
	hprev      *Session

	last uint32 // what was true when it was reported or found false last
	tail uint32 // of the rx fifo, or the listener's count, when reported last
	idle int    // waits that found nothing here
}

// epollSet is what an epoll session has beside a session. All of it belongs to
// the exclusion of the worker's queue.
//
// A member is hot while the set looks at its fifos at every wait, or cold, when
// its event flag is armed and an event makes it hot again. Data that keeps
// coming costs no event, and a wait does not look at members where nothing
// happens, however many there are.
type epollSet struct {
	members list
	hot     list

	free *ready // in place of these, where there is no exclusion
}

// list is a doubly linked list through one of an item's pairs of links.
type list struct {
	head, tail *Session
	n          int // of the hot list alone: how many members a look visits
}

func (e *epollSet) heat(s *Session) {
	i := &s.epi
	if i.hot {
		return
	}
	i.hot, i.idle = true, 0
	i.hprev, i.hnext = e.hot.tail, nil
	if e.hot.tail != nil {
		e.hot.tail.epi.hnext = s
	} else {
		e.hot.head = s
	}
	e.hot.tail = s
	e.hot.n++
}

func (e *epollSet) cool(s *Session) {
	i := &s.epi
	if !i.hot {
		return
	}
	if i.hprev != nil {
		i.hprev.epi.hnext = i.hnext
	} else {
		e.hot.head = i.hnext
	}
	if i.hnext != nil {
		i.hnext.epi.hprev = i.hprev
	} else {
		e.hot.tail = i.hprev
	}
	i.hot, i.hnext, i.hprev = false, nil, nil
	e.hot.n--
}

func (e *epollSet) add(set, s *Session) {
	i := &s.epi
	*i = epollItem{set: set, prev: e.members.tail}
	if i.prev != nil {
		i.prev.epi.next = s
	} else {
		e.members.head = s
	}
	e.members.tail = s
}

func (e *epollSet) remove(s *Session) {
	e.cool(s)
	i := &s.epi
	if i.prev != nil {
		i.prev.epi.next = i.next
	} else {
		e.members.head = i.next
	}
	if i.next != nil {
		i.next.epi.prev = i.prev
	} else {
		e.members.tail = i.prev
	}
	*i = epollItem{}
	s.flags.And(^uint32(fMember | fEpollOut | fFull))
}

// Set is the set that the session is a member of, or nil. Worker mq: exclusive.
func (s *Session) Set() *Session { return s.epi.set }

// EachMember calls f for the members of a set. Worker mq: exclusive.
func (s *Session) EachMember(f func(m *Session)) {
	for m := s.epoll.members.head; m != nil; m = m.epi.next {
		f(m)
	}
}

// clear takes all members out.
func (e *epollSet) clear() {
	for e.members.head != nil {
		e.remove(e.members.head)
	}
}

// EpollCreate makes an epoll set. ENOMEM: the pool is full. Session pool:
// exclusive.
func (t *Thread) EpollCreate() (*Session, error) {
	if t.w.app.hooks.Free {
		s, err := t.unpublished(TCP, false)
		if err != nil {
			return nil, err
		}
		s.epoll = newReady(s)
		t.w.sessions.Publish(uint64(s.handle))
		return s, nil
	}
	s, err := t.alloc(TCP, false)
	if err != nil {
		return nil, err
	}
	s.epoll = &epollSet{}
	return s, nil
}

// EpollCtl adds, modifies or deletes the interest of a set in a session; ADD
// and MOD make the next wait report what is already true. EINVAL: not a set,
// the set itself or another set as member, an unknown op, no event, MOD or DEL
// through a set that does not hold the session. EEXIST, ENOENT. Both sessions'
// control, and the epoll set: exclusive.
func (t *Thread) EpollCtl(set *Session, op int, s *Session, ev *EpollEvent) error {
	if set.epoll == nil || s.epoll != nil || ev == nil && op != EPOLL_CTL_DEL {
		return syscall.EINVAL
	}
	free := t.w.app.hooks.Free
	s.ctlAudit.Enter("session control", audit.Exclusive)
	defer s.ctlAudit.Leave(audit.Exclusive)
	if op != EPOLL_CTL_DEL {
		t.serve(s)
	}
	if free {
		return t.epollCtlFree(set.epoll.free, op, s, ev)
	}
	t.enterMQ()
	defer t.leaveMQ()
	// Who waits on the set looks at it with the queue alone.
	set.setAudit.Enter("epoll set", audit.Exclusive)
	defer set.setAudit.Leave(audit.Exclusive)
	e := set.epoll
	if sched.Enabled {
		sched.Point("core: before the members of a set change")
	}
	switch op {
	case EPOLL_CTL_ADD:
		if s.epi.set != nil {
			return syscall.EEXIST
		}
		e.add(set, s)
	case EPOLL_CTL_MOD, EPOLL_CTL_DEL:
		if s.epi.set == nil {
			return syscall.ENOENT
		}
		if s.epi.set != set {
			return syscall.EINVAL
		}
		if op == EPOLL_CTL_DEL {
			e.remove(s)
			return nil
		}
	default:
		return syscall.EINVAL
	}
	i := &s.epi
	i.events, i.data, i.off, i.last = ev.Events, ev.Data, false, 0
	s.flags.Or(fMember)
	if ev.Events&EPOLLOUT != 0 {
		s.flags.Or(fEpollOut)
	} else {
		s.flags.And(^uint32(fEpollOut))
	}
	e.heat(s)
	t.wake(set)
	return nil
}

// EpollWait reports up to len(evs) members that are ready, waiting for the
// first one for timeout, for ever if that is negative. Who was reported comes
// last at the next wait. EINVAL: not a set, or no room for events. EBADFD: the
// set was closed meanwhile. The epoll set: exclusive.
func (t *Thread) EpollWait(set *Session, evs []EpollEvent, timeout time.Duration) (int, error) {
	if set.epoll == nil || len(evs) == 0 {
		return 0, syscall.EINVAL
	}
	if t.w.app.hooks.Free {
		return t.epollWaitFree(set, evs, timeout)
	}
	t.enterMQ()
	n := t.lookAtSet(set, evs, true)
	if flags := set.flags.Load(); flags&(fMoved|fClosing) != 0 {
		t.leaveMQ()
		if flags&fMoved != 0 {
			return 0, ErrMoved // who had asked for it was answered by the look
		}
		return 0, syscall.EBADFD
	}
	waits := n == 0 && timeout != 0
	if waits {
		// Inside, or a close could come between.
		set.refs.Add(1)
		t.w.inside.Add(1)
	}
	t.leaveMQ()
	if !waits {
		return n, nil
	}
	hooks := &t.w.app.hooks
	t.waited = true
	defer t.done()
	if hooks.Sleep != nil {
		hooks.Sleep(t, set)
	}
	n = t.watchFor(&watch{set: set, evs: evs}, timeout)
	valid := hooks.Woke == nil || hooks.Woke(t, set)
	flags := set.flags.Load()
	t.w.unref(set)
	t.w.inside.Add(-1)
	switch {
	case flags&fMoved != 0:
		return 0, ErrMoved
	case !valid || flags&fClosing != 0:
		return 0, syscall.EBADFD
	}
	return n, nil
}

// watch is what a thread looks at that does not wait for one session alone: the
// members of a set, or the entries of a Poll.
type watch struct {
	set *Session // nil: of Poll
	evs []EpollEvent

	fds  []PollFD
	held []*Session // of each entry
}

// look empties the queue and finds what is ready. Worker mq: exclusive.
func (t *Thread) look(w *watch) int {
	if w.set != nil {
		return t.lookAtSet(w.set, w.evs, false)
	}
	t.drain()
	return t.lookAtEach(w.fds)
}

// lookAtSet empties the queue and collects what is ready of a set; the first
// look of a call says so. Worker mq: exclusive.
func (t *Thread) lookAtSet(set *Session, evs []EpollEvent, first bool) int {
	t.drain() // in which the set may be handed over
	set.setAudit.Enter("epoll set", audit.Exclusive)
	defer set.setAudit.Leave(audit.Exclusive)
	if set.flags.Load()&fClosing != 0 {
		return 0
	}
	if sched.Enabled {
		sched.Point("core: before the members of a set are looked at")
	}
	return set.epoll.collect(evs, first)
}

// over reports whether the set was closed.
func (w *watch) over() bool { return w.set != nil && w.set.flags.Load()&fClosing != 0 }

// arm and settle stand before and after the fence of a thread about to sleep;
// settle reports whether there is news. Worker mq: exclusive.
func (w *watch) arm() {
	if w.set != nil {
		w.set.epoll.arm(func(*Session) bool { return true })
		return
	}
	for i, s := range w.held {
		s.arm(w.fds[i].Events)
	}
}

func (w *watch) settle() bool {
	if w.set != nil {
		return w.set.epoll.settle()
	}
	for i, s := range w.held {
		if s.flags.Load()&fClosing != 0 || w.fds[i].found(s) != 0 {
			return true
		}
	}
	return false
}

// watchFor waits until a look finds something, the set is closed or the time is
// over. Nothing is held.
func (t *Thread) watchFor(w *watch, timeout time.Duration) int {
	deadline := time.Time{}
	if timeout > 0 {
		deadline = time.Now().Add(timeout)
	}
	mode := t.w.app.cfg.Wait
	if mode != Park {
		spin := time.Duration(math.MaxInt64)
		if mode == Adaptive {
			spin = spinTime
		}
		if timeout > 0 {
			spin = min(spin, timeout)
		}
		until := uint64(math.MaxUint64)
		if spin != math.MaxInt64 {
			until = hw.Cycles() + hw.NanosToCycles(spin)
		}
		for i := 1; !w.over(); i++ {
			if t.tryMQ() {
				n := t.look(w)
				t.leaveMQ()
				if n > 0 {
					return n
				}
			}
			// Between looks that shut others out of the queue it stays open for
			// a while.
			for range watchPauses {
				hw.Pause()
				if t.Bare {
					break
				}
			}
			if i%16 == 0 && hw.Cycles() > until {
				break
			}
		}
		if mode == Spin {
			return 0
		}
	}
	t.enterMQ()
	t.join(w.set)
	for _, s := range w.held {
		s.polls.Add(1)
	}
	n := 0
	for {
		if n = t.look(w); n > 0 || w.over() {
			break
		}
		left := time.Duration(-1)
		if timeout > 0 {
			if left = time.Until(deadline); left <= 0 {
				break
			}
		}
		w.arm()
		if t.doze(left, w.settle) {
			continue
		}
	}
	for _, s := range w.held {
		s.polls.Add(-1)
	}
	t.part()
	t.leaveMQ()
	return n
}

const (
	// A hot member is armed again after this many waits that found nothing at
	// it: with few hot members looking is cheaper than an event, with many the
	// looking must end soon.
	idleFew  = 32
	idleMany = 2
	few      = 16

	// watchPauses is what a spinning wait leaves between two looks.
	watchPauses = 16
)

// collect reports members that are ready.
func (e *epollSet) collect(evs []EpollEvent, first bool) int {
	n, stale := 0, 0
	many := e.hot.n > few
	s := e.hot.head
	for range e.hot.n {
		if n == len(evs) {
			break
		}
		next := s.epi.hnext
		i := &s.epi
		if k := s.look(); k.report != 0 {
			i.reported(k)
			evs[n] = EpollEvent{Events: k.report, Data: i.data}
			n++
			e.cool(s)
			if i.events&EPOLLONESHOT != 0 {
				i.off = true
			} else {
				e.heat(s)
			}
		} else if first || many {
			i.idle++
			if many && i.idle >= idleMany || i.idle >= idleFew {
				stale++
			}
		}
		s = next
	}
	if stale > 0 {
		limit := idleFew
		if many {
			limit = idleMany
		}
		e.arm(func(s *Session) bool { return s.epi.idle >= limit })
		hw.HeavyFence()
		e.settle()
	}
	return n
}

// arm arms the hot members that which chooses, and marks them to be settled.
func (e *epollSet) arm(which func(*Session) bool) {
	for s := e.hot.head; s != nil; s = s.epi.hnext {
		if !which(s) {
			s.epi.idle = 0
			continue
		}
		s.epi.idle = math.MaxInt
		s.arm(s.epi.events)
	}
}

// arm makes the other side send an event when something that is asked for
// becomes true. Who arms fences and looks again.
func (s *Session) arm(events uint32) {
	if s.flags.Load()&fDgram != 0 {
		if events&EPOLLIN != 0 {
			s.dg.event.Store(0)
		}
		return // room is always told
	}
	if st := State(s.state.Load()); st == StateClosed || st == StateListen {
		return // every event of such a session is sent
	}
	if events&(EPOLLIN|EPOLLRDHUP) != 0 {
		s.rx.UnsetEvent()
	}
	if events&EPOLLOUT != 0 && s.level()&EPOLLOUT == 0 {
		s.tx.WantNotify(s.space(s.tx.Size()))
	}
}

// settle looks again, after a fence, at the members that arm has armed. Those
// with nothing to report turn cold. True: some have.
func (e *epollSet) settle() bool {
	news := false
	for s := e.hot.head; s != nil; {
		next := s.epi.hnext
		if s.epi.idle == math.MaxInt {
			s.epi.idle = 0
			if s.look().report != 0 {
				news = true
			} else {
				e.cool(s)
			}
		}
		s = next
	}
	return news
}

// level is what is true of a session now, whether asked for or not.
func (s *Session) level() uint32 {
	flags := s.flags.Load()
	if flags&fDgram != 0 {
		return s.dgramLevel(flags)
	}
	// The state says which of the session's fields are there to be read: it is
	// stored after them.
	switch State(s.state.Load()) {
	case StateListen:
		if s.lsn.waiting() {
			return EPOLLIN
		}
		return 0
	case StateClosed:
		if flags&fDialing == 0 && s.err.Load() != 0 {
			return EPOLLOUT | EPOLLERR | EPOLLHUP
		}
		return 0
	}
	rx := s.rx.Status()
	if rx&stReset != 0 {
		return EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLERR | EPOLLHUP
	}
	var l uint32
	if rx&stEnd != 0 || flags&fRdShut != 0 {
		l |= EPOLLIN | EPOLLRDHUP
		if flags&fWrShut != 0 {
			l |= EPOLLHUP
		}
	} else if s.rx.MaxDequeue() > 0 {
		l |= EPOLLIN
	}
	if flags&fWrShut != 0 || s.tx.MaxEnqueue() >= s.space(s.tx.Size()) || s.tx.Status()&stGone != 0 {
		l |= EPOLLOUT
	}
	return l
}

// look is one look at a member.
type look struct {
	report uint32 // bits to report, 0: nothing
	level  uint32
	tail   uint32 // as it was before level
}

// look finds what there is to report of a member. Looking twice finds the same,
// unless something happened in between.
func (s *Session) look() look {
	i := &s.epi
	if i.off {
		return look{}
	}
	var k look
	switch st := State(s.state.Load()); {
	case s.flags.Load()&fDgram != 0:
		k.tail = s.dg.arrived.Load()
	case st == StateClosed:
	case st == StateListen:
		k.tail = s.lsn.pushed()
	default:
		k.tail = s.rx.Tail()
	}
	k.level = s.level()
	wanted := i.events | EPOLLERR | EPOLLHUP
	if i.events&EPOLLET == 0 {
		k.report = k.level & wanted
		return k
	}
	if k.level&EPOLLOUT != 0 && s.flags.Load()&fFull != 0 {
		// A write found it full since: space is news.
		s.flags.And(^uint32(fFull))
		i.last &^= EPOLLOUT
	}
	if k.level&EPOLLERR != 0 && s.flags.Load()&fFailed != 0 {
		// An error that was taken and came again is news.
		s.flags.And(^uint32(fFailed))
		i.last &^= EPOLLERR
	}
	risen := k.level &^ i.last
	i.last &= k.level
	if k.level&EPOLLIN != 0 && k.tail != i.tail {
		// As in Linux, and unlike VCL, what came since the report is news
		// whether or not anything was read in between.
		risen |= EPOLLIN
	}
	if risen&EPOLLRDHUP != 0 {
		risen |= EPOLLIN
	}
	if risen&wanted != 0 {
		k.report = k.level & wanted
	}
	return k
}

// reported notes that a look was reported.
func (i *epollItem) reported(k look) {
	i.last, i.tail, i.idle = k.level, k.tail, 0
}
