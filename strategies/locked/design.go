package locked

import (
	"fmt"
	"strings"

	"vlsbench/locks"
	"vlsbench/vls"
)

// Set is the locks that an operation takes.
type Set uint16

// Of a readers-writer lock r is a reader and w the writer; SP is the writer too,
// where it is one.
const (
	Pr  Set = 1 << iota // let go once S is held
	Pw                  // of a session that is made or has been closed: taken last
	S                   // of EpollCtl: of the set, then of the session
	SPr                 // while the core works, not while it waits
	SP                  // likewise
	MQ                  // likewise; else the core takes it where it needs it
)

// Table is which locks each operation takes: a column of the lock table. Which
// of them are left out with one thread, the design says. What is not named here
// is taken where the core asks for it: MQ by who sleeps and by EpollCtl, SD by
// the last close of a session that was shared.
type Table struct {
	Create, EpollCreate Set
	Bind, Attr          Set
	Listen, Connect     Set
	Accept              Set
	Read, Write         Set // with all that read and write
	Shutdown            Set
	// Close with Pr is in two phases: it marks the session under P.r and wakes
	// who waits on it, closes it under S, and takes P.w to free it. Without, all
	// of it is under P.w.
	Close     Set
	EpollCtl  Set
	EpollWait Set
	Poll      Set // and select, for which no session is looked up
	Lookup    Set // handle to session, or to its index
	HandleOf  Set // index to handle
}

// check reports a row that says what the operation does not do: which of P and S
// it takes is not free, only what it has besides.
func (t *Table) check() error {
	const inside = MQ | SP | SPr
	for _, row := range []struct {
		operation         string
		set, needs, allow Set
	}{
		{"Create", t.Create, Pw, inside},
		{"EpollCreate", t.EpollCreate, Pw, inside},
		{"Bind", t.Bind, Pr | S, inside},
		{"Attr", t.Attr, Pr | S, inside},
		{"Listen", t.Listen, Pr | S, inside},
		{"Connect", t.Connect, Pr | S, inside},
		{"Accept", t.Accept, Pr | S | Pw, inside},
		{"Read", t.Read, Pr | S, inside},
		{"Write", t.Write, Pr | S, inside},
		{"Shutdown", t.Shutdown, Pr | S, inside},
		{"Close", t.Close, S | Pw, inside | Pr},
		{"EpollCtl", t.EpollCtl, Pr | S, 0},
		{"EpollWait", t.EpollWait, Pr | S, inside},
		{"Poll", t.Poll, 0, inside},
		{"Lookup", t.Lookup, Pr | S, inside},
		{"HandleOf", t.HandleOf, Pr, 0},
	} {
		if row.set&row.needs != row.needs || row.set&^(row.needs|row.allow) != 0 || row.set&(SP|SPr) == SP|SPr {
			return fmt.Errorf("%s takes %v: want %v, and of %v at most", row.operation, row.set, row.needs, row.allow)
		}
	}
	return nil
}

// String is the locks with "|" between them, as a table has them.
func (s Set) String() string {
	var names []string
	for i, n := range []string{"Pr", "Pw", "S", "SPr", "SP", "MQ"} {
		if s&(1<<i) != 0 {
			names = append(names, n)
		}
	}
	if names == nil {
		return "none"
	}
	return strings.Join(names, "|")
}

// Kinds names the kind of each lock, as [locks.New] and [locks.NewRW] know it.
type Kinds struct {
	Table   string // P, a readers-writer lock
	Session string // S
	Queue   string // MQ
	Pool    string // SP, of either sort: what reads it shared has it alone if it is no readers-writer lock
	Shared  string // SD
}

// Design is a design of this family: what it locks, and how.
type Design struct {
	Name, Doc string
	Takes     Table
	Kinds     Kinds

	// AppTable: there is one P for the application, over the tables of all
	// processes; else each process has its own.
	AppTable bool
	// Always: P and S are taken with one thread, too; MQ and SP never are.
	Always bool
	// Retake: P.r is taken again to let go of S. So a holder of S may wait for
	// P, and who holds P.w must not wait for S: it tries, letting P go.
	Retake bool
	// HoldSession: a wait keeps S. Close has to mark the session first, then,
	// or it would wait for what may never come, as every other operation on it
	// does, and fork, and the exit of a process that shares it. So nobody waits
	// for S who has P.
	HoldSession bool
	// TryQueue: who is about to sleep on a session tries for MQ, and looks
	// whether the session has become ready between two tries.
	TryQueue bool
}

// Places of the locks of a design, under the names that users know.
func (d *Design) places() []struct {
	locks.Place
	kind *string
	doc  string
} {
	return []struct {
		locks.Place
		kind *string
		doc  string
	}{
		{locks.Place{Name: "table", RW: true, RecursiveReaders: d.Retake, Writers: !d.Retake}, &d.Kinds.Table, "the lock on the table of sessions (P)"},
		{locks.Place{Name: "session"}, &d.Kinds.Session, "the lock of a session (S)"},
		{locks.Place{Name: "queue"}, &d.Kinds.Queue, "the lock on a worker's message queue (MQ)"},
		{locks.Place{Name: "pool", RW: isRW(d.Kinds.Pool), Writers: isRW(d.Kinds.Pool)}, &d.Kinds.Pool, "the lock on a worker's session pool (SP)"},
		{locks.Place{Name: "shared"}, &d.Kinds.Shared, "the lock on the data of sessions shared by fork (SD)"},
	}
}

