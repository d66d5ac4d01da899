package census

import (
	"sync/atomic"
	"testing"
	"time"

	"vlsbench/locks"
	"vlsbench/vls"
)

// oneLock is an application with one lock.
type oneLock struct {
	vls.App
	held atomic.Int64
}

func (a *oneLock) Locks() []locks.Stat {
	return []locks.Stat{{Class: "MQ", Acquisitions: 1, Held: a.held.Load()}}
}

// What a thread holds on its way to a wait is not what it holds while it waits,
// however long the way takes.
func TestSlowToWait(t *testing.T) {
	a := new(oneLock)
	end := make(chan struct{})
	c := &counting{app: a}
	c.wait("read", func() {
		a.held.Store(1)
		for began := time.Now(); time.Since(began) < 100*time.Millisecond; {
		}
		a.held.Store(0)
		<-end
	}, func() { close(end) })
	if got := c.rows[0].Holds; len(got) > 0 {
		t.Errorf("it holds %v", got)
	}
	if got := c.rows[0].Takes.String(); got != "none" {
		t.Errorf("it takes %s", got)
	}
}

// What it does hold while it waits is found.
func TestHeldInWait(t *testing.T) {
	a := new(oneLock)
	end := make(chan struct{})
	c := &counting{app: a}
	c.wait("read", func() { a.held.Store(1); <-end }, func() { close(end) })
	if got := c.rows[0].Holds.String(); got != "MQ" {
		t.Errorf("it holds %s, want MQ", got)
	}
}
