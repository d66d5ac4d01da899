// Package plots draws a run, as pictures that can stand alone in a report: what
// was measured, where, how surely, and what it does not show is on each. A
// strategy has the same colour and marker in every picture of every run.
//
// It draws on the canvases of gonum/plot and not with its plots: these are
// tables with a graph in the middle, and want their rows under control.
package plots

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"vlsbench/internal/summary"
)

// RunsDir is where pictures are kept unless a place is named, one directory a
// run.
const RunsDir = "plots/runs"

// Width is that of every picture in CSS pixels. PNG files have Scale times as
// many, for dense screens.
const (
	Width = 900
	Scale = 2
)

// Write draws a summary into a directory, which it creates: "throughput",
// "ratio" (to the baseline) and, where latencies were recorded, "latency", each
// as PNG and SVG, and with -2, -3… for what does not fit on one picture. It
// returns the paths. Files that exist are not overwritten: the error names the
// first, and nothing is written.
func Write(dir string, s summary.Summary) ([]string, error) {
	var pictures []picture
	pictures = append(pictures, throughput(s)...)
	pictures = append(pictures, ratios(s)...)
	pictures = append(pictures, latencies(s)...)
	if len(pictures) == 0 {
		return nil, errors.New("plots: nothing to draw: no cell has a complete round")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("plots: no directory %s: %w", dir, err)
	}
	for _, p := range pictures {
		for _, f := range formats {
			path := filepath.Join(dir, p.name+"."+f.name)
			if _, err := os.Lstat(path); err == nil {
				return nil, fmt.Errorf("plots: %s is there already and is not overwritten: name another place, or move it away", path)
			} else if !errors.Is(err, fs.ErrNotExist) {
				return nil, fmt.Errorf("plots: %w", err)
			}
		}
	}
	var paths []string
	for _, p := range pictures {
		for _, f := range formats {
			var b bytes.Buffer
			if err := f.draw(p, &b); err != nil {
				return paths, fmt.Errorf("plots: %s as %s: %w", p.name, f.name, err)
			}
			path := filepath.Join(dir, p.name+"."+f.name)
			if err := create(path, b.Bytes()); err != nil {
				return paths, fmt.Errorf("plots: %w", err)
			}
			paths = append(paths, path)
		}
	}
	return paths, nil
}

// create writes a new file.
func create(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

// numbered names the pages of one subject: name, name-2, name-3…
func numbered(name string, page int) string {
	if page == 0 {
		return name
	}
	return fmt.Sprintf("%s-%d", name, page+1)
}
