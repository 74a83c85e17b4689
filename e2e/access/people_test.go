package access

import (
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"dunlin/e2e/harness"
	"dunlin/proto/mqtt"
)

// message is one that somebody wants to have published.
type message struct {
	payload, topic string
	qos            mqtt.QoS
	retain         bool
	allowed        bool // it may have been published
	epoch          int  // of the rules when it was
}

// role is how a person behaves in a round.
type role int

const (
	live    role = iota // takes and acknowledges whatever comes
	stored              // likewise; the session outlives the connection
	offline             // has a stored session, and is away until the rules have changed
	stuck               // acknowledges nothing until the rules have changed, and may be sent one at a time
	broken              // stuck, with a stored session; comes back after the rules have changed
	member              // of a share group that is drawn by nodes
	worker              // of a share group that is a queue, with a stored session
	roles
)

var roleNames = [roles]string{"live", "stored", "offline", "stuck", "broken", "member", "worker"}

func (r role) keeps() bool  { return r == stored || r == offline || r == broken || r == worker }
func (r role) stalls() bool { return r == stuck || r == broken }
func (r role) shares() bool { return r == member || r == worker }

// group is the share group of a role.
func (r role) group() string { return "$share/" + roleNames[r] + "s/" }

// person is a client in a round, and what the model knows of it.
type person struct {
	w  *world
	as identity

	role    role
	version mqtt.Version
	node    *harness.Node
	conn    *harness.Client // nil: away
	qos     mqtt.QoS        // of all its subscriptions
	filters []string        // granted, without $share
	will    *message        // that its connection has

	got      map[string]int  // by payload, on any connection of this round
	owed     map[string]bool // payloads that must come
	waiting  []*message      // that it may have when the rules have changed, if these let it
	unacked  []*mqtt.Publish // that it holds back
	answers  []*mqtt.Packet  // of its own requests
	asking   []string        // filters of the SUBSCRIBE under way
	early    []string        // topics of what came before its SUBACK, as it may (3.8.4)
	aliases  map[string]uint16
	released bool // it does not hold back any more
}

// connect connects, with a will perhaps, and checks what is said to that.
func (p *person) connect(clean bool, will *message) {
	p.w.t.Helper()
	c := mqtt.Connect{Version: p.version, CleanStart: clean, ClientID: []byte(p.as.client)}
	if p.as.user != "" && p.as.cert == "" {
		c.HasUsername, c.Username, c.HasPassword, c.Password = true, []byte(p.as.user), true, []byte("secret")
	}
	if p.role.keeps() {
		c.SessionExpiry = 1000
		if p.version != mqtt.V5 {
			c.CleanStart = false
		}
	}
	if p.role.stalls() {
		c.ReceiveMaximum = 1
	}
	if will != nil {
		c.HasWill = true
		c.Will = mqtt.Will{Topic: []byte(will.topic), Payload: []byte(will.payload), QoS: will.qos, Retain: will.retain}
	}
	p.conn = p.dial()
	p.conn.Greet(c)
	p.aliases = make(map[string]uint16)
	p.will = will
	want := mqtt.Success
	if will != nil && !p.w.now.mayLeave(p.as, will.topic, int(will.qos), will.retain) {
		want = mqtt.NotAuthorized
	}
	if got := p.conn.Connack.Reason; got != want {
		p.w.t.Fatalf("%v: CONNACK %v instead of %v, with the will %v", p, got, want, will)
	}
	if want != mqtt.Success {
		p.connect(clean, nil)
	}
}

func (p *person) dial() *harness.Client {
	p.w.t.Helper()
	if p.as.cert == "" {
		return harness.Dial(p.w.t, p.node.MQTT)
	}
	pair := p.w.pairs[p.as.cert]
	conn, err := tls.Dial("tcp", p.node.MQTTS, &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{pair}})
	if err != nil {
		p.w.t.Fatal(err)
	}
	return harness.Over(p.w.t, conn)
}

func (p *person) String() string {
	return fmt.Sprintf("%s client %q, user %q, certificate %q", roleNames[p.role], p.as.client, p.as.user, p.as.cert)
}

