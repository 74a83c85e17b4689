package mqtt_test

import (
	"encoding/binary"
	"fmt"

	"dunlin/proto/mqtt"
)

// A stream is cut into packets, which are decoded one after the other into the
// same Packet.
func Example() {
	stream := (&mqtt.Publish{
		Topic:      []byte("birds/dunlin"),
		Payload:    []byte("a flock of 12,000"),
		QoS:        1,
		PacketID:   7,
		Properties: mqtt.Properties(nil).AppendContentType("text/plain").AppendUserProperty("seen", "today"),
	}).Append(nil, mqtt.V5)
	stream = mqtt.AppendPingreq(stream)
	stream = append(stream, 0x30, 100) // the rest is still on its way

	var p mqtt.Packet
	for {
		frame, n, err := mqtt.Cut(stream, 1<<20)
		if err != nil || n == 0 {
			fmt.Println(len(stream), "bytes wait,", err)
			return
		}
		stream = stream[n:]
		if err := mqtt.Decode(frame, mqtt.V5, &p); err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(p.Kind)
		if p.Kind == mqtt.PUBLISH {
			fmt.Printf("%s: %s\n", p.Publish.Topic, p.Publish.Payload)
			for name, value := range p.Publish.Properties.UserProperties() {
				fmt.Printf("%s = %s\n", name, value)
			}
		}
	}
	// Output:
	// PUBLISH
	// birds/dunlin: a flock of 12,000
	// seen = today
	// PINGREQ
	// 2 bytes wait, <nil>
}

// One message to many subscribers is encoded once; of each copy only the packet
// identifier is written anew.
func ExamplePublish_AppendAt() {
	p := mqtt.Publish{Topic: []byte("a"), Payload: []byte("hi"), QoS: 1}
	encoded, id := p.AppendAt(nil, mqtt.V311)

	var out []byte
	for _, packetID := range []uint16{1, 500} {
		start := len(out)
		out = append(out, encoded...)
		binary.BigEndian.PutUint16(out[start+id:], packetID)
		fmt.Printf("% x\n", out[start:])
	}
	// Output:
	// 32 07 00 01 61 00 01 68 69
	// 32 07 00 01 61 01 f4 68 69
}
