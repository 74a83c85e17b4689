package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Backups reads what the cluster holds, shard by shard, wherever it is
// led. Calls come from HTTP goroutines and may take as long as ctx allows.
type Backups interface {
	// Contents says what there is to back up.
	Contents(ctx context.Context) (Contents, error)
	// Backup writes a shard.
	Backup(ctx context.Context, shard int, to io.Writer) error
	// Records gives records of access, about a megabyte of them, beginning after those of
	// another page; next is "" on the last.
	Records(ctx context.Context, after string) (page []Record, next string, err error)
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
	// Put gives the cluster records.
	Put(ctx context.Context, records []Record) error
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

// Record is a record of access: a user of the cluster, or its rules.
type Record struct {
	Kind  string `json:"kind"`
	Name  string `json:"name"`
	Value string `json:"value"`
}

// RecordPage answers GET /api/v1/backup/records, and is the body of PUT.
type RecordPage struct {
	Records []Record `json:"records"`
	Next    string   `json:"next,omitempty"` // "after" of the next page; "" on the last
}

// uploads are the routes that see to the length of their bodies themselves: a
// shard's is of any length, and written on as it comes.
var uploads = map[string]bool{
	"PUT /api/v1/backup/settings": true, "PUT /api/v1/backup/records": true, "PUT /api/v1/backup/shards/{shard}": true,
	"PUT /api/v1/acl": true,
}

// maxSettingsBytes bounds the settings in one request.
const maxSettingsBytes = 1 << 20

// maxRecordsBytes bounds the records in one request: a page of the largest, in JSON.
const maxRecordsBytes = 16 << 20

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
	if err := json.NewDecoder(bounded(w, r, maxSettingsBytes)).Decode(&body); err != nil {
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

func (s *Server) records(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), askTimeout)
	defer cancel()
	page, next, err := s.Backups.Records(ctx, r.FormValue("after"))
	if err != nil {
		s.refuse(w, err)
		return
	}
	if page == nil {
		page = []Record{}
	}
	answer(w, RecordPage{Records: page, Next: next})
}

func (s *Server) putRecords(w http.ResponseWriter, r *http.Request) {
	var page RecordPage
	if json.NewDecoder(bounded(w, r, maxRecordsBytes)).Decode(&page) != nil { // whose text may have them in it
		fail(w, http.StatusBadRequest, "want records in JSON")
		return
	}
	callerOf(r).target = describe(page.Records)
	control := http.NewResponseController(w)
	_ = control.SetWriteDeadline(time.Now().Add(recordsTimeout + writeTimeout)) // of the answer
	ctx, cancel := context.WithTimeout(r.Context(), recordsTimeout)
	defer cancel()
	if err := s.Restores.Put(ctx, page.Records); err != nil {
		s.refuse(w, err)
		return
	}
	s.Log.Info("records restored from a backup", "records", len(page.Records))
	w.WriteHeader(http.StatusNoContent)
}

// describe names records for the audit log, which has no room for many: whoever may put them
// may make users and tokens by the way.
func describe(records []Record) string {
	const some = 8
	var b strings.Builder
	fmt.Fprintf(&b, "%d records:", len(records))
	for _, x := range records[:min(len(records), some)] {
		fmt.Fprintf(&b, " %.20s %.64s,", x.Kind, x.Name)
	}
	if len(records) > some {
		return b.String() + " ..."
	}
	return strings.TrimRight(b.String(), ":,")
}

// recordsTimeout bounds what a request of records waits: each record is a commit.
const recordsTimeout = time.Minute

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
