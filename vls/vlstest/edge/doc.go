// Package edge looks for an edge-triggered reader that sleeps on data which is
// there. Such a reader reads until EWOULDBLOCK and then trusts that what comes
// is reported; so nobody may answer it EWOULDBLOCK for another reason, such as
// another thread at the same end, and leave it at that.
//
// Threads are run by package sched, in schedules of its choice, so all of this
// needs the tag sched. A reader that sleeps for ever is a deadlock there, found
// at once.
package edge
