// Package workloads is what is run over a session layer: streams and round
// trips between the threads of an application, every byte of them verified. A
// workload knows neither which strategy it runs over nor how its figures are
// kept: it is handed its threads, its clock and its recorder.
//
// A workload is a function that every measured thread runs, see [Worker]. One
// of a stranger's own is added with [Register].
package workloads

import (
	"fmt"
	"sort"
	"strings"
	"sync"

	"vlsbench/core"
	"vlsbench/internal/quote"
)

// Bounds of [Params].
const (
	MaxThreads  = 64
	MaxSessions = 1024
	MaxSize     = 1 << 20 // bytes
)

// Fifos are as large as the session layer makes them by default, but for many
// sessions, whose fifos together take no more than fifosTotal bytes. Both are
// the same for all strategies of a cell.
const (
	largestFifo  = 4 << 20
	smallestFifo = 64 << 10 // with MaxSessions
	fifosTotal   = 64 << 20 // in one direction
)

// piece is the most that a thread sends before it reads, in bytes, where the
// two ends of a stream wait for each other. Two of them fit any fifo, so nobody
// waits for space that only he can make.
const piece = smallestFifo / 4

// Params is how much of a workload is run.
type Params struct {
	Threads  int // in all processes together, 1 to MaxThreads
	Procs    int // over which the threads are spread in turn, 1 to Threads
	Sessions int // connected pairs in all, 1 to MaxSessions
	Size     int // bytes per message, 1 to MaxSize
	Wait     core.Wait
	Seed     uint64 // where each stream begins on the tape of bytes
	// VCL is what a vcl.conf says; what is zero there is as the other parameters
	// have it.
	VCL core.Config
}

// Check names the value that is out of bounds.
func (p Params) Check() error {
	for _, v := range []struct {
		name        string
		value, most int
	}{
		{"threads", p.Threads, MaxThreads},
		{"procs", p.Procs, p.Threads},
		{"sessions", p.Sessions, MaxSessions},
		{"size", p.Size, MaxSize},
	} {
		if v.value < 1 || v.value > v.most {
			if v.name == "procs" && v.value > v.most {
				return fmt.Errorf("procs %d: want at most the %d threads", v.value, v.most)
			}
			return fmt.Errorf("%s %d: want 1 to %d", v.name, v.value, v.most)
		}
	}
	return p.checkVCL()
}

// checkVCL names the value of the vcl.conf that is too small for p.
func (p Params) checkVCL() error {
	c := p.Config()
	if size := max(c.RxFifoSize, c.TxFifoSize); size < smallestFifo {
		return fmt.Errorf("vcl.conf: rx-fifo-size and tx-fifo-size up to %d: want one of at least %d, which the two ends of a stream on one thread need",
			size, smallestFifo)
	}
	if least := p.workers(); c.MaxWorkers < least {
		return fmt.Errorf("vcl.conf: max-workers %d: want at least %d for %d thread(s) in %d process(es)", c.MaxWorkers, least, p.Threads, p.Procs)
	}
	if least := p.memory(c); p.Memory() < least {
		return fmt.Errorf("vcl.conf: segment-size %d: want at least %d for %d session(s) and fifos of %d bytes",
			c.SegmentSize, least, p.Sessions, max(c.RxFifoSize, c.TxFifoSize))
	}
	return nil
}

// Process is the process of thread i, from 0.
func (p Params) Process(i int) int { return i % p.Procs }

// PerProcess is the most threads that one process has.
func (p Params) PerProcess() int { return (p.Threads + p.Procs - 1) / p.Procs }

// Config is the session layer's configuration for p.
func (p Params) Config() core.Config {
	c := p.VCL
	c.Wait = p.Wait
	for _, size := range []*int{&c.RxFifoSize, &c.TxFifoSize} {
		if *size == 0 {
			*size = p.fifo()
		}
	}
	if c.MaxWorkers == 0 {
		c.MaxWorkers = p.workers()
	}
	return c
}

