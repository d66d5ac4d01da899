package vlstest_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	_ "vlsbench/strategies/global"
	_ "vlsbench/strategies/null"
	"vlsbench/vls"
	"vlsbench/vls/vlstest"

	"golang.org/x/sys/unix"
)

// TestEveryError holds the API's documentation to the suite, and the suite to
// it: whatever error a method's comment names is returned by that method in some
// case, and no case has one return an error that it does not name.
func TestEveryError(t *testing.T) {
	r := &recorder{seen: make(map[string]string)}
	names, _ := vlstest.Cases()
	run := func(strategy string, names ...string) {
		s, err := vls.Lookup(strategy)
		if err != nil {
			t.Fatal(err)
		}
		open := s.New
		s.New = func(o vls.Options) (vls.App, error) {
			app, err := open(o)
			return appRecorder{app, r}, err
		}
		for _, name := range names {
			r.in(name)
			vlstest.RunCases(t, s, vls.Park, name)
		}
	}
	run("global", names...)
	run("null", "second-thread-refused", "fork-refused")

	wanted, allowed := documented(t)
	for method, errors := range wanted {
		for _, e := range errors {
			if where := r.seen[method+" "+e]; where == "" {
				t.Errorf("no case has %s return %s, which its documentation names", method, e)
			} else {
				t.Logf("%s %s: %s", method, e, where)
			}
		}
	}
	for key, where := range r.seen {
		method, e, _ := strings.Cut(key, " ")
		if !slices.Contains(wanted[method], e) && !slices.Contains(allowed[method], e) {
			t.Errorf("%s returns %s, as in case %s, and its documentation does not name it", method, e, where)
		}
	}
}

// elsewhere are errors that a comment names and that its method does not return.
var elsewhere = map[string]string{
	"Close ENOTCONN": "what other threads' waits on it end with",
	"Select EBADFD":  "what is done next with a handle that is ready ends with",
}

