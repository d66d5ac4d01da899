// Package fifo holds the shared memory of the session layer: segments, the byte
// fifos of svm kind that lie in them, and message queues. A fifo carries bytes
// from one producer to one consumer, a queue events from many producers to one
// consumer, without locks and without allocating.
//
// # Promises
//
// Everything in a segment refers to everything else by offset, in lines of 128
// bytes (a [Ref]), so that a segment means the same at any address.
//
// A fifo has two ends. All state of an end lies in the segment, so an end may
// pass from one thread to another, or to another process, as long as one uses
// it at a time and the hand-over itself orders memory (a lock does). The two
// ends need nothing between them but the fifo.
//
// # Layout
//
// What each side writes lies on lines of its own, 128 bytes apart, since the
// prefetcher of adjacent lines pulls pairs. An end never reads the line that it
// publishes on: it keeps its own place on its private line, and of the other
// side's index the value it saw last. Of all that bounds it, that value, the end
// of the chunk, out-of-order data, it keeps one limit; as long as a message ends
// before the limit, there is nothing else to look at.
//
// Data lies in chunks, linked in the order of positions. The producer links a
// chunk before it publishes the first byte in it. The consumer steps to the
// next chunk only when it reads a byte there, and then gives the one before back
// to the segment.
//
// # Where the next chunk comes from
//
// A line that both cores' caches hold is dear to write: a third of a line round
// trip. A line of the first-level cache is cheap for a consumer that answers, and
// for one on the same core. So there are two ways on, and the producer takes
// them by what it sees at a chunk's end:
//
//   - All was read: the chunk is used again. It is small then, 4 KB to 16 KB.
//   - Something was not, and the consumer runs on another core, or the consumer
//     has found out that it reads a stream (see patience in the source): the next
//     chunk is the one that the segment handed out longest ago.
//
// A fifo of 64 KB so moves on through some megabytes of its segment, which all
// fifos of an owner share, and owns no more of it than it holds.
//
// # Segment
//
// Each owner of a segment, a worker or a process, has a [Segment] of its own
// ([Segment.Join], [Attach]) and a slice of the free blocks; what it took comes
// back to its slice. Taking a block is two locked instructions, giving it back
// two, on the block's line and on a list's. Blocks are parted when small ones
// run short, and never merge. Exhausted is what has nothing left in any slice.
//
// Each block bears the mark of who has it, so that when an owner is killed,
// wherever, another can [Segment.Sweep] what it had under way, while the rest go
// on. Attaching checks all that is read from shared memory, and what is read
// later is bounded: a hostile peer can spoil what is in the segment, but not
// lead anyone out of it.
//
// # Waking
//
// A producer publishes its index with a release store and then tests a flag
// without a fence; both [Fifo] and [Queue] leave it to the side that is about
// to sleep to order its own flag against what it rechecks ([hw.HeavyFence]).
// Where the kernel refuses membarrier that is not enough, and every publication
// is a sequentially consistent store ([SeqCst]).
//
// # Figures
//
// A stream across two cores of a virtual machine (AMD EPYC, Zen 4), in cache
// line round trips (L) per message, each the median over 25 fresh layouts, of
// three runs of BenchmarkCross the middle one:
//
//	                  64 B, 4 MB fifo   64 B, 64 KB fifo
//	release           0.072             0.336
//	release, event    0.072             0.337
//	seqcst            0.072             0.359
//
// L was 106 to 118 ns, in some of the runs of the second column 507 ns: the host
// moves the virtual cores. That column is dear because all of the fifo's lines
// stay in both cores' second-level caches: see streamSize.
package fifo
