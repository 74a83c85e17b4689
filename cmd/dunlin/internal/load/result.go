package load

import (
	"fmt"
	"time"
)

// Result is all that a run has seen. It is the contract between who drives the
// load and who shows what came of it: plain data, complete, and the same whether one
// process did the work or fifty. Times are in nanoseconds in JSON.
//
// A run has phases (see Phase). What is measured is the phase Measure alone; the
// checks for loss, repetition and order speak of all messages from the first to the
// last, warm-up and drain included.
type Result struct {
	Config  Config    `json:"config"`
	Layout  Layout    `json:"layout"`
	Started time.Time `json:"started"`
	End     End       `json:"end"`
	// Elapsed is the time of the whole run, Measured that of the phase Measure.
	Elapsed  time.Duration `json:"elapsed_ns"`
	Measured time.Duration `json:"measured_ns"`

	Connections Connections `json:"connections"`
	// Messages are those of the measured phase, Total those of the whole run.
	Messages Counts `json:"messages"`
	Total    Counts `json:"total"`
	Check    Check  `json:"check"`

	// Rounds, with Config.Churn, is how often a client came and went, or subscribed
	// and unsubscribed, in the measured phase.
	Rounds uint64 `json:"rounds,omitempty"`

	Latency Latencies  `json:"latency"`
	Series  []Interval `json:"series"` // in order, one a Config.Interval
	// Load are the processes of the load tester, the parent first, Brokers those of
	// Config.PIDs.
	Load    []Process `json:"load"`
	Brokers []Process `json:"brokers,omitempty"`
	// Failures are what went wrong, most frequent first, at most MaxFailures.
	Failures []Failure `json:"failures,omitempty"`
}

// Phase is what a run is at. Phases follow one another in this order; which of them
// there are is the verb's to say.
type Phase string

const (
	Connecting Phase = "connect" // until all are connected and subscribed, or have failed
	Pinging    Phase = "ping"    // every connection answers a PINGREQ
	Queueing   Phase = "queue"   // offline: messages for sessions that are not connected
	Warmup     Phase = "warm-up" // load, not measured
	Measure    Phase = "measure" // load, or connections held, measured
	Draining   Phase = "drain"   // nothing is sent any more, what is under way arrives
)

// End is why a run ended.
type End string

const (
	EndDuration    End = "duration"    // Config.Duration has passed
	EndLimit       End = "limit"       // Config.Limit messages were sent
	EndDone        End = "done"        // there was no more to do: conn and offline
	EndInterrupted End = "interrupted" // the user has ended it
	EndStalled     End = "stalled"     // messages were under way and nothing came any more
)

// Connections is what became of the connections.
type Connections struct {
	Wanted    int `json:"wanted"`
	Connected int `json:"connected"` // CONNACK came, and SUBACK where there is a filter
	// Held are those that have answered a PINGREQ after the last was connected, and
	// were there at the end of the measured phase. Only they may be called held.
	Held       int           `json:"held"`
	Unanswered int           `json:"unanswered"` // had no answer to that PINGREQ
	Lost       int           `json:"lost"`       // closed while they should not have been
	Elapsed    time.Duration `json:"elapsed_ns"` // of the phase Connecting
}

// Counts are messages; in Interval, also of connections.
type Counts struct {
	Sent      uint64 `json:"sent"`     // PUBLISH packets written, without repetitions
	Acked     uint64 `json:"acked"`    // of QoS 1 and 2: those whose handshake is over
	Received  uint64 `json:"received"` // PUBLISH packets read
	SentBytes uint64 `json:"sent_bytes"`
	RecvBytes uint64 `json:"received_bytes"`
	Errors    uint64 `json:"errors"` // of any kind; Failures says which
}

// Add adds o.
func (c *Counts) Add(o Counts) {
	c.Sent += o.Sent
	c.Acked += o.Acked
	c.Received += o.Received
	c.SentBytes += o.SentBytes
	c.RecvBytes += o.RecvBytes
	c.Errors += o.Errors
}

// Sub is what came to c since it was o.
func (c Counts) Sub(o Counts) Counts {
	return Counts{
		Sent: c.Sent - o.Sent, Acked: c.Acked - o.Acked, Received: c.Received - o.Received,
		SentBytes: c.SentBytes - o.SentBytes, RecvBytes: c.RecvBytes - o.RecvBytes, Errors: c.Errors - o.Errors,
	}
}

// Check is what the numbers in the payloads say of the whole run. With pub and sub,
// where the other side is not this tester's, what cannot be known is zero and
// Complete is false.
type Check struct {
	Complete   bool   `json:"complete"`   // both sides are this run's: Expected and Lost are known
	Expected   uint64 `json:"expected"`   // deliveries
	Delivered  uint64 `json:"delivered"`  // of them, each counted once
	Lost       uint64 `json:"lost"`       // never came
	Duplicates uint64 `json:"duplicates"` // came again
	Reordered  uint64 `json:"reordered"`  // came after a later one of the same publisher
	Unacked    uint64 `json:"unacked"`    // sent with QoS 1 or 2 and never acknowledged
	Foreign    uint64 `json:"foreign"`    // were not of this run
}

// Add adds o.
func (c *Check) Add(o Check) {
	c.Expected += o.Expected
	c.Delivered += o.Delivered
	c.Lost += o.Lost
	c.Duplicates += o.Duplicates
	c.Reordered += o.Reordered
	c.Unacked += o.Unacked
	c.Foreign += o.Foreign
}

