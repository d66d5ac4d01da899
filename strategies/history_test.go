package strategies_test

import (
	"testing"

	"vlsbench/audit"
	"vlsbench/vls"
	"vlsbench/vls/vlstest/history"
)

// Each call of a history seems to happen at one moment.
func TestHistories(t *testing.T) {
	rounds := 12 // each way of a stream once
	if *soak {
		rounds = 4000
	}
	for _, s := range built() {
		t.Run(s.Name, func(t *testing.T) { history.Run(t, s, rounds) })
	}
}

// An index may lead to any handle of the calling thread's worker, that of a set
// which the threads tell nobody of too: no history is to be blamed for that.
func TestHistoriesFindAll(t *testing.T) {
	global := lookup(t, "global")
	s := global
	s.New = func(o vls.Options) (vls.App, error) {
		a, err := global.New(o)
		return setsApp{a}, err
	}
	if err := history.Handles(s, history.Options{Rounds: 4, Wait: vls.Park, Seed: 1}); err != nil {
		t.Error(err)
	}
}

// setsApp is an application whose threads each are led, by any index that
// another session had, to the first set that they made.
type setsApp struct{ vls.App }

type setsProcess struct{ vls.Process }

type setsThread struct {
	vls.Thread
	first vls.Handle
}

func (a setsApp) NewProcess() (vls.Process, error) {
	p, err := a.App.NewProcess()
	return setsProcess{p}, err
}

func (p setsProcess) NewThread() vls.Thread { return &setsThread{Thread: p.Process.NewThread()} }

func (t *setsThread) EpollCreate() (vls.Handle, error) {
	h, err := t.Thread.EpollCreate()
	if t.first == 0 {
		t.first = h
	}
	return h, err
}

func (t *setsThread) HandleOf(uint32) (vls.Handle, error) { return t.first, nil }

// Sessions come and go by the million, and nobody gets at one by the handle of
// another.
func TestChurn(t *testing.T) {
	n := 100_000
	switch {
	case *soak:
		n = 1_000_000
	case testing.Short(), audit.Enabled:
		n = 10_000
	}
	for _, s := range built() {
		t.Run(s.Name, func(t *testing.T) {
			if err := history.Churn(s, history.Options{Wait: vls.Park, Seed: 1}, n); err != nil {
				t.Error(err)
			}
		})
	}
}
