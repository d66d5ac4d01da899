package history

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"

	"vlsbench/core"
	"vlsbench/vls"
)

// Two threads write to a connection, two read from the other end, until it ends.
const (
	streamThreads = 4
	streamCalls   = 60 // of each writer
	// ahead is how many of the longest writes may be unread when another begins.
	ahead = 4
	// small is the length of writes that never fill a fifo.
	small = fifoSize / (2 * streamCalls)
	// streamBlocks is how many answers of EWOULDBLOCK in a row a thread notes.
	// The rest say the same: of those it notes when they were.
	streamBlocks = 3
)

// streamCall is a call about one direction of a connection and its answer.
type streamCall struct {
	kind streamKind
	conn int
	data string // what was written, or read
	room int    // what was to be written, or could have been read
	err  syscall.Errno
	// busy: another call was inside the same end at some time of this one. A
	// strategy may answer EWOULDBLOCK to the one that meets the other.
	busy bool
	// torn: a large write was going on at some time of this read. Where there is
	// room for a part of it alone, that is there to be read before the rest.
	torn bool
	// again: one call or several in a row, which were answered as the one before
	// them. Another may have met them.
	again bool
}

type streamKind uint8

const (
	write streamKind = iota
	read
	peek
	shutdown
)

// writes reports whether it is the end that writes which the call is about.
func (k streamKind) writes() bool { return k == write || k == shutdown }

// tears reports whether it is a write of which a part may be there to be read
// before the rest.
func (c streamCall) tears() bool { return c.kind == write && c.room > small && c.data != "" }

func (c streamCall) String() string {
	s := [...]string{"write", "read", "peek", "shutdown"}[c.kind]
	if c.kind != shutdown {
		s += fmt.Sprintf(" of %d B: %d, %s", c.room, len(c.data), brief(c.data))
	}
	if c.busy {
		s += ", not alone"
	}
	if c.err != 0 {
		s += ": " + c.err.Error()
	}
	return s
}

// pipe is what was written and not yet read, and whether more may come.
type pipe struct {
	bytes string
	ended bool
}

func (p pipe) String() string {
	s := fmt.Sprintf("%d B, %s", len(p.bytes), brief(p.bytes))
	if p.ended {
		s += ", ended"
	}
	return s
}

// brief shows bytes, of many the first and the last.
func brief(s string) string {
	if len(s) <= 24 {
		return fmt.Sprintf("%x", s)
	}
	return fmt.Sprintf("%x…%x", s[:16], s[len(s)-4:])
}

// flow is how a stream may go: what was written is read, whole, once and in
// order; then comes the end.
var flow = model[pipe, streamCall]{step: func(p pipe, c streamCall) (pipe, bool) {
	switch c.kind {
	case shutdown:
		p.ended = true
		return p, true
	case write:
		switch {
		case c.err == syscall.EPIPE:
			return p, p.ended
		case p.ended:
			return p, false
		case len(c.data) < c.room && p.bytes == "" && !c.busy:
			return p, false // there is room for all
		}
		p.bytes += c.data
		return p, true
	}
	switch {
	case c.err == syscall.EWOULDBLOCK:
		return p, c.busy || c.torn || p.bytes == "" && !p.ended
	case c.data == "":
		return p, p.bytes == "" && p.ended
	case !strings.HasPrefix(p.bytes, c.data):
		return p, false
	case len(c.data) < min(c.room, len(p.bytes)) && !c.torn:
		return p, false // there is more
	case c.kind == read:
		p.bytes = p.bytes[len(c.data):]
	}
	return p, true
}}

// Streams records what several threads write to a connection and read from it,
// and checks it: every byte is read once, in the order of writing, a write's
// bytes together, and the end comes after the last. The error says what cannot
// have been.
func Streams(s vls.Strategy, o Options) error {
	defer withCores(streamThreads)()
	for round := range o.rounds() {
		if err := stream(s, o, round); err != nil {
			return fmt.Errorf("round %d: %w", round, err)
		}
	}
	return nil
}

