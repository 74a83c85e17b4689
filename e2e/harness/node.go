package harness

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"dunlin/proto/mqtt"
)

// deadline is how long anything may take that must happen. It is generous: a
// test that meets it has failed, on however slow a machine, though that may stand
// still for many seconds at times.
const deadline = 40 * time.Second

// Node is one dunlin serve.
type Node struct {
	Name  string
	MQTT  string // host:port of each listener
	MQTTS string // "": none
	WS    string // "": none
	WSS   string // "": none
	HTTP  string
	Dir   string // data directory

	// Bin is the program, Env what its environment has beside the test's; changed
	// between two runs, they hold from the next.
	Bin string
	Env []string

	// Link carries what peers send to this node's cluster port, if
	// Options.Links asked for one.
	Link *Link

	t      testing.TB
	aside  bool // what is asked of it goes by way of admin.sock
	apart  bool // it has a disk that others do not see
	within []string
	args   []string
	log    *log
	proc   *process // nil before the first Start
}

// process is one run of a node.
type process struct {
	cmd    *exec.Cmd
	exited chan struct{} // closed when it has been waited for
	err    error         // how it ended; read after exited
	wanted bool          // a test ended it
}

// Start starts the node's process and does not wait for anything.
func (n *Node) Start() {
	n.t.Helper()
	if n.Running() {
		n.t.Fatalf("harness: %s is running", n.Name)
	}
	argv := slices.Concat(n.within, []string{n.Bin}, n.args)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = n.log, n.log
	cmd.Env = append(environment(), n.Env...)
	if err := spawn(cmd); err != nil {
		n.t.Fatalf("harness: start %s: %v", n.Name, err)
	}
	p := &process{cmd: cmd, exited: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.exited)
	}()
	n.proc = p
}

// environment is that of the tests without settings for a node.
func environment() []string {
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "DUNLIN_") {
			env = append(env, e)
		}
	}
	return append(env, "GOTRACEBACK=all")
}

// Ended is closed when the process that runs now has ended. A test that wants
// it to end by itself says so with ExpectEnd.
func (n *Node) Ended() <-chan struct{} { return n.proc.exited }

// ExpectEnd lets the process end by itself, in whatever way: a node that finds
// its disk broken does so (D2, D3).
func (n *Node) ExpectEnd() { n.proc.wanted = true }

// WaitEnded waits until the process has ended by itself, and returns its exit code.
func (n *Node) WaitEnded() int {
	n.t.Helper()
	n.ExpectEnd()
	n.wait()
	return n.proc.cmd.ProcessState.ExitCode()
}

// Log is what the node has written lately.
func (n *Node) Log() string { return string(n.log.tail(200)) }

// Running says whether the process is there.
func (n *Node) Running() bool {
	if n.proc == nil {
		return false
	}
	select {
	case <-n.proc.exited:
		return false
	default:
		return true
	}
}

// Files is the data directory of the running process, for others.
func (n *Node) Files() string {
	if n.apart {
		return fmt.Sprintf("/proc/%d/root%s", n.Pid(), n.Dir)
	}
	return n.Dir
}

// ownDisk is the beginning of a command that has so many bytes of memory as a disk in dir,
// which ends with the process.
func ownDisk(dir string, bytes int) []string {
	unshare := []string{"unshare", "--mount"}
	if os.Geteuid() != 0 {
		unshare = append(unshare, "--map-root-user")
	}
	return append(unshare, "sh", "-c", fmt.Sprintf(`mkdir -p "$0" && mount -t tmpfs -o size=%d none "$0" && exec "$@"`, bytes), dir)
}

// Pid is the process's.
func (n *Node) Pid() int { return n.proc.cmd.Process.Pid }

// Ready says whether the node calls itself ready, and what it says if not.
func (n *Node) Ready() error {
	body, err := n.get("/health/ready")
	if err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(body))
	}
	return nil
}

// WaitReady waits until the node is ready.
func (n *Node) WaitReady() {
	n.t.Helper()
	n.waitFor("is ready", n.Ready)
}

// WaitLive waits until the node answers at all.
func (n *Node) WaitLive() {
	n.t.Helper()
	n.waitFor("is live", func() error {
		_, err := n.get("/health/live")
		return err
	})
}

// Refuses says whether a client that comes now is turned away: by a closed port,
// an end without a word, a CONNACK with a reason, or silence.
func (n *Node) Refuses() bool {
	conn, err := net.DialTimeout("tcp", n.MQTT, time.Second)
	if err != nil {
		return true
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(2 * time.Second))
	hello := mqtt.Connect{Version: mqtt.V5, CleanStart: true}
	if _, err := conn.Write(hello.Append(nil, mqtt.V5)); err != nil {
		return true
	}
	var connack [4]byte
	_, err = io.ReadFull(conn, connack[:])
	return err != nil || mqtt.Reason(connack[3]) != mqtt.Success
}

func (n *Node) waitFor(what string, f func() error) {
	n.t.Helper()
	Eventually(n.t, n.Name+" "+what, func() error {
		if !n.Running() {
			n.t.Fatalf("harness: %s ended before it %s: %v", n.Name, what, n.proc.err)
		}
		return f()
	})
}

// get fetches a page of the node's HTTP interface.
func (n *Node) get(path string) (string, error) {
	if n.aside {
		return n.fetch(path)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.HTTP+path, nil)
	if err != nil {
		return "", err
	}
	return do(http.DefaultClient, req)
}

func do(client *http.Client, req *http.Request) (string, error) {
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode/100 != 2 {
		err = errors.New(resp.Status)
	}
	return string(body), err
}

