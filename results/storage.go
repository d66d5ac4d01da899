package results

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"vlsbench/internal/quote"
)

const (
	// FileName is what the results file is called in a run's directory.
	FileName = "results.jsonl"
	// RunsDir is where runs are kept unless a place is named.
	RunsDir = "results/runs"
)

// Writer appends the records of one run to one file. It is for one goroutine.
type Writer struct {
	f    *os.File
	size int64 // of the whole lines
	err  error // of the first write that failed: nothing is written after it
}

// Create makes a new results file, and the directories above it. A file that
// exists is never written to.
func Create(path string) (*Writer, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("results: no directory for %s: %w", quote.Of(path), bare(err))
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	switch {
	case errors.Is(err, fs.ErrExist):
		return nil, fmt.Errorf("results: %s is there already and is not overwritten: name another place, or move it away", path)
	case err != nil:
		return nil, fmt.Errorf("results: %w", err)
	}
	return &Writer{f: f}, nil
}

// Append writes one record as one line, with one write, so that a run that is
// killed leaves whole lines. It sets Schema and Kind. After an error the file
// holds what was appended before, and takes no more.
func (w *Writer) Append(r Record) error {
	if w.err != nil {
		return w.err
	}
	line, err := encode(r)
	if err != nil {
		return err
	}
	if _, err := w.f.Write(line); err != nil {
		w.err = fmt.Errorf("results: %w", err)
		// Half a line in the middle would make the file unreadable if anything
		// were to follow; where it cannot be cut off, reading copes with the end.
		if w.f.Truncate(w.size) == nil {
			w.f.Seek(w.size, io.SeekStart)
		}
		return w.err
	}
	w.size += int64(len(line))
	return nil
}

// Close makes sure that the file is on the disk. It gives the first error that
// there was.
func (w *Writer) Close() error {
	err := errors.Join(w.f.Sync(), w.f.Close())
	if w.err != nil {
		return w.err
	}
	if err != nil {
		return fmt.Errorf("results: %w", err)
	}
	return nil
}

// encode is a record as a line.
func encode(r Record) ([]byte, error) {
	r.Schema = Schema
	set := 0
	if r.Run != nil {
		r.Kind = "run"
		set++
	}
	if r.Slot != nil {
		r.Kind = "slot"
		set++
	}
	if r.End != nil {
		r.Kind = "end"
		set++
	}
	if set != 1 {
		return nil, fmt.Errorf("results: a record is one of run, slot and end, this is %d of them", set)
	}
	var line bytes.Buffer
	enc := json.NewEncoder(&line)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(r); err != nil {
		return nil, fmt.Errorf("results: a %s cannot be written: %w", r.Kind, err)
	}
	return line.Bytes(), nil
}

// Set is what a results file holds.
type Set struct {
	Run      *Run // never nil in a Set that was read
	Slots    []Slot
	End      *End      // nil if the run was cut off, or goes on
	Problems []Problem // what is amiss with a file that can still be used
}

// Problem is something amiss at a line of a file.
type Problem struct {
	Line int // from 1
	What string
}

func (p Problem) String() string { return fmt.Sprintf("line %d: %s", p.Line, p.What) }

// Read reads a results file. A file that was cut off in the middle of a line
// gives all that is before it, and a [Problem]; anything else that is not as it
// should be is an error that names the file and the line.
func Read(path string) (*Set, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("results: %w", err)
	}
	defer f.Close()
	return read(f, path+":")
}

// ReadFrom is [Read] of what is no file; its errors name the line.
func ReadFrom(r io.Reader) (*Set, error) { return read(r, "line ") }

func read(r io.Reader, at string) (*Set, error) {
	s := new(Set)
	in := bufio.NewReaderSize(r, 64<<10)
	n := 0
	for {
		line, rerr := in.ReadBytes('\n')
		if rerr != nil && rerr != io.EOF {
			return nil, fmt.Errorf("results: %s%d: %w", at, n+1, rerr)
		}
		if len(line) > 0 {
			n++
		}
		if err := s.add(line); err != nil {
			// Only what has no newline can be cut off: a line is one write, and
			// the newline is its last byte.
			var broken *json.SyntaxError
			if rerr != io.EOF || !errors.As(err, &broken) {
				return nil, fmt.Errorf("results: %s%d: %w", at, n, err)
			}
			if s.Run == nil {
				return nil, fmt.Errorf("results: %s%d: cut off in the run record, before anything was measured", at, n)
			}
			s.End = nil
			s.Problems = append(s.Problems, Problem{n, "cut off in the middle; this line is lost, what is before it is kept"})
		}
		if rerr == io.EOF {
			break
		}
	}
	if s.Run == nil {
		return nil, fmt.Errorf("results: %s%d: no run record: this is not a results file, or it is empty", at, max(n, 1))
	}
	if s.End == nil && len(s.Problems) == 0 {
		s.Problems = append(s.Problems, Problem{n, "no end record follows: the run was cut off, or goes on"})
	}
	return s, nil
}

