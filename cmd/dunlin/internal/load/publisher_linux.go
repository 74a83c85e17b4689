package load

import (
	"encoding/binary"

	"dunlin/proto/mqtt"
)

// publisher is one connection's messages: encoded once, numbered and stamped in
// place for each write.
type publisher struct {
	index    int
	conn     *conn
	progress *progress
	scenario Scenario
	acked    uint64

	batch   []byte // Scenario.Batch messages
	size    int    // of one
	id      int    // offset of its packet identifier
	payload int    // and of its payload
	due     bool   // listed to be looked at before the loop waits
}

// The payload begins with the publisher's index, the message's number and the
// time before the write.
const (
	atPublisher = 0
	atNumber    = 4
	atTime      = 12
)

func newPublisher(s Scenario, index int, c *conn) *publisher {
	p := &publisher{index: index, conn: c, progress: newProgress(s), scenario: s}
	payload := make([]byte, Payload)
	binary.BigEndian.PutUint32(payload[atPublisher:], uint32(index))
	m := mqtt.Publish{QoS: mqtt.QoS(s.QoS), Topic: []byte(s.topic(index)), Payload: payload}
	if s.QoS > 0 {
		m.PacketID = 1
	}
	for range s.Batch {
		p.batch = m.Append(p.batch, mqtt.V311)
	}
	p.size = len(p.batch) / s.Batch
	p.payload = p.size - Payload
	p.id = p.payload - 2
	return p
}

// room is the number of messages that the window has room for.
func (p *publisher) room() int {
	underway := p.progress.underway()
	if p.scenario.QoS > 0 {
		underway = max(underway, int(p.progress.sent-p.acked))
	}
	return p.scenario.Window - underway
}

// fill sends what the window allows, in writes as full as they can be: without
// acknowledgements to wait for, a half-full one waits for more room.
func (p *publisher) fill() error {
	for {
		n := min(p.room(), p.scenario.Batch)
		if n <= 0 || p.scenario.QoS == 0 && n < p.scenario.Batch || len(p.conn.out) > 0 {
			return nil
		}
		if err := p.send(n); err != nil {
			return err
		}
	}
}

// send writes the next n messages.
func (p *publisher) send(n int) error {
	now := monotonic()
	for i := range n {
		m := p.batch[i*p.size : (i+1)*p.size]
		number := p.progress.sent
		p.progress.sent++
		if p.scenario.QoS > 0 {
			binary.BigEndian.PutUint16(m[p.id:], uint16(number%65535)+1)
		}
		binary.BigEndian.PutUint64(m[p.payload+atNumber:], number)
		binary.BigEndian.PutUint64(m[p.payload+atTime:], uint64(now))
	}
	return p.conn.write(p.batch[:n*p.size])
}
