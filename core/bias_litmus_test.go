package core

import (
	"runtime"
	"sync/atomic"
	"testing"

	"vlsbench/hw"
	"vlsbench/internal/litmus"
)

// A thread enters and leaves a session that is biased to it, first to read, then
// to write, while another wants the tx end. Once that has been told that nobody
// is inside of it, or that the bias has ended, the first does not get there any
// more: what the second then writes, the first must not find as it writes.
func TestLitmusBias(t *testing.T) {
	if !hw.MembarrierAvailable() {
		t.Skip("no membarrier: no session is biased")
	}
	type note struct {
		v uint32
		_ [hw.FalseSharing - 4]byte
	}
	test := func(t *testing.T, patience int, insideOf func(th *Thread, s *Session, l uint64) Ends) litmus.Test {
		app, err := New(Config{SegmentSize: 4 << 20}, Hooks{Free: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { app.Close() })
		w, err := app.NewWorker()
		if err != nil {
			t.Fatal(err)
		}
		var owner, other [litmus.Cells]*Thread
		var s [litmus.Cells]*Session
		var biased [litmus.Cells]uint64
		for c := range s {
			for _, th := range []**Thread{&owner[c], &other[c]} {
				if *th, err = w.NewThread(nil); err != nil {
					t.Fatal(err)
				}
			}
			if s[c], err = owner[c].Create(TCP, false); err != nil {
				t.Fatal(err)
			}
			owner[c].Release(s[c], BothEnds)
			owner[c].Claim(s[c].Handle(), RxEnd, false)
			owner[c].Release(s[c], RxEnd)
			if biased[c] = s[c].life.Load(); biased[c]&lifeBiased == 0 {
				t.Fatalf("not biased: life %#x", biased[c])
			}
		}
		var data, found, entered [litmus.Cells]note
		return litmus.Test{
			Outcomes: []string{"inside beside another", "inside before it", "after it", "between the two"},
			Ready: []func(int){
				func(c int) { s[c].life.Load() },
				func(c int) { s[c].life.Load(); atomic.LoadUint32(&owner[c].mark) },
			},
			Threads: []func(int){
				func(c int) {
					th := owner[c]
					entered[c].v, found[c].v = 0, 0
					for _, e := range []Ends{RxEnd, TxEnd} {
						if th.Enter(s[c], s[c].handle, e) {
							entered[c].v |= uint32(e)
							for range 64 * (c%8 + 1) {
								if v := atomic.LoadUint32(&data[c].v); e == TxEnd {
									found[c].v |= v
								}
							}
						}
						th.Leave(s[c])
					}
				},
				func(c int) {
					l := s[c].life.Or(lifeRevoked)
					at := insideOf(other[c], s[c], l)
					if at == 0 {
						other[c].unbias(s[c], s[c].life.Load(), 0)
					}
					for i := 1; at != RxEnd && i != patience && s[c].life.Load()&lifeBiased != 0; i++ {
						hw.Pause()
						if i%64 == 0 {
							runtime.Gosched()
						}
					}
					atomic.StoreUint32(&data[c].v, 1)
				},
			},
			Check: func(c int) int {
				s[c].life.Store(biased[c])
				data[c].v = 0
				switch {
				case found[c].v != 0:
					return 0
				case entered[c].v == 0:
					return 2
				case entered[c].v == uint32(RxEnd):
					return 3
				}
				return 1
			},
		}
	}
	t.Run("shipped", func(t *testing.T) { litmus.Never(t, test(t, 0, (*Thread).insideOf)) })
	t.Run("no fence", func(t *testing.T) {
		// It may also miss that the owner has left, which would never end.
		litmus.Seen(t, test(t, 1000, func(th *Thread, s *Session, l uint64) Ends {
			return Ends(atomic.LoadUint32(&th.w.app.producers[uint8(l>>lifeThread)].Load().mark) >> markEnds)
		}))
	})
}
