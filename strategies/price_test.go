package strategies_test

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vlsbench/compare"
	"vlsbench/core"
	"vlsbench/harness"
	"vlsbench/hw"
	"vlsbench/results"
	"vlsbench/vls"
)

// The price of each repair and of each knob. TestPrices measures rounds, in each
// of which everything has its turn once, in random order, on fresh objects, and
// keeps them in a file; with -rewrite it makes the tables of docs/strategies.md
// of what the file has. So rounds may be gathered whenever the machine is calm, of
// one build:
//
//	go test ./strategies -run Prices -prices FILE -price-rounds 10
//	go test ./strategies -run Prices -prices FILE -price-rounds 0 -rewrite
var (
	prices      = flag.String("prices", "", "measure what repairs and knobs cost, and keep the rounds in this file")
	priceRounds = flag.Int("price-rounds", 10, "rounds to measure with -prices")
)

// priced is a preset, or one with knobs, against what it is compared with.
type priced struct{ name, against string }

// repairs are the presets, against the originals of the same locks.
var repairs = []priced{
	{"shared", "shared-orig"},
	{"perworker", "perworker-orig"},
	{"spoolrw", "spoolrw-orig"},
	{"migrate", "migrate-orig"},
}

// settings of knobs, preset by preset.
var settings = map[string][]string{
	"perworker": {
		"when=always", "when=always,where=app",
		"table=rwspin,retake=yes", "close=two-phase", "close=two-phase,hold=session",
		"enter=try", "io=pool", "io=pool,pool=rwpending", "io=pool,pool=phasefair",
		"table=rwmutex", "table=rwpending", "table=phasefair",
		"session=mutex", "session=tas", "session=ticket", "session=mcs", "session=clh", "session=futex",
		"queue=mutex", "queue=mcs", "queue=futex", "pool=mutex", "pool=mcs", "pool=futex", "shared=futex",
	},
	"migrate": {
		"where=app", "rpc=app", "lookup=table", "lookup=table,where=app",
		"lookup=table,table=rwmutex", "lookup=table,table=rwpending", "lookup=table,table=phasefair",
		"table=rwmutex", "table=rwpending", "table=phasefair",
		"session=tas", "session=mutex", "session=ticket", "session=mcs", "session=clh", "session=futex",
		"handles=rwmutex", "handles=rwpending", "handles=bravo",
		"request=mutex", "request=tas", "request=mcs", "request=futex", "shared=futex",
	},
}

// knobs are the settings of a preset, each against the same without the last one
// named; of two that stand only together, against the same without either. The
// kinds of S in migrate are against one that is called as they are, through an
// interface: that of the preset is not.
func knobs(preset string) (list []priced) {
	for _, set := range settings[preset] {
		against := preset
		if i := strings.LastIndexByte(set, ','); i >= 0 && !strings.HasPrefix(set, "table=rwspin") {
			against += "," + set[:i]
		} else if preset == "migrate" && strings.HasPrefix(set, "session=") && set != "session=tas" {
			against += ",session=tas"
		}
		list = append(list, priced{preset + "," + set, against})
	}
	return list
}

// pricelist is a table: what is priced, at which chores. preset is that of knobs.
type pricelist struct {
	head, preset string
	list         []priced
	chores       []chore
}

func pricelists() []pricelist {
	but := func(name string) []chore {
		return slices.DeleteFunc(slices.Clone(chores), func(c chore) bool { return c.name == name })
	}
	return []pricelist{
		{"built, against its original", "", repairs, chores},
		{"knob, in perworker", "perworker", knobs("perworker"), but(firstUse)},
		{"knob, in migrate", "migrate", knobs("migrate"), but(besideWaiter)},
	}
}

// canonical is the name under which the registry knows a strategy with knobs.
func canonical(tb testing.TB, name string) string { return must(vls.Lookup(name))(tb).Name }

// chore is what is priced: it returns how often it was done a second. That of
// several threads is of all of them.
type chore struct {
	name string
	rate func(*pricing, vls.App) float64
	// not is the strategies that do not do it.
	not []string
}

const (
	besideWaiter = "create beside one who waits"
	firstUse     = "first use of another's"
)