// add takes in one line.
func (s *Set) add(line []byte) error {
	line = bytes.TrimSpace(line)
	if len(line) == 0 {
		return nil
	}
	// The schema is looked at alone first: the rest of a newer one may not even
	// have the types that are known here.
	var head struct {
		Schema int    `json:"schema"`
		Kind   string `json:"kind"`
	}
	if err := json.Unmarshal(line, &head); err != nil {
		return fmt.Errorf("not a record: %w", err)
	}
	switch {
	case head.Schema > Schema:
		return fmt.Errorf("written with schema %d, and this version reads up to %d: read it with a newer vlsbench", head.Schema, Schema)
	case head.Schema < 1:
		return fmt.Errorf("not a record: no valid schema number (%d)", head.Schema)
	}
	var r Record
	if err := json.Unmarshal(line, &r); err != nil {
		return fmt.Errorf("not a record: %w", err)
	}
	if r.Kind != "run" && r.Kind != "slot" && r.Kind != "end" {
		return fmt.Errorf("a record of unknown kind %q; there are: run, slot, end", r.Kind)
	}
	if (r.Kind == "run") != (r.Run != nil) || (r.Kind == "slot") != (r.Slot != nil) || (r.Kind == "end") != (r.End != nil) {
		return fmt.Errorf("a record of kind %q that does not hold just that", r.Kind)
	}
	switch {
	case r.Run != nil && s.Run != nil:
		return errors.New("a second run record: two files in one?")
	case r.Run == nil && s.Run == nil:
		return fmt.Errorf("a record of kind %q before the run record, which is the first in a results file", r.Kind)
	case r.Run != nil:
		s.Run = r.Run
	case r.Slot != nil:
		s.Slots = append(s.Slots, *r.Slot)
		s.End = nil // a run that went on has not ended there
	default:
		s.End = r.End
	}
	return nil
}

// Spoiled gives the rounds of each cell that are invalid for all strategies,
// since a slot of theirs is bad.
func (s *Set) Spoiled() map[Cell]map[int]bool {
	spoiled := make(map[Cell]map[int]bool)
	for _, slot := range s.Slots {
		if slot.Bad == "" {
			continue
		}
		if spoiled[slot.Cell] == nil {
			spoiled[slot.Cell] = make(map[int]bool)
		}
		spoiled[slot.Cell][slot.Round] = true
	}
	return spoiled
}

// bare is an error of the file system without the path, which may be too long to
// be one.
func bare(err error) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		return at.Err
	}
	return err
}

// Find gives the results file that RUN on a command line means: a results file,
// a run's directory, the ID of a run under [RunsDir], or "latest" for the one
// there that was written to last.
func Find(arg string) (string, error) { return find(arg, RunsDir) }

func find(arg, runs string) (string, error) {
	if arg == "" {
		return "", fmt.Errorf("results: no run named: a results file, a run's directory, the ID of a run under %s, or latest", runs)
	}
	tried := []string{arg}
	if arg == filepath.Base(arg) {
		tried = append(tried, filepath.Join(runs, arg))
	}
	for _, path := range tried {
		info, err := os.Stat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return "", fmt.Errorf("results: %s: %w", quote.Of(path), bare(err))
		case !info.IsDir():
			return path, nil
		}
		file := filepath.Join(path, FileName)
		if _, err := os.Stat(file); err != nil {
			return "", fmt.Errorf("results: %s is a directory without %s, so not that of a run", path, FileName)
		}
		return file, nil
	}

	known := runsIn(runs)
	if arg == "latest" {
		if len(known) == 0 {
			return "", fmt.Errorf("results: no latest run: there is none under %s", runs)
		}
		return filepath.Join(runs, known[0], FileName), nil
	}
	there := "none"
	if len(known) > 0 {
		const few = 5
		there = strings.Join(known[:min(few, len(known))], ", ")
		if len(known) > few {
			there += fmt.Sprintf(" and %d older ones", len(known)-few)
		}
	}
	return "", fmt.Errorf("results: no run %s: a results file, a run's directory, latest, or the ID of a run under %s (there: %s)", quote.Of(arg), runs, there)
}

// runsIn lists the runs under a directory, the one written to last first.
func runsIn(dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	written := make(map[string]time.Time)
	var ids []string
	for _, e := range entries {
		if info, err := os.Stat(filepath.Join(dir, e.Name(), FileName)); err == nil {
			ids = append(ids, e.Name())
			written[e.Name()] = info.ModTime()
		}
	}
	sort.Slice(ids, func(i, j int) bool {
		if a, b := written[ids[i]], written[ids[j]]; !a.Equal(b) {
			return a.After(b)
		}
		return ids[i] > ids[j]
	})
	return ids
}
