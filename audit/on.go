//go:build audit

package audit

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
)

// Enabled reports whether the auditor is built in.
const Enabled = true

// Resource is one thing that the contract speaks of. The zero value is ready.
type Resource struct {
	mu      sync.Mutex
	holders []holder
	part    atomic.Pointer[Resource] // of what this is a part; nil: of itself
}

// PartOf makes the resource one with another, of which it was no part: who is
// inside it is inside of that from then on. nil: its own again, when nobody is
// inside it.
func (r *Resource) PartOf(whole *Resource) {
	if whole == nil {
		r.part.Store(nil)
		return
	}
	r.mu.Lock()
	whole.mu.Lock()
	whole.holders = append(whole.holders, r.holders...)
	r.holders = nil
	r.part.Store(whole)
	whole.mu.Unlock()
	r.mu.Unlock()
}

// lock locks what the resource is a part of.
func (r *Resource) lock() *Resource {
	for {
		w := r.whole()
		w.mu.Lock()
		if r.whole() == w {
			return w
		}
		w.mu.Unlock()
	}
}

func (r *Resource) whole() *Resource {
	if w := r.part.Load(); w != nil {
		return w
	}
	return r
}

type holder struct {
	mode Mode
	pcs  [16]uintptr
	n    int
}

var (
	runMu sync.Mutex
	run   string

	// fail is called with the report of a violation; tests replace it.
	fail = func(report string) { panic(report) }
)

// SetRun says what stands in the message of a violation, such as the strategy
// and the seed.
func SetRun(s string) {
	runMu.Lock()
	run = s
	runMu.Unlock()
}

// Enter notes that the caller is inside the resource until Leave.
func (r *Resource) Enter(what string, m Mode) {
	h := holder{mode: m}
	h.n = runtime.Callers(2, h.pcs[:])
	r = r.lock()
	for _, o := range r.holders {
		if m == Exclusive || o.mode == Exclusive {
			report := fmt.Sprintf("audit: %s entered %s while held %s (%s)\n-- entering:\n%s-- holding:\n%s",
				what, m, o.mode, runName(), stack(h), stack(o))
			r.mu.Unlock()
			fail(report)
			r.mu.Lock()
			break
		}
	}
	r.holders = append(r.holders, h)
	r.mu.Unlock()
}

// Leave ends Enter with the same mode.
func (r *Resource) Leave(m Mode) {
	r = r.lock()
	for i, o := range r.holders {
		if o.mode == m {
			r.holders = append(r.holders[:i], r.holders[i+1:]...)
			r.mu.Unlock()
			return
		}
	}
	r.mu.Unlock()
	fail(fmt.Sprintf("audit: left a resource that is not held %s (%s)", m, runName()))
}

func runName() string {
	runMu.Lock()
	defer runMu.Unlock()
	if run == "" {
		return "no run named"
	}
	return run
}

func stack(h holder) string {
	var b strings.Builder
	frames := runtime.CallersFrames(h.pcs[:h.n])
	for {
		f, more := frames.Next()
		if f.Function != "" {
			fmt.Fprintf(&b, "   %s\n      %s:%d\n", f.Function, f.File, f.Line)
		}
		if !more {
			return b.String()
		}
	}
}
