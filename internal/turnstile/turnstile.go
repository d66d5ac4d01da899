// Package turnstile is global, with the writers of a process one at a time.
package turnstile

import (
	"sync"

	"vlsbench/strategies/global"
	"vlsbench/vls"
)

func init() {
	vls.Register(vls.Strategy{
		Name: "turnstile",
		Doc:  "global, with the writers of a process one at a time",
		Kind: vls.Built,
		New:  newApp,
	})
}

type app struct{ vls.App }

func newApp(o vls.Options) (vls.App, error) {
	a, err := global.New(o)
	if err != nil {
		return nil, err
	}
	return app{a}, nil
}

func (a app) NewProcess() (vls.Process, error) {
	p, err := a.App.NewProcess()
	if err != nil {
		return nil, err
	}
	return &process{Mortal: p.(vls.Mortal)}, nil
}

type process struct {
	vls.Mortal // a process that can be killed, as those of global can
	turn       sync.Mutex
}

func (p *process) NewThread() vls.Thread { return &thread{p.Mortal.NewThread(), p} }

func (p *process) Fork() (vls.Process, error) {
	child, err := p.Mortal.Fork()
	if err != nil {
		return nil, err
	}
	return &process{Mortal: child.(vls.Mortal)}, nil
}

type thread struct {
	vls.Thread // every call that is not below
	p          *process
}

func (t *thread) Write(h vls.Handle, b []byte) (int, error) {
	t.p.turn.Lock()
	defer t.p.turn.Unlock()
	return t.Thread.Write(h, b)
}