var chores = []chore{
	{"one thread", (*pricing).oneThread, nil},
	{"two threads", (*pricing).twoThreads, nil},
	// A connected session is with migrate-orig its first thread's alone.
	{"on one session", (*pricing).oneSession, []string{"migrate-orig"}},
	{"shared by fork", (*pricing).sharedByFork, nil},
	{"create and close", (*pricing).createClose, nil},
	{"in two processes", (*pricing).twoProcesses, nil},
	{besideWaiter, (*pricing).besideWaiter, nil},
	{firstUse, (*pricing).firstUse, nil},
}

type pricing struct {
	*testing.T
	cpus []int
	at   atomic.Pointer[string] // what is under way, for the watchdog
	done atomic.Uint64
}

// newPricing is one under a watchdog.
func newPricing(t *testing.T) *pricing {
	topology := must(hw.SystemTopology())(t)
	p := &pricing{T: t, cpus: topology.Order(hw.PinCore)}
	if len(p.cpus) < 2 {
		t.Skip("one processor: two threads do not run at once")
	}
	nothing := "nothing yet"
	p.at.Store(&nothing)
	over := make(chan struct{})
	t.Cleanup(func() { close(over) })
	go p.guard(over)
	return p
}

// Every knob has a price, and every chore can be done.
func TestChores(t *testing.T) {
	p := newPricing(t)
	for preset := range settings {
		for _, k := range must(vls.Lookup(preset))(t).Knobs {
			if !slices.ContainsFunc(knobs(preset), func(one priced) bool { return strings.Contains(one.name, ","+k.Name+"=") }) {
				t.Errorf("knob %s of %s has no price", k.Name, preset)
			}
		}
	}
	for _, l := range pricelists() {
		for _, one := range l.list {
			canonical(t, one.name)
			canonical(t, one.against)
		}
	}
	for _, c := range chores {
		for _, s := range []string{"shared", "perworker", "spoolrw", "migrate", "migrate-orig"} {
			if slices.Contains(c.not, s) {
				continue
			}
			if rate := p.measure(c, s); !(rate > 0) {
				t.Errorf("%s: %s is done %v times a second", s, c.name, rate)
			}
		}
	}
}

