package broker

import (
	"strings"
	"time"

	"dunlin/proto/mqtt"
	"dunlin/router"
	"dunlin/session"
)

// statusEvery is how often a node publishes what it tells of itself.
const statusEvery = session.Time(10 * time.Second)

// statusPrefix begins the topics of a node's own messages. They are about the
// node that one is connected to: they are neither forwarded nor stored, and a new
// subscription gets the values of the moment, as if they were retained.
const statusPrefix = "$SYS/"

// publishStatus sends the node's values to its subscribers when they are due.
func (w *worker) publishStatus() {
	if w.index != 0 || w.Status == nil || w.now() < w.statusDue {
		return
	}
	w.statusDue = w.now() + statusEvery
	w.eachStatus(func(m *session.Message) {
		ms := &w.matches
		w.table.Match(m.Topic, 0, ms)
		w.beginMessage()
		var here judgement
		for i := range ms.Local {
			w.offer(m, ms.Local[i], ms.IDs(ms.Local[i]), &here)
		}
	})
}

// sendStatus gives a new subscription the values that it asks for.
func (w *worker) sendStatus(c *conn, r *replay) {
	if w.Status == nil || !strings.HasPrefix(r.filter.Pattern(), statusPrefix) {
		return
	}
	w.eachStatus(func(m *session.Message) {
		if r.filter.Matches(m.Topic) {
			w.replayOne(c, r, m)
		}
	})
}

// eachStatus calls visit with a message for each of the node's values.
func (w *worker) eachStatus(visit func(*session.Message)) {
	w.Status(func(topic, value string) {
		t, err := router.ParseTopic([]byte(topic))
		if err != nil {
			panic("broker: status topic " + topic + ": " + err.Error())
		}
		m := &w.message
		*m = session.Message{Topic: t, Payload: []byte(value), QoS: mqtt.QoS(0), Retain: true, Received: w.now()}
		visit(m)
	})
}
