package summary

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"vlsbench/compare"
)

// width is that of the text between tables.
const width = 98

// WriteTable writes a summary for a terminal, about 100 columns wide: one table
// a cell, what must be known of it below, and what the words mean at the end.
func WriteTable(w io.Writer, s Summary) error {
	out := bufio.NewWriter(w) // keeps the first error until Flush
	r := s.Run
	fmt.Fprintf(out, "run %s, profile %s, seed %d, slots of %v, %s\n", r.ID, r.Plan.Profile, r.Plan.Seed, r.Plan.Slot, r.Started.Format("2006-01-02 15:04 MST"))
	fmt.Fprintf(out, "%s, %s, %s, vlsbench %s\n", Machine(r), r.Machine.Kernel, r.Build.Go, r.Build.Version)
	for _, n := range s.Notes {
		bullet(out, "! ", n)
	}
	ratios := false
	for _, c := range s.Cells {
		out.WriteByte('\n')
		writeCell(out, c, s.Baseline)
		for _, row := range c.Rows {
			ratios = ratios || row.Ratio != nil
		}
	}
	out.WriteByte('\n')
	if ratios {
		bullet(out, "", fmt.Sprintf("Rates are medians over the rounds, ± half the distance between the quartiles. Ratios are medians of the paired rounds, with intervals that hold for all of a workload at once at %.0f %%: faster or slower is wholly beyond ±%.0f %%, equivalent wholly within, ~ not shown.",
			100*compare.Confidence, 100*compare.Margin))
	}
	bullet(out, "", Scope(r))
	return out.Flush()
}

func writeCell(out *bufio.Writer, c Cell, baseline string) {
	rounds := count(c.Used, "round", "rounds")
	if c.Used != c.Rounds {
		rounds = fmt.Sprintf("%d of %d rounds", c.Used, c.Rounds)
	}
	if c.Invalid > 0 {
		rounds += fmt.Sprintf(", %d invalid", c.Invalid)
	}
	if c.Incomplete > 0 {
		rounds += fmt.Sprintf(", %d incomplete", c.Incomplete)
	}
	fmt.Fprintf(out, "%s: %s\n", Describe(c.Cell), rounds)

	latency, ratio := false, false
	for _, row := range c.Rows {
		latency = latency || row.Latency != nil
		ratio = ratio || row.Ratio != nil
	}
	head := []string{"strategy", c.Unit, "±", "MB/s"}
	if latency {
		head = append(head, "p50", "p99", "p99.9")
	}
	if ratio {
		head = append(head, "ratio to "+baseline, "")
	}
	table := [][]string{head}
	for _, row := range c.Rows {
		line := []string{row.Strategy}
		if c.Used == 0 {
			line = append(line, "-", "-", "-")
		} else {
			spread := "-"
			if row.Rate.Median > 0 {
				spread = fmt.Sprintf("%.0f%%", 50*(row.Rate.Hi-row.Rate.Lo)/row.Rate.Median)
			}
			line = append(line, Rate(row.Rate.Median), spread, three(row.Bytes/1e6))
		}
		if latency {
			for _, q := range []float64{50, 99, 99.9} {
				if row.Latency == nil {
					line = append(line, "-")
				} else {
					line = append(line, Nanos(float64(row.Latency.ValueAtQuantile(q))))
				}
			}
		}
		if ratio {
			switch e := row.Ratio; {
			case row.Baseline:
				line = append(line, "1", "baseline")
			case e == nil:
				line = append(line, "-", "")
			default:
				line = append(line, fmt.Sprintf("%s [%s, %s]", Ratio(e.Ratio), Ratio(e.Lo), Ratio(e.Hi)), e.Word())
			}
		}
		table = append(table, line)
	}
	writeColumns(out, table)
	if len(c.Absent) > 0 {
		bullet(out, "  ", "not run here: "+strings.Join(c.Absent, ", "))
	}
	for _, n := range c.Notes {
		bullet(out, "  ! ", n)
	}
}

// writeColumns aligns numbers to the right, and the words of the first and,
// where it is one of words, the last column to the left.
func writeColumns(out *bufio.Writer, table [][]string) {
	wide := make([]int, len(table[0]))
	for _, line := range table {
		for i, s := range line {
			wide[i] = max(wide[i], utf8.RuneCountInString(s))
		}
	}
	words := table[0][len(wide)-1] == ""
	for _, line := range table {
		var b strings.Builder
		for i, s := range line {
			b.WriteString("  ")
			pad := strings.Repeat(" ", wide[i]-utf8.RuneCountInString(s))
			if i == 0 || (words && i == len(line)-1) {
				b.WriteString(s + pad)
			} else {
				b.WriteString(pad + s)
			}
		}
		out.WriteString(strings.TrimRight(b.String(), " "))
		out.WriteByte('\n')
	}
}

// bullet writes a text in lines of the width, the first after a mark.
func bullet(out *bufio.Writer, mark, text string) {
	indent := strings.Repeat(" ", utf8.RuneCountInString(mark))
	line := mark
	for i, word := range strings.Fields(text) {
		if utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width && i > 0 {
			fmt.Fprintln(out, strings.TrimRight(line, " "))
			line = indent
		}
		if line != mark && line != indent {
			line += " "
		}
		line += word
	}
	fmt.Fprintln(out, line)
}
