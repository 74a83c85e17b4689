package session

import (
	"encoding/binary"
	"slices"
	"strings"

	"dunlin/router"
)

// Cut is where a shard stood: at the index of one of its commands (P8).
type Cut struct {
	Shard router.ShardID
	Index uint64
}

// Replay is the way of a subscription through the retained messages, as far as it
// has come: the owner at the time brings them, and the next one goes on (P8, P3).
type Replay struct {
	Filter router.Filter
	Cuts   []Cut          // what was retained after them is not the replay's; nil if not known
	Shard  router.ShardID // the replay is in
	Cursor string         // the topic of that shard which came last, "" for none
}

// WantsRetained says whether retained messages follow the subscription, as its
// retain handling says [MQTT-3.3.1-9 to -11]; never for share groups.
func (s *Subscription) WantsRetained(existed bool) bool {
	return s.Filter.Group() == "" && (s.RetainHandling == 0 || s.RetainHandling == 1 && !existed)
}

// Replays calls yield with each replay that has not come to its end, in the order
// of their subscriptions. What they refer to is never written again.
func (d *Durable) Replays(yield func(Replay) bool) {
	if d.replays == nil {
		return
	}
	for _, r := range *d.replays {
		if !yield(r) {
			return
		}
	}
}

// CutReplay notes what a replay leaves to the live flow.
func (d *Durable) CutReplay(f router.Filter, cuts []Cut) {
	if i := d.findReplay(f); i >= 0 {
		(*d.replays)[i].Cuts = cuts
	}
}

// AdvanceReplay notes how far a replay has come. It keeps cursor.
func (d *Durable) AdvanceReplay(f router.Filter, sh router.ShardID, cursor string) {
	if i := d.findReplay(f); i >= 0 {
		(*d.replays)[i].Shard, (*d.replays)[i].Cursor = sh, cursor
	}
}

// EndReplay forgets a replay.
func (d *Durable) EndReplay(f router.Filter) {
	i := d.findReplay(f)
	if i < 0 {
		return
	}
	if len(*d.replays) == 1 {
		d.replays = nil
		return
	}
	left := slices.Delete(slices.Clone(*d.replays), i, i+1)
	d.replays = &left
}

// beginReplay begins a replay, anew if there is one. Topics to which no client may
// publish have no retained messages.
func (d *Durable) beginReplay(f router.Filter) {
	if strings.HasPrefix(f.Pattern(), "$") {
		return
	}
	d.EndReplay(f)
	var rs []Replay
	if d.replays != nil {
		rs = *d.replays
	}
	rs = append(rs[:len(rs):len(rs)], Replay{Filter: f})
	d.replays = &rs
}

func (d *Durable) findReplay(f router.Filter) int {
	if d.replays == nil {
		return -1
	}
	return slices.IndexFunc(*d.replays, func(r Replay) bool { return r.Filter == f })
}

// AppendReplay writes a replay, and ParseReplay reads it at the head of b; ok is
// false for bad bytes.
func AppendReplay(b []byte, r *Replay) []byte {
	b = appendBytes(b, []byte(r.Filter.String()))
	b = AppendCuts(b, r.Cuts)
	b = binary.AppendUvarint(b, uint64(r.Shard))
	return appendBytes(b, []byte(r.Cursor))
}

func ParseReplay(b []byte) (r Replay, rest []byte, ok bool) {
	in := snapReader{b: b}
	r = in.replay()
	return r, in.b, !in.bad
}

func (r *snapReader) replay() (p Replay) {
	f, err := router.ParseFilter(r.bytes())
	if err != nil {
		r.fail()
	}
	p.Filter = f
	p.Cuts = r.cuts()
	p.Shard = router.ShardID(r.uvarint())
	p.Cursor = string(r.bytes())
	return p
}

// AppendCuts writes cuts, and ParseCuts reads them.
func AppendCuts(b []byte, cuts []Cut) []byte {
	b = binary.AppendUvarint(b, uint64(len(cuts)))
	for _, c := range cuts {
		b = binary.AppendUvarint(b, uint64(c.Shard))
		b = binary.AppendUvarint(b, c.Index)
	}
	return b
}

func ParseCuts(b []byte) (cuts []Cut, rest []byte, ok bool) {
	in := snapReader{b: b}
	cuts = in.cuts()
	return cuts, in.b, !in.bad
}

func (r *snapReader) cuts() (cuts []Cut) {
	if n := r.count(2); n > 0 {
		cuts = make([]Cut, n)
		for i := range cuts {
			cuts[i] = Cut{Shard: router.ShardID(r.uvarint()), Index: r.uvarint()}
		}
	}
	return cuts
}
