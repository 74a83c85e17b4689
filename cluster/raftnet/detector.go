package raftnet

import (
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// detector finds out that a node's process is gone and has the groups that it led
// find another leader at once, instead of after an election timeout. decide.go
// has the rules; here are the clock, the streams and the Rafts.
type detector struct {
	net   *Net
	began time.Time
	wake  chan struct{} // a connection was severed, or a report has come
	once  sync.Once
	stood atomic.Int64 // how often this node was told to stand

	mu struct {
		sync.Mutex
		*decider
	}
}

// severedFor is how long a severed connection is of interest. A node that has
// been silent for longer leads nothing any more.
const severedFor = 10 * time.Second

func (d *detector) init(n *Net) {
	d.net = n
	d.began = time.Now().Add(-time.Second) // 0 stands for never
	d.wake = make(chan struct{}, 1)
	d.mu.decider = newDecider(n.self, n.opts.BeatInterval)
}

// now is Net time: monotonic, above 0.
func (d *detector) now() int64 { return int64(time.Since(d.began)) }

// start starts looking, once there is a group to look after.
func (d *detector) start() {
	d.once.Do(func() {
		d.net.mu.RLock()
		defer d.net.mu.RUnlock()
		if !d.net.mu.closed {
			d.net.wg.Go(d.run)
		}
	})
}

// run sleeps while all is well.
func (d *detector) run() {
	for {
		select {
		case <-d.wake:
		case <-d.net.ctx.Done():
			return
		}
		tick := time.NewTicker(d.net.opts.BeatInterval / 2)
		told := make(map[uint16]report)
		for repeat := true; d.look(told, repeat); {
			repeat = false
			select {
			case <-tick.C:
				repeat = true
			case <-d.wake:
			case <-d.net.ctx.Done():
				tick.Stop()
				return
			}
		}
		tick.Stop()
	}
}

// look reports gone leaders and stands where this node is to. It says whether to
// look again. What was told the voters before is told again only on repeat, or
// two nodes would answer each other's reports with theirs for ever.
func (d *detector) look(told map[uint16]report, repeat bool) (again bool) {
	now := d.now()
	gone := make(map[string]bool)
	n := d.net
	n.mu.RLock()
	for id, p := range n.mu.peers {
		severed := p.severed.Load()
		if severed == 0 || now-severed > int64(severedFor) {
			continue
		}
		again = true
		if now-p.heard.Load() >= int64(2*n.opts.BeatInterval) {
			gone[id] = true
		}
	}
	var groups []*Transport
	if len(gone) > 0 {
		for _, t := range n.mu.groups {
			groups = append(groups, t)
		}
	}
	n.mu.RUnlock()

	reports := make(map[string][]byte) // by voter
	for _, t := range groups {
		f, ok := t.following(gone)
		if !ok {
			continue
		}
		if repeat || told[t.id] != f.report {
			told[t.id] = f.report
			for _, v := range f.voters {
				if v != n.self && v != f.leader {
					reports[v] = appendReport(reports[v], f.report)
				}
			}
		}
		d.mu.Lock()
		stand := d.mu.decide(time.Duration(now), f)
		d.mu.Unlock()
		if stand {
			d.stand(t, f)
		}
	}
	for v, payload := range reports {
		if c := n.caller(v); c != nil {
			c.tell(func(dst []byte) []byte { return appendBeat(dst, payload) })
		}
	}
	return again
}

// stand lets this node's Raft of a group stand, if the leader is still the same.
func (d *detector) stand(t *Transport, f following) {
	if g, ok := t.following(map[string]bool{f.leader: true}); !ok || g.term != f.term {
		return
	}
	d.stood.Add(1)
	d.net.log.Debug("standing for a group whose leader is gone", "group", t.id, "leader", f.leader, "term", f.term)
	d.net.wg.Go(t.Stand)
}

// Stand has this group's Raft stand for election at once, as if its leader had
// told it to: voters heed it although they know a leader, so that it is for groups
// of which it is known that nobody leads them. It returns when Raft has taken it,
// or the transport is closed.
func (t *Transport) Stand() {
	resp := make(chan raft.RPCResponse, 1)
	cmd := &raft.TimeoutNowRequest{RPCHeader: header(uint64(raft.ProtocolVersionMax), t.net.self)}
	t.consume(raft.RPC{Command: cmd, RespChan: resp}, resp)
}

// Stood is how many times this node stood for a group because its leader was gone.
func (n *Net) Stood() int64 { return n.detector.stood.Load() }

// following is what t's Raft says, if it is a voter that follows one of leaders.
func (t *Transport) following(leaders map[string]bool) (f following, ok bool) {
	r := t.watched.Load()
	if r == nil || r.State() != raft.Follower {
		return f, false
	}
	_, leader := r.LeaderWithID()
	if !leaders[string(leader)] {
		return f, false
	}
	f.group, f.leader, f.term = t.id, string(leader), r.CurrentTerm()
	conf := r.GetConfiguration()
	if conf.Error() != nil {
		return f, false
	}
	for _, s := range conf.Configuration().Servers {
		if s.Suffrage == raft.Voter {
			f.voters = append(f.voters, string(s.ID))
			ok = ok || string(s.ID) == t.net.self
		}
	}
	stats := r.Stats() // the one way to the last entry's term
	f.last.index, _ = strconv.ParseUint(stats["last_log_index"], 10, 64)
	f.last.term, _ = strconv.ParseUint(stats["last_log_term"], 10, 64)
	return f, ok
}

// appendBeat appends what lets a peer hear of this node.
func appendBeat(dst, reports []byte) []byte {
	start := len(dst)
	return closeRecord(append(openRecord(dst, kindBeat, 0, 0, 0), reports...), start)
}

// beat takes one of a peer.
func (d *detector) beat(from string, payload []byte) error {
	if len(payload) == 0 {
		return nil
	}
	now := time.Duration(d.now())
	for len(payload) > 0 {
		r, rest, err := readReport(payload)
		if err != nil {
			return err
		}
		payload = rest
		if d.net.group(r.group) == nil {
			continue // so that a peer cannot fill the memory
		}
		d.mu.Lock()
		d.mu.hear(now, from, r)
		d.mu.Unlock()
	}
	signal(d.wake)
	return nil
}
