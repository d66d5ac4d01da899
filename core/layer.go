package core

import (
	"net/netip"
	"sync/atomic"
)

// layer is the session layer: it stands where VPP stands, and knows who listens
// where. It runs in the calling thread and takes no lock: its table is replaced
// whole by compare-and-swap, and everything else of a connection lies in the
// connection.
type layer struct {
	table atomic.Pointer[map[Endpoint]*listener]
	port  atomic.Uint32
	bound ports // of datagrams
}

const (
	firstPort = 32768
	nPorts    = 65536 - firstPort
)

func (y *layer) init() { y.table.Store(&map[Endpoint]*listener{}) }

// ephemeral is an endpoint of addr with a port that was not handed out for the
// last 32768 times.
func (y *layer) ephemeral(addr netip.Addr) Endpoint {
	return netip.AddrPortFrom(addr, uint16(firstPort+y.port.Add(1)%nPorts))
}

// lookup is who listens at an endpoint, or at its port on any address.
func (y *layer) lookup(ep Endpoint) *listener {
	table := *y.table.Load()
	if l := table[ep]; l != nil {
		return l
	}
	if l := table[netip.AddrPortFrom(anyAddr(ep.Addr()), ep.Port())]; l != nil {
		return l
	}
	if l := table[netip.AddrPortFrom(netip.IPv6Unspecified(), ep.Port())]; l != nil && !l.v6only {
		return l
	}
	return nil
}

// listen enters a listener; false: its endpoint is taken.
func (y *layer) listen(l *listener) bool {
	return y.update(func(table map[Endpoint]*listener) bool {
		for ep, o := range table {
			if ep.Port() == l.ep.Port() && overlap(ep.Addr(), o.v6only, l.ep.Addr(), l.v6only) {
				return false
			}
		}
		table[l.ep] = l
		return true
	})
}

// overlap reports whether two local addresses stand for a common one. The
// unspecified address stands for all of its family, that of IPv6 for those of
// IPv4 too, unless it is for IPv6 only.
func overlap(a netip.Addr, aV6only bool, b netip.Addr, bV6only bool) bool {
	covers := func(any netip.Addr, v6only bool, x netip.Addr) bool {
		return any.IsUnspecified() && (any.Is4() == x.Is4() || any.Is6() && !v6only)
	}
	return a == b || covers(a, aV6only, b) || covers(b, bV6only, a)
}

// unlisten takes a listener out.
func (y *layer) unlisten(l *listener) {
	y.update(func(table map[Endpoint]*listener) bool {
		delete(table, l.ep)
		return true
	})
}

// update replaces the table by a changed copy; change may be called again.
func (y *layer) update(change func(map[Endpoint]*listener) bool) bool {
	for {
		old := y.table.Load()
		table := make(map[Endpoint]*listener, len(*old)+1)
		for k, v := range *old {
			table[k] = v
		}
		if !change(table) {
			return false
		}
		if y.table.CompareAndSwap(old, &table) {
			return true
		}
	}
}

// listener is an endpoint's queue of connections that wait to be accepted.
// Connectors push from any thread; whoever has the session control of the
// listening session takes.
type listener struct {
	ep      Endpoint
	v6only  bool
	target  Handle        // the listening session
	rx, tx  atomic.Uint32 // sizes of the fifos it brings to a connection
	backlog atomic.Int32
	n       atomic.Int32         // waiting, or about to
	pushed  atomic.Uint32        // connections ever, to tell a new one from an old
	stack   atomic.Pointer[conn] // newest first
	oldest  atomic.Pointer[conn] // what was taken from the stack, oldest first
}

// maxBacklog is the kernel's own limit where none is configured.
const maxBacklog = 4096

func (l *listener) setBacklog(n int) { l.backlog.Store(int32(min(max(n, 1), maxBacklog))) }

// listenerClosed ends the stack of a listener that was closed.
var listenerClosed = new(conn)

// push queues a connection; false: the backlog is full or the listener closed.
func (l *listener) push(c *conn) bool {
	if l.n.Add(1) > l.backlog.Load() {
		l.n.Add(-1)
		return false
	}
	for {
		old := l.stack.Load()
		if old == listenerClosed {
			return false
		}
		c.next = old
		if l.stack.CompareAndSwap(old, c) {
			l.pushed.Add(1)
			return true
		}
	}
}

// pop takes the oldest waiting connection, or nil.
func (l *listener) pop() *conn {
	c := l.oldest.Load()
	if c == nil {
		if c = reversed(l.stack.Swap(nil)); c == nil {
			return nil
		}
	}
	l.oldest.Store(c.next)
	c.next = nil
	l.n.Add(-1)
	return c
}

// reversed is the list of a stack in the order of pushing.
func reversed(stack *conn) (list *conn) {
	for stack != nil {
		next := stack.next
		stack.next = list
		list = stack
		stack = next
	}
	return list
}

// close ends the queue and returns what waited in it, linked.
func (l *listener) close() *conn {
	list := reversed(l.stack.Swap(listenerClosed))
	for c := l.oldest.Swap(nil); c != nil; {
		next := c.next
		c.next = list
		list = c
		c = next
	}
	return list
}

// unpop puts back what pop took.
func (l *listener) unpop(c *conn) {
	c.next = l.oldest.Load()
	l.oldest.Store(c)
	l.n.Add(1)
}

// waiting reports whether there is a connection to accept, or is about to be:
// it may say so too early, never too late, since n rises before a connection is
// pushed and falls after it was taken. The lists do not tell: while one thread
// turns the stack around, both are empty for another. Any thread.
func (l *listener) waiting() bool { return l.n.Load() > 0 }

// length is the number of waiting connections. Any thread.
func (l *listener) length() int { return int(l.n.Load()) }
