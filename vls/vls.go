// Package vls is the API of a thread-safe session layer: what an application
// calls, whatever lock strategy stands behind it. It holds the interfaces, the
// registry of strategies and, in vlstest, the suite that judges them.
//
// C keeps the calling context in thread-local storage. Go has none, so the
// context is the receiver of every call: an App makes Processes, a Process
// makes Threads, and every session call is made on a Thread.
//
// Errors hold [syscall.Errno] values and can be compared with ==. What a
// strategy does not have answers ENOTSUP.
package vls

import (
	"syscall"
	"time"

	"vlsbench/core"
	"vlsbench/locks"
)

// Handle names a VLS session. The lower half is worker<<24 | index, the upper
// half a generation, so that a handle of a closed session is EBADFD for ever
// and never another session. A handle is local to its process, as a descriptor
// is. The zero Handle is never valid.
type Handle uint64

// Types that the session core already has are the API's own.
type (
	// Endpoint is an IPv4 or IPv6 address with a port.
	Endpoint = core.Endpoint
	// SessionHandle names a VCL session: the same layout as Handle.
	SessionHandle = core.Handle
	// Proto is a transport: [TCP] or [UDP].
	Proto = core.Proto
	// EpollEvent is what EpollCtl asks for and EpollWait reports.
	EpollEvent = core.EpollEvent
	// Attr names a session attribute.
	Attr = core.Attr
	// Wait is how a thread waits: [Spin], [Adaptive] or [Park].
	Wait = core.Wait
)

// Protocols and wait modes, under the names of the core.
const (
	TCP = core.TCP
	UDP = core.UDP

	Spin     = core.Spin
	Adaptive = core.Adaptive
	Park     = core.Park
)

// App is one attached application under one strategy. Its methods may be
// called by any goroutine at any time.
type App interface {
	// NewProcess makes a process that shares nothing with the others.
	// ENOMEM: no worker is left.
	NewProcess() (Process, error)
	// Locks reports the acquisitions counted since the application was made,
	// one entry a lock class (P, S, MQ, …). It is empty unless
	// [Options.CountLocks] was set, and exact once all threads are quiet.
	Locks() []locks.Stat
	// Close releases everything. No thread may be inside a call.
	Close() error
}

// Process is one process of an application: it owns a worker and the state
// that C keeps in process-local memory. Its methods may be called by any
// goroutine.
type Process interface {
	// NewThread makes a calling context, not yet registered: its first call,
	// or Register, does that.
	NewThread() Thread
	// Fork makes a process that shares all sessions of this one, under the same
	// handles, and has a copy of each of its epoll sets. An inherited listener
	// serves the child from its first Accept, EpollCtl or Select on it. ENOMEM:
	// no worker is left, and nothing has changed. ENOTSUP.
	Fork() (Process, error)
	// Exit closes what the process holds. No thread may be inside a call.
	Exit() error
}

// Mortal is a process that can die without a word. Those of a strategy that has
// Fork are.
type Mortal interface {
	Process
	// Kill declares the process dead, in place of Exit: its threads make no
	// call any more, not even Exit, and those that wait in one leave it empty
	// handed. What it held is given back by its parent, at the parent's next
	// wait or exit; at once if it has no parent that lives.
	Kill() error
}

