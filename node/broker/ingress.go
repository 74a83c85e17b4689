package broker

import (
	"sync"

	"dunlin/cluster"
	"dunlin/node/listen"
	"dunlin/proto/mqtt"
	"dunlin/router"
	"dunlin/session"
)

// Forwarded is called by the cluster with a frame from a peer.
func (b *Broker) Forwarded(from router.NodeID, body []byte, done func()) {
	in, ok := b.ingresses.Load(from)
	if !ok {
		in = newIngress(b, from)
		b.ingresses.Store(from, in)
	}
	in.(*ingress).take(body, done)
}

// ingress routes what one peer forwards, on the peer's stream goroutine: to the
// loops with subscribers, and nowhere else. Shards and other nodes hear of a
// message from the node that took it, and from no other.
type ingress struct {
	b       *Broker
	from    router.NodeID
	message session.Message
	matches router.Matches
	batches []*batch
	repaid  []*repayment
	serial  uint64
}

func newIngress(b *Broker, from router.NodeID) *ingress {
	return &ingress{b: b, from: from, batches: make([]*batch, len(b.workers)), repaid: make([]*repayment, len(b.workers))}
}

// repayment is mail: loans that a peer reports settled, returned or refused.
type repayment struct {
	from    router.NodeID
	handles []uint64
	kinds   []cluster.RecordKind
}

// take routes one frame and posts what came of it. The frame is done when every
// loop concerned has taken its part.
func (in *ingress) take(body []byte, done func()) {
	var a *arrival
	if done != nil {
		a = &arrival{done: done}
		a.left.Store(1) // ours, until everything is posted
	}
	for rest := body; len(rest) > 0; {
		var rec cluster.Record
		var err error
		if rec, rest, err = cluster.ReadRecord(rest); err != nil {
			in.b.Log.Error("forwarded frame is damaged", "peer", in.from, "err", err)
			break
		}
		in.record(rec, a)
	}
	for i := range in.batches {
		in.post(i)
	}
	for i, p := range in.repaid {
		if p != nil {
			in.repaid[i] = nil
			in.b.workers[i].loop.Post(p)
		}
	}
	a.land()
}

func (in *ingress) record(rec cluster.Record, a *arrival) {
	now := in.b.Clock()
	switch rec.Kind {
	case cluster.RecordSettled, cluster.RecordReturned, cluster.RecordFull:
		loop := int(rec.Handle >> 56)
		if loop >= len(in.repaid) {
			return
		}
		p := in.repaid[loop]
		if p == nil {
			p = &repayment{from: in.from}
			in.repaid[loop] = p
		}
		p.handles = append(p.handles, rec.Handle)
		p.kinds = append(p.kinds, rec.Kind)
		return
	case cluster.RecordForget:
		in.b.forget(rec.Handle)
		return
	}
	m := &in.message
	if _, err := m.Parse(rec.Message, now); err != nil {
		in.b.Log.Error("forwarded message is damaged", "peer", in.from, "err", err)
		return
	}
	in.serial++
	if rec.Kind == cluster.RecordGroup {
		in.group(rec, m, now, a)
		return
	}
	for loop, b := range in.batches {
		if b != nil && len(b.items) >= maxPosted {
			in.post(loop)
		}
	}
	ms := &in.matches
	in.b.table.Match(m.Topic, 0, ms)
	for i := range ms.Local {
		x := &ms.Local[i]
		b := in.batchFor(x.Subscriber, a)
		it := b.add(m, in.serial, now, ms.IDs(*x))
		it.to, it.qos, it.retain = x.Subscriber, min(m.QoS, mqtt.QoS(x.QoS)), m.Retain && x.RetainAsPublished
		// One that the loop judges stays in one batch, or the rest would look like
		// another copy.
		if len(b.items) >= maxPosted && m.Origin == 0 {
			in.post(listen.ID(x.Subscriber).Loop())
		}
	}
}

// group draws a member here for a message lent by the peer.
func (in *ingress) group(rec cluster.Record, m *session.Message, now session.Time, a *arrival) {
	f, err := router.ParseFilter(rec.Filter)
	if err != nil {
		in.b.Log.Error("forwarded share group is damaged", "peer", in.from, "err", err)
		return
	}
	sh := sharing{filter: f, node: in.from, handle: rec.Handle}
	if g := in.b.table.Group(f); g != nil {
		if x, subscription, ok := g.PickLocal(g.Turn(), 0); ok {
			b := in.batchFor(x.Subscriber, a)
			b.shared = append(b.shared, sh)
			var ids []uint32
			if subscription != 0 {
				ids = []uint32{subscription}
			}
			it := b.add(m, in.serial, now, ids)
			it.to, it.qos, it.retain = x.Subscriber, min(m.QoS, mqtt.QoS(x.QoS)), m.Retain && x.RetainAsPublished
			it.share = int32(len(b.shared))
			return
		}
	}
	in.b.workers[0].loop.Post(func(w *worker) { w.repay(sh) })
}

func (in *ingress) batchFor(s router.Subscriber, a *arrival) *batch {
	loop := listen.ID(s).Loop()
	b := in.batches[loop]
	if b == nil {
		b = in.b.newBatch()
		b.arrival = a
		if a != nil {
			a.left.Add(1)
		}
		in.batches[loop] = b
	}
	return b
}

// maxPosted is the number of deliveries that ingress posts to a loop at once.
const maxPosted = 4 << 10

// post gives a loop the batch gathered for it, if there is one. It waits while
// the loop is too far behind, and with it the peer: its stream is not read.
func (in *ingress) post(loop int) {
	b := in.batches[loop]
	if b == nil {
		return
	}
	in.batches[loop] = nil
	w := in.b.workers[loop]
	b.owed = b.size()
	w.arrears.add(b.owed)
	w.loop.Post(b)
}

// arrears are the bytes that peers' batches for one loop take until it has taken
// them. A message may be delivered a thousand times over, so that its size on the
// stream says little of what it costs here.
type arrears struct {
	mu struct {
		sync.Mutex
		bytes int
		over  bool // the loop takes nothing any more: nobody waits
	}
	paid sync.Cond // on mu: bytes fell below the bound, or over
}

// maxArrears is where peers begin to wait for the loop.
const maxArrears = 8 << 20

// add waits for room and then owes n bytes more.
func (a *arrears) add(n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for a.mu.bytes >= maxArrears && !a.mu.over {
		a.paid.Wait()
	}
	a.mu.bytes += n
}

// sub is called by the loop when it has taken n bytes.
func (a *arrears) sub(n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	before := a.mu.bytes
	a.mu.bytes -= n
	if before >= maxArrears && a.mu.bytes < maxArrears {
		a.paid.Broadcast()
	}
}

// end lets everybody go on.
func (a *arrears) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.mu.over = true
	a.paid.Broadcast()
}
