package workloads

import (
	"errors"

	"vlsbench/hw"
)

func init() {
	Register(Workload{
		Name:  "uni",
		Doc:   "one-way stream: of each pair of threads one writes and the other reads; a single thread does both in turn",
		Unit:  "messages",
		Check: paired,
		Run:   uni,
	})
	Register(Workload{
		Name:  "bi",
		Doc:   "stream both ways: each of a pair of threads writes some messages, then reads as many",
		Unit:  "messages",
		Check: paired,
		Run:   bi,
	})
	Register(Workload{
		Name:  "pingpong",
		Doc:   "round trips: of each pair of threads one asks and waits, the other answers; one in 7 is timed",
		Unit:  "round trips",
		Check: paired,
		Run:   pingpong,
	})
}

func uni(w *Worker) error {
	clients, servers, err := w.Connect()
	if err != nil {
		return err
	}
	if err := w.Start(); err != nil {
		return err
	}
	switch {
	case servers == nil:
		return uniWrite(w, clients)
	case clients == nil:
		return uniRead(w, servers)
	}
	return uniAlone(w, clients, servers)
}

// uniWrite writes a message on each session in turn.
func uniWrite(w *Worker, conns []Conn) error {
	stride := w.Stride()
	for i, left := 0, stride; ; {
		if err := conns[i].Send(w.Size); err != nil {
			return err
		}
		if i++; i == len(conns) {
			i = 0
		}
		if left--; left == 0 {
			if !w.Tick(0, 0) {
				return shutdownAll(conns)
			}
			left = stride
		}
	}
}

// uniRead reads a message from each session in turn, to the end of the stream:
// what comes after the deadline is verified and not counted.
func uniRead(w *Worker, conns []Conn) error {
	stride := uint64(w.Stride())
	for i, n := 0, uint64(0); ; {
		more, err := conns[i].Recv(w.Size)
		if err != nil {
			return err
		}
		if !more {
			w.Tick(n, n*uint64(w.Size))
			w.Stop()
			return allEnded(conns)
		}
		if i++; i == len(conns) {
			i = 0
		}
		if n++; n == stride {
			w.Tick(n, n*uint64(w.Size))
			n = 0
		}
	}
}

// uniAlone writes and reads each message on one thread. One that would not fit
// the fifo goes in pieces.
func uniAlone(w *Worker, clients, servers []Conn) error {
	stride := uint64(w.Stride())
	for i, n := 0, uint64(0); ; {
		if err := carry(&clients[i], &servers[i], w.Size); err != nil {
			return err
		}
		if i++; i == len(clients) {
			i = 0
		}
		if n++; n == stride {
			if !w.Tick(n, n*uint64(w.Size)) {
				break
			}
			n = 0
		}
	}
	if err := shutdownAll(clients); err != nil {
		return err
	}
	return allEnded(servers)
}

// carry takes one message from end to end on one thread.
func carry(from, to *Conn, size int) error {
	for left := size; left > 0; {
		n := min(left, piece)
		if err := from.Send(n); err != nil {
			return err
		}
		if more, err := to.Recv(n); err != nil || !more {
			return ended(to, err)
		}
		left -= n
	}
	return nil
}

// window is how many messages of a stream both ways are written before as many
// are read: a piece of them, at most 16.
func window(size int) int { return min(16, max(1, piece/size)) }

func bi(w *Worker) error {
	clients, servers, err := w.Connect()
	if err != nil {
		return err
	}
	// The ends of each session that are this thread's.
	conns := w.Ends()
	sessions := make([][]*Conn, max(len(clients), len(servers)))
	for i := range conns {
		s := &sessions[i%len(sessions)]
		*s = append(*s, &conns[i])
	}
	if err := w.Start(); err != nil {
		return err
	}
	n := window(w.Size)
	for i := 0; ; {
		more, err := exchange(sessions[i], w.Size, n)
		if err != nil {
			return err
		}
		if !more {
			w.Stop()
			break
		}
		ops := uint64(n * len(sessions[i]))
		if !w.Tick(ops, ops*uint64(w.Size)) {
			break
		}
		if i++; i == len(sessions) {
			i = 0
		}
	}
	if err := shutdownAll(conns); err != nil {
		return err
	}
	for i := range conns {
		if err := conns[i].Drain(); err != nil {
			return err
		}
	}
	return nil
}