// Thread is one calling context. It is used by one goroutine at a time;
// different threads of a process may be used at once.
//
// Every call on a handle that is closed or never was answers EBADFD. A session
// where an epoll set is wanted is EINVAL, an epoll set where a session is
// wanted EBADFD. A negative timeout waits for ever, zero polls.
//
// Where each thread has a worker of its own (MultiThreadWorkers), a session that
// another thread has is to be had when that thread makes a call, any, or waits in
// one, but for a connect or listen that the session layer's own thread has not
// answered. If it does not for some seconds, the call that wants the session is
// ETIMEDOUT, and nothing has changed.
type Thread interface {
	// Register makes the thread known to its process; the first call does it
	// too, with the same errors. ENOTSUP: the strategy has no second thread.
	// ENOMEM: there is no room for another.
	Register() error
	// Exit releases what the thread holds and unregisters it. Exit of a
	// thread that never registered does nothing.
	Exit() error

	// Create makes a CLOSED session, a stream or one of datagrams.
	// EAFNOSUPPORT: unknown protocol. ENOMEM: the pool is full.
	Create(p Proto, nonblocking bool) (Handle, error)
	// Bind gives the session its local endpoint, at which one of datagrams
	// hears at once. EINVAL: no address, or bound already. EADDRINUSE: of
	// datagrams.
	Bind(h Handle, ep Endpoint) error
	// Listen makes a bound session accept up to backlog connections that wait
	// to be accepted; it is idempotent. EADDRINUSE. EINVAL: not bound, or
	// connected. ETIMEDOUT: the session layer, on a thread of its own, did not
	// answer within the session timeout. ENOTCONN: closed meanwhile.
	Listen(h Handle, backlog int) error
	// Connect connects to a listener. EINPROGRESS (non-blocking), ECONNREFUSED
	// (nobody listens, or its backlog is full), EALREADY (connecting already),
	// ETIMEDOUT (as of Listen), ENOTCONN (closed meanwhile), EINVAL (a listener,
	// or no address), EAFNOSUPPORT (of another family than the local one), ENOMEM.
	// A session of datagrams gets ep as the one that it talks with.
	Connect(h Handle, ep Endpoint) error
	// Accept takes the oldest waiting connection and returns its handle and
	// the peer's endpoint. flags may hold O_NONBLOCK, for the new session.
	// EBADFD: not listening. EAGAIN: none, and non-blocking. EOPNOTSUPP: of
	// datagrams. ENOTCONN: closed meanwhile.
	Accept(h Handle, flags int) (Handle, Endpoint, error)

	// Read reads what is there, at most len(p), waiting for the first byte
	// unless non-blocking; of no bytes it is 0 at once. 0, nil is else the end of
	// the stream. EFAULT: p is nil. EWOULDBLOCK. ENOTCONN: not connected, or
	// closed meanwhile. ECONNRESET. ECONNREFUSED: of connected datagrams, nobody
	// heard what was sent to the peer before.
	Read(h Handle, p []byte) (int, error)
	// Recvfrom reads, and returns the sender's endpoint, of a stream the
	// peer's. With MSG_PEEK what is read stays; other flags are EAFNOSUPPORT. Of
	// no bytes it waits for the first one as any, and leaves it there. Of
	// datagrams it reads one, and drops what is longer than p. Else it has the
	// errors of Read.
	Recvfrom(h Handle, p []byte, flags int) (int, Endpoint, error)
	// Write writes p, waiting for space unless non-blocking, when it may write
	// short. EWOULDBLOCK, EPIPE (shut down), ENOTCONN (not connected, or closed
	// meanwhile), ECONNRESET, ENOMEM (no memory for what is buffered). It sends
	// one datagram to the peer: EDESTADDRREQ, EMSGSIZE and ECONNREFUSED are as of
	// Sendto.
	Write(h Handle, p []byte) (int, error)
	// WriteMsg writes and tells the receiver at once. It has the errors of Write.
	WriteMsg(h Handle, p []byte) (int, error)
	// Sendto sends a datagram to an endpoint. With the zero Endpoint it is
	// Write. EINVAL: an endpoint for a stream or a connected session.
	// EDESTADDRREQ: none, and no peer. EMSGSIZE: it can never fit. ECONNREFUSED:
	// nobody heard what was sent to the peer before. EAFNOSUPPORT: flags, or an
	// endpoint of another family. Else it has the errors of Write.
	Sendto(h Handle, p []byte, flags int, ep Endpoint) (int, error)

	// Shutdown ends reading (SHUT_RD), writing (SHUT_WR) or both (SHUT_RDWR).
	// EBADFD: the session listens. EINVAL: none of these. ENOTCONN, ECONNRESET:
	// there is no connection.
	Shutdown(h Handle, how int) error
	// Close closes a session or an epoll set. Waits of other threads on it
	// end: ENOTCONN on a session, EBADFD on a set.
	Close(h Handle) error
	// Attr reads or writes an attribute in buf and returns its length.
	// EINVAL: unknown attribute, a buffer of the wrong length, or a value that
	// cannot be. ENOTCONN, ECONNRESET: there is no connection to ask.
	Attr(h Handle, a Attr, buf []byte) (int, error)

	// EpollCreate makes an epoll set. ENOMEM: the pool is full.
	EpollCreate() (Handle, error)
	// EpollCtl adds, modifies or deletes (EPOLL_CTL_*) the interest of set ep
	// in session h. ev may be nil for EPOLL_CTL_DEL. EEXIST, ENOENT, EINVAL.
	EpollCtl(ep Handle, op int, h Handle, ev *EpollEvent) error
	// EpollWait fills evs with what is ready and returns the count.
	// EINVAL: len(evs) is 0. EBADFD: the set was closed meanwhile.
	EpollWait(ep Handle, evs []EpollEvent, timeout time.Duration) (int, error)
	// Select leaves in each set, any of which may be nil, the handles that are
	// ready, and returns their number. In except that is a session that was
	// reset or has an error pending. A handle that names no session is ready,
	// so that what is done with it next is EBADFD.
	Select(read, write, except *HandleSet, timeout time.Duration) (int, error)
	// Poll fills Revents of every entry and returns how many are not zero. A
	// handle that names no session, or a set, is POLLNVAL.
	Poll(fds []PollFD, timeout time.Duration) (int, error)

	// SessionHandle is the VCL session behind a VLS handle.
	SessionHandle(h Handle) (SessionHandle, error)
	// SessionIndex is that session's index and its worker's.
	SessionIndex(h Handle) (index, worker uint32, err error)
	// HandleOf is the VLS handle of the calling worker's session with that
	// index. EBADFD: there is none.
	HandleOf(index uint32) (Handle, error)

	// UseEventfd reports whether message queues are waited for by eventfd.
	UseEventfd() bool
	// MultiThreadWorkers reports whether each thread has a worker of its own.
	MultiThreadWorkers() bool
	// UseRealEpoll reports whether the calling thread's worker needs the
	// kernel's epoll beside VCL's.
	UseRealEpoll() bool
}

