package cluster

import (
	"testing"

	"dunlin/e2e/harness"
	"dunlin/proto/mqtt"
)

func TestMain(m *testing.M) { harness.Main(m) }

// client connects an ephemeral client of version 5.
func client(t *testing.T, n *harness.Node, id string) *harness.Client {
	t.Helper()
	return harness.Connect(t, n.MQTT, mqtt.Connect{ClientID: []byte(id), CleanStart: true})
}
