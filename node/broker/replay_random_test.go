package broker

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"dunlin/proto/mqtt"
	"dunlin/raftstore"
	"dunlin/router"
)

// reader is a subscriber of TestRetainedIsARegister and what it has seen.
type reader struct {
	*testConn
	name       string
	persistent bool
	filter     string
	asked      bool
	resumed    bool           // on another connection, which knows less of what came before
	granted    map[string]int // by topic: the latest number sent when SUBACK came; nil before
	last       map[string]int // the latest number that came
	seen       map[string]int // how often each message came
}

// forget has the broker forget what it sent live, as if it were too much. What was
// sent before SUBACK would come once more, which is the price.
func (r *reader) forget(n *testNode) {
	conn := r.loop.worker().conn(r.testConn.id)
	if conn == nil || conn.client.catchUp == nil || len(conn.client.replays) == 0 {
		return
	}
	cl := &conn.client
	for topic, index := range cl.live {
		name, err := router.ParseTopic([]byte(topic))
		if err != nil || index <= cutAt(cl.replays[0].cuts, n.store.TopicShard(name)) {
			return
		}
	}
	clear(cl.live)
	cl.anew = true
}

func (r *reader) clientID() string {
	id, _, _ := strings.Cut(r.name, " of ")
	return id
}

// take reads what has come and holds it against what a register promises.
func (r *reader) take(sent map[string]int) error {
	for _, p := range r.recv() {
		switch p.Kind {
		case mqtt.SUBACK:
			r.granted = map[string]int{}
			for topic, n := range sent {
				r.granted[topic] = n
			}
		case mqtt.PUBLISH:
			topic := string(p.Publish.Topic)
			n, err := strconv.Atoi(string(p.Publish.Payload))
			if err != nil {
				return err
			}
			if p.Publish.QoS > 0 {
				r.queue(&mqtt.Ack{Kind: mqtt.PUBACK, PacketID: p.Publish.PacketID})
			}
			if p.Publish.Dup && r.seen[fmt.Sprint(topic, " ", n)] > 0 {
				continue
			}
			if n <= r.last[topic] && !r.resumed {
				return fmt.Errorf("%s: %s %d after %d (retained %t)", r.name, topic, n, r.last[topic], p.Publish.Retain)
			}
			r.last[topic] = n
			r.seen[fmt.Sprint(topic, " ", n)]++
		}
	}
	return nil
}

// missing says what the reader was promised and did not get.
func (r *reader) missing(sent map[string]int) error {
	for topic, n := range sent {
		if r.filter != topic && !strings.HasSuffix(r.filter, "#") {
			continue
		}
		if n > 0 && r.last[topic] != n {
			return fmt.Errorf("%s: %s is at %d, and %d was published last", r.name, topic, r.last[topic], n)
		}
		for i := r.granted[topic] + 1; i <= n; i++ {
			if r.seen[fmt.Sprint(topic, " ", i)] == 0 {
				return fmt.Errorf("%s: %s %d was sent after SUBACK of %d, and did not come", r.name, topic, i, r.granted[topic])
			}
		}
	}
	return nil
}

// P8, P4, P7: a subscriber sees each topic's retained message or a newer one, then
// all that is published since, in order and once, however long pages, commits and
// answers are under way.
func TestRetainedIsARegister(t *testing.T) {
	for seed := range uint64(100) {
		synctest.Test(t, func(t *testing.T) {
			if err := registerRun(t, rand.New(rand.NewPCG(seed, 1))); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
		})
	}
}

func registerRun(t *testing.T, rng *rand.Rand) error {
	c := newCell(t, 1, 2, nil)
	n := c.nodes[0]
	g, pages := n.grip(), n.slowPages()
	late := func() bool { return rng.IntN(3) == 0 }
	slow := func() {
		g.late = func(cmd raftstore.Command) bool { return is[raftstore.Retain](cmd) && late() }
		pages.late = func(raftstore.RetainedQuery) bool { return late() }
	}
	release := func() {
		g.release()
		pages.release()
		slow()
		c.settle()
	}
	slow()
	pages.old = func() bool { return rng.IntN(2) == 0 }
	topics := []string{"r/a", "r/b", "r/c/d"}
	sent := map[string]int{}
	pubs := map[string]*testConn{}
	ids := map[string]uint16{}
	for _, topic := range topics {
		pubs[topic] = c.connect(0, rng.IntN(2), "pub "+topic)
	}
	for i := range 5 { // retained once, so that only a replay brings them
		topic := fmt.Sprint("r/quiet/", i)
		pubs[topics[0]].retain(topic, "1")
		sent[topic] = 1
	}
	release()
	pubs[topics[0]].recv()
	var readers []*reader
	for range 200 {
		switch rng.IntN(6) {
		case 0, 1, 2:
			topic := topics[rng.IntN(len(topics))]
			if pub := pubs[topic]; len(pub.recv()) > 0 || ids[topic]-uint16(sent[topic]) < 10 {
				sent[topic]++
				ids[topic] = ids[topic]%1000 + 1
				pub.send(&mqtt.Publish{
					Topic: []byte(topic), Payload: []byte(strconv.Itoa(sent[topic])), QoS: 1, Retain: true, PacketID: ids[topic],
				})
			}
		case 3:
			if len(readers) == 12 {
				break
			}
			r := &reader{name: fmt.Sprint("reader ", len(readers)), last: map[string]int{}, seen: map[string]int{}}
			r.filter = append(topics, "r/#", "#")[rng.IntN(len(topics)+2)]
			release() // or CONNECT would wait for what is kept back
			if r.persistent = rng.IntN(2) == 0; r.persistent {
				r.testConn = c.persistent(0, rng.IntN(2), r.name)
			} else {
				r.testConn = c.connect(0, rng.IntN(2), r.name)
			}
			r.name += " of " + r.filter
			readers = append(readers, r)
		case 4:
			release()
		case 5:
			if len(readers) == 0 {
				break
			}
			switch r := readers[rng.IntN(len(readers))]; {
			case r.granted != nil && rng.IntN(8) == 0: // as if more had come than is remembered
				r.forget(n)
			case r.granted != nil && r.persistent && rng.IntN(2) == 0:
				r.hangUp()
				release()
				r.testConn, r.resumed = c.dial(0, rng.IntN(2)), true
				r.send(&mqtt.Connect{Version: mqtt.V5, ClientID: []byte(r.clientID()), SessionExpiry: 100})
			case !r.asked:
				r.asked = true
				r.send(&mqtt.Subscribe{PacketID: 9, Filters: []mqtt.Subscription{{Filter: []byte(r.filter), QoS: 1}}})
			}
		}
		for _, r := range readers {
			if err := r.take(sent); err != nil {
				return err
			}
		}
	}
	for range 50 {
		release()
		for _, r := range readers {
			if err := r.take(sent); err != nil {
				return err
			}
		}
	}
	for _, r := range readers {
		if !r.asked {
			continue
		}
		if r.closed || r.granted == nil {
			return fmt.Errorf("%s: closed %t, not granted", r.name, r.closed)
		}
		if err := r.missing(sent); err != nil {
			return err
		}
	}
	return nil
}
