package core

import (
	"math"
	"math/bits"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"vlsbench/hw"
	"vlsbench/sched"
)

// ready is an epoll set that needs no exclusion: places for members, in groups,
// and of each group a word that says which places are hot. A place is hot while
// a wait looks at its member, or cold, when the member's event flags are armed
// and news makes it hot again.
//
// Nobody has a member to himself: who looks at one is in nobody's way, and
// an edge is reported by the one whose swap of the member's state succeeds.
type ready struct {
	of     *Session
	gen    uint64                 // of the session's use
	groups atomic.Pointer[groups] // replaced whole, and only grows
	from   atomic.Uint32          // place at which the next look begins
	hot    atomic.Uint32          // hot places that the last look met
}

// groupSize is the number of places of a group: bits of half a word.
const groupSize = 32

// groups is the groups of a set, and of each the word that says which of its
// places are hot, and above them how often one was heated, so that who cools some
// notices that there was news meanwhile. The words lie side by side: a look at
// where nothing is hot sees one line of memory for eight groups.
type groups struct {
	all []*group
	hot []*[wordsInLine]atomic.Uint64
}

const wordsInLine = 8

// word is that of a group.
func (v *groups) word(i uint) *atomic.Uint64 { return &v.hot[i/wordsInLine][i%wordsInLine] }

// next is the first place from one on that is hot, or end if none before it is.
func (v *groups) next(place, end int) int {
	if place >= end {
		return end
	}
	i, bit, last := uint(place)/groupSize, uint(place)%groupSize, uint(end-1)/groupSize
	m := uint32(v.word(i).Load()) >> bit << bit
	for m == 0 {
		if i == last {
			return end
		}
		i++
		m = uint32(v.word(i).Load())
	}
	return min(int(i)*groupSize+bits.TrailingZeros32(m), end)
}

// group is some places of a set.
type group [groupSize]atomic.Pointer[member]

// member is a session's membership in a set. It is never changed but for state
// and idle: a change makes another in the same place.
type member struct {
	set    *ready
	in     *group
	at     int            // of in
	hot    *atomic.Uint64 // in's
	s      *Session
	gen    uint64 // of the session's use
	events uint32
	data   uint64

	// state is what was reported last: the level, whether EPOLLONESHOT has
	// fired, whether the member has left, the session's counts of full writes
	// and of errors, and the position of the data.
	state atomic.Uint64
	idle  atomic.Int32 // looks that found nothing
}

const (
	stateOff    = 1 << 5
	stateGone   = 1 << 6
	fullShift   = 8
	failedShift = 20
	countMask   = 1<<12 - 1
	tailShift   = 32
)

// packLevel is the bits of a level in five bits, unpackLevel the inverse.
// EPOLLRDHUP takes the place of EPOLLPRI, which is never true.
func packLevel(l uint32) uint64 {
	return uint64(l&(EPOLLIN|EPOLLOUT|EPOLLERR|EPOLLHUP) | l/EPOLLRDHUP<<1&2)
}

func unpackLevel(st uint64) uint32 {
	return uint32(st)&(EPOLLIN|EPOLLOUT|EPOLLERR|EPOLLHUP) | uint32(st)>>1&1*EPOLLRDHUP
}

// edge counts news up that a set is to report though the level does not change,
// unless it has still to report the last such news.
func (s *Session) edge(count *atomic.Uint32, shift int) {
	if m := s.member.Load(); m != nil {
		if c := count.Load(); uint32(m.state.Load()>>shift)&countMask == c&countMask {
			count.Add(1)
		}
	}
}

func newReady(s *Session) *epollSet {
	r := &ready{of: s, gen: uint64(s.handle) >> 32}
	r.groups.Store(new(groups))
	return &epollSet{free: r}
}

// closed reports whether the set was closed. Whatever members it has then are on
// their way out.
func (r *ready) closed() bool {
	l := r.of.life.Load()
	return l>>lifeGen != r.gen || l&lifeClosing != 0
}

