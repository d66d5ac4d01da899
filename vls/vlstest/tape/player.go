package tape

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"vlsbench/core"
	"vlsbench/vls"
)

// kind is what a session is.
type kind uint8

const (
	streams kind = iota
	dgrams
	sets
)

// session is the account of one session, of which either side has one.
type session struct {
	id       int
	proc     int // whose thread calls
	h        [2]vls.Handle
	kind     kind
	open     bool
	blocking bool

	shutR, shutW bool
	bound        bool
	accepted     bool
	peer         bool       // of datagrams: connected
	family       netip.Addr // of datagrams: what its address is for, if it did not choose it

	listens bool
	at      vls.Endpoint
	backlog int
	queue   []*conn

	c    *conn
	side int

	set     *session
	events  uint32
	stirred bool    // Linux may report an edge for nothing
	woken   bool    // and for data that is gone
	edgeOut bool    // was full: an edge of OUT is to come, and may have
	out     [2]bool // it has
	hup     [2]bool // a reset was reported
	spent   [2]bool // by one report, until the next MOD
}

// conn is the account of a connection. dir[i] is what end i has written.
type conn struct {
	l     *session // until it was accepted
	ends  [2]*session
	gone  [2]bool // closed
	shut  [2]bool // for writing
	deaf  [2]bool // for reading
	reset bool
	dir   [2]stream
}

// stream is one direction of a connection, as either side has it.
type stream struct {
	seed       int
	sent, rcvd [2]int
	writes     int  // unread, at most
	full       bool // and how full is each side's own
}

func (s *session) isReset() bool    { return s.c != nil && s.c.reset }
func (s *session) peerClosed() bool { return s.c != nil && s.c.gone[1-s.side] }
func (s *session) rxFull() bool     { return s.c != nil && s.c.dir[1-s.side].full }
func (s *session) txFull() bool     { return s.c != nil && s.c.dir[s.side].full }
func (s *session) connected() bool  { return s.c != nil && !s.c.reset }

// peerEnded reports whether the peer writes no more.
func (s *session) peerEnded() bool {
	return s.c != nil && (s.c.gone[1-s.side] || s.c.shut[1-s.side])
}

func (s *session) isOver() bool { return s.c != nil && s.peerEnded() && s.c.shut[s.side] }

// unread is how much a side has to read.
func (s *session) unread(i int) int {
	if s.c == nil {
		return 0
	}
	d := &s.c.dir[1-s.side]
	return d.sent[i] - d.rcvd[i]
}

func (s *session) String() string { return fmt.Sprintf("%c%d", "sde"[s.kind], s.id) }

// result is what one side said to a call.
type result struct {
	n     int
	err   error
	data  []byte
	ep    vls.Endpoint
	ready map[int]uint32 // reports by session
	text  string         // whatever else is to be the same
}

func (r result) String() string {
	if r.err != nil {
		no, _ := r.err.(syscall.Errno)
		return errName(no) + map[bool]string{true: fmt.Sprintf(" (and %d)", r.n)}[r.n != 0]
	}
	s := fmt.Sprint(r.n)
	if r.ep.IsValid() {
		s += " from " + r.ep.String()
	}
	if r.ready != nil {
		s = reports(r.ready)
	}
	if r.text != "" {
		s += " " + r.text
	}
	return s
}

// call is a call made on both sides: the judged one first, then the believed.
type call struct {
	op   string
	args string
	s    *session // nil: of none
	got  [2]result
}

// errs reports whether the sides differ in just these errors.
func (c *call) errs(judged, believed error) bool {
	return c.got[0].err == judged && c.got[1].err == believed
}

// side is one of the two, with the application that it plays on.
type side struct {
	name    string
	threads [2]vls.Thread
	buf     []byte
}

// failure is a difference; the player panics with it.
type failure struct{ error }