// PollFD is one entry of Poll: what is asked for and what was found, as
// EPOLLIN, EPOLLOUT, … bits.
type PollFD struct {
	Handle  Handle
	Events  uint32
	Revents uint32
}

// HandleSet is a set of handles for Select. The zero value is empty.
type HandleSet struct{ m map[Handle]struct{} }

// Add puts h into the set.
func (s *HandleSet) Add(h Handle) {
	if s.m == nil {
		s.m = make(map[Handle]struct{})
	}
	s.m[h] = struct{}{}
}

// Remove takes h out of the set.
func (s *HandleSet) Remove(h Handle) { delete(s.m, h) }

// Has reports whether h is in the set.
func (s *HandleSet) Has(h Handle) bool { _, ok := s.m[h]; return ok }

// Len is the number of handles in the set.
func (s *HandleSet) Len() int { return len(s.m) }

// Unimplemented answers ENOTSUP to every call of [Thread]. Embedding it lets
// the interface grow without breaking a strategy; it holds no lock and calls
// nothing, so a method that was forgotten shows.
type Unimplemented struct{}

var _ Thread = Unimplemented{}

func (Unimplemented) Register() error                             { return syscall.ENOTSUP }
func (Unimplemented) Exit() error                                 { return syscall.ENOTSUP }
func (Unimplemented) Create(Proto, bool) (Handle, error)          { return 0, syscall.ENOTSUP }
func (Unimplemented) Bind(Handle, Endpoint) error                 { return syscall.ENOTSUP }
func (Unimplemented) Listen(Handle, int) error                    { return syscall.ENOTSUP }
func (Unimplemented) Connect(Handle, Endpoint) error              { return syscall.ENOTSUP }
func (Unimplemented) Read(Handle, []byte) (int, error)            { return 0, syscall.ENOTSUP }
func (Unimplemented) Write(Handle, []byte) (int, error)           { return 0, syscall.ENOTSUP }
func (Unimplemented) WriteMsg(Handle, []byte) (int, error)        { return 0, syscall.ENOTSUP }
func (Unimplemented) Shutdown(Handle, int) error                  { return syscall.ENOTSUP }
func (Unimplemented) Close(Handle) error                          { return syscall.ENOTSUP }
func (Unimplemented) Attr(Handle, Attr, []byte) (int, error)      { return 0, syscall.ENOTSUP }
func (Unimplemented) EpollCreate() (Handle, error)                { return 0, syscall.ENOTSUP }
func (Unimplemented) Poll([]PollFD, time.Duration) (int, error)   { return 0, syscall.ENOTSUP }
func (Unimplemented) SessionHandle(Handle) (SessionHandle, error) { return 0, syscall.ENOTSUP }
func (Unimplemented) HandleOf(uint32) (Handle, error)             { return 0, syscall.ENOTSUP }
func (Unimplemented) UseEventfd() bool                            { return false }
func (Unimplemented) MultiThreadWorkers() bool                    { return false }
func (Unimplemented) UseRealEpoll() bool                          { return false }

func (Unimplemented) Accept(Handle, int) (Handle, Endpoint, error) {
	return 0, Endpoint{}, syscall.ENOTSUP
}

func (Unimplemented) Recvfrom(Handle, []byte, int) (int, Endpoint, error) {
	return 0, Endpoint{}, syscall.ENOTSUP
}

func (Unimplemented) Sendto(Handle, []byte, int, Endpoint) (int, error) {
	return 0, syscall.ENOTSUP
}

func (Unimplemented) EpollCtl(Handle, int, Handle, *EpollEvent) error {
	return syscall.ENOTSUP
}

func (Unimplemented) EpollWait(Handle, []EpollEvent, time.Duration) (int, error) {
	return 0, syscall.ENOTSUP
}

func (Unimplemented) Select(_, _, _ *HandleSet, _ time.Duration) (int, error) {
	return 0, syscall.ENOTSUP
}

func (Unimplemented) SessionIndex(Handle) (uint32, uint32, error) {
	return 0, 0, syscall.ENOTSUP
}
