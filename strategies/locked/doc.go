// Package locked is the family of designs that lock a table of sessions, and
// each session: VLS at several times of its history, with the faults of the
// originals repaired. A preset is a [Design], whose table says which locks each
// operation takes; what separates two of them is a knob.
//
// # Locks
//
//	P   rwlock, the table of sessions of a process, or of the application
//	S   one session
//	MQ  the worker's message queue
//	SP  the worker's session pool, a mutex or a rwlock
//	SD  the application's pool of data that is shared by fork
//
// They are taken in that order, and S of a set before S of a session. The table
// is the workers' own pools: a VLS handle is the handle of the VCL session, which
// carries the VLS session along. P.r is let go as soon as S is held, since a
// session keeps its address; only EpollCtl, which wants two, keeps it to its end.
// By a design whose waits keep S it is let go before S is waited for, by both.
// A wait holds nothing, and looks its session up again afterwards; who waits
// takes MQ by itself meanwhile.
//
// Most operations read a handle's VLS session under P.r. So who frees one, or
// enters one, has P.w; nobody waits for P while holding S, unless the design
// says that it takes P again. That is why one that was made is entered only when
// S of its listener was let go.
//
// # Fork
//
// A session that is shared by fork has one S for all processes, and it is taken
// with one thread too: what the core wants excluded of one of those that share
// it is excluded of all. No other lock has to reach across processes but SD,
// which fork takes, and the last close of a session that was shared. A fork
// holds P.w, every S, of sets first and then of sessions, each in the order of
// the table, MQ and SP of the parent, and then SD. Those that share sessions have
// them at the same index, so two forks agree on the order.
//
// A process that is killed has all its sessions marked as closing: its threads
// leave what they wait in, and get nothing of what comes. Kill then takes every
// lock once, so that none of them is in the middle of anything, but by a design
// whose waits keep S: another process may have it for ever.
//
// What a child held that has died is closed by its parent, before the parent's next
// sleep, also one that keeps S, or in its exit, where nothing is held. Like any exit
// of a process that has had several threads that takes every lock, as a fork.
//
// # One thread
//
// With one thread MQ and SP are not taken, and P and S only if the design says
// so, or S of sessions that are shared. The thread marks itself as being inside
// an operation with a plain store. A second thread that registers switches the
// locks on, for good, makes that known with membarrier, and waits until the first
// has left the operation it may be in.
package locked
