package raftstore

import "slices"

// This file has what keeps a user to so many stored sessions (case 34). The leader decides,
// before it proposes a claim: the log says nothing of it, so that replicas do the same
// whatever the settings, or the releases, of their nodes (D6).

// users counts something by the user whose it is. Nobody, whose name is "", is none.
type users map[string]int

func (u users) add(user string) {
	if user != "" {
		u[user]++
	}
}

func (u users) remove(user string) {
	if u[user]--; u[user] <= 0 {
		delete(u, user)
	}
}

// quota is a leader's. It belongs to the shard's goroutine.
type quota struct {
	most   int   // stored sessions of a user; 0: any number
	coming users // new ones in entries that were proposed and are not applied
}

// exceeds says that c would be one stored session too many of its user's. One that is there
// may be claimed, begun anew and taken over whatever there is.
func (q *quota) exceeds(t *sessions, c *claim) bool {
	return q.begins(t, c) && t.storedOf(string(c.user))+q.coming[string(c.user)] >= q.most
}

// begins says whether c makes a stored session that counts.
func (q *quota) begins(t *sessions, c *claim) bool {
	if q.most == 0 || len(c.user) == 0 || c.terms.Expiry == 0 {
		return false
	}
	_, rec := t.find(c.clientID)
	return rec == nil || !rec.Stored() && rec.user == string(c.user) // another's Apply refuses
}

// admits says whether a claim goes into the entry p, where it counts from now on.
func (q *quota) admits(t *sessions, body []byte, p *proposal) bool {
	if q.most == 0 {
		return true
	}
	r := reader{b: body}
	switch c := r.claim(); {
	case !q.begins(t, &c):
	case q.exceeds(t, &c):
		return false
	default:
		user := string(c.user)
		p.users = append(p.users, user)
		if q.coming == nil {
			q.coming = make(users)
		}
		q.coming.add(user)
	}
	return true
}

// applied says that the entry p was.
func (q *quota) applied(p *proposal) {
	for _, user := range p.users {
		q.coming.remove(user)
	}
}

// end forgets what only a leader counts.
func (q *quota) end(t *sessions) { q.coming, t.users = nil, nil }

// keepQuota refuses those of p's released claims that are too many.
func (sh *shard) keepQuota(p *proposal) {
	if sh.quota.most == 0 {
		return
	}
	p.released = slices.DeleteFunc(p.released, func(w waitingClaim) bool {
		return sh.overQuota(w.body, w.done, p)
	})
}

// overQuota refuses a claim that is one too many, or counts it to the entry p.
func (sh *shard) overQuota(body []byte, done func(Result), p *proposal) bool {
	if sh.quota.admits(sh.st.sessions, body, p) {
		return false
	}
	sh.metrics.overQuota.Inc()
	if done != nil {
		done(Result{Err: ErrQuota})
	}
	return true
}

// storedOf is how many stored sessions a user has. All are counted when that is first
// asked, and from then on as they come and go.
func (t *sessions) storedOf(user string) int {
	if t.users == nil {
		t.users = t.countStored()
	}
	return t.users[user]
}

func (t *sessions) countStored() users {
	all := make(users)
	for _, rec := range t.each {
		if rec.Stored() {
			all.add(rec.user)
		}
	}
	return all
}

// begun notes that rec was made, and ends that it goes.
func (t *sessions) begun(rec *record) {
	if t.users != nil && rec.Stored() {
		t.users.add(rec.user)
	}
}

func (t *sessions) ends(rec *record) {
	if t.users != nil && rec.Stored() && rec.user != "" {
		t.users.remove(rec.user)
	}
}
