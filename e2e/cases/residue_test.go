package cases

import (
	"errors"
	"fmt"
	"time"

	"dunlin/e2e/chaos/check"
	"dunlin/e2e/harness"
)

// allowance is how much more than at first a node may hold after a case, or after all that
// have run on it: it is not for each. Goroutines and descriptors are for what a node makes
// when it is first needed and keeps, such as a checker of passwords, and for scrapes that
// meet; heap and disk for slabs that stay as large as they were at most, and logs that are
// cut now and then.
var allowance = check.Slack{Goroutines: 8, Files: 4, Heap: 16 << 20, Disk: 64 << 20}

// segments is how many more files the logs of the shards may be in that a ground fills.
const segments = 16

// state are the metrics of what clients have of a node, which has to be as much as at
// first: what the bystander has.
var state = []string{
	"dunlin_connections", "dunlin_connections_opening", "dunlin_tls_handshakes", "dunlin_subscriptions", "dunlin_routes",
	"dunlin_store_sessions", "dunlin_store_queued_messages", "dunlin_store_letters", "dunlin_store_retained_messages",
	"dunlin_pending_publishes", "dunlin_withheld_answers", "dunlin_wills_under_way", "dunlin_lent_bytes",
	"dunlin_auth_exchanges",
}

// held is what each node holds now, while nobody but the bystander is there.
func (s *site) held() (all []harness.Held) {
	for _, n := range s.nodes {
		all = append(all, n.Held())
	}
	return all
}

// steady looks at the nodes until they hold the same twice, and the bystander: what is
// counted by loops, and what replicas take over, is shown a little later.
func (s *site) steady() []harness.Held {
	last := s.held()
	for range 100 {
		time.Sleep(50 * time.Millisecond)
		now := s.held()
		connections, subscriptions := 0.0, 0.0
		for _, h := range now {
			connections += h.Metrics["dunlin_connections"]
			subscriptions += h.Metrics["dunlin_subscriptions"]
		}
		same := connections == 2 && subscriptions == 1
		for k := range now {
			same = same && now[k].Goroutines == last[k].Goroutines && now[k].Files == last[k].Files
			for _, name := range state {
				same = same && now[k].Metrics[name] == last[k].Metrics[name]
			}
		}
		if last = now; same {
			break
		}
	}
	return last
}

// residue says what nodes hold beyond what they held at first. Goroutines are those of all
// together: some belong to leading a shard, which moves.
func (s *site) residue(now []harness.Held) (err error) {
	sample := func(held []harness.Held, k int) check.Sample {
		goroutines := 0
		for _, h := range held {
			goroutines += h.Goroutines
		}
		return check.Sample{Node: s.nodes[k].Name, Goroutines: goroutines, Files: held[k].Files, Heap: held[k].Heap, Disk: held[k].Disk}
	}
	for k, n := range s.nodes {
		slack := allowance
		if s.ground.logs > 0 {
			slack.Heap, slack.Disk, slack.Files = slack.Heap+s.ground.logs, slack.Disk+2*s.ground.logs, slack.Files+segments
		}
		for _, v := range check.Residue(sample(s.base, k), sample(now, k), slack) {
			err = errors.Join(err, errors.New(v.String()))
		}
		for _, name := range state {
			if before, after := s.base[k].Metrics[name], now[k].Metrics[name]; after > before {
				err = errors.Join(err, fmt.Errorf("%s: %s was %v and is %v", n.Name, name, before, after))
			}
		}
		if panics := now[k].Metrics["dunlin_panics_total"]; panics > 0 {
			err = errors.Join(err, fmt.Errorf("%s: %v panics", n.Name, panics))
		}
	}
	return err
}

// settled waits until no node holds more than at first, and says what one does if that
// takes longer than limit. Then that is what is expected from now on, so that one fault
// is told once.
func (s *site) settled(limit time.Duration) error {
	for end, pause := time.Now().Add(limit), 5*time.Millisecond; ; pause = min(2*pause, 200*time.Millisecond) {
		for _, n := range s.nodes {
			if !n.Running() {
				return fmt.Errorf("%s has ended", n.Name)
			}
		}
		now := s.held()
		err := s.residue(now)
		if err == nil {
			return nil
		}
		if time.Now().After(end) {
			s.base = now
			return err
		}
		time.Sleep(pause)
	}
}
