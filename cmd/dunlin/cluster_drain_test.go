package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"dunlin/node/admin"
)

// drainable is a node n2 of two, which says of its drain what looks say in turn; the last one stays.
type drainable struct {
	mu    sync.Mutex
	asked []string // methods and paths that change something
	looks []admin.ClusterStatus
}

func (d *drainable) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case r.Method != http.MethodGet:
		d.asked = append(d.asked, r.Method+" "+r.URL.RequestURI())
		w.WriteHeader(http.StatusAccepted)
	case r.URL.Path == "/api/v1/nodes":
		_ = json.NewEncoder(w).Encode(admin.NodeList{Nodes: []admin.Node{{Name: "n1", Identity: "id1"}, {Name: "n2", Identity: "id2", Self: true}}})
	default:
		_ = json.NewEncoder(w).Encode(d.looks[0])
		if len(d.looks) > 1 {
			d.looks = d.looks[1:]
		}
	}
}

// look is a cluster of which n2 has so many clients and leads so many groups, another one
// votes in with it, and one that none does.
func look(phase string, clients, leads int) admin.ClusterStatus {
	st := admin.ClusterStatus{Nodes: []admin.ClusterNode{
		{Number: 1, Name: "n1", Identity: "id1", Alive: true, Clients: new(int)},
		{Number: 2, Name: "n2", Identity: "id2", Alive: true, Clients: &clients, Drain: &admin.NodeDrain{Rate: 500, Phase: phase}},
	}}
	for range leads {
		st.Groups = append(st.Groups, admin.Group{Group: "0", Leader: "id2", Replicas: []admin.GroupReplica{
			{Node: "id1", Voter: true, Running: true}, {Node: "id2", Voter: true, Running: true},
		}})
	}
	return st
}

func TestDrainCommand(t *testing.T) {
	t.Parallel()
	stuck := look(admin.PhaseAsked, 0, 0)
	stuck.Groups = []admin.Group{{Group: "meta", Leader: "id2", Replicas: []admin.GroupReplica{
		{Node: "id1", Running: true}, {Node: "id2", Voter: true, Running: true},
	}}}
	over := look(admin.PhaseAsked, 0, 0)
	over.Nodes[1].Drain = nil
	for _, tt := range []struct {
		name, args string
		looks      []admin.ClusterStatus
		code       int
		says       string // all that is said
		asks       string
	}{
		{
			"until there is nothing left", "drain n2", []admin.ClusterStatus{look(admin.PhaseAsking, 3, 1), look(admin.PhaseAsked, 0, 1), look(admin.PhaseAsked, 0, 0)}, 0,
			"n2 is drained\n", "POST /api/v1/cluster/nodes/n2/drain?cordon=false&for-good=false&force=false&notice=0s&rate=500&until-restart=false",
		},
		{
			"itself", "drain --self --force --until-restart --for-good --rate 20/s --notice 5s", []admin.ClusterStatus{look(admin.PhaseAsked, 0, 0)}, 0,
			"n2 is drained\n", "POST /api/v1/cluster/nodes/id2/drain?cordon=false&for-good=true&force=true&notice=5s&rate=20&until-restart=true",
		},
		{
			"what no other node could lead is not waited for", "drain n2", []admin.ClusterStatus{stuck}, 0,
			"n2 is drained, but for 1 groups that no other node could lead\n", "",
		},
		{
			"no longer than was said", "drain n2 --timeout 700ms", []admin.ClusterStatus{look(admin.PhaseAsking, 312, 2)}, 1,
			"dunlin: n2 is not drained after 700ms, 312 clients and 2 leaders are left, at most 500 clients are asked to go in a second; it goes on, and dunlin cluster undrain n2 takes it back\n", "",
		},
		{
			"taken back meanwhile", "drain 2", []admin.ClusterStatus{look(admin.PhaseAsking, 3, 1), over}, 1,
			"dunlin: 2 is drained no longer: that was taken back, or it has started anew\n", "",
		},
		{"not at all", "drain n2 --wait=false", nil, 0, "n2 is being drained; dunlin cluster status shows how far it is\n", ""},
		{"a cordon", "drain n2 --cordon", nil, 0, "n2 is cordoned: no new clients are let in; dunlin cluster undrain n2 takes it back\n", "POST /api/v1/cluster/nodes/n2/drain?cordon=true&for-good=false&force=false&notice=0s&rate=500&until-restart=false"},
		{"taken back", "undrain n2", nil, 0, "n2 takes clients\n", "DELETE /api/v1/cluster/nodes/n2/drain"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := &drainable{looks: tt.looks}
			s := httptest.NewServer(d)
			defer s.Close()
			code, stdout, stderr := dunlin(t, "", append([]string{"cluster"}, append(strings.Fields(tt.args), "--http", s.URL)...)...)
			if code != tt.code || stdout+stderr != tt.says {
				t.Errorf("exit code %d, says %q and %q", code, stdout, stderr)
			}
			if tt.asks != "" && (len(d.asked) != 1 || d.asked[0] != tt.asks) {
				t.Errorf("asked %q, want %q", d.asked, tt.asks)
			}
		})
	}
	for args, says := range map[string]string{
		"drain":                      "want the node's name, or --self",
		"drain n2 --self":            "one argument too many",
		"drain n2 --rate 0":          "1/s to 100000/s",
		"drain n2 --rate 500/m":      "1/s to 100000/s",
		"drain n2 --notice 2h":       "want 0s to 1h",
		"rebalance --rate 5/s":       "--rate is for --connections",
		"undrain":                    "want the node's name",
		"rebalance --connections=no": "want true or false",
	} {
		if code, _, stderr := dunlin(t, "", append([]string{"cluster"}, strings.Fields(args)...)...); code != 2 || !strings.Contains(stderr, says) {
			t.Errorf("%s: exit code %d, says %q", args, code, stderr)
		}
	}
}
