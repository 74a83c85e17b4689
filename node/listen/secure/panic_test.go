//go:build !invariants

package secure_test

import (
	"crypto/tls"
	"errors"
	"testing"

	"dunlin/node/listen"
)

// A panic in a handshake ends its connection, is counted as one of the loop's, and
// others get in.
func TestPanicInHandshake(t *testing.T) {
	drivers(t, func(t *testing.T, r *rig) {
		bad := r.client()
		bad.ServerName = "panic"
		if err := tls.Client(r.raw(t), bad).Handshake(); err == nil {
			t.Error("a handshake that panicked is completed")
		}
		r.expect(t, "other", 1)
		must(t, tls.Client(r.raw(t), r.client()).Handshake())
		for r.loops.Stats().Panics != 1 {
		}
	}, func(r *rig, _ *listen.Options) {
		r.conf.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			if hello.ServerName == "panic" {
				panic(errors.New("planted"))
			}
			return nil, nil
		}
	})
}
