package fifo_test

import (
	"bytes"
	"encoding/binary"
	"sync/atomic"
	"testing"

	"vlsbench/fifo"
	"vlsbench/hw"
	"vlsbench/internal/litmus"
)

// Litmus tests of fifos, queues and segments as they are shipped: each round has
// an object of its own. Twins weaken the order from outside, where a user could:
// by leaving out the sleeper's fence, by telling before storing.

// spot is a word on a line of its own.
type spot struct {
	v uint64
	_ [fifo.Line - 8]byte
}

// notes is what goes with the object of a round: data is handed over by it, from
// left to right or back; left and right are what each thread found.
type notes struct {
	data, left, right spot
	want              uint64 // another in each round
	_                 [fifo.Line - 8]byte
}

// looks is how often a thread looks in a round for what the other publishes: it
// comes while it does.
const looks = 8

// readLong reads data for as long as a message takes, which gives the other
// thread time: who reads too late is seen to. What it returns is the newest.
func readLong(data *uint64) (v uint64) {
	for range 256 {
		v = atomic.LoadUint64(data)
	}
	return v
}

// meetings are the outcomes of a publish and test: 1 for the flag and 2 for the
// word, as far as they were seen.
var meetings = []string{"a wake-up lost", "the flag seen", "the word seen", "both"}

// message is the 8 bytes that carry v.
func message(buf *[8]byte, v uint64) []byte {
	binary.LittleEndian.PutUint64(buf[:], v)
	return buf[:]
}

// fences runs test with each order and the fence that it goes with; and in
// release order with less, which must be seen to lose a wake-up.
func fences(t *testing.T, test func(t *testing.T, ord fifo.Order, fence func()) litmus.Test) {
	for _, o := range orders {
		t.Run(o.name, func(t *testing.T) {
			needFence(t, o.ord)
			litmus.Never(t, test(t, o.ord, func() { sleepFence(o.ord) }))
		})
	}
	t.Run("without", func(t *testing.T) { litmus.Seen(t, test(t, fifo.Release, func() {})) })
	t.Run("a fence on the sleeper's side", func(t *testing.T) { litmus.Seen(t, test(t, fifo.Release, hw.Fence)) })
}

// newFifos makes a fifo for each cell.
func newFifos(t *testing.T, size int, ord fifo.Order) *[litmus.Cells]fifo.Fifo {
	s := heap(t, 4<<20)
	fs := new([litmus.Cells]fifo.Fifo)
	for i := range fs {
		fs[i] = create(t, s, size, ord)
	}
	return fs
}

// eachOrder runs a test with each order, and its twin.
func eachOrder(t *testing.T, twin string, test func(t *testing.T, ord fifo.Order, weak bool) litmus.Test) {
	for _, o := range orders {
		t.Run(o.name, func(t *testing.T) { litmus.Never(t, test(t, o.ord, false)) })
	}
	t.Run(twin, func(t *testing.T) { litmus.Seen(t, test(t, fifo.Release, true)) })
}

// Who sees the tail sees the bytes, and all else that came before them.
func TestLitmusTail(t *testing.T) {
	eachOrder(t, "data last", func(t *testing.T, ord fifo.Order, weak bool) litmus.Test {
		fs, ns := newFifos(t, 4096, ord), new([litmus.Cells]notes)
		return litmus.Test{
			Outcomes: []string{"old bytes or data", "nothing", "bytes and data"},
			Ready: []func(int){
				func(c int) { fs[c].Head() },
				func(c int) { ns[c].right.v = ns[c].data.v },
			},
			Threads: []func(int){
				func(c int) {
					var buf [8]byte
					n := &ns[c]
					if !weak {
						n.data.v = n.want
					}
					fs[c].Enqueue(message(&buf, n.want))
					if weak {
						n.data.v = n.want
					}
				},
				func(c int) {
					var buf [8]byte
					f, n := &fs[c], &ns[c]
					n.right.v = 1
					for range looks {
						if got, _ := f.Dequeue(buf[:]); got > 0 {
							n.right.v = 2
							if got != 8 || binary.LittleEndian.Uint64(buf[:]) != n.want || n.data.v != n.want {
								n.right.v = 0
							}
							return
						}
					}
				},
			},
			Check: func(c int) int {
				var buf [8]byte
				fs[c].Dequeue(buf[:])
				ns[c].want++
				return int(ns[c].right.v)
			},
		}
	})
}

