package client

import (
	"context"
	"fmt"

	"dunlin/proto/mqtt"
)

// Publish sends p, giving it a packet identifier. For QoS 1 and 2 it waits until
// the window has room, not for the acknowledgement: Flush does.
func (c *Client) Publish(ctx context.Context, p mqtt.Publish) error {
	if max := c.connack.MaximumPacketSize; max > 0 && p.Size(c.opts.Version) > int(max) {
		return fmt.Errorf("the message is larger than the %d bytes that the server takes", max)
	}
	if c.connack.HasMaximumQoS && p.QoS > c.connack.MaximumQoS {
		return fmt.Errorf("the server takes QoS %d at most", c.connack.MaximumQoS)
	}
	if p.Retain && c.connack.RetainUnavailable {
		return fmt.Errorf("the server does not retain messages")
	}
	if p.QoS > 0 {
		select {
		case c.slots <- struct{}{}:
		case <-c.done:
			return c.Err()
		case <-ctx.Done():
			return ctx.Err()
		}
		p.PacketID = c.reserve(&request{publish: true})
	}
	return c.write(func(b []byte) []byte { return p.Append(b, c.opts.Version) })
}

// published is the end of a publish of QoS > 0.
func (c *Client) published(a *mqtt.Ack) {
	if c.take(a.PacketID, true) == nil {
		return
	}
	if a.Reason.Failed() {
		c.mu.Lock()
		if c.mu.failed == nil {
			c.mu.failed = fmt.Errorf("the server refuses the message: %s", a.Reason)
		}
		c.mu.Unlock()
	}
	<-c.slots
}

// Flush waits until all that was published is acknowledged. Its error may be
// the first refusal since the last Flush.
func (c *Client) Flush(ctx context.Context) error {
	held := 0
	defer func() {
		for range held {
			<-c.slots
		}
	}()
	for range cap(c.slots) {
		select {
		case c.slots <- struct{}{}:
			held++
		case <-c.done:
			return c.Err()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.mu.failed
	c.mu.failed = nil
	return err
}

// Subscribe asks for filters and returns the server's answer to each.
func (c *Client) Subscribe(ctx context.Context, filters []mqtt.Subscription) ([]mqtt.Reason, error) {
	return c.ask(ctx, func(b []byte, id uint16) []byte {
		s := mqtt.Subscribe{PacketID: id, Filters: filters}
		return s.Append(b, c.opts.Version)
	})
}

// Unsubscribe gives filters up. Before 5.0 the server's answer is empty.
func (c *Client) Unsubscribe(ctx context.Context, filters []string) ([]mqtt.Reason, error) {
	return c.ask(ctx, func(b []byte, id uint16) []byte {
		u := mqtt.Unsubscribe{PacketID: id}
		for _, f := range filters {
			u.Filters = append(u.Filters, []byte(f))
		}
		return u.Append(b, c.opts.Version)
	})
}

// ask sends a packet with an identifier and waits for its answer.
func (c *Client) ask(ctx context.Context, packet func(b []byte, id uint16) []byte) ([]mqtt.Reason, error) {
	r := &request{answer: make(chan []mqtt.Reason, 1)}
	id := c.reserve(r)
	if err := c.write(func(b []byte) []byte { return packet(b, id) }); err != nil {
		return nil, err
	}
	select {
	case reasons := <-r.answer:
		return reasons, nil
	case <-c.done:
		return nil, c.Err()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// reserve finds a packet identifier for r. The window and the callers of ask
// keep the number in use far below 65,535.
func (c *Client) reserve(r *request) uint16 {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		c.mu.lastID++
		if id := c.mu.lastID; id != 0 && c.mu.requests[id] == nil {
			c.mu.requests[id] = r
			return id
		}
	}
}
