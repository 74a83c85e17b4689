package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"dunlin/cmd/dunlin/internal/load"
	"dunlin/cmd/dunlin/internal/load/floor"
)

func newBench() *cobra.Command {
	cmd := parent("bench", "Load-test a broker, with as many clients as this machine holds")
	cmd.Long = `Load-test a broker, with as many clients as this machine holds.

Every message carries its publisher, its number and the time it was due, so that a run tells not only how
fast the broker was but also what it lost, doubled or put out of order. Latencies at a rate count from when
a message was due, so that a stalling broker cannot hide what it made others wait. No connection counts as
held that has not answered a PINGREQ. Where the limit on open files asks for it, the work is spread over
several processes by itself, and over several source addresses of 127.0.0.0/8 if the broker is there.

A run ends after --duration or --limit messages, or with ctrl-C, which gives the result too. The exit code
is 1 if messages were lost, came twice or out of order, or connections failed, beyond what --allow-... says.

Flags have the names and letters of emqtt-bench where both have them. Each kind of load has its own:
dunlin bench p2p --help.`
	cmd.Example = `  dunlin dev                                                   a cluster to try it on, in another terminal

  dunlin bench conn -c 10000                                   10,000 connections, each held and pinged
  dunlin bench p2p -c 100 -q 1                                 100 pairs, a message a second each, for 10 seconds
  dunlin bench p2p -c 100 -q 1 --flat-out                      the same as fast as the broker can
  dunlin bench fanin -c 1000 --rate 20000                      1,000 publishers to 1 subscriber, 20,000/s in all
  dunlin bench fanout -c 1000 --publishers 5 -q 1 --rate 250   5 topics, each to 1,000 subscribers
  dunlin bench p2p -h 127.0.0.1:1883,127.0.0.1:1884 -c 1000    clients of two nodes in turn
  dunlin bench p2p -c 100 -q 1 --report run.html               plots, in a page that needs no other file
  dunlin bench p2p -c 100 -q 1 -o json > run.json              for programs, and for dunlin bench report`
	for _, v := range benchVerbs {
		cmd.AddCommand(newBenchVerb(v))
	}
	cmd.AddCommand(newBenchReport(), newBenchFloor(), newBenchWorker())
	return cmd
}

// benchVerb is one kind of load: its words, and what its flags begin with.
type benchVerb struct {
	verb    load.Verb
	short   string
	long    string
	example string
	// Flags that are its own, and the defaults of those it shares.
	count         string // what -c counts
	counts        int
	subscribers   int // of --subscribers; 0: no such flag
	publishers    int // of --publishers; 0: no such flag
	topic         string
	qos           uint8
	expiry        uint32
	clean         bool
	duration      time.Duration
	publishes     bool
	subscribes    bool
	closed        bool // it knows no rate
	measuredByEnd bool // it ends when all is done
}

