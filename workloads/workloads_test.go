package workloads_test

import (
	"fmt"
	"os"
	"regexp"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
	"time"

	"vlsbench/vls"
	"vlsbench/workloads"
	"vlsbench/workloads/workloadtest"
)

// slot runs one slot and returns the workers and what went wrong. It ends the
// test binary if a thread hangs.
func slot(t testing.TB, st vls.Strategy, name string, p workloads.Params, length time.Duration) (*workloads.Team, error) {
	t.Helper()
	w, err := workloads.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	team, err := workloads.NewTeam(w, p, time.Millisecond, length)
	if err != nil {
		t.Fatal(err)
	}
	app, err := st.New(vls.Options{Config: p.Config()})
	if err != nil {
		t.Fatal(err)
	}
	procs := make([]vls.Process, p.Procs)
	for i := range procs {
		if procs[i], err = app.NewProcess(); err != nil {
			t.Fatal(err)
		}
	}
	var wg sync.WaitGroup
	dog := time.AfterFunc(20*time.Second, func() {
		for _, w := range team.Workers {
			fmt.Fprintf(os.Stderr, "thread %d: %s\n", w.ID, w.Where())
		}
		_ = pprof.Lookup("goroutine").WriteTo(os.Stderr, 2)
		panic("a slot hangs")
	})
	defer dog.Stop()
	for i, w := range team.Workers {
		w.Thread = procs[p.Process(i)].NewThread()
		wg.Go(func() { team.Run(i) })
	}
	wg.Wait()
	if err := team.Failure(); err != nil {
		return team, err
	}
	if err := app.Close(); err != nil {
		t.Fatal(err)
	}
	return team, team.Verify()
}

func params(threads, procs, sessions, size int) workloads.Params {
	return workloads.Params{Threads: threads, Procs: procs, Sessions: sessions, Size: size, Wait: vls.Park, Seed: 7}
}

var names = []string{"uni", "bi", "pingpong"}

// Every workload carries what it sends, in every shape, and counts it at the
// consumer.
func TestShapes(t *testing.T) {
	for _, name := range names {
		for _, p := range []workloads.Params{
			params(1, 1, 1, 64), params(2, 1, 1, 64), params(2, 2, 1, 1), params(4, 2, 5, 100),
			params(1, 1, 3, 70000), params(2, 1, 3, 70000), params(2, 2, 1, workloads.MaxSize),
		} {
			t.Run(fmt.Sprintf("%s/threads=%d/procs=%d/sessions=%d/size=%d", name, p.Threads, p.Procs, p.Sessions, p.Size), func(t *testing.T) {
				team, err := slot(t, workloadtest.Strategy("fine", 0, workloadtest.None, 0), name, p, 20*time.Millisecond)
				if err != nil {
					t.Fatal(err)
				}
				var ops, bytes, timed uint64
				for _, w := range team.Workers {
					tally := w.Tally()
					if tally.Start == 0 || tally.End < tally.Start {
						t.Errorf("thread %d: measured from %d to %d", w.ID, tally.Start, tally.End)
					}
					if name == "uni" && p.Threads > 1 && w.ID%2 == 0 && tally.Ops != 0 {
						t.Errorf("thread %d writes and counted %d", w.ID, tally.Ops)
					}
					ops += tally.Ops
					bytes += tally.Bytes
					if tally.Latency != nil {
						timed += uint64(tally.Latency.TotalCount())
					}
				}
				each := uint64(p.Size)
				if name == "pingpong" {
					each *= 2
				}
				if bytes != ops*each {
					t.Errorf("%d operations and %d bytes of %d each", ops, bytes, each)
				}
				if ops > 100 && (name == "pingpong") != (timed > 0) {
					t.Errorf("%d latencies of %d operations", timed, ops)
				}
			})
		}
	}
}

