package history

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"syscall"

	"vlsbench/core"
	"vlsbench/vls"
)

// Four threads make sessions and sets, close them, and use them by handles that
// they have from each other, stale ones among them.
const (
	handleThreads = 4
	handleCalls   = 120 // of each
	handleBoxes   = 3   // sessions that all threads know at a time
)

// handleCall is a call about a handle and its answer.
type handleCall struct {
	kind  handleKind
	h     vls.Handle
	value uint32 // of the attribute
	err   syscall.Errno
}

type handleKind uint8

const (
	create handleKind = iota
	createSet
	closes
	set   // the session's attribute
	get   // likewise
	index // the session behind the handle
	found // the handle that its index leads to
	poll
	wait   // on what may be a set
	member // of a set of the caller's own
)

var handleKinds = [...]string{"create", "epoll_create", "close", "set", "get", "session_index", "handle_of gave", "poll", "epoll_wait", "epoll_ctl"}

func (c handleCall) String() string {
	s := fmt.Sprintf("%s %#x", handleKinds[c.kind], uint64(c.h))
	if c.kind == set || c.kind == get {
		s += fmt.Sprintf(" %d", c.value)
	}
	if c.err != 0 {
		s += ": " + c.err.Error()
	}
	return s
}

// known reports whether the answer is one that such a call has.
func (c handleCall) known() bool {
	switch c.err {
	case 0:
		return true
	case syscall.EBADFD:
		return c.kind != create && c.kind != createSet
	case syscall.EINVAL:
		return c.kind == wait || c.kind == member
	case syscall.EEXIST:
		return c.kind == member
	}
	return false
}

// slot is what a slot of the table holds.
type slot struct {
	h     vls.Handle // 0: nothing
	set   bool
	value uint32
}

func (s slot) String() string {
	switch {
	case s.h == 0:
		return "empty"
	case s.set:
		return fmt.Sprintf("the set %#x", uint64(s.h))
	}
	return fmt.Sprintf("the session %#x with %d", uint64(s.h), s.value)
}

// unset is the attribute of a new session.
const unset = 536

// life is how the handles of one slot may live: one after another, each known
// from when it was made until it was closed, and never again.
var life = model[slot, handleCall]{step: func(s slot, c handleCall) (slot, bool) {
	live := s.h == c.h
	switch c.kind {
	case create, createSet:
		return slot{c.h, c.kind == createSet, unset}, s.h == 0
	case member:
		switch c.err {
		case 0, syscall.EEXIST:
			return s, live && !s.set
		case syscall.EINVAL:
			return s, live && s.set
		}
		return s, !live
	case wait:
		switch c.err {
		case 0:
			return s, live && s.set
		case syscall.EINVAL:
			return s, live && !s.set
		}
		return s, !live
	case set, get:
		live = live && !s.set // where a session is wanted a set is none
	case poll:
		live = live && !s.set
	}
	switch {
	case c.err != 0:
		return s, !live
	case c.kind == get:
		return s, live && s.value == c.value
	case c.kind == set:
		s.value = c.value
	case c.kind == closes:
		return slot{}, live
	}
	return s, live
}}

