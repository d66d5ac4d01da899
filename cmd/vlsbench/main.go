// Vlsbench measures how a thread-safe session layer should be locked.
package main

import (
	"os"

	"vlsbench/cli"
	_ "vlsbench/strategies"
)

func main() { os.Exit(cli.Main(os.Args[1:], os.Stdout, os.Stderr)) }
