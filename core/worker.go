package core

import (
	"errors"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"vlsbench/audit"
	"vlsbench/fifo"
	"vlsbench/hw"
	"vlsbench/sched"
)

// Event is the kind of an event on a worker's queue. Every kind asks for the
// same: to look at the session again. It says what to expect there.
type Event uint32

const (
	// EventRx: data came while the consumer's event flag was clear.
	EventRx Event = iota + 1
	// EventTx: there is the space that the producer asked for.
	EventTx
	// EventAccepted: a connection waits on the listener.
	EventAccepted
	// EventConnected: a non-blocking connect is over.
	EventConnected
	// EventDisconnected: the peer ended its stream or closed.
	EventDisconnected
	// EventReset: the connection was reset.
	EventReset
	// EventShutdown: this side's other threads are to notice a shutdown.
	EventShutdown

	// EventRPC: another worker's thread calls. EventRPCReply: it was answered.
	// These and what may follow them name no session.
	EventRPC
	EventRPCReply
	// EventTold: another worker's thread has said something, with [Thread.Tell].
	EventTold
)

// Worker is one VCL worker: a message queue, a pool of sessions, and the
// threads that wait. It is not thread safe: see the package documentation for
// what must be excluded from what.
type Worker struct {
	poolAudit audit.Resource
	mqAudit   audit.Resource

	app      *App
	index    uint32
	sessions Pool[Session]
	// zombies are sessions that were closed and whose last waiter has left.
	// Any thread pushes, the pool's holder takes.
	zombies atomic.Pointer[Session]

	// Owner is the strategy's own process.
	Owner any

	gone    atomic.Bool  // closed: nobody answers calls, and its index is to be taken back
	inside  atomic.Int32 // threads inside a wait
	forked  atomic.Bool
	family  atomic.Pointer[family] // its process's, another one with each use of the index
	parent  atomic.Pointer[family] // of the process that closes it if its own dies
	sibling *Worker                // in a family's list

	_       [fifo.Line]byte
	mq      *fifo.Queue
	waiters []*Thread // asleep or about to be; under the queue's exclusion
	drainer *Thread   // of the waiters, the one that sleeps on the queue
	// asleep are the threads that sleep or are about to, by their numbers, where
	// there is no exclusion of the queue.
	asleep [fifo.MaxProducers / 64]atomic.Uint64
	_      [fifo.Line]byte
}

// Index is the worker's index in its application.
func (w *Worker) Index() uint32 { return w.index }

// Lookup is the session of a handle, nil if it is closed or never was. It
// needs no exclusion; that the session stays what it is while it is used does.
func (w *Worker) Lookup(h Handle) *Session {
	if s := w.sessions.find(uint64(h)); s.handle.Load() == uint64(h) {
		return &s.v
	}
	return nil
}

// Directory is where a thread that needs it at each operation finds a worker's
// sessions, as [Worker.Lookup] does. It knows where the first of them lie: one
// load less, and what an operation does waits for each of these. A write and a
// read of 64 B through null took 1.75 times those of a bare fifo, and 1.91 times
// without.
//
// One that is shut finds nothing, so a thread that may go without locks now and
// then asks nothing else: where it finds none it looks further. It is to be
// opened or shut before it is used; others may do that while it is.
type Directory struct {
	first atomic.Pointer[page[Session]]
	pool  atomic.Pointer[Pool[Session]]
}

// Open makes the directory one of the worker's sessions.
func (d *Directory) Open(w *Worker) {
	d.pool.Store(&w.sessions)
	d.first.Store(w.sessions.pages[0].Load())
}

// Shut makes the directory find nothing: each of its words does that alone.
func (d *Directory) Shut() {
	p := blank()
	d.first.Store(p.pages[0].Load())
	d.pool.Store(p)
}

// blank is a pool that has no sessions.
var blank = sync.OnceValue(func() *Pool[Session] { return NewPool[Session](0) })

