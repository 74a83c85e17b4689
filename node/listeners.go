package node

import (
	"fmt"

	"dunlin/node/config"
	"dunlin/node/listen"
	"dunlin/node/listen/websocket"
	"dunlin/node/metrics"
)

// listeners are where clients come in: what each of their connections goes through
// before the broker has it.
type listeners struct {
	webSocket *listen.WebSocket // of all that speak it, which are set up alike
	proxied   map[string]*listen.Proxied
}

func newListeners(cfg config.Config) (listeners, error) {
	origins, err := websocket.ParseOrigins(cfg.WebSocket.Origins)
	if err != nil {
		return listeners{}, fmt.Errorf("websocket.origins: %w", err)
	}
	ls := listeners{
		webSocket: listen.NewWebSocket(websocket.Gate{Path: cfg.WebSocket.Path, Origins: origins}),
		proxied:   make(map[string]*listen.Proxied),
	}
	for _, l := range cfg.Listeners() {
		if len(l.Proxies) > 0 {
			ls.proxied[l.Name] = listen.NewProxied(l.Proxies)
		}
	}
	return ls, nil
}

// protocols are those of l's connections, from the socket up. A proxy speaks before
// the client does, be it in the clear or not.
func (ls listeners) protocols(l config.Listener) (ps []listen.Protocol) {
	if p := ls.proxied[l.Name]; p != nil {
		ps = append(ps, p)
	}
	if l.WebSocket {
		ps = append(ps, ls.webSocket)
	}
	return ps
}

func (ls listeners) observe(emit metrics.Emit) {
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
