package vlstest

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	"vlsbench/core"
	"vlsbench/vls"
)

// fifoSize is small, so that a case fills a fifo at once.
const fifoSize = 16 << 10

// ok wants no error.
func (e *env) ok(err error) {
	e.t.Helper()
	if err != nil {
		e.fatalf("error %v, want none", err)
	}
}

// want wants an error.
func (e *env) want(want syscall.Errno, err error) {
	e.t.Helper()
	if err != want {
		e.fatalf("error %v, want %v", show(err), show(want))
	}
}

func show(err error) string {
	if no, ok := err.(syscall.Errno); ok {
		return fmt.Sprintf("%v (%d)", no, int(no))
	}
	return fmt.Sprint(err)
}

// count wants a count and no error.
func (e *env) count(want int) func(int, error) {
	e.t.Helper()
	return func(n int, err error) {
		e.t.Helper()
		if n != want || err != nil {
			e.fatalf("%d, %v; want %d, nil", n, show(err), want)
		}
	}
}

// err1 and err2 are the error of a call with results before it.
func err1[A any](_ A, err error) error         { return err }
func err2[A, B any](_ A, _ B, err error) error { return err }

// process makes a process, which exits at the end of the case.
func (e *env) process() vls.Process {
	e.t.Helper()
	p, err := e.app.NewProcess()
	e.ok(err)
	e.mu.Lock()
	e.procs = append(e.procs, p)
	e.mu.Unlock()
	return p
}

// threadOf makes a thread of a process.
func (e *env) threadOf(p vls.Process) vls.Thread {
	th := e.tend(p.NewThread())
	e.mu.Lock()
	defer e.mu.Unlock()
	e.threads = append(e.threads, th)
	if e.procOf == nil {
		e.procOf = make(map[vls.Thread]vls.Process)
	}
	e.procOf[th] = p
	return th
}

// thread makes a thread of a new process.
func (e *env) thread() vls.Thread { return e.threadOf(e.process()) }

// near makes another thread of th's process.
func (e *env) near(th vls.Thread) vls.Thread {
	e.mu.Lock()
	p := e.procOf[th]
	e.mu.Unlock()
	return e.threadOf(p)
}

// far makes another thread, where the layout wants it.
func (e *env) far(th vls.Thread) vls.Thread {
	if e.layout == threads {
		return e.near(th)
	}
	return e.thread()
}

// gone takes a process that has exited, and its threads, off the list of what
// is to exit at the end.
func (e *env) gone(p vls.Process) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.procs = slices.DeleteFunc(e.procs, func(o vls.Process) bool { return o == p })
	e.threads = slices.DeleteFunc(e.threads, func(th vls.Thread) bool { return e.procOf[th] == p })
}

// address is an endpoint that nobody else in the case has.
func (e *env) address() vls.Endpoint {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.port++
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 1000+e.port)
}

// end is a session, on the thread that uses it.
type end struct {
	e  *env
	th vls.Thread
	h  vls.Handle
}

// on is the same session used by another thread of the process.
func (x end) on(th vls.Thread) end { return end{x.e, th, x.h} }

// create makes a session.
func (e *env) create(th vls.Thread, nonblocking bool) end {
	e.t.Helper()
	h, err := th.Create(vls.TCP, nonblocking)
	e.ok(err)
	return end{e, th, h}
}

// listen makes a listener at an endpoint of its own.
func (e *env) listen(th vls.Thread, backlog int) (end, vls.Endpoint) {
	e.t.Helper()
	l, ep := e.create(th, false), e.address()
	e.ok(th.Bind(l.h, ep))
	e.ok(th.Listen(l.h, backlog))
	return l, ep
}

// connect connects a new session of th, blocking.
func (e *env) connect(th vls.Thread, ep vls.Endpoint) end {
	e.t.Helper()
	x := e.create(th, false)
	e.ok(th.Connect(x.h, ep))
	return x
}

// accept takes a connection.
func (l end) accept() end {
	l.e.t.Helper()
	h, _, err := l.th.Accept(l.h, 0)
	l.e.ok(err)
	return end{l.e, l.th, h}
}

