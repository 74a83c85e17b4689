package conformance

import (
	"fmt"
	"testing"

	"dunlin/e2e/harness"
	"dunlin/proto/mqtt"
)

// [MQTT-3.1.2-24]: no answer is larger than the client takes.
func TestAnswersFitTheClient(t *testing.T) { spread(t, harness.Options{}, answersFit) }

func answersFit(t *testing.T, at places) {
	c := harness.TryConnect(t, at.sub.MQTT, mqtt.Connect{ClientID: []byte("small"), CleanStart: true, MaximumPacketSize: 10})
	if c.Connack.Reason != mqtt.PacketTooLarge {
		t.Errorf("CONNACK %v", c.Connack.Reason)
	}
	c.ExpectClosed()
	for _, expiry := range []uint32{0, 60} {
		c = harness.Connect(t, at.sub.MQTT, mqtt.Connect{ClientID: []byte("small"), SessionExpiry: expiry, MaximumPacketSize: 40})
		var s []mqtt.Subscription
		for i := range 36 {
			s = append(s, mqtt.Subscription{Filter: fmt.Append(nil, i), QoS: 1})
		}
		if got := c.SubscribeAll(s[:35]...); len(got) != 35 {
			t.Errorf("%d reasons", len(got))
		}
		c.Send(&mqtt.Subscribe{PacketID: c.NextID(), Filters: s})
		c.ExpectDisconnect(mqtt.PacketTooLarge)
	}
}
