package core

import (
	"maps"
	"net/netip"
	"slices"
	"sync/atomic"

	"vlsbench/sched"
)

// layer is the session layer: it stands where VPP stands, and knows who listens
// where. It runs in the calling thread, or in a thread of its own (see service),
// and takes no lock: its table is replaced whole by compare-and-swap, and
// everything else of a connection lies in the connection.
type layer struct {
	app     *App
	table   atomic.Pointer[listeners]
	port    atomic.Uint32
	bound   ports    // of datagrams
	service *service // nil: it runs in the calling thread
}

// listeners is the layer's table. It is never changed: a change makes another.
type listeners map[Endpoint]*appListener

// appListener is an endpoint that somebody listens at, with all who do: workers
// that share one listener by fork, or that all allow others. It is never
// changed, but for the turn.
type appListener struct {
	at   []*listener    // one a worker
	turn *atomic.Uint32 // whose is the next connection
}

const (
	firstPort = 32768
	nPorts    = 65536 - firstPort
)

func (y *layer) init(a *App) {
	y.app = a
	y.table.Store(&listeners{})
}

// ephemeral is an endpoint of addr with a port that was not handed out for the
// last 32768 times.
func (y *layer) ephemeral(addr netip.Addr) Endpoint {
	return netip.AddrPortFrom(addr, uint16(firstPort+y.port.Add(1)%nPorts))
}

// lookup is who listens at an endpoint, or at its port on any address; nil:
// nobody.
func (y *layer) lookup(ep Endpoint) *appListener {
	table := *y.table.Load()
	if l := table[ep]; l != nil {
		return l
	}
	if l := table[netip.AddrPortFrom(anyAddr(ep.Addr()), ep.Port())]; l != nil {
		return l
	}
	if l := table[netip.AddrPortFrom(netip.IPv6Unspecified(), ep.Port())]; l != nil && !l.at[0].v6only {
		return l
	}
	return nil
}

// offer queues a connection with one of those who listen at an endpoint: they
// get them in turn, and one whose queue is full is passed over. nil: refused.
func (y *layer) offer(ep Endpoint, c *conn) *listener {
	for {
		a := y.lookup(ep)
		if a == nil {
			return nil
		}
		first := a.turn.Add(1) - 1
		for i := range uint32(len(a.at)) {
			if l := a.at[(first+i)%uint32(len(a.at))]; !y.app.leaving(l.target) && l.push(c, false) {
				return l
			}
		}
		// Those that were full stay where they are; one that closed meanwhile
		// may have left its place to another.
		if y.lookup(ep) == a {
			return nil
		}
	}
}

// listen enters a listener; false: its endpoint is taken by one that does not
// share it.
func (y *layer) listen(l *listener) bool {
	return y.update(func(table listeners) bool {
		for ep, a := range table {
			if ep.Port() != l.ep.Port() {
				continue
			}
			// Whoever is to take it out may be stopped.
			for _, o := range a.at {
				if y.app.leaving(o.target) {
					table.leave(o)
				}
			}
			if a = table[ep]; a != nil && !a.admits(l) {
				return false
			}
		}
		table.enter(l)
		return true
	})
}

// admits reports whether l may listen beside those of a, which have its port.
func (a *appListener) admits(l *listener) bool {
	for _, o := range a.at {
		if overlap(o.ep.Addr(), o.v6only, l.ep.Addr(), l.v6only) && !(o.reuse && l.reuse) {
			return false
		}
	}
	return true
}

// enter adds a listener to those at its endpoint.
func (table listeners) enter(l *listener) {
	a := table[l.ep]
	if a == nil {
		a = &appListener{turn: new(atomic.Uint32)}
	}
	table[l.ep] = &appListener{at: append(slices.Clip(a.at), l), turn: a.turn}
}

// join enters a listener at an endpoint that its session has already.
func (y *layer) join(l *listener) {
	y.update(func(table listeners) bool { table.enter(l); return true })
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
	y.update(func(table listeners) bool {
		return table.leave(l)
	})
}

// leave takes a listener from those at its endpoint; false: it is not among them.
func (table listeners) leave(l *listener) bool {
	a := table[l.ep]
	if a == nil || !slices.Contains(a.at, l) {
		return false
	}
	if len(a.at) == 1 {
		delete(table, l.ep)
		return true
	}
	rest := slices.DeleteFunc(slices.Clone(a.at), func(o *listener) bool { return o == l })
	table[l.ep] = &appListener{at: rest, turn: a.turn}
	return true
}

// update replaces the table by a changed copy; change may be called again.
func (y *layer) update(change func(listeners) bool) bool {
	for {
		old := y.table.Load()
		table := maps.Clone(*old)
		if !change(table) {
			return false
		}
		if sched.Enabled {
			sched.Point("core: between the listeners and their swap")
		}
		if y.table.CompareAndSwap(old, &table) {
			return true
		}
	}
}

