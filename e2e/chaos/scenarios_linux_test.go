package chaos

import (
	"os"
	"testing"
	"time"
)

// TestSmoke runs the clients, the switch and the checkers for a few seconds.
func TestSmoke(t *testing.T) { smoke.run(t, 5*time.Second, 1) }

// TestSmokeReplicated does so with sessions that are kept and nodes that are
// killed.
func TestSmokeReplicated(t *testing.T) { killed.whole().run(t, 10*time.Second, 1) }

// TestEphemeral runs the scenarios that need no replicas.
func TestEphemeral(t *testing.T) { each(t, ephemeral) }

// TestReplicated runs those that need them.
func TestReplicated(t *testing.T) {
	all := make([]scenario, len(replicated))
	for i, s := range replicated {
		all[i] = s.whole()
	}
	each(t, all)
}

func each(t *testing.T, scenarios []scenario) {
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			if *durationFlag == 0 {
				t.Skip("left out without -chaos.duration")
			}
			s.run(t, *durationFlag, 1)
		})
	}
}

// TestLong is the run whose figures stand in the documents; it prints them as a
// table.
func TestLong(t *testing.T) {
	if *longFlag == 0 {
		t.Skip("left out without -chaos.long")
	}
	var all []figures
	for _, s := range long {
		t.Run(s.name, func(t *testing.T) {
			d := time.Duration(float64(*longFlag) * s.part)
			all = append(all, s.whole().run(t, d, max(1, d.Minutes()/2)))
		})
	}
	printFigures(os.Stdout, all)
}
