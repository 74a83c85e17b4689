package node

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"math"
	"time"

	"dunlin/node/config"
	"dunlin/node/listen"
	"dunlin/node/listen/secure"
	"dunlin/node/listen/websocket"
	"dunlin/node/metrics"
)

// listeners are where clients come in: what each of their connections goes through
// before the broker has it.
type listeners struct {
	webSocket *listen.WebSocket // of all that speak it, which are set up alike
	proxied   map[string]*listen.Proxied
	tls       map[string]*secure.Protocol // by listener
	certs     *secure.Store               // nil without TLS
}

// newListeners reads the files of TLS; for expel see secure.Open.
func newListeners(cfg config.Config, expel func(withdrawn func([][]*x509.Certificate) bool), log *slog.Logger) (listeners, error) {
	origins, err := websocket.ParseOrigins(cfg.WebSocket.Origins)
	if err != nil {
		return listeners{}, fmt.Errorf("websocket.origins: %w", err)
	}
	ls := listeners{
		webSocket: listen.NewWebSocket(websocket.Gate{Path: cfg.WebSocket.Path, Origins: origins}),
		proxied:   make(map[string]*listen.Proxied),
		tls:       make(map[string]*secure.Protocol),
	}
	for _, l := range cfg.Listeners() {
		if len(l.Proxies) > 0 {
			ls.proxied[l.Name] = listen.NewProxied(l.Proxies)
		}
		if !l.TLS {
			continue
		}
		if ls.certs == nil {
			if ls.certs, err = secure.Open(cfg.TLS.Files(), expel, log); err != nil {
				return listeners{}, err
			}
		}
		config := ls.certs.MQTTConfig
		if l.WebSocket {
			config = ls.certs.HTTPConfig
		}
		ls.tls[l.Name] = secure.New(config)
	}
	return ls, nil
}

// watch follows the files that the listeners rely on until ctx ends.
func (ls listeners) watch(ctx context.Context) {
	if ls.certs != nil {
		ls.certs.Watch(ctx, filesPoll)
	}
}

// refresh has those files looked at now.
func (ls listeners) refresh() {
	if ls.certs != nil {
		ls.certs.Refresh()
	}
}

// withdrawn says whether a client's certificate is revoked.
func (ls listeners) withdrawn(chains [][]*x509.Certificate) bool {
	return ls.certs != nil && ls.certs.Withdrawn(chains)
}

// wait returns when what connections that are gone had under way has ended.
func (ls listeners) wait() {
	for _, p := range ls.tls {
		p.Wait()
	}
}

// protocols are those of l's connections, from the socket up. A proxy speaks before
// the client does, be it in the clear or not.
func (ls listeners) protocols(l config.Listener) (ps []listen.Protocol) {
	if p := ls.proxied[l.Name]; p != nil {
		ps = append(ps, p)
	}
	if p := ls.tls[l.Name]; p != nil {
		ps = append(ps, p)
	}
	if l.WebSocket {
		ps = append(ps, ls.webSocket)
	}
	return ps
}

func (ls listeners) observe(emit metrics.Emit) {
	ls.observeTLS(emit)
	for why := websocket.Accepted + 1; int(why) < websocket.Refusals; why++ {
		emit(metrics.WebSocketsRefused, float64(ls.webSocket.Refused(why)), why.String())
	}
	emit(metrics.WebSocketViolations, float64(ls.webSocket.Violations()))
	for why := range listen.ProxyRefusal(listen.ProxyRefusals) {
		sum := uint64(0)
		for _, p := range ls.proxied {
			sum += p.Refused(why)
		}
		emit(metrics.ProxiedRefused, float64(sum), why.String())
	}
}

func (ls listeners) observeTLS(emit metrics.Emit) {
	sum := secure.Counts{Failed: make(map[string]uint64)}
	for _, p := range ls.tls {
		c := p.Counts()
		sum.Done += c.Done
		sum.Resumed += c.Resumed
		sum.Running += c.Running
		sum.Waiting += c.Waiting
		for why, n := range c.Failed {
			sum.Failed[why] += n
		}
	}
	emit(metrics.TLSHandshakes, float64(sum.Done))
	emit(metrics.TLSResumed, float64(sum.Resumed))
	for _, why := range secure.Reasons {
		emit(metrics.TLSFailed, float64(sum.Failed[why]), why)
	}
	emit(metrics.TLSUnderWay, float64(sum.Running), "running")
	emit(metrics.TLSUnderWay, float64(sum.Waiting), "waiting")
	expiry, lists := math.Inf(1), math.Inf(1)
	if ls.certs != nil {
		expiry = time.Until(ls.certs.Expiry()).Seconds()
		if until := ls.certs.ListsExpiry(); !until.IsZero() {
			lists = time.Until(until).Seconds()
		}
	}
	emit(metrics.TLSExpiry, expiry)
	emit(metrics.CRLExpiry, lists)
}