// pair makes a connection from a to b. Its listener is closed again.
func (e *env) pair(a, b vls.Thread) (x, y end) {
	e.t.Helper()
	l, ep := e.listen(b, 4)
	x = e.connect(a, ep)
	y = l.accept()
	l.close()
	return x, y
}

func (x end) close() {
	x.e.t.Helper()
	x.e.ok(x.th.Close(x.h))
}

// write wants all of s to be written.
func (x end) write(s string) {
	x.e.t.Helper()
	x.e.count(len(s))(x.th.Write(x.h, []byte(s)))
}

// read wants one read to give s.
func (x end) read(s string) {
	x.e.t.Helper()
	buf := make([]byte, len(s)+10)
	n, err := x.th.Read(x.h, buf)
	if err != nil || string(buf[:n]) != s {
		x.e.fatalf("read %.40q, %v; want %.40q", buf[:n], show(err), s)
	}
}

// eof wants the end of the stream.
func (x end) eof() {
	x.e.t.Helper()
	x.e.count(0)(x.th.Read(x.h, make([]byte, 10)))
}

// reading and writing want the error of a read or write.
func (x end) reading(want syscall.Errno) {
	x.e.t.Helper()
	x.e.want(want, err1(x.th.Read(x.h, make([]byte, 10))))
}

func (x end) writing(want syscall.Errno) {
	x.e.t.Helper()
	x.e.want(want, err1(x.th.Write(x.h, make([]byte, 10))))
}

// nonblock sets or clears O_NONBLOCK.
func (x end) nonblock(on bool) {
	x.e.t.Helper()
	var v uint32
	if on {
		v = syscall.O_NONBLOCK
	}
	x.e.count(4)(x.th.Attr(x.h, core.SetFlags, binary.NativeEndian.AppendUint32(nil, v)))
}

// attr reads an attribute.
func (x end) attr(a vls.Attr) int {
	x.e.t.Helper()
	var buf [4]byte
	x.e.count(4)(x.th.Attr(x.h, a, buf[:]))
	return int(int32(binary.NativeEndian.Uint32(buf[:])))
}

// attrIs wants an attribute's value.
func (x end) attrIs(a vls.Attr, want int) {
	x.e.t.Helper()
	if v := x.attr(a); v != want {
		x.e.fatalf("attribute %d is %d, want %d", a, v, want)
	}
}

// fill writes until nothing fits and returns the count; the session is left
// blocking or not as it was.
func (x end) fill() int {
	x.e.t.Helper()
	was := x.attr(core.GetFlags) != 0
	x.nonblock(true)
	total, asked, buf := 0, false, make([]byte, 1000)
	for {
		for i := range buf {
			buf[i] = at(0, total+i)
		}
		n, err := x.th.Write(x.h, buf)
		if err == syscall.EWOULDBLOCK {
			if x.e.settled(&asked) {
				break
			}
			continue
		}
		x.e.ok(err)
		total += n
	}
	x.nonblock(was)
	return total
}

// at is what stands at a position of a stream.
func at(seed, pos int) byte { return byte(pos) ^ byte(pos>>8)*7 ^ byte(pos>>16)*13 ^ byte(seed)*31 }

// send writes the bytes from..to of a stream, blocking, in writes of sizes that
// vary up to most.
func (x end) send(seed, from, to, most int) {
	x.e.t.Helper()
	buf := make([]byte, most)
	for pos := from; pos < to; {
		n := min(1+(pos*31+seed)%most, to-pos)
		for i := range n {
			buf[i] = at(seed, pos+i)
		}
		x.e.count(n)(x.th.Write(x.h, buf[:n]))
		pos += n
	}
}

// receive reads the bytes from..to of a stream, blocking.
func (x end) receive(seed, from, to, most int) {
	x.e.t.Helper()
	buf := make([]byte, most)
	for pos := from; pos < to; {
		n, err := x.th.Read(x.h, buf[:min(1+(pos*17+seed)%most, to-pos)])
		x.e.ok(err)
		if n == 0 {
			x.e.fatalf("the stream ended at %d, want %d", pos, to)
		}
		x.check(seed, pos, buf[:n])
		pos += n
	}
}

