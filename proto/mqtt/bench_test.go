package mqtt

import (
	"fmt"
	"testing"
)

func BenchmarkDecodePublish(b *testing.B) {
	topic, payload := []byte("sensors/floor3/room12/temp"), []byte("21.5")
	for _, c := range []struct {
		name string
		v    Version
		p    Publish
	}{
		{"v3/QoS0", V311, Publish{Topic: topic, Payload: payload}},
		{"v3/QoS1", V311, Publish{Topic: topic, Payload: payload, QoS: 1, PacketID: 7}},
		{"v3/128 bytes", V311, Publish{Topic: topic, Payload: make([]byte, 128)}},
		{"v5/plain", V5, Publish{Topic: topic, Payload: payload}},
		{"v5/alias and expiry", V5, Publish{Topic: topic, Payload: payload, TopicAlias: 3, HasExpiry: true, MessageExpiry: 60}},
		{"v5/request", V5, Publish{Topic: topic, Payload: payload, Properties: Properties(nil).
			AppendContentType("application/json").AppendResponseTopic("answers/17").AppendCorrelationData([]byte("1234"))}},
		{"v5/10 user properties", V5, Publish{Topic: topic, Payload: payload, Properties: repeat(10, PropUser, "name", "some value")}},
	} {
		b.Run(c.name, func(b *testing.B) {
			bytes := c.p.Append(nil, c.v)
			b.SetBytes(int64(len(bytes)))
			b.ReportAllocs()
			var p Packet
			for b.Loop() {
				f, _, err := Cut(bytes, 1<<20)
				if err != nil {
					b.Fatal(err)
				}
				if err := Decode(f, c.v, &p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAppendPublish(b *testing.B) {
	topic, payload := []byte("sensors/floor3/room12/temp"), []byte("21.5")
	out := make([]byte, 0, 1<<10)
	for _, v := range []Version{V311, V5} {
		for _, ps := range []Properties{nil, Properties(nil).AppendContentType("text/plain").AppendUserProperty("a", "b")} {
			if v != V5 && ps != nil {
				continue
			}
			b.Run(fmt.Sprintf("v%d/%d bytes of properties", v, len(ps)), func(b *testing.B) {
				p := Publish{Topic: topic, Payload: payload, QoS: 1, PacketID: 7, Properties: ps}
				b.ReportAllocs()
				for b.Loop() {
					p.AppendAt(out, v)
				}
			})
		}
	}
}

func BenchmarkDecodeAck(b *testing.B) {
	bytes := packet(0x40, uint16(7))
	var p Packet
	for b.Loop() {
		f, _, _ := Cut(bytes, 1<<20)
		if err := Decode(f, V5, &p); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeConnect(b *testing.B) {
	for _, v := range []Version{V311, V5} {
		b.Run(v.String(), func(b *testing.B) {
			c := Connect{CleanStart: true, KeepAlive: 60, ClientID: []byte("sensor-000017"), SessionExpiry: 3600, RequestProblemInfo: true,
				HasUsername: true, Username: []byte("sensor"), HasPassword: true, Password: []byte("secret")}
			bytes := c.Append(nil, v)
			b.ReportAllocs()
			var p Packet
			for b.Loop() {
				f, _, _ := Cut(bytes, 1<<16)
				if err := Decode(f, 0, &p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// Case 20: what a section of user properties costs grows with its length.
func BenchmarkUserProperties(b *testing.B) {
	for _, n := range []int{16, MaxUserProperties, 60_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			bytes := publish("a", repeat(n, PropUser, "a", "b"))
			var p Packet
			for b.Loop() {
				f, _, _ := Cut(bytes, 1<<20)
				_ = Decode(f, V5, &p)
			}
		})
	}
}
