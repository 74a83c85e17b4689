package main

import (
	"encoding/json"
	"strings"
	"testing"

	"dunlin/cmd/dunlin/internal/load"
)

// bench runs dunlin bench against a node, and returns the result.
func bench(t *testing.T, host string, args ...string) (r load.Result) {
	t.Helper()
	code, out, errs := dunlin(t, "", append(append([]string{"bench"}, args...), "-h", host, "-o", "json")...)
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("exit code %d, %v: %s", code, err, errs)
	}
	if code != exitDone {
		t.Errorf("exit code %d: %s; %+v", code, errs, r.Failures)
	}
	return r
}

// TestBench drives a node with the kinds of load that a bare relay does not know.
func TestBench(t *testing.T) {
	host := testNode(t).MQTTAddr
	t.Run("conn", func(t *testing.T) {
		r := bench(t, host, "conn", "-c", "200", "--subscribe", "c/%i", "--publish-every", "10", "-R", "0")
		if r.Connections.Held != 200 || r.Check.Expected != 20 || r.Check.Delivered != 20 || r.Latency.Ping.Count() < 200 {
			t.Errorf("%+v %+v", r.Connections, r.Check)
		}
	})
	t.Run("conn of one", func(t *testing.T) { // who sends to itself
		r := bench(t, host, "conn", "-c", "1", "--subscribe", "c/%c", "--publish-every", "1", "-q", "2", "--rate", "100")
		if r.Connections.Held != 1 || r.Check.Delivered != 1 {
			t.Errorf("%+v %+v", r.Connections, r.Check)
		}
	})
	t.Run("offline", func(t *testing.T) {
		r := bench(t, host, "offline", "-c", "30", "--publishers", "4", "--messages", "7", "-q", "2", "-R", "0")
		if r.Check.Delivered != 210 || r.Messages.Received != 210 {
			t.Errorf("%+v %+v", r.Messages, r.Check)
		}
	})
	t.Run("kept sessions", func(t *testing.T) {
		r := bench(t, host, "p2p", "-c", "10", "-C", "false", "-q", "1", "-L", "500", "--flat-out", "-R", "0", "-V", "4")
		if r.Check.Delivered != 500 {
			t.Errorf("%+v", r.Check)
		}
	})
	t.Run("fanout", func(t *testing.T) {
		r := bench(t, host, "fanout", "-c", "20", "--publishers", "3", "-q", "1", "-L", "300", "--rate", "3000", "-R", "0", "-s", "16")
		if r.Check.Delivered != 6000 || r.Latency.Lag.Count() == 0 {
			t.Errorf("%+v", r.Check)
		}
	})
	t.Run("sharesub", func(t *testing.T) {
		r := bench(t, host, "sharesub", "-c", "20", "--subscribers", "4", "-q", "1", "-L", "1000", "--flat-out", "-R", "0")
		if r.Check.Delivered != 1000 {
			t.Errorf("%+v", r.Check)
		}
	})
	t.Run("TLS without --ssl", func(t *testing.T) { // which a flag of certificates asks for
		code, _, says := dunlin(t, "", "bench", "conn", "-c", "1", "-h", host, "--cacertfile", "nowhere.pem")
		if code != exitFailed || !strings.Contains(says, "nowhere.pem") {
			t.Errorf("exit code %d, %s", code, says)
		}
	})
	t.Run("refused", func(t *testing.T) { // what the node does not let a client subscribe to
		code, out, _ := dunlin(t, "", "bench", "conn", "-c", "3", "--subscribe", "denied/#", "-h", host, "-o", "json")
		var r load.Result
		if err := json.Unmarshal([]byte(out), &r); err != nil || code != exitFailed {
			t.Fatalf("exit code %d, %v", code, err)
		}
		if len(r.Failures) != 1 || r.Failures[0].What != "subscribe" || r.Failures[0].Count != 3 || r.Connections.Held != 0 {
			t.Errorf("%+v %+v", r.Connections, r.Failures)
		}
	})
}

// TestBenchFlags: what cannot be run is wrong usage, and says why.
func TestBenchFlags(t *testing.T) {
	for args, says := range map[string]string{
		"nonsense":                             "no command",
		"p2p -q 3":                             "QoS 3",
		"p2p -s 8":                             "payloads of 8 bytes",
		"p2p --rate 5 --flat-out":              "--flat-out knows no --rate",
		"p2p -I 0":                             "--flat-out",
		"p2p -F 99999":                         "window of 99999",
		"p2p --batch 50 -F 20":                 "50 messages in a write",
		"p2p -c 0":                             "no clients",
		"p2p -h 127.0.0.1:x":                   "want host or host:port",
		"p2p --ifaddr 127.0.0.9-127.0.0.1":     "want an address or a range",
		"p2p -V 6":                             "want 5",
		"p2p -C maybe":                         "want true or false",
		"conn --publish-every 10":              "something that it subscribes to",
		"offline -q 0":                         "QoS 0 is not kept",
		"fanin -c 100000 --subscribers 100000": "streams to follow",
		"sub -I 10":                            "unknown shorthand flag",
	} {
		code, _, errs := dunlin(t, "", append([]string{"bench"}, strings.Fields(args)...)...)
		if code != exitUsage || !strings.Contains(errs, says) {
			t.Errorf("%s: exit code %d, %q; want %q", args, code, errs, says)
		}
	}
}

// TestBenchHelp: the help of each kind of load begins with what it does, and shows
// every flag in a group.
func TestBenchHelp(t *testing.T) {
	code, out, _ := dunlin(t, "", "bench", "--help")
	if code != exitDone || !strings.Contains(out, "dunlin bench p2p -c 100 -q 1") || strings.Contains(out, workerName) {
		t.Errorf("exit code %d: %s", code, out)
	}
	for _, v := range load.Verbs {
		code, out, _ := dunlin(t, "", "bench", string(v), "--help")
		if code != exitDone {
			t.Errorf("%s: exit code %d", v, code)
		}
		for _, want := range []string{"Examples:", "Clients:", "Messages:", "Broker:", "This machine:", "Run:", "--connrate", "--duration"} {
			if !strings.Contains(out, want) {
				t.Errorf("%s: no %s in %s", v, want, out)
			}
		}
	}
	// Names as emqtt-bench has them, and a value after -C.
	code, _, errs := dunlin(t, "", "bench", "pub", "-c", "1", "--interval_of_msg", "10", "-L", "1", "-h", "127.0.0.1", "-p", "1")
	if code != exitFailed {
		t.Errorf("exit code %d: %s", code, errs)
	}
}
