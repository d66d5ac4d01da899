package locked

func init() { register(perworker) }

// perworker is VLS after the change that made its locking minimal: a table and
// a pool per worker, and locks only while a process has several threads.
var perworker = Design{
	Name: "perworker",
	Doc:  "a table and pool per worker; locks only if the process has several threads",
	Takes: Table{
		Create:      SP | Pw,
		EpollCreate: SP | Pw,
		Bind:        Pr | S,
		Attr:        Pr | S,
		Listen:      Pr | S,
		Connect:     Pr | S,
		Accept:      Pr | S | SP | Pw,
		Read:        Pr | S,
		Write:       Pr | S,
		Shutdown:    Pr | S,
		Close:       Pw | S | MQ | SP,
		EpollCtl:    Pr | S,
		EpollWait:   Pr | S,
		Poll:        0,
		Lookup:      Pr | S,
		HandleOf:    Pr,
	},
	Kinds: Kinds{Table: "bravo", Session: "ttas", Queue: "ttas", Pool: "ttas", Shared: "ttas"},
}
