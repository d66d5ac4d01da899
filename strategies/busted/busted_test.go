package busted_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"vlsbench/audit"
	"vlsbench/sched"
	"vlsbench/strategies/busted"
	"vlsbench/vls"
	"vlsbench/vls/vlstest"
	"vlsbench/vls/vlstest/history"
)

var rewrite = flag.Bool("rewrite", false, "write the table of docs/faults.md anew")

// inside is twin and check, in the environment of a process that runs one.
const inside = "VLS_BUSTED"

// TestMain runs one check of one twin, where the environment names it: what is
// broken may end the process, or leave threads behind that spin.
func TestMain(m *testing.M) {
	if os.Getenv(inside) != "" {
		flag.Set("test.run", "^TestOne$")
	}
	os.Exit(m.Run())
}

func TestOne(t *testing.T) {
	name, check, ok := strings.Cut(os.Getenv(inside), "/")
	if !ok {
		t.Skip("for a process that runs one check")
	}
	i := slices.IndexFunc(busted.Twins, func(w busted.Twin) bool { return w.Name == name })
	if i < 0 {
		t.Fatalf("there is no twin %s", name)
	}
	s := busted.Twins[i].Strategy()
	t.Logf("checks %s by %s", name, check)
	switch check := strings.TrimPrefix(check, "audit "); check {
	case "handles", "streams":
		f := history.Handles
		if check == "streams" {
			f = history.Streams
		}
		err := f(s, history.Options{Rounds: 200, Wait: vls.Park, Seed: 1})
		if errors.Is(err, history.ErrUndecided) {
			t.Logf("not found: %v", err)
		} else if err != nil {
			t.Error(err)
		}
	case "churn":
		if err := history.Churn(s, history.Options{Wait: vls.Park, Seed: 1}, 20_000); err != nil {
			t.Error(err)
		}
	case "stall", "edge":
		controlled(t, check, s)
	default:
		vlstest.RunCases(t, s, vls.Park, check)
	}
}

// available reports whether this build has a check.
func available(check string) bool {
	switch {
	case strings.HasPrefix(check, "audit "):
		return audit.Enabled
	case check == "stall" || check == "edge":
		return sched.Enabled
	}
	return !audit.Enabled && !sched.Enabled // where the auditor does not come first
}

// Each fault is found by each of the checks that are said to find it.
func TestFound(t *testing.T) {
	for _, w := range busted.Twins {
		for _, check := range w.Found {
			if !available(check) {
				continue
			}
			t.Run(w.Name+"/"+check, func(t *testing.T) {
				t.Parallel()
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
				defer cancel()
				cmd := exec.CommandContext(ctx, os.Args[0], "-test.v")
				cmd.Env = append(os.Environ(), inside+"="+w.Name+"/"+check)
				out, err := cmd.CombinedOutput()
				switch {
				case !bytes.Contains(out, []byte("checks "+w.Name+" by "+check)):
					t.Fatalf("the check did not run: %v\n%s", err, out)
				case ctx.Err() != nil:
					t.Errorf("the check had no end:\n%s", out)
				case err == nil:
					t.Errorf("not found: %s\n%s", w.Fault, out)
				case strings.HasPrefix(check, "audit ") && !bytes.Contains(out, []byte("audit: ")):
					t.Errorf("the auditor did not find it:\n%s", out)
				}
				t.Logf("%s", out)
			})
		}
	}
}

// No other fault is in the way: what is like the twins, but for the fault, gets
// through what finds them.
func TestSound(t *testing.T) {
	if audit.Enabled || sched.Enabled {
		t.Skip("the checks of another build")
	}
	s := busted.Sound.Strategy()
	for _, f := range []func(vls.Strategy, history.Options) error{history.Handles, history.Streams} {
		if err := f(s, history.Options{Rounds: 20, Seed: 1, Wait: vls.Park}); err != nil {
			t.Error(err)
		}
	}
	if err := history.Churn(s, history.Options{Seed: 1, Wait: vls.Park}, 20_000); err != nil {
		t.Error(err)
	}
	var cases []string
	names, _ := vlstest.Cases()
	for _, w := range busted.Twins {
		for _, c := range w.Found {
			c = strings.TrimPrefix(c, "audit ")
			if slices.Contains(names, c) && !slices.Contains(cases, c) {
				cases = append(cases, c)
			}
		}
	}
	vlstest.RunCases(t, s, vls.Park, cases...)
}

// The documentation lists the twins.
func TestDocumented(t *testing.T) {
	const file, begin, end = "../../docs/faults.md", "<!-- planted faults -->\n", "<!-- end -->"
	doc, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(doc), begin)
	table, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no table of the planted faults", file)
	}
	var b strings.Builder
	b.WriteString("| no. | twin | the fault | what finds it |\n| --- | --- | --- | --- |\n")
	for _, w := range busted.Twins {
		no := "–"
		if w.No != 0 {
			no = fmt.Sprint(w.No)
		}
		var found []string
		for _, c := range w.Found {
			how, name, audited := strings.Cut(c, " ")
			if !audited {
				name = c
			}
			if !slices.Contains([]string{"handles", "streams", "churn", "stall", "edge"}, name) {
				name = "`" + name + "`"
			}
			if audited {
				name = how + " in " + name
			}
			found = append(found, name)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", no, w.Name, w.Fault, strings.Join(found, ", "))
	}
	if *rewrite {
		if err := os.WriteFile(file, []byte(before+begin+b.String()+end+after), 0o666); err != nil {
			t.Fatal(err)
		}
	} else if b.String() != table {
		t.Errorf("%s says:\n%s\nthere are (write it anew with -rewrite if it is meant):\n%s", file, table, b.String())
	}
}