// Latencies are distributions; nil where nothing of the kind was measured. Delivery
// and Ack are of the measured phase. At a rate they count from the moment at which
// the message was due, so that a stall is seen by all messages that it delays
// (coordinated omission); flat out, or with Config.FromWrite, from before the write.
// Lag is the difference: where it is large, either the window held messages back, or
// the tester itself was not let run.
type Latencies struct {
	Connect  *Histogram `json:"connect,omitempty"`  // from the first SYN to CONNACK, TLS and WebSocket included
	Ping     *Histogram `json:"ping,omitempty"`     // PINGREQ to PINGRESP
	Delivery *Histogram `json:"delivery,omitempty"` // publisher to subscriber
	Ack      *Histogram `json:"ack,omitempty"`      // PUBLISH to PUBACK or PUBCOMP
	Round    *Histogram `json:"round,omitempty"`    // one of Result.Rounds
	Lag      *Histogram `json:"lag,omitempty"`      // when a message was due to its write
}

// Merge adds the samples of o.
func (l *Latencies) Merge(o Latencies) {
	for _, p := range []struct {
		to   **Histogram
		from *Histogram
	}{{&l.Connect, o.Connect}, {&l.Ping, o.Ping}, {&l.Delivery, o.Delivery}, {&l.Ack, o.Ack}, {&l.Round, o.Round}, {&l.Lag, o.Lag}} {
		if p.from == nil {
			continue
		}
		if *p.to == nil {
			*p.to = NewHistogram()
		}
		(*p.to).Merge(p.from)
	}
}

// Interval is a stretch of the run, of about Config.Interval.
type Interval struct {
	At        time.Duration `json:"at_ns"` // its end, since the run began
	Length    time.Duration `json:"length_ns"`
	Phase     Phase         `json:"phase"` // at its end
	Connected int           `json:"connected"`
	Connects  uint64        `json:"connects"` // CONNACKs within it
	Counts                  // within it
	// Latency is of what came within it: deliveries, else acknowledgements, else
	// rounds, else connects.
	Latency Summary       `json:"latency"`
	LoadCPU time.Duration `json:"load_cpu_ns"` // used within it by Result.Load
	// BrokerCPU is the same of Result.Brokers, and BrokerMemory their resident
	// memory at its end, in bytes.
	BrokerCPU    time.Duration `json:"broker_cpu_ns,omitempty"`
	BrokerMemory int64         `json:"broker_memory_bytes,omitempty"`
}

// Summary is a distribution in few numbers.
type Summary struct {
	Count uint64        `json:"count"`
	P50   time.Duration `json:"p50_ns"`
	P95   time.Duration `json:"p95_ns"`
	P99   time.Duration `json:"p99_ns"`
	Max   time.Duration `json:"max_ns"`
}

// Process is what a process has used.
type Process struct {
	PID  int           `json:"pid"`
	Name string        `json:"name"`   // of its program
	CPU  time.Duration `json:"cpu_ns"` // user and system time of the measured phase
	// Memory is resident at the end of the measured phase, Peak the most there ever
	// was, in bytes.
	Memory int64 `json:"memory_bytes"`
	Peak   int64 `json:"peak_bytes"`
}

// Failure is one kind of thing that went wrong.
type Failure struct {
	What    string `json:"what"`    // the operation: connect, subscribe, publish, ping, ...
	Why     string `json:"why"`     // the reason, without anything that differs between clients
	Count   uint64 `json:"count"`   //
	Example string `json:"example"` // one of them: the client, and its broker
}

// MaxFailures bounds Result.Failures; what more there is is counted under one that
// says so.
const MaxFailures = 32

// Progress is what an Observer is told: where the run stands, and the last interval.
type Progress struct {
	Phase Phase
	// Done of Goal is how far the phase is: connections, pings, messages or, in
	// Warmup and Measure without a limit, nanoseconds.
	Done, Goal  int64
	Connections Connections // so far
	Total       Counts      // so far
	Check       Check       // so far; Lost is what has not come yet, Unacked what has no answer yet
	Interval    Interval    // the last one
	Failures    []Failure   // so far
}

// Observer is told of a run's progress, once an interval and at each change of
// phase, by one goroutine and in order. It may take its time up to an interval; it
// must not keep what Failures points to. nil is allowed.
type Observer func(Progress)

// Allowance is how much may go wrong before a run counts as failed.
type Allowance struct {
	Lost       uint64 `json:"lost"`
	Duplicates uint64 `json:"duplicates"`
	Reordered  uint64 `json:"reordered"`
	Failures   uint64 `json:"failures"` // connections that failed or were lost, and errors
}

// Broken says what of a result exceeds what is allowed, in words; nil: nothing. What
// QoS 0 and 1 permit is held against a run too: a broker on a good network has no
// cause for it, and who expects it says so.
func (r *Result) Broken() (reasons []string) {
	a := r.Config.Allow
	say := func(n, allowed uint64, what string) {
		if n > allowed {
			reasons = append(reasons, fmt.Sprintf("%d %s, %d allowed", n, what, allowed))
		}
	}
	say(r.Check.Lost, a.Lost, "messages lost")
	say(r.Check.Duplicates, a.Duplicates, "messages came twice")
	say(r.Check.Reordered, a.Reordered, "messages out of order")
	say(r.Check.Unacked, a.Lost, "messages not acknowledged")
	say(r.Check.Foreign, a.Failures, "messages of somebody else")
	say(r.Total.Errors, a.Failures, "errors")
	if missing := r.Connections.Wanted - r.Connections.Connected; missing > 0 && r.End != EndInterrupted {
		say(uint64(missing), a.Failures, "connections not made")
	}
	return reasons
}