// stream records and checks one round.
func stream(s vls.Strategy, o Options, round int) error {
	// Twelve rounds in a row differ in where the ends are, in how the readers wait
	// and in how much is written at once. The ends are in one process, or one in each of two; with one thread a
	// process there are two connections instead of two users of each end.
	procs, each, conns := 1, streamThreads, 1
	switch {
	case s.MaxThreads == 1:
		procs, each, conns = streamThreads, 1, 2
	case round%2 == 1:
		procs, each = 2, streamThreads/2
	}
	m, err := newTeam(s, o.Wait, procs, each)
	if err != nil {
		return err
	}
	// Threads 0 and 1 write, 2 and 3 read.
	of := func(i int) int { return i % conns }
	x, y := make([]vls.Handle, conns), make([]vls.Handle, conns)
	writers, unread := make([]atomic.Int32, conns), make([]atomic.Int32, conns)
	blocking := round%4 >= 2
	for c := range conns {
		if x[c], y[c], err = m.pair(m.mates[c], m.mates[2+c]); err != nil {
			return err
		}
		writers[c].Store(int32(2 / conns))
		if blocking {
			if _, err := m.mates[2+c].Attr(y[c], core.SetFlags, make([]byte, 4)); err != nil {
				return err
			}
		}
	}
	logs := newLogs[streamCall](m.mates)
	most := []int{8, small, 3000}[round%3]
	err = m.all(func(i int, th *mate) error {
		r := rand.New(rand.NewPCG(o.Seed, uint64(round*streamThreads+i)))
		u := &user{th: th, log: logs[i], conn: of(i), unread: &unread[of(i)], r: r, buf: make([]byte, most)}
		if i >= 2 {
			u.h = y[u.conn]
			return u.reads()
		}
		u.h = x[u.conn]
		return u.writes(byte(i), &writers[u.conn])
	})
	if err != nil {
		return err
	}
	for conn, calls := range parts(logs, func(c streamCall) uint64 { return uint64(c.conn) }) {
		if err := check(flow, overlap(calls)); err != nil {
			return fmt.Errorf("connection %d: %w", conn, err)
		}
	}
	err = m.all(func(i int, th *mate) error {
		switch {
		case i < conns:
			return closeOn(th, x[i])
		case i >= 2 && i < 2+conns:
			return closeOn(th, y[i-2])
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("close: %w", err)
	}
	return m.close()
}

// user is a thread at one end of a connection.
type user struct {
	th     *mate
	log    *log[streamCall]
	conn   int
	h      vls.Handle
	r      *rand.Rand
	buf    []byte
	unread *atomic.Int32 // bytes that no read has given yet
	blocks int           // answers of EWOULDBLOCK in a row
}

// note notes a call. Of those that found nothing to do again and again it notes
// the time alone, and lets others work.
func (u *user) note(begin int64, c streamCall, err error) {
	c.conn = u.conn
	c.err, _ = err.(syscall.Errno)
	if c.err == syscall.EWOULDBLOCK {
		if u.blocks++; u.blocks > streamBlocks {
			c.again = true
			u.log.end(begin, c)
			u.join()
			runtime.Gosched()
			return
		}
	} else {
		u.blocks = 0
	}
	u.log.end(begin, c)
}

// join makes one of the last two calls if they say the same and nobody has begun
// or ended another in between.
func (u *user) join() {
	n := len(u.log.done)
	if n < 2 {
		return
	}
	a, b := &u.log.done[n-2], &u.log.done[n-1]
	if a.op.again && a.end+1 == b.begin {
		a.end = b.end
		u.log.done = u.log.done[:n-1]
	}
}

// writes writes bytes that say who wrote them and how many before; who is last
// ends the stream.
func (u *user) writes(me byte, writers *atomic.Int32) error {
	count := byte(0)
	for range streamCalls {
		// Writes at once could have been in any order until they are read, and
		// each order of many would have to be tried.
		for u.unread.Load() > int32(ahead*len(u.buf)) {
			u.th.Poll(nil, 0)
			runtime.Gosched()
		}
		p := u.buf[:1+u.r.IntN(len(u.buf))]
		for len(p) > 0 {
			for i := range p {
				p[i] = me<<7 | (count+byte(i))&0x7f
			}
			begin := u.log.begin()
			n, err := u.th.Write(u.h, p)
			if u.th.late(err) {
				continue
			}
			if err != nil && err != syscall.EWOULDBLOCK || n < 0 || n > len(p) {
				return fmt.Errorf("write of %d: %d, %v: no answer to that", len(p), n, err)
			}
			u.note(begin, streamCall{kind: write, data: string(p[:n]), room: len(p)}, err)
			u.unread.Add(int32(n))
			count += byte(n)
			p = p[n:]
		}
	}
	if writers.Add(-1) > 0 {
		return nil
	}
	begin := u.log.begin()
	err := u.th.Shutdown(u.h, syscall.SHUT_WR)
	for u.th.late(err) {
		begin = u.log.begin()
		err = u.th.Shutdown(u.h, syscall.SHUT_WR)
	}
	u.note(begin, streamCall{kind: shutdown}, err)
	if err != nil {
		return fmt.Errorf("shutdown: %w", err)
	}
	begin = u.log.begin()
	n, err := u.th.Write(u.h, u.buf[:1])
	for u.th.late(err) {
		begin = u.log.begin()
		n, err = u.th.Write(u.h, u.buf[:1])
	}
	if n != 0 || err != syscall.EPIPE {
		return fmt.Errorf("write after shutdown: %d, %v: want EPIPE", n, err)
	}
	u.note(begin, streamCall{kind: write, room: 1}, err)
	return nil
}

// reads reads until the stream ends.
func (u *user) reads() error {
	for {
		p := u.buf[:1+u.r.IntN(len(u.buf))]
		c := streamCall{kind: read, room: len(p)}
		var n int
		var err error
		begin := u.log.begin()
		if u.r.IntN(6) == 0 {
			c.kind = peek
			n, _, err = u.th.Recvfrom(u.h, p, core.MSG_PEEK)
		} else {
			n, err = u.th.Read(u.h, p)
		}
		if u.th.late(err) {
			continue
		}
		if err != nil && err != syscall.EWOULDBLOCK || n < 0 || n > len(p) {
			return fmt.Errorf("read of %d: %d, %v: no answer to that", len(p), n, err)
		}
		c.data = string(p[:n])
		u.note(begin, c, err)
		if c.kind == read {
			u.unread.Add(int32(-n))
		}
		if n == 0 && err == nil {
			return nil
		}
	}
}

// overlap marks the calls that were not alone, and leaves out those that say
// nothing else.
func overlap(calls []timed[streamCall]) []timed[streamCall] {
	for i := range calls {
		a := &calls[i]
		for j := i + 1; j < len(calls) && calls[j].begin <= a.end; j++ {
			b := &calls[j]
			if a.op.kind.writes() == b.op.kind.writes() {
				a.op.busy, b.op.busy = true, true
			}
			if a.op.tears() {
				b.op.torn = true
			}
			if b.op.tears() {
				a.op.torn = true
			}
		}
	}
	return slices.DeleteFunc(calls, func(c timed[streamCall]) bool { return c.op.again })
}