// Who sees the head may write over what was read before.
func TestLitmusHead(t *testing.T) {
	eachOrder(t, "read last", func(t *testing.T, ord fifo.Order, weak bool) litmus.Test {
		fs, ns := newFifos(t, 8, ord), new([litmus.Cells]notes)
		for c := range fs {
			put(t, &fs[c], 0, 8)
		}
		return litmus.Test{
			Outcomes: []string{"overwritten before it was read", "no space yet", "read, then overwritten"},
			Ready: []func(int){
				func(c int) { ns[c].left.v = ns[c].data.v },
				func(c int) { fs[c].Tail() },
			},
			Threads: []func(int){
				func(c int) {
					f, n := &fs[c], &ns[c]
					n.left.v = 1
					for range looks {
						if got, _ := f.Enqueue(expected(n.want+8, 8)); got > 0 {
							n.data.v = n.want + 8
							n.left.v = 2
							return
						}
					}
				},
				func(c int) {
					var buf [8]byte
					f, n := &fs[c], &ns[c]
					if !weak {
						n.right.v = n.data.v
					}
					got, _ := f.Dequeue(buf[:])
					if weak {
						n.right.v = readLong(&n.data.v)
					}
					if got != 8 || !bytes.Equal(buf[:], expected(n.want, 8)) {
						n.right.v = ^uint64(0)
					}
				},
			},
			Check: func(c int) int {
				n := &ns[c]
				if n.left.v == 1 {
					fs[c].Enqueue(expected(n.want+8, 8))
				}
				bad := n.right.v != n.want
				n.want += 8
				n.data.v = n.want
				if bad {
					return 0
				}
				return int(n.left.v)
			},
		}
	})
}

// A message that begins in one chunk and ends in the next: the consumer follows
// the link that the producer has just made; in half of the cells it is the first
// chunk of a new fifo. The order is the tail's, and so is the twin.
func TestLitmusLinks(t *testing.T) {
	s := heap(t, 8<<20)
	const size = 64 << 10
	var fs [litmus.Cells]fifo.Fifo
	ns := new([litmus.Cells]notes)
	skip := func(c, n int) {
		put(t, &fs[c], ns[c].want, n)
		fs[c].Dequeue(make([]byte, n))
		ns[c].want += uint64(n)
	}
	for c := range fs {
		fs[c] = create(t, s, size, fifo.Release)
		if c%2 == 0 {
			skip(c, fifo.MinChunk-4)
		}
	}
	litmus.Never(t, litmus.Test{
		Outcomes: []string{"wrong bytes", "nothing", "right bytes"},
		Threads: []func(int){
			func(c int) { fs[c].Enqueue(expected(ns[c].want, 8)) },
			func(c int) {
				var buf [8]byte
				n := &ns[c]
				n.right.v = 1
				for range looks {
					if got, _ := fs[c].Dequeue(buf[:]); got > 0 {
						n.right.v = 2
						if got != 8 || !bytes.Equal(buf[:], expected(n.want, 8)) {
							n.right.v = 0
						}
						return
					}
				}
			},
		},
		Check: func(c int) int {
			n := &ns[c]
			if c%2 == 0 {
				n.want += 8
				fs[c].Dequeue(make([]byte, 8))
				skip(c, fifo.MinChunk-8)
			} else {
				fs[c].Free()
				fs[c] = create(t, s, size, fifo.Release)
				n.want++ // other bytes
			}
			return int(n.right.v)
		},
	})
}

