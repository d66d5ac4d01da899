package locked

func init() { register(spoolrw) }

// spoolrw is VLS of later years: the pool of sessions has a readers-writer lock,
// which everything that touches a session's data holds as a reader, a writer
// that waits goes first, and closing is in two phases.
var spoolrw = Design{
	Name: "spoolrw",
	Doc:  "as perworker; reads, writes and polls share the pool's lock, and close is in two phases",
	Takes: Table{
		Create:      SP | Pw,
		EpollCreate: SP | Pw,
		Bind:        Pr | S,
		Attr:        Pr | S,
		Listen:      Pr | S | MQ | SPr,
		Connect:     Pr | S | MQ | SPr,
		Accept:      Pr | S | SP | Pw,
		Read:        Pr | S | SPr,
		Write:       Pr | S | SPr,
		Shutdown:    Pr | S | SP,
		Close:       Pr | S | MQ | SP | Pw,
		EpollCtl:    Pr | S,
		EpollWait:   Pr | S | MQ | SPr,
		Poll:        MQ | SPr,
		Lookup:      Pr | S,
		HandleOf:    Pr,
	},
	Kinds:    Kinds{Table: "bravo", Session: "ttas", Queue: "ttas", Pool: "rwpending", Shared: "ttas"},
	TryQueue: true,
}