var benchVerbs = []benchVerb{{
	verb: load.Conn, short: "Connect many clients, and hold them",
	long: `Connect many clients. When all are connected, every one is pinged, and counts as held if it answers.

With --subscribe each client subscribes to a filter of its own, and with --publish-every N every N'th is then
sent a message by another, which must arrive. With --churn clients leave as soon as they are connected and
come again, under another identifier, for --duration.`,
	example: `  dunlin bench conn -c 50000 -R 5000                  5,000 connects a second
  dunlin bench conn -c 50000 --duration 10m           hold them for ten minutes
  dunlin bench conn -c 100000 --subscribe 'c/%i' --publish-every 10
  dunlin bench conn -c 64 --churn --duration 10s      64 clients that come and go`,
	count: "clients", counts: 1000, qos: 1, clean: true, subscribes: true, measuredByEnd: true,
}, {
	verb: load.Pub, short: "Publish, to subscribers elsewhere or none",
	long: "Publish, to subscribers elsewhere or none. With QoS 1 and 2 every message must be acknowledged.",
	example: `  dunlin bench pub -c 100 -I 10 -t 'bench/%i' -s 256     100 messages a second from each of 100
  dunlin bench pub -c 10 -q 1 -L 100000 --flat-out      100,000 messages as fast as it goes`,
	count: "publishers", counts: 100, topic: "bench/%i", clean: true, duration: 10 * time.Second, publishes: true,
}, {
	verb: load.Sub, short: "Subscribe, to publishers elsewhere",
	long: `Subscribe, to publishers elsewhere. Latencies are those of messages that dunlin bench pub sends on this
machine. With --churn clients subscribe and unsubscribe over and over; %n in the topic is the round.`,
	example: `  dunlin bench sub -c 1000 -t 'bench/%i' -q 1
  dunlin bench sub -c 64 --churn -t 'bench/%i/%n/+' --duration 10s`,
	count: "subscribers", counts: 100, topic: "bench/%i", clean: true, subscribes: true,
}, {
	verb: load.P2P, short: "Publish from each of many clients to one other (point to point)",
	example: `  dunlin bench p2p -c 1000 -q 1                       1,000 pairs, a message a second each
  dunlin bench p2p -c 50 -q 1 --flat-out -F 20        as fast as 20 messages under way allow
  dunlin bench p2p -c 50 -q 1 -C false -x 3600        to sessions that are kept, so that messages are stored`,
	count: "pairs", counts: 100, topic: "bench/p2p/%i", clean: true, duration: 10 * time.Second, publishes: true, subscribes: true,
}, {
	verb: load.FanIn, short: "Publish from many clients to few",
	long: "Publish from many clients to few, each of which gets every message.",
	example: `  dunlin bench fanin -c 1000                          a message a second from each
  dunlin bench fanin -c 50 --flat-out                 as fast as the subscriber gets them`,
	count: "publishers", counts: 100, subscribers: 1, topic: "bench/fanin/%i", clean: true, duration: 10 * time.Second, publishes: true, subscribes: true,
}, {
	verb: load.FanOut, short: "Publish from few clients to many",
	long: "Publish from few clients to many, each of which gets every message.",
	example: `  dunlin bench fanout -c 1000 --publishers 5 -q 1 --rate 250 -s 16
  dunlin bench fanout -c 100 --flat-out`,
	count: "subscribers", counts: 1000, publishers: 1, topic: "bench/fanout/%i", clean: true, duration: 10 * time.Second, publishes: true, subscribes: true,
}, {
	verb: load.ShareSub, short: "Publish from many clients to a share group",
	long: "Publish from many clients to a share group, of which one member gets each message.",
	example: `  dunlin bench sharesub -c 1000 --subscribers 100 -q 1 -t 'test/%i'
  dunlin bench sharesub -c 50 --subscribers 10 -q 1 --flat-out`,
	count: "publishers", counts: 100, subscribers: 10, topic: "bench/share/%i", clean: true, duration: 10 * time.Second, publishes: true, subscribes: true,
}, {
	verb: load.Offline, short: "Queue messages for sessions that are not connected, then fetch them",
	long: `Have clients subscribe and leave, publish for their sessions, and measure how long it takes until all are back and
have everything. The sessions are ended afterwards.`,
	example: `  dunlin bench offline -c 10000 --messages 100 -q 1`,
	count:   "sessions", counts: 1000, publishers: 50, topic: "bench/offline/%i", qos: 1, expiry: 3600, publishes: true, subscribes: true,
	closed: true, measuredByEnd: true,
}}

func newBenchVerb(v benchVerb) *cobra.Command {
	b := benchFlags{verb: v}
	cmd := &cobra.Command{
		Use: string(v.verb), Short: v.short, Long: v.long, Example: v.example, Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error { return b.run(cmd) },
	}
	b.bind(cmd)
	return cmd
}

// run runs the load that the flags ask for, and prints what came of it.
func (b *benchFlags) run(cmd *cobra.Command) error {
	c, err := b.config(cmd)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("own program: %w", err)
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second one ends it without a result
	limits := b.output.preflight(cmd, c)
	if b.output.dry {
		return nil
	}
	observe, end := b.output.observer(cmd, c)
	r, err := load.Run(ctx, c, load.Options{Worker: []string{self, "bench", workerName}, Observe: observe})
	end()
	if err != nil {
		return err
	}
	return b.output.show(cmd, r, limits)
}

// workerName is the command of the processes that a run is spread over.
const workerName = "worker"

func newBenchWorker() *cobra.Command {
	return &cobra.Command{
		Use: workerName, Short: "Be one process of a load that another has begun", Args: exactly(), Hidden: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			signal.Ignore(syscall.SIGINT) // which the terminal sends to all: the first process ends the run
			return load.Work(cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
}

func newBenchFloor() *cobra.Command {
	var addr, topology string
	cmd := &cobra.Command{
		Use:   "floor",
		Short: "Run the bare relay that brokers are compared with",
		Long: `Run the bare relay that brokers are compared with: it moves the same bytes over the same sockets and does nothing
else. Drive it with --prefix ''.`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			t, err := floor.ParseTopology(topology)
			if err != nil {
				return &usageError{err}
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			return floor.Run(ctx, addr, t)
		},
	}
	cmd.Flags().StringVar(&addr, "addr", "127.0.0.1:1883", "`address` to listen on")
	cmd.Flags().StringVar(&topology, "topology", "pairs", "who gets what is published: pairs, every or share")
	return cmd
}
