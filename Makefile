# Needs Go and make; race also needs a C compiler. Times are upper bounds on two
# cores, without the first download of modules. Tests that hang end by -timeout.

# The revision goes into the program where git can tell it, whatever GOFLAGS says.
BUILDVCS := $(if $(shell git rev-parse HEAD 2>/dev/null),auto,false)

.PHONY: build run test race audit sched soak bench lint

# The program, bin/vlsbench. 1 minute.
build:
	CGO_ENABLED=0 go build -buildvcs=$(BUILDVCS) -o bin/vlsbench ./cmd/vlsbench

# Every strategy with streams and round trips, a table and pictures. 3 minutes.
run: build
	./bin/vlsbench run --profile quick

# All tests, without a C compiler. 3 minutes.
test:
	CGO_ENABLED=0 go test -timeout 240s ./...

# The same under the race detector, which sees atomic stores where the program
# has release stores; without the long simulation of the statistics, where
# nothing runs beside anything. Needs a C compiler. 5 minutes.
race:
	CGO_ENABLED=1 go test -race -short -timeout 280s ./...

# As short, with the exclusion contract of the session core checked. 4 minutes.
audit:
	CGO_ENABLED=0 go test -tags audit -short -timeout 280s ./...

# Threads under control, in many schedules that can be had again: the scheduler's
# own tests, and whatever explores schedules elsewhere; a thread that is stopped at
# each point of each operation of every strategy; planted faults. 3 minutes.
sched:
	CGO_ENABLED=0 go test -tags sched -timeout 40s ./sched
	CGO_ENABLED=0 go test -tags sched -timeout 120s -run '^TestSchedules' ./fifo ./locks ./core ./strategies/delegate ./strategies/lockfree ./strategies/migrate
	CGO_ENABLED=0 go test -tags sched -timeout 280s -run '^Test(Stalls|NothingHeld|Edge)$$' ./strategies
	CGO_ENABLED=0 go test -tags sched -timeout 60s -run '^Test(Found|SoundControlled)$$' ./strategies/busted

# What needs long to be claimed: streams of 7 GB between threads and as much
# between processes, by every operation of a fifo, a thousand kills, a million
# scripts of a peer that lies, and the tests for lost wake-ups at full length;
# random tapes of a million operations on each strategy, against Linux with
# AF_UNIX and with TCP (docs/differential.md is what -soak.out wrote of one run);
# what becomes of the originals in the whole suite; sessions that eight threads
# take from each other for a minute, in each of eight ways; and of every strategy
# 16,000 recorded histories, a million sessions that come and go, and 100,000
# schedules of an edge-triggered reader; and a thread that is stopped at every visit
# of each point, where that may stop nobody. Tells how much time is left. 2 hours.
soak:
	CGO_ENABLED=0 go test -timeout 80m -run 'Soak|Killed|Hostile|LosesNoWakeup|AllSidesSleep' -v ./fifo -soak
	CGO_ENABLED=0 go test -timeout 80m -run '^TestDifferential$$' -v ./strategies -soak
	CGO_ENABLED=0 go test -timeout 60m -run '^TestOutcomes' -v ./strategies/original -soak -rounds 3
	CGO_ENABLED=0 go test -timeout 20m -run '^TestMigrationUnderLoad$$' -v ./strategies/migrate -soak
	CGO_ENABLED=0 go test -timeout 80m -run '^Test(Histories|Churn)$$' -v ./strategies -soak
	CGO_ENABLED=0 go test -tags sched -timeout 80m -run '^Test(Edge|Stalls)$$' -v ./strategies -soak
	CGO_ENABLED=0 go test -timeout 20m -run '^TestStaleHandles$$' -v ./strategies/lockfree -soak
	CGO_ENABLED=0 go test -tags sched -timeout 40m -run '^TestSchedules' -v ./strategies/lockfree -soak

# Benchmarks of the strategies and of the fifos, for benchstat. 8 minutes.
bench:
	CGO_ENABLED=0 go test -run '^$$' -bench . -timeout 20m ./strategies/... ./fifo

# Formatting, vet with every combination of tags that is built, staticcheck.
# 2 minutes.
lint:
	@unformatted=$$(gofmt -l .) || exit 1; \
	if [ -n "$$unformatted" ]; then echo "not formatted (gofmt -w):" $$unformatted; exit 1; fi
	CGO_ENABLED=0 go vet ./...
	CGO_ENABLED=0 go vet -tags audit ./...
	CGO_ENABLED=0 go vet -tags sched ./...
	CGO_ENABLED=0 go vet -tags sched,audit ./...
	CGO_ENABLED=0 go vet -tags sched,purego ./sched
	CGO_ENABLED=0 go vet -tags race ./...
	CGO_ENABLED=0 go vet -tags purego ./...
	CGO_ENABLED=0 GOARCH=arm64 go vet ./...
	CGO_ENABLED=0 GOARCH=arm64 go vet -tags audit ./...
	CGO_ENABLED=0 GOARCH=arm64 go vet -tags sched ./...
	CGO_ENABLED=0 go tool staticcheck ./...
	CGO_ENABLED=0 go tool staticcheck -tags sched ./sched ./fifo ./locks ./core ./strategies/... ./vls/vlstest/...
