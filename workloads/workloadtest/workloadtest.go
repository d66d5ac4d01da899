// Package workloadtest is a session layer for testing what measures one: pipes
// in memory behind one mutex, with faults that can be planted. A workload that
// passes over it and finds every fault verifies what it carries.
package workloadtest

import (
	"sync"
	"syscall"

	"vlsbench/locks"
	"vlsbench/vls"

	"golang.org/x/sys/unix"
)

// Fault is what goes wrong in one stream of an application.
type Fault int

// Faults. Each strikes in the first write, on whichever session, that reaches
// the position given to [Strategy].
const (
	None    Fault = iota
	Corrupt       // a bit is flipped
	Lose          // the write is taken and dropped
	Double        // the write is carried twice
	Cut           // the stream ends there, in silence
	Refuse        // the write fails with ECONNRESET
	Hang          // the write never returns, until the application is closed
	Panic         // the write panics
)

// Strategy is a session layer named name, of kind [vls.Busted] if it has a fault,
// with that fault planted at byte at of a stream. maxThreads is as in
// [vls.Strategy].
func Strategy(name string, maxThreads int, fault Fault, at uint64) vls.Strategy {
	kind := vls.Built
	if fault != None {
		kind = vls.Busted
	}
	return vls.Strategy{
		Name: name, Doc: "pipes in memory, for tests", Kind: kind, MaxThreads: maxThreads,
		New: func(vls.Options) (vls.App, error) {
			a := &app{sessions: make(map[vls.Handle]*session), listeners: make(map[vls.Endpoint]*session), fault: fault, at: at}
			a.cond.L = &a.mu
			return a, nil
		},
	}
}

type app struct {
	mu        sync.Mutex
	cond      sync.Cond
	sessions  map[vls.Handle]*session
	listeners map[vls.Endpoint]*session
	last      vls.Handle
	fault     Fault
	at        uint64
	struck    bool
	closed    bool
}

// session is one end; rx and tx are shared with the other.
type session struct {
	local   vls.Endpoint
	listens bool
	backlog []*session
	rx, tx  *pipe
}

type pipe struct {
	buf  [64 << 10]byte
	r, w uint64 // bytes ever read and written
	pos  uint64 // bytes ever taken from the writer
	end  bool   // no more comes
	gone bool   // nobody reads
}

func (a *app) NewProcess() (vls.Process, error) { return &process{a: a}, nil }
func (a *app) Locks() []locks.Stat              { return nil }

func (a *app) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	a.cond.Broadcast()
	return nil
}

type process struct{ a *app }

func (p *process) NewThread() vls.Thread      { return &thread{a: p.a} }
func (p *process) Fork() (vls.Process, error) { return nil, syscall.ENOTSUP }
func (p *process) Exit() error                { return nil }

type thread struct {
	vls.Unimplemented
	a *app
}

func (t *thread) Register() error { return nil }
func (t *thread) Exit() error     { return nil }

func (t *thread) Create(proto vls.Proto, _ bool) (vls.Handle, error) {
	if proto != vls.TCP {
		return 0, syscall.EAFNOSUPPORT
	}
	t.a.mu.Lock()
	defer t.a.mu.Unlock()
	return t.a.add(&session{}), nil
}

func (a *app) add(s *session) vls.Handle {
	a.last++
	a.sessions[a.last] = s
	return a.last
}

func (t *thread) Bind(h vls.Handle, ep vls.Endpoint) error {
	t.a.mu.Lock()
	defer t.a.mu.Unlock()
	s := t.a.sessions[h]
	if s == nil {
		return syscall.EBADFD
	}
	s.local = ep
	return nil
}

func (t *thread) Listen(h vls.Handle, _ int) error {
	t.a.mu.Lock()
	defer t.a.mu.Unlock()
	s := t.a.sessions[h]
	if s == nil {
		return syscall.EBADFD
	}
	if t.a.listeners[s.local] != nil {
		return syscall.EADDRINUSE
	}
	s.listens = true
	t.a.listeners[s.local] = s
	return nil
}