// Find is the session of a handle, which is live or not: then there is none. It
// needs no exclusion; that the session stays what it is while it is used does.
func (d *Directory) Find(h Handle) (s *Session, live bool) {
	i := h & indexMask // 64 bits wide, or it would not be inlined
	page := d.first.Load()
	if i >= pageSlots {
		// Where no page was made the first one stands in, in which no slot has
		// such an index.
		if more := d.pool.Load().pages[i>>pageBits].Load(); more != nil {
			page = more
		}
	}
	slot := &page[i%pageSlots]
	return &slot.v, slot.handle.Load() == uint64(h)
}

// Live is the handle of the session at an index, 0 if there is none.
func (w *Worker) Live(index uint32) Handle { return Handle(w.sessions.Live(index)) }

// Sessions is the number of sessions that are open, or closed and not yet let
// go by a waiting thread. Session pool: shared.
func (w *Worker) Sessions() int { return w.sessions.Used() }

// Thread is a calling context in the core: a thread of a worker. One goroutine
// uses it at a time.
type Thread struct {
	w        *Worker
	producer int // its number on every queue

	// Owner is the strategy's own thread.
	Owner any
	// Bare is set by the strategy while the thread holds nothing and no other
	// thread can be in its worker: the core may then look again a few times
	// before it makes a wait of it. Only the thread itself reads and writes it.
	Bare bool
	// Defers is set by the strategy: an operation on a session that would wait
	// ends with ErrWait instead, and [Thread.Later] waits. Only the thread itself
	// reads and writes it.
	Defers bool

	// What a waiting thread waits for, nil in Poll, under the queue's exclusion.
	waitsFor *Session
	word     uint32 // futex: 1 once woken

	// The same where the queue has no exclusion.
	waitsAt atomic.Pointer[Session]
	words   []uint64 // memory for the next cooling of a set

	waited bool // the operation under way has
	lost   bool // a wait, the session control that it had

	later  deferred   // the wait that is left to Later
	flow   *flow      // what a blocked send waits for room in
	polled []*Session // memory for the next Poll

	// Apart from what any other thread writes: the mark is stored twice a call.
	_     [fifo.Line]byte
	mark  uint32 // place of the session that it is inside of by its bias, and the ends; see setMark
	whose uint64 // of a session's life that is biased to it
	_     [fifo.Line]byte
}

// NewThread makes a calling context of the worker. ENOMEM: there are 256 in the
// application.
func (w *Worker) NewThread(owner any) (*Thread, error) {
	t := new(Thread)
	return t, w.InitThread(t, owner)
}

// InitThread is [Worker.NewThread] of a Thread that lies in the strategy's own,
// which saves the data path a load.
func (w *Worker) InitThread(t *Thread, owner any) error {
	a := w.app
	*t = Thread{w: w, Owner: owner}
	for i := range a.producers {
		if a.producers[i].Load() != nil {
			continue
		}
		t.producer = i
		t.whose = lifeBiased | uint64(i)<<lifeThread
		if sched.Enabled {
			sched.Point("core: between the look at a thread's number and its swap")
		}
		if a.producers[i].CompareAndSwap(nil, t) {
			if sched.Enabled {
				sched.Point("core: a thread has its number, before its process knows")
			}
			return nil
		}
	}
	return syscall.ENOMEM
}

// Worker is the worker that the thread calls on.
func (t *Thread) Worker() *Worker { return t.w }

// Exit ends the context. The thread is in no call.
func (t *Thread) Exit() {
	if sched.Enabled {
		sched.Point("core: before a thread's number is given back")
	}
	// That of a process that died may be another's by now.
	t.w.app.producers[t.producer].CompareAndSwap(t, nil)
}

// Close closes all sessions of the worker and gives its index back: at once, or
// where threads of a process that died are on their way out of a wait, when the
// last has left. Calls to it are refused from then on. No other thread begins
// anything there. Everything of it: exclusive.
func (w *Worker) Close(t *Thread) {
	if w.app.hooks.Free {
		w.sessions.Each(func(h uint64, _ *Session) { t.CloseHandle(Handle(h)) })
		t.retire(w)
		return
	}
	w.Each(func(s *Session) { t.Close(s) })
	w.poolAudit.Enter("session pool", audit.Exclusive)
	w.reap() // what was closed earlier, and left later
	w.poolAudit.Leave(audit.Exclusive)
	t.retire(w)
}

