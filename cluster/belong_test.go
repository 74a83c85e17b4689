package cluster_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"dunlin/cluster"
	"dunlin/cluster/raftnet"
	"dunlin/proto/clusterpb"
	"dunlin/router"
)

// of has a node belong to a cluster, "" for none.
func of(name string) func(*cluster.Options) { return func(o *cluster.Options) { o.Cluster = name } }

// told collects the warnings of a node.
type told struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (w *told) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.all.Write(p)
}

func (w *told) into(o *cluster.Options) {
	o.Logger = slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// lines are those that have all of the words.
func (w *told) lines(words ...string) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
next:
	for _, line := range strings.Split(w.all.String(), "\n") {
		for _, word := range words {
			if !strings.Contains(line, word) {
				continue next
			}
		}
		n++
	}
	return n
}

// heard is the joins and leaves so far.
func (b *broker) heard() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.events)
}

// Two clusters of one cluster-id that can reach each other: neither is a member of
// the other, whoever has whom in its join list, and each says so once of each node.
func TestClustersOfOneIDStayApart(t *testing.T) {
	inLab(t, 4, func(t *testing.T, l *lab) {
		var logs [4]told
		reg := prometheus.NewRegistry()
		for i, belongs := range []string{"ours", "ours", "theirs", "theirs"} {
			l.make(i, of(belongs), logs[i].into, func(o *cluster.Options) {
				if i == 0 {
					o.Registerer = reg
				}
			}).begin()
			l.nodes[i].table.Subscribe(filter(t, fmt.Sprint(belongs, "/#")), 1, router.Options{})
		}
		time.Sleep(time.Minute)
		for i, n := range l.nodes {
			if got := len(n.Nodes()); got != 2 {
				t.Errorf("%s has %d members: %v", n.opts.Name, got, n.Nodes())
			}
			if got := len(n.broker.heard()); got != 1 {
				t.Errorf("%s: %v", n.opts.Name, n.broker.heard())
			}
			for _, j := range []int{(i + 2) % 4, i ^ 3} {
				other := l.nodes[j]
				if got := logs[i].lines("refused a node", "peer="+other.opts.Name+" ", "identity="+other.opts.Identity,
					l.hosts[j].GossipAddr(), "belongs="+other.opts.Cluster, "here="+n.opts.Cluster); got != 1 {
					t.Errorf("%s told %d times of %s: %s", n.opts.Name, got, other.opts.Name, logs[i].all.String())
				}
			}
			if logs[i].lines("who answers at a join address", l.hosts[i^3].GossipAddr(), "it belongs to another cluster") != 1 {
				t.Errorf("%s does not name the join address: %s", n.opts.Name, logs[i].all.String())
			}
			if logs[i].lines("ignoring alive") > 0 {
				t.Errorf("%s repeats itself: %s", n.opts.Name, logs[i].all.String())
			}
		}
		if metric(t, reg, "dunlin_cluster_strangers_refused_total") == 0 {
			t.Error("not counted")
		}
	})
}

// A join address at which another cluster-id, or something else, answers is named.
func TestWrongJoinAddressIsNamed(t *testing.T) {
	var log told
	other := newNode(t, func() cluster.Options {
		o := loopback(t, "other")
		o.ClusterID = "other"
		return o
	}())
	o := loopback(t, "a", other.GossipAddr(), other.Nodes()[0].ClusterAddr)
	log.into(&o)
	newNode(t, o)
	for _, addr := range o.Join {
		for late := time.Now().Add(time.Minute); log.lines("who answers at a join address", addr) != 1; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(late) {
				t.Fatalf("%s is not named: %s", addr, log.all.String())
			}
		}
	}
}