// The consumer comes to the end of a chunk and steps out of it, while the
// producer looks for one to write again. The order is the head's, and so is the
// twin.
func TestLitmusReclaim(t *testing.T) {
	const size = 2 * fifo.MinChunk
	fs, ns := newFifos(t, size, fifo.Release), new([litmus.Cells]notes)
	var read [litmus.Cells][2 * size]byte
	// Both chunks are full but for the first, of which 4 bytes are left to read.
	load := func(c int) {
		put(t, &fs[c], ns[c].want, size)
		take(t, &fs[c], ns[c].want, fifo.MinChunk-4)
		ns[c].want += fifo.MinChunk - 4
	}
	for c := range fs {
		load(c)
	}
	litmus.Never(t, litmus.Test{
		Outcomes: []string{"wrong bytes", "nothing written", "written"},
		Threads: []func(int){
			func(c int) {
				f, n := &fs[c], &ns[c]
				n.left.v = 0
				for range 4 * looks {
					if n.left.v == 0 && f.MaxEnqueue() < size/2 {
						continue // the first chunk is not read to its end
					}
					got, _ := f.Enqueue(expected(n.want+fifo.MinChunk+4+n.left.v, fifo.MinChunk/4))
					n.left.v += uint64(got)
				}
			},
			func(c int) {
				n := &ns[c]
				n.right.v = 0
				for range looks {
					got, _ := fs[c].Dequeue(read[c][n.right.v:][:4])
					n.right.v += uint64(got)
				}
			},
		},
		Check: func(c int) int {
			f, n := &fs[c], &ns[c]
			got, there := int(n.right.v), fifo.MinChunk+4+int(n.left.v)
			more, _ := f.Dequeue(read[c][got:there])
			ok := got+more == there && bytes.Equal(read[c][:there], expected(n.want, there))
			n.want += uint64(there)
			// On to the next border of chunks.
			over := int(f.Tail()) % fifo.MinChunk
			put(t, f, n.want, fifo.MinChunk-over)
			take(t, f, n.want, fifo.MinChunk-over)
			n.want += uint64(fifo.MinChunk - over)
			load(c)
			switch {
			case !ok:
				return 0
			case n.left.v == 0:
				return 1
			}
			return 2
		},
	})
}

// The producer writes the only chunk of a fifo again, as soon as all of it was
// read. The order is the head's, and so is the twin.
func TestLitmusOverwrite(t *testing.T) {
	const size = fifo.MinChunk
	fs, ns := newFifos(t, size, fifo.Release), new([litmus.Cells]notes)
	var read [litmus.Cells][size]byte
	// In half of the cells the consumer has begun with the chunk.
	begin := func(c int) {
		n, _ := fs[c].Dequeue(read[c][:8*(c%2)])
		ns[c].right.v = uint64(n)
	}
	for c := range fs {
		put(t, &fs[c], 0, size)
		begin(c)
	}
	litmus.Never(t, litmus.Test{
		Outcomes: []string{"overwritten before it was read", "no space yet", "read, then overwritten"},
		Threads: []func(int){
			func(c int) {
				f, n := &fs[c], &ns[c]
				n.left.v = 0
				for range 64 * looks {
					if f.MaxEnqueue() == size {
						got, _ := f.Enqueue(expected(n.want+size, size))
						n.left.v = uint64(got)
						return
					}
				}
			},
			func(c int) {
				n := &ns[c]
				got, _ := fs[c].Dequeue(read[c][n.right.v:])
				n.right.v += uint64(got)
			},
		},
		Check: func(c int) int {
			f, n := &fs[c], &ns[c]
			ok := n.right.v == size && bytes.Equal(read[c][:], expected(n.want, size))
			n.want += size
			put(t, f, n.want+n.left.v, size-int(n.left.v))
			begin(c)
			switch {
			case !ok:
				return 0
			case n.left.v == 0:
				return 1
			}
			return 2
		},
	})
}

// A consumer about to sleep, against a producer.
func TestLitmusEvent(t *testing.T) {
	fences(t, func(t *testing.T, ord fifo.Order, fence func()) litmus.Test {
		fs, ns := newFifos(t, 4096, ord), new([litmus.Cells]notes)
		return litmus.Test{
			Outcomes: meetings,
			Ready: []func(int){
				func(c int) { fs[c].HasEvent() },
				func(c int) { fs[c].MaxDequeue() },
			},
			Threads: []func(int){
				func(c int) {
					var buf [8]byte
					f := &fs[c]
					ns[c].left.v = 0
					f.Enqueue(buf[:])
					if !f.HasEvent() && f.SetEvent() {
						ns[c].left.v = 1
					}
				},
				func(c int) {
					f := &fs[c]
					ns[c].right.v = 0
					f.UnsetEvent()
					fence()
					if f.MaxDequeue() > 0 {
						ns[c].right.v = 2
					}
				},
			},
			Check: func(c int) int {
				var buf [8]byte
				fs[c].SetEvent()
				fs[c].Dequeue(buf[:])
				return int(ns[c].left.v + ns[c].right.v)
			},
		}
	})
}

