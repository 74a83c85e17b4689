package session

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"dunlin/proto/mqtt"
	"dunlin/router"
)

var update = flag.Bool("update", false, "rewrite the transcripts in testdata")

// TestTranscripts plays testdata/*.txt. Each line of a file is a command, or what
// came of the one above it: packets to the client behind ">", what the broker is
// told behind "!". Lines that begin with # are comment.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, string(want))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != string(want) {
				t.Errorf("%s differs (-update rewrites it); first difference:\n%s", file, firstDifference(got, string(want)))
			}
		})
	}
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range g {
		if i >= len(w) || g[i] != w[i] {
			return fmt.Sprintf("line %d\n got %q\nwant %q", i+1, g[i], strings.Join(w[min(i, len(w)):min(i+1, len(w))], ""))
		}
	}
	return fmt.Sprintf("line %d: got ends", len(g))
}

// play runs a transcript's commands and returns it with what comes of them now.
func play(t *testing.T, text string) string {
	p := &player{t: t, now: Time(time.Hour)}
	for line := range strings.Lines(text) {
		switch line[0] {
		case '>', '!':
			continue
		}
		p.out.WriteString(line)
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			p.run(line)
		}
	}
	return p.out.String()
}

// player is a Live with the commands that drive it.
type player struct {
	t       *testing.T
	l       Live
	version mqtt.Version
	now     Time
	forms   Forms
	out     strings.Builder

	command string
	args    map[string]string
}

func (p *player) str(key string) string { return p.args[key] }

func (p *player) has(key string) bool { _, ok := p.args[key]; return ok }

func (p *player) num(key string, otherwise uint64) uint64 {
	p.t.Helper()
	s, ok := p.args[key]
	if !ok {
		return otherwise
	}
	n, err := strconv.ParseUint(s, 0, 64)
	if err != nil {
		p.t.Fatalf("%s: %s=%s: %v", p.command, key, s, err)
	}
	return n
}

func (p *player) nums(key string) (ns []uint32) {
	for s := range strings.SplitSeq(p.args[key], ",") {
		if n, err := strconv.ParseUint(s, 0, 32); err == nil {
			ns = append(ns, uint32(n))
		}
	}
	return ns
}

func (p *player) bytes(key string) []byte {
	s, n, ok := strings.Cut(p.args[key], "*") // x*100 is a hundred x
	if count, err := strconv.Atoi(n); ok && err == nil {
		s = strings.Repeat(s, count)
	}
	return []byte(s)
}

