package hw

import (
	"runtime"
	"slices"
	"strings"
	"testing"
)

func set(t *testing.T, list string) CPUSet {
	t.Helper()
	s, err := ParseCPUList(list)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestParseCPUList(t *testing.T) {
	for _, tt := range []struct {
		in   string
		list []int
		out  string
	}{
		{"", []int{}, "none"},
		{"\n", []int{}, "none"},
		{"0", []int{0}, "0"},
		{"0-3,8\n", []int{0, 1, 2, 3, 8}, "0-3,8"},
		{"8,0-1,3", []int{0, 1, 3, 8}, "0-1,3,8"},
		{"2,3,4", []int{2, 3, 4}, "2-4"},
		{"0-1,1-2", []int{0, 1, 2}, "0-2"},
		{" 5 , 7 ", []int{5, 7}, "5,7"},
		{"63-64,1023,8191", []int{63, 64, 1023, 8191}, "63-64,1023,8191"},
	} {
		s, err := ParseCPUList(tt.in)
		if err != nil {
			t.Errorf("%q: %v", tt.in, err)
			continue
		}
		if got := s.List(); !slices.Equal(got, tt.list) {
			t.Errorf("%q holds %v, want %v", tt.in, got, tt.list)
		}
		if s.Len() != len(tt.list) {
			t.Errorf("%q: Len %d, want %d", tt.in, s.Len(), len(tt.list))
		}
		if s.String() != tt.out {
			t.Errorf("%q prints as %q, want %q", tt.in, s, tt.out)
		}
		for _, cpu := range []int{-1, 0, 1, 2, 63, 64, 8191, 8192, 1 << 30} {
			if s.Has(cpu) != slices.Contains(tt.list, cpu) {
				t.Errorf("%q: Has(%d) is %v", tt.in, cpu, s.Has(cpu))
			}
		}
	}
	for _, bad := range []string{"x", "-1", "3-1", "0-", "0,,1", "0-8192", "99999999999", "0-3x", "0x1", "1-2-3"} {
		s, err := ParseCPUList(bad)
		if err == nil {
			t.Errorf("%q was read as %v", bad, s)
		} else if !strings.Contains(err.Error(), bad) {
			t.Errorf("%q: the error does not name it: %v", bad, err)
		}
	}
}

// onThread runs f on an OS thread that dies with it, whatever f did to its mask.
func onThread(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked
		f()
	}()
	<-done
}

func TestPinEachAllowedCPU(t *testing.T) {
	allowed, err := Allowed()
	if err != nil {
		t.Fatal(err)
	}
	if allowed.Len() == 0 {
		t.Fatal("no CPU is allowed")
	}
	for _, cpu := range allowed.List() {
		onThread(func() {
			if err := Pin(cpu); err != nil {
				t.Error(err)
				return
			}
			for range 100 {
				if got := kernelCPU(); got != cpu {
					t.Errorf("pinned to CPU %d, the kernel says %d", cpu, got)
				}
				if got := CurrentCPU(); got != cpu {
					t.Errorf("pinned to CPU %d, runs on %d", cpu, got)
					return
				}
				runtime.Gosched()
			}
			if now, err := Allowed(); err != nil || now != allowed {
				t.Errorf("pinned, the process is allowed %v (%v), before %v", now, err, allowed)
			}
		})
	}
}

func TestPinLeavesOtherThreads(t *testing.T) {
	allowed, err := Allowed()
	if err != nil {
		t.Fatal(err)
	}
	onThread(func() {
		if err := Pin(allowed.List()[0]); err != nil {
			t.Error(err)
		}
	})
	onThread(func() {
		if mask, err := getAffinity(0); err != nil || mask != allowed {
			t.Errorf("a new thread may run on %v (%v), the process on %v", mask, err, allowed)
		}
	})
}

func TestPinRefusesWhatIsNotAllowed(t *testing.T) {
	allowed, err := Allowed()
	if err != nil {
		t.Fatal(err)
	}
	for _, cpu := range []int{-1, 8191, 8192, 1 << 30} {
		if allowed.Has(cpu) {
			continue
		}
		onThread(func() {
			err := Pin(cpu)
			if err == nil {
				t.Errorf("pinned to CPU %d", cpu)
				return
			}
			if !strings.Contains(err.Error(), allowed.String()) {
				t.Errorf("the error does not say what is allowed: %v", err)
			}
			if mask, _ := getAffinity(0); mask != allowed {
				t.Errorf("a refused pin left the mask at %v", mask)
			}
		})
	}
}

func TestCurrentCPUIsAllowed(t *testing.T) {
	allowed, err := Allowed()
	if err != nil {
		t.Fatal(err)
	}
	if cpu := CurrentCPU(); !allowed.Has(cpu) {
		t.Errorf("on CPU %d, allowed %v", cpu, allowed)
	}
}
