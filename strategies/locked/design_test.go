package locked

import (
	"strings"
	"testing"
	"time"

	"vlsbench/core"
	"vlsbench/vls"
)

// The only thread of a process closes a session that it shares by fork while
// another process has S: it waits for S, without P, which it has not taken;
// also by a design that takes S by trying wherever P is held.
func TestCloseWaitsForSharer(t *testing.T) {
	for _, set := range []map[string]string{
		{},
		{"table": "rwspin", "retake": "yes"},
		{"table": "rwspin", "retake": "yes", "when": "always"},
		{"close": "two-phase"},
	} {
		d, err := perworker.tune(set)
		if err != nil {
			t.Fatal(err)
		}
		a, err := d.New(vls.Options{Config: core.Config{SegmentSize: 16 << 20}})
		if err != nil {
			t.Fatal(err)
		}
		p, err := a.NewProcess()
		if err != nil {
			t.Fatal(err)
		}
		th := p.NewThread().(*thread)
		h, err := th.Create(vls.TCP, false)
		if err != nil {
			t.Fatal(err)
		}
		child, err := p.Fork()
		if err != nil {
			t.Fatal(err)
		}
		s := th.lookup(h)
		s.lock.Lock()
		closed := make(chan error)
		c := child.NewThread()
		go func() { closed <- c.Close(h) }()
		select {
		case err := <-closed:
			t.Errorf("%s: closed beside who has the session: %v", d.Name, err)
		case <-time.After(5 * time.Millisecond):
		}
		s.lock.Unlock()
		select {
		case err := <-closed:
			if err != nil {
				t.Errorf("%s: %v", d.Name, err)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("%s: close hangs, and nobody has the session", d.Name)
		}
		if err := a.Close(); err != nil {
			t.Errorf("%s: %v", d.Name, err)
		}
	}
}

// A table that says what is not done is refused.
func TestTableIsTrue(t *testing.T) {
	for _, c := range []struct {
		spoil func(*Table)
		want  string
	}{
		{func(*Table) {}, ""},
		{func(t *Table) { t.Bind = 0 }, "Bind takes none: want Pr|S"},
		{func(t *Table) { t.Close &^= Pw }, "Close takes S|SP|MQ: want Pw|S"},
		{func(t *Table) { t.EpollCtl |= MQ }, "EpollCtl takes Pr|S|MQ: want Pr|S"},
		{func(t *Table) { t.Read |= SP | SPr }, "Read takes Pr|S|SPr|SP"},
		{func(t *Table) { t.Poll |= S }, "Poll takes S: want none, and of SPr|SP|MQ at most"},
	} {
		d := perworker
		c.spoil(&d.Takes)
		err := d.check()
		if (err == nil) != (c.want == "") || err != nil && !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
}