// API calls the node's HTTP interface and returns the body of a 2xx answer.
func (n *Node) API(method, path string) string {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), deadline)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+n.HTTP+path, nil)
	if err != nil {
		n.t.Fatal(err)
	}
	body, err := do(http.DefaultClient, req)
	if err != nil {
		n.t.Fatalf("%s: %s %s: %v: %s", n.Name, method, path, err, body)
	}
	return body
}

// Kill ends the process with SIGKILL and waits until it is gone.
func (n *Node) Kill() {
	n.t.Helper()
	n.signal(syscall.SIGKILL)
	n.wait()
}

// Stop ends it with SIGTERM and waits; the node has to exit with 0.
func (n *Node) Stop() {
	n.t.Helper()
	n.signal(syscall.SIGTERM)
	n.wait()
	if n.proc.err != nil {
		n.t.Errorf("harness: %s: after SIGTERM: %v", n.Name, n.proc.err)
	}
}

// Restart starts it again after Kill or Stop, with its data, and waits until it
// is ready.
func (n *Node) Restart() {
	n.t.Helper()
	n.Start()
	n.WaitReady()
}

// Pause freezes the process; Resume lets it go on.
func (n *Node) Pause()  { n.t.Helper(); n.signal(syscall.SIGSTOP) }
func (n *Node) Resume() { n.t.Helper(); n.signal(syscall.SIGCONT) }

// Hangup has the node look at its files now.
func (n *Node) Hangup() { n.t.Helper(); n.signal(syscall.SIGHUP) }

func (n *Node) signal(s syscall.Signal) {
	n.t.Helper()
	ended := n.proc.wanted // perhaps by itself, as it was let
	if s == syscall.SIGKILL || s == syscall.SIGTERM {
		n.proc.wanted = true
	}
	if err := n.proc.cmd.Process.Signal(s); err != nil && !(ended && errors.Is(err, os.ErrProcessDone)) {
		n.t.Fatalf("harness: %s: %v: %v", n.Name, s, err)
	}
}

func (n *Node) wait() {
	n.t.Helper()
	select {
	case <-n.proc.exited:
	case <-time.After(deadline):
		n.t.Errorf("harness: %s has not ended", n.Name)
		n.proc.cmd.Process.Signal(syscall.SIGQUIT) // its goroutines go to the log
		select {
		case <-n.proc.exited:
		case <-time.After(time.Second):
			n.proc.cmd.Process.Kill()
			<-n.proc.exited
		}
	}
}

// finish ends the node at the end of its test and looks for what must not be.
func (n *Node) finish() {
	if n.Running() {
		n.proc.cmd.Process.Signal(syscall.SIGCONT)
		if n.Ready() == nil {
			for name, v := range n.Metrics() {
				if strings.Contains(name, "panic") && v > 0 {
					n.t.Errorf("%s: %s is %v", n.Name, name, v)
				}
			}
		}
		n.Stop()
	} else if n.proc != nil && !n.proc.wanted {
		n.t.Errorf("%s ended by itself: %v", n.Name, n.proc.err)
	}
	if line := n.log.trouble(); line != "" {
		n.t.Errorf("%s: its log has: %s", n.Name, line)
	}
	if n.t.Failed() {
		path, err := n.log.keep(n.Name)
		n.t.Logf("log of %s, whole in %s (%v):\n%s", n.Name, path, err, n.log.tail(200))
	}
}

// newNode lays a node out without starting it.
func newNode(t testing.TB, name string, at Place, o Options) *Node {
	t.Helper()
	h, dir := at.Host, at.Dir
	if dir == "" {
		dir = filepath.Join(t.TempDir(), name)
	}
	n := &Node{
		Name: name,
		MQTT: net.JoinHostPort(h, mqttPort),
		HTTP: net.JoinHostPort(h, httpPort),
		Dir:  dir,
		Bin:  Binary(t),
		t:    t,
		log:  new(log),

		aside:  at.HTTP != "",
		within: at.Within,
	}
	if at.Disk > 0 {
		n.apart, n.within = true, append(ownDisk(dir, at.Disk), at.Within...)
	}
	if at.HTTP != "" {
		n.HTTP = at.HTTP
	}
	n.args = []string{
		"serve",
		"--node-name", name,
		"--data-dir", n.Dir,
		"--mqtt-addr", n.MQTT,
		"--http-addr", n.HTTP,
		"--gossip-addr", n.gossip(),
		"--cluster-addr", net.JoinHostPort(h, clusterPort),
	}
	if o.TLS {
		n.MQTTS = net.JoinHostPort(h, mqttsPort)
		n.args = append(n.args, "--mqtts-addr", n.MQTTS)
	}
	if o.WS {
		n.WS = net.JoinHostPort(h, wsPort)
		n.args = append(n.args, "--ws-addr", n.WS)
	}
	if o.WS && o.TLS {
		n.WSS = net.JoinHostPort(h, wssPort)
		n.args = append(n.args, "--wss-addr", n.WSS)
	}
	if o.Links {
		n.Link = newLink(t, net.JoinHostPort(h, linkPort), net.JoinHostPort(h, clusterPort))
		n.args = append(n.args, "--cluster-advertise-addr", n.Link.Addr())
	}
	if o.Config != "" {
		path := filepath.Join(t.TempDir(), name+".yaml")
		if err := os.WriteFile(path, []byte(o.Config), 0o600); err != nil {
			t.Fatal(err)
		}
		n.args = append(n.args, "--config", path)
	}
	n.args = slices.Concat(n.args, o.Args, at.Args)
	t.Cleanup(n.finish)
	return n
}

// gossip is the node's gossip address.
func (n *Node) gossip() string {
	h, _, _ := net.SplitHostPort(n.MQTT)
	return net.JoinHostPort(h, gossipPort)
}
