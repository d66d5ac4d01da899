// Package strategies is the list of lock strategies that are built in: to
// import it is to register them all. Each stands in a package of its own below.
package strategies

import (
	_ "vlsbench/strategies/delegate"
	_ "vlsbench/strategies/global"
	_ "vlsbench/strategies/kernel"
	_ "vlsbench/strategies/locked"
	_ "vlsbench/strategies/lockfree"
	_ "vlsbench/strategies/migrate"
	_ "vlsbench/strategies/null"
	_ "vlsbench/strategies/original"
)
