package chaos

import (
	"net"
	"sync"
	"testing"

	"dunlin/proto/mqtt"
)

// lie is a bug: it is given each packet of a connection, from the client or from
// the node, and sends on what it likes, to either. One at a time is given to it,
// of all connections through one liar.
type lie func(l *lying, fromClient bool, p *mqtt.Packet)

// lying is one connection through a liar.
type lying struct {
	client, node net.Conn
	fenced       bool // for the lie's use
}

type encoder interface {
	Append(dst []byte, v mqtt.Version) []byte
}

func (l *lying) toClient(p encoder) { l.client.Write(p.Append(nil, mqtt.V5)) }
func (l *lying) toNode(p encoder)   { l.node.Write(p.Append(nil, mqtt.V5)) }

// pass sends p on, as it is.
func (l *lying) pass(fromClient bool, p *mqtt.Packet) {
	if fromClient {
		l.toNode(p)
	} else {
		l.toClient(p)
	}
}

// liar stands before a node and breaks one promise, as a broker would that has a
// bug in just that place. It returns its address. The lie is given nil when the
// client's side has ended.
func liar(t *testing.T, node string, f lie) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	t.Cleanup(func() {
		ln.Close()
		work.Wait()
	})
	var one sync.Mutex
	work.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			n, err := net.Dial("tcp", node)
			if err != nil {
				c.Close()
				continue
			}
			l := &lying{client: c, node: n}
			work.Go(func() { l.relay(&one, true, f) })
			work.Go(func() { l.relay(&one, false, f) })
		}
	})
	return ln.Addr().String()
}

// relay hands the packets of one direction to the lie, and closes both sides at
// their end; a lie may keep the client's open without a node behind it.
func (l *lying) relay(one *sync.Mutex, fromClient bool, f lie) {
	from := l.node
	if fromClient {
		from = l.client
	}
	var in []byte
	for {
		frame, n, err := mqtt.Cut(in, 1<<20)
		if err == nil && n == 0 {
			b := make([]byte, len(in)+4096)
			have := copy(b, in)
			got, err := from.Read(b[have:])
			if in = b[:have+got]; got == 0 && err != nil {
				break
			}
			continue
		}
		p := new(mqtt.Packet)
		if err != nil || mqtt.Decode(frame, mqtt.V5, p) != nil {
			break
		}
		in = in[n:]
		one.Lock()
		f(l, fromClient, p)
		one.Unlock()
	}
	one.Lock()
	defer one.Unlock()
	if fromClient {
		f(l, true, nil)
	}
	l.node.Close()
	if fromClient || !l.fenced {
		l.client.Close()
	}
}
