//go:build !purego

package hw

func auxiliary() uint32

var hasAuxiliary = func() bool {
	if last, _ := cpuid(0x80000000); last < 0x80000001 {
		return false
	}
	_, edx := cpuid(0x80000001)
	return edx&(1<<27) != 0
}()

// processor is the CPU that the caller runs on, or -1 if the core has no
// instruction that tells.
func processor() int {
	if !hasAuxiliary {
		return -1
	}
	return int(auxiliary() & 0xfff)
}
