package broker

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"time"

	"dunlin/node/auth"
	"dunlin/node/listen"
	"dunlin/proto/mqtt"
	"dunlin/raftstore"
	"dunlin/router"
	"dunlin/session"
)

// handshake is what a connection keeps between CONNECT and CONNACK. Everything
// in it is its own.
type handshake struct {
	connect  mqtt.Connect // without the fields that borrow
	clientID string
	assigned bool   // the server chose the client identifier
	user     string // that the client says it is, for Denied
	will     *raftstore.Will
	ack      mqtt.Connack // what the client must be told

	// The latest delivery that a shard pushed and that came before the answer to
	// the claim, and its epoch: see early.
	pushed      uint64
	pushedEpoch session.Epoch
}

// early notes a delivery that was pushed under a claim whose answer is not here.
// The answer has it in the window, if it was made after the push.
func (h *handshake) early(epoch session.Epoch, index uint64) {
	if epoch > h.pushedEpoch {
		h.pushedEpoch, h.pushed = epoch, 0
	}
	if epoch == h.pushedEpoch {
		h.pushed = max(h.pushed, index)
	}
}

// behind says whether an answer to the claim was made before something was pushed
// that has come already: by a leader that is none any more, while the next one
// pushed. What is not in its window would not come again.
func (h *handshake) behind(c *raftstore.Claimed) bool {
	return h.pushedEpoch == c.Epoch && h.pushed >= c.Next
}

// connect takes CONNECT: what can be refused at once, then authentication.
func (w *worker) connect(c *conn, p *mqtt.Connect) {
	c.version = p.Version
	if w.serving.Load() == isIsolated {
		w.connack(c, mqtt.ServerUnavailable)
		return
	}
	if w.refer(c, p) || w.turnedAway(c, p) {
		return
	}
	h, why := w.handshake(c, p)
	if why != mqtt.Success {
		w.connack(c, why)
		return
	}
	c.client.connect = h
	c.phase = connecting
	c.client.since = w.now()
	w.hold(c, holdConnect)
	w.loop.SetIdle(c.id, 0)
	id := c.id
	r := w.request(c)
	r.Certificate, r.Connect = w.certificate(id), p
	if w.Withdrawn == nil {
		delete(w.certificates, id)
	}
	if p.HasAuthMethod {
		w.introduce(c, r)
		return
	}
	who, err := w.Auth.Authenticate(r, func(who *auth.Principal, err error) {
		w.loop.Post(func(w *worker) {
			if c := w.conn(id); c != nil && c.phase == connecting {
				w.identified(c, who, err)
			}
		})
	})
	if !errors.Is(err, auth.ErrLater) {
		w.identified(c, who, err)
	}
}

// request is what a connection shows of itself beside its packets.
func (w *worker) request(c *conn) auth.Request {
	return auth.Request{Remote: w.remote(c), Listener: w.listeners[c.client.listener], Loopback: c.client.loopback}
}

