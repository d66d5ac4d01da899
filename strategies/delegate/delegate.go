// Package delegate has ownership in place of locks: every session belongs to one
// thread, and who wants something of another's session posts the operation to it.
// No thread is started for that: who finds the owner idle does the work of all.
//
// It follows flat combining (Hendler, Incze, Shavit and Tzafrir, SPAA 2010), where
// whoever has the right to a structure does what the others have published, and
// delegation as in ffwd (Roghanchi, Eriksson and Basu, SOSP 2017), where one
// thread has that right for good. Here the owner has it for as long as nobody
// else asks, at the price of two plain stores an operation.
//
// # Stations
//
// Each thread has a station, to which its sessions belong: those it created and
// those it accepted. Each process has one, to which its worker's pool and queue
// and all of its epoll sets belong. Who is in a station is alone with all that
// belongs to it, and that is the whole of the exclusion:
//
//	D    the station of the session's owner: control, rx, tx
//	DP   the station of the process: session pool, mq, epoll sets
//	SD   a lock on the application's pool of data that is shared by fork (ttas)
//
// taken in this order, and of several D (a fork) that which was made first first.
//
//	create, epoll_create                     DP
//	bind, listen, connect, attr, shutdown    D
//	read, write, write_msg                   D
//	recvfrom, sendto                         D
//	handle to session, to index              D
//	accept, close, epoll_ctl                 D DP
//	any of these on an epoll set             DP
//	epoll_wait                               DP, and nothing while it waits
//	select, poll                             DP, and nothing while they wait
//	index to handle                          DP
//
// # The word of a station
//
// A station is one word. It is
//
//	biased   nobody else has asked since the owner was alone: the owner comes and
//	         goes with a plain store to the station's mark
//	free     nobody is in
//	held     somebody is, and nothing is posted
//	a slot   somebody is, and this was posted last; it leads to what was posted
//	         before
//
// and goes from one to another by compare-and-swap. A thread has a slot for
// operations at stations of threads, and one for entering its process's, each on
// lines of its own.
//
// The life of an operation on a session at a station that is held: the thread
// writes down what it wants, sets its slot to posted, and makes it the head of
// the word. Had the holder left in that moment, the compare-and-swap fails, and
// the thread finds the station free: there is no time in which a slot is posted
// and nobody is in to see it. The holder, when it is through with its own
// operation, takes the list off the word and does what it finds, the oldest first,
// in the name of those who posted; each is told by its slot (done). It leaves by a
// compare-and-swap from held, which fails if something was posted meanwhile, and
// then it begins anew. Who posted looks at its slot for some microseconds, then
// marks it asleep and sleeps on it; who tells it and finds it asleep wakes it.
//
// An operation takes effect while somebody, itself or another, is in the station;
// the order in which they are there is the order of all operations on sessions of
// one owner.
//
// One holder does at most 64 operations of others. What is left then, and what is
// not done in another's name (connect and listen, which may wait for the session
// layer in their middle; creation, and all looks at the queue) is for those who
// posted it. Whoever leaves tells all of them to come (again), after it has left;
// the first to come is in, and the others post anew. If it told one, and that one the
// next, one that is stopped before it comes would keep those behind it asleep, though
// it is in no station.
//
// # The owner
//
// The owner marks itself inside by a plain store, and looks whether the word says
// biased. Who wants to be in takes biased to held, calls membarrier, and waits
// until the mark is clear: either the owner has seen that the station is held, or
// its mark is seen. From then on the owner enters as all do. When it has been in
// 4096 times and nobody else, it leaves the station biased again. Where the kernel
// refuses membarrier stations are never biased, nor is one that has sessions
// shared by fork.
//
// An owner between two operations, in a wait, or asleep, is in no station: others
// do what they want by themselves, as if they were it. A session that one other
// thread has used 64 times in a row, and nobody else, belongs to that from then on:
// who accepts need not be who serves. The sessions of a thread that has exited
// belong, each, to the next thread of the process that uses it. What is shared by
// fork stays where it is. A session changes its owner by one store, the last that
// is done to it in the old station; who comes there for it after that does not find
// it, and looks again where it is.
//
// What a sleepy owner delays: nothing, unless it is stopped inside an operation,
// its own or another's that it does. Then all of its sessions are closed to all
// until it goes on, and those whose operations it has taken off the word wait with
// it; the latter until it has told them, which it does with the station left. So it
// is with whoever does its work for it. A thread that is stopped in the
// station of the process stops creation, closing, accepting, epoll, select, poll
// and waits that sleep in that process, and with them the stations of those who are
// in the middle of a close, accept or epoll_ctl, but no reading and writing at
// others. One that is stopped while it registers or exits stops the registration of
// others and forks, and one in a fork the whole process. Nothing is undone for a
// thread that dies inside.
//
// # Waiting
//
// A posted operation never waits: the holder would. The core says that it would
// have to, with the session kept from being freed; the thread then waits by
// itself, with nothing held, and makes or posts the operation again with what is
// left of it.
//
// # Fork
//
// A session that is shared by fork belongs to one thread of one process, for all
// who share it: its station is the same object in all of them, and an operation
// that is done in another's name is done with the other's worker. A fork is in all
// stations of its process's sessions, and then in that of the process.
package delegate