// exchange sends n messages on a session, then receives as many; ends is one
// end of it or both. It is false if the peer has ended. Nobody ever waits for
// space: at most two windows are under way in each direction, the one that the
// peer has still to read and the next.
func exchange(ends []*Conn, size, n int) (bool, error) {
	for left := size; left > 0; {
		p := min(left, piece)
		for _, c := range ends {
			for range n {
				if err := c.Send(p); err != nil {
					return false, err
				}
			}
		}
		for _, c := range ends {
			for k := range n {
				more, err := c.Recv(p)
				if err != nil {
					return false, err
				}
				if !more {
					if k > 0 || left != size {
						return false, ended(c, nil) // it ends between windows only
					}
					return false, nil
				}
			}
		}
		left -= p
	}
	return true, nil
}

// sample is how many round trips go to one that is timed. The clock read and
// the record cost some 20 ns, against 100 to 500 for the round trip; percentiles
// do not suffer, and the maximum is that of the timed ones. Seven, so that it
// falls on every session in turn.
const sample = 7

func pingpong(w *Worker) error {
	clients, servers, err := w.Connect()
	if err != nil {
		return err
	}
	if servers == nil || clients != nil {
		w.RecordLatency()
	}
	if err := w.Start(); err != nil {
		return err
	}
	if clients == nil {
		return answer(w, servers)
	}
	return ask(w, clients, servers)
}

// ask makes round trips, on each session in turn. servers are the other ends if
// this thread has them too.
func ask(w *Worker, clients, servers []Conn) error {
	size := uint64(w.Size)
	for i := 0; ; {
		for k := range sample {
			var begin uint64
			if k == 0 {
				begin = hw.Cycles()
			}
			c := &clients[i]
			if servers != nil {
				if err := carry(c, &servers[i], w.Size); err != nil {
					return err
				}
				if err := carry(&servers[i], c, w.Size); err != nil {
					return err
				}
			} else {
				if err := c.Send(w.Size); err != nil {
					return err
				}
				if more, err := c.Recv(w.Size); err != nil || !more {
					return ended(c, err)
				}
			}
			if k == 0 {
				w.Observe(begin, hw.Cycles())
			}
			if i++; i == len(clients) {
				i = 0
			}
		}
		// Both the request and the answer were verified.
		if !w.Tick(sample, 2*sample*size) {
			break
		}
	}
	if err := shutdownAll(clients); err != nil {
		return err
	}
	if servers == nil {
		return nil
	}
	return allEnded(servers)
}

// answer sends back a message for each that comes, on each session in turn,
// until the requester ends.
func answer(w *Worker, conns []Conn) error {
	for i, left := 0, sample; ; {
		c := &conns[i]
		more, err := c.Recv(w.Size)
		if err != nil {
			return err
		}
		if !more {
			w.Stop()
			// If the requester did not mean to end, it sees this.
			if err := shutdownAll(conns); err != nil {
				return err
			}
			return allEnded(conns)
		}
		if err := c.Send(w.Size); err != nil {
			return err
		}
		if i++; i == len(conns) {
			i = 0
		}
		if left--; left == 0 {
			w.Tick(0, 0)
			left = sample
		}
	}
}

func shutdownAll(conns []Conn) error {
	for i := range conns {
		if err := conns[i].Shutdown(); err != nil {
			return err
		}
	}
	return nil
}

// allEnded verifies that nothing comes after the end of the last stream that
// was to be read: its peer has ended them all.
func allEnded(conns []Conn) error {
	for i := range conns {
		if more, err := conns[i].Recv(1); err != nil || more {
			if err == nil {
				err = conns[i].fail("read", conns[i].rx.pos-1, errors.New("bytes after the end of another session's stream that was written later"))
			}
			return err
		}
	}
	return nil
}

// ended is the error for a stream that ended too soon.
func ended(c *Conn, err error) error {
	if err != nil {
		return err
	}
	return c.fail("read", c.rx.pos, errors.New("the stream ended too soon"))
}
