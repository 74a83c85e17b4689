package client

import (
	"time"

	"dunlin/e2e/chaos/history"
	"dunlin/proto/mqtt"
)

// line is one connection that does one thing at a time: what a Reader and the
// Rivals are made of.
type line struct {
	*conn
	id      string
	rec     *history.Recorder
	answer  time.Duration
	expiry  time.Duration
	lastID  uint16
	reading string // topic
	newest  string // payload of the newest message that came on it
	came    bool   // there was one
	marks   int    // how often the mark of this line came
	lingers bool   // any message will do
}

// connectLine opens a connection and sends CONNECT; nil if it is not accepted.
func connectLine(id string, node Node, expiry, answer time.Duration, rec *history.Recorder) *line {
	conn, err := dial(node, rec.NextConn(id), answer, rec)
	if err != nil {
		return nil
	}
	l := &line{conn: conn, id: id, rec: rec, answer: answer, expiry: expiry}
	e := history.Event{Op: history.Connect, Expiry: expiry, Clean: expiry == 0, Invoke: rec.Now()}
	conn.send(&mqtt.Connect{
		Version: mqtt.V5, ClientID: []byte(id), CleanStart: e.Clean, SessionExpiry: uint32(expiry / time.Second),
		RequestProblemInfo: true,
	})
	a, ok := l.await(mqtt.CONNACK)
	if ok {
		ack := a.packet.Connack
		e.Reason, e.Present = ack.Reason, ack.SessionPresent
	}
	l.done(e, a.at, ok)
	if !ok || e.Reason.Failed() {
		conn.close()
		return nil
	}
	conn.alive = a.at
	return l
}

// done records an operation with its answer, if there was one.
func (l *line) done(e history.Event, at time.Duration, ok bool) {
	e.Client, e.Conn, e.Node = l.id, l.number, l.node.Name
	switch {
	case !ok:
		e.Return, e.Outcome = history.Never, history.Unknown
	case e.Reason.Failed():
		e.Return, e.Outcome = at, history.Fail
	default:
		e.Return, e.Outcome = at, history.OK
	}
	l.rec.Event(e)
}

// await takes packets until one of this kind comes, of messages the mark. Other
// messages are recorded and acknowledged. It is false when none comes in time.
func (l *line) await(k mqtt.Kind) (a arrived, ok bool) { return l.awaitFor(k, l.answer) }

func (l *line) awaitFor(k mqtt.Kind, patience time.Duration) (a arrived, ok bool) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		select {
		case a, ok = <-l.packets:
			if !ok {
				return a, false
			}
			l.alive = a.at
			switch a.packet.Kind {
			case mqtt.PUBLISH:
				l.deliver(a)
				if k == mqtt.PUBLISH && (l.marks > 0 || l.lingers) {
					return a, true
				}
			case k:
				return a, true
			case mqtt.DISCONNECT:
				return a, false
			}
		case <-timer.C:
			return a, false
		}
	}
}

func (l *line) deliver(a arrived) {
	p := &a.packet.Publish
	if string(p.Topic) == l.mark() {
		l.send(&mqtt.Ack{Kind: mqtt.PUBACK, PacketID: p.PacketID})
		l.marks++
		return
	}
	e := history.Event{
		Op: history.Deliver, Invoke: a.at, Topic: string(p.Topic), Payload: string(p.Payload),
		QoS: p.QoS, Retain: p.Retain, Dup: p.Dup, PacketID: p.PacketID, Fresh: true, Acked: true,
	}
	if p.QoS == 1 {
		l.send(&mqtt.Ack{Kind: mqtt.PUBACK, PacketID: p.PacketID})
	}
	if e.Topic == l.reading {
		l.newest, l.came = e.Payload, true
	}
	l.done(e, a.at, true)
}

// subscribe asks for a filter with QoS 1, and for what is retained.
func (l *line) subscribe(filter string) bool {
	l.lastID++
	e := history.Event{Op: history.Subscribe, Filter: filter, QoS: 1, Invoke: l.rec.Now()}
	l.send(&mqtt.Subscribe{PacketID: l.lastID, Filters: []mqtt.Subscription{{Filter: []byte(filter), QoS: 1}}})
	return l.confirm(e, mqtt.SUBACK)
}

func (l *line) unsubscribe(filter string) bool {
	l.lastID++
	e := history.Event{Op: history.Unsubscribe, Filter: filter, Invoke: l.rec.Now()}
	l.send(&mqtt.Unsubscribe{PacketID: l.lastID, Filters: [][]byte{[]byte(filter)}})
	return l.confirm(e, mqtt.UNSUBACK)
}

func (l *line) confirm(e history.Event, k mqtt.Kind) bool {
	a, ok := l.await(k)
	if ok && len(a.packet.Suback.Reasons) == 1 {
		e.Reason = a.packet.Suback.Reasons[0]
	}
	l.done(e, a.at, ok)
	return ok
}

// mark is a topic of the line's own with a retained message, which is no part of
// the history. A connection's replays come in the order of its SUBSCRIBEs: when
// the mark has come, all that was asked for before it has.
func (l *line) mark() string { return "mark/" + l.id }

// setMark has the server retain the mark.
func (l *line) setMark() bool {
	l.lastID++
	l.send(&mqtt.Publish{Topic: []byte(l.mark()), Payload: []byte("mark"), QoS: 1, Retain: true, PacketID: l.lastID})
	a, ok := l.await(mqtt.PUBACK)
	return ok && !a.packet.Ack.Reason.Failed()
}

// reachMark waits until everything has come that is retained under the filters
// asked for, and says when.
func (l *line) reachMark() (at time.Duration, ok bool) {
	l.lastID++
	l.marks = 0
	l.send(&mqtt.Subscribe{PacketID: l.lastID, Filters: []mqtt.Subscription{{Filter: []byte(l.mark()), QoS: 1}}})
	if _, ok := l.await(mqtt.SUBACK); !ok {
		return 0, false
	}
	if l.marks == 0 {
		if a, ok := l.await(mqtt.PUBLISH); !ok {
			return a.at, false
		}
	}
	return l.alive, true
}

// linger waits a while for any message, if none has come since SUBSCRIBE: what
// is written just then is left out of the replay and comes live. It is false if the
// connection ends.
func (l *line) linger(patience time.Duration) (at time.Duration, ok bool) {
	if l.came {
		return l.alive, true
	}
	l.lingers = true
	defer func() { l.lingers = false }()
	began := l.rec.Now()
	if _, ok := l.awaitFor(mqtt.PUBLISH, patience); !ok && l.rec.Now()-began < patience {
		return 0, false
	}
	return l.rec.Now(), true
}

// end drops the connection.
func (l *line) end() {
	e := history.Event{Op: history.End, Cause: history.Dropped, Expiry: l.expiry, Invoke: l.alive}
	l.close()
	l.done(e, l.rec.Now(), true)
}
