package raftstore

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"dunlin/proto/mqtt"
	"dunlin/router"
	"dunlin/session"
)

// counter is an Owner for tests with many goroutines.
type counter struct{ pushed, evicted atomic.Int64 }

func (o *counter) Evict(_ router.Subscriber, _ string, _ session.Epoch, done func()) {
	o.evicted.Add(1)
	go done()
}
func (o *counter) Push(_ router.Subscriber, _ session.Epoch, ds []Delivery) {
	o.pushed.Add(int64(len(ds)))
}
func (o *counter) Publish(*session.Message, string, string, func()) bool { return true }
func (o *counter) Forget(uint64)                                         {}
func (o *counter) Ended(router.Subscriber, session.Epoch, mqtt.Reason)   {}

// Many submit, read and rival for one identifier at once; each result comes once,
// in order, and nothing is lost at Close.
func TestConcurrentUse(t *testing.T) {
	o := DefaultOptions()
	o.Shards, o.Routes = 2, router.NewTable()
	owner := &counter{}
	s, err := Open(o, owner, owner)
	if err != nil {
		t.Fatal(err)
	}
	const callers, each = 8, 200
	var wg sync.WaitGroup
	var answered, claims atomic.Int64
	for c := range callers {
		wg.Go(func() {
			id := fmt.Sprint("c", c)
			sh := s.SessionShard(id)
			epochs := make(chan session.Epoch, 1)
			s.Submit(sh, Claim{ClientID: id, Conn: router.Subscriber(c + 1), Expiry: 60, Inflight: 1000}, func(r Result) {
				epochs <- r.Claim.Epoch
			})
			e := <-epochs
			s.Submit(sh, Subscribe{ClientID: id, Epoch: e, Filters: []Subscription{subscription("t/"+id, 1)}}, nil)
			last := uint64(0)
			for i := range each {
				s.Submit(sh, Enqueue{From: id, Message: publish("t/"+id, "x", 1)}, func(r Result) {
					if r.Index <= last || r.Err != nil {
						t.Errorf("index %d after %d, %v", r.Index, last, r.Err)
					}
					last = r.Index
					answered.Add(1)
				})
				s.Submit(0, Claim{ClientID: "rivals", Conn: router.Subscriber(c + 1), Expiry: 60}, func(r Result) {
					claims.Add(1)
				})
				to := topic(fmt.Sprint("r/", i%10))
				s.Submit(s.TopicShard(to), Retain{Message: publish(to.String(), "x", 1)}, nil)
				s.ReadRetained(s.TopicShard(to), RetainedQuery{Filter: filter("r/#")}, func(p RetainedPage, err error) {
					for i := range p.Messages {
						if err != nil || len(p.Messages[i].Message.Payload) != 1 {
							t.Errorf("page %+v, %v", p, err)
						}
					}
				})
				if i%50 == 0 {
					s.Sessions(sh, 0, 10)
				}
			}
		})
	}
	wg.Wait()
	s.Close()
	expect(t, "enqueued", answered.Load(), callers*each)
	expect(t, "pushed", owner.pushed.Load(), callers*each)
	expect(t, "claims answered", claims.Load(), callers*each)
}
