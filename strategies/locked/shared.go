package locked

func init() { register(shared) }

// shared is VLS as it was before: one table of sessions for the application,
// whose lock everybody takes, and the session's too, however few threads there
// are.
var shared = Design{
	Name: "shared",
	Doc:  "one table for the application, its lock and the session's always taken",
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
	Kinds:    Kinds{Table: "bravo", Session: "ttas", Queue: "ttas", Pool: "ttas", Shared: "ttas"},
	AppTable: true,
	Always:   true,
}
