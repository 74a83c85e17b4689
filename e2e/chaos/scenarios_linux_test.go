package chaos

import (
	"testing"
	"time"
)

// TestSmoke runs the clients, the switch and the checkers for a few seconds.
func TestSmoke(t *testing.T) { smoke.run(t, 5*time.Second) }

// TestEphemeral runs the scenarios that need no replicas.
func TestEphemeral(t *testing.T) { each(t, ephemeral) }

// TestReplicated runs those that need them.
func TestReplicated(t *testing.T) {
	if !*replicatedFlag {
		t.Skip("left out: shards have no replicas yet; -chaos.replicated runs them all the same")
	}
	each(t, replicated)
}

func each(t *testing.T, scenarios []scenario) {
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			if *durationFlag == 0 {
				t.Skip("left out without -chaos.duration")
			}
			s.run(t, *durationFlag)
		})
	}
}
