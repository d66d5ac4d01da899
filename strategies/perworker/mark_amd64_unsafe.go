//go:build amd64 && !race

package perworker

// setMark stores to a thread's own mark. It is a plain store, which another
// thread reads with an atomic load: on amd64 stores become visible in order, so
// 0 is seen after everything that the operation did; and that 1 is seen before
// the mode is read is seen to by the membarrier of the thread that changes the
// mode, for it would cost a full fence here. The compiler keeps the order,
// since an atomic load or a call follows each. A release store, which is a
// call, made a write and read of 64 B 2 ns dearer.
func setMark(p *uint32, v uint32) { *p = v }
