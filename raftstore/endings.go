package raftstore

import (
	"encoding/binary"

	"dunlin/proto/mqtt"
	"dunlin/router"
	"dunlin/session"
)

// endings are the connections that lost their session lately. Their owners are
// told once; a new leader tells them again, since the one before may have died
// over it: a connection that never writes would not run into the fence.
type endings []ending

type ending struct {
	until session.Time
	endedConn
}

// An ending is kept for as long as a failover may take, the latest so many of a
// shard. A connection beyond them learns of it by the fence.
const (
	endingKept = session.Time(60e9)
	maxEndings = 1024
)

// disconnect has the owner of rec close its connection.
func (st *state) disconnect(rec *record, reason mqtt.Reason) {
	c := endedConn{rec.node, rec.conn, rec.Epoch(), reason}
	if st.fx.leads {
		st.fx.ended = append(st.fx.ended, c)
	}
	if st.endings.tidy(st.now); len(st.endings) == maxEndings {
		st.endings = st.endings[1:]
	}
	st.endings = append(st.endings, ending{st.now + endingKept, c})
}

// tidy forgets what is over.
func (t *endings) tidy(now session.Time) {
	n := 0
	for n < len(*t) && (*t)[n].until <= now {
		n++
	}
	if *t = (*t)[n:]; len(*t) == 0 {
		*t = nil
	}
}

func (t endings) encode(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(t)))
	for _, e := range t {
		for _, v := range [...]uint64{uint64(e.until), uint64(e.node), uint64(e.conn), uint64(e.epoch)} {
			b = binary.AppendUvarint(b, v)
		}
		b = append(b, byte(e.reason))
	}
	return b
}

func (r *reader) endings() (t endings) {
	for range r.count(5) {
		t = append(t, ending{r.time(), endedConn{r.node(), router.Subscriber(r.uvarint()), session.Epoch(r.uvarint()), mqtt.Reason(r.byte())}})
	}
	return t
}