// A planted fault fails the slot with an error that says where.
func TestFaultsAreFound(t *testing.T) {
	const at = 10_000
	for _, c := range []struct {
		fault workloadtest.Fault
		what  string
		want  string
	}{
		{workloadtest.Corrupt, "corrupt", `session \d+, \w+ end: read at \d+: at byte \d+ of the stream: expected [0-9a-f ]+, found [0-9a-f ]+`},
		{workloadtest.Lose, "lose", `session \d+, .*at byte \d+ of the stream: expected`},
		{workloadtest.Double, "double", `session \d+, .*at byte \d+ of the stream: expected`},
		{workloadtest.Cut, "cut", `session \d+, .*end`},
		{workloadtest.Refuse, "refuse", `session \d+, \w+ end: write at \d+: connection reset`},
	} {
		for _, name := range names {
			for _, p := range []workloads.Params{params(1, 1, 2, 64), params(2, 1, 2, 64), params(4, 2, 3, 3000)} {
				if c.fault == workloadtest.Lose && (name != "uni" || p.Threads == 1) {
					// They wait for each other, so a loss is a hang,
					// which is for the watchdog to find.
					continue
				}
				t.Run(fmt.Sprintf("%s/%s/threads=%d", c.what, name, p.Threads), func(t *testing.T) {
					_, err := slot(t, workloadtest.Strategy("faulty", 0, c.fault, at), name, p, time.Second)
					if err == nil {
						t.Fatal("not found")
					}
					if !regexp.MustCompile(c.want).MatchString(err.Error()) {
						t.Errorf("%v\nwant a match of %s", err, c.want)
					}
				})
			}
		}
	}
}

func init() {
	workloads.Register(workloads.Workload{Name: "brief", Doc: "one message", Unit: "messages", Run: func(w *workloads.Worker) error {
		clients, servers, err := w.Connect()
		if err != nil {
			return err
		}
		if err := w.Start(); err != nil {
			return err
		}
		w.Tick(0, 0)
		for i := range clients {
			if err := clients[i].Send(w.Size); err != nil {
				return err
			}
			if err := clients[i].Shutdown(); err != nil {
				return err
			}
		}
		for i := range servers {
			if err := servers[i].Drain(); err != nil {
				return err
			}
		}
		return nil
	}})
}

// The end of a stream is part of it: bytes lost there have none after them to
// show it.
func TestLostTail(t *testing.T) {
	p := params(2, 1, 1, 64)
	if _, err := slot(t, workloadtest.Strategy("fine", 0, workloadtest.None, 0), "brief", p, time.Millisecond); err != nil {
		t.Errorf("without a fault: %v", err)
	}
	_, err := slot(t, workloadtest.Strategy("faulty", 0, workloadtest.Lose, 0), "brief", p, time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), "ended after 0 bytes of 64 sent") {
		t.Errorf("a lost tail: %v", err)
	}
}

func TestParamsThatCannotBe(t *testing.T) {
	for _, c := range []struct {
		name string
		p    workloads.Params
		want string
	}{
		{"uni", params(0, 1, 1, 64), "threads 0: want 1 to 64"},
		{"uni", params(65, 1, 1, 64), "threads 65: want 1 to 64"},
		{"uni", params(2, 3, 1, 64), "procs 3: want at most the 2 threads"},
		{"uni", params(2, 1, 0, 64), "sessions 0: want 1 to 1024"},
		{"bi", params(2, 1, 1, 0), "size 0: want 1 to 1048576"},
		{"bi", params(2, 1, 1, workloads.MaxSize+1), "size 1048577: want 1 to 1048576"},
		{"pingpong", params(3, 1, 1, 64), "pingpong: threads 3: threads work in pairs: want 1 or an even number"},
		{"uni", params(4, 1, 1, 64), "uni: sessions 1: 4 threads are 2 pairs, and each needs a session"},
	} {
		w, err := workloads.Lookup(c.name)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Accepts(c.p); err == nil || err.Error() != c.want {
			t.Errorf("%+v: %v, want %s", c.p, err, c.want)
		}
	}
	if _, err := workloads.Lookup("nope"); err == nil || !strings.Contains(err.Error(), "bi, brief, pingpong, uni") {
		t.Errorf("an unknown workload: %v", err)
	}
}