func (p *player) run(line string) {
	p.t.Helper()
	p.command, p.args = line, map[string]string{}
	fields := strings.Fields(line)
	for _, f := range fields[1:] {
		k, v, _ := strings.Cut(f, "=")
		p.args[k] = v
	}
	reason := mqtt.Reason(p.num("reason", 0))
	id := uint16(p.num("id", 0))
	index := p.num("index", 0)

	switch name := fields[0]; name {
	case "connect":
		p.version = mqtt.Version(p.num("v", 5))
		c := mqtt.Connect{
			Version: p.version, SessionExpiry: uint32(p.num("expiry", 0)),
			ReceiveMaximum: uint16(p.num("receive-maximum", 65535)), MaximumPacketSize: uint32(p.num("maximum-packet-size", 0)),
			TopicAliasMaximum: uint16(p.num("topic-alias-maximum", 0)), HasAuthMethod: p.has("auth"),
		}
		p.l.Connect(&c, Limits{
			ReceiveMaximum: uint16(p.num("limit-receive-maximum", 10)), TopicAliasMaximum: uint16(p.num("limit-topic-alias-maximum", 0)),
			SendAliasMaximum: uint16(p.num("limit-send-alias-maximum", 10)), MaxInflight: uint16(p.num("limit-inflight", 10)),
			MaxQueueMessages: int(p.num("limit-queue", 10)), MaxQueueBytes: int(p.num("limit-queue-bytes", 10000)), DropOldest: p.has("drop-oldest"),
		}, p.has("persistent"), p.now)
	case "wait":
		d, err := time.ParseDuration(fields[1])
		if err != nil {
			p.t.Fatalf("%s: %v", line, err)
		}
		p.now += Time(d)

	case "published":
		p.l.Published(id, reason)
		p.sent(p.l.Answer(nil))
	case "subscribed", "unsubscribed":
		var reasons []mqtt.Reason
		for _, r := range p.nums("reasons") {
			reasons = append(reasons, mqtt.Reason(r))
		}
		if name == "subscribed" {
			p.sent(p.l.Subscribed(id, reasons, nil))
		} else {
			p.sent(p.l.Unsubscribed(id, reasons, nil))
		}
	case "send-release":
		p.sent(p.l.SendRelease(index, nil))
	case "send-complete":
		p.sent(p.l.SendComplete(id, p.now, nil))
	case "resume-release":
		p.sent(p.l.ResumeRelease(index, nil))
	case "resume-inbound":
		var ids []uint16
		for _, id := range p.nums("ids") {
			ids = append(ids, uint16(id))
		}
		p.l.ResumeInbound(ids)
	case "server-disconnect":
		p.sent(p.l.Disconnect(reason, nil))
	case "deliver":
		borrowed := p.bytes("topic")
		defer clear(borrowed) // Live has what it keeps
		topic, err := router.ParseTopic(borrowed)
		if err != nil {
			p.t.Fatalf("%s: %v", line, err)
		}
		m := Message{
			Topic: topic, Payload: p.bytes("payload"), QoS: mqtt.QoS(p.num("qos", 0)),
			HasExpiry: p.has("expiry"), Expiry: uint32(p.num("expiry", 0)), Received: p.now - Time(p.num("age", 0))*Time(time.Second),
		}
		if p.has("content-type") {
			m.Properties = m.Properties.AppendContentType(p.str("content-type"))
		}
		m.Share(&p.forms)
		for range p.num("times", 1) {
			o, out := p.l.Deliver(&Delivery{
				Message: &m, QoS: m.QoS, Retain: p.has("retain"), Dup: p.has("dup"), IDs: p.nums("ids"),
				Handle: p.num("handle", 0), Index: index,
			}, !p.has("not-ready"), p.now, nil)
			fmt.Fprintf(&p.out, "! %v\n", o)
			p.sent(out)
		}
	case "drain":
		p.sent(p.l.Drain(p.now, int(p.num("max", 1<<20)), nil))
	case "outstanding":
		p.l.Outstanding(func(d *Delivery, sent bool) bool {
			fmt.Fprintf(&p.out, "! QoS %d", d.QoS)
			if sent {
				fmt.Fprintf(&p.out, " sent index=%d", d.Index)
			}
			if d.Message != nil {
				fmt.Fprintf(&p.out, " topic=%s payload=%s", d.Message.Topic, d.Message.Payload)
			}
			if d.Handle != 0 {
				fmt.Fprintf(&p.out, " handle=%d", d.Handle)
			}
			p.out.WriteByte('\n')
			return true
		})
	case "backlog":
		waiting, _ := p.l.Backlog()
		fmt.Fprintf(&p.out, "! in flight %d, waiting %d, for the socket %v\n", p.l.Inflight(), waiting, p.l.Waiting())
	case "trim":
		p.l.Trim()
		fmt.Fprintf(&p.out, "! traffic %v\n", p.l.traffic != nil)

	case "publish":
		p.receive(&mqtt.Packet{Kind: mqtt.PUBLISH, Publish: mqtt.Publish{
			Dup: p.has("dup"), Retain: p.has("retain"), QoS: mqtt.QoS(p.num("qos", 0)), PacketID: id, Topic: p.bytes("topic"), Payload: p.bytes("payload"),
			TopicAlias: uint16(p.num("alias", 0)), SubscriptionIDs: p.nums("ids"),
		}})
	case "connect-packet":
		p.receive(&mqtt.Packet{Kind: mqtt.CONNECT})
	case "ping":
		p.receive(&mqtt.Packet{Kind: mqtt.PINGREQ})
	case "disconnect":
		p.receive(&mqtt.Packet{Kind: mqtt.DISCONNECT, Disconnect: mqtt.Disconnect{
			Reason: reason, HasSessionExpiry: p.has("expiry"), SessionExpiry: uint32(p.num("expiry", 0)),
		}})
	case "auth":
		p.receive(&mqtt.Packet{Kind: mqtt.AUTH, Auth: mqtt.Auth{Reason: mqtt.Reason(p.num("reason", 0x19)), Method: []byte("m")}})
	default: // any other packet, by its name
		k := mqtt.CONNECT
		for !strings.EqualFold(k.String(), name) {
			if k++; k > mqtt.AUTH {
				p.t.Fatalf("unknown command %q", line)
			}
		}
		filters := p.num("filters", 1)
		p.receive(&mqtt.Packet{
			Kind: k, Ack: mqtt.Ack{Kind: k, PacketID: id, Reason: reason},
			Subscribe:   mqtt.Subscribe{PacketID: id, Filters: make([]mqtt.Subscription, filters)},
			Unsubscribe: mqtt.Unsubscribe{PacketID: id, Filters: make([][]byte, filters)},
		})
	}
	for _, d := range p.l.Drops() {
		fmt.Fprintf(&p.out, "! dropped: %v index=%d handle=%d\n", d.Outcome, d.Index, d.Handle)
	}
	p.l.check()
}