// documented is what the comment of each method of the API says that it returns,
// with EBADFD for each that takes a handle; and what it may return beside that:
// the errors of Register, and those of another method that it refers to.
func documented(t *testing.T) (wanted, allowed map[string][]string) {
	t.Helper()
	errno := map[string]string{"EWOULDBLOCK": "EAGAIN", "EOPNOTSUPP": "ENOTSUP"}
	for no := syscall.Errno(1); no < 200; no++ {
		if name := unix.ErrnoName(no); name != "" {
			errno[name] = name
		}
	}
	file, err := parser.ParseFile(token.NewFileSet(), "../vls.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	word, refers := regexp.MustCompile(`\bE[A-Z]+\b`), regexp.MustCompile(`\berrors\s+of\s+(\w+)`)
	wanted, allowed = make(map[string][]string), make(map[string][]string)
	as := make(map[string]string) // "": no other
	ast.Inspect(file, func(n ast.Node) bool {
		face, ok := n.(*ast.InterfaceType)
		if !ok {
			return true
		}
		for _, m := range face.Methods.List {
			f, ok := m.Type.(*ast.FuncType)
			if !ok {
				continue
			}
			name, text := m.Names[0].Name, m.Doc.Text()
			for _, p := range f.Params.List {
				if id, ok := p.Type.(*ast.Ident); ok && id.Name == "Handle" {
					wanted[name] = append(wanted[name], "EBADFD")
					break
				}
			}
			for _, w := range word.FindAllString(text, -1) {
				if e := errno[w]; e != "" && elsewhere[name+" "+e] == "" && !slices.Contains(wanted[name], e) {
					wanted[name] = append(wanted[name], e)
				}
			}
			as[name] = ""
			if m := refers.FindStringSubmatch(text); m != nil {
				as[name] = m[1]
			}
		}
		return true
	})
	if len(wanted) < 20 {
		t.Fatalf("only %d methods have errors: the documentation is not where this looks for it", len(wanted))
	}
	for name, other := range as {
		allowed[name] = slices.Concat(wanted["Register"], wanted[other])
	}
	return wanted, allowed
}

// recorder notes which method returned which error, and in which case first.
type recorder struct {
	mu   sync.Mutex
	now  string
	seen map[string]string
}

func (r *recorder) in(name string) {
	r.mu.Lock()
	r.now = name
	r.mu.Unlock()
}

func (r *recorder) note(method string, err error) {
	no, ok := err.(syscall.Errno)
	if !ok {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if key := method + " " + unix.ErrnoName(no); r.seen[key] == "" {
		r.seen[key] = r.now
	}
}

type appRecorder struct {
	vls.App
	*recorder
}

func (a appRecorder) NewProcess() (vls.Process, error) {
	p, err := a.App.NewProcess()
	a.note("NewProcess", err)
	return a.process(p), err
}

func (r *recorder) process(p vls.Process) vls.Process {
	if m, ok := p.(vls.Mortal); ok {
		return mortalRecorder{processRecorder{p, r}, m}
	}
	return processRecorder{p, r}
}

type processRecorder struct {
	vls.Process
	*recorder
}

func (p processRecorder) NewThread() vls.Thread {
	return threadRecorder{p.Process.NewThread(), p.recorder}
}

func (p processRecorder) Fork() (vls.Process, error) {
	c, err := p.Process.Fork()
	p.note("Fork", err)
	return p.process(c), err
}

type mortalRecorder struct {
	processRecorder
	mortal vls.Mortal
}

func (p mortalRecorder) Kill() error { return p.mortal.Kill() }

type threadRecorder struct {
	vls.Thread
	*recorder
}

func (t threadRecorder) Register() error {
	err := t.Thread.Register()
	t.note("Register", err)
	return err
}

func (t threadRecorder) Exit() error {
	err := t.Thread.Exit()
	t.note("Exit", err)
	return err
}

func (t threadRecorder) Create(p vls.Proto, nonblocking bool) (vls.Handle, error) {
	v, err := t.Thread.Create(p, nonblocking)
	t.note("Create", err)
	return v, err
}

func (t threadRecorder) Bind(h vls.Handle, ep vls.Endpoint) error {
	err := t.Thread.Bind(h, ep)
	t.note("Bind", err)
	return err
}

func (t threadRecorder) Listen(h vls.Handle, backlog int) error {
	err := t.Thread.Listen(h, backlog)
	t.note("Listen", err)
	return err
}

func (t threadRecorder) Connect(h vls.Handle, ep vls.Endpoint) error {
	err := t.Thread.Connect(h, ep)
	t.note("Connect", err)
	return err
}

func (t threadRecorder) Accept(h vls.Handle, flags int) (vls.Handle, vls.Endpoint, error) {
	v, w, err := t.Thread.Accept(h, flags)
	t.note("Accept", err)
	return v, w, err
}

func (t threadRecorder) Read(h vls.Handle, p []byte) (int, error) {
	v, err := t.Thread.Read(h, p)
	t.note("Read", err)
	return v, err
}

func (t threadRecorder) Recvfrom(h vls.Handle, p []byte, flags int) (int, vls.Endpoint, error) {
	v, w, err := t.Thread.Recvfrom(h, p, flags)
	t.note("Recvfrom", err)
	return v, w, err
}

func (t threadRecorder) Write(h vls.Handle, p []byte) (int, error) {
	v, err := t.Thread.Write(h, p)
	t.note("Write", err)
	return v, err
}

func (t threadRecorder) WriteMsg(h vls.Handle, p []byte) (int, error) {
	v, err := t.Thread.WriteMsg(h, p)
	t.note("WriteMsg", err)
	return v, err
}

func (t threadRecorder) Sendto(h vls.Handle, p []byte, flags int, ep vls.Endpoint) (int, error) {
	v, err := t.Thread.Sendto(h, p, flags, ep)
	t.note("Sendto", err)
	return v, err
}

func (t threadRecorder) Shutdown(h vls.Handle, how int) error {
	err := t.Thread.Shutdown(h, how)
	t.note("Shutdown", err)
	return err
}

func (t threadRecorder) Close(h vls.Handle) error {
	err := t.Thread.Close(h)
	t.note("Close", err)
	return err
}

func (t threadRecorder) Attr(h vls.Handle, a vls.Attr, buf []byte) (int, error) {
	v, err := t.Thread.Attr(h, a, buf)
	t.note("Attr", err)
	return v, err
}

func (t threadRecorder) EpollCreate() (vls.Handle, error) {
	v, err := t.Thread.EpollCreate()
	t.note("EpollCreate", err)
	return v, err
}

func (t threadRecorder) EpollCtl(ep vls.Handle, op int, h vls.Handle, ev *vls.EpollEvent) error {
	err := t.Thread.EpollCtl(ep, op, h, ev)
	t.note("EpollCtl", err)
	return err
}

func (t threadRecorder) EpollWait(ep vls.Handle, evs []vls.EpollEvent, timeout time.Duration) (int, error) {
	v, err := t.Thread.EpollWait(ep, evs, timeout)
	t.note("EpollWait", err)
	return v, err
}

func (t threadRecorder) Select(read, write, except *vls.HandleSet, timeout time.Duration) (int, error) {
	v, err := t.Thread.Select(read, write, except, timeout)
	t.note("Select", err)
	return v, err
}

func (t threadRecorder) Poll(fds []vls.PollFD, timeout time.Duration) (int, error) {
	v, err := t.Thread.Poll(fds, timeout)
	t.note("Poll", err)
	return v, err
}

func (t threadRecorder) SessionHandle(h vls.Handle) (vls.SessionHandle, error) {
	v, err := t.Thread.SessionHandle(h)
	t.note("SessionHandle", err)
	return v, err
}

func (t threadRecorder) SessionIndex(h vls.Handle) (uint32, uint32, error) {
	v, w, err := t.Thread.SessionIndex(h)
	t.note("SessionIndex", err)
	return v, w, err
}

func (t threadRecorder) HandleOf(index uint32) (vls.Handle, error) {
	v, err := t.Thread.HandleOf(index)
	t.note("HandleOf", err)
	return v, err
}