// subscribe asks for filters in one SUBSCRIBE, and checks the answer to each. What is
// retained is owed where it is granted.
func (p *person) subscribe(filters []string) {
	t := p.w.t
	t.Helper()
	s := &mqtt.Subscribe{PacketID: p.conn.NextID()}
	for _, f := range filters {
		if p.role.shares() {
			f = p.role.group() + f
		}
		s.Filters = append(s.Filters, mqtt.Subscription{Filter: []byte(f), QoS: p.qos})
	}
	owed := p.w.retainedFor(filters)
	if p.role.stalls() || p.role.shares() {
		owed = nil // these may be another value by the time they come; or do not come
	}
	p.asking = filters
	p.conn.Send(s)
	reasons := p.answer(mqtt.SUBACK, s.PacketID).Suback.Reasons
	var given []string
	for i, f := range filters {
		granted := reasons[i] == mqtt.Reason(p.qos)
		if !granted && reasons[i] != mqtt.NotAuthorized && (p.version == mqtt.V5 || reasons[i] != 0x80) {
			t.Fatalf("%v: SUBACK %v for %q", p, reasons[i], f)
		}
		must := p.w.now.mustGrant(p.as, f, int(p.qos))
		if granted && must < 0 || !granted && must > 0 {
			t.Errorf("%v: %q granted %v with QoS %d", p, f, granted, p.qos)
		}
		if granted {
			given = append(given, f)
			p.w.count("filters granted")
		} else {
			p.w.count("filters refused")
		}
	}
	for _, m := range owed {
		if matchesAny(given, m.topic) && p.got[m.payload] == 0 {
			p.owe(m, min(m.qos, p.qos))
		}
	}
}

func (p *person) isSubscribed(topic string) bool { return matchesAny(p.filters, topic) }

func matchesAny(filters []string, topic string) bool {
	return slices.ContainsFunc(filters, func(f string) bool { return matches(f, topic) })
}

// owe notes a message for a subscription of p's: it has to come if the rules let it, now
// or, if it waits, then.
func (p *person) owe(m *message, qos mqtt.QoS) {
	switch {
	case qos == 0:
	case p.conn == nil:
		p.waiting = append(p.waiting, m)
	case p.role.stalls() && !p.released:
		// It is judged when it arrives here, and again when it is sent.
		if p.w.now.mayReceive(p.as, m.topic, int(qos)) {
			p.waiting = append(p.waiting, m)
		}
	case p.w.now.mayReceive(p.as, m.topic, int(qos)):
		p.owed[m.payload] = true
	}
}

// publish publishes, and checks the answer.
func (p *person) publish(m *message) {
	p.w.t.Helper()
	m.allowed = p.w.now.mayPublish(p.as, m.topic, int(m.qos), m.retain)
	pub := mqtt.Publish{Topic: []byte(m.topic), Payload: []byte(m.payload), QoS: m.qos, Retain: m.retain}
	if p.version == mqtt.V5 && p.w.IntN(2) == 0 {
		if alias := p.aliases[m.topic]; alias != 0 {
			pub.Topic, pub.TopicAlias = nil, alias // case 18
			p.w.count("by alias")
		} else if len(p.aliases) < 8 {
			alias = uint16(len(p.aliases) + 1)
			p.aliases[m.topic], pub.TopicAlias = alias, alias
		}
	}
	if m.qos > 0 {
		pub.PacketID = p.conn.NextID()
	}
	p.w.expect(m)
	p.conn.Send(&pub)
	if !m.allowed {
		p.w.count("publishes refused")
	}
	var kind mqtt.Kind
	switch m.qos {
	case 0:
		return
	case 1:
		kind = mqtt.PUBACK
	case 2:
		kind = mqtt.PUBREC
	}
	reason := p.answer(kind, pub.PacketID).Ack.Reason
	if p.version == mqtt.V5 && (reason == mqtt.NotAuthorized) == m.allowed || reason >= 0x80 && reason != mqtt.NotAuthorized {
		p.w.t.Errorf("%v: %v %v for %v", p, kind, reason, m)
	}
	if m.qos == 2 && reason < 0x80 {
		p.conn.Send(&mqtt.Ack{Kind: mqtt.PUBREL, PacketID: pub.PacketID})
		p.answer(mqtt.PUBCOMP, pub.PacketID)
	}
}

// answer waits for the answer to a request.
func (p *person) answer(kind mqtt.Kind, id uint16) (found *mqtt.Packet) {
	p.w.t.Helper()
	harness.Eventually(p.w.t, fmt.Sprintf("%v of %v", kind, p), func() error {
		p.pump()
		for i, a := range p.answers {
			if a.Kind == kind && (a.Ack.PacketID == id && kind != mqtt.SUBACK || kind == mqtt.SUBACK && a.Suback.PacketID == id || kind == mqtt.PINGRESP) {
				found = a
				p.answers = slices.Delete(p.answers, i, i+1)
				return nil
			}
		}
		return fmt.Errorf("%d other answers", len(p.answers))
	})
	return found
}

