package node

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"dunlin/node/admin"
	"dunlin/node/config"
	"dunlin/node/limit"
	"dunlin/raftstore/meta"
)

// keptRecords are records that are kept in memory.
type keptRecords struct{ now *meta.Records }

func (k *keptRecords) All() *meta.Records        { return k.now }
func (k *keptRecords) Watch(func(*meta.Records)) {}

func (k *keptRecords) change(name string, r *meta.Record) {
	next := &meta.Records{Revision: 1}
	if k.now != nil {
		next.Revision = k.now.Revision + 1
	}
	for _, x := range k.now.All() {
		if x.Name != name {
			next.List = append(next.List, x)
		}
	}
	if r != nil {
		r.Revision = next.Revision
		next.List = append(next.List, r)
	}
	slices.SortFunc(next.List, func(a, b *meta.Record) int { return strings.Compare(a.Name, b.Name) })
	k.now = next
}

func (k *keptRecords) Put(_ context.Context, name, value string) (uint64, error) {
	p := meta.PutRecord{Kind: meta.KindBan, Name: name, Value: value}
	if err := p.Check(); err != nil {
		return 0, err
	}
	k.change(name, &meta.Record{Name: name, Value: value})
	return k.now.Revision, nil
}

func (k *keptRecords) Remove(_ context.Context, name string) error {
	if _, found := k.now.Find(name); !found {
		return meta.ErrNoRecord
	}
	k.change(name, nil)
	return nil
}

// Bans are records that hold at once, for who is there too; those that have ended go, and
// what is not understood bans nobody.
func TestBansOfTheCluster(t *testing.T) {
	kept, door, banished := &keptRecords{}, doorman(config.Default()), 0
	b := newBans(kept, door, func(is func(string, string, netip.Addr) bool) {
		banished++
	}, func() bool { return true }, slog.New(slog.DiscardHandler))
	ctx := t.Context()
	home := netip.MustParseAddr("192.0.2.1")
	add := func(kind, value string, hold time.Duration) error {
		_, err := b.AddBan(ctx, admin.Ban{Kind: kind, Value: value, Reason: "why"}, hold)
		return err
	}
	odd := "a/b\n\x00%2F é" + strings.Repeat("ü", 100)
	for _, c := range []struct{ kind, value, client, user, from string }{
		{"client", odd, odd, "", "192.0.2.9"}, {"user", odd, "x", odd, "192.0.2.9"},
		{"address", "192.0.2.1", "x", "", "192.0.2.1"}, {"address", "2001:db8::/32", "x", "", "2001:db8::7"},
	} {
		is := func() bool { return door.IsBanned(c.client, c.user, netip.MustParseAddr(c.from)) }
		if is() {
			t.Errorf("%s %q is banned before", c.kind, c.value)
		}
		before := banished
		if err := add(c.kind, c.value, time.Hour); err != nil || !is() || banished != before+1 {
			t.Errorf("%s %q: %v, banned %v, %d times closed", c.kind, c.value, err, is(), banished-before)
		}
		if list, err := b.Bans(); err != nil || len(list) != 1 || list[0].Value != c.value || list[0].Until == nil || list[0].Reason != "why" {
			t.Errorf("list %+v, %v", list, err)
		}
		before = banished
		if err := b.RemoveBan(ctx, c.kind, c.value); err != nil || is() || banished != before {
			t.Errorf("remove %s %q: %v, banned %v", c.kind, c.value, err, is())
		}
	}
	var no *admin.Refusal
	for _, c := range []struct{ kind, value string }{
		{"client", ""}, {"user", ""}, {"address", ""}, {"client", strings.Repeat("x", maxBanned+1)}, {"user", "\xff"}, {"address", "10.0.0.1/8"}, {"address", "x"}, {"thing", "x"},
	} {
		if err := add(c.kind, c.value, 0); !errors.As(err, &no) || no.Code != 400 {
			t.Errorf("%s %.20q: %v", c.kind, c.value, err)
		}
	}
	if err := b.RemoveBan(ctx, "client", "nobody"); !errors.As(err, &no) || no.Code != 404 {
		t.Errorf("remove what is not there: %v", err)
	}

	// Written in another way it is the same ban.
	if err := errors.Join(add("address", "::ffff:192.0.2.1", 0), add("address", "192.0.2.1/32", 0)); err != nil {
		t.Fatal(err)
	}
	if list, _ := b.Bans(); len(list) != 1 || list[0].Value != "192.0.2.1" || list[0].Until != nil || !door.IsBanned("", "", home) {
		t.Errorf("list %+v", list)
	}
	// One that has ended is not listed, and is taken away by whoever adds the next; one
	// that is not understood stays.
	kept.change("client:old", &meta.Record{Name: "client:old", Value: `{"kind":"client","value":"old","created":1,"until":2}`})
	kept.change("user:", &meta.Record{Name: "user:", Value: `{"kind":"user","value":""}`}) // everybody without a name
	kept.change("odd", &meta.Record{Name: "odd", Value: `{"kind":"planet","value":"x"}`})
	b.follows.look(ctx)
	if list, _ := b.Bans(); len(list) != 1 || door.IsBanned("old", "", netip.MustParseAddr("192.0.2.9")) || door.Enter("", "x", netip.MustParseAddr("192.0.2.9")) != limit.Admitted {
		t.Errorf("list %+v", list)
	}
	if err := add("user", "eve", 0); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, r := range kept.All().All() {
		names = append(names, r.Name)
	}
	if got := strings.Join(names, " "); got != "address:192.0.2.1 odd user: user:eve" {
		t.Errorf("kept: %s", got)
	}
}

// FuzzBan reads records of bans: one that is understood can be put in force, keeps who it
// names out, and is read alike when it is written again.
func FuzzBan(f *testing.F) {
	f.Add(`{"kind":"client","value":"pump-7","reason":"floods","created":1,"until":2}`)
	f.Add(`{"kind":"user","value":"+/#"}`)
	f.Add(`{"kind":"address","value":"::ffff:192.0.2.7"}`)
	f.Add(`{"kind":"address","value":"2001:db8::/32","until":-1}`)
	log := slog.New(slog.DiscardHandler)
	f.Fuzz(func(t *testing.T, text string) {
		y := readBan(&meta.Record{Name: "x", Value: text}, log)
		if y == nil {
			return
		}
		b, err := json.Marshal(y)
		if err != nil {
			t.Fatal(err)
		}
		if again := readBan(&meta.Record{Name: "x", Value: string(b)}, log); again == nil || *again != *y {
			t.Fatalf("%+v is read as %+v", y, again)
		}
		record := meta.PutRecord{Kind: meta.KindBan, Name: y.recordName(), Value: string(b)}
		if err := record.Check(); err != nil && len(y.Value) < 300 {
			t.Fatalf("%+v has no record: %v", y, err)
		}
		var door limit.Door
		if err := door.SetBans([]limit.Ban{{Kind: y.Kind, Value: y.Value}}, time.Now); err != nil {
			t.Fatalf("%+v: %v", y, err)
		}
		client, user, from := "", "", netip.Addr{}
		switch y.Kind {
		case limit.BanClient:
			client = y.Value
		case limit.BanUser:
			user = y.Value
		default:
			n, err := limit.ParseNetwork(y.Value)
			if err != nil {
				t.Fatal(err)
			}
			from = n.Addr()
		}
		if !door.IsBanned(client, user, from) || door.IsBanned("another"+y.Value, "another"+y.Value, netip.Addr{}) {
			t.Fatalf("%+v does not ban whom it names", y)
		}
	})
}