import (
	"sync"
	"sync/atomic"

	"vlsbench/core"
	"vlsbench/hw"
	"vlsbench/locks"
	"vlsbench/vls"
)

const name = "delegate"

func init() {
	vls.Register(vls.Strategy{
		Name: name,
		Doc:  "a session belongs to a thread; others post operations to it, and who finds it idle combines",
		Kind: vls.Built,
		New:  New,
	})
}

// classes are the stations and the lock, in the order in which they are taken.
var classes = [...]string{"D", "DP", "SD"}

// New makes an application whose sessions belong to threads.
func New(o vls.Options) (vls.App, error) {
	a := &app{shared: &locks.TTAS{}}
	if o.CountLocks {
		a.counters = make(map[string]*locks.Counter)
		for _, c := range classes {
			a.counters[c] = locks.NewCounter(c)
		}
		a.shared = locks.Counted(a.shared, a.counters["SD"])
	}
	var err error
	a.core, err = core.New(o.Config, core.Hooks{
		Sleep:   func(t *core.Thread, _ *core.Session) { t.Owner.(*thread).sleep() },
		Woke:    func(t *core.Thread, s *core.Session) bool { return t.Owner.(*thread).woke(s) },
		EnterMQ: func(t *core.Thread) { t.Owner.(*thread).enterMQ() },
		TryMQ:   func(t *core.Thread) bool { return t.Owner.(*thread).tryMQ() },
		LeaveMQ: func(t *core.Thread) { t.Owner.(*thread).leaveMQ() },

		EnterShared: func(t *core.Thread) {
			t.Owner.(*thread).order.Take(name, "SD")
			a.shared.Lock()
		},
		LeaveShared: func(t *core.Thread) {
			a.shared.Unlock()
			t.Owner.(*thread).order.Give("SD")
		},
	})
	if err != nil {
		return nil, err
	}
	return a, nil
}

type app struct {
	core     *core.App
	shared   locks.Lock                // SD
	counters map[string]*locks.Counter // nil: not counted
	stations atomic.Uint64             // that were made
}

// station makes st a station of a class for its owner.
func (a *app) station(st *station, class string, owner *thread) {
	st.class, st.owner, st.id = class, owner, a.stations.Add(1)
	if c := a.counters[class]; c != nil {
		st.free, st.taken = locks.Counted(always(true), c), locks.Counted(always(false), c)
	}
}

func (a *app) NewProcess() (vls.Process, error) {
	w, err := a.core.NewWorker()
	if err != nil {
		return nil, err
	}
	return a.process(w), nil
}

func (a *app) process(w *core.Worker) *process {
	p := &process{a: a, w: w}
	a.station(&p.main, "DP", nil)
	w.Owner = p
	return p
}

func (a *app) Locks() []locks.Stat {
	if a.counters == nil {
		return nil
	}
	var stats []locks.Stat
	for _, c := range classes {
		stats = append(stats, a.counters[c].Stat())
	}
	return stats
}

func (a *app) Close() error { return a.core.Close() }

// Usage is what the application has in hand, for tests that want it empty.
func (a *app) Usage() core.Usage { return a.core.Usage() }

type process struct {
	a *app
	w *core.Worker

	pages   [core.MaxIndex/pageSlots + 1]atomic.Pointer[page] // made in main
	crowded atomic.Bool                                       // there was a second thread, or a fork: once and for all

	mu      sync.Mutex // of registration
	threads []*thread

	_    [hw.FalseSharing]byte
	main station // DP
}

// entry says of the session at one index of the worker's pool whose it is. It is
// never freed.
type entry struct {
	// at is the station that the session belongs to: who is in it and finds it
	// here is alone with the session and with the rest of the entry. nil: there is
	// none. It is changed in the station that it was, and from nil in main.
	at atomic.Pointer[station]
	h  vls.Handle
	s  *core.Session
	// guest is who used it last, so often in a row, if that was not the owner.
	guest  *thread
	visits int
	_      [24]byte // a power of two
}

const (
	pageBits  = 10
	pageSlots = 1 << pageBits
)

type page [pageSlots]entry

// absent stands for all entries that were never made.
var absent entry

// find is the entry of an index. Any thread.
func (p *process) find(index uint32) *entry {
	if pg := p.pages[index%(core.MaxIndex+1)/pageSlots].Load(); pg != nil {
		return &pg[index%pageSlots]
	}
	return &absent
}

// enter makes a session belong to a station, under a VLS handle. In main, or while
// nobody knows the process.
func (p *process) enter(s *core.Session, h vls.Handle, at *station) {
	index := core.Handle(h).Index()
	if pg := &p.pages[index/pageSlots]; pg.Load() == nil {
		pg.Store(new(page))
	}
	e := p.find(index)
	e.h, e.s = h, s
	e.at.Store(at)
}

// each calls f for every entry with a session. In main.
func (p *process) each(f func(e *entry)) {
	for i := range p.pages {
		pg := p.pages[i].Load()
		if pg == nil {
			continue
		}
		for i := range pg {
			if pg[i].at.Load() != nil {
				f(&pg[i])
			}
		}
	}
}

// always is a lock that is there to be counted.
type always bool

func (always) Lock()           {}
func (always) Unlock()         {}
func (l always) TryLock() bool { return bool(l) }