func TestPrices(t *testing.T) {
	if *prices == "" {
		t.Skip("a measurement: asked for by -prices")
	}
	p := newPricing(t)
	var rounds []map[string]float64 // of "chore: strategy" its rate
	file, err := os.ReadFile(*prices)
	if err == nil {
		err = json.Unmarshal(file, &rounds)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("%s holds no rounds: %v", *prices, err)
	}
	undo := harness.Quiet(3)
	defer undo()
	for range *priceRounds {
		rounds = append(rounds, p.round())
		if err := os.WriteFile(*prices, must(json.Marshal(rounds))(t), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	table := p.tables(rounds)
	t.Log("\n" + table)
	if *rewrite {
		const file = "../docs/strategies.md"
		doc := must(os.ReadFile(file))(t)
		re := regexp.MustCompile(`(?s)(<!-- prices -->\n).*?(<!-- end -->)`)
		if !re.Match(doc) {
			t.Fatalf("%s has no place for the prices", file)
		}
		doc = re.ReplaceAll(doc, []byte("${1}"+strings.ReplaceAll(table, "$", "$$")+"${2}"))
		check(t, os.WriteFile(file, doc, 0o666))
	}
}

// guard ends a measurement that hangs.
func (p *pricing) guard(over <-chan struct{}) {
	for last := uint64(0); ; {
		select {
		case <-over:
			return
		case <-time.After(time.Minute):
		}
		now := p.done.Load()
		if now == last {
			debug.SetTraceback("all")
			panic(fmt.Sprintf("hung: %s", *p.at.Load()))
		}
		last = now
	}
}

// round measures everything once, chore by chore.
func (p *pricing) round() map[string]float64 {
	names := make(map[string]map[string]bool) // of a chore
	for _, l := range pricelists() {
		for _, c := range l.chores {
			if names[c.name] == nil {
				names[c.name] = make(map[string]bool)
			}
			for _, one := range l.list {
				for _, name := range []string{one.name, one.against} {
					if !slices.Contains(c.not, name) {
						names[c.name][canonical(p, name)] = true
					}
				}
			}
		}
	}
	round := make(map[string]float64)
	for _, i := range rand.Perm(len(chores)) {
		c := chores[i]
		runtime.GC() // not before each, which would take longer than what is measured
		order := slices.Sorted(maps.Keys(names[c.name]))
		for _, j := range rand.Perm(len(order)) {
			round[c.name+": "+order[j]] = p.measure(c, order[j])
		}
	}
	return round
}

// measure measures a strategy at a chore.
func (p *pricing) measure(c chore, strategy string) float64 {
	what := c.name + ": " + strategy
	p.at.Store(&what)
	a := must(must(vls.Lookup(strategy))(p).New(vls.Options{
		Config: core.Config{Wait: core.Park, SegmentSize: 16 << 20, RxFifoSize: 16 << 10, TxFifoSize: 16 << 10},
	}))(p)
	rate := c.rate(p, a)
	check(p, a.Close())
	p.done.Add(1)
	return rate
}

// together runs each of fs again and again, on a core of its own, and returns
// the calls a second of all: of each the median over five parts of a slot, since
// a part may lose its core to others for a while. Who is done goes on until all are,
// and then leaves, if it is a thread of leaving: others may still ask it.
func (p *pricing) together(leaving []vls.Thread, fs ...func()) float64 {
	const part, warm = 500 * time.Microsecond, 200 * time.Microsecond
	rates := make(chan float64, len(fs))
	var ready, done atomic.Int32
	for i, f := range fs {
		go func() {
			runtime.LockOSThread() // and dies so
			if err := hw.Pin(p.cpus[i]); err != nil {
				p.Error(err)
			}
			ready.Add(1)
			for int(ready.Load()) < len(fs) {
				hw.Pause()
			}
			run := func(d time.Duration) float64 {
				n, begin := 0, hw.Cycles()
				now := begin
				for end := begin + hw.NanosToCycles(d); now < end; now = hw.Cycles() {
					for range 20 {
						f()
					}
					n += 20
				}
				return float64(n) / hw.CyclesToNanos(now-begin) * 1e9
			}
			run(warm)
			var parts []float64
			for range 5 {
				parts = append(parts, run(part))
			}
			for done.Add(1); int(done.Load()) < len(fs); {
				f()
			}
			if leaving != nil {
				if err := leaving[i].Exit(); err != nil {
					p.Error(err)
				}
			}
			rates <- median(parts)
		}()
	}
	sum := 0.0
	for range fs {
		sum += <-rates
	}
	return sum
}

// pair connects two sessions of a thread, which lets the listener go.
func (p *pricing) pair(t vls.Thread) (x, y vls.Handle) {
	l := listen(p, t)
	x = connect(p, t)
	y = accept(p, t, l)
	check(p, t.Close(l))
	return x, y
}

// writeRead is a write and a read of 64 B.
func writeRead(t vls.Thread, x, y vls.Handle) func() {
	buf := make([]byte, 512) // apart from what other threads write
	return func() {
		t.Write(x, buf[128:192])
		t.Read(y, buf[256:320])
	}
}

// works fails unless a thread can do a write and a read.
func (p *pricing) works(t vls.Thread, x, y vls.Handle) {
	buf := make([]byte, 64)
	if n, err := t.Write(x, buf); n != len(buf) || err != nil {
		p.Fatalf("%s: wrote %d, %v", *p.at.Load(), n, err)
	}
	if n, err := t.Read(y, buf); n != len(buf) || err != nil {
		p.Fatalf("%s: read %d, %v", *p.at.Load(), n, err)
	}
}

// oneThread is a write and a read by the only thread of a process.
func (p *pricing) oneThread(a vls.App) float64 {
	t := must(a.NewProcess())(p).NewThread()
	x, y := p.pair(t)
	p.works(t, x, y)
	return p.together(nil, writeRead(t, x, y))
}

// twoThreads is the same by two threads of a process, on sessions of their own.
func (p *pricing) twoThreads(a vls.App) float64 {
	proc := must(a.NewProcess())(p)
	t, u := proc.NewThread(), proc.NewThread()
	check(p, t.Register())
	check(p, u.Register())
	tx, ty := p.pair(t)
	ux, uy := p.pair(u)
	p.works(t, tx, ty)
	p.works(u, ux, uy)
	return p.together(nil, writeRead(t, tx, ty), writeRead(u, ux, uy))
}

// oneSession is the same by both, on the same sessions. Who has written finds
// what to read, his or the other's.
func (p *pricing) oneSession(a vls.App) float64 {
	proc := must(a.NewProcess())(p)
	t, u := proc.NewThread(), proc.NewThread()
	check(p, t.Register())
	check(p, u.Register())
	x, y := p.pair(t)
	return p.together([]vls.Thread{t, u}, writeRead(t, x, y), writeRead(u, x, y))
}

// sharedByFork is the same by the only thread of a process, on sessions that it
// shares with a child that does nothing.
func (p *pricing) sharedByFork(a vls.App) float64 {
	proc := must(a.NewProcess())(p)
	t := proc.NewThread()
	x, y := p.pair(t)
	must(proc.Fork())(p)
	p.works(t, x, y)
	return p.together(nil, writeRead(t, x, y))
}

// createClose is a create and a close, by two threads of a process at once.
func (p *pricing) createClose(a vls.App) float64 {
	proc := must(a.NewProcess())(p)
	t, u := proc.NewThread(), proc.NewThread()
	check(p, t.Register())
	check(p, u.Register())
	return p.together(nil, p.make(t), p.make(u))
}

// twoProcesses is the same by the only threads of two processes.
func (p *pricing) twoProcesses(a vls.App) float64 {
	t := must(a.NewProcess())(p).NewThread()
	u := must(a.NewProcess())(p).NewThread()
	return p.together(nil, p.make(t), p.make(u))
}

func (p *pricing) make(t vls.Thread) func() {
	return func() {
		h, err := t.Create(vls.TCP, false)
		if err == nil {
			err = t.Close(h)
		}
		if err != nil {
			p.Error(err)
		}
	}
}

// besideWaiter is a create by one thread, while another thread of the process
// waits in read and gets a byte every 100 µs or so. Nothing is closed: the
// originals close beside who waits without what would keep them apart, and crash.
func (p *pricing) besideWaiter(a vls.App) float64 {
	proc, far := must(a.NewProcess())(p), must(a.NewProcess())(p)
	t, waits, peer := proc.NewThread(), proc.NewThread(), far.NewThread()
	check(p, t.Register())
	check(p, waits.Register())
	l := listen(p, peer)
	x := connect(p, waits) // with a worker per thread it has to be its own
	y := accept(p, peer, l)
	left := make(chan struct{})
	var over atomic.Bool
	go func() {
		defer close(left)
		runtime.LockOSThread()
		if err := hw.Pin(p.cpus[1]); err != nil {
			p.Error(err)
		}
		for buf := make([]byte, 1); ; {
			if n, err := waits.Read(x, buf); err != nil {
				p.Error(err)
				return
			} else if n == 0 {
				return // the peer has closed
			}
		}
	}()
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		runtime.LockOSThread()
		if err := hw.Pin(p.cpus[1]); err != nil {
			p.Error(err)
		}
		for buf := make([]byte, 1); !over.Load(); time.Sleep(100 * time.Microsecond) {
			if _, err := peer.Write(y, buf); err != nil {
				p.Error(err)
			}
		}
		if err := peer.Close(y); err != nil {
			p.Error(err)
		}
	}()
	rate := p.together(nil, func() { must(t.Create(vls.TCP, false))(p) })
	over.Store(true)
	<-left
	<-gone
	return rate
}

// firstUse is the first use of a session by another thread of the process than
// made it, which does nothing but answer: it polls.
func (p *pricing) firstUse(a vls.App) float64 {
	const part, parts = 40, 5
	proc := must(a.NewProcess())(p)
	t, u := proc.NewThread(), proc.NewThread()
	check(p, t.Register())
	check(p, u.Register())
	var hs []vls.Handle
	for range part * parts {
		hs = append(hs, must(t.Create(vls.TCP, false))(p))
	}
	var ready, over atomic.Bool
	var all sync.WaitGroup
	all.Go(func() {
		runtime.LockOSThread() // and dies so
		if err := hw.Pin(p.cpus[1]); err != nil {
			p.Error(err)
		}
		for !over.Load() {
			t.Poll(nil, 0)
			ready.Store(true)
		}
	})
	var rates []float64
	all.Go(func() {
		defer over.Store(true)
		runtime.LockOSThread()
		if err := hw.Pin(p.cpus[0]); err != nil {
			p.Error(err)
		}
		for !ready.Load() {
			hw.Pause()
		}
		flags := make([]byte, 4)
		for range parts {
			begin := hw.Cycles()
			for _, h := range hs[:part] {
				if _, err := u.Attr(h, core.GetFlags, flags); err != nil {
					p.Errorf("%s: %v", *p.at.Load(), err)
				}
			}
			rates = append(rates, part/hw.CyclesToNanos(hw.Cycles()-begin)*1e9)
			hs = hs[part:]
		}
	})
	all.Wait()
	return median(rates)
}

// tables are the prices, from rounds.
func (p *pricing) tables(rounds []map[string]float64) string {
	var b strings.Builder
	m, _, err := harness.Inspect(results.Plan{}, time.Now())
	check(p, err)
	cores := fmt.Sprintf("%d cores", m.Cores)
	if m.Hypervisor {
		cores += " as its hypervisor says"
	}
	fmt.Fprintf(&b, "%d rounds on an %s, %d CPUs on %s, Linux %s, %s.\n", len(rounds), m.CPU, m.CPUs, cores, m.Kernel, runtime.Version())
	for _, l := range pricelists() {
		p.table(&b, rounds, l)
	}
	return b.String()
}

// table is one table: a line for each comparison, corrected for one another,
// with how many times as fast it is at each chore.
func (p *pricing) table(b *strings.Builder, rounds []map[string]float64, l pricelist) {
	var family compare.Family
	family.Baseline = "without"
	for _, one := range l.list {
		for _, c := range l.chores {
			cell := compare.Cell{Label: one.name + ": " + c.name, Names: []string{"without", "with"}}
			for _, r := range rounds {
				without, ok := r[c.name+": "+canonical(p, one.against)]
				with, too := r[c.name+": "+canonical(p, one.name)]
				if !ok || !too {
					without, with = math.NaN(), math.NaN()
				}
				cell.Rounds = append(cell.Rounds, []float64{without, with})
			}
			family.Cells = append(family.Cells, cell)
		}
	}
	res := must(compare.Analyse(family, 1))(p)
	for _, w := range res.Warnings {
		p.Log(w)
	}
	row := func(cells ...string) { fmt.Fprintf(b, "| %s |\n", strings.Join(cells, " | ")) }
	line := []string{l.head}
	rule := []string{"---"}
	for _, c := range l.chores {
		line, rule = append(line, c.name), append(rule, "---")
	}
	b.WriteByte('\n')
	row(line...)
	row(rule...)
	if l.preset != "" {
		line := []string{l.preset + " itself, ns"}
		for _, c := range l.chores {
			var nanos []float64
			for _, r := range rounds {
				if v, ok := r[c.name+": "+l.preset]; ok {
					nanos = append(nanos, 1e9/v)
				}
			}
			line = append(line, fmt.Sprintf("%.0f", median(nanos)))
		}
		row(line...)
	}
	for i, one := range l.list {
		name := strings.TrimPrefix(one.name, l.preset+",")
		if other, ok := strings.CutPrefix(one.against, l.preset+","); ok {
			if more, ok := strings.CutPrefix(one.name, one.against+","); ok {
				name = more + ", with " + other
			} else {
				name += ", against " + other
			}
		}
		line := []string{name}
		for j := range l.chores {
			c := res.Cells[i*len(l.chores)+j]
			if len(c.Estimates) == 0 {
				line = append(line, "–")
				continue
			}
			e := c.Estimates[0]
			line = append(line, fmt.Sprintf("%s [%s, %s] %s", digits(e.Ratio), digits(e.Lo), digits(e.Hi), e.Word()))
		}
		row(line...)
	}
}

// digits is a ratio as it is read.
func digits(r float64) string {
	if r >= 9.995 {
		return fmt.Sprintf("%.0f", r)
	}
	return fmt.Sprintf("%.2f", r)
}
