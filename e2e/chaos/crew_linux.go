package chaos

import (
	"fmt"
	"time"

	"dunlin/e2e/chaos/client"
	"dunlin/proto/mqtt"
)

// mix says what a crew is made of. Each part is there once per node of at.
type mix struct {
	at     []int         // nodes that clients may connect to
	roam   bool          // each client goes to all of at, not to one
	expiry time.Duration // of the sessions of publishers and subscribers
	every  time.Duration // between two messages of a publisher
	move   time.Duration // how often a client moves, or drops and comes back
	mid    float64       // probability of leaving at a step of a handshake

	churn    bool // subscribers that come and go (P4)
	group    bool // a share group (P9)
	wills    bool // clients with wills that die, and witnesses (P6)
	retained bool // retained topics with a writer each, some deleted now and then, and readers (P8)
	rivals   bool // connections that fight for a client identifier (P5)
	probes   bool // a probe on each node
}

var anyQoS = []mqtt.QoS{0, 1, 2}

// mixed starts the clients of m.
func (r *rig) mixed(m mix) (all crew) {
	var nodes []client.Node
	for _, at := range m.at {
		nodes = append(nodes, r.nodes[at-1])
	}
	seed := r.seed
	add := func(id string, i int, c client.Config) {
		seed++
		c.ID, c.Seed = id, seed
		if c.Nodes == nil {
			if c.Nodes = nodes[i : i+1]; m.roam {
				c.Nodes = nodes
			}
		}
		all.clients = append(all.clients, client.New(c, r.rec))
	}
	for i, node := range nodes {
		pub := fmt.Sprint("pub-", node.Name)
		add("sub-"+node.Name, i, client.Config{
			Expiry: m.expiry, Move: m.move, MidHandshake: m.mid,
			Filters: []client.Filter{{Filter: "t/#", QoS: 2}},
		})
		add("few-"+node.Name, i, client.Config{
			Expiry: m.expiry, Move: m.move, MidHandshake: m.mid,
			Filters: []client.Filter{{Filter: "t/+/1", QoS: 1}, {Filter: "t/" + pub + "/2", QoS: 2}},
		})
		add(pub, i, client.Config{
			Expiry: m.expiry, Move: m.move, MidHandshake: m.mid, Every: r.paced(m.every), QoS: anyQoS,
			Topics: []string{"t/" + pub + "/0", "t/" + pub + "/1", "t/" + pub + "/2"},
		})
		if m.churn {
			add("churn-"+node.Name, i, client.Config{
				Churn:   50 * time.Millisecond,
				Filters: []client.Filter{{Filter: "t/+/0", QoS: 2}, {Filter: "t/" + pub + "/2", QoS: 1}},
			})
		}
		if m.group {
			add("member-"+node.Name, i, client.Config{
				Expiry: m.expiry, Move: m.move, Filters: []client.Filter{{Filter: "$share/g/t/#", QoS: 2}},
			})
		}
		if m.wills {
			add("witness-"+node.Name, i, client.Config{Expiry: m.expiry, Filters: []client.Filter{{Filter: "w/#", QoS: 2}}})
			for j, delay := range []time.Duration{0, 2 * time.Second} {
				id := fmt.Sprintf("mortal%d-%s", j, node.Name)
				add(id, i, client.Config{
					Expiry: time.Duration(1+j) * 3 * time.Second, Move: 3 * time.Second,
					Will: &client.Will{Topic: "w/" + id, QoS: 2, Delay: delay},
				})
			}
		}
		if m.retained {
			topics := []string{"r/" + node.Name + "/0", "r/" + node.Name + "/1", "r/" + node.Name + "/gone"}
			writer := client.Config{
				Expiry: m.expiry, Move: m.move, Every: r.paced(80 * time.Millisecond), Window: 1, Retain: true,
			}
			for q, id := range []string{"sender-", "writer-", "deleter-"} { // one QoS a topic: what is sent again with QoS 1 may be written again
				writer.Topics, writer.QoS = topics[q:q+1], []mqtt.QoS{mqtt.QoS(min(q+1, 2))}
				if q == 2 {
					writer.Delete = 0.3
				}
				add(id+node.Name, i, writer)
			}
			for j, reader := range nodes {
				id := fmt.Sprintf("reader-%s-%s", node.Name, reader.Name)
				all.others = append(all.others, client.NewReader(id, nodes[j:j+1], topics, r.paced(20*time.Millisecond), seed+uint64(j), r.rec))
			}
		}
		if m.probes {
			probe := client.Config{
				Nodes: nodes[i : i+1], Every: 50 * time.Millisecond, Window: 4, Answer: 2 * time.Second,
				Topics: []string{"probe/" + node.Name}, QoS: []mqtt.QoS{1},
			}
			if m.retained { // each topic has a shard that has to commit it
				probe.Retain, probe.Topics = true, nil
				for j := range 8 {
					probe.Topics = append(probe.Topics, fmt.Sprintf("probe/%s/%d", node.Name, j))
				}
			}
			add("probe-"+node.Name, i, probe)
		}
	}
	if m.rivals {
		all.others = append(all.others, client.NewRivals("contended", nodes, 3, r.paced(200*time.Millisecond), seed, r.rec))
	}
	return all
}