func (t *thread) Connect(h vls.Handle, ep vls.Endpoint) error {
	t.a.mu.Lock()
	defer t.a.mu.Unlock()
	s, l := t.a.sessions[h], t.a.listeners[ep]
	if s == nil {
		return syscall.EBADFD
	}
	if l == nil {
		return syscall.ECONNREFUSED
	}
	s.rx, s.tx = new(pipe), new(pipe)
	l.backlog = append(l.backlog, &session{rx: s.tx, tx: s.rx})
	t.a.cond.Broadcast()
	return nil
}

func (t *thread) Accept(h vls.Handle, _ int) (vls.Handle, vls.Endpoint, error) {
	t.a.mu.Lock()
	defer t.a.mu.Unlock()
	for {
		l := t.a.sessions[h]
		if l == nil || !l.listens || t.a.closed {
			return 0, vls.Endpoint{}, syscall.EBADFD
		}
		if len(l.backlog) > 0 {
			s := l.backlog[0]
			l.backlog = l.backlog[1:]
			return t.a.add(s), vls.Endpoint{}, nil
		}
		t.a.cond.Wait()
	}
}

func (t *thread) Read(h vls.Handle, p []byte) (int, error) {
	t.a.mu.Lock()
	defer t.a.mu.Unlock()
	for {
		s := t.a.sessions[h]
		if s == nil || t.a.closed {
			return 0, syscall.EBADFD
		}
		if n := s.rx.take(p); n > 0 {
			t.a.cond.Broadcast()
			return n, nil
		}
		if s.rx.end {
			return 0, nil
		}
		t.a.cond.Wait()
	}
}

func (f *pipe) take(p []byte) int {
	n := min(len(p), int(f.w-f.r))
	for i := range n {
		p[i] = f.buf[(f.r+uint64(i))%uint64(len(f.buf))]
	}
	f.r += uint64(n)
	return n
}

func (f *pipe) put(p []byte) int {
	n := min(len(p), len(f.buf)-int(f.w-f.r))
	for i := range n {
		f.buf[(f.w+uint64(i))%uint64(len(f.buf))] = p[i]
	}
	f.w += uint64(n)
	return n
}

func (t *thread) Write(h vls.Handle, p []byte) (int, error) {
	a := t.a
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.sessions[h]
	if s == nil {
		return 0, syscall.EBADFD
	}
	fault := None
	if a.fault != None && !a.struck && s.tx.pos+uint64(len(p)) > a.at {
		a.struck, fault = true, a.fault
	}
	s.tx.pos += uint64(len(p))
	switch fault {
	case Corrupt:
		q := append([]byte(nil), p...)
		q[len(q)/2] ^= 0x10
		p = q
	case Lose:
		return len(p), nil
	case Double:
		p = append(append([]byte(nil), p...), p...)
	case Cut:
		s.tx.end = true
	case Refuse:
		return 0, syscall.ECONNRESET
	case Hang:
		for !a.closed {
			a.cond.Wait()
		}
		return 0, syscall.EBADFD
	case Panic:
		panic("planted")
	}
	n := len(p)
	if fault == Double {
		n /= 2
	}
	for {
		switch {
		case a.closed || a.sessions[h] == nil:
			return 0, syscall.EBADFD
		case s.tx.end && fault == None && a.fault != Cut:
			return 0, syscall.EPIPE
		case s.tx.gone:
			return 0, syscall.ECONNRESET
		case s.tx.end:
			return n, nil // into the void
		}
		p = p[s.tx.put(p):]
		a.cond.Broadcast()
		if len(p) == 0 {
			return n, nil
		}
		a.cond.Wait()
	}
}

func (t *thread) Shutdown(h vls.Handle, how int) error {
	t.a.mu.Lock()
	defer t.a.mu.Unlock()
	s := t.a.sessions[h]
	if s == nil || s.tx == nil {
		return syscall.EBADFD
	}
	if how == unix.SHUT_WR || how == unix.SHUT_RDWR {
		s.tx.end = true
	}
	t.a.cond.Broadcast()
	return nil
}

func (t *thread) Close(h vls.Handle) error {
	t.a.mu.Lock()
	defer t.a.mu.Unlock()
	s := t.a.sessions[h]
	if s == nil {
		return syscall.EBADFD
	}
	delete(t.a.sessions, h)
	if s.listens {
		delete(t.a.listeners, s.local)
	}
	if s.tx != nil {
		s.tx.end, s.rx.gone = true, true
	}
	t.a.cond.Broadcast()
	return nil
}
