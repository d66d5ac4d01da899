package fifo_test

import (
	"sync/atomic"
	"testing"

	"vlsbench/fifo"
	"vlsbench/hw"
)

// What a chunk costs, once per 4 KB or more of stream, at either end.
func BenchmarkSegment(b *testing.B) {
	const class = 1
	b.Run("hot", func(b *testing.B) {
		s := heap(b, 1<<20)
		for b.Loop() {
			s.Release(s.Alloc(class))
		}
	})
	b.Run("cold", func(b *testing.B) {
		s := heap(b, 16<<20)
		for b.Loop() {
			s.Release(s.AllocCold(class))
		}
	})
	// 64 blocks are held at a time, which is a fifo of 256 KB.
	b.Run("cold-window", func(b *testing.B) {
		s := heap(b, 16<<20)
		var held [64]fifo.Ref
		for i := range held {
			held[i] = s.AllocCold(class)
		}
		i := 0
		for b.Loop() {
			s.Release(held[i%64])
			held[i%64] = s.AllocCold(class)
			i++
		}
	})
	// A producer allocates, a consumer on another core and of another owner gives
	// back what it gets through a ring of references. The ring's own lines are
	// part of the price, the same for both.
	for _, c := range []struct {
		name  string
		alloc func(*fifo.Segment, uint32) fifo.Ref
	}{{"cross-hot", (*fifo.Segment).Alloc}, {"cross-cold", (*fifo.Segment).AllocCold}} {
		b.Run(c.name, func(b *testing.B) {
			twoCores(b)
			s := heap(b, 16<<20)
			peer := join(b, s)
			var ring [64]struct {
				ref atomic.Uint32
				_   [fifo.Line - 4]byte
			}
			var stop atomic.Bool
			consumer := pinned(b, 1, func() {
				for i := 0; ; i++ {
					slot := &ring[i%len(ring)].ref
					for slot.Load() == 0 {
						if stop.Load() {
							return
						}
						hw.Pause()
					}
					peer.Release(fifo.Ref(slot.Load()))
					slot.Store(0)
				}
			})
			producer := pinned(b, 0, func() {
				defer stop.Store(true)
				i := 0
				for b.Loop() {
					r := c.alloc(s, class)
					if r == 0 {
						b.Error("exhausted")
						return
					}
					slot := &ring[i%len(ring)].ref
					for slot.Load() != 0 {
						hw.Pause()
					}
					slot.Store(uint32(r))
					i++
				}
			})
			<-producer
			<-consumer
		})
	}
}
