package core

import (
	"syscall"

	"vlsbench/audit"
	"vlsbench/fifo"
	"vlsbench/hw"
)

// Read reads what is there, at most len(p), and waits for the first byte unless
// the session is non-blocking; with len(p) 0 it waits for nothing. 0, nil is the
// end of the stream, or of no p. Of datagrams it
// is [Thread.Recvfrom] without the sender. EFAULT: p is nil. EWOULDBLOCK.
// ENOTCONN: not connected, or closed meanwhile. ECONNRESET: reset, and what was
// unread is gone. EBADFD: an epoll set. Session rx: exclusive. Session control:
// shared.
func (t *Thread) Read(s *Session, p []byte) (int, error) {
	if s.flags.Load()&fRead == 0 || s.rx.Status()&stReset != 0 {
		return t.readSlow(s, p, false)
	}
	s.rxAudit.Enter("session rx", audit.Exclusive)
	if !s.rx.Short(len(p)) || !s.rx.There(len(p)) && !s.rx.Look(len(p)) {
		s.rxAudit.Leave(audit.Exclusive)
		return t.readAny(s, p)
	}
	s.rx.Take(p)
	s.rx.AdvanceHead(len(p))
	s.rxAudit.Leave(audit.Exclusive)
	if !s.rx.Wanted() {
		return len(p), nil
	}
	return t.readTold(s, len(p))
}

// readAny reads what is there of an open session, at most len(p).
func (t *Thread) readAny(s *Session, p []byte) (int, error) {
	if n := s.dequeue(p); n > 0 {
		return t.readTold(s, n)
	}
	return t.readSlow(s, p, false)
}

// readTold ends a read of n bytes by telling the producer, if it wants to know.
func (t *Thread) readTold(s *Session, n int) (int, error) {
	if s.rx.Wanted() {
		t.tellSpace(s, n)
	}
	return n, nil
}

func (s *Session) dequeue(p []byte) int {
	s.rxAudit.Enter("session rx", audit.Exclusive)
	n, _ := s.rx.Dequeue(p)
	s.rxAudit.Leave(audit.Exclusive)
	return n
}

// tellSpace tells the producer of the space it asked for.
func (t *Thread) tellSpace(s *Session, freed int) {
	if s.rx.Notify(freed) {
		t.post(s.peer(), EventTx)
	}
}

// take reads what is there; peeked at, it stays.
func (s *Session) take(p []byte, peek bool) int {
	if !peek {
		return s.dequeue(p)
	}
	s.rxAudit.Enter("session rx", audit.Exclusive)
	n, _ := s.rx.Peek(0, p)
	s.rxAudit.Leave(audit.Exclusive)
	return n
}

func (t *Thread) readSlow(s *Session, p []byte, peek bool) (int, error) {
	if s.dg != nil {
		n, _, err := t.recv(s, p, peek)
		return n, err
	}
	defer t.done()
	if p == nil && s.epoll == nil {
		return 0, syscall.EFAULT
	}
	for {
		if err := s.open(); err != nil {
			return 0, err
		}
		if len(p) == 0 && (!peek || s.rx.MaxDequeue() > 0) {
			return 0, nil
		}
		// What was written before the end was published before it, so a fifo
		// that is empty after the end was seen stays empty.
		end := s.rx.Status()&stEnd != 0
		if n := s.take(p, peek); n > 0 {
			if !peek && s.rx.Wanted() {
				t.tellSpace(s, n)
			}
			return n, nil
		}
		switch flags := s.flags.Load(); {
		case end || flags&fRdShut != 0:
			return 0, nil
		case flags&fNonblock != 0:
			return 0, syscall.EWOULDBLOCK
		}
		if err := t.wait(s, waitRead, 1); err != nil {
			return 0, err
		}
	}
}

