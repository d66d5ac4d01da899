// Package tape plays one and the same sequence of operations on two strategies
// and says where they first differ. With a strategy over the kernel's sockets
// as the one that is believed, it is the differential test of the session core:
// what Linux does is not written down in cases, Linux is asked.
//
// A [Tape] is a list of small numbers. Each operation picks what it works on
// among what is there by then, so that any tape makes sense, any bytes are one,
// and a part of a tape is one too, which is what shrinking needs. One goroutine
// drives all ends; after each operation it waits until the believed side has
// delivered what is under way. Compared are results, errors, endpoints, what
// epoll, select and poll report, and the bytes of each stream against those that
// were written, wherever they were split.
//
// Where the two may differ is a short list with reasons, [Allowed], and what
// would take them apart for good is not played, [NotPlayed]; docs/differences.md
// has both. The player keeps an account of who is connected to whom and how many
// bytes are under way; it serves to choose operations and to say when a
// difference of the list applies, never as a third opinion.
package tape

import (
	"fmt"
	"strings"
)

// Op is one operation. What, on whom and how are picked by numbers of which all
// values are valid.
type Op struct {
	Kind Kind
	Who  uint8
	What uint8
	How  uint8
}

// Kind is the kind of an operation; those beyond the last begin anew.
type Kind uint8

// The kinds, the simplest first, which is what shrinking goes to.
const (
	Nop Kind = iota
	Create
	Listen
	Connect
	Accept
	Read
	Write
	Shutdown
	Close
	EpollCreate
	EpollCtl
	EpollWait
	Poll
	Select
	Bind
	Sendto
	Attr
	Stale
	Drain
	Fill
	nKinds
)

var kindNames = [nKinds]string{
	"Nop", "Create", "Listen", "Connect", "Accept", "Read", "Write", "Shutdown", "Close", "EpollCreate",
	"EpollCtl", "EpollWait", "Poll", "Select", "Bind", "Sendto", "Attr", "Stale", "Drain", "Fill",
}

func (k Kind) String() string { return kindNames[k%nKinds] }

// Tape is a sequence of operations.
type Tape []Op

// opBytes is what an operation takes in a tape's bytes.
const opBytes = 4

// Decode reads a tape from bytes, of which any are valid; what is left over at
// the end is passed over.
func Decode(b []byte) Tape {
	t := make(Tape, 0, len(b)/opBytes)
	for ; len(b) >= opBytes; b = b[opBytes:] {
		t = append(t, Op{Kind(b[0]) % nKinds, b[1], b[2], b[3]})
	}
	return t
}

// Encode is the bytes that Decode reads.
func (t Tape) Encode() []byte {
	b := make([]byte, 0, len(t)*opBytes)
	for _, op := range t {
		b = append(b, byte(op.Kind), op.Who, op.What, op.How)
	}
	return b
}

// String is the tape as a Go literal, to be put into a test.
func (t Tape) String() string {
	var s strings.Builder
	s.WriteString("tape.Tape{")
	for i, op := range t {
		if i > 0 {
			s.WriteString(", ")
		}
		fmt.Fprintf(&s, "{tape.%v, %d, %d, %d}", op.Kind, op.Who, op.What, op.How)
	}
	s.WriteString("}")
	return s.String()
}
