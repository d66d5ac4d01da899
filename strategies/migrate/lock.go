package migrate

import (
	"sync"

	"vlsbench/audit"
	"vlsbench/locks"
)

// slock is S.
type slock struct {
	locks.TTAS            // S itself, if as is nil: the data path calls it without a look at what it is
	as         locks.Lock // S instead, if it is of another kind or counted; else nil
	class      string     // S or S(set)
}

func (a *app) slock(set bool) *slock {
	l := &slock{class: "S"}
	if set {
		l.class = "S(set)"
	}
	if a.d.kinds.session != plain {
		l.as, _ = locks.New(a.d.kinds.session) // which was seen to be a kind
	}
	if a.counters != nil {
		if l.as == nil {
			l.as = &l.TTAS
		}
		l.as = locks.Counted(l.as, a.counters["S"])
	}
	return l
}

// lockS takes an S, try if that needs no waiting, and unlockS gives it back.
func (t *thread) lockS(l *slock) {
	t.order.Take(t.p.a.d.name, l.class)
	if l.as != nil {
		l.as.Lock()
		return
	}
	l.TTAS.Lock()
}

func (t *thread) tryS(l *slock) bool {
	if l.as != nil && !l.as.TryLock() || l.as == nil && !l.TTAS.TryLock() {
		return false
	}
	t.order.Took(l.class)
	return true
}

func (t *thread) unlockS(l *slock) {
	t.order.Give(l.class)
	if l.as != nil {
		l.as.Unlock()
		return
	}
	l.TTAS.Unlock()
}

// lockOwn takes S of a session at the thread's worker for the data path of an odd
// design. What is there cannot go, so that P may come after the look at the table.
func (t *thread) lockOwn(l *slock) {
	if t.p.a.d.lookup {
		t.readP()
		t.lockS(l)
		t.unreadP()
		return
	}
	t.lockS(l)
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

// table is P, with the numbers of its readers.
type table struct {
	locks.RW
	mu    sync.Mutex
	slots [256]bool // taken
}

func (a *app) newTable() (*table, error) {
	rw, err := a.rwlock("P", a.d.kinds.table)
	return &table{RW: rw}, err
}

// slot is a reader's number; there are as many as the core has threads.
func (p *table) slot() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, taken := range p.slots {
		if !taken {
			p.slots[i] = true
			return i
		}
	}
	return 0 // of a dead process: a number that two have costs time alone
}

func (p *table) giveBack(slot int) {
	p.mu.Lock()
	p.slots[slot] = false
	p.mu.Unlock()
}

// readP and writeP take P.
func (t *thread) readP() {
	t.order.Take(t.p.a.d.name, "P")
	t.p.lock.RLock(t.slot)
}

func (t *thread) unreadP() {
	t.order.Give("P")
	t.p.lock.RUnlock(t.slot)
}

func (t *thread) writeP() {
	t.order.Take(t.p.a.d.name, "P")
	t.p.lock.Lock()
}

func (t *thread) unwriteP() {
	t.order.Give("P")
	t.p.lock.Unlock()
}

// writeH takes H.
func (t *thread) writeH() {
	t.order.Take(t.p.a.d.name, "H")
	t.p.handles.Lock()
}

func (t *thread) unwriteH() {
	t.order.Give("H")
	t.p.handles.Unlock()
}

// noted is whether locks are noted.
const noted = audit.Enabled
