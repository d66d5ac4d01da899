package core

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"vlsbench/fifo"
)

func TestReadConfig(t *testing.T) {
	c, notes, err := ReadConfig(strings.NewReader(`
# as a user has it
vcl {
  rx-fifo-size 4000000   # bytes
  tx-fifo-size 0x10000
  event-queue-size 4096
  segment-size 512m
  max-workers 8
  max-workers 9

  app-timeout 30
  session-timeout 20.5
  use-mq-eventfd
  multi-thread-workers
  app-socket-api /run/vpp/app_ns_sockets/default
  heapsize 128M
}
`))
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		RxFifoSize: 4_000_000, TxFifoSize: 65536, EventQueueSize: 4096, SegmentSize: 512 << 20,
		MaxWorkers: 9, SessionTimeout: 20500 * time.Millisecond,
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("%+v\nwant %+v", c, want)
	}
	for i, name := range []string{"line 11: app-timeout", "line 13: use-mq-eventfd", "line 14: multi-thread-workers", "line 15: app-socket-api", "line 16: heapsize"} {
		if i >= len(notes) || !strings.HasPrefix(notes[i], name) {
			t.Errorf("note %d of %q does not begin with %q", i, notes, name)
		}
	}
	if len(notes) != 5 {
		t.Errorf("%d notes, want 5", len(notes))
	}
	if _, err := c.withDefaults(); err != nil {
		t.Errorf("what was read is not valid: %v", err)
	}
	const text = "vcl {\nrx-fifo-size 4000000\ntx-fifo-size 65536\nevent-queue-size 4096\nsegment-size 536870912\nmax-workers 9\nsession-timeout 20.5\n}\n"
	if s := c.VCL(); s != text {
		t.Errorf("it is written as\n%s\nwant\n%s", s, text)
	}
	if s := (Config{Wait: Park, SessionThread: true}).VCL(); s != "" {
		t.Errorf("what has no name there is written as %q", s)
	}
}

// VCL takes queues of any length.
func TestReadConfigQueue(t *testing.T) {
	for in, want := range map[int]int{16: 16, 17: 32, 1000: 1024, fifo.MaxEvents: fifo.MaxEvents, 1_000_000: fifo.MaxEvents} {
		c, notes, err := ReadConfig(strings.NewReader(fmt.Sprintf("vcl {\nevent-queue-size %d\n}", in)))
		if err != nil || c.EventQueueSize != want || (len(notes) != 0) != (in != want) {
			t.Errorf("event-queue-size %d gives %d, %q, %v; want %d", in, c.EventQueueSize, notes, err, want)
		}
	}
}

func TestReadConfigErrors(t *testing.T) {
	for in, want := range map[string][]string{
		"":                                             {"line 1", "vcl {"},
		"# nothing\n":                                  {"line 2", "vcl {"},
		"rx-fifo-size 4096":                            {"line 1", "rx-fifo-size", "vcl {"},
		"vcl { rx-fifo-size 4096 }":                    {"line 1", `"rx-fifo-size 4096 }" after "vcl {"`, "a line for each"},
		"vcl {}":                                       {"line 1", `"}" after "vcl {"`},
		"#\n vcl{max-workers 3\n}":                     {"line 2", `"max-workers 3" after "vcl {"`},
		"vcl rx-fifo-size 4096":                        {"line 1", `"vcl": want the section, "vcl {"`},
		"vcl {\nmax-workers 3 }":                       {"line 2", `"}" behind "max-workers"`, "of its own"},
		"vcl {\nmax-workers 3}":                        {"line 2", "max-workers 3}", "workers from 1 to 255"},
		"vcl {\n\nmax-workers 3":                       {"line 4", "}"},
		"vcl {\n}\nmax-workers 3":                      {"line 3", "max-workers"},
		"vcl {\nfifo-size 4\n}":                        {"line 2", "fifo-size", "rx-fifo-size", "max-workers", "session-timeout"},
		"vcl {\n\nrx-fifo-size 17\n}":                  {"line 3", "rx-fifo-size 17", "bytes", "4096", fmt.Sprint(fifo.MaxSize)},
		"vcl {\nrx-fifo-size\n}":                       {"line 2", "rx-fifo-size", "4096"},
		"vcl {\ntx-fifo-size -1\n}":                    {"line 2", "tx-fifo-size -1", "4096"},
		"vcl {\ntx-fifo-size big\n}":                   {"line 2", "tx-fifo-size big"},
		"vcl {\ntx-fifo-size 1m x\n}":                  {"line 2", "tx-fifo-size 1m x"},
		"vcl {\nevent-queue-size 0\n}":                 {"line 2", "event-queue-size 0", "events from 16"},
		"vcl {\nmax-workers 256\n}":                    {"line 2", "max-workers 256", "workers from 1 to 255"},
		"vcl {\nmax-workers 2k\n}":                     {"line 2", "max-workers 2k", "1 to 255"},
		"vcl {\nsegment-size 99999999999999999999\n}":  {"line 2", "segment-size", "1048576"},
		"vcl {\nsegment-size 18446744073709551615g\n}": {"line 2", "segment-size", "1048576"},
		"vcl {\nsession-timeout 0\n}":                  {"line 2", "session-timeout 0", "seconds from 0.001 to 3600"},
		"vcl {\napp-timeout 1.5.2\n}":                  {"line 2", "app-timeout 1.5.2", "seconds"},
		"vcl {\napp-timeout inf\n}":                    {"line 2", "app-timeout inf", "seconds"},
		"vcl {\nsession-timeout\n}":                    {"line 2", "session-timeout", "seconds"},
		"vcl {\nuse-mq-eventfd yes\n}":                 {"line 2", "use-mq-eventfd", "no value", "yes"},
		"vcl {\napi-prefix\n}":                         {"line 2", "api-prefix", "one value"},
		"vcl {\n" + strings.Repeat("x", 1<<17):         {"line 2", "longer"},
	} {
		c, _, err := ReadConfig(strings.NewReader(in))
		if err == nil {
			t.Errorf("%.40q is accepted", in)
			continue
		}
		if !reflect.DeepEqual(c, Config{}) {
			t.Errorf("%.40q: a configuration comes with the error", in)
		}
		for _, w := range want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%.40q: the error %q lacks %q", in, err, w)
			}
		}
	}
}

// Whatever is in the file: no panic, and what is accepted is valid and is the same
// when it was written and read again.
func FuzzReadConfig(f *testing.F) {
	for _, s := range []string{
		"vcl {\nrx-fifo-size 4000000\nevent-queue-size 100000\nsegment-size 0x10000000\n}\n",
		"vcl{\n# c\nuse-mq-eventfd\nsession-timeout 7\nheapsize 64M\n}",
		"vcl {\nrx-fifo-size k\n}", "vcl {\nevent-queue-size 18446744073709551615\n}", "}\n{", "",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, _, err := ReadConfig(strings.NewReader(s))
		if err != nil {
			if !strings.HasPrefix(err.Error(), "line ") {
				t.Errorf("the error %q names no line", err)
			}
			return
		}
		if _, err := c.withDefaults(); err != nil {
			t.Errorf("accepted, but not valid: %v", err)
		}
		if text := c.VCL(); text != "" {
			again, notes, err := ReadConfig(strings.NewReader(text))
			if err != nil || len(notes) != 0 || !reflect.DeepEqual(again, c) {
				t.Errorf("%+v is written as\n%s\nwhich is read as %+v (%q, %v)", c, text, again, notes, err)
			}
		}
	})
}