// workers is how many workers there may be: one a process, and one a thread
// where threads have their own.
func (p Params) workers() int { return p.Threads + p.Procs }

// fifo is the size of each fifo, in bytes.
func (p Params) fifo() int {
	size := largestFifo
	for size > smallestFifo && size*p.Sessions > fifosTotal {
		size /= 2
	}
	return size
}

// Memory is how many bytes of shared memory an application gets for p: what the
// vcl.conf says, or what it needs with room to spare.
func (p Params) Memory() int {
	c := p.Config()
	if c.SegmentSize != 0 {
		return c.SegmentSize
	}
	return p.memory(c)
}

// memory is how many bytes an application needs: two fifos a session, and for
// each worker a queue with a lane from each that it deals with.
func (p Params) memory(c core.Config) int {
	size := max(c.RxFifoSize, c.TxFifoSize)
	lane := 32 << 10 * max(1, c.EventQueueSize/1024)
	return 2<<20 + p.Sessions*2*(size+size/2) + p.workers()*min(p.workers(), 8)*lane
}

// pairs is how many pairs of threads there are; a single thread is both ends of
// its pair.
func (p Params) pairs() int { return max(1, p.Threads/2) }

// paired refuses what cannot be split into pairs of threads with a session each.
func paired(p Params) error {
	if p.Threads > 1 && p.Threads%2 != 0 {
		return fmt.Errorf("threads %d: threads work in pairs: want 1 or an even number", p.Threads)
	}
	if p.Sessions < p.pairs() {
		return fmt.Errorf("sessions %d: %d threads are %d pairs, and each needs a session", p.Sessions, p.Threads, p.pairs())
	}
	return nil
}

// Workload is one kind of work.
type Workload struct {
	// Name is what a user types: lower case letters, digits and '-'.
	Name string
	// Doc is one line for `vlsbench list`.
	Doc string
	// Unit is what is counted: "messages", "round trips", …
	Unit string
	// Check refuses parameters that are within bounds and yet cannot be run;
	// nil refuses none.
	Check func(Params) error
	// Run is run by every measured thread at once.
	Run func(*Worker) error
}

// Accepts reports why w cannot run p, or nil.
func (w Workload) Accepts(p Params) error {
	if err := p.Check(); err != nil {
		return err
	}
	if w.Check == nil {
		return nil
	}
	if err := w.Check(p); err != nil {
		return fmt.Errorf("%s: %w", w.Name, err)
	}
	return nil
}

var registry struct {
	sync.Mutex
	byName map[string]Workload
}

// Register makes a workload known by its name. It is meant for init functions
// and panics when the name is malformed or taken, or Run is nil.
func Register(w Workload) {
	if w.Name == "" || strings.Trim(w.Name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" || w.Run == nil {
		panic(fmt.Sprintf("workloads: workload %q: a name of a-z, 0-9 and '-', and Run, are needed", w.Name))
	}
	registry.Lock()
	defer registry.Unlock()
	if _, dup := registry.byName[w.Name]; dup {
		panic(fmt.Sprintf("workloads: workload %q is registered twice", w.Name))
	}
	if registry.byName == nil {
		registry.byName = make(map[string]Workload)
	}
	registry.byName[w.Name] = w
}

// List is what is registered, by name.
func List() []Workload {
	registry.Lock()
	defer registry.Unlock()
	list := make([]Workload, 0, len(registry.byName))
	for _, w := range registry.byName {
		list = append(list, w)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Name < list[j].Name })
	return list
}

// Lookup finds a workload by name. The error names those that there are.
func Lookup(name string) (Workload, error) {
	registry.Lock()
	w, ok := registry.byName[name]
	registry.Unlock()
	if !ok {
		var names []string
		for _, w := range List() {
			names = append(names, w.Name)
		}
		return Workload{}, fmt.Errorf("unknown workload %s; there are: %s", quote.Of(name), strings.Join(names, ", "))
	}
	return w, nil
}
