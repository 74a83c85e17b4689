package client

import (
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"dunlin/e2e/chaos/history"
	"dunlin/proto/mqtt"
)

// Node is where a client may connect.
type Node struct{ Name, Addr string }

// Filter is one subscription that a client keeps up.
type Filter struct {
	Filter  string
	QoS     mqtt.QoS
	NoLocal bool
}

// Will is what a client leaves behind. Each connection has its own payload.
type Will struct {
	Topic  string
	QoS    mqtt.QoS
	Retain bool
	Delay  time.Duration // whole seconds
}

// Config says what a client does. It is read only.
type Config struct {
	ID        string
	Nodes     []Node        // it connects to one at random, and to another after a failure
	Expiry    time.Duration // of the session, whole seconds; 0: it ends with each connection
	KeepAlive time.Duration // whole seconds
	Will      *Will
	Filters   []Filter
	Seed      uint64

	// Publishing: one message each Every, on a topic and with a QoS at random.
	Topics []string
	QoS    []mqtt.QoS
	Retain bool
	Delete float64 // of retained messages, the part that has no payload
	Every  time.Duration
	Window int // unanswered at a time; default 16

	// Churn is how often, on average, it withdraws one of Filters or asks for it
	// again.
	Churn time.Duration
	// Move is how often, on average, it leaves for another node, by a way at
	// random; and MidHandshake the probability of leaving at each step of one.
	Move         time.Duration
	MidHandshake float64
	// Moved is called when it moves, for the log.
	Answer time.Duration // how long it waits for an answer before it tries another node; default 5 s
}

// Client is a running client.
type Client struct {
	Config
	rec      *history.Recorder
	rnd      *rand.Rand
	commands chan func()
	stop     chan struct{}
	work     sync.WaitGroup

	// What follows belongs to run.
	conn    *conn
	at      int           // in Nodes
	quietAt time.Duration // when a message last came, or the connection was made
	due     []time.Time   // when publish, churn, move and ping are due
	muted   bool          // publishes no more, moves no more

	session // what survives a connection if the server says so
}

// New starts a client.
func New(cfg Config, rec *history.Recorder) *Client {
	if cfg.Window == 0 {
		cfg.Window = 16
	}
	if cfg.Answer == 0 {
		cfg.Answer = 5 * time.Second
	}
	c := &Client{
		Config: cfg, rec: rec, rnd: rand.New(rand.NewPCG(cfg.Seed, 0)),
		commands: make(chan func()), stop: make(chan struct{}),
	}
	c.session.reset()
	c.seqs = make(map[string]int)
	c.at = c.rnd.IntN(len(cfg.Nodes))
	c.work.Go(c.run)
	return c
}

// do has f done by the client's goroutine; it is not done after Stop.
func (c *Client) do(f func()) {
	done := make(chan struct{})
	select {
	case c.commands <- func() { f(); close(done) }:
		<-done
	case <-c.stop:
	}
}

// Mute ends publishing, moving and changes of subscriptions; the rest goes on.
func (c *Client) Mute() { c.do(func() { c.muted = true }) }

// Settled says whether the client is connected, has the answer to all it sent,
// and holds every subscription that it wants.
func (c *Client) Settled() (yes bool) {
	c.do(func() { yes = c.conn != nil && len(c.sending) == 0 && len(c.asked) == 0 })
	return yes
}

// Drain notes that the session is drained if nothing has come for so long, and
// says whether it did.
func (c *Client) Drain(quiet time.Duration) (done bool) {
	c.do(func() {
		now := c.rec.Now()
		if done = c.conn != nil && now-c.quietAt >= quiet && now-c.conn.alive < quiet; done {
			c.event(history.Event{Op: history.Drain, Invoke: now, Return: now, Outcome: history.OK})
		}
	})
	return done
}

// Stop ends the client with DISCONNECT; what was not answered is unknown.
func (c *Client) Stop() {
	close(c.stop)
	c.work.Wait()
}

// The tasks of run that come by time.
const (
	publishing = iota
	churning
	moving
	pinging
	tasks
)

