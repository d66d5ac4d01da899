package turnstile

import (
	"os"
	"strings"
	"testing"
)

// The README's example of a strategy is this package, and passes the suite.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"turnstile.go", "turnstile_test.go"} {
		code, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(readme), "```go\n"+string(code)+"```") {
			t.Errorf("%s does not stand in the README as it is here", file)
		}
	}
}
