// Package results is the record of a run: what was measured, with what, and
// where it is kept. A run is one file of JSON Lines, written as it comes, so
// that a run that was cut short is still a run.
//
// The first line describes the run, one line follows per slot, and the last
// says how it ended. Nothing that can be computed from the slots is stored.
package results

import (
	"fmt"
	"time"
)

// Schema is the version that every record carries. A reader refuses a newer
// one; a field may be added without a new version, none may change its meaning.
const Schema = 1

// Record is one line of a results file: Kind says which of the pointers is set.
type Record struct {
	Schema int    `json:"schema"`
	Kind   string `json:"kind"` // "run", "slot" or "end"
	Run    *Run   `json:"run,omitempty"`
	Slot   *Slot  `json:"slot,omitempty"`
	End    *End   `json:"end,omitempty"`
}

// Cell is what is measured: everything but the strategy.
type Cell struct {
	Workload string `json:"workload"`
	Procs    int    `json:"procs"`
	Threads  int    `json:"threads"` // in all processes together
	Sessions int    `json:"sessions"`
	Size     int    `json:"size"` // bytes per message
	Wait     string `json:"wait"`
}

// String is the cell in the form that benchstat pivots:
// workload=uni/procs=1/threads=2/sessions=1/size=64/wait=spin.
func (c Cell) String() string {
	return fmt.Sprintf("workload=%s/procs=%d/threads=%d/sessions=%d/size=%d/wait=%s",
		c.Workload, c.Procs, c.Threads, c.Sessions, c.Size, c.Wait)
}

// Run is the first record: all that is needed to repeat the run.
type Run struct {
	ID       string    `json:"id"` // also the name of its directory
	Started  time.Time `json:"started"`
	Command  []string  `json:"command"`
	Plan     Plan      `json:"plan"`
	Machine  Machine   `json:"machine"`
	Build    Build     `json:"build"`
	Limits   []Limit   `json:"limits"` // the machine's limits, measured in this run
	Warnings []Warning `json:"warnings,omitempty"`
}

// Plan is what was asked for.
type Plan struct {
	Profile    string   `json:"profile"`
	Seed       uint64   `json:"seed"`
	Strategies []string `json:"strategies"`
	Baseline   string   `json:"baseline"`
	Cells      []Cell   `json:"cells"`
	// Units is what each workload counts, by its name: "messages", "round trips".
	Units  map[string]string `json:"units,omitempty"`
	Rounds int               `json:"rounds"`
	Slot   time.Duration     `json:"slot_ns"`
	Warmup time.Duration     `json:"warmup_ns"` // dropped at the start of each slot
	Pin    string            `json:"pin"`
	CPUs   []int             `json:"cpus"` // thread i runs on CPUs[i%len]
	// A slot under MinOverlap, or with a thread stalled for more than MaxStall
	// of it, spoils its round for all strategies.
	MinOverlap float64 `json:"min_overlap"`
	MaxStall   float64 `json:"max_stall"`
	// VCL is what was configured in place of the defaults, as a vcl.conf.
	VCL string `json:"vcl,omitempty"`
}

// Machine is where the run was made.
type Machine struct {
	Hostname   string   `json:"hostname,omitempty"`
	CPU        string   `json:"cpu"`
	Arch       string   `json:"arch"`
	Kernel     string   `json:"kernel"`
	CPUs       int      `json:"cpus"`    // online
	Allowed    []int    `json:"allowed"` // in the affinity mask at start
	Cores      int      `json:"cores"`   // physical, among the allowed
	Nodes      int      `json:"nodes"`
	SMT        bool     `json:"smt"`
	Governor   string   `json:"governor"`
	Hypervisor bool     `json:"hypervisor"`
	Load       float64  `json:"load"` // one-minute average at start
	MemTotal   uint64   `json:"mem_total"`
	CycleHz    float64  `json:"cycle_hz"`
	Membarrier bool     `json:"membarrier"`
	Notes      []string `json:"notes,omitempty"`
}

// Build is what was run.
type Build struct {
	Version    string `json:"version"` // vcs revision, "+dirty" if modified, or "unknown"
	Go         string `json:"go"`
	Flags      string `json:"flags"`
	Tags       string `json:"tags"`
	GOMAXPROCS int    `json:"gomaxprocs"`
	GOGC       string `json:"gogc"`
}

// Limit is one figure of the machine itself, in nanoseconds unless Unit says
// otherwise: the median over several tries.
type Limit struct {
	Name  string  `json:"name"` // "line-roundtrip", "cas", …
	Doc   string  `json:"doc"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
}

// Warning is something that spoils a measurement, and what to do about it.
type Warning struct {
	What string `json:"what"`
	Do   string `json:"do"`
}

// Slot is one strategy measured once in one cell.
type Slot struct {
	Round    int    `json:"round"` // from 0; a round runs every strategy of a cell once
	Order    int    `json:"order"` // position in the round's random order
	Strategy string `json:"strategy"`
	Cell     Cell   `json:"cell"`

	Seconds float64   `json:"seconds"` // measured, without the warm-up
	Ops     uint64    `json:"ops"`     // messages received, or round trips
	Bytes   uint64    `json:"bytes"`   // payload verified
	PerOps  []uint64  `json:"thread_ops,omitempty"`
	CPUs    []int     `json:"cpus"`              // read back, per thread
	Overlap float64   `json:"overlap"`           // share of the slot in which all threads ran
	Stall   []float64 `json:"stall"`             // share lost to preemption, per thread
	Latency *Latency  `json:"latency,omitempty"` // where the workload records it
	GCs     uint32    `json:"gcs"`               // collections inside the slot; 0 or the slot is bad
	Bad     string    `json:"bad,omitempty"`     // why this slot spoils its round
}

// Latency is a histogram of nanoseconds: the HdrHistogram V2 compressed form,
// with what a reader without that library wants to see.
type Latency struct {
	Count uint64 `json:"count"`
	P50   int64  `json:"p50"`
	P90   int64  `json:"p90"`
	P99   int64  `json:"p99"`
	P999  int64  `json:"p999"`
	Max   int64  `json:"max"`
	HDR   string `json:"hdr"` // base64
}

// End is the last record. A file without one was cut off.
type End struct {
	Ended       time.Time `json:"ended"`
	Interrupted bool      `json:"interrupted"`
	Error       string    `json:"error,omitempty"`
	Slots       int       `json:"slots"`
	Rounds      int       `json:"rounds"` // complete rounds, of the least measured cell
}