// handshake checks CONNECT as far as it needs nobody else, and keeps what is
// needed later.
func (w *worker) handshake(c *conn, p *mqtt.Connect) (*handshake, mqtt.Reason) {
	h := &handshake{clientID: string(p.ClientID)}
	if p.HasAuthMethod {
		if c.client.method = w.methodNamed(p.AuthMethod); c.client.method == 0 {
			return nil, mqtt.BadAuthenticationMethod // [MQTT-4.12.0-1]
		}
		h.ack.AuthMethod = []byte(w.method(c).Name()) // [MQTT-4.12.0-5]
	}
	if len(p.Username) > 0 && w.Denied != nil {
		h.user = string(p.Username[:min(len(p.Username), maxDeniedUser)])
	}
	if h.clientID == "" {
		// 3.1 knows no empty identifier; 3.1.1 only with a clean session [MQTT-3.1.3-8].
		if p.Version == mqtt.V31 || p.Version == mqtt.V311 && !p.CleanStart {
			return nil, mqtt.ClientIDNotValid
		}
		h.clientID, h.assigned = newClientID(), true
	}
	if p.HasWill {
		m, err := w.willMessage(p)
		if err != nil {
			return nil, mqtt.TopicNameInvalid
		}
		if w.tooLong(p.Will.Topic) {
			w.countTopic(nil)
			return nil, mqtt.TopicNameInvalid // case 15
		}
		if isReserved(m.Topic) {
			return nil, mqtt.NotAuthorized // case 42
		}
		h.will = &raftstore.Will{Message: m, Delay: p.Will.Delay}
	}
	h.connect = mqtt.Connect{
		Version: p.Version, CleanStart: p.CleanStart, KeepAlive: p.KeepAlive,
		SessionExpiry: p.SessionExpiry, ReceiveMaximum: p.ReceiveMaximum,
		MaximumPacketSize: p.MaximumPacketSize, TopicAliasMaximum: p.TopicAliasMaximum,
		RequestResponseInfo: p.RequestResponseInfo, RequestProblemInfo: p.RequestProblemInfo,
		HasAuthMethod: p.HasAuthMethod,
	}
	c.client.agreed = session.Negotiate(p, w.Session, w.Policy, &h.ack)
	if h.assigned {
		h.ack.AssignedClientID = []byte(h.clientID) // [MQTT-3.2.2-16]
	}
	if !w.takesConnack(p, &h.ack) {
		return nil, mqtt.PacketTooLarge
	}
	return h, mqtt.Success
}

// takesConnack says whether the client takes the CONNACK [MQTT-3.1.2-24]. It is asked
// before anything is done for the client: nothing in a CONNACK can be left out, so that a client
// which takes less cannot be served.
func (w *worker) takesConnack(p *mqtt.Connect, ack *mqtt.Connack) bool {
	if p.MaximumPacketSize == 0 {
		return true
	}
	w.text = ack.Append(w.text[:0], p.Version)
	return len(w.text) <= int(p.MaximumPacketSize)
}

// willMessage copies the will out of CONNECT.
func (w *worker) willMessage(p *mqtt.Connect) (session.Message, error) {
	topic, err := router.ParseTopic(append([]byte(nil), p.Will.Topic...))
	if err != nil {
		return session.Message{}, err
	}
	return session.Message{
		Topic:      topic,
		Payload:    append([]byte(nil), p.Will.Payload...),
		Properties: append(mqtt.Properties(nil), p.Will.Properties...),
		QoS:        p.Will.QoS, Retain: p.Will.Retain,
		HasExpiry: p.Will.HasExpiry, Expiry: p.Will.MessageExpiry,
		Received: w.now(),
	}, nil
}

var errOthersID = errors.New("client identifier is not the user's name")

// identified goes on once the client is known, or not.
func (w *worker) identified(c *conn, who *auth.Principal, err error) {
	h := c.client.connect
	if err == nil && w.former(who) {
		err = auth.ErrBadCredentials // as it would be if the client came now
	}
	switch {
	case errors.Is(err, auth.ErrBadCredentials):
		w.deny(c, mqtt.BadUsernameOrPassword, err) // case 44
		return
	case errors.Is(err, auth.ErrRefused):
		w.deny(c, mqtt.NotAuthorized, err)
		return
	case errors.Is(err, auth.ErrTooOften):
		w.counters.AuthDenied++
		w.unidentified(c, err.Error())
		w.connack(c, mqtt.ConnectionRateExceeded) // case 44
		return
	case errors.Is(err, auth.ErrBusy):
		w.connack(c, mqtt.ServerBusy)
		return
	case errors.Is(err, auth.ErrUnavailable):
		w.connack(c, mqtt.ServerUnavailable)
		return
	case err != nil:
		w.Log.Warn("authenticate", "client", h.clientID, "err", err)
		w.connack(c, mqtt.ServerUnavailable)
		return
	}
	if w.OwnClientID && !h.assigned && h.clientID != who.User() {
		w.deny(c, mqtt.ClientIDNotValid, errOthersID)
		return
	}
	w.name(c, h.clientID, who)
	if !w.comeIn(c, h) {
		return
	}
	if h.will != nil && !w.mayLeave(c, &h.will.Message) {
		w.denied(c, AttemptPublish, []byte(h.will.Message.Topic.String()))
		w.connack(c, mqtt.NotAuthorized) // case 42
		return
	}
	if h.assigned && c.client.agreed.SessionExpiry == 0 && h.will == nil {
		w.connected(c, raftstore.Claimed{}) // nobody can rival it: no claim
		return
	}
	if c.client.agreed.SessionExpiry == 0 && h.will == nil {
		sh := w.shards.SessionShard(h.clientID)
		if w.guests.Admit(sh, h.clientID, who.User(), c.subscriber()) {
			c.guest, c.shard = true, sh
			w.connected(c, raftstore.Claimed{})
			return
		}
	}
	w.claim(c)
}