// Nodes that belong to no cluster are members of each other as far as forming one
// takes: they answer what anyone may ask, and learn no routes; and once they belong
// to one cluster all is open.
func TestGuestsMayFormAClusterOnly(t *testing.T) {
	inLab(t, 2, func(t *testing.T, l *lab) {
		const forAnyone, forKin = 1, 2
		for i, belongs := range []string{"ours", ""} {
			n := l.start(i, of(belongs))
			answer := func(_ string, _ uint16, _ []byte, reply func([]byte, error)) { reply(nil, nil) }
			n.Raft().HandleAnyone(forAnyone, answer)
			n.Raft().Handle(forKin, answer)
			n.table.Subscribe(filter(t, "x/"+n.opts.Name), 1, router.Options{})
		}
		a, b := l.nodes[0], l.nodes[1]
		time.Sleep(time.Minute)
		ask := func(from, to *node, kind uint8) error {
			_, err := from.Raft().Ask(t.Context(), to.opts.Identity, 0, kind, nil)
			return err
		}
		for _, pair := range [][2]*node{{a, b}, {b, a}} {
			from, to := pair[0], pair[1]
			if got := fmt.Sprint(from.broker.heard()); got != "[joined "+to.opts.Name+"]" {
				t.Error(got)
			}
			if got := from.Nodes()[1].State; got != "joining" {
				t.Errorf("%s is %s", to.opts.Name, got)
			}
			if got := from.nodesFor("x/" + to.opts.Name); len(got) != 0 {
				t.Errorf("%s knows the routes of %s", from.opts.Name, to.opts.Name)
			}
			if err := ask(from, to, forAnyone); err != nil {
				t.Error(err)
			}
			if err := ask(from, to, forKin); err != raftnet.ErrRestricted {
				t.Errorf("asked as a guest: %v", err)
			}
		}

		b.Belong("ours")
		a.ready()
		b.ready()
		for _, pair := range [][2]*node{{a, b}, {b, a}} {
			from, to := pair[0], pair[1]
			if err := ask(from, to, forKin); err != nil {
				t.Error(err)
			}
			if got := from.nodesFor("x/" + to.opts.Name); len(got) != 1 {
				t.Errorf("%s does not know the routes of %s", from.opts.Name, to.opts.Name)
			}
		}
	})
}

// Nodes that have met while they belonged to no cluster, and come to belong to
// different ones, part for good and do not look for each other.
func TestGuestsPart(t *testing.T) {
	inLab(t, 2, func(t *testing.T, l *lab) {
		var log told
		for i := range l.nodes {
			l.start(i, of(""), func(o *cluster.Options) {
				o.Join = o.Join[:1] // b knows a, not a b
				if i == 0 {
					o.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
				}
			})
		}
		a, b := l.nodes[0], l.nodes[1]
		a.broker.until("meeting", func() bool { return len(a.broker.members) == 1 })
		b.broker.until("meeting", func() bool { return len(b.broker.members) == 1 })
		a.Belong("ours")
		time.Sleep(time.Second)
		if got := fmt.Sprint(a.broker.heard(), b.broker.heard()); got != "[joined b] [joined a]" {
			t.Error(got)
		}
		b.Belong("theirs")
		time.Sleep(time.Minute)
		if got := fmt.Sprint(a.broker.heard(), b.broker.heard()); got != "[joined b left b] [joined a left a]" {
			t.Error(got)
		}
		l.kill(1)
		time.Sleep(10 * time.Minute)
		if got := log.lines("msg=join ", l.hosts[1].GossipAddr()); got != 0 {
			t.Errorf("a looked for b %d times", got)
		}
	})
}

// A Hello that names another cluster is refused on every stream, one that names
// none, as the release before did, is taken.
func TestHelloOfAnotherCluster(t *testing.T) {
	reg := prometheus.NewRegistry()
	o := loopback(t, "a")
	o.Registerer = reg
	a := newNode(t, o).ready()
	for _, method := range []string{"Forward", "Feed", "Raft", "Snapshot"} {
		h := &clusterpb.Hello{
			VersionMin: 1, VersionMax: 1, Identity: "x", Start: 1,
			ToIdentity: a.opts.Identity, ToStart: a.opts.Start, Cluster: proto.String("theirs"),
		}
		before := metric(t, reg, "dunlin_cluster_strangers_refused_total")
		err := call(t, a, "/dunlin.cluster.v1.Peer/"+method, h, nil)
		if status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), "theirs, not ours") {
			t.Errorf("%s: %v", method, err)
		}
		if got := metric(t, reg, "dunlin_cluster_strangers_refused_total"); got != before+1 {
			t.Errorf("%s: not counted", method)
		}
		h.Cluster = proto.String("") // it has not entered a cluster yet
		want := "no cluster has been entered yet"
		if method == "Raft" {
			want = "not a member yet"
		}
		if err := call(t, a, "/dunlin.cluster.v1.Peer/"+method, h, nil); !strings.Contains(err.Error(), want) {
			t.Errorf("%s of a guest: %v", method, err)
		}
		h.Cluster = nil
		if err := call(t, a, "/dunlin.cluster.v1.Peer/"+method, h, nil); !strings.Contains(err.Error(), "not a member yet") {
			t.Errorf("%s of the release before: %v", method, err)
		}
	}
}
