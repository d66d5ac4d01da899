//go:build audit

package core_test

import (
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"vlsbench/core"
)

// TestAuditorCatches breaks the contract on purpose: threads of one worker,
// without any exclusion, write on one session. The auditor must stop one.
func TestAuditorCatches(t *testing.T) {
	a, err := core.New(core.Config{SegmentSize: 1 << 20}, core.Hooks{})
	if err != nil {
		t.Fatal(err)
	}
	w, err := a.NewWorker()
	if err != nil {
		t.Fatal(err)
	}
	first, err := w.NewThread(nil)
	if err != nil {
		t.Fatal(err)
	}
	ep := netip.MustParseAddrPort("127.0.0.1:7000")
	l, _ := first.Create(core.TCP, true)
	c, _ := first.Create(core.TCP, true)
	if err := first.Bind(l, ep); err != nil {
		t.Fatal(err)
	}
	if err := first.Listen(l, 1); err != nil {
		t.Fatal(err)
	}
	first.Connect(c, ep)
	caught := make(chan string, 8)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range cap(caught) {
		th, err := w.NewThread(nil)
		if err != nil {
			t.Fatal(err)
		}
		wg.Add(1)
		go func() {
			defer wg.Done()
			defer func() {
				if r := recover(); r != nil {
					caught <- r.(string)
				}
			}()
			p := make([]byte, 64)
			for {
				select {
				case <-stop:
					return
				default:
					th.Write(c, p)
				}
			}
		}()
	}
	select {
	case report := <-caught:
		for _, want := range []string{"session tx", "exclusive", "entering", "holding", "core.(*Thread).Write"} {
			if !strings.Contains(report, want) {
				t.Errorf("the report lacks %q:\n%s", want, report)
			}
		}
	case <-time.After(20 * time.Second):
		t.Error("writers without exclusion were not noticed")
	}
	close(stop)
	wg.Wait()
}
