package raftstore

import (
	"dunlin/router"
	"dunlin/session"
)

// SessionInfo describes a session or claim to an administrator.
type SessionInfo struct {
	ClientID      string
	User          string
	Epoch         session.Epoch
	Attached      bool
	Node          Node              // if Attached
	Conn          router.Subscriber // if Attached
	Stored        bool              // outlives its connection
	Expiry        uint32            // seconds
	Subscriptions int
	Filters       uint64 // hash of the subscriptions, in the order in which they were made
	Inflight      int    // deliveries in the committed window
	Waiting       int    // deliveries behind it
	QueuedBytes   uint64
}

// maxSessionPage bounds a page, and with it how long the shard is kept.
const maxSessionPage = 1000

// Sessions lists a page of shard sh: at most limit sessions from cursor on, 0 at
// first. more says that there are others, from next on. A page is one moment's
// view; a session that is there throughout a listing is in it exactly once.
// Sessions waits for the shard between two entries: not to be called from what
// the store calls.
func (s *Store) Sessions(sh router.ShardID, cursor uint32, limit int) (page []SessionInfo, next uint32, more bool) {
	limit = min(max(limit, 1), maxSessionPage)
	read := make(chan struct{})
	shard := s.shards[sh]
	if !shard.call(func() {
		defer close(read)
		page, next, more = shard.st.list(cursor, limit)
	}) {
		return nil, 0, false
	}
	<-read
	return page, next, more
}

func (st *state) list(cursor uint32, limit int) (page []SessionInfo, next uint32, more bool) {
	var read record
	for slot := cursor; slot < st.sessions.size(); slot++ {
		if !st.sessions.used(slot) {
			continue
		}
		if len(page) == limit {
			return page, slot, true
		}
		page = append(page, st.sessions.look(slot, &read).info())
	}
	return page, 0, false
}

// info describes the session or claim.
func (rec *record) info() SessionInfo {
	info := SessionInfo{
		ClientID: rec.clientID, User: rec.user, Epoch: rec.Epoch(), Attached: rec.Attached(), Stored: rec.Stored(),
		Expiry: rec.Expiry(), Subscriptions: rec.CountSubscriptions(), Filters: rec.HashSubscriptions(),
	}
	if info.Attached {
		info.Node, info.Conn = rec.node, rec.conn
	}
	info.Inflight, info.Waiting, info.QueuedBytes = rec.Backlog()
	return info
}