// Handles records the life of handles in a process and checks it: a call on one
// is about the session that it was made for, from then until it is closed, and
// EBADFD ever after. The error says what cannot have been.
func Handles(s vls.Strategy, o Options) error {
	defer withCores(handleThreads)()
	procs, each := 1, handleThreads
	if s.MaxThreads == 1 {
		procs, each = handleThreads, 1
	}
	for round := range o.rounds() {
		m, err := newTeam(s, o.Wait, procs, each)
		if err != nil {
			return err
		}
		logs := newLogs[handleCall](m.mates)
		boxes := make([][handleBoxes]atomic.Uint64, procs)
		left := make([][]vls.Handle, len(m.mates))
		err = m.all(func(i int, th *mate) (err error) {
			left[i], err = live(th, logs[i], &boxes[i/each], rand.New(rand.NewPCG(o.Seed, uint64(round*handleThreads+i))))
			return err
		})
		if err != nil {
			return fmt.Errorf("round %d: %w", round, err)
		}
		for slot, calls := range parts(logs, func(c handleCall) uint64 { return uint64(uint32(c.h)) }) {
			if err := check(life, calls); err != nil {
				return fmt.Errorf("round %d, slot %#x: %w", round, slot, err)
			}
		}
		// What is open is open to be closed, once.
		open := make([]int, len(m.mates))
		err = m.all(func(i int, th *mate) error {
			for _, h := range left[i] {
				switch err := closeOn(th, h); err {
				case nil:
					open[i]++
				case syscall.EBADFD:
				default:
					return err
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("round %d: close: %w", round, err)
		}
		n := 0
		for i, l := range logs {
			n -= open[i]
			for _, c := range l.done {
				switch {
				case c.op.kind == create || c.op.kind == createSet:
					n++
				case c.op.kind == closes && c.op.err == 0:
					n--
				}
			}
		}
		if n != 0 {
			return fmt.Errorf("round %d: %d more sessions were made than could be closed", round, n)
		}
		if err := m.close(); err != nil {
			return fmt.Errorf("round %d: %w", round, err)
		}
	}
	return nil
}

// live is what one thread does. It returns the handles that it has made and left
// to all.
func live(th *mate, l *log[handleCall], boxes *[handleBoxes]atomic.Uint64, r *rand.Rand) (made []vls.Handle, err error) {
	var known []vls.Handle // some of which are stale
	begin := l.begin()
	own, err := th.EpollCreate()
	if err != nil {
		return nil, err
	}
	// Nobody is told of it, but what leads from an index to a handle may find it.
	l.end(begin, handleCall{kind: createSet, h: own})
	buf := make([]byte, 4)
	evs := make([]vls.EpollEvent, 1)
	for range handleCalls {
		box := &boxes[r.IntN(handleBoxes)]
		h := vls.Handle(box.Load())
		if n := len(known); n > 0 && r.IntN(4) == 0 {
			h = known[n-1-r.IntN(min(n, 6))]
		}
		c := handleCall{h: h}
		what := r.IntN(17)
		if h == 0 {
			what = 0
		}
		begin = l.begin()
		switch {
		case what < 3:
			c.kind = create
			c.h, err = th.Create(vls.TCP, true)
		case what == 3:
			c.kind = createSet
			c.h, err = th.EpollCreate()
		case what < 7:
			c.kind = closes
			err = th.Close(h)
		case what < 9:
			c.kind, c.value = set, 88+r.Uint32N(32000)
			binary.NativeEndian.PutUint32(buf, c.value)
			_, err = th.Attr(h, core.SetMSS, buf)
		case what < 12:
			c.kind = get
			clear(buf)
			_, err = th.Attr(h, core.GetMSS, buf)
			c.value = binary.NativeEndian.Uint32(buf)
		case what == 12:
			c.kind = index
			_, _, err = th.SessionIndex(h)
		case what == 13:
			var i uint32
			i, _, err = th.SessionIndex(h)
			if err == nil {
				// Of the calling thread's worker, which it need not be by now.
				c.kind = found
				begin = l.begin()
				if c.h, err = th.HandleOf(i); err != nil {
					err = nil
					continue
				}
			} else {
				c.kind = index
			}
		case what == 14:
			c.kind = poll
			var fd = []vls.PollFD{{Handle: h, Events: core.EPOLLIN}}
			_, err = th.Poll(fd, 0)
			if err == nil && fd[0].Revents&core.POLLNVAL != 0 {
				err = syscall.EBADFD
			}
		case what == 15:
			c.kind = member
			err = th.EpollCtl(own, core.EPOLL_CTL_ADD, h, &vls.EpollEvent{Events: core.EPOLLIN})
		default:
			c.kind = wait
			_, err = th.EpollWait(h, evs, 0)
		}
		if th.late(err) {
			continue
		}
		no, _ := err.(syscall.Errno)
		c.err = no
		l.end(begin, c)
		if !c.known() {
			return nil, fmt.Errorf("%v: no answer to that", c)
		}
		if c.kind == member && err == nil {
			// In a set for good it would go where the set goes. It may be gone, or
			// be taken out by the close under way.
			for {
				th.begin()
				if err = th.EpollCtl(own, core.EPOLL_CTL_DEL, h, nil); !th.late(err) {
					break
				}
			}
			if err != nil && err != syscall.EBADFD && err != syscall.ENOENT {
				return nil, fmt.Errorf("out of a set again: %w", err)
			}
		}
		err = nil
		if c.kind == create || c.kind == createSet {
			if old := vls.Handle(box.Swap(uint64(c.h))); old != 0 {
				known = append(known, old)
			}
			made = append(made, c.h)
		}
		if !slices.Contains(known, h) && h != 0 {
			known = append(known, h)
		}
	}
	for {
		begin = l.begin()
		if err = th.Close(own); !th.late(err) {
			break
		}
	}
	if err == nil {
		l.end(begin, handleCall{kind: closes, h: own})
	}
	return made, err
}
