package client

import (
	"net"
	"time"

	"dunlin/e2e/chaos/history"
	"dunlin/proto/mqtt"
)

// maxPacket is the longest packet that a client takes.
const maxPacket = 1 << 20

// conn is one connection and the goroutine that reads it.
type conn struct {
	node    Node
	number  int
	sock    net.Conn
	packets chan arrived // closed when nothing more comes
	stop    chan struct{}

	accepted bool          // CONNACK has come
	alive    time.Duration // when the server was last heard
	held     time.Duration // when it surely had the connection; a CONNACK may come after its end
	written  bool          // DISCONNECT was sent: that is the end
}

// arrived is a packet and when it came.
type arrived struct {
	at     time.Duration
	packet *mqtt.Packet
}

// dial opens a connection; timeout bounds each write on it too.
func dial(node Node, number int, timeout time.Duration, rec *history.Recorder) (*conn, error) {
	sock, err := net.DialTimeout("tcp", node.Addr, timeout)
	if err != nil {
		return nil, err
	}
	c := &conn{node: node, number: number, sock: sock, packets: make(chan arrived, 64), stop: make(chan struct{})}
	go c.read(rec)
	return c, nil
}

// read hands packets over until the connection ends, by whomever.
func (c *conn) read(rec *history.Recorder) {
	defer close(c.packets)
	var in []byte
	for {
		f, n, err := mqtt.Cut(in, maxPacket)
		if err != nil {
			return
		}
		if n > 0 {
			p := new(mqtt.Packet)
			in = in[n:]
			if mqtt.Decode(f, mqtt.V5, p) != nil || p.FromServer(mqtt.V5) != nil {
				return
			}
			select {
			case c.packets <- arrived{rec.Now(), p}:
			case <-c.stop:
				return
			}
			continue
		}
		// A new buffer each time: packets borrow the old one.
		b := make([]byte, len(in)+4096)
		have := copy(b, in)
		got, err := c.sock.Read(b[have:])
		if got == 0 && err != nil {
			return
		}
		in = b[:have+got]
	}
}

// packet is anything that can be sent.
type packet interface {
	Append(dst []byte, v mqtt.Version) []byte
}

// send writes p and says whether the kernel took it all.
func (c *conn) send(p packet) bool { return c.write(p.Append(nil, mqtt.V5)) }

func (c *conn) write(b []byte) bool {
	c.sock.SetWriteDeadline(time.Now().Add(5 * time.Second))
	_, err := c.sock.Write(b)
	return err == nil
}

// close ends the connection with a reset, or in order after a DISCONNECT; what
// has come and was not handed over is lost.
func (c *conn) close() {
	if tcp, ok := c.sock.(*net.TCPConn); ok && !c.written {
		tcp.SetLinger(0)
	}
	close(c.stop)
	c.sock.Close()
	for range c.packets { // the reader ends
	}
}