// Each calls f for every session of the worker, which f may close. Session
// pool: shared.
func (w *Worker) Each(f func(s *Session)) {
	w.sessions.Each(func(_ uint64, s *Session) { f(s) })
}

func (t *Thread) enterMQ() {
	if t.w.app.hooks.Free {
		return
	}
	if f := t.w.app.hooks.EnterMQ; f != nil {
		f(t)
	}
	t.w.mqAudit.Enter("worker mq", audit.Exclusive)
}

func (t *Thread) tryMQ() bool {
	if f := t.w.app.hooks.TryMQ; f != nil && !f(t) {
		return false
	}
	t.w.mqAudit.Enter("worker mq", audit.Exclusive)
	return true
}

func (t *Thread) leaveMQ() {
	if t.w.app.hooks.Free {
		return
	}
	t.w.mqAudit.Leave(audit.Exclusive)
	if f := t.w.app.hooks.LeaveMQ; f != nil {
		f(t)
	}
}

// drain dispatches what is on the worker's queue. Worker mq: exclusive.
func (t *Thread) drain() {
	w := t.w
	if !w.mq.Pending() {
		return
	}
	if w.mq.TakeOverrun() {
		w.sessions.Each(func(_ uint64, s *Session) { t.dispatch(s) })
		t.dispatchCalls()
	}
	var evs [32]fifo.Event
	for {
		n := w.mq.Drain(evs[:])
		for _, ev := range evs[:n] {
			if Event(ev.Kind) >= EventRPC {
				t.dispatchCall(ev)
				continue
			}
			// Events of a session that was closed meanwhile find nothing.
			if s := w.sessions.Key(ev.Arg); s != nil {
				t.dispatch(s)
			}
		}
		if n < len(evs) {
			return
		}
	}
}

// dispatch acts on news of a session: its set looks at it with the next wait,
// and who waits for it is woken. Worker mq: exclusive.
func (t *Thread) dispatch(s *Session) {
	s.answered()
	s.sync()
	if set := s.epi.set; set != nil {
		set.epoll.heat(s)
		t.wake(set)
	}
	t.wake(s)
}

// wake wakes the threads that wait for s. Worker mq: exclusive.
func (t *Thread) wake(s *Session) {
	for _, o := range t.w.waiters {
		// Who waits for none in particular is in a Poll, of s among others if s
		// is in any.
		if o != t && (o.waitsFor == s || o.waitsFor == nil && s.polls.Load() > 0) {
			o.rouse()
		}
	}
}

// rouse wakes a waiting thread, wherever it sleeps.
func (o *Thread) rouse() {
	if o.w.drainer == o {
		o.w.mq.Wake()
		return
	}
	if atomic.SwapUint32(&o.word, 1) == 0 {
		sched.FutexWake("core: wake of one who waits", &o.word, 1)
		hw.FutexWake(&o.word, 1)
	}
}

const (
	// bareSpins is how often a thread that holds nothing looks again before it
	// makes a wait of it: about 2 us on the machines this was tried on, several
	// round trips between cores and less than any sleep.
	bareSpins = 64
	// spinTime is how long an adaptive wait spins: about what a sleep and a
	// wake-up cost, so that it never costs more than twice the better of both.
	spinTime = 10 * time.Microsecond
	// tryAgain is how long who tries for the queue lets the CPU go, after some
	// tries.
	tryAgain = 20 * time.Microsecond
)

// waitKind says what makes a thread that waits for a session go on.
type waitKind uint8

const (
	waitRead waitKind = iota
	waitWrite
	waitAccept
	waitRecv // a datagram
	waitSend // room for one in the thread's flow
)

// ready reports whether a wait is over. It needs no exclusion.
func (t *Thread) ready(s *Session, k waitKind, want int) bool {
	flags := s.flags.Load()
	if flags&fClosing != 0 {
		return true
	}
	switch k {
	case waitRead:
		return s.rx.MaxDequeue() > 0 || s.rx.Status() != 0 || flags&fRdShut != 0
	case waitWrite:
		return s.tx.MaxEnqueue() >= want || s.tx.Status() != 0
	case waitRecv:
		return s.dg.readable() || s.err.Load() != 0 || flags&fRdShut != 0
	case waitSend:
		return t.flow.f.MaxEnqueue() >= want || t.flow.gone() || s.err.Load() != 0 || flags&fWrShut != 0
	default:
		return s.lsn.waiting()
	}
}

