package core

import (
	"fmt"
	"net/netip"
	"time"

	"vlsbench/fifo"
	"vlsbench/internal/quote"

	"golang.org/x/sys/unix"
)

// Endpoint is an IPv4 or IPv6 address with a port.
type Endpoint = netip.AddrPort

// Proto is a transport protocol.
type Proto uint8

const (
	// TCP is a stream.
	TCP Proto = iota
	// UDP is datagrams.
	UDP
)

// Handle names a VCL session: worker<<24 | index in the lower half, the slot's
// generation in the upper. The zero Handle is never valid: generations begin
// at 1.
type Handle uint64

// Wait is how a thread waits for something that is not there yet.
type Wait uint8

const (
	// Spin looks again and again, with PAUSE in between. It needs a core per
	// waiting thread.
	Spin Wait = iota
	// Adaptive spins for a while, then sleeps.
	Adaptive
	// Park sleeps at once.
	Park
)

var waitNames = [...]string{Spin: "spin", Adaptive: "adaptive", Park: "park"}

func (w Wait) String() string {
	if int(w) < len(waitNames) {
		return waitNames[w]
	}
	return fmt.Sprintf("wait(%d)", uint8(w))
}

// ParseWait reads a wait mode's name.
func ParseWait(s string) (Wait, error) {
	for w, n := range waitNames {
		if n == s {
			return Wait(w), nil
		}
	}
	return 0, fmt.Errorf("unknown wait %s; there are: spin, adaptive, park", quote.Of(s))
}

// EpollEvent is an interest or a report: EPOLL* bits, and a word of the
// caller's that comes back with each report.
type EpollEvent struct {
	Events uint32
	Data   uint64
}

// Epoll bits and operations, with the kernel's values.
const (
	EPOLLIN      = unix.EPOLLIN
	EPOLLOUT     = unix.EPOLLOUT
	EPOLLERR     = unix.EPOLLERR
	EPOLLHUP     = unix.EPOLLHUP
	EPOLLRDHUP   = unix.EPOLLRDHUP
	EPOLLET      = unix.EPOLLET
	EPOLLONESHOT = unix.EPOLLONESHOT
	// EPOLLEXCLUSIVE is accepted and changes nothing: a set has one worker.
	EPOLLEXCLUSIVE = unix.EPOLLEXCLUSIVE
	// POLLNVAL is what Poll reports of a handle that names no session.
	POLLNVAL = unix.POLLNVAL

	EPOLL_CTL_ADD = unix.EPOLL_CTL_ADD
	EPOLL_CTL_DEL = unix.EPOLL_CTL_DEL
	EPOLL_CTL_MOD = unix.EPOLL_CTL_MOD
)

// Flags of Recvfrom.
const MSG_PEEK = unix.MSG_PEEK

// PollFD is one entry of [Thread.Poll]: what is asked for and what was found,
// as EPOLL* bits. EPOLLERR, EPOLLHUP and POLLNVAL need not be asked for, unless
// Exact is set, which POLLNVAL alone goes beyond.
type PollFD struct {
	Handle  Handle
	Events  uint32
	Revents uint32
	Exact   bool
}

// Attr names a session attribute. Get and set are separate names. All are an
// int32 in the machine's order, but for GetLocal and GetPeer. What says "0 or
// 1" takes any number but 0 as 1.
type Attr uint16

