package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"vlsbench/core"
	"vlsbench/harness"
	"vlsbench/hw"
	"vlsbench/internal/quote"
	"vlsbench/results"
	"vlsbench/vls"
	"vlsbench/workloads"
)

// profile is a named set of values for what is not given by a flag.
type profile struct {
	doc       string
	workloads []string
	threads   []int
	procs     []int
	sessions  []int
	sizes     []int
	slot      time.Duration
	rounds    int
}

var profiles = map[string]profile{
	"quick": {
		doc:       "some minutes",
		workloads: []string{"uni", "pingpong"},
		threads:   []int{1, 2}, procs: []int{1, 2}, sessions: []int{1}, sizes: []int{64, 4096},
		// Of 80, at least 50 count wherever three quarters are valid.
		slot: 20 * time.Millisecond, rounds: 80,
	},
	"standard": {
		doc:       "a quarter of an hour",
		workloads: []string{"uni", "bi", "pingpong"},
		threads:   []int{1, 2}, procs: []int{1, 2}, sessions: []int{1, 8}, sizes: []int{64, 1024, 16384},
		slot: 20 * time.Millisecond, rounds: 100,
	},
	"full": {
		doc:       "some hours",
		workloads: []string{"uni", "bi", "pingpong"},
		threads:   []int{1, 2}, procs: []int{1, 2}, sessions: []int{1, 8, 64}, sizes: []int{64, 512, 4096, 65536},
		slot: 50 * time.Millisecond, rounds: 200,
	},
}

var profileNames = []string{"quick", "standard", "full"}

// defaultBaseline is what strategies are compared with unless told otherwise.
const defaultBaseline = "global"

// request is the flags of run that say what to measure.
type request struct {
	profile    string
	strategies strategyList
	baseline   string
	workloads  list
	threads    ints
	procs      ints
	sessions   ints
	sizes      ints
	slot       time.Duration
	rounds     int
	cpus       cpuList
	pin        string
	wait       string
	vclConfig  string
	seed       uint64
	given      func(flag string) bool
}

// plan is what the flags come to. The notes say what was asked for and is left
// out.
func (r request) plan() (results.Plan, []string, error) {
	prof, ok := profiles[r.profile]
	if !ok {
		return results.Plan{}, nil, oneOf("--profile", r.profile, profileNames...)
	}
	p := results.Plan{
		Profile: r.profile, Seed: r.seed, Rounds: prof.rounds, Slot: prof.slot, Warmup: harness.Warmup,
		Pin: r.pin, MinOverlap: harness.MinOverlap, MaxStall: harness.MaxStall,
	}
	if r.given("rounds") {
		p.Rounds = r.rounds
	}
	if p.Rounds < 1 {
		return p, nil, usagef("--rounds %d: want at least 1", p.Rounds)
	}
	if r.given("slot") {
		p.Slot = r.slot
	}
	if least := p.Warmup + time.Millisecond; p.Slot < least || p.Slot > time.Minute {
		return p, nil, usagef("--slot %v: want %v to 1m, of which the first %v are warm-up", p.Slot, least, p.Warmup)
	}
	if !r.given("seed") {
		p.Seed = uint64(time.Now().UnixNano())
	}
	if _, err := core.ParseWait(r.wait); err != nil {
		return p, nil, usagef("--wait: %w", err)
	}
	notes, err := r.vcl(&p)
	if err != nil {
		return p, nil, err
	}
	note, err := r.strategiesOf(&p)
	if err != nil {
		return p, nil, err
	}
	notes = append(notes, note...)
	if p.CPUs, err = r.places(); err != nil {
		return p, nil, err
	}
	note, err = r.cells(&p, prof)
	if err != nil {
		return p, nil, err
	}
	notes = append(notes, note...)
	if err := harness.Check(p); err != nil {
		return p, nil, usageError{err}
	}
	return p, notes, nil
}

