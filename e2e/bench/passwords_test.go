package bench

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"dunlin/e2e/harness"
	"dunlin/proto/mqtt"
)

// BenchmarkPasswords measures what 5,000 messages a second of clients that are in wait
// for while 50,000 wrong passwords come, of so many users from so many addresses that the
// bounds by user and by address let each of them be hashed, were there time (case 44); and
// what they wait for beside as many clients of a server that lets all of them in.
func BenchmarkPasswords(b *testing.B) {
	rounds, interval, each := 10, 2*time.Second, 5000
	if *quick {
		rounds, interval, each = 1, 300*time.Millisecond, 100
	}
	users := filepath.Join(b.TempDir(), "users")
	const load = "load:$argon2id$v=19$m=19456,t=2,p=1$hO4JMeJmYnlZGPJjVFE6mg$He/9TAkjI130uT2BCgjUHnYZCh8d2RWPJGr+wD2FF7A\n"
	if err := os.WriteFile(users, []byte(load), 0o600); err != nil {
		b.Fatal(err)
	}
	rules := filepath.Join(b.TempDir(), "rules")
	if err := os.WriteFile(rules, []byte("rules:\n  - {allow: all, topics: [\"#\"]}\n"), 0o600); err != nil {
		b.Fatal(err)
	}
	node := harness.Start(b, harness.Options{
		Config: "auth: {users-file: " + users + "}\nacl: {file: " + rules + "}\n"}).Nodes[0]
	ours := server{publish: node.MQTT, subscribe: node.MQTT, pids: []int{node.Pid()}, login: []string{"-u", "load", "-P", "load"}}
	harness.Connect(b, node.MQTT, mqtt.Connect{CleanStart: true, // the right one is known from here on
		HasUsername: true, Username: []byte("load"), HasPassword: true, Password: []byte("load")}).Disconnect()
	run(b, "rate-1", ours, interval)
	base := node.Held()
	var out bytes.Buffer
	table, row := others(&out)
	told := make(map[mqtt.Reason]int)
	guesses := 0
	bare := floor(b, "pairs")
	p99 := besides(b, rounds, interval,
		trial{bare, func(<-chan struct{}) { guess(b, bare.publish, guesses, each, interval, make(map[mqtt.Reason]int)) }},
		trial{ours, func(<-chan struct{}) {
			guess(b, node.MQTT, guesses, each, interval, told)
			guesses += each
		}})
	fmt.Fprintf(table, "as many clients: bare server\t%.0f\t%.0f\t%.2f\t-\t-\t\n", p99[0].quiet, p99[0].beside, p99[0].times())
	row(fmt.Sprintf("%d wrong passwords", guesses), p99[1], nuisanceTimes)
	table.Flush()
	calm()
	end := node.Held()
	fmt.Fprintf(os.Stdout, "\n%s\nanswers %v\nmemory in use before %.1f MB, after %.1f MB; goroutines %d and %d; descriptors %d and %d\n",
		out.String(), told,
		float64(base.Heap)/1e6, float64(end.Heap)/1e6, base.Goroutines, end.Goroutines, base.Files, end.Files)
}

// guess has so many clients, from one on, connect with a wrong password in an interval, and
// counts what they are told. Five at a time are of one user and one address, of which
// there are a few hundred.
func guess(b *testing.B, addr string, from, n int, interval time.Duration, told map[mqtt.Reason]int) {
	var mu sync.Mutex
	var all sync.WaitGroup
	began := time.Now()
	for k := range n {
		time.Sleep(time.Until(began.Add(interval * time.Duration(k) / time.Duration(n))))
		all.Go(func() {
			who := (from + k) / 5
			dialer := net.Dialer{Timeout: time.Minute, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, byte(10+who%2), byte(1+who/2%250))}}
			conn, err := dialer.Dial("tcp", addr)
			if err != nil {
				b.Error(err)
				return
			}
			defer conn.Close()
			wrong := mqtt.Connect{Version: mqtt.V5, CleanStart: true, HasPassword: true, Password: []byte("wrong"),
				HasUsername: true, Username: fmt.Appendf(nil, "user-%d", who)}
			var answer [4]byte
			err = cmp.Or(conn.SetDeadline(time.Now().Add(time.Minute)), write(conn, wrong.Append(nil, mqtt.V5)))
			if err == nil {
				_, err = io.ReadFull(conn, answer[:])
			}
			if err != nil {
				b.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			told[mqtt.Reason(answer[3])]++
		})
	}
	all.Wait()
}

func write(w io.Writer, b []byte) error {
	_, err := w.Write(b)
	return err
}