// epollCtlFree is EpollCtl, on a set that the caller has a pin on.
func (t *Thread) epollCtlFree(r *ready, op int, s *Session, ev *EpollEvent) error {
	if r.closed() {
		return syscall.EBADFD
	}
	old := s.member.Load()
	if old != nil && old.set.closed() {
		// Whoever is to take it out may be stopped.
		old.leave()
		old = nil
	}
	switch op {
	case EPOLL_CTL_ADD:
		if old != nil {
			return syscall.EEXIST
		}
	case EPOLL_CTL_MOD, EPOLL_CTL_DEL:
		if old == nil {
			return syscall.ENOENT
		}
		if old.set != r {
			return syscall.EINVAL
		}
		if op == EPOLL_CTL_DEL {
			old.leave()
			s.flags.And(^uint32(fMember | fEpollOut | fFull))
			return nil
		}
	default:
		return syscall.EINVAL
	}
	m := &member{set: r, s: s, gen: s.life.Load() >> lifeGen, events: ev.Events, data: ev.Data}
	m.state.Store(s.counts())
	s.flags.Or(fMember)
	if ev.Events&EPOLLOUT != 0 {
		s.flags.Or(fEpollOut)
	} else {
		s.flags.And(^uint32(fEpollOut))
	}
	if old != nil {
		m.in, m.at, m.hot = old.in, old.at, old.hot
		s.member.Store(m)
		old.state.Or(stateGone)
		if sched.Enabled {
			sched.Point("set: the old member is gone, before the new one has its place")
		}
		if !m.in[m.at].CompareAndSwap(old, m) {
			s.member.CompareAndSwap(m, nil) // the set was closed
			return syscall.EBADFD
		}
		if !m.stays() {
			return syscall.EBADFD
		}
	} else if !r.add(m) {
		return syscall.EBADFD
	}
	m.heat()
	if sched.Enabled {
		sched.Point("set: a member is hot, before who waits is woken")
	}
	t.w.wakeFree(r.of, nil)
	return nil
}

// counts is the state of a member of which nothing was reported.
func (s *Session) counts() uint64 {
	return uint64(s.full.Load()&countMask)<<fullShift | uint64(s.failed.Load()&countMask)<<failedShift
}

// add gives a new member a place and its session the member. False: the set is
// closed. All of the session is the caller's.
func (r *ready) add(m *member) bool {
	r.place(m)
	if sched.Enabled {
		sched.Point("set: a member has its place, before its session has it")
	}
	m.s.member.Store(m)
	return m.stays()
}

// stays takes a new member out again if its set is closed by now: who closes it may
// have come by its place before.
func (m *member) stays() bool {
	if sched.Enabled {
		sched.Point("set: a member, before the look whether the set is closed")
	}
	if m.set.closed() {
		m.leave()
		return false
	}
	return true
}

// place puts a member where there is room.
func (r *ready) place(m *member) {
	for {
		v := r.groups.Load()
		// Behind, where there is room as long as the set grows.
		n := len(v.all)
		for i := n - 1; i >= 0; i-- {
			g := v.all[i]
			for m.in, m.at, m.hot = g, 0, v.word(uint(i)); m.at < groupSize; m.at++ {
				if g[m.at].Load() == nil && g[m.at].CompareAndSwap(nil, m) {
					return
				}
			}
		}
		if sched.Enabled {
			sched.Point("set: between the look at the groups and their swap")
		}
		more := &groups{append(slices.Clip(v.all), new(group)), v.hot}
		if n%wordsInLine == 0 {
			more.hot = append(slices.Clip(v.hot), new([wordsInLine]atomic.Uint64))
		}
		r.groups.CompareAndSwap(v, more)
	}
}

// leave ends a membership. Any thread.
func (m *member) leave() {
	m.state.Or(stateGone)
	if sched.Enabled {
		sched.Point("set: a member is gone, before its place is empty")
	}
	m.in[m.at].CompareAndSwap(m, nil)
	m.s.member.CompareAndSwap(m, nil)
}

// close takes all members out, of a set that is closing. Who adds one meanwhile
// sees that.
func (r *ready) close() {
	for _, g := range r.groups.Load().all {
		for i := range g {
			if sched.Enabled {
				sched.Point("set: before a member of a closed set leaves")
			}
			if m := g[i].Load(); m != nil {
				m.leave()
			}
		}
	}
}

// heat makes the next look visit a member.
func (m *member) heat() {
	for {
		w := m.hot.Load()
		if sched.Enabled {
			sched.Point("set: between the look who is hot and the swap")
		}
		if m.hot.CompareAndSwap(w, (w|1<<m.at)+1<<groupSize) {
			return
		}
	}
}

// look is what there is to report of a member, 0: nothing. If it is taken
// nobody reports the same edge again.
func (m *member) look(take bool) uint32 {
	s := m.s
	if m.state.Load()&(stateOff|stateGone) != 0 || !s.pinUse(m.gen) {
		return 0
	}
	report := m.lookAt(s, take)
	s.w.Unpin(s)
	return report
}

