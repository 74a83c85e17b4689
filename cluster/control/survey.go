package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"dunlin/cluster/raftnet"
)

// Kinds of asks, see raftnet.Ask. Bodies and answers are JSON.
const (
	kindStanding  uint8 = 64 + iota // what do you stand for? answer
	kindPromise                     // promise yourself to this formation: promiseRequest, answer
	kindEnter                       // I have started: enterRequest, outcome
	kindPropose                     // a command for meta: its entry, outcome
	kindGroup                       // what of your replica of this group? groupAnswer
	kindReport                      // what of all your replicas? report
	kindChange                      // change a group that you lead: changeRequest
	kindRebalance                   // balance the leaders now
)

// maxAsked bounds the asks that are being served. One that finds no room fails.
const maxAsked = 256

var errBusy = errors.New("control: too many asks at a time")

type promiseRequest struct {
	Formation string `json:"formation"`
}

func (c *Control) answerAsks() {
	// Asked often by whoever is not a member yet; answered on the spot.
	c.opts.Net.HandleAnyone(kindStanding, func(_ string, _ uint16, _ []byte, reply func([]byte, error)) {
		reply(json.Marshal(c.answer()))
	})
	c.opts.Net.Handle(kindGroup, func(_ string, group uint16, _ []byte, reply func([]byte, error)) {
		reply(json.Marshal(c.groupAnswer(group)))
	})
	c.serveWith(c.opts.Net.HandleAnyone, kindPromise, func(from string, body []byte) (any, error) {
		var q promiseRequest
		if err := json.Unmarshal(body, &q); err != nil {
			return nil, err
		}
		was := c.data.standing()
		if is := c.former.promise(was, from, q.Formation); !is.equal(was) {
			if _, err := c.stand(was, is); err != nil {
				return nil, err
			}
		}
		return c.answer(), nil
	})
	c.serve(kindEnter, c.serveEnter)
	c.serve(kindPropose, c.servePropose)
	c.serve(kindReport, func(string, []byte) (any, error) { return c.report(), nil })
	c.serve(kindChange, c.serveChange)
	c.serve(kindRebalance, c.serveRebalance)
}

// serve has f answer asks of a kind, each on a goroutine of its own: it may wait
// for the disk and for meta. from is who asks.
func (c *Control) serve(kind uint8, f func(from string, body []byte) (any, error)) {
	c.serveWith(c.opts.Net.Handle, kind, f)
}

// serveWith is serve with another handle than that for nodes of the cluster.
func (c *Control) serveWith(handle func(uint8, raftnet.Handler), kind uint8, f func(from string, body []byte) (any, error)) {
	handle(kind, func(from string, _ uint16, body []byte, reply func([]byte, error)) {
		c.mu.Lock()
		closed := c.mu.closed
		if !closed {
			c.mu.serving.Add(1)
		}
		c.mu.Unlock()
		if closed {
			reply(nil, errStopped)
			return
		}
		select {
		case c.asked <- struct{}{}:
		default:
			c.mu.serving.Done()
			reply(nil, errBusy)
			return
		}
		body = append([]byte(nil), body...)
		go func() {
			defer c.mu.serving.Done()
			defer func() { <-c.asked }()
			v, err := f(from, body)
			if err != nil {
				reply(nil, err)
				return
			}
			reply(json.Marshal(v))
		}()
	})
}

var errStopped = errors.New("control: the node is stopping")

// answer is what this node says of itself.
func (c *Control) answer() answer {
	return answer{standing: c.data.standing(), Name: c.opts.Name, Expect: c.opts.BootstrapExpect, Leader: c.MetaLeader()}
}

// stand changes what this node stands for, if it still is what it was.
func (c *Control) stand(was, is standing) (bool, error) {
	ok, err := c.data.stand(was, is)
	if err != nil {
		c.fail(err)
	}
	if ok && is.Stage == member {
		c.opts.Belongs(is.Formation)
	}
	return ok, err
}

const (
	askTimeout  = time.Second            // for an answer in a survey
	roundPause  = 200 * time.Millisecond // between surveys that came to nothing
	logInterval = 5 * time.Second        // of what is missing
)

// form returns when this node is a member of a cluster, which it has formed with
// others or is to join.
func (c *Control) form(ctx context.Context) error {
	for {
		s := c.data.standing()
		if s.Stage == member {
			return nil
		}
		m := c.former.next(s, c.survey(ctx))
		if err := ctx.Err(); err != nil {
			return err
		}
		c.miss(m.missing)
		switch {
		case !m.is.equal(s):
			ok, err := c.stand(s, m.is)
			if err != nil {
				return err
			}
			if ok {
				c.logStanding(s, m.is)
			}
			continue
		case c.askPromises(ctx, s.Formation, m.ask):
			continue
		}
		if err := pause(ctx, roundPause); err != nil {
			return err
		}
	}
}

func (c *Control) logStanding(was, is standing) {
	switch {
	case is.Stage == collecting:
		c.log.Info("forming a cluster", "cluster", is.Formation, "nodes", c.opts.BootstrapExpect)
	case is.Stage == member && was.Stage == collecting:
		c.log.Info("formed a cluster", "cluster", is.Formation, "nodes", is.Initial, "voters", is.Voters)
	case is.Stage == member:
		c.log.Info("joining a cluster", "cluster", is.Formation)
	case is.Stage == undecided:
		c.log.Info("gave up forming a cluster", "cluster", was.Formation)
	}
}

// survey asks all members what they stand for. Who does not answer is left out.
func (c *Control) survey(ctx context.Context) map[string]answer {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var mu sync.Mutex
	var wg sync.WaitGroup
	seen := make(map[string]answer)
	for _, m := range c.opts.Members() {
		wg.Go(func() {
			var a answer
			if err := c.ask(ctx, m.Identity, kindStanding, nil, &a); err == nil {
				mu.Lock()
				seen[m.Identity] = a
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return seen
}

// askPromises says whether any of them was given, or somebody has come to stand
// for something else.
func (c *Control) askPromises(ctx context.Context, formation string, ids []string) (any bool) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	changed := make(chan bool, len(ids))
	body, _ := json.Marshal(promiseRequest{Formation: formation})
	for _, id := range ids {
		go func() {
			var a answer
			err := c.ask(ctx, id, kindPromise, body, &a)
			changed <- err == nil && a.Stage != undecided
		}()
	}
	for range ids {
		any = <-changed || any
	}
	return any
}

// ask asks a node, and reads its answer into to.
func (c *Control) ask(ctx context.Context, node string, kind uint8, body []byte, to any) error {
	b, err := c.opts.Net.Ask(ctx, node, MetaGroup, kind, body)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, to); err != nil {
		return fmt.Errorf("control: answer of %s: %w: %w", node, raftnet.ErrBroken, err)
	}
	return nil
}

// miss notes what this node waits for.
func (c *Control) miss(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.missing = what
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
