// Package stall stops a thread for ever in the middle of an operation, at each
// schedule point in turn, and looks who stands still because of it. Every other
// thread does a round of operations on sessions of its own: data, creation,
// closing, look-up, polling, waiting, a connection; one thread a round, in the process of
// the one that was stopped and in another.
//
// What a strategy with locks lets stand still is a property of it, which [Table]
// writes down. A strategy that promises to block nobody calls [NonBlocking].
//
// Threads are run by package sched, so all of this needs the tag sched. A thread
// is stopped at points alone: what has none between a claim and its publication
// is not tried. [Stop] says which points there are.
package stall
