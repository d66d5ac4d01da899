//go:build audit

package core_test

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"vlsbench/core"
)

// TestAuditorCatches breaks the contract on purpose: threads of one worker,
// without any exclusion, do the same at once. The auditor must stop one.
func TestAuditorCatches(t *testing.T) {
	for _, c := range []struct {
		resource, op string
		run          func(th *core.Thread, stream, dgram *core.Session, p []byte)
	}{
		{"session tx", "Write", func(th *core.Thread, s, _ *core.Session, p []byte) { th.Write(s, p) }},
		{"session tx", "Sendto", func(th *core.Thread, _, d *core.Session, p []byte) { th.Sendto(d, p, 0, d.Local()) }},
		{"session rx", "Recvfrom", func(th *core.Thread, _, d *core.Session, p []byte) { th.Recvfrom(d, p, core.MSG_PEEK) }},
		{"session rx", "Recvfrom", func(th *core.Thread, s, _ *core.Session, p []byte) { th.Recvfrom(s, p, core.MSG_PEEK) }},
		{"session control", "Attr", func(th *core.Thread, _, d *core.Session, p []byte) { th.Attr(d, core.GetNread, p[:4]) }},
		{"worker mq", "Poll", func(th *core.Thread, s, d *core.Session, _ []byte) {
			th.Poll([]core.PollFD{{Handle: s.Handle()}, {Handle: d.Handle()}}, 0)
		}},
	} {
		t.Run(c.op, func(t *testing.T) { catches(t, c.resource, c.op, c.run) })
	}
}

func catches(t *testing.T, resource, op string, run func(th *core.Thread, stream, dgram *core.Session, p []byte)) {
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
	d, _ := first.Create(core.UDP, true)
	if err := first.Bind(l, ep); err != nil {
		t.Fatal(err)
	}
	if err := first.Listen(l, 1); err != nil {
		t.Fatal(err)
	}
	if err := first.Bind(d, ep); err != nil {
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
					s, ok := r.(string)
					if !ok {
						s = fmt.Sprint(r) // what comes of it, unnoticed
					}
					caught <- s
				}
			}()
			p := make([]byte, 64)
			for {
				select {
				case <-stop:
					return
				default:
					run(th, c, d, p)
				}
			}
		}()
	}
	select {
	case report := <-caught:
		for _, want := range []string{resource, "exclusive", "entering", "holding", "core.(*Thread)." + op} {
			if !strings.Contains(report, want) {
				t.Errorf("the report lacks %q:\n%s", want, report)
			}
		}
	case <-time.After(20 * time.Second):
		t.Error("threads without exclusion were not noticed")
	}
	close(stop)
	wg.Wait()
}
