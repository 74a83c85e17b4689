package session

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"dunlin/proto/mqtt"
	"dunlin/router"
)

// TestModel lets a Live talk with a model of a client over a link that loses
// nothing until it breaks, beside a model of the broker and its store, in random
// order; both ends judge what reaches them.
func TestModel(t *testing.T) {
	seeds := 400
	if testing.Short() {
		seeds = 50
	}
	for seed := range uint64(seeds) {
		if t.Failed() {
			break
		}
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			w := newWorld(t, seed)
			for range 300 {
				w.step()
			}
			w.settle()
			w.judge()
		})
	}
}

// world is everything. Messages are numbered; their payload is their number.
type world struct {
	*rand.Rand
	t          *testing.T
	l          Live
	persistent bool
	connect    mqtt.Connect
	limits     Limits
	now        Time
	forms      Forms
	up         []byte // link from the client
	down       []byte // link to the client
	connection int

	// The broker and the store.
	routing   []*inboundMessage // routed, to be answered
	accepted  []int             // messages of the client as they reach subscribers, once by number
	committed map[uint16]int    // inbound QoS 2: packet id -> message
	queue     []*outboundMessage
	nextIndex uint64
	commits   []func()       // acknowledgements on their way into the store
	handles   map[uint64]int // deliveries under a handle
	expected  map[int]int    // message -> QoS: must arrive
	offered   int            // number of the last message to the client

	// The client.
	slow      bool             // to acknowledge
	publishes []*clientPublish // not done, in order
	published int              // number of the last message
	quota     int
	nextID    uint16
	arrived   []int           // messages as they reach the application
	duplicate map[int]bool    // QoS 1: arrived again under DUP
	held      map[uint16]bool // QoS 2 identifiers that await PUBREL
	answers   []mqtt.Ack      // to be sent
	unacked   map[uint16]bool // identifiers in use by the server on this connection
	topics    map[uint16]string
}

type inboundMessage struct {
	number     int
	qos        mqtt.QoS
	id         uint16
	connection int
}

type outboundMessage struct {
	number   int
	index    uint64
	qos      mqtt.QoS
	pushed   bool
	received bool
}

type clientPublish struct {
	number   int
	qos      mqtt.QoS
	id       uint16
	released bool
	counted  bool // took a place of the Receive Maximum on this connection
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{Rand: rand.New(rand.NewPCG(seed, 1)), t: t}
	w.persistent = w.IntN(2) == 0
	w.connect = mqtt.Connect{
		Version:        []mqtt.Version{mqtt.V31, mqtt.V311, mqtt.V5, mqtt.V5}[w.IntN(4)],
		ReceiveMaximum: uint16(1 + w.IntN(8)*w.IntN(8)),
	}
	w.slow = w.IntN(3) == 0
	if w.connect.Version == mqtt.V5 {
		w.connect.TopicAliasMaximum = uint16(w.IntN(3))
		if w.persistent {
			w.connect.SessionExpiry = 100
		}
	}
	w.limits = Limits{
		ReceiveMaximum: uint16(1 + w.IntN(6)), TopicAliasMaximum: 2, SendAliasMaximum: 2, MaxInflight: uint16(1 + w.IntN(60)),
		MaxQueueMessages: w.IntN(10), MaxQueueBytes: 200 + w.IntN(2000), DropOldest: w.IntN(2) == 0,
	}
	w.nextIndex = 1 + w.Uint64N(1<<40)
	w.committed, w.handles, w.expected = map[uint16]int{}, map[uint64]int{}, map[int]int{}
	w.duplicate, w.held = map[int]bool{}, map[uint16]bool{}
	w.dial()
	// So that identifiers wrap, which the connection has to itself.
	if !w.persistent {
		w.l.next = uint64(idSpan - w.IntN(50))
	}
	return w
}