// pingEvery is how often the client says something and looks whether the server
// does.
const pingEvery = 300 * time.Millisecond

func (c *Client) run() {
	now := time.Now()
	c.due = make([]time.Time, tasks)
	for task := range c.due {
		c.due[task] = now.Add(c.pause(task))
	}
	for {
		select {
		case <-c.stop:
			c.finish()
			return
		case f := <-c.commands:
			f()
			continue
		default:
		}
		if c.conn == nil && !c.connect() {
			c.at = c.rnd.IntN(len(c.Nodes))
			c.idle(50 * time.Millisecond)
			continue
		}
		task := c.next()
		timer := time.NewTimer(time.Until(c.due[task]))
		select {
		case <-c.stop:
		case f := <-c.commands:
			f()
		case a, ok := <-c.conn.packets:
			if ok {
				c.handle(a)
			} else {
				c.over(history.Closed)
			}
		case <-timer.C:
			c.due[task] = time.Now().Add(c.pause(task))
			c.perform(task)
		}
		timer.Stop()
	}
}

// idle waits, and does what it is asked to meanwhile.
func (c *Client) idle(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		select {
		case <-c.stop:
			return
		case f := <-c.commands:
			f()
		case <-timer.C:
			return
		}
	}
}

// next is the task that is due first.
func (c *Client) next() (task int) {
	for i, at := range c.due {
		if at.Before(c.due[task]) {
			task = i
		}
	}
	return task
}

// pause is how long until a task's next turn.
func (c *Client) pause(task int) time.Duration {
	mean := [tasks]time.Duration{c.Every, c.Churn, c.Move, pingEvery}[task]
	switch {
	case mean == 0:
		return 24 * time.Hour
	case task == churning || task == moving:
		return time.Duration(c.rnd.ExpFloat64() * float64(mean))
	}
	return mean
}

func (c *Client) perform(task int) {
	switch {
	case task == pinging:
		c.ping()
	case c.muted:
	case task == publishing:
		c.publish()
	case task == churning:
		c.churn()
	case task == moving:
		c.move()
	}
}

// ping asks for a sign of life, and leaves a server that has given none for as
// long as an answer may take.
func (c *Client) ping() {
	if c.rec.Now()-c.conn.alive > c.Answer {
		c.over(history.Dropped)
		c.elsewhere()
		return
	}
	c.conn.write(mqtt.AppendPingreq(nil))
}

// elsewhere turns to another node, where there is one.
func (c *Client) elsewhere() {
	if n := len(c.Nodes); n > 1 {
		c.at = (c.at + 1 + c.rnd.IntN(n-1)) % n
	}
}

// event completes e and records it.
func (c *Client) event(e history.Event) {
	e.Client = c.ID
	if e.Conn == 0 {
		e.Conn, e.Node = c.conn.number, c.conn.node.Name
	}
	c.rec.Event(e)
}

// handle does what a packet asks for.
func (c *Client) handle(a arrived) {
	c.conn.alive = a.at
	if a.packet.Kind != mqtt.DISCONNECT { // which tells of an end that was before
		c.conn.held = a.at
	}
	switch p := a.packet; p.Kind {
	case mqtt.PUBLISH:
		c.deliver(a.at, &p.Publish)
	case mqtt.PUBREL:
		c.released(p.Ack.PacketID)
	case mqtt.PUBACK, mqtt.PUBREC, mqtt.PUBCOMP:
		c.answered(a.at, p.Ack)
	case mqtt.SUBACK, mqtt.UNSUBACK:
		c.confirmed(a.at, p.Suback)
	case mqtt.DISCONNECT:
		c.over(history.Closed)
	}
}

// leaves says whether the client goes at this step of a handshake.
func (c *Client) leaves() bool {
	return !c.muted && c.MidHandshake > 0 && c.rnd.Float64() < c.MidHandshake
}

// finish ends everything.
func (c *Client) finish() {
	if c.conn != nil {
		c.disconnect()
	}
	for _, s := range slices.Clone(c.sending) {
		c.forget(s)
	}
}