// A producer about to sleep for want of space, against a consumer.
func TestLitmusNotify(t *testing.T) {
	fences(t, func(t *testing.T, ord fifo.Order, fence func()) litmus.Test {
		fs, ns := newFifos(t, 8, ord), new([litmus.Cells]notes)
		for c := range fs {
			put(t, &fs[c], 0, 8)
		}
		return litmus.Test{
			Outcomes: meetings,
			Ready: []func(int){
				func(c int) { fs[c].Wanted() },
				func(c int) { fs[c].MaxEnqueue() },
			},
			Threads: []func(int){
				func(c int) {
					var buf [8]byte
					f := &fs[c]
					ns[c].left.v = 0
					f.Dequeue(buf[:])
					if f.Wanted() {
						ns[c].left.v = 1
					}
				},
				func(c int) {
					f := &fs[c]
					ns[c].right.v = 0
					f.WantNotify(8)
					fence()
					if f.MaxEnqueue() >= 8 {
						ns[c].right.v = 2
					}
				},
			},
			Check: func(c int) int {
				var buf [8]byte
				fs[c].TakeNotify()
				fs[c].Enqueue(buf[:])
				return int(ns[c].left.v + ns[c].right.v)
			},
		}
	})
}

// Who sees the end sees the last byte.
func TestLitmusStatus(t *testing.T) {
	test := func(weak bool) litmus.Test {
		s := heap(t, 4<<20)
		var fs [litmus.Cells]fifo.Fifo
		ns := new([litmus.Cells]notes)
		for c := range fs {
			fs[c] = create(t, s, 4096, fifo.Release)
		}
		bit := func(n *notes) uint32 { return 1 << (n.want % 32) }
		return litmus.Test{
			Outcomes: []string{"the end before the last byte", "no end yet", "both"},
			Ready: []func(int){
				func(c int) { fs[c].Status() },
				func(c int) { fs[c].Tail() },
			},
			Threads: []func(int){
				func(c int) {
					var buf [8]byte
					f, end := &fs[c], bit(&ns[c])
					if !weak {
						f.Enqueue(buf[:])
					}
					f.OrStatus(end)
					if weak {
						f.Enqueue(buf[:])
					}
				},
				func(c int) {
					var buf [8]byte
					f, n := &fs[c], &ns[c]
					n.right.v = 1
					for range looks {
						if f.Status()&bit(n) != 0 {
							got, _ := f.Dequeue(buf[:])
							n.right.v = 2 * uint64(got) / 8
							return
						}
					}
				},
			},
			Check: func(c int) int {
				var buf [8]byte
				fs[c].Dequeue(buf[:])
				if ns[c].want++; ns[c].want%32 == 0 { // bits stay
					fs[c].Free()
					fs[c] = create(t, s, 4096, fifo.Release)
				}
				return int(ns[c].right.v)
			},
		}
	}
	t.Run("shipped", func(t *testing.T) { litmus.Never(t, test(false)) })
	t.Run("end first", func(t *testing.T) { litmus.Seen(t, test(true)) })
}

// A block that is given back goes to its next user after all that the last one
// did.
func TestLitmusBlock(t *testing.T) {
	test := func(weak bool) litmus.Test {
		var ss [litmus.Cells]*fifo.Segment
		var old, fresh [litmus.Cells]fifo.Fifo
		ns := new([litmus.Cells]notes)
		for c := range ss {
			ss[c] = heap(t, fifo.MinSegment)
			old[c] = create(t, ss[c], 8, fifo.Release)
		}
		return litmus.Test{
			Outcomes: []string{"in use twice", "another block", "the same, later"},
			Threads: []func(int){
				func(c int) {
					n := &ns[c]
					if !weak {
						n.left.v = n.data.v
					}
					f := old[c]
					f.Free()
					if weak {
						n.left.v = readLong(&n.data.v)
					}
				},
				func(c int) {
					n := &ns[c]
					f, err := fifo.New(ss[c], 8, fifo.Release)
					n.right.v = 1
					if fresh[c] = f; err == nil && f.Ref() == old[c].Ref() {
						n.right.v = 2
						n.data.v = 1
					}
				},
			},
			Check: func(c int) int {
				n := &ns[c]
				if fresh[c].Valid() {
					old[c] = fresh[c]
				} else {
					old[c] = create(t, ss[c], 8, fifo.Release)
				}
				n.data.v = 0
				if n.left.v != 0 {
					return 0
				}
				return int(n.right.v)
			},
		}
	}
	t.Run("shipped", func(t *testing.T) { litmus.Never(t, test(false)) })
	t.Run("freed first", func(t *testing.T) { litmus.Seen(t, test(true)) })
}

