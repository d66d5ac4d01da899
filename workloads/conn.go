package workloads

import (
	"errors"
	"fmt"
	"net/netip"

	"vlsbench/vls"

	"golang.org/x/sys/unix"
)

// Conn is one end of a connected session. It belongs to one thread.
type Conn struct {
	// Session is the number of the session in its application, from 0.
	Session int

	t      vls.Thread
	h      vls.Handle
	tx, rx stream
	buf    []byte // the thread's, of one message
	server bool
}

// Send writes the next n bytes of the stream, waiting for space. n is at most
// the size of a message.
func (c *Conn) Send(n int) error {
	for n > 0 {
		m, err := c.t.Write(c.h, c.tx.peek(n))
		if err != nil {
			return c.fail("write", c.tx.pos, err)
		}
		if m <= 0 || m > n {
			return c.fail("write", c.tx.pos, fmt.Errorf("returned %d of %d bytes", m, n))
		}
		c.tx.skip(m)
		n -= m
	}
	return nil
}

// Recv reads the next n bytes of the stream, waiting for them, and compares
// them with what was to come. It is false at the end of the stream, which is an
// error after the first byte. n is at most the size of a message.
func (c *Conn) Recv(n int) (bool, error) {
	for got := 0; got < n; {
		m, err := c.t.Read(c.h, c.buf[:n-got])
		if err != nil {
			return false, c.fail("read", c.rx.pos, err)
		}
		if m <= 0 || m > n-got {
			if m == 0 && got == 0 {
				return false, nil
			}
			if m == 0 {
				return false, c.fail("read", c.rx.pos, fmt.Errorf("the stream ends %d bytes into a message of %d", got, n))
			}
			return false, c.fail("read", c.rx.pos, fmt.Errorf("returned %d of %d bytes", m, n-got))
		}
		if err := c.rx.check(c.buf[:m]); err != nil {
			return false, c.fail("read", c.rx.pos, err)
		}
		got += m
	}
	return true, nil
}

// Shutdown ends what the peer reads.
func (c *Conn) Shutdown() error {
	if err := c.t.Shutdown(c.h, unix.SHUT_WR); err != nil {
		return c.fail("shutdown", c.tx.pos, err)
	}
	return nil
}

// Drain reads and verifies what is left, to the end of the stream.
func (c *Conn) Drain() error {
	for {
		n, err := c.t.Read(c.h, c.buf)
		if err != nil {
			return c.fail("read", c.rx.pos, err)
		}
		if n == 0 {
			return nil
		}
		if n < 0 || n > len(c.buf) {
			return c.fail("read", c.rx.pos, fmt.Errorf("returned %d of %d bytes", n, len(c.buf)))
		}
		if err := c.rx.check(c.buf[:n]); err != nil {
			return c.fail("read", c.rx.pos, err)
		}
	}
}

// end is the connecting or the accepting end.
func (c *Conn) end() string {
	if c.server {
		return "server"
	}
	return "client"
}

func (c *Conn) fail(op string, pos uint64, err error) error {
	return fmt.Errorf("session %d, %s end: %s at %d: %w", c.Session, c.end(), op, pos, err)
}

// basePort is the port of session 0.
const basePort = 10000

func endpoint(session int) vls.Endpoint {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(basePort+session))
}

