package report

import (
	"fmt"
	"strings"
	"time"

	"dunlin/cmd/dunlin/internal/figure"
	"dunlin/cmd/dunlin/internal/load"
	"dunlin/proto/mqtt"
)

// setup says in a few phrases what a run does.
func setup(c load.Config) []string {
	phrases := []string{fmt.Sprintf("MQTT %s over %s", version(c.Version), transport(c.Transport))}
	add := func(format string, args ...any) { phrases = append(phrases, fmt.Sprintf(format, args...)) }
	if c.Verb == load.Conn {
		add("%s clients", figure.Count(c.Subscribers))
	} else {
		if c.Publishers > 0 {
			add("%s", several(c.Publishers, "publisher"))
		}
		if c.Subscribers > 0 {
			add("%s", several(c.Subscribers, "subscriber"))
		}
	}
	if c.Verb != load.Conn || c.Filter != "" {
		add("QoS %d", c.QoS)
	}
	if c.Publishers > 0 {
		add("%s of payload", figure.Bytes(c.Size))
		if c.Rate > 0 {
			add("%s messages a second", figure.Rate(c.Rate))
		} else {
			add("as fast as %s under way per publisher", several(c.Window, "message"))
		}
	}
	if !c.Clean {
		add("sessions are kept")
	}
	if c.Churn {
		add("over and over")
	}
	return phrases
}

func version(v mqtt.Version) string {
	if v == 0 {
		return "3.1.1"
	}
	return v.String()
}

func transport(name string) string {
	switch name {
	case "", "tcp":
		return "TCP"
	case "ws":
		return "WebSocket"
	case "wss":
		return "WebSocket and TLS"
	}
	return strings.ToUpper(name)
}

func several(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return figure.Count(n) + " " + thing + "s"
}

// ending says why a run ended.
func ending(e load.End) string {
	switch e {
	case load.EndDuration:
		return "its time was over"
	case load.EndLimit:
		return "all messages were sent"
	case load.EndDone:
		return "there was no more to do"
	case load.EndInterrupted:
		return "it was interrupted"
	case load.EndStalled:
		return "nothing came any more"
	}
	return string(e)
}

// verdict is the word for it.
func (d *Document) verdict() string {
	if d.Passed {
		return "passed"
	}
	return "failed"
}

// perSecond is n over a time, 0 over none.
func perSecond(n uint64, d time.Duration) float64 {
	if d <= 0 {
		return 0
	}
	return float64(n) / d.Seconds()
}

// distribution is one of a result's, by the name that people know it by.
type distribution struct {
	Name  string
	Means string
	*load.Histogram
}

// distributions are those that have samples, what a run is about first.
func distributions(l load.Latencies) []distribution {
	all := []distribution{
		{"delivery", "publisher to subscriber", l.Delivery},
		{"acknowledgement", "PUBLISH to PUBACK or PUBCOMP", l.Ack},
		{"round", "one round of coming and going", l.Round},
		{"connect", "first SYN to CONNACK", l.Connect},
		{"ping", "PINGREQ to PINGRESP", l.Ping},
	}
	kept := all[:0]
	for _, d := range all {
		if d.Histogram != nil && d.Count() > 0 {
			kept = append(kept, d)
		}
	}
	return kept
}

// operations is what a share of the processor time is counted for: messages
// received, else acknowledged, else sent, else rounds, else connections.
func (d *Document) operations() (n uint64, what string) {
	switch m := d.Messages; {
	case m.Received > 0:
		return m.Received, "message received"
	case m.Acked > 0:
		return m.Acked, "message acknowledged"
	case m.Sent > 0:
		return m.Sent, "message sent"
	case d.Rounds > 0:
		return d.Rounds, "round"
	}
	return 0, ""
}

// perConnection is the resident memory of the brokers over the connections held, in
// bytes; 0 where connections are not what a run is about.
func (d *Document) perConnection() int64 {
	if d.Config.Verb != load.Conn || d.Connections.Held == 0 {
		return 0
	}
	return together(d.Brokers).Memory / int64(d.Connections.Held)
}