// newQueues makes a queue for each cell.
func newQueues(t *testing.T, ord fifo.Order) *[litmus.Cells]*fifo.Queue {
	s := heap(t, 4<<20)
	qs := new([litmus.Cells]*fifo.Queue)
	for i := range qs {
		qs[i] = createQueue(t, s, fifo.MinEvents, ord)
	}
	return qs
}

// Who sees an event sees all of it, and all else that came before it.
func TestLitmusPost(t *testing.T) {
	eachOrder(t, "data last", func(t *testing.T, ord fifo.Order, weak bool) litmus.Test {
		qs, ns := newQueues(t, ord), new([litmus.Cells]notes)
		return litmus.Test{
			Outcomes: []string{"an old event or data", "nothing", "event and data"},
			Ready: []func(int){
				func(int) {},
				func(c int) { ns[c].right.v = ns[c].data.v },
			},
			Threads: []func(int){
				func(c int) {
					n := &ns[c]
					if !weak {
						n.data.v = n.want
					}
					qs[c].Post(0, fifo.Event{Kind: uint32(n.want), Arg: n.want})
					if weak {
						n.data.v = n.want
					}
				},
				func(c int) {
					var evs [2]fifo.Event
					n := &ns[c]
					n.right.v = 1
					for range looks {
						if got := qs[c].Drain(evs[:]); got > 0 {
							n.right.v = 2
							if got != 1 || evs[0] != (fifo.Event{Kind: uint32(n.want), Arg: n.want}) || n.data.v != n.want {
								n.right.v = 0
							}
							return
						}
					}
				},
			},
			Check: func(c int) int {
				var evs [2]fifo.Event
				qs[c].Drain(evs[:])
				ns[c].want++
				return int(ns[c].right.v)
			},
		}
	})
}

// Who finds room in a lane that was full may write over what was drained.
func TestLitmusLaneHead(t *testing.T) {
	eachOrder(t, "read last", func(t *testing.T, ord fifo.Order, weak bool) litmus.Test {
		qs, ns := newQueues(t, ord), new([litmus.Cells]notes)
		fill := func(c int) {
			for ns[c].want++; qs[c].Post(0, fifo.Event{Arg: ns[c].want}); {
			}
		}
		for c := range qs {
			fill(c)
		}
		return litmus.Test{
			Outcomes: []string{"overwritten before it was read", "no room yet", "read, then overwritten"},
			Ready: []func(int){
				func(c int) { ns[c].left.v = ns[c].data.v },
				func(int) {},
			},
			Threads: []func(int){
				func(c int) {
					n := &ns[c]
					n.left.v = 1
					for range looks {
						if qs[c].Post(0, fifo.Event{}) {
							n.data.v = 1
							n.left.v = 2
							return
						}
					}
				},
				func(c int) {
					var evs [fifo.MinEvents]fifo.Event
					n := &ns[c]
					if !weak {
						n.right.v = n.data.v
					}
					got := qs[c].Drain(evs[:])
					if weak {
						n.right.v = readLong(&n.data.v)
					}
					for _, ev := range evs {
						if got != len(evs) || ev.Arg != n.want {
							n.right.v = 1
						}
					}
				},
			},
			Check: func(c int) int {
				var evs [fifo.MinEvents]fifo.Event
				n := &ns[c]
				qs[c].Drain(evs[:])
				fill(c)
				n.data.v = 0
				if n.right.v != 0 {
					return 0
				}
				return int(n.left.v)
			},
		}
	})
}