// wait waits until the session is ready for an operation, or may be: the caller
// looks again. ENOTCONN: the session was closed meanwhile, and must not be
// touched any more.
func (t *Thread) wait(s *Session, k waitKind, want int) error {
	// So may who is inside by a session's bias: nobody else uses that end.
	if t.Bare || t.mark != 0 {
		for range bareSpins {
			if t.ready(s, k, want) {
				return nil
			}
			hw.Pause()
		}
	}
	t.w.ref(s)
	t.w.inside.Add(1)
	if t.Defers {
		t.later = deferred{s, k, want}
		return ErrWait
	}
	hooks := &t.w.app.hooks
	t.waited = true
	if hooks.Sleep != nil {
		hooks.Sleep(t, s)
	}
	t.await(s, k, want)
	return t.awaited(s, hooks.Woke == nil || hooks.Woke(t, s))
}

// ErrWait ends an operation of a thread that defers its waits.
var ErrWait = errors.New("core: the operation has to wait")

// deferred is a wait that has begun.
type deferred struct {
	s    *Session
	k    waitKind
	want int
}

// Later waits for what the operation that ended with ErrWait would have waited
// for, be it that another thread made that in this one's name. It must follow,
// with nothing held; no hook is called but those of the worker's queue. nil: the
// operation is to be made again, with what it has not done yet. ENOTCONN: the
// session was closed meanwhile. ErrMoved.
func (t *Thread) Later() error {
	l := t.later
	t.later = deferred{}
	t.await(l.s, l.k, l.want)
	if f := t.flow; f != nil {
		t.flow = nil
		f.unref()
	}
	return t.awaited(l.s, true)
}

// awaited ends a wait.
func (t *Thread) awaited(s *Session, valid bool) error {
	flags := s.flags.Load()
	t.w.unref(s)
	t.w.inside.Add(-1)
	switch {
	case flags&fMoved != 0:
		return ErrMoved
	case !valid || flags&fClosing != 0:
		return syscall.ENOTCONN
	}
	return nil
}

// done ends an operation that may have waited.
func (t *Thread) done() {
	if t.waited {
		t.waited = false
		if f := t.w.app.hooks.Done; f != nil {
			f(t)
		}
	}
}

// await is the part of a wait that holds nothing.
func (t *Thread) await(s *Session, k waitKind, want int) {
	mode := t.w.app.cfg.Wait
	if mode != Park {
		var until uint64
		if mode == Adaptive {
			until = hw.Cycles() + hw.NanosToCycles(spinTime)
		}
		for i := 1; !t.ready(s, k, want); i++ {
			hw.Pause()
			if i%64 != 0 {
				continue
			}
			// What this thread waits for it sees by itself; the queue is
			// emptied for the others.
			if t.w.mq.Pending() && t.tryMQ() {
				t.drain()
				t.leaveMQ()
			}
			if mode == Adaptive && hw.Cycles() > until {
				t.sleep(s, k, want)
				return
			}
		}
		return
	}
	t.sleep(s, k, want)
}

// sleep waits on the worker's queue, or, where another thread does already, to
// be told by it.
func (t *Thread) sleep(s *Session, k waitKind, want int) {
	if t.w.app.hooks.Free {
		t.sleepFree(s, k, want)
		return
	}
	if !t.w.app.hooks.TryFirst {
		t.enterMQ()
	} else if !t.enterUnless(s, k, want) {
		return
	}
	t.join(s)
	for {
		t.drain()
		if t.ready(s, k, want) {
			break
		}
		t.arm(s, k, want)
		if t.doze(-1, func() bool { return t.ready(s, k, want) }) {
			break
		}
	}
	// The arming stands: a set, or another thread that waits here, may rely on
	// it. At worst it costs one event that finds nothing new.
	t.part()
	t.leaveMQ()
}

