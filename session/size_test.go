package session

import (
	"testing"
	"unsafe"

	"dunlin/proto/mqtt"
)

// A million idle sessions are a million of these (P10).
func TestLiveIsSmall(t *testing.T) {
	if size := unsafe.Sizeof(Live{}); size > 64 {
		t.Errorf("an idle Live takes %d bytes, want at most 64", size)
	}
	var l Live
	l.Connect(&mqtt.Connect{Version: mqtt.V5}, Limits{ReceiveMaximum: 10}, false, 0)
	if l.traffic != nil || l.aliases != nil {
		t.Error("a fresh session holds more than itself")
	}
}