// Write writes all of p, waiting for space; non-blocking it writes what fits. Of
// datagrams it is [Thread.Sendto] the peer.
// EWOULDBLOCK: nothing fits. EPIPE: shut down. ENOTCONN: not connected, or
// closed meanwhile. ECONNRESET. ENOMEM: the segment is exhausted. EBADFD: an
// epoll set. An error comes with 0, but for ErrWait; what was written before it
// counts first.
// Session tx: exclusive. Session control: shared.
func (t *Thread) Write(s *Session, p []byte) (int, error) {
	if s.flags.Load()&fWrite == 0 || s.tx.Status() != 0 {
		return t.writeSlow(s, p, 0)
	}
	s.txAudit.Enter("session tx", audit.Exclusive)
	if !s.tx.Short(len(p)) || !s.tx.Room(len(p)) {
		s.txAudit.Leave(audit.Exclusive)
		return t.writeAny(s, p)
	}
	s.tx.Put(p)
	s.tx.AdvanceTail(len(p))
	s.txAudit.Leave(audit.Exclusive)
	if s.tx.HasEvent() {
		return len(p), nil
	}
	return t.writeTold(s, len(p))
}

// writeAny writes to an open session what fits of p, and goes on as the session
// is blocking or not.
func (t *Thread) writeAny(s *Session, p []byte) (int, error) {
	n, _ := s.enqueue(p)
	if n > 0 && !s.tx.HasEvent() {
		t.tellData(s)
	}
	if n == len(p) {
		return n, nil
	}
	return t.writeSlow(s, p, n)
}

// writeTold ends a write of n bytes by telling the consumer.
func (t *Thread) writeTold(s *Session, n int) (int, error) {
	t.tellData(s)
	return n, nil
}

func (s *Session) enqueue(p []byte) (int, error) {
	s.txAudit.Enter("session tx", audit.Exclusive)
	n, err := s.tx.Enqueue(p)
	s.txAudit.Leave(audit.Exclusive)
	return n, err
}

// tellData tells the consumer that there is data, if nobody else did.
func (t *Thread) tellData(s *Session) {
	if s.tx.SetEvent() {
		t.post(s.peer(), EventRx)
	}
}

func (t *Thread) writeSlow(s *Session, p []byte, done int) (int, error) {
	if s.dg != nil {
		return t.send(s, p, Endpoint{})
	}
	defer t.done()
	for {
		n, err := t.tryWrite(s, p[done:])
		done += n
		if done == len(p) && err == nil {
			return done, nil
		}
		if err == nil && s.flags.Load()&fNonblock == 0 {
			err = t.wait(s, waitWrite, s.space(len(p)-done))
			if err == nil {
				continue
			}
		}
		switch {
		case err == ErrWait:
			return done, err
		case done > 0:
			return done, nil
		case err == nil:
			return 0, syscall.EWOULDBLOCK
		}
		return 0, err
	}
}

// space is how much room a writer of n more bytes waits for: all, but no more
// than a quarter of the fifo, so that it is not woken for each line that the
// reader frees. The write cannot end before that, so nobody can wait for it.
func (s *Session) space(n int) int { return min(n, max(s.tx.Size()/4, 1)) }

// tryWrite writes what fits; no error and too little: full, and then the set
// that wants to know is told when there is space.
func (t *Thread) tryWrite(s *Session, p []byte) (int, error) {
	if len(p) == 0 && s.epoll == nil {
		return 0, nil
	}
	if err := s.open(); err != nil {
		return 0, err
	}
	if s.flags.Load()&fWrShut != 0 {
		return 0, syscall.EPIPE
	}
	if s.tx.Status()&stGone != 0 {
		// The peer has closed: its side answers the first write with a reset,
		// as a kernel would.
		s.tx.OrStatus(stReset)
		s.rx.OrStatus(stReset)
		t.post(s.self(), EventReset)
		return len(p), nil
	}
	n, err := s.enqueue(p)
	if n > 0 && !s.tx.HasEvent() {
		t.tellData(s)
	}
	if err == fifo.ErrGrow {
		return n, syscall.ENOMEM
	}
	if n == len(p) {
		return n, nil
	}
	if flags := s.flags.Load(); flags&fNonblock != 0 && flags&fEpollOut != 0 {
		s.flags.Or(fFull)
		s.edge(&s.full, fullShift)
		s.tx.WantNotify(s.space(s.tx.Size()))
		hw.HeavyFence()
		if s.tx.MaxEnqueue() >= s.space(s.tx.Size()) && s.tx.TakeNotify() {
			// The reader was quicker: it may not have seen the request.
			t.post(s.self(), EventTx)
		}
	}
	return n, nil
}
