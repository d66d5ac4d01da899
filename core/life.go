package core

import (
	"runtime"
	"sync/atomic"
	"syscall"

	"vlsbench/fifo"
	"vlsbench/hw"
	"vlsbench/sched"
)

// Ends are what an operation claims of a session, where that is how it is
// excluded: the rx end stands for session rx, the tx end for session tx, and all
// for session control. Control alone is for a fork, which keeps others from
// changing the session, but for what comes and goes at its ends.
type Ends uint64

// The ends of a session.
const (
	RxEnd   Ends = 1 << 0
	TxEnd   Ends = 1 << 1
	control Ends = 1 << 24

	// BothEnds is all of a session: its ends, and its control.
	BothEnds = RxEnd | TxEnd | control
)

// A session's life, beside the claims: of each end whether somebody met its
// claim and is to be told when it ends, whether the session is closing, its
// bias, the number of pins, and the generation of the use. A slot that nobody
// has is closing, too.
//
// Of a session that is biased one thread, whose number stands in its life, has
// the ends that its mark says, while the mark says so; nobody else claims any.
// Who wants one asks for the bias to be given up, after which that thread gets in
// no more, and has it ended unless the thread is inside; it ends it as it leaves.
// Until then the end that it is not at can be claimed. A session whose bias was
// given up has none any more.
//
// A session that is not biased has, in the place of the thread, the claim of its
// control, whether somebody met that, and whether it is shared by fork: then what
// is claimed of it is claimed in a word in common, too.
const (
	lifeMet     = uint64(BothEnds) << 2
	lifeMetEnds = uint64(RxEnd|TxEnd) << 2 // of one that is biased
	lifeClosing = 1 << 4
	lifeEnded   = 1 << 5 // torn down
	lifeBiased  = 1 << 6
	lifeRevoked = 1 << 7 // to be given up, or without lifeBiased, it was
	lifePin     = 1 << 8
	lifePins    = 1<<24 - lifePin
	lifeThread  = 24 // shift: number of the thread that it is biased to
	lifeShared  = 1 << 25
	lifeGen     = 32 // shift

	// lifeWhose is what a thread compares to see whether a session is its own.
	lifeWhose = 0xff<<lifeThread | lifeClosing | lifeBiased | lifeRevoked
)

const (
	// mostPins is how many pins a session may have before it is not to be found
	// any more: entries of sleeping Polls can be so many. Each thread has room for
	// one beyond.
	mostPins = lifePins - 1024*lifePin
	// claimSpins is how often who meets a claim looks again before it sleeps or
	// gives up.
	claimSpins = 64
	// markEnds is where the ends stand in a thread's mark: above the session's
	// place.
	markEnds = indexBits
	// closeLooks is how often a close looks whether who is inside has left, and
	// ended the session, before it leaves that to them.
	closeLooks = 256
)

// born begins the use of a slot: claimed, with the handle's pin.
func (s *Session) born() {
	if !s.w.app.hooks.Free {
		s.refs.Store(1)
		return
	}
	s.missed.Store(0)
	s.full.Store(0)
	s.failed.Store(0)
	s.begin(lifePin | uint64(BothEnds))
}

// begin gives a slot the life of a new use, with these bits.
func (s *Session) begin(l uint64) {
	if s.place == 0 {
		s.place = s.handle.Index() + 1
	}
	s.life.Store(uint64(s.handle)>>32<<lifeGen | l)
}

// manners is what who meets a claim does.
type manners uint8

const (
	asSession manners = iota // waits, unless the session is non-blocking
	waits
	goesOn // does without
)

// Claim looks a session up and claims ends of it, all that the caller is to
// have: nobody claims twice. Where an end is claimed it waits for the end of that
// claim, unless told not to and the session is non-blocking. EBADFD: there is no
// such session. EWOULDBLOCK: an end is claimed. When that claim ends the session
// is news for its set, and for who waits.
func (t *Thread) Claim(h Handle, e Ends, wait bool) (*Session, error) {
	sl := t.w.sessions.find(uint64(h))
	s := &sl.v
	if t.mark != 0 {
		t.Leave(s) // whatever came of Enter
	}
	if s.life.Load()&lifeWhose == t.whose && sl.handle.Load() == uint64(h) && t.Enter(s, h, e) {
		return s, nil
	}
	if t.mark != 0 {
		t.Leave(s)
	}
	how := asSession
	if wait {
		how = waits
	}
	return t.claim(sl, h, e, how)
}

