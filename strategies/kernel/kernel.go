// Package kernel is the API of a session layer over sockets and epoll of Linux:
// the yardstick of what one would otherwise use, and the oracle of the
// conformance suite. Two strategies stand on it, kernel-tcp and kernel-unix.
//
//	             kernel-tcp         kernel-unix
//	TCP session  TCP over loopback  AF_UNIX stream
//	UDP session  UDP over loopback  UDP over loopback
//
// On loopback an endpoint is an address of 127/8 that the application has to
// itself, with AF_UNIX an abstract name. Datagrams of AF_UNIX would not do: one
// that nobody hears is an error there, and none is ever dropped.
//
// What a call does is what Linux does, to the letter. Only errors that the API
// documents under another name are renamed (see [vls.Thread]), and a close ends
// the waits of other threads. Where VCL does otherwise is listed in
// docs/differences.md, and in the conformance suite case by case.
//
// # Cost
//
// A read or write that need not wait is one system call, beside a look-up and
// two atomic adds on the session's own cache line, by which a close finds those
// who are inside. Nothing is allocated. Sockets have the kernel's own buffers:
// rx-fifo-size and tx-fifo-size do not apply, nor do segment-size and
// event-queue-size.
//
// # Waiting
//
// With [vls.Spin] descriptors are non-blocking, and a call that has to wait makes
// its system call again until that answers. [vls.Adaptive] does so for a while,
// then sleeps in ppoll. [vls.Park] leaves descriptors blocking and waits inside
// the call itself.
//
// # Processes
//
// A process is a table of handles. Fork copies the table, and the sockets are
// shared as descriptors are by fork(2): offsets into the streams, O_NONBLOCK,
// options and epoll sets are common to both, and a connection ends with the last
// process that closes it.
package kernel

import (
	"sync"
	"syscall"

	"vlsbench/core"
	"vlsbench/locks"
	"vlsbench/vls"
)

func init() {
	vls.Register(vls.Strategy{
		Name: "kernel-tcp",
		Doc:  "Linux sockets and epoll: TCP and UDP over loopback",
		Kind: vls.Kernel,
		New:  func(o vls.Options) (vls.App, error) { return newApp(o, false) },
	})
	vls.Register(vls.Strategy{
		Name: "kernel-unix",
		Doc:  "Linux sockets and epoll: AF_UNIX streams, and UDP over loopback",
		Kind: vls.Kernel,
		New:  func(o vls.Options) (vls.App, error) { return newApp(o, true) },
	})
}

// app is an application: who may not see each other's endpoints.
type app struct {
	streams family
	dgrams  *inet
	wait    core.Wait
	ports   ports

	mu    sync.Mutex
	procs []*process // by worker index, nil where free
	// gens are the highest generations that the processes of each worker index
	// gave out, so that handles of one that exited are stale in the next.
	gens []uint32
}

// newApp makes an application, with streams of AF_UNIX or of TCP.
func newApp(o vls.Options, local bool) (vls.App, error) {
	c, err := o.Config.Check()
	if err != nil {
		return nil, err
	}
	a := &app{wait: c.Wait, procs: make([]*process, c.MaxWorkers), gens: make([]uint32, c.MaxWorkers)}
	if a.dgrams, err = newInet(); err != nil {
		return nil, err
	}
	if a.streams = a.dgrams; local {
		a.streams = newUnix()
	}
	return a, nil
}

func (a *app) NewProcess() (vls.Process, error) { return a.enroll(&process{a: a}) }

// enroll gives a process its worker index.
func (a *app) enroll(p *process) (vls.Process, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, o := range a.procs {
		if o == nil {
			p.worker, p.gen = uint32(i), a.gens[i]
			a.procs[i] = p
			return p, nil
		}
	}
	return nil, syscall.ENOMEM
}

// Locks is empty: the kernel counts none.
func (a *app) Locks() []locks.Stat { return nil }

func (a *app) Close() error {
	a.mu.Lock()
	procs := append([]*process(nil), a.procs...)
	a.mu.Unlock()
	for _, p := range procs {
		if p != nil {
			if err := p.Exit(); err != nil {
				return err
			}
		}
	}
	return a.dgrams.close()
}

// process is a table of handles.
type process struct {
	a      *app
	worker uint32
	table

	bells map[*bell]struct{} // of its threads; under the table's mu
}

var _ vls.Mortal = (*process)(nil)

func (p *process) NewThread() vls.Thread { return &thread{p: p, wait: p.a.wait, bell: bell{fd: -1}} }

// Fork makes a process with the same handles. A thread of p that is inside a
// call goes on with it.
func (p *process) Fork() (vls.Process, error) {
	child := &process{a: p.a}
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, err := p.a.enroll(child); err != nil {
		return nil, err
	}
	child.copyFrom(&p.table)
	return child, nil
}

func (p *process) Exit() error {
	p.each(func(h vls.Handle) { _ = p.close(h) })
	p.mu.Lock()
	bells := p.bells
	p.bells = nil
	p.mu.Unlock()
	for b := range bells {
		b.close()
	}
	p.a.mu.Lock()
	if p.a.procs[p.worker] == p {
		p.a.procs[p.worker] = nil
		p.a.gens[p.worker] = p.highest()
	}
	p.a.mu.Unlock()
	return nil
}

// Kill is Exit: the kernel closes what a process leaves, whoever waits for it.
func (p *process) Kill() error { return p.Exit() }
