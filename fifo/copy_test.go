package fifo

import "testing"

// The copies in and out of a fifo move each length at each alignment as a plain
// copy does, and touch nothing beside.
func TestCopies(t *testing.T) {
	const (
		longest = 300
		aligns  = 17
		guard   = 64
		room    = guard + aligns + longest + guard
	)
	mem := alignedBytes(room)
	f := Fifo{base: (&Segment{mem: mem}).at(0)}
	outside := make([]byte, room)
	want := make([]byte, room)
	fill := func(b []byte, salt int) {
		for i := range b {
			b[i] = byte(i*7 + i>>8*13 + salt)
		}
	}
	same := func(what string, got []byte, n, at, off int) {
		for i := range got {
			if got[i] != want[i] {
				t.Fatalf("%s of %d bytes, in the fifo at %d, outside at %d: byte %d from its beginning is %#02x, want %#02x", what, n, at, off, i-guard, got[i], want[i])
			}
		}
	}
	for n := range longest + 1 {
		for _, at := range []int{0, 1, 2, 7, 8, 15, 16} {
			for _, off := range []int{0, 1, 3, 8, 16} {
				fill(mem, n)
				fill(outside, n+101)
				copy(want, mem)
				p := outside[guard+off:][:n:n]
				copy(want[guard+at:], p)
				f.copyIn(uint64(guard+at), addressOf(p), uint64(len(p)))
				same("copyIn", mem, n, at, off)

				fill(mem, n)
				copy(want, outside)
				copy(want[guard+off:], mem[guard+at:][:n])
				f.copyOut(addressOf(p), uint64(guard+at), uint64(len(p)))
				same("copyOut", outside, n, at, off)

				if n < 33 || n > 64 {
					continue
				}
				fill(mem, n)
				fill(outside, n+101)
				copy(want, mem)
				copy(want[guard+at:], p)
				f.shortIn(uint64(guard+at), addressOf(p), uint64(len(p)))
				same("shortIn", mem, n, at, off)

				fill(mem, n)
				copy(want, outside)
				copy(want[guard+off:], mem[guard+at:][:n])
				f.shortOut(addressOf(p), uint64(guard+at), uint64(len(p)))
				same("shortOut", outside, n, at, off)
			}
		}
	}
	f.copyIn(guard, nil, 0)
	f.copyOut(nil, guard, 0)
}
