package fuzz

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"dunlin/e2e/harness"
	"dunlin/proto/mqtt"
)

// bystander is a publisher and a subscriber that behave, on two nodes. Whatever others do,
// both keep their connections, and the messages come once each and in order.
type bystander struct {
	topic    string
	qos      mqtt.QoS
	pub, sub *harness.Client
	patience time.Duration
	acked    atomic.Uint64 // as the publisher was told
}

// newBystander connects both.
func newBystander(t testing.TB, name string, from, to string, qos mqtt.QoS, stored bool, patience time.Duration) *bystander {
	t.Helper()
	b := &bystander{topic: "by/" + name, qos: qos, patience: patience}
	hello := func(id string) mqtt.Connect {
		c := mqtt.Connect{ClientID: []byte(id), CleanStart: true}
		if stored {
			c.SessionExpiry = 60
		}
		return c
	}
	b.sub = harness.Connect(t, to, hello("by-sub-"+name))
	b.sub.Subscribe(b.topic, qos)
	b.pub = harness.Connect(t, from, hello("by-pub-"+name))
	return b
}

// publish publishes one message after the other, each when the one before has been
// acknowledged, until stop is closed.
func (b *bystander) publish(stop <-chan struct{}, pace time.Duration) error {
	for n := uint64(1); ; n++ {
		select {
		case <-stop:
			return nil
		case <-time.After(pace):
		}
		p := mqtt.Publish{Topic: []byte(b.topic), Payload: fmt.Append(nil, n), QoS: b.qos, PacketID: b.pub.NextID()}
		b.pub.Send(&p)
		answers := []mqtt.Kind{mqtt.PUBACK}
		if b.qos == 2 {
			answers = []mqtt.Kind{mqtt.PUBREC, mqtt.PUBCOMP}
		}
		for _, k := range answers {
			a, err := b.pub.Poll(b.patience)
			switch {
			case err != nil:
				return fmt.Errorf("publisher of %s, message %d: %w", b.topic, n, explain(err))
			case a.Kind != k || a.Ack.PacketID != p.PacketID || a.Ack.Reason.Failed():
				return fmt.Errorf("publisher of %s, message %d: %s", b.topic, n, harness.Describe(a))
			case k == mqtt.PUBREC:
				b.pub.Send(&mqtt.Ack{Kind: mqtt.PUBREL, PacketID: p.PacketID})
			}
		}
		b.acked.Store(n)
	}
}

// receive takes the messages until the publisher has stopped and all that were
// acknowledged are there.
func (b *bystander) receive(stopped <-chan struct{}) error {
	want := uint64(1)
	for waited := time.Duration(0); ; {
		select {
		case <-stopped:
			if want > b.acked.Load() {
				return nil
			}
		default:
		}
		const turn = 200 * time.Millisecond
		p, err := b.sub.Poll(turn)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			if waited += turn; waited > b.patience && want <= b.acked.Load() {
				return fmt.Errorf("subscriber of %s: message %d was acknowledged and does not come", b.topic, want)
			}
			continue
		case err != nil:
			return fmt.Errorf("subscriber of %s, after message %d: %w", b.topic, want-1, explain(err))
		}
		waited = 0
		if p.Kind == mqtt.PUBREL {
			b.sub.Send(&mqtt.Ack{Kind: mqtt.PUBCOMP, PacketID: p.Ack.PacketID})
			continue
		}
		if err := b.judge(p, want); err != nil {
			return err
		}
		want++
		answer := mqtt.PUBACK
		if b.qos == 2 {
			answer = mqtt.PUBREC
		}
		b.sub.Send(&mqtt.Ack{Kind: answer, PacketID: p.Publish.PacketID})
	}
}

// judge says what is wrong with what came in place of message want.
func (b *bystander) judge(p *mqtt.Packet, want uint64) error {
	m := &p.Publish
	if p.Kind != mqtt.PUBLISH || string(m.Topic) != b.topic || m.QoS != b.qos || m.Dup || string(m.Payload) != fmt.Sprint(want) {
		return fmt.Errorf("subscriber of %s: %s instead of message %d", b.topic, harness.Describe(p), want)
	}
	return nil
}

// explain says what an error of a client's connection means here.
func explain(err error) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errors.New("there is no answer")
	case errors.Is(err, io.EOF):
		return errors.New("the connection has ended")
	}
	return err
}
