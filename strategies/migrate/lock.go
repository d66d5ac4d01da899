package migrate

import (
	"vlsbench/audit"
	"vlsbench/locks"
)

const name = "migrate"

// slock is S.
type slock struct {
	locks.TTAS
	counted locks.Lock // the same, nil if not counted
	class   string     // S or S(set)
}

func (a *app) slock(set bool) *slock {
	l := &slock{class: "S"}
	if set {
		l.class = "S(set)"
	}
	if a.counters != nil {
		l.counted = locks.Counted(&l.TTAS, a.counters["S"])
	}
	return l
}

// lockS takes an S, try if that needs no waiting, and unlockS gives it back.
func (t *thread) lockS(l *slock) {
	t.order.Take(name, l.class)
	if l.counted != nil {
		l.counted.Lock()
		return
	}
	l.TTAS.Lock()
}

func (t *thread) tryS(l *slock) bool {
	if l.counted != nil && !l.counted.TryLock() || l.counted == nil && !l.TTAS.TryLock() {
		return false
	}
	t.order.Took(l.class)
	return true
}

func (t *thread) unlockS(l *slock) {
	t.order.Give(l.class)
	if l.counted != nil {
		l.counted.Unlock()
		return
	}
	l.TTAS.Unlock()
}

// hold takes S of the session that the operation is about, and release gives it
// back unless a wait has.
func (t *thread) hold(v *session) {
	t.lockS(v.lock.Load())
	t.held = true
}

func (t *thread) release(v *session) {
	if t.held {
		t.held = false
		t.unlockS(v.lock.Load())
	}
}

// readP and writeP take P.
func (t *thread) readP() {
	t.order.Take(name, "P")
	t.p.lock.RLock(t.slot)
}

func (t *thread) unreadP() {
	t.order.Give("P")
	t.p.lock.RUnlock(t.slot)
}

func (t *thread) writeP() {
	t.order.Take(name, "P")
	t.p.lock.Lock()
}

func (t *thread) unwriteP() {
	t.order.Give("P")
	t.p.lock.Unlock()
}

// writeH takes H.
func (t *thread) writeH() {
	t.order.Take(name, "H")
	t.p.handles.Lock()
}

func (t *thread) unwriteH() {
	t.order.Give("H")
	t.p.handles.Unlock()
}

// noted is whether locks are noted.
const noted = audit.Enabled
