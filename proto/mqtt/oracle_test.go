package mqtt

import (
	"bytes"
	"math/rand/v2"
	"testing"

	v5packets "github.com/eclipse/paho.golang/packets"
	v3packets "github.com/eclipse/paho.mqtt.golang/packets"
)

// What this package writes, and a codec that somebody else wrote reads and
// writes again, must still mean the same. That catches what a round trip within
// one package cannot: a mistake made twice.
func TestOtherCodecsAgree(t *testing.T) {
	r := random{rand.New(rand.NewPCG(3, 6))}
	var got Packet
	eachKind(func(kind Kind, v Version) {
		for range 50 {
			sent := r.packet(kind, v)
			withoutLosses(sent, v)
			b := sent.Append(nil, v)
			again, err := rewrite(b, v)
			if err != nil {
				t.Fatalf("%v: %v\n%s%x", v, err, describe(sent), b)
			}
			f, n, err := Cut(again, MaxPacketSize)
			if err != nil || n != len(again) {
				t.Fatalf("%v %v: cut %d of %d bytes: %v", v, kind, n, len(again), err)
			}
			if err := Decode(f, v, &got); err != nil {
				t.Fatalf("%v: %v\n%s%x", v, err, describe(sent), again)
			}
			if want, got := meaning(sent), meaning(&got); want != got {
				t.Fatalf("%v: sent\n%s\ngot\n%s", v, want, got)
			}
		}
	})
}

// withoutLosses takes out of p what the other codecs do not write again, or, as
// a DISCONNECT of 5.0 without a reason, do not read.
func withoutLosses(p *Packet, v Version) {
	w := &p.Connect.Will
	w.HasExpiry, w.MessageExpiry = false, 0
	w.Properties = w.Properties.appendOnly(nil, users)
	if v == V5 {
		if v == V5 {
			p.Disconnect.Reason = max(p.Disconnect.Reason, DisconnectWithWill)
		}
	}
	p.Publish.SubscriptionIDs = p.Publish.SubscriptionIDs[:min(1, len(p.Publish.SubscriptionIDs))]
}

func rewrite(b []byte, v Version) ([]byte, error) {
	var out bytes.Buffer
	if v == V5 {
		p, err := v5packets.ReadPacket(bytes.NewReader(b))
		if err != nil {
			return nil, err
		}
		_, err = p.WriteTo(&out)
		return out.Bytes(), err
	}
	p, err := v3packets.ReadPacket(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	err = p.Write(&out)
	return out.Bytes(), err
}
