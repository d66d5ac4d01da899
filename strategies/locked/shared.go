package locked

func init() { register(shared) }

// shared is VLS as it was before: one table of sessions for the application,
// whose lock everybody takes, and the session's too, however few threads there
// are. Operation by operation it takes what [perworker] does.
var shared = Design{
	Name: "shared",
	Doc:  "one table for the application, its lock and the session's always taken",
	Takes: Table{
		Create:      SP | Pw,
		EpollCreate: SP | Pw,

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

		Accept: Pr | S | SP | Pw,
		Close:  Pw | S | MQ | SP,
	},
	Kinds: Kinds{Table: "bravo", Session: "ttas", Queue: "ttas", Pool: "ttas", Shared: "ttas"},

	AppTable: true, // P is the application's
	Always:   true, // P and S with one thread, too
}
