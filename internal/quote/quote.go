// Package quote shows in a message what a user typed. It may be anything: long, or
// made for a terminal to obey.
package quote

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// most is how many bytes of what was typed are shown: a path that a person wrote is
// rarely longer.
const most = 200

// Of is s in quotes, with nothing in it that a terminal obeys, and cut if it is
// long: the end says then how long it is.
func Of(s string) string {
	if len(s) <= most {
		return strconv.Quote(s)
	}
	end := most
	for end > most-utf8.UTFMax && !utf8.RuneStart(s[end]) {
		end--
	}
	return fmt.Sprintf("%q… (%d bytes)", s[:end], len(s))
}

// Text is a message with nothing in it that a terminal obeys but line breaks and
// tabs, whoever wrote it.
func Text(s string) string {
	var b strings.Builder
	for _, r := range s {
		if strconv.IsPrint(r) || r == '\n' || r == '\t' {
			b.WriteRune(r)
		} else {
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		}
	}
	return b.String()
}