// Enter enters a session that was just found by its handle if it is biased to the
// thread, as one is after the first read or write that claimed an end. It is then
// as if the ends were claimed, until Leave; or until a wait, after which they
// are. Claim after an Enter that was false takes that back.
func (t *Thread) Enter(s *Session, h Handle, e Ends) bool {
	setMark(&t.mark, uint32(h)&indexMask+(1+uint32(e)<<markEnds))
	if sched.Enabled {
		sched.Point("bias: between mark and life")
	}
	// Either this sees that the bias is to be given up, or whoever wants that sees
	// the mark: it fences in between. That it is another use of the slot by now
	// cannot be: it would have to be this thread's own doing.
	return s.life.Load()&lifeWhose == t.whose
}

// Entered reports whether the thread is inside a session by Enter.
func (t *Thread) Entered() bool { return t.mark != 0 }

// Leave ends Enter.
func (t *Thread) Leave(s *Session) {
	setMark(&t.mark, 0)
	if sched.Enabled {
		sched.Point("bias: between the mark that goes and life")
	}
	if s.life.Load()&lifeRevoked != 0 {
		t.giveUp(s)
	}
}

func (t *Thread) claim(sl *slot[Session], h Handle, e Ends, how manners) (*Session, error) {
	s := &sl.v
	l := s.life.Load()
	if sched.Enabled {
		sched.Point("claim: between life and handle")
	}
	// In this order: the generation says that the handle was right until the swap.
	if sl.handle.Load() != uint64(h) {
		return nil, syscall.EBADFD
	}
	shared := l&lifeShared != 0
	if l&(uint64(e)|lifeClosing|lifeBiased) != 0 || !s.life.CompareAndSwap(l, l|uint64(e)) {
		var err error
		if shared, err = t.claimSlow(s, l>>lifeGen, e, how); err != nil {
			return nil, err
		}
	}
	if sched.Enabled {
		sched.Point("claim: claimed")
	}
	if shared {
		if err := t.claimShared(s, e, how); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// giveUp ends the bias of a session to the thread, which is not inside, if it is
// to be given up; and the session, if it is closing and nobody else is inside.
func (t *Thread) giveUp(s *Session) {
	for {
		l := s.life.Load()
		if l&(lifeWhose&^lifeClosing) != t.whose|lifeRevoked {
			return
		}
		get := closers(l)
		if t.unbias(s, l, get) {
			if get != 0 {
				t.end(s)
			}
			return
		}
	}
}

// closers is the ends that are to be claimed in the swap that ends a bias: both,
// of a session that is closing, by whoever is then the last. Where there are
// claims beside the bias that is who ends the last of them.
func closers(l uint64) Ends {
	if l&lifeClosing != 0 && l&uint64(RxEnd|TxEnd) == 0 {
		return BothEnds
	}
	return 0
}

// unbias ends the bias of a session and gives the caller ends of it, in one swap
// from l. Who met the bias as a claim is told, unless that end is claimed now:
// who ends that claim tells.
func (t *Thread) unbias(s *Session, l uint64, get Ends) bool {
	if sched.Enabled {
		sched.Point("bias: before its end")
	}
	n := l&^(lifeBiased|0xff<<lifeThread) | uint64(get)
	met := l & lifeMetEnds &^ (n & uint64(RxEnd|TxEnd) << 2)
	if met != 0 {
		n = n&^met + lifePin
	}
	if !s.life.CompareAndSwap(l, n) {
		return false
	}
	if met != 0 {
		if l&lifeClosing == 0 {
			s.unclaimed(met)
		}
		t.w.Unpin(s)
	}
	return true
}

// insideOf is the ends that the thread which a session is biased to is inside of,
// or is just to find that it may not be. That the bias is to be given up was
// stored before: of other ends it gets inside no more but by a claim.
func (t *Thread) insideOf(s *Session, l uint64) Ends {
	hw.HeavyFence()
	if sched.Enabled {
		sched.Point("bias: before the look at the mark")
	}
	o := t.w.app.producers[uint8(l>>lifeThread)].Load()
	if o == nil || o.w != t.w {
		return 0
	}
	if m := atomic.LoadUint32(&o.mark); m&indexMask == s.place {
		return Ends(m >> markEnds)
	}
	return 0
}

// Reclaim claims ends of a session that the thread has a pin on. False: it was
// closed.
func (t *Thread) Reclaim(s *Session, e Ends) bool {
	return t.reclaim(s, e, waits) == nil
}

func (t *Thread) reclaim(s *Session, e Ends, how manners) error {
	shared, err := t.claimSlow(s, s.life.Load()>>lifeGen, e, how)
	if sched.Enabled && err == nil {
		sched.Point("claim: claimed again")
	}
	if err == nil && shared {
		err = t.claimShared(s, e, how)
	}
	return err
}

// attendFree is Attend of a session that the thread has a pin on. If somebody is
// inside that is put off until he has left, which is news of the session.
func (t *Thread) attendFree(s *Session) {
	if t.reclaim(s, BothEnds, goesOn) == nil {
		t.Attend(s)
		t.release(s, BothEnds)
	}
}

// claimSlow claims ends of a session of a generation, or none, and reports whether
// it was shared by then: what is claimed of it before it is shared is claimed in
// the word in common by who shares it.
func (t *Thread) claimSlow(s *Session, gen uint64, e Ends, how manners) (shared bool, err error) {
	have, shared, err := t.take(s, &s.life, gen, e, how)
	if err != nil && have != 0 {
		t.drop(s, have, true)
	}
	return shared, err
}

// claimShared claims ends of what a session shares by fork, of which it has its
// own; or gives its own back.
func (t *Thread) claimShared(s *Session, e Ends, how manners) error {
	sh := s.sh.Load()
	have, _, err := t.take(s, &sh.claim, s.life.Load()>>lifeGen, e, how)
	if err == nil {
		if sched.Enabled {
			sched.Point("claim: shared, claimed")
		}
		return nil
	}
	if have != 0 {
		t.dropShared(sh, have)
	}
	t.drop(s, e, true)
	return err
}

// take claims ends in a word, that of a session or of what it shares, and reports
// whether the first says that the session is shared. Of all that it wants control
// is claimed first, and rx before tx, so that two who want the same do not wait
// for each other. What it has claimed when it fails is the caller's to give back.
func (t *Thread) take(s *Session, word *atomic.Uint64, gen uint64, e Ends, how manners) (have Ends, shared bool, err error) {
	at := Ends(0) // where the one it is biased to is inside
	for i := 0; ; i++ {
		l := s.life.Load()
		if l>>lifeGen != gen || l&lifeClosing != 0 {
			return have, false, syscall.EBADFD
		}
		if word != &s.life {
			l = word.Load()
		}
		if sched.Enabled {
			sched.Point("claim: between the look at a claim and the swap")
		}
		taken := Ends(l) & BothEnds
		if l&lifeBiased != 0 {
			taken = Ends(l)&(RxEnd|TxEnd) | control // others may be beside who has the bias
		} else if l&lifeClosing != 0 {
			taken |= control // so, of what is shared, is its control alone
		}
		switch {
		case l&lifeBiased == 0:
		case l&(lifeWhose&^lifeRevoked) == t.whose:
			// It is this thread's own, which is not inside.
			get := e
			if taken&e&(RxEnd|TxEnd) != 0 {
				get = 0
			}
			if t.unbias(s, l, get) && get != 0 {
				return e, false, nil
			}
			continue
		case l&lifeRevoked == 0:
			s.life.CompareAndSwap(l, l|lifeRevoked)
			continue
		case at == 0:
			if at = t.insideOf(s, l); at == 0 {
				t.unbias(s, l, 0)
			}
			continue
		default:
			taken |= at
		}
		get := e &^ have
		free := get &^ taken
		switch {
		case get&control != 0 && free&control == 0:
			free = 0
		case get&RxEnd != 0 && free&RxEnd == 0:
			free &= control
		}
		if free != 0 {
			if word.CompareAndSwap(l, l|uint64(free)) {
				if have |= free; have == e {
					return have, l&(lifeBiased|lifeShared) == lifeShared, nil
				}
			}
			continue
		}
		in := taken & get // whose claim it is that stands in the way
		if l&lifeBiased != 0 && in&control != 0 {
			in = in&^control | at // it has control while it is there
		}
		switch {
		case in&control != 0:
			in = control
		case in&RxEnd != 0:
			in = RxEnd
		}
		goes := how == goesOn || how == asSession && s.flags.Load()&fNonblock != 0
		// The scheduler would have the claim end meanwhile, nearly always.
		if i < claimSpins && !(goes && sched.Enabled && sched.Controlled()) {
			if !sched.Spin("claim: met") {
				hw.Pause()
			} else if i > 1 {
				i = claimSpins
			}
			continue
		}
		if goes {
			if word.CompareAndSwap(l, l|uint64(in)<<2) {
				return have, false, syscall.EWOULDBLOCK
			}
			continue
		}
		t.awaitClaim(s, word, gen, in, at)
	}
}

// awaitClaim waits until an end is not claimed, nor biased to who is inside of
// at, or the session of that generation is closing.
func (t *Thread) awaitClaim(s *Session, word *atomic.Uint64, gen uint64, e, at Ends) {
	t.w.inside.Add(1)
	t.lieDown(s)
	for {
		atomic.StoreUint32(&t.word, 0)
		if l := s.life.Load(); l>>lifeGen != gen || l&lifeClosing != 0 {
			break
		}
		l := word.Load()
		if sched.Enabled {
			sched.Point("claim: between the look at a claim and the word that it was met")
		}
		held := e & Ends(l)
		switch {
		case l&lifeBiased == 0 && l&lifeClosing != 0:
			held |= e & control
		case l&lifeBiased == 0:
		case e == control:
			held = 0 // whose claim it was has left, and got a bias
		default:
			held |= e & at
		}
		if held == 0 {
			break
		}
		if met := l | uint64(e)<<2; met == l || word.CompareAndSwap(l, met) {
			t.nap(-1)
		}
	}
	t.getUp()
	t.w.inside.Add(-1)
}

// Release ends claims. If the session was closed meanwhile, and nobody else is
// inside, the session ends here.
func (t *Thread) Release(s *Session, e Ends) {
	if sched.Enabled {
		sched.Point("claim: before its end")
	}
	if t.mark != 0 {
		t.Leave(s)
		return
	}
	t.release(s, e)
}

func (t *Thread) release(s *Session, e Ends) {
	l := s.life.Load()
	if sched.Enabled {
		sched.Point("claim: between life and its end")
	}
	if l&(lifeBiased|lifeShared|lifeMet|lifeClosing) != 0 {
		t.drop(s, e, false)
		return
	}
	n := l &^ uint64(e)
	// Who has read or written will do so again; that it made the session says
	// little.
	if e&control == 0 && n&(uint64(BothEnds)|lifeRevoked) == 0 && t.w.app.order == fifo.Release {
		n |= t.whose
	}
	if !s.life.CompareAndSwap(l, n) {
		t.drop(s, e, false)
	}
}

// drop ends claims in a session's own word, and before that, unless it is told
// that they have ended there, in the word of what it shares.
func (t *Thread) drop(s *Session, e Ends, own bool) {
	for {
		l := s.life.Load()
		if sched.Enabled {
			sched.Point("claim: between life and its end")
		}
		if !own && l&(lifeBiased|lifeShared) == lifeShared {
			t.dropShared(s.sh.Load(), e)
			own = true
			continue
		}
		n := l &^ uint64(e)
		switch {
		case l&lifeClosing == 0:
			met := l & (uint64(e) << 2)
			if n &^= met; met != 0 {
				n += lifePin // until all are told
			}
			if !s.life.CompareAndSwap(l, n) {
				continue
			}
			if met != 0 {
				sched.Point("claim: ended, before that is told")
				s.unclaimed(met)
				t.w.Unpin(s)
			}
		case n&(uint64(BothEnds)|lifeBiased) != 0:
			if !s.life.CompareAndSwap(l, n) {
				continue
			}
		default:
			// The last one out.
			if !s.life.CompareAndSwap(l, l|uint64(BothEnds)) {
				continue
			}
			t.end(s)
		}
		return
	}
}

// dropShared ends claims in the word of what sessions share. If some of them are
// to end, and nobody has its control any more, they end here.
func (t *Thread) dropShared(sh *shared, e Ends) {
	for {
		a := sh.audience.Load() // before another can have it
		l := sh.claim.Load()
		if sched.Enabled {
			sched.Point("claim: between the shared word and its end")
		}
		met := l & (uint64(e) << 2)
		n := l &^ (uint64(e) | met)
		if l&lifeClosing != 0 && n&uint64(control) == 0 {
			if n = l&^lifeClosing | uint64(control); !sh.claim.CompareAndSwap(l, n) {
				continue
			}
			if t.endLeaving(sh) {
				return
			}
			e |= control
			continue
		}
		if !sh.claim.CompareAndSwap(l, n) {
			continue
		}
		if met == 0 {
			return
		}
		sched.Point("claim: shared, ended, before that is told")
		for _, h := range a.who {
			w := t.w.app.workers[h.Worker()].Load()
			if s := w.pinKey(h); s != nil {
				s.unclaimed(met)
				w.Unpin(s)
			}
		}
		return
	}
}

// endShared ends a session that is shared by fork, of which the caller has its
// own ends: now, or when the last has left what it shares.
func (t *Thread) endShared(s *Session, sh *shared) {
	gen := sh.claim.Load() >> lifeGen
	for {
		old := sh.leaving.Load()
		s.zombie = old
		if sched.Enabled {
			sched.Point("close: before it is among those that are to end")
		}
		if sh.leaving.CompareAndSwap(old, s) {
			break
		}
	}
	for {
		l := sh.claim.Load()
		if sched.Enabled {
			sched.Point("close: between the shared word and the word that some are to end")
		}
		if l>>lifeGen != gen {
			return // somebody has ended it, as the last one
		}
		if l&uint64(control) != 0 {
			if sh.claim.CompareAndSwap(l, l|lifeClosing) {
				return
			}
		} else if sh.claim.CompareAndSwap(l, l|uint64(control)) {
			if !t.endLeaving(sh) {
				t.dropShared(sh, control)
			}
			return
		}
	}
}

// endLeaving ends the sessions that wait for it, of what they share, the control
// of which the caller has claimed. True: nobody shares it any more.
//
// Who reads and writes in another process goes on meanwhile: a session that
// leaves touches no more than who shares, and the last one has nobody beside it.
func (t *Thread) endLeaving(sh *shared) (last bool) {
	sched.Point("close: control of what is shared is claimed, before the end")
	for s := sh.leaving.Swap(nil); s != nil; {
		next := s.zombie
		s.zombie = nil
		last = t.endNow(s)
		s = next
	}
	return last
}

// unclaimed tells those who met claims that these have ended: bits of lifeMet. Who
// wanted to write is told of room, which shows nowhere else as news.
func (s *Session) unclaimed(met uint64) {
	s.missed.Add(1)
	if met&(uint64(TxEnd)<<2) != 0 {
		s.edge(&s.full, fullShift)
	}
	s.w.newsOf(s)
}

// Pin looks a session up and keeps its slot what it is until Unpin. EBADFD:
// nil.
func (w *Worker) Pin(h Handle) *Session {
	sl := w.sessions.find(uint64(h))
	return w.pin(&sl.v, &sl.handle, h)
}

// pinKey is Pin by the key.
func (w *Worker) pinKey(h Handle) *Session {
	sl := w.sessions.find(uint64(h))
	return w.pin(&sl.v, &sl.key, h)
}

func (w *Worker) pin(s *Session, name *atomic.Uint64, h Handle) *Session {
	for {
		l := s.life.Load()
		if sched.Enabled {
			sched.Point("pin: between life and handle")
		}
		if name.Load() != uint64(h) || l&lifeClosing != 0 || l&lifePins > mostPins {
			return nil
		}
		if s.life.CompareAndSwap(l, l+lifePin) {
			return s
		}
	}
}

// pinUse is Pin of a use that was seen before, by its generation.
func (s *Session) pinUse(gen uint64) bool {
	for {
		l := s.life.Load()
		if sched.Enabled {
			sched.Point("pin: between life and the swap")
		}
		if l>>lifeGen != gen || l&lifeClosing != 0 || l&lifePins > mostPins {
			return false
		}
		if s.life.CompareAndSwap(l, l+lifePin) {
			return true
		}
	}
}

// Unpin ends Pin. The last pin of a session that has ended gives its slot back.
func (w *Worker) Unpin(s *Session) {
	if sched.Enabled {
		sched.Point("pin: before its end")
	}
	if s.life.Add(^uint64(lifePin-1))&lifePins != 0 {
		return
	}
	sched.Point("pin: the last one, before the slot is given back")
	h := s.handle
	s.release()
	w.sessions.Return(uint64(h))
}

// CloseHandle is [Thread.Close] of a session that others may be inside of:
// whoever is the last of them, or nobody is, and then the caller, ends it.
// EBADFD: there is no such session, or another was quicker.
func (t *Thread) CloseHandle(h Handle) error {
	w := t.w
	sl := w.sessions.find(uint64(h))
	s := &sl.v
	var mine, others bool // what is left to do: nothing is inside, somebody has a bias
	var l uint64
	for {
		l = s.life.Load()
		if sched.Enabled {
			sched.Point("close: between life and handle")
		}
		if sl.handle.Load() != uint64(h) || l&lifeClosing != 0 {
			return syscall.EBADFD
		}
		n := l | lifeClosing
		others = false
		switch {
		case l&lifeBiased == 0:
		case l&(lifeWhose&^lifeRevoked) == t.whose:
			n &^= lifeBiased | 0xff<<lifeThread
		default:
			others = true
			n |= lifeRevoked
		}
		mine = !others && n&uint64(BothEnds) == 0
		if mine {
			n |= uint64(BothEnds)
		}
		if s.life.CompareAndSwap(l, n+lifePin) {
			break
		}
	}
	if sched.Enabled {
		sched.Point("close: closing, before the handle is stale")
	}
	sl.handle.Store(notLive)
	s.flags.Or(fClosing)
	if sched.Enabled {
		sched.Point("close: closing, before who waits is woken")
	}
	w.wakeFree(s, nil)
	if others && t.insideOf(s, l) == 0 {
		for l = s.life.Load(); l&lifeBiased != 0; l = s.life.Load() {
			if get := closers(l); t.unbias(s, l, get) {
				mine = get != 0
				break
			}
		}
	}
	if mine {
		t.end(s)
	}
	for i := 0; i < closeLooks && s.life.Load()&lifeEnded == 0; i++ {
		if sched.Spin("close: others are inside") {
			break
		}
		hw.Pause()
		if i%16 == 15 {
			runtime.Gosched()
		}
	}
	w.Unpin(s)
	return nil
}

// outwait looks for some time whether who is inside of a session has left.
func (t *Thread) outwait(s *Session) {
	for i := 0; i < closeLooks; i++ {
		l := s.life.Load()
		if l&lifeClosing != 0 || l&uint64(RxEnd|TxEnd) == 0 && (l&lifeBiased == 0 || t.insideOf(s, l) == 0) {
			return
		}
		if sched.Spin("doom: others are inside") {
			return
		}
		hw.Pause()
		if i%16 == 15 {
			runtime.Gosched()
		}
	}
}

// end ends a session that is closing, of which the caller has both ends and
// nobody gets one any more.
func (t *Thread) end(s *Session) {
	if sh := s.sh.Load(); sh != nil {
		t.endShared(s, sh)
		return
	}
	t.endNow(s)
}

// endNow is end by who has the control of what the session shares, too. It reports
// whether nobody shares it any more.
func (t *Thread) endNow(s *Session) (last bool) {
	sched.Point("close: all is claimed, before the end")
	leave := s.enterAll()
	s.flags.Or(fClosing)
	s.flags.And(^uint32(fRead | fWrite))
	if m := s.member.Load(); m != nil {
		m.leave()
	}
	if s.epoll != nil {
		s.epoll.free.close()
	}
	last = t.ended(s)
	s.w.sessions.Invalidate(uint64(s.handle))
	leave()
	sched.Point("close: ended, before that is known")
	s.life.Or(lifeEnded)
	s.w.Unpin(s)
	return last
}
