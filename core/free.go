package core

import (
	"math/bits"
	"sync/atomic"
	"time"

	"vlsbench/audit"
	"vlsbench/hw"
	"vlsbench/sched"
)

// News of a session is dispatched where it is posted, if the queue has no
// exclusion: nothing lies on it that somebody would have to take. What the news
// is about was published before.

// news tells of a session, by its key. Any thread.
func (w *Worker) news(h Handle) {
	if s := w.sessions.Key(uint64(h)); s != nil {
		w.newsOf(s)
	}
}

// newsOf tells the set of a session, and who waits. That the session is another
// by now makes them look for nothing.
func (w *Worker) newsOf(s *Session) {
	if sched.Enabled {
		sched.Point("news: before the set is told")
	}
	var set *Session
	if m := s.member.Load(); m != nil {
		m.heat()
		set = m.set.of
	}
	if sched.Enabled {
		sched.Point("news: before who waits is woken")
	}
	w.wakeFree(s, set)
}

// wakeFree wakes the threads that wait for s, or for set, if that is not nil.
// Whatever they wait for was published before.
func (w *Worker) wakeFree(s, set *Session) {
	for i := range w.asleep {
		for m := w.asleep[i].Load(); m != 0; m &= m - 1 {
			o := w.app.producers[i*64+bits.TrailingZeros64(m)].Load()
			if o == nil {
				continue
			}
			at := o.waitsAt.Load()
			if at == s || at != nil && at == set || at == nil && s.polls.Load() > 0 {
				o.wakeUp()
			}
		}
	}
}

// wakeUp makes a thread that sleeps, or is about to, look again.
func (o *Thread) wakeUp() {
	if sched.Enabled {
		sched.Point("wake: before the sleeper's word")
	}
	if atomic.SwapUint32(&o.word, 1) == 0 {
		sched.FutexWake("wake: a sleeper", &o.word, 1)
		hw.FutexWake(&o.word, 1)
	}
}

// lieDown makes the thread one of those that news of s wakes, nil: of what it
// polls. It then clears its word, looks once more, and may sleep.
func (t *Thread) lieDown(s *Session) {
	t.waitsAt.Store(s)
	t.w.asleep[t.producer/64].Or(1 << (t.producer % 64))
	if sched.Enabled {
		sched.Point("sleep: announced")
	}
}

// getUp ends lieDown.
func (t *Thread) getUp() {
	if sched.Enabled {
		sched.Point("sleep: before the announcement goes")
	}
	t.w.asleep[t.producer/64].And(^uint64(1 << (t.producer % 64)))
	t.waitsAt.Store(nil)
}

// nap sleeps until woken since the word was cleared, for timeout if that is not
// negative, or less.
func (t *Thread) nap(timeout time.Duration) {
	if sched.FutexWait("sleep", &t.word, 0, timeout) {
		return
	}
	if atomic.LoadUint32(&t.word) == 0 {
		hw.FutexWait(&t.word, 0, timeout)
	}
}

// sleepFree is sleep where the queue has no exclusion.
func (t *Thread) sleepFree(s *Session, k waitKind, want int) {
	t.lieDown(s)
	for !t.armed(s, k, want) {
		t.nap(-1)
	}
	t.getUp()
}

// armed arms what ends a wait, after which the thread is woken when it has, and
// reports whether it has already.
func (t *Thread) armed(s *Session, k waitKind, want int) bool {
	atomic.StoreUint32(&t.word, 0)
	t.arm(s, k, want)
	if sched.Enabled {
		sched.Point("sleep: armed")
	}
	hw.HeavyFence()
	return t.ready(s, k, want)
}

// enterAll tells the auditor that all of a session is the caller's, or if others
// share it, its control; leave ends that.
func (s *Session) enterAll() (leave func()) {
	s.ctlAudit.Enter("session control", audit.Exclusive)
	if sh := s.sh.Load(); sh != nil && len(sh.audience.Load().who) > 1 {
		return func() { s.ctlAudit.Leave(audit.Exclusive) }
	}
	s.rxAudit.Enter("session rx", audit.Exclusive)
	s.txAudit.Enter("session tx", audit.Exclusive)
	return func() {
		s.rxAudit.Leave(audit.Exclusive)
		s.txAudit.Leave(audit.Exclusive)
		s.ctlAudit.Leave(audit.Exclusive)
	}
}
