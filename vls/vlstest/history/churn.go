package history

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"syscall"

	"vlsbench/core"
	"vlsbench/fifo"
	"vlsbench/vls"
)

const (
	churnThreads = 8
	// churnStale is how many stale handles all threads of a process know.
	churnStale = 64
	// churnPairs is every how many creations a connection is made too, so that
	// memory of the segment comes and goes.
	churnPairs = 64
	// churnSlots is far more than what is open at a time or waits to be freed: a
	// slot beyond it says that slots leak.
	churnSlots = 4096
)

// Churn makes n sessions and closes them, by eight threads that all the while
// use handles which others have closed: each of those calls is EBADFD and never
// about another session, and in the end nothing is left, nor are slots or memory
// lost. It checks each answer by itself, so it can go on for long.
func Churn(s vls.Strategy, o Options, n int) error {
	defer withCores(churnThreads)()
	procs, each := 1, churnThreads
	if s.MaxThreads == 1 {
		procs, each = churnThreads, 1
	}
	seg, err := fifo.NewMappedSegment(8 << 20)
	if err != nil {
		return err
	}
	defer seg.Close()
	before := seg.Usage().Taken
	m, err := newTeamIn(seg, s, o.Wait, procs, each)
	if err != nil {
		return err
	}
	stale := make([][churnStale]atomic.Uint64, procs)
	err = m.all(func(i int, th *mate) error {
		c := &churner{m: m, th: th, port: uint16(10000 + 1000*i), stale: &stale[i/each], r: rand.New(rand.NewPCG(o.Seed, uint64(i)))}
		return c.run(n / len(m.mates))
	})
	if err != nil {
		return err
	}
	if err := m.close(); err != nil {
		return err
	}
	if a, ok := m.app.(interface{ Usage() core.Usage }); ok {
		if u := a.Usage(); u.Sessions != 0 || u.Shared != 0 {
			return fmt.Errorf("left when the processes have exited: %+v", u)
		}
	}
	if u := seg.Usage(); u.Taken != before {
		return fmt.Errorf("%d bytes of the segment are taken in the end, %d were in the beginning", u.Taken, before)
	}
	return nil
}

// churner is a thread that makes sessions and closes them.
type churner struct {
	m     *team
	th    vls.Thread
	port  uint16
	stale *[churnStale]atomic.Uint64
	r     *rand.Rand
	buf   [4]byte
	poll  [1]vls.PollFD
}

func (c *churner) run(n int) error {
	for i := range n {
		h, err := c.th.Create(vls.TCP, true)
		if err != nil {
			return fmt.Errorf("creation %d: %w", i, err)
		}
		if index := uint32(h) & core.MaxIndex; index >= churnSlots {
			return fmt.Errorf("creation %d: slot %d, with at most %d sessions open: slots leak", i, index, 4*churnThreads)
		}
		// Nobody else knows it, so what it is given it keeps.
		mark := 88 + c.r.Uint32N(32000)
		if err := c.attr(h, core.SetMSS, mark); err != nil {
			return fmt.Errorf("creation %d: setting an attribute: %w", i, err)
		}
		if err := c.useStale(); err != nil {
			return fmt.Errorf("creation %d: %w", i, err)
		}
		if i%churnPairs == 0 {
			if err := c.pair(); err != nil {
				return fmt.Errorf("creation %d: %w", i, err)
			}
		}
		err = c.attr(h, core.GetMSS, 0)
		if got := binary.NativeEndian.Uint32(c.buf[:]); err != nil || got != mark {
			return fmt.Errorf("creation %d: handle %#x was given %d and has %d, %v: it was another session's, or another had its handle", i, uint64(h), mark, got, err)
		}
		if err := c.th.Close(h); err != nil {
			return fmt.Errorf("creation %d: close: %w", i, err)
		}
		c.stale[c.r.IntN(churnStale)].Store(uint64(h))
	}
	return nil
}

func (c *churner) attr(h vls.Handle, a vls.Attr, v uint32) error {
	binary.NativeEndian.PutUint32(c.buf[:], v)
	_, err := c.th.Attr(h, a, c.buf[:])
	return err
}

// useStale uses a handle that somebody has closed.
func (c *churner) useStale() error {
	h := vls.Handle(c.stale[c.r.IntN(churnStale)].Load())
	if h == 0 {
		return nil
	}
	var err error
	what := ""
	switch c.r.IntN(8) {
	case 0:
		what, err = "close", c.th.Close(h)
	case 1:
		what, err = "attr", c.attr(h, core.SetMSS, 100)
	case 2:
		what = "read"
		_, err = c.th.Read(h, c.buf[:])
	case 3:
		what = "write"
		_, err = c.th.Write(h, c.buf[:])
	case 4:
		what = "session_index"
		_, _, err = c.th.SessionIndex(h)
	case 5:
		what, err = "shutdown", c.th.Shutdown(h, syscall.SHUT_RDWR)
	case 6:
		what, err = "listen", c.th.Listen(h, 1)
	case 7:
		what = "poll"
		c.poll[0] = vls.PollFD{Handle: h, Events: core.EPOLLIN}
		if _, err = c.th.Poll(c.poll[:], 0); err == nil && c.poll[0].Revents == core.POLLNVAL {
			err = syscall.EBADFD
		}
	}
	if err != syscall.EBADFD {
		return fmt.Errorf("%s of the stale handle %#x: %v, want EBADFD", what, uint64(h), err)
	}
	return nil
}

// pair makes a connection, uses it and closes it.
func (c *churner) pair() error {
	c.port = c.port/1000*1000 + (c.port+1)%1000
	x, y, err := c.m.pairAt(c.th, c.th, c.port)
	if err != nil {
		return err
	}
	if n, err := c.th.Write(x, c.buf[:]); n != 4 || err != nil {
		return fmt.Errorf("write to a new connection: %d, %v", n, err)
	}
	if n, err := c.th.Read(y, c.buf[:]); n != 4 || err != nil {
		return fmt.Errorf("read from a new connection: %d, %v", n, err)
	}
	for _, h := range []vls.Handle{x, y} {
		if err := c.th.Close(h); err != nil {
			return fmt.Errorf("close of a connection: %w", err)
		}
		c.stale[c.r.IntN(churnStale)].Store(uint64(h))
	}
	return nil
}
