package node

import (
	"crypto/tls"
	"log/slog"
	"slices"

	"dunlin/node/admin"
	"dunlin/node/config"
	"dunlin/node/listen/secure"
)

// openWeb reads the certificate of http-addr; nil if it speaks no TLS.
func openWeb(cfg config.Config, log *slog.Logger) (*secure.Store, error) {
	if !cfg.HTTP.TLS() {
		return nil, nil
	}
	return secure.Open(cfg.HTTP.Files(), nil, log.With("of", "http-addr"))
}

// adminOptions completes o by who may ask for what.
func (n *Node) adminOptions(o admin.Options) admin.Options {
	h := n.cfg.HTTP
	o.Tokens, o.Audit, o.Plaintext = n.tokens, n.audit, h.Plaintext
	o.HealthNeedsToken = !slices.Contains(h.Open, config.OpenHealth)
	o.MetricsNeedToken = !slices.Contains(h.Open, config.OpenMetrics)
	if n.web != nil {
		o.TLS = func() *tls.Config { return n.web.HTTPConfig() }
	}
	return o
}
