package broker

import (
	"context"
	"testing"
	"testing/synctest"

	"dunlin/cluster"
	"dunlin/router"
	"dunlin/session"
)

// A peer forwards faster than a loop delivers: it has to wait, or the node would
// grow with what it is sent (P10). When the loops end, nobody waits for them.
func TestPeersWaitForALoopThatIsBehind(t *testing.T) {
	for _, ends := range []bool{false, true} {
		inBubble(t, func(t *testing.T) {
			c := newCell(t, 2, 1, nil)
			n := c.nodes[1]
			const subscribers, frames, messages = 100, 20, 100
			for i := range subscribers {
				c.connect(1, 0, string(rune('A'+i))).subscribe("t", 0)
			}
			topic, err := router.ParseTopic([]byte("t"))
			if err != nil {
				t.Fatal(err)
			}
			m := session.Message{Topic: topic, Payload: make([]byte, 10)}
			var body []byte
			for range messages {
				body = cluster.AppendMessage(body, m.Append(nil, n.b.Clock()))
			}
			taken := 0
			done := make(chan struct{})
			go func() {
				defer close(done)
				for range frames {
					n.b.Forwarded(n.peer(c.nodes[0]), body, nil)
					taken++
				}
			}()
			synctest.Wait()
			if bytes := taken * messages * subscribers * 64; taken == 0 || bytes > maxArrears {
				t.Fatalf("the loop is behind by %d frames, %d bytes", taken, bytes)
			}
			if ends {
				over, cancel := context.WithCancel(t.Context())
				cancel()
				_ = n.b.Disconnect(over) // the loop does not answer
				<-done
				return
			}
			for range frames {
				c.settle()
			}
			<-done
			if got := n.loops[0].handler.(*worker).counters.Sent[0]; got != frames*messages*subscribers {
				t.Errorf("%d of %d delivered", got, frames*messages*subscribers)
			}
		})
	}
}
