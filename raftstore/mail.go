package raftstore

import (
	"encoding/binary"
	"fmt"

	"dunlin/router"
	"dunlin/session"
)

// mail is what Apply has for other shards, and how far what came from others was
// taken. A letter is kept until the other shard has it; each is taken once, and in
// order, whoever leads meanwhile: see DESIGN.md, Share groups. A shard writes to
// itself in the same way.
//
// Invariant: letters of an outbox are numbered consecutively, up to last.
type mail struct {
	out   []outbox // by shard
	taken []uint64 // by shard: number of the latest letter taken of it
}

// outbox is what one other shard is not known to have taken.
type outbox struct {
	last    uint64 // number of the latest letter
	letters []letter
}

type letterKind uint8

const (
	letterMember letterKind = 1 + iota // what a session is in a group
	letterGive                         // a message for a member
	letterBack                         // a message that a member did not finish
	letterDone                         // how many messages a member is done with
	letterAsk                          // what is the session in the group?
)

// letter is one piece of news between two shards about a member of a share group.
type letter struct {
	number   uint64 // among those of its two shards
	kind     letterKind
	group    router.Filter
	clientID string

	news    news           // of letterMember
	count   uint64         // number of the message in its group; of letterDone how many they are
	options router.Options // of letterGive: QoS and retain flag as they are to be sent, and the identifier

	packed   []byte       // message of letterGive and letterBack, never written again
	deadline session.Time // of it, in the sender's shard time
}

// hasMessage says whether a letter of that kind brings one.
func (k letterKind) hasMessage() bool { return k == letterGive || k == letterBack }

// send puts a letter on its way.
func (st *state) send(to router.ShardID, l letter) {
	for int(to) >= len(st.mail.out) {
		st.mail.out = append(st.mail.out, outbox{})
	}
	box := &st.mail.out[to]
	box.last++
	l.number = box.last
	box.letters = append(box.letters, l)
	st.mix(uint64(to)<<56 | uint64(l.kind)<<48 ^ l.number<<16 ^ l.count)
}

// maxLetters is how many letters may wait before sessions are refused what makes
// more: connections of members of share groups whose shards take none (P10). What
// ends is always taken, and what members hold is bounded by itself.
const maxLetters = 1 << 16

func (t *mail) full() bool { return t.waiting() >= maxLetters }

// waiting is how many letters are not known to be taken.
func (t *mail) waiting() (n int) {
	for to := range t.out {
		n += len(t.out[to].letters)
	}
	return n
}

// after finds the letters with numbers above n.
func (o *outbox) after(n uint64) []letter {
	if first := o.last - uint64(len(o.letters)); n > first {
		return o.letters[min(n, o.last)-first:]
	}
	return o.letters
}

// posted brings a letter to the shard that it is for: all below low are known to
// be taken. message is its message, received at this node's time, if it has one.
type posted struct {
	from    router.ShardID
	low     uint64
	letter  *letter
	message session.Message
}

func (c posted) encode(b []byte, now func() session.Time) (kind, []byte) {
	b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(c.from)), c.low)
	b = c.letter.encode(b)
	if c.letter.kind.hasMessage() {
		b = appendMessage(b, &c.message, now)
	}
	return kindLetter, b
}

// encode writes all but the message.
func (l *letter) encode(b []byte) []byte {
	b = append(binary.AppendUvarint(b, l.number), byte(l.kind))
	b = appendBytes(b, l.group.String())
	b = appendBytes(b, l.clientID)
	b = binary.AppendUvarint(b, l.count)
	switch l.kind {
	case letterMember:
		b = l.news.encode(b)
	case letterGive:
		b = appendOptions(b, &l.options)
	}
	return b
}

// letter reads what encode wrote.
func (r *reader) letter() (l letter) {
	l.number, l.kind = r.uvarint(), letterKind(r.byte())
	l.group, l.clientID, l.count = r.group(), r.string(), r.uvarint()
	switch l.kind {
	case letterMember:
		l.news = r.news()
	case letterGive:
		l.options = r.options()
	case letterBack, letterDone, letterAsk:
	default:
		r.fail()
	}
	return l
}

// applyLetter takes a letter of another shard if it is the next. Result.Seq is how
// far that shard's letters are taken, Result.Known says that this one was before.
func (st *state) applyLetter(body *reader, res *Result) {
	from, low := body.shardID(), body.uvarint()
	l := body.letter()
	var m session.Message
	if l.kind.hasMessage() {
		l.packed, l.deadline = body.message(&m, st.now), session.Never
		if m.HasExpiry {
			l.deadline = st.now + session.Seconds(m.Expiry)
		}
	}
	if low == 0 || l.number < low {
		body.fail()
	}
	if body.err != nil {
		return
	}
	for int(from) >= len(st.mail.taken) {
		st.mail.taken = append(st.mail.taken, 0)
	}
	taken := &st.mail.taken[from]
	*taken = max(*taken, low-1) // more is known there only if this shard is restored from a backup
	switch {
	case l.number <= *taken:
		res.Known = true
	case l.number > *taken+1:
		res.Err = errTurn
	default:
		*taken = l.number
		switch l.kind {
		case letterMember:
			st.hear(&l, from)
		case letterGive:
			st.given(&l)
		case letterBack:
			st.back(&l)
		case letterDone:
			st.done(&l)
		case letterAsk:
			st.asked(&l)
		}
	}
	res.Seq = *taken
}

// delivered has a shard forget the letters that another has taken.
type delivered struct {
	to   router.ShardID
	upTo uint64
}

