package vls

import (
	"time"

	"vlsbench/core"
)

// What counts as ready in each of the sets of Select.
const (
	readReady   = core.EPOLLIN | core.EPOLLERR | core.EPOLLHUP
	writeReady  = core.EPOLLOUT | core.EPOLLERR
	exceptReady = core.EPOLLERR
)

// SelectBy is [Thread.Select] for a strategy that has Poll, in the form of
// [core.Thread.Poll], with VLS handles for those of the core. A handle that
// names no session is ready in every set that it is in, so that the operation
// which follows says EBADFD.
func SelectBy(poll func([]core.PollFD, time.Duration) (int, error), read, write, except *HandleSet, timeout time.Duration) (int, error) {
	sets := []struct {
		set  *HandleSet
		bits uint32
	}{{read, readReady}, {write, writeReady}, {except, exceptReady}}
	var fds []core.PollFD
	at := make(map[Handle]int)
	for _, s := range sets {
		if s.set == nil {
			continue
		}
		for h := range s.set.m {
			i, ok := at[h]
			if !ok {
				i = len(fds)
				at[h] = i
				fds = append(fds, core.PollFD{Handle: core.Handle(h), Exact: true})
			}
			fds[i].Events |= s.bits
		}
	}
	if _, err := poll(fds, timeout); err != nil {
		return 0, err
	}
	n := 0
	for _, s := range sets {
		if s.set == nil {
			continue
		}
		for h := range s.set.m {
			if fds[at[h]].Revents&(s.bits|core.POLLNVAL) != 0 {
				n++
			} else {
				s.set.Remove(h)
			}
		}
	}
	return n, nil
}

// PollBy is [Thread.Poll] for a strategy that has it in the form of
// [core.Thread.Poll]. memory keeps what it needs from call to call.
func PollBy(poll func([]core.PollFD, time.Duration) (int, error), memory *[]core.PollFD, fds []PollFD, timeout time.Duration) (int, error) {
	m := (*memory)[:0]
	for _, fd := range fds {
		m = append(m, core.PollFD{Handle: core.Handle(fd.Handle), Events: fd.Events})
	}
	*memory = m
	n, err := poll(m, timeout)
	if err != nil {
		return 0, err
	}
	for i := range fds {
		fds[i].Revents = m[i].Revents
	}
	return n, nil
}