// dial begins a connection; a persistent session resumes.
func (w *world) dial() {
	w.connection++
	w.up, w.down, w.answers, w.unacked = nil, nil, nil, map[uint16]bool{}
	w.topics = map[uint16]string{}
	if w.IntN(2) == 0 {
		w.connect.ReceiveMaximum = uint16(1 + w.IntN(8)*w.IntN(8)) // not what it was
	}
	w.l.Connect(&w.connect, w.limits, w.persistent, w.now)
	w.quota = int(w.limits.ReceiveMaximum)
	if w.connect.Version != mqtt.V5 {
		w.quota = 50
	}
	if !w.persistent {
		return
	}
	var ids []uint16
	for id := range w.committed {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	w.l.ResumeInbound(ids)
	for _, m := range w.queue {
		switch {
		case m.received:
			w.down = w.l.ResumeRelease(m.index, w.down)
			w.unacked[PacketID(m.index)] = true
		case m.pushed:
			w.offer(m, true)
		}
	}
	// The client sends again what it has not seen the end of [MQTT-4.4.0-1].
	for _, p := range w.publishes {
		if p.counted = false; p.released {
			w.send(&mqtt.Packet{Kind: mqtt.PUBREL, Ack: mqtt.Ack{Kind: mqtt.PUBREL, PacketID: p.id}})
		} else {
			w.sendPublish(p, true)
		}
	}
}

func (w *world) send(p *mqtt.Packet) { w.up = p.Append(w.up, w.connect.Version) }

func (w *world) sendPublish(p *clientPublish, dup bool) {
	if p.qos > 0 {
		p.counted = true
		w.quota--
	}
	w.send(&mqtt.Packet{Kind: mqtt.PUBLISH, Publish: mqtt.Publish{
		QoS: p.qos, PacketID: p.id, Dup: dup, Topic: []byte("up"), Payload: strconv.AppendInt(nil, int64(p.number), 10),
	}})
}

func (w *world) step() {
	w.now += Time(w.IntN(1e6))
	switch w.IntN(12) {
	case 0, 1:
		w.clientPublishes()
	case 2, 3, 4:
		w.serverReceives()
	case 5:
		w.brokerAnswers()
	case 6, 7:
		w.brokerDelivers()
	case 8:
		w.clientReceives()
	case 9:
		if !w.slow || w.IntN(10) == 0 {
			w.clientAnswers()
		}
	case 10:
		w.storeCommits()
	case 11:
		switch w.IntN(20) {
		case 0:
			if w.persistent {
				w.dial()
			}
		case 1, 2:
			w.l.Trim()
		default:
			w.down = w.l.Drain(w.now, w.IntN(100), w.down)
			w.drops()
		}
	}
	w.l.check()
}

// settle lets everything come to its end.
func (w *world) settle() {
	for rounds := 0; w.busy(); rounds++ {
		if rounds > 10_000 {
			w.t.Fatalf("comes to no end: %+v", *w)
		}
		w.serverReceives()
		w.brokerAnswers()
		w.storeCommits()
		w.down = w.l.Answer(w.down)
		w.down = w.l.Drain(w.now, 1<<20, w.down)
		w.drops()
		w.push()
		w.clientReceives()
		w.clientAnswers()
		w.l.check()
	}
}

func (w *world) busy() bool {
	waiting, _ := w.l.Backlog()
	return len(w.up)+len(w.down)+len(w.routing)+len(w.commits)+len(w.answers)+len(w.publishes)+len(w.queue)+waiting > 0
}

func (w *world) clientPublishes() {
	p := &clientPublish{number: w.published + 1, qos: mqtt.QoS(w.IntN(3))}
	if p.qos > 0 {
		if w.quota == 0 {
			return
		}
		w.nextID = w.nextID%40 + 1
		if slices.ContainsFunc(w.publishes, func(q *clientPublish) bool { return q.id == w.nextID }) {
			return
		}
		p.id = w.nextID
		w.publishes = append(w.publishes, p)
	}
	w.sendPublish(p, false)
	w.published++
}

// serverReceives takes one packet off the link.
func (w *world) serverReceives() {
	f, n, err := mqtt.Cut(w.up, 1<<20)
	if err != nil {
		w.t.Fatal(err)
	}
	if n == 0 {
		return
	}
	frame := mqtt.Frame{First: f.First, Body: slices.Clone(f.Body)}
	w.up = w.up[n:]
	var p mqtt.Packet
	if err := mqtt.Decode(frame, w.connect.Version, &p); err != nil {
		w.t.Fatal(err)
	}
	var a Action
	a, w.down = w.l.Receive(&p, w.now, w.down)
	connection := w.connection
	switch a.Verb {
	case Route:
		number, err := strconv.Atoi(string(p.Publish.Payload))
		if err != nil {
			w.t.Fatal(err)
		}
		m := &inboundMessage{number: number, qos: p.Publish.QoS, id: p.Publish.PacketID, connection: connection}
		if m.qos == 2 && w.persistent {
			known, ok := w.committed[m.id]
			if ok && known != number {
				w.t.Fatalf("identifier %d is %d's and %d's", m.id, known, number)
			}
			w.committed[m.id] = number
			if !ok {
				w.accepted = append(w.accepted, number)
			} else if !slices.Contains(w.accepted, number) {
				w.t.Fatalf("%d is known but was never accepted", number)
			}
		} else if m.qos != 1 || !slices.Contains(w.accepted, number) {
			w.accepted = append(w.accepted, number)
		}
		if m.qos > 0 {
			w.routing = append(w.routing, m)
		}
	case Released:
		id := p.Ack.PacketID
		if w.persistent {
			w.commits = append(w.commits, func() {
				if connection == w.connection {
					delete(w.committed, id)
					w.down = w.l.SendComplete(id, w.now, w.down)
				}
			})
		}
	case Acked:
		if a.Handle != 0 {
			if _, ok := w.handles[a.Handle]; !ok {
				w.t.Fatalf("handle %d was not out", a.Handle)
			}
			delete(w.handles, a.Handle)
		}
		if w.persistent {
			w.commits = append(w.commits, func() { w.acked(a.Index, connection) })
		}
	case Received:
		if w.persistent {
			w.commits = append(w.commits, func() {
				if connection != w.connection {
					return // fenced
				}
				for _, m := range w.queue {
					if m.index == a.Index {
						m.received = true
					}
				}
				w.down = w.l.SendRelease(a.Index, w.down)
			})
		}
	case Fail:
		w.t.Fatalf("%v of %v", a, p.Kind)
	}
	w.drops()
}

func (w *world) acked(index uint64, connection int) {
	if connection == w.connection {
		w.queue = slices.DeleteFunc(w.queue, func(m *outboundMessage) bool { return m.index == index })
	}
}

func (w *world) storeCommits() {
	if len(w.commits) > 0 {
		w.commits[0]()
		w.commits = w.commits[1:]
	}
}

// brokerAnswers is done with any of the publishes.
func (w *world) brokerAnswers() {
	if len(w.routing) == 0 {
		return
	}
	i := w.IntN(len(w.routing))
	m := w.routing[i]
	w.routing = slices.Delete(w.routing, i, i+1)
	if m.connection == w.connection {
		w.l.Published(m.id, 0)
		if w.IntN(3) > 0 { // the broker answers several at once
			w.down = w.l.Answer(w.down)
		}
	}
}

// brokerDelivers makes a message for the client.
func (w *world) brokerDelivers() {
	w.offered++
	m := &outboundMessage{number: w.offered, qos: mqtt.QoS(w.IntN(3))}
	if w.persistent && m.qos > 0 {
		m.index = w.nextIndex
		w.nextIndex++
		w.queue = append(w.queue, m)
		w.expected[m.number] = int(m.qos)
		w.push()
		return
	}
	w.offer(m, false)
}

// push fills the committed window.
func (w *world) push() {
	for i, m := range w.queue {
		if i < 50 && !m.pushed {
			m.pushed = true
			w.offer(m, false)
		}
	}
}

func (w *world) offer(m *outboundMessage, dup bool) {
	borrowed := fmt.Appendf(nil, "down/%d%d", m.number%4, m.number)
	defer clear(borrowed)
	topic, err := router.ParseTopic(borrowed[:6])
	if err != nil {
		w.t.Fatal(err)
	}
	message := Message{Topic: topic, Payload: borrowed[6:], Received: w.now}
	d := Delivery{Message: &message, QoS: m.qos, Dup: dup, Index: m.index}
	if !w.persistent && w.IntN(3) == 0 {
		d.Handle = uint64(m.number)
	}
	if w.IntN(3) == 0 {
		d.IDs = []uint32{1, uint32(m.number)}
	}
	if w.IntN(2) == 0 {
		message.Share(&w.forms)
	}
	var o Outcome
	o, w.down = w.l.Deliver(&d, w.IntN(10) > 0, w.now, w.down)
	switch o {
	case Sent, Queued, Evicted:
		w.expected[m.number] = int(m.qos)
		if d.Handle != 0 && m.qos > 0 {
			w.handles[d.Handle] = m.number
		}
	case QueueFull:
		if w.persistent && m.qos > 0 {
			w.t.Fatal("committed delivery dropped")
		}
	default:
		w.t.Fatalf("outcome %v", o)
	}
	// What Live says to hold is what it holds.
	var out []uint64
	w.l.Outstanding(func(d *Delivery, sent bool) bool {
		if d.Handle != 0 {
			if string(d.Message.Payload) != strconv.Itoa(w.handles[d.Handle]) {
				w.t.Fatalf("handle %d has message %s", d.Handle, d.Message.Payload)
			}
			out = append(out, d.Handle)
		}
		return true
	})
	w.drops()
}

func (w *world) drops() {
	for _, d := range w.l.Drops() {
		if d.Outcome != Evicted || w.persistent {
			w.t.Fatalf("dropped %+v", d)
		}
		delete(w.handles, d.Handle)
		w.expected[-1]++ // which, the order of arrivals tells
	}
}

// clientReceives takes one packet off the link.
func (w *world) clientReceives() {
	f, n, err := mqtt.Cut(w.down, 1<<20)
	if err != nil {
		w.t.Fatal(err)
	}
	if n == 0 {
		return
	}
	frame := mqtt.Frame{First: f.First, Body: slices.Clone(f.Body)}
	w.down = w.down[n:]
	var p mqtt.Packet
	if err := mqtt.Decode(frame, w.connect.Version, &p); err != nil {
		w.t.Fatal(err)
	}
	id := p.Ack.PacketID
	switch p.Kind {
	case mqtt.PUBLISH:
		w.clientTopic(&p.Publish)
		w.clientGets(&p.Publish)
	case mqtt.PUBREL:
		delete(w.held, id)
		w.answers = append(w.answers, mqtt.Ack{Kind: mqtt.PUBCOMP, PacketID: id})
	case mqtt.PUBACK, mqtt.PUBCOMP:
		w.done(p.Kind, id)
	case mqtt.PUBREC:
		for _, q := range w.publishes {
			if q.id == id && q.qos == 2 {
				q.released = true
			}
		}
		w.send(&mqtt.Packet{Kind: mqtt.PUBREL, Ack: mqtt.Ack{Kind: mqtt.PUBREL, PacketID: id}})
	default:
		w.t.Fatalf("client got %v", p.Kind)
	}
}

// done ends the publish under id; PUBACKs come in order [MQTT-4.6.0-2].
func (w *world) done(kind mqtt.Kind, id uint16) {
	for i, q := range w.publishes {
		if q.id == id {
			if q.counted {
				w.quota++
			}
			w.publishes = slices.Delete(w.publishes, i, i+1)
			return
		}
		if q.qos == 1 && kind == mqtt.PUBACK {
			w.t.Fatalf("PUBACK %d before %d", id, q.id)
		}
	}
	w.t.Fatalf("%v for unknown %d", kind, id)
}

// clientTopic holds a topic, through its alias, against what the payload tells.
func (w *world) clientTopic(p *mqtt.Publish) {
	name := string(p.Topic)
	if p.TopicAlias != 0 && name == "" {
		name = w.topics[p.TopicAlias]
	} else if p.TopicAlias != 0 {
		w.topics[p.TopicAlias] = name
	}
	number, _ := strconv.Atoi(string(p.Payload))
	if want := fmt.Sprintf("down/%d", number%4); name != want {
		w.t.Fatalf("%d on %q, not %q", number, name, want)
	}
}

func (w *world) clientGets(p *mqtt.Publish) {
	number, err := strconv.Atoi(string(p.Payload))
	if err != nil {
		w.t.Fatal(err)
	}
	if p.QoS > 0 {
		if w.unacked[p.PacketID] {
			w.t.Fatalf("identifier %d in use for a second message", p.PacketID)
		}
		w.unacked[p.PacketID] = true
		if most := min(int(w.connect.ReceiveMaximum), int(w.limits.MaxInflight)); w.connect.Version == mqtt.V5 && len(w.unacked) > most && !w.persistent {
			w.t.Fatalf("%d in flight, not %d", len(w.unacked), most)
		}
	}
	switch {
	case p.QoS == 2 && w.held[p.PacketID]: // again, after a break
	case p.QoS == 1 && p.Dup && slices.Contains(w.arrived, number):
		w.duplicate[number] = true
	default:
		w.arrived = append(w.arrived, number)
	}
	switch p.QoS {
	case 1:
		w.answers = append(w.answers, mqtt.Ack{Kind: mqtt.PUBACK, PacketID: p.PacketID})
	case 2:
		w.held[p.PacketID] = true
		w.answers = append(w.answers, mqtt.Ack{Kind: mqtt.PUBREC, PacketID: p.PacketID})
	}
}

// clientAnswers sends any of its acknowledgements.
func (w *world) clientAnswers() {
	if len(w.answers) == 0 {
		return
	}
	i := w.IntN(len(w.answers))
	a := w.answers[i]
	w.answers = slices.Delete(w.answers, i, i+1)
	if a.Kind != mqtt.PUBREC {
		delete(w.unacked, a.PacketID)
	}
	w.send(&mqtt.Packet{Kind: a.Kind, Ack: a})
}

// judge compares what was promised with what came of it.
func (w *world) judge() {
	t := w.t
	lost := w.expected[-1]
	delete(w.expected, -1)

	// To the client: once each, in order per QoS. Those of a connection that
	// broke and were of QoS 0 may be missing.
	var last [3]int
	seen := map[int]bool{}
	for _, n := range w.arrived {
		qos, ok := w.expected[n]
		if !ok {
			t.Errorf("%d arrived, which nobody sent", n)
		}
		if seen[n] {
			t.Errorf("%d of QoS %d arrived twice", n, qos)
		}
		seen[n] = true
		if n < last[qos] {
			t.Errorf("%d of QoS %d arrived after %d", n, qos, last[qos])
		}
		last[qos] = n
	}
	missing := 0
	for n, qos := range w.expected {
		if !seen[n] && (qos > 0 || w.connection == 1) {
			missing++
		}
	}
	if missing != lost {
		t.Errorf("%d missing, %d told of", missing, lost)
	}
	if len(w.handles) != 0 {
		t.Errorf("handles never settled: %v", w.handles)
	}

	// From the client: once each; in order while nothing broke.
	if w.connection == 1 {
		if !slices.IsSorted(w.accepted) || len(w.accepted) != w.published {
			t.Errorf("accepted %v of %d", w.accepted, w.published)
		}
	}
	sorted := slices.Clone(w.accepted)
	slices.Sort(sorted)
	if len(slices.Compact(sorted)) != len(w.accepted) {
		t.Errorf("accepted twice: %v", w.accepted)
	}

	// And nothing is left.
	w.l.Trim()
	w.l.Trim()
	if w.l.traffic != nil {
		t.Errorf("left: %s", strings.ReplaceAll(fmt.Sprintf("%+v", *w.l.traffic), "\n", " "))
	}
}
