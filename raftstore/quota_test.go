package raftstore

import (
	"fmt"
	"testing"
	"time"

	"dunlin/router"
)

// Case 34: a user may have so many stored sessions and no more, whoever else has how many;
// who has no name is not counted as one, nor is who stores nothing.
func TestUserSessions(t *testing.T) {
	o := DefaultOptions()
	o.UserSessions = 100
	sh := newManual(o)
	sh.quota.most = 0
	claim := func(id, user string) Result { return sh.do(Claim{ClientID: id, User: user, Expiry: 60}) }
	for i := range 199 { // before anybody counts; some of them are packed away
		claim(fmt.Sprint("old", i), []string{"ann", "bob"}[i%2])
	}
	sh.do(Claim{ClientID: "online", User: "bob"})
	sh.quota.most = 100
	expect(t, "one more of 100", claim("a", "ann").Err, ErrQuota)
	expect(t, "the hundredth of another", claim("b", "bob").Err, nil)
	expect(t, "one more of his", claim("c", "bob").Err, ErrQuota)
	expect(t, "one that is there", claim("old0", "ann").Claim.Present, true)
	expect(t, "one that begins anew", sh.do(Claim{ClientID: "old0", User: "ann", Expiry: 60, CleanStart: true}).Err, nil)
	expect(t, "one that stores nothing", sh.do(Claim{ClientID: "d", User: "ann"}).Err, nil)
	expect(t, "which becomes a stored one", claim("d", "ann").Err, ErrQuota)
	expect(t, "another user's", claim("old1", "ann").Err, ErrNotYours)
	for i := range 200 {
		expect(t, "nobody's", claim(fmt.Sprint("nobody", i), "").Err, nil)
	}

	sh.do(Delete{ClientID: "old2"})
	expect(t, "in the place of one that ended", claim("e", "ann").Err, nil)
	expect(t, "and one more", claim("f", "ann").Err, ErrQuota)
	_, rec := sh.st.sessions.find([]byte("old4"))
	sh.do(Detach{ClientID: "old4", Epoch: rec.Epoch()})
	sh.now += 100e9
	sh.settle()
	expect(t, "in the place of one that has expired", claim("f", "ann").Err, nil)
	expect(t, "and one more", claim("g", "ann").Err, ErrQuota)
	expect(t, "the state", sh.st.check(), nil)
	expect(t, "its replica", sh.replica.hash(), sh.st.hash())
}

// A storm of claims of one user, of which none is applied before the last has come, and of
// which some take over a connection, is bounded like those that come one by one.
func TestUserSessionsInOneEntry(t *testing.T) {
	o := DefaultOptions()
	o.UserSessions = 10
	sh := newManual(o)
	for i := range 5 { // connections that hold an identifier, and are to give it up
		expect(t, "a connection", sh.do(Claim{ClientID: fmt.Sprint(i), User: "ann", Conn: router.Subscriber(100 + i)}).Err, nil)
	}
	in, full := 0, 0
	for i := range 50 {
		sh.submit(Claim{ClientID: fmt.Sprint(i), User: "ann", Conn: router.Subscriber(i + 1), Expiry: 60}, func(r Result) {
			switch r.Err {
			case nil:
				in++
			case ErrQuota:
				full++
			default:
				t.Error(r.Err)
			}
		})
	}
	sh.settle()
	sh.settle()
	if in != 10 || full != 40 {
		t.Errorf("%d let in, %d refused", in, full)
	}
	if n := sh.st.sessions.storedOf("ann"); n != 10 || len(sh.quota.coming) != 0 {
		t.Errorf("%d are stored, %v still to come", n, sh.quota.coming)
	}
	expect(t, "the state", sh.st.check(), nil)
}

// D6: it is the leader who refuses, before anything is in the log. So replicas come to the
// same state whatever their nodes are set to: like those of an older release, which knows
// no such bound.
func TestUserSessionsOfEachLeader(t *testing.T) {
	inTrio(t, func(c *trio) {
		for i, most := range []int{0, 2, 5} {
			m := c.nodes[i]
			m.userSessions = most
			m.kill()
			m.run(t)
			c.await(t)
		}
		lead := func(m *member) {
			t.Helper()
			for range 100 {
				l := c.await(t)
				if l == m {
					return
				}
				l.kill()
				c.await(t)
				l.run(t)
				time.Sleep(5 * time.Second)
			}
			t.Fatal("it does not come to lead")
		}
		claims := 0
		storm := func() {
			from, done := c.follower(), make(chan Result, 20)
			for range cap(done) {
				claims++
				from.store.Load().Submit(0, Claim{ClientID: fmt.Sprint("c", claims), User: "ann", Conn: router.Subscriber(claims), Expiry: 1 << 20}, func(r Result) { done <- r })
			}
			for range cap(done) {
				if r := <-done; r.Err != nil && r.Err != ErrQuota {
					t.Error(r.Err)
				}
			}
		}
		stored := func() []SessionInfo {
			page, _, _ := c.await(t).store.Load().Sessions(0, 0, 100)
			return page
		}
		lead(c.nodes[2])
		storm()
		expect(t, "where 5 are allowed", len(stored()), 5)
		lead(c.nodes[0])
		storm()
		expect(t, "where any number is", len(stored()), 25)
		lead(c.nodes[1])
		storm()
		expect(t, "where 2 are allowed", len(stored()), 25)
		for _, s := range stored()[1:] {
			c.follower().do(Delete{ClientID: s.ClientID})
		}
		storm()
		expect(t, "and there is room", len(stored()), 2)
		lead(c.nodes[2])
		storm()
		expect(t, "where 5 are allowed again", len(stored()), 5)
		time.Sleep(5 * time.Second) // for followers
		c.Lock()
		defer c.Unlock()
		if c.wrong != nil {
			t.Error(c.wrong)
		}
	})
}