// player plays a tape on two sides.
type player struct {
	sides [2]*side
	unix  bool // streams of the believed side are of AF_UNIX
	tcp   bool // or of TCP
	mixed bool // all threads are of one process
	port  uint16

	op       Op
	stats    Stats
	all      []*session // open ones, oldest first
	closed   []*session // the last few
	nextID   int
	touched  []*conn
	underWay int // bytes of datagrams
	lens     [256]int
	seq      uint8
	expected map[int]uint32 // what the judged side has just reported
	mu       sync.Mutex
	doing    string // under mu, for the watchdog
	trace    []string
}

// maxOpen and maxTrace keep a tape short and its failure readable.
const (
	maxOpen  = 20
	maxTrace = 60
)

// note says what the player is about to do.
func (p *player) note(who, what string) {
	p.mu.Lock()
	p.doing = who + ": " + what
	p.mu.Unlock()
}

// fail ends the tape.
func (p *player) fail(format string, args ...any) {
	panic(failure{fmt.Errorf(format, args...)})
}

// threadOf is the thread that makes a call on a session.
func (p *player) threadOf(i, proc int) vls.Thread {
	if p.mixed {
		proc = int(p.op.Who>>6) & 1
	}
	return p.sides[i].threads[proc]
}

// do makes a call on both sides and compares.
func (p *player) do(op string, s *session, proc int, args string, f func(i int, th vls.Thread) result) *call {
	c := &call{op: op, args: args, s: s}
	name := op
	if s != nil {
		name += " " + s.String()
	}
	if args != "" {
		name += " " + args
	}
	for i := range p.sides {
		p.note(p.sides[i].name, name)
		c.got[i] = f(i, p.threadOf(i, proc))
	}
	p.stats.Calls++
	p.note("comparing", name)
	if len(p.trace) == maxTrace {
		p.trace = append(p.trace[:0], p.trace[1:]...)
	}
	line := name + " → " + c.got[0].String()
	if o := c.got[1].String(); o != c.got[0].String() {
		line += " | " + o
	}
	p.trace = append(p.trace, line)
	p.judge(c)
	return c
}

// judge fails unless both said the same, or what is allowed.
func (p *player) judge(c *call) {
	a, b := &c.got[0], &c.got[1]
	for id := range union(a.ready, b.ready) {
		s := p.byID(id)
		bits := [2]uint32{a.ready[id], b.ready[id]}
		if s == nil {
			p.fail("%s of a session that there is not: %d", c.op, id)
		}
		if !p.adjust(s, bits, p.stats.Allowed) {
			p.fail("%v is reported as %s by %s, and as %s by %s", s,
				eventNames(a.ready[id]), p.sides[0].name, eventNames(b.ready[id]), p.sides[1].name)
		}
	}
	if a.err == b.err && a.n == b.n && bytes.Equal(a.data, b.data) && sameEndpoint(a.ep, b.ep) && a.text == b.text {
		return
	}
	for _, r := range resultRules {
		if r.allows(p, c) {
			p.stats.Allowed[r.Name]++
			return
		}
	}
	p.fail("%s says %v%s, and %s says %v%s", p.sides[0].name, a, quote(a.data), p.sides[1].name, b, quote(b.data))
}

// adjust reports whether the two sides may report this of a session, and counts
// in allowed, unless it is nil, by which rules.
func (p *player) adjust(s *session, bits [2]uint32, allowed map[string]int) bool {
	for _, r := range reportRules {
		was := bits
		if r.adjust(p, s, &bits); bits != was && was[0] != was[1] && allowed != nil {
			allowed[r.Name]++
		}
	}
	return bits[0] == bits[1]
}

func quote(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	return fmt.Sprintf(" (%.20q)", b)
}

// union is the keys of both.
func union(a, b map[int]uint32) map[int]bool {
	all := make(map[int]bool)
	for k := range a {
		all[k] = true
	}
	for k := range b {
		all[k] = true
	}
	return all
}

// firstPort is where ephemeral ports begin, which are each side's own.
const firstPort = 32768

