//go:build !sched

package sched

import "time"

// Enabled reports whether threads can be run under control.
const Enabled = false

// Point is a place where another thread may go on. name says what was done last
// and what comes next, such as "queue: between slot and publish", and is the
// same every time.
func Point(name string) {}

// Controlled reports whether the caller is a thread under control.
func Controlled() bool { return false }

// Wait is a point that the caller passes only when ready returns true. It
// reports whether it did: false if the time was over (a negative timeout is for
// ever), and at once if the caller is not under control and has to wait by
// itself.
//
// ready is called when the caller is about to go on, by any goroutine, while all
// threads stand still, and true means that the caller does go on: ready may take
// what is waited for, as a TryLock does. It must not wait.
func Wait(name string, ready func() bool, timeout time.Duration) bool { return false }

// FutexWait stands for the system call: a point, and then a sleep if *addr is
// val, until [FutexWake], or for timeout if that is not negative. It returns
// false at once if the caller is not under control and must make the call.
// Words are told apart by their addresses.
func FutexWait(name string, addr *uint32, val uint32, timeout time.Duration) bool { return false }

// FutexWake is a point, and then wakes at most n threads that are in FutexWait
// on addr, any of them. It does not replace the system call, which others may
// be waiting for.
func FutexWake(name string, addr *uint32, n int) {}

// Spin is one turn of a loop that waits by looking again. It returns false if
// the caller is not under control and is to pause by itself.
func Spin(name string) bool { return false }