// deny refuses a client that could not prove who it is, or has proved to be nobody who
// is let in.
func (w *worker) deny(c *conn, why mqtt.Reason, err error) {
	w.counters.AuthDenied++
	w.unidentified(c, err.Error())
	w.Log.Debug("refused", "client", c.client.connect.clientID, "remote", w.remote(c), "err", err)
	w.connack(c, why)
}

// mayLeave says whether a client may leave a will (case 42): as a message that it would publish
// now, or what its token and groups deny it could be said by a will; and by what is asked again
// when that fires, and little is known of the client any more.
func (w *worker) mayLeave(c *conn, will *session.Message) bool {
	id := willIdentity(w.clientID(c), c.client.who.User())
	return w.mayPublish(w.identity(c), will.Topic, will.QoS, will.Retain) &&
		w.mayPublish(&id, will.Topic, will.QoS, will.Retain)
}

// claim asks the shard of the client identifier for the session.
func (w *worker) claim(c *conn) {
	h := c.client.connect
	if !w.bid(c, raftstore.Claim{
		User:       c.client.who.User(),
		CleanStart: h.connect.CleanStart, Expiry: c.client.agreed.SessionExpiry,
		Inflight:         window(h.connect.ReceiveMaximum, w.Session.MaxInflight),
		Will:             h.will,
		MaxQueueMessages: w.Session.MaxQueueMessages, MaxQueueBytes: w.Session.MaxQueueBytes,
		DropOldest: w.Session.DropOldest,
	}, w.claimedBy) {
		w.connack(c, mqtt.ServerBusy)
	}
}

// window is the size of a session's committed window: what the client takes at
// once, and as much again on its way.
func window(receiveMaximum, inflight uint16) uint16 {
	return min(min(receiveMaximum, inflight), 16384) * 2
}

// claimedBy takes the shard's answer to a claim.
func (w *worker) claimedBy(c *conn, _ *bid, r raftstore.Result) {
	switch {
	case r.Err == nil:
	case errors.Is(r.Err, raftstore.ErrNotYours):
		w.connack(c, mqtt.NotAuthorized) // E6, case 38
		return
	case errors.Is(r.Err, raftstore.ErrQuota):
		w.connack(c, mqtt.QuotaExceeded) // case 34
		return
	case errors.Is(r.Err, raftstore.ErrContended):
		w.connack(c, mqtt.ConnectionRateExceeded) // case 36
		return
	default:
		w.connack(c, mqtt.ServerUnavailable)
		return
	}
	c.claimed, c.epoch = true, r.Claim.Epoch
	c.persistent = r.Claim.Present || c.client.agreed.SessionExpiry > 0
	if c.client.connect.behind(&r.Claim) {
		w.connack(c, mqtt.ServerUnavailable)
		return
	}
	w.connected(c, r.Claim)
}