// vcl reads the vcl.conf. The notes name what has no effect.
func (r request) vcl(p *results.Plan) (notes []string, err error) {
	if r.vclConfig == "" {
		return nil, nil
	}
	f, err := os.Open(r.vclConfig)
	if err != nil {
		var at *fs.PathError
		if errors.As(err, &at) {
			err = at.Err // without the path, which may be too long to be one
		}
		return nil, usagef("--vcl-config %s: %w", quote.Of(r.vclConfig), err)
	}
	defer f.Close()
	c, read, err := core.ReadConfig(f)
	if err != nil {
		return nil, usagef("--vcl-config %s: %w", r.vclConfig, err)
	}
	for _, n := range read {
		notes = append(notes, fmt.Sprintf("%s: %s", r.vclConfig, n))
	}
	p.VCL = c.VCL()
	return notes, nil
}

// strategiesOf fills in the strategies and the baseline.
func (r request) strategiesOf(p *results.Plan) (notes []string, err error) {
	all, err := r.strategies.chosen()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, s := range all {
		names = append(names, s.Name)
	}
	if r.given("baseline") { // its default need not be there
		s, err := vls.Lookup(r.baseline)
		if err != nil {
			return nil, usageError{err}
		}
		r.baseline = s.Name
	}
	p.Strategies, p.Baseline = names, r.baseline
	if len(names) == 0 {
		return nil, usagef("no strategy is registered")
	}
	if !slices.Contains(names, r.baseline) {
		if r.given("baseline") {
			return nil, usagef("--baseline %s is not among --strategies %s", r.baseline, strings.Join(names, ","))
		}
		p.Baseline = names[0]
		if len(names) > 1 {
			notes = append(notes, fmt.Sprintf("%s is not among the strategies: %s is the baseline", r.baseline, p.Baseline))
		}
	}
	return notes, nil
}

// places is the CPUs that threads are pinned to, in order.
func (r request) places() ([]int, error) {
	policy, err := hw.ParsePinPolicy(r.pin)
	if err != nil {
		return nil, usagef("--pin: %w", err)
	}
	topology, err := hw.SystemTopology()
	if err != nil {
		return nil, fmt.Errorf("topology: %w", err)
	}
	if len(r.cpus) == 0 {
		return topology.Order(policy), nil
	}
	if policy == hw.PinNone {
		return nil, usagef("--cpus %s says where threads are pinned, --pin none that they are not", r.cpus.String())
	}
	allowed, err := hw.Allowed()
	if err != nil {
		return nil, fmt.Errorf("affinity mask: %w", err)
	}
	for _, cpu := range r.cpus {
		if !slices.ContainsFunc(topology.CPUs, func(c hw.CPU) bool { return c.ID == cpu }) {
			return nil, usagef("--cpus %d: this process may run on %v", cpu, allowed)
		}
	}
	return r.cpus, nil
}

// cells fills in the cells: every combination but those that cannot be.
func (r request) cells(p *results.Plan, prof profile) (notes []string, err error) {
	names := []string(r.workloads)
	if len(names) == 0 {
		names = prof.workloads
	}
	if slices.Contains(names, "all") {
		names = nil
		for _, w := range workloads.List() {
			names = append(names, w.Name)
		}
	}
	dims := []struct {
		flag  string
		given ints
		prof  []int
		most  int
		out   []int
	}{
		{"threads", r.threads, prof.threads, workloads.MaxThreads, nil},
		{"procs", r.procs, prof.procs, workloads.MaxThreads, nil},
		{"sessions", r.sessions, prof.sessions, workloads.MaxSessions, nil},
		{"sizes", r.sizes, prof.sizes, workloads.MaxSize, nil},
	}
	for i := range dims {
		d := &dims[i]
		d.out = d.prof
		if r.given(d.flag) {
			d.out = d.given
		}
		for _, v := range d.out {
			if v < 1 || v > d.most {
				return nil, usagef("--%s %d: want 1 to %d", d.flag, v, d.most)
			}
		}
	}
	wait, err := core.ParseWait(r.wait)
	if err != nil {
		return nil, usagef("--wait: %w", err)
	}
	var refused []error
	for _, name := range names {
		w, err := workloads.Lookup(name)
		if err != nil {
			return nil, usageError{err}
		}
		for _, threads := range dims[0].out {
			for _, procs := range dims[1].out {
				for _, sessions := range dims[2].out {
					for _, size := range dims[3].out {
						params := workloads.Params{Threads: threads, Procs: procs, Sessions: sessions, Size: size, Wait: wait}
						if err := w.Accepts(params); err != nil {
							refused = append(refused, err)
							continue
						}
						p.Cells = append(p.Cells, results.Cell{Workload: name, Procs: procs, Threads: threads, Sessions: sessions, Size: size, Wait: r.wait})
					}
				}
			}
		}
	}
	if len(p.Cells) == 0 {
		var why []string
		for _, err := range firstOf(refused) {
			why = append(why, err.Error())
		}
		return nil, usagef("nothing to measure: %s", strings.Join(why, "; "))
	}
	for _, err := range firstOf(refused) {
		// More processes than threads is what any cross product has.
		if !strings.HasPrefix(err.Error(), "procs ") {
			notes = append(notes, "left out: "+err.Error())
		}
	}
	return notes, nil
}

