//go:build amd64 && !race && !sched

package core

// setMark stores to a thread's own mark. It is a plain store, which another
// thread reads with an atomic load: on amd64 stores become visible in order, so
// 0 is seen after everything that the operation did; and that the mark is seen
// before life is read, or 0 before it is read again, is seen to by the membarrier
// of whoever wants the bias given up, for it would cost a full fence here. The
// compiler keeps the order, since an atomic load follows each.
func setMark(p *uint32, v uint32) { *p = v }
