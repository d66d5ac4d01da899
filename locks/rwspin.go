package locks

import (
	"sync/atomic"

	"vlsbench/hw"
	"vlsbench/sched"
)

// RWSpin is a readers-writer spin lock of one word, as VPP's clib_rwlock is: it
// counts its readers, and a writer waits for 0. A writer that waits leaves no
// trace. So readers that come before the last has left keep it out for ever; in
// return a reader may take again what it holds. There is no order among those
// who wait, and any of them may wait for ever. The zero value is unlocked.
type RWSpin struct {
	count uint32 // readers inside; writing: a writer
	_     [hw.FalseSharing - 4]byte
}

const writing = ^uint32(0)

// RLock implements [RW].
func (l *RWSpin) RLock(slot int) {
	for b := (backoff{what: "rwspin: writer inside"}); !l.TryRLock(slot); {
		b.wait(b.longer())
	}
}

// TryRLock implements [RW]. It goes on as long as only readers are in its way.
func (l *RWSpin) TryRLock(int) bool {
	for {
		n := atomic.LoadUint32(&l.count)
		if n == writing {
			return false
		}
		sched.Point("rwspin: reader, between the look and the swap")
		if atomic.CompareAndSwapUint32(&l.count, n, n+1) {
			return true
		}
	}
}

// RUnlock implements [RW].
func (l *RWSpin) RUnlock(int) {
	sched.Point("rwspin: before a reader leaves")
	if int32(atomic.AddUint32(&l.count, ^uint32(0))) < 0 {
		panic("locks: RUnlock of an RWSpin that is not read-locked")
	}
}

// Lock implements [Lock].
func (l *RWSpin) Lock() {
	sched.Point("rwspin: writer, before the swap")
	if !atomic.CompareAndSwapUint32(&l.count, 0, writing) {
		l.lockSlow()
	}
}

func (l *RWSpin) lockSlow() {
	for b := (backoff{what: "rwspin: somebody inside"}); !l.TryLock(); {
		b.wait(b.longer())
	}
}

// TryLock implements [Lock].
func (l *RWSpin) TryLock() bool {
	if atomic.LoadUint32(&l.count) != 0 {
		return false
	}
	sched.Point("rwspin: writer, between the look and the swap")
	return atomic.CompareAndSwapUint32(&l.count, 0, writing)
}

// Unlock implements [Lock]. A release store is enough, as in [TAS].
func (l *RWSpin) Unlock() {
	if atomic.LoadUint32(&l.count) != writing {
		panic("locks: Unlock of an RWSpin that is not locked")
	}
	sched.Point("rwspin: before the release")
	hw.StoreRel32(&l.count, 0)
}

// RWPending is an [RWSpin] that prefers writers: a reader does not even try while
// one waits. That is how VLS in 2025 guarded its session pool. Any pending writer
// stands before all readers: writers that come and go keep readers out for ever,
// and a reader that takes again what it holds waits for a writer that waits for
// it. A reader that has looked may still come in before a writer that has since
// begun to wait, so that as many as there are reading threads may pass one.
// There is no order among writers. The zero value is unlocked.
type RWPending struct {
	lock    RWSpin
	pending atomic.Int32 // writers that wait
	_       [hw.FalseSharing - 4]byte
}

// RLock implements [RW].
func (l *RWPending) RLock(slot int) {
	for b := (backoff{what: "rwpending: writer pending"}); l.pending.Load() != 0; {
		b.wait(b.longer())
	}
	l.lock.RLock(slot)
}

// TryRLock implements [RW].
func (l *RWPending) TryRLock(slot int) bool {
	return l.pending.Load() == 0 && l.lock.TryRLock(slot)
}

// RUnlock implements [RW].
func (l *RWPending) RUnlock(slot int) { l.lock.RUnlock(slot) }

// Lock implements [Lock].
func (l *RWPending) Lock() {
	l.pending.Add(1)
	sched.Point("rwpending: writer pending")
	l.lock.Lock()
	sched.Point("rwpending: inside, and still pending")
	l.pending.Add(-1)
}

// TryLock implements [Lock].
func (l *RWPending) TryLock() bool { return l.lock.TryLock() }

// Unlock implements [Lock].
func (l *RWPending) Unlock() { l.lock.Unlock() }
