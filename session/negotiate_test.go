package session

import (
	"reflect"
	"testing"
	"time"

	"dunlin/proto/mqtt"
)

func TestNegotiate(t *testing.T) {
	lim := Limits{ReceiveMaximum: 20, MaximumPacketSize: 1 << 20, TopicAliasMaximum: 5}
	told := mqtt.Connack{ReceiveMaximum: 20, MaximumPacketSize: 1 << 20, TopicAliasMaximum: 5}
	tests := []struct {
		name    string
		connect mqtt.Connect
		policy  Policy
		agreed  Agreed
		ack     func(*mqtt.Connack)
	}{
		{
			name:    "v5 as asked",
			connect: mqtt.Connect{Version: mqtt.V5, KeepAlive: 30, SessionExpiry: 100},
			policy:  Policy{MaxSessionExpiry: Forever},
			agreed:  Agreed{KeepAlive: 30, SessionExpiry: 100},
		},
		{
			name:    "v5 keep alive lowered",
			connect: mqtt.Connect{Version: mqtt.V5, KeepAlive: 100},
			policy:  Policy{MaxKeepAlive: 60},
			agreed:  Agreed{KeepAlive: 60},
			ack:     func(a *mqtt.Connack) { a.HasServerKeepAlive, a.ServerKeepAlive = true, 60 },
		},
		{
			name:    "v5 keep alive turned on",
			connect: mqtt.Connect{Version: mqtt.V5},
			policy:  Policy{MaxKeepAlive: 60},
			agreed:  Agreed{KeepAlive: 60},
			ack:     func(a *mqtt.Connack) { a.HasServerKeepAlive, a.ServerKeepAlive = true, 60 },
		},
		{
			name:    "v5 expiry capped",
			connect: mqtt.Connect{Version: mqtt.V5, SessionExpiry: Forever},
			policy:  Policy{MaxSessionExpiry: 3600},
			agreed:  Agreed{SessionExpiry: 3600},
			ack:     func(a *mqtt.Connack) { a.HasSessionExpiry, a.SessionExpiry = true, 3600 },
		},
		{
			name:    "v3 clean session",
			connect: mqtt.Connect{Version: mqtt.V311, CleanStart: true, KeepAlive: 100},
			policy:  Policy{MaxKeepAlive: 60, MaxSessionExpiry: 3600},
			agreed:  Agreed{KeepAlive: 100},
			ack:     func(a *mqtt.Connack) { *a = mqtt.Connack{} },
		},
		{
			name:    "v3 session kept",
			connect: mqtt.Connect{Version: mqtt.V31},
			policy:  Policy{MaxKeepAlive: 60, MaxSessionExpiry: 3600},
			agreed:  Agreed{SessionExpiry: 3600},
			ack:     func(a *mqtt.Connack) { *a = mqtt.Connack{} },
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			want := told
			if tt.ack != nil {
				tt.ack(&want)
			}
			var ack mqtt.Connack
			if got := Negotiate(&tt.connect, lim, tt.policy, &ack); got != tt.agreed {
				t.Errorf("agreed %+v, want %+v", got, tt.agreed)
			}
			if !reflect.DeepEqual(ack, want) {
				t.Errorf("CONNACK %+v, want %+v", ack, want)
			}
		})
	}
}

func TestPatience(t *testing.T) {
	for keepAlive, want := range map[uint16]time.Duration{0: 0, 1: 1500 * time.Millisecond, 60: 90 * time.Second, 65535: 98302500 * time.Millisecond} {
		if got := (Agreed{KeepAlive: keepAlive}).Patience(); got != Time(want) {
			t.Errorf("keep alive %d: %v, want %v", keepAlive, time.Duration(got), want)
		}
	}
}

func TestDisconnectedExpiry(t *testing.T) {
	a, pol := Agreed{SessionExpiry: 100}, Policy{MaxSessionExpiry: 3600}
	for _, tt := range []struct {
		name string
		d    mqtt.Disconnect
		want uint32
	}{
		{"not named", mqtt.Disconnect{}, 100},
		{"ended", mqtt.Disconnect{HasSessionExpiry: true}, 0},
		{"other", mqtt.Disconnect{HasSessionExpiry: true, SessionExpiry: 200}, 200},
		{"capped", mqtt.Disconnect{HasSessionExpiry: true, SessionExpiry: Forever}, 3600},
	} {
		if got := a.Disconnected(&tt.d, pol); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
}

func TestWillRules(t *testing.T) {
	for _, tt := range []struct {
		name     string
		byClient bool
		reason   mqtt.Reason
		want     bool
	}{
		{"normal disconnection", true, mqtt.Success, false},
		{"disconnect with will", true, mqtt.DisconnectWithWill, true},
		{"client's error", true, mqtt.Unspecified, true},
		{"connection lost", false, mqtt.Success, true},
		{"keep alive", false, mqtt.KeepAliveTimeout, true},
		{"taken over", false, mqtt.SessionTakenOver, true},
	} {
		if got := WillFires(tt.byClient, tt.reason); got != tt.want {
			t.Errorf("%s: fires %v, want %v", tt.name, got, tt.want)
		}
	}
	if WillDelay(10, 5) != 5 || WillDelay(5, 10) != 5 || WillDelay(5, Forever) != 5 || WillDelay(Forever, 0) != 0 {
		t.Error("a will fires after its delay or at the session's end, whichever comes first")
	}
}
