//go:build !purego

package hw

import (
	"os"
	"slices"
	"strings"
)

const counterName = "tsc"

func cpuid(leaf uint32) (eax, edx uint32)

// counterUsable reports whether the TSC ticks at one rate in every power state
// (CPUID 8000_0007h EDX bit 8) and is the same on all cores: the kernel strikes
// one that is not from the clock sources it offers. Where the kernel's list
// cannot be read, the CPU's word is taken.
func counterUsable() bool {
	if last, _ := cpuid(0x80000000); last < 0x80000007 {
		return false
	}
	if _, edx := cpuid(0x80000007); edx&(1<<8) == 0 {
		return false
	}
	b, err := os.ReadFile("/sys/devices/system/clocksource/clocksource0/available_clocksource")
	return err != nil || slices.Contains(strings.Fields(string(b)), "tsc")
}
