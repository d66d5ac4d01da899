// Package sched runs threads under control, one at a time, so that the
// interleavings in which a fault shows are searched for instead of waited for,
// and one that was found can be had again. Built without the tag sched it is
// empty and costs nothing.
//
// Code under test says where an interleaving matters: [Point] where another
// thread may go on, [Wait], [FutexWait] and [Spin] where a thread waits. Built
// with the tag, a test hands threads to Explore, which runs them again and
// again. Each is an ordinary goroutine, but only one of them is ever running,
// and at each such place the scheduler chooses who goes on. Goroutines that are
// not threads of such a run pass through all of them untouched.
//
// # What is explored
//
// Sequentially consistent interleavings of what stands between points, and no
// others: every store is seen by all at once. What depends on a weaker order (a
// release store before a load, a fence that is missing) is not found here; that
// is for tests on real threads. Nor is what happens between two accesses with
// no point between them.
//
// # How threads are chosen
//
// At random: at each point every thread that can run is as likely as any other.
// That finds what any of many interleavings shows.
//
// By PCT (Burckhardt et al., "A randomized scheduler with probabilistic
// guarantees of finding bugs", 2010): threads get random priorities, the
// highest that can run does, and at d-1 random steps the one that runs becomes
// the lowest. A fault that takes d ordered steps to show, in n threads of k
// steps together, is found by one schedule with a probability of at least
// 1/(n·k^(d-1)), be it that one thread must stand still while another goes all
// its way, which choosing at random hardly ever does. A thread that spins goes
// below all others, or it would spin for ever. A run that is far longer than
// expected goes on at random, so that what has no end then has none under a fair
// scheduler either.
//
// A schedule is determined by its strategy and a seed, as long as the threads
// are: nothing in them may depend on the time, on the order of a map, or on
// other goroutines.
//
// # Waiting
//
// The scheduler must see every wait of a thread, or it waits with it. A thread
// in Wait cannot run until its condition holds, one in FutexWait until it is
// woken by [FutexWake]; it is not enough that the word changes, as it is not in
// the kernel. Time is virtual: a wait with a timeout ends by it when nothing
// else can run, the earliest first, or when others have spun for long. When
// all threads wait and no time runs, that is a deadlock, and a failure that
// says who waits for what; so is a run with too many steps. A wait that the
// scheduler cannot see (a channel, a lock of package sync that is not tried in a
// Wait) is reported after half a minute.
//
// # In hot code
//
// Point costs nothing, but it counts towards what the compiler will inline. In a
// function that must be inlined, and wherever a closure is made for a wait,
// write
//
//	if sched.Enabled {
//		sched.Point("queue: published")
//	}
//
// which the compiler drops before it counts.
package sched
