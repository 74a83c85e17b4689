package admin

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/net/netutil"
	"golang.org/x/sync/errgroup"

	"dunlin/node/audit"
	"dunlin/node/config"
	"dunlin/node/token"
)

// What one requester can hold of the server (case 54).
const (
	maxConnections = 256
	maxOfHost      = 64 // connections; of a loopback address maxConnections
	maxHeaderBytes = 16 << 10
	maxBodyBytes   = 64 << 10
	headerTimeout  = 5 * time.Second
	readTimeout    = 10 * time.Second
	writeTimeout   = 2 * time.Minute // long enough for a CPU profile
	idleTimeout    = time.Minute
)

// Options are what the server shows.
type Options struct {
	Version     string // of the program
	Cluster     Cluster
	Membership  Membership
	Replication Replication
	Drains      Drains
	Clients     Clients
	Users       Users
	Rules       Rules
	Bans        Bans
	Shards      Shards
	Backups     Backups
	Restores    Restores
	Agreement   Agreement
	Metrics     prometheus.Gatherer
	Log         *slog.Logger

	Tokens Tokens     // nil: none is good
	Audit  *audit.Log // nil: nothing is written down

	// TLS is what http-addr speaks, asked at each handshake; nil: none. Beyond loopback that
	// would be health and metrics alone, unless Plaintext says that tokens may be seen.
	TLS       func() *tls.Config
	Plaintext bool
	// Beyond loopback these are served with a token only.
	HealthNeedsToken, MetricsNeedToken bool
}

// Server is the HTTP interface of a node: Listen, then Serve, then Shutdown.
type Server struct {
	Options
	parts    []part
	failures token.Failures
}

// part is one listener with its server.
type part struct {
	listener net.Listener
	server   *http.Server
}

// New returns a server that is bound to nothing yet.
func New(o Options) *Server { return &Server{Options: o} }

// Listen binds addr (not if it is "") and admin.sock in dataDir.
func (s *Server) Listen(addr, dataDir string) error {
	socket, err := listenUnix(dataDir)
	if err != nil {
		return err
	}
	s.add(socket, s.handler(everything))
	if addr == "" {
		return nil
	}
	tcp, err := net.Listen("tcp", addr)
	if err != nil {
		socket.Close()
		return err
	}
	may := healthOnly
	switch {
	case config.IsLoopback(addr):
		may = guarded
	case s.TLS != nil || s.Plaintext:
		may = bearing
	}
	if may != guarded {
		tcp = limitEach(tcp, maxOfHost)
	}
	tcp = netutil.LimitListener(tcp, maxConnections)
	if s.TLS != nil {
		tcp = tls.NewListener(tcp, &tls.Config{
			MinVersion:         tls.VersionTLS12,
			GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return s.TLS(), nil },
		})
	}
	s.add(tcp, s.handler(may))
	return nil
}

func (s *Server) add(l net.Listener, h http.Handler) {
	s.parts = append(s.parts, part{l, &http.Server{
		Handler:           h,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug),
		ConnContext:       withSocketUser,
	}})
}

// Addr is the TCP address that Listen bound, nil if there is none.
func (s *Server) Addr() net.Addr {
	if len(s.parts) < 2 {
		return nil
	}
	return s.parts[1].listener.Addr()
}

// Serve answers requests until Shutdown.
func (s *Server) Serve() error {
	var g errgroup.Group
	for _, p := range s.parts {
		g.Go(func() error {
			if err := p.server.Serve(p.listener); !errors.Is(err, http.ErrServerClosed) {
				return err
			}
			return nil
		})
	}
	return g.Wait()
}

// Shutdown closes the listeners and waits for requests under way until ctx
// ends; then it cuts them off.
func (s *Server) Shutdown(ctx context.Context) error {
	var g errgroup.Group
	for _, p := range s.parts {
		g.Go(func() error {
			if err := p.server.Shutdown(ctx); err != nil {
				return errors.Join(err, p.server.Close())
			}
			return nil
		})
	}
	err := g.Wait()
	for _, p := range s.parts {
		p.listener.Close() // where Serve was never called
	}
	return err
}
