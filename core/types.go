package core

import (
	"fmt"
	"net/netip"
	"time"

	"vlsbench/fifo"

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
	return 0, fmt.Errorf("unknown wait %q; there are: spin, adaptive, park", s)
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

	EPOLL_CTL_ADD = unix.EPOLL_CTL_ADD
	EPOLL_CTL_DEL = unix.EPOLL_CTL_DEL
	EPOLL_CTL_MOD = unix.EPOLL_CTL_MOD
)

// Attr names a session attribute. Get and set are separate names.
type Attr uint16

const (
	// GetNread is the number of bytes that can be read, as int32.
	GetNread Attr = iota
	// GetNwrite is the number of bytes that can be written, as int32.
	GetNwrite
	// GetFlags is O_NONBLOCK or 0, as int32.
	GetFlags
	// SetFlags takes what GetFlags gives.
	SetFlags
	// GetError is the pending error as an errno, cleared by reading, as int32.
	GetError
	// GetListen is 1 if the session listens, as int32.
	GetListen
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
	// Segment, when set, is used in place of a new one, so that a harness can
	// choose where the objects of an application lie.
	Segment *fifo.Segment
}
