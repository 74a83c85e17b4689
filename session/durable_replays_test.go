package session

import (
	"slices"
	"testing"

	"dunlin/router"
)

// P8, P3: what a session owes of the retained messages is part of it until it is
// brought, or not wanted any more.
func TestReplays(t *testing.T) {
	filter := func(s string) router.Filter {
		f, err := router.ParseFilter([]byte(s))
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	d := NewDurable(1)
	d.Attach(1, Terms{Expiry: 10, Inflight: 1})
	names := func() (out []string) {
		if err := d.Check(nil); err != nil {
			t.Fatal(err)
		}
		for r := range d.Replays {
			out = append(out, r.Filter.String())
		}
		return out
	}
	expect := func(want ...string) {
		t.Helper()
		if got := names(); !slices.Equal(got, want) {
			t.Fatalf("replays of %q, want %q", got, want)
		}
	}
	for _, s := range []Subscription{
		{Filter: filter("a/#")}, {Filter: filter("$share/g/a")}, {Filter: filter("$SYS/#")},
		{Filter: filter("never"), RetainHandling: 2}, {Filter: filter("new"), RetainHandling: 1},
	} {
		d.Subscribe(s)
	}
	expect("a/#", "new")

	d.CutReplay(filter("a/#"), []Cut{{Shard: 3, Index: 70}})
	d.AdvanceReplay(filter("a/#"), 3, "a/b")
	d.Detach(true, 10, 5)
	packed := d.Append(nil)
	e, rest, err := ParseDurable(packed, nil)
	if err != nil || len(rest) > 0 || !slices.Equal(e.Append(nil), packed) {
		t.Fatalf("%v, %d bytes left", err, len(rest))
	}
	d = e
	for r := range d.Replays {
		if r.Filter.String() == "a/#" && (r.Shard != 3 || r.Cursor != "a/b" || !slices.Equal(r.Cuts, []Cut{{3, 70}})) {
			t.Errorf("restored %+v", r)
		}
	}
	d.Attach(2, Terms{Expiry: 10, Inflight: 1})
	d.Subscribe(Subscription{Filter: filter("new"), RetainHandling: 1}) // exists: goes on
	expect("a/#", "new")
	d.Subscribe(Subscription{Filter: filter("a/#")}) // begins anew
	expect("new", "a/#")
	for r := range d.Replays {
		if r.Cursor != "" || r.Cuts != nil {
			t.Errorf("begun anew at %+v", r)
		}
	}
	d.EndReplay(filter("new"))
	d.Unsubscribe(filter("a/#"))
	expect()
	d.EndReplay(filter("a/#"))
}
