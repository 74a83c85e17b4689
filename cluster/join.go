package cluster

import (
	"context"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

const (
	joinPauseMin = 100 * time.Millisecond
	joinPauseMax = 5 * time.Second
	// lostFor is how long the address of a member that went silent is tried.
	lostFor = time.Hour
)

// rejoin calls, for ever, the gossip addresses that should be members' and are
// not: those of the join list, and those where nodes of this cluster were lost. So
// nodes may start in any order, and a partition heals by itself however it was cut. It
// pauses for longer and longer, but begins anew when members come or go.
func (c *Cluster) rejoin(ctx context.Context) {
	lost := make(map[string]time.Time) // gossip addresses and when they were last a member's
	wrong := wrongAddresses{log: c.log}
	pause := joinPauseMin
	for {
		absent := c.absent(ctx, lost)
		for _, addr := range absent {
			// One at a time, so that one that hangs does not hide another's success.
			_, err := c.gossip.Join([]string{addr})
			if err != nil {
				c.log.Debug("join", "addr", addr, "err", err)
			}
			if ctx.Err() != nil {
				return
			}
			wrong.called(addr, err)
		}
		wrong.keep(absent)
		c.mu.Lock()
		changed := c.mu.changed
		c.mu.Unlock()
		if len(absent) == 0 {
			pause = joinPauseMax
		}
		select {
		case <-time.After(pause/2 + rand.N(pause/2)):
			pause = min(2*pause, joinPauseMax)
		case <-changed:
			pause = joinPauseMin
			// What has just been lost has most likely gone; do not spin on a flapping one.
			select {
			case <-time.After(joinPauseMin):
			case <-ctx.Done():
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// absent is whom to call, and keeps lost.
func (c *Cluster) absent(ctx context.Context, lost map[string]time.Time) []string {
	now := time.Now()
	have := map[string]bool{c.GossipAddr(): true}
	for _, p := range c.peerList() {
		have[p.member.gossipAddr] = true
		if p.kin.Err() != nil {
			lost[p.member.gossipAddr] = now
		}
	}
	var addrs []string
	add := func(addr string) {
		if !have[addr] {
			have[addr] = true
			addrs = append(addrs, addr)
		}
	}
	for _, j := range c.opts.Join {
		host, port, err := net.SplitHostPort(j)
		if err != nil {
			continue // validate saw to it
		}
		if _, err := netip.ParseAddr(host); err == nil {
			add(j)
			continue
		}
		ips, err := c.opts.Resolve(ctx, host)
		if err != nil {
			c.log.Debug("join", "host", host, "err", err)
		}
		for _, ip := range ips {
			add(net.JoinHostPort(ip.Unmap().String(), port))
		}
	}
	for addr, at := range lost {
		if now.Sub(at) > lostFor {
			delete(lost, addr)
		} else {
			add(addr)
		}
	}
	return addrs
}

// wrongAddresses finds join addresses at which somebody answers who is not this
// cluster, and tells each once.
type wrongAddresses struct {
	log    *slog.Logger
	answer map[string]int // how often in a row each address was answered so
}

// wrongAnswers is after how many such answers one is told: a node that is just
// starting or stopping may break off, too.
const wrongAnswers = 3

func (w *wrongAddresses) called(addr string, err error) {
	if err == nil || !answered(err) {
		delete(w.answer, addr)
		return
	}
	if w.answer == nil {
		w.answer = make(map[string]int)
	}
	if w.answer[addr]++; w.answer[addr] == wrongAnswers {
		w.log.Warn("who answers at a join address is not of this cluster: correct join, or cluster-id and gossip-key, "+
			"which are the same on all nodes of a cluster", "addr", addr, "err", err)
	}
}

// keep forgets all addresses but those.
func (w *wrongAddresses) keep(addrs []string) {
	maps.DeleteFunc(w.answer, func(addr string, _ int) bool { return !slices.Contains(addrs, addr) })
}

// answered says whether err came after a connection: memberlist hands on texts only.
func answered(err error) bool {
	text := err.Error()
	return !strings.Contains(text, "dial ") && !strings.Contains(text, "timeout") && !strings.Contains(text, "resolve")
}
