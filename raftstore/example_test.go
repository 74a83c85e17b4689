package raftstore_test

import (
	"fmt"

	"dunlin/proto/mqtt"
	"dunlin/raftstore"
	"dunlin/router"
	"dunlin/session"
)

// printer is an Owner and a Messenger: the broker, as the store calls it.
type printer struct{}

func (printer) Evict(_ router.Subscriber, _ string, _ session.Epoch, done func()) { done() }
func (printer) Publish(*session.Message, string, string, func()) bool             { return true }
func (printer) Ended(router.Subscriber, session.Epoch, mqtt.Reason)               {}
func (printer) Forget(uint64)                                                     {}
func (printer) Push(conn router.Subscriber, _ session.Epoch, ds []raftstore.Delivery) {
	for _, d := range ds {
		fmt.Printf("to %d: %d %s\n", conn, d.Index, d.Message.Payload)
	}
}

// A client connects with a session that outlives its connections, subscribes,
// leaves, and finds on its return what came meanwhile.
func Example() {
	store, err := raftstore.Open(raftstore.DefaultOptions(), printer{}, printer{})
	if err != nil {
		panic(err)
	}
	defer store.Close()
	shard := store.SessionShard("sensor")
	do := func(c raftstore.Command) raftstore.Result {
		done := make(chan raftstore.Result)
		store.Submit(shard, c, func(r raftstore.Result) { done <- r })
		return <-done
	}

	filter, _ := router.ParseFilter([]byte("news/#"))
	topic, _ := router.ParseTopic([]byte("news/today"))

	first := do(raftstore.Claim{ClientID: "sensor", Conn: 1, Expiry: 3600, Inflight: 20})
	do(raftstore.Subscribe{ClientID: "sensor", Epoch: first.Claim.Epoch, Filters: []raftstore.Subscription{
		{Filter: filter, Options: router.Options{QoS: 1}},
	}})
	do(raftstore.Detach{ClientID: "sensor", Epoch: first.Claim.Epoch})
	do(raftstore.Enqueue{Message: session.Message{Topic: topic, Payload: []byte("hello"), QoS: 1}})

	again := do(raftstore.Claim{ClientID: "sensor", Conn: 2, Expiry: 3600, Inflight: 20})
	do(raftstore.Acks{Items: []raftstore.Ack{{ClientID: "sensor", Epoch: again.Claim.Epoch, Index: 1}}})
	fmt.Println("present:", again.Claim.Present)
	// Output:
	// to 2: 1 hello
	// present: true
}