func sameEndpoint(a, b vls.Endpoint) bool {
	return a == b || a.Addr() == b.Addr() && a.Port() >= firstPort && b.Port() >= firstPort
}

func (p *player) byID(id int) *session {
	for _, s := range p.all {
		if s.id == id {
			return s
		}
	}
	return nil
}

// pick is one of those that fit, by a number; nil: there is none.
func (p *player) pick(n uint8, fits func(*session) bool) *session {
	var list []*session
	for _, s := range p.all {
		if fits(s) {
			list = append(list, s)
		}
	}
	if len(list) == 0 {
		return nil
	}
	return list[int(n)%len(list)]
}

// target is a session to work on: one that fits, or if the operation wants to be
// refused any.
func (p *player) target(fits func(*session) bool) *session {
	if p.op.How >= 240 {
		return p.pick(p.op.Who, func(*session) bool { return true })
	}
	return p.pick(p.op.Who&^(1<<6), fits)
}

// enter adds a session that both sides have.
func (p *player) enter(s *session) *session {
	s.id, s.open = p.nextID, true
	p.nextID++
	p.all = append(p.all, s)
	return s
}

// await waits for the believed side.
func (p *player) await(what string, f func() bool) {
	p.note(p.sides[1].name, "settles, "+what)
	for i := range 5000 {
		if f() {
			return
		}
		if i > 20 {
			nap(time.Duration(i) * time.Microsecond)
		}
	}
	p.fail("%s does not come to %s", p.sides[1].name, what)
}

// nap sleeps for about d, where time.Sleep rounds up to a millisecond once
// nothing else runs.
func nap(d time.Duration) {
	ts := syscall.NsecToTimespec(int64(d))
	_ = syscall.Nanosleep(&ts, nil) // what ends it early does no harm
}

// level is what is true of a session on a side, of what is asked for and of what
// need not be.
func (p *player) level(i int, s *session, events uint32) uint32 {
	fds := [1]vls.PollFD{{Handle: s.h[i], Events: events}}
	if _, err := p.sides[i].threads[s.proc].Poll(fds[:], 0); err != nil {
		p.fail("poll of %s: %v", p.sides[i].name, err)
	}
	return fds[0].Revents
}

// mayWait wants a blocking session to have what the account says that it has,
// before a call that would wait for it.
func (p *player) mayWait(i int, s *session) {
	if s.blocking && p.level(i, s, core.EPOLLIN) == 0 {
		p.fail("%s: there is nothing at %v, which would wait", p.sides[i].name, s)
	}
}

// settle waits until the believed side has delivered what the account says.
func (p *player) settle() {
	for _, c := range p.touched {
		if c.l != nil {
			p.await(fmt.Sprintf("a connection at %v", c.l), func() bool { return p.level(1, c.l, core.EPOLLIN) != 0 })
		}
		for side, s := range c.ends {
			if s == nil || !s.open {
				continue
			}
			if c.reset {
				p.await(fmt.Sprintf("a reset of %v", s), func() bool { return p.level(1, s, 0)&core.EPOLLHUP != 0 })
				continue
			}
			if !c.dir[1-side].full {
				p.await(fmt.Sprintf("%d bytes at %v", s.unread(1), s), func() bool {
					return p.attr(1, s, core.GetNread) == s.unread(1)
				})
			}
			if s.peerEnded() {
				p.await(fmt.Sprintf("the end of the stream at %v", s), func() bool {
					return p.level(1, s, core.EPOLLRDHUP)&core.EPOLLRDHUP != 0
				})
			}
		}
	}
	p.touched = p.touched[:0]
}

// reset notes that a connection was reset.
func (p *player) reset(c *conn) {
	c.reset = true
	for _, s := range c.ends {
		if s != nil {
			s.stirred = true
		}
	}
	p.touch(c)
}

// touch lets the next settle wait for a connection.
func (p *player) touch(c *conn) {
	if !slices.Contains(p.touched, c) {
		p.touched = append(p.touched, c)
	}
}

