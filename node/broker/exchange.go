package broker

import (
	"errors"
	"fmt"

	"dunlin/node/auth"
	"dunlin/proto/mqtt"
	"dunlin/session"
)

// exchange is an authentication by several packets that is under way: of a client that has
// no CONNACK yet, from which nothing but AUTH is taken meanwhile, or of one that is
// connected and authenticates anew while its messages go on. The worker has it by its
// connection; a connection without one holds nothing of it but which method it named.
type exchange struct {
	auth.Exchange
	until  session.Time // when it has to be over: connect-timeout goes on (case 47)
	rounds int          // AUTHs taken
	bytes  int          // of authentication data
	asked  bool         // it is the client's turn

	named bool // CONNECT had a user name:
	user  string
}

// What an exchange may have. Tokens of some methods take as much as a CONNECT.
const (
	maxAuthRounds = 16
	maxAuthBytes  = maxConnectPacket

	authWork = 64 // of a step, see turnWork
)

// Why an AUTH is refused, and what comes in its place.
var (
	errNotAuth     = &mqtt.Error{Reason: mqtt.ProtocolError, Text: "neither AUTH nor DISCONNECT before CONNACK"}
	errOtherMethod = &mqtt.Error{Reason: mqtt.BadAuthenticationMethod, Text: "authentication method other than that of CONNECT"}
	errAuthTurn    = &mqtt.Error{Reason: mqtt.ProtocolError, Text: "AUTH that nobody asked for, or a second authentication at a time"}
	errAuthSize    = &mqtt.Error{Reason: mqtt.ProtocolError, Text: "authentication without an end"}
	errAuthLarge   = &mqtt.Error{Reason: mqtt.PacketTooLarge, Text: "AUTH for a client that takes no packet of its size"}
)

// methodNamed finds the place of a method, 0 if there is none with that name.
func (w *worker) methodNamed(name []byte) uint8 {
	for i, m := range w.Methods {
		if m.Name() == string(name) {
			return uint8(i) + 1
		}
	}
	return 0
}

// method is the one that the client named.
func (w *worker) method(c *conn) auth.Method { return w.Methods[c.client.method-1] }

// introduce has a client that has named a method in CONNECT authenticate by it.
func (w *worker) introduce(c *conn, r auth.Request) {
	x := w.begin(c, r)
	if x == nil {
		w.connack(c, mqtt.BadAuthenticationMethod)
		return
	}
	x.named, x.user = r.Connect.HasUsername, string(r.Connect.Username)
	w.step(c, x, r.Connect.AuthData)
}

// begin begins an exchange, or returns nil: the method cannot be had now.
func (w *worker) begin(c *conn, r auth.Request) *exchange {
	steps := w.method(c).Begin(r)
	if steps == nil {
		return nil
	}
	x := &exchange{Exchange: steps, until: w.now() + session.Time(w.ConnectTimeout)}
	w.exchanges[c.id] = x
	return x
}

// mayAuthenticate says whether a client may send such a packet before it has its CONNACK
// [MQTT-3.1.2-30].
func mayAuthenticate(k mqtt.Kind) bool { return k == mqtt.AUTH || k == mqtt.DISCONNECT }

// authenticate takes one.
func (w *worker) authenticate(c *conn, p *mqtt.Packet) {
	if p.Kind == mqtt.DISCONNECT {
		w.drop(c)
		return
	}
	w.takeAuth(c, &p.Auth)
}

// takeAuth takes an AUTH of a client that named a method in CONNECT.
func (w *worker) takeAuth(c *conn, a *mqtt.Auth) {
	x := w.exchanges[c.id]
	anew := a.Reason == mqtt.ReAuthenticate
	switch {
	case string(a.Method) != w.method(c).Name(): // [MQTT-4.12.0-5] [MQTT-4.12.1-1]
		w.refuse(c, errOtherMethod)
		return
	case anew != (x == nil), x != nil && !x.asked: // [MQTT-4.12.0-3]
		w.refuse(c, errAuthTurn)
		return
	case x == nil:
		r := w.request(c)
		r.Was = c.client.who
		if x = w.begin(c, r); x == nil {
			w.reauthenticated(c, auth.Reply{}, auth.ErrRefused)
			return
		}
	}
	x.rounds++
	x.bytes += len(a.Data)
	if x.rounds > maxAuthRounds || x.bytes > maxAuthBytes {
		w.refuse(c, errAuthSize)
		return
	}
	w.step(c, x, a.Data)
}

