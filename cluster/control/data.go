package control

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"
	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"

	"dunlin/raftstore/log"
)

// DataOptions are for OpenData.
type DataOptions struct {
	Dir string // made if it is not there

	// Failed is called when the disk cannot be trusted any more, before anybody else
	// hears of it: the node must stop (D2). Stalled is called when it hangs: the node must close all its sockets and
	// exit (D3). StallTimeout is when it is said to; 0 is the log's default.
	Failed, Stalled func(error)
	StallTimeout    time.Duration

	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil for none
}

// Data is a node's data directory: who it is, what it stands for, the log of all
// its Raft groups and their snapshots. One process holds it at a time.
type Data struct {
	dir string
	db  *bbolt.DB
	log *log.Log

	failed   func(error)
	unstored prometheus.Counter // snapshots that had no room

	mu  sync.Mutex // held while the record is written
	rec atomic.Pointer[record]
}

// record is all that node.db holds. It is replaced, never written.
type record struct {
	Identity string   `json:"identity"` // 16 hex digits, for ever
	Starts   uint64   `json:"starts"`   // of the node, this one included
	Sealed   bool     `json:"sealed"`   // the log knows whose it is
	Removing []uint16 `json:"removing"` // groups of which something may be left
	Standing standing `json:"standing"`
}

const (
	databaseName  = "node.db"
	logName       = "log"
	snapshotsName = "snapshots"
	retain        = 2 // snapshots of each group
)

// sealGroup is a group without Raft: it has the log say whose it is, so that a
// log and a node.db that do not belong together are found out. A voter that had
// lost one of them might vote twice (D5).
const sealGroup = 1<<16 - 1

var sealKey = []byte("identity")

// OpenData opens the directory, as that of a new node if it is empty (D5), and
// counts this start on disk before it returns.
func OpenData(o DataOptions) (*Data, error) {
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, err
	}
	db, err := bbolt.Open(filepath.Join(o.Dir, databaseName), 0o600, &bbolt.Options{Timeout: time.Second})
	if errors.Is(err, bbolterrors.ErrTimeout) {
		return nil, fmt.Errorf("%s is held by another process", o.Dir)
	}
	if err != nil {
		return nil, err // it names the file
	}
	d := &Data{dir: o.Dir, db: db, failed: o.Failed, unstored: newSnapshotCounter()}
	if err := d.open(o); err != nil {
		return nil, fmt.Errorf("data in %s: %w", o.Dir, errors.Join(err, d.Close()))
	}
	return d, nil
}

func (d *Data) open(o DataOptions) error {
	if err := d.read(); err != nil {
		return err
	}
	if err := d.update(func(r *record) { r.Starts++ }); err != nil {
		return err
	}
	if err := d.hideSnapshots(o.Logger); err != nil {
		return err
	}
	// A new node.db is in its directory only once that was synced, and so is this one.
	for _, dir := range []string{d.dir, filepath.Dir(d.dir)} {
		if err := syncDir(dir); err != nil {
			return err
		}
	}
	if o.Registerer != nil {
		if err := o.Registerer.Register(d.unstored); err != nil {
			return err
		}
	}
	lo := log.DefaultOptions()
	lo.Logger, lo.Registerer, lo.Failed = o.Logger, o.Registerer, o.Failed
	if o.StallTimeout > 0 {
		lo.StallTimeout = o.StallTimeout
	}
	if o.Stalled != nil {
		lo.Stalled = func(operation string) {
			o.Stalled(fmt.Errorf("%s of the log takes longer than %v", operation, lo.StallTimeout))
		}
	}
	var err error
	if d.log, err = log.Open(filepath.Join(d.dir, logName), lo); err != nil {
		return err
	}
	if err := d.seal(); err != nil {
		return err
	}
	for _, g := range d.rec.Load().Removing {
		if err := d.remove(g); err != nil {
			return err
		}
	}
	return nil
}

// hideSnapshots makes the folder of all groups' snapshots one of its owner alone. Raft makes what
// is in it for everybody to read, and the directory may be one that somebody else has made.
func (d *Data) hideSnapshots(log *slog.Logger) error {
	path := filepath.Join(d.dir, snapshotsName)
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err == nil && info.Mode().Perm()&0o077 != 0 {
		err = os.Chmod(path, 0o700)
	}
	if err != nil {
		log.Warn("others may be able to read the snapshots of this node", "err", err) // not every file system has modes
	}
	return nil
}