// firstOf drops repetitions.
func firstOf(errs []error) (out []error) {
	seen := make(map[string]bool)
	for _, err := range errs {
		if !seen[err.Error()] {
			seen[err.Error()] = true
			out = append(out, err)
		}
	}
	return out
}

// list is a flag of names, a,b.
type list []string

func (l *list) String() string { return strings.Join(*l, ",") }
func (l *list) Type() string   { return "a,b" }

func (l *list) Set(s string) error {
	for _, name := range strings.Split(s, ",") {
		if name = strings.TrimSpace(name); name == "" {
			return fmt.Errorf("an empty name in %s: want names with commas between them", quote.Of(s))
		}
		if slices.Contains(*l, name) {
			return fmt.Errorf("%s is given twice", quote.Of(name))
		}
		*l = append(*l, name)
	}
	return nil
}

// strategyList is a flag of strategies, each with the knobs that follow it:
// a,knob=value,b.
type strategyList []string

func (l *strategyList) String() string { return strings.Join(*l, ",") }
func (l *strategyList) Type() string   { return "a,b" }

func (l *strategyList) Set(s string) error {
	names, err := vls.SplitNames(s)
	*l = append(*l, names...)
	return err
}

// chosen is the strategies that are named; all, and none named, are those that are
// built. The error names one that there is not, or that is there twice: knobs in
// another order make no other strategy.
func (l strategyList) chosen() (chosen []vls.Strategy, err error) {
	has := func(name string) bool {
		return slices.ContainsFunc(chosen, func(s vls.Strategy) bool { return s.Name == name })
	}
	for _, n := range l {
		if n == "all" {
			continue
		}
		s, err := vls.Lookup(n)
		if err != nil {
			return nil, usageError{err}
		}
		if has(s.Name) {
			return nil, usagef("--strategies: %s is given twice", s.Name)
		}
		chosen = append(chosen, s)
	}
	if len(l) == 0 || slices.Contains(l, "all") {
		for _, s := range vls.Strategies() {
			if s.Kind == vls.Built && !has(s.Name) {
				chosen = append(chosen, s)
			}
		}
	}
	return chosen, nil
}

// ints is a flag of whole numbers, 1,2.
type ints []int

func (l *ints) Type() string { return "n,n" }

func (l *ints) String() string {
	var s []string
	for _, v := range *l {
		s = append(s, strconv.Itoa(v))
	}
	return strings.Join(s, ",")
}

func (l *ints) Set(s string) error {
	for _, f := range strings.Split(s, ",") {
		v, err := strconv.Atoi(strings.TrimSpace(f))
		if err != nil {
			return fmt.Errorf("%s is not a whole number; want a list such as 1,2", quote.Of(f))
		}
		if slices.Contains(*l, v) {
			return fmt.Errorf("%d is given twice", v)
		}
		*l = append(*l, v)
	}
	return nil
}

// cpuList is a flag of CPU numbers, 0,2 or 0-3, whose order counts.
type cpuList []int

func (l *cpuList) Type() string   { return "0,1" }
func (l *cpuList) String() string { return (*ints)(l).String() }
func (l *cpuList) Set(s string) error {
	for _, f := range strings.Split(s, ",") {
		set, err := hw.ParseCPUList(f)
		if err != nil || set.Len() == 0 {
			return fmt.Errorf("%s is no CPU; want a list such as 0,1 or 0-3", quote.Of(f))
		}
		for _, cpu := range set.List() {
			if slices.Contains(*l, cpu) {
				return fmt.Errorf("CPU %d is given twice", cpu)
			}
			*l = append(*l, cpu)
		}
	}
	return nil
}
