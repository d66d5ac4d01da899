package core

import (
	"math"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"vlsbench/fifo"
	"vlsbench/hw"
	"vlsbench/sched"
)

// Call is a request that a thread of one worker makes to another worker, and
// its answer. Until the call is over it belongs to whoever answers.
type Call struct {
	From uint32 // worker of the caller
	Kind uint32 // what is asked; the strategy's own numbers
	Arg  uint64
	// While, unless nil, says whether the answer is still wanted. Who makes that
	// false follows with a [Thread.Nudge] of the caller's worker.
	While func() bool
	// Out and Err are the answer.
	Out any
	Err error
}

// Told is the kind of what was said by [Thread.Tell].
const Told = ^uint32(0)

// Tell says something to another worker, whose hook RPC has it as a call of the
// kind Told with arg, when a thread of it empties its queue. Nobody answers, or
// waits. False: there is no such worker, or its queue is full, and it is not
// told.
func (t *Thread) Tell(to uint32, arg uint64) bool {
	if to >= sharedIndex {
		return false
	}
	w := t.w.app.workers[to].Load()
	return w != nil && !w.gone.Load() &&
		w.mq.Post(t.producer, fifo.Event{Kind: uint32(EventTold), Arg: arg})
}

// callSlot is where a thread's call lies. Its word says which call it is about,
// so that nobody can answer one that is over.
type callSlot struct {
	word atomic.Uint64 // sequence<<16 | worker that is asked<<8 | state
	call *Call
	_    [fifo.Line - 16]byte
}

const (
	callOver    = iota + 1 // answered, or given up
	callAsked              // anybody of the worker that is asked may answer
	callClaimed            // somebody does
	callDone

	callSeq = 1<<48 - 1
)

// Call asks another worker and waits for the answer, for timeout unless that is
// negative. Meanwhile it serves its own worker's queue, so that two threads may
// ask each other. It waits as every operation does: nothing is held, and the
// hooks Sleep and Woke get a nil session.
//
// ETIMEDOUT: the worker did not look at its queue in time; it will not answer
// any more. ECANCELED: nor will it, since While has become false. ESRCH: there
// is no such worker, or it is gone. EINVAL: it is the caller's own. ENOTSUP: it
// answers no calls. Else what the answer says.
func (t *Thread) Call(to uint32, c *Call, timeout time.Duration) error {
	a := t.w.app
	if to == t.w.index {
		return syscall.EINVAL
	}
	if to >= sharedIndex {
		return syscall.ESRCH
	}
	w := a.workers[to].Load()
	if w == nil || w.gone.Load() {
		return syscall.ESRCH
	}
	c.From, c.Out, c.Err = t.w.index, nil, nil
	slot := &a.calls[t.producer]
	seq := (slot.word.Load()>>16 + 1) & callSeq
	id := seq<<16 | uint64(to)<<8
	slot.call = c
	slot.word.Store(id | callAsked)
	if !w.mq.Post(t.producer, fifo.Event{Kind: uint32(EventRPC), Arg: seq<<8 | uint64(t.producer)}) {
		w.mq.Overrun()
	}
	// Either the worker is found gone here, or it finds the call as it goes.
	if w.gone.Load() && slot.word.CompareAndSwap(id|callAsked, id|callOver) {
		return syscall.ESRCH
	}
	wanted := true
	t.awaitCall(func() bool {
		if c.While != nil {
			wanted = c.While()
		}
		return !wanted || slot.word.Load() == id|callDone
	}, timeout)
	if slot.word.CompareAndSwap(id|callAsked, id|callOver) {
		if !wanted {
			return syscall.ECANCELED
		}
		return syscall.ETIMEDOUT
	}
	for slot.word.Load() != id|callDone {
		if !sched.Spin("core: the call is being answered") {
			runtime.Gosched()
		}
	}
	slot.word.Store(id | callOver)
	return c.Err
}

// Await waits until over, or for timeout unless that is negative, as Call does:
// what makes it over is followed by a [Thread.Nudge] of the thread's worker.
func (t *Thread) Await(over func() bool, timeout time.Duration) { t.awaitCall(over, timeout) }

