package admin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"
)

// Backups reads what the cluster holds, shard by shard, wherever it is
// led. Calls come from HTTP goroutines and may take as long as ctx allows.
type Backups interface {
	// Contents says what there is to back up.
	Contents(ctx context.Context) (Contents, error)
	// Backup writes a shard.
	Backup(ctx context.Context, shard int, to io.Writer) error
}

// Restores gives a new cluster what Backups wrote. Calls come from HTTP goroutines
// and may take as long as ctx allows.
type Restores interface {
	// Restore gives a shard that holds nothing what Backup wrote, all of it or
	// nothing; but ErrUnknown says that nobody knows.
	Restore(ctx context.Context, shard int, from io.Reader) error
	// Begin has a shard that was restored go on, when all are.
	Begin(ctx context.Context, shard int) error
	// Set gives the cluster settings.
	Set(ctx context.Context, settings map[string]string) error
}

// What Restores fails with, beside what may be tried again.
var (
	ErrRefused = errors.New("refused")
	ErrUnknown = errors.New("outcome unknown")
)

// Contents answers GET /api/v1/backup.
type Contents struct {
	Version  string            `json:"version"` // of the node that answers
	Cluster  string            `json:"cluster"` // identity
	Shards   int               `json:"shards"`
	Used     []int             `json:"used"` // shards that hold something
	Settings map[string]string `json:"settings"`
}

// Settings is the body of PUT /api/v1/backup/settings.
type Settings struct {
	Settings map[string]string `json:"settings"`
}

// uploads are the routes that see to the length of their bodies themselves: a
// shard's is of any length, and written on as it comes.
var uploads = map[string]bool{"PUT /api/v1/backup/settings": true, "PUT /api/v1/backup/shards/{shard}": true}

// maxSettingsBytes bounds the settings in one request.
const maxSettingsBytes = 1 << 20

func (s *Server) contents(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), askTimeout)
	defer cancel()
	c, err := s.Backups.Contents(ctx)
	if err != nil {
		s.unavailable(w, err)
		return
	}
	c.Version = s.Version
	if c.Used == nil {
		c.Used = []int{}
	}
	if c.Settings == nil {
		c.Settings = map[string]string{}
	}
	answer(w, c)
}

func (s *Server) backUp(w http.ResponseWriter, r *http.Request) {
	shard, err := strconv.Atoi(r.PathValue("shard"))
	if err != nil {
		fail(w, http.StatusBadRequest, "shard: want a number")
		return
	}
	to := &patient{w: w, control: http.NewResponseController(w)}
	switch err := s.Backups.Backup(r.Context(), shard, to); {
	case err == nil && !to.begun:
		w.WriteHeader(http.StatusOK)
	case err == nil:
	case to.begun:
		s.Log.Warn("a backup broke off", "shard", shard, "err", err)
		panic(http.ErrAbortHandler) // so that nobody takes it for whole
	default:
		s.refuse(w, err)
	}
}

func (s *Server) restore(w http.ResponseWriter, r *http.Request) {
	shard, err := strconv.Atoi(r.PathValue("shard"))
	if err != nil {
		fail(w, http.StatusBadRequest, "shard: want a number")
		return
	}
	control := http.NewResponseController(w)
	err = s.Restores.Restore(r.Context(), shard, &patient{r: r.Body, control: control})
	_ = control.SetWriteDeadline(time.Now().Add(writeTimeout)) // of the answer
	if err != nil {
		s.Log.Warn("a restore failed", "shard", shard, "err", err)
		s.refuse(w, err)
		return
	}
	s.Log.Info("restored from a backup", "shard", shard)
	w.WriteHeader(http.StatusNoContent)
}

func (s *Server) begin(w http.ResponseWriter, r *http.Request) {
	shard, err := strconv.Atoi(r.PathValue("shard"))
	if err != nil {
		fail(w, http.StatusBadRequest, "shard: want a number")
		return
	}
	if err := s.Restores.Begin(r.Context(), shard); err != nil {
		s.refuse(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (s *Server) set(w http.ResponseWriter, r *http.Request) {
	var body Settings
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxSettingsBytes)).Decode(&body); err != nil {
		fail(w, http.StatusBadRequest, "want settings in JSON")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), askTimeout)
	defer cancel()
	if err := s.Restores.Set(ctx, body.Settings); err != nil {
		s.refuse(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// patient has the time limits of a connection hold for each piece of what goes
// over it, not for the whole.
type patient struct {
	w       http.ResponseWriter
	r       io.Reader
	control *http.ResponseController
	begun   bool
}

func (p *patient) Write(b []byte) (int, error) {
	_ = p.control.SetWriteDeadline(time.Now().Add(writeTimeout)) // where it cannot be set, the old one holds
	if !p.begun {
		p.begun = true
		p.w.Header().Set("Content-Type", "application/octet-stream")
		if err := p.control.Flush(); err != nil { // so that what breaks off has begun
			return 0, err
		}
	}
	return p.w.Write(b)
}

func (p *patient) Read(b []byte) (int, error) {
	_ = p.control.SetReadDeadline(time.Now().Add(readTimeout))
	return p.r.Read(b)
}
