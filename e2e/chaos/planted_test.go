package chaos

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"dunlin/e2e/chaos/check"
	"dunlin/e2e/chaos/client"
	"dunlin/e2e/chaos/history"
	"dunlin/e2e/harness"
	"dunlin/proto/mqtt"
)

// TestPlanted runs real clients against a real node behind a liar, which plants
// one bug: the checker it is for reports it. Without a lie none reports anything.
func TestPlanted(t *testing.T) {
	node := harness.Start(t, harness.Options{}).Nodes[0]
	t.Run("all", func(t *testing.T) {
		for _, p := range planted {
			t.Run(p.name, func(t *testing.T) {
				t.Parallel()
				p.run(t, node.MQTT)
			})
		}
	})
}

// plant is a bug and who has to find it.
type plant struct {
	name  string
	rules []string // the first is broken, the others perhaps too, and nothing else is
	lie   func() lie
}

// registers is the plant that readers of retained messages tell of.
const registers = "an old retained value"

// run lets a small crew work through the liar for two seconds.
func (p plant) run(t *testing.T, node string) {
	name := strings.NewReplacer(" ", "-", "'", "").Replace(p.name)
	in := name + "/"
	rec := history.NewRecorder(1)
	nodes := []client.Node{{Name: "n1", Addr: liar(t, node, p.lie())}}
	keeper := client.Config{Nodes: nodes, Expiry: time.Hour, Move: 300 * time.Millisecond, MidHandshake: 0.01}
	add := func(id string, seed uint64, c client.Config) *client.Client {
		c.ID, c.Seed = name+"-"+id, seed
		return client.New(c, rec)
	}
	sub := keeper
	sub.Filters = []client.Filter{{Filter: in + "t/#", QoS: 2}}
	pub := keeper
	pub.Topics, pub.QoS, pub.Every = []string{in + "t/1"}, []mqtt.QoS{1, 2}, 3*time.Millisecond
	writer := client.Config{Nodes: nodes, Topics: []string{in + "r"}, QoS: []mqtt.QoS{1}, Retain: true, Every: 20 * time.Millisecond, Window: 1}
	witness := client.Config{Nodes: nodes, Expiry: time.Hour, Filters: []client.Filter{{Filter: in + "w", QoS: 2}}}
	mortal := client.Config{Nodes: nodes, Expiry: time.Second, Move: 300 * time.Millisecond, Will: &client.Will{Topic: in + "w", QoS: 2}}
	clients := []*client.Client{add("sub", 1, sub), add("witness", 2, witness)}
	clients = append(clients,
		add("now", 8, client.Config{Nodes: nodes, Filters: []client.Filter{{Filter: in + "t/#", QoS: 2}}}),
		add("member", 9, client.Config{Nodes: nodes, Filters: []client.Filter{{Filter: "$share/g/" + in + "t/#", QoS: 2}}}))
	settled := func() error { return all(clients, (*client.Client).Settled) }
	harness.Eventually(t, "the subscribers have subscribed", settled)
	clients = append(clients, add("pub", 3, pub), add("writer", 4, writer), add("mortal", 5, mortal))
	if p.name == registers {
		reader := client.NewReader(name+"-reader", nodes, []string{in + "r"}, 10*time.Millisecond, 6, rec)
		defer reader.Stop()
	}
	rivals := client.NewRivals(name+"-rivals", nodes, 3, 50*time.Millisecond, 7, rec)

	end := time.Now().Add(2 * time.Second)
	harness.Eventually(t, "two seconds have passed", func() error {
		if time.Now().Before(end) {
			return errNotYet
		}
		return nil
	})
	rivals.Stop()
	for _, c := range clients {
		c.Mute()
	}
	harness.Eventually(t, "all is answered", settled)
	harness.Eventually(t, "all is drained", func() error {
		return all(clients, func(c *client.Client) bool { return c.Drain(time.Second) })
	})
	for _, c := range clients {
		c.Stop()
	}
	o := check.DefaultOptions()
	o.WillBound = 500 * time.Millisecond
	found := make(map[string]int)
	for _, v := range check.History(rec.History(), o) {
		if found[v.Rule]++; found[v.Rule] == 1 {
			t.Log(v)
		}
	}
	for i, rule := range p.rules {
		if i == 0 && found[rule] == 0 {
			t.Errorf("nobody reports %s", rule)
		}
		delete(found, rule)
	}
	for rule, n := range found {
		t.Errorf("%s is reported %d times", rule, n)
	}
}

