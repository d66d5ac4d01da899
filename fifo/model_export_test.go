package fifo

// What the tests of whole fifos need from inside.

// Obtainable is how many bytes of chunks can be had, by taking them all and
// giving them back.
func (s *Segment) Obtainable() int {
	var got []Ref
	n := 0
	for {
		r := s.allocNear(1, false)
		if r == 0 {
			break
		}
		got = append(got, r)
		n += int(s.sizeOf(r))
	}
	for _, r := range got {
		s.release(r)
	}
	return n
}

// SpareList reports whether a list of out-of-order segments can be had.
func (s *Segment) SpareList() bool {
	r := s.allocNear(0, false)
	if r != 0 {
		s.release(r)
	}
	return r != 0
}

// InUse is the payload of all blocks that are handed out and not given back, in
// bytes. Nobody else uses the segment.
func (s *Segment) InUse() int {
	n := 0
	for _, c := range s.Usage().Classes {
		n += c.Taken * c.Size
	}
	return n
}
