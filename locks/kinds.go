package locks

import (
	"fmt"
	"strings"

	"vlsbench/internal/quote"
)

// Kind is one kind of lock that can be asked for by name, and what it promises.
type Kind struct {
	Name string
	Doc  string // one line
	RW   bool   // made by NewRW, not by New

	// Fair: those who wait to hold it alone get it in the order in which they
	// came, and nobody who comes later goes before them.
	Fair bool

	// The rest is of readers-writer locks.

	// RecursiveReaders: a reader may lock again what it holds, since a writer
	// that waits does not stop it. Where that is false a waiting writer stops
	// readers that come later.
	RecursiveReaders bool
	// StarvesWriters: readers that come and go can keep a writer out for ever.
	StarvesWriters bool
	// StarvesReaders: writers that come and go can keep a reader out for ever.
	StarvesReaders bool
}

var plainKinds = []struct {
	Kind
	make func() Lock
}{
	{Kind{
		Name: "mutex", Doc: "Go's sync.Mutex: spins briefly, then parks the goroutine",
	}, func() Lock { return new(Mutex) }},
	{Kind{
		Name: "tas", Doc: "test-and-set spin lock: every look is a write; naps after some µs",
	}, func() Lock { return new(TAS) }},
	{Kind{
		Name: "ttas", Doc: "test-and-test-and-set spin lock with backoff, naps after some µs",
	}, func() Lock { return new(TTAS) }},
	{Kind{
		Name: "ticket", Doc: "spin lock in the order of coming, all wait on one word; naps after some µs",
		Fair: true,
	}, func() Lock { return new(Ticket) }},
	{Kind{
		Name: "mcs", Doc: "queue lock, each waits on a line of its own; sleeps after some µs, its turn wakes it",
		Fair: true,
	}, func() Lock { return new(MCS) }},
	{Kind{
		Name: "clh", Doc: "queue lock, each waits for the one before; sleeps after some µs, its turn wakes it",
		Fair: true,
	}, func() Lock { return new(CLH) }},
	{Kind{
		Name: "futex", Doc: "spins for some µs, then sleeps in the kernel",
	}, func() Lock { return new(Futex) }},
}

var rwKinds = []struct {
	Kind
	make func() RW
}{
	{Kind{
		Name: "rwmutex", Doc: "Go's sync.RWMutex: readers share one count",
	}, func() RW { return new(RWMutex) }},
	{Kind{
		Name: "rwspin", Doc: "counting spin lock as VPP's: readers pass waiting writers, and starve them",
		RecursiveReaders: true, StarvesWriters: true, StarvesReaders: true,
	}, func() RW { return new(RWSpin) }},
	{Kind{
		Name: "rwpending", Doc: "rwspin whose readers stand back while a writer waits: writers starve them",
		StarvesReaders: true,
	}, func() RW { return new(RWPending) }},
	{Kind{
		Name: "phasefair", Doc: "spin lock in which phases of readers and single writers take turns",
		Fair: true,
	}, func() RW { return new(PhaseFair) }},
	{Kind{
		Name: "bravo", Doc: "readers-writer lock with a line per reader; writers look at all lines in use",
	}, func() RW { return NewBravo() }},
}

// Kinds lists what [New] makes and then what [NewRW] makes.
func Kinds() []Kind {
	var list []Kind
	for _, k := range plainKinds {
		list = append(list, k.Kind)
	}
	for _, k := range rwKinds {
		k.RW = true
		list = append(list, k.Kind)
	}
	return list
}

// New makes an unlocked lock of a kind. The error lists the kinds there are.
func New(kind string) (Lock, error) {
	for _, k := range plainKinds {
		if k.Name == kind {
			return k.make(), nil
		}
	}
	return nil, unknownKind("lock", kind, false)
}

// NewRW makes an unlocked readers-writer lock of a kind. The error lists the
// kinds there are.
func NewRW(kind string) (RW, error) {
	for _, k := range rwKinds {
		if k.Name == kind {
			return k.make(), nil
		}
	}
	return nil, unknownKind("readers-writer lock", kind, true)
}

func unknownKind(what, kind string, rw bool) error {
	return fmt.Errorf("unknown %s %s; there are: %s", what, quote.Of(kind), names(Place{RW: rw}))
}

// Place is where a lock is to stand, and what is asked of it there.
type Place struct {
	Name string // as users know it: "table", "session"
	RW   bool   // it has readers
	// RecursiveReaders: a reader may come to lock it again while it holds it.
	RecursiveReaders bool
	// Writers: a writer must get in, whatever readers do.
	Writers bool
}

// Check reports why a kind cannot stand there, and which can.
func (p Place) Check(kind string) error {
	for _, k := range Kinds() {
		if k.Name != kind || k.RW != p.RW {
			continue
		}
		if why := p.refuses(k); why != "" {
			return fmt.Errorf("%s cannot be a %s: %s; there are: %s", p.Name, kind, why, names(p))
		}
		return nil
	}
	what := "lock"
	if p.RW {
		what = "readers-writer lock"
	}
	return fmt.Errorf("%s: unknown %s %s; there are: %s", p.Name, what, quote.Of(kind), names(p))
}

// Kinds lists the kinds that can stand there, and says of each other one of its
// sort why it cannot.
func (p Place) Kinds() (names []string, refused map[string]string) {
	refused = make(map[string]string)
	for _, k := range Kinds() {
		if k.RW != p.RW {
			continue
		}
		if why := p.refuses(k); why != "" {
			refused[k.Name] = why
		} else {
			names = append(names, k.Name)
		}
	}
	return names, refused
}

// refuses is why a kind of the right sort cannot stand there.
func (p Place) refuses(k Kind) string {
	switch {
	case p.RecursiveReaders && !k.RecursiveReaders:
		return "a reader locks it again while it holds it, and would wait for a writer that waits for the reader"
	case p.Writers && k.StarvesWriters:
		return "its readers can keep a writer out for ever"
	}
	return ""
}

// names lists the kinds that can stand at a place.
func names(p Place) string {
	names, _ := p.Kinds()
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}
