package migrate

import (
	"vlsbench/locks"
	"vlsbench/vls"
)

const name = "migrate"

// kinds names the kind of each lock, as [locks.New] and [locks.NewRW] know it.
type kinds struct {
	table   string // P
	session string // S
	handles string // H
	request string // R
	shared  string // SD
}

// design is what can be chosen of migrate.
type design struct {
	name  string // with the knobs that are set
	kinds kinds

	// appTable: there is one P for the application; else each process has its own.
	appTable bool
	// lookup: who finds a session takes P until it has S, though the session is
	// at its own worker and cannot go.
	lookup bool
	// oneRPC: there is one R for the application, as in the original, so that who
	// waits for an owner that makes no call keeps all others from asking anybody;
	// else each worker that is asked has one.
	oneRPC bool
}

// preset is migrate itself.
var preset = design{
	name:  name,
	kinds: kinds{table: "bravo", session: plain, handles: "phasefair", request: "ttas", shared: "ttas"},
}

// plain is the kind of S for which the data path knows what to call.
const plain = "ttas"

// decision is one that is no kind of a lock.
type decision struct {
	name, doc string
	off, on   string
	at        *bool
}

func (d *design) decisions() []decision {
	return []decision{
		{"where", "where P lives", "process", "app", &d.appTable},
		{"lookup", "whether who finds a session of its own worker has P", "free", "table", &d.lookup},
		{"rpc", "where R lives: one RPC at a time for each worker that is asked, or for the application", "worker", "app", &d.oneRPC},
	}
}

// place is where a lock stands, under the name that users know.
type place struct {
	locks.Place
	kind *string
	doc  string
}

func (d *design) places() []place {
	return []place{
		{locks.Place{Name: "table", RW: true, Writers: true}, &d.kinds.table, "the lock on the table of sessions (P)"},
		{locks.Place{Name: "session"}, &d.kinds.session, "the lock of a session (S)"},
		{locks.Place{Name: "handles", RW: true, Writers: true}, &d.kinds.handles, "the lock on the table from session handles to VLS handles (H)"},
		{locks.Place{Name: "request"}, &d.kinds.request, "the lock of who asks a worker for a session (R)"},
		{locks.Place{Name: "shared"}, &d.kinds.shared, "the lock on the data of sessions shared by fork (SD)"},
	}
}

// knobs are what a user can choose.
func (d design) knobs() (knobs []vls.Knob) {
	for _, s := range d.decisions() {
		k := vls.Knob{Name: s.name, Doc: s.doc, Default: s.off, Values: []string{s.off, s.on}}
		if *s.at {
			k.Default = s.on
		}
		knobs = append(knobs, k)
	}
	for _, p := range d.places() {
		k := vls.Knob{Name: p.Name, Doc: "kind of " + p.doc, Default: *p.kind}
		k.Values, k.Refused = p.Kinds()
		knobs = append(knobs, k)
	}
	return knobs
}

// tune is the design with some knobs set. The error says what cannot work, and
// what can.
func (d design) tune(set map[string]string) (design, error) {
	for _, k := range d.knobs() {
		if v := set[k.Name]; v != "" {
			d.name += "," + k.Name + "=" + v
		}
	}
	for _, s := range d.decisions() {
		if v := set[s.name]; v != "" {
			*s.at = v == s.on
		}
	}
	for _, p := range d.places() {
		if v := set[p.Name]; v != "" {
			*p.kind = v
		}
		if err := p.Check(*p.kind); err != nil {
			return d, err
		}
	}
	return d, nil
}

func init() {
	vls.Register(vls.Strategy{
		Name:          name,
		Doc:           "a worker per thread; sessions move to the thread that uses them; no lock on queues and pools",
		Kind:          vls.Built,
		New:           preset.new,
		Knobs:         preset.knobs(),
		ThreadWorkers: true,
		Tune: func(set map[string]string) (func(vls.Options) (vls.App, error), error) {
			tuned, err := preset.tune(set)
			return tuned.new, err
		},
	})
}
