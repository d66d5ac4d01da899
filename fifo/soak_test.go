package fifo_test

import (
	"flag"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"
)

// With -soak the tests that repeat a meeting of two threads or two processes
// run for as long as their claim needs, rather than for about a second each:
//
//	go test ./fifo -run 'LosesNoWakeup|AllSidesSleep|KilledProducer' -timeout 2h -soak

var soak = flag.Bool("soak", false, "run the tests that hand over or kill for as long as their claim needs")

// handOverBudget is a million hand-overs with -soak; otherwise 20 000, or what
// fits in a second.
func handOverBudget() *budget {
	if *soak {
		return &budget{handOvers, time.Now().Add(24 * time.Hour)}
	}
	return &budget{scaled(20_000), time.Now().Add(time.Second)}
}

// progressDog is a watchdog for tests of any length: it ends the process when
// progress stands still for as long as a watchdog waits.
func progressDog(t testing.TB, progress func() uint64, state func() string) {
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		last, since := progress(), time.Now()
		tick := time.NewTicker(watchdogTime / 60)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			if now := progress(); now != last {
				last, since = now, time.Now()
			} else if time.Since(since) > watchdogTime {
				stacks := make([]byte, 1<<20)
				stacks = stacks[:runtime.Stack(stacks, true)]
				panic(fmt.Sprintf("%s: at %d for %v: %s\n\n%s", t.Name(), last, watchdogTime, state(), stacks))
			}
		}
	})
	t.Cleanup(func() { close(stop); wg.Wait() })
}
