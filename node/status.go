package node

import (
	"strconv"
	"time"
)

// status lists what the node publishes of itself under $SYS/broker/, by the
// names that monitoring made for other brokers looks for.
func (n *Node) status(yield func(topic, value string)) {
	number := func(name string, v uint64) { yield("$SYS/broker/"+name, strconv.FormatUint(v, 10)) }
	b, l := n.broker.Stats(), n.loops.Stats()
	var packets uint64
	for _, k := range b.Packets {
		packets += k
	}
	var dropped uint64
	for _, d := range b.Dropped {
		dropped += d
	}
	yield("$SYS/broker/version", "dunlin "+Version())
	yield("$SYS/broker/node", n.cfg.NodeName)
	yield("$SYS/broker/uptime", strconv.FormatInt(int64(time.Since(n.started)/time.Second), 10)+" seconds")
	number("nodes", uint64(len(n.cluster.Nodes())))
	number("clients/connected", l.Open)
	number("subscriptions/count", uint64(b.Subscriptions))
	number("messages/received", packets)
	number("publish/messages/received", b.Received[0]+b.Received[1]+b.Received[2])
	number("publish/messages/sent", b.Sent[0]+b.Sent[1]+b.Sent[2])
	number("publish/messages/dropped", dropped)
	number("bytes/received", l.BytesIn)
	number("bytes/sent", l.BytesOut)
}
