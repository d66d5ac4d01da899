// Package locks holds the lock primitives that strategies choose from, each
// small enough to be read at once, and the counters that say how often one was
// taken, and for how long.
//
// # What all of them promise
//
// A [Lock] excludes; what was done inside one hold is seen by the next. None is
// recursive. All may be unlocked by another thread than the one that locked
// them, as long as the one hands the right to the other in a way that orders
// memory. TryLock and TryRLock never wait. Unlock of what is not locked panics,
// but for mutex and rwmutex, where Go ends the program. Nothing allocates after
// the lock was made.
//
// # The kinds
//
// Cost is in locked instructions of a lock and an unlock that meet nobody; size
// in bytes, of which each kind fills its pairs of cache lines alone.
//
//	kind       size  cost       order among those who wait      a wait
//	mutex       128  2          barged into, at most for 1 ms   spins, parks the goroutine
//	tas         128  1          none                            spins writing, naps
//	ttas        128  1          none                            spins reading, with backoff; naps
//	ticket      128  1          first come, first served        spins as far as it is from its turn; naps
//	mcs         128  2          first come, first served        spins on a line of its own, sleeps
//	clh         128  2          first come, first served        spins on the line of who came before, sleeps
//	futex       128  2          none                            spins, sleeps
//
//	kind       size  reader  writer  who may be kept out for ever        a wait
//	rwmutex     128  2       4       nobody                              parks the goroutine
//	rwspin      128  2       1       writers by readers; any by writers  spins, naps
//	rwpending   128  2       3       readers by writers, and a writer    spins, naps
//	phasefair   128  2       3       nobody                              spins, naps
//	bravo      8448  2       5       nobody                              spins; parks the goroutine
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
