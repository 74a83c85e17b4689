package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"sync"
	"time"
	"unicode/utf8"

	"dunlin/node/admin"
	"dunlin/node/limit"
	"dunlin/raftstore/meta"
)

// Bounds of bans: each connection is held against them.
const (
	maxBans       = 10_000
	maxBanned     = 256 // bytes of a name; longer ones are nobody's by accident
	maxBanReason  = 256 // bytes
	maxBanHolding = 100 * 365 * 24 * time.Hour
)

// bans are those of the whole cluster, which each node holds its clients to. They are
// records of meta; when one ends is for each node to see by its own clock, and who adds
// one takes away those that have ended.
type bans struct {
	stored  banRecords
	entered func() bool // the node has entered the cluster, so that it knows them
	follows *follower[*meta.Records]
	door    *limit.Door
	banish  func(is func(clientID, user string, from netip.Addr) bool) // closes connections
	log     *slog.Logger

	mu struct {
		sync.Mutex
		known map[*meta.Record]*ban // read already: a record is never written; nil: bans nobody
		all   []*ban                // by name of the record
	}
}

// banRecords are control.Records.
type banRecords interface {
	records
	Put(ctx context.Context, name, value string) (revision uint64, err error)
	Remove(ctx context.Context, name string) error
}

// ban is the value of a record, in JSON. A field that is not known is left out, and one of a
// kind that is not known holds for nobody: a later release may have made it.
type ban struct {
	Kind    limit.BanKind `json:"kind"`
	Value   string        `json:"value"`
	Reason  string        `json:"reason,omitempty"`
	Created int64         `json:"created"`         // seconds since 1970
	Until   int64         `json:"until,omitempty"` // 0: for good

	name string // of the record
}

func newBans(stored banRecords, door *limit.Door, banish func(func(clientID, user string, from netip.Addr) bool), entered func() bool, log *slog.Logger) *bans {
	b := &bans{stored: stored, entered: entered, door: door, banish: banish, log: log}
	b.follows = followRecords(stored, b.take)
	return b
}

// take puts the bans there are in force, first for who comes and then for who is there.
func (b *bans) take(_ context.Context, r *meta.Records) {
	b.mu.Lock()
	defer b.mu.Unlock()
	known := make(map[*meta.Record]*ban, len(r.All()))
	all := make([]*ban, 0, len(r.All()))
	anew := false
	for _, x := range r.All() {
		y, was := b.mu.known[x]
		if !was {
			y, anew = readBan(x, b.log), true
		}
		if known[x] = y; y != nil {
			all = append(all, y)
		}
	}
	b.mu.known, b.mu.all = known, all
	force := make([]limit.Ban, 0, len(all))
	for _, y := range all {
		z := limit.Ban{Kind: y.Kind, Value: y.Value}
		if y.Until != 0 {
			z.Until = time.Unix(y.Until, 0)
		}
		force = append(force, z)
	}
	if err := b.door.SetBans(force, time.Now); err != nil {
		b.log.Error("bans not taken over, the former ones are kept", "error", err)
		return
	}
	if anew {
		b.banish(b.door.IsBanned)
	}
}

// readBan is nil for a record that bans nobody.
func readBan(r *meta.Record, log *slog.Logger) *ban {
	y := &ban{name: r.Name}
	err := json.Unmarshal([]byte(r.Value), y)
	if err == nil {
		err = y.check()
	}
	if err != nil {
		log.Warn("a ban is not understood and holds for nobody", "record", r.Name, "error", err)
		return nil
	}
	return y
}

// check says what is wrong with a ban. A network is made to be written in one way.
func (y *ban) check() error {
	switch y.Kind {
	case limit.BanClient, limit.BanUser:
		if y.Value == "" || len(y.Value) > maxBanned || !utf8.ValidString(y.Value) {
			return fmt.Errorf("%.50q is nobody's name: want 1 to %d bytes of UTF-8", y.Value, maxBanned)
		}
	case limit.BanAddress:
		n, err := limit.ParseNetwork(y.Value)
		if err != nil {
			return err
		}
		y.Value = n.String()
		if n.IsSingleIP() {
			y.Value = n.Addr().String()
		}
	default:
		return fmt.Errorf("a ban of %.50q: want client, user or address", y.Kind)
	}
	if len(y.Reason) > maxBanReason || !utf8.ValidString(y.Reason) {
		return fmt.Errorf("the reason: want at most %d bytes of UTF-8", maxBanReason)
	}
	return nil
}

// recordName is that of the record of a ban.
func (y *ban) recordName() string { return string(y.Kind) + ":" + url.PathEscape(y.Value) }

func (y *ban) ended(now time.Time) bool { return y.Until != 0 && y.Until <= now.Unix() }

func (y *ban) show() admin.Ban {
	out := admin.Ban{Kind: string(y.Kind), Value: y.Value, Reason: y.Reason, Created: time.Unix(y.Created, 0).UTC()}
	if y.Until != 0 {
		until := time.Unix(y.Until, 0).UTC()
		out.Until = &until
	}
	return out
}

// held are those that were read last.
func (b *bans) held() []*ban {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mu.all
}

// Bans implements admin.Bans.
func (b *bans) Bans() (list []admin.Ban, err error) {
	if !b.entered() {
		return nil, errNotEntered
	}
	now := time.Now()
	for _, y := range b.held() {
		if !y.ended(now) {
			list = append(list, y.show())
		}
	}
	return list, nil
}

// AddBan implements admin.Bans.
func (b *bans) AddBan(ctx context.Context, order admin.Ban, hold time.Duration) (admin.Ban, error) {
	now := time.Now()
	y := &ban{Kind: limit.BanKind(order.Kind), Value: order.Value, Reason: order.Reason, Created: now.Unix()}
	if err := y.check(); err != nil {
		return admin.Ban{}, admin.Invalid(err)
	}
	if hold > 0 {
		y.Until = now.Add(min(hold, maxBanHolding)).Unix()
	}
	if err := b.prune(ctx, now); err != nil {
		return admin.Ban{}, err
	}
	if len(b.held()) >= maxBans {
		return admin.Ban{}, admin.Conflict(fmt.Errorf("there are %d bans, as many as may be: remove some, or ban a network", maxBans))
	}
	text, err := json.Marshal(y)
	if err != nil {
		return admin.Ban{}, err
	}
	if _, err = b.stored.Put(ctx, y.recordName(), string(text)); err != nil {
		return admin.Ban{}, refused(err)
	}
	b.follows.look(ctx)
	return y.show(), nil
}

// prune takes away bans that have ended.
func (b *bans) prune(ctx context.Context, now time.Time) error {
	for _, y := range b.held() {
		if !y.ended(now) {
			continue
		}
		if err := b.stored.Remove(ctx, y.name); err != nil && !errors.Is(err, meta.ErrNoRecord) {
			return refused(err)
		}
	}
	return nil
}

// RemoveBan implements admin.Bans.
func (b *bans) RemoveBan(ctx context.Context, kind, value string) error {
	y := &ban{Kind: limit.BanKind(kind), Value: value}
	if err := y.check(); err != nil {
		return admin.Invalid(err)
	}
	err := b.stored.Remove(ctx, y.recordName())
	if errors.Is(err, meta.ErrNoRecord) {
		return admin.NotFound(fmt.Errorf("there is no ban of %s %q", kind, y.Value))
	}
	b.follows.look(ctx)
	return refused(err)
}
