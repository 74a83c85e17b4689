package raftstore

import (
	"encoding/binary"
	"errors"

	"dunlin/proto/mqtt"
	"dunlin/session"
)

// This file has the form of a Result: as the state keeps it for a proposer that
// may ask again, and as a leader sends it to another node. The first leaves out
// what a claim found, which is told from the session.

// errTurn says that a command came before one with a lower number: whoever sent
// it begins again at the first that has no answer.
var errTurn = errors.New("raftstore: out of turn")

// resultErrors are what Result.Err may be, by their number in the form. The form has
// room for as many as are ever wanted, and numbers are never given anew; but a release
// that does not know a number takes the form for malformed, as it does a kind that it
// does not know, so that none is given before the whole cluster reads it.
var resultErrors = [...]error{nil, ErrFenced, ErrNotYours, ErrQuota, ErrUnknown, ErrClosed, errTurn, ErrContended}

const (
	resultError = 1 << iota // number of the error, which is not 0
	resultKnown
	resultSeq // seq and low
	resultDrops
	resultList // existed
	resultClaim

	resultFlags = 1<<iota - 1 // those there are
)

// resultNumber is the number of an error in the form, 0 for none.
func resultNumber(err error) uint64 {
	for i, known := range resultErrors {
		if err == known {
			return uint64(i)
		}
	}
	panic("raftstore: an error without a number: " + err.Error())
}

func appendResult(b []byte, res *Result) []byte {
	flags, number := byte(0), resultNumber(res.Err)
	if number != 0 {
		flags |= resultError
	}
	if res.Known {
		flags |= resultKnown
	}
	if res.Seq|res.Low != 0 {
		flags |= resultSeq
	}
	if res.Dropped != 0 {
		flags |= resultDrops
	}
	if res.Existed != nil {
		flags |= resultList
	}
	if res.Claim.Epoch != 0 {
		flags |= resultClaim
	}
	b = binary.AppendUvarint(append(b, flags), res.Index)
	if flags&resultError != 0 {
		b = binary.AppendUvarint(b, number)
	}
	if flags&resultSeq != 0 {
		b = binary.AppendUvarint(b, res.Seq)
		b = binary.AppendUvarint(b, res.Low)
	}
	if flags&resultDrops != 0 {
		b = binary.AppendUvarint(b, uint64(res.Dropped))
	}
	if flags&resultList != 0 {
		b = binary.AppendUvarint(b, uint64(len(res.Existed)))
		for _, existed := range res.Existed {
			b = appendBool(b, existed)
		}
	}
	if flags&resultClaim != 0 {
		b = appendClaimed(b, &res.Claim)
	}
	return b
}

func (r *reader) result(res *Result) {
	flags := r.byte()
	if flags&^resultFlags != 0 {
		r.fail()
		return
	}
	*res = Result{Known: flags&resultKnown != 0, Index: r.uvarint()}
	if flags&resultError != 0 {
		number := r.uvarint()
		if number == 0 || number >= uint64(len(resultErrors)) {
			r.fail()
			return
		}
		res.Err = resultErrors[number]
	}
	if flags&resultSeq != 0 {
		res.Seq, res.Low = r.uvarint(), r.uvarint()
	}
	if flags&resultDrops != 0 {
		res.Dropped = int(min(r.uvarint(), 1<<31))
	}
	if flags&resultList != 0 {
		res.Existed = make([]bool, r.count(1))
		for i := range res.Existed {
			res.Existed[i] = r.bool()
		}
	}
	if flags&resultClaim != 0 {
		r.claimed(&res.Claim)
	}
}

const (
	resumedReceived = 0x04 // above the QoS
	resumedRetain   = 0x08
)

func appendClaimed(b []byte, c *Claimed) []byte {
	b = binary.AppendUvarint(b, uint64(c.Epoch))
	b = appendBool(b, c.Present)
	b = binary.AppendUvarint(b, c.Origin)
	b = binary.AppendUvarint(b, c.Next)
	b = binary.AppendUvarint(b, uint64(len(c.Inbound)))
	for _, id := range c.Inbound {
		b = binary.AppendUvarint(b, uint64(id))
	}
	b = binary.AppendUvarint(b, uint64(len(c.Subscriptions)))
	for i := range c.Subscriptions {
		b = appendSubscription(b, &c.Subscriptions[i])
	}
	b = binary.AppendUvarint(b, uint64(len(c.Replays)))
	for i := range c.Replays {
		b = session.AppendReplay(b, &c.Replays[i])
	}
	b = binary.AppendUvarint(b, uint64(len(c.Window)))
	for i := range c.Window {
		w := &c.Window[i]
		flags := byte(w.QoS)
		if w.Received {
			flags |= resumedReceived
		}
		if w.Retain {
			flags |= resumedRetain
		}
		b = binary.AppendUvarint(append(b, flags), w.Index)
		b = appendIDs(b, w.IDs)
		if !w.Received {
			b = appendBytes(b, w.Message.Append(nil, w.Message.Received))
		}
	}
	return b
}

// claimed reads what appendClaimed wrote; its messages count as received at 0
// until receivedAt.
func (r *reader) claimed(c *Claimed) {
	c.Epoch, c.Present, c.Origin, c.Next = session.Epoch(r.uvarint()), r.bool(), r.uvarint(), r.uvarint()
	for range r.count(1) {
		c.Inbound = append(c.Inbound, r.packetID())
	}
	for range r.count(3) {
		c.Subscriptions = append(c.Subscriptions, r.subscription())
	}
	for range r.count(4) {
		p, rest, ok := session.ParseReplay(r.b)
		if !ok {
			r.fail()
			return
		}
		r.b, c.Replays = rest, append(c.Replays, p)
	}
	for range r.count(3) {
		var w Resumed
		flags := r.byte()
		w.QoS, w.Received, w.Retain = mqtt.QoS(flags&3), flags&resumedReceived != 0, flags&resumedRetain != 0
		w.Index = r.uvarint()
		w.IDs = r.ids()
		if !w.Received {
			packed := reader{b: r.bytes()}
			if packed.message(&w.Message, 0); packed.err != nil {
				r.fail()
			}
		}
		if r.err != nil {
			return
		}
		c.Window = append(c.Window, w)
	}
}

// receivedAt has what a claim found count as received now, on this node's clock.
func (c *Claimed) receivedAt(now session.Time) {
	for i := range c.Window {
		c.Window[i].Message.Received = now
	}
}
