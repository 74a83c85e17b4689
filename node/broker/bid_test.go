package broker

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"dunlin/proto/mqtt"
	"dunlin/raftstore"
)

// P6: who is refused by a node that stops has no will, though the claim is answered
// when the loops have ended; and Settle waits until the shard knows, if it can.
func TestClaimOfANodeThatStops(t *testing.T) {
	for name, test := range map[string]struct {
		answered bool // before the connection ends, but the loop has not seen it
		late     bool // the client is connected already, and joins a share group
	}{
		"answered after":             {},
		"answered just before":       {answered: true},
		"late, answered after":       {late: true},
		"late, answered just before": {answered: true, late: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCell(t, 1, 1, nil)
				n := c.nodes[0]
				g := n.grip()
				g.hold = is[raftstore.Claim]
				conn := c.dial(0, 0)
				if test.late {
					conn.send(&mqtt.Connect{Version: mqtt.V5, CleanStart: true})
					conn.one(mqtt.CONNACK)
					conn.send(&mqtt.Subscribe{PacketID: 1, Filters: []mqtt.Subscription{{Filter: []byte("$share/g/t")}}})
				} else {
					conn.send(&mqtt.Connect{
						Version: mqtt.V5, ClientID: []byte("c"), SessionExpiry: 100,
						HasWill: true, Will: mqtt.Will{Topic: []byte("will")},
					})
				}
				conn.none()
				var detached []raftstore.Detach
				g.hold = func(cmd raftstore.Command) bool {
					if d, ok := cmd.(raftstore.Detach); ok {
						detached = append(detached, d)
					}
					return is[raftstore.Claim](cmd)
				}
				release := func() {
					g.mu.Lock()
					kept := g.kept
					g.kept = nil
					g.mu.Unlock()
					for _, f := range kept {
						f()
					}
					synctest.Wait()
				}
				if test.answered {
					release()
				}
				// The last that the loop does.
				conn.loop.worker().closeAll(mqtt.ServerShuttingDown)
				if test.late {
					conn.one(mqtt.DISCONNECT)
				} else if ack := conn.one(mqtt.CONNACK).Connack; ack.Reason != mqtt.ServerUnavailable {
					t.Errorf("CONNACK %v", ack.Reason)
				}

				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				if err := n.b.Settle(ctx); (err == nil) != test.answered {
					t.Errorf("settled: %v", err)
				}
				cancel()
				settled := make(chan error, 1)
				go func() { settled <- n.b.Settle(context.Background()) }()
				synctest.Wait()
				release()
				if err := <-settled; err != nil {
					t.Error(err)
				}
				if len(detached) != 1 || detached[0].Fire && !test.late || detached[0].ClientID == "" || detached[0].Epoch == 0 {
					t.Errorf("detached %+v", detached)
				}
			})
		})
	}
}