// arm makes the other side tell when what is waited for comes about.
func (t *Thread) arm(s *Session, k waitKind, want int) {
	switch k {
	case waitRead:
		s.rx.UnsetEvent()
	case waitWrite:
		s.tx.WantNotify(want)
	case waitRecv:
		s.dg.event.Store(0)
	case waitSend:
		t.flow.f.WantNotify(want)
	}
}

// nobody is a futex that no one wakes.
var nobody uint32

// enterUnless enters the queue by trying, unless the wait is over before it is
// got: false.
func (t *Thread) enterUnless(s *Session, k waitKind, want int) bool {
	for i := 1; !t.tryMQ(); i++ {
		if t.ready(s, k, want) {
			return false
		}
		if sched.Spin("core: the queue is taken, and there is nothing yet") {
			continue
		}
		hw.Pause()
		if i%64 == 0 {
			// Who has it may not be running.
			hw.FutexWait(&nobody, 0, tryAgain)
		}
	}
	return true
}

// join makes the thread one of the worker's waiters. Worker mq: exclusive.
func (t *Thread) join(s *Session) {
	t.waitsFor = s
	if sched.Enabled {
		sched.Point("core: in the queue, about to wait")
	}
	t.w.waiters = append(t.w.waiters, t)
}

// part takes the thread out of the waiters and hands the draining on. Worker
// mq: exclusive.
func (t *Thread) part() {
	w := t.w
	for i, o := range w.waiters {
		if o == t {
			last := len(w.waiters) - 1
			w.waiters[i] = w.waiters[last]
			w.waiters[last] = nil
			w.waiters = w.waiters[:last]
			break
		}
	}
	t.waitsFor = nil
	if w.drainer == t {
		w.drainer = nil
	}
	if w.drainer == nil && len(w.waiters) > 0 {
		w.waiters[0].rouse()
	}
}

// doze sleeps once, after the caller has armed what it waits for, and returns
// whether there was no need to: over, asked after the fence that orders the
// arming, said so. It is entered and left inside the queue's exclusion, which
// it lets go meanwhile.
func (t *Thread) doze(timeout time.Duration, over func() bool) bool {
	w := t.w
	if w.drainer == nil {
		w.drainer = t
	}
	drainer := w.drainer == t
	if drainer {
		w.mq.Arm()
	} else {
		atomic.StoreUint32(&t.word, 0)
	}
	hw.HeavyFence()
	if over() {
		if drainer {
			w.mq.Disarm()
		}
		return true
	}
	if drainer && w.mq.Pending() {
		w.mq.Disarm()
		return false
	}
	t.leaveMQ()
	if drainer {
		w.mq.Sleep(timeout)
	} else if atomic.LoadUint32(&t.word) == 0 && !sched.FutexWait("core: sleep beside who sleeps on the queue", &t.word, 0, timeout) {
		hw.FutexWait(&t.word, 0, timeout)
	}
	t.enterMQ()
	return false
}

// ref begins a use of a session by a thread that has it.
func (w *Worker) ref(s *Session) {
	if w.app.hooks.Free {
		s.life.Add(lifePin)
		return
	}
	s.refs.Add(1)
}

// unref ends a use of a session by a waiting thread or by its handle. The last
// one leaves it to whoever holds the pool next.
func (w *Worker) unref(s *Session) {
	if w.app.hooks.Free {
		w.Unpin(s)
		return
	}
	if s.refs.Add(-1) != 0 {
		return
	}
	for {
		old := w.zombies.Load()
		s.zombie = old
		if sched.Enabled {
			sched.Point("core: between the sessions to be freed and their swap")
		}
		if w.zombies.CompareAndSwap(old, s) {
			return
		}
	}
}

// reap frees what was left to it. Session pool: exclusive.
func (w *Worker) reap() {
	if w.zombies.Load() == nil {
		return
	}
	for s := w.zombies.Swap(nil); s != nil; {
		next := s.zombie
		h := s.handle
		s.release()
		w.sessions.Free(uint64(h))
		s = next
	}
}
