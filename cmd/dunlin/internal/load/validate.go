package load

import (
	"fmt"
	"net"
	"slices"
	"time"

	"dunlin/proto/mqtt"
)

// UsageError is a Config that cannot be run, in words for who has typed it.
type UsageError struct{ Text string }

func (e *UsageError) Error() string { return e.Text }

func wrong(format string, args ...any) error { return &UsageError{fmt.Sprintf(format, args...)} }

// maxWindow is how many messages a publisher may have under way: fewer than half of
// the packet identifiers that are used, so that an acknowledgement is of one only.
const maxWindow = 1 << 14

// identifiers are how many packet identifiers a publisher uses, from 1 on.
const identifiers = 1 << 15

// Check completes c by what follows from other fields, and says what in it cannot be
// run.
func (c *Config) Check() error {
	c.complete()
	switch {
	case !slices.Contains(Verbs, c.Verb):
		return wrong("%q is not a kind of load, only %q", c.Verb, Verbs)
	case len(c.Brokers) == 0:
		return wrong("no broker is named")
	case !slices.Contains([]string{"tcp", "tls", "ws", "wss"}, c.Transport):
		return wrong("transport %q: want tcp, tls, ws or wss", c.Transport)
	case c.Version < mqtt.V31 || c.Version > mqtt.V5:
		return wrong("MQTT version %d: want 3, 4 or 5", c.Version)
	case c.QoS > 2:
		return wrong("QoS %d: want 0, 1 or 2", c.QoS)
	case c.total() == 0:
		return wrong("no clients: want at least one")
	case c.Publishers >= maxStreams || c.Subscribers >= maxStreams:
		return wrong("%d clients: want fewer than %d of a kind", c.total(), maxStreams)
	case c.publishes() && c.Size < MinSize:
		return wrong("payloads of %d bytes: want at least %d, which number and time of each message take", c.Size, MinSize)
	case c.Size > mqtt.MaxPacketSize/2:
		return wrong("payloads of %d bytes: want at most %d", c.Size, mqtt.MaxPacketSize/2)
	case c.Window < 1 || c.Window > maxWindow:
		return wrong("a window of %d messages: want 1 to %d", c.Window, maxWindow)
	case c.Batch < 1 || c.Batch > c.Window:
		return wrong("%d messages in a write: want 1 to %d, the window", c.Batch, c.Window)
	case c.Rate < 0 || c.Rate > 1e8:
		return wrong("%v messages a second: want 0 to 100000000", c.Rate)
	case c.KeepAlive < 0 || c.KeepAlive > 65535*time.Second:
		return wrong("a keep-alive of %v: want 0 to 65535 seconds", c.KeepAlive)
	case c.Verb == Offline && c.QoS == 0:
		return wrong("QoS 0 is not kept for sessions that are not connected: want 1 or 2")
	case c.Each > 0 && c.Filter == "":
		return wrong("a message to every %dth client wants something that it subscribes to", c.Each)
	case c.Verb == FanIn || c.Verb == FanOut:
		if n := c.Publishers * c.Subscribers; n > 1<<26 {
			return wrong("%d publishers to each of %d subscribers are %d streams to follow: want at most %d", c.Publishers, c.Subscribers, n, 1<<26)
		}
	}
	for _, b := range slices.Concat(c.Brokers, c.PublishTo) {
		if _, _, err := net.SplitHostPort(b); err != nil {
			return wrong("broker %q: want host:port", b)
		}
	}
	return nil
}

// complete fills in what follows from other fields.
func (c *Config) complete() {
	if c.Batch == 0 {
		c.Batch = 1
	}
	if c.Window == 0 {
		c.Window = max(20, c.Batch)
	}
	if c.Pending == 0 {
		c.Pending = 256
	}
	if c.Churn && c.Verb == Conn {
		c.Pending = max(c.Pending, c.Subscribers) // who has gone is back at once: nobody else would get a turn
	}
	if c.Patience == 0 {
		c.Patience = 10 * time.Second
	}
	if c.Interval == 0 {
		c.Interval = time.Second
	}
	if c.Transport == "" {
		c.Transport = "tcp"
	}
	if c.Filter == "" && c.Verb != Conn {
		c.Filter = c.Topic
		if c.Verb == FanIn || c.Verb == FanOut || c.Verb == ShareSub {
			c.Filter = wildcard(c.Topic)
		}
	}
	if c.Group == "" {
		c.Group = "bench"
	}
}

// publishes says whether the run sends messages.
func (c Config) publishes() bool { return c.Publishers > 0 || c.Each > 0 }

// spread is how streams of messages meet subscribers.
func (c Config) spread() spread {
	switch c.Verb {
	case FanIn, FanOut:
		return every
	case ShareSub:
		return shared
	}
	return pairs
}

// streams is how many streams of messages there are.
func (c Config) streams() int {
	switch c.Verb {
	case Conn, Offline:
		return c.Subscribers
	}
	return c.Publishers
}

// copies is how often each message is to be delivered.
func (c Config) copies() int {
	switch c.Verb {
	case FanIn, FanOut:
		return c.Subscribers
	case Pub:
		return 0
	}
	return 1
}

// quota is how many messages stream i sends; 0: no bound.
func (c Config) quota(i int) uint64 {
	switch {
	case c.Verb == Conn && c.Each > 0 && i%c.Each == 0:
		return 1
	case c.Limit == 0:
		return 0
	}
	n, streams := c.Limit, uint64(c.streams())
	q := n / streams
	if uint64(i) < n%streams {
		q++
	}
	return q
}

// phases are the run's, from the first to the last but the end.
func (c Config) phases() []Phase {
	switch {
	case c.Churn && c.Verb == Conn:
		return []Phase{Warmup, Measure}
	case c.Churn:
		return []Phase{Connecting, Warmup, Measure}
	case c.Verb == Conn:
		return []Phase{Connecting, Pinging, Measure, Draining}
	case c.Verb == Offline:
		return []Phase{Connecting, Pinging, Queueing, Measure, Draining}
	}
	return []Phase{Connecting, Pinging, Warmup, Measure, Draining}
}
