package raftstore

import (
	"testing"
	"testing/synctest"
)

// valve is a driver that has no room until it is opened.
type valve struct {
	driver
	open bool
	ev   chan func()
}

func (v *valve) room() bool            { return v.open }
func (v *valve) events() <-chan func() { return v.ev }

// What came while there was no room is taken when there is, also if what it came
// after needs no entry whose commit would rouse the shard.
func TestInboxIsNotForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := Open(DefaultOptions(), nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		sh := s.shards[0]
		v := &valve{driver: sh.driver, ev: make(chan func())}
		ready := make(chan bool)
		sh.call(func() { sh.driver = v; close(ready) })
		<-ready
		var done [2]bool
		for i := range done {
			sh.call(func() { done[i] = true })
			synctest.Wait() // the shard has looked, and found no room
		}
		v.ev <- func() { v.open = true }
		synctest.Wait()
		if !done[0] || !done[1] {
			t.Errorf("called: %v", done)
		}
	})
}
