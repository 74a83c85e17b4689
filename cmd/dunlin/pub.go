package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"os"
	"os/signal"
	"time"

	"github.com/spf13/cobra"

	"dunlin/proto/mqtt"
)

// pub is the flags of dunlin pub.
type pub struct {
	connection
	topic   string
	message string
	file    string
	null    bool
	stdin   bool
	lines   bool
	retain  bool
	repeat  int
	delay   time.Duration

	contentType   string
	responseTopic string
	expiry        uint32
	properties    []string
}

func newPub() *cobra.Command {
	var p pub
	cmd := &cobra.Command{
		Use:   "pub -t TOPIC (-m MESSAGE | -f FILE | -s | -l | -n)",
		Short: "Publish messages",
		Long: `Publish messages. Flags are those of mosquitto_pub where both have them. It ends when the broker has
acknowledged everything (QoS 1 and 2), and with exit code 1 when it refused something.`,
		Example: `  dunlin pub -t home/lamp -m on
  dunlin pub -t home/lamp -q 1 -r -m on          acknowledged, and retained
  seq 1000 | dunlin pub -t numbers -q 2 -l       one message for each line
  dunlin pub -t a/b -m hi --user-property k=v    MQTT 5.0 properties`,
		Args: exactly(),
	}
	p.bind(cmd)
	flags := cmd.Flags()
	flags.StringVarP(&p.topic, "topic", "t", "", "`topic` to publish to")
	flags.StringVarP(&p.message, "message", "m", "", "the `message`")
	flags.StringVarP(&p.file, "file", "f", "", "send the contents of a `file`")
	flags.BoolVarP(&p.stdin, "stdin-file", "s", false, "send what comes on standard input, as one message")
	flags.BoolVarP(&p.lines, "stdin-line", "l", false, "send each line of standard input")
	flags.BoolVarP(&p.null, "null-message", "n", false, "send an empty message, which with -r clears a retained one")
	flags.BoolVarP(&p.retain, "retain", "r", false, "retain the message")
	flags.IntVar(&p.repeat, "repeat", 1, "send it so many times")
	flags.DurationVar(&p.delay, "repeat-delay", 0, "time between two")
	flags.StringVar(&p.contentType, "content-type", "", "content `type` (5.0)")
	flags.StringVar(&p.responseTopic, "response-topic", "", "response `topic` (5.0)")
	flags.Uint32Var(&p.expiry, "message-expiry-interval", 0, "`seconds` after which the message is of no use (5.0)")
	flags.StringArrayVar(&p.properties, "user-property", nil, "user property `name=value`, may stand more than once (5.0)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return p.run(cmd) }
	return cmd
}

func (p *pub) run(cmd *cobra.Command) error {
	o, err := p.options(cmd)
	if err != nil {
		return err
	}
	o.Message = func(*mqtt.Publish) {}
	packet, err := p.packet(cmd)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt)
	defer stop()
	c, err := p.connect(ctx, o)
	if err != nil {
		return err
	}
	err = p.send(ctx, cmd.InOrStdin(), packet, c.Publish)
	if err == nil {
		err = c.Flush(ctx)
	}
	if err != nil && o.Will != nil {
		c.Abort()
	} else {
		c.Close(mqtt.Success)
	}
	c.Wait()
	return err
}

// packet is what every message is sent with.
func (p *pub) packet(cmd *cobra.Command) (mqtt.Publish, error) {
	none := mqtt.Publish{}
	ways := 0
	for _, flag := range []string{"message", "file", "stdin-file", "stdin-line", "null-message"} {
		if cmd.Flags().Changed(flag) {
			ways++
		}
	}
	if p.topic == "" {
		return none, wrongUsage("want a topic: -t")
	}
	if ways != 1 {
		return none, wrongUsage("want one of -m, -f, -s, -l and -n")
	}
	if bytes.ContainsAny([]byte(p.topic), "+#\x00") || len(p.topic) > 65535 {
		return none, wrongUsage("topic %q: want a topic without wildcards, of at most 65535 bytes", p.topic)
	}
	packet := mqtt.Publish{
		Topic: []byte(p.topic), QoS: mqtt.QoS(p.qos), Retain: p.retain,
		HasExpiry: cmd.Flags().Changed("message-expiry-interval"), MessageExpiry: p.expiry,
	}
	var ps mqtt.Properties
	if p.contentType != "" {
		ps = ps.AppendContentType(p.contentType)
	}
	if p.responseTopic != "" {
		ps = ps.AppendResponseTopic(p.responseTopic)
	}
	for _, kv := range p.properties {
		k, v, ok := bytes.Cut([]byte(kv), []byte("="))
		if !ok {
			return none, wrongUsage("--user-property %q: want name=value", kv)
		}
		ps = ps.AppendUserProperty(string(k), string(v))
	}
	packet.Properties = ps
	if (ps != nil || packet.HasExpiry) && mqtt.Version(p.version) != mqtt.V5 {
		return none, wrongUsage("properties are of MQTT 5.0: leave -V out")
	}
	return packet, nil
}

// send publishes what the flags say.
func (p *pub) send(ctx context.Context, stdin io.Reader, packet mqtt.Publish,
	publish func(context.Context, mqtt.Publish) error) error {
	if p.lines {
		in := bufio.NewReader(stdin)
		for {
			line, err := in.ReadBytes('\n')
			if len(line) > 0 {
				packet.Payload = bytes.TrimSuffix(line, []byte("\n"))
				if err := publish(ctx, packet); err != nil {
					return err
				}
			}
			if err == io.EOF {
				return nil
			}
			if err != nil {
				return err
			}
		}
	}
	var err error
	packet.Payload = []byte(p.message)
	if p.stdin {
		packet.Payload, err = io.ReadAll(stdin)
	} else if p.file != "" {
		packet.Payload, err = os.ReadFile(p.file)
	}
	if err != nil {
		return err
	}
	for i := range p.repeat {
		if i > 0 && p.delay > 0 {
			select {
			case <-time.After(p.delay):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if err := publish(ctx, packet); err != nil {
			return err
		}
	}
	return nil
}
