package fifo

import "fmt"

// Attach is the view of a segment that lies in mem already, by a new owner:
// another process that shares the memory, or another mapping of it. mem must be
// the whole of it. Everything that was read from it was checked: errors that are
// ErrCorrupt name what is wrong with it. Others may go on allocating meanwhile.
//
// What it promises beyond, as do all views: whatever a peer writes to the memory
// later, no method of a Segment panics, runs for ever, or touches a byte outside
// of mem. It may hand out a block twice.
func Attach(mem []byte) (*Segment, error) {
	s, err := view(mem)
	if err != nil {
		return nil, err
	}
	if err := s.validate(); err != nil {
		return nil, err
	}
	if err := s.claimOwner(); err != nil {
		return nil, err
	}
	return s, nil
}

// validate checks the header, the table of runs, every block and every list's
// head.
func (s *Segment) validate() error {
	h := s.h
	for _, f := range []struct {
		name      string
		got, want uint64
	}{
		{"magic", uint64(h.magic), segMagic},
		{"version", uint64(h.version), segVersion},
		{"size", h.size, uint64(len(s.mem))},
		{"size of the smallest block", uint64(h.small), smallSize},
		{"number of classes", uint64(h.classes), nClasses},
	} {
		if f.got != f.want {
			return fmt.Errorf("%w: %s is %#x, want %#x", ErrCorrupt, f.name, f.got, f.want)
		}
	}
	if used := h.used.Load(); s.owners < MaxOwners && used>>s.owners != 0 {
		return fmt.Errorf("%w: owners in use are %#x, want none from %d on", ErrCorrupt, used, s.owners)
	}
	if by := h.sweeper.Load(); by > s.owners {
		return fmt.Errorf("%w: sweeper is %d, want at most %d", ErrCorrupt, by, s.owners)
	}
	if runs := h.runs.Load(); runs > s.maxRuns || runs > 0 && s.runWord(runs-1).Load() == 0 {
		return fmt.Errorf("%w: number of runs is %d, want no more than there are, nor than %d", ErrCorrupt, runs, s.maxRuns)
	}
	if err := s.walk(func(Ref, uint32, uint64) {}); err != nil {
		return err
	}
	used := h.used.Load()
	for k := range s.owners {
		if used>>k&1 == 0 {
			continue
		}
		for class := range uint32(nClasses) {
			h := &s.slice(k).class[class]
			heads := [...]Ref{
				Ref(h.list(0).Load()), Ref(h.list(1).Load()), Ref(h.list(2).Load()), Ref(h.list(3).Load()),
				Ref(h.fresh.Load()),
			}
			for i, r := range heads {
				if r != 0 && !s.isBlock(r, class) {
					return fmt.Errorf("%w: head of list %d of owner %d for blocks of %d bytes is %d, want such a block between lines %d and %d",
						ErrCorrupt, i, k, classSize(class), r, s.first, s.end)
				}
			}
		}
	}
	return nil
}
