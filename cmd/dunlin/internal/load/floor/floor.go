// Package floor is the floor of the benchmarks: a bare relay that moves the same
// bytes as a broker would, over the same sockets, and does nothing else. What Dunlin
// costs per message is compared with what the relay costs (DESIGN.md, section 7).
//
// The relay is one thread on edge-triggered epoll. Each read is followed at once by
// one write to each connection that gets something of it: the relay gathers nothing,
// how much a read brings is the load generator's doing.
// It speaks just enough MQTT (3.1.1 and 5.0) that an ordinary MQTT load generator
// drives it unchanged:
//
//   - CONNECT, SUBSCRIBE, UNSUBSCRIBE, PINGREQ and DISCONNECT get canned answers; no
//     topic or filter is looked at.
//   - A client identifier that begins with "pub-" makes a connection a publisher, one
//     with "sub-" a subscriber, with its first SUBSCRIBE. Who gets what is the Topology's
//     to say. Other connections are only answered.
//   - A publisher's PUBLISH packets go to the subscribers as the bytes they are, packet
//     identifier, QoS and version included. Those for whom there is no subscriber are
//     dropped.
//   - Acknowledgements are answered on the spot, on each side by itself: PUBLISH of
//     QoS 1 by PUBACK, of QoS 2 by PUBREC, PUBREL by PUBCOMP, a subscriber's PUBREC by
//     PUBREL; its PUBACK and PUBCOMP need no answer. So QoS 1 is the four packets and
//     QoS 2 the eight that a broker exchanges. Packet identifiers of several publishers
//     meet at one subscriber unchanged: measure QoS 2 with pairs.
//
// A subscriber that takes nothing stops its publishers.
package floor

import (
	"context"
	"errors"
	"fmt"
)

// Topology says who gets what a publisher sends.
type Topology int

const (
	Pairs Topology = iota // subscriber sub-7 gets what publisher pub-7 sends
	Every                 // every subscriber gets everything: fan-in, fan-out
	Share                 // one subscriber after the other gets what a read has brought
)

var names = [...]string{Pairs: "pairs", Every: "every", Share: "share"}

func (t Topology) String() string { return names[t] }

// ParseTopology reads a Topology's name.
func ParseTopology(name string) (Topology, error) {
	for t, n := range names {
		if n == name {
			return Topology(t), nil
		}
	}
	return 0, fmt.Errorf("floor: topology %q, known are %q", name, names)
}

// Run relays on a TCP address until ctx ends, on the thread that calls it. It
// returns nil then, or the error for which it could not begin.
func Run(ctx context.Context, addr string, t Topology) error {
	r, err := Listen(addr, t)
	if err != nil {
		return err
	}
	if err := r.Run(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}
