package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"dunlin/cmd/dunlin/internal/client"
	"dunlin/proto/mqtt"
	"dunlin/router"
)

// sub is the flags of dunlin sub.
type sub struct {
	connection
	topics     []string
	count      int
	wait       time.Duration
	verbose    bool
	noNewline  bool
	noRetained bool
	noLocal    bool
	asPub      bool
	ready      bool
}

func newSub() *cobra.Command {
	var s sub
	cmd := &cobra.Command{
		Use:   "sub -t FILTER...",
		Short: "Subscribe and print messages",
		Long: `Subscribe and print messages, one a line. Flags are those of mosquitto_sub where both have them. It ends on
ctrl-C, after -C messages, or after -W; with exit code 1 when the broker refused a filter or closed the
connection, or when -W was over before -C messages had come.`,
		Example: `  dunlin sub -t 'home/#' -v
  dunlin sub -t a/b -q 2 -C 1 -W 10s             wait up to ten seconds for one message
  dunlin sub -t '$share/workers/jobs/#' -q 1     share the work with others of the group
  dunlin sub -i desk -c -q 1 -t 'mail/#'         keep the session: what comes meanwhile waits`,
		Args: exactly(),
	}
	s.bind(cmd)
	flags := cmd.Flags()
	flags.StringArrayVarP(&s.topics, "topic", "t", nil, "`filter` to subscribe to, may stand more than once")
	flags.IntVarP(&s.count, "count", "C", 0, "end after so many messages")
	flags.DurationVarP(&s.wait, "wait", "W", 0, "end after so long")
	flags.BoolVarP(&s.verbose, "verbose", "v", false, "print the topic before each message")
	flags.BoolVarP(&s.noNewline, "no-newline", "N", false, "print no newline after a message")
	flags.BoolVarP(&s.noRetained, "no-retained", "R", false, "do not print retained messages")
	flags.BoolVar(&s.noLocal, "no-local", false, "leave out what this client publishes (5.0)")
	flags.BoolVar(&s.asPub, "retain-as-published", false, "keep the retain flag as published (5.0)")
	flags.BoolVar(&s.ready, "print-ready", false, "write \"subscribed\" to standard error when the broker has confirmed")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return s.run(cmd) }
	return cmd
}

func (s *sub) run(cmd *cobra.Command) error {
	o, err := s.options(cmd)
	if err != nil {
		return err
	}
	if len(s.topics) == 0 {
		return wrongUsage("want at least one filter: -t")
	}
	for _, filter := range s.topics {
		if _, err := router.ParseFilter([]byte(filter)); err != nil {
			return wrongUsage("-t %q: %w", filter, err)
		}
	}
	if s.noLocal && o.Version != mqtt.V5 || s.asPub && o.Version != mqtt.V5 {
		return wrongUsage("--no-local and --retain-as-published are of MQTT 5.0: leave -V out")
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	print := &printer{sub: s, out: bufio.NewWriter(cmd.OutOrStdout()), enough: make(chan struct{})}
	o.Message = print.message
	c, err := s.connect(ctx, o)
	if err != nil {
		return err
	}
	err = s.listen(ctx, cmd.ErrOrStderr(), c, print)
	c.Close(mqtt.Success)
	c.Wait()
	return err
}

// listen subscribes and waits for the end.
func (s *sub) listen(ctx context.Context, stderr io.Writer, c *client.Client, print *printer) error {
	filters := make([]mqtt.Subscription, len(s.topics))
	for i, t := range s.topics {
		filters[i] = mqtt.Subscription{Filter: []byte(t), QoS: mqtt.QoS(s.qos), NoLocal: s.noLocal, RetainAsPublished: s.asPub}
		if s.noRetained {
			filters[i].RetainHandling = 2
		}
	}
	asked, cancel := context.WithTimeout(ctx, s.timeout)
	reasons, err := c.Subscribe(asked, filters)
	cancel()
	if err != nil {
		return err
	}
	for i, r := range reasons {
		if r.Failed() && i < len(s.topics) {
			return fmt.Errorf("the server refuses %q: %s", s.topics[i], r)
		}
	}
	if s.ready {
		fmt.Fprintln(stderr, "subscribed")
	}
	var over <-chan time.Time
	if s.wait > 0 {
		over = time.After(s.wait)
	}
	select {
	case <-print.enough:
		return print.failed
	case <-ctx.Done():
		return nil
	case <-over:
		if s.count > 0 {
			return fmt.Errorf("%v are over and fewer than %d messages have come", s.wait, s.count)
		}
		return nil
	case <-c.Done():
		select {
		case <-print.enough: // and the server was quick to close
			return print.failed
		default:
			return c.Err()
		}
	}
}

// printer prints messages; it is called from the client's reading goroutine.
type printer struct {
	*sub
	out    *bufio.Writer
	seen   int
	failed error         // of the output; read after enough
	enough chan struct{} // closed when no more is to be printed
	once   sync.Once
}

func (p *printer) message(m *mqtt.Publish) {
	if p.noRetained && m.Retain || p.count > 0 && p.seen == p.count || p.failed != nil {
		return
	}
	if p.verbose {
		p.out.Write(m.Topic)
		p.out.WriteByte(' ')
	}
	p.out.Write(m.Payload)
	if !p.noNewline {
		p.out.WriteByte('\n')
	}
	p.failed = p.out.Flush()
	p.seen++
	if p.seen == p.count || p.failed != nil {
		p.once.Do(func() { close(p.enough) })
	}
}
