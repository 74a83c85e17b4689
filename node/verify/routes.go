package verify

import (
	"context"
	"fmt"

	"dunlin/router"
)

// routes compares the routes of each node with what the others hold of them, share
// groups and their members among them; and the filters of each shard, as its leader
// has them, with what every node holds.
func (r *run) routes(ctx context.Context, shards []int) (found []Finding) {
	nodes := r.Nodes()
	answers := make(map[string]Routes)
	for _, n := range nodes {
		if r.silent[n.Identity] {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, askTimeout)
		a, err := r.Ask.Routes(ctx, n.Identity)
		cancel()
		if err != nil {
			found = append(found, silent(n, -1, err))
			continue
		}
		answers[n.Identity] = a
	}
	for _, holder := range nodes {
		held, ok := answers[holder.Identity]
		if !ok {
			continue
		}
		for _, owner := range nodes {
			own, ok := answers[owner.Identity]
			if !ok || owner == holder {
				continue
			}
			f := Finding{Kind: "routes", Shard: -1, Node: holder.Name, of: owner.Identity}
			if f.compare("node "+owner.Name, own.Own, held.Peers[owner.Identity], false) {
				found = append(found, f)
			}
		}
		for sh := range r.Shards {
			if led, ok := ledBy(answers, sh); ok {
				f := Finding{Kind: "routes", Shard: sh, Node: holder.Name}
				if f.compare("the shard's leader", led, held.Shards[sh], true) {
					found = append(found, f)
				}
			}
		}
	}
	return found
}

// ledBy is the table of a shard's latest leader.
func ledBy(answers map[string]Routes, sh int) (led Table, ok bool) {
	for _, a := range answers {
		if t, leads := a.Led[sh]; leads && (!ok || t.Reign > led.Reign) {
			led, ok = t, true
		}
	}
	return led, ok
}

// compare says whether what is held differs from what its owner has, and how.
func (f *Finding) compare(owner string, own, held Table, shard bool) bool {
	if shard {
		own.Sum.Members, held.Sum.Members = 0, 0 // nobody holds them
	}
	switch {
	case !held.Whole:
		f.Kind += "-missing"
		f.Text = "it has no whole copy of the routes of " + owner
	case held.Reign != own.Reign || held.Version != own.Version:
		f.Kind += "-behind"
		f.lags, f.at = true, held.Reign<<32^held.Version
		f.Text = fmt.Sprintf("it holds version %d of the routes of %s and gets no further, they are at %d", held.Version, owner, own.Version)
	case !own.Steady || !held.Steady:
		f.Kind += "-changing"
		f.lags, f.at = true, own.Version
		f.Text = "the routes of " + owner + " change all the time"
	case own.Sum != held.Sum:
		f.Text = fmt.Sprintf("it holds %s of %s, which has %s", describe(held.Sum), owner, describe(own.Sum))
		if describe(held.Sum) == describe(own.Sum) {
			f.Text = fmt.Sprintf("it holds as many routes of %s as there are, and not the same", owner)
		}
	default:
		return false
	}
	return true
}

func describe(s router.Sum) string {
	return fmt.Sprintf("%d exact filters, %d with wildcards and %d share groups", s.Exact, s.Wildcards, s.Groups)
}
