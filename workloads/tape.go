package workloads

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
)

// period is after how many bytes the tape repeats: a prime, so that no message
// size, nor anything that is lost or doubled in units of a message, a chunk or
// a page, falls in step with it.
const period = 65521

// tape is the pseudo-random bytes that every stream sends, each from a place of
// its own. Past the period it repeats for as long as the largest message, so
// that any message is one slice.
var tape = sync.OnceValue(func() []byte {
	t := make([]byte, period+MaxSize)
	r := rand.NewPCG(0x766c73, 0x62656e6368)
	for i := 0; i < period; i += 8 {
		binary.LittleEndian.PutUint64(t[i:], r.Uint64())
	}
	for i := period; i < len(t); i += copy(t[i:], t[:period]) {
	}
	return t
})

// stream is one direction of one session: how many bytes went, and where on the
// tape that is.
type stream struct {
	tape []byte
	pos  uint64
	at   int // (start + pos) mod period
}

// newStream is stream number n of a slot. The streams of a slot begin at
// different places, and those of two slots nearly always, so that neither
// another session's bytes nor those that an earlier slot left in the memory
// can pass.
func newStream(seed uint64, n int) stream {
	r := rand.New(rand.NewPCG(seed, 0))
	start, step := r.IntN(period), 1+r.IntN(period-1)
	return stream{tape: tape(), at: (start + n*step) % period}
}

// peek is the next n bytes; n is at most MaxSize.
func (s *stream) peek(n int) []byte { return s.tape[s.at : s.at+n] }

// skip moves n bytes on.
func (s *stream) skip(n int) {
	s.pos += uint64(n)
	if s.at += n; s.at >= period {
		s.at %= period
	}
}

// check compares p with the next bytes and moves past them.
func (s *stream) check(p []byte) error {
	if !bytes.Equal(p, s.peek(len(p))) {
		return s.differs(p)
	}
	s.skip(len(p))
	return nil
}

func (s *stream) differs(p []byte) error {
	want := s.peek(len(p))
	i := 0
	for p[i] == want[i] {
		i++
	}
	n := min(len(p), i+8)
	return fmt.Errorf("at byte %d of the stream: expected % x, found % x", s.pos+uint64(i), want[i:n], p[i:n])
}

var copied = sync.OnceValue(func() []byte { return bytes.Clone(tape()) })

// Verify compares n messages of size bytes with the tape, as a reader does: for
// pricing that.
func Verify(n, size int) {
	s, messages := stream{tape: tape()}, copied()
	for range n {
		if err := s.check(messages[s.at : s.at+size]); err != nil {
			panic(err) // the copy is exact
		}
	}
}