// planted are the lies.
var planted = []plant{
	{"nothing", nil, func() lie {
		return func(l *lying, fromClient bool, p *mqtt.Packet) {
			if p != nil {
				l.pass(fromClient, p)
			}
		}
	}},
	{"acknowledge before commit", []string{"lost", "subscribe", "shared: lost"}, func() lie {
		n := 0
		return honest(func(l *lying, fromClient bool, p *mqtt.Packet) bool {
			if !fromClient || p.Kind != mqtt.PUBLISH || p.Publish.QoS != 1 || p.Publish.Retain {
				return false
			}
			if n++; n%20 != 0 {
				return false
			}
			l.toClient(&mqtt.Ack{Kind: mqtt.PUBACK, PacketID: p.Publish.PacketID})
			return true
		})
	}},
	{"trust DUP", []string{"lost", "subscribe", "shared: lost"}, func() lie {
		return honest(func(l *lying, fromClient bool, p *mqtt.Packet) bool {
			if !fromClient || p.Kind != mqtt.PUBLISH || p.Publish.QoS != 1 || p.Publish.Retain {
				return false
			}
			if p.Publish.Dup { // "we have had that"
				l.toClient(&mqtt.Ack{Kind: mqtt.PUBACK, PacketID: p.Publish.PacketID})
				return true
			}
			if p.Publish.PacketID%32 == 0 { // never arrives, and neither does its answer
				l.client.Close()
				return true
			}
			return false
		})
	}},
	{"forget identifiers", []string{"twice", "order: id"}, func() lie {
		const alien = 40000
		n := 0
		return of("-sub", func(l *lying, fromClient bool, p *mqtt.Packet) bool {
			switch {
			case fromClient && p.Kind == mqtt.PUBREC && p.Ack.PacketID > alien:
				l.toClient(&mqtt.Ack{Kind: mqtt.PUBREL, PacketID: p.Ack.PacketID})
				return true
			case fromClient && p.Kind == mqtt.PUBCOMP && p.Ack.PacketID > alien:
				return true
			case !fromClient && p.Kind == mqtt.PUBLISH && p.Publish.QoS == 2 && bytes.HasSuffix(p.Publish.Topic, []byte("t/1")):
				if n++; n%20 == 0 {
					l.toClient(p)
					again := p.Publish
					again.PacketID = alien + uint16(n)
					l.toClient(&again)
					return true
				}
			}
			return false
		})
	}},
	{"overtake", []string{"order", "lost", "subscribe", "shared: lost", "order: dup", "order: id"}, func() lie {
		held := make(map[*lying]mqtt.Publish)
		n := 0
		return honest(func(l *lying, fromClient bool, p *mqtt.Packet) bool {
			if fromClient || p.Kind != mqtt.PUBLISH || p.Publish.QoS != 1 || !bytes.HasSuffix(p.Publish.Topic, []byte("t/1")) {
				return false
			}
			if h, ok := held[l]; ok {
				l.toClient(p)
				l.toClient(&h)
				delete(held, l)
				return true
			}
			if n++; n%20 == 0 {
				held[l] = *p.Publish.Clone()
				return true
			}
			return false
		})
	}},
	{"damage", []string{"invented", "lost", "subscribe", "shared: lost", "order", "order: id", "order: dup"}, func() lie {
		n := 0
		return honest(func(l *lying, fromClient bool, p *mqtt.Packet) bool {
			if !fromClient && p.Kind == mqtt.PUBLISH && bytes.HasSuffix(p.Publish.Topic, []byte("t/1")) {
				if n++; n%20 == 0 {
					p.Publish.Payload[0] ^= 1
				}
			}
			return false
		})
	}},
	{"SUBACK before the route", []string{"subscribe"}, func() lie {
		return of("-now", func(l *lying, fromClient bool, p *mqtt.Packet) bool {
			if !fromClient || p.Kind != mqtt.SUBSCRIBE {
				return false
			}
			l.toClient(&mqtt.Suback{Kind: mqtt.SUBACK, PacketID: p.Subscribe.PacketID, Reasons: []mqtt.Reason{mqtt.GrantedQoS2}})
			return true
		})
	}},
	{"lose a member's message", []string{"shared: lost"}, func() lie {
		return of("-member", func(l *lying, fromClient bool, p *mqtt.Packet) bool {
			if fromClient || p.Kind != mqtt.PUBLISH || p.Publish.QoS != 1 {
				return false
			}
			l.toNode(&mqtt.Ack{Kind: mqtt.PUBACK, PacketID: p.Publish.PacketID})
			return true
		})
	}},
	{"forget DUP", []string{"order: dup"}, func() lie {
		return honest(func(_ *lying, fromClient bool, p *mqtt.Packet) bool {
			if !fromClient && p.Kind == mqtt.PUBLISH {
				p.Publish.Dup = false
			}
			return false
		})
	}},
	{"deny the session", []string{"session: lost", "session: content", "invented", "twice", "order"}, func() lie {
		return honest(func(_ *lying, fromClient bool, p *mqtt.Packet) bool {
			if !fromClient && p.Kind == mqtt.CONNACK {
				p.Connack.SessionPresent = false
			}
			return false
		})
	}},
	{"skip a will", []string{"will: missing"}, func() lie {
		return func(l *lying, fromClient bool, p *mqtt.Packet) {
			if p == nil {
				l.toNode(&mqtt.Disconnect{})
				return
			}
			l.pass(fromClient, p)
		}
	}},
	{registers, []string{"retained", "retained: seam"}, func() lie {
		var first []byte
		return honest(func(_ *lying, fromClient bool, p *mqtt.Packet) bool {
			if !fromClient && p.Kind == mqtt.PUBLISH && p.Publish.Retain && bytes.HasSuffix(p.Publish.Topic, []byte("/r")) {
				if first == nil {
					first = bytes.Clone(p.Publish.Payload)
				}
				p.Publish.Payload = first
			}
			return false
		})
	}},
	{"no epochs", []string{"owner", "session: content"}, func() lie {
		asked := make(map[*lying]*mqtt.Suback) // what the client waits for
		return honest(func(l *lying, fromClient bool, p *mqtt.Packet) bool {
			switch p.Kind {
			case mqtt.SUBSCRIBE:
				asked[l] = &mqtt.Suback{Kind: mqtt.SUBACK, PacketID: p.Subscribe.PacketID, Reasons: []mqtt.Reason{mqtt.GrantedQoS1}}
			case mqtt.UNSUBSCRIBE:
				asked[l] = &mqtt.Suback{Kind: mqtt.UNSUBACK, PacketID: p.Unsubscribe.PacketID, Reasons: []mqtt.Reason{mqtt.Success}}
			case mqtt.SUBACK, mqtt.UNSUBACK:
				delete(asked, l)
			case mqtt.DISCONNECT:
				if fromClient || p.Disconnect.Reason != mqtt.SessionTakenOver {
					return false
				}
				l.fenced = true // and nobody tells the client
			}
			if l.fenced && asked[l] != nil {
				l.toClient(asked[l])
				delete(asked, l)
			}
			return l.fenced
		})
	}},
}

// honest is a lie that sends on what f does not take.
func honest(f func(l *lying, fromClient bool, p *mqtt.Packet) (taken bool)) lie {
	return func(l *lying, fromClient bool, p *mqtt.Packet) {
		if p != nil && !f(l, fromClient, p) {
			l.pass(fromClient, p)
		}
	}
}

// of is an honest lie about the connections whose client identifier ends so.
func of(end string, f func(l *lying, fromClient bool, p *mqtt.Packet) (taken bool)) lie {
	about := make(map[*lying]bool)
	return honest(func(l *lying, fromClient bool, p *mqtt.Packet) bool {
		if p.Kind == mqtt.CONNECT {
			about[l] = bytes.HasSuffix(p.Connect.ClientID, []byte(end))
		}
		return about[l] && f(l, fromClient, p)
	})
}

var errNotYet = errors.New("not yet")

func all(cs []*client.Client, done func(*client.Client) bool) error {
	for _, c := range cs {
		if !done(c) {
			return fmt.Errorf("%s: %w", c.ID, errNotYet)
		}
	}
	return nil
}
