package load

import (
	"fmt"
	"slices"
)

// Scenario is who publishes what to whom.
type Scenario struct {
	Name        string
	Publishers  int
	Subscribers int
	Spread      Spread
	QoS         byte
	// Window is the number of messages that a publisher may have under way: not
	// yet delivered, or not yet acknowledged.
	Window int
	// Batch is the number of messages in one write, at most.
	Batch int
	// Rate is the number of messages a second of all publishers together; 0 is as
	// many as the window allows.
	Rate int
	// Persistent has subscribers keep their sessions, until the run ends.
	Persistent bool
	// Work is something else than messages, done over and over by so many
	// Subscribers at once; what is counted as delivered is how often.
	Work Work
}

// Work is what clients do that exchange no messages.
type Work byte

const (
	Messages   Work = iota // they do exchange messages
	Connects               // CONNECT under an identifier of one's own to CONNACK, and leave
	Subscribes             // SUBSCRIBE to SUBACK and UNSUBSCRIBE to UNSUBACK, of a new filter each time
)

// Spread is how subscribers share in what is published.
type Spread byte

const (
	Pairs Spread = iota // publisher i reaches subscriber i alone
	All                 // every publisher reaches every subscriber
	Share               // each message reaches one subscriber of a share group
)

// Payload is the size of each message's payload, in bytes.
const Payload = 128

// Scenarios are the ones that Dunlin's targets speak of.
var Scenarios = []Scenario{
	{Name: "fan-in", Publishers: 50, Subscribers: 1, Spread: All, QoS: 0, Window: 64, Batch: 32},
	{Name: "fan-out", Publishers: 1, Subscribers: 100, Spread: All, QoS: 0, Window: 64, Batch: 32},
	{Name: "pairs-0", Publishers: 50, Subscribers: 50, QoS: 0, Window: 64, Batch: 32},
	{Name: "pairs-1", Publishers: 50, Subscribers: 50, QoS: 1, Window: 20, Batch: 20},
	{Name: "pairs-2", Publishers: 50, Subscribers: 50, QoS: 2, Window: 20, Batch: 20},
	{Name: "share-1", Publishers: 50, Subscribers: 10, Spread: Share, QoS: 1, Window: 20, Batch: 20},
	{Name: "rate-1", Publishers: 50, Subscribers: 50, QoS: 1, Window: 1000, Batch: 1, Rate: 5000},
	{Name: "durable-1", Publishers: 50, Subscribers: 50, QoS: 1, Window: 20, Batch: 20, Persistent: true},
	{Name: "durable-rate-1", Publishers: 50, Subscribers: 50, QoS: 1, Window: 1000, Batch: 1, Rate: 2000, Persistent: true},
	{Name: "connects", Subscribers: 1, Work: Connects},
	{Name: "connects-64", Subscribers: 64, Work: Connects},
	{Name: "subscribes", Subscribers: 64, Work: Subscribes},
	{Name: "durable-subscribes", Subscribers: 64, Work: Subscribes, Persistent: true},
}

// Named finds one of Scenarios.
func Named(name string) (Scenario, error) {
	i := slices.IndexFunc(Scenarios, func(s Scenario) bool { return s.Name == name })
	if i < 0 {
		var names []string
		for _, s := range Scenarios {
			names = append(names, s.Name)
		}
		return Scenario{}, fmt.Errorf("load: no scenario %q, only %q", name, names)
	}
	return Scenarios[i], nil
}

// copies is how often one message is delivered.
func (s Scenario) copies() int {
	if s.Spread == All {
		return s.Subscribers
	}
	return 1
}

// topic is where publisher i publishes.
func (s Scenario) topic(i int) string {
	if s.Spread == Pairs {
		return fmt.Sprintf("load/%03d", i)
	}
	return "load/all"
}

// filter is what subscriber i subscribes to.
func (s Scenario) filter(i int) string {
	switch s.Spread {
	case Pairs:
		return s.topic(i)
	case Share:
		return "$share/load/load/all"
	}
	return "load/all"
}
