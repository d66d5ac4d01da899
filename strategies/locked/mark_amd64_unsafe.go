//go:build amd64 && !race

package locked

// setMark stores to a thread's own mark. It is a plain store, which another
// thread reads with an atomic load: on amd64 stores become visible in order, so
// 0 is seen after everything that the operation did; and that 1 is seen before
// alone is read is seen to by the membarrier of the thread that clears it, for
// it would cost a full fence here. The compiler keeps the order,
// since an atomic load or a call follows each. A release store is a call, and
// there are four of these in a write and a read.
func setMark(p *uint32, v uint32) { *p = v }
