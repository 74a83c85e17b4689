package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"dunlin/cmd/dunlin/internal/terminal"
	"dunlin/node/admin"
)

// leaving is a node that says of n4 that it is leaving and holds so many replicas,
// in turn; the last number stays, and after -1 n4 is gone.
func leaving(t *testing.T, held ...int) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			return
		}
		var st admin.ClusterStatus
		if held[0] >= 0 {
			st.Nodes = []admin.ClusterNode{{Number: 4, Name: "n4", Identity: "id4", Leaving: true, Clients: &held[0]}}
		}
		for range held[0] {
			st.Groups = append(st.Groups, admin.Group{Replicas: []admin.GroupReplica{{Node: "id1"}, {Node: "id4"}}})
		}
		st.Groups = append(st.Groups, admin.Group{Replicas: []admin.GroupReplica{{Node: "id1"}}})
		if len(held) > 1 {
			held = held[1:]
		}
		if err := json.NewEncoder(w).Encode(st); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestRemoveWaitShowsWhatIsLeft(t *testing.T) {
	t.Parallel()
	var seen bytes.Buffer
	node := api{http: leaving(t, 2, -1), timeout: time.Minute}
	if err := untilLeft(t.Context(), &node, "n4", terminal.StatusOn(&seen, func() (int, int) { return 80, 24 })); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(seen.String(), "n4 is leaving, it still holds 2 replicas and has 2 clients") {
		t.Errorf("shown: %q", seen.String())
	}
}

// TestRemoveTimeoutBoundsTheWait: --timeout is of the whole wait, not of each look.
func TestRemoveTimeoutBoundsTheWait(t *testing.T) {
	t.Parallel()
	code, stdout, stderr := dunlin(t, "", "cluster", "remove", "n4", "--wait", "--timeout", "1500ms", "--http", leaving(t, 3))
	if code != exitFailed || stdout != "" || !strings.HasPrefix(stderr, "dunlin: n4 has not left after 1.5s") {
		t.Errorf("exit code %d, says %q and %q", code, stdout, stderr)
	}
}
