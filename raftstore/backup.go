package raftstore

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"dunlin/router"
	"dunlin/session"

	"github.com/hashicorp/raft"
)

// A backup of a shard is
//
//	magic   8 bytes
//	shards  2 bytes, big endian: of the cluster
//	shard   2 bytes, big endian
//	snapshot
//
// It goes into a new cluster, of as many shards, in which the shard holds
// nothing. What it says of nodes and connections is over there: every session is
// detached, as if its node had died at the moment of the backup, its will due; and
// what numbers of proposers the shard has taken is forgotten, for those that it has
// taken in the new cluster. Backups of different shards are not of one moment:
// epochs and publishers' numbers go on far above what they were, so that no other
// shard, whose backup was later, takes for known what comes next; and letters
// begin anew: what sessions hold of share groups stays theirs, and what was on its
// way from one shard to another may be there twice, or not.
const backupMagic = "DunlinB\x01"

// backupGap is more than a shard gives epochs, or a publisher numbers, between the
// backups of two shards.
const backupGap = 1 << 30

// What Backup and Restore may come to beside ErrSnapshot: nothing was done.
var (
	ErrBackup    = errors.New("raftstore: not a backup of this shard")
	ErrNotEmpty  = errors.New("raftstore: the shard holds something")
	ErrNotLeader = errors.New("raftstore: this node does not lead the shard")
)

// Backup writes what shard sh, which this node leads, holds: everything that was
// answered before the call, while the shard goes on.
func (s *Store) Backup(sh router.ShardID, to io.Writer) error {
	confirmed := make(chan bool, 1)
	if s.lanes != nil && (!s.shards[sh].confirm(func(leads bool) { confirmed <- leads }) || !<-confirmed) {
		return fmt.Errorf("raftstore: back up shard %d: %w", sh, ErrNotLeader)
	}
	return s.Salvage(sh, to)
}

// Salvage is Backup of what this node's replica has applied, whoever leads: what
// can be had when the majority is lost for good. Later answers may be missing.
func (s *Store) Salvage(sh router.ShardID, to io.Writer) error {
	from, err := s.openStream(sh, func(*shard) {})
	if err == nil {
		defer from.Close()
		if err = writeBackupHead(to, sh, len(s.shards)); err == nil {
			_, err = io.Copy(to, from)
		}
	}
	if err != nil {
		return fmt.Errorf("raftstore: back up shard %d: %w", sh, err)
	}
	return nil
}

func writeBackupHead(to io.Writer, sh router.ShardID, shards int) error {
	head := binary.BigEndian.AppendUint16([]byte(backupMagic), uint16(shards))
	_, err := to.Write(binary.BigEndian.AppendUint16(head, uint16(sh)))
	return err
}

// Used says whether shard sh, which this node leads, holds anything of clients.
func (s *Store) Used(sh router.ShardID) (bool, error) {
	if !s.Leads(sh) {
		return false, fmt.Errorf("raftstore: look into shard %d: %w", sh, ErrNotLeader)
	}
	used := make(chan bool, 1)
	shard := s.shards[sh]
	if !shard.call(func() { used <- !shard.st.empty() }) {
		return false, ErrClosed
	}
	return <-used, nil
}

// Restore has shard sh, which this node leads and which holds nothing, take over a
// backup, and returns when a majority has it. It is for a cluster that has just
// been formed; commands for the shard wait meanwhile. After ErrUnknown it may have
// been taken over or not.
func (s *Store) Restore(sh router.ShardID, from io.Reader) error {
	st, err := s.readBackup(sh, bufio.NewReaderSize(from, chunkBytes))
	if err == nil {
		if r := s.posts[sh].replica.Load(); r != nil {
			err = r.takeOver(st)
		} else {
			st.messages.scratch.close()
			err = ErrNotLeader
		}
	}
	if err != nil {
		return fmt.Errorf("raftstore: restore shard %d: %w", sh, err)
	}
	return nil
}

func (s *Store) readBackup(sh router.ShardID, from io.Reader) (*state, error) {
	var head [len(backupMagic) + 4]byte
	if _, err := io.ReadFull(from, head[:]); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBackup, err)
	}
	const version = len(backupMagic) - 1
	if string(head[:version]) == backupMagic[:version] && head[version] != backupMagic[version] {
		return nil, fmt.Errorf("%w: %w", ErrBackup, versionError(head[version], backupMagic[version]))
	}
	shards := binary.BigEndian.Uint16(head[len(backupMagic):])
	shard := binary.BigEndian.Uint16(head[len(backupMagic)+2:])
	if string(head[:len(backupMagic)]) != backupMagic || int(shards) != len(s.shards) || shard != uint16(sh) {
		return nil, fmt.Errorf("%w: it is of shard %d of %d", ErrBackup, shard, shards)
	}
	return s.restore(sh, from)
}