// Nudge makes the threads of a worker that are in Call or Await look again. Any
// thread; what it does to a worker that is gone is nothing.
func (t *Thread) Nudge(worker uint32) {
	if w := t.w.app.workers[worker].Load(); !w.mq.Post(t.producer, fifo.Event{Kind: uint32(EventRPCReply)}) {
		w.mq.Overrun()
	}
}

// awaitCall waits until over, or for timeout.
func (t *Thread) awaitCall(over func() bool, timeout time.Duration) {
	w := t.w
	hooks := &w.app.hooks
	t.waited = true
	defer t.done()
	w.inside.Add(1)
	defer w.inside.Add(-1)
	if hooks.Sleep != nil {
		hooks.Sleep(t, nil)
	}
	if hooks.Woke != nil {
		defer hooks.Woke(t, nil)
	}
	var deadline time.Time
	if timeout >= 0 {
		deadline = time.Now().Add(timeout)
	}
	expired := func() bool { return timeout >= 0 && !time.Now().Before(deadline) }
	if mode := w.app.cfg.Wait; mode != Park {
		until := uint64(math.MaxUint64)
		if mode == Adaptive {
			until = hw.Cycles() + hw.NanosToCycles(spinTime)
		}
		for i := 1; ; i++ {
			if over() {
				return
			}
			hw.Pause()
			if i%64 != 0 {
				continue
			}
			if w.mq.Pending() && t.tryMQ() {
				t.drain()
				t.leaveMQ()
			}
			if expired() {
				return
			}
			if hw.Cycles() > until {
				break
			}
		}
	}
	t.enterMQ()
	t.join(nil)
	for {
		t.drain()
		if over() || expired() {
			break
		}
		left := time.Duration(-1)
		if timeout >= 0 {
			left = max(time.Until(deadline), 0)
		}
		if t.doze(left, over) {
			break
		}
	}
	t.part()
	t.leaveMQ()
}

// Serve answers what other workers ask, and takes note of all other news, if
// there is any. A strategy whose workers call each other has their threads do
// that where they would not otherwise. Worker mq: entered and left inside.
func (t *Thread) Serve() {
	if t.w.mq.Pending() && t.tryMQ() {
		t.drain()
		t.leaveMQ()
	}
}

// dispatchCall acts on an event that names no session. Worker mq: exclusive.
func (t *Thread) dispatchCall(ev fifo.Event) {
	switch Event(ev.Kind) {
	case EventRPC:
		slot := &t.w.app.calls[ev.Arg&0xff]
		t.answer(slot, ev.Arg>>8<<16|uint64(t.w.index)<<8)
	case EventRPCReply:
		t.wake(nil)
	case EventTold:
		if f := t.w.app.hooks.RPC; f != nil {
			f(t, &Call{From: t.w.index, Kind: Told, Arg: ev.Arg})
		}
	}
}

// dispatchCalls looks for what events that were lost would have told. Worker
// mq: exclusive.
func (t *Thread) dispatchCalls() {
	for i := range t.w.app.calls {
		slot := &t.w.app.calls[i]
		if word := slot.word.Load(); word&0xff == callAsked && uint32(word>>8&0xff) == t.w.index {
			t.answer(slot, word&^0xff)
		}
	}
	t.wake(nil)
}

// answer answers the call with that identity, if it still stands.
func (t *Thread) answer(slot *callSlot, id uint64) {
	if !slot.word.CompareAndSwap(id|callAsked, id|callClaimed) {
		return
	}
	if sched.Enabled {
		sched.Point("core: call claimed, before it is answered")
	}
	c := slot.call
	if f := t.w.app.hooks.RPC; f != nil {
		f(t, c)
	} else {
		c.Err = syscall.ENOTSUP
	}
	t.reply(slot, id, c.From)
}

func (t *Thread) reply(slot *callSlot, id uint64, from uint32) {
	slot.word.Store(id | callDone)
	t.Nudge(from)
}

// failCalls ends what is asked of a worker that is gone.
func (t *Thread) failCalls(w *Worker) {
	for i := range t.w.app.calls {
		slot := &t.w.app.calls[i]
		word := slot.word.Load()
		id := word &^ 0xff
		if word&0xff == callAsked && uint32(word>>8&0xff) == w.index && slot.word.CompareAndSwap(word, id|callClaimed) {
			c := slot.call
			c.Err = syscall.ESRCH
			t.reply(slot, id, c.From)
		}
	}
}