// check wants p to be what stands at pos.
func (x end) check(seed, pos int, p []byte) {
	x.e.t.Helper()
	for i, b := range p {
		if b != at(seed, pos+i) {
			x.e.fatalf("byte %d of the stream is %#x, want %#x", pos+i, b, at(seed, pos+i))
		}
	}
}

// empty wants th's process to have no sessions.
func (e *env) empty(th vls.Thread) {
	e.t.Helper()
	for i := range uint32(3000) {
		if h, err := th.HandleOf(i); err != syscall.EBADFD {
			e.fatalf("session %d is still there: handle %#x, %v", i, uint64(h), show(err))
		}
	}
}

// set is an epoll set, on the thread that uses it.
type set struct {
	end
	// cold lets the set come to rest before it is to report something, so that
	// an event must tell it.
	cold bool
}

func (e *env) set(th vls.Thread) set {
	e.t.Helper()
	h, err := th.EpollCreate()
	e.ok(err)
	return set{end: end{e, th, h}}
}

// ctl is EpollCtl; the session's handle is the event's data.
func (s set) ctl(op int, x end, events uint32) error {
	return s.th.EpollCtl(s.h, op, x.h, &vls.EpollEvent{Events: events, Data: uint64(x.h)})
}

func (s set) add(x end, events uint32) {
	s.e.t.Helper()
	s.e.ok(s.ctl(core.EPOLL_CTL_ADD, x, events))
}

func (s set) mod(x end, events uint32) {
	s.e.t.Helper()
	s.e.ok(s.ctl(core.EPOLL_CTL_MOD, x, events))
}

func (s set) del(x end) {
	s.e.t.Helper()
	s.e.ok(s.th.EpollCtl(s.h, core.EPOLL_CTL_DEL, x.h, nil))
}

// report is what a wait is to say of a session.
type report struct {
	x      end
	events uint32
}

// is wants a wait that does not block to report just this, in any order.
func (s set) is(want ...report) {
	s.e.t.Helper()
	s.waits(0, want)
}

// none wants nothing to be reported. It may let the set come to rest.
func (s set) none() {
	s.e.t.Helper()
	s.waits(0, nil)
	if s.cold {
		s.waits(time.Millisecond, nil)
	}
}

// soon wants the next wait, for ever, to report just this.
func (s set) soon(want ...report) {
	s.e.t.Helper()
	s.waits(-1, want)
}

func (s set) waits(timeout time.Duration, want []report) {
	s.e.t.Helper()
	evs := make([]vls.EpollEvent, 64)
	n, err := s.th.EpollWait(s.h, evs, timeout)
	s.e.ok(err)
	got := make(map[uint64]uint32)
	for _, ev := range evs[:n] {
		if _, twice := got[ev.Data]; twice {
			s.e.fatalf("session %#x is reported twice by one wait", ev.Data)
		}
		got[ev.Data] = ev.Events
	}
	same := len(got) == len(want)
	for _, r := range want {
		same = same && got[uint64(r.x.h)] == r.events
	}
	if !same {
		w := make(map[uint64]uint32)
		for _, r := range want {
			w[uint64(r.x.h)] = r.events
		}
		s.e.fatalf("wait reports %s, want %s", events(got), events(w))
	}
}

// events prints what a wait reported.
func events(m map[uint64]uint32) string {
	if len(m) == 0 {
		return "nothing"
	}
	var out []string
	for h, bits := range m {
		var names []string
		for _, b := range []struct {
			name string
			bit  uint32
		}{{"IN", core.EPOLLIN}, {"OUT", core.EPOLLOUT}, {"RDHUP", core.EPOLLRDHUP}, {"ERR", core.EPOLLERR}, {"HUP", core.EPOLLHUP}} {
			if bits&b.bit != 0 {
				names = append(names, b.name)
				bits &^= b.bit
			}
		}
		if bits != 0 || names == nil {
			names = append(names, fmt.Sprintf("%#x", bits))
		}
		out = append(out, fmt.Sprintf("%#x %s", h, strings.Join(names, "|")))
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}
