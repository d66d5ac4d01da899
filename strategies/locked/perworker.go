package locked

func init() { register(perworker) }

// perworker is VLS after the change that made its locking minimal: a table and
// a pool per worker, and locks only while a process has several threads. A row
// is what an operation takes, in the order in which it takes it; see [Set].
var perworker = Design{
	Name: "perworker",
	Doc:  "a table and pool per worker; locks only if the process has several threads",
	Takes: Table{
		// The pool gives a slot, and then the table gets an entry.
		Create:      SP | Pw,
		EpollCreate: SP | Pw,

		// The table is read, and then the session is the caller's alone.
		Bind:      Pr | S,
		Attr:      Pr | S,
		Listen:    Pr | S,
		Connect:   Pr | S,
		Read:      Pr | S,
		Write:     Pr | S,
		Shutdown:  Pr | S,
		EpollCtl:  Pr | S,
		EpollWait: Pr | S,
		Lookup:    Pr | S,
		HandleOf:  Pr,
		Poll:      0,

		// One comes in, by way of the listener.
		Accept: Pr | S | SP | Pw,

		// Nobody else is in the table while one goes. MQ, since threads may wait
		// on it, and sets have it as a member.
		Close: Pw | S | MQ | SP,
	},
	Kinds: Kinds{Table: "bravo", Session: "ttas", Queue: "ttas", Pool: "ttas", Shared: "ttas"},
}
