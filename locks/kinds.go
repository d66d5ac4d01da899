package locks

import (
	"fmt"
	"strings"
)

// Kind is one kind of lock that can be asked for by name.
type Kind struct {
	Name string
	Doc  string // one line
	RW   bool   // made by NewRW, not by New
}

var plainKinds = []struct {
	name, doc string
	make      func() Lock
}{
	{"mutex", "Go's sync.Mutex: spins briefly, then parks the goroutine", func() Lock { return new(Mutex) }},
	{"ttas", "test-and-test-and-set spin lock with backoff, naps after some µs", func() Lock { return new(TTAS) }},
	{"futex", "spins for some µs, then sleeps in the kernel", func() Lock { return new(Futex) }},
}

var rwKinds = []struct {
	name, doc string
	make      func() RW
}{
	{"rwmutex", "Go's sync.RWMutex: readers share one count", func() RW { return new(RWMutex) }},
	{"bravo", "readers-writer lock with a line per reader; writers look at all lines", func() RW { return NewBravo() }},
}

// Kinds lists what [New] makes and then what [NewRW] makes.
func Kinds() []Kind {
	var list []Kind
	for _, k := range plainKinds {
		list = append(list, Kind{Name: k.name, Doc: k.doc})
	}
	for _, k := range rwKinds {
		list = append(list, Kind{Name: k.name, Doc: k.doc, RW: true})
	}
	return list
}

// New makes an unlocked lock of a kind. The error lists the kinds there are.
func New(kind string) (Lock, error) {
	for _, k := range plainKinds {
		if k.name == kind {
			return k.make(), nil
		}
	}
	return nil, unknownKind("lock", kind, false)
}

// NewRW makes an unlocked readers-writer lock of a kind. The error lists the
// kinds there are.
func NewRW(kind string) (RW, error) {
	for _, k := range rwKinds {
		if k.name == kind {
			return k.make(), nil
		}
	}
	return nil, unknownKind("readers-writer lock", kind, true)
}

func unknownKind(what, kind string, rw bool) error {
	var names []string
	for _, k := range Kinds() {
		if k.RW == rw {
			names = append(names, k.Name)
		}
	}
	return fmt.Errorf("unknown %s %q; there are: %s", what, kind, strings.Join(names, ", "))
}