func syncDir(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// seal checks that the log is this node's, or makes it so.
func (d *Data) seal() error {
	rec := d.rec.Load()
	owner, err := d.log.Group(sealGroup).Get(sealKey)
	switch {
	case err != nil:
		return err
	case string(owner) == rec.Identity:
	case rec.Sealed || owner != nil:
		return fmt.Errorf("%s and %s do not belong together: a part was lost or replaced; "+
			"keep the directory aside and start with an empty one, and the node is rebuilt from its peers as a new one",
			databaseName, logName)
	case len(d.log.Groups()) > 0:
		return fmt.Errorf("%s has entries and no owner", logName)
	default:
		if err := d.log.Group(sealGroup).Set(sealKey, []byte(rec.Identity)); err != nil {
			return err
		}
	}
	if rec.Sealed {
		return nil
	}
	return d.update(func(r *record) { r.Sealed = true })
}

var (
	bucket = []byte("node")
	key    = []byte("record")
)

// read reads the record, or makes that of a new node.
func (d *Data) read() error {
	var b []byte
	if err := d.db.View(func(tx *bbolt.Tx) error {
		if t := tx.Bucket(bucket); t != nil {
			b = bytes.Clone(t.Get(key))
		}
		return nil
	}); err != nil {
		return err
	}
	var rec record
	if b == nil {
		var id [8]byte
		rand.Read(id[:])
		rec.Identity = hex.EncodeToString(id[:])
	} else if err := rec.decode(b); err != nil {
		return fmt.Errorf("%s: %w", databaseName, err)
	}
	d.rec.Store(&rec)
	return nil
}

// A record on disk: version, 1 byte; checksum of the rest, 8 bytes; JSON.
const (
	recordVersion = 1
	recordHead    = 1 + 8
)

func (r *record) encode() []byte {
	body, err := json.Marshal(r)
	if err != nil {
		panic("control: encode: " + err.Error())
	}
	b := binary.BigEndian.AppendUint64([]byte{recordVersion}, xxhash.Sum64(body))
	return append(b, body...)
}

func (r *record) decode(b []byte) error {
	if len(b) > 0 && b[0] != recordVersion {
		return fmt.Errorf("format version %d, this release reads %d: start the release that wrote it", b[0], recordVersion)
	}
	if len(b) < recordHead || binary.BigEndian.Uint64(b[1:]) != xxhash.Sum64(b[recordHead:]) {
		return errors.New("damaged")
	}
	return json.Unmarshal(b[recordHead:], r)
}

// update writes the record durably.
func (d *Data) update(f func(*record)) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.updateLocked(f)
}

func (d *Data) updateLocked(f func(*record)) error {
	next := *d.rec.Load()
	next.Removing = slices.Clone(next.Removing)
	f(&next)
	if err := d.db.Update(func(tx *bbolt.Tx) error {
		t, err := tx.CreateBucketIfNotExists(bucket)
		if err != nil {
			return err
		}
		return t.Put(key, next.encode())
	}); err != nil {
		return fmt.Errorf("write %s: %w", databaseName, err)
	}
	d.rec.Store(&next)
	return nil
}

// Identity is who this node is in the cluster, for as long as it has these data.
func (d *Data) Identity() string { return d.rec.Load().Identity }

// Starts is how often the node has been started, this time included.
func (d *Data) Starts() uint64 { return d.rec.Load().Starts }

// Cluster is the one that this node belongs to, "" for none yet.
func (d *Data) Cluster() string {
	if s := d.standing(); s.Stage == member {
		return s.Formation
	}
	return ""
}

// standing is what this node stands for.
func (d *Data) standing() standing { return d.rec.Load().Standing }

// stand durably changes what this node stands for, if that still is what it was.
func (d *Data) stand(was, is standing) (bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.standing().equal(was) {
		return false, nil
	}
	return true, d.updateLocked(func(r *record) { r.Standing = is })
}

func (d *Data) snapshotDir(group uint16) string {
	return filepath.Join(d.dir, snapshotsName, strconv.Itoa(int(group)))
}

// snapshots are those of a group.
func (d *Data) snapshots(group uint16, log *slog.Logger) (raft.SnapshotStore, error) {
	return newSnapshotStore(d.snapshotDir(group), group, d.unstored, d.failed, log)
}

// forget removes all of a group that has no replica here any more. After a crash
// in between it is gone on with before anything can use what is left.
func (d *Data) forget(group uint16) error {
	if err := d.update(func(r *record) {
		if !slices.Contains(r.Removing, group) {
			r.Removing = append(r.Removing, group)
		}
	}); err != nil {
		return err
	}
	return d.remove(group)
}

func (d *Data) remove(group uint16) error {
	switch err := os.RemoveAll(d.snapshotDir(group)); {
	case err != nil:
		return err
	default:
		if err := syncDir(filepath.Join(d.dir, snapshotsName)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	if err := d.log.Group(group).Remove(); err != nil {
		return err
	}
	return d.update(func(r *record) {
		r.Removing = slices.DeleteFunc(r.Removing, func(g uint16) bool { return g == group })
	})
}

// Close stores what waits and gives the directory up. No group may be in use.
func (d *Data) Close() error {
	var errs []error
	if d.log != nil {
		errs = append(errs, d.log.Close())
	}
	return errors.Join(append(errs, d.db.Close())...)
}
