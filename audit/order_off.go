//go:build !audit

package audit

// Order is what one thread holds, as far as its strategy says. The zero value
// is ready. It has no size; a last field of no size adds padding, so it stands
// first.
type Order struct{}

// Take notes that the thread is about to wait for a lock of a class, under the
// name of its strategy. Locks of one class that are taken together have an
// order of their own, which is not looked at.
func (o *Order) Take(strategy, class string) {}

// Took notes that the thread has a lock for which it did not wait.
func (o *Order) Took(class string) {}

// Give notes that the thread has let go of a lock.
func (o *Order) Give(class string) {}

// Cycle is a cycle in the graph of a strategy, class by class with where each
// was taken, or "".
func Cycle(strategy string) string { return "" }

// ForgetOrder empties the graph of a strategy.
func ForgetOrder(strategy string) {}