// stir notes that Linux may report both ends for nothing.
func (c *conn) stir() {
	for _, s := range c.ends {
		if s != nil {
			s.stirred = true
		}
	}
}

// endpoint is one of a few.
func (p *player) endpoint(n uint8) vls.Endpoint {
	return netip.AddrPortFrom(addresses[int(n>>2)%len(addresses)], p.port+uint16(n&3))
}

var addresses = []netip.Addr{
	netip.AddrFrom4([4]byte{127, 0, 0, 1}),
	netip.IPv6Loopback(),
	netip.IPv4Unspecified(),
}

// at is what stands at a position of a stream.
func at(seed, pos int) byte { return byte(pos) ^ byte(pos>>8)*7 ^ byte(seed)*31 }

// fillIn is the next n bytes of a stream.
func (d *stream) fillIn(buf []byte, i int) []byte {
	for k := range buf {
		buf[k] = at(d.seed, d.sent[i]+k)
	}
	return buf
}

// check wants data to be what comes next in a stream on a side.
func (p *player) check(s *session, i int, data []byte) {
	d := &s.c.dir[1-s.side]
	if len(data) > d.sent[i]-d.rcvd[i] {
		p.fail("%s reads %d bytes at %v, where %d were left", p.sides[i].name, len(data), s, d.sent[i]-d.rcvd[i])
	}
	for k, b := range data {
		if b != at(d.seed, d.rcvd[i]+k) {
			p.fail("%s reads %#x at byte %d of %v, want %#x", p.sides[i].name, b, d.rcvd[i]+k, s, at(d.seed, d.rcvd[i]+k))
		}
	}
}

// story is the tape's last calls.
func (p *player) story() string {
	var s strings.Builder
	for _, l := range p.trace {
		s.WriteString("\n\t" + l)
	}
	return s.String()
}

func eventNames(bits uint32) string {
	var names []string
	for _, b := range []struct {
		name string
		bit  uint32
	}{{"IN", core.EPOLLIN}, {"OUT", core.EPOLLOUT}, {"RDHUP", core.EPOLLRDHUP}, {"ERR", core.EPOLLERR}, {"HUP", core.EPOLLHUP},
		{"NVAL", core.POLLNVAL}, {"ET", core.EPOLLET}, {"ONESHOT", core.EPOLLONESHOT}} {
		if bits&b.bit != 0 {
			names = append(names, b.name)
			bits &^= b.bit
		}
	}
	if bits != 0 {
		names = append(names, fmt.Sprintf("%#x", bits))
	}
	if names == nil {
		return "nothing"
	}
	return strings.Join(names, "|")
}

func reports(m map[int]uint32) string {
	var list []string
	for id, bits := range m {
		list = append(list, fmt.Sprintf("%d:%s", id, eventNames(bits)))
	}
	slices.Sort(list)
	return "[" + strings.Join(list, " ") + "]"
}

func errName(e syscall.Errno) string {
	for _, n := range []struct {
		e    syscall.Errno
		name string
	}{{syscall.EAGAIN, "EAGAIN"}, {syscall.EBADFD, "EBADFD"}, {syscall.EINVAL, "EINVAL"}, {syscall.ENOTCONN, "ENOTCONN"},
		{syscall.ECONNRESET, "ECONNRESET"}, {syscall.EPIPE, "EPIPE"}, {syscall.ECONNREFUSED, "ECONNREFUSED"},
		{syscall.EINPROGRESS, "EINPROGRESS"}, {syscall.EADDRINUSE, "EADDRINUSE"}, {syscall.EISCONN, "EISCONN"},
		{syscall.EFAULT, "EFAULT"}, {syscall.ENOENT, "ENOENT"}, {syscall.EEXIST, "EEXIST"}} {
		if n.e == e {
			return n.name
		}
	}
	return fmt.Sprintf("errno %d (%v)", int(e), e)
}
