package tape

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"vlsbench/audit"
	"vlsbench/core"
	"vlsbench/fifo"
	"vlsbench/vls"
)

// stormSteps is how many operations the tapes of a storm have: they begin and
// end often, so that all of what a thread does happens beside all that others do.
const stormSteps = 60

// Storm lets many threads of one process play tapes at once, each tape against
// an application of the believed strategy of its own, with endpoints that no
// other tape has. Nobody then sees what others do, so that each is compared as
// if it were alone; what they have in common is what the judged strategy has to
// keep apart. Each thread plays ops operations, and in the end nothing is left.
func Storm(t *testing.T, judged, believed vls.Strategy, wait vls.Wait, threads, ops int) {
	t.Helper()
	audit.SetRun("strategy " + judged.Name + ", storm")
	seg, err := fifo.NewMappedSegment(64 << 20)
	check(t, err)
	defer seg.Close()
	before := seg.Usage().Taken
	app, err := judged.New(vls.Options{Config: core.Config{
		Wait: wait, RxFifoSize: fifoSize, TxFifoSize: fifoSize, EventQueueSize: queueLength, Segment: seg, MaxWorkers: 64,
	}})
	check(t, err)
	proc, err := app.NewProcess()
	check(t, err)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	errs := make([]error, threads)
	all := make([]vls.Thread, threads)
	for k := range all {
		all[k] = proc.NewThread()
		check(t, all[k].Register())
	}
	var wg sync.WaitGroup
	for k, th := range all {
		wg.Go(func() {
			errs[k] = stormThread(judged, believed, th, k, rand.New(rand.NewPCG(seed, uint64(k))), ops)
		})
	}
	wg.Wait()
	for k, err := range errs {
		if err != nil {
			t.Errorf("thread %d: %v", k, err)
		}
	}
	if t.Failed() {
		return // somebody may still wait for what is not there
	}
	for _, th := range all {
		// This empties its worker's queue.
		_, err := th.Poll(nil, 0)
		check(t, err)
	}
	if u := usage(app); u.Pending != 0 || u.Shared != 0 {
		t.Errorf("left at the end: %+v", u)
	}
	for _, th := range all {
		check(t, th.Exit())
	}
	check(t, proc.Exit())
	if n := usage(app).Sessions; n != 0 {
		t.Errorf("%d sessions are left when the process has exited", n)
	}
	check(t, app.Close())
	if u := seg.Usage(); u.Taken != before {
		t.Errorf("%d bytes of the segment are taken at the end, and %d were at the beginning", u.Taken, before)
	}
}

// stormThread is one thread of a storm.
func stormThread(judged, believed vls.Strategy, th vls.Thread, k int, r *rand.Rand, ops int) (err error) {
	app, err := believed.New(vls.Options{Config: core.Config{Wait: vls.Adaptive}})
	if err != nil {
		return err
	}
	defer func() {
		if e := app.Close(); err == nil {
			err = e
		}
	}()
	proc, err := app.NewProcess()
	if err != nil {
		return err
	}
	o := proc.NewThread()
	for ops > 0 {
		t := Random(r, min(ops, stormSteps))
		ops -= len(t)
		p := newPlayer(judged, believed, [2][2]vls.Thread{{th, th}, {o, o}}, firstTapePort+uint16(8*k))
		p.mixed = true
		if err := p.run(t, func() {}); err != nil {
			return fmt.Errorf("%w\n\nthe tape:\n%v", err, t)
		}
	}
	return o.Exit()
}