const (
	// GetNread is the number of bytes that can be read; of a listener, the
	// connections that wait; of datagrams, the length of the next one.
	GetNread Attr = iota
	// GetNwrite is the number of bytes that can be written now; of datagrams,
	// the longest that can be sent.
	GetNwrite
	// GetFlags is O_NONBLOCK or 0.
	GetFlags
	// SetFlags takes what GetFlags gives.
	SetFlags
	// GetError is the pending error as an errno, cleared by reading.
	GetError
	// GetListen is 1 if the session accepts connections.
	GetListen
	// GetLocal is the session's own endpoint, as [netip.AddrPort.MarshalBinary]
	// has it; before it has one, port 0 of 0.0.0.0.
	GetLocal
	// GetPeer is the peer's endpoint, likewise. ENOTCONN: there is none.
	GetPeer
	// GetProtocol is the [Proto].
	GetProtocol
	// GetTxFifoLen is the size of the fifo that the session writes into, or, of
	// one that has none yet, would bring; in bytes.
	GetTxFifoLen
	// SetTxFifoLen sets that, within the limits of the configuration. EINVAL:
	// the session is a connected stream, whose fifos stand.
	SetTxFifoLen
	// GetRxFifoLen is GetTxFifoLen for reading.
	GetRxFifoLen
	// SetRxFifoLen is SetTxFifoLen for reading.
	SetRxFifoLen
	// GetReuseaddr is 0 or 1. Without effect: endpoints are free at once.
	GetReuseaddr
	// SetReuseaddr takes 0 or 1.
	SetReuseaddr
	// GetReuseport is 0 or 1: whether other listeners that say so too, before
	// they listen, may have the endpoint. They get the connections in turn.
	GetReuseport
	// SetReuseport takes 0 or 1.
	SetReuseport
	// GetBroadcast is 0 or 1. Without effect: nobody hears a broadcast.
	GetBroadcast
	// SetBroadcast takes 0 or 1.
	SetBroadcast
	// GetV6only is 0 or 1: whether the unspecified address of IPv6 stands for
	// addresses of IPv6 alone.
	GetV6only
	// SetV6only takes 0 or 1. EINVAL: the session has its endpoint already.
	SetV6only
	// GetKeepalive is 0 or 1. Without effect, as are the next three pairs: the
	// peer is in the same memory.
	GetKeepalive
	// SetKeepalive takes 0 or 1.
	SetKeepalive
	// GetNodelay is 0 or 1; of streams.
	GetNodelay
	// SetNodelay takes 0 or 1; of streams.
	SetNodelay
	// GetKeepidle is seconds; of streams. 7200.
	GetKeepidle
	// SetKeepidle takes 1 to 32767; of streams.
	SetKeepidle
	// GetKeepintvl is seconds; of streams. 75.
	GetKeepintvl
	// SetKeepintvl takes 1 to 32767; of streams.
	SetKeepintvl
	// GetMSS is bytes; of streams. 536.
	GetMSS
	// SetMSS takes 88 to 32767; of streams.
	SetMSS
	// GetShutdown is what was shut down: 0, or the sum of 1 for reading and 2
	// for writing.
	GetShutdown
)

// Config is the session layer's configuration; zero fields take the defaults
// given with each. The names in parentheses are those of vcl.conf.
type Config struct {
	// Wait is how threads wait. Spin.
	Wait Wait
	// RxFifoSize and TxFifoSize are bytes per fifo, 4 KB to 1 GB (rx-fifo-size,
	// tx-fifo-size). A cut-through connection has one fifo per direction: the
	// larger of the writer's tx and the reader's rx. 4 MB, of which a fifo
	// takes chunk by chunk what it needs.
	RxFifoSize, TxFifoSize int
	// EventQueueSize is events per producer lane of a worker's queue, a power
	// of two from 16 to 64 Ki (event-queue-size). 1024.
	EventQueueSize int
	// SegmentSize is the bytes of shared memory, in which all fifos and queues
	// lie, 1 MB to 256 GB (segment-size). 256 MB, reserved and touched on use.
	SegmentSize int
	// MaxWorkers is 1 to 255 (max-workers). 16.
	MaxWorkers int
	// SessionTimeout is how long a listen or a blocking connect waits for the
	// session layer's answer, 1 ms to an hour (session-timeout, in seconds).
	// 10 s. It matters only where the session layer has a thread of its own.
	SessionTimeout time.Duration
	// SessionThread gives the session layer a thread of its own, pinned to
	// SessionCPU, which waits as Wait says; else it runs in the calling thread.
	SessionThread bool
	SessionCPU    int
	// SessionGate, when set, is called by the session layer's thread, if there
	// is one, before each connect or listen that it answers, in the order in
	// which they were asked for. It may take as long as it likes, and what it
	// holds up is answered once it returns, unless nobody wants that any more:
	// this is how a test makes an answer late. It calls nothing of the
	// application, and must return before the application can be closed; Fork,
	// and a worker that another asks for a session, wait for a connect that it
	// holds up.
	SessionGate func()
	// Segment, when set, is used in place of a new one, so that a harness can
	// choose where the objects of an application lie.
	Segment *fifo.Segment
}
