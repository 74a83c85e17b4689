package broker

import (
	"testing"

	"dunlin/session"
)

// P10: what is remembered of publishers whose sessions have ended goes, and the memory too.
func TestAcceptedGivesMemoryBack(t *testing.T) {
	var a accepted
	message := func(origin uint64) *session.Message { return &session.Message{Origin: origin, Seq: 1, Low: 1} }
	for origin := range uint64(50_000) {
		a.first(message(origin + 1))
	}
	for origin := range uint64(49_000) {
		a.forget(origin + 1)
	}
	if a.most > 10_000 {
		t.Errorf("the map of %d publishers has had %d", len(a.origins), a.most)
	}
	for origin := range uint64(50_000) {
		if fresh := a.first(message(origin + 1)); fresh != (origin < 49_000) {
			t.Fatalf("message of publisher %d is new: %v", origin+1, fresh)
		}
	}
}