// connected sends CONNACK and brings the session back to life: what the client
// has not acknowledged goes out again, in order, before anything new (S3).
func (w *worker) connected(c *conn, claimed raftstore.Claimed) {
	h := c.client.connect
	c.client.connect = nil
	now := w.now()
	c.client.since, c.client.origin = now, claimed.Origin
	c.client.will = h.will != nil
	c.client.window = window(h.connect.ReceiveMaximum, w.Session.MaxInflight)
	c.live.Connect(&h.connect, w.Session, c.persistent, now)
	if c.persistent {
		c.live.Expect(claimed.Next)
	}
	h.ack.SessionPresent = claimed.Present
	c.phase = up
	w.Broker.clients.Add(1)
	w.counters.Connected++
	if patience := time.Duration(c.client.agreed.Patience()); patience > 0 {
		w.loop.SetIdle(c.id, patience)
	} else {
		w.loop.Probe(c.id) // [MQTT-3.1.2-24] does not find out
	}
	w.loop.End(c.id, h.ack.Append(w.loop.Begin(c.id), c.version))
	c.live.ResumeInbound(claimed.Inbound)
	w.resume(c, claimed.Window)
	for i := range claimed.Subscriptions {
		w.addFilter(c, claimed.Subscriptions[i].Filter)
	}
	w.resumeReplays(c, &claimed)
	w.release(c, holdConnect)
}

// resume sends the committed window of a session again, as fast as the client
// takes it.
func (w *worker) resume(c *conn, window []raftstore.Resumed) {
	for i := range window {
		r := &window[i]
		if r.Received {
			w.loop.End(c.id, c.live.ResumeRelease(r.Index, w.loop.Begin(c.id)))
			continue
		}
		w.delivery = session.Delivery{
			Message: &r.Message, QoS: r.QoS, Retain: r.Retain, Dup: true, IDs: r.IDs, Index: r.Index,
		}
		w.deliver(c, &w.delivery)
	}
}

// connack refuses CONNECT with a reason and closes. The will is not due: of it
// nothing was promised.
func (w *worker) connack(c *conn, why mqtt.Reason) { w.refuseWith(c, &mqtt.Connack{Reason: why}) }

// refuseWith is connack for what says more than a reason.
func (w *worker) refuseWith(c *conn, ack *mqtt.Connack) {
	w.counters.ConnectRefused++
	c.graceful = true
	p := &w.packet.Connect // it is under way
	if h := c.client.connect; h != nil {
		p = &h.connect
	}
	if w.takesConnack(p, ack) { // else not even that much can be said
		w.loop.End(c.id, ack.Append(w.loop.Begin(c.id), c.version))
	}
	w.drop(c)
}

// refuseConnect answers a CONNECT that does not decode: with a code where the
// client's version has one, else by closing.
func (w *worker) refuseConnect(c *conn, bad *mqtt.Error) {
	if c.version = w.packet.Connect.Version; c.version == 0 {
		w.drop(c)
		return
	}
	w.connack(c, bad.Reason)
}

// eviction is mail: a connection whose client identifier is claimed by another. It
// waits for the end of the turn, so that what the client has said before is heard.
type eviction struct {
	id       listen.ID
	clientID string
	epoch    session.Epoch
	done     func()
}

func (w *worker) doEvictions() {
	for i := range w.evictions {
		w.evict(&w.evictions[i])
	}
	clear(w.evictions)
	w.evictions = w.evictions[:0]
}

// evict ends a connection whose client identifier was claimed by a newer one
// (E2). done is called when its last acknowledgements are committed; or, if it has
// ended already, how: a client that said goodbye and is back elsewhere has no will
// that is due (P6).
func (w *worker) evict(e *eviction) {
	switch c := w.conn(e.id); {
	case c == nil:
	case c.owns(e.epoch):
		c.claimed = false // the new claim fences ours: there is nothing to detach
		w.counters.Takeovers++
		w.end(c, mqtt.SessionTakenOver)
	default:
		c.client.bid.lose(e.epoch)
	}
	w.settleLast(w.shards.SessionShard(e.clientID), e.done)
}

// newClientID makes an identifier for a client that gave none.
func newClientID() string {
	var b [12]byte
	rand.Read(b[:])
	return "dunlin-" + hex.EncodeToString(b[:])
}
