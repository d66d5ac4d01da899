package results

import (
	"bufio"
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// WriteJSONL writes the set as a results file.
func WriteJSONL(w io.Writer, s *Set) error {
	records := []Record{{Run: s.Run}}
	for i := range s.Slots {
		records = append(records, Record{Slot: &s.Slots[i]})
	}
	if s.End != nil {
		records = append(records, Record{End: s.End})
	}
	out := bufio.NewWriter(w)
	for _, r := range records {
		line, err := encode(r)
		if err != nil {
			return err
		}
		out.Write(line) // an error stays until Flush
	}
	return out.Flush()
}

// WriteCSV writes one row a slot, of every round, under a row of names. A row
// whose round is spoiled, by itself or by another, says so in "valid".
func WriteCSV(w io.Writer, s *Set) error {
	out := csv.NewWriter(w)
	out.Write([]string{"round", "order", "strategy",
		"workload", "procs", "threads", "sessions", "size", "wait",
		"seconds", "ops", "bytes", "ops_per_s", "bytes_per_s",
		"overlap", "worst_stall", "gcs",
		"p50_ns", "p90_ns", "p99_ns", "p99.9_ns", "max_ns", "valid", "bad"})
	spoiled := s.Spoiled()
	real := func(v float64) string { return strconv.FormatFloat(v, 'g', 8, 64) }
	for _, slot := range s.Slots {
		c := slot.Cell
		row := []string{strconv.Itoa(slot.Round), strconv.Itoa(slot.Order), slot.Strategy,
			c.Workload, strconv.Itoa(c.Procs), strconv.Itoa(c.Threads), strconv.Itoa(c.Sessions), strconv.Itoa(c.Size), c.Wait,
			real(slot.Seconds), strconv.FormatUint(slot.Ops, 10), strconv.FormatUint(slot.Bytes, 10),
			real(slot.Rate()), real(slot.per(slot.Bytes)),
			real(slot.Overlap), real(slot.WorstStall()), strconv.FormatUint(uint64(slot.GCs), 10)}
		if l := slot.Latency; l != nil {
			for _, v := range []int64{l.P50, l.P90, l.P99, l.P999, l.Max} {
				row = append(row, strconv.FormatInt(v, 10))
			}
		} else {
			row = append(row, "", "", "", "", "")
		}
		out.Write(append(row, strconv.FormatBool(!spoiled[c][slot.Round]), slot.Bad))
	}
	out.Flush()
	return out.Error()
}

// WriteBench writes the Go benchmark format that benchstat and other tools of
// golang.org/x/perf read: one line a slot. Rounds that are spoiled are left
// out, for the format has no way to say so, and counted in a line of
// configuration.
func WriteBench(w io.Writer, s *Set) error {
	out := bufio.NewWriter(w)
	m := s.Run.Machine
	// goos is a constant: runs are made on no other system.
	fmt.Fprintf(out, "goos: linux\ngoarch: %s\npkg: vlsbench\ncpu: %s\nrun: %s\n", oneLine(m.Arch), oneLine(m.CPU), oneLine(s.Run.ID))
	spoiled := s.Spoiled()
	n := 0
	for _, rounds := range spoiled {
		n += len(rounds)
	}
	fmt.Fprintf(out, "spoiled-rounds: %d\n", n)
	for _, slot := range s.Slots {
		if slot.Ops == 0 || slot.Seconds <= 0 || spoiled[slot.Cell][slot.Round] {
			continue
		}
		fmt.Fprintf(out, "BenchmarkVLS/strategy=%s/%s %d %s ns/op %s MB/s %s %s", slot.Strategy, slot.Cell, slot.Ops,
			digits(slot.Seconds*1e9/float64(slot.Ops)), digits(slot.per(slot.Bytes)/1e6), digits(slot.Rate()), s.Run.Unit(slot.Cell.Workload))
		if l := slot.Latency; l != nil {
			fmt.Fprintf(out, " %d p50-ns %d p99-ns", l.P50, l.P99)
		}
		out.WriteByte('\n')
	}
	return out.Flush()
}

// digits prints a figure as go test does: enough digits, no exponent.
func digits(v float64) string {
	switch {
	case v >= 1000:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
	return strconv.FormatFloat(v, 'f', 4, 64)
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
