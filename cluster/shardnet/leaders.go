package shardnet

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"
	"time"

	"dunlin/raftstore"
	"dunlin/router"
)

// maxShards is how many shards there may be.
const maxShards = 64

// hints are guesses of who leads the shards of which this node's own replicas
// know nothing, or nothing that is right: by the latest answer of a node that was
// asked, or the replicas in turn.
type hints struct {
	sync.Mutex
	of [maxShards]hint
}

type hint struct {
	at      raftstore.Node
	instead raftstore.Node // of this one, which this node's replica names and which says that it is at; 0 for none
	moved   time.Time      // when the store was last told of a change
}

// movedEvery is how soon the store is told again of a shard that moved: two nodes
// that name each other are not to keep a lane busy until there is a leader.
const movedEvery = 20 * time.Millisecond

var (
	errNoShards = errors.New("shardnet: no shards here yet")
	errUnknown  = errors.New("shardnet: node is not known")
	errAnswer   = errors.New("shardnet: answer does not parse")
)

// Leader is who is thought to lead sh: see raftstore.Leaders.
func (n *Net) Leader(sh router.ShardID) (at raftstore.Node, ok bool) {
	own, known := n.ownLeader(sh)
	h := &n.hints
	h.Lock()
	defer h.Unlock()
	x := &h.of[sh]
	if known && (x.instead == 0 || x.instead != own) {
		x.instead = 0
		return own, true
	}
	if x.at == 0 || x.at == n.node() || n.silent(x.at) {
		// Who names this node as leader is behind: its own replica would know. And who
		// is silent may have been followed by another, of whom the next replica knows.
		x.at, ok = n.replicaAfter(sh, x.at)
		return x.at, ok
	}
	return x.at, true
}

// silent says that it is no use to ask a node. Raft finds another leader no sooner.
func (n *Net) silent(at raftstore.Node) bool {
	identity, ok := n.dir.Identity(at)
	return !ok || n.raft.Silent(identity) >= n.raft.Silence()
}

// ownLeader is who leads sh as this node's replica knows it.
func (n *Net) ownLeader(sh router.ShardID) (raftstore.Node, bool) {
	identity, ok := n.dir.Leader(sh)
	if !ok {
		return 0, false
	}
	if identity == n.raft.Self() {
		return n.node(), true
	}
	return n.dir.Number(identity)
}

// replicaAfter is the replica of sh on another node that comes after one, in turn.
func (n *Net) replicaAfter(sh router.ShardID, after raftstore.Node) (raftstore.Node, bool) {
	nodes, self := n.dir.Replicas(sh), n.node()
	begin := 0
	for i, at := range nodes {
		if at == after {
			begin = i + 1
		}
	}
	for i := range nodes {
		if at := nodes[(begin+i)%len(nodes)]; at != self {
			return at, true
		}
	}
	return 0, false
}

// heard takes what at said of who leads sh, 0 for nobody it knows of, and has the
// store ask again if that is somebody else.
func (n *Net) heard(sh router.ShardID, at, leader raftstore.Node) {
	own, known := n.ownLeader(sh)
	h := &n.hints
	h.Lock()
	x := &h.of[sh]
	before := x.at
	switch {
	case leader == 0:
		if x.instead = 0; x.at == at {
			x.at, _ = n.replicaAfter(sh, at)
		}
	case known && leader == own:
		x.at, x.instead = leader, 0
	case known && at == own:
		x.at, x.instead = leader, own
	default:
		x.at = leader
	}
	tell := leader != 0 && leader != at && x.at != before && time.Since(x.moved) >= movedEvery
	if tell {
		x.moved = time.Now()
	}
	h.Unlock()
	if s := n.attached(); tell && s != nil {
		s.Moved(sh)
	}
}

// noWait is a context for what is to happen at once or not at all.
var noWait = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// Ask brings a frame to the node that is thought to lead sh: see
// raftstore.Leaders. It waits for nothing: where too much is asked and not
// answered, the frame fails, and its lane brings it again.
func (n *Net) Ask(at raftstore.Node, sh router.ShardID, frame []byte, reply func([]byte, error)) {
	identity, ok := n.dir.Identity(at)
	err := errUnknown
	if ok {
		err = n.raft.Start(noWait, identity, uint16(sh), askCommands, frame, func(body []byte, err error) {
			n.answered(at, sh, body, err, reply)
		})
	}
	if err != nil {
		// The lane holds its lock: who answers it is somebody else.
		go n.answered(at, sh, nil, err, reply)
	}
}

// answered takes the answer to a frame.
func (n *Net) answered(at raftstore.Node, sh router.ShardID, body []byte, err error, reply func([]byte, error)) {
	var leader raftstore.Node
	if err == nil {
		if body, leader, err = cutAnswer(body); err != nil {
			n.metrics.badRecords.WithLabelValues("answer").Inc()
		}
	}
	switch {
	case errors.Is(err, context.Canceled): // of noWait
		n.metrics.asks.WithLabelValues("overload").Inc()
		reply(nil, err)
		return
	case err != nil:
		n.metrics.asks.WithLabelValues("failed").Inc()
	case leader == at:
		n.metrics.asks.WithLabelValues("answered").Inc()
	default:
		n.metrics.asks.WithLabelValues("refused").Inc()
	}
	reply(body, err)
	n.heard(sh, at, leader)
}

// serve takes a frame of commands of another node's.
func (n *Net) serve(_ string, group uint16, frame []byte, reply func([]byte, error)) {
	s := n.attached()
	if s == nil || group >= maxShards {
		reply(nil, errNoShards)
		return
	}
	sh := router.ShardID(group)
	s.Serve(sh, frame, func(answer []byte) {
		leader, _ := n.ownLeader(sh)
		reply(appendAnswer(answer, leader), nil)
	})
}

// An answer is the store's, and behind it who leads the shard as far as the
// node that answers knows, 4 bytes, little-endian, 0 for nobody; and the version,
// 1 byte.
const answerVersion = 1

func appendAnswer(answer []byte, leader raftstore.Node) []byte {
	return append(binary.LittleEndian.AppendUint32(answer, uint32(leader)), answerVersion)
}

func cutAnswer(b []byte) (answer []byte, leader raftstore.Node, err error) {
	end := len(b) - 5
	if end < 0 || b[end+4] != answerVersion {
		return nil, 0, errAnswer
	}
	return b[:end:end], raftstore.Node(binary.LittleEndian.Uint32(b[end:])), nil
}