// listener is one worker's queue of connections that wait to be accepted at an
// endpoint. Connectors push from any thread; whoever has the session control of
// the listening session takes.
type listener struct {
	ep      Endpoint
	v6only  bool
	reuse   bool          // others that say so too may listen at ep
	target  Handle        // the listening session
	rx, tx  atomic.Uint32 // sizes of the fifos it brings to a connection
	backlog atomic.Int32
	stack   atomic.Pointer[arrival] // newest first, down to what was taken last
	oldest  atomic.Pointer[conn]    // what was taken from the stack, oldest first
	taken   atomic.Uint32           // connections that were taken from both
}

// arrival is a connection in a listener's stack. So that a connector who is stopped
// has it queued and counted, or neither, each says how many came until then, itself
// among them.
type arrival struct {
	n     uint32   // never changed; those of one listener go on from each other
	c     *conn    // nil: it was taken, and what lies below
	below *arrival // this and c are for who has the session control
}

// maxBacklog is the kernel's own limit where none is configured.
const maxBacklog = 4096

func (l *listener) setBacklog(n int) { l.backlog.Store(int32(min(max(n, 1), maxBacklog))) }

// listenerClosed is the stack of a listener that was closed, or does not serve.
var listenerClosed = new(arrival)

// push queues a connection; false: the backlog is full, which force passes
// over, or the listener closed.
func (l *listener) push(c *conn, force bool) bool {
	a := &arrival{c: c}
	for {
		top := l.stack.Load()
		if top == listenerClosed || !force && waitingAt(top, l.taken.Load()) >= int(l.backlog.Load()) {
			return false
		}
		if a.below = top; top != nil {
			a.n = top.n
		}
		a.n++
		if sched.Enabled {
			sched.Point("core: connection counted, before it is queued")
		}
		if l.stack.CompareAndSwap(top, a) {
			return true
		}
	}
}

// pop takes the oldest waiting connection, or nil.
func (l *listener) pop() *conn {
	c := l.oldest.Load()
	if c == nil {
		if c = l.stack.Load().take(); c == nil {
			return nil
		}
		if sched.Enabled {
			sched.Point("core: connections taken, before they wait in their order")
		}
	}
	l.oldest.Store(c.next)
	c.next = nil
	if sched.Enabled {
		sched.Point("core: connection taken, before it is counted off")
	}
	l.taken.Add(1)
	return c
}

// take takes the connections of a stack, in the order of pushing. The arrival at
// its top stays, for the count.
func (a *arrival) take() (list *conn) {
	for b := a; b != nil && b.c != nil; b = b.below {
		b.c.next = list
		list = b.c
	}
	if list != nil {
		a.c, a.below = nil, nil
	}
	return list
}

// close ends the queue and returns what waited in it, oldest first, linked.
func (l *listener) close() *conn {
	if l.stack.Load() == listenerClosed {
		return nil
	}
	top := l.stack.Swap(listenerClosed)
	list := top.take()
	if first := l.oldest.Swap(nil); first != nil {
		last := first
		for last.next != nil {
			last = last.next
		}
		last.next, list = list, first
	}
	if top != nil {
		l.taken.Store(top.n)
	}
	return list
}

// serves reports whether connections are queued here.
func (l *listener) serves() bool { return l.stack.Load() != listenerClosed }

// reopen undoes close.
func (l *listener) reopen() { l.stack.Store(&arrival{n: l.taken.Load()}) }

// unpop puts back what pop took.
func (l *listener) unpop(c *conn) {
	c.next = l.oldest.Load()
	l.oldest.Store(c)
	l.taken.Add(^uint32(0))
}

// waitingAt is how many connections wait below the top of a stack, when so many
// were taken.
func waitingAt(top *arrival, taken uint32) int {
	if top == nil || top == listenerClosed {
		return 0
	}
	return max(int(int32(top.n-taken)), 0)
}

// length is the number of waiting connections: not less, for the lists do not tell
// while one thread is about to move some from the one to the other. What was taken
// since the look at that count is among them. Any thread.
func (l *listener) length() int {
	taken := l.taken.Load() // in this order
	return waitingAt(l.stack.Load(), taken)
}

// waiting reports whether there is a connection to accept. Any thread.
func (l *listener) waiting() bool { return l.length() > 0 }

// pushed is how many connections were ever queued, to tell a new one from an old;
// of a listener that does not serve, 0. Any thread.
func (l *listener) pushed() uint32 {
	if top := l.stack.Load(); top != nil {
		return top.n
	}
	return 0
}