func (m *member) lookAt(s *Session, take bool) uint32 {
	wanted := m.events | EPOLLERR | EPOLLHUP
	for {
		st := m.state.Load()
		if st&(stateOff|stateGone) != 0 {
			return 0
		}
		// Before the level: what comes in between is news once more.
		tail, counts := s.position(), s.counts()
		level := s.level()
		if sched.Enabled {
			sched.Point("set: between a look at a member and its report")
		}
		if m.events&EPOLLET == 0 {
			report := level & wanted
			if report != 0 && take && m.events&EPOLLONESHOT != 0 && !m.state.CompareAndSwap(st, st|stateOff) {
				continue
			}
			return report
		}
		last := unpackLevel(st)
		const full, failed = countMask << fullShift, countMask << failedShift
		if level&EPOLLOUT != 0 && (st^counts)&full != 0 {
			last &^= EPOLLOUT // a write found it full since: space is news
		}
		if level&EPOLLERR != 0 && (st^counts)&failed != 0 {
			last &^= EPOLLERR // an error that was taken and came again is news
		}
		risen := level &^ last
		if level&EPOLLIN != 0 && uint32(st>>tailShift) != tail {
			risen |= EPOLLIN
		}
		if risen&EPOLLRDHUP != 0 {
			risen |= EPOLLIN
		}
		if risen&wanted == 0 {
			now := st&^packLevel(math.MaxUint32) | packLevel(unpackLevel(st)&level)
			if now != st && !m.state.CompareAndSwap(st, now) {
				continue
			}
			return 0
		}
		if !take {
			return level & wanted
		}
		now := uint64(tail)<<tailShift | packLevel(level) | counts
		if level&EPOLLOUT == 0 {
			now = now&^full | st&full
		}
		if level&EPOLLERR == 0 {
			now = now&^failed | st&failed
		}
		if m.events&EPOLLONESHOT != 0 {
			now |= stateOff
		}
		if m.state.CompareAndSwap(st, now) {
			return level & wanted
		}
	}
}

// position changes when there is something new to read, or to accept, or a
// reader met a claim that has ended.
func (s *Session) position() uint32 {
	missed := s.missed.Load()
	switch st := State(s.state.Load()); {
	case s.flags.Load()&fDgram != 0:
		return missed + s.dg.arrived.Load()
	case st == StateClosed:
		return missed
	case st == StateListen:
		return missed + s.lsn.pushed()
	default:
		return missed + s.rx.Tail()
	}
}

// collect reports hot members that are ready; the first look of a call says so.
func (r *ready) collect(t *Thread, evs []EpollEvent, first bool) int {
	v := r.groups.Load()
	if len(v.all) == 0 {
		return 0
	}
	many := r.hot.Load() > few
	limit := int32(idleFew)
	if many {
		limit = idleMany
	}
	n, vain, hot := 0, 0, uint32(0)
	places := len(v.all) * groupSize
	from := int(r.from.Load())
	next, end := from, places
	for p := v.next(from, end); n < len(evs); p = v.next(p+1, end) {
		if p == end && end != from {
			end = from // and what lies before it
			p = v.next(0, end)
		}
		if p == end {
			break
		}
		hot++
		o := v.all[p/groupSize][p%groupSize].Load()
		if o == nil {
			vain++
			continue
		}
		if report := o.look(true); report != 0 {
			evs[n] = EpollEvent{Events: report, Data: o.data}
			n++
			next = p + 1
			if o.idle.Load() != 0 {
				o.idle.Store(0)
			}
		} else if (first || many) && o.idle.Add(1) >= limit {
			vain++
		}
	}
	if next != from {
		r.from.Store(uint32(next % places))
	}
	if n < len(evs) && r.hot.Load() != hot {
		r.hot.Store(hot)
	}
	if vain > 0 {
		r.cool(t, limit)
	}
	return n
}

// cool arms the hot members that so many looks have found nothing at, and those
// of them that have nothing still turn cold. True: there is news, of some or of
// others.
func (r *ready) cool(t *Thread, idle int32) (news bool) {
	v := r.groups.Load()
	words := t.words[:0]
	end := len(v.all) * groupSize
	for p := v.next(0, end); p < end; p = v.next((p/groupSize+1)*groupSize, end) {
		i := uint(p / groupSize)
		g, w := v.all[i], v.word(i).Load()
		which := uint64(0)
		for m := uint32(w); m != 0; m &= m - 1 {
			at := bits.TrailingZeros32(m)
			o := g[at].Load()
			if o == nil {
				which |= 1 << at
			} else if o.idle.Load() >= idle {
				which |= 1 << at
				if o.s.pinUse(o.gen) {
					o.s.arm(o.events)
					o.s.w.Unpin(o.s)
				}
			}
		}
		words = append(words, uint64(i), w, which)
	}
	t.words = words
	if sched.Enabled {
		sched.Point("set: armed, before the look whether members are cold")
	}
	hw.HeavyFence()
	for ; len(words) > 0; words = words[3:] {
		i, w, which := uint(words[0]), words[1], words[2]
		g := v.all[i]
		cold := uint64(0)
		for m := uint32(which); m != 0; m &= m - 1 {
			at := bits.TrailingZeros32(m)
			switch o := g[at].Load(); {
			case o != nil && o.look(false) != 0:
				news = true
			default:
				cold |= 1 << at
				if o != nil {
					o.idle.Store(0)
				}
			}
		}
		if sched.Enabled {
			sched.Point("set: between the look whether members are cold and the swap")
		}
		if cold != 0 && !v.word(i).CompareAndSwap(w, w&^cold) {
			news = true
		}
	}
	return news
}

