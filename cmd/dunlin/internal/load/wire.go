package load

import "time"

// order is what the conductor tells a process. Orders are taken in order; each is
// answered by one report of the same kind, a phase that ends by itself when it has.
type order struct {
	Kind  orderKind `json:"kind"`
	Begin *briefing `json:"begin,omitempty"`
	Phase Phase     `json:"phase,omitempty"`
}

type orderKind string

const (
	toBegin  orderKind = "begin"  // here is your part
	toPhase  orderKind = "phase"  // this phase begins
	toPart   orderKind = "part"   // offline: disconnect the subscribers
	toTick   orderKind = "tick"   // an interval is over
	toProbe  orderKind = "probe"  // how far are you?
	toFinish orderKind = "finish" // end sessions that were kept, close everything, tell all
)

// briefing is what a process has to know to begin.
type briefing struct {
	Config   Config  `json:"config"`
	Password string  `json:"password"`
	Share    share   `json:"share"`
	Tag      uint16  `json:"tag"`      // of the run's messages
	Rate     float64 `json:"rate"`     // messages a second of this process
	Connects float64 `json:"connects"` // connects begun a second, likewise
	Pending  int     `json:"pending"`  // connects under way at once
	// Alone says that all subscribers are in this process, which therefore knows when
	// a message has arrived.
	Alone bool `json:"alone"`
	Lead  bool `json:"lead"` // it watches the processor time of Config.PIDs
}

// report is what a process tells the conductor.
type report struct {
	Kind  orderKind `json:"kind"`
	Phase Phase     `json:"phase,omitempty"` // that is over
	Err   string    `json:"err,omitempty"`   // the process cannot go on

	Connections Connections   `json:"connections"`
	Connects    uint64        `json:"connects"` // CONNACKs so far
	Counts      Counts        `json:"counts"`   // so far
	Check       Check         `json:"check"`    // so far
	Rounds      uint64        `json:"rounds"`   // so far
	CPU         time.Duration `json:"cpu"`      // so far
	Open        int           `json:"open"`     // connections that are up now
	Spent       bool          `json:"spent"`    // there is nothing left to send
	Failures    []Failure     `json:"failures,omitempty"`

	Sample   *Histogram `json:"sample,omitempty"`   // of the interval; with tick
	Measured *measured  `json:"measured,omitempty"` // with finish
}

// measured is what a process has seen of the measured phase.
type measured struct {
	Elapsed time.Duration   `json:"elapsed"`
	Counts  Counts          `json:"counts"`
	Rounds  uint64          `json:"rounds"`
	Latency Latencies       `json:"latency"`
	Process Process         `json:"process"`
	Brokers []time.Duration `json:"brokers,omitempty"` // processor time, of the lead
}
