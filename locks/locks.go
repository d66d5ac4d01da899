// Package locks holds the lock primitives that strategies choose from, each
// small enough to be read at once, and the counters that say how often one was
// taken, and for how long.
//
// # What all of them promise
//
// A [Lock] excludes; what was done inside one hold is seen by the next. None is
// recursive. All may be unlocked by another thread than the one that locked
// them, as long as the one hands the right to the other in a way that orders
// memory. TryLock and TryRLock never wait. Unlock of what is not locked panics;
// that of mutex and rwmutex, and of a writer of bravo, is a fatal error of Go's,
// which cannot be recovered from. Nothing allocates after the lock was made.
//
// # The kinds
//
// Size is in bytes: each kind fills its pairs of cache lines alone. Cost is in
// locked instructions of a lock and an unlock that meet nobody, and beside it in
// uncontended compare-and-swaps, as BenchmarkUncontended found them on an AMD EPYC
// (Zen 4), with the two calls through an interface.
//
//	kind    size  cost      order among those who wait    a wait
//	mutex    128  2 (2.1)   any, after 1 ms of coming     spins, parks the goroutine
//	tas      128  1 (1.9)   any                           spins writing, naps
//	ttas     128  1 (1.9)   any                           spins reading, with backoff, naps
//	ticket   128  1 (1.7)   of coming                     spins the longer the later its turn, naps
//	mcs      128  2 (1.9)   of coming                     spins on a line of its own, sleeps
//	clh      128  2 (1.9)   of coming                     spins on a line of the one before, sleeps
//	futex    128  2 (1.8)   any                           spins, sleeps
//
//	kind       size  reader   writer    who may be kept out for ever     a wait
//	rwmutex     128  2 (1.7)  4 (3.8)   nobody                           parks the goroutine
//	rwspin      128  2 (2.1)  1 (1.8)   anybody                          spins, naps
//	rwpending   256  2 (2.4)  3 (2.7)   readers by writers, and writers  spins, naps
//	phasefair   128  2 (1.8)  3 (2.8)   nobody                           spins, naps
//	bravo      8448  2 (1.8)  6 (5.4)   nobody                           spins, parks the goroutine
//
// Two locked instructions on one line cost 1.8 by themselves if the second is an
// exchange, 1.9 with an addition and 2.0 with a compare-and-swap (BenchmarkPairs);
// what calls store before them has to be written first, and where it comes to
// stand moves a figure by 0.1. So mcs, clh and futex, which unlock by an exchange,
// cost little more than these, and less than two locked instructions of which the
// second has to find out whether somebody waits.
//
// # Waiting
//
// Threads may be four times the cores, and then who is waited for is often not
// running: a thread that goes on spinning costs it a scheduler's slice. So all
// spin for some microseconds at most. Kinds that sleep are woken by who unlocks;
// mcs and clh wake the one whose turn it is. Kinds that nap look again after 50
// to 100 µs: nobody has to wake them, their unlock stays a plain store, and a
// hand-over to one that naps takes that long. Where every hand-over goes to a
// certain thread, as with ticket, that is each of them; mcs, clh and futex are
// the ones for more threads than cores.
package locks