// decision is one of a design's that is no kind of a lock.
type decision struct {
	name, doc string
	off, on   string
	is        func(*Design) bool
	set       func(*Design, bool)
}

var decisions = []decision{
	flag("where", "where P lives", "process", "app", func(d *Design) *bool { return &d.AppTable }),
	flag("when", "when P and S are taken: with several threads, or always", "several", "always", func(d *Design) *bool { return &d.Always }),
	flag("retake", "whether P is taken again to let go of S", "no", "yes", func(d *Design) *bool { return &d.Retake }),
	flag("hold", "what a wait on a session holds", "nothing", "session", func(d *Design) *bool { return &d.HoldSession }),
	flag("enter", "how who is about to sleep comes by MQ: it waits, or tries and looks again", "lock", "try", func(d *Design) *bool { return &d.TryQueue }),
	bits("close", "whether close has P.w all the time, or only to free", "one-phase", "two-phase", func(t *Table) []row {
		return []row{{&t.Close, Pr}}
	}),
	// What may ask for MQ has it before SP, as the order is.
	bits("io", "whether what reads, writes, connects and polls has SP", "free", "pool", func(t *Table) []row {
		return []row{{&t.Listen, MQ | SPr}, {&t.Connect, MQ | SPr}, {&t.Read, SPr}, {&t.Write, SPr}, {&t.EpollWait, MQ | SPr}, {&t.Poll, MQ | SPr}}
	}),
}

type row struct {
	set  *Set
	bits Set
}

func flag(name, doc, off, on string, at func(*Design) *bool) decision {
	return decision{name, doc, off, on,
		func(d *Design) bool { return *at(d) },
		func(d *Design, v bool) { *at(d) = v }}
}

func bits(name, doc, off, on string, rows func(*Table) []row) decision {
	return decision{name, doc, off, on,
		func(d *Design) bool { r := rows(&d.Takes)[0]; return *r.set&r.bits == r.bits },
		func(d *Design, v bool) {
			for _, r := range rows(&d.Takes) {
				if *r.set &^= r.bits; v {
					*r.set |= r.bits
				}
			}
		}}
}

func isRW(kind string) bool {
	for _, k := range locks.Kinds() {
		if k.Name == kind {
			return k.RW
		}
	}
	return false
}

// knobs are what a user can choose of a design.
func (d Design) knobs() (knobs []vls.Knob) {
	for _, s := range decisions {
		k := vls.Knob{Name: s.name, Doc: s.doc, Default: s.off, Values: []string{s.off, s.on}}
		if s.is(&d) {
			k.Default = s.on
		}
		knobs = append(knobs, k)
	}
	for _, p := range d.places() {
		k := vls.Knob{Name: p.Name, Doc: "kind of " + p.doc, Default: *p.kind}
		switch p.Name {
		case "table": // which of them, retake says
			k.Values, _ = locks.Place{Name: p.Name, RW: true}.Kinds()
		case "pool":
			var rw []string
			k.Values, _ = locks.Place{Name: p.Name}.Kinds()
			rw, k.Refused = locks.Place{Name: p.Name, RW: true, Writers: true}.Kinds()
			k.Values = append(k.Values, rw...)
		default:
			k.Values, k.Refused = p.Kinds()
		}
		knobs = append(knobs, k)
	}
	return knobs
}

// tune is the design with some knobs set. The error says what cannot work.
func (d Design) tune(set map[string]string) (Design, error) {
	for _, k := range d.knobs() {
		if v := set[k.Name]; v != "" {
			d.Name += "," + k.Name + "=" + v
		}
	}
	for _, s := range decisions {
		if v := set[s.name]; v != "" {
			s.set(&d, v == s.on)
		}
	}
	for _, p := range d.places() {
		if v := set[p.Name]; v != "" {
			*p.kind = v
		}
	}
	return d, d.check()
}

// check reports what of a design cannot work.
func (d *Design) check() error {
	switch {
	case d.AppTable && !d.Always:
		return fmt.Errorf("where=app with when=several: the table of all processes cannot go unlocked because one of them has one thread; want when=always, or where=process")
	case d.HoldSession && d.Takes.Close&Pr == 0:
		return fmt.Errorf("hold=session with close=one-phase: close would wait, with P, for a session that another thread waits on; want close=two-phase, or hold=nothing")
	}
	if err := d.Takes.check(); err != nil {
		return err
	}
	for _, p := range d.places() {
		if err := p.Check(*p.kind); err != nil {
			if p.Name != "table" {
				return err
			}
			is, other := "no", "yes"
			if d.Retake {
				is, other = other, is
			}
			err = fmt.Errorf("with retake=%s %w", is, err)
			o := *d
			if o.Retake = !d.Retake; o.places()[0].Check(*p.kind) == nil {
				err = fmt.Errorf("%w; with retake=%s it can be one", err, other)
			}
			return err
		}
	}
	return nil
}

// register makes a design known as a strategy.
func register(d Design) {
	if err := d.check(); err != nil {
		panic(fmt.Sprintf("locked: design %s: %v", d.Name, err))
	}
	vls.Register(vls.Strategy{
		Name:  d.Name,
		Doc:   d.Doc,
		Kind:  vls.Built,
		New:   d.New,
		Knobs: d.knobs(),
		Tune: func(set map[string]string) (func(vls.Options) (vls.App, error), error) {
			tuned, err := d.tune(set)
			return tuned.New, err
		},
	})
}
