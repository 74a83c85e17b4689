package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"dunlin/node/token"
)

// fakeDrains do as they are told, with n1 alone.
type fakeDrains struct{ done []string }

func (f *fakeDrains) Drain(_ context.Context, node string, o DrainOrder) error {
	if node != "n1" {
		return NotFound(errors.New("no such node"))
	}
	if o.Cordon {
		return Conflict(errors.New("the last node"))
	}
	f.done = append(f.done, fmt.Sprintf("%+v", o))
	return nil
}

func (f *fakeDrains) Undrain(_ context.Context, node string) error {
	f.done = append(f.done, "undrain "+node)
	return nil
}

func (f *fakeDrains) Even(_ context.Context, rate int) (Evening, error) {
	f.done = append(f.done, fmt.Sprint("even ", rate))
	return Evening{Nodes: []EveningNode{{Name: "n1", Asks: 7, Rate: rate}}}, nil
}

func TestDrains(t *testing.T) {
	f, d := newFixture(), new(fakeDrains)
	f.Server.Drains = d
	const drain = "/api/v1/cluster/nodes/n1/drain"
	for _, tt := range []struct {
		method, path string
		code         int
		says         string
	}{
		{"POST", drain, 202, ""},
		{"POST", drain + "?rate=100000&for-good=true&until-restart=true&notice=1h", 202, ""},
		{"POST", drain + "?cordon=true", 409, "the last node"},
		{"POST", drain + "?force=true", 202, ""},
		{"POST", drain + "?cordon=1", 400, "cordon: want true or false"},
		{"POST", drain + "?rate=0", 400, "from 1 to 100000"},
		{"POST", drain + "?rate=100001", 400, "from 1 to 100000"},
		{"POST", drain + "?rate=500/s", 400, "from 1 to 100000"},
		{"POST", drain + "?notice=-1s", 400, "notice: want a time such as 5s, up to 1h"},
		{"POST", drain + "?notice=61m", 400, "notice: want a time such as 5s, up to 1h"},
		{"POST", drain + "?notice=5", 400, "notice: want a time such as 5s, up to 1h"},
		{"POST", "/api/v1/cluster/nodes/n2/drain", 404, "no such node"},
		{"DELETE", drain, 202, ""},
		{"POST", "/api/v1/cluster/connections/rebalance", 200, `"asks": 7`},
		{"POST", "/api/v1/cluster/connections/rebalance?rate=20", 200, `"rate": 20`},
		{"POST", "/api/v1/cluster/connections/rebalance?rate=x", 400, "from 1 to 100000"},
	} {
		if code, body := f.ask(everything, tt.method, tt.path); code != tt.code || !strings.Contains(body, tt.says) {
			t.Errorf("%s %s: %d %s", tt.method, tt.path, code, body)
		}
	}
	want := []string{
		fmt.Sprintf("%+v", DrainOrder{Rate: DefaultRate}),
		fmt.Sprintf("%+v", DrainOrder{Rate: MaxRate, ForGood: true, UntilRestart: true, Notice: time.Hour}),
		fmt.Sprintf("%+v", DrainOrder{Rate: DefaultRate, Force: true}),
		"undrain n1", "even 500", "even 20",
	}
	if !slices.Equal(d.done, want) {
		t.Errorf("did %q, want %q", d.done, want)
	}
}

// Who may move leaders and disconnect clients may drain nodes; who may only look may not.
func TestDrainScopes(t *testing.T) {
	for _, r := range newFixture().routes() {
		if strings.Contains(r.path, "drain") || strings.Contains(r.path, "connections/rebalance") {
			if r.needs() != token.Operate || !r.changes() {
				t.Errorf("%s: scope %v, audited %v", r.key(), r.needs(), r.changes())
			}
		}
	}
}
