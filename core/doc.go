// Package core is VCL: applications, workers, sessions, epoll sets, the events
// between them, and the session layer that connects two local endpoints. It is
// not thread safe by construction: it says what must be excluded from what, and
// a lock strategy is exactly a way to provide that.
//
// # The exclusion contract
//
// Each operation touches resources, exclusively (X) or shared with others that
// do so too (S). Two threads must not be inside the same resource at once
// unless both are there shared. Built with the tag audit, the core checks that.
//
//	operation            pool  control  rx  tx   mq   set  shared
//	Create               X
//	EpollCreate          X
//	Bind, Listen               X
//	Connect                    X                 (X)
//	Accept               X     X                 (X)
//	Read, Recvfrom             S        X        (X)
//	Write, Sendto              S            X    (X)
//	Shutdown                   X
//	Attr                       X
//	Attr of datagrams          X        X   X
//	EpollCtl                   X                 (X)  X
//	EpollWait                                    (X)  (X)
//	Poll                                         (X)
//	Attend                     X
//	BeginClose                                   (X)
//	Close                X     X        X   X    (X)       (X)
//	Worker.Doom          S                       (X)
//	Worker.Close         X     X        X   X    (X)       (X)
//	Fork                 X     X        X   X    (X)  X    (X)
//	Call, Await, Serve                           (X)
//	HandOver             X     X        X   X    X    X
//	GiveUp               X     X        X   X    (X)  X
//	Reserve, Unreserve   X
//	Adopt                      X                 (X)
//
// pool is the session pool of the calling worker: allocation and release.
// Lookup needs no exclusion, since slots keep their address and handles carry a
// generation. control is the state of one session (of Accept, the listener's),
// rx the consumer end of its rx fifo, tx the producer end of its tx fifo; of a
// session of datagrams rx is the consumer end of all that comes to it, tx the
// producer end of all that it sends. mq is
// the consumer end of the worker's message queue, the dispatch of its events,
// the ready lists of its epoll sets and its list of waiting threads. set is the
// interest list of one epoll set. shared is the application's pool of data that
// sessions share by fork. Fork and Worker.Close mean all sessions of the worker.
//
// (X) is entered and left inside the operation, mq by the hooks EnterMQ, TryMQ
// and LeaveMQ, shared by EnterShared and LeaveShared: the operation may wait,
// and nothing may be held meanwhile. Listen and Connect wait where the session
// layer has a thread of its own. Around
// each wait the core calls the hooks Sleep and Woke. While it waits the core
// touches only what needs no exclusion, but for mq, which it enters as above.
// Of EpollWait the set is touched only inside mq, so mq alone is enough for it.
// Poll looks its sessions up inside mq, within which none of the worker's is
// closed, and needs nothing else. A Sendto that binds writes the session's local
// endpoint: what reads it has control exclusive.
//
// A session that is closed while others wait on it stays in memory until the
// last of them has left. Close marks it, makes its handle stale and wakes them;
// they leave without touching it any more. BeginClose marks it and wakes them
// before that: it is for a strategy that closes what others may be using.
//
// # Without exclusion
//
// Where an application is made with [Hooks.Free], pool, mq, set and shared need
// no exclusion, and nobody enters them: the auditor does not ask. Many threads
// take and give back slots, post and dispatch, read a set and change it at once,
// and one that is stopped anywhere stops none of the others. What is left of the
// contract is rx, tx and control of each session: its rx end, its tx end, and
// all of it, to be claimed with [Thread.Claim] or entered with [Thread.Enter]. A
// session is born claimed, closed with [Thread.CloseHandle], and ended by the
// last who is inside. The set of an EpollWait or EpollCtl is kept by
// [Worker.Pin]. Those that share a session by fork are claimed together. Fork, and
// a close of what others share, claim the control of it and not its ends. A Sendto
// that binds ([Session.Binds]) needs all of it. There are no calls and no hand-over
// then.
//
// # Fork
//
// A session that is shared by fork is a session of its own in each worker: at
// the same index and under the same VLS handle, with a VCL handle, waiters,
// membership and fate of its own. Their control is one resource, their rx is
// one and their tx is one: who is inside one of them exclusively must have them
// all, in whatever process. Pool, mq and set are each worker's, as before.
//
// What changes for one of them (it is bound, listens, is connected, shut down,
// or becomes non-blocking) is changed for all at once. What comes from the other
// side is told to all: news of a shared session goes to the workers of all who
// share it, and each looks for itself. So nothing has to be moved when one of
// them leaves; the owner is no more than who has been there longest.
//
// A listener is a queue in each worker. The session layer gives those that
// serve an endpoint a connection in turn, and what waits with one that leaves
// goes to another.
//
// # Calls and hand-over
//
// A thread calls another worker by an event on its queue, and the hook RPC
// answers where a thread of that worker empties it. A call is answered once or
// not at all: whoever answers claims it first, by its sequence number, and
// whoever gives up withdraws it the same way. A worker that goes ends the calls
// to it.
//
// HandOver, in that hook, takes a session out of its worker, or a set with all
// that are in it, and Adopt makes it one of the caller's. GiveUp does so where
// nobody has asked: what it took out may lie for as long as one likes, and be
// adopted by whoever wants it. In between nobody is told of what happens at the
// other side; but what happened stands in the fifos, where the new owner looks
// before it first sleeps. What those do to it meanwhile that share it by fork is
// done to what lies there, too.
//
// # What is atomic
//
// What VCL in C tolerates as a race on a word is an atomic here: a session's
// state, its flags, its pending error. What the other side of a connection has
// to say (its stream ended, it was reset, nobody reads any more) stands in the
// fifos' status, in order with the data. Events are hints to look there. So an
// event that finds no room on a queue is not lost: the worker is told to look
// at all of its sessions.
//
// # Datagrams
//
// Each pair of sender and receiver has a fifo of its own, so that no two
// producers meet in one, and a receiver that does not read holds up those alone
// who send to it. A sender hands its fifo over to the receiver when it puts
// something into one that was empty; the receiver knows of no other, and takes
// from those it has in the order of the numbers that it gave to what is in them.
// That costs a sender two locked instructions a datagram, a stream none.
//
// # Waiting
//
// A thread that waits looks at what it waits for, not at messages about it, and
// sleeps only after it has armed the flag that makes the other side send an
// event, fenced, and looked again. Of several threads that wait on one worker,
// one sleeps on the queue; it wakes the others when what it dispatches is
// theirs, and hands the queue on when it leaves.
//
// A thread that defers its waits is told to wait instead, and does so by Later,
// outside of the operation. Until then the session is as that of any that waits.
// So an operation can be made in the name of a thread by another, which must not
// wait for it: whoever makes it has the thread to itself meanwhile.
package core
