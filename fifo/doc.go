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
// Two cores of a virtual machine (AMD EPYC, Zen 4, second-level caches of 1 MB),
// each figure the median over fresh layouts, of three runs of the benchmarks the
// middle one. L is a cache line round trip of the same round, 105 to 127 ns; a
// copy is Go's, of memory in the caches, in the same round.
//
//	stream, L a message            release  with event  batched=16  seqcst
//	64 B, fifo of 4 MB             0.047    0.050       0.047       0.094
//	64 B, fifo of 64 KB            0.066    0.070       0.071       0.117
//	16 KB, fifo of 4 MB, of the
//	rate of a copy of 64 KB        0.68     0.68        0.43        0.66
//
//	round trip of 64 B over two fifos of 64 KB, of 4 MB: 1.26 L, 1.20 L
//
//	write and read by one thread, in two copies
//	8 B    64 B   256 B   1 KB   4 KB   16 KB
//	2.20   1.51   1.68    1.42   1.16   1.01
//
// [Queue] has figures of its own. Nothing allocates. The host moves the virtual cores; where that put them on
// two sockets, with an L of 500 ns, a stream of 64 B took 0.15 L in either fifo.
// That is what a store buffer of 64 entries gives, at ten stores a message and
// half a microsecond a line: the stores of a message are what it costs.
package fifo
