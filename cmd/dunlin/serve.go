package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"dunlin/cmd/dunlin/internal/preflight"
	"dunlin/node"
	"dunlin/node/config"
)

func newServe() *cobra.Command {
	var s settings
	cmd := &cobra.Command{
		Use:   "serve [flags]",
		Short: "Run a node",
		Long: `Run a node in the foreground until SIGTERM or ctrl-C, which stops it in good order; a second one at once.
SIGHUP has certificates, keys, tokens, users and rules read again, which happens by itself within seconds too.

Every setting has a default. A YAML file (--config), then the environment, then flags change it: --mqtt-addr
is mqtt-addr in the file and DUNLIN_MQTT_ADDR in the environment. What has a heading in the file (http, tls,
websocket, proxy-protocol, audit, limits, auth, acl) is in the file (limits: max-keepalive: 60s) or the environment
(DUNLIN_LIMITS__MAX_KEEPALIVE=60s) only. A secret may be ${FILE:/path}. dunlin config show lists all settings with
their values and where these come from.`,
		Example: `  dunlin serve                                        one node, for this machine only
  dunlin serve --config /etc/dunlin.yaml
  dunlin serve --mqtt-addr 0.0.0.0:1883 --allow-anonymous
                                                      for everybody who can reach this machine
  dunlin serve --join 127.0.0.1:7956 --bootstrap-expect 2
                                                      the first of two nodes that form a cluster`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			hangups := catchHangups() // who says so early does not end the node
			defer hangups.stop()
			c, origins, err := s.load()
			if err != nil {
				return err
			}
			paceGarbage()
			limitMemory(c.Limits.Memory)
			log := newLogger(c, cmd.ErrOrStderr())
			if origins["mqtt-addr"] == "default" {
				log.Info("only this machine can connect; mqtt-addr and auth.store or auth.users-file, or allow-anonymous, open the node to others", "mqtt-addr", c.MQTTAddr)
			}
			warnOfFiles(log, c.Limits.MaxConnections)
			ctx, stop := untilSignal(cmd.Context(), log)
			defer stop()
			n, err := node.New(c, log, hasher()...)
			if err != nil {
				return err
			}
			hangups.tell(n.Reload)
			return n.Run(ctx)
		},
	}
	s.bind(cmd)
	return cmd
}

// fewConnections is what a node should be able to take whose max-connections is
// not set.
const fewConnections = 10_000

// warnOfFiles says when the limit on open files does not let the node take the
// connections that it is to take (0: as many as there are descriptors).
func warnOfFiles(log *slog.Logger, connections int) {
	if connections == 0 {
		connections = fewConnections
	}
	if f := preflight.OpenFiles(preflight.Read(), connections); f.Verdict == preflight.Short {
		log.Warn("the limit on open files is low", "found", f.Found, "needed", f.Needed, "then", f.Why, "change", strings.Join(f.Change, "; or "))
	}
}

func newLogger(c config.Config, w io.Writer) *slog.Logger {
	o := &slog.HandlerOptions{Level: c.LogLevel}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

// hangups are SIGHUPs, those of before anybody was told of them included, which count as one.
type hangups chan os.Signal

func catchHangups() hangups {
	h := make(hangups, 1)
	signal.Notify(h, syscall.SIGHUP)
	return h
}

// tell has f called for each until stop.
func (h hangups) tell(f func()) {
	go func() {
		for range h {
			f()
		}
	}()
}

func (h hangups) stop() {
	signal.Stop(h)
	close(h)
}

// untilSignal returns a context that the first SIGTERM or SIGINT ends. The
// second one ends the process.
func untilSignal(ctx context.Context, log *slog.Logger) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		for s := range signals {
			if ctx.Err() != nil {
				log.Warn("stopped at once by a second signal", "signal", s.String())
				os.Exit(exitFailed)
			}
			log.Info("stopping", "signal", s.String())
			cancel()
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(signals)
		cancel()
	}
}
