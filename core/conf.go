package core

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"
	"strconv"
	"strings"
	"time"

	"vlsbench/fifo"
	"vlsbench/internal/quote"
)

// Limits of the time-outs of a vcl.conf, and of a configuration.
const minTimeout, maxTimeout = time.Millisecond, time.Hour

// confOption is a name of vcl.conf. Those that set nothing here are accepted,
// since a user's own file has them, and noted with the reason.
type confOption struct {
	name     string
	kind     string // of the value: "", "bytes", "events", "workers", "seconds", "text"
	min, max int
	why      string // it has no effect; "": it has
}

const noVPP = "there is no VPP to attach to"

// confOptions are the names that a vcl.conf may have: first those that say
// something here.
func confOptions() []confOption {
	var all []confOption
	kinds := map[string]string{"event-queue-size": "events", "max-workers": "workers"}
	for _, s := range settings {
		kind := kinds[s.name]
		if kind == "" {
			kind = "bytes"
		}
		all = append(all, confOption{name: s.name, kind: kind, min: s.min, max: s.max})
	}
	all = append(all,
		confOption{name: "session-timeout", kind: "seconds"},
		confOption{name: "app-timeout", kind: "seconds", why: "an application is attached at once"},
		confOption{name: "use-mq-eventfd", why: "queues are slept on by futex"},
		confOption{name: "multi-thread-workers", why: "whether a thread has a worker of its own is the strategy's to say"},
	)
	for _, name := range []string{"app-socket-api", "api-socket-name", "api-prefix", "namespace-id", "namespace-secret", "tls-engine", "uid", "gid"} {
		all = append(all, confOption{name: name, kind: "text", why: noVPP})
	}
	for _, name := range []string{
		"app-scope-local", "app-scope-global", "app-proxy-transport-tcp", "app-proxy-transport-udp",
		"app_original_dst", "huge_page",
	} {
		all = append(all, confOption{name: name, why: noVPP})
	}
	for _, name := range []string{
		"heapsize", "vpp-api-q-length", "listen-queue-size", "add-segment-size", "preallocated-fifo-pairs",
	} {
		all = append(all, confOption{name: name, kind: "text", why: "memory is taken as it is needed, from one segment"})
	}
	return all
}

// ReadConfig reads a vcl.conf: one section, vcl { … }, with a name and, where it
// takes one, a value on each line; # begins a comment. Numbers are decimal or
// 0x…, those of bytes may end in k, m or g, seconds may have a fraction. Of a
// name that comes twice the last one counts. What the file does not say is zero,
// for which New takes defaults.
//
// The notes name what is valid in a vcl.conf and is not, or not quite, done
// here. The error names the line, what is wrong with it, and what would be
// valid.
func ReadConfig(r io.Reader) (c Config, notes []string, err error) {
	options := confOptions()
	in := bufio.NewScanner(r)
	line, open, closed := 0, false, false
	for in.Scan() {
		line++
		text, _, _ := strings.Cut(in.Text(), "#")
		words := strings.Fields(text)
		switch {
		case len(words) == 0:
		case closed:
			return Config{}, nil, fmt.Errorf("line %d: %s after the end of the section: want nothing", line, quote.Of(words[0]))
		case !open:
			rest, ok := section(text)
			switch {
			case !ok:
				return Config{}, nil, fmt.Errorf("line %d: %s: want the section, \"vcl {\"", line, quote.Of(words[0]))
			case rest != "":
				return Config{}, nil, fmt.Errorf("line %d: %s after \"vcl {\": want a line for each name, and one for \"}\"", line, quote.Of(rest))
			}
			open = true
		case words[0] == "}" && len(words) == 1:
			closed = true
		case words[len(words)-1] == "}":
			return Config{}, nil, fmt.Errorf("line %d: \"}\" behind %s: want it on a line of its own", line, quote.Of(words[0]))
		default:
			note, err := c.set(options, words)
			if err != nil {
				return Config{}, nil, fmt.Errorf("line %d: %w", line, err)
			}
			if note != "" {
				notes = append(notes, fmt.Sprintf("line %d: %s", line, note))
			}
		}
	}
	switch err := in.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return Config{}, nil, fmt.Errorf("line %d: longer than %d bytes", line+1, bufio.MaxScanTokenSize)
	case err != nil:
		return Config{}, nil, err
	case !open:
		return Config{}, nil, fmt.Errorf("line %d: the file ends: want the section, \"vcl {\"", line+1)
	case !closed:
		return Config{}, nil, fmt.Errorf("line %d: the file ends within the section: want \"}\"", line+1)
	}
	return c, notes, nil
}