func (p *player) receive(packet *mqtt.Packet) {
	a, out := p.l.Receive(packet, p.now, nil)
	if a.Verb != Nothing {
		fmt.Fprintf(&p.out, "! %v", a.Verb)
		switch a.Verb {
		case Route:
			fmt.Fprintf(&p.out, " topic=%s", packet.Publish.Topic)
		case Released:
			fmt.Fprintf(&p.out, " id=%d", packet.Ack.PacketID)
		case Acked, Received:
			fmt.Fprintf(&p.out, " index=%d", a.Index)
			if a.Handle != 0 {
				fmt.Fprintf(&p.out, " handle=%d", a.Handle)
			}
		}
		if a.Reason != 0 || a.Verb == Bye {
			fmt.Fprintf(&p.out, " reason=0x%02x", uint8(a.Reason))
		}
		p.out.WriteByte('\n')
	}
	if a.Verb == Fail {
		out = p.l.Disconnect(a.Reason, out)
	}
	p.sent(out)
}

// sent writes down the packets in out.
func (p *player) sent(out []byte) {
	p.t.Helper()
	var packet mqtt.Packet
	for len(out) > 0 {
		f, n, err := mqtt.Cut(out, 1<<28)
		if err != nil || n == 0 {
			p.t.Fatalf("%s: no packet in % x: %v", p.command, out, err)
		}
		if err := mqtt.Decode(f, p.version, &packet); err != nil {
			p.t.Fatalf("%s: % x: %v", p.command, out[:n], err)
		}
		if err := packet.FromServer(p.version); err != nil {
			p.t.Fatalf("%s: % x: %v", p.command, out[:n], err)
		}
		fmt.Fprintf(&p.out, "> %s\n", describe(&packet))
		out = out[n:]
	}
}

// describe is a packet from the server in one line.
func describe(p *mqtt.Packet) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v", p.Kind)
	reason := func(r mqtt.Reason) {
		if r != 0 {
			fmt.Fprintf(&b, " reason=0x%02x", uint8(r))
		}
	}
	switch p.Kind {
	case mqtt.PUBLISH:
		q := &p.Publish
		fmt.Fprintf(&b, " qos=%d", q.QoS)
		if q.QoS > 0 {
			fmt.Fprintf(&b, " id=%d", q.PacketID)
		}
		if q.Dup {
			b.WriteString(" dup")
		}
		if q.Retain {
			b.WriteString(" retain")
		}
		fmt.Fprintf(&b, " topic=%s", q.Topic)
		if q.TopicAlias != 0 {
			fmt.Fprintf(&b, " alias=%d", q.TopicAlias)
		}
		if q.HasExpiry {
			fmt.Fprintf(&b, " expiry=%d", q.MessageExpiry)
		}
		for _, id := range q.SubscriptionIDs {
			fmt.Fprintf(&b, " subscription=%d", id)
		}
		if ct, ok := q.Properties.ContentType(); ok {
			fmt.Fprintf(&b, " content-type=%s", ct)
		}
		if len(q.Payload) > 20 {
			fmt.Fprintf(&b, " payload=(%d bytes)", len(q.Payload))
		} else {
			fmt.Fprintf(&b, " payload=%s", bytes.TrimSpace(q.Payload))
		}
	case mqtt.PUBACK, mqtt.PUBREC, mqtt.PUBREL, mqtt.PUBCOMP:
		fmt.Fprintf(&b, " id=%d", p.Ack.PacketID)
		reason(p.Ack.Reason)
	case mqtt.SUBACK, mqtt.UNSUBACK:
		fmt.Fprintf(&b, " id=%d", p.Suback.PacketID)
		for _, r := range p.Suback.Reasons {
			fmt.Fprintf(&b, " 0x%02x", uint8(r))
		}
	case mqtt.DISCONNECT:
		reason(p.Disconnect.Reason)
	}
	return b.String()
}
