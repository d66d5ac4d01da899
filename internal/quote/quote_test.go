package quote

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestOf(t *testing.T) {
	for s, want := range map[string]string{
		"":              `""`,
		"perworker":     `"perworker"`,
		"\x1b[31mred\n": `"\x1b[31mred\n"`,
		"\xff":          `"\xff"`,

		strings.Repeat("a", 200):           `"` + strings.Repeat("a", 200) + `"`,
		strings.Repeat("a", 201):           `"` + strings.Repeat("a", 200) + `"… (201 bytes)`,
		strings.Repeat("a", 199) + "é":     `"` + strings.Repeat("a", 199) + `"… (201 bytes)`,
		strings.Repeat("\x80", 100_000):    `"` + strings.Repeat(`\x80`, 196) + `"… (100000 bytes)`,
		strings.Repeat("a", 198) + "€ and": `"` + strings.Repeat("a", 198) + `"… (205 bytes)`,
	} {
		if got := Of(s); got != want || !utf8.ValidString(got) {
			t.Errorf("%.80q: %s, want %s", s, got, want)
		}
	}
}

func TestText(t *testing.T) {
	for s, want := range map[string]string{
		"open it's…: no such file": "open it's…: no such file",
		"a\x1b]0;title\x07\nb":     `a\x1b]0;title\a` + "\nb",
	} {
		if got := Text(s); got != want {
			t.Errorf("%q: %s, want %s", s, got, want)
		}
	}
}
