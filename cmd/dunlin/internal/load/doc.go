// Package load drives brokers with very many connections and says what they did with
// them: deliveries counted one by one, checked for loss, repetition and order by a
// number in each payload, latencies, and the processor time that the brokers used
// meanwhile. It is the engine of dunlin bench.
//
// The tester must not be what is measured. One thread of a process drives all its
// connections from one epoll loop, with few system calls: up to Config.Batch messages
// a write, acknowledgements of all that one read brought in one write. A connection
// costs some hundred bytes and no goroutine; TLS alone has goroutines, for handshakes,
// and no more than a few.
//
//	config.go      what a run does      result.go     what came of it
//	run.go         the conductor, who goes through the phases of a run with
//	crew.go        its processes: itself, or as many others as it takes, which get
//	wire.go        orders and give reports
//	worker_linux.go, conn_linux.go, packets_linux.go, publisher_linux.go
//	               one process's part
//	stamp.go, ledger.go
//	               how a message is known again, and what is made of it
//
// The conductor waits for nobody but its workers, and a worker for nobody at all:
// what is to happen at a time, or when all have come so far, the conductor tells by an
// order. Loss is known in the end, from how much all have sent and how much has
// arrived for the first time; what came twice or late is seen by the one worker that
// a subscriber belongs to.
package load
