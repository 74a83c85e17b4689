package client

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// serveWebSocket runs script with a server of another maker; it sends its messages in
// frames of at most 100 bytes.
func serveWebSocket(t *testing.T, script func(c *websocket.Conn)) net.Conn {
	t.Helper()
	done := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(done)
		u := websocket.Upgrader{Subprotocols: []string{"mqtt"}, WriteBufferSize: 100}
		if r.URL.Path != "/mqtt" {
			http.Error(w, "not here", http.StatusNotFound)
			return
		}
		c, err := u.Upgrade(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		c.SetReadDeadline(time.Now().Add(time.Minute))
		script(c)
	}))
	t.Cleanup(func() {
		s.CloseClientConnections()
		<-done
		s.Close()
	})
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(time.Minute))
	return conn
}

func TestWebSocket(t *testing.T) {
	big := bytes.Repeat([]byte("0123456789"), 20_000)
	conn := serveWebSocket(t, func(c *websocket.Conn) {
		pongs := make(chan string, 2)
		c.SetPongHandler(func(s string) error { pongs <- s; return nil })
		for range 2 {
			kind, b, err := c.ReadMessage()
			if err != nil || kind != websocket.BinaryMessage {
				t.Errorf("a message of kind %d, %v", kind, err)
				return
			}
			c.WriteControl(websocket.PingMessage, []byte("there?"), time.Now().Add(time.Minute))
			c.WriteMessage(websocket.BinaryMessage, b)
		}
		if _, _, err := c.ReadMessage(); !websocket.IsCloseError(err, websocket.CloseNormalClosure) {
			t.Errorf("at the end: %v", err)
		}
		if got := <-pongs; got != "there?" {
			t.Errorf("pong %q", got)
		}
	})
	w, err := upgrade(conn, "broker", "/mqtt")
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range [][]byte{[]byte("small"), big} {
		go w.Write(b)
		got := make([]byte, len(b))
		if _, err := io.ReadFull(w, got); err != nil || !bytes.Equal(got, b) {
			t.Errorf("%d bytes did not come back: %v", len(b), err)
		}
	}
	w.Close()
}

func TestWebSocketEnds(t *testing.T) {
	conn := serveWebSocket(t, func(c *websocket.Conn) {
		c.WriteMessage(websocket.BinaryMessage, []byte("last"))
		c.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseGoingAway, ""), time.Now().Add(time.Minute))
		if _, _, err := c.ReadMessage(); !websocket.IsCloseError(err, websocket.CloseGoingAway) {
			t.Errorf("the answer is %v", err)
		}
	})
	w, err := upgrade(conn, "broker", "/mqtt")
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(w); err != nil || string(b) != "last" {
		t.Errorf("%q, %v", b, err)
	}
}

func TestWebSocketRefused(t *testing.T) {
	conn := serveWebSocket(t, nil)
	if _, err := upgrade(conn, "broker", "/"); err == nil || !strings.Contains(err.Error(), "404 Not Found") {
		t.Error(err)
	}
}