// pump takes what has come.
func (p *person) pump() {
	for p.conn != nil && p.conn.Waiting() {
		packet, err := p.conn.Next()
		if err != nil {
			p.w.t.Fatalf("%v: %v", p, err)
		}
		switch packet.Kind {
		case mqtt.PUBLISH:
			p.take(&packet.Publish)
		case mqtt.PUBREL:
			p.conn.Send(&mqtt.Ack{Kind: mqtt.PUBCOMP, PacketID: packet.Ack.PacketID})
		case mqtt.DISCONNECT:
			p.w.t.Fatalf("%v: %s", p, harness.Describe(packet))
		case mqtt.SUBACK:
			for i, reason := range packet.Suback.Reasons {
				if reason < 0x80 {
					p.filters = append(p.filters, p.asking[i]) // what is behind it may be for that
				}
			}
			for _, topic := range p.early {
				p.mustAskFor(topic)
			}
			p.asking, p.early = nil, nil
			fallthrough
		default:
			p.answers = append(p.answers, packet)
		}
	}
}

// take judges a message that was delivered, by the rules of now.
func (p *person) take(pub *mqtt.Publish) {
	topic := string(pub.Topic)
	if topic == "" {
		p.w.t.Fatalf("%v: an alias, which it has not allowed", p)
	}
	p.w.count("delivered")
	if pub.Retain {
		p.w.count("retained")
	}
	if !p.w.mayHave(p.as, topic, pub) {
		p.w.t.Errorf("%v: has %q on %q with QoS %d, which it may not", p, pub.Payload, topic, pub.QoS)
	}
	if p.asking == nil {
		p.mustAskFor(topic)
	} else {
		p.early = append(p.early, topic)
	}
	if !strings.HasPrefix(topic, "$SYS/") {
		m := p.w.messages[string(pub.Payload)]
		switch {
		case m == nil || m.topic != topic:
			p.w.t.Errorf("%v: has %q on %q: nobody has published that", p, pub.Payload, topic)
		case !m.allowed:
			p.w.t.Errorf("%v: has %v, which was not allowed", p, m)
		}
		p.got[string(pub.Payload)]++
		delete(p.owed, string(pub.Payload))
		if p.role.shares() {
			p.w.shared(p, string(pub.Payload))
		}
	}
	if p.role.stalls() && !p.released {
		if pub.QoS > 0 {
			p.unacked = append(p.unacked, pub)
		}
		return
	}
	p.acknowledge(pub)
}

func (p *person) mustAskFor(topic string) {
	if !p.isSubscribed(topic) {
		p.w.t.Errorf("%v: has a message on %q, and has only subscribed to %q", p, topic, p.filters)
	}
}

func (p *person) acknowledge(pub *mqtt.Publish) {
	switch pub.QoS {
	case 1:
		p.conn.Send(&mqtt.Ack{Kind: mqtt.PUBACK, PacketID: pub.PacketID})
	case 2:
		p.conn.Send(&mqtt.Ack{Kind: mqtt.PUBREC, PacketID: pub.PacketID})
	}
}

// isBehind says that p, which holds its acknowledgements back, was not sent yet what it may
// be sent without them.
func (p *person) isBehind() bool {
	switch {
	case p.conn == nil || !p.role.stalls() || p.released || len(p.waiting) == 0:
		return false
	case p.version == mqtt.V5:
		return len(p.unacked) == 0
	}
	return slices.ContainsFunc(p.waiting, func(m *message) bool { return p.got[m.payload] == 0 })
}

// goOn ends what a person has waited with: the rules have changed, and what it was sent
// no answer to, or not sent at all, is owed by these.
func (p *person) goOn() {
	waiting := p.waiting
	p.waiting, p.released = nil, true
	inFlight := make(map[string]bool)
	for _, pub := range p.unacked {
		inFlight[string(pub.Payload)] = true
	}
	unacked := p.unacked
	p.unacked = nil
	switch p.role {
	case offline, broken:
		if p.conn != nil {
			p.conn.Drop()
			p.conn = nil
		}
		p.node = p.w.someNode()
		p.connect(false, nil)
		inFlight = nil // it is sent once more, if that is allowed
		p.w.count("resumed")
	}
	for _, m := range waiting {
		if !inFlight[m.payload] {
			p.owe(m, min(m.qos, p.qos))
		}
	}
	if p.role == stuck {
		for _, pub := range unacked {
			p.acknowledge(pub)
		}
	}
}

// pick is some of all.
func pick[T any](r *rand.Rand, all []T, n int) (some []T) {
	for _, i := range r.Perm(len(all))[:min(n, len(all))] {
		some = append(some, all[i])
	}
	return some
}
