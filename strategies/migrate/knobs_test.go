package migrate_test

import (
	"strings"
	"testing"

	"vlsbench/vls"
	"vlsbench/vls/vlstest"
)

// With every value of every knob migrate is as good: the cases where threads and
// processes meet, one wait mode. Kinds of several locks are tried at once; a lock
// that lets two in, or nobody, is one.
func TestKnobs(t *testing.T) {
	settings := []string{
		"migrate,session=mutex,request=mutex,shared=mutex,table=rwmutex,handles=rwmutex",
		"migrate,session=tas,request=tas,shared=tas,table=rwpending,handles=rwpending",
		"migrate,session=ticket,request=ticket,shared=ticket,table=phasefair",
		"migrate,session=mcs,request=mcs,shared=mcs,handles=bravo",
		"migrate,session=clh,request=clh,shared=clh",
		"migrate,session=futex,request=futex,shared=futex",
		"migrate,where=app",
		"migrate,lookup=table",
		"migrate,rpc=app",
		"migrate,where=app,lookup=table,rpc=app,session=futex",
	}
	tried := make(map[string]bool)
	for _, name := range settings {
		for _, set := range strings.Split(name, ",") {
			tried[set] = true
		}
	}
	for _, k := range lookup(t, "migrate").Knobs {
		for _, v := range k.Values {
			if set := k.Name + "=" + v; v != k.Default && refused["migrate,"+set] == "" && !tried[set] {
				t.Errorf("%s is not tried", set)
			}
		}
	}
	for i, name := range settings {
		if testing.Short() && 0 < i && i < 6 {
			continue // the kinds of locks have tests of their own
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			vlstest.RunCases(t, lookup(t, name), vls.Adaptive,
				"threads-storm", "threads-share-session", "stale-handle-among-threads",
				"thread-registers-while-first-works", "close-wakes-reader", "close-wakes-epoll-wait",
				"epoll-wait-two-threads", "accept-many-acceptors", "poll-close-wakes",
				"fork-among-threads", "fork-storm", "fork-child-dies", "session-layer-thread")
		})
	}
}

func lookup(t *testing.T, name string) vls.Strategy {
	t.Helper()
	s, err := vls.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// refused are settings that cannot work, or that there are not, and what the error
// has to say.
var refused = map[string]string{
	"migrate,table=rwspin":    `strategy migrate: table="rwspin": its readers can keep a writer out for ever; want one of: rwmutex, rwpending, phasefair, bravo`,
	"migrate,handles=rwspin":  `strategy migrate: handles="rwspin": its readers can keep a writer out for ever; want one of: rwmutex, rwpending, phasefair, bravo`,
	"migrate,session=bravo":   `session="bravo": want one of: mutex, tas, ttas, ticket, mcs, clh, futex`,
	"migrate,table=ttas":      `table="ttas": want one of: rwmutex, rwpending, phasefair, bravo`,
	"migrate,rpc=process":     `rpc="process": want one of: worker, app`,
	"migrate,queue=mcs":       `unknown knob "queue"; there are: where, lookup, rpc, table, session, handles, request, shared`,
	"migrate,rpc=app,rpc=app": "knob rpc is given twice",
}

func TestRefused(t *testing.T) {
	for name, want := range refused {
		if _, err := vls.Lookup(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v: no %q in it", name, err, want)
		}
	}
}