// Connect sets up the sessions of the worker's pair of threads and returns the
// ends that are this thread's: those that connect for the first of the pair,
// those that accept for the second, and both for a single thread. All threads
// of a slot call it. Listeners stand for as long as the slot.
func (w *Worker) Connect() (clients, servers []Conn, err error) {
	pair := w.ID / 2
	client := w.Threads == 1 || w.ID%2 == 0
	server := w.Threads == 1 || w.ID%2 == 1
	var sessions []int
	for s := pair; s < w.Sessions; s += w.pairs() {
		sessions = append(sessions, s)
	}
	w.conns(sessions, client, server)
	if client {
		clients = w.ends[:len(sessions)]
	}
	if server {
		servers = w.ends[len(w.ends)-len(sessions):]
	}
	var listeners []vls.Handle
	if server {
		w.Phase("listen")
		for _, s := range sessions {
			h, err := w.Thread.Create(vls.TCP, false)
			if err != nil {
				return nil, nil, fmt.Errorf("session %d: create a listener: %w", s, err)
			}
			w.handles = append(w.handles, h)
			listeners = append(listeners, h)
			if err := w.Thread.Bind(h, endpoint(s)); err != nil {
				return nil, nil, fmt.Errorf("session %d: bind %v: %w", s, endpoint(s), err)
			}
			if err := w.Thread.Listen(h, 1); err != nil {
				return nil, nil, fmt.Errorf("session %d: listen on %v: %w", s, endpoint(s), err)
			}
		}
	}
	if err := w.Meet("listeners"); err != nil {
		return nil, nil, err
	}
	if client {
		w.Phase("connect")
		for i := range clients {
			c := &clients[i]
			if c.h, err = w.Thread.Create(vls.TCP, false); err != nil {
				return nil, nil, fmt.Errorf("session %d: create: %w", c.Session, err)
			}
			w.handles = append(w.handles, c.h)
			// It is done once queued, before anybody accepts.
			if err := w.Thread.Connect(c.h, endpoint(c.Session)); err != nil {
				return nil, nil, fmt.Errorf("session %d: connect to %v: %w", c.Session, endpoint(c.Session), err)
			}
		}
	}
	if server {
		w.Phase("accept")
		for i := range servers {
			c := &servers[i]
			if c.h, _, err = w.Thread.Accept(listeners[i], 0); err != nil {
				return nil, nil, fmt.Errorf("session %d: accept: %w", c.Session, err)
			}
			w.handles = append(w.handles, c.h)
		}
	}
	return clients, servers, nil
}

// conns makes this thread's ends, apart in memory from what other threads write.
func (w *Worker) conns(sessions []int, client, server bool) {
	cs := make([]Conn, 1, 2*len(sessions)+2)
	buf := make([]byte, w.Size)
	for _, end := range []struct{ mine, server bool }{{client, false}, {server, true}} {
		if !end.mine {
			continue
		}
		for _, s := range sessions {
			up, down := newStream(w.Seed, 2*s), newStream(w.Seed, 2*s+1)
			c := Conn{Session: s, t: w.Thread, tx: up, rx: down, buf: buf, server: end.server}
			if c.server {
				c.tx, c.rx = down, up
			}
			cs = append(cs, c)
		}
	}
	w.ends = cs[1:]
}

// Ends are the ends that Connect made, those that connected first.
func (w *Worker) Ends() []Conn { return w.ends }

// closeAll closes what the thread opened, so that a peer that waits sees an end.
func (w *Worker) closeAll() error {
	var errs []error
	for i := len(w.handles) - 1; i >= 0; i-- {
		if err := w.Thread.Close(w.handles[i]); err != nil {
			errs = append(errs, fmt.Errorf("close: %w", err))
		}
	}
	w.handles = nil
	return errors.Join(errs...)
}

// balance checks, once all threads are done, that what was sent was received.
func balance(workers []*Worker) error {
	type flow struct{ sent, received uint64 }
	flows := make(map[[2]int]flow) // by session and direction
	for _, w := range workers {
		for _, c := range w.ends {
			out, in := 0, 1
			if c.server {
				out, in = 1, 0
			}
			f := flows[[2]int{c.Session, out}]
			f.sent = c.tx.pos
			flows[[2]int{c.Session, out}] = f
			f = flows[[2]int{c.Session, in}]
			f.received = c.rx.pos
			flows[[2]int{c.Session, in}] = f
		}
	}
	for key, f := range flows {
		if f.sent != f.received {
			to := "server"
			if key[1] == 1 {
				to = "client"
			}
			return fmt.Errorf("session %d, %s end: the stream ended after %d bytes of %d sent", key[0], to, f.received, f.sent)
		}
	}
	return nil
}