// epollWaitFree is EpollWait, on a set that the caller has a pin on.
func (t *Thread) epollWaitFree(set *Session, evs []EpollEvent, timeout time.Duration) (int, error) {
	n := set.epoll.free.collect(t, evs, true)
	if set.flags.Load()&fClosing != 0 {
		return 0, syscall.EBADFD
	}
	if n > 0 || timeout == 0 {
		return n, nil
	}
	hooks := &t.w.app.hooks
	t.w.inside.Add(1)
	t.waited = true
	if hooks.Sleep != nil {
		hooks.Sleep(t, set)
	}
	n = t.watchFree(&watch{set: set, evs: evs}, timeout)
	valid := hooks.Woke == nil || hooks.Woke(t, set)
	closing := set.flags.Load()&fClosing != 0
	t.w.inside.Add(-1)
	t.done()
	if !valid || closing {
		return 0, syscall.EBADFD
	}
	return n, nil
}

// pollFree is Poll.
func (t *Thread) pollFree(w *watch, timeout time.Duration) (int, error) {
	n := t.lookFree(w)
	if n > 0 || timeout == 0 {
		return n, nil
	}
	for i := range w.fds {
		s := t.w.Pin(w.fds[i].Handle)
		if s == nil {
			// Closed since: that is what there is to say.
			w.fds[i].Revents = POLLNVAL
			n++
			continue
		}
		s.flags.Or(fPolled)
		s.polls.Add(1)
		w.held = append(w.held, s)
	}
	if n == 0 {
		hooks := &t.w.app.hooks
		t.w.inside.Add(1)
		t.waited = true
		if hooks.Sleep != nil {
			hooks.Sleep(t, nil)
		}
		n = t.watchFree(w, timeout)
		if hooks.Woke != nil {
			hooks.Woke(t, nil)
		}
		t.w.inside.Add(-1)
		t.done()
	}
	for i, s := range w.held {
		s.polls.Add(-1)
		t.w.Unpin(s)
		w.held[i] = nil
	}
	t.polled = w.held
	return n, nil
}

// lookFree is look.
func (t *Thread) lookFree(w *watch) int {
	if w.set != nil {
		return w.set.epoll.free.collect(t, w.evs, false)
	}
	n := 0
	for i := range w.fds {
		fd := &w.fds[i]
		fd.Revents = POLLNVAL
		var s *Session
		held := i < len(w.held) // it waits, and has a pin: there may be room for no other
		if !held {
			s = t.w.Pin(fd.Handle)
		} else if s = w.held[i]; s.life.Load()&lifeClosing != 0 {
			s = nil
		}
		if s != nil {
			if s.epoll == nil {
				if t.w.Forked() && s.Passive() {
					t.attendFree(s)
				}
				fd.Revents = fd.found(s)
			}
			if !held {
				t.w.Unpin(s)
			}
		}
		if fd.Revents != 0 {
			n++
		}
	}
	return n
}

// settleFree arms what is watched, and reports whether there is news.
func (t *Thread) settleFree(w *watch) bool {
	if w.set != nil {
		return w.set.epoll.free.cool(t, 0)
	}
	w.arm()
	if sched.Enabled {
		sched.Point("poll: armed")
	}
	hw.HeavyFence()
	return w.settle()
}

// watchFree is watchFor.
func (t *Thread) watchFree(w *watch, timeout time.Duration) int {
	deadline := time.Time{}
	if timeout > 0 {
		deadline = time.Now().Add(timeout)
	}
	expired := func() bool { return timeout > 0 && !time.Now().Before(deadline) }
	if mode := t.w.app.cfg.Wait; mode != Park && !sched.Controlled() {
		until := uint64(math.MaxUint64)
		if mode == Adaptive {
			until = hw.Cycles() + hw.NanosToCycles(spinTime)
		}
		for i := 1; !w.over(); i++ {
			if n := t.lookFree(w); n > 0 {
				return n
			}
			for range watchPauses {
				hw.Pause()
			}
			if i%16 != 0 {
				continue
			}
			if expired() {
				return 0
			}
			if hw.Cycles() > until {
				break
			}
		}
		if mode == Spin {
			return 0 // closed
		}
	}
	t.lieDown(w.set)
	n := 0
	for {
		atomic.StoreUint32(&t.word, 0)
		if n = t.lookFree(w); n > 0 || w.over() || expired() {
			break
		}
		if t.settleFree(w) {
			continue
		}
		left := time.Duration(-1)
		if timeout > 0 {
			left = max(time.Until(deadline), 0)
		}
		t.nap(left)
	}
	t.getUp()
	return n
}