// The first event of a producer makes its lane. The order is that of Go's
// atomics, which leaves nothing to weaken from outside.
func TestLitmusLanes(t *testing.T) {
	const (
		segment = 8 << 20
		lanes   = 24 // of some 4 KB each
	)
	// Lanes are made of memory in which events of others seem to lie.
	others := bytes.Repeat([]byte{7, 0, 0, 0, 1, 0, 0, 0}, 4*fifo.MinChunk/8)
	fresh := func() *[litmus.Cells]*fifo.Queue {
		s := heap(t, segment)
		qs := new([litmus.Cells]*fifo.Queue)
		for c := range qs {
			qs[c] = createQueue(t, s, fifo.MinEvents, fifo.Release)
		}
		var fs [litmus.Cells * lanes / 4]fifo.Fifo
		for i := range fs {
			fs[i] = create(t, s, len(others), fifo.Release)
			fs[i].Enqueue(others)
		}
		for i := range fs {
			fs[i].Free()
		}
		return qs
	}
	qs, ns := fresh(), new([litmus.Cells]notes)
	litmus.Never(t, litmus.Test{
		Outcomes: []string{"a wrong event", "nothing", "the event", "no memory for a lane"},
		Threads: []func(int){
			func(c int) {
				n := &ns[c]
				n.left.v = 3
				// From the highest number down: below are lanes that are not there.
				if qs[c].Post(lanes-1-int(n.want), fifo.Event{Kind: 1, Arg: ^n.want}) {
					n.left.v = 0
				}
			},
			func(c int) {
				var evs [2]fifo.Event
				n := &ns[c]
				n.right.v = 1
				for range looks {
					if got := qs[c].Drain(evs[:]); got > 0 {
						n.right.v = 2
						if got != 1 || evs[0] != (fifo.Event{Kind: 1, Arg: ^n.want}) {
							n.right.v = 0
						}
						return
					}
				}
			},
		},
		Check: func(c int) int {
			var evs [2]fifo.Event
			n := &ns[c]
			came := int(n.right.v)
			switch {
			case came == 1 && n.left.v != 0:
				came = int(n.left.v)
			case came == 1 && qs[c].Drain(evs[:]) != 1:
				came = 0 // posted, and cannot be found
			}
			if n.want++; n.want == lanes {
				n.want = 0
				if c == litmus.Cells-1 {
					qs = fresh()
				}
			}
			return came
		},
	})
}

// A consumer of a queue about to sleep, against a producer.
func TestLitmusAsleep(t *testing.T) {
	fences(t, func(t *testing.T, ord fifo.Order, fence func()) litmus.Test {
		return sleeper(t, ord, fence, func(q *fifo.Queue) { q.Post(0, fifo.Event{}) })
	})
}

// The same against one that could not post. Both sides store sequentially
// consistent, so the sleeper's fence is not even needed, and there is no twin.
func TestLitmusOverrunAsleep(t *testing.T) {
	post := (*fifo.Queue).Overrun
	t.Run("shipped", func(t *testing.T) {
		litmus.Never(t, sleeper(t, fifo.Release, hw.HeavyFence, post))
	})
	t.Run("without", func(t *testing.T) {
		litmus.Never(t, sleeper(t, fifo.Release, func() {}, post))
	})
}

func sleeper(t *testing.T, ord fifo.Order, fence func(), post func(q *fifo.Queue)) litmus.Test {
	qs, ns := newQueues(t, ord), new([litmus.Cells]notes)
	var evs [2]fifo.Event
	for _, q := range qs {
		q.Post(0, fifo.Event{})
		q.Drain(evs[:])
	}
	return litmus.Test{
		Outcomes: meetings,
		Ready: []func(int){
			func(c int) { qs[c].Armed() },
			func(c int) { qs[c].Pending() },
		},
		Threads: []func(int){
			func(c int) { post(qs[c]) },
			func(c int) {
				q := qs[c]
				ns[c].right.v = 0
				q.Arm()
				fence()
				if q.Pending() {
					ns[c].right.v = 2
				}
			},
		},
		Check: func(c int) int {
			q, seen := qs[c], int(ns[c].right.v)
			if !q.Armed() {
				seen++ // it was woken
			}
			q.Disarm()
			q.TakeOverrun()
			q.Drain(evs[:])
			return seen
		},
	}
}

// What an event that was lost hinted at is there for who finds the overrun.
func TestLitmusOverrun(t *testing.T) {
	test := func(weak bool) litmus.Test {
		qs, ns := newQueues(t, fifo.Release), new([litmus.Cells]notes)
		return litmus.Test{
			Outcomes: []string{"an overrun without its data", "nothing", "both"},
			Ready: []func(int){
				func(int) {},
				func(c int) { ns[c].right.v = ns[c].data.v },
			},
			Threads: []func(int){
				func(c int) {
					if !weak {
						ns[c].data.v = 1
					}
					qs[c].Overrun()
					if weak {
						ns[c].data.v = 1
					}
				},
				func(c int) {
					n := &ns[c]
					n.right.v = 1
					for range looks {
						if qs[c].TakeOverrun() {
							n.right.v = 2 * n.data.v
							return
						}
					}
				},
			},
			Check: func(c int) int {
				qs[c].TakeOverrun()
				ns[c].data.v = 0
				return int(ns[c].right.v)
			},
		}
	}
	t.Run("shipped", func(t *testing.T) { litmus.Never(t, test(false)) })
	t.Run("data last", func(t *testing.T) { litmus.Seen(t, test(true)) })
}
