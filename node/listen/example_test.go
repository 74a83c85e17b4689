package listen_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"

	"dunlin/node/listen"
)

// upper answers each line in capitals. It is the Handler of one loop, so it needs
// no lock.
type upper struct{ loop listen.Loop }

func (u upper) Receive(id listen.ID, b []byte) (n, want int) {
	n = bytes.LastIndexByte(b, '\n') + 1 // whole lines; the rest comes again
	u.loop.End(id, append(u.loop.Begin(id), bytes.ToUpper(b[:n])...))
	return n, 0
}

func (upper) Open(listen.ID, listen.Info) bool { return true }
func (upper) Writable(listen.ID)               {}
func (upper) Idle(listen.ID)                   {}
func (upper) Closed(listen.ID, error)          {}
func (upper) Mail(any)                         {}
func (upper) Turn()                            {}
func (upper) Tick()                            {}

func Example() {
	loops, err := listen.New(listen.Options{}, func(l listen.Loop) listen.Handler { return upper{l} })
	if err != nil {
		fmt.Println(err)
		return
	}
	addr, err := loops.Listen("lines", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	loops.Start()
	defer loops.Shutdown(context.Background())

	conn, err := net.Dial("tcp", addr.String())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer conn.Close()
	fmt.Fprintln(conn, "dunlin")
	line, _ := bufio.NewReader(conn).ReadString('\n')
	fmt.Print(line)
	// Output: DUNLIN
}
