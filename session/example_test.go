package session_test

import (
	"fmt"

	"dunlin/proto/mqtt"
	"dunlin/router"
	"dunlin/session"
)

// A publisher sends a message of QoS 1; the broker brings it to a subscriber and
// answers when that is done.
func ExampleLive() {
	limits := session.Limits{ReceiveMaximum: 100, MaxInflight: 100, MaxQueueMessages: 1000, MaxQueueBytes: 1 << 20}
	var publisher, subscriber session.Live
	publisher.Connect(&mqtt.Connect{Version: mqtt.V5}, limits, false, 0)
	subscriber.Connect(&mqtt.Connect{Version: mqtt.V311}, limits, false, 0)

	packet := mqtt.Packet{Kind: mqtt.PUBLISH, Publish: mqtt.Publish{
		QoS: 1, PacketID: 7, Topic: []byte("sensors/1"), Payload: []byte("21.5"),
	}}
	action, toPublisher := publisher.Receive(&packet, 0, nil)
	fmt.Println("publisher:", action.Verb)

	topic, err := router.ParseTopic(packet.Publish.Topic)
	if err != nil {
		fmt.Println(err)
		return
	}
	message := session.Message{Topic: topic, Payload: packet.Publish.Payload, QoS: 1}
	outcome, toSubscriber := subscriber.Deliver(&session.Delivery{Message: &message, QoS: 1}, true, 0, nil)
	fmt.Printf("subscriber: %v, %q\n", outcome, toSubscriber)

	publisher.Published(7, mqtt.Success)
	toPublisher = publisher.Answer(toPublisher)
	fmt.Printf("publisher: % x\n", toPublisher)
	// Output:
	// publisher: route
	// subscriber: sent, "2\x11\x00\tsensors/1\x00\x0121.5"
	// publisher: 40 02 00 07
}
