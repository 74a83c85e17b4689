package client

import (
	"fmt"
	"io"

	"dunlin/proto/mqtt"
)

// read serves what comes until the connection is over, and returns why.
func (c *Client) read(in *input) error {
	for {
		p, err := in.next()
		if err == io.EOF {
			return fmt.Errorf("the server closed the connection")
		}
		if err == nil {
			err = c.serve(p)
		}
		if err != nil {
			return err
		}
	}
}

func (c *Client) serve(p *mqtt.Packet) error {
	switch p.Kind {
	case mqtt.PUBLISH:
		return c.deliver(&p.Publish)
	case mqtt.PUBREL:
		delete(c.received, p.Ack.PacketID)
		return c.ack(mqtt.PUBCOMP, p.Ack.PacketID)
	case mqtt.PUBREC:
		if !p.Ack.Reason.Failed() {
			return c.ack(mqtt.PUBREL, p.Ack.PacketID)
		}
		c.published(&p.Ack)
	case mqtt.PUBACK, mqtt.PUBCOMP:
		c.published(&p.Ack)
	case mqtt.SUBACK, mqtt.UNSUBACK:
		if r := c.take(p.Suback.PacketID, false); r != nil {
			r.answer <- append([]mqtt.Reason{}, p.Suback.Reasons...)
		}
	case mqtt.PINGRESP:
		select {
		case c.pinged <- struct{}{}:
		default:
		}
	case mqtt.DISCONNECT:
		if d := &p.Disconnect; len(d.ReasonString) > 0 {
			return fmt.Errorf("the server disconnects: %s: %q", d.Reason, d.ReasonString)
		}
		return fmt.Errorf("the server disconnects: %s", p.Disconnect.Reason)
	default:
		return fmt.Errorf("the server sends %s", p.Kind)
	}
	return nil
}

// deliver hands a message to its handler, a QoS 2 one once, and acknowledges it.
func (c *Client) deliver(p *mqtt.Publish) error {
	if p.QoS != 2 || !c.received[p.PacketID] {
		c.opts.Message(p)
	}
	switch p.QoS {
	case 1:
		return c.ack(mqtt.PUBACK, p.PacketID)
	case 2:
		c.received[p.PacketID] = true
		return c.ack(mqtt.PUBREC, p.PacketID)
	}
	return nil
}

func (c *Client) ack(kind mqtt.Kind, id uint16) error {
	a := mqtt.Ack{Kind: kind, PacketID: id}
	return c.write(func(b []byte) []byte { return a.Append(b, c.opts.Version) })
}

// take frees a packet identifier and returns what it was for, nil if it was not
// in use for that.
func (c *Client) take(id uint16, publish bool) *request {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.mu.requests[id]
	if r == nil || r.publish != publish {
		return nil
	}
	delete(c.mu.requests, id)
	return r
}