// step hands on what the client has said.
func (w *worker) step(c *conn, x *exchange, data []byte) {
	x.asked = false
	w.work += authWork
	id := c.id
	reply, err := x.Step(data, func(reply auth.Reply, err error) {
		w.loop.Post(func(w *worker) {
			if c := w.conn(id); c != nil && w.exchanges[id] == x {
				w.replied(c, x, reply, err)
			}
		})
	})
	if !errors.Is(err, auth.ErrLater) {
		w.replied(c, x, reply, err)
		return
	}
	if c.phase == connecting {
		w.hold(c, holdConnect)
	}
}

// replied takes the answer to a step.
func (w *worker) replied(c *conn, x *exchange, reply auth.Reply, err error) {
	if err == nil && !reply.Done {
		x.asked = true
		if w.sendAuth(c, mqtt.ContinueAuthentication, reply.Data) { // [MQTT-4.12.0-2]
			w.release(c, holdConnect)
		}
		return
	}
	delete(w.exchanges, c.id)
	if c.phase == up {
		w.reauthenticated(c, reply, err)
		return
	}
	h := c.client.connect
	if err == nil && x.named && x.user != reply.Who.User() {
		err = fmt.Errorf("%w: CONNECT has the user name of another", auth.ErrRefused)
	}
	if user, said := x.User(); said && w.Denied != nil {
		h.user = user[:min(len(user), maxDeniedUser)]
	}
	w.hold(c, holdConnect)
	h.ack.AuthData = reply.Data
	if err == nil && !w.takesConnack(&h.connect, &h.ack) { // that was asked when it had no data yet
		w.connack(c, mqtt.PacketTooLarge)
		return
	}
	w.identified(c, reply.Who, err)
}

// reauthenticated goes on with a client that is connected once it has authenticated anew,
// or not [MQTT-4.12.1-2]. It has to be who it was: its session, its subscriptions and what
// is queued for it are that user's (E6). Its rights and groups, and until when it has shown
// enough, are those of the latest time.
func (w *worker) reauthenticated(c *conn, reply auth.Reply, err error) {
	switch {
	case err == nil && reply.Who.User() != c.client.who.User():
		err = fmt.Errorf("%w: it was another user", auth.ErrRefused)
	case err == nil && w.former(reply.Who):
		err = auth.ErrBadCredentials // as it would be if it began now
	}
	if err == nil {
		w.counters.Reauthenticated++
		w.trust(c, reply.Who)
		w.sendAuth(c, mqtt.Success, reply.Data)
		return
	}
	w.counters.ReauthDenied++
	why := mqtt.NotAuthorized
	switch {
	case errors.Is(err, auth.ErrBadCredentials), errors.Is(err, auth.ErrRefused):
		w.Log.Debug("refused when it authenticated anew", "client", w.clientID(c), "remote", w.remote(c), "err", err)
	case errors.Is(err, auth.ErrTooOften):
		why = mqtt.ConnectionRateExceeded
	case errors.Is(err, auth.ErrBusy), errors.Is(err, auth.ErrUnavailable):
		w.end(c, mqtt.ServerBusy) // DISCONNECT knows no 0x88 (table 3-10 of the standard)
		return
	default:
		w.Log.Warn("authenticate anew", "client", w.clientID(c), "err", err)
		w.end(c, mqtt.ServerBusy)
		return
	}
	w.notAnew(c, err.Error())
	w.end(c, why)
}

// sendAuth sends an AUTH, or ends the connection if the client takes none that large. It has
// no reason string and no user properties [MQTT-3.15.2-2] [MQTT-3.15.2-3].
func (w *worker) sendAuth(c *conn, why mqtt.Reason, data []byte) bool {
	a := mqtt.Auth{Reason: why, Method: []byte(w.method(c).Name()), Data: data} // [MQTT-4.12.0-5]
	b := w.loop.Begin(c.id)
	n := len(b)
	b = a.Append(b, c.version)
	if !w.takes(c, len(b)-n) {
		w.loop.End(c.id, b[:n])
		w.refuse(c, errAuthLarge)
		return false
	}
	w.loop.End(c.id, b)
	return true
}

// takes says whether the client takes a packet of that size [MQTT-3.1.2-24].
func (w *worker) takes(c *conn, size int) bool {
	if h := c.client.connect; h != nil {
		most := h.connect.MaximumPacketSize
		return most == 0 || uint64(size) <= uint64(most)
	}
	return c.live.Takes(size)
}

// endSlowExchanges ends those that are not over in time.
func (w *worker) endSlowExchanges() {
	for id, x := range w.exchanges {
		c := w.conn(id)
		if c == nil || w.now() < x.until {
			continue
		}
		delete(w.exchanges, id)
		err := auth.ErrRefused
		if !x.asked {
			err = fmt.Errorf("no answer within %v", w.ConnectTimeout)
		}
		if c.phase == up {
			w.reauthenticated(c, auth.Reply{}, err)
			continue
		}
		w.identified(c, nil, err)
	}
}
