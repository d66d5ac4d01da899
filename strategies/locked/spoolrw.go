package locked

func init() { register(spoolrw) }

// spoolrw is VLS of later years: the pool of sessions has a readers-writer lock,
// which everything that touches a session's data holds as a reader, a writer
// that waits goes first, and closing is in two phases.
var spoolrw = Design{
	Name: "spoolrw",
	Doc:  "as perworker; reads, writes and polls share the pool's lock, and close is in two phases",
	Takes: Table{
		// What changes the pool has it alone.
		Create:      SP | Pw,
		EpollCreate: SP | Pw,
		Accept:      Pr | S | SP | Pw,
		Shutdown:    Pr | S | SP,

		// What goes through it to data shares it. MQ comes before, where it may be
		// wanted inside.
		Read:      Pr | S | SPr,
		Write:     Pr | S | SPr,
		Listen:    Pr | S | MQ | SPr,
		Connect:   Pr | S | MQ | SPr,
		EpollWait: Pr | S | MQ | SPr,
		Poll:      MQ | SPr,

		// What looks at one session alone does without.
		Bind:     Pr | S,
		Attr:     Pr | S,
		EpollCtl: Pr | S,
		Lookup:   Pr | S,
		HandleOf: Pr,

		// In two phases: marked and closed beside others, and freed under P.w.
		Close: Pr | S | MQ | SP | Pw,
	},
	Kinds: Kinds{Table: "bravo", Session: "ttas", Queue: "ttas", Pool: "rwpending", Shared: "ttas"},

	TryQueue: true, // who is about to sleep tries for MQ, and looks again
}
