package fifo_test

import "flag"

var soak = flag.Bool("soak", false, "run the tests that hand over or kill for as long as their claim needs")