// section is what comes after "vcl {", if a line begins so.
func section(line string) (rest string, ok bool) {
	rest, ok = strings.CutPrefix(strings.TrimSpace(line), "vcl")
	if ok {
		rest, ok = strings.CutPrefix(strings.TrimSpace(rest), "{")
	}
	return strings.TrimSpace(rest), ok
}

// VCL is what a vcl.conf says that ReadConfig reads as c: the settings that are
// not zero, "" if all are. Those that a vcl.conf has no name for are left out.
func (c Config) VCL() string {
	var text strings.Builder
	for _, s := range settings {
		if v := *s.field(&c); v != 0 {
			fmt.Fprintf(&text, "%s %d\n", s.name, v)
		}
	}
	if t := c.SessionTimeout; t != 0 {
		fmt.Fprintf(&text, "session-timeout %v\n", t.Seconds())
	}
	if text.Len() == 0 {
		return ""
	}
	return "vcl {\n" + text.String() + "}\n"
}

// set takes over one line.
func (c *Config) set(options []confOption, words []string) (note string, err error) {
	for _, o := range options {
		if o.name == words[0] {
			return c.setOption(o, words[1:])
		}
	}
	var names []string
	for _, o := range options {
		names = append(names, o.name)
	}
	return "", fmt.Errorf("unknown name %s; there are: %s", quote.Of(words[0]), strings.Join(names, ", "))
}

func (c *Config) setOption(o confOption, values []string) (note string, err error) {
	value := strings.Join(values, " ")
	switch {
	case o.kind == "" && len(values) != 0:
		return "", fmt.Errorf("%s takes no value, not %s", o.name, quote.Of(value))
	case o.kind == "text" && len(values) != 1:
		return "", fmt.Errorf("%s %s: want one value", o.name, value)
	}
	switch o.kind {
	case "", "text":
	case "seconds":
		d, ok := seconds(value)
		if !ok {
			return "", fmt.Errorf("%s %s: want a number of seconds from %v to %v", o.name, value, minTimeout.Seconds(), maxTimeout.Seconds())
		}
		if o.why == "" {
			c.SessionTimeout = d
		}
	default:
		bad := fmt.Errorf("%s %s: want a number of %s from %d to %d", o.name, value, o.kind, o.min, o.max)
		n, ok := number(value, o.kind == "bytes")
		if ok && o.kind == "events" && n > 0 {
			// VCL takes any number; a lane is as long as a power of two.
			if p := uint64(1) << bits.Len64(n-1); n > fifo.MaxEvents {
				note, n = fmt.Sprintf("%s %s: %d is the most there is", o.name, value, fifo.MaxEvents), fifo.MaxEvents
			} else if p != n {
				note, n = fmt.Sprintf("%s %s: %d is the next power of two", o.name, value, p), p
			}
		}
		if !ok || n < uint64(o.min) || n > uint64(o.max) {
			return "", bad
		}
		for _, s := range settings {
			if s.name == o.name {
				*s.field(c) = int(n)
			}
		}
	}
	if o.why != "" {
		note = fmt.Sprintf("%s has no effect: %s", o.name, o.why)
	}
	return note, nil
}

// seconds reads a time, which may have a fraction.
func seconds(s string) (time.Duration, bool) {
	if strings.Trim(s, "0123456789.") != "" {
		return 0, false // no exponents, and none of what is no number
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || f < minTimeout.Seconds() || f > maxTimeout.Seconds() {
		return 0, false
	}
	return time.Duration(math.Round(f * float64(time.Second))), true
}

// number reads a number that is not negative, with a unit if it may have one.
func number(s string, unit bool) (uint64, bool) {
	scale := uint64(1)
	digits := s
	if unit && s != "" && !strings.HasPrefix(s, "0x") {
		if k := strings.IndexByte("kmg", s[len(s)-1]|0x20); k >= 0 {
			scale, digits = 1<<(10*(k+1)), s[:len(s)-1]
		}
	}
	base := 10
	if strings.HasPrefix(digits, "0x") {
		digits, base = digits[2:], 16
	}
	n, err := strconv.ParseUint(digits, base, 64)
	if err != nil || n > 1<<63/scale {
		return 0, false
	}
	return n * scale, true
}