func (c delivered) encode(b []byte, _ func() session.Time) (kind, []byte) {
	return kindDelivered, binary.AppendUvarint(binary.AppendUvarint(b, uint64(c.to)), c.upTo)
}

func (st *state) applyDelivered(body *reader, _ *Result) {
	to, upTo := body.shardID(), body.uvarint()
	if body.err != nil || int(to) >= len(st.mail.out) {
		return
	}
	box := &st.mail.out[to]
	rest := box.after(upTo)
	clear(box.letters[:len(box.letters)-len(rest)])
	if box.letters = rest; len(rest) == 0 {
		box.letters = nil
	}
}

// groupShard is where a share group has its table.
func (st *state) groupShard(g router.Filter) router.ShardID { return GroupShard(g, st.shards) }

// low is the number of the first letter that is not known to be taken.
func (o *outbox) low() uint64 { return o.last - uint64(len(o.letters)) + 1 }

// refoundMail has the mail begin anew after the shards were restored from backups,
// which are not of one moment: what was given and may not have been taken waits in
// the group again.
func (st *state) refoundMail() {
	old := st.mail
	st.mail = mail{}
	for to := range old.out {
		for _, l := range old.out[to].letters {
			switch g := st.groups.of[l.group.String()]; {
			case l.kind == letterBack:
				st.send(router.ShardID(to), l)
			case l.kind == letterGive && g != nil && g.queues:
				ref := st.messages.put(l.packed, l.deadline)
				st.messages.keep(ref)
				g.insert(waitingMessage{l.count, ref})
				g.bytes += messageSize(l.packed)
			}
		}
	}
}

// follow has the letters numbered on from those that the shard had for others
// before it was restored: they may know these. What was taken of theirs is not in
// what was restored, so that what they still have comes again.
func (t *mail) follow(before *mail) {
	for to := range before.out {
		if to == len(t.out) {
			t.out = append(t.out, outbox{})
		}
		o, last := &t.out[to], before.out[to].last
		o.last += last
		for i := range o.letters {
			o.letters[i].number += last
		}
	}
}

// check verifies the numbers.
func (t *mail) check() error {
	for to := range t.out {
		o := &t.out[to]
		for i := range o.letters {
			if want := o.last - uint64(len(o.letters)-1-i); o.letters[i].number != want {
				return fmt.Errorf("letter %d to shard %d stands in the place of %d", o.letters[i].number, to, want)
			}
		}
	}
	return nil
}

const (
	itemTaken = iota
	itemOutbox
	itemLetter // of the outbox before it
)

// snapshot writes what was taken of each shard, then each outbox with its letters.
func (t *mail) snapshot(w *snapshotWriter) {
	for from, number := range t.taken {
		if number > 0 {
			w.b = binary.AppendUvarint(append(w.b, itemTaken), uint64(from))
			w.b = binary.AppendUvarint(w.b, number)
			w.item()
		}
	}
	for to := range t.out {
		o := &t.out[to]
		if o.last == 0 {
			continue
		}
		w.b = binary.AppendUvarint(append(w.b, itemOutbox), uint64(to))
		w.b = binary.AppendUvarint(w.b, o.last)
		w.item()
		for i := range o.letters {
			l := &o.letters[i]
			w.b = l.encode(append(w.b, itemLetter))
			if l.kind.hasMessage() {
				w.b = binary.AppendUvarint(w.b, uint64(l.deadline))
				w.b = appendBytes(w.b, l.packed)
			}
			w.item()
		}
	}
}

func (rs *restoring) letter(r *reader) {
	t := &rs.st.mail
	switch r.byte() {
	case itemTaken:
		from, number := r.shardID(), r.uvarint()
		for int(from) >= len(t.taken) {
			t.taken = append(t.taken, 0)
		}
		t.taken[from] = number
	case itemOutbox:
		to, last := r.shardID(), r.uvarint()
		if r.err != nil || int(to) < len(t.out) {
			r.fail()
			return
		}
		for int(to) >= len(t.out) {
			t.out = append(t.out, outbox{})
		}
		t.out[to].last = last
	case itemLetter:
		l := r.letter()
		if l.kind.hasMessage() {
			l.deadline, l.packed = r.time(), r.clone()
			var m session.Message
			whole := reader{b: l.packed}
			if whole.message(&m, session.Never); whole.err != nil {
				r.fail()
			}
		}
		if r.err != nil || len(t.out) == 0 {
			r.fail()
			return
		}
		o := &t.out[len(t.out)-1]
		o.letters = append(o.letters, l)
	default:
		r.fail()
	}
}

func (r *reader) shardID() router.ShardID {
	sh := r.uvarint()
	if sh >= router.MaxShards {
		r.fail()
		return 0
	}
	return router.ShardID(sh)
}

// group reads the filter of a share group.
func (r *reader) group() router.Filter {
	f := r.filter()
	if f.Group() == "" {
		r.fail()
	}
	return f
}

// appendOptions writes what a member asked for, or is to be sent.
func appendOptions(b []byte, o *router.Options) []byte {
	v := o.QoS & 3
	if o.RetainAsPublished {
		v |= subRAP
	}
	return binary.AppendUvarint(append(b, v), uint64(o.ID))
}

func (r *reader) options() (o router.Options) {
	v := r.byte()
	o = router.Options{QoS: v & 3, RetainAsPublished: v&subRAP != 0, ID: uint32(r.uvarint())}
	if v&^(3|subRAP) != 0 || o.QoS > 2 {
		r.fail()
	}
	return o
}