// takeOver has the group go on with st, which nothing else uses.
func (r *replica) takeOver(st *state) error {
	defer st.messages.scratch.close()
	st.shards = len(r.sh.store.shards)
	st.refound(r.rep.outage(st.wall))
	err := ErrClosed
	for tries := 0; tries == 0 || err == errBusy && tries < 100; tries++ {
		time.Sleep(time.Duration(min(tries, 1)) * laneRetry)
		r.call(func() {
			if err = r.suspend(); err == nil {
				st.proposers = r.sh.st.proposers.clone()
				st.mail.follow(&r.sh.st.mail)
			}
		})
	}
	if err != nil {
		return err
	}
	if err = r.install(st); err != nil {
		r.call(r.resume)
	}
	return err
}

// install has Raft take st for what its log came to.
func (r *replica) install(st *state) error {
	var size byteCount
	if err := st.snapshot(&size); err != nil {
		return err
	}
	view := st.freeze()
	err := r.raft.Restore(
		&raft.SnapshotMeta{Version: raft.SnapshotVersionMax, Size: int64(size)},
		&stream{view: view, at: func(f func()) bool { f(); return true }}, restorePatience,
	)
	if err == nil {
		r.call(func() { err = r.same() })
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnknown, err)
}

// Begin has shard sh, which Restore has brought to this node, go on. It is called
// when all shards of the cluster are restored. After ErrUnknown another node has led
// it meanwhile, and it may have begun too soon.
func (s *Store) Begin(sh router.ShardID) error {
	err := ErrUnknown
	if r := s.posts[sh].replica.Load(); r != nil {
		r.call(func() {
			err = r.same()
			r.resume()
		})
	}
	if err != nil {
		return fmt.Errorf("raftstore: begin shard %d: %w", sh, err)
	}
	return nil
}

// Restoring says whether this node's replica of sh, which leads, is between Restore and
// Begin: meanwhile its leadership is to stay.
func (s *Store) Restoring(sh router.ShardID) bool {
	r := s.posts[sh].replica.Load()
	return r != nil && r.suspended.Load() && r.raft.State() == raft.Leader
}

// same says whether this node has led the shard ever since it was suspended.
func (r *replica) same() error {
	if !r.suspended.Load() || r.raft.State() != raft.Leader || r.raft.CurrentTerm() != r.suspendedIn {
		return fmt.Errorf("%w: another node led the shard meanwhile", ErrUnknown)
	}
	return nil
}

// errBusy says that entries are under way.
var errBusy = errors.New("raftstore: the shard is busy")

// restorePatience is how long Raft may be busy before it begins.
const restorePatience = 10 * time.Second

// suspend has the shard take nothing, if it leads and holds nothing.
func (r *replica) suspend() error {
	sh := r.sh
	switch {
	case !sh.st.fx.leads || !sh.leading.Load() || r.suspended.Load():
		return ErrNotLeader
	case len(sh.flight) > 0:
		return errBusy
	case !sh.st.empty():
		return ErrNotEmpty
	}
	r.suspendedIn = r.raft.CurrentTerm()
	r.suspended.Store(true)
	r.turn(false)
	return nil
}

// resume ends it, if it is.
func (r *replica) resume() {
	if !r.suspended.Load() {
		return
	}
	r.suspended.Store(false)
	r.turn(r.raft.State() == raft.Leader)
}

// empty says that the shard holds nothing of clients. Nodes may have numbered
// commands for it that left nothing: one that begins to serve does (P4).
func (st *state) empty() bool {
	return st.sessions.ids.used == 0 && st.retained.tree.Len() == 0 && st.messages.stored() == 0 &&
		len(st.publishers.seen) == 0 && len(st.wills.fired) == 0 &&
		len(st.groups.of) == 0 && len(st.mail.out) == 0 && len(st.mail.taken) == 0
}

// refound makes of a backup what a new cluster begins with: see backupMagic.
func (st *state) refound(outage session.Time) {
	for i := range st.messages.slots {
		st.messages.slots[i].share = nil
	}
	st.refoundGroups()
	st.refoundMail()
	for slot := range st.sessions.size() {
		st.sessions.tidy()
		if !st.sessions.used(slot) {
			continue
		}
		rec := st.sessions.at(slot)
		rec.KeepShared()
		if rec.Stored() { // others number nothing but their will
			rec.SkipNumbers(backupGap)
		}
		if rec.Attached() {
			st.detach(slot, rec, Detach{Fire: true, Expiry: rec.Expiry(), Taken: allTaken})
		} else {
			st.tellGroups(rec)
		}
	}
	st.epochs += backupGap
	st.endings = nil
	st.now += outage
	st.fx.reset()
}

// byteCount counts what is written.
type byteCount int64

func (c *byteCount) Write(p []byte) (int, error) {
	*c += byteCount(len(p))
	return len(p), nil
}
