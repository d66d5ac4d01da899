//go:build !amd64 || purego

package hw

// processor stands where no instruction tells the CPU that the caller runs on.
func processor() int { return -1 }
